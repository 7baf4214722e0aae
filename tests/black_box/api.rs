//! The HTTP API, as clients written for Prometheus use it.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::http::request;
use crate::harness::process::{Process, tool};
use crate::harness::server::{Server, Setup, now_ms};
use crate::harness::target::Page;
use crate::harness::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(15);

/// A server that has scraped a small page a few times.
fn server() -> (Server, Page) {
    let page = Page::metrics(
        "# HELP color_brightness How bright.\n# TYPE color_brightness gauge\n\
         color_brightness{color=\"red\"} 1\ncolor_brightness{color=\"green\"} 2.5\n\
         # TYPE paint_total counter\npaint_total{color=\"red\",note=\"a \\\"b\\\" \\\\ c\"} 3\n",
    );
    let server = Setup::with_config(&format!(
        "global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
scrape_configs:
  - job_name: paint
    static_configs:
      - targets: ['{}']
  - job_name: dropped
    static_configs:
      - targets: ['127.0.0.1:1']
    relabel_configs:
      - action: drop
",
        page.address()
    ))
    .start();
    server.wait_for_result("color_brightness", LIMIT);
    (server, page)
}

#[test]
fn queries_answer_in_prometheus_s_shapes() {
    let (server, page) = server();
    let instance = page.address().to_string();
    let answer = server.api(
        "query",
        &[
            ("query", "color_brightness"),
            ("time", &(now_ms() / 1000).to_string()),
        ],
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));

    let data = server.data("query", &[("query", "color_brightness > 2")]);
    assert_eq!(data["resultType"], "vector");
    assert_eq!(
        data["result"][0]["metric"],
        json!({"__name__": "color_brightness", "color": "green", "instance": instance, "job": "paint"})
    );
    assert_eq!(data["result"][0]["value"][1], "2.5");
    let data = server.data("query", &[("query", "1.5e3")]);
    assert_eq!(
        (&data["resultType"], &data["result"][1]),
        (&json!("scalar"), &json!("1500"))
    );
    let data = server.data("query", &[("query", "\"text\"")]);
    assert_eq!(
        (&data["resultType"], &data["result"][1]),
        (&json!("string"), &json!("text"))
    );

    let end = now_ms() / 1000;
    let (start, end) = ((end - 10).to_string(), end.to_string());
    let parameters = [
        ("query", "vector(1)"),
        ("start", &start),
        ("end", &end),
        ("step", "2s"),
    ];
    for data in [
        server.data("query_range", &parameters),
        server.api_post("query_range", &parameters).json()["data"].clone(),
    ] {
        assert_eq!(data["resultType"], "matrix");
        let values = data["result"][0]["values"].as_array().unwrap();
        assert_eq!(values.len(), 6);
        assert_eq!(values[0], json!([start.parse::<i64>().unwrap(), "1"]));
    }
    let posted = server.api_post("query", &[("query", "sum(color_brightness)")]);
    assert_eq!(posted.json()["data"]["result"][0]["value"][1], "3.5");
}

#[test]
fn warnings_and_infos_come_along() {
    let (server, _page) = server();
    server.wait_for_result("rate(color_brightness[1m])", LIMIT);
    let answer = server
        .api("query", &[("query", "rate(color_brightness[1m])")])
        .json();
    let infos = answer["infos"].to_string();
    assert!(infos.contains("might not be a counter"), "{answer}");
    let answer = server
        .api("query", &[("query", "quantile(7, color_brightness)")])
        .json();
    assert!(
        answer["warnings"].to_string().contains("between 0 and 1"),
        "{answer}"
    );
}

#[test]
fn addresses_work_as_people_type_them() {
    let (server, _page) = server();
    server.wait_for_result("up", LIMIT);
    // As `curl -g` sends it.
    let path = "/api/v1/query?query=up{job=\"paint\"}>=1<2";
    let answer = request(server.address(), "GET", path, &[], b"").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = answer.json()["data"]["result"].clone();
    assert_eq!(found[0]["metric"]["job"], "paint", "{found}");
}

#[test]
fn metadata_endpoints_agree() {
    let (server, page) = server();
    let instance = page.address().to_string();
    let series = server.data(
        "series",
        &[("match[]", "{__name__=~\"color_.*|paint_total\"}")],
    );
    assert_eq!(series.as_array().unwrap().len(), 3);
    let posted = server
        .api_post("series", &[("match[]", "paint_total")])
        .json();
    assert_eq!(
        posted["data"],
        json!([{"__name__": "paint_total", "color": "red", "instance": instance, "job": "paint", "note": "a \"b\" \\ c"}])
    );
    let labels = server.data("labels", &[("match[]", "paint_total")]);
    assert_eq!(
        labels,
        json!(["__name__", "color", "instance", "job", "note"])
    );
    let values = server.data("label/color/values", &[]);
    assert_eq!(values, json!(["green", "red"]));
    let values = server.data("label/color/values", &[("match[]", "paint_total")]);
    assert_eq!(values, json!(["red"]));
    let metadata = server.data("metadata", &[("metric", "color_brightness")]);
    assert_eq!(
        metadata["color_brightness"],
        json!([{"type": "gauge", "help": "How bright.", "unit": ""}])
    );
}

#[test]
fn targets_tell_how_they_are() {
    let (server, page) = server();
    let data = server.data("targets", &[]);
    let active = data["activeTargets"].as_array().unwrap();
    assert_eq!(active.len(), 1);
    let target = &active[0];
    assert_eq!(target["scrapePool"], "paint");
    assert_eq!(
        target["scrapeUrl"],
        format!("http://{}/metrics", page.address())
    );
    assert!(target["globalUrl"].as_str().unwrap().ends_with("/metrics"));
    assert_eq!(
        target["discoveredLabels"]["__address__"],
        page.address().to_string()
    );
    assert_eq!(
        target["labels"],
        json!({"instance": page.address().to_string(), "job": "paint"})
    );
    assert_eq!(target["health"], "up");
    assert_eq!(target["lastError"], "");
    assert_eq!(target["scrapeInterval"], "200ms");
    assert_eq!(target["scrapeTimeout"], "200ms");
    assert!(target["lastScrape"].as_str().unwrap().starts_with("20"));
    assert!(target["lastScrapeDuration"].as_f64().unwrap() > 0.0);
    assert_eq!(data["droppedTargets"].as_array().unwrap().len(), 1);
    let data = server.data("targets", &[("state", "active")]);
    assert_eq!(data["droppedTargets"], json!([]));
}

#[test]
fn status_endpoints_have_prometheus_s_fields() {
    let (server, _page) = server();
    for (endpoint, fields) in [
        (
            "status/buildinfo",
            &[
                "version",
                "revision",
                "branch",
                "buildUser",
                "buildDate",
                "goVersion",
            ][..],
        ),
        (
            "status/runtimeinfo",
            &[
                "startTime",
                "CWD",
                "reloadConfigSuccess",
                "lastConfigTime",
                "corruptionCount",
                "goroutineCount",
                "storageRetention",
            ],
        ),
        ("status/config", &["yaml"]),
        (
            "status/flags",
            &[
                "config.file",
                "storage.tsdb.path",
                "web.listen-address",
                "query.timeout",
            ],
        ),
        (
            "status/tsdb",
            &[
                "headStats",
                "seriesCountByMetricName",
                "labelValueCountByLabelName",
                "memoryInBytesByLabelName",
                "seriesCountByLabelValuePair",
            ],
        ),
    ] {
        let data = server.data(endpoint, &[]);
        for field in fields {
            assert!(!data[field].is_null(), "{endpoint} has no {field}: {data}");
        }
    }
    let series = server.data("status/tsdb", &[])["headStats"]["numSeries"].as_i64();
    assert!(series >= Some(8), "{series:?}");
}

/// Each: endpoint and parameters, status, error type, and what the message must say.
type Bad<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    u16,
    &'a str,
    &'a [&'a str],
);

#[test]
fn errors_have_their_type_code_and_place() {
    let (server, _page) = server();
    let cases: &[Bad<'_>] = &[
        (
            "query",
            &[("query", "sum(up")],
            400,
            "bad_data",
            &[
                "invalid parameter \"query\"",
                "1:7: parse error",
                "unclosed left parenthesis",
            ],
        ),
        (
            "query",
            &[("query", "up{job=~\"(\"}")],
            400,
            "bad_data",
            &["parse error"],
        ),
        (
            "query",
            &[("query", "rate(up)")],
            400,
            "bad_data",
            &["1:6: parse error", "range vector"],
        ),
        (
            "query",
            &[("query", "nope(up)")],
            400,
            "bad_data",
            &["1:1: parse error", "nope"],
        ),
        (
            "query",
            &[("query", "up"), ("time", "noon")],
            400,
            "bad_data",
            &["\"time\"", "noon"],
        ),
        (
            "query",
            &[("query", "up"), ("timeout", "x")],
            400,
            "bad_data",
            &["\"timeout\""],
        ),
        ("query", &[], 400, "bad_data", &["\"query\""]),
        (
            "query_range",
            &[
                ("query", "up"),
                ("start", "10"),
                ("end", "1"),
                ("step", "1"),
            ],
            400,
            "bad_data",
            &["\"end\"", "end timestamp must not be before start time"],
        ),
        (
            "query_range",
            &[
                ("query", "up"),
                ("start", "1"),
                ("end", "10"),
                ("step", "0"),
            ],
            400,
            "bad_data",
            &["\"step\"", "zero or negative"],
        ),
        (
            "query_range",
            &[
                ("query", "up"),
                ("start", "0"),
                ("end", "11001"),
                ("step", "1"),
            ],
            400,
            "bad_data",
            &["exceeded maximum resolution of 11,000 points per timeseries"],
        ),
        (
            "query_range",
            &[
                ("query", "up[1m]"),
                ("start", "0"),
                ("end", "1"),
                ("step", "1"),
            ],
            400,
            "bad_data",
            &["invalid expression type \"range vector\" for range query"],
        ),
        ("series", &[], 400, "bad_data", &["match[]"]),
        (
            "series",
            &[("match[]", "{x=\"")],
            400,
            "bad_data",
            &["parse error"],
        ),
        (
            "series",
            &[("match[]", "{}")],
            400,
            "bad_data",
            &["match[]"],
        ),
        (
            "query",
            &[("query", "color_brightness * on(job) color_brightness")],
            422,
            "execution",
            &["many-to-many"],
        ),
        (
            "query",
            &[("query", "label_replace(up, \"x\", \"$1\", \"job\", \"(\")")],
            422,
            "execution",
            &["regular expression"],
        ),
    ];
    for (endpoint, parameters, status, kind, words) in cases {
        let answer = server.api(endpoint, parameters);
        let body: Value = answer.json();
        assert_eq!(answer.status, *status, "{endpoint} {parameters:?}: {body}");
        assert_eq!(body["status"], "error");
        assert_eq!(
            body["errorType"], *kind,
            "{endpoint} {parameters:?}: {body}"
        );
        let message = body["error"].as_str().unwrap();
        for word in *words {
            assert!(
                message.contains(word),
                "{endpoint} {parameters:?}: {message:?} does not say {word:?}"
            );
        }
    }
    let answer = server.get("/api/v1/nowhere");
    assert_eq!(answer.status, 404);
}

#[test]
fn a_query_over_its_time_or_size_ends_alone() {
    let page = Page::metrics("value 1\n");
    let server = Setup::with_config(&format!(
        "scrape_configs:\n  - job_name: a\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n    static_configs:\n      - targets: ['{}']\n",
        page.address()
    ))
    .argument("--query.max-samples=50")
    .start();
    server.wait_for_result("value", LIMIT);
    wait_until(
        "more samples than a query may hold",
        Duration::from_secs(30),
        || server.api("query", &[("query", "value[10m]")]).status == 422,
    );
    let body = server.api("query", &[("query", "value[10m]")]).json();
    assert_eq!(body["errorType"], "execution");
    assert!(
        body["error"].as_str().unwrap().contains("too many samples"),
        "{body}"
    );

    // Heavy enough that a millisecond cannot do.
    let slow = "sum_over_time((sum_over_time(vector(1)[1h:1ms]))[6h:1s])";
    let answer = server.api("query", &[("query", slow), ("timeout", "1ms")]);
    let body = answer.json();
    assert!(
        (answer.status == 503 && body["errorType"] == "timeout")
            || body["errorType"] == "execution",
        "{}: {body}",
        answer.status
    );
    assert_eq!(server.value("value"), 1.0, "others are answered");
}

#[test]
fn life_signs_and_pages() {
    let (server, _page) = server();
    for (path, text) in [("/-/healthy", "Healthy"), ("/-/ready", "Ready")] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(text), "{}", answer.text());
        let head = request(server.address(), "HEAD", path, &[], b"").unwrap();
        assert_eq!(head.status, 200);
    }
    for path in ["/query", "/targets", "/alerts"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains("<html"), "{path}: {}", answer.text());
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("script-src"), "{path}: {policy:?}");
    }
    assert_eq!(server.get("/no/such/page").status, 404);
    let cors = [
        ("Origin", "http://elsewhere"),
        ("Access-Control-Request-Method", "GET"),
    ];
    let answer = request(server.address(), "OPTIONS", "/api/v1/query", &cors, b"").unwrap();
    assert!(answer.status < 300, "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let gzip = [("Accept-Encoding", "gzip")];
    let answer = request(server.address(), "GET", "/metrics", &gzip, b"").unwrap();
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
}

#[test]
fn its_own_metrics_pass_promtool() {
    let (server, _page) = server();
    server.query("rate(paint_total[1m])");
    let page = server.setup().path().join("metrics");
    std::fs::write(&page, &server.get("/metrics").body).unwrap();
    let status = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(File::open(&page).unwrap())
        .output()
        .expect("promtool runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&status.stdout),
        String::from_utf8_lossy(&status.stderr)
    );
    // Some of Prometheus's own names contain a type, which the linter dislikes; they are kept as
    // they are so that dashboards find them.
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| {
            !(line.starts_with("prometheus_") && line.contains("should not include type"))
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(
        [0, 3].contains(&status.status.code().unwrap_or(-1)),
        "{said}"
    );
    for name in [
        "prometheus_tsdb_head_series",
        "prometheus_tsdb_head_samples_appended_total",
        "prometheus_config_last_reload_successful",
        "prometheus_build_info",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(
            server.get("/metrics").text().contains(&format!("\n{name}")),
            "no {name}"
        );
    }
}

#[test]
fn promtool_queries_it() {
    let (server, _page) = server();
    for (arguments, wanted) in [
        (
            &["query", "instant", "URL", "sum(color_brightness)"][..],
            "3.5",
        ),
        (
            &["query", "series", "--match=paint_total", "URL"],
            "paint_total",
        ),
        (&["query", "labels", "URL", "color"], "green"),
        (&["query", "range", "--step=1s", "URL", "vector(42)"], "42"),
    ] {
        let mut command = Command::new(tool("promtool"));
        command.args(
            arguments
                .iter()
                .map(|word| word.replace("URL", server.url().trim_end_matches('/'))),
        );
        let mut promtool = Process::start("promtool", command, server.setup().path());
        let status = promtool.wait(Duration::from_secs(20));
        let said = promtool.output();
        assert!(status.success(), "{arguments:?}: {said}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
}

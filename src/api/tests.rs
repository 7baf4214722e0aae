//! The API over real sockets, with a store of its own per test.

use std::time::{Duration, Instant};

use barograph_query::Cancel;
use http::StatusCode;
use serde_json::{Value, json};

use super::test_server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_prometheus_s_errors() {
    let server = Server::new().await;
    for (path, status, kind, want) in [
        (
            "query?query=up%5B",
            400,
            "bad_data",
            "invalid parameter \"query\": ",
        ),
        ("query", 400, "bad_data", "invalid parameter \"query\": "),
        (
            "query?query=up&time=abc",
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"abc\" to a valid timestamp",
        ),
        (
            "query?query=up&limit=-1",
            400,
            "bad_data",
            "invalid parameter \"limit\": limit must be non-negative",
        ),
        (
            "query?query=up&limit=x",
            400,
            "bad_data",
            "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "query?query=up%5B1m*0%5D",
            400,
            "bad_data",
            "invalid parameter \"query\": 3:7: duration must be greater than 0",
        ),
        (
            "query?query=1..2",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:1: parse error: bad number or duration syntax: \"1..\"",
        ),
        (
            "query?query=1e",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:1: parse error: bad number or duration syntax: \"1e\"",
        ),
        ("labels?match[]=%7B", 400, "bad_data", "1:2: parse error: "),
        ("rules?match[]=%7B", 400, "bad_data", "1:2: parse error: "),
        (
            "series?match[]=%7B",
            400,
            "bad_data",
            "invalid parameter \"match[]\": 1:2: parse error: ",
        ),
        (
            "query?query=up&timeout=x",
            400,
            "bad_data",
            "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration",
        ),
        (
            "query?query=up&lookback_delta=x",
            400,
            "bad_data",
            "error parsing lookback delta duration: cannot parse \"x\" to a valid duration",
        ),
        (
            "query_range?query=up&start=1&end=0&step=1",
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            "query_range?query=up&start=0&end=1&step=0",
            400,
            "bad_data",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "query_range?query=up&start=0&end=100000&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range?query=up&start=0&end=1&step=x",
            400,
            "bad_data",
            "invalid parameter \"step\": cannot parse \"x\" to a valid duration",
        ),
        (
            "query_range?query=up&start=x&end=1&step=1",
            400,
            "bad_data",
            "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp",
        ),
        ("series", 400, "bad_data", "no match[] parameter provided"),
        (
            "series?match[]=x%7B",
            400,
            "bad_data",
            "invalid parameter \"match[]\": ",
        ),
        (
            "labels?start=x",
            400,
            "bad_data",
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp",
        ),
        (
            "rules?type=x",
            400,
            "bad_data",
            "invalid parameter \"type\": not supported value \"x\"",
        ),
        (
            "rules?group_next_token=x",
            400,
            "bad_data",
            "invalid parameter \"group_next_token\": group_limit needs to be present",
        ),
        (
            "status/tsdb?limit=0",
            400,
            "bad_data",
            "limit must be a positive number",
        ),
        (
            "status/tsdb?limit=10001",
            400,
            "bad_data",
            "limit must not exceed 10000",
        ),
        (
            "metadata?limit=x",
            400,
            "bad_data",
            "limit must be a number",
        ),
        (
            "query?query=%zz",
            400,
            "bad_data",
            "error parsing form values: invalid URL escape",
        ),
        (
            "nonsense",
            404,
            "not_found",
            "no such API endpoint: /api/v1/nonsense",
        ),
    ] {
        let (got, value) = server.json(&format!("/api/v1/{path}")).await;
        assert_eq!(got, status, "{path}: {value}");
        assert_eq!(value["status"], "error", "{path}");
        assert_eq!(value["errorType"], kind, "{path}");
        let message = value["error"].as_str().expect("a text");
        assert!(message.starts_with(want), "{path}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn series_and_labels_come_from_the_store() {
    let server = Server::new().await;
    let now_ms = server.store(&[
        (
            &[("__name__", "up"), ("job", "a"), ("instance", "x:1")],
            1.0,
        ),
        (
            &[("__name__", "up"), ("job", "b"), ("http.status", "200")],
            0.0,
        ),
        (&[("__name__", "down"), ("job", "a")], 1.0),
    ]);
    assert_eq!(
        server.data("/api/v1/labels").await,
        json!(["__name__", "http.status", "instance", "job"])
    );
    assert_eq!(
        server.data("/api/v1/label/job/values").await,
        json!(["a", "b"])
    );
    assert_eq!(
        server.data("/api/v1/label/U__http_2e_status/values").await,
        json!(["200"])
    );
    assert_eq!(server.data("/api/v1/label/absent/values").await, json!([]));
    let (_, value) = server.json("/api/v1/label/job/values?limit=1").await;
    assert_eq!(
        value,
        json!({"status": "success", "data": ["a"], "warnings": ["results truncated due to limit"]})
    );
    let late = now_ms / 1000 + 3600 * 24;
    assert_eq!(
        server.data(&format!("/api/v1/labels?start={late}")).await,
        json!([])
    );

    let stats = server.data("/api/v1/status/tsdb").await;
    assert_eq!(stats["headStats"]["numSeries"], 3);
    assert_eq!(stats["headStats"]["maxTime"], now_ms);
    assert_eq!(
        stats["seriesCountByMetricName"][0],
        json!({"name": "up", "value": 2})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_states_have_prometheus_s_shape() {
    let server = Server::new().await;
    for (path, want) in [
        (
            "targets",
            json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {"a": 0, "b": 0}}),
        ),
        (
            "targets?state=active",
            json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": null}),
        ),
        ("targets/metadata", json!([])),
        ("metadata", json!({})),
        ("rules", json!({"groups": []})),
        ("alerts", json!({"alerts": []})),
        (
            "alertmanagers",
            json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}),
        ),
        ("scrape_pools", json!({"scrapePools": ["a", "b"]})),
        ("notifications", json!([])),
        ("notifications/deliveries", json!({"deliveries": []})),
        (
            "status/walreplay",
            json!({"min": 0, "max": 0, "current": 0}),
        ),
    ] {
        let mut got = server.data(&format!("/api/v1/{path}")).await;
        if path == "targets" {
            // Jobs without targets may be counted or not.
            got["droppedTargetCounts"] = want["droppedTargetCounts"].clone();
        }
        assert_eq!(got, want, "{path}");
    }
    let keys = |value: &Value| {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let build = server.data("/api/v1/status/buildinfo").await;
    for key in [
        "version",
        "revision",
        "branch",
        "buildUser",
        "buildDate",
        "goVersion",
    ] {
        assert!(build[key].is_string(), "{key}");
    }
    assert!(
        build["version"]
            .as_str()
            .is_some_and(|version| version.starts_with("3."))
    );
    let runtime = server.data("/api/v1/status/runtimeinfo").await;
    for key in [
        "startTime",
        "CWD",
        "hostname",
        "serverTime",
        "reloadConfigSuccess",
        "lastConfigTime",
        "corruptionCount",
        "goroutineCount",
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "GOGC",
        "GODEBUG",
        "storageRetention",
    ] {
        assert!(keys(&runtime).contains(&key.to_owned()), "{key}");
    }
    assert_eq!(runtime["storageRetention"], "15d");
    let flags = server.data("/api/v1/status/flags").await;
    assert_eq!(flags["query.lookback-delta"], "5m");
    assert_eq!(flags["storage.tsdb.min-block-duration"], "2h");
    let yaml = server.data("/api/v1/status/config").await;
    assert!(
        yaml["yaml"]
            .as_str()
            .is_some_and(|yaml| yaml.contains("- job_name: b\n"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_read_like_urls() {
    let server = Server::new().await;
    server.store(&[(&[("__name__", "up"), ("job", "a")], 1.0)]);
    let url = format!("{}/api/v1/labels", server.url);
    let post = |body: &'static str| {
        server
            .client
            .post(&url)
            .header(
                "Content-Type",
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .body(body)
            .send()
    };
    let reply: Value = post("limit=1")
        .await
        .expect("a reply")
        .json()
        .await
        .expect("JSON");
    assert_eq!(reply["data"], json!(["__name__"]));
    let reply = post("start=oops").await.expect("a reply");
    assert_eq!(reply.status(), 400);
    let large = "x".repeat(super::params::FORM_LIMIT_BYTES + 1);
    let reply = server
        .client
        .post(&url)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(large)
        .send()
        .await;
    // The server may hang up before it read all.
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status() == 400));
    let reply = server.client.put(&url).send().await.expect("a reply");
    assert_eq!(reply.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_does_not_fit_leaves_the_old_one_in_force() {
    let server = Server::with(
        "scrape_configs: [{job_name: old}]\n",
        &["--web.enable-lifecycle"],
    )
    .await;
    let file = server.directory.path().join("prometheus.yml");
    let reload = || async {
        let reply = server
            .client
            .post(format!("{}/-/reload", server.url))
            .send()
            .await
            .expect("a reply");
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    };
    let rules = server.directory.path().join("rules.yml");
    std::fs::write(
        &rules,
        "groups: [{name: g, rules: [{record: 'a b c', expr: '('}]}]\n",
    )
    .expect("written");
    for (text, want) in [
        (
            "scrape_configs: [{job_name: new, nonsense: 1}]\n",
            ":1:34: unknown field `nonsense`",
        ),
        ("scrape_configs: [\n", "prometheus.yml:"),
        ("rule_files: [rules.yml]\n", "rules.yml:"),
    ] {
        std::fs::write(&file, text).expect("written");
        let (status, message) = reload().await;
        assert_eq!(status, 500, "{text}: {message}");
        assert!(
            message.starts_with("failed to reload config: "),
            "{message}"
        );
        assert!(
            message.contains(want) && message.contains("old configuration stays in force"),
            "{message}"
        );
        assert_eq!(
            server.data("/api/v1/scrape_pools").await["scrapePools"],
            json!(["old"])
        );
        let (_, metrics) = server.get("/metrics").await;
        assert!(metrics.contains("\nprometheus_config_last_reload_successful 0\n"));
        assert_eq!(
            server.data("/api/v1/status/runtimeinfo").await["reloadConfigSuccess"],
            false
        );
        assert_eq!(
            server.data("/api/v1/notifications").await[0]["active"],
            true
        );
    }
    std::fs::write(&file, "scrape_configs: [{job_name: new}]\n").expect("written");
    assert_eq!(reload().await.0, 200);
    assert_eq!(
        server.data("/api/v1/scrape_pools").await["scrapePools"],
        json!(["new"])
    );
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("\nprometheus_config_last_reload_successful 1\n"));
    assert!(
        metrics.contains("prometheus_http_requests_total{handler=\"/-/reload\",code=\"500\"} 3\n"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_and_quit_are_off_unless_asked_for() {
    let server = Server::new().await;
    for path in ["/-/reload", "/-/quit"] {
        let url = format!("{}{path}", server.url);
        let reply = server.client.post(&url).send().await.expect("a reply");
        assert_eq!(reply.status(), 403);
        assert!(
            reply
                .text()
                .await
                .expect("a body")
                .starts_with("Lifecycle API is not enabled.")
        );
        assert_eq!(
            server
                .client
                .get(&url)
                .send()
                .await
                .expect("a reply")
                .status(),
            405
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_is_ready_only_health_and_metrics_answer() {
    let server = Server::starting("", &[]).await;
    for (path, want) in [
        ("/-/healthy", 200),
        ("/metrics", 200),
        ("/version", 200),
        ("/-/ready", 503),
        ("/api/v1/query?query=1", 503),
        ("/api/v1/targets", 503),
    ] {
        assert_eq!(server.get(path).await.0, want, "{path}");
    }
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("\nprometheus_ready 0\n"));
    // Both say what they wait for, as people and as programs read it.
    let why = "the server is starting: the store is about to be opened";
    let (_, text) = server.get("/-/ready").await;
    assert_eq!(text, format!("Service Unavailable: {why}\n"));
    let (_, reply) = server.json("/api/v1/query?query=1").await;
    let error = json!({"status": "error", "errorType": "unavailable", "error": why});
    assert_eq!(reply, error);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_replies_and_methods() {
    let server = Server::with("", &["--web.cors.origin=https?://(a|b)\\.example"]).await;
    let url = format!("{}/api/v1/labels", server.url);
    for (origin, allowed) in [
        ("http://a.example", true),
        ("http://c.example", false),
        ("http://a.example.evil", false),
    ] {
        let reply = server
            .client
            .request(http::Method::OPTIONS, &url)
            .header("Origin", origin)
            .send()
            .await
            .expect("a reply");
        assert_eq!(reply.status(), 204);
        assert_eq!(
            reply.headers().contains_key("access-control-allow-origin"),
            allowed,
            "{origin}"
        );
    }
    let reply = server.client.head(&url).send().await.expect("a reply");
    assert_eq!(
        (
            reply.status(),
            reply.headers()["content-type"].to_str().ok()
        ),
        (StatusCode::OK, Some("application/json"))
    );
    let reply = server
        .client
        .get(format!("{}/metrics", server.url))
        .header("Accept-Encoding", "gzip, zstd")
        .send()
        .await
        .expect("a reply");
    assert_eq!(reply.headers()["content-encoding"], "gzip");
    let reply = server
        .client
        .get(format!("{}/metrics", server.url))
        .header("Accept", "application/openmetrics-text")
        .send()
        .await
        .expect("a reply");
    assert!(
        reply.headers()["content-type"]
            .to_str()
            .is_ok_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    assert!(reply.text().await.expect("a body").ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_redirects_and_prefixes() {
    let server = Server::with("", &["--web.route-prefix=/baro", "--web.page-title=A <b>"]).await;
    let location = |path: &'static str| {
        let reply = server.client.get(format!("{}{path}", server.url)).send();
        async move {
            reply.await.expect("a reply").headers()["location"]
                .to_str()
                .expect("text")
                .to_owned()
        }
    };
    assert_eq!(location("/").await, "/baro/query");
    assert_eq!(
        location("/graph?g0.expr=up").await,
        "/baro/query?g0.expr=up"
    );
    let reply = server
        .client
        .get(format!("{}/query", server.url))
        .send()
        .await
        .expect("a reply");
    let policy = reply.headers()["content-security-policy"]
        .to_str()
        .expect("text")
        .to_owned();
    let nonce = policy
        .split("'nonce-")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .expect("a nonce")
        .to_owned();
    assert_eq!(nonce.len(), 32);
    let page = reply.text().await.expect("a page");
    assert!(page.contains("<title>A &lt;b&gt;</title>"), "{page}");
    let (_, other) = server.get("/query").await;
    assert!(!other.contains(&nonce), "a nonce serves once");
    assert_eq!(server.get("/api/v1/labels").await.0, 200);
    assert_eq!(server.get("/nowhere").await.0, 404);
    let (status, text) = server.get("/assets/absent.js").await;
    assert_eq!((status.as_u16(), text.trim()), (404, "404 page not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_query_is_an_error_of_that_query() {
    let server = Server::new().await;
    let core = server.core();
    let panics = super::query::on_pool::<()>(core, Cancel::default(), || panic!("BUG: on purpose"));
    let error = panics.await.expect_err("a panic");
    assert_eq!(
        (error.kind.status().as_u16(), error.message.as_str()),
        (500, "BUG: on purpose")
    );
    let fine = super::query::on_pool(core, Cancel::default(), || Ok(7));
    assert_eq!(fine.await.expect("a value"), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_its_query() {
    let server = Server::new().await;
    let cancel = Cancel::default();
    let (begun, begins) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel();
    let seen = cancel.clone();
    let job = move || {
        begun.send(()).expect("a listener");
        let latest = Instant::now() + Duration::from_secs(5);
        while !seen.is_canceled() && Instant::now() < latest {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(seen.is_canceled(), "the query runs on");
        end.send(()).expect("a listener");
        Ok(())
    };
    let core = server.core().clone();
    let asking =
        tokio::spawn(async move { super::query::on_pool(&core, cancel, job).await.is_ok() });
    tokio::task::spawn_blocking(move || begins.recv_timeout(Duration::from_secs(5)))
        .await
        .expect("no panic")
        .expect("the job begins");
    asking.abort();
    tokio::task::spawn_blocking(move || ended.recv_timeout(Duration::from_secs(5)))
        .await
        .expect("no panic")
        .expect("the job ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_remote_write_beyond_the_memory_for_them_are_to_come_again() {
    let server = Server::with("{}\n", &["--web.enable-remote-write-receiver"]).await;
    let root = server.url.trim_end_matches('/').trim_end_matches("/api/v1");
    let url = format!("{root}/api/v1/write");
    // A message without series, compressed.
    let send = || server.client.post(&url).body(&b"\0"[..]).send();
    assert_eq!(send().await.expect("a reply").status(), 204);
    let bodies = server.app.write_bodies.clone();
    let all = bodies.available_permits() as u32;
    let taken = bodies.try_acquire_many_owned(all).expect("all are free");
    let reply = send().await.expect("a reply");
    assert_eq!(reply.status(), 503);
    assert!(reply.headers().contains_key("retry-after"));
    drop(taken);
    assert_eq!(send().await.expect("a reply").status(), 204);
}

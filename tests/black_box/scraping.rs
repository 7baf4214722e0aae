//! What a scrape does with what targets send.

use std::io::Write;
use std::time::Duration;

use crate::harness::http::Reply;
use crate::harness::server::{Server, Setup};
use crate::harness::target::Page;
use crate::harness::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(15);

fn watch(page: &Page, extra: &str) -> Server {
    Setup::with_config(&format!(
        "scrape_configs:
  - job_name: page
    scrape_interval: 200ms
    scrape_timeout: 200ms
{extra}    static_configs:
      - targets: ['{}']
        labels:
          zone: here
",
        page.address()
    ))
    .start()
}

#[test]
fn gzip_is_asked_for_and_read() {
    let text = "# TYPE squeezed gauge\nsqueezed{of=\"much\"} 42.5\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let mut reply = Reply::metrics(gzip.finish().unwrap());
    reply.encoding = Some("gzip");
    let page = Page::serving(reply);
    let server = watch(&page, "");
    assert_eq!(server.wait_for_result("squeezed", LIMIT)[0].value(), 42.5);
    let request = &page.requests()[0];
    assert!(
        request.header("accept-encoding").contains("gzip"),
        "{request:?}"
    );
    assert!(
        request
            .header("accept")
            .contains("application/openmetrics-text"),
        "{request:?}"
    );
    assert!(!request.header("user-agent").is_empty());
    assert!(
        request
            .header("x-prometheus-scrape-timeout-seconds")
            .parse::<f64>()
            .is_ok_and(|seconds| seconds == 0.2),
        "{request:?}"
    );
}

#[test]
fn openmetrics_is_read() {
    let page = Page::serving(Reply::new(
        200,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "# TYPE jobs counter\n# UNIT wait_seconds seconds\n# TYPE wait_seconds histogram\n\
         jobs_total{queue=\"a\"} 7.0 # {trace_id=\"x\"} 1.0\n\
         wait_seconds_bucket{le=\"0.1\"} 1\nwait_seconds_bucket{le=\"+Inf\"} 3\n\
         wait_seconds_count 3\nwait_seconds_sum 1.5\n# EOF\n",
    ));
    let server = watch(&page, "");
    assert_eq!(server.wait_for_result("jobs_total", LIMIT)[0].value(), 7.0);
    let buckets = server.query("wait_seconds_bucket{le=\"0.1\"}");
    assert_eq!(buckets.len(), 1);
    let metadata = server.data("metadata", &[("metric", "wait_seconds")]);
    assert_eq!(
        metadata["wait_seconds"][0]["type"], "histogram",
        "{metadata}"
    );
}

#[test]
fn values_come_back_bit_for_bit() {
    let values = [
        "0.1",
        "-0",
        "1e-320",
        "1.7976931348623157e+308",
        "9007199254740993",
        "+Inf",
        "-Inf",
        "NaN",
        "3.141592653589793",
    ];
    let text: String = values
        .iter()
        .enumerate()
        .map(|(at, value)| format!("exact{{at=\"{at}\"}} {value}\n"))
        .collect();
    let page = Page::metrics(&text);
    let server = watch(&page, "");
    server.wait_for_result("exact", LIMIT);
    for (at, value) in values.iter().enumerate() {
        let got = server.value(&format!("exact{{at=\"{at}\"}}"));
        let want = crate::harness::exposition::read_number(value);
        assert!(
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "{got} for {value}"
        );
    }
    // The sign of a zero shows in a division.
    assert_eq!(server.value("1 / exact{at=\"1\"}"), f64::NEG_INFINITY);
}

#[test]
fn a_series_that_vanishes_goes_stale_at_once() {
    let page = Page::metrics("stays 1\ngoes 2\n");
    let server = watch(&page, "");
    server.wait_for_result("goes", LIMIT);
    page.set_metrics("stays 1\n");
    wait_until("end of the vanished series", LIMIT, || {
        server.query("goes").is_empty()
    });
    assert_eq!(server.value("stays"), 1.0);
    assert!(
        !server.query("goes[1m]")[0].samples.is_empty(),
        "its past stays"
    );
    page.set_metrics("stays 1\ngoes 3\n");
    assert_eq!(server.wait_for_result("goes", LIMIT)[0].value(), 3.0);
}

#[test]
fn a_target_that_fails_is_down_and_its_series_stale() {
    let page = Page::metrics("lives 1\n");
    let server = watch(&page, "");
    server.wait_for_result("lives", LIMIT);
    page.set(Reply::new(503, "text/plain", "away"));
    wait_until("down target", LIMIT, || server.value("up") == 0.0);
    assert!(server.query("lives").is_empty());
    page.set_metrics("lives 2\n");
    wait_until("return of the target", LIMIT, || server.value("up") == 1.0);
    assert_eq!(server.wait_for_result("lives", LIMIT)[0].value(), 2.0);
}

#[test]
fn labels_of_the_target_win_unless_honored() {
    let page = Page::metrics("owned{job=\"theirs\",zone=\"there\"} 1\n");
    let server = watch(&page, "");
    let series = &server.wait_for_result("owned", LIMIT)[0];
    assert_eq!(series.label("job"), "page");
    assert_eq!(series.label("exported_job"), "theirs");
    assert_eq!(series.label("zone"), "here");
    assert_eq!(series.label("exported_zone"), "there");

    let server = watch(&page, "    honor_labels: true\n");
    let series = &server.wait_for_result("owned", LIMIT)[0];
    assert_eq!(series.label("job"), "theirs");
    assert_eq!(series.label("zone"), "there");
    assert!(!series.labels.contains_key("exported_job"));
}

#[test]
fn relabelling_rewrites_drops_and_keeps() {
    let page = Page::metrics("wanted{path=\"/a/17\"} 1\nunwanted 2\n");
    let server = watch(
        &page,
        "    relabel_configs:
      - source_labels: [__address__]
        regex: '(.*):(\\d+)'
        target_label: instance
        replacement: 'host-$1'
      - target_label: team
        replacement: shop
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: unwanted
        action: drop
      - source_labels: [path]
        regex: '/a/\\d+'
        target_label: path
        replacement: /a/:id
",
    );
    let series = &server.wait_for_result("wanted", LIMIT)[0];
    assert_eq!(series.label("instance"), "host-127.0.0.1");
    assert_eq!(series.label("team"), "shop");
    assert_eq!(series.label("path"), "/a/:id");
    assert!(server.query("unwanted").is_empty());
    assert_eq!(server.value("scrape_samples_scraped"), 2.0);
    assert_eq!(server.value("scrape_samples_post_metric_relabeling"), 1.0);
}

#[test]
fn targets_from_files_come_and_go_with_the_file() {
    let page = Page::metrics("filed 1\n");
    let other = Page::metrics("filed 2\n");
    let listed = |page: &Page| {
        format!(
            "[{{\"targets\": [\"{}\"], \"labels\": {{\"from\": \"file\"}}}}]",
            page.address()
        )
    };
    let server = Setup::with_config(
        "scrape_configs:
  - job_name: filed
    scrape_interval: 200ms
    scrape_timeout: 200ms
    file_sd_configs:
      - files: ['targets.json']
        refresh_interval: 1s
",
    )
    .file("targets.json", &listed(&page))
    .start();
    let series = &server.wait_for_result("filed == 1", LIMIT)[0];
    assert_eq!(series.label("from"), "file");
    server.setup().write("targets.json", &listed(&other));
    server.wait_for_result("filed == 2", LIMIT);
    wait_until("end of the first target", LIMIT, || {
        server.query("filed == 1").is_empty()
    });
}

/// A field of a protocol buffers message, of a length that fits one byte.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a short field");
    assert!(number < 16 && length < 128);
    [&[number << 3 | 2, length], content].concat()
}

/// A family of one native histogram with seven observations; 4 is the kind of counters, 5 of gauges.
fn native_family(name: &str, kind: u8) -> Vec<u8> {
    let double = |number: u8, value: f64| [&[number << 3 | 1][..], &value.to_le_bytes()].concat();
    let histogram = [
        vec![1 << 3, 7],
        double(2, 3.5),
        // Schema 1.
        vec![5 << 3, 2],
        double(6, 0.001),
        vec![7 << 3, 1],
        // Two buckets from the index -2 on, with 2 and 4.
        field(12, &[1 << 3, 3, 2 << 3, 2]),
        field(13, &[4, 4]),
    ];
    let metric = field(7, &histogram.concat());
    let family = [
        field(1, name.as_bytes()),
        vec![3 << 3, kind],
        field(4, &metric),
    ]
    .concat();
    let length = u8::try_from(family.len()).expect("a short family");
    assert!(length < 128);
    [vec![length], family].concat()
}

#[test]
fn native_histograms_pass_through_federation() {
    let families = [native_family("took", 4), native_family("waiting", 5)];
    let page = Page::serving(Reply::new(
        200,
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
        families.concat(),
    ));
    let leaf = watch(&page, "    scrape_native_histograms: true\n");
    let has = |server: &Server, name: &str| {
        let answer = server.data("query", &[("query", name)]);
        !answer["result"][0].is_null()
    };
    wait_until("a histogram", LIMIT, || has(&leaf, "took"));
    let top = Setup::with_config(&format!(
        "scrape_configs:
  - job_name: leaf
    scrape_interval: 200ms
    scrape_timeout: 200ms
    honor_labels: true
    scrape_native_histograms: true
    metrics_path: /federate
    params:
      'match[]': ['{{job=\"page\"}}']
    static_configs:
      - targets: ['{}']
",
        leaf.address()
    ))
    .start();
    for name in ["took", "waiting", "up{job=\"page\"}"] {
        wait_until(name, LIMIT, || has(&top, name));
        let answer = |server: &Server| {
            let mut answer = server.data("query", &[("query", name)]);
            let mut result = answer["result"][0].take();
            // Their times are their servers' own.
            for kind in ["value", "histogram"] {
                if let Some(point) = result.get_mut(kind) {
                    point[0].take();
                }
            }
            result
        };
        assert_eq!(answer(&top), answer(&leaf));
        let is_histogram = answer(&top)["histogram"][1]["count"] == "7";
        assert_eq!(is_histogram, !name.starts_with("up"));
    }
    // A gauge goes down without being reset: its rate is one of counters and says so.
    let notes = |name: &str| {
        let text = top
            .api("query", &[("query", &format!("rate({name}[1m])"))])
            .text();
        text.contains("this native histogram metric is not a counter")
    };
    wait_until("two scrapes", LIMIT, || notes("waiting"));
    assert!(!notes("took"));
    // Who does not read protocol buffers gets what has a form as text.
    let page = leaf.get("/federate?match[]=%7Bjob=%22page%22%7D").text();
    assert!(page.contains("up{") && !page.contains("took"), "{page}");
}

//! Receiving what another Prometheus sends.

use std::process::Command;
use std::time::Duration;

use crate::harness::http::request;
use crate::harness::process::{Process, tool};
use crate::harness::server::{Series, Server, Setup};
use crate::harness::target::Page;
use crate::harness::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(30);
const PROTOBUF: &str = "application/x-protobuf";

fn receiver(arguments: &[&str]) -> Server {
    let mut setup = Setup::with_config("scrape_configs: []\n");
    for argument in arguments {
        setup = setup.argument(*argument);
    }
    setup.start()
}

/// A Prometheus that scrapes `page` and sends everything to `server`.
fn sender(page: &Page, server: &Server, directory: &std::path::Path) -> Process {
    let config = format!(
        "global:
  scrape_interval: 300ms
  scrape_timeout: 300ms
  external_labels: {{from: prometheus}}
scrape_configs:
  - job_name: page
    static_configs:
      - targets: ['{}']
remote_write:
  - url: {}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms, max_samples_per_send: 7}}
    metadata_config: {{send_interval: 1s}}
",
        page.address(),
        server.url(),
    );
    std::fs::write(directory.join("sender.yml"), config).unwrap();
    let mut command = Command::new(tool("prometheus"));
    command
        .arg("--config.file=sender.yml")
        .arg("--storage.tsdb.path=sent")
        .arg("--web.listen-address=127.0.0.1:0")
        .current_dir(directory);
    Process::start("prometheus", command, directory)
}

#[test]
fn a_prometheus_sends_and_the_same_is_found_here() {
    let directory = tempfile::tempdir().unwrap();
    let page = Page::metrics(
        "# HELP temperature How warm it is.\n# TYPE temperature gauge\ntemperature{room=\"attic\"} 21.5\ntemperature{room=\"cellar\"} -3e-7\n",
    );
    let server = receiver(&["--web.enable-remote-write-receiver"]);
    let prometheus = sender(&page, &server, directory.path());
    let query = "temperature{from=\"prometheus\",job=\"page\"}";
    wait_until("both series", LIMIT, || server.query(query).len() == 2);
    let found = server.query(query);
    let values: Vec<f64> = found.iter().map(Series::value).collect();
    assert_eq!(values, [21.5, -3e-7]);
    assert_eq!(found[0].label("instance"), page.address().to_string());
    // Batches of seven cut every scrape somewhere else: nothing is missing all the same.
    wait_until("twelve scrapes", LIMIT, || {
        server.value("min(count_over_time(up[5m]))") >= 12.0
    });
    let counts: Vec<usize> = server
        .query("{job=\"page\"}[5m]")
        .iter()
        .map(|series| series.samples.len())
        .collect();
    assert!(
        counts.len() >= 7,
        "two of the page, five of the scrape: {counts:?}"
    );
    // The newest scrape may be under way.
    let most = counts.iter().max().unwrap();
    assert!(counts.iter().all(|count| count + 1 >= *most), "{counts:?}");
    wait_until("the description", LIMIT, || {
        server.data("metadata", &[("metric", "temperature")])["temperature"][0]["help"]
            == "How warm it is."
    });
    // A series that is gone from the page is gone at once, by the sender's marker.
    page.set_metrics("temperature{room=\"attic\"} 22\n");
    wait_until("staleness", LIMIT, || server.query(query).len() == 1);
    drop(prometheus);
    assert_eq!(
        server.own_metric("barograph_remote_write_refused_samples_total"),
        0.0
    );
}

#[test]
fn requests_that_do_not_fit_are_told_why() {
    let off = receiver(&[]);
    let ask = |server: &Server, headers: &[(&str, &str)], body: &[u8]| {
        request(server.address(), "POST", "/api/v1/write", headers, body).unwrap()
    };
    let answer = ask(&off, &[("Content-Type", PROTOBUF)], b"\0");
    assert_eq!(answer.status, 404);
    assert!(
        answer.text().contains("--web.enable-remote-write-receiver"),
        "{}",
        answer.text()
    );

    let server = receiver(&[
        "--web.enable-remote-write-receiver",
        "--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest",
    ]);
    // An empty message is a request without series.
    for (headers, body, status, words) in [
        (
            vec![("Content-Type", PROTOBUF), ("Content-Encoding", "snappy")],
            &b"\0"[..],
            204,
            "",
        ),
        (vec![], b"\0", 204, ""),
        (
            vec![("Content-Encoding", "gzip")],
            b"\0",
            415,
            "gzip encoding (compression) is not accepted",
        ),
        (
            vec![("Content-Type", "text/plain")],
            b"\0",
            415,
            "text/plain",
        ),
        (
            vec![(
                "Content-Type",
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            )],
            b"\0",
            415,
            "only accepts prometheus.WriteRequest",
        ),
        (
            vec![("Content-Type", PROTOBUF)],
            b"no snappy",
            400,
            "snappy",
        ),
        (
            vec![("Content-Type", PROTOBUF)],
            b"\x02\x04\x0a\x09",
            400,
            "malformed",
        ),
    ] {
        let answer = ask(&server, &headers, body);
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
        assert!(
            answer.text().contains(words),
            "{headers:?}: {}",
            answer.text()
        );
    }
}

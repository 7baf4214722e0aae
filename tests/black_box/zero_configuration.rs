//! One command, no configuration.

use std::time::{Duration, Instant};

use crate::harness::server::{Setup, printed_urls};
use crate::harness::wait::wait_until;

#[test]
fn the_first_graph_needs_no_configuration() {
    let start = Instant::now();
    let server = Setup::new().start();
    let limit = Duration::from_secs(30);

    wait_until("up of itself and of the host", limit, || {
        let up = server.query("up");
        up.len() >= 2 && up.iter().all(|series| series.value() == 1.0)
    });
    for expression in [
        "node_cpu_seconds_total{mode=\"idle\"}",
        "node_memory_MemTotal_bytes",
        "node_load1",
        "node_network_receive_bytes_total{device=\"lo\"}",
        "node_uname_info{sysname=\"Linux\"}",
        "prometheus_tsdb_head_series",
        "process_resident_memory_bytes",
    ] {
        let left = limit.saturating_sub(start.elapsed());
        server.wait_for_result(expression, left);
    }
    // A graph of a rate needs two samples.
    let left = limit.saturating_sub(start.elapsed());
    let busy = "sum(rate(node_cpu_seconds_total{mode!=\"idle\"}[1m]))";
    let busy = server.wait_for_result(busy, left);
    assert!(busy[0].value() >= 0.0);
    assert!(start.elapsed() < limit, "it took {:?}", start.elapsed());

    let urls = printed_urls(&server.process().stdout());
    assert_eq!(urls.len(), 1, "one URL is printed: {urls:?}");
    for url in printed_urls(&server.process().stderr()) {
        assert_eq!(url, urls[0], "the log names no other");
    }
    assert!(
        server.setup().path().join("data").is_dir(),
        "everything is under ./data"
    );
}

#[test]
fn it_ends_when_asked_and_finds_everything_again() {
    let mut server = Setup::new().start();
    server.wait_for_result("node_load1", Duration::from_secs(30));
    let before = server.query("node_load1[10m]");
    server.stop();
    server.restart();
    let after = server.query("node_load1[10m]");
    for sample in &before[0].samples {
        assert!(
            after[0].samples.contains(sample),
            "{sample:?} is gone: {after:?}"
        );
    }
}

//! Debian's node_exporter as a target, and the built-in host collector beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::exposition::{LabelMap, read_samples, selector};
use crate::harness::http::get;
use crate::harness::server::{Server, Setup};
use crate::harness::target::Program;

/// Metrics that do not change while the machine runs.
const CONSTANT: &[&str] = &[
    "node_uname_info",
    "node_memory_MemTotal_bytes",
    "node_memory_SwapTotal_bytes",
    "node_boot_time_seconds",
    "node_filesystem_size_bytes",
    "node_network_mtu_bytes",
    "node_filefd_maximum",
];

#[test]
fn queried_values_equal_those_on_the_page() {
    let exporter = Program::node_exporter();
    let server = Setup::with_config(&format!(
        "scrape_configs:
  - job_name: node
    scrape_interval: 1s
    static_configs:
      - targets: ['{}']
",
        exporter.address()
    ))
    .start();
    server.wait_for_target("node", "up");

    let page = read_samples(&get(exporter.address(), "/metrics").text());
    let instance = exporter.address().to_string();
    let mut compared = 0;
    for (labels, value) in page {
        if !CONSTANT.contains(&labels["__name__"].as_str()) {
            continue;
        }
        let mut expected = labels.clone();
        expected.insert("job".into(), "node".into());
        expected.insert("instance".into(), instance.clone());
        let result = server.query(&selector(&labels));
        assert_eq!(result.len(), 1, "{labels:?} yields {result:?}");
        assert_eq!(result[0].labels, expected);
        assert_eq!(
            result[0].value().to_bits(),
            value.to_bits(),
            "{labels:?}: {} for {value}",
            result[0].value()
        );
        compared += 1;
    }
    assert!(compared >= 5, "only {compared} constant series were found");

    // What one scrape counted is what a query finds of it.
    let counted = server.query("scrape_samples_scraped{job=\"node\"}[1m]");
    for (time_ms, count) in &counted[0].samples {
        let own = "count({job=\"node\", __name__!~\"up|scrape_.*\"})";
        let found = server.query_at(own, *time_ms);
        assert_eq!(found[0].value().to_string(), *count, "at {time_ms}");
    }
    assert!(
        counted[0].value() > 100.0,
        "node_exporter has hundreds of series"
    );
    assert!(server.value("up{job=\"node\"}") == 1.0);
    assert!(server.value("scrape_duration_seconds{job=\"node\"}") > 0.0);
}

#[test]
fn the_built_in_collector_agrees_with_node_exporter() {
    let exporter = Program::node_exporter();
    let server = Setup::new().start();
    server.wait_for_result("node_uname_info", Duration::from_secs(30));

    let page = read_samples(&get(exporter.address(), "/metrics").text());
    let mut compared = 0;
    for name in CONSTANT {
        let theirs = constant_of(&page, name);
        assert_eq!(queried(&server, name), theirs, "{name}");
        compared += usize::from(!theirs.is_empty());
    }
    assert!(
        compared >= 5,
        "node_exporter has {compared} of {CONSTANT:?}"
    );
    // Of the families that matter most, every name node_exporter has is there too.
    let known: Vec<String> = server
        .data("label/__name__/values", &[])
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let prefixes = [
        "node_cpu_seconds",
        "node_memory_",
        "node_load",
        "node_filesystem_",
        "node_disk_",
        "node_network_",
        "node_uname_",
    ];
    let mut missing: Vec<&str> = page
        .iter()
        .map(|(labels, _)| labels["__name__"].as_str())
        .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|name| !known.iter().any(|have| have == name))
        .collect();
    missing.dedup();
    assert!(missing.is_empty(), "node_exporter also has {missing:?}");
}

/// A metric's values by its labels, as text to show and bits to compare.
type Values = BTreeMap<LabelMap, (String, u64)>;

fn constant_of(page: &[(LabelMap, f64)], name: &str) -> Values {
    page.iter()
        .filter(|(labels, _)| labels["__name__"] == name)
        .map(|(labels, value)| (labels.clone(), (value.to_string(), value.to_bits())))
        .collect()
}

fn queried(server: &Server, name: &str) -> Values {
    server
        .query(name)
        .into_iter()
        .map(|series| {
            let value = series.value();
            let mut labels = series.labels;
            labels.remove("job");
            labels.remove("instance");
            (labels, (value.to_string(), value.to_bits()))
        })
        .collect()
}

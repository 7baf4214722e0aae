//! The Express service of `examples/node-app`, with its own configuration and load.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::harness::exposition::{read_number, read_samples, selector};
use crate::harness::http::get;
use crate::harness::process::{Process, installed, tool};
use crate::harness::server::{Server, Setup};
use crate::harness::target::Program;
use crate::harness::wait::wait_for;

/// How long the load lasts, seconds, and its requests per second.
const LOAD: (u32, u32) = (8, 40);

#[test]
fn what_express_counts_is_what_a_query_says() {
    let app = Program::node_app();
    let server = example(&app).start();
    server.wait_for_target("node-app", "up");
    run_load(&app, "0.1");
    let page = settled(&server, &app);

    let mut compared = 0;
    for (labels, value) in read_samples(&page) {
        let name = labels["__name__"].as_str();
        if name != "http_requests_total" && !name.starts_with("http_request_duration_ms") {
            continue;
        }
        let selector = selector(&labels);
        let queried = server.value(&selector);
        assert_eq!(queried.to_bits(), value.to_bits(), "{selector}: {value}");
        compared += 1;
    }
    assert!(compared > 20, "only {compared} series were compared");

    // The load's rate, at its height.
    let rate = "max_over_time(sum(rate(http_requests_total[4s]))[30s:500ms])";
    let rate = server.value(rate);
    let wanted = f64::from(LOAD.1);
    assert!(
        (wanted * 0.5..wanted * 1.5).contains(&rate),
        "{rate}/s measured, {wanted}/s sent"
    );
    let rest = "sum(http_requests_total) - sum(http_request_duration_ms_count)";
    assert_eq!(server.value(rest), 0.0, "both count the same requests");
    assert_eq!(server.value("active_requests"), 0.0);
}

#[test]
fn quantiles_lie_inside_their_buckets() {
    let app = Program::node_app();
    let server = example(&app).start();
    server.wait_for_target("node-app", "up");
    run_load(&app, "0");
    let page = settled(&server, &app);

    let mut buckets: Vec<(f64, f64)> = read_samples(&page)
        .into_iter()
        .filter(|(labels, _)| {
            labels["__name__"] == "http_request_duration_ms_bucket"
                && labels["route"] == "/user"
                && labels["status_code"] == "200"
        })
        .map(|(labels, count)| (read_number(&labels["le"]), count))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = buckets.last().expect("buckets").1;
    for quantile in [0.25, 0.5, 0.9, 0.99] {
        let expression = format!(
            "histogram_quantile({quantile}, sum by (le) (http_request_duration_ms_bucket{{route=\"/user\",status_code=\"200\"}}))"
        );
        let value = server.value(&expression);
        let at = buckets
            .iter()
            .position(|(_, count)| *count >= quantile * total)
            .expect("a bucket");
        let lower = if at == 0 { 0.0 } else { buckets[at - 1].0 };
        assert!(
            lower <= value && value <= buckets[at].0,
            "the {quantile} quantile {value} is not in {lower}..{}",
            buckets[at].0
        );
    }
    // The service waits 5 to 50 ms.
    let median = "histogram_quantile(0.5, sum by (le) (rate(http_request_duration_ms_bucket{route=\"/user\"}[1m])))";
    let median = server.value(median);
    assert!((5.0..100.0).contains(&median), "median {median} ms");
}

#[test]
fn the_example_alert_fires_when_requests_fail() {
    let app = Program::node_app();
    let server = example(&app).start();
    server.wait_for_target("node-app", "up");
    run_load(&app, "0.9");
    let alert = wait_for("firing alert", Duration::from_secs(20), || {
        let alerts = server.data("alerts", &[]);
        let found = alerts["alerts"].as_array().unwrap().iter().find(|alert| {
            alert["labels"]["alertname"] == "HighErrorRatio" && alert["state"] == "firing"
        });
        found.cloned().ok_or_else(|| alerts.to_string())
    });
    assert_eq!(alert["labels"]["severity"], "page");
    assert_eq!(alert["labels"]["service"], "shop");
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    let (ratio, rest) = summary.split_once('%').expect("a percentage");
    assert_eq!(rest, " of the requests to shop fail");
    let ratio: f64 = ratio.parse().expect("a number");
    assert!((10.0..=100.0).contains(&ratio), "{summary}");
}

/// The example's own files, with its intervals shortened and its port replaced.
fn example(app: &Program) -> Setup {
    let read = |name: &str| {
        let path = installed("examples/node-app").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let config = read("prometheus.yml")
        .replace("5s", "500ms")
        .replace("localhost:3000", &app.address().to_string());
    let alerts = read("alerts.yml")
        .replace("for: 15s", "for: 1s")
        .replace("for: 30s", "for: 1s");
    assert!(config.contains("500ms") && config.contains(&app.address().to_string()));
    assert!(alerts.contains("for: 1s"));
    Setup::with_config(&config).file("alerts.yml", &alerts)
}

/// Runs the example's load to its end.
fn run_load(app: &Program, fail_ratio: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(tool("node"));
    let (seconds, per_second) = LOAD;
    command
        .arg(installed("examples/node-app/load.js"))
        .args([seconds.to_string(), per_second.to_string()])
        .arg(fail_ratio)
        .env("PORT", app.address().port().to_string());
    let mut load = Process::start("load", command, directory.path());
    let status = load.wait(Duration::from_secs(u64::from(seconds) + 20));
    assert!(status.success(), "{}", load.output());
    assert!(load.output().contains("requests,"), "{}", load.output());
}

/// The service's page after the server has scraped all of it.
fn settled(server: &Server, app: &Program) -> String {
    wait_for("scrape after the load", Duration::from_secs(10), || {
        let page = get(app.address(), "/metrics").text();
        let sum = |samples: Vec<f64>| -> f64 { samples.iter().sum() };
        let direct = sum(read_samples(&page)
            .iter()
            .filter(|(labels, _)| labels["__name__"] == "http_requests_total")
            .map(|(_, value)| *value)
            .collect());
        let queried = sum(server
            .query("http_requests_total")
            .iter()
            .map(crate::harness::server::Series::value)
            .collect());
        if direct > 0.0 && direct == queried {
            Ok(page)
        } else {
            Err(format!("{direct} counted, {queried} queried"))
        }
    })
}

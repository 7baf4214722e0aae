//! The axum service of `examples/axum-app`, measured with `instrument`.

use std::time::Duration;

use crate::harness::exposition::{read_samples, selector};
use crate::harness::http::{get, request};
use crate::harness::process::installed;
use crate::harness::server::{Series, Setup};
use crate::harness::target::Program;
use crate::harness::wait::wait_for;

#[test]
fn what_the_service_counts_is_what_a_query_says() {
    let app = Program::axum_app();
    let config = std::fs::read_to_string(installed("examples/axum-app/prometheus.yml")).unwrap();
    let alerts = std::fs::read_to_string(installed("examples/axum-app/alerts.yml")).unwrap();
    let localhost = config
        .split('\'')
        .find(|word| word.starts_with("localhost:"))
        .expect("the example's target");
    let config = config
        .replace(localhost, &app.address().to_string())
        .replace("5s", "500ms");
    let server = Setup::with_config(&config)
        .file("alerts.yml", &alerts)
        .start();
    server.wait_for_target("axum-app", "up");
    for _ in 0..60 {
        get(app.address(), "/user");
    }
    for _ in 0..3 {
        get(app.address(), "/cpu?ms=5");
    }
    assert_eq!(get(app.address(), "/nowhere").status, 404);

    let counts = |samples: &[(crate::harness::exposition::LabelMap, f64)]| -> f64 {
        samples
            .iter()
            .filter(|(labels, _)| labels["__name__"] == "http_requests_total")
            .map(|(_, value)| value)
            .sum()
    };
    let page = wait_for("scrape after the load", Duration::from_secs(10), || {
        let page = read_samples(&get(app.address(), "/metrics").text());
        let queried: f64 = server
            .query("http_requests_total")
            .iter()
            .map(Series::value)
            .sum();
        let direct = counts(&page);
        if direct >= 64.0 && direct == queried {
            Ok(page)
        } else {
            Err(format!("{direct} counted, {queried} queried"))
        }
    });
    let mut compared = 0;
    for (labels, value) in &page {
        let name = labels["__name__"].as_str();
        if !name.starts_with("http_") {
            continue;
        }
        let selector = selector(labels);
        let queried = server.value(&selector);
        assert_eq!(queried.to_bits(), value.to_bits(), "{selector}: {value}");
        compared += 1;
    }
    assert!(compared > 10, "only {compared} series were compared");
    let rules = server.data("rules", &[("type", "alert")]);
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 2, "two alerts come with the example");
    assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");
}

#[test]
fn it_speaks_openmetrics_when_asked() {
    let app = Program::axum_app();
    get(app.address(), "/user");
    let accept = [("Accept", "application/openmetrics-text;version=1.0.0")];
    let answer = request(app.address(), "GET", "/metrics", &accept, b"").unwrap();
    assert!(
        answer
            .header("content-type")
            .is_some_and(|value| value.starts_with("application/openmetrics-text")),
        "{:?}",
        answer.headers
    );
    assert!(answer.text().ends_with("# EOF\n"));
    let plain = get(app.address(), "/metrics");
    assert!(
        plain
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
}

//! A new configuration while it runs.

use std::time::Duration;

use crate::harness::http::post;
use crate::harness::server::Setup;
use crate::harness::target::Page;
use crate::harness::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(15);

fn config(jobs: &[(&str, &Page)]) -> String {
    let mut text =
        "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nscrape_configs:\n".to_owned();
    for (name, page) in jobs {
        text += &format!(
            "  - job_name: {name}\n    static_configs:\n      - targets: ['{}']\n",
            page.address()
        );
    }
    text
}

#[test]
fn series_go_on_and_removed_targets_go_stale() {
    let stays = Page::metrics("value 1\n");
    let goes = Page::metrics("value 2\n");
    let comes = Page::metrics("value 3\n");
    let server = Setup::with_config(&config(&[("stays", &stays), ("goes", &goes)]))
        .argument("--web.enable-lifecycle")
        .start();
    wait_until("both targets", LIMIT, || server.query("value").len() == 2);
    let before = server.query("value{job=\"stays\"}[5m]");

    let new = config(&[("stays", &stays), ("comes", &comes)]);
    server.setup().write("prometheus.yml", &new);
    let answer = post(server.address(), "/-/reload", "text/plain", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.wait_for_result("value{job=\"comes\"}", LIMIT);
    // Not after the lookback of five minutes, but with the scrape that does not come.
    wait_until("staleness of the removed target", LIMIT, || {
        server.query("value{job=\"goes\"}").is_empty()
            && server.query("up{job=\"goes\"}").is_empty()
    });
    assert!(
        !server.query("value{job=\"goes\"}[5m]").is_empty(),
        "its past stays"
    );
    let targets = server.data("targets", &[]);
    assert_eq!(targets["activeTargets"].as_array().unwrap().len(), 2);

    // The target that was in both was scraped all along: no gap of more than a few intervals.
    std::thread::sleep(Duration::from_secs(1));
    let after = server.query("value{job=\"stays\"}[5m]");
    assert_eq!(
        after[0].samples[..before[0].samples.len()],
        before[0].samples[..]
    );
    assert!(after[0].samples.len() > before[0].samples.len() + 3);
    let widest = after[0]
        .samples
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .max();
    assert!(widest < Some(1500), "a gap of {widest:?} ms: {after:?}");
}

#[test]
fn rules_may_use_what_a_feature_allows() {
    let page = Page::metrics("value{room=\"attic\"} 1\n");
    let rules = "groups:
  - name: a
    rules:
      - record: value:sorted
        expr: sort_by_label(value, 'room')
";
    let config = format!("rule_files: [rules.yml]\n{}", config(&[("a", &page)]));
    let config = config.replacen("global:", "global:\n  evaluation_interval: 200ms", 1);
    let server = Setup::with_config(&config)
        .file("rules.yml", rules)
        .argument("--enable-feature=promql-experimental-functions")
        .start();
    server.wait_for_result("value:sorted", LIMIT);

    let check = |arguments: &[&str]| {
        let path = server.setup().path().join("rules.yml");
        std::process::Command::new(crate::harness::server::binary())
            .args(["check", "rules"])
            .args(arguments)
            .arg(path)
            .output()
            .unwrap()
    };
    let refused = check(&[]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && text.contains("is not enabled"),
        "{text}"
    );
    assert!(
        check(&["--enable-feature=promql-experimental-functions"])
            .status
            .success()
    );
}

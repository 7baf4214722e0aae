//! Configuration that does not fit: refused at start, harmless on reload.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::http::post;
use crate::harness::server::{Server, Setup};
use crate::harness::target::Page;
use crate::harness::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(15);

/// Each: what is wrong, the file, and what the message must say.
const BAD: &[(&str, &str, &[&str])] = &[
    (
        "an unknown field",
        "global:\n  scrape_interval: 1s\n  scrape_intervall: 2s\n",
        &["prometheus.yml:3:3", "scrape_intervall"],
    ),
    (
        "a duration that is none",
        "global:\n  scrape_interval: soon\n",
        &["prometheus.yml:2:", "soon"],
    ),
    (
        "no YAML",
        "scrape_configs:\n  - job_name: [a\n",
        &["prometheus.yml:"],
    ),
    (
        "two jobs of one name",
        "scrape_configs:\n  - job_name: twice\n  - job_name: twice\n",
        &["prometheus.yml:3:", "twice"],
    ),
    (
        "a timeout over the interval",
        "scrape_configs:\n  - job_name: slow\n    scrape_interval: 1s\n    scrape_timeout: 2s\n",
        &["prometheus.yml:", "timeout", "interval", "slow"],
    ),
    (
        "a pattern that is none",
        "scrape_configs:\n  - job_name: a\n    relabel_configs:\n      - regex: '('\n        action: drop\n        source_labels: [x]\n",
        &["prometheus.yml:4:", "("],
    ),
];

#[test]
fn a_bad_configuration_is_refused_with_its_place() {
    for (what, config, words) in BAD {
        let (code, output) = Setup::with_config(config).refused();
        assert!(
            code != 0 && code != 101,
            "{what}: exit code {code}, {output}"
        );
        for word in *words {
            assert!(
                output.contains(word),
                "{what}: {output:?} does not say {word:?}"
            );
        }
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let (code, output) = Setup::new().argument("--config.file=nowhere.yml").refused();
    assert!(code != 0 && code != 101, "exit code {code}");
    assert!(output.contains("nowhere.yml"), "{output}");
}

#[test]
fn a_bad_rule_file_is_refused_with_its_place() {
    let config = "rule_files: [rules.yml]\n";
    for (what, rules, words) in [
        (
            "an expression that does not parse",
            "groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: sum(up\n",
            &["rules.yml:", "parse error"][..],
        ),
        (
            "an unknown field",
            "groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: up\n        fore: 1m\n",
            &["rules.yml:6:9", "fore"],
        ),
        (
            "a template that does not parse",
            "groups:\n  - name: g\n    rules:\n      - alert: A\n        expr: up\n        annotations:\n          a: '{{ $labels.x'\n",
            &["rules.yml:"],
        ),
    ] {
        let (code, output) = Setup::with_config(config)
            .file("rules.yml", rules)
            .refused();
        assert!(
            code != 0 && code != 101,
            "{what}: exit code {code}, {output}"
        );
        for word in words {
            assert!(
                output.contains(word),
                "{what}: {output:?} does not say {word:?}"
            );
        }
    }
}

#[test]
fn an_unknown_flag_is_refused() {
    let (code, output) = Setup::new().argument("--config.fil=x").refused();
    assert!(code != 0 && code != 101, "exit code {code}");
    assert!(
        output.contains("config.fil") && output.contains("config.file"),
        "{output}"
    );
}

fn good_config(page: &Page, job: &str) -> String {
    format!(
        "rule_files: [rules.yml]
scrape_configs:
  - job_name: {job}
    scrape_interval: 200ms
    scrape_timeout: 200ms
    static_configs:
      - targets: ['{}']
",
        page.address()
    )
}

const GOOD_RULES: &str = "groups:\n  - name: g\n    interval: 300ms\n    rules:\n      - record: kept\n        expr: value * 2\n";

fn start(page: &Page, arguments: &[&str]) -> Server {
    let mut setup = Setup::with_config(&good_config(page, "first")).file("rules.yml", GOOD_RULES);
    for argument in arguments {
        setup = setup.argument(*argument);
    }
    let server = setup.start();
    server.wait_for_result("kept", LIMIT);
    server
}

/// The first configuration is still in force, and the server says so.
fn old_stays(server: &Server) {
    let before = server.query("value[1m]")[0].samples.len();
    wait_until("further samples", LIMIT, || {
        server.query("value[1m]")[0].samples.len() > before + 2
    });
    assert_eq!(server.value("up{job=\"first\"}"), 1.0);
    assert!(!server.query("kept").is_empty(), "its rules go on");
    assert_eq!(
        server.own_metric("prometheus_config_last_reload_successful"),
        0.0
    );
    let info = server.data("status/runtimeinfo", &[]);
    assert_eq!(info["reloadConfigSuccess"], false, "{info}");
    let shown = server.data("status/config", &[]);
    assert!(shown["yaml"].as_str().unwrap().contains("first"), "{shown}");
}

#[test]
fn a_bad_reload_over_http_leaves_the_old_in_force() {
    let page = Page::metrics("value 21\n");
    let server = start(&page, &["--web.enable-lifecycle"]);
    assert_eq!(
        server.own_metric("prometheus_config_last_reload_successful"),
        1.0
    );
    for (what, config, words) in BAD {
        server.setup().write("prometheus.yml", config);
        let answer = post(server.address(), "/-/reload", "text/plain", "");
        assert_eq!(answer.status, 500, "{what}");
        for word in *words {
            assert!(
                answer.text().contains(word),
                "{what}: {:?} does not say {word:?}",
                answer.text()
            );
        }
    }
    old_stays(&server);

    // A rule file that does not parse is as bad.
    server
        .setup()
        .write("prometheus.yml", &good_config(&page, "second"));
    server.setup().write(
        "rules.yml",
        "groups:\n  - name: g\n    rules:\n      - record: x\n        expr: 1 +\n",
    );
    let answer = post(server.address(), "/-/reload", "text/plain", "");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("rules.yml"), "{}", answer.text());
    old_stays(&server);

    server.setup().write("rules.yml", GOOD_RULES);
    let answer = post(server.address(), "/-/reload", "text/plain", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        server.own_metric("prometheus_config_last_reload_successful"),
        1.0
    );
    server.wait_for_result("up{job=\"second\"} == 1", LIMIT);
}

#[test]
fn a_bad_reload_by_signal_leaves_the_old_in_force() {
    let page = Page::metrics("value 21\n");
    let server = start(&page, &[]);
    server.setup().write("prometheus.yml", BAD[0].1);
    server.process().signal(Signal::HUP);
    let line = server.wait_for_log(&["prometheus.yml:3:3", "scrape_intervall"]);
    assert!(line.contains("WARN") || line.contains("ERROR"), "{line}");
    let said = server.output().to_lowercase();
    assert!(
        said.contains("stays in force") || said.contains("in force"),
        "{said}"
    );
    old_stays(&server);

    server
        .setup()
        .write("prometheus.yml", &good_config(&page, "second"));
    server.process().signal(Signal::HUP);
    server.wait_for_result("up{job=\"second\"} == 1", LIMIT);
}

#[test]
fn reload_over_http_must_be_allowed() {
    let page = Page::metrics("value 21\n");
    let server = start(&page, &[]);
    let answer = post(server.address(), "/-/reload", "text/plain", "");
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("Lifecycle API is not enabled"),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().contains("--web.enable-lifecycle"),
        "what to do: {}",
        answer.text()
    );
}

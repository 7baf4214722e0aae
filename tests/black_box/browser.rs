//! The UI in a real browser: Debian's Chromium, driven by the scripts in `tests/browser`.
//! `BAROGRAPH_SCREENSHOTS` names a directory that keeps what was seen.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::http::{HttpServer, Reply};
use crate::harness::process::{Process, installed, tool};
use crate::harness::receiver::Receiver;
use crate::harness::server::{Server, Setup};
use crate::harness::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

const RULES: &str = "groups:
  - name: examples
    rules:
      - alert: ConstantIsHigh
        expr: constant > 40
        labels:
          severity: page
        annotations:
          summary: 'constant is {{ $value }}'
      - alert: ConstantIsLow
        expr: constant < 40
        for: 1m
      - record: wave:sum
        expr: sum(wave)
";

/// Runs one script against a server.
fn run(server: &Server, script: &str) {
    tool("chromium");
    installed("tests/browser/node_modules/playwright-core/package.json");
    let mut command = Command::new(tool("node"));
    command
        .args(["--test", "--test-reporter=spec", "--test-timeout=120000"])
        .arg(installed(&format!("tests/browser/{script}")))
        .current_dir(installed("tests/browser"))
        .env("BAROGRAPH_URL", server.url());
    let mut node = Process::start("node", command, server.setup().path());
    let status = node.wait(Duration::from_mins(3));
    assert!(status.success(), "{script}:\n{}", node.output());
    assert!(
        node.output().contains("pass "),
        "tests ran: {}",
        node.output()
    );
}

/// A server with lines to draw, targets up and down, rules firing and at rest.
fn seeded(receiver: &Receiver) -> (Server, HttpServer) {
    let scrapes = AtomicU64::new(0);
    let target = HttpServer::start(move |_| {
        let at = scrapes.fetch_add(1, Ordering::Relaxed) as f64;
        let mut text = "constant 42\nhostile{what=\"<img src=x onerror=alert(1)>\"} 1\n".to_owned();
        for (index, shard) in ["a", "b", "c"].iter().enumerate() {
            let value = (at / 6.0 + index as f64).sin() * 10.0 + 20.0;
            text += &format!("wave{{shard=\"{shard}\"}} {value}\n");
        }
        Reply::metrics(text)
    });
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = Setup::with_config(&format!(
        "global:
  scrape_interval: 500ms
  scrape_timeout: 500ms
  evaluation_interval: 500ms
rule_files: [rules.yml]
scrape_configs:
  - job_name: waves
    static_configs:
      - targets: ['{}']
        labels:
          markup: '<img src=x onerror=alert(2)>'
  - job_name: away
    static_configs:
      - targets: ['{nobody}']
",
        target.address()
    ))
    .file("rules.yml", RULES)
    .argument(format!("--alerting.webhook-url={}", receiver.url()))
    .start();
    receiver.wait_for("call", LIMIT, |_| true);
    wait_until("a few seconds of samples", LIMIT, || {
        server
            .query("wave[1m]")
            .first()
            .is_some_and(|series| series.samples.len() > 20)
    });
    (server, target)
}

#[test]
fn the_query_page_draws() {
    let receiver = Receiver::start(&[200]);
    let (server, _target) = seeded(&receiver);
    run(&server, "query.test.mjs");
}

#[test]
fn targets_and_alerts_are_listed() {
    let receiver = Receiver::start(&[200]);
    let (server, _target) = seeded(&receiver);
    run(&server, "lists.test.mjs");
}

#[test]
fn a_notification_that_was_not_taken_is_shown() {
    let receiver = Receiver::start(&[418]);
    let (server, _target) = seeded(&receiver);
    run(&server, "undelivered.test.mjs");
}

#[test]
fn the_first_page_draws_without_configuration() {
    let server = Setup::new().start();
    server.wait_for_result("node_load1", LIMIT);
    run(&server, "start.test.mjs");
}

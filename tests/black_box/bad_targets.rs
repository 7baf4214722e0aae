//! Targets that send what they should not. Each is said clearly, and the others are scraped on.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::harness::http::{Reply, ReplyBody};
use crate::harness::server::{Server, Setup};
use crate::harness::target::Page;
use crate::harness::wait::wait_until;

/// A server with the page as job `bad`, and a good one as job `good`.
fn beside_a_good_one(bad: &str, extra: &str) -> (Server, Page) {
    let good = Page::metrics("fine 1\n");
    let server = Setup::with_config(&format!(
        "scrape_configs:
  - job_name: good
    scrape_interval: 200ms
    scrape_timeout: 200ms
    static_configs:
      - targets: ['{}']
  - job_name: bad
    scrape_interval: 1s
    scrape_timeout: 500ms
{extra}    static_configs:
      - targets: ['{bad}']
",
        good.address()
    ))
    .start();
    (server, good)
}

/// What is said of the bad target, after checking that the good one goes on.
fn complaint(server: &Server) -> String {
    let target = server.wait_for_target("bad", "down");
    assert_eq!(
        server.wait_for_result("up{job=\"bad\"}", Duration::from_secs(10))[0].value(),
        0.0
    );
    let before = server.wait_for_result("fine[1m]", Duration::from_secs(10))[0]
        .samples
        .len();
    wait_until(
        "further scrapes of the good target",
        Duration::from_secs(10),
        || server.query("fine[1m]")[0].samples.len() > before + 2,
    );
    assert_eq!(server.value("up{job=\"good\"}"), 1.0);
    target["lastError"].as_str().expect("an error").to_owned()
}

fn says(message: &str, words: &[&str]) {
    let message = message.to_lowercase();
    for word in words {
        assert!(
            message.contains(&word.to_lowercase()),
            "{message:?} does not say {word:?}"
        );
    }
}

#[test]
fn a_malformed_line_is_quoted_with_its_number() {
    let page = Page::metrics("first 1\nsecond{a=\"b\"} 2\nthird{a=\"b 3\n");
    let (server, _good) = beside_a_good_one(&page.address().to_string(), "");
    says(&complaint(&server), &["line 3", "third"]);
    assert!(
        server.query("first").is_empty(),
        "half a page is not stored"
    );
    page.set_metrics("first 1\n");
    server.wait_for_result("first", Duration::from_secs(10));
}

#[test]
fn a_page_of_html_is_called_that() {
    let page = Page::serving(Reply::new(
        200,
        "text/html; charset=utf-8",
        "<!doctype html><title>Welcome</title>",
    ));
    let (server, _good) = beside_a_good_one(&page.address().to_string(), "");
    says(&complaint(&server), &["html"]);
}

#[test]
fn html_that_claims_to_be_text_is_refused() {
    let page = Page::metrics("<!doctype html>\n<title>Welcome</title>\n");
    let (server, _good) = beside_a_good_one(&page.address().to_string(), "");
    says(&complaint(&server), &["html", &page.address().to_string()]);
}

#[test]
fn a_body_over_its_limit_is_refused() {
    let page = Page::metrics(&"long{a=\"b\"} 1\n".repeat(1000));
    let limit = "    body_size_limit: 4KB\n";
    let (server, _good) = beside_a_good_one(&page.address().to_string(), limit);
    says(&complaint(&server), &["body", "limit"]);
    let metric = "prometheus_target_scrapes_exceeded_body_size_limit_total";
    assert!(server.own_metric(metric) > 0.0, "{metric} counts it");
}

#[test]
fn a_body_without_end_is_cut_off() {
    let mut reply = Reply::metrics("");
    reply.body = ReplyBody::Endless("endless{a=\"b\"} 1\n".repeat(4096).into_bytes());
    let page = Page::serving(reply);
    let (server, _good) = beside_a_good_one(&page.address().to_string(), "");
    let message = complaint(&server);
    assert!(
        message.contains("limit") || message.contains("deadline") || message.contains("time"),
        "{message:?}"
    );
    std::thread::sleep(Duration::from_secs(3));
    let memory = resident_bytes(server.process().id());
    assert!(memory < 400 << 20, "{} MiB are resident", memory >> 20);
}

#[test]
fn a_target_that_falls_silent_times_out() {
    let mut reply = Reply::metrics("");
    reply.body = ReplyBody::Stalled(b"begun 1\n".to_vec());
    let page = Page::serving(reply);
    let (server, _good) = beside_a_good_one(&page.address().to_string(), "");
    let message = complaint(&server);
    assert!(
        message.contains("deadline")
            || message.contains("timeout")
            || message.contains("timed out"),
        "{message:?}"
    );
    says(&message, &["500ms"]);
}

#[test]
fn a_wrong_status_is_named() {
    for (status, words) in [(404, "404"), (500, "500"), (401, "401")] {
        let page = Page::serving(Reply::new(status, "text/plain", "no\n"));
        let (server, _good) = beside_a_good_one(&page.address().to_string(), "");
        says(&complaint(&server), &[words, "status"]);
    }
}

#[test]
fn a_target_nobody_serves_is_named() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (server, _good) = beside_a_good_one(&free.to_string(), "");
    says(&complaint(&server), &["refused", &free.to_string()]);
}

#[test]
fn more_samples_than_allowed_are_refused_whole() {
    let page = Page::metrics("one 1\ntwo 2\nthree 3\n");
    let limit = "    sample_limit: 2\n";
    let (server, _good) = beside_a_good_one(&page.address().to_string(), limit);
    says(&complaint(&server), &["sample", "limit"]);
    assert!(server.query("one").is_empty());
}

#[test]
fn a_broken_compression_is_said() {
    let mut reply = Reply::metrics("not compressed at all\n");
    reply.encoding = Some("gzip");
    let page = Page::serving(reply);
    let (server, _good) = beside_a_good_one(&page.address().to_string(), "");
    says(&complaint(&server), &["gzip"]);
}

/// Memory a process holds, bytes.
fn resident_bytes(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process's status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("its memory");
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

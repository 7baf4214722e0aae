//! Real HTTP: what targets answer, and what becomes of it.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use barograph_model::MetricKind;
use barograph_scraper::{BasicAuth, Health, ScrapeConfig, Secret};
use tokio::io::AsyncWriteExt;

use crate::support::{Body, Server, Stack, answer, job, page, until};

/// Scrapes a target that fails; returns its error.
async fn error_of(config: ScrapeConfig) -> String {
    let stack = Stack::new();
    stack.scraper.apply(vec![config]).await;
    let status = stack.next_scrape().await;
    stack.scraper.stop().await;
    assert_eq!(status.health, Health::Down, "{}", status.last_error);
    assert_eq!(stack.values("up")[0], "0");
    status.last_error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_stored_with_its_report() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let server = Server::fixed(move |head| {
        seen.lock().expect("not poisoned").push(head.to_owned());
        page("# HELP a An a.\n# TYPE a counter\na{b=\"c\"} 1\na{b=\"d\"} 2.5\n")
    })
    .await;
    let stack = Stack::new();
    stack.scraper.apply(vec![server.job()]).await;
    stack.next_scrape().await;
    let status = stack.next_scrape().await;
    stack.scraper.stop().await;
    assert_eq!(
        (status.health, status.last_error.as_str()),
        (Health::Up, "")
    );
    assert_eq!(
        status.scrape_url,
        format!("http://{}/metrics", server.address)
    );
    let samples = stack.samples("a");
    assert_eq!(samples.len(), 2);
    let values: Vec<_> = samples.values().map(|s| s[0].1.as_str()).collect();
    assert_eq!(values, ["1", "2.5"]);
    assert_eq!(stack.values("up")[0], "1");
    assert_eq!(stack.values("scrape_samples_scraped")[0], "2");
    assert_eq!(
        stack.values("scrape_samples_post_metric_relabeling")[0],
        "2"
    );
    assert_eq!(stack.values("scrape_series_added")[..2], ["2", "0"]);
    assert_eq!(
        stack.values("scrape_duration_seconds").len(),
        stack.values("up").len()
    );
    let metadata = stack.scraper.metadata();
    assert_eq!(metadata.len(), 1);
    assert_eq!(
        (metadata[0].family.as_str(), metadata[0].metadata.kind),
        ("a", MetricKind::Counter)
    );
    assert_eq!(metadata[0].metadata.help, "An a.");
    assert_eq!(server.connections(), 1, "the connection is kept");
    let head = heads.lock().expect("not poisoned")[0].to_lowercase();
    for line in [
        "get /metrics http/1.1",
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,",
        "accept-encoding: gzip",
        "user-agent: prometheus/",
        "x-prometheus-scrape-timeout-seconds: 0.3",
        &format!("host: {}", server.address),
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_and_open_metrics() {
    let server = Server::fixed(|_| {
        let mut body = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        body.write_all(b"# TYPE a counter\na_total 7 # {t=\"1\"} 1\n# EOF\n").expect("to memory");
        answer(
            "200 OK",
            "Content-Type: application/openmetrics-text; version=1.0.0\r\nContent-Encoding: gzip\r\n",
            &body.finish().expect("to memory"),
        )
    })
    .await;
    let stack = Stack::new();
    stack.scraper.apply(vec![server.job()]).await;
    let status = stack.next_scrape().await;
    stack.scraper.stop().await;
    assert_eq!(status.last_error, "");
    assert_eq!(stack.values("a_total")[0], "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_metrics_say_what_to_do() {
    let text = "Content-Type: text/plain\r\n";
    let html = "Content-Type: text/html\r\n";
    let gzip = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
    let mut cases = Vec::new();
    for (bytes, want) in [
        (
            answer("500 Internal Server Error", text, b"x"),
            "HTTP status 500 Internal Server Error",
        ),
        (
            answer("404 Not Found", text, b""),
            "404 Not Found: is metrics_path right?",
        ),
        (answer("401 Unauthorized", text, b""), "set basic_auth"),
        (answer("204 No Content", text, b""), "HTTP status 204"),
        (
            answer("200 OK", html, b"<html></html>"),
            "is HTML, not metrics: is the path right?",
        ),
        (
            answer("200 OK", text, b"\n<!DOCTYPE html><html>"),
            "is HTML, not metrics",
        ),
        (
            answer("200 OK", "", b"a 1\n"),
            "no Content-Type and no fallback_scrape_protocol",
        ),
        (
            answer("200 OK", "Content-Type: application/json\r\n", b"{}"),
            "\"application/json\" is not supported",
        ),
        (
            answer("200 OK", text, b"a 1\nb{ 2\n"),
            "line 2: expected a label name: \"b{ 2\"",
        ),
        (
            answer("200 OK", gzip, b"a 1\n"),
            "gzip stream of the answer is damaged",
        ),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), "does not speak HTTP/1.1"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n".to_vec(),
            "timed out after 300ms: connected",
        ),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        cases.push(tokio::spawn(async move {
            let server = Server::fixed(move |_| bytes.clone()).await;
            let error = error_of(server.job()).await;
            assert!(error.contains(want), "{shown:?}: {error}");
        }));
    }
    for case in cases {
        case.await.expect("the case holds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_targets_say_why() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").to_string()
    };
    let error = error_of(job(&closed)).await;
    assert!(
        error.contains("connection refused: is the target running"),
        "{error}"
    );
    let error = error_of(ScrapeConfig {
        interval_ms: 5_000,
        timeout_ms: 5_000,
        ..job("no-such-host.invalid:80")
    });
    let error = error.await;
    assert!(
        error.contains("cannot resolve host \"no-such-host.invalid\"")
            || error.contains("timed out"),
        "{error}"
    );
    // A plain HTTP server answers a TLS hello like any malformed request.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let mut tls = ScrapeConfig {
        scheme: "https".into(),
        ..job(&address)
    };
    tls.http.tls.insecure_skip_verify = true;
    let error = error_of(tls).await;
    assert!(
        error.contains("TLS with") && error.contains("is scheme: http meant?"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_protocol_is_used() {
    let server = Server::fixed(|_| answer("200 OK", "", b"a 1\n")).await;
    let stack = Stack::new();
    let config = ScrapeConfig {
        fallback_scrape_protocol: Some("PrometheusText0.0.4".into()),
        ..server.job()
    };
    stack.scraper.apply(vec![config]).await;
    assert_eq!(stack.next_scrape().await.last_error, "");
    stack.scraper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_and_large_bodies_are_cut_off() {
    let endless = Server::start(|_, mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            .await
            .ok()?;
        let chunk = b"metric_with_a_name 1\n".repeat(1000);
        while stream.write_all(&chunk).await.is_ok() {}
        None
    })
    .await;
    let config = ScrapeConfig {
        body_size_limit_bytes: 1 << 20,
        extra_scrape_metrics: true,
        interval_ms: 1_000,
        timeout_ms: 1_000,
        ..endless.job()
    };
    let stack = Stack::new();
    stack.scraper.apply(vec![config]).await;
    let status = stack.next_scrape().await;
    stack.scraper.stop().await;
    assert!(
        status.last_error.contains("body size limit exceeded"),
        "{}",
        status.last_error
    );
    assert!(
        status.last_error.contains("1048576"),
        "{}",
        status.last_error
    );
    assert_eq!(stack.values("scrape_body_size_bytes")[0], "-1");
    assert_eq!(
        stack.counter("prometheus_target_scrapes_exceeded_body_size_limit_total"),
        1.0
    );

    let trickle = Server::start(|_, mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            .await
            .ok()?;
        while stream.write_all(b"a 1\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    })
    .await;
    let error = error_of(trickle.job()).await;
    assert!(
        error.contains("timed out after 300ms: the answer began"),
        "{error}"
    );

    for (limit, want) in [(4, "body size limit exceeded"), (5, "")] {
        let server = Server::fixed(|_| page("a 1\n")).await;
        let stack = Stack::new();
        let config = ScrapeConfig {
            body_size_limit_bytes: limit,
            ..server.job()
        };
        stack.scraper.apply(vec![config]).await;
        let error = stack.next_scrape().await.last_error;
        stack.scraper.stop().await;
        assert!(
            error.starts_with(want) && error.is_empty() == want.is_empty(),
            "{limit}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_target_delays_no_other() {
    let hanging = Server::start(|_, stream| async move {
        std::future::pending::<()>().await;
        Some(stream)
    })
    .await;
    let quick = Server::fixed(|_| page("a 1\n")).await;
    let slow = ScrapeConfig {
        interval_ms: 3_000,
        timeout_ms: 3_000,
        ..ScrapeConfig::new("slow")
    };
    let targets = hanging.job().static_targets;
    let stack = Stack::new();
    let started = Instant::now();
    let slow = ScrapeConfig {
        static_targets: targets,
        ..slow
    };
    stack.scraper.apply(vec![slow, quick.job()]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let count = stack
        .scraper
        .targets()
        .iter()
        .filter(|t| t.job_name == "test" && t.health == Health::Up)
        .count();
    stack.scraper.stop().await;
    assert_eq!(count, 1);
    assert!(
        started.elapsed() < Duration::from_millis(2_500),
        "stop waits for nothing"
    );
    let ups = stack
        .samples("a")
        .into_values()
        .next()
        .expect("scraped")
        .len();
    assert!(ups >= 2, "{ups} scrapes in a second at 300 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_without_giving_away_credentials() {
    let heads = Arc::new(Mutex::new(String::new()));
    let seen = heads.clone();
    let other = Server::fixed(move |head| {
        head.clone_into(&mut seen.lock().expect("not poisoned"));
        page("a 1\n")
    })
    .await;
    // Another name for this machine is another host.
    let location = format!("http://localhost:{}/x?y=1", other.address.port());
    let first_head = Arc::new(Mutex::new(String::new()));
    let seen = first_head.clone();
    let first = Server::fixed(move |head| {
        head.clone_into(&mut seen.lock().expect("not poisoned"));
        answer("302 Found", &format!("Location: {location}\r\n"), b"")
    })
    .await;
    let mut config = first.job();
    config.http.basic_auth = Some(BasicAuth {
        username: "user".into(),
        password: Secret::Inline("pass".into()),
    });
    config.http.headers = vec![("X-Token".into(), "secret".into())];
    let stack = Stack::new();
    stack.scraper.apply(vec![config.clone()]).await;
    assert_eq!(stack.next_scrape().await.last_error, "");
    stack.scraper.stop().await;
    let head = first_head.lock().expect("not poisoned").to_lowercase();
    assert!(head.contains("authorization: basic dxnlcjpwyxnz"), "{head}");
    assert!(head.contains("x-token: secret"), "{head}");
    let head = heads.lock().expect("not poisoned").to_lowercase();
    assert!(head.starts_with("get /x?y=1 "), "{head}");
    assert!(
        !head.contains("authorization") && !head.contains("x-token"),
        "{head}"
    );

    config.http.follow_redirects = false;
    let error = error_of(config).await;
    assert!(error.contains("302 Found"), "{error}");
    let circle =
        Server::fixed(|_| answer("307 Temporary Redirect", "Location: /again\r\n", b"")).await;
    let error = error_of(circle.job()).await;
    assert!(error.contains("stopped after 10 redirects"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_kept_connection_is_no_failure() {
    let server = Server::start(|_, mut stream| async move {
        stream.write_all(&page("a 1\n")).await.ok()?;
        // Closed behind the answer, without saying so before.
        tokio::time::sleep(Duration::from_millis(20)).await;
        None
    })
    .await;
    let stack = Stack::new();
    stack.scraper.apply(vec![server.job()]).await;
    until("several connections", || server.connections() >= 4).await;
    stack.scraper.stop().await;
    assert!(
        stack.values("up").iter().all(|up| up == "1"),
        "{:?}",
        stack.values("up")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_scrape_marks_series_stale_once() {
    let body = Body::new("a 1\n");
    let served = body.clone();
    let server = Server::fixed(move |_| match served.get().as_str() {
        "down" => answer("503 Service Unavailable", "", b""),
        text => page(text),
    })
    .await;
    let stack = Stack::new();
    stack.scraper.apply(vec![server.job()]).await;
    until("a sample", || stack.last("a").as_deref() == Some("1")).await;
    body.set("down");
    until("a marker", || stack.last("a").as_deref() == Some("stale")).await;
    stack.next_scrape().await;
    stack.next_scrape().await;
    body.set("a 2\n");
    until("it is back", || stack.last("a").as_deref() == Some("2")).await;
    stack.scraper.stop().await;
    let values = stack.values("a");
    assert_eq!(
        values.iter().filter(|v| *v == "stale").count(),
        1,
        "{values:?}"
    );
    assert_ne!(
        stack.last("a").as_deref(),
        Some("stale"),
        "no marker at shutdown"
    );
}

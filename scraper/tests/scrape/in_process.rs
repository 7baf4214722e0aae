//! Collectors inside the process, under a clock that tests move: what is stored, sample by sample.

use std::sync::Arc;
use std::time::Duration;

use barograph_model::relabel::{RelabelAction, RelabelRule};
use barograph_model::{Labels, Pattern};
use barograph_scraper::{Health, ScrapeConfig, StaticTargets};

use crate::support::{Body, Stack, TokioClock, job, until};

const START_MS: i64 = 1_700_000_000_000;

fn stack() -> Stack {
    Stack::with_clock(Arc::new(TokioClock::new(START_MS)))
}

/// A job of one in-process target, every ten seconds.
fn config(body: &Body) -> ScrapeConfig {
    ScrapeConfig {
        interval_ms: 10_000,
        timeout_ms: 5_000,
        collector: Some(body.collector()),
        ..job("self:0")
    }
}

async fn applied(config: ScrapeConfig) -> Stack {
    let stack = stack();
    stack.scraper.apply(vec![config]).await;
    stack
}

/// Scrapes a page with these settings once; returns the stack.
async fn scraped(change: impl FnOnce(&mut ScrapeConfig), page: &str) -> Stack {
    let body = Body::new(page);
    let mut config = config(&body);
    change(&mut config);
    let stack = applied(config).await;
    stack.next_scrape().await;
    stack
}

#[tokio::test(start_paused = true)]
async fn timestamps_keep_the_schedule() {
    let body = Body::new("a 1\n");
    let stack = applied(config(&body)).await;
    for _ in 0..5 {
        stack.next_scrape().await;
    }
    stack.scraper.stop().await;
    let times: Vec<i64> = stack
        .samples("a")
        .into_values()
        .flatten()
        .map(|(t, _)| t)
        .collect();
    assert_eq!(times.len(), 5);
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 10_000),
        "{times:?}"
    );
    let ups: Vec<i64> = stack
        .samples("up")
        .into_values()
        .flatten()
        .map(|(t, _)| t)
        .collect();
    assert_eq!(times, ups);
}

#[tokio::test(start_paused = true)]
async fn a_vanished_series_gets_a_marker() {
    let body = Body::new("a{n=\"1\"} 1\na{n=\"2\"} 1\nb 5 1700000001000\n");
    let stack = applied(config(&body)).await;
    stack.next_scrape().await;
    body.set("a{n=\"2\"} 2\n");
    stack.next_scrape().await;
    stack.next_scrape().await;
    body.set("a{n=\"1\"} 3\na{n=\"2\"} 3\n");
    stack.next_scrape().await;
    stack.scraper.stop().await;
    let samples = stack.samples("a");
    let values =
        |labels: &str| -> Vec<&str> { samples[labels].iter().map(|(_, v)| v.as_str()).collect() };
    assert_eq!(values("{n=\"1\"}"), ["1", "stale", "3"]);
    assert_eq!(values("{n=\"2\"}"), ["1", "2", "2", "3"]);
    assert_eq!(
        stack.values("b"),
        ["5"],
        "a series with its own time gets no marker"
    );
    assert_eq!(stack.values("scrape_series_added"), ["3", "0", "0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn own_timestamps_can_be_tracked_or_ignored() {
    let body = Body::new("b 5 1700000001000\n");
    let mut settings = config(&body);
    settings.track_timestamps_staleness = true;
    let stack = applied(settings).await;
    stack.next_scrape().await;
    body.set("");
    stack.next_scrape().await;
    stack.scraper.stop().await;
    let samples: Vec<_> = stack.samples("b").into_values().flatten().collect();
    assert_eq!(samples[0], (1_700_000_001_000, "5".to_owned()));
    assert_eq!(samples[1].1, "stale");

    let stack = scraped(|c| c.honor_timestamps = false, "b 5 1700000001000\n").await;
    let times: Vec<i64> = stack
        .samples("b")
        .into_values()
        .flatten()
        .map(|(t, _)| t)
        .collect();
    let ups: Vec<i64> = stack
        .samples("up")
        .into_values()
        .flatten()
        .map(|(t, _)| t)
        .collect();
    assert_eq!(times, ups);
}

#[tokio::test(start_paused = true)]
async fn reordered_and_rewritten_lines_stay_the_same_series() {
    let body = Body::new("a{x=\"1\",y=\"1\"} 1\nb 1\nc 1\n");
    let stack = applied(config(&body)).await;
    stack.next_scrape().await;
    for page in [
        "c 2\na{x=\"1\",y=\"1\"} 2\nb 2\n",
        "new 3\nb 3\na{y=\"1\",x=\"1\"} 3\nc 3\n",
        "a {y=\"1\", x=\"1\"} 4\nb 4\nnew 4\nc 4\n",
    ] {
        body.set(page);
        stack.next_scrape().await;
    }
    stack.scraper.stop().await;
    for metric in ["a", "b", "c"] {
        assert_eq!(stack.values(metric), ["1", "2", "3", "4"], "{metric}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_line_fails_the_whole_scrape() {
    let body = Body::new("a 1\nb 1\n");
    let stack = applied(config(&body)).await;
    stack.next_scrape().await;
    body.set("a 2\nnew 2\nb{ 2\n");
    let status = stack.next_scrape().await;
    assert_eq!(status.health, Health::Down);
    assert!(
        status.last_error.starts_with("line 3: "),
        "{}",
        status.last_error
    );
    body.set("a 3\nb 3\n");
    stack.next_scrape().await;
    stack.scraper.stop().await;
    assert_eq!(stack.values("a"), ["1", "stale", "3"]);
    assert_eq!(stack.values("b"), ["1", "stale", "3"]);
    assert_eq!(stack.values("new"), Vec::<String>::new());
    assert_eq!(stack.values("up"), ["1", "0", "1"]);
    assert_eq!(stack.values("scrape_samples_scraped"), ["2", "2", "2"]);
}

#[tokio::test(start_paused = true)]
async fn limits_fail_the_whole_scrape() {
    let page = "a{l=\"1\"} 1\na{l=\"2\"} 1\na{l=\"3\"} 1\n";
    let stack = scraped(|c| c.sample_limit = 2, page).await;
    let error = stack.target().last_error;
    assert!(
        error.contains("sample limit exceeded (3 samples"),
        "{error}"
    );
    assert!(stack.samples("a").is_empty());
    assert_eq!(stack.values("scrape_samples_post_metric_relabeling"), ["3"]);
    assert_eq!(
        stack.counter("prometheus_target_scrapes_exceeded_sample_limit_total"),
        1.0
    );
    let stack = scraped(|c| c.sample_limit = 3, page).await;
    assert_eq!(stack.target().last_error, "");

    // Name, job, instance and l are four labels.
    for (change, want) in [
        (
            (|c| c.label_limit = 3) as fn(&mut ScrapeConfig),
            "label_limit exceeded",
        ),
        (
            |c| c.label_name_length_limit = 7,
            "label_name_length_limit exceeded",
        ),
        (
            |c| c.label_value_length_limit = 3,
            "label_value_length_limit exceeded",
        ),
    ] {
        let stack = scraped(change, page).await;
        let error = stack.target().last_error;
        assert!(error.contains(want), "{want}: {error}");
        assert!(stack.samples("a").is_empty());
    }
    let stack = scraped(|c| c.label_limit = 4, page).await;
    assert_eq!(stack.target().last_error, "");
}

#[tokio::test(start_paused = true)]
async fn a_job_over_its_target_limit_scrapes_nothing() {
    let body = Body::new("a 1\n");
    let mut settings = config(&body);
    settings.target_limit = 1;
    settings.static_targets[0].targets.push("second:0".into());
    let stack = applied(settings).await;
    until("scrapes", || {
        let targets = stack.scraper.targets();
        targets.len() == 2 && targets.iter().all(|t| t.health == Health::Down)
    })
    .await;
    for target in stack.scraper.targets() {
        assert!(
            target
                .last_error
                .contains("target_limit exceeded (number of targets: 2, limit: 1)")
        );
    }
    stack.scraper.stop().await;
    assert!(stack.samples("a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_are_checked() {
    let utf8 = "{\"a.b\"} 1\n";
    let stack = scraped(|_| (), utf8).await;
    assert_eq!(stack.values("a.b"), ["1"]);
    let stack = scraped(|c| c.legacy_names = true, utf8).await;
    let error = stack.target().last_error;
    assert!(
        error.contains("invalid metric name or label names"),
        "{error}"
    );
    let nameless = RelabelRule {
        action: RelabelAction::LabelDrop,
        regex: Pattern::new("__name__").expect("valid"),
        ..RelabelRule::default()
    };
    let stack = scraped(|c| c.metric_relabel = vec![nameless], "a 1\n").await;
    let error = stack.target().last_error;
    assert!(
        error.contains("no metric name after relabelling"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn duplicates_and_far_futures_are_counted_and_dropped() {
    let far = START_MS + 3_600_000;
    let stack = scraped(|_| (), &format!("a 1\na 2\nb 1\nc 1 {far}\n")).await;
    let status = stack.target();
    assert_eq!(status.health, Health::Up);
    assert!(
        status
            .last_error
            .contains("1 samples dropped: they have another value"),
        "{}",
        status.last_error
    );
    assert!(
        status.last_error.contains("too far in the future"),
        "{}",
        status.last_error
    );
    assert_eq!(stack.values("a"), ["1"]);
    assert!(stack.samples("c").is_empty());
    assert_eq!(
        stack.counter("prometheus_target_scrapes_sample_duplicate_timestamp_total"),
        1.0
    );
    assert_eq!(
        stack.counter("prometheus_target_scrapes_sample_out_of_bounds_total"),
        1.0
    );
}

#[tokio::test(start_paused = true)]
async fn metric_relabelling_drops_and_a_reload_takes_it_back() {
    let drop = RelabelRule {
        action: RelabelAction::Drop,
        source_labels: vec!["__name__".into()],
        regex: Pattern::new("b").expect("valid"),
        ..RelabelRule::default()
    };
    let body = Body::new("a 1\nb 1\n");
    let plain = config(&body);
    let dropping = ScrapeConfig {
        metric_relabel: vec![drop],
        ..plain.clone()
    };
    let stack = applied(plain.clone()).await;
    stack.next_scrape().await;
    stack.scraper.apply(vec![dropping]).await;
    stack.next_scrape().await;
    stack.next_scrape().await;
    stack.scraper.apply(vec![plain]).await;
    stack.next_scrape().await;
    stack.scraper.stop().await;
    assert_eq!(stack.values("a"), ["1"; 4]);
    assert_eq!(stack.values("b"), ["1", "stale", "1"]);
    assert_eq!(
        stack.values("scrape_samples_post_metric_relabeling"),
        ["2", "1", "1", "2"]
    );
    let times: Vec<i64> = stack
        .samples("a")
        .into_values()
        .flatten()
        .map(|(t, _)| t)
        .collect();
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 10_000),
        "{times:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_removed_target_is_marked_from_its_first_missed_scrape() {
    let body = Body::new("a 1\n");
    let stack = applied(config(&body)).await;
    stack.next_scrape().await;
    let last = stack
        .samples("a")
        .into_values()
        .flatten()
        .map(|(t, _)| t)
        .next_back()
        .expect("a");
    stack.scraper.apply(vec![]).await;
    assert!(stack.scraper.targets().is_empty());
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert_eq!(
        stack.last("a").as_deref(),
        Some("1"),
        "not before two intervals have passed"
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    until("markers", || stack.last("up").as_deref() == Some("stale")).await;
    let samples: Vec<_> = stack.samples("a").into_values().flatten().collect();
    assert_eq!(samples.last(), Some(&(last + 10_000, "stale".to_owned())));
    stack.scraper.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_moves_to_another_job_is_not_marked() {
    let body = Body::new("a 1\n");
    let named = |job_name: &str| {
        let mut config = config(&body);
        job_name.clone_into(&mut config.job_name);
        config.static_targets = vec![StaticTargets {
            targets: vec!["self:0".into()],
            labels: Labels::from_pairs([("job", "fixed")]),
        }];
        config
    };
    let stack = applied(named("one")).await;
    stack.next_scrape().await;
    stack.scraper.apply(vec![named("two")]).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    stack.scraper.stop().await;
    let values = stack.values("a");
    assert!(
        values.len() >= 5 && values.iter().all(|v| v == "1"),
        "{values:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_is_reported_and_delays_nothing() {
    let stack = Stack::new();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let hanging = ScrapeConfig {
        collector: Some(Arc::new(move |_: &mut String| {
            let _ = wait.lock().expect("not poisoned").recv();
        })),
        ..job("hanging:0")
    };
    stack.scraper.apply(vec![hanging]).await;
    let status = stack.next_scrape().await;
    assert!(
        status
            .last_error
            .contains("the built-in collector did not return"),
        "{}",
        status.last_error
    );
    stack.scraper.stop().await;
    drop(release);
}

use std::path::Path;

use barograph_model::{Matcher, SystemClock, TimeRange};
use barograph_query::EngineOptions;
use barograph_tsdb::{Batch, Column, Options};

use super::*;
use crate::config::RoutingConfig;
use crate::notifier::NotifierOptions;
use crate::status::{AlertState, RuleHealth};

struct Bench {
    manager: RuleManager,
    notifier: Notifier,
    db: Db,
    registry: Registry,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = Registry::new();
        let clock = Arc::new(SystemClock);
        let db = Db::open(Options::new(directory.path()), &registry).expect("a store");
        let engine = Engine::new(EngineOptions::default(), &registry);
        let notifier = Notifier::new(NotifierOptions::default(), &registry, clock.clone());
        let pool = Pool::new(2, 4);
        let own = notifier.clone();
        let manager = RuleManager::new(db.clone(), engine, pool, &registry, clock, own);
        Self {
            manager,
            notifier,
            db,
            registry,
            _directory: directory,
        }
    }

    async fn apply(&self, text: &str) {
        let file = RuleFile::parse(Path::new("f.yml"), text, ParseOptions::default());
        let file = file.unwrap_or_else(|error| panic!("{error}"));
        self.manager
            .apply(vec![file], RuleManagerOptions::default())
            .await;
    }

    /// The samples of the series of this name.
    fn samples(&self, name: &str) -> Vec<(i64, f64)> {
        let matcher = Matcher::equal("__name__", name);
        let snapshot = self.db.snapshot();
        let selection = snapshot
            .select(&[matcher], TimeRange::ALL)
            .expect("readable");
        let mut column = Column::default();
        let mut samples = Vec::new();
        for index in 0..selection.len() {
            selection
                .read(index, TimeRange::ALL, &mut column)
                .expect("readable");
            let times = column.timestamps_ms.iter().copied();
            samples.extend(times.zip(column.values.iter().copied()));
        }
        samples
    }

    async fn wait(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..500 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} does not come: {:#?}", self.manager.groups());
    }
}

fn is_stale(sample: Option<&(i64, f64)>) -> bool {
    sample.is_some_and(|(_, value)| barograph_model::sample::is_stale(*value))
}

const RECORDING: &str =
    "groups:\n- name: g\n  interval: 100ms\n  rules:\n  - record: one\n    expr: vector(1)\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_run_in_their_slots_until_they_are_removed() {
    let bench = Bench::new();
    bench.apply(RECORDING).await;
    bench
        .wait("a third sample", || bench.samples("one").len() >= 3)
        .await;
    let samples = bench.samples("one");
    let offset_ms = samples[0].0 % 100;
    for (time_ms, value) in &samples {
        assert_eq!((time_ms % 100, *value), (offset_ms, 1.0));
    }
    let status = bench.manager.groups();
    assert_eq!((status[0].name.as_str(), status[0].interval_ms), ("g", 100));
    assert_eq!(status[0].rules[0].health, RuleHealth::Ok);
    assert!(status[0].last_evaluation_ms.is_some());
    let mut page = String::new();
    bench
        .registry
        .encode(barograph_instrument::Format::Text004, &mut page);
    let line = "prometheus_rule_group_interval_seconds{rule_group=\"f.yml;g\"} 0.1";
    assert!(page.contains(line), "{page}");

    // The same again: the group goes on.
    bench.apply(RECORDING).await;
    assert!(bench.manager.groups()[0].last_evaluation_ms.is_some());

    bench.apply("groups: []").await;
    assert!(bench.manager.groups().is_empty());
    bench
        .wait("the end of the series", || {
            is_stale(bench.samples("one").last())
        })
        .await;
    let mut page = String::new();
    bench
        .registry
        .encode(barograph_instrument::Format::Text004, &mut page);
    assert!(!page.contains("rule_group=\"f.yml;g\""), "{page}");
    bench.manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_group_goes_on_with_its_series() {
    let bench = Bench::new();
    bench.apply(RECORDING).await;
    bench
        .wait("a sample", || !bench.samples("one").is_empty())
        .await;
    bench.apply(&RECORDING.replace("name: g", "name: h")).await;
    let before = bench.samples("one").len();
    // Longer than the two intervals after which the old group would end its series.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let samples = bench.samples("one");
    assert!(samples.len() > before);
    assert!(
        samples.iter().all(|(_, value)| *value == 1.0),
        "{samples:?}"
    );
    bench.manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_reaches_the_notifier_and_keeps_its_state_when_its_group_changes() {
    let bench = Bench::new();
    // Nobody listens there: what matters is that it was tried.
    let routing = RoutingConfig {
        route: crate::config::Route {
            group_wait_ms: 0,
            ..RoutingConfig::single_webhook("").route
        },
        ..RoutingConfig::single_webhook("http://127.0.0.1:1/")
    };
    let none = Labels::empty();
    bench
        .notifier
        .apply(Vec::new(), Some(routing), Vec::new(), none, String::new())
        .await;
    let group = bench.db.open_group();
    let labels = Labels::from_pairs([("__name__", "m"), ("host", "a")]);
    let series = bench.db.register(group, &labels).expect("room");
    let mut batch = Batch::new(group);
    batch.push(series, SystemClock.now_ms(), 5.0);
    bench.db.append(&batch).expect("stored");
    let rules = "groups:\n- name: g\n  interval: 100ms\n  rules:\n  - alert: High\n    expr: m > 1\n    for: 200ms\n";
    bench.apply(rules).await;
    let state = || bench.manager.groups()[0].rules[0].state;
    bench.wait("firing", || state() == AlertState::Firing).await;
    bench
        .wait("a delivery", || !bench.notifier.deliveries().is_empty())
        .await;
    assert_eq!(bench.notifier.deliveries()[0].receiver, "webhook");
    let since_ms = bench.manager.groups()[0].rules[0].alerts[0].active_at_ms;
    bench.apply(&rules.replace("> 1", "> 2")).await;
    let alerts = bench.manager.groups()[0].rules[0].alerts.clone();
    assert_eq!(
        (alerts[0].state, alerts[0].active_at_ms),
        (AlertState::Firing, since_ms)
    );
    bench
        .wait("ALERTS", || !bench.samples("ALERTS").is_empty())
        .await;
    bench.manager.stop().await;
    bench.notifier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_rule_does_not_stop_the_others() {
    let bench = Bench::new();
    let rules = "groups:\n- name: g\n  interval: 100ms\n  rules:\n  - record: bad\n    expr: '\"text\"'\n  - record: one\n    expr: vector(1)\n";
    bench.apply(rules).await;
    bench
        .wait("a sample", || !bench.samples("one").is_empty())
        .await;
    let status = bench.manager.groups();
    assert_eq!(status[0].rules[0].health, RuleHealth::Err);
    assert_eq!(
        status[0].rules[0].last_error,
        "rule result is not a vector or scalar"
    );
    bench.manager.stop().await;
    bench.apply(rules).await;
    assert!(
        !bench.manager.groups().is_empty(),
        "what was there can still be read"
    );
}

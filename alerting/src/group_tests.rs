use std::path::Path;

use barograph_instrument::Registry;
use barograph_model::FloatHistogram;
use barograph_model::histogram::Span;
use barograph_query::{EngineOptions, ParseOptions};
use barograph_tsdb::{Batch, Options};

use super::*;
use crate::rule_file::RuleFile;

const MINUTE_MS: i64 = 60_000;
/// A day of 2023, so that nothing is near zero.
const START_MS: i64 = 1_700_000_000_000 / MINUTE_MS * MINUTE_MS;

/// A store, an engine and what evaluations need.
struct Bench {
    context: Context,
    source: GroupId,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(RuleManagerOptions::default())
    }

    fn with(options: RuleManagerOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = Registry::new();
        let db = Db::open(Options::new(directory.path()), &registry).expect("a store");
        let source = db.open_group();
        let context = Context {
            db,
            engine: Engine::new(EngineOptions::default(), &registry),
            metrics: RuleMetrics::new(&registry),
            options: Arc::new(options),
            cancel: Cancel::default(),
        };
        Self {
            context,
            source,
            _directory: directory,
        }
    }

    fn put(&self, minute: i64, series: &[(&[(&str, &str)], f64)]) {
        let mut batch = Batch::new(self.source);
        for (labels, value) in series {
            let labels = Labels::from_pairs(labels.iter().copied());
            let series = self
                .context
                .db
                .register(self.source, &labels)
                .expect("room");
            batch.push(series, START_MS + minute * MINUTE_MS, *value);
        }
        self.context.db.append(&batch).expect("stored");
    }

    /// `labels value` of what an expression yields at a minute.
    fn query(&self, minute: i64, text: &str) -> Vec<String> {
        let expr = barograph_query::parse(text).expect(text);
        let evaluation = Evaluation {
            snapshot: self.context.db.snapshot(),
            context: &self.context,
            now_ms: 0,
        };
        let vector = evaluation
            .vector(&expr, START_MS + minute * MINUTE_MS)
            .expect("a vector");
        let mut texts: Vec<String> = vector
            .iter()
            .map(|sample| match &sample.histogram {
                Some(histogram) => format!("{} {histogram}", sample.labels),
                None => format!("{} {}", sample.labels, sample.sample.value),
            })
            .collect();
        texts.sort();
        texts
    }

    fn group(&self, rules: &str) -> Group {
        self.group_with(rules, None)
    }

    fn group_with(&self, rules: &str, restore: Option<i64>) -> Group {
        let spec = spec(rules);
        let writer = self.context.db.open_group();
        Group::new("f.yml".into(), spec, MINUTE_MS, writer, restore)
    }

    fn evaluate(&self, group: &Group, minute: i64) -> Vec<Alert> {
        let now_ms = START_MS + minute * MINUTE_MS;
        let mut alerts = Vec::new();
        for index in 0..group.rule_count() {
            alerts.extend(group.evaluate(index, now_ms, &self.context).alerts);
        }
        group.finish(now_ms, 0.0, 0, &self.context);
        alerts
    }
}

fn spec(rules: &str) -> RuleGroup {
    let text = format!("groups:\n- name: g\n{rules}");
    let file = RuleFile::parse(Path::new("f.yml"), &text, ParseOptions::default())
        .unwrap_or_else(|error| panic!("{error}"));
    file.groups.into_iter().next().expect("a group")
}

fn errors(group: &Group) -> Vec<String> {
    group
        .status()
        .rules
        .into_iter()
        .map(|rule| rule.last_error)
        .collect()
}

fn check_fine(group: &Group) {
    for rule in group.status().rules {
        assert_eq!(
            (rule.health, rule.last_error.as_str()),
            (RuleHealth::Ok, "")
        );
    }
}

#[test]
fn histograms_are_recorded_as_such() {
    let bench = Bench::new();
    let group = bench.group("  rules:\n  - record: doubled\n    expr: h * 2\n");
    let histogram = FloatHistogram {
        count: 3.0,
        sum: 4.0,
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        positive_buckets: vec![1.0, 2.0],
        ..FloatHistogram::default()
    };
    for minute in [0, 1] {
        let labels = Labels::from_pairs([("__name__", "h")]);
        let series = bench.context.db.register(bench.source, &labels);
        let mut batch = Batch::new(bench.source);
        batch
            .push_histogram(
                series.expect("room"),
                START_MS + minute * MINUTE_MS,
                &histogram.clone().into(),
            )
            .expect("valid");
        bench.context.db.append(&batch).expect("stored");
        bench.evaluate(&group, minute);
        check_fine(&group);
    }
    assert_eq!(
        bench.query(1, "doubled"),
        ["{__name__=\"doubled\"} {count:6, sum:8, (0.5,1]:2, (1,2]:4}"]
    );
    // Its end is known as well.
    bench.evaluate(&group, 10);
    assert!(bench.query(10, "doubled").is_empty());
}

#[test]
fn recorded_series_carry_the_rule_s_name_and_labels_and_end_when_they_vanish() {
    let bench = Bench::new();
    let group = bench.group(
        "  labels: {team: a}\n  rules:\n  - record: doubled\n    expr: m * 2\n    labels: {team: b, drop: ''}\n  - record: again\n    expr: doubled + 1\n",
    );
    let row = |host| [("__name__", "m"), ("host", host), ("drop", "x")];
    bench.put(0, &[(&row("1"), 1.0), (&row("2"), 2.0)]);
    bench.evaluate(&group, 0);
    check_fine(&group);
    assert_eq!(
        bench.query(0, "{__name__=~\"doubled|again\"}"),
        [
            "{__name__=\"again\", host=\"1\", team=\"a\"} 3",
            "{__name__=\"again\", host=\"2\", team=\"a\"} 5",
            "{__name__=\"doubled\", host=\"1\", team=\"b\"} 2",
            "{__name__=\"doubled\", host=\"2\", team=\"b\"} 4",
        ],
        "the second rule sees what the first has written"
    );
    let stale = stale_marker();
    bench.put(1, &[(&row("1"), 1.0), (&row("2"), stale)]);
    bench.evaluate(&group, 1);
    assert_eq!(
        bench.query(1, "doubled"),
        ["{__name__=\"doubled\", host=\"1\", team=\"b\"} 2"]
    );
}

fn stale_marker() -> f64 {
    barograph_model::sample::stale_nan()
}

#[test]
fn what_a_recording_rule_must_not_yield_is_an_error() {
    for (rules, want) in [
        (
            "  rules:\n  - record: r\n    expr: m\n    labels: {host: same}\n",
            "vector contains metrics with the same labelset after applying rule labels: {__name__=\"r\", host=\"same\"}",
        ),
        (
            "  limit: 1\n  rules:\n  - record: r\n    expr: m\n",
            "exceeded limit of 1 with 2 series",
        ),
        (
            "  rules:\n  - record: r\n    expr: m[5m]\n",
            "rule result is not a vector or scalar",
        ),
        (
            "  rules:\n  - alert: A\n    expr: m\n    labels: {host: same}\n",
            "vector contains metrics with the same labelset after applying alert labels: {alertname=\"A\", host=\"same\"}",
        ),
        (
            "  limit: 1\n  rules:\n  - alert: A\n    expr: m\n",
            "exceeded limit of 1 with 2 alerts",
        ),
    ] {
        let bench = Bench::new();
        let group = bench.group(rules);
        bench.put(
            0,
            &[
                (&[("__name__", "m"), ("host", "1")], 1.0),
                (&[("__name__", "m"), ("host", "2")], 2.0),
            ],
        );
        bench.evaluate(&group, 0);
        assert_eq!(errors(&group), [want], "{rules}");
        assert_eq!(
            bench.query(0, "{__name__=~\"r|ALERTS\"}"),
            [""; 0],
            "{rules}"
        );
    }
}

#[test]
fn a_scalar_is_recorded_as_one_series() {
    let bench = Bench::new();
    let group = bench.group("  rules:\n  - record: r\n    expr: 1 + 1\n");
    bench.evaluate(&group, 0);
    check_fine(&group);
    assert_eq!(bench.query(0, "r"), ["{__name__=\"r\"} 2"]);
}

#[test]
fn rules_look_back_by_the_query_offset() {
    let bench = Bench::new();
    let group = bench.group("  query_offset: 2m\n  rules:\n  - record: r\n    expr: m\n");
    for minute in 0..=3 {
        bench.put(minute, &[(&[("__name__", "m")], minute as f64)]);
    }
    bench.evaluate(&group, 3);
    check_fine(&group);
    assert_eq!(bench.query(1, "timestamp(r) - timestamp(m)"), ["{} 0"]);
    assert_eq!(bench.query(1, "r"), ["{__name__=\"r\"} 1"]);
    assert_eq!(bench.query(0, "r"), [""; 0]);
}

#[test]
fn an_alert_pends_fires_is_written_and_sent_and_ends() {
    let bench = Bench::new();
    let group = bench.group(
        "  rules:\n  - alert: High\n    expr: m > 1\n    for: 1m\n    labels: {severity: page, host: '{{ $labels.host | toUpper }}'}\n    annotations:\n      summary: '{{ $labels.host }} is at {{ printf \"%.1f\" $value }}, {{ with query \"m\" }}{{ . | first | value }}{{ end }}'\n      broken: '{{ query \"m{\" }}'\n",
    );
    assert_eq!(group.status().rules[0].state, AlertState::Unknown);
    let put = |minute, value| bench.put(minute, &[(&[("__name__", "m"), ("host", "a")], value)]);
    put(0, 5.0);
    assert!(bench.evaluate(&group, 0).is_empty(), "it pends");
    assert_eq!(group.status().rules[0].state, AlertState::Pending);
    assert_eq!(
        bench.query(0, "ALERTS"),
        [
            "{__name__=\"ALERTS\", alertname=\"High\", alertstate=\"pending\", host=\"A\", severity=\"page\"} 1"
        ]
    );
    put(1, 6.0);
    let sent = bench.evaluate(&group, 1);
    check_fine(&group);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].starts_at_ms, START_MS + MINUTE_MS);
    assert_eq!(sent[0].ends_at_ms, Some(START_MS + 5 * MINUTE_MS));
    assert_eq!(sent[0].annotations.get("summary"), "a is at 6.0, 6");
    let broken = sent[0].annotations.get("broken");
    assert!(
        broken.starts_with("<error expanding template: error executing template __alert_High: "),
        "{broken}"
    );
    assert_eq!(sent[0].generator_url, "/graph?g0.expr=m+%3E+1&g0.tab=1");
    assert_eq!(
        bench.query(1, "ALERTS"),
        [
            "{__name__=\"ALERTS\", alertname=\"High\", alertstate=\"firing\", host=\"A\", severity=\"page\"} 1"
        ],
        "the pending series has ended"
    );
    let active_at = START_MS / 1_000;
    assert_eq!(
        bench.query(1, "ALERTS_FOR_STATE"),
        [format!(
            "{{__name__=\"ALERTS_FOR_STATE\", alertname=\"High\", host=\"A\", severity=\"page\"}} {active_at}"
        )]
    );
    put(2, 0.0);
    let sent = bench.evaluate(&group, 2);
    assert_eq!(sent[0].ends_at_ms, Some(START_MS + 2 * MINUTE_MS));
    assert_eq!(bench.query(2, "{__name__=~\"ALERTS.*\"}"), [""; 0]);
    assert!(group.status().rules[0].alerts.is_empty());
}

#[test]
fn a_failed_query_leaves_alerts_as_they_are() {
    let bench = Bench::new();
    let group = bench.group("  rules:\n  - alert: A\n    expr: m + on() m\n");
    bench.put(0, &[(&[("__name__", "m"), ("host", "1")], 1.0)]);
    bench.evaluate(&group, 0);
    assert_eq!(group.status().rules[0].alerts.len(), 1);
    bench.put(
        1,
        &[
            (&[("__name__", "m"), ("host", "1")], 1.0),
            (&[("__name__", "m"), ("host", "2")], 1.0),
        ],
    );
    bench.evaluate(&group, 1);
    let status = group.status();
    assert_eq!(status.rules[0].health, RuleHealth::Err);
    assert!(
        status.rules[0].last_error.contains("many-to-many"),
        "{}",
        status.rules[0].last_error
    );
    assert_eq!(status.rules[0].alerts.len(), 1);
}

#[test]
fn a_changed_group_keeps_alerts_and_ends_the_series_of_rules_that_are_gone() {
    let bench = Bench::new();
    let old = bench
        .group("  rules:\n  - record: gone\n    expr: m\n  - alert: A\n    expr: m\n    for: 1m\n");
    let put = |minute| bench.put(minute, &[(&[("__name__", "m")], 1.0)]);
    put(0);
    bench.evaluate(&old, 0);
    assert_eq!(bench.query(0, "gone").len(), 1);
    let rules = "  rules:\n  - alert: A\n    expr: m + 0\n    for: 1m\n";
    assert!(!old.is_same(&spec(rules), MINUTE_MS));
    let new = bench.group(rules);
    new.take_over(&old);
    put(1);
    let sent = bench.evaluate(&new, 1);
    assert_eq!(sent.len(), 1, "it pended in the old group");
    assert_eq!(bench.query(1, "gone"), [""; 0]);
    assert_eq!(
        bench.query(1, "count(ALERTS)"),
        ["{} 1"],
        "the pending one has ended"
    );
}

#[test]
fn a_removed_group_s_series_end_but_for_those_others_write() {
    let bench = Bench::new();
    let rules = "  rules:\n  - record: r\n    expr: m\n";
    let group = bench.group(rules);
    bench.put(
        0,
        &[
            (&[("__name__", "m"), ("host", "1")], 1.0),
            (&[("__name__", "m"), ("host", "2")], 1.0),
        ],
    );
    bench.evaluate(&group, 0);
    let alive = Labels::from_pairs([("__name__", "r"), ("host", "2")]);
    let alive: HashSet<Labels> = [alive].into_iter().collect();
    group.mark_stale(START_MS + MINUTE_MS, &bench.context, &alive);
    assert_eq!(bench.query(1, "r"), ["{__name__=\"r\", host=\"2\"} 1"]);
}

#[test]
fn since_when_an_alert_pends_survives_a_restart() {
    let options = RuleManagerOptions {
        for_grace_period_ms: 2 * MINUTE_MS,
        ..RuleManagerOptions::default()
    };
    let bench = Bench::with(options);
    let rules = "  rules:\n  - alert: A\n    expr: m\n    for: 10m\n    labels: {severity: page, shard: '{{ 1 }}'}\n";
    let put = |minute| bench.put(minute, &[(&[("__name__", "m")], 1.0)]);
    let before = bench.group(rules);
    for minute in 0..=5 {
        put(minute);
        bench.evaluate(&before, minute);
    }
    // Down for three minutes.
    let after = bench.group_with(rules, Some(2 * MINUTE_MS));
    assert!(after.restore_pending());
    for minute in 8..=9 {
        put(minute);
        bench.evaluate(&after, minute);
    }
    let written = "count_over_time(ALERTS_FOR_STATE[30m])";
    assert!(
        bench.query(9, written)[0].ends_with(" 6"),
        "nothing is written before"
    );
    after.restore(START_MS + 9 * MINUTE_MS, &bench.context);
    assert!(!after.restore_pending());
    let active_at_ms = after.status().rules[0].alerts[0].active_at_ms;
    assert_eq!(
        (active_at_ms - START_MS) / MINUTE_MS,
        4,
        "the outage does not count"
    );
    put(10);
    bench.evaluate(&after, 10);
    assert!(bench.query(10, written)[0].ends_with(" 7"));
    put(14);
    assert_eq!(
        bench.evaluate(&after, 14).len(),
        1,
        "fires ten minutes of activity later"
    );
}

#[test]
fn rules_that_pend_shortly_write_at_once() {
    let bench = Bench::new();
    let rules = "  rules:\n  - alert: A\n    expr: m\n";
    let group = bench.group_with(rules, Some(10 * MINUTE_MS));
    assert!(!group.restore_pending());
    bench.put(0, &[(&[("__name__", "m")], 1.0)]);
    bench.evaluate(&group, 0);
    assert_eq!(bench.query(0, "ALERTS").len(), 1);
}

#[test]
fn slots_are_an_interval_apart_and_stay_the_same() {
    let bench = Bench::new();
    let group = bench.group("  interval: 7m\n  rules: []\n");
    let interval_ms = 7 * MINUTE_MS;
    let slot_ms = group.slot_before_ms(START_MS);
    assert!(slot_ms <= START_MS && START_MS < slot_ms + interval_ms);
    assert_eq!(group.slot_before_ms(slot_ms), slot_ms);
    assert_eq!(group.slot_before_ms(slot_ms + interval_ms - 1), slot_ms);
    assert_eq!(
        group.slot_before_ms(slot_ms + interval_ms),
        slot_ms + interval_ms
    );
    let again = bench.group("  interval: 7m\n  rules: []\n");
    assert_eq!(again.slot_before_ms(START_MS), slot_ms);
}

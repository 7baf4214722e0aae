//! Limits of queries and the types of their results, against a real store.

use std::time::Instant;

use barograph_instrument::{Format, Registry};
use barograph_model::{Labels, stale_nan};
use barograph_query::{
    Engine, EngineOptions, HEIGHT_LIMIT, Lane, Outcome, Pool, QueryError, QueryOptions, RangeSteps,
    Value, parse,
};
use barograph_tsdb::{Batch, Db, Options, Snapshot};

struct Bench {
    _directory: tempfile::TempDir,
    db: Db,
}

impl Bench {
    /// Ten series `m` with a sample every ten seconds for ten minutes.
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut options = Options::new(directory.path());
        options.retention_ms = 0;
        let db = Db::open(options, &Registry::new()).expect("a store");
        let group = db.open_group();
        let series: Vec<_> = (0..10)
            .map(|i| {
                let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
                db.register(group, &labels).expect("room")
            })
            .collect();
        let mut batch = Batch::new(group);
        for row in 0..=60 {
            batch.clear();
            for one in &series {
                batch.push(*one, row * 10_000, row as f64);
            }
            assert_eq!(db.append(&batch).expect("stored").rejected, []);
        }
        Self {
            _directory: directory,
            db,
        }
    }

    fn snapshot(&self) -> Snapshot {
        self.db.snapshot()
    }

    /// Four steps of a query, with everything told of it.
    fn profiled(&self, engine: &Engine, text: &str) -> Outcome {
        let options = QueryOptions {
            per_step: true,
            profile: true,
            ..QueryOptions::default()
        };
        let steps = RangeSteps {
            start_ms: 60_000,
            end_ms: 120_000,
            step_ms: 20_000,
        };
        let expr = parse(text).expect("valid");
        let outcome = engine.range(&self.snapshot(), &expr, steps, &options);
        outcome.expect("answered")
    }
}

const STEPS: RangeSteps = RangeSteps {
    start_ms: 0,
    end_ms: 600_000,
    step_ms: 10_000,
};

#[test]
fn a_query_stops_at_its_limits() {
    let bench = Bench::new();
    let expr = parse("m").expect("valid");
    let options = EngineOptions {
        max_samples: 100,
        ..EngineOptions::default()
    };
    let small = Engine::new(options, &Registry::new());
    let error = small
        .range(&bench.snapshot(), &expr, STEPS, &QueryOptions::default())
        .expect_err("610 samples");
    assert_eq!(
        error.to_string(),
        "query processing would load too many samples into memory in query execution"
    );

    let engine = Engine::new(EngineOptions::default(), &Registry::new());
    let options = QueryOptions::default();
    options.cancel.cancel();
    let error = engine
        .instant(&bench.snapshot(), &expr, 0, &options)
        .expect_err("cancelled");
    assert_eq!(
        error.to_string(),
        "query was canceled in expression evaluation"
    );

    let options = QueryOptions {
        deadline: Some(Instant::now()),
        ..QueryOptions::default()
    };
    let error = engine
        .range(&bench.snapshot(), &expr, STEPS, &options)
        .expect_err("late");
    assert!(matches!(
        error,
        QueryError::Timeout("expression evaluation")
    ));
}

#[test]
fn memory_is_limited_and_reported() {
    let bench = Bench::new();
    let ask = |options: EngineOptions, registry: &Registry, text: &str, lane: Lane| {
        let expr = parse(text).expect("valid");
        let query = QueryOptions {
            lane,
            profile: true,
            ..QueryOptions::default()
        };
        Engine::new(options, registry).range(&bench.snapshot(), &expr, STEPS, &query)
    };
    let held = |text: &str| {
        let outcome = ask(EngineOptions::default(), &Registry::new(), text, Lane::User);
        outcome.expect("answered")
    };
    // 10 series of 61 steps: at least their slots, and as many samples of the result.
    let outcome = held("m");
    assert!(
        outcome.stats.peak_bytes > 610 * (8 + 16),
        "{:?}",
        outcome.stats
    );
    assert!(outcome.stats.peak_bytes < 100_000, "{:?}", outcome.stats);
    // Series that are added up are not held together.
    assert!(held("sum(m)").stats.peak_bytes < outcome.stats.peak_bytes);
    // All rows of a quantile are.
    let quantile = held("quantile(0.5, m)").stats.peak_bytes;
    assert!(quantile > 610 * 8, "{quantile}");
    let [node] = &outcome.profile.expect("asked for")[..] else {
        panic!("one part");
    };
    assert!(node.pages_decoded >= 10, "{node:?}");
    assert!(node.peak_bytes > 610 * 8 && node.peak_bytes <= outcome.stats.peak_bytes);

    let options = EngineOptions {
        max_memory_bytes: 10_000,
        ..EngineOptions::default()
    };
    let registry = Registry::new();
    let error = ask(options.clone(), &registry, "m", Lane::User).expect_err("too much");
    assert!(matches!(error, QueryError::Execution(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("10000 are allowed") && text.contains("--query.max-memory"),
        "{text}"
    );
    let mut page = String::new();
    registry.encode(Format::Text004, &mut page);
    let refused = "barograph_engine_queries_refused_total{limit=\"memory\"} 1\n";
    assert!(page.contains(refused), "{page}");
    assert!(
        page.contains("barograph_engine_queries_memory_bytes 0\n"),
        "{page}"
    );

    // Users leave a quarter to rules.
    let options = EngineOptions {
        max_total_memory_bytes: outcome.stats.peak_bytes + 1,
        ..EngineOptions::default()
    };
    let error = ask(options.clone(), &Registry::new(), "m", Lane::User).expect_err("too much");
    assert!(
        error.to_string().contains("--query.max-total-memory"),
        "{error}"
    );
    ask(options, &Registry::new(), "m", Lane::Rules).expect("room for rules");
}

#[test]
fn types_and_counts_of_results() {
    let bench = Bench::new();
    let registry = Registry::new();
    let engine = Engine::new(EngineOptions::default(), &registry);
    let ask = |text: &str| {
        let expr = parse(text).expect("valid");
        engine.instant(&bench.snapshot(), &expr, 600_000, &QueryOptions::default())
    };
    assert!(matches!(ask("1").expect("answered").value, Value::Scalar(s) if s.value == 1.0));
    assert!(
        matches!(ask("\"a\"").expect("answered").value, Value::String { text, .. } if text == "a")
    );
    let outcome = ask("m[1m]").expect("answered");
    let Value::Matrix(series) = &outcome.value else {
        panic!("a matrix, not {:?}", outcome.value);
    };
    assert_eq!((series.len(), series[0].samples.len()), (10, 6));
    assert_eq!(outcome.stats.total_queryable_samples, 60);

    let matrix = parse("m[1m]").expect("valid");
    let error = engine
        .range(&bench.snapshot(), &matrix, STEPS, &QueryOptions::default())
        .expect_err("a matrix over time");
    assert_eq!(
        error.to_string(),
        "invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"
    );

    let mut page = String::new();
    registry.encode(Format::Text004, &mut page);
    assert!(page.contains("prometheus_engine_queries 0\n"), "{page}");
    assert!(
        page.contains("prometheus_engine_query_samples_total 60\n"),
        "{page}"
    );
}

#[test]
fn the_highest_tree_runs_on_the_pool() {
    let bench = Bench::new();
    let engine = Engine::new(EngineOptions::default(), &Registry::new());
    let text = format!("m{}", " + m".repeat(HEIGHT_LIMIT - 1));
    let expr = parse(&text).expect("valid");
    let (send, receive) = std::sync::mpsc::channel();
    let snapshot = bench.snapshot();
    Pool::new(1, 1)
        .spawn(Lane::User, move || {
            let outcome = engine.instant(&snapshot, &expr, 600_000, &QueryOptions::default());
            let _ = send.send(outcome.map(|outcome| outcome.value));
        })
        .expect("an idle thread");
    match receive.recv().expect("no panic") {
        Ok(Value::Vector(all)) => {
            assert_eq!(all.len(), 10);
            assert_eq!(all[0].sample.value, 60.0 * HEIGHT_LIMIT as f64);
        }
        other => panic!("a vector, not {other:?}"),
    }
}

#[test]
fn samples_are_counted_once_read_and_once_per_use() {
    let bench = Bench::new();
    let engine = Engine::new(EngineOptions::default(), &Registry::new());
    let ask = |text: &str| bench.profiled(&engine, text);
    // Six samples per window and series; two of them are new at each step behind the first.
    let outcome = ask("sum(rate(m[1m]))");
    let stats = &outcome.stats;
    assert_eq!(
        (stats.total_queryable_samples, stats.samples_read),
        (240, 120)
    );
    let per_step: Vec<(i64, u64, u64)> = stats
        .per_step
        .iter()
        .map(|(time_ms, samples)| (*time_ms, samples.total, samples.read))
        .collect();
    assert_eq!(
        per_step,
        [
            (60_000, 60, 60),
            (80_000, 60, 20),
            (100_000, 60, 20),
            (120_000, 60, 20)
        ]
    );
    let [sum] = outcome.profile.as_deref().expect("asked for") else {
        panic!("one outermost part: {:?}", outcome.profile);
    };
    assert_eq!((sum.name.as_str(), sum.series, sum.points), ("sum", 1, 4));
    let [rate] = sum.children.as_slice() else {
        panic!("one part below: {sum:?}");
    };
    assert_eq!(
        (rate.name.as_str(), rate.series, rate.points),
        ("rate", 10, 40)
    );
    assert_eq!(
        (rate.samples_read, rate.detail.as_str()),
        (120, "{__name__=\"m\"}[60 s]")
    );
    assert!(rate.seconds <= sum.seconds);
    // What does not change is read once and used at each step.
    let stats = ask("m @ 60").stats;
    assert_eq!(
        (stats.total_queryable_samples, stats.samples_read),
        (40, 10)
    );
    // A subquery is used, what it reads is read.
    let stats = ask("max_over_time(m[40s:20s])").stats;
    assert_eq!(
        (stats.total_queryable_samples, stats.samples_read),
        (80, 50)
    );
    assert!(engine.running().is_empty());
}

#[test]
fn what_stands_in_several_places_is_evaluated_once() {
    let bench = Bench::new();
    let engine = Engine::new(EngineOptions::default(), &Registry::new());
    let ask = |text: &str| bench.profiled(&engine, text);
    let text = "sum(rate(m[1m])) / (sum(rate(m[1m])) + count(rate(m[1m])))";
    let outcome = ask(text);
    // The same as if each place had evaluated on its own.
    let stats = &outcome.stats;
    assert_eq!(
        (stats.total_queryable_samples, stats.samples_read),
        (3 * 240, 3 * 120)
    );
    assert_eq!(stats.per_step[1].1.total, 3 * 60);
    // Prometheus remarks on the last of the places: the third `m`.
    let position = text.rfind("m[").expect("there") + 1;
    let [info] = &outcome.infos[..] else {
        panic!("one remark: {:?}", outcome.infos);
    };
    assert!(info.ends_with(&format!("(1:{position})")), "{info}");
    let Value::Matrix(series) = &outcome.value else {
        panic!("a matrix: {:?}", outcome.value);
    };
    let values: Vec<f64> = series[0].samples.iter().map(|s| s.value).collect();
    assert_eq!(values, [1.0 / 11.0; 4]);
    // It was read once.
    let [division] = outcome.profile.as_deref().expect("asked for") else {
        panic!("one outermost part: {:?}", outcome.profile);
    };
    let [sum, denominator] = division.children.as_slice() else {
        panic!("two sides: {division:?}");
    };
    let [shared, count] = denominator.children.as_slice() else {
        panic!("two sides: {denominator:?}");
    };
    assert_eq!(sum.samples_read, 120);
    assert_eq!(shared.detail, "by () (shared with the first)");
    assert_eq!((shared.samples_read, shared.children.len()), (0, 0));
    let [rate] = count.children.as_slice() else {
        panic!("one part below: {count:?}");
    };
    assert_eq!(
        rate.detail,
        "{__name__=\"m\"}[60 s] (shared with the first)"
    );
    assert_eq!((rate.samples_read, rate.series), (0, 10));
    // Results do not depend on it: whitespace makes two of one.
    let apart = "sum(rate(m[1m])) / (sum( rate(m [1m])) + count(rate( m[1m])))";
    let values = |text: &str| format!("{:?}", ask(text).value);
    assert_eq!(values(text), values(apart));
    for (one, other) in [
        ("m - m offset 10s", "m - (m offset 10s)"),
        (
            "topk(2, rate(m[1m])) or rate(m[1m])",
            "topk(2, rate( m[1m])) or rate(m[1m])",
        ),
        ("m and m unless m", "m and ( m ) unless m{}"),
        (
            "max_over_time(rate(m[1m])[1m:10s]) + min_over_time(rate(m[1m])[1m:10s])",
            "max_over_time(rate( m[1m])[1m:10s]) + min_over_time(rate(m[1m])[1m:10s])",
        ),
        (
            "sum(m) + on () sum(rate(m[1m])) + sum(rate(m[2m]))",
            "sum(m{}) + on () sum(rate(m{}[1m])) + sum(rate(m{}[2m]))",
        ),
    ] {
        assert_eq!(values(one), values(other), "{one}");
    }
}

/// A value of one of several kinds of series.
fn value_of(kind: u64, row: u64) -> f64 {
    match kind {
        0 => 7.0,
        1 => row as f64 * 3.0,
        2 => (row % 250) as f64 + 0.5,
        3 => (row.wrapping_mul(2_654_435_761) % 1000) as f64 / 10.0,
        4 if row % 97 == 5 => stale_nan(),
        5 if row % 400 == 7 => f64::NAN,
        6 => -0.0,
        _ => (row / 100) as f64,
    }
}

#[test]
fn one_long_window_is_what_it_is_among_others() {
    const KINDS: u64 = 8;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(directory.path());
    options.retention_ms = 0;
    let db = Db::open(options, &Registry::new()).expect("a store");
    let group = db.open_group();
    let series: Vec<_> = (0..KINDS)
        .map(|kind| {
            let labels = Labels::from_pairs([("__name__", "m"), ("kind", &kind.to_string())]);
            db.register(group, &labels).expect("room")
        })
        .collect();
    let mut batch = Batch::new(group);
    for row in 0..14 * 60u64 {
        batch.clear();
        for (kind, one) in (0..).zip(&series) {
            // The last kind comes and goes.
            if kind + 1 < KINDS || row % 50 < 40 {
                batch.push(*one, row as i64 * 60_000, value_of(kind, row));
            }
        }
        assert_eq!(db.append(&batch).expect("stored").rejected, []);
        if row % 120 == 119 {
            db.maintain();
        }
    }
    db.maintain();
    assert!(!db.blocks().is_empty(), "nothing to be told by pages");
    let engine = Engine::new(EngineOptions::default(), &Registry::new());
    let snapshot = db.snapshot();
    let mut told = 0;
    for function in [
        "rate",
        "increase",
        "delta",
        "resets",
        "min_over_time",
        "max_over_time",
        "count_over_time",
        "present_over_time",
    ] {
        for (range, end_ms) in [
            ("12h", 50_000_000),
            ("5h", 36_000_001),
            ("200m", 30_000_000),
            ("1d", 60_000_000),
        ] {
            let expr = parse(&format!("{function}(m[{range}])")).expect("valid");
            let alone = engine.instant(&snapshot, &expr, end_ms, &QueryOptions::default());
            let alone = alone.expect("answered");
            let steps = RangeSteps {
                start_ms: end_ms - 1,
                end_ms,
                step_ms: 1,
            };
            let among = engine.range(&snapshot, &expr, steps, &QueryOptions::default());
            let among = among.expect("answered");
            let (Value::Vector(alone_values), Value::Matrix(series)) = (alone.value, among.value)
            else {
                panic!("a vector and a matrix");
            };
            let bits = |value: f64| {
                if value.is_nan() {
                    None
                } else {
                    Some(value.to_bits())
                }
            };
            let one: Vec<_> = alone_values
                .iter()
                .map(|v| (v.labels.clone(), bits(v.sample.value)))
                .collect();
            let other: Vec<_> = series
                .iter()
                .filter_map(|s| {
                    s.samples
                        .last()
                        .map(|last| (s.labels.clone(), bits(last.value)))
                })
                .collect();
            assert_eq!(one, other, "{function}[{range}]");
            told += usize::from(alone.stats.pages_decoded < among.stats.pages_decoded);
            // Each of the windows has nearly the same samples.
            let twice = alone.stats.total_queryable_samples * 2;
            assert!(
                among.stats.total_queryable_samples.abs_diff(twice) <= KINDS,
                "{function}[{range}]"
            );
        }
    }
    assert!(told > 16, "pages told of themselves {told} times");
}

#[test]
fn the_peak_is_what_prometheus_would_count() {
    let bench = Bench::new();
    let steps = RangeSteps {
        start_ms: 60_000,
        end_ms: 120_000,
        step_ms: 20_000,
    };
    // Ten series, four steps, a sample every ten seconds. One by one, on several threads, and step by
    // step series take other ways.
    for (per_step, parallel_samples) in [(false, u64::MAX), (false, 0), (true, u64::MAX)] {
        let options = EngineOptions {
            cores: 3,
            parallel_samples,
            ..EngineOptions::default()
        };
        let engine = Engine::new(options, &Registry::new());
        let options = QueryOptions {
            peak_samples: true,
            per_step,
            ..QueryOptions::default()
        };
        for (text, want) in [
            ("m", 40),
            // The results of all series, and the window of the last.
            ("sum(rate(m[1m]))", 46),
            // The operand; at the last step the results before, what is gathered and what comes out.
            ("abs(m)", 90),
            ("1 + m", 95),
            ("m @ 60", 40),
            // Fifty of the subquery, forty results, a window of two.
            ("max_over_time(m[40s:20s])", 92),
            ("absent_over_time(m[1m])", 46),
            ("topk(2, m)", 44),
        ] {
            let expr = parse(text).expect("valid");
            let outcome = engine.range(&bench.snapshot(), &expr, steps, &options);
            let peak = outcome.expect("answered").stats.peak_samples;
            assert_eq!(peak, want, "{text}, {per_step}, {parallel_samples}");
        }
    }
}

//! Which series a selection finds: by matchers, by range, and while others come and go.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, MatchOp, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, Options, Snapshot};

const START_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;

fn open(path: &Path, block_span_ms: i64) -> Db {
    let options = Options {
        maintenance_interval: Duration::ZERO,
        block_span_ms,
        retention_ms: 0,
        wal_segment_bytes: 1 << 18,
        ..Options::new(path)
    };
    Db::open(options, &Registry::new()).expect("the directory opens")
}

fn labels(name: &str, id: usize) -> Labels {
    Labels::from_pairs([("__name__", name), ("id", &format!("{id:05}"))])
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).expect("a matcher")
}

fn rows(from: i64, to: i64) -> TimeRange {
    TimeRange {
        start_ms: START_MS + from * STEP_MS,
        end_ms: START_MS + to * STEP_MS,
    }
}

fn ids(snapshot: &Snapshot, range: TimeRange) -> Vec<String> {
    let selection = snapshot.select(&[], range).expect("selects");
    let ids: Vec<String> = (0..selection.len())
        .map(|at| selection.labels(at).get("id").to_owned())
        .collect();
    for named in [&[][..], &[matcher("id", MatchOp::Regex, ".+")]] {
        let values = snapshot.label_values("id", named, range).expect("reads");
        assert_eq!(values, ids, "{range:?}");
    }
    let names = snapshot.label_names(&[], range).expect("reads");
    assert_eq!(names.is_empty(), ids.is_empty());
    ids
}

#[test]
fn series_without_samples_in_the_range_are_left_out() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path(), 1 << 60);
    let group = db.open_group();
    // Series 0 has rows 0..900, 1 the first 300, 2 the last 300, 3 the middle.
    let spans = [0..900, 0..300, 600..900, 300..600];
    let series: Vec<_> = (0..spans.len())
        .map(|id| db.register(group, &labels("m", id)).expect("registers"))
        .collect();
    let mut batch = Batch::new(group);
    for row in 0..900 {
        batch.clear();
        for (series, span) in series.iter().zip(&spans) {
            if span.contains(&row) {
                batch.push(*series, START_MS + row * STEP_MS, row as f64);
            }
        }
        db.append(&batch).expect("appends");
    }
    let snapshot = db.snapshot();
    for (from, to) in [
        (-10, -1),
        (0, 0),
        (0, 299),
        (250, 299),
        (300, 310),
        (300, 599),
        (590, 610),
        (600, 600),
        (899, 950),
        (900, 950),
        (-5, 950),
        (299, 300),
    ] {
        let want: Vec<String> = (0..spans.len())
            .filter(|id| spans[*id].start <= to && spans[*id].end > from)
            .map(|id| format!("{id:05}"))
            .collect();
        assert_eq!(ids(&snapshot, rows(from, to)), want, "{from}..={to}");
    }
    // What comes after the snapshot is not seen by it.
    let late = db.register(group, &labels("m", 4)).expect("registers");
    batch.clear();
    batch.push(late, START_MS + 900 * STEP_MS, 1.0);
    db.append(&batch).expect("appends");
    assert_eq!(ids(&snapshot, rows(900, 950)), Vec::<String>::new());
    assert_eq!(ids(&db.snapshot(), rows(900, 950)), ["00004"]);
}

#[test]
fn head_and_blocks_answer_as_one_in_label_order() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let span_ms = 200 * STEP_MS;
    let db = open(directory.path(), span_ms);
    let group = db.open_group();
    let begin = START_MS / span_ms * span_ms;
    let mut batch = Batch::new(group);
    for row in 0..700 {
        batch.clear();
        // Half of the series end before the last block, half begin after the first.
        for id in (0..60usize).rev() {
            let alive = if id.is_multiple_of(2) {
                row < 300
            } else {
                row >= 250
            };
            if alive {
                let name = ["b", "a", "a:c"][id % 3];
                let series = db.register(group, &labels(name, id)).expect("registers");
                batch.push(series, begin + row * STEP_MS, row as f64);
            }
        }
        db.append(&batch).expect("appends");
    }
    db.maintain();
    let snapshot = db.snapshot();
    let selection = snapshot.select(&[], TimeRange::ALL).expect("selects");
    assert_eq!(selection.len(), 60);
    let all: Vec<_> = (0..60).map(|at| selection.labels(at).clone()).collect();
    assert!(all.is_sorted());
    let mut column = Column::default();
    for (at, labels) in all.iter().enumerate() {
        let id: usize = labels.get("id").parse().expect("a number");
        let want = if id.is_multiple_of(2) {
            0..300
        } else {
            250..700
        };
        selection
            .read(at, TimeRange::ALL, &mut column)
            .expect("reads");
        let want: Vec<f64> = want.map(f64::from).collect();
        assert_eq!(column.values, want, "{labels}");
    }
}

/// Series come, fall silent and leave while others select: nobody gets labels of somebody else.
#[test]
fn selecting_while_series_come_and_go() {
    const ROUNDS: i64 = 120;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let span_ms = 4 * STEP_MS;
    let db = open(directory.path(), span_ms);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let group = db.open_group();
            let mut batch = Batch::new(group);
            for row in 0..ROUNDS {
                batch.clear();
                for at in 0..40 {
                    // Identities live two rows; odd ones are named otherwise.
                    let id = at as usize + 40 * (row / 2) as usize;
                    let name = if id.is_multiple_of(2) { "even" } else { "odd" };
                    let labels = labels(name, id);
                    let series = db.register(group, &labels).expect("registers");
                    batch.push(series, START_MS + row * STEP_MS, id as f64);
                }
                let appended = db.append(&batch).expect("appends");
                assert_eq!(appended.accepted, 40);
                if row % 4 == 3 {
                    db.maintain();
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut column = Column::default();
        while !done.load(Ordering::Acquire) {
            let snapshot = db.snapshot();
            for (matchers, name) in [
                ([matcher("id", MatchOp::Regex, ".*[02468]")], "even"),
                ([matcher("__name__", MatchOp::NotEqual, "even")], "odd"),
            ] {
                let selection = snapshot.select(&matchers, TimeRange::ALL).expect("selects");
                for at in 0..selection.len() {
                    let labels = selection.labels(at);
                    assert_eq!(labels.metric_name(), name, "{labels}");
                    selection
                        .read(at, TimeRange::ALL, &mut column)
                        .expect("reads");
                    let id: f64 = labels.get("id").parse().expect("a number");
                    assert!(column.values.iter().all(|v| *v == id), "{labels}");
                }
            }
        }
    });
}

/// Patterns are answered from a block's sorted values, by literals, prefix or automaton, and from
/// what was answered before; the head runs through what it has. All must say what the pattern says.
#[test]
fn patterns_find_in_blocks_and_in_the_head_what_they_match() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let options = Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        wal_segment_bytes: 1 << 18,
        ..Options::new(directory.path())
    };
    let db = Db::open(options, &registry).expect("opens");
    let group = db.open_group();
    let hosts: Vec<String> = (0..300)
        .map(|n| format!("{}-{:03}.dc{}", ["db", "web", "é"][n % 3], n, n % 4))
        .collect();
    let mut batch = Batch::new(group);
    let begin_ms = START_MS / 7_200_000 * 7_200_000;
    for row in 0..4 * 60 {
        batch.clear();
        for (n, host) in hosts.iter().enumerate() {
            let mut pairs = vec![("__name__", "m".to_owned()), ("id", n.to_string())];
            if !n.is_multiple_of(10) {
                pairs.push(("host", host.clone()));
            }
            let series = db
                .register(group, &Labels::from_pairs(pairs))
                .expect("registers");
            batch.push(series, begin_ms + row * 60_000, row as f64);
        }
        db.append(&batch).expect("appends");
    }
    let patterns = [
        "",
        ".*",
        ".+",
        "web.*",
        "web-0.*",
        ".*dc1",
        "(db|web)-1.*",
        "[a-z]+-(00|11)[0-9].dc[02]",
        "x.*",
        "(?i)WEB-.*",
        "db-000.dc0|web-001.dc1|nothing",
        "web-0[0-4].\\.dc[0-3]",
        "|db.*",
        "é-.*|db-2.*",
    ];
    let ask = |within: &str| {
        for pattern in patterns {
            for op in [MatchOp::Regex, MatchOp::NotRegex] {
                let matchers = [
                    Matcher::equal("__name__", "m"),
                    matcher("host", op, pattern),
                ];
                let selection = db.snapshot().select(&matchers, TimeRange::ALL);
                let selection = selection.expect("selects");
                let mut found: Vec<usize> = (0..selection.len())
                    .map(|at| selection.labels(at).get("id").parse().expect("a number"))
                    .collect();
                found.sort_unstable();
                let host = |n: usize| if n.is_multiple_of(10) { "" } else { &*hosts[n] };
                let want = (0..hosts.len()).filter(|n| matchers[1].matches(host(*n)));
                assert_eq!(
                    found,
                    want.collect::<Vec<_>>(),
                    "{within}: {op:?} {pattern:?}"
                );
            }
        }
    };
    ask("head");
    db.maintain();
    assert!(support::metric(&registry, "prometheus_tsdb_blocks_loaded") > 0.0);
    let count = |what: &str| {
        let name = format!("barograph_tsdb_matches_cache_{what}_total");
        support::metric(&registry, &name)
    };
    ask("block");
    let (hits, misses) = (count("hits"), count("misses"));
    ask("block, again");
    assert!(misses > 10.0 && count("misses") == misses);
    assert!(count("hits") >= hits + misses);
    assert!(support::metric(&registry, "barograph_tsdb_matches_cache_bytes") > 0.0);
}

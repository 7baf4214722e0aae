//! Directories that earlier versions wrote: each opens, and answers what it answered then.
//!
//! The fixtures are in `tests/compat/`, one directory per store, with `expected.txt` beside its
//! files. `BAROGRAPH_COMPAT_WRITE=<name>` writes a new one with what this version writes; one that
//! is there is never written again.

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use barograph_instrument::{Format, Registry};
use barograph_model::histogram::{CUSTOM_BOUNDS_SCHEMA, Span};
use barograph_model::{
    Clock, CounterResetHint, Exemplar, FloatHistogram, Histogram, IntegerHistogram, Labels,
    MatchOp, Matcher, Metadata, MetricKind, STALE_NAN_BITS, TimeRange,
};
use barograph_tsdb::disk::SystemDisk;
use barograph_tsdb::{Batch, Column, Db, GroupId, Options, Selection, WalSync};
use support::copy;

const START_MS: i64 = 1_650_000_000_000 / 600_000 * 600_000;
const STEP_MS: i64 = 20_000;

#[derive(Clone, Debug)]
struct ManualClock(Arc<AtomicI64>);

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/compat")
}

fn open(path: &Path, registry: &Registry, now_ms: i64) -> (Db, ManualClock) {
    let clock = ManualClock(Arc::new(AtomicI64::new(now_ms)));
    let options = Options {
        wal_segment_bytes: 1 << 16,
        wal_sync: WalSync::Never,
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        block_span_ms: 600_000,
        retention_ms: 0,
        reserve_bytes: 0,
        // Late samples go to parts with the next maintenance.
        out_of_order_spill_interval: Duration::ZERO,
        block_access: support::block_access(),
        ..Options::new(path)
    };
    let disk = Arc::new(SystemDisk);
    let db = Db::open_with(options, registry, disk, clock.clone()).expect("opens");
    (db, clock)
}

/// Series by name; what they hold at a row.
fn value(series: &str, row: i64) -> f64 {
    match series {
        "constant" => 42.0,
        "counter" => (row * 17) as f64,
        "decimal" => (row % 7) as f64 / 10.0,
        "float" => (row as f64).sqrt(),
        "odd" => match row % 9 {
            0 => f64::from_bits(STALE_NAN_BITS),
            1 => -0.0,
            2 => f64::from_bits(0x7ff8_dead_beef_0001),
            3 => f64::NEG_INFINITY,
            _ => row as f64,
        },
        _ => unreachable!("no such series"),
    }
}

fn histogram(row: u64) -> Histogram {
    let buckets = vec![row, row / 2, 3];
    Histogram::Integer(IntegerHistogram {
        schema: if row > 40 { 2 } else { 3 },
        zero_threshold: 1e-128,
        zero_count: row,
        count: buckets.iter().sum::<u64>() + row,
        sum: row as f64 * 0.37,
        positive_spans: vec![Span {
            offset: -1,
            length: 3,
        }],
        positive_buckets: buckets,
        ..IntegerHistogram::default()
    })
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("instance", "a:1"), ("job", "compat")])
}

fn kinds_labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "kinds")])
}

/// Blocks, head files, two checkpoints, a log and its parity; late samples, histograms, start
/// timestamps, exemplars, metadata, rows in parts, wide rows, deletions.
fn write(path: &Path) {
    let (db, clock) = open(path, &Registry::new(), START_MS);
    let (group, often, wide) = (db.open_group(), db.open_group(), db.open_group());
    let mut batch = Batch::new(group);
    for row in 0..90i64 {
        let time = START_MS + row * STEP_MS;
        clock.0.store(time, Ordering::Relaxed);
        batch.clear();
        for name in ["constant", "counter", "decimal", "float", "odd"] {
            // One comes later, one goes away, one is late now and then.
            if name == "decimal" && row < 30 || name == "float" && row >= 60 {
                continue;
            }
            let series = db.register(group, &labels(name)).expect("registers");
            let late = i64::from(name == "odd" && row % 10 == 5) * 3 * STEP_MS / 2;
            batch.push(series, time - late, value(name, row));
            if name == "counter" {
                batch.set_start(START_MS - 5_000);
            }
            if name == "counter" && row % 30 == 29 {
                batch.push_exemplar(
                    series,
                    Exemplar {
                        labels: Labels::from_pairs([("trace_id", format!("{row:04x}"))]),
                        value: row as f64 / 3.0,
                        timestamp_ms: time,
                    },
                );
            }
        }
        let series = db.register(group, &labels("histogram"));
        let series = series.expect("registers");
        batch
            .push_histogram(series, time, &histogram(row as u64))
            .expect("a histogram");
        let appended = db.append(&batch).expect("appends");
        assert_eq!(appended.rejected, []);
        // One that is scraped more often: chunks of it are sealed that are in no block yet.
        batch.reset(often);
        let series = db.register(often, &labels("often")).expect("registers");
        for part in 0..10 {
            batch.push(series, time + part * 2_000, (row / 3 * part) as f64);
        }
        let appended = db.append(&batch).expect("appends");
        assert_eq!(appended.rejected, []);
        batch.reset(group);
        if row >= 75 {
            append_wide(&db, wide, time);
        }
        if [60, 70, 80].contains(&row) {
            db.maintain();
        }
        if [50, 85].contains(&row) {
            let range = TimeRange {
                start_ms: time - 7 * STEP_MS,
                end_ms: time - 3 * STEP_MS,
            };
            let matchers = [Matcher::new("__name__", MatchOp::Regex, "o.+").expect("a pattern")];
            db.delete_series(&matchers, range).expect("deletes");
        }
    }
    let metadata = Metadata {
        kind: MetricKind::Counter,
        help: "A counter.".to_owned(),
        unit: String::new(),
    };
    assert!(db.set_metadata("counter", &metadata).expect("is kept"));
    drop(db);
    // Opening cuts the log to its content.
    drop(open(path, &Registry::new(), START_MS + 90 * STEP_MS));
}

/// A row of more positions than one word has, in two parts.
fn append_wide(db: &Db, group: GroupId, time: i64) {
    let mut batch = Batch::new(group);
    for part in 0..2 {
        batch.reset(group);
        for number in (0..70).filter(|number| number % 2 == part) {
            let pairs = [
                ("__name__", "wide".to_owned()),
                ("job", "compat".to_owned()),
                ("number", format!("{number:02}")),
            ];
            let series = db.register(group, &Labels::from_pairs(pairs));
            let value = time / STEP_MS / (1 + number % 3) * number;
            batch.push(series.expect("registers"), time, value as f64);
        }
        assert_eq!(db.append(&batch).expect("appends").rejected, []);
    }
}

/// Before what [`write`] writes: blocks, young and compacted, with every codec, every kind of posting
/// list and of component. `tests/format/` tells whether all are there.
fn write_every_kind(path: &Path) {
    let begin_ms = START_MS - 4 * 2_400_000;
    let (db, clock) = open(path, &Registry::new(), begin_ms);
    append_bulk(&db, begin_ms);
    let (often, histograms) = (db.open_group(), db.open_group());
    let mut batch = Batch::new(often);
    let mut noise = 7u64;
    let mut sum = 0.0;
    let mut held = 0.0;
    for row in 0..240i64 {
        let row_ms = begin_ms + 600_000 + row * STEP_MS;
        clock.0.store(row_ms, Ordering::Relaxed);
        batch.reset(often);
        for part in 0..10 {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let random = noise >> 33;
            let skewed = 1u64 << (random % 31).saturating_sub(random / 31 % 31);
            sum += (random % 1000) as f64 / 100.0;
            if random.is_multiple_of(3) {
                held = f64::from_bits(noise | 1 << 62);
            }
            let values = [
                (
                    "chosen",
                    [0.1_f64, 2.0, 7.0, 1.5].map(f64::sqrt)[random as usize % 4],
                ),
                ("held", held),
                ("packed", (random % 997) as f64),
                ("roots", ((row * 10 + part) as f64).sqrt()),
                ("skewed", (random % skewed) as f64 / 4.0),
                ("still", if row < 100 { 3.0 } else { 4.5 }),
                ("sum", sum),
                ("thirds", (random % skewed) as f64 * (1.0 / 3.0)),
            ];
            for (name, value) in values {
                let series = db.register(often, &kinds_labels(name)).expect("registers");
                batch.push(series, row_ms + part * 2_000, value);
            }
        }
        assert_eq!(db.append(&batch).expect("appends").rejected, []);
        batch.reset(histograms);
        for (name, histogram) in every_histogram(row as u64) {
            let series = db
                .register(histograms, &kinds_labels(name))
                .expect("registers");
            let pushed = batch.push_histogram(series, row_ms, &histogram);
            pushed.expect("a histogram");
        }
        let series = db
            .register(histograms, &kinds_labels("marker"))
            .expect("registers");
        batch.push(
            series,
            row_ms,
            f64::from_bits((0xfff4 << 48) | (row as u64 / 9)),
        );
        batch.set_start(row_ms - row % 4);
        assert_eq!(db.append(&batch).expect("appends").rejected, []);
        if row % 30 == 29 {
            db.maintain();
            db.compact();
        }
    }
    db.close().expect("closes");
}

/// So many series that a posting list is worth a bitmap, and one that is the same.
fn append_bulk(db: &Db, begin_ms: i64) {
    let group = db.open_group();
    let mut batch = Batch::new(group);
    for number in 0..17_000u32 {
        let half = ["even", "odd"][(number.wrapping_mul(2_654_435_761) >> 20) as usize % 2];
        let labels = Labels::from_pairs([
            ("__name__", "bulk"),
            ("number", &format!("{number:05}")),
            ("parity", half),
            ("same", half),
        ]);
        let series = db.register(group, &labels).expect("registers");
        batch.push(series, begin_ms, f64::from(number % 3));
    }
    assert_eq!(db.append(&batch).expect("appends").rejected, []);
}

/// Histograms of integers and floats, with buckets below zero, of custom bounds, gauges.
fn every_histogram(row: u64) -> [(&'static str, Histogram); 3] {
    let spans = |offset| {
        vec![
            Span { offset, length: 2 },
            Span {
                offset: 3,
                length: 1,
            },
        ]
    };
    let own = vec![row, row * row % 71, 3];
    let count = 2 * own.iter().sum::<u64>() + row / 2;
    let both = IntegerHistogram {
        counter_reset_hint: CounterResetHint::NotCounterReset,
        schema: -2,
        zero_threshold: 0.001,
        zero_count: row / 2,
        count,
        sum: row as f64 * 1.7,
        positive_spans: spans(-4),
        positive_buckets: own.clone(),
        negative_spans: spans(2),
        negative_buckets: own.clone(),
        ..IntegerHistogram::default()
    };
    let gauge = FloatHistogram {
        counter_reset_hint: CounterResetHint::Gauge,
        ..both.to_float()
    };
    let custom = IntegerHistogram {
        schema: CUSTOM_BOUNDS_SCHEMA,
        count: own.iter().sum(),
        sum: row as f64 / 8.0,
        positive_spans: spans(0),
        positive_buckets: own,
        custom_bounds: [0.1, 0.25, 0.5, 1.0, 2.5, 10.0].into(),
        ..IntegerHistogram::default()
    };
    [
        ("both", Histogram::Integer(both)),
        ("custom", Histogram::Integer(custom)),
        ("gauge", Histogram::Float(gauge)),
    ]
}

/// Everything a store answers, as text.
fn answers(db: &Db) -> String {
    let mut text = String::new();
    let snapshot = db.snapshot();
    let everything = [Matcher::equal("job", "compat")];
    let selection = snapshot
        .select(&everything, TimeRange::ALL)
        .expect("selects");
    for index in 0..selection.len() {
        writeln!(text, "{}", selection.labels(index)).expect("a string");
        text.push_str(&samples(&selection, index, false));
    }
    // What would be long, by its checksum.
    let kinds = [Matcher::equal("job", "kinds")];
    let selection = snapshot.select(&kinds, TimeRange::ALL).expect("selects");
    for index in 0..selection.len() {
        let (labels, samples) = (selection.labels(index), samples(&selection, index, true));
        let (count, sum) = (samples.lines().count(), crc32c::crc32c(samples.as_bytes()));
        writeln!(text, "{labels} {count} samples {sum:08x}").expect("a string");
    }
    for series in snapshot.exemplars(&[everything.to_vec()], TimeRange::ALL) {
        for exemplar in &series.exemplars {
            let (t, bits) = (exemplar.timestamp_ms, exemplar.value.to_bits());
            writeln!(
                text,
                "{} {} {t} {bits:016x}",
                series.labels, exemplar.labels
            )
            .expect("a string");
        }
    }
    text
}

/// The samples of a series, a line each; with `rest`, all that histograms have.
fn samples(selection: &Selection, index: usize, rest: bool) -> String {
    let (mut text, mut column) = (String::new(), Column::default());
    let read = selection.read(index, TimeRange::ALL, &mut column);
    read.expect("reads");
    let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
    for (at, (t, v)) in column.timestamps_ms.iter().zip(&column.values).enumerate() {
        let start = start(&column.starts_ms, at);
        writeln!(text, "  {t} {start} {:016x}", v.to_bits()).expect("a string");
    }
    let histograms = &column.histograms;
    let values = histograms.timestamps_ms.iter().zip(&histograms.values);
    for (at, (t, h)) in values.enumerate() {
        let start = start(&histograms.starts_ms, at);
        let (sum, count) = (h.sum.to_bits(), h.count);
        let (zero, schema) = (h.zero_count, h.schema);
        let pairs =
            |spans: &[Span]| -> Vec<_> { spans.iter().map(|s| (s.offset, s.length)).collect() };
        let (spans, buckets) = (pairs(&h.positive_spans), &h.positive_buckets);
        write!(
            text,
            "  {t} {start} schema {schema} count {count} sum {sum:016x} zero {zero} {spans:?} {buckets:?}"
        )
        .expect("a string");
        if rest {
            let (spans, buckets) = (pairs(&h.negative_spans), &h.negative_buckets);
            let (hint, bounds) = (h.counter_reset_hint as u8, &h.custom_bounds);
            write!(text, " {spans:?} {buckets:?} {hint} {bounds:?}").expect("a string");
        }
        text.push('\n');
    }
    text
}

#[test]
fn directories_of_earlier_versions_answer_as_they_did() {
    if let Ok(name) = std::env::var("BAROGRAPH_COMPAT_WRITE") {
        let path = fixtures().join(name);
        assert!(!path.exists(), "a fixture is written once");
        let made = tempfile::tempdir().expect("a temporary directory");
        write_every_kind(made.path());
        write(made.path());
        copy(made.path(), &path);
        std::fs::remove_file(path.join("lock")).expect("removes");
        let (db, _) = open(made.path(), &Registry::new(), START_MS + 90 * STEP_MS);
        std::fs::write(path.join("expected.txt"), answers(&db)).expect("writes");
    }
    let mut seen = 0;
    for entry in std::fs::read_dir(fixtures()).expect("fixtures") {
        let entry = entry.expect("an entry");
        if !entry.file_type().expect("a type").is_dir() {
            continue;
        }
        seen += 1;
        let name = entry.file_name().to_string_lossy().into_owned();
        let copied = tempfile::tempdir().expect("a temporary directory");
        copy(&entry.path(), copied.path());
        let want = std::fs::read_to_string(copied.path().join("expected.txt"));
        let want = want.expect("what it answered");
        let registry = Registry::new();
        let (db, clock) = open(copied.path(), &registry, START_MS + 90 * STEP_MS);
        assert_eq!(answers(&db), want, "{name}");
        let mut page = String::new();
        registry.encode(Format::Text004, &mut page);
        for metric in [
            "prometheus_tsdb_wal_corruptions_total",
            "prometheus_tsdb_mmap_chunk_corruptions_total",
            "barograph_tsdb_head_rows_missing",
        ] {
            assert!(
                page.contains(&format!("\n{metric} 0\n")),
                "{name}: {metric}"
            );
        }
        // It goes on, and what this version makes of it says the same.
        let group = db.open_group();
        let mut batch = Batch::new(group);
        for row in 100..160 {
            let series = db.register(group, &Labels::from_pairs([("__name__", "new")]));
            batch.clear();
            batch.push(series.expect("registers"), START_MS + row * STEP_MS, 1.0);
            assert_eq!(db.append(&batch).expect("appends").accepted, 1);
            clock.0.store(START_MS + row * STEP_MS, Ordering::Relaxed);
        }
        for _ in 0..3 {
            db.maintain();
        }
        db.compact();
        assert_eq!(answers(&db), want, "{name} in blocks of this version");
        db.close().expect("closes");
    }
    assert!(seen > 0, "there are fixtures");
}

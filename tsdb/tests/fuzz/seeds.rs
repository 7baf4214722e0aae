//! Small stores with some of everything, whose files are changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{
    Clock, Exemplar, Histogram, Labels, MatchOp, Matcher, Metadata, MetricKind, STALE_NAN_BITS,
    TimeRange,
};
use barograph_tsdb::disk::SystemDisk;
use barograph_tsdb::{Batch, Db, OpenError, Options, WalSync};

use crate::foreign;
use crate::support::{self, block_access, files};

pub(crate) const STEP_MS: i64 = 20_000;
pub(crate) const SPAN_MS: i64 = 600_000;
pub(crate) const START_MS: i64 = 1_650_000_000_000 / SPAN_MS * SPAN_MS;
/// Prometheus's blocks span two hours.
const FOREIGN_START_MS: i64 = START_MS / 7_200_000 * 7_200_000;
/// What is only in its log.
pub(crate) const FOREIGN_LOG_START_MS: i64 = FOREIGN_START_MS + 8 * 3_600_000;
const ROWS: i64 = 120;

/// A directory's files.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Clone, Debug)]
struct Time(Arc<AtomicI64>);

impl Clock for Time {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn open(path: &Path, now_ms: i64) -> Result<Db, OpenError> {
    let options = Options {
        wal_segment_bytes: 1 << 16,
        wal_sync: WalSync::Never,
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        block_span_ms: SPAN_MS,
        retention_ms: 0,
        reserve_bytes: 0,
        series_limit: 10_000,
        exemplars_limit: 100,
        block_access: block_access(),
        out_of_order_spill_interval: Duration::from_hours(1),
        ..Options::new(path)
    };
    let clock = Time(Arc::new(AtomicI64::new(now_ms)));
    Db::open_with(options, &Registry::new(), Arc::new(SystemDisk), clock)
}

/// What every store of ours is at.
pub(crate) const NOW_MS: i64 = START_MS + ROWS * STEP_MS;

pub(crate) fn histogram(row: i64) -> Histogram {
    support::histogram(row, if row % 50 > 40 { 2 } else { 3 })
}

fn value(kind: i64, row: i64) -> f64 {
    match kind {
        0 => 42.0,
        1 => (row * 17) as f64,
        2 => (row % 7) as f64 / 10.0,
        3 => (row as f64).sqrt(),
        4 if row % 9 == 0 => f64::from_bits(STALE_NAN_BITS),
        4 if row % 9 == 1 => f64::from_bits(0x7ff8_dead_beef_0001),
        4 => (row / 5) as f64,
        _ => [1e9, 0.123, 77.0][(row * row % 11 % 3) as usize],
    }
}

fn labels(kind: i64) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{}", kind % 3)),
        ("id", kind.to_string()),
        ("instance", "a:1".to_owned()),
    ])
}

/// Rows `from..to` of a store.
fn fill(db: &Db, from: i64, to: i64, maintain_every: i64) {
    let group = db.open_group();
    let mut batch = Batch::new(group);
    for row in from..to {
        let time = START_MS + row * STEP_MS;
        batch.clear();
        for kind in 0..6 {
            if kind == 2 && row % 60 < 20 || kind == 3 && row % 60 > 50 {
                continue;
            }
            let series = db.register(group, &labels(kind)).expect("registers");
            // Late ones where nothing is in blocks.
            let late = i64::from(kind == 0 && row % 10 == 5 && row > 110) * 3 * STEP_MS / 2;
            batch.push(series, time - late, value(kind, row));
            if kind == 1 {
                batch.set_start(START_MS - 5_000);
                if row % 20 == 19 {
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
        }
        let name = Labels::from_pairs([("__name__", "histogram")]);
        let series = db.register(group, &name).expect("registers");
        batch
            .push_histogram(series, time, &histogram(row))
            .expect("a histogram");
        assert_eq!(db.append(&batch).expect("appends").rejected, []);
        if maintain_every > 0 && row % maintain_every == maintain_every - 1 {
            db.maintain();
        }
    }
    let metadata = Metadata {
        kind: MetricKind::Counter,
        help: "What it counts.".to_owned(),
        unit: "seconds".to_owned(),
    };
    db.set_metadata("metric_1", &metadata).expect("is logged");
}

/// Blocks, head files, checkpoints, a log, deletions.
pub(crate) fn whole() -> Files {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path(), NOW_MS).expect("opens");
    fill(&db, 0, ROWS, 30);
    let some = [
        Matcher::equal("id", "1"),
        Matcher::new("instance", MatchOp::Regex, "a:.").expect("valid"),
    ];
    for from in [START_MS + 100_000, START_MS + 900_000] {
        let range = TimeRange {
            start_ms: from,
            end_ms: from + 50_000,
        };
        db.delete_series(&some, range).expect("deletes");
    }
    fill(&db, ROWS, ROWS + 2, 0);
    drop(db);
    // Opening cuts the log to its content.
    drop(open(directory.path(), NOW_MS).expect("opens"));
    files(directory.path())
}

/// A log from its beginning.
pub(crate) fn log_only() -> Files {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path(), NOW_MS).expect("opens");
    fill(&db, 0, 40, 0);
    drop(db);
    drop(open(directory.path(), NOW_MS).expect("opens"));
    files(directory.path())
}

/// Blocks of Prometheus, one with deleted samples, and its log.
pub(crate) fn of_prometheus() -> Files {
    let own = tempfile::tempdir().expect("a temporary directory");
    let db = open(own.path(), NOW_MS).expect("opens");
    let group = db.open_group();
    let mut batch = Batch::new(group);
    for row in 0..130 {
        let time = FOREIGN_START_MS + row * 3 * 60_000;
        batch.clear();
        for kind in 0..4 {
            let series = db.register(group, &labels(kind)).expect("registers");
            batch.push(series, time, value(kind, row));
        }
        for name in ["histogram", "floats"] {
            let labels = Labels::from_pairs([("__name__", name)]);
            let series = db.register(group, &labels).expect("registers");
            let sample = match name {
                "floats" => Histogram::Float(histogram(row).to_float()),
                _ => histogram(row),
            };
            batch
                .push_histogram(series, time, &sample)
                .expect("a histogram");
        }
        assert_eq!(db.append(&batch).expect("appends").rejected, []);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let blocks = db
        .snapshot()
        .export_prometheus(directory.path(), &[], TimeRange::ALL, |_, _| {})
        .expect("exports");
    assert!(blocks.len() > 2, "several blocks");
    let mut files = files(directory.path());
    let first = blocks[0].path.strip_prefix(directory.path());
    let tombstones = first.expect("below it").join("tombstones");
    let deleted = foreign::tombstones(16, FOREIGN_START_MS, FOREIGN_START_MS + 400_000);
    files.insert(tombstones, deleted);
    let (layout, records) = foreign::log(FOREIGN_LOG_START_MS);
    files.insert("wal/00000000".into(), layout.build(&records).bytes);
    files
}

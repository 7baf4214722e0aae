//! Rows that come in parts, as a sender's queue cuts them: nothing is lost, whole or damaged, and
//! series that share their instants go on sharing them.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, GroupId, Options, SeriesRef, WalSync};
use proptest::prelude::*;

const START_MS: i64 = 1_600_000_000_000;
const STEP_MS: i64 = 15_000;

type Samples = BTreeMap<(usize, i64), u64>;

fn options(path: &Path) -> Options {
    Options {
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        retention_ms: 0,
        wal_sync: WalSync::Never,
        wal_segment_bytes: 1 << 16,
        block_access: support::block_access(),
        reserve_bytes: 0,
        ..Options::new(path)
    }
}

struct Bench {
    directory: tempfile::TempDir,
    db: Db,
    group: GroupId,
    series: Vec<SeriesRef>,
    batch: Batch,
    expected: Samples,
}

impl Bench {
    fn new(series: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
        let group = db.open_group();
        let labels = |n: usize| Labels::from_pairs([("__name__", "m"), ("n", &format!("{n:03}"))]);
        let series = (0..series).map(|n| db.register(group, &labels(n)).expect("registers"));
        Self {
            series: series.collect(),
            batch: Batch::new(group),
            expected: Samples::new(),
            directory,
            db,
            group,
        }
    }

    /// Appends samples of one instant.
    fn put(&mut self, step: i64, part: &[(usize, f64)]) {
        if part.is_empty() {
            return;
        }
        self.batch.reset(self.group);
        for (series, value) in part {
            let at_ms = START_MS + step * STEP_MS;
            self.batch.push(self.series[*series], at_ms, *value);
            self.expected.insert((*series, at_ms), value.to_bits());
        }
        let appended = self.db.append(&self.batch).expect("appends");
        assert_eq!(appended.accepted, part.len(), "{:?}", appended.rejected);
    }

    /// What a copy of the directory has, as after a kill.
    fn reopened(&self) -> Samples {
        let copy = tempfile::tempdir().expect("a directory");
        support::copy(self.directory.path(), copy.path());
        read(copy.path())
    }
}

fn read(path: &Path) -> Samples {
    let db = Db::open(options(path), &Registry::new()).expect("opens");
    samples(&db)
}

fn samples(db: &Db) -> Samples {
    let all = [Matcher::equal("__name__", "m")];
    let selection = db.snapshot().select(&all, TimeRange::ALL).expect("selects");
    let mut column = Column::default();
    let mut found = Samples::new();
    for index in 0..selection.len() {
        let number = selection.labels(index).get("n").parse().expect("a number");
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        for (time, value) in column.timestamps_ms.iter().zip(&column.values) {
            found.insert((number, *time), value.to_bits());
        }
    }
    found
}

/// How one row comes: which series it leaves out, and where it is cut.
#[derive(Clone, Debug)]
struct Cut {
    missing: Vec<bool>,
    at: Vec<usize>,
    turned: bool,
    maintain: bool,
}

fn cut(series: usize) -> impl Strategy<Value = Cut> {
    let missing = prop_oneof![
        3 => Just(vec![false; series]),
        1 => prop::collection::vec(prop::bool::weighted(0.2), series),
    ];
    let at = prop::collection::vec(0..series, 0..3);
    (
        missing,
        at,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.05),
    )
        .prop_map(|(missing, at, turned, maintain)| Cut {
            missing,
            at,
            turned,
            maintain,
        })
}

fn case() -> impl Strategy<Value = (usize, Vec<Cut>)> {
    prop_oneof![2usize..6, 60usize..140]
        .prop_flat_map(|series| (Just(series), prop::collection::vec(cut(series), 1..200)))
}

fn value(series: usize, step: i64) -> f64 {
    match series % 4 {
        0 => 7.0,
        1 => (step * 10 + series as i64) as f64,
        2 => step as f64 / 10.0,
        _ => (step as f64 * 0.7 + series as f64).sin(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: support::cases(24), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost((series, cuts) in case()) {
        let mut bench = Bench::new(series);
        for (step, cut) in (0..).zip(&cuts) {
            let mut row: Vec<(usize, f64)> = (0..series)
                .filter(|series| !cut.missing[*series])
                .map(|series| (series, value(series, step)))
                .collect();
            if cut.turned {
                row.reverse();
            }
            let mut at: Vec<usize> = cut.at.iter().map(|at| (*at).min(row.len())).collect();
            at.sort_unstable();
            let mut first = 0;
            for end in at.into_iter().chain([row.len()]) {
                bench.put(step, &row[first..end]);
                first = end;
            }
            if cut.maintain {
                bench.db.maintain();
                prop_assert_eq!(&bench.reopened(), &bench.expected);
            }
        }
        prop_assert_eq!(&samples(&bench.db), &bench.expected);
        prop_assert_eq!(&bench.reopened(), &bench.expected);
        bench.db.close().expect("closes");
        prop_assert_eq!(&read(bench.directory.path()), &bench.expected);
    }
}

#[test]
fn series_of_rows_in_parts_share_their_instants() {
    let mut bench = Bench::new(100);
    for step in 0..60 {
        let row: Vec<(usize, f64)> = (0..100).map(|n| (n, value(n, step))).collect();
        let (first, second) = row.split_at((step as usize * 37) % 100);
        bench.put(step, first);
        bench.put(step, second);
    }
    let all = [Matcher::equal("__name__", "m")];
    let selection = bench
        .db
        .snapshot()
        .select(&all, TimeRange::ALL)
        .expect("selects");
    let recent = TimeRange {
        start_ms: START_MS + 40 * STEP_MS,
        end_ms: START_MS + 60 * STEP_MS,
    };
    let mut shared = std::collections::BTreeSet::new();
    let mut columns = vec![Column::default(); selection.len()];
    for (index, column) in columns.iter_mut().enumerate() {
        selection.read(index, recent, column).expect("reads");
        shared.insert(column.timestamps_ms.as_ptr());
    }
    assert!(shared.len() <= 2, "{} columns of instants", shared.len());
}

/// A row that is lost must not change what others say, even of a series that was absent when rows
/// were logged whole.
#[test]
fn a_lost_record_spoils_no_other() {
    let mut bench = Bench::new(4);
    for step in 0..70 {
        let present = |series: usize| series != 1 || !(20..40).contains(&step);
        let row: Vec<(usize, f64)> = (0..4)
            .filter(|series| present(*series))
            .map(|series| (series, (step * step) as f64 + series as f64))
            .collect();
        let (first, second) = row.split_at(step as usize % 3);
        bench.put(step, first);
        bench.put(step, second);
    }
    let whole = bench.reopened();
    assert_eq!(whole, bench.expected);
    let wal = bench.directory.path().join("wal");
    let segment = std::fs::read_dir(&wal)
        .expect("a log")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .filter(|path| std::fs::metadata(path).is_ok_and(|m| m.len() > 0))
        .min()
        .expect("a segment");
    let bytes = std::fs::read(&segment).expect("reads");
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let mut hurt = 0;
    for at in (64..used).step_by(29) {
        let copy = tempfile::tempdir().expect("a directory");
        support::copy(bench.directory.path(), copy.path());
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        let damaged_at = copy.path().join("wal");
        let damaged_at = damaged_at.join(segment.file_name().expect("a name"));
        std::fs::write(&damaged_at, damaged).expect("writes");
        // Nothing restores it.
        std::fs::remove_file(damaged_at.with_extension("parity")).ok();
        let found = read(copy.path());
        for (key, bits) in &found {
            assert_eq!(bench.expected.get(key), Some(bits), "byte {at}, {key:?}");
        }
        hurt += usize::from(found.len() < whole.len());
    }
    assert!(hurt > 10, "{hurt} of the damages lost something");
}

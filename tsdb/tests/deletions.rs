//! Deleted samples are gone from answers at once and for good, and others are not; snapshots open
//! as data directories.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, Options};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_600_000_000_000 / (8 * HOUR_MS) * (8 * HOUR_MS);
const STEP_MS: i64 = 60_000;
const SERIES: usize = 6;

fn options(path: &Path) -> Options {
    Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        wal_segment_bytes: 1 << 20,
        compaction_bytes_per_second: 0,
        block_access: support::block_access(),
        ..Options::new(path)
    }
}

fn open(path: &Path) -> Db {
    Db::open(options(path), &Registry::new()).expect("opens")
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "m".to_owned()),
        ("id", series.to_string()),
        ("parity", ["even", "odd"][series % 2].to_owned()),
    ])
}

fn append(db: &Db, from_hour: i64, to_hour: i64) {
    let group = db.open_group();
    let references: Vec<_> = (0..SERIES)
        .map(|s| db.register(group, &labels(s)).expect("registers"))
        .collect();
    let mut batch = Batch::new(group);
    for row in from_hour * 60..to_hour * 60 {
        batch.clear();
        for (series, reference) in references.iter().enumerate() {
            let value = (row * (series as i64 + 1)) as f64;
            batch.push(*reference, START_MS + row * STEP_MS, value);
        }
        assert_eq!(db.append(&batch).expect("appends").accepted, SERIES);
    }
    db.close_group(group);
}

/// What there should be: hours, by series.
fn check(db: &Db, hours: i64, is_there: impl Fn(usize, i64) -> bool) {
    let snapshot = db.snapshot();
    let everything = [Matcher::equal("__name__", "m")];
    let selection = snapshot
        .select(&everything, TimeRange::ALL)
        .expect("selects");
    let mut got = BTreeMap::new();
    let mut column = Column::default();
    for index in 0..selection.len() {
        let series: usize = selection.labels(index).get("id").parse().expect("a number");
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        for (t, v) in column.timestamps_ms.iter().zip(&column.values) {
            let row = (t - START_MS) / STEP_MS;
            assert_eq!(*v, (row * (series as i64 + 1)) as f64);
        }
        got.insert(series, column.timestamps_ms.to_vec());
    }
    let want: BTreeMap<usize, Vec<i64>> = (0..SERIES)
        .map(|series| {
            let rows = (0..hours * 60).filter(|row| is_there(series, *row));
            (series, rows.map(|row| START_MS + row * STEP_MS).collect())
        })
        .filter(|(_, times): &(usize, Vec<i64>)| !times.is_empty())
        .collect();
    assert!(got == want, "{:?} {:?}", sizes(&got), sizes(&want));
}

fn sizes(samples: &BTreeMap<usize, Vec<i64>>) -> Vec<(usize, usize)> {
    samples.iter().map(|(s, t)| (*s, t.len())).collect()
}

fn minutes(from: i64, to: i64) -> TimeRange {
    TimeRange {
        start_ms: START_MS + from * STEP_MS,
        end_ms: START_MS + to * STEP_MS,
    }
}

#[test]
fn deleted_samples_stay_away() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    append(&db, 0, 11);
    db.maintain();
    let before = db.snapshot();
    // In two blocks, over the border of blocks and head, all of one series, and the future.
    let odd = [Matcher::equal("parity", "odd")];
    db.delete_series(&odd, minutes(100, 130)).expect("deletes");
    db.delete_series(&[Matcher::equal("id", "2")], minutes(590, 650))
        .expect("deletes");
    db.delete_series(&[Matcher::equal("id", "4")], TimeRange::ALL)
        .expect("deletes");
    db.delete_series(&[Matcher::equal("id", "0")], minutes(630, 5000))
        .expect("deletes");
    let left = |hours: i64| {
        move |series: usize, row: i64| {
            row < hours * 60
                && match series {
                    1 | 3 | 5 => !(100..=130).contains(&row),
                    2 => !(590..=650).contains(&row),
                    // What came later was not deleted.
                    4 => row >= 11 * 60,
                    _ => !(630..11 * 60).contains(&row),
                }
        }
    };
    check(&db, 11, left(11));
    let selection = before
        .select(&[Matcher::equal("id", "4")], TimeRange::ALL)
        .expect("selects");
    assert_eq!(selection.len(), 1, "a snapshot does not change");
    drop((selection, before));
    drop(db);
    let db = open(directory.path());
    check(&db, 11, left(11));
    append(&db, 11, 16);
    check(&db, 16, left(16));
    // Blocks cut from the head inherit, compaction erases.
    db.maintain();
    db.maintain();
    check(&db, 16, left(16));
    assert!(db.blocks().iter().any(|block| block.tombstones > 0));
    let samples = |db: &Db| db.blocks().iter().map(|b| b.samples).sum::<u64>();
    let had = samples(&db);
    assert!(db.compact() > 0);
    check(&db, 16, left(16));
    db.clean_tombstones().expect("cleans");
    check(&db, 16, left(16));
    assert!(db.blocks().iter().all(|block| block.tombstones == 0));
    assert!(samples(&db) < had, "{} {had}", samples(&db));
    drop(db);
    let db = open(directory.path());
    check(&db, 16, left(16));
    db.delete_series(&[Matcher::equal("__name__", "m")], TimeRange::ALL)
        .expect("deletes");
    check(&db, 16, |_, _| false);
    db.clean_tombstones().expect("cleans");
    assert!(db.blocks().is_empty());
    check(&db, 16, |_, _| false);
}

#[test]
fn a_damaged_file_of_deletions_is_not_passed_over() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    append(&db, 0, 1);
    db.delete_series(&[Matcher::equal("id", "4")], TimeRange::ALL)
        .expect("deletes");
    drop(db);
    let path = directory.path().join("deletions");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    let Err(error) = Db::open(options(directory.path()), &Registry::new()) else {
        panic!("deleted samples would be back");
    };
    assert!(error.to_string().contains("deletions"), "{error}");
}

#[test]
fn snapshots_open_as_data_directories() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    append(&db, 0, 12);
    db.maintain();
    db.delete_series(&[Matcher::equal("id", "1")], minutes(0, 100))
        .expect("deletes");
    let left = |hours: i64| {
        move |series: usize, row: i64| row < hours * 60 && !(series == 1 && row <= 100)
    };
    let whole = directory.path().join("snapshots/whole");
    let blocks = directory.path().join("snapshots/blocks");
    db.write_snapshot(&whole, false).expect("writes");
    db.write_snapshot(&blocks, true).expect("writes");
    // The store goes on, and what it removes the snapshots keep.
    append(&db, 12, 17);
    db.maintain();
    db.compact();
    check(&db, 17, left(17));
    check(&open(&whole), 12, left(12));
    check(&open(&blocks), 10, left(10));
    drop(db);
    check(&open(directory.path()), 17, left(17));
}

/// What a kill leaves, opened.
fn killed(db_path: &Path) -> (tempfile::TempDir, Db) {
    let copy = tempfile::tempdir().expect("a temporary directory");
    support::copy(db_path, copy.path());
    let db = open(copy.path());
    (copy, db)
}

#[test]
fn what_was_erased_with_the_last_block_does_not_come_back_from_the_head() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    append(&db, 0, 11);
    // The head's files go on having all of it.
    db.maintain();
    db.delete_series(&[Matcher::equal("id", "4")], minutes(0, 300))
        .expect("deletes");
    db.clean_tombstones().expect("cleans");
    db.delete_series(&[Matcher::equal("parity", "odd")], minutes(0, 599))
        .expect("deletes");
    db.delete_series(&[Matcher::equal("parity", "even")], minutes(301, 599))
        .expect("deletes");
    for id in ["0", "2"] {
        db.delete_series(&[Matcher::equal("id", id)], minutes(0, 300))
            .expect("deletes");
    }
    db.clean_tombstones().expect("cleans");
    assert!(db.blocks().is_empty());
    check(&db, 11, |_, row| row >= 600);
    let (copy, other) = killed(directory.path());
    check(&other, 11, |_, row| row >= 600);
    drop((copy, other));
    drop(db);
    let db = open(directory.path());
    check(&db, 11, |_, row| row >= 600);
    append(&db, 11, 14);
    db.maintain();
    drop(db);
    check(&open(directory.path()), 14, |_, row| row >= 600);
}

#[test]
fn late_samples_that_were_merged_and_erased_do_not_come_back_from_the_log() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    append(&db, 0, 12);
    db.maintain();
    let five = [Matcher::equal("id", "5")];
    db.delete_series(&five, minutes(50, 60)).expect("deletes");
    db.clean_tombstones().expect("cleans");
    db.set_out_of_order_window(24 * HOUR_MS);
    let group = db.open_group();
    let mut batch = Batch::new(group);
    let reference = db.register(group, &labels(5)).expect("registers");
    for row in [55, 57] {
        batch.push(reference, START_MS + row * STEP_MS, (row * 6) as f64);
    }
    let appended = db.append(&batch).expect("appends");
    assert!(appended.rejected.is_empty(), "{appended:?}");
    // Writes the late samples to a part, without a checkpoint.
    db.delete_series(&five, minutes(52, 52)).expect("deletes");
    let is_there = |rows: &'static [i64]| {
        move |series, row| series != 5 || rows.contains(&row) || !(50..=60).contains(&row)
    };
    check(&db, 12, is_there(&[55, 57]));
    // The part becomes a block, which becomes nothing.
    for (gone, left) in [(55, [57].as_slice()), (57, &[])] {
        db.delete_series(&five, minutes(gone, gone))
            .expect("deletes");
        db.clean_tombstones().expect("cleans");
        check(&db, 12, is_there(left));
        let (_copy, other) = killed(directory.path());
        check(&other, 12, is_there(left));
    }
}

/// Makes every block unreadable.
fn spoil_blocks(path: &Path) -> usize {
    let blocks = std::fs::read_dir(path.join("blocks")).expect("lists");
    let indexes = blocks.map(|block| block.expect("a block").path().join("index"));
    let spoilt = indexes.map(|index| {
        let mut bytes = std::fs::read(&index).expect("reads");
        let end = bytes.len();
        bytes[end - 12] ^= 1;
        std::fs::write(&index, bytes).expect("writes");
    });
    spoilt.count()
}

#[test]
fn what_the_head_brings_back_of_an_unreadable_block_was_not_deleted() {
    for checkpoints in 0..3 {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = Options {
            checkpoint_interval: Duration::ZERO,
            ..options(directory.path())
        };
        let db = Db::open(options, &Registry::new()).expect("opens");
        append(&db, 0, 3);
        let odd = [Matcher::equal("parity", "odd")];
        db.delete_series(&odd, minutes(10, 50)).expect("deletes");
        append(&db, 3, 4);
        db.maintain();
        // The block is written anew without them: nothing else has to remember.
        db.clean_tombstones().expect("cleans");
        let is_there =
            |series: usize, row: i64| series.is_multiple_of(2) || !(10..=50).contains(&row);
        check(&db, 4, is_there);
        for _ in 0..checkpoints {
            db.maintain();
        }
        drop(db);
        assert_eq!(spoil_blocks(directory.path()), 1);
        let db = open(directory.path());
        let snapshot = db.snapshot();
        let selection = snapshot.select(&odd, minutes(10, 50)).expect("selects");
        let mut column = Column::default();
        for index in 0..selection.len() {
            selection
                .read(index, minutes(10, 50), &mut column)
                .expect("reads");
            assert!(column.timestamps_ms.is_empty(), "deleted, {checkpoints}");
        }
        let even = [Matcher::equal("parity", "even")];
        let left = snapshot.select(&even, minutes(10, 50)).expect("selects");
        assert!(
            checkpoints > 0 || left.len() == SERIES / 2,
            "the head still has the others"
        );
    }
}

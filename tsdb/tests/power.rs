//! The store on a disk that fails at any operation and then loses its power: whatever was
//! acknowledged and synced is there afterwards with its values, whatever is there was written.
//!
//! `BAROGRAPH_POWER_SEEDS=<first>..<end>` runs other seeds than the few of every run.

mod disk;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, SystemClock, TimeRange};
use barograph_tsdb::{Batch, Column, Db, OpenError, Options, WalSync};
use disk::{FaultyDisk, Random};
use support::{metric, seeds};

const STEP_MS: i64 = 20_000;
const START_MS: i64 = 1_650_000_000_000 / 600_000 * 600_000;
const GROUPS: usize = 2;

fn options(path: &Path, sync: WalSync) -> Options {
    Options {
        wal_segment_bytes: 1 << 16,
        wal_sync: sync,
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        block_span_ms: 600_000,
        retention_ms: 0,
        reserve_bytes: 0,
        block_access: support::block_access(),
        ..Options::new(path)
    }
}

fn value(series: usize, row: i64) -> f64 {
    match series % 4 {
        0 => 42.0,
        1 => row as f64 * 17.0,
        2 => (row % 7) as f64 / 10.0,
        _ => (row as f64).sqrt(),
    }
}

/// What was written: rows by series, and whether each was acknowledged as durable.
#[derive(Default)]
struct Written {
    rows: BTreeMap<usize, BTreeMap<i64, bool>>,
    next_row: i64,
}

impl Written {
    /// Appends, maintains and compacts until the disk is dead or a number of steps is done.
    fn live(&mut self, db: &Db, random: &mut Random, steps: u64) {
        let groups: Vec<_> = (0..GROUPS).map(|_| db.open_group()).collect();
        for _ in 0..steps {
            match random.below(24) {
                0 => db.maintain(),
                1 if random.one_in(2) => {
                    db.compact();
                }
                2 => self.next_row += random.below(20) as i64,
                _ => {
                    let group = random.below(GROUPS as u64) as usize;
                    // Members come and go.
                    let series = (0..8).filter(|s| s % GROUPS == group && !random.one_in(9));
                    let series: Vec<usize> = series.collect();
                    self.append(db, groups[group], &series);
                }
            }
        }
    }

    fn append(&mut self, db: &Db, group: barograph_tsdb::GroupId, series: &[usize]) {
        let row = self.next_row;
        self.next_row += 1;
        let mut batch = Batch::new(group);
        for number in series {
            let labels =
                Labels::from_pairs([("__name__", "x".to_owned()), ("id", number.to_string())]);
            let reference = db.register(group, &labels).expect("registers");
            batch.push(reference, START_MS + row * STEP_MS, value(*number, row));
        }
        let appended = db.append(&batch);
        for (index, number) in series.iter().enumerate() {
            let durable = appended
                .as_ref()
                .is_ok_and(|appended| appended.rejected.iter().all(|r| r.index != index));
            self.rows.entry(*number).or_default().insert(row, durable);
        }
    }

    /// Compares with what a store has. Forgets what was not acknowledged and is lost.
    fn check(&mut self, db: &Db, context: &str) {
        let snapshot = db.snapshot();
        let everything = [Matcher::equal("__name__", "x")];
        let selection = snapshot
            .select(&everything, TimeRange::ALL)
            .expect("selects");
        let mut found: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        let mut column = Column::default();
        for index in 0..selection.len() {
            let series: usize = selection.labels(index).get("id").parse().expect("a number");
            selection
                .read(index, TimeRange::ALL, &mut column)
                .expect("reads");
            for (t, v) in column.timestamps_ms.iter().zip(&column.values) {
                let row = (t - START_MS) / STEP_MS;
                let want = value(series, row);
                assert_eq!(
                    v.to_bits(),
                    want.to_bits(),
                    "{context}: series {series} row {row}"
                );
                found.entry(series).or_default().push(row);
            }
        }
        for (series, rows) in &mut self.rows {
            let found = found.remove(series).unwrap_or_default();
            assert!(
                found.is_sorted_by(|a, b| a < b),
                "{context}: series {series} twice"
            );
            assert!(
                found.iter().all(|row| rows.contains_key(row)),
                "{context}: never written"
            );
            let lost: Vec<i64> = rows
                .iter()
                .filter(|(row, durable)| **durable && found.binary_search(row).is_err())
                .map(|(row, _)| *row)
                .collect();
            assert!(
                lost.is_empty(),
                "{context}: series {series} lost the rows {lost:?}"
            );
            rows.retain(|row, _| found.binary_search(row).is_ok());
            for durable in rows.values_mut() {
                *durable = true;
            }
        }
        assert!(
            found.is_empty(),
            "{context}: series that were never written"
        );
    }
}

/// Some lives of a store; each ends with a power cut in the middle of some operation.
fn lives(seed: u64, fault_one_in: u64) {
    let mut random = Random::new(seed);
    let mut directory = tempfile::tempdir().expect("a temporary directory");
    let mut written = Written::default();
    for life in 0..4 {
        let context = format!("seed {seed}, life {life}, faults 1/{fault_one_in}");
        let disk = FaultyDisk::new(directory.path(), random.below(u64::MAX));
        disk.die_at(random.below(900));
        disk.fail_one_in(fault_one_in);
        let opened = Db::open_with(
            options(directory.path(), WalSync::Always),
            &Registry::new(),
            Arc::new(disk.clone()),
            SystemClock,
        );
        match opened {
            Ok(db) => {
                let steps = random.below(500);
                written.live(&db, &mut random, steps);
                // Half of the time the disk still works when the power goes.
            }
            Err(OpenError::Io { .. }) => {}
            Err(error) => panic!("{context}: {error}"),
        }
        let left = tempfile::tempdir().expect("a temporary directory");
        disk.lose_power(left.path());
        let registry = Registry::new();
        let opened = Db::open(options(left.path(), WalSync::Always), &registry);
        let db = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
        written.check(&db, &context);
        drop(db);
        directory = left;
    }
}

#[test]
fn nothing_synced_is_lost_with_the_power() {
    for seed in seeds("BAROGRAPH_POWER_SEEDS", 0..25) {
        lives(seed, 0);
    }
}

#[test]
fn nothing_synced_is_lost_with_faults_and_the_power() {
    for seed in seeds("BAROGRAPH_POWER_SEEDS", 1000..1025) {
        lives(seed, 40);
    }
}

#[test]
fn a_full_disk_is_tidied_up_from_the_reserve_and_ingestion_resumes_alone() {
    const MIB: u64 = 1 << 20;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = FaultyDisk::new(directory.path(), 1);
    disk.set_capacity(3 * MIB);
    let registry = Registry::new();
    let db = Db::open_with(
        Options {
            reserve_bytes: MIB,
            retention_ms: 3_600_000,
            checkpoint_interval: Duration::from_hours(1),
            ..options(directory.path(), WalSync::Never)
        },
        &registry,
        Arc::new(disk.clone()),
        SystemClock,
    )
    .expect("opens");
    db.maintain();
    assert!(disk.used_bytes() >= MIB, "the reserve is taken");
    let group = db.open_group();
    let mut batch = Batch::new(group);
    let mut append = |row: i64, count: usize| {
        batch.clear();
        for number in 0..count {
            let labels =
                Labels::from_pairs([("__name__", "x".to_owned()), ("id", number.to_string())]);
            let reference = db.register(group, &labels).expect("registers");
            batch.push(
                reference,
                START_MS + row * STEP_MS,
                (row as f64 + number as f64).sqrt(),
            );
        }
        db.append(&batch)
    };
    let stopped = || metric(&registry, "barograph_tsdb_ingestion_stopped");
    let mut row = 0;
    while row < 400 {
        append(row, 500).expect("there is room");
        row += 1;
        if row % 20 == 0 {
            db.maintain();
        }
    }
    for _ in 0..2 {
        // Somebody else fills the disk.
        disk.set_capacity(disk.used_bytes());
        while append(row, 500).is_ok() {
            row += 1;
            assert!(row < 10_000, "the disk never fills");
        }
        assert!(stopped() > 0.0);
        let checkpoints = || metric(&registry, "prometheus_tsdb_checkpoint_creations_total");
        let before = checkpoints();
        for _ in 0..3 {
            db.maintain();
            std::thread::sleep(Duration::from_millis(105));
            if append(row, 500).is_ok() {
                row += 1;
                let is_restored = directory.path().join("reserve").exists();
                assert!(is_restored, "what the reserve gave is not for samples");
            }
        }
        assert!(checkpoints() > before, "there is room to tidy up");
        let everything = [Matcher::equal("__name__", "x")];
        let selection = db.snapshot().select(&everything, TimeRange::ALL);
        assert_eq!(selection.expect("selects").len(), 500, "queries go on");
        disk.set_capacity(disk.used_bytes() + 8 * MIB);
        db.maintain();
        std::thread::sleep(Duration::from_millis(105));
        append(row, 500).expect("there is room again");
        row += 1;
        assert!(stopped().abs() < 0.5 && directory.path().join("reserve").exists());
    }
}

//! Blocks become larger ones; whatever happens meanwhile, nothing is lost and nothing comes twice.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, Options};
use support::{copy, metric};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_600_000_000_000 / (24 * HOUR_MS) * (24 * HOUR_MS);
const STEP_MS: i64 = 60_000;

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

/// Series 0..20 all the time; ten more in each four hours.
fn present(series: usize, hour: i64) -> bool {
    series < 20 || (20 + hour / 4 * 10..30 + hour / 4 * 10).contains(&(series as i64))
}

/// A sample is missing now and then.
fn missing(series: usize, row: i64) -> bool {
    (row as usize + series).is_multiple_of(97)
}

fn value(series: usize, t: i64) -> f64 {
    let row = ((t - START_MS) / STEP_MS) as f64;
    match series % 4 {
        0 => 42.0,
        1 => row * 17.0 + series as f64,
        2 => (row % 7.0) / 10.0,
        _ => (row + 0.1).sqrt(),
    }
}

fn fill(db: &Db, hours: i64) {
    let group = db.open_group();
    let mut batch = Batch::new(group);
    let mut references = BTreeMap::new();
    for row in 0..hours * 60 {
        let t = START_MS + row * STEP_MS;
        let hour = row / 60;
        batch.clear();
        for series in (0..200).filter(|s| present(*s, hour)) {
            if missing(series, row) {
                continue;
            }
            let reference = *references.entry(series).or_insert_with(|| {
                let labels = Labels::from_pairs([
                    ("__name__", "m".to_owned()),
                    ("id", format!("{series:03}")),
                ]);
                db.register(group, &labels).expect("registers")
            });
            batch.push(reference, t, value(series, t));
        }
        assert_eq!(db.append(&batch).expect("appends").accepted, batch.len());
    }
    db.close_group(group);
    db.maintain();
}

/// Every sample of every series, as appended.
fn check(db: &Db, hours: i64) {
    let snapshot = db.snapshot();
    let everything = [Matcher::equal("__name__", "m")];
    let selection = snapshot
        .select(&everything, TimeRange::ALL)
        .expect("selects");
    let mut column = Column::default();
    let mut seen = 0;
    for index in 0..selection.len() {
        let series: usize = selection.labels(index).get("id").parse().expect("a number");
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        let want: Vec<(i64, u64)> = (0..hours * 60)
            .filter(|row| present(series, row / 60) && !missing(series, *row))
            .map(|row| START_MS + row * STEP_MS)
            .map(|t| (t, value(series, t).to_bits()))
            .collect();
        let got: Vec<(i64, u64)> = column
            .timestamps_ms
            .iter()
            .copied()
            .zip(column.values.iter().map(|v| v.to_bits()))
            .collect();
        assert!(
            got == want,
            "series {series}: {} and {} samples",
            got.len(),
            want.len()
        );
        seen += got.len();
    }
    let want = (0..hours * 60)
        .map(|row| {
            (0..200)
                .filter(|s| present(*s, row / 60) && !missing(*s, row))
                .count()
        })
        .sum::<usize>();
    assert_eq!(seen, want);
}

fn blocks(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.join("blocks")).expect("lists");
    let mut paths: Vec<_> = entries.map(|e| e.expect("reads").path()).collect();
    paths.sort();
    paths
}

#[test]
fn blocks_grow_with_age() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &registry).expect("opens");
    fill(&db, 38);
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 18.0);
    let before = db.snapshot();
    check(&db, 38);
    assert_eq!(db.compact(), 2);
    // One of 24 h, one of 8 h, and two of 2 h that wait.
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 4.0);
    assert_eq!(blocks(directory.path()).len(), 4);
    assert_eq!(db.compact(), 0);
    check(&db, 38);
    // What was taken before reads what was removed.
    let matchers = [Matcher::equal("id", "001")];
    let selection = before.select(&matchers, TimeRange::ALL).expect("selects");
    let mut column = Column::default();
    selection
        .read(0, TimeRange::ALL, &mut column)
        .expect("reads");
    assert!(column.values.len() > 2000);
    let range = TimeRange {
        start_ms: START_MS + 5 * HOUR_MS,
        end_ms: START_MS + 6 * HOUR_MS - 1,
    };
    let selection = db
        .snapshot()
        .select(&[Matcher::equal("__name__", "m")], range)
        .expect("selects");
    assert_eq!(selection.len(), 30, "series outside the range are left out");
    drop(db);
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens again");
    check(&db, 38);
}

#[test]
fn the_retention_bounds_the_span() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options {
        retention_ms: 100 * HOUR_MS,
        ..options(directory.path())
    };
    let db = Db::open(options, &Registry::new()).expect("opens");
    fill(&db, 26);
    db.compact();
    assert_eq!(blocks(directory.path()).len(), 3);
    check(&db, 26);
}

#[test]
fn a_crash_before_the_parents_are_removed_doubles_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let kept = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    fill(&db, 12);
    let parents = blocks(directory.path());
    for block in &parents {
        copy(
            block,
            &kept.path().join(block.file_name().expect("has a name")),
        );
    }
    assert_eq!(db.compact(), 1);
    drop(db);
    assert_eq!(blocks(directory.path()).len(), 2);
    for block in &parents {
        copy(
            &kept.path().join(block.file_name().expect("has a name")),
            block,
        );
    }
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &registry).expect("opens again");
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 2.0);
    assert_eq!(blocks(directory.path()).len(), 2);
    check(&db, 12);
    drop(db);
    // Where the new block cannot be read, the parents count.
    let new = blocks(directory.path())
        .into_iter()
        .find(|path| !parents.contains(path));
    std::fs::write(new.expect("is there").join("meta"), b"nonsense").expect("writes");
    for block in &parents {
        copy(
            &kept.path().join(block.file_name().expect("has a name")),
            block,
        );
    }
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens again");
    check(&db, 12);
}

#[test]
fn a_damaged_block_stays_and_the_others_are_merged() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    fill(&db, 20);
    drop(db);
    let paths = blocks(directory.path());
    let data = paths[1].join("data");
    let mut bytes = std::fs::read(&data).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, &bytes).expect("writes");
    let db = Db::open(options(directory.path()), &registry).expect("opens again");
    assert_eq!(db.compact(), 1);
    assert_eq!(
        metric(&registry, "prometheus_tsdb_compactions_failed_total"),
        1.0
    );
    let after = blocks(directory.path());
    assert!(paths[..4].iter().all(|path| after.contains(path)));
    assert!(paths[4..8].iter().all(|path| !after.contains(path)));
    assert!(
        !after.iter().any(|p| p.to_string_lossy().contains("tmp-")),
        "nothing half-done is left: {after:?}"
    );
    assert_eq!(db.compact(), 0, "it is not tried again at once");
    bytes[middle] ^= 1;
    drop(db);
    std::fs::write(&data, &bytes).expect("writes");
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens again");
    assert_eq!(db.compact(), 1);
    check(&db, 20);
}

#[test]
fn closing_does_not_wait_for_the_budget() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    fill(&db, 12);
    db.close().expect("closes");
    drop(db);
    let slow = Options {
        compaction_bytes_per_second: 100,
        maintenance_interval: Duration::from_millis(1),
        ..options(directory.path())
    };
    let registry = Registry::new();
    let db = Db::open(slow, &registry).expect("opens again");
    let began = Instant::now();
    while metric(&registry, "barograph_tsdb_compaction_running") == 0.0 {
        assert!(began.elapsed() < Duration::from_secs(20), "never began");
        std::thread::sleep(Duration::from_millis(1));
    }
    let closing = Instant::now();
    db.close().expect("closes");
    assert!(closing.elapsed() < Duration::from_secs(10));
    drop(db);
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens again");
    assert_eq!(blocks(directory.path()).len(), 5);
    check(&db, 12);
}

#[test]
fn deletes_that_never_cease_do_not_keep_blocks_from_being_merged() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    fill(&db, 12);
    db.close().expect("closes");
    drop(db);
    // Each merge takes longer than several deletes.
    let slow = Options {
        compaction_bytes_per_second: 100_000,
        ..options(directory.path())
    };
    let registry = Registry::new();
    let db = Db::open(slow, &registry).expect("opens again");
    let before = blocks(directory.path()).len();
    let merging = std::sync::atomic::AtomicBool::new(true);
    let mut deletes = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(db.compact() > 0);
            merging.store(false, std::sync::atomic::Ordering::Release);
        });
        let began = Instant::now();
        while merging.load(std::sync::atomic::Ordering::Acquire) {
            assert!(began.elapsed() < Duration::from_mins(1), "never merged");
            let at_ms = START_MS + deletes * STEP_MS;
            let range = TimeRange {
                start_ms: at_ms,
                end_ms: at_ms,
            };
            let all = [Matcher::equal("__name__", "m")];
            db.delete_series(&all, range).expect("deletes");
            deletes += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    assert!(deletes > 3, "{deletes}");
    assert!(blocks(directory.path()).len() < before);
    assert!(
        metric(
            &registry,
            "prometheus_tsdb_compaction_duration_seconds_count"
        ) >= 1.0
    );
    let gone = |db: &Db| {
        let everything = [Matcher::equal("__name__", "m")];
        let selection = db.snapshot().select(&everything, TimeRange::ALL);
        let selection = selection.expect("selects");
        let mut column = Column::default();
        let mut first_ms = i64::MAX;
        let mut samples = 0;
        for index in 0..selection.len() {
            selection
                .read(index, TimeRange::ALL, &mut column)
                .expect("reads");
            first_ms = first_ms.min(column.timestamps_ms[0]);
            samples += column.values.len();
        }
        assert_eq!(
            first_ms,
            START_MS + deletes * STEP_MS,
            "what is deleted, and no more"
        );
        samples
    };
    let samples = gone(&db);
    db.clean_tombstones().expect("cleans");
    assert_eq!(gone(&db), samples);
    db.close().expect("closes");
    drop(db);
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens again");
    assert_eq!(gone(&db), samples);
}

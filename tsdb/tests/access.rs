//! Files that are read at offsets, not mapped: the same answers, nothing mapped, memory bounded.

mod support;

use std::path::Path;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, BlockAccess, Column, Db, Options};
use support::metric;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_600_000_000_000 / (2 * HOUR_MS) * (2 * HOUR_MS);
const SERIES: usize = 60;
const ROWS: i64 = 11 * 60;
const CACHE_BYTES: usize = 1500;

fn open(path: &Path, registry: &Registry, block_access: BlockAccess) -> Db {
    let options = Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        wal_segment_bytes: 1 << 20,
        block_access,
        read_cache_bytes: CACHE_BYTES,
        ..Options::new(path)
    };
    Db::open(options, registry).expect("opens")
}

fn fill(db: &Db) {
    let group = db.open_group();
    let name = |n| Labels::from_pairs([("__name__", "x".to_owned()), ("n", format!("{n:03}"))]);
    let references: Vec<_> = (0..SERIES)
        .map(|n| db.register(group, &name(n)).expect("registers"))
        .collect();
    let mut batch = Batch::new(group);
    for row in 0..ROWS {
        batch.clear();
        for (n, reference) in references.iter().enumerate() {
            let value = (row * row * n as i64) as f64 / 8.0;
            batch.push(*reference, START_MS + row * 60_000, value);
        }
        db.append(&batch).expect("appends");
        if row % 120 == 119 {
            db.maintain();
        }
    }
    db.maintain();
}

fn answers(db: &Db) -> Vec<(Labels, Vec<(i64, u64)>)> {
    let all = [Matcher::equal("__name__", "x")];
    let selection = db.snapshot().select(&all, TimeRange::ALL).expect("selects");
    let mut column = Column::default();
    let read = |index| {
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        let samples = column.timestamps_ms.iter().zip(&column.values);
        let samples = samples.map(|(t, v)| (*t, v.to_bits()));
        (selection.labels(index).clone(), samples.collect())
    };
    (0..selection.len()).map(read).collect()
}

/// How many maps of this process are of files below a directory.
fn maps(directory: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux tells");
    let directory = directory.to_str().expect("text");
    maps.lines().filter(|line| line.contains(directory)).count()
}

#[test]
fn the_same_answers_with_nothing_mapped() {
    let directory = tempfile::tempdir().expect("a directory");
    let registry = Registry::new();
    let db = open(directory.path(), &registry, BlockAccess::Pread);
    fill(&db);
    let given = answers(&db);
    assert_eq!(given.len(), SERIES);
    assert!(
        given
            .iter()
            .all(|(_, samples)| samples.len() == ROWS as usize)
    );
    assert_eq!(maps(directory.path()), 0);
    assert!(metric(&registry, "prometheus_tsdb_blocks_loaded") >= 2.0);
    let cached = metric(&registry, "barograph_tsdb_read_cache_bytes");
    assert!(cached > 0.0 && cached <= CACHE_BYTES as f64, "{cached}");
    assert!(metric(&registry, "barograph_tsdb_read_cache_hits_total") > 0.0);
    assert!(metric(&registry, "barograph_tsdb_read_cache_evictions_total") > 0.0);
    db.close().expect("closes");
    let db = open(directory.path(), &Registry::new(), BlockAccess::Mmap);
    assert!(maps(directory.path()) > 0, "the test sees maps");
    assert!(answers(&db) == given);
    db.close().expect("closes");
    drop(db);
    let db = open(directory.path(), &Registry::new(), BlockAccess::Pread);
    assert!(answers(&db) == given);
    assert_eq!(maps(directory.path()), 0);
}

#[test]
fn a_file_that_is_cut_short_fails_its_queries() {
    let directory = tempfile::tempdir().expect("a directory");
    let db = open(directory.path(), &Registry::new(), BlockAccess::Pread);
    fill(&db);
    for entry in std::fs::read_dir(directory.path().join("blocks")).expect("lists") {
        let data = entry.expect("an entry").path().join("data");
        let file = std::fs::OpenOptions::new().write(true).open(data);
        file.expect("opens").set_len(100).expect("cuts");
    }
    let all = [Matcher::equal("n", "007")];
    let selection = db.snapshot().select(&all, TimeRange::ALL).expect("selects");
    let error = selection.read(0, TimeRange::ALL, &mut Column::default());
    let error = error.expect_err("it is gone").to_string();
    assert!(
        error.contains("data") && error.contains("cannot be read"),
        "{error}"
    );
}

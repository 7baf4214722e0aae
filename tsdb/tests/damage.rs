//! Every byte of every file of a small store, changed or cut off in turn: the store opens or says
//! which file stops it, what it answers was written, and what it lost is counted and kept aside.
//!
//! `BAROGRAPH_DAMAGE_STRIDE=1` takes every byte rather than one in 23, `BAROGRAPH_DAMAGE_SECONDS` goes on with random damage, several places at once, for so long.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barograph_instrument::Registry;
use barograph_model::{Exemplar, Histogram, Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, OpenError, Options, WalSync};

const STEP_MS: i64 = 20_000;
const START_MS: i64 = 1_650_000_000_000 / 600_000 * 600_000;
const SERIES: usize = 6;
/// One of histograms, one some samples of which come late.
const HISTOGRAM: usize = 4;
const LATE: usize = 5;
/// Rows of series 1 that are deleted: of a block.
const DELETED: std::ops::RangeInclusive<i64> = 5..=9;
const ROWS: i64 = 76;

fn options(path: &Path) -> Options {
    Options {
        wal_segment_bytes: 1 << 16,
        wal_sync: WalSync::Never,
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        block_span_ms: 600_000,
        retention_ms: 0,
        block_access: support::block_access(),
        reserve_bytes: 4096,
        ..Options::new(path)
    }
}

fn value(series: usize, row: i64) -> f64 {
    match series {
        0 => 42.0,
        1 => row as f64 * 17.0,
        2 => (row % 7) as f64 / 10.0,
        _ => (row as f64).sqrt(),
    }
}

fn histogram(row: i64) -> Histogram {
    support::histogram(row, if row % 40 > 30 { 2 } else { 3 })
}

fn append(db: &Db, batch: &mut Batch, row: i64) {
    batch.clear();
    for series in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "x".to_owned()), ("id", series.to_string())]);
        let reference = db.register(batch.group(), &labels).expect("registers");
        // Pairs of rows change places.
        let late = if row >= 60 && row % 2 == 0 { 1 } else { -1 };
        let row = row + i64::from(series == LATE && row >= 60) * late;
        let time = START_MS + row * STEP_MS;
        if series == HISTOGRAM {
            batch
                .push_histogram(reference, time, &histogram(row))
                .expect("a histogram");
        } else {
            batch.push(reference, time, value(series, row));
        }
        if series == 0 && row % 20 == 19 {
            let exemplar = Exemplar {
                labels: Labels::from_pairs([("row", row.to_string())]),
                value: row as f64,
                timestamp_ms: time,
            };
            batch.push_exemplar(reference, exemplar);
        }
    }
    assert_eq!(db.append(batch).expect("appends").accepted, SERIES);
}

/// A store with blocks, head files, two checkpoints, a log and a file of deletions, the logs without
/// reserved space; late samples, histograms and exemplars among its rows.
fn make(path: &Path) {
    let db = Db::open(options(path), &Registry::new()).expect("opens");
    let mut batch = Batch::new(db.open_group());
    for row in 0..ROWS {
        append(&db, &mut batch, row);
        if [50, 60, 70].contains(&row) {
            db.maintain();
        }
        if row == 55 {
            let range = TimeRange {
                start_ms: START_MS + DELETED.start() * STEP_MS,
                end_ms: START_MS + DELETED.end() * STEP_MS,
            };
            db.delete_series(&[Matcher::equal("id", "1")], range)
                .expect("deletes");
        }
    }
    drop(batch);
    drop(db);
    // Opening cuts the log to its content.
    drop(Db::open(options(path), &Registry::new()).expect("opens"));
}

/// How many rows each series has; every value is the right one.
fn count(db: &Db, context: &str) -> Result<usize, String> {
    let snapshot = db.snapshot();
    let selection = snapshot
        .select(&[Matcher::equal("__name__", "x")], TimeRange::ALL)
        .map_err(|error| error.to_string())?;
    let mut column = Column::default();
    let mut found: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    let mut failure = None;
    for index in 0..selection.len() {
        let series: usize = selection.labels(index).get("id").parse().expect("a number");
        if let Err(error) = selection.read(index, TimeRange::ALL, &mut column) {
            failure = Some(error.to_string());
            continue;
        }
        let histograms = &column.histograms;
        for (t, have) in histograms.timestamps_ms.iter().zip(&histograms.values) {
            let row = (t - START_MS) / STEP_MS;
            let want = histogram(row).to_float();
            assert_eq!(series, HISTOGRAM, "{context}: a histogram");
            assert!((0..ROWS).contains(&row), "{context}: row {row}");
            assert_eq!(format!("{have:?}"), format!("{want:?}"), "{context}");
            found.entry(series).or_default().push(row);
        }
        for (t, v) in column.timestamps_ms.iter().zip(&column.values) {
            let row = (t - START_MS) / STEP_MS;
            let want = value(series, row);
            assert_ne!(series, HISTOGRAM, "{context}: a float");
            assert!((0..ROWS).contains(&row), "{context}: row {row}");
            assert_eq!(
                v.to_bits(),
                want.to_bits(),
                "{context}: series {series} row {row}"
            );
            found.entry(series).or_default().push(row);
        }
    }
    for rows in found.values() {
        assert!(rows.is_sorted_by(|a, b| a < b), "{context}: a row twice");
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(found.values().map(Vec::len).sum()),
    }
}

struct Store {
    directory: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    whole: usize,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        make(directory.path());
        let files = support::files(directory.path()).into_iter().collect();
        Self {
            directory,
            files,
            whole: SERIES * ROWS as usize - DELETED.count(),
        }
    }

    /// Opens a copy in which the given files have other content.
    fn with(&self, damaged: &[(usize, Vec<u8>)], context: &str) -> usize {
        let copy = tempfile::tempdir_in(self.directory.path()).expect("a temporary directory");
        for (number, (path, bytes)) in self.files.iter().enumerate() {
            let target = copy.path().join(path);
            std::fs::create_dir_all(target.parent().expect("a parent")).expect("makes");
            let other = damaged.iter().find(|(at, _)| *at == number);
            let bytes = other.map_or(bytes, |(_, bytes)| bytes);
            std::fs::write(target, bytes).expect("writes");
        }
        let registry = Registry::new();
        let db = match Db::open(options(copy.path()), &registry) {
            Ok(db) => db,
            Err(error @ (OpenError::Corrupt { .. } | OpenError::Version { .. })) => {
                let text = error.to_string();
                let named = |(number, _): &(usize, Vec<u8>)| {
                    text.contains(self.files[*number].0.to_str().expect("a name"))
                };
                assert!(damaged.iter().any(named), "{context}: {text} names no file");
                return 0;
            }
            Err(error) => panic!("{context}: {error}"),
        };
        let found = match count(&db, context) {
            Ok(found) => found,
            Err(text) => {
                let named = |(number, _): &(usize, Vec<u8>)| {
                    text.contains(self.files[*number].0.to_str().expect("a name"))
                };
                assert!(damaged.iter().any(named), "{context}: {text} names no file");
                return 0;
            }
        };
        // A log that is cut looks like one to which nothing more was written.
        let is_cut_log = damaged.iter().any(|(number, bytes)| {
            let (path, whole) = &self.files[*number];
            let is_log = path.extension().is_some_and(|extension| extension == "wal");
            is_log && bytes.len() < whole.len()
        });
        let is_quiet = support::damage(&registry) == 0.0 && !is_cut_log;
        assert!(
            found == self.whole || !is_quiet,
            "{context}: {found} samples, and nothing is said"
        );
        // And it goes on.
        let mut batch = Batch::new(db.open_group());
        append(&db, &mut batch, ROWS + 1);
        found
    }
}

#[test]
fn every_damaged_byte_is_told_and_costs_no_neighbour() {
    // All of them take minutes.
    let stride = std::env::var("BAROGRAPH_DAMAGE_STRIDE");
    let stride = stride.map_or(23, |text| text.parse().expect("a number"));
    let store = Store::new();
    let mut worst: BTreeMap<String, usize> = BTreeMap::new();
    for (number, (path, bytes)) in store.files.iter().enumerate() {
        let kind = path.extension().or(path.file_name());
        let kind = kind.expect("a name").to_string_lossy().into_owned();
        // The zeros between the two headers mean nothing.
        let has_header = ["wal", "parity", "ckpt", "head"].contains(&kind.as_str());
        let matters = |at: &usize| !has_header || *at < 40 || *at >= 4090;
        for at in (0..bytes.len()).filter(matters).step_by(stride) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let context = format!("{} byte {at}", path.display());
            let lost = store.whole - store.with(&[(number, damaged)], &context);
            assert!(
                kind != "reserve" || lost == 0,
                "{context}: its bytes mean nothing"
            );
            let worst = worst.entry(kind.clone()).or_default();
            *worst = lost.max(*worst);
        }
        for size in (0..bytes.len()).filter(matters).step_by(4 * stride) {
            let damaged = bytes[..size].to_vec();
            let context = format!("{} cut to {size}", path.display());
            let whole = store.with(&[(number, damaged)], &context) == store.whole;
            assert!(
                whole || kind != "ckpt",
                "{context}: the one before has it all"
            );
        }
    }
    println!(
        "most samples lost of {} by one byte: {worst:?}",
        store.whole
    );
    for kind in [
        "wal",
        "parity",
        "ckpt",
        "head",
        "data",
        "index",
        "meta",
        "deletions",
        "reserve",
    ] {
        assert!(worst.contains_key(kind), "no {kind} was damaged");
    }
    for restored in ["ckpt", "wal", "parity"] {
        assert_eq!(worst[restored], 0, "{worst:?}");
    }
}

#[test]
fn damage_in_many_places_is_no_panic_and_no_wrong_answer() {
    let seconds = std::env::var("BAROGRAPH_DAMAGE_SECONDS");
    let seconds = seconds.map_or(2, |text| text.parse().expect("a number"));
    let seed =
        std::env::var("BAROGRAPH_DAMAGE_SEED").map_or(1, |text| text.parse().expect("a number"));
    println!("seed {seed}");
    let store = Store::new();
    let mut random: u64 = seed;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % limit.max(1)
    };
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        let mut damaged: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for _ in 0..=below(4) {
            let number = below(store.files.len());
            let bytes = damaged
                .entry(number)
                .or_insert_with(|| store.files[number].1.clone());
            let at = below(bytes.len());
            match below(5) {
                0 => bytes.truncate(at),
                1 => {
                    let end = bytes.len().min(at + below(600));
                    bytes[at..end].fill(below(256) as u8);
                }
                2 => {
                    let piece = bytes[at..bytes.len().min(at + below(300))].to_vec();
                    let to = below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ if at < bytes.len() => bytes[at] = below(256) as u8,
                _ => {}
            }
        }
        let damaged: Vec<_> = damaged.into_iter().collect();
        store.with(&damaged, &format!("seed {seed}, round {rounds}"));
        rounds += 1;
    }
    println!("{rounds} rounds");
}

/// Every kind of file, as a later version would write it: refused by its number, and nothing is
/// changed.
#[test]
fn later_versions_are_refused_by_number() {
    let store = Store::new();
    let mut refused = Vec::new();
    for (path, bytes) in &store.files {
        let kind = path.extension().or(path.file_name());
        let kind = kind.expect("a name").to_string_lossy().into_owned();
        let mut later = bytes.clone();
        let mut seal = |version_at: usize, covers: std::ops::Range<usize>| {
            later[version_at..version_at + 4].copy_from_slice(&7u32.to_le_bytes());
            let sum = crc32c::crc32c(&later[covers.clone()]).to_le_bytes();
            later[covers.end..covers.end + 4].copy_from_slice(&sum);
        };
        match kind.as_str() {
            "wal" | "parity" | "ckpt" | "head" => {
                seal(8, 0..24);
                seal(4096 + 8, 4096..4096 + 24);
            }
            "data" | "index" => seal(8, 0..12),
            "meta" | "deletions" => seal(8, 0..bytes.len() - 4),
            "reserve" => continue,
            _ => panic!("{}: no version is known of it", path.display()),
        }
        let copy = tempfile::tempdir().expect("a temporary directory");
        support::copy(store.directory.path(), copy.path());
        std::fs::write(copy.path().join(path), later).expect("writes");
        let before = support::files(copy.path());
        match Db::open(options(copy.path()), &Registry::new()) {
            Err(error @ OpenError::Version { version: 7, .. }) => {
                let text = error.to_string();
                let path = path.to_str().expect("a name");
                assert!(text.contains(path) && text.contains('7'), "{text}");
            }
            other => panic!("{}: {:?}", path.display(), other.map(drop)),
        }
        let after = support::files(copy.path());
        assert!(before == after, "{}: something is changed", path.display());
        refused.push(kind);
    }
    refused.sort();
    refused.dedup();
    assert_eq!(refused.len(), 8, "{refused:?}");
}

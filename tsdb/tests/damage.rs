//! Every byte of every file of a small store, changed or cut off in turn: the store opens or says
//! which file stops it, what it answers was written, and what it lost is counted and kept aside.
//!
//! `BAROGRAPH_DAMAGE_STRIDE=1` takes every byte rather than one in 23, `BAROGRAPH_DAMAGE_SECONDS` goes on with random damage, several places at once, for so long.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barograph_instrument::{Format, Registry};
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, OpenError, Options, WalSync};

const STEP_MS: i64 = 20_000;
const START_MS: i64 = 1_650_000_000_000 / 600_000 * 600_000;
const SERIES: usize = 4;
const ROWS: i64 = 75;

fn options(path: &Path) -> Options {
    Options {
        wal_segment_bytes: 1 << 16,
        wal_sync: WalSync::Never,
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
    match series {
        0 => 42.0,
        1 => row as f64 * 17.0,
        2 => (row % 7) as f64 / 10.0,
        _ => (row as f64).sqrt(),
    }
}

fn append(db: &Db, batch: &mut Batch, row: i64) {
    batch.clear();
    for series in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "x".to_owned()), ("id", series.to_string())]);
        let reference = db.register(batch.group(), &labels).expect("registers");
        batch.push(reference, START_MS + row * STEP_MS, value(series, row));
    }
    assert_eq!(db.append(batch).expect("appends").accepted, SERIES);
}

/// A store with a block, head files, two checkpoints and a log, the last two without reserved space.
fn make(path: &Path) {
    let db = Db::open(options(path), &Registry::new()).expect("opens");
    let mut batch = Batch::new(db.open_group());
    for row in 0..ROWS {
        append(&db, &mut batch, row);
        if [50, 60, 70].contains(&row) {
            db.maintain();
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
        for (t, v) in column.timestamps_ms.iter().zip(&column.values) {
            let row = (t - START_MS) / STEP_MS;
            let want = value(series, row);
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

fn files(root: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(below)).expect("lists") {
        let entry = entry.expect("an entry");
        let path = below.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            files(root, &path, found);
        } else {
            found.push(path);
        }
    }
    found.sort_unstable();
}

/// The metrics that say that something is damaged.
fn counted(registry: &Registry) -> f64 {
    let mut page = String::new();
    registry.encode(Format::Text004, &mut page);
    let names = [
        "prometheus_tsdb_wal_corruptions_total",
        "prometheus_tsdb_mmap_chunk_corruptions_total",
        "barograph_tsdb_wal_torn_ends_total",
        "barograph_tsdb_wal_rows_lost_total",
        "barograph_tsdb_head_rows_missing",
        "barograph_tsdb_blocks_unreadable",
    ];
    let of = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        names.contains(&name).then(|| value.parse::<f64>().ok())?
    };
    page.lines().filter_map(of).sum()
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
        let mut paths = Vec::new();
        for part in ["wal", "head", "blocks"] {
            files(directory.path(), Path::new(part), &mut paths);
        }
        let read = |path: &PathBuf| {
            let bytes = std::fs::read(directory.path().join(path)).expect("reads");
            (path.clone(), bytes)
        };
        let files = paths.iter().map(read).collect();
        Self {
            directory,
            files,
            whole: SERIES * ROWS as usize,
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
        let is_quiet = counted(&registry) == 0.0 && !is_cut_log;
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
        let has_header = ["wal", "ckpt", "head"].contains(&kind.as_str());
        let matters = |at: &usize| !has_header || *at < 40 || *at >= 4090;
        for at in (0..bytes.len()).filter(matters).step_by(stride) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let context = format!("{} byte {at}", path.display());
            let lost = store.whole - store.with(&[(number, damaged)], &context);
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
    assert_eq!(worst["ckpt"], 0);
    // The rows since the last whole one of 32, at most.
    assert!(worst["wal"] <= 32 * SERIES, "{worst:?}");
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

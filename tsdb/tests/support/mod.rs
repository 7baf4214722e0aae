//! What tests of the store share.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use barograph_instrument::{Format, Registry};
use barograph_model::histogram::Span;
use barograph_model::{Histogram, IntegerHistogram};
use barograph_tsdb::BlockAccess;

/// The value of a metric; of one with labels, the first, unless the name has them.
pub(crate) fn metric(registry: &Registry, name: &str) -> f64 {
    let mut page = String::new();
    registry.encode(Format::Text004, &mut page);
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    };
    let line = page.lines().find(is_it);
    let value = line.and_then(|line| line.rsplit(' ').next());
    value
        .unwrap_or_else(|| panic!("{name} is exposed"))
        .parse()
        .expect("a number")
}

/// How the stores of this run read their files: through maps, unless `BAROGRAPH_BLOCK_ACCESS` says
/// `pread`. `tests/run` runs the tests of stored files with both.
pub(crate) fn block_access() -> BlockAccess {
    match std::env::var("BAROGRAPH_BLOCK_ACCESS").as_deref() {
        Err(_) | Ok("mmap") => BlockAccess::Mmap,
        Ok("pread") => BlockAccess::Pread,
        Ok(other) => panic!("BAROGRAPH_BLOCK_ACCESS is mmap or pread, not {other:?}"),
    }
}

/// Copies a directory and all below it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

/// How many cases a property is tried with: what `PROPTEST_CASES` says, else `usual`.
pub(crate) fn cases(usual: u32) -> u32 {
    match std::env::var("PROPTEST_CASES") {
        Ok(text) => text.parse().expect("PROPTEST_CASES is a number"),
        Err(_) => usual,
    }
}

/// The seeds a test runs: those that the variable names as `first..end`, else the usual ones.
pub(crate) fn seeds(variable: &str, usual: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var(variable) else {
        return usual;
    };
    let (first, end) = text.split_once("..").expect("first..end");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// The histogram of a row: each of them has more observations than the one before.
pub(crate) fn histogram(row: i64, schema: i32) -> Histogram {
    let count = row as u64 + 1;
    Histogram::Integer(IntegerHistogram {
        schema,
        zero_threshold: 1e-128,
        zero_count: count,
        count: count * 3 + 3,
        sum: row as f64 * 0.37,
        positive_spans: vec![Span {
            offset: -1,
            length: 3,
        }],
        positive_buckets: vec![count, count, 3],
        ..IntegerHistogram::default()
    })
}

/// The files of a directory and of those below it, by path below it; the lock is none.
pub(crate) fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut left) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(below) = left.pop() {
        for entry in std::fs::read_dir(root.join(&below)).expect("lists") {
            let entry = entry.expect("an entry");
            let path = below.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                left.push(path);
            } else if path != Path::new("lock") {
                found.insert(path, std::fs::read(entry.path()).expect("reads"));
            }
        }
    }
    found
}

/// What the metrics of damage add up to.
pub(crate) fn damage(registry: &Registry) -> f64 {
    let names = [
        "prometheus_tsdb_wal_corruptions_total",
        "prometheus_tsdb_mmap_chunk_corruptions_total",
        "barograph_tsdb_wal_torn_ends_total",
        "barograph_tsdb_wal_repairs_total",
        "barograph_tsdb_wal_rows_lost_total",
        "barograph_tsdb_head_rows_missing",
        "barograph_tsdb_blocks_unreadable",
    ];
    names.iter().map(|name| metric(registry, name)).sum()
}

//! What pages say of themselves against what their samples say.

mod support;

use std::path::Path;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange, is_stale, stale_nan};
use barograph_tsdb::{Batch, Column, Db, Digest, Options, Selection, Wanted};
use proptest::prelude::*;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_600_000_000_000 / (2 * HOUR_MS) * (2 * HOUR_MS);
const STEP_MS: i64 = 60_000;
const KINDS: usize = 6;

fn open(path: &Path) -> Db {
    let options = Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        wal_segment_bytes: 1 << 20,
        block_access: support::block_access(),
        ..Options::new(path)
    };
    Db::open(options, &Registry::new()).expect("opens")
}

/// Series that stay, rise, fall now and then, are noise, go stale, and have odd values.
fn value(kind: usize, row: i64) -> f64 {
    let noise = (row as u32).wrapping_mul(2_654_435_761) >> 20;
    match kind {
        0 => 7.5,
        1 => row as f64,
        2 => (row % 250) as f64,
        3 => f64::from(noise) / 16.0 - 50.0,
        4 if row % 60 == 59 => stale_nan(),
        4 => f64::from(noise),
        _ if row % 300 == 299 => [f64::NAN, -0.0, f64::INFINITY][row as usize % 3],
        _ => 0.0,
    }
}

/// Rows so many, in blocks but for the newest, in part compacted.
fn filled(path: &Path, rows: i64) -> Db {
    let db = open(path);
    let group = db.open_group();
    let mut batch = Batch::new(group);
    let references: Vec<_> = (0..KINDS)
        .map(|kind| Labels::from_pairs([("__name__", "x"), ("kind", &kind.to_string())]))
        .map(|labels| db.register(group, &labels).expect("registers"))
        .collect();
    for row in 0..rows {
        batch.clear();
        for (kind, reference) in references.iter().enumerate() {
            batch.push(*reference, START_MS + row * STEP_MS, value(kind, row));
        }
        db.append(&batch).expect("appends");
        if row % 120 == 119 {
            db.maintain();
        }
    }
    db.maintain();
    db
}

/// The same from the samples.
fn expected(selection: &Selection, index: usize, range: TimeRange, wanted: Wanted) -> Digest {
    let mut column = Column::default();
    selection.read(index, range, &mut column).expect("reads");
    let mut digest = Digest::default();
    let samples = column.timestamps_ms.iter().zip(&column.values);
    for (at_ms, value) in samples.filter(|(_, value)| !is_stale(**value)) {
        if digest.count == 0 {
            (digest.least, digest.greatest) = (*value, *value);
            (digest.first_ms, digest.first, digest.last) = (*at_ms, *value, *value);
        }
        if *value < digest.last {
            digest.before_falls.push(digest.last);
        }
        digest.count += 1;
        (digest.last_ms, digest.last) = (*at_ms, *value);
        digest.least = digest.least.min(*value);
        digest.greatest = digest.greatest.max(*value);
    }
    if wanted == Wanted::Extremes {
        (digest.first, digest.last) = (0.0, 0.0);
        digest.before_falls.clear();
    }
    digest
}

#[test]
fn digests_are_those_of_the_samples() {
    let directory = tempfile::tempdir().expect("a directory");
    let rows = 26 * 60;
    let db = filled(directory.path(), rows);
    let snapshot = db.snapshot();
    let all = [Matcher::equal("__name__", "x")];
    let selection = snapshot.select(&all, TimeRange::ALL).expect("selects");
    assert_eq!(selection.len(), KINDS);
    let mut runner = proptest::test_runner::TestRunner::default();
    let cases = (0..KINDS, 0..rows * 60, 0..rows * 60, any::<bool>());
    let mut answered = [0; KINDS];
    let checked = runner.run(&cases, |(index, a, b, counter)| {
        let range = TimeRange {
            start_ms: START_MS + a.min(b) * 1000,
            end_ms: START_MS + a.max(b) * 1000,
        };
        let wanted = if counter {
            Wanted::Counter
        } else {
            Wanted::Extremes
        };
        let mut column = Column::default();
        let digest = selection.digest(index, range, wanted, &mut column);
        if let Some(digest) = digest.expect("reads") {
            prop_assert_eq!(&digest, &expected(&selection, index, range, wanted));
        } else {
            prop_assert_eq!(index, KINDS - 1, "only odd values are in the way");
        }
        Ok(())
    });
    checked.expect("digests fit");
    for (index, answered) in answered.iter_mut().enumerate() {
        let mut stretches = Vec::new();
        let could = selection.stretches(index, TimeRange::ALL, &mut stretches);
        assert!(could.expect("reads"));
        *answered = stretches.iter().filter(|s| s.known.is_some()).count();
    }
    // Constants and what rises are known but in the head; what has markers or odd values is not.
    assert!(answered[..4].iter().all(|known| *known > 0), "{answered:?}");
    assert_eq!(answered[4], 0);
}

#[test]
fn what_cannot_be_told_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let db = filled(directory.path(), 10 * 60);
    let all = [Matcher::equal("kind", "1")];
    let range = TimeRange {
        start_ms: START_MS + 10 * STEP_MS,
        end_ms: START_MS + 12 * STEP_MS,
    };
    let digest = |db: &Db, range| {
        let selection = db.snapshot().select(&all, TimeRange::ALL).expect("selects");
        let mut column = Column::default();
        let digest = selection.digest(0, range, Wanted::Extremes, &mut column);
        digest.expect("reads")
    };
    assert_eq!(digest(&db, range).map(|d| d.count), Some(3));
    db.delete_series(&all, range).expect("deletes");
    assert_eq!(digest(&db, TimeRange::ALL), None, "a part is deleted");
}

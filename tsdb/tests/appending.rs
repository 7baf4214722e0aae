//! Appending at the edges: closing meanwhile, the least instant, long batches of one series.

use std::path::Path;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, TimeRange};
use barograph_tsdb::{AppendError, Batch, Column, Db, Options, RegisterError, RejectReason};

fn open(path: &Path) -> Db {
    let options = Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        wal_segment_bytes: 1 << 18,
        ..Options::new(path)
    };
    Db::open(options, &Registry::new()).expect("the directory opens")
}

fn labels(id: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("id", &id.to_string())])
}

fn samples(db: &Db) -> Vec<(Labels, Column)> {
    let selection = db.snapshot().select(&[], TimeRange::ALL).expect("selects");
    (0..selection.len())
        .map(|at| {
            let mut column = Column::default();
            selection
                .read(at, TimeRange::ALL, &mut column)
                .expect("reads");
            (selection.labels(at).clone(), column)
        })
        .collect()
}

#[test]
fn what_is_acknowledged_while_closing_is_stored() {
    for round in 0..20 {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let db = open(directory.path());
        let acknowledged: Vec<i64> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|id| {
                    let db = db.clone();
                    scope.spawn(move || {
                        let group = db.open_group();
                        let series = db.register(group, &labels(id)).expect("registers");
                        let mut batch = Batch::new(group);
                        for t in 1.. {
                            batch.clear();
                            batch.push(series, t, t as f64);
                            match db.append(&batch) {
                                Ok(_) => {}
                                Err(AppendError::Closed) => return t - 1,
                                Err(error) => panic!("{error}"),
                            }
                        }
                        unreachable!("the store was closed")
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(round % 5));
            db.close().expect("closes");
            let joined = writers.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined.map(|last| last.expect("a writer")).collect()
        });
        drop(db);
        let db = open(directory.path());
        let stored = samples(&db);
        for (id, last) in acknowledged.iter().enumerate() {
            let found = stored.iter().find(|(have, _)| *have == labels(id));
            let newest = found.and_then(|(_, column)| column.timestamps_ms.last().copied());
            assert_eq!(newest.unwrap_or(0), *last, "series {id}");
        }
    }
}

#[test]
fn the_least_instant_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    let group = db.open_group();
    let series = db.register(group, &labels(0)).expect("registers");
    let mut batch = Batch::new(group);
    batch.push(series, i64::MIN, 1.0);
    let appended = db.append(&batch).expect("appends");
    assert_eq!(appended.accepted, 0);
    assert_eq!(appended.rejected[0].reason, RejectReason::TooOld);
    batch.clear();
    batch.push(series, i64::MIN + 1, 2.0);
    assert_eq!(db.append(&batch).expect("appends").accepted, 1);
    drop(db);
    let stored = samples(&open(directory.path()));
    assert_eq!(*stored[0].1.timestamps_ms, [i64::MIN + 1]);
}

#[test]
fn a_batch_may_hold_years_of_one_series() {
    const COUNT: i64 = 30_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    let group = db.open_group();
    let mut batch = Batch::new(group);
    let series: Vec<_> = (0..2)
        .map(|id| db.register(group, &labels(id)).expect("registers"))
        .collect();
    for t in 0..COUNT {
        batch.push(series[0], t * 60_000, t as f64);
        if t % 100 == 0 {
            batch.push(series[1], t * 60_000 + 1, t as f64);
        }
    }
    // One that comes twice, and one that is late.
    batch.push(series[1], 1, 0.0);
    batch.push(series[0], 5, 0.0);
    let appended = db.append(&batch).expect("appends");
    assert_eq!(appended.accepted as i64, COUNT + COUNT / 100);
    let reasons: Vec<_> = appended.rejected.iter().map(|r| r.reason).collect();
    assert_eq!(reasons, [RejectReason::TooOld; 2]);
    let stored = samples(&db);
    let minutes = (0..COUNT).map(|t| t * 60_000);
    assert!(stored[0].1.timestamps_ms.iter().copied().eq(minutes));
    assert_eq!(stored[1].1.values.len() as i64, COUNT / 100);
}

#[test]
fn a_series_of_too_many_labels_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    let group = db.open_group();
    let many = (0..70_000).map(|id| (format!("l{id:05}"), "v".to_owned()));
    let many: Vec<_> = many.collect();
    let text = Labels::from_sorted(many.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let refused = db.register(group, &text);
    assert!(
        matches!(refused, Err(RegisterError::TooMuchText { .. })),
        "{refused:?}"
    );
}

/// Series with timestamps of their own, of which some repeat what was stored.
#[test]
fn every_series_may_have_its_own_timestamps() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut db = open(directory.path());
    let mut group = db.open_group();
    let mut want: Vec<Vec<(i64, f64)>> = vec![Vec::new(); 30];
    for row in 0..200i64 {
        let mut batch = Batch::new(group);
        for (id, want) in want.iter_mut().enumerate() {
            let series = db.register(group, &labels(id + 100)).expect("registers");
            // Three targets of ten; one of them has news every other time only, and the last two
            // come together from the middle on.
            let kind = id % 3;
            let moved = row >= 100 && kind == 2;
            let own = if moved { 1 } else { kind as i64 };
            let age = if kind == 0 { row % 2 } else { 0 };
            let t = (row - age) * 15_000 + own * 7 + 1;
            let value = ((row - age) * (id as i64 % 4)) as f64;
            batch.push(series, t, value);
            if want.last().is_none_or(|(last, _)| *last < t) {
                want.push((t, value));
            }
        }
        let appended = db.append(&batch).expect("appends");
        assert_eq!(
            (appended.accepted, appended.rejected.len()),
            (30, 0),
            "row {row}"
        );
        if row == 150 {
            // Another value at an instant that is stored is refused, and nothing else.
            let mut batch = Batch::new(group);
            for (id, want) in want.iter_mut().enumerate() {
                let series = db.register(group, &labels(id + 100)).expect("registers");
                let (t, value) = *want.last().expect("some");
                if id == 4 {
                    batch.push(series, t, value + 1.0);
                } else {
                    batch.push(series, t + 1, value);
                    want.push((t + 1, value));
                }
            }
            let appended = db.append(&batch).expect("appends");
            assert_eq!(appended.accepted, 29);
            let rejected = appended.rejected[0];
            assert_eq!(
                (rejected.index, rejected.reason),
                (4, RejectReason::DuplicateTimestamp)
            );
            drop(db);
            db = open(directory.path());
            group = db.open_group();
        }
    }
    let read = |db: &Db| -> Vec<Vec<(i64, f64)>> {
        let samples = samples(db).into_iter();
        let pairs = samples.map(|(_, column)| {
            let times = column.timestamps_ms.iter().copied();
            times.zip(column.values).collect()
        });
        pairs.collect()
    };
    assert_eq!(read(&db), want);
    drop(db);
    assert_eq!(read(&open(directory.path())), want);
}

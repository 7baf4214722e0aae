//! A store whose log is still being replayed: writers may begin, nothing is lost, doubled or put in
//! another order, whenever the process ends.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{AppendError, Batch, Column, Db, Options, WalSync};

const SERIES: usize = 50;
const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_006_400_000;

fn options(path: &Path) -> Options {
    Options {
        wal_segment_bytes: 1 << 17,
        wal_sync: WalSync::Never,
        maintenance_interval: Duration::ZERO,
        reserve_bytes: 0,
        ..Options::new(path)
    }
}

fn append(db: &Db, batch: &mut Batch, row: i64) -> Result<usize, AppendError> {
    batch.clear();
    for series in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "x".to_owned()), ("id", series.to_string())]);
        let reference = db.register(batch.group(), &labels).expect("registers");
        let value = (row * 7 + series as i64) as f64 / 8.0;
        batch.push(reference, START_MS + row * STEP_MS, value);
    }
    db.append(batch).map(|appended| appended.accepted)
}

/// Every series has exactly the rows before `end`, in order, with their values.
fn check(db: &Db, end: i64) {
    let snapshot = db.snapshot();
    let selection = snapshot
        .select(&[Matcher::equal("__name__", "x")], TimeRange::ALL)
        .expect("selects");
    assert_eq!(selection.len(), SERIES);
    let mut column = Column::default();
    for index in 0..selection.len() {
        let series: i64 = selection.labels(index).get("id").parse().expect("a number");
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        let times: Vec<i64> = (0..end).map(|row| START_MS + row * STEP_MS).collect();
        let values: Vec<f64> = (0..end)
            .map(|row| (row * 7 + series) as f64 / 8.0)
            .collect();
        assert_eq!(column.timestamps_ms.to_vec(), times, "series {series}");
        assert_eq!(column.values, values, "series {series}");
    }
}

#[test]
fn writers_begin_before_the_log_is_replayed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut rows = 0;
    for round in 0..12 {
        let registry = Registry::new();
        let (db, opening) = Db::prepare(options(directory.path()), &registry);
        assert!(!db.is_open(false));
        let (begun, begins) = mpsc::channel();
        let writer = {
            let db = db.clone();
            std::thread::spawn(move || {
                begun.send(()).expect("the test waits");
                // Waits for the store.
                let mut batch = Batch::new(db.open_group());
                for row in rows..rows + 20 + round {
                    assert_eq!(append(&db, &mut batch, row).expect("appends"), SERIES);
                }
            })
        };
        begins.recv().expect("the writer begins");
        opening.run().expect("opens");
        assert!(db.is_open(true));
        writer.join().expect("the writer ends");
        rows += 20 + round;
        check(&db, rows);
        if round % 4 == 3 {
            db.maintain();
        }
        // Dropped without being closed, as a killed process leaves it.
    }
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    check(&db, rows);
}

#[test]
fn who_waits_for_a_store_that_cannot_be_opened_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let held = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    let (db, opening) = Db::prepare(options(directory.path()), &Registry::new());
    let group = held.open_group();
    let waiting = {
        let db = db.clone();
        std::thread::spawn(move || {
            let batch = Batch::new(group);
            matches!(db.append(&batch), Err(AppendError::Closed))
        })
    };
    opening.run().expect_err("the directory is locked");
    assert!(waiting.join().expect("it was refused"));
    assert!(!db.is_open(true));
    assert!(db.close().is_ok());
    drop(held);
}

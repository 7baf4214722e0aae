//! Samples out of order: taken within a window, read in order, never lost, at a bounded cost.

use std::path::Path;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, Options, RejectReason};

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn options(path: &Path) -> Options {
    Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        wal_segment_bytes: 1 << 20,
        ..Options::new(path)
    }
}

fn open(path: &Path) -> Db {
    Db::open(options(path), &Registry::new()).expect("opens")
}

fn samples(db: &Db, name: &str) -> Vec<(i64, f64)> {
    let matchers = [Matcher::equal("__name__", name)];
    let snapshot = db.snapshot();
    let selection = snapshot.select(&matchers, TimeRange::ALL).expect("selects");
    let mut column = Column::default();
    if selection.is_empty() {
        return Vec::new();
    }
    selection
        .read(0, TimeRange::ALL, &mut column)
        .expect("reads");
    let times = column.timestamps_ms.iter().copied();
    times.zip(column.values).collect()
}

#[test]
fn the_window_decides_and_can_change() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    let group = db.open_group();
    let name = |name| Labels::from_pairs([("__name__", name)]);
    let series = db.register(group, &name("m")).expect("registers");
    let append = |samples: &[(i64, f64)]| {
        let mut batch = Batch::new(group);
        for (t, value) in samples {
            batch.push(series, *t, *value);
        }
        db.append(&batch).expect("appends")
    };
    let reasons = |samples: &[(i64, f64)]| -> Vec<RejectReason> {
        let rejected = append(samples).rejected;
        rejected.into_iter().map(|r| r.reason).collect()
    };
    let late = [
        (NOW_MS, 1.0),
        (NOW_MS - 24 * HOUR_MS, 2.0),
        (NOW_MS - 4000, 3.0),
    ];
    assert_eq!(reasons(&late), []);
    assert_eq!(
        reasons(&[(NOW_MS - 24 * HOUR_MS - 1, 4.0), (NOW_MS, 5.0)]),
        [RejectReason::TooOld, RejectReason::DuplicateTimestamp]
    );
    // Again: the same values are no error.
    assert_eq!(reasons(&late), []);
    let mut batch = Batch::new(group);
    batch.in_order_from_here();
    batch.push(series, NOW_MS - 1000, 9.0);
    let rejected = db.append(&batch).expect("appends").rejected;
    assert_eq!(rejected[0].reason, RejectReason::OutOfOrder);
    db.set_out_of_order_window(HOUR_MS);
    assert_eq!(
        reasons(&[(NOW_MS - HOUR_MS, 6.0), (NOW_MS - HOUR_MS - 1, 7.0)]),
        [RejectReason::TooOld]
    );
    db.set_out_of_order_window(0);
    assert_eq!(reasons(&[(NOW_MS - 1, 8.0)]), [RejectReason::OutOfOrder]);
    let want = [
        (NOW_MS - 24 * HOUR_MS, 2.0),
        (NOW_MS - HOUR_MS, 6.0),
        (NOW_MS - 4000, 3.0),
        (NOW_MS, 1.0),
    ];
    assert_eq!(samples(&db, "m"), want);
    drop(db);
    let db = open(directory.path());
    assert_eq!(samples(&db, "m"), want, "after a crash");
    db.close().expect("closes");
    drop(db);
    let db = open(directory.path());
    assert_eq!(samples(&db, "m"), want, "after closing");
}

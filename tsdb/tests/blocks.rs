//! Blocks: cut from the head, read beside it, dropped by age.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, MatchOp, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, OpenError, Options, RejectReason, Retention, SelectError};
use support::metric;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_600_000_000_000 / (2 * HOUR_MS) * (2 * HOUR_MS);

fn options(path: &Path) -> Options {
    Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        wal_segment_bytes: 1 << 20,
        block_access: support::block_access(),
        ..Options::new(path)
    }
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "requests_total".to_owned()),
        ("instance", format!("host-{}", series / 10)),
        ("code", format!("{}", 200 + series % 10)),
    ])
}

/// Appends a row every 15 s for so long, from so many series.
fn fill(db: &Db, from_ms: i64, hours: f64, series: usize) {
    let group = db.open_group();
    let references: Vec<_> = (0..series)
        .map(|s| db.register(group, &labels(s)).expect("registers"))
        .collect();
    let mut batch = Batch::new(group);
    for row in 0..(hours * 240.0) as i64 {
        batch.clear();
        for (number, reference) in references.iter().enumerate() {
            batch.push(
                *reference,
                from_ms + row * 15_000,
                (row * number as i64) as f64,
            );
        }
        let appended = db.append(&batch).expect("appends");
        assert_eq!(appended.accepted, series);
    }
    db.close_group(group);
}

fn check_all(snapshot: &barograph_tsdb::Snapshot, series: usize, rows: usize) {
    let everything = [Matcher::equal("__name__", "requests_total")];
    let selection = snapshot
        .select(&everything, TimeRange::ALL)
        .expect("selects");
    assert_eq!(selection.len(), series);
    let mut first: Option<Arc<[i64]>> = None;
    let mut column = Column::default();
    for index in 0..selection.len() {
        let labels = selection.labels(index);
        let host: i64 = labels.get("instance")[5..].parse().expect("a number");
        let code: i64 = labels.get("code").parse().expect("a number");
        let number = host * 10 + code - 200;
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        assert_eq!(column.values.len(), rows);
        for (row, (t, v)) in column.timestamps_ms.iter().zip(&column.values).enumerate() {
            assert_eq!(
                (*t, *v),
                (START_MS + row as i64 * 15_000, (row as i64 * number) as f64)
            );
        }
        let shared = first.get_or_insert_with(|| column.timestamps_ms.clone());
        assert!(
            Arc::ptr_eq(shared, &column.timestamps_ms),
            "one column for the group"
        );
    }
}

#[test]
fn old_spans_become_blocks_and_leave_the_head() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &registry).expect("opens");
    fill(&db, START_MS, 7.5, 40);
    let before = db.snapshot();
    db.maintain();
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 3.0);
    assert_eq!(metric(&registry, "prometheus_tsdb_compactions_total"), 3.0);
    check_all(&before, 40, 1800);
    check_all(&db.snapshot(), 40, 1800);
    db.maintain();
    check_all(&before, 40, 1800);
    drop(before);
    db.maintain();
    let stats = db.stats(10);
    assert!(
        stats
            .head
            .min_time_ms
            .is_some_and(|t| t > START_MS + 5 * HOUR_MS),
        "{stats:?}"
    );
    check_all(&db.snapshot(), 40, 1800);
    let heads = std::fs::read_dir(directory.path().join("head"))
        .expect("lists")
        .count();
    assert!(
        heads <= 2,
        "head files of what blocks have are removed: {heads}"
    );
    drop(db);
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens again");
    check_all(&db.snapshot(), 40, 1800);
}

#[test]
fn series_without_recent_samples_leave_memory_and_stay_readable() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &registry).expect("opens");
    let group = db.open_group();
    let old = db.register(group, &labels(99)).expect("registers");
    let mut batch = Batch::new(group);
    batch.push(old, START_MS, 5.0);
    db.append(&batch).expect("appends");
    fill(&db, START_MS, 7.0, 10);
    for _ in 0..3 {
        db.maintain();
    }
    assert_eq!(metric(&registry, "prometheus_tsdb_head_series"), 10.0);
    assert_eq!(
        metric(&registry, "prometheus_tsdb_head_series_removed_total"),
        1.0
    );
    batch.clear();
    batch.push(old, START_MS + 7 * HOUR_MS, 6.0);
    let appended = db.append(&batch).expect("appends");
    assert_eq!(appended.rejected[0].reason, RejectReason::RetiredSeries);
    let again = db.register(group, &labels(99)).expect("registers");
    batch.clear();
    batch.push(again, START_MS + 7 * HOUR_MS, 6.0);
    assert_eq!(db.append(&batch).expect("appends").accepted, 1);
    let matchers = [Matcher::equal("instance", "host-9")];
    let selection = db
        .snapshot()
        .select(&matchers, TimeRange::ALL)
        .expect("selects");
    let mut column = Column::default();
    selection
        .read(0, TimeRange::ALL, &mut column)
        .expect("reads");
    assert_eq!((selection.len(), column.values), (1, vec![5.0, 6.0]));
    batch.clear();
    db.set_out_of_order_window(0);
    batch.push(again, START_MS + HOUR_MS, 7.0);
    let reason = db.append(&batch).expect("appends").rejected[0].reason;
    assert_eq!(reason, RejectReason::OutOfOrder);
}

#[test]
fn the_retention_removes_whole_blocks() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let options = Options {
        retention_ms: 4 * HOUR_MS,
        ..options(directory.path())
    };
    let db = Db::open(options, &registry).expect("opens");
    fill(&db, START_MS, 9.5, 10);
    db.maintain();
    assert_eq!(
        metric(&registry, "prometheus_tsdb_time_retentions_total"),
        2.0
    );
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 2.0);
    let names = std::fs::read_dir(directory.path().join("blocks"))
        .expect("lists")
        .count();
    assert_eq!(names, 2);
}

#[test]
fn what_the_retention_removed_does_not_come_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let with = |retention_ms| Options {
        retention_ms,
        ..options(directory.path())
    };
    let registry = Registry::new();
    let db = Db::open(with(HOUR_MS), &registry).expect("opens");
    fill(&db, START_MS, 3.5, 10);
    // No checkpoint can be written: only the block says that the head's samples are in it.
    let obstacle = directory.path().join("wal/checkpoint.tmp");
    std::fs::create_dir(&obstacle).expect("makes");
    db.maintain();
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 1.0);
    std::fs::remove_dir(&obstacle).expect("removes");
    db.maintain();
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 0.0);
    drop(db);
    let db = Db::open(with(0), &Registry::new()).expect("opens");
    let everything = [Matcher::equal("__name__", "requests_total")];
    let range = TimeRange {
        start_ms: START_MS,
        end_ms: START_MS + 2 * HOUR_MS - 1,
    };
    let selection = db.snapshot().select(&everything, range).expect("selects");
    assert_eq!(selection.len(), 0);
}

#[test]
fn the_oldest_blocks_go_when_there_is_too_much() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &registry).expect("opens");
    fill(&db, START_MS, 9.5, 10);
    db.maintain();
    db.maintain();
    let blocks = metric(&registry, "prometheus_tsdb_storage_blocks_bytes");
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 4.0);
    let size = |name| {
        let files = std::fs::read_dir(directory.path().join(name)).expect("lists");
        let sizes = files.map(|f| f.expect("reads").metadata().expect("is there").len());
        sizes.sum::<u64>()
    };
    let head = size("wal") + size("head");
    // The newest two fit, and half of a third.
    db.set_retention(Retention {
        size_bytes: head + (blocks * 2.5 / 4.0) as u64,
        ..Retention::default()
    });
    db.maintain();
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 2.0);
    assert_eq!(
        metric(&registry, "prometheus_tsdb_size_retentions_total"),
        2.0
    );
    let everything = [Matcher::equal("__name__", "requests_total")];
    let selection = db
        .snapshot()
        .select(&everything, TimeRange::ALL)
        .expect("selects");
    let mut column = Column::default();
    selection
        .read(0, TimeRange::ALL, &mut column)
        .expect("reads");
    assert_eq!(column.timestamps_ms[0], START_MS + 4 * HOUR_MS);
    // A share that all of it fits into counts instead of a size that nothing fits into.
    db.set_retention(Retention {
        size_bytes: 1,
        disk_percent: 100.0,
        ..Retention::default()
    });
    db.maintain();
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 2.0);
    db.set_retention(Retention {
        disk_percent: 1e-9,
        ..Retention::default()
    });
    db.maintain();
    assert_eq!(metric(&registry, "prometheus_tsdb_blocks_loaded"), 0.0);
}

#[test]
fn matchers_see_blocks_and_head_alike() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    fill(&db, START_MS, 7.0, 40);
    let count = |matchers: &[Matcher]| {
        let selection = db.snapshot().select(matchers, TimeRange::ALL);
        selection.expect("selects").len()
    };
    let matcher = |name, op, value| Matcher::new(name, op, value).expect("valid");
    let cases = [
        (vec![matcher("instance", MatchOp::Regex, "host-[12]")], 20),
        (
            vec![matcher("instance", MatchOp::Regex, "host-1|host-3|nope")],
            20,
        ),
        (vec![matcher("instance", MatchOp::NotRegex, "host-.*")], 0),
        (vec![matcher("code", MatchOp::NotEqual, "200")], 36),
        (vec![matcher("nothing", MatchOp::Equal, "")], 40),
        (vec![matcher("nothing", MatchOp::NotEqual, "")], 0),
        (
            vec![
                matcher("code", MatchOp::Regex, ".+"),
                Matcher::equal("instance", "host-0"),
            ],
            10,
        ),
        (vec![matcher("code", MatchOp::Regex, ".*")], 40),
    ];
    let check = || {
        for (matchers, want) in &cases {
            assert_eq!(count(matchers), *want, "{matchers:?}");
        }
        let snapshot = db.snapshot();
        let values =
            snapshot.label_values("instance", &[Matcher::equal("code", "203")], TimeRange::ALL);
        assert_eq!(
            values.expect("reads"),
            ["host-0", "host-1", "host-2", "host-3"]
        );
        let names = snapshot.label_names(&[], TimeRange::ALL).expect("reads");
        assert_eq!(names, ["__name__", "code", "instance"]);
    };
    check();
    db.maintain();
    db.maintain();
    check();
}

#[test]
fn a_second_opener_is_told_who_is_in_the_way() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let _db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    let Err(error) = Db::open(options(directory.path()), &Registry::new()) else {
        panic!("the directory is locked");
    };
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("another process"), "{error}");
}

/// A file that someone cuts short under a running store fails the queries that read it.
#[test]
fn truncated_files_are_errors_and_the_process_lives() {
    for file in ["data", "index"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
        fill(&db, START_MS, 7.0, 40);
        db.maintain();
        let blocks = std::fs::read_dir(directory.path().join("blocks")).expect("lists");
        for block in blocks {
            let path = block.expect("reads").path().join(file);
            let open = std::fs::OpenOptions::new().write(true).open(&path);
            open.expect("opens").set_len(0).expect("truncates");
        }
        let everything = [Matcher::equal("__name__", "requests_total")];
        let snapshot = db.snapshot();
        let message = match snapshot.select(&everything, TimeRange::ALL) {
            Err(error) => error.to_string(),
            Ok(selection) => {
                let mut column = Column::default();
                let read = selection.read(0, TimeRange::ALL, &mut column);
                read.expect_err("the bytes are gone").to_string()
            }
        };
        assert!(message.contains(&format!("/{file}: ")), "{message}");
    }
}

/// The same for a file of sealed pages that no block has yet.
#[test]
fn truncated_head_files_are_errors_and_the_process_lives() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    fill(&db, START_MS, 1.5, 40);
    db.maintain();
    let everything = [Matcher::equal("__name__", "requests_total")];
    let selected = db.snapshot().select(&everything, TimeRange::ALL);
    let selected = selected.expect("selects");
    for file in std::fs::read_dir(directory.path().join("head")).expect("lists") {
        let open = std::fs::OpenOptions::new()
            .write(true)
            .open(file.expect("reads").path());
        open.expect("opens").set_len(0).expect("truncates");
    }
    let mut column = Column::default();
    let gone = |column: &mut Column| {
        let read = selected.read(0, TimeRange::ALL, column);
        let message = read.expect_err("the bytes are gone").to_string();
        assert!(
            message.contains("were gone when they were read"),
            "{message}"
        );
    };
    gone(&mut column);
    gone(&mut column);
    // What was not sealed is there.
    let newest = TimeRange {
        start_ms: START_MS + 5_400_000 - 30_000,
        end_ms: i64::MAX,
    };
    let selected = db.snapshot().select(&everything, newest).expect("selects");
    selected.read(0, newest, &mut column).expect("reads");
    assert_eq!(column.values.len(), 2);
    // A block cannot be made of it either; its bytes are kept aside rather than zeros stored.
    fill(&db, START_MS + 6 * HOUR_MS, 0.1, 1);
    db.maintain();
    let selected = db.snapshot().select(&everything, TimeRange::ALL);
    let selected = selected.expect("selects");
    for index in 0..selected.len() {
        if selected.read(index, TimeRange::ALL, &mut column).is_ok() {
            assert!(column.timestamps_ms.iter().all(|t| *t >= START_MS));
        }
    }
}

/// Flips bytes all over a block's files: an answer is right or an error, never wrong.
#[test]
fn damaged_blocks_give_errors_and_no_wrong_answers() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    {
        let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
        fill(&db, START_MS, 4.0, 20);
        db.maintain();
        db.close().expect("closes");
    }
    let blocks = directory.path().join("blocks");
    let block = std::fs::read_dir(&blocks)
        .expect("lists")
        .next()
        .expect("one")
        .expect("reads");
    let mut errors = 0;
    for file in ["data", "index", "meta"] {
        let path = block.path().join(file);
        let bytes = std::fs::read(&path).expect("reads");
        for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            std::fs::write(&path, &damaged).expect("writes");
            let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
            let everything = [Matcher::equal("__name__", "requests_total")];
            let snapshot = db.snapshot();
            match snapshot.select(&everything, TimeRange::ALL) {
                Err(SelectError::Corrupt { path, .. }) => {
                    assert!(path.ends_with("index"));
                    errors += 1;
                }
                Ok(selection) => {
                    let mut column = Column::default();
                    for index in 0..selection.len() {
                        let labels = selection.labels(index);
                        let host: i64 = labels.get("instance")[5..].parse().expect("a number");
                        let code: i64 = labels.get("code").parse().expect("a number");
                        let number = host * 10 + code - 200;
                        if selection.read(index, TimeRange::ALL, &mut column).is_err() {
                            errors += 1;
                            continue;
                        }
                        for (t, v) in column.timestamps_ms.iter().zip(&column.values) {
                            assert_eq!(*v, ((t - START_MS) / 15_000 * number) as f64);
                        }
                    }
                }
            }
        }
        std::fs::write(&path, &bytes).expect("writes");
    }
    assert!(errors > 20, "{errors}");
}

//! What was acknowledged stays, through failing disks, cuts and odd instants.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, SystemClock, TimeRange};
use barograph_tsdb::disk::{Disk, DiskFile, Lock, Mapping, SystemDisk};
use barograph_tsdb::{Batch, Column, Db, Options, Snapshot, WalSync};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_600_000_000_000 / (2 * HOUR_MS) * (2 * HOUR_MS);

/// Refuses to make files of one name, or to make anything durable.
#[derive(Clone, Debug, Default)]
struct Moody {
    refused_name: Arc<Mutex<Option<&'static str>>>,
    refuses_sync: Arc<AtomicBool>,
}

impl Moody {
    fn refuse(&self, name: Option<&'static str>) {
        *self.refused_name.lock().expect("no panic") = name;
    }
}

#[derive(Debug)]
struct MoodyFile(Arc<dyn DiskFile>, Moody);

impl DiskFile for MoodyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.1.refuses_sync.load(Ordering::Relaxed) {
            return Err(io::Error::other("refused"));
        }
        self.0.sync_data()
    }
}

impl Disk for Moody {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        SystemDisk.list(path)
    }
    fn create(&self, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let refused = *self.refused_name.lock().expect("no panic");
        if refused.is_some_and(|name| path.ends_with(name)) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let file = SystemDisk.create(path, size_bytes)?;
        Ok(Arc::new(MoodyFile(file, self.clone())))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemDisk.read(path)
    }
    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        SystemDisk.size_bytes(path)
    }
    fn map(&self, path: &Path, length: u64) -> io::Result<Mapping> {
        SystemDisk.map(path, length)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        SystemDisk.lock(path)
    }
}

fn options(path: &Path) -> Options {
    Options {
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        retention_ms: 0,
        wal_sync: WalSync::Never,
        wal_segment_bytes: 1 << 16,
        ..Options::new(path)
    }
}

fn open(options: Options, disk: &Moody) -> Db {
    let disk = Arc::new(disk.clone());
    Db::open_with(options, &Registry::new(), disk, SystemClock).expect("opens")
}

fn labels(id: &str) -> Labels {
    Labels::from_pairs([("__name__", "x"), ("id", id)])
}

/// Appends samples of one series, each by itself; all are accepted.
fn append(db: &Db, id: &str, samples: impl IntoIterator<Item = (i64, f64)>) {
    let group = db.open_group();
    let series = db.register(group, &labels(id)).expect("registers");
    let mut batch = Batch::new(group);
    for (t, v) in samples {
        batch.clear();
        batch.push(series, t, v);
        assert_eq!(db.append(&batch).expect("appends").accepted, 1, "{t}");
    }
    db.close_group(group);
}

/// A sample a minute for so many minutes.
fn minutes(count: i64) -> impl Iterator<Item = (i64, f64)> {
    (0..count).map(|minute| (START_MS + minute * 60_000, minute as f64))
}

fn samples(snapshot: &Snapshot, id: &str, range: TimeRange) -> Vec<(i64, f64)> {
    let selection = snapshot
        .select(&[Matcher::equal("id", id)], range)
        .expect("selects");
    let mut column = Column::default();
    if selection.is_empty() {
        return Vec::new();
    }
    selection.read(0, range, &mut column).expect("reads");
    let times = column.timestamps_ms.iter().copied();
    times.zip(column.values).collect()
}

#[test]
fn a_snapshot_still_sees_what_is_cut_after_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(options(directory.path()), &Moody::default());
    append(&db, "a", minutes(7 * 60));
    let snapshot = db.snapshot();
    db.maintain();
    let range = TimeRange {
        start_ms: START_MS,
        end_ms: START_MS + HOUR_MS,
    };
    assert_eq!(samples(&snapshot, "a", range).len(), 61);
    assert_eq!(samples(&db.snapshot(), "a", range).len(), 61);
}

#[test]
fn a_series_in_the_slot_of_a_retired_one_survives_a_crash_before_the_checkpoint() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = Moody::default();
    let db = open(options(directory.path()), &disk);
    append(&db, "old", [(START_MS, 1.0)]);
    append(&db, "a", [(START_MS, 0.5)]);
    db.maintain();
    disk.refuse(Some("checkpoint.tmp"));
    append(&db, "b", minutes(7 * 60));
    for _ in 0..3 {
        db.maintain();
    }
    let sample = (START_MS + 7 * HOUR_MS, 3.0);
    append(&db, "new", [sample]);
    append(&db, "newer", [sample]);
    drop(db);
    let db = open(options(directory.path()), &Moody::default());
    for id in ["new", "newer"] {
        assert_eq!(
            samples(&db.snapshot(), id, TimeRange::ALL),
            [sample],
            "{id}"
        );
    }
    assert_eq!(samples(&db.snapshot(), "old", TimeRange::ALL).len(), 1);
}

#[test]
fn a_failed_sync_does_not_part_the_log_from_memory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = Moody::default();
    let options = Options {
        wal_sync: WalSync::Always,
        ..options(directory.path())
    };
    let db = open(options.clone(), &disk);
    let group = db.open_group();
    let series = db.register(group, &labels("a")).expect("registers");
    let mut batch = Batch::new(group);
    for row in 0..6i64 {
        batch.clear();
        batch.push(series, START_MS + row * 1000, (row * row) as f64);
        disk.refuses_sync.store(row == 2, Ordering::Relaxed);
        assert_eq!(db.append(&batch).is_err(), row == 2);
    }
    drop(db);
    let db = open(options, &disk);
    let mut found = samples(&db.snapshot(), "a", TimeRange::ALL);
    // Whether the sample that was not acknowledged is there is open.
    found.retain(|(t, _)| *t != START_MS + 2000);
    let want = [0i64, 1, 3, 4, 5].map(|row| (START_MS + row * 1000, (row * row) as f64));
    assert_eq!(found, want);
}

#[test]
fn a_block_that_cannot_be_finished_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = Moody::default();
    let db = open(options(directory.path()), &disk);
    append(&db, "a", minutes(7 * 60));
    disk.refuse(Some("index"));
    for _ in 0..3 {
        db.maintain();
    }
    let names = SystemDisk
        .list(&directory.path().join("blocks"))
        .expect("lists");
    assert_eq!(names, [""; 0]);
    disk.refuse(None);
    db.maintain();
    assert_eq!(samples(&db.snapshot(), "a", TimeRange::ALL).len(), 7 * 60);
}

#[test]
fn the_ends_of_time_are_kept_and_stop_no_block() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(options(directory.path()), &Moody::default());
    append(&db, "a", minutes(7 * 60));
    let odd = [
        (i64::MIN + 1, 1.0),
        (i64::MIN + 2, 2.0),
        (-(1 << 62), 3.0),
        (1 << 62, 4.0),
        (i64::MAX, 5.0),
    ];
    append(&db, "odd", odd);
    assert_eq!(samples(&db.snapshot(), "odd", TimeRange::ALL), odd);
    db.maintain();
    db.maintain();
    let blocks = SystemDisk
        .list(&directory.path().join("blocks"))
        .expect("lists");
    assert!(blocks.len() >= 3, "{blocks:?}");
    assert_eq!(samples(&db.snapshot(), "odd", TimeRange::ALL), odd);
    db.close().expect("closes");
    drop(db);
    let db = open(options(directory.path()), &Moody::default());
    assert_eq!(samples(&db.snapshot(), "odd", TimeRange::ALL), odd);
}

#[test]
fn a_damaged_length_in_a_head_file_costs_one_chunk() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(options(directory.path()), &Moody::default());
    for id in ["a", "b", "c"] {
        append(&db, id, minutes(130));
    }
    db.close().expect("closes");
    drop(db);
    let path = directory.path().join("head").join("00000001.head");
    let mut bytes = std::fs::read(&path).expect("reads");
    // The length of the first frame, behind the header.
    bytes[4128] ^= 0xff;
    std::fs::write(&path, bytes).expect("writes");
    let db = open(options(directory.path()), &Moody::default());
    let lost: usize = ["a", "b", "c"]
        .map(|id| 130 - samples(&db.snapshot(), id, TimeRange::ALL).len())
        .iter()
        .sum();
    assert!((1..=120).contains(&lost), "{lost} samples");
}

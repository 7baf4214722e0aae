//! What was acknowledged stays, through failing disks, cuts and odd instants.

mod support;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, SystemClock, TimeRange};
use barograph_tsdb::disk::{Disk, DiskFile, Lock, Mapping, ReadAt, SystemDisk};
use barograph_tsdb::{Batch, Column, Db, Options, Snapshot, WalSync};
use support::metric;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_600_000_000_000 / (2 * HOUR_MS) * (2 * HOUR_MS);

/// Refuses to make files of one name, or to make anything durable.
#[derive(Clone, Debug, Default)]
struct Moody {
    refused_name: Arc<Mutex<Option<&'static str>>>,
    refuses_sync: Arc<AtomicBool>,
    refuses_sync_dir: Arc<AtomicBool>,
    refuses_remove: Arc<AtomicBool>,
    /// Whoever writes to a checkpoint says so, and waits until this is gone.
    stuck: Arc<Mutex<Option<mpsc::Sender<mpsc::Sender<()>>>>>,
}

impl Moody {
    fn refuse(&self, name: Option<&'static str>) {
        *self.refused_name.lock().expect("no panic") = name;
    }
}

#[derive(Debug)]
struct MoodyFile(Arc<dyn DiskFile>, Moody, bool);

impl DiskFile for MoodyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let stuck = self.1.stuck.lock().expect("no panic").clone();
        if let Some(stuck) = stuck.filter(|_| self.2) {
            let (go_on, goes_on) = mpsc::channel();
            stuck.send(go_on).ok();
            // Ends when the other side goes away.
            goes_on.recv().ok();
        }
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
        let is_checkpoint = path.ends_with("checkpoint.tmp");
        Ok(Arc::new(MoodyFile(file, self.clone(), is_checkpoint)))
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

    fn open(&self, path: &Path, length: u64) -> io::Result<Arc<dyn ReadAt>> {
        SystemDisk.open(path, length)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn truncate(&self, path: &Path, size_bytes: u64) -> io::Result<()> {
        SystemDisk.truncate(path, size_bytes)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        if self.refuses_remove.load(Ordering::Relaxed) {
            return Err(io::Error::other("refused"));
        }
        SystemDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.refuses_sync_dir.load(Ordering::Relaxed) {
            return Err(io::Error::other("refused"));
        }
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
        if row == 2 {
            disk.refuses_sync.store(false, Ordering::Relaxed);
            db.append(&batch)
                .expect_err("what it builds on may be lost");
            db.maintain();
        }
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
fn a_damaged_length_in_a_head_file_costs_nothing() {
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
    assert_eq!(lost, 0);
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a temporary directory");
    for part in ["wal", "head", "blocks"] {
        std::fs::create_dir_all(to.path().join(part)).expect("makes");
        for name in SystemDisk.list(&from.join(part)).expect("lists") {
            let (from, to) = (
                from.join(part).join(&name),
                to.path().join(part).join(&name),
            );
            if from.is_file() {
                std::fs::copy(from, to).expect("copies");
            }
        }
    }
    to
}

fn quarantined(directory: &Path) -> Vec<String> {
    SystemDisk
        .list(&directory.join("quarantine"))
        .unwrap_or_default()
}

#[test]
fn a_damaged_checkpoint_costs_nothing_while_the_one_before_is_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(options(directory.path()), &Moody::default());
    append(&db, "a", minutes(130));
    db.maintain();
    append(&db, "b", minutes(100));
    db.maintain();
    append(&db, "c", minutes(50));
    drop(db);
    let wal = directory.path().join("wal");
    let names = SystemDisk.list(&wal).expect("lists");
    let newest = names.iter().rfind(|name| name.contains(".ckpt"));
    let newest = newest.expect("a checkpoint").clone();
    let bytes = std::fs::read(wal.join(&newest)).expect("reads");
    let places = (4128..bytes.len()).step_by(29).chain([0, bytes.len() - 1]);
    for at in places.chain([usize::MAX]) {
        let copy = copy(directory.path());
        let mut damaged = bytes.clone();
        match damaged.get_mut(at) {
            Some(byte) => *byte ^= 0x40,
            None => damaged.truncate(4400),
        }
        std::fs::write(copy.path().join("wal").join(&newest), damaged).expect("writes");
        let registry = Registry::new();
        let db = Db::open(options(copy.path()), &registry).expect("opens");
        for (id, count) in [("a", 130), ("b", 100), ("c", 50)] {
            let found = samples(&db.snapshot(), id, TimeRange::ALL);
            assert!(
                found.iter().copied().eq(minutes(count)),
                "byte {at}: {} of {count} of {id}",
                found.len()
            );
        }
        if at > 0 {
            let corruptions = metric(&registry, "prometheus_tsdb_wal_corruptions_total");
            assert!(corruptions >= 1.0, "byte {at}");
            assert!(!quarantined(copy.path()).is_empty());
        }
    }
}

#[test]
fn a_segment_that_could_be_neither_used_nor_removed_is_not_in_the_way() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = Moody::default();
    let db = open(options(directory.path()), &disk);
    let group = db.open_group();
    let series = db.register(group, &labels("a")).expect("registers");
    let mut batch = Batch::new(group);
    batch.push(series, START_MS, 1.0);
    disk.refuses_sync_dir.store(true, Ordering::Relaxed);
    disk.refuses_remove.store(true, Ordering::Relaxed);
    db.append(&batch).expect_err("the segment is not durable");
    disk.refuses_sync_dir.store(false, Ordering::Relaxed);
    disk.refuses_remove.store(false, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(120));
    assert_eq!(db.append(&batch).expect("appends").accepted, 1);
    drop(db);
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &registry).expect("opens");
    assert_eq!(
        samples(&db.snapshot(), "a", TimeRange::ALL),
        [(START_MS, 1.0)]
    );
    let corruptions = metric(&registry, "prometheus_tsdb_wal_corruptions_total");
    assert_eq!(corruptions, 0.0);
}

#[test]
fn a_torn_end_is_no_damage_after_a_second_crash() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (round, id) in ["a", "b", "c"].into_iter().enumerate() {
        let registry = Registry::new();
        let db = Db::open(options(directory.path()), &registry).expect("opens");
        let corruptions = metric(&registry, "prometheus_tsdb_wal_corruptions_total");
        assert_eq!(corruptions, 0.0, "round {round}");
        let torn = metric(&registry, "barograph_tsdb_wal_torn_ends_total");
        assert_eq!(torn, f64::from(u8::from(round > 0)));
        append(&db, id, minutes(10));
        drop(db);
        let wal = directory.path().join("wal");
        let names = SystemDisk.list(&wal).expect("lists");
        let path = wal.join(names.last().expect("a segment"));
        let mut bytes = std::fs::read(&path).expect("reads");
        let used = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
        // A record of 300 bytes of which 20 were written.
        bytes[used..used + 4].copy_from_slice(&300u32.to_le_bytes());
        bytes[used + 4..used + 28].fill(0x5a);
        std::fs::write(path, bytes).expect("writes");
    }
    let db = open(options(directory.path()), &Moody::default());
    for id in ["a", "b", "c"] {
        assert_eq!(samples(&db.snapshot(), id, TimeRange::ALL).len(), 10);
    }
}

#[test]
fn a_chunk_that_becomes_unreadable_is_kept_aside_and_stops_no_block() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &registry).expect("opens");
    append(&db, "a", minutes(130));
    append(&db, "b", minutes(130));
    db.maintain();
    // The chunk's count of timestamp bytes, in the file that is mapped.
    let path = directory.path().join("head").join("00000001.head");
    let file = std::fs::File::options().write(true).open(path);
    let file = file.expect("opens");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4], 4128 + 8 + 32).expect("writes");
    append(&db, "c", minutes(7 * 60));
    for _ in 0..3 {
        db.maintain();
    }
    assert!(db.stats(0).head.min_time_ms.is_some_and(|t| t > START_MS));
    let damaged = metric(&registry, "prometheus_tsdb_mmap_chunk_corruptions_total");
    assert_eq!(damaged, 1.0);
    assert_eq!(quarantined(directory.path()).len(), 1);
    let found = ["a", "b", "c"].map(|id| samples(&db.snapshot(), id, TimeRange::ALL).len());
    assert_eq!(found.iter().filter(|count| **count < 130).count(), 1);
    assert_eq!(found[2], 7 * 60);
}

#[test]
fn of_a_damaged_chunk_the_other_series_are_saved() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(options(directory.path()), &Moody::default());
    let group = db.open_group();
    let ids = ["a", "b", "c"];
    let mut batch = Batch::new(group);
    for (t, v) in minutes(130) {
        batch.clear();
        for id in ids {
            let series = db.register(group, &labels(id)).expect("registers");
            batch.push(series, t, v);
        }
        assert_eq!(db.append(&batch).expect("appends").accepted, 3);
    }
    db.close().expect("closes");
    drop(db);
    let path = directory.path().join("head").join("00000001.head");
    let mut bytes = std::fs::read(&path).expect("reads");
    // The page of the chunk's last series.
    *bytes.last_mut().expect("a chunk") ^= 0x11;
    std::fs::write(&path, bytes).expect("writes");
    for _ in 0..2 {
        let registry = Registry::new();
        let db = Db::open(options(directory.path()), &registry).expect("opens");
        let found = ids.map(|id| samples(&db.snapshot(), id, TimeRange::ALL).len());
        assert_eq!(found[..2], [130, 130]);
        assert!(found[2] < 130, "{found:?}");
        let damaged = metric(&registry, "prometheus_tsdb_mmap_chunk_corruptions_total");
        assert_eq!(damaged, 1.0);
        assert_eq!(quarantined(directory.path()).len(), 1);
        db.maintain();
    }
}

/// Every write of a checkpoint hangs, in the middle of the groups as at the end, until all there is
/// to do with the store was done beside it.
#[test]
fn nothing_waits_for_the_disk_that_a_checkpoint_is_written_to() {
    const GROUPS: usize = 12;
    const SERIES: usize = 120;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = Moody::default();
    let db = open(options(directory.path()), &disk);
    // Long enough for several writes.
    let long = "x".repeat(2000);
    let writers: Vec<_> = (0..GROUPS)
        .map(|target| {
            let group = db.open_group();
            let register = |number| {
                let id = format!("{target} {number} {long}");
                db.register(group, &labels(&id)).expect("registers")
            };
            (group, (0..SERIES).map(register).collect::<Vec<_>>())
        })
        .collect();
    let append_all = |row: i64| {
        for (group, series) in &writers {
            let mut batch = Batch::new(*group);
            for series in series {
                batch.push(*series, START_MS + row * 1000, row as f64);
            }
            assert_eq!(db.append(&batch).expect("appends").accepted, SERIES);
        }
    };
    append_all(0);
    let (stuck, is_stuck) = mpsc::channel();
    *disk.stuck.lock().expect("no panic") = Some(stuck);
    let (mut rows, mut writes) = (1, 0);
    std::thread::scope(|scope| {
        let maintenance = scope.spawn(|| db.maintain());
        while let Ok(go_on) = is_stuck.recv_timeout(Duration::from_mins(1)) {
            append_all(rows);
            append(&db, &format!("new {rows}"), [(START_MS, 1.0)]);
            let name = [Matcher::equal("__name__", "x")];
            let found = db.snapshot().select(&name, TimeRange::ALL).expect("finds");
            assert_eq!(found.len(), GROUPS * SERIES + rows as usize);
            (rows, writes) = (rows + 1, writes + 1);
            if writes == 3 {
                *disk.stuck.lock().expect("no panic") = None;
            }
            go_on.send(()).expect("it waits");
        }
        maintenance.join().expect("it ends");
    });
    assert_eq!(writes, 3, "several writes");
    drop(db);
    let db = open(options(directory.path()), &Moody::default());
    let name = [Matcher::equal("__name__", "x")];
    let found = db.snapshot().select(&name, TimeRange::ALL).expect("finds");
    assert_eq!(found.len(), GROUPS * SERIES + rows as usize - 1);
    let mut column = Column::default();
    let mut samples = 0;
    for index in 0..found.len() {
        let read = found.read(index, TimeRange::ALL, &mut column);
        read.expect("reads");
        samples += column.values.len();
    }
    assert_eq!(samples as i64, (GROUPS * SERIES) as i64 * rows + rows - 1);
}

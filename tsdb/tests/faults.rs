//! Disks that fill up, writes that stop half-way, bytes that flip, processes that are killed:
//! whatever was acknowledged is there afterwards, and nothing that was never written.

mod support;

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, SystemClock, TimeRange};
use barograph_tsdb::disk::{Disk, DiskFile, Lock, Mapping, ReadAt, SystemDisk};
use barograph_tsdb::{AppendError, Batch, Column, Db, Options, Retention, SeriesRef, WalSync};
use support::metric;

const MINUTE_MS: i64 = 60_000;
const START_MS: i64 = 1_650_000_000_000 / (10 * MINUTE_MS) * (10 * MINUTE_MS);
const SERIES: usize = 5;
/// Of a file of the log or the head.
const HEADER_BYTES: u64 = 4096 + 32;

/// A disk with room for so many bytes more; writes beyond are cut short.
#[derive(Clone, Debug)]
struct FullDisk {
    room_bytes: Arc<AtomicI64>,
}

impl FullDisk {
    fn new(room_bytes: i64) -> Self {
        Self {
            room_bytes: Arc::new(AtomicI64::new(room_bytes)),
        }
    }

    fn full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    fn check(&self) -> io::Result<()> {
        if self.room_bytes.load(Ordering::Relaxed) <= 0 {
            return Err(Self::full());
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FullFile(Arc<dyn DiskFile>, FullDisk);

impl DiskFile for FullFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let length = bytes.len() as i64;
        let room = self.1.room_bytes.fetch_sub(length, Ordering::Relaxed);
        if room >= length {
            return self.0.write_at(bytes, offset);
        }
        self.0.write_at(&bytes[..room.max(0) as usize], offset)?;
        Err(FullDisk::full())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.check()
    }
}

impl Disk for FullDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        SystemDisk.list(path)
    }
    fn create(&self, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.check()?;
        if size_bytes as i64 > self.room_bytes.load(Ordering::Relaxed) {
            return Err(Self::full());
        }
        Ok(Arc::new(FullFile(
            SystemDisk.create(path, size_bytes)?,
            self.clone(),
        )))
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
    fn truncate(&self, path: &Path, size_bytes: u64) -> io::Result<()> {
        SystemDisk.truncate(path, size_bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        SystemDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        SystemDisk.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        SystemDisk.lock(path)
    }
}

fn options(path: &Path) -> Options {
    Options {
        wal_segment_bytes: 1 << 16,
        wal_sync: WalSync::Never,
        maintenance_interval: Duration::ZERO,
        block_span_ms: 10 * MINUTE_MS,
        retention_ms: 0,
        ..Options::new(path)
    }
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "x".to_owned()), ("id", series.to_string())])
}

fn value(series: usize, row: i64) -> f64 {
    match series {
        0 => 42.0,
        1 => row as f64 * 17.0,
        2 => (row % 7) as f64 / 10.0,
        3 => (row as f64).sqrt(),
        _ => (row / 50) as f64,
    }
}

fn time(row: i64) -> i64 {
    START_MS + row * 5_000
}

/// Registers anew each time: references may retire between rows.
fn append_row(db: &Db, batch: &mut Batch, row: i64) -> Result<(), AppendError> {
    let references: Vec<SeriesRef> = (0..SERIES)
        .map(|s| db.register(batch.group(), &labels(s)).expect("registers"))
        .collect();
    batch.clear();
    for (series, reference) in references.iter().enumerate() {
        batch.push(*reference, time(row), value(series, row));
    }
    let appended = db.append(batch)?;
    assert_eq!(appended.accepted, SERIES, "{:?}", appended.rejected);
    Ok(())
}

/// The rows of each series. Every value is the right one for its instant.
fn rows_of(db: &Db) -> Vec<Vec<i64>> {
    let snapshot = db.snapshot();
    let everything = [Matcher::equal("__name__", "x")];
    let selection = snapshot
        .select(&everything, TimeRange::ALL)
        .expect("selects");
    let mut rows = vec![Vec::new(); SERIES];
    let mut column = Column::default();
    for index in 0..selection.len() {
        let series: usize = selection.labels(index).get("id").parse().expect("a number");
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        for (t, v) in column.timestamps_ms.iter().zip(&column.values) {
            let row = (t - START_MS) / 5_000;
            assert_eq!(
                v.to_bits(),
                value(series, row).to_bits(),
                "series {series} row {row}"
            );
            rows[series].push(row);
        }
    }
    rows
}

#[test]
fn a_full_disk_refuses_samples_and_recovers_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = FullDisk::new(1 << 20);
    let registry = Registry::new();
    let db = Db::open_with(
        options(directory.path()),
        &registry,
        Arc::new(disk.clone()),
        SystemClock,
    )
    .expect("opens");
    let mut batch = Batch::new(db.open_group());
    for row in 0..10 {
        append_row(&db, &mut batch, row).expect("there is room");
    }
    disk.room_bytes.store(3, Ordering::Relaxed);
    for _ in 0..3 {
        let error = append_row(&db, &mut batch, 10).expect_err("the disk is full");
        assert!(matches!(error, AppendError::Log { .. }), "{error}");
        assert!(error.to_string().contains("refused until"), "{error}");
    }
    assert_eq!(metric(&registry, "barograph_tsdb_ingestion_stopped"), 1.0);
    assert_eq!(
        rows_of(&db),
        vec![(0..10).collect::<Vec<_>>(); SERIES],
        "queries go on"
    );
    db.maintain();
    disk.room_bytes.store(1 << 20, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(120));
    for row in 10..400 {
        append_row(&db, &mut batch, row).expect("there is room again");
    }
    assert_eq!(metric(&registry, "barograph_tsdb_ingestion_stopped"), 0.0);
    drop(db);
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    assert_eq!(rows_of(&db), vec![(0..400).collect::<Vec<_>>(); SERIES]);
}

/// Room comes only from what the retention removes, and that is known long after the reserve went.
#[test]
fn a_full_disk_loses_what_is_past_the_retention() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = FullDisk::new(1 << 24);
    let registry = Registry::new();
    let options = Options {
        reserve_bytes: 1 << 16,
        ..options(directory.path())
    };
    let db = Db::open_with(options, &registry, Arc::new(disk.clone()), SystemClock).expect("opens");
    let mut batch = Batch::new(db.open_group());
    let mut row = 0;
    let blocks = || metric(&registry, "prometheus_tsdb_blocks_loaded");
    while blocks() < 12.0 {
        append_row(&db, &mut batch, row).expect("there is room");
        row += 1;
        if row % 60 == 0 {
            db.maintain();
        }
        assert!(row < 10_000, "no blocks");
    }
    // Only with two new checkpoints could it be sure that nothing of merged blocks comes back.
    assert!(db.compact() > 0);
    let before = blocks();
    disk.room_bytes.store(3, Ordering::Relaxed);
    append_row(&db, &mut batch, row).expect_err("the disk is full");
    for _ in 0..3 {
        db.maintain();
    }
    assert_eq!(blocks(), before);
    db.set_retention(Retention::of_time(10 * MINUTE_MS));
    db.maintain();
    assert!(blocks() < 3.0, "{} of {before} blocks are left", blocks());
}

/// Attempts to write pages go on while the disk is full; none leaves anything behind.
#[test]
fn a_full_disk_is_not_filled_with_attempts() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = FullDisk::new(1 << 24);
    let db = Db::open_with(
        options(directory.path()),
        &Registry::new(),
        Arc::new(disk.clone()),
        SystemClock,
    )
    .expect("opens");
    let mut batch = Batch::new(db.open_group());
    for row in 0..600 {
        append_row(&db, &mut batch, row).expect("there is room");
    }
    let stored_bytes = || -> usize {
        let files = std::fs::read_dir(directory.path().join("head")).expect("lists");
        let sizes = files.map(|file| file.expect("reads").metadata().expect("has a size").len());
        sizes.map(|size| size as usize).sum()
    };
    let before = stored_bytes();
    for _ in 0..3 {
        disk.room_bytes
            .store(HEADER_BYTES as i64 + 100, Ordering::Relaxed);
        db.maintain();
        assert_eq!(stored_bytes(), before);
    }
    disk.room_bytes.store(1 << 24, Ordering::Relaxed);
    db.maintain();
    assert!(
        stored_bytes() > before + 100,
        "there was something to write"
    );
}

/// The next segment would be twice as large as the last; there is room for half of that.
#[test]
fn a_smaller_segment_is_better_than_none() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = FullDisk::new(1 << 30);
    let registry = Registry::new();
    let options = Options {
        wal_segment_bytes: 64 << 20,
        ..options(directory.path())
    };
    let db = Db::open_with(options, &registry, Arc::new(disk.clone()), SystemClock).expect("opens");
    let mut batch = Batch::new(db.open_group());
    let many: Vec<SeriesRef> = (0..1000)
        .map(|s| db.register(batch.group(), &labels(s)).expect("registers"))
        .collect();
    let mut bits = 1u64;
    let mut append = |row: i64| {
        batch.clear();
        for series in &many {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            batch.push(*series, time(row), (bits >> 11) as f64 / 3.0);
        }
        db.append(&batch)
    };
    let written = || metric(&registry, "barograph_tsdb_wal_written_bytes_total");
    let mut row = 0;
    while written() < 3e6 {
        append(row).expect("there is room");
        row += 1;
    }
    // Two go to what is left of the first segment, of 4 MiB.
    disk.room_bytes.store(7 << 20, Ordering::Relaxed);
    while written() < 5e6 {
        append(row).expect("there is room for a segment of 4 MiB");
        row += 1;
    }
    assert_eq!(metric(&registry, "barograph_tsdb_ingestion_stopped"), 0.0);
}

/// The disk stops in the middle of any write, of whatever file; then the process is gone.
#[test]
fn a_crash_inside_any_write_loses_nothing_acknowledged() {
    const ROWS: i64 = 420;
    let mut stops = 0;
    for room_bytes in (0..46_000).step_by(613).chain([i64::MAX / 2]) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = FullDisk::new(room_bytes);
        let mut acknowledged = 0;
        {
            let db = Db::open_with(
                options(directory.path()),
                &Registry::new(),
                Arc::new(disk),
                SystemClock,
            )
            .expect("opens");
            let mut batch = Batch::new(db.open_group());
            for row in 0..ROWS {
                if append_row(&db, &mut batch, row).is_err() {
                    stops += 1;
                    break;
                }
                acknowledged = row + 1;
                if row % 90 == 89 {
                    db.maintain();
                }
            }
        }
        let registry = Registry::new();
        let db = Db::open(options(directory.path()), &registry).expect("opens");
        let rows = rows_of(&db);
        for (series, rows) in rows.iter().enumerate() {
            let want: Vec<i64> = (0..acknowledged).collect();
            assert!(
                rows.starts_with(&want) && rows.len() as i64 <= acknowledged + 1,
                "room {room_bytes}, series {series}: {} of {acknowledged}",
                rows.len()
            );
        }
        assert_eq!(
            metric(&registry, "prometheus_tsdb_wal_corruptions_total"),
            0.0
        );
        let mut batch = Batch::new(db.open_group());
        append_row(&db, &mut batch, ROWS + 1).expect("and goes on");
        drop(db);
        let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
        assert!(
            rows_of(&db)
                .iter()
                .all(|rows| rows.last() == Some(&(ROWS + 1)))
        );
    }
    assert!(stops > 30, "the disk stopped {stops} times");
}

/// One flipped byte in the log costs the record it hits and, at most, the rows until the next whole
/// one; no value is wrong, and it is counted.
#[test]
fn a_flipped_byte_in_the_log_is_skipped_counted_and_kept() {
    const ROWS: i64 = 150;
    let directory = tempfile::tempdir().expect("a temporary directory");
    {
        let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
        let mut batch = Batch::new(db.open_group());
        for row in 0..ROWS {
            append_row(&db, &mut batch, row).expect("appends");
        }
    }
    let path = directory.path().join("wal").join("00000001.wal");
    let bytes = std::fs::read(&path).expect("reads");
    let used = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
    for at in (0..64).step_by(7).chain((4096..used - 40).step_by(101)) {
        let copy = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(copy.path().join("wal")).expect("makes");
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x24;
        std::fs::write(copy.path().join("wal").join("00000001.wal"), damaged).expect("writes");
        let registry = Registry::new();
        let db = Db::open(options(copy.path()), &registry).expect("opens");
        let rows = rows_of(&db);
        if at < 4128 {
            assert!(
                rows.iter().all(|rows| rows.len() as i64 == ROWS),
                "two headers"
            );
            continue;
        }
        assert!(
            metric(&registry, "prometheus_tsdb_wal_corruptions_total") >= 1.0,
            "{at}"
        );
        let kept = std::fs::read_dir(copy.path().join("quarantine"))
            .expect("lists")
            .count();
        assert!(kept >= 1);
        for rows in &rows {
            let lost = ROWS - rows.len() as i64;
            // The first record names the series: it is there twice.
            assert!(lost <= if at < 4260 { 0 } else { 32 }, "byte {at}: {lost}");
            let follows = rows.last() == Some(&(ROWS - 1));
            assert!(follows || at > used / 2, "what follows is read");
        }
    }
}

#[test]
fn appends_reads_and_maintenance_at_once() {
    const ROWS: i64 = 1_500;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(options(directory.path()), &Registry::new()).expect("opens");
    let done = AtomicBool::new(false);
    // Writers stay close in their samples' time, or the later one comes too late for its blocks.
    let pace = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (db, pace) = (&db, &pace);
                scope.spawn(move || {
                    let mut batch = Batch::new(db.open_group());
                    for row in 0..ROWS {
                        if row % 10 == 0 {
                            pace.wait();
                        }
                        let names = (0..20).map(|s| {
                            Labels::from_pairs([
                                ("__name__", "y".to_owned()),
                                ("writer", writer.to_string()),
                                ("id", s.to_string()),
                            ])
                        });
                        batch.clear();
                        for labels in names {
                            let series = db.register(batch.group(), &labels).expect("registers");
                            batch.push(series, time(row), row as f64);
                        }
                        assert_eq!(db.append(&batch).expect("appends").accepted, 20);
                    }
                })
            })
            .collect();
        let (db, done) = (&db, &done);
        for _ in 0..2 {
            scope.spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let snapshot = db.snapshot();
                    let everything = [
                        Matcher::equal("__name__", "y"),
                        Matcher::equal("writer", "0"),
                    ];
                    let selection = snapshot
                        .select(&everything, TimeRange::ALL)
                        .expect("selects");
                    let mut column = Column::default();
                    let mut length = None;
                    for index in 0..selection.len() {
                        selection
                            .read(index, TimeRange::ALL, &mut column)
                            .expect("reads");
                        assert!(
                            column
                                .values
                                .iter()
                                .enumerate()
                                .all(|(row, v)| row as f64 == *v)
                        );
                        // A row is there for all of its series, or for none.
                        let rows = column.values.len();
                        assert_eq!(*length.get_or_insert(rows), rows);
                    }
                    assert!(length.unwrap_or(0) >= seen, "time does not go back");
                    seen = length.unwrap_or(0);
                }
            });
        }
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                db.maintain();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let ends: Vec<_> = writers
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok), "the writers end well");
    });
}

const CHILD: &str = "BAROGRAPH_TSDB_FAULTS_CHILD";

/// Not a test of its own: what the next test starts and kills.
#[test]
fn child_that_appends_until_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let options = Options {
        maintenance_interval: Duration::from_millis(3),
        checkpoint_interval: Duration::from_millis(10),
        ..options(Path::new(&path))
    };
    let db = Db::open(options, &Registry::new()).expect("opens");
    let first = rows_of(&db)[0].last().map_or(0, |row| row + 1);
    let mut batch = Batch::new(db.open_group());
    for row in first..first + 1_000_000 {
        append_row(&db, &mut batch, row).expect("appends");
        println!("acknowledged {row}");
    }
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut newest = -1;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_that_appends_until_killed", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut read = |newest: &mut i64| match lines.next() {
            Some(Ok(line)) => {
                if let Some((_, row)) = line.split_once("acknowledged ") {
                    *newest = row.parse().expect("a number");
                }
                true
            }
            _ => false,
        };
        let target = newest + 150 + round * 97;
        while newest < target && read(&mut newest) {}
        child.kill().expect("is killed");
        while read(&mut newest) {}
        child.wait().expect("ends");
        assert!(newest >= target, "the child wrote");
        let registry = Registry::new();
        let db = Db::open(options(directory.path()), &registry).expect("opens");
        for rows in rows_of(&db) {
            let count = rows.len() as i64;
            assert!(rows.iter().copied().eq(0..count), "no row is missing");
            assert!(count > newest, "{count} rows of {newest} acknowledged");
        }
        assert_eq!(
            metric(&registry, "prometheus_tsdb_wal_corruptions_total"),
            0.0
        );
    }
}

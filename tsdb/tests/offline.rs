//! Looking into a directory that a server is at work in, and serving from one that cannot be written.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, SystemClock, TimeRange};
use barograph_tsdb::disk::{Disk, DiskFile, Lock, Mapping, SystemDisk};
use barograph_tsdb::{Batch, Column, Db, Offline, Options, Parts, WalSync};

const START_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
const ROWS: i64 = 2400;
const SERIES: usize = 3;

fn options(path: &Path) -> Options {
    Options {
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        wal_sync: WalSync::Never,
        retention_ms: 0,
        block_span_ms: 600_000,
        ..Options::new(path)
    }
}

/// Checks that every series has every sample from the first on; returns how many.
fn rows(offline: &Offline) -> i64 {
    let selection = offline.snapshot().select(&[], TimeRange::ALL);
    let selection = selection.expect("selects");
    let (mut column, mut least) = (Column::default(), i64::MAX);
    for index in 0..selection.len() {
        let read = selection.read(index, TimeRange::ALL, &mut column);
        read.expect("reads");
        for (row, t) in (0..).zip(&*column.timestamps_ms) {
            assert_eq!(*t, START_MS + row * STEP_MS, "of {}", column.values.len());
            assert_eq!(column.values[row as usize], row as f64);
        }
        least = least.min(column.values.len() as i64);
    }
    if selection.len() < SERIES {
        return 0;
    }
    least
}

fn names(path: &Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for part in ["", "blocks", "head", "wal"] {
        for entry in fs::read_dir(path.join(part)).expect("lists") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            // How long a directory is depends on the file system.
            let size = if metadata.is_file() {
                metadata.len()
            } else {
                0
            };
            all.push((format!("{part}/{}", entry.file_name().display()), size));
        }
    }
    all.sort();
    all
}

#[test]
fn what_a_reader_sees_is_of_one_moment() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("data");
    let db = Db::open(options(&path), &Registry::new()).expect("opens");
    let group = db.open_group();
    let series: Vec<_> = (0..SERIES)
        .map(|id| {
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("id", id.to_string())]);
            db.register(group, &labels).expect("registers")
        })
        .collect();
    let acknowledged = AtomicI64::new(0);
    let mut looks = 0;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for row in 0..ROWS {
                let mut batch = Batch::new(group);
                for series in &series {
                    batch.push(*series, START_MS + row * STEP_MS, row as f64);
                }
                assert_eq!(db.append(&batch).expect("appends").rejected, []);
                acknowledged.store(row + 1, Ordering::SeqCst);
                if row % 40 == 39 {
                    db.maintain();
                }
                if row % 400 == 399 {
                    db.compact();
                }
            }
        });
        while !writer.is_finished() {
            let before = acknowledged.load(Ordering::SeqCst);
            // So busy a server may keep a reader off; it says so.
            match Offline::open(&path, Parts::Everything, directory.path()) {
                Ok(offline) => {
                    let have = rows(&offline);
                    assert!(have >= before, "{have} of {before}");
                    looks += 1;
                }
                Err(error) => assert!(error.to_string().contains("try again"), "{error}"),
            }
        }
    });
    assert!(looks > 0);
    let before = names(&path);
    let offline = Offline::open(&path, Parts::Everything, directory.path()).expect("opens");
    assert_eq!(rows(&offline), ROWS);
    // Blocks that go meanwhile stay readable.
    fs::remove_dir_all(path.join("blocks")).expect("removes");
    assert_eq!(rows(&offline), ROWS);
    drop(offline);
    fs::create_dir(path.join("blocks")).expect("creates");
    let mut after = names(&path);
    after.extend(
        before
            .iter()
            .filter(|(name, _)| name.starts_with("blocks/"))
            .cloned(),
    );
    after.sort();
    assert_eq!(after, before, "nothing else was changed");
    let left = fs::read_dir(directory.path()).expect("lists").count();
    assert_eq!(left, 1, "no temporary directory stays");
}

/// A disk that nothing can be written to.
#[derive(Debug)]
struct ReadOnly(SystemDisk);

fn refuse<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnly {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { Ok(()) } else { refuse() }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn create(&self, _: &Path, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        refuse()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.size_bytes(path)
    }

    fn truncate(&self, _: &Path, _: u64) -> io::Result<()> {
        refuse()
    }

    fn map(&self, path: &Path, length: u64) -> io::Result<Mapping> {
        self.0.map(path, length)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn remove_dir_all(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.0.lock(path)
    }
}

#[test]
fn a_directory_that_cannot_be_written_answers_and_takes_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    let count = |db: &Db| {
        let selection = db.snapshot().select(&[], TimeRange::ALL).expect("selects");
        let mut column = Column::default();
        let read = selection.read(0, TimeRange::ALL, &mut column);
        read.expect("reads");
        column.values.len()
    };
    let labels = Labels::from_pairs([("__name__", "m")]);
    let one = |db: &Db, row: i64| {
        let group = db.open_group();
        let series = db.register(group, &labels).expect("registers");
        let mut batch = Batch::new(group);
        batch.push(series, START_MS + row * STEP_MS, 1.0);
        db.append(&batch).map(|appended| appended.rejected.len())
    };
    let db = Db::open(options(path), &Registry::new()).expect("opens");
    for row in 0..100 {
        assert_eq!(one(&db, row).expect("appends"), 0);
    }
    db.maintain();
    drop(db);
    let before = names(path);
    let disk = Arc::new(ReadOnly(SystemDisk));
    let db = Db::open_with(options(path), &Registry::new(), disk, SystemClock).expect("opens");
    assert_eq!(count(&db), 100);
    let error = one(&db, 100)
        .expect_err("nothing can be logged")
        .to_string();
    assert!(error.contains("samples are refused until"), "{error}");
    db.maintain();
    assert_eq!(count(&db), 100);
    assert_eq!(names(path), before);
    drop(db);
    let db = Db::open(options(path), &Registry::new()).expect("opens");
    assert_eq!(count(&db), 100);
    assert_eq!(one(&db, 100).expect("appends"), 0);
}

//! Fills a small file system for real: ingestion must stop with one error, queries go on, and
//! ingestion resume alone when somebody makes room.
//!
//! `mount -t tmpfs -o size=200M tmpfs <directory>`, then `full <directory>`.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use barograph_benches::measure;
use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, Db, Options, SeriesRef};
use clap::Parser;

/// Fills a file system.
#[derive(Parser)]
struct Arguments {
    /// Where; at most 1 GiB may be free there.
    directory: PathBuf,
}

const SERIES: usize = 1000;
const START_MS: i64 = 1_700_006_400_000;
/// Space that somebody else gives back.
const BALLAST_BYTES: u64 = 90 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let free = rustix::fs::statvfs(&arguments.directory)?;
    if free.f_bavail * free.f_frsize > 1 << 30 {
        return Err("more than 1 GiB is free there: this program fills it".into());
    }
    let ballast = arguments.directory.join("ballast");
    let file = std::fs::File::create(&ballast)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES)?;
    drop(file);
    let data = tempfile::tempdir_in(&arguments.directory)?;
    let mut options = Options::new(data.path());
    options.reserve_bytes = 16 << 20;
    options.wal_segment_bytes = 8 << 20;
    options.maintenance_interval = Duration::from_millis(250);
    options.retention_ms = 0;
    let registry = Registry::new();
    let db = Db::open(options, &registry)?;
    std::thread::sleep(Duration::from_millis(600));
    let metric = |name| measure::metric(&registry, name).unwrap_or(f64::NAN);
    let group = db.open_group();
    let mut series: Vec<SeriesRef> = Vec::new();
    for number in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "x".to_owned()), ("id", number.to_string())]);
        series.push(db.register(group, &labels)?);
    }
    let mut batch = Batch::new(group);
    let mut append = |row: i64| {
        batch.clear();
        for (number, series) in series.iter().enumerate() {
            let value = ((row * 7919 + number as i64) as f64).sqrt();
            batch.push(*series, START_MS + row * 15_000, value);
        }
        db.append(&batch).map(|appended| appended.accepted)
    };
    let mut row = 0;
    let error = loop {
        match append(row) {
            Ok(_) => row += 1,
            Err(error) => break error,
        }
        if row > 1_000_000 {
            return Err("the disk never fills".into());
        }
    };
    println!("full after {row} rows: {error}");
    let stopped = metric("barograph_tsdb_ingestion_stopped");
    let began = Instant::now();
    let mut accepted_while_full = 0;
    while began.elapsed() < Duration::from_secs(4) {
        accepted_while_full += u32::from(append(row).is_ok_and(|_| {
            row += 1;
            true
        }));
        std::thread::sleep(Duration::from_millis(50));
    }
    let everything = [Matcher::equal("__name__", "x")];
    let found = db.snapshot().select(&everything, TimeRange::ALL)?.len();
    println!(
        "stopped: {stopped}; in 4 s {accepted_while_full} rows were stored after all, {} checkpoints; a query finds {found} series",
        metric("prometheus_tsdb_checkpoint_creations_total")
    );
    std::fs::remove_file(&ballast)?;
    let began = Instant::now();
    while append(row).is_err() {
        if began.elapsed() > Duration::from_mins(2) {
            return Err("ingestion does not resume".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "resumed {:.2?} after {} MiB were given back; stopped: {}",
        began.elapsed(),
        BALLAST_BYTES >> 20,
        metric("barograph_tsdb_ingestion_stopped")
    );
    drop(db);
    let registry = Registry::new();
    let db = Db::open(Options::new(data.path()), &registry)?;
    let snapshot = db.snapshot();
    let selection = snapshot.select(&everything, TimeRange::ALL)?;
    let mut column = barograph_tsdb::Column::default();
    for index in 0..selection.len() {
        selection.read(index, TimeRange::ALL, &mut column)?;
        if column.values.len() as i64 != row + 1 {
            return Err(format!("{} of {} rows", column.values.len(), row + 1).into());
        }
    }
    println!("opened again: all {} rows are there", row + 1);
    Ok(())
}

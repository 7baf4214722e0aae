//! How long a store takes to come back after its process was killed, and how long appends wait
//! while it checkpoints, cuts blocks and compacts.
//!
//! In-process, with a clock of its own: two hours are written in seconds, then the store is dropped
//! without being closed (what is on disk is what a `kill -9` leaves), opened again, given a scrape
//! and asked a query.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use barograph_instrument::Registry;
use barograph_model::{Clock, Labels, Matcher, TimeRange};
use barograph_tsdb::disk::SystemDisk;
use barograph_tsdb::{Batch, Column, Db, GroupId, Options, SeriesRef, WalSync};
use clap::Parser;

/// Measures restarts and stalls.
#[derive(Parser)]
struct Arguments {
    /// How many targets.
    #[arg(long, default_value_t = 250)]
    targets: usize,
    /// Series per target.
    #[arg(long, default_value_t = 1000)]
    series: usize,
    /// How long they were scraped.
    #[arg(long, default_value_t = 120)]
    minutes: i64,
    /// Seconds between scrapes.
    #[arg(long, default_value_t = 15)]
    interval: i64,
    /// Scrapes since the last checkpoint.
    #[arg(long, default_value_t = 19)]
    unsaved: i64,
    /// Takes the files out of the page cache before opening.
    #[arg(long)]
    cold: bool,
    /// How often to open.
    #[arg(long, default_value_t = 1)]
    rounds: i64,
    /// Scrapes after the restart, at least one each of these milliseconds, while maintenance runs
    /// without pause; 0 measures no stalls.
    #[arg(long, default_value_t = 0)]
    stall_rows: i64,
    /// Where to write; a temporary directory where absent.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Keeps what is written there in this directory, and writes only where it is not there yet: so
    /// that a process can be measured that does nothing but open it.
    #[arg(long)]
    keep: Option<PathBuf>,
}

const START_MS: i64 = 1_700_006_400_000;

#[derive(Clone, Debug)]
struct ManualClock(Arc<AtomicI64>);

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// The value of a series at a row: most stand still, some count, some wander, a few are floats.
fn value(series: usize, row: i64) -> f64 {
    let mixed = (series as u64 ^ (row as u64) << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    match series % 100 {
        0..62 => series as f64,
        62..76 => (row * (series % 50 + 1) as i64) as f64,
        76..88 => (row / 11 + series as i64) as f64,
        88..97 => (mixed % 1000) as f64 / 10.0,
        _ => mixed as f64 / 7.0,
    }
}

struct Writer {
    groups: Vec<(GroupId, Vec<SeriesRef>)>,
}

impl Writer {
    fn new(
        db: &Db,
        arguments: &Arguments,
        targets: std::ops::Range<usize>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut groups = Vec::new();
        for target in targets {
            let group = db.open_group();
            let mut series = Vec::with_capacity(arguments.series);
            for number in 0..arguments.series {
                let labels = Labels::from_pairs([
                    ("__name__", format!("metric_{}", number / 10)),
                    ("code", format!("{}", number % 10)),
                    (
                        "instance",
                        format!("10.0.{}.{}:9100", target / 250, target % 250),
                    ),
                    ("job", "node".to_owned()),
                ]);
                series.push(db.register(group, &labels)?);
            }
            groups.push((group, series));
        }
        Ok(Self { groups })
    }

    fn scrape(
        &self,
        db: &Db,
        batch: &mut Batch,
        target: usize,
        row: i64,
        interval_ms: i64,
    ) -> bool {
        let (group, series) = &self.groups[target];
        batch.reset(*group);
        for (number, series) in series.iter().enumerate() {
            let time = START_MS + row * interval_ms + target as i64;
            batch.push(*series, time, value(target * 1000 + number, row));
        }
        db.append(batch)
            .is_ok_and(|appended| appended.accepted == series.len())
    }
}

fn open(path: &Path, clock: &ManualClock) -> Result<Db, Box<dyn Error>> {
    let options = Options {
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        wal_sync: WalSync::Interval(Duration::from_millis(200)),
        retention_ms: 0,
        ..Options::new(path)
    };
    let disk = Arc::new(SystemDisk);
    Ok(Db::open_with(
        options,
        &Registry::new(),
        disk,
        clock.clone(),
    )?)
}

fn status_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// What this process has used of the processors.
fn cpu_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Takes every file below a directory out of the page cache.
fn forget(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += forget(&entry.path())?;
            continue;
        }
        let file = std::fs::File::open(entry.path())?;
        file.sync_all()?;
        bytes += file.metadata()?.len();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let temporary = match &arguments.directory {
        Some(path) => {
            std::fs::create_dir_all(path)?;
            tempfile::tempdir_in(path)?
        }
        None => tempfile::tempdir()?,
    };
    let path = arguments.keep.as_deref().unwrap_or(temporary.path());
    let clock = ManualClock(Arc::new(AtomicI64::new(START_MS)));
    let interval_ms = arguments.interval * 1000;
    let rows = arguments.minutes * 60 / arguments.interval;
    let samples = rows * (arguments.targets * arguments.series) as i64;
    let counted = path.join("restarts");
    if !counted.exists() {
        let db = open(path, &clock)?;
        let writer = Writer::new(&db, &arguments, 0..arguments.targets)?;
        let began = Instant::now();
        let mut maintenance = Duration::ZERO;
        let mut batch = Batch::new(writer.groups[0].0);
        for row in 0..rows {
            clock.0.store(START_MS + row * interval_ms, Relaxed);
            for target in 0..arguments.targets {
                assert!(writer.scrape(&db, &mut batch, target, row, interval_ms));
            }
            if row % 20 == 0 && row + arguments.unsaved <= rows || row + arguments.unsaved == rows {
                let began = Instant::now();
                db.maintain();
                maintenance += began.elapsed();
            }
        }
        let took = began.elapsed();
        println!(
            "written: {samples} samples in {took:.1?} ({:.1} M/s), of it {maintenance:.1?} maintenance; {} MiB resident",
            samples as f64 / took.saturating_sub(maintenance).as_secs_f64() / 1e6,
            status_mib("VmRSS:")
        );
        std::fs::write(&counted, "0")?;
    }
    let before: i64 = std::fs::read_to_string(&counted)?.parse()?;
    if arguments.cold {
        println!("cold: {} MiB of files", forget(path)? >> 20);
    }
    for round in before..before + arguments.rounds {
        let db = restart(&arguments, path, &clock, rows + round)?;
        std::fs::write(&counted, (round + 1).to_string())?;
        if arguments.stall_rows > 0 && round == before + arguments.rounds - 1 {
            let writer = Writer::new(&db, &arguments, 0..arguments.targets)?;
            stalls(&db, &writer, &arguments, &clock, rows + round);
        }
    }
    Ok(())
}

/// Opens the store that is as it was killed, scrapes one target into it, and asks a query.
fn restart(
    arguments: &Arguments,
    path: &Path,
    clock: &ManualClock,
    rows: i64,
) -> Result<Db, Box<dyn Error>> {
    let interval_ms = arguments.interval * 1000;
    clock.0.store(START_MS + rows * interval_ms, Relaxed);
    let before_mib = status_mib("VmRSS:");
    let cpu_before = cpu_time();
    let began = Instant::now();
    let db = open(path, clock)?;
    let opened = began.elapsed();
    let busy = cpu_time().saturating_sub(cpu_before);
    let first = Writer::new(&db, arguments, 0..1)?;
    let mut batch = Batch::new(first.groups[0].0);
    assert!(first.scrape(&db, &mut batch, 0, rows, interval_ms));
    let scraped = began.elapsed();
    let snapshot = db.snapshot();
    let metric = [Matcher::equal("__name__", "metric_7")];
    let selection = snapshot.select(&metric, TimeRange::ALL)?;
    let mut column = Column::default();
    let mut read = 0;
    for index in 0..selection.len() {
        selection.read(index, TimeRange::ALL, &mut column)?;
        read += column.values.len();
    }
    let queried = began.elapsed();
    println!(
        "restart: open {opened:.3?} ({busy:.3?} of processor time), first scrape {scraped:.3?}, first query ({read} samples of {} series) {queried:.3?}; {before_mib} → {} MiB resident, at most {}",
        selection.len(),
        status_mib("VmRSS:"),
        status_mib("VmHWM:")
    );
    // Whatever round it is, all rows that the targets brought are there, and one more of each restart.
    let rounds = rows - arguments.minutes * 60 / arguments.interval;
    let want = (arguments.targets * 10) as i64 * (rows - rounds) + 10 * (rounds + 1);
    assert_eq!(read as i64, want, "samples are missing");
    Ok(db)
}

/// Appends while maintenance runs without pause.
fn stalls(db: &Db, writer: &Writer, arguments: &Arguments, clock: &ManualClock, first: i64) {
    let done = AtomicBool::new(false);
    let interval_ms = arguments.interval * 1000;
    let mut latencies = Vec::new();
    let mut rounds = 0;
    std::thread::scope(|scope| {
        let maintenance = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Relaxed) {
                db.maintain();
                rounds += 1;
            }
            rounds
        });
        let mut batch = Batch::new(writer.groups[0].0);
        for row in first + 1..=first + arguments.stall_rows {
            clock.0.store(START_MS + row * interval_ms, Relaxed);
            for target in 0..arguments.targets {
                let began = Instant::now();
                assert!(writer.scrape(db, &mut batch, target, row, interval_ms));
                latencies.push(began.elapsed());
                // Not more than a busy server does.
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        done.store(true, Relaxed);
        rounds = maintenance.join().unwrap_or(0);
    });
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "stalls: {} appends of {} samples during {rounds} rounds of maintenance: p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, greatest {:.2?}",
        latencies.len(),
        arguments.series,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

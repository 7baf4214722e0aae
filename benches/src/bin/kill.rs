//! Kills a writing process again and again: whatever it acknowledged must be there afterwards, with
//! its values, and nothing must be called damage.

use std::error::Error;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use barograph_benches::measure;
use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Batch, Column, Db, Options, SeriesRef, WalSync};
use clap::Parser;

/// Kills a writer and looks at what is left.
#[derive(Parser)]
struct Arguments {
    /// How often.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// Stops after so many minutes.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Changes when the process is killed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the writing process gets: its directory.
    #[arg(long, hide = true)]
    write: Option<PathBuf>,
}

const SERIES: usize = 20;
const START_MS: i64 = 1_700_006_400_000;
/// A new directory after so many rounds: reading everything must not take ever longer.
const ROUNDS_PER_DIRECTORY: u64 = 40;

fn value(series: usize, row: i64) -> f64 {
    match series % 5 {
        0 => 42.0,
        1 => row as f64 * 17.0,
        2 => (row % 7) as f64 / 10.0,
        3 => (row as f64).sqrt(),
        _ => (row / 50) as f64,
    }
}

fn open(path: &Path, registry: &Registry) -> Result<Db, Box<dyn Error>> {
    let options = Options {
        wal_segment_bytes: 1 << 17,
        wal_sync: WalSync::Interval(Duration::from_millis(20)),
        maintenance_interval: Duration::from_millis(2),
        checkpoint_interval: Duration::from_millis(15),
        block_span_ms: 600_000,
        retention_ms: 0,
        ..Options::new(path)
    };
    Ok(Db::open(options, registry)?)
}

fn write(path: &Path) -> Result<(), Box<dyn Error>> {
    let db = open(path, &Registry::new())?;
    let mut batch = Batch::new(db.open_group());
    let first = rows(&db)?[0].last().map_or(0, |row| row + 1);
    let mut out = std::io::stdout().lock();
    for row in first.. {
        batch.clear();
        for series in 0..SERIES {
            let labels =
                Labels::from_pairs([("__name__", "x".to_owned()), ("id", series.to_string())]);
            let reference: SeriesRef = db.register(batch.group(), &labels)?;
            batch.push(reference, START_MS + row * 5_000, value(series, row));
        }
        if db.append(&batch)?.accepted == SERIES {
            writeln!(out, "{row}")?;
        }
    }
    Ok(())
}

fn rows(db: &Db) -> Result<Vec<Vec<i64>>, Box<dyn Error>> {
    let mut rows = vec![Vec::new(); SERIES];
    let snapshot = db.snapshot();
    let selection = snapshot.select(&[Matcher::equal("__name__", "x")], TimeRange::ALL)?;
    let mut column = Column::default();
    for index in 0..selection.len() {
        let series: usize = selection.labels(index).get("id").parse()?;
        selection.read(index, TimeRange::ALL, &mut column)?;
        for (time, got) in column.timestamps_ms.iter().zip(&column.values) {
            let row = (time - START_MS) / 5_000;
            if got.to_bits() != value(series, row).to_bits() {
                return Err(format!("series {series} row {row}: {got}").into());
            }
            rows[series].push(row);
        }
    }
    Ok(rows)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.write {
        return write(path);
    }
    println!("seed {}", arguments.seed);
    let began = Instant::now();
    let mut random = arguments.seed;
    let mut directory = tempfile::tempdir()?;
    let (mut newest, mut acknowledged, mut unfinished, mut done) = (-1i64, 0u64, 0.0, 0);
    for round in 0..arguments.rounds {
        if began.elapsed() > Duration::from_secs(arguments.minutes * 60) {
            println!("out of time");
            break;
        }
        if round % ROUNDS_PER_DIRECTORY == 0 {
            directory = tempfile::tempdir()?;
            newest = -1;
        }
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let life = Duration::from_micros(3_000 + (random >> 33) % 90_000);
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--write")
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no pipe")?;
        // Reads all along, so that the writer is never held up by a full pipe.
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.filter_map(|line| line.parse::<i64>().ok()).last()
        });
        std::thread::sleep(life);
        child.kill()?;
        child.wait()?;
        if let Some(row) = reader.join().map_err(|_| "the reader panicked")? {
            acknowledged += (row - newest) as u64;
            newest = row;
        }
        let registry = Registry::new();
        let db = open(directory.path(), &registry)?;
        for (series, rows) in rows(&db)?.iter().enumerate() {
            let is_whole = rows.iter().copied().eq(0..rows.len() as i64);
            if !is_whole || (rows.len() as i64) <= newest {
                return Err(format!(
                    "round {round}: series {series} has {} rows, whole: {is_whole}, of {} acknowledged; kept in {}",
                    rows.len(),
                    newest + 1,
                    directory.keep().display()
                )
                .into());
            }
        }
        let metric = |name| measure::metric(&registry, name);
        for name in [
            "prometheus_tsdb_wal_corruptions_total",
            "prometheus_tsdb_mmap_chunk_corruptions_total",
            "barograph_tsdb_wal_rows_lost_total",
        ] {
            if metric(name) != Some(0.0) {
                return Err(format!(
                    "round {round}: {name} is {:?}; kept in {}",
                    metric(name),
                    directory.keep().display()
                )
                .into());
            }
        }
        unfinished += metric("barograph_tsdb_wal_torn_ends_total").unwrap_or_default();
        done += 1;
    }
    println!(
        "{done} kills, {acknowledged} rows of {SERIES} samples acknowledged, none lost; {unfinished} unfinished records at the log's end; {:.0?}",
        began.elapsed()
    );
    Ok(())
}

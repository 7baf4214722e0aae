//! What blocks take: bytes of data per sample and of index per series, before and after compaction,
//! the processor time and memory of merging, how often a byte is written again. `cargo run --release
//! -p barograph-benches --bin blocks [days] [corpus directory]`: the recorded scrapes of the corpus
//! end to end, counters going on where they stopped; then mixes of made-up series. Time is simulated,
//! timestamps are late by a few milliseconds now and then, as scrapes are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use barograph_benches::history::{Made, Recorded, Rows};
use barograph_benches::simulated::{Noise, Time};
use barograph_benches::{heap, measure};
use barograph_instrument::Registry;
use barograph_model::{MatchOp, Matcher, TimeRange};
use barograph_tsdb::disk::SystemDisk;
use barograph_tsdb::{
    Batch, Column, Db, Offline, Options, Parts, SeriesRef, WalSync, inspect_block,
};

type Error = Box<dyn std::error::Error>;

const INTERVAL_MS: i64 = 15_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// A Monday, so that weeks are whole.
const BEGIN_MS: i64 = 1_700_006_400_000 / (7 * DAY_MS) * (7 * DAY_MS) + 4 * DAY_MS;
/// How often simulated time stops for maintenance.
const MAINTAIN_MS: i64 = 600_000;

/// How often a block is read, for the best time.
const READINGS: usize = 5;
/// Metrics that are named, those of the most bytes.
const METRICS: usize = 8;

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let days: i64 = args.next().map_or(Ok(1), |text| text.parse())?;
    let corpus = args.next().unwrap_or_else(|| "../shared/corpus".to_owned());
    for name in ["node", "app", "alertmanager"] {
        let archive = Path::new(&corpus).join(format!("{name}.tar.zst"));
        if archive.exists() {
            run(name, vec![Box::new(Recorded::read(&archive)?)], days)?;
        } else {
            println!(
                "{name}: {} is not there, nothing measured",
                archive.display()
            );
        }
    }
    for (name, targets, series) in [("few targets", 4, 500), ("many targets", 200, 100)] {
        let made = |target| -> Box<dyn Rows> { Box::new(Made::new(target, series)) };
        run(name, (0..targets).map(made).collect(), days)?;
    }
    Ok(())
}

fn run(name: &str, mut targets: Vec<Box<dyn Rows>>, days: i64) -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let options = Options {
        maintenance_interval: Duration::ZERO,
        wal_sync: WalSync::Never,
        retention_ms: 0,
        compaction_bytes_per_second: 0,
        ..Options::new(directory.path())
    };
    let now = Arc::new(AtomicI64::new(BEGIN_MS));
    let registry = Registry::new();
    let clock = Time(now.clone());
    let db = Db::open_with(options, &registry, Arc::new(SystemDisk), clock)?;
    let group = db.open_group();
    let mut references: Vec<Vec<SeriesRef>> = Vec::new();
    for target in &targets {
        let labels = target.labels();
        let register = |labels| db.register(group, labels);
        references.push(labels.iter().map(register).collect::<Result<_, _>>()?);
    }
    let mut noise = Noise(7);
    let (mut batch, mut values) = (Batch::new(group), Vec::new());
    let (mut cpu_seconds, mut peak_bytes) = (0.0, 0);
    for number in 0..(days * DAY_MS / INTERVAL_MS) as usize {
        let row_ms = BEGIN_MS + number as i64 * INTERVAL_MS;
        now.store(row_ms, Ordering::Relaxed);
        for (target, references) in targets.iter_mut().zip(&references) {
            let late_ms = if noise.below(4) == 0 {
                noise.below(8)
            } else {
                0
            };
            target.row(number, &mut values);
            batch.clear();
            for (reference, value) in references.iter().zip(&values) {
                if let Some(value) = value {
                    batch.push(*reference, row_ms + late_ms as i64, *value);
                }
            }
            db.append(&batch)?;
        }
        if row_ms % MAINTAIN_MS == 0 {
            db.maintain();
            let before = (merged(&registry), cpu()?);
            heap::begin();
            db.compact();
            heap::end();
            if merged(&registry) > before.0 {
                cpu_seconds += cpu()? - before.1;
                peak_bytes = heap::peak_bytes().max(peak_bytes);
            }
        }
    }
    println!("{name}: {days} days");
    report(directory.path())?;
    let metric = |name: &str| measure::metric(&registry, name).unwrap_or_default();
    let written = metric("barograph_tsdb_compaction_written_bytes_total");
    let kept = metric("prometheus_tsdb_storage_blocks_bytes");
    println!(
        "  merging: {:.0} ns of processor time per sample of each merge, heap {:.1} MB above, written {:.1} times what is kept",
        cpu_seconds * 1e9 / metric("barograph_tsdb_compaction_samples_total").max(1.0),
        peak_bytes as f64 / 1e6,
        written / kept.max(1.0),
    );
    db.close()?;
    Ok(())
}

/// What the blocks of each span take.
fn report(directory: &Path) -> Result<(), Error> {
    let mut names: Vec<_> = std::fs::read_dir(directory.join("blocks"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    names.sort();
    let mut seen = Vec::new();
    for path in names {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let mut parts = name.split('-').filter_map(|part| part.parse::<i64>().ok());
        let (Some(start_ms), Some(end_ms)) = (parts.next(), parts.next()) else {
            continue;
        };
        let hours = (end_ms - start_ms) / 3_600_000;
        if seen.contains(&hours) {
            continue;
        }
        seen.push(hours);
        let block = inspect_block(&path)?;
        let (samples, series) = (block.samples as f64, block.series as f64);
        println!(
            "  block of {hours} h: {} series, {} samples: data {:.4} B a sample, of it timestamps {:.4} and what is about pages {:.4}; index {:.1} B a series, {:.4} B a sample; all {:.4}",
            block.series,
            block.samples,
            block.data_bytes as f64 / samples,
            block.column_bytes as f64 / samples,
            block.codecs.iter().map(|c| c.pages).sum::<u64>() as f64 * 8.0 / samples,
            block.index_bytes as f64 / series,
            block.index_bytes as f64 / samples,
            (block.data_bytes + block.index_bytes) as f64 / samples,
        );
        println!(
            "    reading every sample of it: {:.1} ns each, timestamps and finding pages included",
            reading_ns(directory, &path)? / samples
        );
        for (name, bytes) in &block.sections {
            print!("    {name} {:.1}", *bytes as f64 / series);
        }
        println!(" B a series");
        for metric in block.metrics.iter().take(METRICS) {
            println!(
                "    {:<52} {:4} series {:5.1} % of the pages' bytes, {:.3} B a sample",
                metric.name,
                metric.series,
                metric.bytes as f64 * 100.0 / block.data_bytes as f64,
                metric.bytes as f64 / metric.samples.max(1) as f64,
            );
        }
        for codec in &block.codecs {
            println!(
                "    {:<14} {:5.1} % of samples, {:.3} B each",
                codec.codec,
                codec.samples as f64 * 100.0 / samples,
                codec.bytes as f64 / codec.samples as f64,
            );
        }
    }
    Ok(())
}

/// The least time in which all of a block is read.
fn reading_ns(directory: &Path, block: &Path) -> Result<f64, Error> {
    let temporary = tempfile::tempdir()?;
    let store = Offline::open(directory, Parts::Blocks, temporary.path())?;
    let number = store.blocks().iter().position(|b| b.path == block);
    let snapshot = number.and_then(|number| store.block(number));
    let snapshot = snapshot.ok_or("the block is gone")?;
    let all = [Matcher::new("__name__", MatchOp::Regex, ".+")?];
    let (mut best, mut column) = (f64::MAX, Column::default());
    for _ in 0..READINGS {
        let selection = snapshot.select(&all, TimeRange::ALL)?;
        let began = Instant::now();
        for series in 0..selection.len() {
            selection.read(series, TimeRange::ALL, &mut column)?;
        }
        best = best.min(began.elapsed().as_nanos() as f64);
    }
    Ok(best)
}

fn merged(registry: &Registry) -> f64 {
    measure::metric(registry, "barograph_tsdb_compaction_samples_total").unwrap_or_default()
}

fn cpu() -> Result<f64, Error> {
    Ok(measure::usage(std::process::id())?.cpu_seconds)
}

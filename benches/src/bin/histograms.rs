//! What histogram series cost: memory, log and block bytes, processor time. `plain` as the argument
//! stores the same numbers as a float series each instead.

use std::error::Error;
use std::time::Duration;

use barograph_benches::heap::{self, Counting};
use barograph_benches::measure;
use barograph_instrument::Registry;
use barograph_model::histogram::Span;
use barograph_model::{Histogram, IntegerHistogram, Labels, TimeRange};
use barograph_tsdb::{Batch, Column, Db, Options, SeriesRef};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SERIES: usize = 2_000;
/// Series of one target.
const TARGET: usize = 100;
const BUCKETS: usize = 20;
const ROWS: usize = 480;
const STEP_MS: i64 = 15_000;

/// A small generator of numbers; the same at every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

struct Target {
    batch: Batch,
    /// A series per histogram; of plain ones, one per number.
    series: Vec<Vec<SeriesRef>>,
    histograms: Vec<IntegerHistogram>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let plain = std::env::args().nth(1).is_some_and(|word| word == "plain");
    let directory = tempfile::tempdir()?;
    let options = Options {
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::from_hours(9),
        retention_ms: 0,
        ..Options::new(directory.path())
    };
    let db = Db::open(options, &Registry::new())?;
    let resident = || measure::usage(std::process::id()).map(|usage| usage.anonymous_bytes);
    let mut numbers = Numbers(88_172_645_463_325_252);
    let start_ms = 1_700_006_400_000;
    // What the program itself holds is there from the beginning.
    let mut targets: Vec<Target> = (0..SERIES / TARGET).map(|_| target(&db)).collect();
    let mut warm = Batch::new(targets[0].batch.group());
    fill(&mut warm, &targets[0], plain, start_ms)?;
    for target in &mut targets {
        target.batch = warm.clone();
        target.batch.reset(db.open_group());
    }
    heap::begin();
    let before = (heap::held_bytes(), resident()?);
    let memory = |row: usize| -> Result<(), Box<dyn Error>> {
        let held = heap::held_bytes().saturating_sub(before.0) / SERIES;
        let resident = resident()?.saturating_sub(before.1) / SERIES as u64;
        println!("memory at row {row}: {held} B/series of heap, {resident} B/series resident");
        Ok(())
    };
    let mut appending = 0;
    let mut heap_bytes = Vec::new();
    for row in 0..ROWS {
        for (number, target) in targets.iter_mut().enumerate() {
            if row == 0 {
                register(&db, target, number, plain)?;
            }
            for histogram in &mut target.histograms {
                observe(histogram, &mut numbers);
            }
            let mut batch = std::mem::replace(&mut target.batch, Batch::new(warm.group()));
            batch.clear();
            fill(&mut batch, target, plain, start_ms + row as i64 * STEP_MS)?;
            let began = measure::thread_cpu_ns();
            let appended = db.append(&batch)?;
            appending += measure::thread_cpu_ns() - began;
            assert_eq!(appended.accepted, batch.len());
            target.batch = batch;
        }
        if row % 4 == 0 {
            db.maintain();
            heap_bytes.push(heap::held_bytes().saturating_sub(before.0) / SERIES);
        }
        if row == 120 || row + 1 == ROWS {
            memory(row)?;
        }
    }
    heap_bytes.drain(..30);
    let (most, sum) = (heap_bytes.iter().max(), heap_bytes.iter().sum::<usize>());
    println!(
        "heap over the last {} rows: {} B/series on average, {} at most",
        heap_bytes.len() * 4,
        sum / heap_bytes.len(),
        most.copied().unwrap_or(0)
    );
    let samples = (SERIES * ROWS) as f64;
    println!("append: {:.0} ns/histogram", appending as f64 / samples);
    let wal = measure::disk_bytes(&directory.path().join("wal"));
    println!(
        "log: at most {:.1} B/histogram (64 MiB segments)",
        wal as f64 / samples
    );
    println!(
        "head files: {:.1} B/histogram",
        measure::disk_bytes(&directory.path().join("head")) as f64 / samples
    );
    let end_ms = start_ms + ROWS as i64 * STEP_MS;
    for (what, start_ms) in [("everything", start_ms), ("five minutes", end_ms - 300_000)] {
        let range = TimeRange { start_ms, end_ms };
        let began = measure::thread_cpu_ns();
        let selection = db.snapshot().select(&[], range)?;
        let mut column = Column::default();
        let mut read = 0;
        for index in 0..selection.len() {
            selection.read(index, range, &mut column)?;
            read += column.histograms.len() + column.values.len();
        }
        let took = measure::thread_cpu_ns() - began;
        let per_series = took as f64 / SERIES as f64;
        println!("{what} from the head: {read} samples, {per_series:.0} ns/histogram series");
    }
    // Two hours later: the span is cut.
    let mut batch = Batch::new(targets[0].batch.group());
    batch.push(targets[0].series[0][0], start_ms + 4 * 3_600_000, 0.0);
    db.append(&batch)?;
    db.maintain();
    let blocks = measure::disk_bytes(&directory.path().join("blocks"));
    println!("blocks: {:.1} B/histogram", blocks as f64 / samples);
    Ok(())
}

fn target(db: &Db) -> Target {
    let histogram = IntegerHistogram {
        schema: 3,
        zero_threshold: 2_f64.powi(-128),
        positive_spans: vec![Span {
            offset: -12,
            length: BUCKETS as u32,
        }],
        positive_buckets: vec![0; BUCKETS],
        ..IntegerHistogram::default()
    };
    let group = db.open_group();
    let series = db.register(group, &Labels::from_pairs([("__name__", "warm")]));
    let numbers = vec![series.into_iter().next(); BUCKETS + 2];
    Target {
        batch: Batch::new(group),
        series: vec![numbers.into_iter().flatten().collect(); TARGET],
        histograms: vec![histogram; TARGET],
    }
}

fn register(
    db: &Db,
    target: &mut Target,
    number: usize,
    plain: bool,
) -> Result<(), Box<dyn Error>> {
    for (at, series) in target.series.iter_mut().enumerate() {
        for (part, series) in series.iter_mut().enumerate() {
            let name = match part {
                _ if !plain => "request_seconds",
                0 => "request_seconds_count",
                1 => "request_seconds_sum",
                _ => "request_seconds_bucket",
            };
            let mut labels = vec![
                ("__name__", name.to_owned()),
                ("id", (number * TARGET + at).to_string()),
                ("job", "shop".to_owned()),
                ("instance", format!("host-{number}:9090")),
            ];
            if plain && part > 1 {
                labels.push(("le", part.to_string()));
            }
            let labels = Labels::from_pairs(labels);
            *series = db.register(target.batch.group(), &labels)?;
        }
    }
    Ok(())
}

/// About 30 observations in 15 s, bell-shaped over the buckets.
fn observe(histogram: &mut IntegerHistogram, numbers: &mut Numbers) {
    for _ in 0..numbers.next() % 60 {
        let bits = numbers.next();
        let bucket = (0..4).map(|at| bits >> (at * 8) & 0xff).sum::<u64>() as usize;
        let bucket = bucket * BUCKETS / 1021;
        histogram.positive_buckets[bucket] += 1;
        histogram.count += 1;
        histogram.sum += 0.35 * 1.09f64.powi(bucket as i32) * (1.0 + (bits >> 40) as f64 / 1e9);
    }
}

fn fill(batch: &mut Batch, target: &Target, plain: bool, at_ms: i64) -> Result<(), Box<dyn Error>> {
    for (series, histogram) in target.series.iter().zip(&target.histograms) {
        if !plain {
            let histogram = Histogram::Integer(histogram.clone());
            batch.push_histogram(series[0], at_ms, &histogram)?;
            continue;
        }
        batch.push(series[0], at_ms, histogram.count as f64);
        batch.push(series[1], at_ms, histogram.sum);
        for (series, count) in series[2..].iter().zip(&histogram.positive_buckets) {
            batch.push(*series, at_ms, *count as f64);
        }
    }
    Ok(())
}

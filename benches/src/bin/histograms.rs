//! What histogram series cost: memory, log and block bytes.

use std::error::Error;
use std::time::{Duration, Instant};

use barograph_benches::measure;
use barograph_instrument::Registry;
use barograph_model::histogram::Span;
use barograph_model::{Histogram, IntegerHistogram, Labels, TimeRange};
use barograph_tsdb::{Batch, Column, Db, Options};

const SERIES: usize = 2_000;
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

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let options = Options {
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::from_hours(9),
        retention_ms: 0,
        ..Options::new(directory.path())
    };
    let db = Db::open(options, &Registry::new())?;
    let group = db.open_group();
    let resident = || measure::usage(std::process::id()).map(|usage| usage.anonymous_bytes);
    let before = resident()?;
    let series: Vec<_> = (0..SERIES)
        .map(|id| {
            let labels = Labels::from_pairs([
                ("__name__", "request_seconds".to_owned()),
                ("id", id.to_string()),
                ("job", "shop".to_owned()),
                ("instance", format!("host-{}:9090", id / 100)),
            ]);
            db.register(group, &labels)
        })
        .collect::<Result<_, _>>()?;
    let mut histograms = vec![
        IntegerHistogram {
            schema: 3,
            zero_threshold: 2_f64.powi(-128),
            positive_spans: vec![Span {
                offset: -12,
                length: BUCKETS as u32,
            }],
            positive_buckets: vec![0; BUCKETS],
            ..IntegerHistogram::default()
        };
        SERIES
    ];
    let mut numbers = Numbers(88_172_645_463_325_252);
    let mut batch = Batch::new(group);
    let start_ms = 1_700_006_400_000;
    let mut appending = Duration::ZERO;
    for row in 0..ROWS {
        batch.clear();
        for (series, histogram) in series.iter().zip(&mut histograms) {
            // About 30 observations in 15 s, bell-shaped over the buckets.
            for _ in 0..numbers.next() % 60 {
                let bits = numbers.next();
                let bucket = (0..4).map(|at| bits >> (at * 8) & 0xff).sum::<u64>() as usize;
                let bucket = bucket * BUCKETS / 1021;
                histogram.positive_buckets[bucket] += 1;
                histogram.count += 1;
                histogram.sum +=
                    0.35 * 1.09f64.powi(bucket as i32) * (1.0 + (bits >> 40) as f64 / 1e9);
            }
            let histogram = Histogram::Integer(histogram.clone());
            let at_ms = start_ms + row as i64 * STEP_MS;
            batch.push_histogram(*series, at_ms, &histogram)?;
        }
        let began = Instant::now();
        let appended = db.append(&batch)?;
        appending += began.elapsed();
        assert_eq!(appended.accepted, SERIES);
        if row == 120 {
            let bytes = resident()?.saturating_sub(before);
            println!("memory at row {row}: {} B/series", bytes / SERIES as u64);
        }
        if row % 40 == 0 {
            db.maintain();
        }
    }
    let samples = (SERIES * ROWS) as f64;
    println!(
        "append: {:.0} ns/histogram",
        appending.as_nanos() as f64 / samples
    );
    let bytes = resident()?.saturating_sub(before);
    println!("memory at the end: {} B/series", bytes / SERIES as u64);
    let wal = measure::disk_bytes(&directory.path().join("wal"));
    println!(
        "log: at most {:.1} B/histogram (64 MiB segments)",
        wal as f64 / samples
    );
    println!(
        "head files: {:.1} B/histogram",
        measure::disk_bytes(&directory.path().join("head")) as f64 / samples
    );
    let snapshot = db.snapshot();
    let selection = snapshot.select(&[], TimeRange::ALL)?;
    let mut column = Column::default();
    let began = Instant::now();
    let mut read = 0;
    for index in 0..selection.len() {
        selection.read(index, TimeRange::ALL, &mut column)?;
        read += column.histograms.len();
    }
    assert_eq!(read, SERIES * ROWS);
    println!(
        "read from the head: {:.0} ns/histogram",
        began.elapsed().as_nanos() as f64 / samples
    );
    drop((selection, snapshot));
    // Two hours later: the span is cut.
    batch.clear();
    batch.push(series[0], start_ms + 4 * 3_600_000, 0.0);
    db.append(&batch)?;
    db.maintain();
    let blocks = measure::disk_bytes(&directory.path().join("blocks"));
    println!("blocks: {:.1} B/histogram", blocks as f64 / samples);
    Ok(())
}

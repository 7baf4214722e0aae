//! Measures queries over a day of counters: `cargo run --release -p barograph-query --example
//! measure [series] [hours]`. Prints the best of several runs per query.

use std::time::{Duration, Instant};

use barograph_instrument::Registry;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_query::{Engine, EngineOptions, QueryOptions, RangeSteps, Value, parse};
use barograph_tsdb::{Batch, Column, Db, Options};

const INTERVAL_MS: i64 = 15_000;
const TARGETS: usize = 5;
const BEGIN_MS: i64 = 1_700_000_000_000;
const RUNS: usize = 5;
const SETTLE: Duration = Duration::from_secs(10);

const QUERIES: &[(&str, i64)] = &[
    ("sum by(x)(rate(m[5m]))", 60_000),
    ("sum by(x)(m)", 60_000),
    ("avg_over_time(m[5m]) > 1e18", 60_000),
    ("max by(x)(max_over_time(m[1h]))", 60_000),
    ("sum by(x)(quantile_over_time(0.9, m[1h]))", 300_000),
    ("sum(m / on(i, x) n)", 60_000),
    ("sum(rate(m[5m]))", 0),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let series: usize = args.next().map_or(Ok(5000), |text| text.parse())?;
    let hours: i64 = args.next().map_or(Ok(24), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let db = fill(directory.path(), series, hours)?;
    let options = EngineOptions {
        max_samples: u64::MAX,
        ..EngineOptions::default()
    };
    let engine = Engine::new(options, &Registry::new());
    let end_ms = BEGIN_MS + hours * 3_600_000;
    // What the store does after so many appends is not what is measured.
    std::thread::sleep(SETTLE);
    let read = read_alone(&db)?;
    println!(
        "{:8.1} ms  reading all series of m, nothing else",
        read.as_secs_f64() * 1e3
    );
    for (text, step_ms) in QUERIES {
        let expr = parse(text)?;
        let mut best = Duration::MAX;
        let mut result = String::new();
        for _ in 0..RUNS {
            let began = Instant::now();
            let snapshot = db.snapshot();
            let outcome = if *step_ms == 0 {
                engine.instant(&snapshot, &expr, end_ms, &QueryOptions::default())?
            } else {
                let steps = RangeSteps {
                    start_ms: BEGIN_MS,
                    end_ms,
                    step_ms: *step_ms,
                };
                engine.range(&snapshot, &expr, steps, &QueryOptions::default())?
            };
            best = best.min(began.elapsed());
            let count = match &outcome.value {
                Value::Matrix(all) => all.len(),
                Value::Vector(all) => all.len(),
                _ => 1,
            };
            result = format!(
                "{count} series, {} samples held",
                outcome.stats.peak_samples
            );
        }
        println!("{:8.1} ms  {text}  ({result})", best.as_secs_f64() * 1e3);
    }
    Ok(())
}

/// How long the store takes to hand over what the queries read.
fn read_alone(db: &Db) -> Result<Duration, Box<dyn std::error::Error>> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let began = Instant::now();
        let name = Matcher::equal("__name__", "m");
        let selection = db.snapshot().select(&[name], TimeRange::ALL)?;
        let mut column = Column::default();
        for index in 0..selection.len() {
            selection.read(index, TimeRange::ALL, &mut column)?;
        }
        best = best.min(began.elapsed());
    }
    Ok(best)
}

fn fill(
    path: &std::path::Path,
    series: usize,
    hours: i64,
) -> Result<Db, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let mut options = Options::new(path);
    options.retention_ms = 0;
    let db = Db::open(options, &Registry::new())?;
    let rows = hours * 3_600_000 / INTERVAL_MS;
    let mut state = 88_172_645_463_325_252u64;
    for target in 0..TARGETS {
        let group = db.open_group();
        let mut all = Vec::new();
        for index in 0..series / TARGETS {
            for name in ["m", "n"]
                .into_iter()
                .take(if index % 10 == 0 { 2 } else { 1 })
            {
                let labels = Labels::from_pairs([
                    ("__name__", name),
                    ("instance", &format!("host-{target}")),
                    ("i", &index.to_string()),
                    ("x", &format!("{}-{target}", index % 10)),
                ]);
                all.push((db.register(group, &labels)?, 0.0f64));
            }
        }
        let mut batch = Batch::new(group);
        for row in 0..=rows {
            batch.clear();
            let time_ms = BEGIN_MS + row * INTERVAL_MS + target as i64 * 7;
            for (reference, value) in &mut all {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *value += ((state >> 33) % 100) as f64;
                batch.push(*reference, time_ms, *value);
            }
            db.append(&batch)?;
        }
    }
    println!(
        "{series} series, {rows} samples each, stored in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    Ok(db)
}

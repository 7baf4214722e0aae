//! Measures queries without HTTP: `cargo run --release -p barograph-benches --bin queries [wide]
//! [day] [late] [only=TEXT] [runs=N] [series=N]`. A store is filled in process; every query prints how long
//! it took (cold: the first time after the store was opened and its files left the page cache; then
//! the median and the worst of several runs), processor time, the most bytes it had allocated, and
//! where the time went: finding the series, reading their samples, everything.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use barograph_benches::heap;
use barograph_benches::simulated::{Noise, Time};
use barograph_instrument::Registry;
use barograph_model::{Labels, TimeRange};
use barograph_query::parse_selector;
use barograph_query::{Engine, EngineOptions, Outcome, QueryOptions, RangeSteps, Value, parse};
use barograph_tsdb::disk::SystemDisk;
use barograph_tsdb::{Batch, Column, Db, Options, SeriesRef, WalSync};
use rustix::fs::{Advice, fadvise};

const BEGIN_MS: i64 = 1_700_006_400_000;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// How often simulated time stops for maintenance.
const MAINTAIN_MS: i64 = 10 * MINUTE_MS;

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

/// A query, over the last `span_ms` before the end of the data; at its end alone where that is 0.
struct Query {
    name: &'static str,
    text: &'static str,
    /// What it reads: for the time of the stages.
    selector: &'static str,
    window_ms: i64,
    span_ms: i64,
    step_ms: i64,
}

const fn query(
    name: &'static str,
    text: &'static str,
    selector: &'static str,
    window_ms: i64,
    span_ms: i64,
    step_ms: i64,
) -> Query {
    Query {
        name,
        text,
        selector,
        window_ms,
        span_ms,
        step_ms,
    }
}

/// Over many series with little history: 100 targets of 1000 series, as a scrape leaves them.
const WIDE: &[Query] = &[
    query(
        "instant sum(rate), 100k series (gate: 60 ms)",
        "sum(rate({__name__=~\"http_server_requests_family_.+\"}[5m]))",
        "{__name__=~\"http_server_requests_family_.+\"}",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "instant sum by(rate), 100k series",
        "sum by (code) (rate({__name__=~\"http_server_requests_family_.+\"}[5m]))",
        "{__name__=~\"http_server_requests_family_.+\"}",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "instant count, 100k series",
        "count({job=\"service\"})",
        "{job=\"service\"}",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "heavy_instant: topk of 100k series",
        "topk(10, {job=\"service\"})",
        "{job=\"service\"}",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "heavy_instant: count by name",
        "topk(10, count by (__name__) ({__name__=~\".+\"}))",
        "{__name__=~\".+\"}",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "aggr_instant: sum by, one family",
        "sum by (instance) (rate(http_server_requests_family_3_total[5m]))",
        "http_server_requests_family_3_total",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "aggr_range: sum by(rate), all series, 10 min/15 s",
        "sum by (code) (rate({__name__=~\"http_server_requests_family_.+\"}[1m]))",
        "{__name__=~\"http_server_requests_family_.+\"}",
        MINUTE_MS,
        10 * MINUTE_MS,
        15_000,
    ),
    query(
        "simple_range: one family, every series, 10 min/15 s",
        "http_server_requests_family_5_total",
        "http_server_requests_family_5_total",
        5 * MINUTE_MS,
        10 * MINUTE_MS,
        15_000,
    ),
];

/// Over 5,000 series with a day of history.
const DAY: &[Query] = &[
    query(
        "sum by(rate[5m]), 24 h/1 m (gate: 100 ms)",
        "sum by (code) (rate(x_total[5m]))",
        "x_total",
        5 * MINUTE_MS,
        24 * HOUR_MS,
        MINUTE_MS,
    ),
    query(
        "the same, 1 h/15 s",
        "sum by (code) (rate(x_total[5m]))",
        "x_total",
        5 * MINUTE_MS,
        HOUR_MS,
        15_000,
    ),
    query(
        "sum by(instance), 24 h/1 m",
        "sum by (instance) (x_total)",
        "x_total",
        5 * MINUTE_MS,
        24 * HOUR_MS,
        MINUTE_MS,
    ),
    query(
        "max_over_time[1h], 24 h/5 m",
        "max by (code) (max_over_time(x_total[1h]))",
        "x_total",
        HOUR_MS,
        24 * HOUR_MS,
        5 * MINUTE_MS,
    ),
    query(
        "quantile_over_time[1h], 24 h/5 m (gate: 1 s)",
        "sum by (code) (quantile_over_time(0.9, x_total[1h]))",
        "x_total",
        HOUR_MS,
        24 * HOUR_MS,
        5 * MINUTE_MS,
    ),
    query(
        "avg_over_time[1h], 24 h/5 m",
        "sum by (code) (avg_over_time(x_total[1h]))",
        "x_total",
        HOUR_MS,
        24 * HOUR_MS,
        5 * MINUTE_MS,
    ),
    query(
        "instant increase[1d], 5k series",
        "sum by (code) (increase(x_total[1d]))",
        "x_total",
        24 * HOUR_MS,
        0,
        0,
    ),
    query(
        "instant max_over_time[1d], 5k series",
        "max by (code) (max_over_time(x_total[1d]))",
        "x_total",
        24 * HOUR_MS,
        0,
        0,
    ),
    query(
        "instant share of the same rate",
        "sum(rate(x_total{code=\"500\"}[5m])) / (sum(rate(x_total{code=\"500\"}[5m])) + sum(rate(x_total{code=\"200\"}[5m])))",
        "x_total",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "instant rule, 5k series (gate: 8 ms)",
        "sum by (code) (rate(x_total[5m])) > 0",
        "x_total",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "instant rule, a share of the same series",
        "sum by (instance) (rate(x_total{code=~\"5..\"}[5m])) / sum by (instance) (rate(x_total[5m])) > 0.05",
        "x_total",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "instant rule, absent host",
        "max_over_time(x_total{instance=\"host-1\"}[5m]) < 0",
        "x_total{instance=\"host-1\"}",
        5 * MINUTE_MS,
        0,
        0,
    ),
    query(
        "50 series of rate, 24 h/1 m",
        "rate(x_total{instance=\"host-3\",code=\"200\",path=~\"/1.\"}[5m])",
        "x_total{instance=\"host-3\",code=\"200\",path=~\"/1.\"}",
        5 * MINUTE_MS,
        24 * HOUR_MS,
        MINUTE_MS,
    ),
    query(
        "two selectors joined, 24 h/5 m",
        "sum(x_total / on (instance, code, path) x_total)",
        "x_total",
        5 * MINUTE_MS,
        24 * HOUR_MS,
        5 * MINUTE_MS,
    ),
];

struct Arguments {
    only: Option<String>,
    runs: usize,
    series: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = Arguments {
        only: None,
        runs: 15,
        series: 5000,
    };
    let mut sets = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("only", text)) => arguments.only = Some(text.to_owned()),
            Some(("runs", text)) => arguments.runs = text.parse()?,
            Some(("series", text)) => arguments.series = text.parse()?,
            _ => sets.push(argument),
        }
    }
    let wanted = |set: &str| sets.is_empty() || sets.iter().any(|have| have == set);
    if wanted("wide") {
        let end_ms = BEGIN_MS + 15 * MINUTE_MS;
        run("wide", WIDE, end_ms, &arguments, |db, now| {
            fill_wide(db, now, end_ms)
        })?;
    }
    let (end_ms, series) = (BEGIN_MS + 24 * HOUR_MS, arguments.series);
    if wanted("day") {
        run("day", DAY, end_ms, &arguments, |db, now| {
            fill_day(db, now, end_ms, series)
        })?;
    }
    if wanted("late") {
        run("late", DAY, end_ms, &arguments, |db, now| {
            fill_late(db, now, end_ms, series)
        })?;
    }
    Ok(())
}

fn run(
    set: &str,
    queries: &[Query],
    end_ms: i64,
    arguments: &Arguments,
    fill: impl FnOnce(&Db, &AtomicI64) -> Result<u64, Box<dyn std::error::Error>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let now = Arc::new(AtomicI64::new(BEGIN_MS));
    let began = Instant::now();
    let db = open(directory.path(), &now)?;
    let samples = fill(&db, &now)?;
    println!(
        "{set}: {samples} samples stored in {:.1} s, {} blocks",
        began.elapsed().as_secs_f64(),
        db.blocks().len()
    );
    println!(
        "{:52} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}",
        "", "cold ms", "p50 ms", "p99 ms", "CPU ms", "peak MiB", "select", "read"
    );
    db.close()?;
    drop(db);
    let engine = Engine::new(
        EngineOptions {
            max_samples: u64::MAX,
            ..EngineOptions::default()
        },
        &Registry::new(),
    );
    let only = |query: &&Query| {
        arguments
            .only
            .as_ref()
            .is_none_or(|only| query.name.contains(only))
    };
    for query in queries.iter().filter(only) {
        forget(directory.path())?;
        let db = open(directory.path(), &now)?;
        let cold = time(|| evaluate(&engine, &db, query, end_ms))?;
        let mut all = Vec::with_capacity(arguments.runs);
        let cpu_before = cpu_time();
        for _ in 0..arguments.runs {
            all.push(time(|| evaluate(&engine, &db, query, end_ms))?);
        }
        let cpu = cpu_time().saturating_sub(cpu_before) / arguments.runs as u32;
        all.sort_unstable();
        heap::begin();
        let outcome = evaluate(&engine, &db, query, end_ms)?;
        heap::end();
        let (select, read) = stages(&db, query, end_ms)?;
        println!(
            "{:52} {:8.2} {:8.2} {:8.2} {:8.2} {:9.2} {:8.2} {:8.2}  {} series",
            query.name,
            millis(cold),
            millis(all[all.len() / 2]),
            millis(all[all.len() * 99 / 100]),
            millis(cpu),
            heap::peak_bytes() as f64 / f64::from(1 << 20),
            millis(select),
            millis(read),
            count(&outcome),
        );
        drop(outcome);
        drop(db);
    }
    Ok(())
}

fn open(path: &Path, now: &Arc<AtomicI64>) -> Result<Db, Box<dyn std::error::Error>> {
    let options = Options {
        maintenance_interval: Duration::ZERO,
        wal_sync: WalSync::Never,
        retention_ms: 0,
        ..Options::new(path)
    };
    let clock = Time(now.clone());
    Ok(Db::open_with(
        options,
        &Registry::new(),
        Arc::new(SystemDisk),
        clock,
    )?)
}

fn evaluate(
    engine: &Engine,
    db: &Db,
    query: &Query,
    end_ms: i64,
) -> Result<Outcome, Box<dyn std::error::Error>> {
    let expr = parse(query.text)?;
    let snapshot = db.snapshot();
    let options = QueryOptions::default();
    if query.span_ms == 0 {
        return Ok(engine.instant(&snapshot, &expr, end_ms, &options)?);
    }
    let steps = RangeSteps {
        start_ms: end_ms - query.span_ms,
        end_ms,
        step_ms: query.step_ms,
    };
    Ok(engine.range(&snapshot, &expr, steps, &options)?)
}

/// How long it takes to find the series, and to read all of their samples, on one thread.
fn stages(
    db: &Db,
    query: &Query,
    end_ms: i64,
) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let range = TimeRange {
        start_ms: end_ms - query.span_ms - query.window_ms + 1,
        end_ms,
    };
    let matchers = parse_selector(query.selector)?;
    let snapshot = db.snapshot();
    let (mut select, mut read) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let began = Instant::now();
        let selection = snapshot.select(&matchers, range)?;
        select = select.min(began.elapsed());
        let began = Instant::now();
        let mut column = Column::default();
        let mut reader = selection.reader(range);
        for index in 0..selection.len() {
            reader.read(index, &mut column)?;
        }
        read = read.min(began.elapsed());
    }
    Ok((select, read))
}

fn count(outcome: &Outcome) -> usize {
    match &outcome.value {
        Value::Matrix(all) => all.len(),
        Value::Vector(all) => all.len(),
        _ => 1,
    }
}

fn time<T>(
    work: impl FnOnce() -> Result<T, Box<dyn std::error::Error>>,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let outcome = work()?;
    let took = began.elapsed();
    drop(outcome);
    Ok(took)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Asks the kernel to forget the files below a directory.
fn forget(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            let file = File::open(&path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// A series being written: of each hundred 60 stand still, 30 are counters, 10 are decimals.
struct Member {
    series: SeriesRef,
    value: f64,
    place: usize,
}

impl Member {
    fn step(&mut self, noise: &mut Noise) {
        match self.place * 37 % 100 {
            0..60 => {}
            60..90 => self.value += noise.below(100) as f64,
            _ => self.value = noise.below(1000) as f64 / 10.0,
        }
    }
}

/// 100 targets of 1000 series every 15 s, with the labels of a cluster's pods.
fn fill_wide(db: &Db, now: &AtomicI64, end_ms: i64) -> Result<u64, Box<dyn std::error::Error>> {
    let targets = (0..100).map(|target: usize| {
        let labels = (0..1000).map(move |series: usize| {
            let family = series / 10;
            Labels::from_pairs([
                (
                    "__name__",
                    format!("http_server_requests_family_{family}_total"),
                ),
                ("method", ["GET", "POST"][series % 2].to_owned()),
                ("code", (200 + series % 5).to_string()),
                ("path", format!("/api/v1/resource/{}", series % 10)),
                ("handler", format!("request-handler-{family}")),
                ("container", format!("container-{}", series % 50)),
                (
                    "instance",
                    format!("10.0.{}.{}:9100", target / 50, target % 50),
                ),
                ("job", "service".to_owned()),
            ])
        });
        labels.collect()
    });
    fill(db, now, end_ms, targets.collect(), false)
}

/// Series of one counter every 15 s, in five targets; every series moves.
fn fill_day(
    db: &Db,
    now: &AtomicI64,
    end_ms: i64,
    series: usize,
) -> Result<u64, Box<dyn std::error::Error>> {
    fill(db, now, end_ms, day_targets(series), true)
}

fn day_targets(series: usize) -> Vec<Vec<Labels>> {
    let targets = (0..5).map(|target: usize| {
        let labels = (0..series / 5).map(move |index: usize| {
            Labels::from_pairs([
                ("__name__", "x_total".to_owned()),
                ("instance", format!("host-{target}")),
                (
                    "code",
                    ["200", "201", "404", "500", "503"][index % 5].to_owned(),
                ),
                ("path", format!("/{}", index / 5)),
            ])
        });
        labels.collect()
    });
    targets.collect()
}

/// The same series, a day of them brought afterwards, 60 samples of each at a time, while the store
/// has samples of now: all come late.
fn fill_late(
    db: &Db,
    now: &AtomicI64,
    end_ms: i64,
    series: usize,
) -> Result<u64, Box<dyn std::error::Error>> {
    now.store(end_ms, Relaxed);
    let present = db.open_group();
    let up = db.register(present, &Labels::from_pairs([("__name__", "up")]))?;
    let mut batch = Batch::new(present);
    batch.push(up, end_ms, 1.0);
    db.append(&batch)?;
    let mut noise = Noise(88_172_645_463_325_252);
    let mut groups: Vec<_> = day_targets(series)
        .into_iter()
        .map(|labels| (Batch::new(db.open_group()), vec![0.0; labels.len()], labels))
        .collect();
    let mut samples = 0;
    let instants: Vec<i64> = (BEGIN_MS + 15_000..=end_ms).step_by(15_000).collect();
    for page in instants.chunks(60) {
        for (batch, values, labels) in &mut groups {
            batch.clear();
            // What brings nothing new leaves memory: it is registered again, as a scrape does.
            let group = batch.group();
            let known = labels.iter().map(|labels| db.register(group, labels));
            let known = known.collect::<Result<Vec<_>, _>>()?;
            for row_ms in page {
                for (series, value) in known.iter().zip(values.iter_mut()) {
                    *value += noise.below(100) as f64;
                    batch.push(*series, *row_ms, *value);
                }
            }
            samples += db.append(batch)?.accepted as u64;
        }
        // The background does so every five seconds.
        db.maintain();
    }
    db.maintain();
    db.compact();
    Ok(samples)
}

fn fill(
    db: &Db,
    now: &AtomicI64,
    end_ms: i64,
    targets: Vec<Vec<Labels>>,
    all_move: bool,
) -> Result<u64, Box<dyn std::error::Error>> {
    let mut noise = Noise(88_172_645_463_325_252);
    let mut groups = Vec::new();
    for labels in targets {
        let group = db.open_group();
        let member = |(place, labels)| {
            db.register(group, labels).map(|series| Member {
                series,
                value: 0.0,
                // 80 * 37 % 100 is a counter's place.
                place: if all_move { 80 } else { place },
            })
        };
        let members = labels.iter().enumerate().map(member);
        let members = members.collect::<Result<Vec<_>, _>>()?;
        groups.push((Batch::new(group), members));
    }
    let (mut samples, mut maintained_ms) = (0, BEGIN_MS);
    for row_ms in (BEGIN_MS..=end_ms).step_by(15_000) {
        now.store(row_ms, Relaxed);
        for (number, (batch, members)) in (0..).zip(&mut groups) {
            batch.clear();
            for member in members.iter_mut() {
                member.step(&mut noise);
                batch.push(
                    member.series,
                    row_ms - 15_000 + number * 131 % 15_000,
                    member.value,
                );
            }
            db.append(batch)?;
            samples += members.len() as u64;
        }
        if row_ms - maintained_ms >= MAINTAIN_MS {
            maintained_ms = row_ms;
            db.maintain();
        }
    }
    db.maintain();
    db.compact();
    Ok(samples)
}

//! The indices of blocks alone: bytes per series, memory of merging, time of selecting. `cargo run
//! --release -p barograph-benches --bin index [series]`: blocks of so many series, two label values of
//! its own to every five of them and a few samples each, so that what is measured is the index; then
//! selections in the largest of them, with nothing remembered of patterns and with it. With the
//! directory of a store that `blocks` made instead of a number: selections in it before and after it
//! is compacted, which is done in place. Time is simulated.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use barograph_benches::heap;
use barograph_benches::simulated::Time;
use barograph_instrument::Registry;
use barograph_model::{Labels, MatchOp, Matcher, TimeRange};
use barograph_tsdb::disk::SystemDisk;
use barograph_tsdb::{Batch, Db, Offline, Options, Parts, WalSync, inspect_block};

type Error = Box<dyn std::error::Error>;

const SPAN_MS: i64 = 600_000;
/// The span of blocks of a store that is not simulated.
const TWO_HOURS_MS: i64 = 12 * SPAN_MS;
const STEP_MS: i64 = 150_000;
const START_MS: i64 = 1_700_006_400_000 / (64 * SPAN_MS) * (64 * SPAN_MS);
const ROWS: i64 = 9 * SPAN_MS / STEP_MS;
const SERIES_PER_TARGET: usize = 5;
const SERIES_PER_BATCH: usize = 5000;
const REPEATS: usize = 9;

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

fn labels(number: usize) -> Labels {
    let (target, own) = (number / SERIES_PER_TARGET, number % SERIES_PER_TARGET);
    Labels::from_pairs([
        ("__name__", format!("requests_{own}_total")),
        ("cluster", "production".to_owned()),
        ("handler", format!("/api/v1/resource_{}", number % 50)),
        (
            "instance",
            format!(
                "10.{}.{}.{}:9100",
                target >> 16,
                target >> 8 & 255,
                target & 255
            ),
        ),
        ("job", format!("service-{}", target % 100)),
        (
            "pod",
            format!(
                "service-{:08x}",
                target.wrapping_mul(2_654_435_761) & 0xffff_ffff
            ),
        ),
    ])
}

fn open(
    path: &Path,
    block_span_ms: i64,
    now: &Arc<AtomicI64>,
    registry: &Registry,
) -> Result<Db, Error> {
    let options = Options {
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        wal_sync: WalSync::Never,
        block_span_ms,
        retention_ms: 0,
        compaction_bytes_per_second: 0,
        series_limit: 4_000_000,
        ..Options::new(path)
    };
    let clock = Time(now.clone());
    Ok(Db::open_with(
        options,
        registry,
        Arc::new(SystemDisk),
        clock,
    )?)
}

/// Makes blocks; says how far memory went up while one was cut, and while some were merged.
fn fill(path: &Path, series: usize) -> Result<(usize, usize), Error> {
    let now = Arc::new(AtomicI64::new(START_MS));
    let registry = Registry::new();
    let db = open(path, SPAN_MS, &now, &registry)?;
    let group = db.open_group();
    let mut references = Vec::with_capacity(series);
    for number in 0..series {
        references.push(db.register(group, &labels(number))?);
    }
    let mut batch = Batch::new(group);
    let (mut cutting, mut merging) = (0, 0);
    for row in 0..ROWS {
        let row_ms = START_MS + row * STEP_MS;
        now.store(row_ms, Ordering::Relaxed);
        for references in references.chunks(SERIES_PER_BATCH) {
            batch.clear();
            for (number, reference) in (0i64..).zip(references) {
                batch.push(*reference, row_ms, (row * number % 7) as f64);
            }
            db.append(&batch)?;
        }
        heap::begin();
        db.maintain();
        heap::end();
        cutting = heap::peak_bytes().max(cutting);
        heap::begin();
        db.compact();
        heap::end();
        merging = heap::peak_bytes().max(merging);
    }
    db.close()?;
    Ok((cutting, merging))
}

/// The median time of a selection with a fresh view each time, then of one that was done before.
fn measure_selection(
    path: &Path,
    block: usize,
    matchers: &[Matcher],
) -> Result<(Duration, Duration, usize), Error> {
    let temporary = tempfile::tempdir()?;
    let (mut first, mut again, mut found) = (Vec::new(), Vec::new(), 0);
    for _ in 0..REPEATS {
        let store = Offline::open(path, Parts::Blocks, temporary.path())?;
        let snapshot = store.block(block).ok_or("no such block")?;
        // Sections are verified at their first use.
        let warm = [
            Matcher::equal("job", "service-1"),
            Matcher::equal("pod", "x"),
        ];
        snapshot.select(&warm, TimeRange::ALL)?;
        snapshot.select(
            &[Matcher::equal("handler", "/api/v1/resource_7")],
            TimeRange::ALL,
        )?;
        for times in [&mut first, &mut again] {
            let began = Instant::now();
            found = snapshot.select(matchers, TimeRange::ALL)?.len();
            times.push(began.elapsed());
        }
    }
    first.sort();
    again.sort();
    Ok((first[REPEATS / 2], again[REPEATS / 2], found))
}

/// Says what the index of the largest block of a store takes, and measures selections in it.
fn report(path: &Path, cases: &[(&str, Vec<Matcher>)]) -> Result<(), Error> {
    let temporary = tempfile::tempdir()?;
    let store = Offline::open(path, Parts::Blocks, temporary.path())?;
    let blocks = store.blocks();
    let largest = blocks
        .iter()
        .enumerate()
        .max_by_key(|(_, block)| block.samples);
    let (number, largest) = largest.ok_or("no block was made")?;
    let report = inspect_block(&largest.path)?;
    print!(
        "block of {} min, {} series: index {:.1} B a series:",
        (largest.end_ms - largest.start_ms) / 60_000,
        report.series,
        report.index_bytes as f64 / report.series as f64
    );
    for (name, bytes) in &report.sections {
        print!(" {name} {:.1}", *bytes as f64 / report.series as f64);
    }
    println!();
    for (name, matchers) in cases {
        let (first, again, found) = measure_selection(path, number, matchers)?;
        println!("  {name}: {first:.1?}, done before {again:.1?}, {found} series");
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    let what = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "100000".to_owned());
    let regex = |value| Matcher::new("pod", MatchOp::Regex, value);
    let handler = Matcher::equal("handler", "/api/v1/resource_7");
    let every = vec![Matcher::equal("cluster", "production")];
    if Path::new(&what).is_dir() {
        // As the bench `blocks` makes them.
        let cases = [
            ("one value", vec![handler.clone()]),
            (
                "two values",
                vec![handler, Matcher::equal("namespace", "team-7")],
            ),
            ("a prefix", vec![regex("service-7d4b9c-0.*")?]),
            ("a regex, half fit", vec![regex(".*[0-7]")?]),
            ("every series", every),
        ];
        report(Path::new(&what), &cases)?;
        let now_ms = START_MS + 1_000 * SPAN_MS;
        let now = Arc::new(AtomicI64::new(now_ms));
        let db = open(Path::new(&what), TWO_HOURS_MS, &now, &Registry::new())?;
        println!("{} compactions", db.compact());
        db.close()?;
        return report(Path::new(&what), &cases);
    }
    let series: usize = what.parse()?;
    let directory = tempfile::tempdir()?;
    let (cutting, merging) = fill(directory.path(), series)?;
    println!(
        "{series} series: heap {:.0} B a series above while a block is cut, {:.0} B while some are merged",
        cutting as f64 / series as f64,
        merging as f64 / series as f64
    );
    let pod = labels(series / 2).get("pod").to_owned();
    let cases = [
        ("one value of many", vec![Matcher::equal("pod", &pod)]),
        (
            "two values, a fiftieth and a hundredth of the series",
            vec![handler, Matcher::equal("job", "service-1")],
        ),
        (
            "a prefix, a 256th of the values",
            vec![regex("service-4a.*")?],
        ),
        (
            "a regex over every value, few fit",
            vec![regex(".*77[0-9a]7.*")?],
        ),
        (
            "a regex over every value, half fit",
            vec![regex(".*[0-7]")?],
        ),
        ("every series", every),
    ];
    report(directory.path(), &cases)
}

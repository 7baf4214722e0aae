//! Measures the head under workloads that strain it: `cargo run --release -p barograph-benches
//! --bin head [hours] [series] [workload]`. Time is simulated; every simulated hour prints CPU
//! time per sample, heap bytes per active series and log bytes per sample.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use barograph_benches::heap::{self, Counting};
use barograph_benches::measure;
use barograph_benches::simulated::{Noise, Time};
use barograph_instrument::Registry;
use barograph_model::{Labels, TimeRange};
use barograph_tsdb::disk::SystemDisk;
use barograph_tsdb::{Batch, Column, Db, GroupId, Options, RejectReason, SeriesRef, WalSync};

const INTERVAL_MS: i64 = 15_000;
const BEGIN_MS: i64 = 1_700_006_400_000;
const HOUR_MS: i64 = 3_600_000;
/// How often simulated time stops for maintenance.
const MAINTAIN_MS: i64 = 60_000;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A series of the workload.
struct Member {
    id: usize,
    series: SeriesRef,
    value: f64,
}

struct Target {
    group: GroupId,
    members: Vec<Member>,
    batch: Batch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// Whole scrapes.
    Steady,
    /// One sample in ten is missing.
    Missing,
    /// Ten series each have a timestamp of their own.
    Timestamps,
    /// A third of the series is replaced every ten minutes.
    Churn,
    /// Every sample is a batch of its own, of one sender.
    Single,
    /// Every sample is a batch of its own, of a sender of its own.
    Push,
}

const WORKLOADS: [Workload; 6] = [
    Workload::Steady,
    Workload::Missing,
    Workload::Timestamps,
    Workload::Churn,
    Workload::Single,
    Workload::Push,
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let hours: i64 = args.next().map_or(Ok(4), |text| text.parse())?;
    let series: usize = args.next().map_or(Ok(20_000), |text| text.parse())?;
    let only = args.next().map(|text| text.to_lowercase());
    for workload in WORKLOADS {
        let name = format!("{workload:?}").to_lowercase();
        if only.as_ref().is_none_or(|only| name.starts_with(only)) {
            run(workload, hours, series)?;
        }
    }
    Ok(())
}

fn run(workload: Workload, hours: i64, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let options = Options {
        maintenance_interval: Duration::ZERO,
        wal_sync: WalSync::Never,
        retention_ms: 24 * HOUR_MS,
        ..Options::new(directory.path())
    };
    let now = Arc::new(AtomicI64::new(BEGIN_MS));
    let registry = Registry::new();
    heap::begin();
    let clock = Time(now.clone());
    let db = Db::open_with(options, &registry, Arc::new(SystemDisk), clock)?;
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let per_target = match workload {
        Workload::Push => 1,
        Workload::Single => count,
        _ => 500,
    };
    let mut next_id = 0;
    let mut targets = Vec::new();
    for _ in 0..count.div_ceil(per_target) {
        let group = db.open_group();
        let members = (0..per_target)
            .map(|_| {
                next_id += 1;
                member(&db, group, next_id)
            })
            .collect::<Result<_, _>>()?;
        targets.push(Target {
            group,
            members,
            batch: Batch::new(group),
        });
    }
    let own_bytes = (size_of::<Member>() + size_of::<barograph_tsdb::Entry>()) * count;
    let (mut samples, mut cpu_ns, mut peak) = (0u64, 0u64, 0usize);
    let mut written = 0.0;
    let mut now_ms = BEGIN_MS;
    for hour in 1..=hours {
        let end_ms = BEGIN_MS + hour * HOUR_MS;
        while now_ms < end_ms {
            now_ms += INTERVAL_MS;
            now.store(now_ms, Ordering::Relaxed);
            if workload == Workload::Churn && (now_ms - BEGIN_MS) % 600_000 == 0 {
                for target in &mut targets {
                    for at in (hour as usize % 3..target.members.len()).step_by(3) {
                        next_id += 1;
                        target.members[at] = member(&db, target.group, next_id)?;
                    }
                }
            }
            for target in &mut targets {
                let rows = rows(workload, target, now_ms, &mut noise);
                let began = measure::thread_cpu_ns();
                samples += scrape(&db, workload, target, &rows)?;
                cpu_ns += measure::thread_cpu_ns() - began;
            }
            if (now_ms - BEGIN_MS) % MAINTAIN_MS == 0 {
                db.maintain();
            }
            peak = peak.max(heap::held_bytes());
        }
        let read = read_newest(&db, now_ms)?;
        let stats = db.stats(0).head;
        let per_series = |held: usize| held.saturating_sub(own_bytes) / count;
        let total = log_bytes(&registry);
        println!(
            "{:<10} hour {hour}: {:6.1} ns/sample ({:.1} M/s), {:5} B heap per active series (peak {:5}), {:.3} B of log per sample; {} series in memory, {} of {} MB resident; 5 minutes of all: {read}",
            format!("{workload:?}"),
            cpu_ns as f64 / samples as f64,
            samples as f64 * 1e3 / cpu_ns as f64,
            per_series(heap::held_bytes()),
            per_series(peak),
            (total - written) / samples as f64,
            stats.series,
            status("RssAnon")? / 1024,
            status("VmRSS")? / 1024,
        );
        (samples, cpu_ns, peak, written) = (0, 0, 0, total);
    }
    Ok(())
}

/// What selecting all series and reading their last five minutes takes, per series.
fn read_newest(db: &Db, now_ms: i64) -> Result<String, Box<dyn std::error::Error>> {
    let range = TimeRange {
        start_ms: now_ms - 300_000,
        end_ms: now_ms,
    };
    let mut column = Column::default();
    let began = measure::thread_cpu_ns();
    let selection = db.snapshot().select(&[], range)?;
    let selected = measure::thread_cpu_ns();
    let mut samples = 0;
    for index in 0..selection.len() {
        selection.read(index, range, &mut column)?;
        samples += column.values.len();
    }
    let read = measure::thread_cpu_ns();
    let per_series = |ns: u64| ns / selection.len().max(1) as u64;
    Ok(format!(
        "{} ns to select, {} ns to read, {samples} samples",
        per_series(selected - began),
        per_series(read - selected)
    ))
}

fn member(db: &Db, group: GroupId, id: usize) -> Result<Member, barograph_tsdb::RegisterError> {
    let series = db.register(group, &labels(id))?;
    Ok(Member {
        id,
        series,
        value: id as f64,
    })
}

fn labels(id: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("some_metric_name_{}_total", id % 300)),
        (
            "instance",
            format!("10.0.{}.{}:9100", id / 500 / 256, id / 500 % 256),
        ),
        ("job", "node".to_owned()),
        ("path", format!("/some/path/{id}")),
    ])
}

/// What a target says next: values of the kinds that exporters have.
fn rows(
    workload: Workload,
    target: &mut Target,
    now_ms: i64,
    noise: &mut Noise,
) -> Vec<(SeriesRef, i64, f64)> {
    let mut timestamp_ms = now_ms;
    let mut rows = Vec::with_capacity(target.members.len());
    for (at, member) in target.members.iter_mut().enumerate() {
        match member.id % 10 {
            0..5 => {}
            5..8 => member.value += noise.below(200) as f64,
            8 => member.value = noise.below(10_000) as f64 / 100.0,
            _ => member.value = (noise.below(1 << 40) as f64).sqrt(),
        }
        if workload == Workload::Missing && noise.below(10) == 0 {
            continue;
        }
        if workload == Workload::Timestamps && at % 10 == 0 {
            timestamp_ms = now_ms - noise.below(INTERVAL_MS as u64) as i64;
        }
        rows.push((member.series, timestamp_ms, member.value));
    }
    rows
}

/// One round of a target: a batch, or one of each sample.
fn scrape(
    db: &Db,
    workload: Workload,
    target: &mut Target,
    rows: &[(SeriesRef, i64, f64)],
) -> Result<u64, Box<dyn std::error::Error>> {
    let (mut sent, mut retired) = (0, Vec::new());
    target.batch.clear();
    for (series, timestamp_ms, value) in rows {
        target.batch.push(*series, *timestamp_ms, *value);
        if matches!(workload, Workload::Single | Workload::Push) {
            sent += append(db, &target.batch, &mut retired)?;
            target.batch.clear();
        }
    }
    if !target.batch.is_empty() {
        sent += append(db, &target.batch, &mut retired)?;
    }
    if !retired.is_empty() {
        for member in &mut target.members {
            member.series = db.register(target.group, &labels(member.id))?;
        }
    }
    Ok(sent)
}

fn append(
    db: &Db,
    batch: &Batch,
    retired: &mut Vec<usize>,
) -> Result<u64, Box<dyn std::error::Error>> {
    let appended = db.append(batch)?;
    for rejected in &appended.rejected {
        match rejected.reason {
            RejectReason::RetiredSeries => retired.push(rejected.index),
            reason => return Err(format!("rejected: {}", reason.as_str()).into()),
        }
    }
    Ok(appended.accepted as u64)
}

/// A figure of this process, KiB.
fn status(name: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(name));
    let figure = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    Ok(figure.unwrap_or("0").parse()?)
}

fn log_bytes(registry: &Registry) -> f64 {
    measure::metric(registry, "barograph_tsdb_wal_written_bytes_total").unwrap_or(0.0)
}

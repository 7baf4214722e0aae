//! Prints what counting and encoding cost on this machine, beside one shared atomic counter.
//! Run it with `--release`.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use barograph_instrument::{Buckets, Counter, Format, Registry, labels};

labels! {
    struct Request<'a> { method: &'a str, path: &'a str }
}
labels! {
    struct Series { index: usize, kind: &'static str }
}

/// How many series are encoded.
const SERIES: usize = 10_000;
/// How many operations are timed at once.
const ROUNDS: u32 = 2_000_000;

/// The best of several runs, in nanoseconds per operation, on one thread and on two at once.
fn time(name: &str, operation: impl Fn(u32) + Sync) {
    let run = || {
        let start = Instant::now();
        for round in 0..ROUNDS {
            operation(round);
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
    };
    let best = |measure: &dyn Fn() -> f64| (0..9).map(|_| measure()).fold(f64::MAX, f64::min);
    let one = best(&run);
    let two = best(&|| {
        std::thread::scope(|scope| {
            let other = scope.spawn(run);
            let own = run();
            own.max(other.join().unwrap_or(f64::MAX))
        })
    });
    println!("{name:<40} {one:>8.2} ns {two:>8.2} ns");
}

fn main() {
    println!("{:<40} {:>11} {:>11}", "", "1 thread", "2 threads");
    let shared = AtomicU64::new(0);
    time("AtomicU64::fetch_add", |_| {
        black_box(&shared).fetch_add(1, Ordering::Relaxed);
    });

    let registry = Registry::new();
    let counter = registry.counter("held_total", "Held.");
    time("counter, held", |_| black_box(&counter).inc());
    time("counter, held, add(0.5)", |_| black_box(&counter).add(0.5));
    let requests = registry.counter_family::<Request<'_>>("requests_total", "Requests.");
    let labels = Request {
        method: "GET",
        path: "/api/v1/query",
    };
    time("counter, with(2 labels).inc()", |_| {
        requests.with(black_box(&labels)).inc();
    });
    time("counter, update(2 labels, inc)", |_| {
        requests.update(black_box(&labels), Counter::inc);
    });
    let latency = registry.histogram("latency_seconds", "Latency.", Buckets::web());
    time("histogram, 11 buckets, held", |round| {
        black_box(&latency).observe(f64::from(round % 1000) * 0.01);
    });
    let gauge = registry.gauge("level", "Level.");
    time("gauge, set", |round| {
        black_box(&gauge).set(f64::from(round));
    });
    time("gauge, inc", |_| black_box(&gauge).inc());

    let registry = Registry::new();
    let family = registry.counter_family::<Series>("series_total", "Series.");
    for index in 0..SERIES {
        family
            .with(&Series {
                index,
                kind: "example",
            })
            .inc_by(index as u64 * 977);
    }
    let mut page = String::new();
    let mut best = f64::MAX;
    for _ in 0..50 {
        page.clear();
        let start = Instant::now();
        registry.encode(Format::Text004, &mut page);
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / SERIES as f64);
    }
    println!("encode, {SERIES} counters, per series       {best:>8.2} ns");

    let before = resident_bytes();
    let many = Registry::new();
    let family = many
        .counter_family::<Series>("many_total", "Many.")
        .max_series(usize::MAX);
    for index in 0..10 * SERIES {
        family
            .with(&Series {
                index,
                kind: "example",
            })
            .inc();
    }
    let bytes = resident_bytes().saturating_sub(before) / (10 * SERIES as u64);
    println!(
        "memory, {} counters, per series      {bytes:>8} B",
        10 * SERIES
    );
}

/// How much memory the process has, where the system says.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    pages * 4096
}

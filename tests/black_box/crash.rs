//! Sudden death: whatever was acknowledged is there afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::exposition::{LabelMap, read_number};
use crate::harness::http::{HttpServer, Reply};
use crate::harness::server::{Server, Setup};
use crate::harness::wait::wait_until;

const ROUNDS: u32 = 50;
/// Gauges beside the counter, on every page.
const WAVES: u32 = 40;

/// Samples by series, then by time; values as bits.
type Stored = BTreeMap<LabelMap, BTreeMap<i64, u64>>;

/// The value of a gauge on the page with that number.
fn wave(page: u64, index: u32) -> f64 {
    (page as f64 * 0.37 + f64::from(index)).sin() * 10f64.powi(index as i32 % 7 - 3)
}

fn page(number: u64) -> String {
    let mut text = format!("ticks_total {number}\nsteady 1.5\n");
    for index in 0..WAVES {
        let value = wave(number, index);
        text += &format!("wave{{index=\"{index}\"}} {value}\n");
    }
    text
}

#[test]
fn fifty_kills_lose_no_acknowledged_sample() {
    let served = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&served);
    let target =
        HttpServer::start(move |_| Reply::metrics(page(count.fetch_add(1, Ordering::SeqCst) + 1)));
    let mut server = Setup::with_config(&format!(
        "scrape_configs:
  - job_name: crash
    scrape_interval: 60ms
    scrape_timeout: 60ms
    static_configs:
      - targets: ['{}']
",
        target.address()
    ))
    .start();

    let mut random = Random(0x5eed);
    let mut acknowledged = Stored::new();
    // What the process under way had counted when `acknowledged` was read.
    let mut counted_before = 0.0;
    let mut counted_rounds = 0;
    for round in 0..ROUNDS {
        let at_start = served.load(Ordering::SeqCst);
        wait_until("scrapes of this round", Duration::from_secs(10), || {
            served.load(Ordering::SeqCst) > at_start + 1
        });
        thread::sleep(Duration::from_millis(random.below(400)));
        let appended = server.own_metric("prometheus_tsdb_head_samples_appended_total");
        let seen = stored(&server);
        contains(&seen, &acknowledged, round, "while running");
        thread::sleep(Duration::from_millis(random.below(80)));
        server.kill();
        if round % 5 == 4 {
            // Killed again while it reads what the first kill left.
            let mut process = server.setup().spawn("interrupted");
            thread::sleep(Duration::from_millis(random.below(60)));
            process.kill();
        }
        server.restart();

        let found = stored(&server);
        contains(&found, &seen, round, "after the kill");
        consistent(&found);
        // What the store counted as appended since then is there too. A scrape that failed also
        // appends markers, which no query shows; such rounds are not counted.
        if !failures(&found, &acknowledged) {
            let gained = (size(&found) - size(&acknowledged)) as f64;
            let counted = appended - counted_before;
            assert!(
                gained >= counted,
                "round {round}: {counted} samples appended, {gained} found"
            );
            counted_rounds += u32::from(counted > 0.0);
        }
        acknowledged = found;
        counted_before = server.own_metric("prometheus_tsdb_head_samples_appended_total");
    }
    assert!(
        counted_rounds > ROUNDS / 2,
        "the store's own count was compared in {counted_rounds} rounds only"
    );
    let scrapes = acknowledged.values().map(BTreeMap::len).max().unwrap_or(0);
    assert!(
        scrapes > 3 * ROUNDS as usize,
        "only {scrapes} scrapes were stored"
    );
    server.stop();
}

/// Everything the store returns of the job.
fn stored(server: &Server) -> Stored {
    server
        .query("{job=\"crash\"}[1h]")
        .into_iter()
        .map(|series| {
            let samples = series.samples.into_iter();
            let samples = samples.map(|(time, value)| (time, read_number(&value).to_bits()));
            (series.labels, samples.collect())
        })
        .collect()
}

fn contains(found: &Stored, wanted: &Stored, round: u32, when: &str) {
    for (labels, samples) in wanted {
        let have = found
            .get(labels)
            .unwrap_or_else(|| panic!("round {round}, {when}: series {labels:?} is gone"));
        for (time, bits) in samples {
            let value = f64::from_bits(*bits);
            let got = have.get(time).map(|bits| f64::from_bits(*bits));
            assert_eq!(
                got.map(f64::to_bits),
                Some(*bits),
                "round {round}, {when}: {labels:?} at {time} was {value} and is {got:?}"
            );
        }
    }
}

/// A scrape is stored whole or not at all, and with the values that were served.
fn consistent(found: &Stored) {
    let named = |name: &str, index: Option<u32>| {
        let index = index.map(|index| index.to_string());
        found
            .iter()
            .find(|(labels, _)| labels["__name__"] == name && labels.get("index") == index.as_ref())
            .unwrap_or_else(|| panic!("no {name} {index:?}"))
            .1
    };
    let ticks = named("ticks_total", None);
    for index in 0..WAVES {
        let waves = named("wave", Some(index));
        assert!(
            waves.keys().eq(ticks.keys()),
            "wave {index} and the counter have other times"
        );
        for (time, bits) in waves {
            let number = f64::from_bits(ticks[time]) as u64;
            let want = wave(number, index);
            assert_eq!(*bits, want.to_bits(), "wave {index} of page {number}");
        }
    }
    let numbers: Vec<f64> = ticks.values().map(|bits| f64::from_bits(*bits)).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "pages are in order");
}

/// Whether a scrape failed since `before`.
fn failures(found: &Stored, before: &Stored) -> bool {
    found.iter().any(|(labels, samples)| {
        labels["__name__"] == "up"
            && samples.iter().any(|(time, bits)| {
                f64::from_bits(*bits) == 0.0
                    && !before
                        .get(labels)
                        .is_some_and(|known| known.contains_key(time))
            })
    })
}

fn size(stored: &Stored) -> usize {
    stored.values().map(BTreeMap::len).sum()
}

/// Marsaglia's xorshift: the moments of the kills are random, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

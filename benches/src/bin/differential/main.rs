//! The engine against the reference evaluator of its tests, for as many random queries as one likes:
//! `differential --count 1000000 --seed 1`. Each store is asked a few hundred queries; `--threads`
//! stores at a time. Ends with the first disagreements, or with what was compared.
//!
//! With `--write FILE` the reference is not asked: stores, queries and the engine's answers go into a
//! file, a JSON object per line, for who wants to ask another engine (see [`write`]).

#[path = "../../../../query/tests/reference/mod.rs"]
mod reference;
mod wide;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use clap::Parser;

use reference::compare::{Counts, compare};
use reference::random::{Dice, Store};

/// Queries per store.
const QUERIES: u64 = 500;
/// How often progress is told, in stores.
const TELL_EVERY: u64 = 200;

/// Compares the engine with the reference evaluator.
#[derive(Parser)]
struct Options {
    /// How many queries.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Where the random numbers begin; a store's own seed is this and its number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stores at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Write what was asked and answered into this file instead, for another engine.
    #[arg(long)]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let stores = options.count.div_ceil(QUERIES);
    if let Some(file) = &options.write {
        return match write::write(file, options.seed, stores) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::FAILURE
            }
        };
    }
    let began = Instant::now();
    let (next, all) = (AtomicU64::new(0), Mutex::new(Counts::default()));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= stores {
                        break;
                    }
                    let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(number);
                    let mut dice = Dice(seed);
                    let store = Store::random(&mut dice);
                    let counts = compare(&mut dice, &store, QUERIES);
                    for what in &counts.disagreements {
                        println!("store {number}: {what}");
                    }
                    let Ok(mut all) = all.lock() else { break };
                    all.add(counts);
                    if number % TELL_EVERY == 0 {
                        println!("store {number} of {stores}: {} compared", all.compared);
                    }
                    if !all.disagreements.is_empty() {
                        next.store(stores, Relaxed);
                    }
                }
            });
        }
    });
    let Ok(all) = all.into_inner() else {
        return ExitCode::FAILURE;
    };
    println!(
        "seed {}: {} compared in {:.0} s, {} of them empty, {} with histograms; {} refused by both, {} left open, {} disagreements",
        options.seed,
        all.compared,
        began.elapsed().as_secs_f64(),
        all.empty,
        all.histograms,
        all.refused,
        all.open,
        all.disagreements.len()
    );
    if all.disagreements.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

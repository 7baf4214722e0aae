//! The engine against a slow and obvious evaluator: random queries over random data agree, those of
//! floats in every bit.
//!
//! Runs a bounded number of queries from a fixed seed; `FUZZ_CASES` and `FUZZ_SEED` ask for more
//! and for others. The program `differential` of the benches asks a million.

mod reference;

use reference::compare::{Counts, compare};
use reference::random::{Dice, Store};

/// Stores, and queries per store, where nothing else is asked for.
const STORES: u64 = 6;
const CASES: u64 = 250;

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_engine_agrees_with_the_reference() {
    let seed = setting("FUZZ_SEED", 20_261_121);
    let mut counts = Counts::default();
    for number in 0..STORES {
        let mut dice = Dice(seed.wrapping_add(number));
        let store = Store::random(&mut dice);
        counts.add(compare(&mut dice, &store, setting("FUZZ_CASES", CASES)));
        let told = counts.disagreements.join("\n");
        assert!(told.is_empty(), "seed {seed}, store {number}:\n{told}");
    }
    println!("{counts:?}");
    // Otherwise the queries are too strange to compare anything.
    assert!(counts.compared > 4 * counts.refused && counts.compared > 2 * counts.empty);
    assert!(counts.compared > 10 * counts.open && counts.histograms > counts.compared / 5);
}

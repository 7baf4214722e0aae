//! The engine against a slow and obvious evaluator: random queries over random data agree in every
//! bit.
//!
//! Runs a bounded number of queries from a fixed seed; `FUZZ_CASES` and `FUZZ_SEED` ask for more
//! and for others.

mod reference;

use barograph_instrument::Registry;
use barograph_model::{Labels, TimeRange, stale_nan};
use barograph_query::{
    Engine, EngineOptions, ParseOptions, QueryOptions, RangeSteps, Value, parse_with,
};
use barograph_tsdb::{Batch, Db, Options};
use reference::{Reference, Row, Stored};

/// Stores, and queries per store, where nothing else is asked for.
const STORES: u64 = 4;
const CASES: u64 = 400;
const LOOKBACK_MS: i64 = 60_000;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    fn selector(&mut self) -> String {
        let name = self.one(&["c_total", "g", "g"]);
        let matchers = self.one(&[
            "",
            "",
            "{i=\"1\"}",
            "{j!=\"0\"}",
            "{i=~\"[0-2]\"}",
            "{i!~\"3|4\"}",
        ]);
        format!("{name}{matchers}")
    }

    fn modifiers(&mut self) -> &'static str {
        self.one(&[
            "",
            "",
            "",
            "",
            " offset 30s",
            " offset -45s",
            " @ 300",
            " @ start()",
            " @ end() offset 1m",
        ])
    }

    fn window(&mut self, depth: u64) -> String {
        let range = self.one(&["20s", "35s", "1m", "2m30s", "10m"]);
        if depth == 0 || self.below(4) > 0 {
            return format!("{}[{range}]{}", self.selector(), self.modifiers());
        }
        let step = self.one(&["7s", "15s", "1m"]);
        let operand = self.vector(depth - 1);
        format!("({operand})[{range}:{step}]{}", self.modifiers())
    }

    /// Series of which each comes from one series below: their order is that of the store.
    fn plain(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 3 } else { 6 }) {
            0 => format!("{}{}", self.selector(), self.modifiers()),
            1 | 2 => {
                let function = self.one(&[
                    "rate",
                    "increase",
                    "irate",
                    "resets",
                    "changes",
                    "sum_over_time",
                    "avg_over_time",
                    "min_over_time",
                    "max_over_time",
                    "count_over_time",
                    "last_over_time",
                    "first_over_time",
                    "present_over_time",
                ]);
                if self.below(8) == 0 {
                    let q = self.one(&["0", "0.3", "0.5", "1", "1.5", "-1"]);
                    return format!("quantile_over_time({q}, {})", self.window(depth));
                }
                format!("{function}({})", self.window(depth))
            }
            3 => {
                let function = self.one(&["abs", "ceil", "floor", "sqrt", "-"]);
                format!("{function}({})", self.plain(depth - 1))
            }
            4 => {
                let operand = self.plain(depth - 1);
                let number = self.one(&["0", "1.5", "-3", "100"]);
                let function = self.one(&["clamp_min", "clamp_max"]);
                format!("{function}({operand}, {number})")
            }
            _ => {
                let op = self.one(&[
                    "+", "-", "*", "/", "%", ">", "<=", "== bool", "!=", ">= bool",
                ]);
                let number = self.one(&["0", "1", "2.5", "-7", "40"]);
                let operand = self.plain(depth - 1);
                if self.below(3) == 0 {
                    format!("{number} {op} ({operand})")
                } else {
                    format!("({operand}) {op} {number}")
                }
            }
        }
    }

    fn aggregate(&mut self, depth: u64) -> String {
        let op = self.one(&[
            "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar",
        ]);
        let grouping = self.one(&[
            "",
            "by (j)",
            "by (i)",
            "without (i)",
            "without (j)",
            "by (nope)",
        ]);
        let operand = self.plain(depth.saturating_sub(1));
        if self.below(8) == 0 {
            return format!("quantile {grouping} (0.4, {operand})");
        }
        format!("{op} {grouping} ({operand})")
    }

    fn vector(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 1 } else { 5 }) {
            0 | 1 => self.plain(depth),
            2 | 3 => self.aggregate(depth),
            _ => {
                let (l, r) = (self.vector(depth - 1), self.vector(depth - 1));
                let op = self.one(&["+", "-", "/", ">", "==", "< bool", "and", "or", "unless"]);
                let matching = self.one(&["", "", "on (i)", "on (j)", "ignoring (j)", "on ()"]);
                format!("({l}) {op} {matching} ({r})")
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Counters that fall and gauges, with gaps and staleness markers, ten minutes of them. Returns
/// them in the order in which the store gives them.
fn fill(dice: &mut Dice, db: &Db) -> Vec<Stored> {
    let mut all: Vec<Stored> = Vec::new();
    for name in ["c_total", "g"] {
        for i in 0..5 {
            let (i, j) = (i.to_string(), (i % 2).to_string());
            let labels = Labels::from_pairs([("__name__", name), ("i", &i), ("j", &j)]);
            let (mut time_ms, mut value) = (dice.below(20_000) as i64, 0.0);
            let mut samples = Vec::new();
            while time_ms < 600_000 {
                value = match (name, dice.below(20)) {
                    ("c_total", 0) => dice.below(3) as f64,
                    ("c_total", _) => value + dice.below(50) as f64 / 4.0,
                    _ => dice.below(2000) as f64 / 10.0 - 100.0,
                };
                match dice.below(40) {
                    0 => time_ms += 90_000,
                    1 => samples.push((time_ms, stale_nan())),
                    _ => samples.push((time_ms, value)),
                }
                time_ms += 10_000 + dice.below(3) as i64 * 1_000;
            }
            let group = db.open_group();
            let series = db.register(group, &labels).expect("room");
            let mut batch = Batch::new(group);
            for (time_ms, value) in &samples {
                batch.clear();
                batch.push(series, *time_ms, *value);
                assert_eq!(db.append(&batch).expect("stored").rejected, []);
            }
            all.push((labels, samples));
        }
    }
    let everything = TimeRange {
        start_ms: i64::MIN,
        end_ms: i64::MAX,
    };
    let selection = db.snapshot().select(&[], everything).expect("readable");
    let place =
        |labels: &Labels| (0..selection.len()).position(|at| selection.labels(at) == labels);
    all.sort_by_key(|(labels, _)| place(labels));
    all
}

#[test]
fn the_engine_agrees_with_the_reference_in_every_bit() {
    let seed = setting("FUZZ_SEED", 20_261_121);
    let (mut compared, mut empty, mut refused) = (0u64, 0u64, 0u64);
    for store in 0..STORES {
        let mut dice = Dice(seed.wrapping_add(store));
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut options = Options::new(directory.path());
        options.retention_ms = 0;
        let db = Db::open(options, &Registry::new()).expect("a store");
        let series = fill(&mut dice, &db);
        let engine = Engine::new(
            EngineOptions {
                lookback_ms: LOOKBACK_MS,
                // Every other store is read by several threads, however small it is.
                cores: 3,
                parallel_samples: if store % 2 == 0 { 0 } else { u64::MAX },
                ..EngineOptions::default()
            },
            &Registry::new(),
        );
        for _ in 0..setting("FUZZ_CASES", CASES) {
            let text = dice.vector(3);
            let expr = parse_with(&text, ParseOptions::ALL)
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            let start_ms = dice.below(300) as i64 * 1000;
            let step_ms = [1_000, 10_000, 13_000, 60_000][dice.below(4) as usize];
            let count = 1 + dice.below(20) as i64;
            let steps = RangeSteps {
                start_ms,
                end_ms: start_ms + (count - 1) * step_ms,
                step_ms,
            };
            let times: Vec<i64> = (0..count).map(|index| start_ms + index * step_ms).collect();
            let reference = Reference {
                series: &series,
                lookback_ms: LOOKBACK_MS,
                start_ms,
                end_ms: steps.end_ms,
            };
            let want = reference.vector(expr.root(), &times);
            let got = engine.range(&db.snapshot(), &expr, steps, &QueryOptions::default());
            let place = format!("{text}\n  at {steps:?}, seed {seed}, store {store}");
            match (want, got) {
                (Err(_), Err(_)) => refused += 1,
                (Err(why), Ok(_)) => panic!("{place}: the reference refuses it: {why}"),
                (Ok(_), Err(error)) => panic!("{place}: the engine refuses it: {error}"),
                (Ok(want), Ok(outcome)) => {
                    let Value::Matrix(got) = outcome.value else {
                        panic!("{place}: no matrix");
                    };
                    let got: Vec<Row> = got
                        .into_iter()
                        .map(|series| {
                            let value = |t: &i64| {
                                let found = series.samples.iter().find(|s| s.timestamp_ms == *t);
                                found.map(|sample| sample.value)
                            };
                            (series.labels.clone(), times.iter().map(value).collect())
                        })
                        .collect();
                    empty += u64::from(got.is_empty());
                    compared += 1;
                    assert_eq!(bits(got), bits(want), "{place}");
                }
            }
        }
    }
    println!("{compared} compared, {empty} of them empty, {refused} refused by both");
    // Otherwise the queries are too strange to compare anything.
    assert!(compared > 4 * refused && compared > 2 * empty);
}

/// Rows in order of labels, values as bits; every NaN is one.
fn bits(mut rows: Vec<Row>) -> Vec<(Labels, Vec<Option<u64>>)> {
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let of = |value: f64| {
        if value.is_nan() {
            0x7ff8 << 48
        } else {
            value.to_bits()
        }
    };
    let rows = rows
        .into_iter()
        .filter(|(_, slots)| slots.iter().any(Option::is_some));
    rows.map(|(labels, slots)| (labels, slots.into_iter().map(|slot| slot.map(of)).collect()))
        .collect()
}

//! The engine's answers beside those of the reference.

use barograph_instrument::Registry;
use barograph_model::Labels;
use barograph_query::{
    Engine, EngineOptions, ParseOptions, QueryOptions, RangeSteps, Value, parse_with,
};

use super::histogram::Plain;
use super::random::{Dice, Store};
use super::{OPEN, Reference, Row, Val};

/// How far an instant selector looks back here.
pub(crate) const LOOKBACK_MS: i64 = 60_000;
/// What numbers that came through histograms may differ by, relative to the larger one: the
/// reference adds buckets up in its own order.
const TOLERANCE: f64 = 1e-11;

/// Below, so much is nothing: deviations of what is all in one place.
const SMALL: f64 = 1e-2;

/// Disagreements of one store that are told; behind them it is given up.
const TOLD: usize = 5;

/// What came of queries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Answered by both, alike.
    pub(crate) compared: u64,
    /// Those of them without any sample.
    pub(crate) empty: u64,
    /// Refused by both.
    pub(crate) refused: u64,
    /// Left out because the language leaves the answer open.
    pub(crate) open: u64,
    /// Those compared that read histograms.
    pub(crate) histograms: u64,
    /// Queries the two disagree on, and both answers.
    pub(crate) disagreements: Vec<String>,
}

impl Counts {
    /// Adds what came of others.
    pub(crate) fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.empty += other.empty;
        self.refused += other.refused;
        self.open += other.open;
        self.histograms += other.histograms;
        self.disagreements.extend(other.disagreements);
    }
}

/// Asks `count` random queries of a store.
pub(crate) fn compare(dice: &mut Dice, store: &Store, count: u64) -> Counts {
    let options = EngineOptions {
        lookback_ms: LOOKBACK_MS,
        // Some stores are read by several threads, however small they are.
        cores: 3,
        parallel_samples: if Dice(dice.0).below(2) == 0 {
            0
        } else {
            u64::MAX
        },
        ..EngineOptions::default()
    };
    let engine = Engine::new(options, &Registry::new());
    let mut counts = Counts::default();
    for _ in 0..count {
        let text = dice.query();
        if let Err(what) = compare_one(dice, store, &engine, &text, &mut counts) {
            counts.disagreements.push(what);
            if counts.disagreements.len() >= TOLD {
                break;
            }
        }
    }
    counts
}

/// Some steps within what a store holds.
pub(crate) fn steps(dice: &mut Dice, store: &Store) -> RangeSteps {
    let start_ms = store.base_ms + dice.below(300) as i64 * 1000;
    let step_ms = [1_000, 10_000, 13_000, 60_000][dice.below(4) as usize];
    RangeSteps {
        start_ms,
        end_ms: start_ms + dice.below(20) as i64 * step_ms,
        step_ms,
    }
}

fn compare_one(
    dice: &mut Dice,
    store: &Store,
    engine: &Engine,
    text: &str,
    counts: &mut Counts,
) -> Result<(), String> {
    let expr = parse_with(text, ParseOptions::ALL).map_err(|error| format!("{text}: {error}"))?;
    let steps = steps(dice, store);
    let RangeSteps {
        start_ms, step_ms, ..
    } = steps;
    let count = (steps.end_ms - start_ms) / step_ms;
    let times: Vec<i64> = (0..=count)
        .map(|index| start_ms + index * step_ms)
        .collect();
    let reference = Reference {
        series: &store.series,
        lookback_ms: LOOKBACK_MS,
        start_ms,
        end_ms: steps.end_ms,
        step_ms,
    };
    let want = reference.vector(expr.root(), &times);
    // Zero observations, or what rounding leaves of them: divided by zero, these are worlds apart.
    let magnifies = Store::reads_histograms(expr.text()) && expr.text().contains("/ 0");
    if magnifies || want.as_ref().is_err_and(|why| *why == OPEN) {
        counts.open += 1;
        return Ok(());
    }
    let got = engine.range(&store.db.snapshot(), &expr, steps, &QueryOptions::default());
    let place = format!("{text}\n  at {steps:?}");
    match (want, got) {
        (Err(_), Err(_)) => counts.refused += 1,
        (Err(why), Ok(_)) => return Err(format!("{place}: the reference refuses it: {why}")),
        (Ok(_), Err(error)) => return Err(format!("{place}: the engine refuses it: {error}")),
        (Ok(want), Ok(outcome)) => {
            let Value::Matrix(got) = outcome.value else {
                return Err(format!("{place}: no matrix"));
            };
            let got: Vec<Row> = got
                .into_iter()
                .map(|series| {
                    let value = |t: &i64| {
                        let float = series.samples.iter().find(|s| s.timestamp_ms == *t);
                        let histogram = series.histograms.iter().find(|h| h.timestamp_ms == *t);
                        let histogram = histogram.map(|h| Val::Histogram(Plain::of(&h.histogram)));
                        float.map(|sample| Val::Float(sample.value)).or(histogram)
                    };
                    (series.labels.clone(), times.iter().map(value).collect())
                })
                .collect();
            counts.empty += u64::from(got.is_empty());
            counts.compared += 1;
            let exact = !Store::reads_histograms(expr.text());
            counts.histograms += u64::from(!exact);
            difference(got, want, exact).map_err(|what| format!("{place}\n  {what}"))?;
        }
    }
    Ok(())
}

fn in_order(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.1.iter().any(Option::is_some));
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn difference(got: Vec<Row>, want: Vec<Row>, exact: bool) -> Result<(), String> {
    let (got, want) = (in_order(got), in_order(want));
    let labels = |rows: &[Row]| {
        rows.iter()
            .map(|row| row.0.clone())
            .collect::<Vec<Labels>>()
    };
    if labels(&got) != labels(&want) {
        return Err(format!(
            "series {:?}, not {:?}",
            labels(&got),
            labels(&want)
        ));
    }
    for ((labels, got), (_, want)) in got.iter().zip(&want) {
        for (step, pair) in got.iter().zip(want).enumerate() {
            let same = match pair {
                (None, None) => true,
                (Some(Val::Float(a)), Some(Val::Float(b))) => same(*a, *b, exact, 0.0),
                (Some(Val::Histogram(a)), Some(Val::Histogram(b))) => alike(a, b),
                _ => false,
            };
            if !same {
                return Err(format!(
                    "{labels} at step {step}: {:?}, not {:?}",
                    pair.0, pair.1
                ));
            }
        }
    }
    Ok(())
}

/// Whether two numbers are equal; every NaN is one.
fn same(a: f64, b: f64, exact: bool, scale: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    let size = a.abs().max(b.abs()).max(scale).max(SMALL);
    a.to_bits() == b.to_bits() || (!exact && (a - b).abs() <= TOLERANCE * size)
}

fn alike(a: &Plain, b: &Plain) -> bool {
    let scale = a.count.abs().max(b.count.abs());
    let number = |x, y| same(x, y, false, if scale.is_finite() { scale } else { 0.0 });
    let indices = a.positive.keys().chain(b.positive.keys());
    let negative = a.negative.keys().chain(b.negative.keys());
    let count =
        |h: &std::collections::BTreeMap<i32, f64>, at: &i32| h.get(at).copied().unwrap_or(0.0);
    a.schema == b.schema
        && a.bounds == b.bounds
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && number(a.zero_count, b.zero_count)
        && number(a.count, b.count)
        && number(a.sum, b.sum)
        && indices
            .into_iter()
            .all(|at| number(count(&a.positive, at), count(&b.positive, at)))
        && negative
            .into_iter()
            .all(|at| number(count(&a.negative, at), count(&b.negative, at)))
}

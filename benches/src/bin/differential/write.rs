//! Stores, queries and answers as lines of JSON.
//!
//! A line with `series` begins a store: labels, and samples as time, start timestamp (0 for none) and
//! value; then come lines with `query`. Floats are texts of their bits, so that nothing is lost;
//! histograms are objects whose buckets are pairs of index and count; `stale` is the marker.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use barograph_instrument::Registry;
use barograph_model::Labels;
use barograph_query::{
    Engine, EngineOptions, Outcome, ParseOptions, QueryOptions, Value, parse_with,
};
use serde_json::{Value as Json, json};

use super::QUERIES;
use super::reference::Val;
use super::reference::compare::{LOOKBACK_MS, steps};
use super::reference::histogram::Plain;
use super::reference::random::{Dice, Store, starts_of};

/// Writes that many stores, each with its queries.
pub(crate) fn write(file: &Path, seed: u64, stores: u64) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    for number in 0..stores {
        let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let store = Store::random(&mut dice);
        let options = EngineOptions {
            lookback_ms: LOOKBACK_MS,
            delayed_name_removal: number % 3 == 1,
            use_start_timestamps: number % 2 == 1,
            ..EngineOptions::default()
        };
        let about = json!({
            "series": store.series.iter().map(series).collect::<Vec<Json>>(),
            "lookback_ms": options.lookback_ms,
            "delayed_name_removal": options.delayed_name_removal,
            "use_start_timestamps": options.use_start_timestamps,
        });
        writeln!(out, "{about}")?;
        let engine = Engine::new(options, &Registry::new());
        for _ in 0..QUERIES {
            let text = match dice.below(4) {
                0 => dice.wide_query(),
                _ => dice.query(),
            };
            let steps = steps(&mut dice, &store);
            let answer = match parse_with(&text, ParseOptions::ALL) {
                Err(error) => json!({ "error": error.to_string() }),
                Ok(expr) => {
                    let snapshot = store.db.snapshot();
                    match engine.range(&snapshot, &expr, steps, &QueryOptions::default()) {
                        Err(error) => json!({ "error": error.to_string() }),
                        Ok(outcome) => answer(&outcome),
                    }
                }
            };
            let asked = json!({
                "query": text,
                "start_ms": steps.start_ms,
                "end_ms": steps.end_ms,
                "step_ms": steps.step_ms,
                "answer": answer,
            });
            writeln!(out, "{asked}")?;
        }
    }
    out.flush()
}

fn series((labels, samples): &(Labels, Vec<(i64, Option<Val>)>)) -> Json {
    let starts = starts_of(samples);
    let samples = samples
        .iter()
        .zip(starts)
        .map(|((time_ms, value), start_ms)| {
            let value = match value {
                None => json!("stale"),
                Some(Val::Float(value)) => bits(*value),
                Some(Val::Histogram(plain)) => histogram(plain),
            };
            json!([time_ms, start_ms, value])
        });
    json!({ "labels": pairs(labels), "samples": samples.collect::<Vec<Json>>() })
}

fn pairs(labels: &Labels) -> BTreeMap<String, String> {
    let all = labels.iter();
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn bits(value: f64) -> Json {
    json!(value.to_bits().to_string())
}

fn histogram(plain: &Plain) -> Json {
    let side = |buckets: &BTreeMap<i32, f64>| {
        let all = buckets.iter();
        all.map(|(index, count)| json!([index, bits(*count)]))
            .collect::<Vec<Json>>()
    };
    json!({
        "schema": plain.schema,
        "zero_threshold": bits(plain.zero_threshold),
        "zero_count": bits(plain.zero_count),
        "count": bits(plain.count),
        "sum": bits(plain.sum),
        "positive": side(&plain.positive),
        "negative": side(&plain.negative),
        "bounds": plain.bounds.iter().map(|bound| bits(*bound)).collect::<Vec<Json>>(),
        "is_gauge": plain.is_gauge,
    })
}

fn answer(outcome: &Outcome) -> Json {
    let Value::Matrix(matrix) = &outcome.value else {
        return json!({ "error": "no matrix" });
    };
    let series = matrix.iter().map(|series| {
        let floats = series.samples.iter();
        let floats = floats.map(|sample| json!([sample.timestamp_ms, bits(sample.value)]));
        let histograms = series.histograms.iter();
        let histograms = histograms
            .map(|point| json!([point.timestamp_ms, histogram(&Plain::of(&point.histogram))]));
        json!({
            "labels": pairs(&series.labels),
            "floats": floats.collect::<Vec<Json>>(),
            "histograms": histograms.collect::<Vec<Json>>(),
        })
    });
    json!({
        "series": series.collect::<Vec<Json>>(),
        "warnings": outcome.warnings,
        "infos": outcome.infos,
    })
}

//! Histogram notation: `{{schema:1 count:3 sum:4 buckets:[1 2] counter_reset_hint:gauge}}`.

use barograph_model::histogram::Span;
use barograph_model::{CounterResetHint, FloatHistogram};

/// Reads what stands between the braces. Also tells whether it says something of counter resets.
pub(super) fn parse(text: &str) -> Result<(FloatHistogram, bool), String> {
    let mut histogram = FloatHistogram::default();
    let mut seen: Vec<&str> = Vec::new();
    let (mut offset, mut negative_offset) = (0, 0);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, behind) = rest
            .split_once(':')
            .ok_or_else(|| format!("no description of a histogram: {rest:?}"))?;
        if seen.contains(&key) {
            return Err(format!("duplicate key {key:?} in histogram"));
        }
        seen.push(key);
        let end = if behind.starts_with('[') {
            behind.find(']').map(|at| at + 1)
        } else {
            behind.find([' ', '\t'])
        };
        let (value, after) = behind.split_at(end.unwrap_or(behind.len()));
        rest = after.trim_start();
        match key {
            "schema" => histogram.schema = whole(value)?,
            "count" => histogram.count = number(value)?,
            "sum" => histogram.sum = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "offset" => offset = whole(value)?,
            "n_offset" => negative_offset = whole(value)?,
            "buckets" => histogram.positive_buckets = list(value)?,
            "n_buckets" => histogram.negative_buckets = list(value)?,
            "custom_values" => histogram.custom_bounds = list(value)?.into(),
            "counter_reset_hint" => {
                histogram.counter_reset_hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::CounterReset,
                    "not_reset" => CounterResetHint::NotCounterReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return Err(format!("no hint of a counter reset: {value:?}")),
                };
            }
            _ => return Err(format!("no key of a histogram: {key:?}")),
        }
    }
    histogram.positive_spans = spans(offset, &histogram.positive_buckets);
    histogram.negative_spans = spans(negative_offset, &histogram.negative_buckets);
    Ok((histogram, seen.contains(&"counter_reset_hint")))
}

fn spans(offset: i32, buckets: &[f64]) -> Vec<Span> {
    if buckets.is_empty() {
        return Vec::new();
    }
    vec![Span {
        offset,
        length: buckets.len() as u32,
    }]
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .ok_or_else(|| format!("no list: {text:?}"))?
        .split_whitespace()
        .map(number)
        .collect()
}

fn whole(text: &str) -> Result<i32, String> {
    text.parse()
        .map_err(|_| format!("no whole number: {text:?}"))
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("no number: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_read() {
        let text = "schema:-53 count:3 sum:-Inf custom_values:[1 2.5] counter_reset_hint:gauge offset:1 buckets:[1 2]";
        let (histogram, has_hint) = parse(text).expect("valid");
        assert!(has_hint);
        assert_eq!(
            histogram.test_expression(),
            "{{schema:-53 count:3 sum:-Inf custom_values:[1 2.5] counter_reset_hint:gauge offset:1 buckets:[1 2]}}"
        );
        assert!(parse("schema:1 schema:2").is_err());
        assert!(parse("bucket:[1]").is_err() && parse("schema").is_err());
        assert!(parse("buckets:[1").is_err() && parse("schema:1.5").is_err());
    }
}

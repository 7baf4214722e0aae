//! Results against expectations.

use std::fmt;

use barograph_model::{FloatHistogram, Labels, is_stale};

use super::expect::{Eval, Range, Text};
use super::series::Point;
use crate::value::{Series, Value, VectorSample};

/// Relative error allowed for values.
const EPSILON: f64 = 0.000_001;

/// Compares a value with what is expected of it.
pub(super) fn value(eval: &Eval, range: Option<Range>, value: &Value) -> Result<(), String> {
    match value {
        Value::Scalar(sample) => scalar(eval, sample.value),
        Value::String { text, .. } => match &eval.string {
            Some(want) if want == text => Ok(()),
            want => Err(format!("expected string {want:?}, got {text:?}")),
        },
        Value::Vector(samples) => vector(eval, samples),
        Value::Matrix(series) => {
            let range = range.ok_or("a range vector was not expected")?;
            matrix(eval, range, series)
        }
    }
}

pub(super) fn scalar(eval: &Eval, got: f64) -> Result<(), String> {
    match eval.scalar {
        Some(want) if almost_equal(got, want) => Ok(()),
        Some(want) => Err(format!("expected scalar {want}, got {got}")),
        None => Err(format!("a scalar was not expected, got {got}")),
    }
}

pub(super) fn vector(eval: &Eval, samples: &[VectorSample]) -> Result<(), String> {
    if eval.scalar.is_some() {
        return Err("expected a scalar, got a vector".to_owned());
    }
    for (place, sample) in samples.iter().enumerate() {
        let at = place_of(eval, &sample.labels).ok_or_else(|| {
            let histogram = sample.histogram.as_ref();
            let value = histogram.map(|histogram| histogram.test_expression());
            let value = value.unwrap_or_else(|| sample.sample.value.to_string());
            format!("unexpected series {} = {value}", sample.labels)
        })?;
        if eval.ordered && at != place {
            return Err(format!(
                "expected {} at place {}, it is at {}",
                sample.labels,
                at + 1,
                place + 1
            ));
        }
        let got = match &sample.histogram {
            Some(histogram) => Got::Histogram(histogram),
            None => Got::Float(sample.sample.value),
        };
        let want = eval.expected[at].points.first();
        if !want.is_some_and(|want| got.fits(want)) {
            return Err(format!(
                "expected {} for {}, got {got}",
                want.map_or_else(|| "nothing".to_owned(), written),
                sample.labels
            ));
        }
    }
    let got: Vec<&Labels> = samples.iter().map(|sample| &sample.labels).collect();
    nothing_missing(eval, &got)
}

fn matrix(eval: &Eval, range: Range, series: &[Series]) -> Result<(), String> {
    if eval.ordered {
        return Err("an order was expected, but a matrix has none".to_owned());
    }
    if !series.is_sorted_by(|a, b| a.labels <= b.labels) {
        return Err("the series are not in order of labels".to_owned());
    }
    for one in series {
        let at = place_of(eval, &one.labels)
            .ok_or_else(|| format!("unexpected series {}: {:?}", one.labels, one.samples))?;
        let mut want = Vec::new();
        for (step, point) in eval.expected[at].points.iter().enumerate() {
            let t = range.start_ms + step as i64 * range.step_ms;
            if t > range.end_ms {
                return Err(format!("more points expected of {} than steps", one.labels));
            }
            if !matches!(point, Point::Missing) {
                want.push((t, point));
            }
        }
        let floats = one.samples.iter();
        let mut got: Vec<(i64, Got<'_>)> = floats
            .map(|sample| (sample.timestamp_ms, Got::Float(sample.value)))
            .collect();
        let histograms = one.histograms.iter();
        got.extend(histograms.map(|s| (s.timestamp_ms, Got::Histogram(&s.histogram))));
        got.sort_by_key(|(t, _)| *t);
        let same = want.len() == got.len()
            && want
                .iter()
                .zip(&got)
                .all(|(w, g)| w.0 == g.0 && g.1.fits(w.1));
        if !same {
            let want: Vec<String> = want
                .iter()
                .map(|(t, point)| format!("{} @{t}", written(point)))
                .collect();
            let got: Vec<String> = got.iter().map(|(t, got)| format!("{got} @{t}")).collect();
            let (want, got) = (want.join(", "), got.join(", "));
            return Err(format!("{}: expected {want}; got {got}", one.labels));
        }
    }
    let got: Vec<&Labels> = series.iter().map(|one| &one.labels).collect();
    nothing_missing(eval, &got)
}

/// A sample of a result.
enum Got<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

impl fmt::Display for Got<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(value) => write!(f, "{value}"),
            Self::Histogram(histogram) => f.write_str(&histogram.test_expression()),
        }
    }
}

impl Got<'_> {
    fn fits(&self, want: &Point) -> bool {
        match (self, want) {
            (Self::Float(got), Point::Float(want)) => almost_equal(*got, *want),
            (
                Self::Histogram(got),
                Point::Histogram {
                    histogram,
                    has_hint,
                },
            ) => {
                (!has_hint || histogram.counter_reset_hint == got.counter_reset_hint)
                    && almost_same(histogram, got)
            }
            _ => false,
        }
    }
}

fn written(point: &Point) -> String {
    match point {
        Point::Missing => "_".to_owned(),
        Point::Float(value) => value.to_string(),
        Point::Histogram { histogram, .. } => histogram.test_expression(),
    }
}

/// Whether histograms are equal within the language's tolerance.
fn almost_same(want: &FloatHistogram, got: &FloatHistogram) -> bool {
    let compacted = |histogram: &FloatHistogram| {
        let mut histogram = histogram.clone();
        histogram.compact();
        histogram
    };
    let (want, got) = (compacted(want), compacted(got));
    let counts = |want: &[f64], got: &[f64]| {
        want.len() == got.len() && want.iter().zip(got).all(|(w, g)| almost_equal(*g, *w))
    };
    want.schema == got.schema
        && almost_equal(got.count, want.count)
        && almost_equal(got.sum, want.sum)
        && (!want.has_custom_bounds() || want.custom_bounds == got.custom_bounds)
        && want.zero_threshold == got.zero_threshold
        && almost_equal(got.zero_count, want.zero_count)
        && want.negative_spans == got.negative_spans
        && counts(&want.negative_buckets, &got.negative_buckets)
        && want.positive_spans == got.positive_spans
        && counts(&want.positive_buckets, &got.positive_buckets)
}

/// Where a series is expected; of two mentions the later counts.
fn place_of(eval: &Eval, labels: &Labels) -> Option<usize> {
    eval.expected
        .iter()
        .rposition(|want| want.labels == *labels)
}

fn nothing_missing(eval: &Eval, got: &[&Labels]) -> Result<(), String> {
    match eval
        .expected
        .iter()
        .find(|want| !got.contains(&&want.labels))
    {
        Some(want) => Err(format!("expected series {} is not there", want.labels)),
        None => Ok(()),
    }
}

/// Compares annotations with what is expected of them.
pub(super) fn annotations(
    eval: &Eval,
    warnings: &[String],
    infos: &[String],
) -> Result<(), String> {
    annotations_of("warn", &eval.warn, warnings)?;
    annotations_of("info", &eval.info, infos)?;
    if eval.no_warn && !warnings.is_empty() {
        return Err(format!("unexpected warnings: {warnings:?}"));
    }
    if eval.no_info && !infos.is_empty() {
        return Err(format!("unexpected infos: {infos:?}"));
    }
    Ok(())
}

fn annotations_of(kind: &str, wanted: &[Text], got: &[String]) -> Result<(), String> {
    if wanted.is_empty() {
        return Ok(());
    }
    if got.is_empty() {
        return Err(format!("{kind} annotations were expected, there are none"));
    }
    for want in wanted {
        if !got.iter().any(|text| want.fits(text)) {
            return Err(format!("no {kind} annotation fits {want:?} among {got:?}"));
        }
    }
    match got.iter().find(|text| !wanted.iter().any(|w| w.fits(text))) {
        Some(text) => Err(format!("unexpected {kind} annotation {text:?}")),
        None => Ok(()),
    }
}

/// Equal within the language's tolerance; staleness markers equal only each other.
fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

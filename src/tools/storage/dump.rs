//! Samples as text, line by line as promtool writes them.

use std::fmt::Write as _;
use std::io::Write;

use barograph_model::number::push_go_g;
use barograph_model::{Histogram, Labels, METRIC_NAME, Matcher, TimeRange};
use barograph_tsdb::{Column, Selection, Snapshot};

use super::{Failure, other};
use crate::tools::progress::Progress;

/// How a dump is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Labels, value, milliseconds.
    Samples,
    /// Labels of series, as JSON.
    SeriesJson,
    /// OpenMetrics, floats only.
    OpenMetrics,
}

/// Writes the samples of the series that fit any of the selectors.
pub(super) fn write(
    out: &mut impl Write,
    snapshot: &Snapshot,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    format: Format,
) -> Result<(), Failure> {
    let all = [Vec::new()];
    let selectors = if selectors.is_empty() {
        &all
    } else {
        selectors
    };
    let selections = selectors
        .iter()
        .map(|matchers| snapshot.select(matchers, range).map_err(other))
        .collect::<Result<Vec<_>, _>>()?;
    let total = selections.iter().map(|s| s.len() as u64).sum();
    let mut progress = Progress::beside_output("series");
    let mut next = vec![0; selections.len()];
    loop {
        progress.set(next.iter().map(|at| *at as u64).sum(), total);
        let heads = selections.iter().zip(&next).enumerate();
        let left = heads.filter(|(_, (selection, at))| **at < selection.len());
        let least = left
            .map(|(number, (selection, at))| (selection.labels(*at), number))
            .min();
        let Some((labels, number)) = least else {
            break;
        };
        series(out, &selections[number], next[number], range, format)?;
        for (selection, at) in selections.iter().zip(&mut next) {
            if *at < selection.len() && selection.labels(*at) == labels {
                *at += 1;
            }
        }
    }
    if format == Format::OpenMetrics {
        writeln!(out, "# EOF")?;
    }
    Ok(())
}

fn series(
    out: &mut impl Write,
    selection: &Selection,
    index: usize,
    range: TimeRange,
    format: Format,
) -> Result<(), Failure> {
    let labels = selection.labels(index);
    if format == Format::SeriesJson {
        let pairs = labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.into()));
        let object: serde_json::Map<String, serde_json::Value> = pairs.collect();
        writeln!(out, "{}", serde_json::Value::Object(object))?;
        return Ok(());
    }
    let mut column = Column::default();
    selection.read(index, range, &mut column).map_err(other)?;
    let mut text = String::new();
    let floats = column.timestamps_ms.iter().zip(&column.values);
    if format == Format::OpenMetrics {
        let series = open_metrics_series(labels);
        for (timestamp_ms, value) in floats {
            text.clear();
            push_go_g(&mut text, *value);
            let seconds = *timestamp_ms as f64 / 1000.0;
            writeln!(out, "{series} {text} {seconds:.3}")?;
        }
        return Ok(());
    }
    let mut histograms = Vec::new();
    if !column.histograms.is_empty() {
        histograms = selection.read_histograms(index, range).map_err(other)?;
    }
    let mut histograms = histograms.iter().peekable();
    let labels = labels.to_string();
    for (timestamp_ms, value) in floats {
        while let Some((t, histogram)) = histograms.next_if(|(t, _)| t < timestamp_ms) {
            writeln!(out, "{labels} {} {t}", histogram_text(histogram))?;
        }
        text.clear();
        push_go_g(&mut text, *value);
        writeln!(out, "{labels} {text} {timestamp_ms}")?;
    }
    for (t, histogram) in histograms {
        writeln!(out, "{labels} {} {t}", histogram_text(histogram))?;
    }
    Ok(())
}

/// Name, and the other labels without blanks.
fn open_metrics_series(labels: &Labels) -> String {
    let mut text = format!("{}{{", labels.metric_name());
    let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    for (number, (name, value)) in others.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(name);
        text.push('=');
        let _ = barograph_model::labels::write_quoted(&mut text, value);
    }
    text.push('}');
    text
}

/// Integer counts are written in full, float counts as floats.
fn histogram_text(histogram: &Histogram) -> String {
    let float = histogram.to_float();
    if matches!(histogram, Histogram::Float(_)) {
        return float.to_string();
    }
    let mut text = format!("{{count:{}, sum:", float.count as u64);
    push_go_g(&mut text, float.sum);
    let negative: Vec<_> = float.negative().collect();
    let zero = (float.zero_count != 0.0).then(|| float.zero_bucket());
    let all = negative
        .into_iter()
        .rev()
        .chain(zero)
        .chain(float.positive());
    for bucket in all.filter(|bucket| bucket.count != 0.0) {
        text.push_str(", ");
        text.push(if bucket.lower_inclusive { '[' } else { '(' });
        push_go_g(&mut text, bucket.lower);
        text.push(',');
        push_go_g(&mut text, bucket.upper);
        text.push(if bucket.upper_inclusive { ']' } else { ')' });
        let _ = write!(text, ":{}", bucket.count as u64);
    }
    text.push('}');
    text
}

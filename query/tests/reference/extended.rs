//! Windows that reach beyond their range: `anchored` and `smoothed`.

use barograph_query::ast::Extension;

use super::Val;
use super::histogram::Plain;

/// A time and a value.
type Point = (i64, f64);
type HistogramPoint<'a> = (i64, &'a Plain);

/// Samples by their kind.
pub(super) enum Kinds<'a> {
    Floats(Vec<Point>),
    Histograms(Vec<HistogramPoint<'a>>),
    Both,
}

/// What kind of samples there are; none are floats.
pub(super) fn kinds(all: &[(i64, Val)]) -> Kinds<'_> {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for (time_ms, value) in all {
        match value {
            Val::Float(value) => floats.push((*time_ms, *value)),
            Val::Histogram(histogram) => histograms.push((*time_ms, histogram)),
        }
    }
    match (floats.is_empty(), histograms.is_empty()) {
        (false, false) => Kinds::Both,
        (true, false) => Kinds::Histograms(histograms),
        _ => Kinds::Floats(floats),
    }
}

/// The last sample before a range and those in it; `None` without any of the latter.
pub(super) fn anchored(all: &[(i64, Val)], begin_ms: i64) -> Option<&[(i64, Val)]> {
    let first = all.iter().rposition(|(t, _)| *t <= begin_ms);
    let inside = all.last().is_some_and(|(t, _)| *t > begin_ms);
    inside.then(|| &all[first.unwrap_or(0)..])
}

/// `rate`, `increase` or `delta` of the histograms of an extended window.
pub(super) fn over_histograms(
    name: &str,
    smoothed: bool,
    all: &[HistogramPoint<'_>],
    end_ms: i64,
    range_ms: i64,
) -> Option<Plain> {
    let (begin_ms, counts) = (end_ms - range_ms, name != "delta");
    let first = all.iter().rposition(|point| point.0 <= begin_ms);
    let mut window = &all[first.unwrap_or(0)..];
    if smoothed {
        let behind = window.iter().position(|point| point.0 >= end_ms);
        window = &window[..behind.map_or(window.len(), |at| at + 1)];
        if window[0].0 > end_ms {
            return None;
        }
    }
    let tail = window[window.len() - 1];
    if tail.0 <= begin_ms {
        return None;
    }
    let custom = window[0].1.is_custom();
    if window.iter().any(|point| point.1.is_custom() != custom) {
        return None;
    }
    // The ends of the range take the place of the samples beyond them.
    let mut ends: Vec<Plain> = window.iter().map(|point| point.1.clone()).collect();
    let mut corrected_from = 0;
    if smoothed && window[0].0 < begin_ms {
        if counts && window[1].1.fell_since(window[0].1) {
            // The line begins at nothing; what was lost is before the range.
            corrected_from = 1;
        }
        ends[0] = histogram_on_line(window[0], window[1], begin_ms, counts)?;
    }
    if smoothed && window.len() > 1 && tail.0 > end_ms {
        let last = ends.len() - 1;
        ends[last] = histogram_on_line(window[last - 1], tail, end_ms, counts)?;
    }
    let right = &ends[ends.len() - 1];
    let mut rise = right.combine(&ends[0], -1.0)?;
    if counts {
        let mut lost: Option<Plain> = None;
        for pair in ends[corrected_from..].windows(2) {
            if pair[1].fell_since(&pair[0]) {
                lost = Some(match lost {
                    None => pair[0].clone(),
                    Some(lost) => lost.combine(&pair[0], 1.0)?,
                });
            }
        }
        if let Some(lost) = lost {
            rise = rise.combine(&lost, 1.0)?;
        }
    }
    if name == "rate" {
        rise = rise.divide(range_ms as f64 / 1000.0);
    }
    Some(rise.compact())
}

fn histogram_on_line(
    a: HistogramPoint<'_>,
    b: HistogramPoint<'_>,
    at_ms: i64,
    counts: bool,
) -> Option<Plain> {
    if at_ms == a.0 || at_ms == b.0 {
        return Some(if at_ms == a.0 { a.1 } else { b.1 }.clone());
    }
    let share = (at_ms - a.0) as f64 / (b.0 - a.0) as f64;
    if counts && b.1.fell_since(a.1) {
        return Some(b.1.map(|value| value * share));
    }
    let rise = b.1.combine(a.1, -1.0)?;
    rise.map(|value| value * share).combine(a.1, 1.0)
}

/// A smoothed instant selector of histograms.
pub(super) fn smoothed_histogram_at(all: &[HistogramPoint<'_>], at_ms: i64) -> Option<Plain> {
    let before = all.iter().rfind(|point| point.0 <= at_ms)?;
    if before.0 == at_ms {
        return Some(before.1.clone());
    }
    let Some(behind) = all.iter().find(|point| point.0 > at_ms) else {
        return Some(before.1.clone());
    };
    let counts = !before.1.is_gauge || !behind.1.is_gauge;
    if before.1.is_custom() != behind.1.is_custom() {
        return None;
    }
    histogram_on_line(*before, *behind, at_ms, counts)
}

/// A function over the samples of an extended window that ends at `end_ms`.
pub(super) fn over_window(
    name: &str,
    extension: Extension,
    all: &[Point],
    end_ms: i64,
    range_ms: i64,
) -> Option<f64> {
    let begin_ms = end_ms - range_ms;
    let inside = |point: &&Point| point.0 > begin_ms && point.0 < end_ms;
    // What is before the begin counts from its last sample on.
    let first = all.iter().rposition(|point| point.0 <= begin_ms);
    let mut window = &all[first.unwrap_or(0)..];
    let smoothed = extension == Extension::Smoothed;
    if smoothed {
        let behind = window.iter().position(|point| point.0 >= end_ms);
        window = &window[..behind.map_or(window.len(), |at| at + 1)];
        if window.first()?.0 > end_ms {
            return None;
        }
    }
    if window.last()?.0 <= begin_ms {
        return None;
    }
    let counts = name != "delta";
    let (head, tail) = (window[0], window[window.len() - 1]);
    let left = if smoothed && head.0 < begin_ms {
        on_line(head, window[1], begin_ms, counts)
    } else {
        head.1
    };
    let right = if smoothed && window.len() > 1 && tail.0 > end_ms {
        on_line(window[window.len() - 2], tail, end_ms, counts)
    } else {
        tail.1
    };
    let mut rise = right - left;
    if counts {
        let between = window.iter().filter(inside).map(|point| point.1);
        let mut before = left;
        let mut lost = 0.0;
        for value in between.chain([right]) {
            if value < before {
                lost += before;
            }
            before = value;
        }
        rise += lost;
    }
    Some(match name {
        "rate" => rise / (range_ms as f64 / 1000.0),
        _ => rise,
    })
}

/// The value at a time on the line between two samples around it.
pub(super) fn on_line(a: Point, b: Point, at_ms: i64, counts: bool) -> f64 {
    let from = if counts && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (at_ms - a.0) as f64 / (b.0 - a.0) as f64
}

/// A smoothed instant selector: on the line between the samples around, else the last one before.
pub(super) fn smoothed_at(all: &[Point], at_ms: i64) -> Option<f64> {
    let before = all.iter().rfind(|point| point.0 <= at_ms)?;
    if before.0 == at_ms {
        return Some(before.1);
    }
    let behind = all.iter().find(|point| point.0 > at_ms);
    Some(behind.map_or(before.1, |behind| on_line(*before, *behind, at_ms, false)))
}

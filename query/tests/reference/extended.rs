//! Windows that reach beyond their range: `anchored` and `smoothed`, over floats.

use barograph_query::ast::Extension;

/// A time and a value.
type Point = (i64, f64);

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
    let pairs = || window.windows(2).map(|pair| (pair[0].1, pair[1].1));
    match name {
        "changes" => return Some(pairs().filter(|(a, b)| a != b).count() as f64),
        "resets" => return Some(pairs().filter(|(a, b)| b < a).count() as f64),
        _ => {}
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

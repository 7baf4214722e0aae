//! Buckets as a list of indices and counts, which arithmetic works on, and back to spans.

use super::bounds::coarser_index;
use super::{CUSTOM_BOUNDS_SCHEMA, FloatHistogram, IntegerHistogram, Span};
use crate::float::kahan_add;

/// A bucket in the making.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) index: i32,
    pub(super) count: f64,
    /// What the count lost to rounding; stays 0 where sums are not compensated.
    pub(super) compensation: f64,
}

/// The index of each bucket with its count.
pub(super) fn indexed<'a, T: Copy>(
    spans: &'a [Span],
    counts: &'a [T],
) -> impl Iterator<Item = (i32, T)> + 'a {
    indices(spans).zip(counts.iter().copied())
}

/// The indices of populated buckets.
pub(super) fn indices(spans: &[Span]) -> impl Iterator<Item = i32> + '_ {
    let mut next = 0i32;
    spans.iter().flat_map(move |span| {
        let first = next.wrapping_add(span.offset);
        next = first.wrapping_add(span.length as i32);
        (0..span.length).map(move |place| first.wrapping_add(place as i32))
    })
}

/// Cells of buckets; `compensation` is empty or as long as `counts`.
pub(super) fn cells(spans: &[Span], counts: &[f64], compensation: &[f64]) -> Vec<Cell> {
    indexed(spans, counts)
        .enumerate()
        .map(|(place, (index, count))| Cell {
            index,
            count,
            compensation: compensation.get(place).copied().unwrap_or(0.0),
        })
        .collect()
}

/// Spans of ascending indices.
pub(super) fn spans_of(indices: impl Iterator<Item = i32>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i32;
    for index in indices {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span {
                offset: index.wrapping_sub(next),
                length: 1,
            }),
        }
        next = index.wrapping_add(1);
    }
    spans
}

/// Puts buckets together that fall into one of a coarser schema.
pub(super) fn coarsen(cells: &[Cell], from: i32, to: i32, compensate: bool) -> Vec<Cell> {
    let mut merged: Vec<Cell> = Vec::with_capacity(cells.len());
    for cell in cells {
        let index = coarser_index(cell.index, from, to);
        match merged.last_mut() {
            Some(last) if last.index == index => last.add(cell, compensate),
            _ => merged.push(Cell { index, ..*cell }),
        }
    }
    merged
}

impl Cell {
    /// Adds what another counted.
    fn add(&mut self, other: &Self, compensate: bool) {
        if compensate {
            (self.count, self.compensation) = kahan_add(other.count, self.count, self.compensation);
            (self.count, self.compensation) =
                kahan_add(other.compensation, self.count, self.compensation);
        } else {
            self.count += other.count;
        }
    }
}

/// The union of two ascending lists; counts of equal indices add up.
pub(super) fn union(ours: &[Cell], theirs: &[Cell], compensate: bool) -> Vec<Cell> {
    let mut all = Vec::with_capacity(ours.len() + theirs.len());
    let mut theirs = theirs.iter().peekable();
    for cell in ours {
        while let Some(other) = theirs.next_if(|other| other.index < cell.index) {
            all.push(*other);
        }
        let mut cell = *cell;
        if let Some(other) = theirs.next_if(|other| other.index == cell.index) {
            if compensate && other.compensation == 0.0 {
                (cell.count, cell.compensation) =
                    kahan_add(other.count, cell.count, cell.compensation);
            } else {
                cell.add(other, compensate);
            }
        }
        all.push(cell);
    }
    all.extend(theirs.copied());
    all
}

impl FloatHistogram {
    /// Removes empty buckets, so that equal histograms have equal spans.
    pub fn compact(&mut self) {
        compact(&mut self.positive_spans, &mut self.positive_buckets);
        compact(&mut self.negative_spans, &mut self.negative_buckets);
    }

    /// Merges buckets to those of a coarser exponential schema; nothing happens unless both schemas
    /// are exponential and the new one is coarser.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if self.has_custom_bounds() || !super::is_exponential(schema) || schema >= self.schema {
            return;
        }
        let from = self.schema;
        let coarser = |spans: &mut Vec<Span>, counts: &mut Vec<f64>| {
            let merged = coarsen(&cells(spans, counts, &[]), from, schema, false);
            *spans = spans_of(merged.iter().map(|cell| cell.index));
            *counts = merged.iter().map(|cell| cell.count).collect();
        };
        coarser(&mut self.positive_spans, &mut self.positive_buckets);
        coarser(&mut self.negative_spans, &mut self.negative_buckets);
        self.schema = schema;
    }
}

impl IntegerHistogram {
    /// As [`FloatHistogram::reduce_resolution`].
    pub fn reduce_resolution(&mut self, schema: i32) {
        let from = self.schema;
        if from == CUSTOM_BOUNDS_SCHEMA || !super::is_exponential(schema) || schema >= from {
            return;
        }
        let coarser = |spans: &mut Vec<Span>, counts: &mut Vec<u64>| {
            let mut merged: Vec<(i32, u64)> = Vec::with_capacity(counts.len());
            for (index, count) in indexed(spans, counts) {
                let index = coarser_index(index, from, schema);
                match merged.last_mut() {
                    Some((last, sum)) if *last == index => *sum = sum.saturating_add(count),
                    _ => merged.push((index, count)),
                }
            }
            *spans = spans_of(merged.iter().map(|(index, _)| *index));
            *counts = merged.into_iter().map(|(_, count)| count).collect();
        };
        coarser(&mut self.positive_spans, &mut self.positive_buckets);
        coarser(&mut self.negative_spans, &mut self.negative_buckets);
        self.schema = schema;
    }
}

fn compact(spans: &mut Vec<Span>, counts: &mut Vec<f64>) {
    let tidy = spans
        .iter()
        .enumerate()
        .all(|(place, span)| span.length > 0 && (place == 0 || span.offset > 0));
    let total: usize = spans.iter().map(|span| span.length as usize).sum();
    if tidy && total == counts.len() && !counts.contains(&0.0) {
        return;
    }
    let kept: Vec<(i32, f64)> = indexed(spans, counts)
        .filter(|(_, count)| *count != 0.0)
        .collect();
    *spans = spans_of(kept.iter().map(|(index, _)| *index));
    *counts = kept.into_iter().map(|(_, count)| count).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn spans_name_indices() {
        let spans = [span(-2, 1), span(3, 2), span(0, 0), span(1, 1)];
        let all: Vec<i32> = indices(&spans).collect();
        assert_eq!(all, [-2, 2, 3, 5]);
        assert_eq!(
            spans_of(all.into_iter()),
            [span(-2, 1), span(3, 2), span(1, 1)]
        );
    }

    #[test]
    fn whole_counts_are_merged_as_float_counts_are() {
        for (from, to) in [(52, 8), (9, 8), (3, 1), (8, 8), (1, 3)] {
            let mut whole = IntegerHistogram {
                schema: from,
                count: 21,
                positive_spans: vec![span(-3, 4), span(7, 1)],
                positive_buckets: vec![1, 2, 3, 4, 5],
                negative_spans: vec![span(1000, 2)],
                negative_buckets: vec![1, 5],
                ..IntegerHistogram::default()
            };
            let mut float = whole.to_float();
            whole.reduce_resolution(to);
            float.reduce_resolution(to);
            assert_eq!(whole.to_float(), float);
            assert_eq!(whole.schema, from.min(to));
        }
    }

    #[test]
    fn empty_buckets_go() {
        let mut histogram = FloatHistogram {
            positive_spans: vec![span(0, 2), span(0, 3), span(4, 1)],
            positive_buckets: vec![0.0, 1.0, 2.0, -0.0, f64::NAN, 0.0],
            ..FloatHistogram::default()
        };
        histogram.compact();
        assert_eq!(histogram.positive_spans, [span(1, 2), span(1, 1)]);
        assert_eq!(histogram.positive_buckets[..2], [1.0, 2.0]);
        histogram.positive_buckets = vec![0.0; 3];
        histogram.compact();
        assert!(histogram.positive_spans.is_empty() && histogram.positive_buckets.is_empty());
    }

    #[test]
    fn resolution_goes_down() {
        let mut histogram = FloatHistogram {
            schema: 1,
            positive_spans: vec![span(0, 4), span(3, 1)],
            positive_buckets: vec![1.0, 2.0, 3.0, 4.0, 5.0],
            ..FloatHistogram::default()
        };
        histogram.reduce_resolution(0);
        assert_eq!(histogram.schema, 0);
        // √2ⁿ: 0 | 1 2 | 3 | 7 become 0 | 1 | 2 | 4.
        assert_eq!(histogram.positive_spans, [span(0, 3), span(1, 1)]);
        assert_eq!(histogram.positive_buckets, [1.0, 5.0, 4.0, 5.0]);
    }
}

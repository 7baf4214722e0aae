//! Sums, differences, multiples.

use std::fmt;
use std::sync::Arc;

use super::bounds::exponential_bound;
use super::layout::{Cell, cells, coarsen, spans_of, union};
use super::sum::Compensation;
use super::{CounterResetHint, FloatHistogram, Span};
use crate::float::kahan_add;

/// What is to be said about a sum or difference of two histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One begins anew and the other surely does not.
    pub counter_reset_collision: bool,
    /// Custom bounds differed; those that both have are left.
    pub bounds_reconciled: bool,
}

/// Histograms with exponential buckets and histograms with custom bounds do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncompatibleSchemas;

impl fmt::Display for IncompatibleSchemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("histograms with exponential buckets and with custom bounds do not go together")
    }
}

impl std::error::Error for IncompatibleSchemas {}

impl FloatHistogram {
    /// Adds another, in the coarser schema and with the wider zero bucket of the two. Empty buckets
    /// may remain, see [`FloatHistogram::compact`].
    ///
    /// # Errors
    /// One has exponential buckets and the other custom bounds; nothing changed.
    pub fn add(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, false, None)
    }

    /// Subtracts another, as [`FloatHistogram::add`] adds.
    ///
    /// # Errors
    /// One has exponential buckets and the other custom bounds; nothing changed.
    pub fn subtract(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, true, None)
    }

    /// Multiplies counts and sum. A negative factor makes it a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.each_value(|value| *value *= factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides counts and sum. A negative divisor makes it a gauge; zero leaves no buckets.
    pub fn divide(&mut self, divisor: f64) {
        self.each_value(|value| *value /= divisor);
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        } else if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Whether any of its numbers is infinite, as after a sum that floats cannot hold.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(&self.positive_buckets)
            .chain(&self.negative_buckets)
            .any(|value| value.is_infinite())
    }

    fn each_value(&mut self, change: impl Fn(&mut f64)) {
        if !self.has_custom_bounds() {
            change(&mut self.zero_count);
        }
        change(&mut self.count);
        change(&mut self.sum);
        self.positive_buckets.iter_mut().for_each(&change);
        self.negative_buckets.iter_mut().for_each(&change);
    }

    /// Adds or subtracts another; with compensation where that is given (sums only).
    pub(super) fn combine(
        &mut self,
        other: &Self,
        negative: bool,
        mut lost: Option<&mut Compensation>,
    ) -> Result<Combined, IncompatibleSchemas> {
        if self.has_custom_bounds() != other.has_custom_bounds() {
            return Err(IncompatibleSchemas);
        }
        let counter_reset_collision = self.combine_hints(other.counter_reset_hint);
        self.combine_totals(other, negative, lost.as_deref_mut());
        if self.has_custom_bounds() && self.custom_bounds[..] != other.custom_bounds[..] {
            self.combine_reconciled(other, negative, lost);
            return Ok(Combined {
                counter_reset_collision,
                bounds_reconciled: true,
            });
        }
        let schema = self.schema.min(other.schema);
        let above = Side {
            ours: (
                self.schema,
                &mut self.positive_spans,
                &mut self.positive_buckets,
            ),
            theirs: (other.schema, &other.positive_spans, &other.positive_buckets),
        };
        let rule = Rule {
            schema,
            is_custom: schema == super::CUSTOM_BOUNDS_SCHEMA,
            zero_threshold: self.zero_threshold,
            negative,
        };
        above.combine(rule, lost.as_deref_mut().map(|lost| &mut lost.positive));
        let below = Side {
            ours: (
                self.schema,
                &mut self.negative_spans,
                &mut self.negative_buckets,
            ),
            theirs: (other.schema, &other.negative_spans, &other.negative_buckets),
        };
        below.combine(rule, lost.map(|lost| &mut lost.negative));
        self.schema = schema;
        Ok(Combined {
            counter_reset_collision,
            bounds_reconciled: false,
        })
    }

    /// The hint of a sum or difference. True where the two contradict each other.
    fn combine_hints(&mut self, other: CounterResetHint) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        let (hint, collides) = match (self.counter_reset_hint, other) {
            (ours, theirs) if ours == theirs => (ours, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.counter_reset_hint = hint;
        collides
    }

    /// Zero bucket, count and sum.
    fn combine_totals(
        &mut self,
        other: &Self,
        negative: bool,
        mut lost: Option<&mut Compensation>,
    ) {
        let zero =
            (!self.has_custom_bounds()).then(|| self.reconcile_zero(other, lost.as_deref_mut()));
        let Some(lost) = lost else {
            let sign = |value: f64| if negative { -value } else { value };
            if let Some((count, _)) = zero {
                self.zero_count += sign(count);
            }
            self.count += sign(other.count);
            self.sum += sign(other.sum);
            return;
        };
        if let Some((count, rest)) = zero {
            (self.zero_count, lost.zero_count) = kahan_add(count, self.zero_count, lost.zero_count);
            (self.zero_count, lost.zero_count) = kahan_add(rest, self.zero_count, lost.zero_count);
        }
        (self.count, lost.count) = kahan_add(other.count, self.count, lost.count);
        (self.sum, lost.sum) = kahan_add(other.sum, self.sum, lost.sum);
    }

    /// Buckets of differing custom bounds: both are mapped to the bounds they share.
    fn combine_reconciled(
        &mut self,
        other: &Self,
        negative: bool,
        lost: Option<&mut Compensation>,
    ) {
        let shared = shared_bounds(&self.custom_bounds, &other.custom_bounds);
        let mut totals = vec![(0.0, 0.0); shared.len() + 1];
        let ours = cells(
            &self.positive_spans,
            &self.positive_buckets,
            lost.as_deref().map_or(&[], |lost| &lost.positive),
        );
        let theirs = cells(&other.positive_spans, &other.positive_buckets, &[]);
        for cell in &ours {
            let (sum, rest) = &mut totals[place_of(cell.index, &self.custom_bounds, &shared)];
            (*sum, *rest) = kahan_add(cell.count, *sum, *rest);
            if lost.is_some() {
                (*sum, *rest) = kahan_add(cell.compensation, *sum, *rest);
            }
        }
        for cell in &theirs {
            let (sum, rest) = &mut totals[place_of(cell.index, &other.custom_bounds, &shared)];
            let count = if negative { -cell.count } else { cell.count };
            (*sum, *rest) = kahan_add(count, *sum, *rest);
        }
        let populated: Vec<(i32, (f64, f64))> = (0..)
            .zip(totals)
            .filter(|(_, (sum, rest))| *sum != 0.0 || *rest != 0.0)
            .collect();
        self.positive_spans = spans_of(populated.iter().map(|(index, _)| *index));
        self.positive_buckets = populated.iter().map(|(_, (sum, _))| *sum).collect();
        if let Some(lost) = lost {
            lost.positive = populated.iter().map(|(_, (_, rest))| *rest).collect();
        }
        self.custom_bounds = shared;
    }
}

/// How two sides go together.
#[derive(Clone, Copy)]
struct Rule {
    schema: i32,
    is_custom: bool,
    zero_threshold: f64,
    negative: bool,
}

/// The buckets of one sign of two histograms: schema, spans, counts.
struct Side<'a> {
    ours: (i32, &'a mut Vec<Span>, &'a mut Vec<f64>),
    theirs: (i32, &'a [Span], &'a [f64]),
}

impl Side<'_> {
    fn combine(self, rule: Rule, lost: Option<&mut Vec<f64>>) {
        let compensate = lost.is_some();
        let aligned = !compensate && self.is_aligned(rule);
        let (schema, spans, counts) = self.ours;
        let (their_schema, their_spans, their_counts) = self.theirs;
        if aligned {
            for (count, other) in counts.iter_mut().zip(their_counts) {
                *count += if rule.negative { -other } else { *other };
            }
            return;
        }
        let mut ours = cells(spans, counts, lost.as_deref().map_or(&[], |lost| lost));
        if schema > rule.schema {
            ours = coarsen(&ours, schema, rule.schema, compensate);
        }
        let mut theirs = cells(their_spans, their_counts, &[]);
        if their_schema > rule.schema {
            theirs = coarsen(&theirs, their_schema, rule.schema, compensate);
        }
        if rule.negative {
            for cell in &mut theirs {
                cell.count = -cell.count;
                cell.compensation = -cell.compensation;
            }
        }
        // What lies in the zero bucket was counted there.
        let in_zero = |cell: &&Cell| {
            !rule.is_custom && exponential_bound(cell.index, rule.schema) <= rule.zero_threshold
        };
        let skipped = theirs.iter().take_while(in_zero).count();
        let all = union(&ours, &theirs[skipped..], compensate);
        *spans = spans_of(all.iter().map(|cell| cell.index));
        *counts = all.iter().map(|cell| cell.count).collect();
        if let Some(lost) = lost {
            *lost = all.iter().map(|cell| cell.compensation).collect();
        }
    }

    /// Whether counts can be added place by place: the common case.
    fn is_aligned(&self, rule: Rule) -> bool {
        let (schema, spans, counts) = &self.ours;
        let (their_schema, their_spans, their_counts) = &self.theirs;
        schema == their_schema
            && spans[..] == their_spans[..]
            && counts.len() == their_counts.len()
            && (rule.is_custom
                || spans.first().is_none_or(|span| {
                    exponential_bound(span.offset, rule.schema) > rule.zero_threshold
                }))
    }
}

/// The bounds that both have.
fn shared_bounds(ours: &[f64], theirs: &[f64]) -> Arc<[f64]> {
    let mut theirs = theirs.iter().copied().peekable();
    ours.iter()
        .copied()
        .filter(|bound| {
            while theirs.next_if(|other| other < bound).is_some() {}
            theirs.next_if(|other| other == bound).is_some()
        })
        .collect()
}

/// Which bucket of `shared` bounds takes the bucket `index` of `bounds`.
fn place_of(index: i32, bounds: &[f64], shared: &[f64]) -> usize {
    let bound = usize::try_from(index)
        .ok()
        .and_then(|index| bounds.get(index));
    match bound {
        Some(bound) => shared.partition_point(|other| other < bound),
        None => shared.len(),
    }
}

#[cfg(test)]
#[path = "add_tests.rs"]
mod tests;

//! Merging samples of one series that were stored in several places.
//!
//! Several samples of one instant become one, by a rule that looks at the samples alone: whatever
//! the order in which they arrived, were spilled, cut or compacted, the same one is read.

use crate::contest::Rank;

/// Which of several samples of one instant counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tie {
    /// A number before any NaN, a greater number before a smaller one, anything before the
    /// staleness marker: a target that was seen is not made to vanish by one who missed it.
    #[default]
    Value,
    /// The one of the earlier place. For columns of series with components: which sample counts is
    /// decided elsewhere (see [`crate::contest`]), so that two values of an instant are the same.
    Place,
}

impl Tie {
    /// Whether `b`, of a later place, counts rather than `a`.
    #[inline]
    pub(crate) fn prefers_later(self, a: u64, b: u64) -> bool {
        match self {
            Self::Value => Rank::of(b) > Rank::of(a),
            Self::Place => false,
        }
    }
}

/// Timestamps and the bits or floats that belong to them; both are as long.
#[derive(Debug, Default)]
pub(crate) struct Samples<V> {
    pub(crate) timestamps_ms: Vec<i64>,
    pub(crate) values: Vec<V>,
}

impl<V: Copy + Value> Samples<V> {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            timestamps_ms: Vec::with_capacity(capacity),
            values: Vec::with_capacity(capacity),
        }
    }

    fn part(&self, start: usize, end: usize) -> Part<'_, V> {
        Part {
            timestamps_ms: &self.timestamps_ms[start..end],
            values: &self.values[start..end],
        }
    }

    /// Puts the samples in order where they are a row of stretches, each in order by itself; the
    /// stretches are found. Neighbours are merged pairwise, so *k* stretches of *n* samples take
    /// *n* log *k* steps, and stretches that do not overlap are copied whole.
    pub(crate) fn into_order(mut self, tie: Tie) -> Self {
        loop {
            let bounds = self.stretches();
            if bounds.len() <= 2 {
                return self;
            }
            let mut merged = Self::with_capacity(self.timestamps_ms.len());
            for pair in bounds.windows(3).step_by(2) {
                merge(
                    self.part(pair[0], pair[1]),
                    self.part(pair[1], pair[2]),
                    tie,
                    &mut merged,
                );
            }
            if bounds.len().is_multiple_of(2) {
                let last = self.part(bounds[bounds.len() - 2], bounds[bounds.len() - 1]);
                merged.extend(last);
            }
            self = merged;
        }
    }

    /// Where ascending stretches begin, and the end.
    fn stretches(&self) -> Vec<usize> {
        let mut bounds = vec![0];
        let falls = self.timestamps_ms.windows(2).enumerate();
        bounds.extend(falls.filter(|(_, w)| w[1] <= w[0]).map(|(at, _)| at + 1));
        bounds.push(self.timestamps_ms.len());
        bounds
    }

    fn extend(&mut self, part: Part<'_, V>) {
        self.timestamps_ms.extend_from_slice(part.timestamps_ms);
        self.values.extend_from_slice(part.values);
    }
}

/// A value as its bits.
pub(crate) trait Value {
    fn bits(&self) -> u64;
}

impl Value for u64 {
    fn bits(&self) -> u64 {
        *self
    }
}

impl Value for f64 {
    fn bits(&self) -> u64 {
        self.to_bits()
    }
}

#[derive(Clone, Copy)]
struct Part<'a, V> {
    timestamps_ms: &'a [i64],
    values: &'a [V],
}

impl<'a, V: Copy + Value> Part<'a, V> {
    fn split(self, at: usize) -> (Self, Self) {
        let (t, rest_t) = self.timestamps_ms.split_at(at);
        let (v, rest_v) = self.values.split_at(at);
        let make = |timestamps_ms, values| Part::<'a, V> {
            timestamps_ms,
            values,
        };
        (make(t, v), make(rest_t, rest_v))
    }
}

/// Merges two ascending stretches, `a` of the earlier place.
fn merge<'a, V: Copy + Value>(
    mut a: Part<'a, V>,
    mut b: Part<'a, V>,
    tie: Tie,
    into: &mut Samples<V>,
) {
    while let (Some(x), Some(y)) = (a.timestamps_ms.first(), b.timestamps_ms.first()) {
        if x == y {
            let (one, other) = (a.values[0], b.values[0]);
            into.timestamps_ms.push(*x);
            let later = tie.prefers_later(one.bits(), other.bits());
            into.values.push(if later { other } else { one });
            (a, b) = (a.split(1).1, b.split(1).1);
            continue;
        }
        // The one that is behind gives all it has before the other.
        let (behind, until) = if x < y { (&mut a, *y) } else { (&mut b, *x) };
        let (before, rest) = behind.split(count_before(behind.timestamps_ms, until));
        into.extend(before);
        *behind = rest;
    }
    into.extend(a);
    into.extend(b);
}

/// How many timestamps are before an instant: steps that double, then halves, since mostly it is a
/// few or nearly all.
fn count_before(timestamps_ms: &[i64], until_ms: i64) -> usize {
    let mut end = 1;
    while end < timestamps_ms.len() && timestamps_ms[end] < until_ms {
        end *= 2;
    }
    let (start, end) = (end / 2, (end + 1).min(timestamps_ms.len()));
    start + timestamps_ms[start..end].partition_point(|t| *t < until_ms)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use barograph_model::STALE_NAN_BITS;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rule_is_a_total_order() {
        let ascending = [
            STALE_NAN_BITS,
            f64::NAN.to_bits(),
            f64::NEG_INFINITY.to_bits(),
            (-1.5f64).to_bits(),
            (-0.0f64).to_bits(),
            0.0f64.to_bits(),
            1e-300f64.to_bits(),
            7.0f64.to_bits(),
            f64::INFINITY.to_bits(),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(Tie::Value.prefers_later(*a, *b), j > i, "{i} {j}");
                assert!(!Tie::Place.prefers_later(*a, *b));
            }
        }
    }

    proptest! {
        #[test]
        fn merging_is_what_a_map_makes_of_it(
            stretches in prop::collection::vec(prop::collection::btree_map(0i64..60, 0u8..4, 0..30), 0..9),
            by_place in any::<bool>(),
        ) {
            let value = |v: u8| [STALE_NAN_BITS, f64::NAN.to_bits(), 1.0f64.to_bits(), (-1.0f64).to_bits()][usize::from(v)];
            let tie = if by_place { Tie::Place } else { Tie::Value };
            let mut samples = Samples::<u64>::default();
            let mut want: BTreeMap<i64, u64> = BTreeMap::new();
            for stretch in &stretches {
                for (t, v) in stretch {
                    let bits = value(*v);
                    samples.timestamps_ms.push(*t);
                    samples.values.push(bits);
                    want.entry(*t)
                        .and_modify(|have| if tie.prefers_later(*have, bits) { *have = bits })
                        .or_insert(bits);
                }
            }
            let got = samples.into_order(tie);
            let got: Vec<(i64, u64)> = got.timestamps_ms.into_iter().zip(got.values).collect();
            prop_assert_eq!(got, want.into_iter().collect::<Vec<_>>());
        }
    }
}

//! Which of several samples of one series and instant is read.
//!
//! A sample that is more than a float has a value in its series' own column and others in component
//! columns. Which of several counts is decided once, over all of that together, and by the samples
//! alone; then every column gives the values of the same one. Reading, spilling and compaction ask
//! here.

use std::collections::{BTreeSet, HashMap};

use barograph_model::{STALE_NAN_BITS, TimeRange};

use crate::component::ComponentKey;
use crate::layout::{self, RAW_FLOAT};
use crate::merge::Samples;
use crate::sort_out::FastHash;

/// A value of a column that may not be the only one of its instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) timestamp_ms: i64,
    /// Where it is: the same for all values of a sample, another for every other sample of the
    /// series and instant.
    pub(crate) place: u64,
    pub(crate) bits: u64,
}

/// The places of the samples that count, by instant, where there are several.
#[derive(Debug, Default)]
pub(crate) struct Winners {
    places: HashMap<i64, u64, FastHash>,
}

/// What a value's bits are, in the order in which they count: numbers before histograms before NaN
/// before the staleness marker, which makes nobody vanish whom someone else saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Stale,
    Nan,
    Histogram,
    Number,
}

/// A total order of what own columns hold; the greater counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(Class, u64);

impl Rank {
    #[inline]
    pub(crate) fn of(bits: u64) -> Self {
        if !f64::from_bits(bits).is_nan() {
            return Self(Class::Number, ascending(bits));
        }
        if bits == STALE_NAN_BITS {
            return Self(Class::Stale, 0);
        }
        let is_histogram = layout::is_marker(bits) && layout::marker_id(bits) != RAW_FLOAT;
        let class = [Class::Nan, Class::Histogram][usize::from(is_histogram)];
        Self(class, bits)
    }
}

impl Rank {
    /// Of a float that is none of our markers, whatever its bits.
    pub(crate) fn of_float(value: f64) -> Self {
        let rank = Self::of(value.to_bits());
        if rank.0 == Class::Histogram {
            return Self(Class::Nan, value.to_bits());
        }
        rank
    }

    /// Of a histogram with so many observations. Which of two with the same number counts, it does
    /// not tell.
    pub(crate) fn of_histogram(count: f64) -> Self {
        Self(Class::Histogram, ascending(count.to_bits()))
    }
}

/// The order of floats is that of their bits, but for negative ones the other way round.
fn ascending(bits: u64) -> u64 {
    if bits >> 63 != 0 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// Whether of two whole samples of one instant the second counts: own values, and components in any
/// order.
pub(crate) fn prefers(
    (a, a_parts): (u64, &[(ComponentKey, u64)]),
    (b, b_parts): (u64, &[(ComponentKey, u64)]),
) -> bool {
    let keys: BTreeSet<ComponentKey> = a_parts.iter().chain(b_parts).map(|(key, _)| *key).collect();
    let keys: Vec<_> = start_last(keys).collect();
    let rank = |own: u64, parts: &[(ComponentKey, u64)]| {
        let part = |key: ComponentKey| {
            let found = parts.iter().find(|(have, _)| *have == key);
            found.map(|(_, bits)| ascending(*bits))
        };
        let rank = Rank::of(own);
        let parts: Vec<_> = keys.iter().map(|key| part(*key)).collect();
        (rank.0, part(ComponentKey::COUNT), rank.1, parts)
    };
    rank(b, b_parts) > rank(a, a_parts)
}

impl Winners {
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Decides about a series. `own` are the values of its own column; those that count are left,
    /// in order. `keys` are its components, `read` gives the values of one inside a range.
    ///
    /// The greater of two numbers counts, and of two histograms the one with more observations; where
    /// these are the same, it goes by the layout, then by component: a greater value before a smaller
    /// one, any before none, start timestamps last.
    pub(crate) fn choose<E>(
        own: &mut Vec<Candidate>,
        keys: impl FnOnce() -> Result<BTreeSet<ComponentKey>, E>,
        mut read: impl FnMut(ComponentKey, TimeRange) -> Result<Vec<Candidate>, E>,
    ) -> Result<Self, E> {
        own.sort_by_key(|candidate| candidate.timestamp_ms);
        let same = own.chunk_by(|a, b| a.timestamp_ms == b.timestamp_ms);
        let mut open: Vec<Vec<Candidate>> = Vec::new();
        let mut winners = Self::default();
        for same in same.filter(|same| same.len() > 1) {
            let mut left = same.to_vec();
            narrow(&mut left, |candidate| {
                let Rank(class, order) = Rank::of(candidate.bits);
                // Histograms of one layout are not before those of another.
                let order = if class == Class::Histogram { 0 } else { order };
                (class, order)
            });
            winners.places.insert(left[0].timestamp_ms, left[0].place);
            if left.len() > 1 {
                open.push(left);
            }
        }
        if let (Some(first), Some(last)) = (open.first(), open.last()) {
            let range = TimeRange {
                start_ms: first[0].timestamp_ms,
                end_ms: last[0].timestamp_ms,
            };
            let mut keys = keys()?;
            if let Some(count) = keys.take(&ComponentKey::COUNT) {
                narrow_by(&mut open, &read(count, range)?, &mut winners);
            }
            for left in &mut open {
                narrow(left, |candidate| candidate.bits);
                winners.places.insert(left[0].timestamp_ms, left[0].place);
            }
            open.retain(|left| left.len() > 1);
            for key in start_last(keys) {
                if open.is_empty() {
                    break;
                }
                narrow_by(&mut open, &read(key, range)?, &mut winners);
            }
        }
        winners.keep(own);
        Ok(winners)
    }

    /// Leaves the values that count, of an own column or of a component's, in order.
    pub(crate) fn keep(&self, candidates: &mut Vec<Candidate>) {
        candidates.sort_by_key(|candidate| candidate.timestamp_ms);
        if !self.is_empty() {
            candidates.retain(|candidate| {
                let place = self.places.get(&candidate.timestamp_ms);
                place.is_none_or(|place| *place == candidate.place)
            });
        }
        candidates.dedup_by_key(|candidate| candidate.timestamp_ms);
    }
}

/// Values are compared before start timestamps.
fn start_last(mut keys: BTreeSet<ComponentKey>) -> impl Iterator<Item = ComponentKey> {
    let start = keys.take(&ComponentKey::START);
    keys.into_iter().chain(start)
}

/// Of the candidates of each instant, leaves those whose value of a component is the greatest.
fn narrow_by(open: &mut Vec<Vec<Candidate>>, values: &[Candidate], winners: &mut Winners) {
    let by_place: HashMap<(i64, u64), u64, FastHash> = values
        .iter()
        .rev()
        .map(|value| ((value.timestamp_ms, value.place), value.bits))
        .collect();
    for left in &mut *open {
        narrow(left, |candidate| {
            let bits = by_place.get(&(candidate.timestamp_ms, candidate.place));
            bits.map(|bits| ascending(*bits))
        });
        winners.places.insert(left[0].timestamp_ms, left[0].place);
    }
    open.retain(|left| left.len() > 1);
}

/// Leaves the candidates with the greatest key; there is one at least.
fn narrow<K: Ord>(candidates: &mut Vec<Candidate>, key: impl Fn(&Candidate) -> K) {
    if let Some(greatest) = candidates.iter().map(&key).max() {
        candidates.retain(|candidate| key(candidate) == greatest);
    }
}

/// Candidates as samples.
pub(crate) fn samples(candidates: &[Candidate]) -> Samples<u64> {
    Samples {
        timestamps_ms: candidates.iter().map(|c| c.timestamp_ms).collect(),
        values: candidates.iter().map(|c| c.bits).collect(),
    }
}

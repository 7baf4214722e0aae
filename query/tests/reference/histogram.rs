//! Native histograms as maps from bucket to count.

use std::collections::{BTreeMap, BTreeSet};

use barograph_model::FloatHistogram;
use barograph_model::histogram::{CUSTOM_BOUNDS_SCHEMA, Span};

use super::floats::{Exact, factor};

/// A histogram. Buckets that are empty may be there or not; [`Plain::compact`] leaves them out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plain {
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: f64,
    pub(crate) count: f64,
    pub(crate) sum: f64,
    pub(crate) positive: BTreeMap<i32, f64>,
    pub(crate) negative: BTreeMap<i32, f64>,
    pub(crate) bounds: Vec<f64>,
    /// Whether a writer says that it is no counter; only of what is stored.
    pub(crate) is_gauge: bool,
}

impl Plain {
    pub(crate) fn of(histogram: &FloatHistogram) -> Self {
        Self {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: histogram.zero_count,
            count: histogram.count,
            sum: histogram.sum,
            positive: buckets(&histogram.positive_spans, &histogram.positive_buckets),
            negative: buckets(&histogram.negative_spans, &histogram.negative_buckets),
            bounds: histogram.custom_bounds.to_vec(),
            is_gauge: false,
        }
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.schema == CUSTOM_BOUNDS_SCHEMA
    }

    pub(crate) fn compact(mut self) -> Self {
        self.positive.retain(|_, count| *count != 0.0);
        self.negative.retain(|_, count| *count != 0.0);
        self
    }

    /// Every number of it, changed.
    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        let all = |buckets: &BTreeMap<i32, f64>| {
            let each = buckets
                .iter()
                .map(|(index, count)| (*index, change(*count)));
            each.collect()
        };
        Self {
            // Custom bounds have no zero bucket, whatever is done to its count.
            zero_count: if self.is_custom() {
                0.0
            } else {
                change(self.zero_count)
            },
            count: change(self.count),
            sum: change(self.sum),
            positive: all(&self.positive),
            negative: all(&self.negative),
            ..self.clone()
        }
    }

    pub(crate) fn divide(&self, divisor: f64) -> Self {
        let mut quotient = self.map(|value| value / divisor);
        if divisor == 0.0 {
            quotient.positive.clear();
            quotient.negative.clear();
        }
        quotient
    }

    /// Both in the layout they have in common; `None` for different kinds of buckets.
    fn aligned(&self, other: &Self) -> Option<(Self, Self)> {
        if self.is_custom() != other.is_custom() {
            return None;
        }
        let (mut a, mut b) = (self.clone(), other.clone());
        if !self.is_custom() {
            let schema = a.schema.min(b.schema);
            (a, b) = (a.reduced(schema), b.reduced(schema));
            // One without a zero bucket adapts to the other's; the tests have no two others.
            let threshold = a.zero_threshold.max(b.zero_threshold);
            (a.zero_threshold, b.zero_threshold) = (threshold, threshold);
        } else if a.bounds != b.bounds {
            let common: Vec<f64> = a
                .bounds
                .iter()
                .copied()
                .filter(|x| b.bounds.contains(x))
                .collect();
            (a, b) = (a.with_bounds(&common), b.with_bounds(&common));
        }
        Some((a, b))
    }

    fn reduced(&self, schema: i32) -> Self {
        let by = self.schema - schema;
        let all = |buckets: &BTreeMap<i32, f64>| {
            let mut fewer = BTreeMap::new();
            for (index, count) in buckets {
                *fewer.entry(((index - 1) >> by) + 1).or_insert(0.0) += count;
            }
            fewer
        };
        Self {
            schema,
            positive: all(&self.positive),
            negative: all(&self.negative),
            ..self.clone()
        }
    }

    fn with_bounds(&self, bounds: &[f64]) -> Self {
        let mut positive = BTreeMap::new();
        for (index, count) in &self.positive {
            let upper = self.bounds.get(*index as usize).copied();
            let upper = upper.unwrap_or(f64::INFINITY);
            let place = bounds.iter().position(|bound| *bound >= upper);
            *positive
                .entry(place.unwrap_or(bounds.len()) as i32)
                .or_insert(0.0) += count;
        }
        Self {
            positive,
            bounds: bounds.to_vec(),
            ..self.clone()
        }
    }

    pub(crate) fn combine(&self, other: &Self, sign: f64) -> Option<Self> {
        let (mut a, b) = self.aligned(other)?;
        a.zero_count += sign * b.zero_count;
        a.count += sign * b.count;
        a.sum += sign * b.sum;
        for (mine, theirs) in [(&mut a.positive, b.positive), (&mut a.negative, b.negative)] {
            for (index, count) in theirs {
                *mine.entry(index).or_insert(0.0) += sign * count;
            }
        }
        Some(a)
    }

    /// Equal in everything that is data.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let all = |a: &BTreeMap<i32, f64>, b: &BTreeMap<i32, f64>| {
            let keys = |map: &BTreeMap<i32, f64>| map.keys().copied().collect::<BTreeSet<i32>>();
            keys(a) == keys(b) && a.iter().all(|(index, count)| same(*count, b[index]))
        };
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && self.bounds == other.bounds
            && all(&self.positive, &other.positive)
            && all(&self.negative, &other.negative)
    }

    /// Whether a counter began anew between the two.
    pub(crate) fn fell_since(&self, before: &Self) -> bool {
        if self.count < before.count || self.is_custom() && !before.is_custom() {
            return true;
        }
        if self.is_custom() && self.bounds != before.bounds {
            let Some((a, b)) = self.aligned(before) else {
                return true;
            };
            let count =
                |map: &BTreeMap<i32, f64>, index: i32| map.get(&index).copied().unwrap_or(0.0);
            return (0..=a.bounds.len() as i32)
                .any(|at| count(&a.positive, at) < count(&b.positive, at));
        }
        if self.schema > before.schema
            || self.zero_threshold < before.zero_threshold
            || self.zero_count < before.zero_count
        {
            return true;
        }
        let before = before.reduced(self.schema);
        let fell = |now: &BTreeMap<i32, f64>, before: &BTreeMap<i32, f64>| {
            before.iter().any(|(index, count)| match now.get(index) {
                None => *count != 0.0,
                Some(now) => now < count,
            })
        };
        fell(&self.positive, &before.positive) || fell(&self.negative, &before.negative)
    }
}

fn buckets(spans: &[Span], counts: &[f64]) -> BTreeMap<i32, f64> {
    let (mut index, mut counts, mut map) = (0, counts.iter(), BTreeMap::new());
    for span in spans {
        index += span.offset;
        for count in counts.by_ref().take(span.length as usize) {
            map.insert(index, *count);
            index += 1;
        }
    }
    map
}

/// The sum, with what addition loses kept apart, or that over their number.
pub(crate) fn total(all: &[&Plain], is_mean: bool) -> Option<Plain> {
    let mut common = all[0].clone();
    for other in all {
        common = common.aligned(other)?.0;
    }
    let n = all.len() as f64;
    let finish = |exact: Exact| {
        if is_mean {
            exact.sum / n + exact.lost / n
        } else {
            exact.sum + exact.lost
        }
    };
    let add = |number: &dyn Fn(&Plain) -> f64| {
        let mut exact = Exact::default();
        for one in all {
            exact.add(number(one));
        }
        finish(exact)
    };
    let aligned: Vec<Plain> = all
        .iter()
        .filter_map(|one| Some(common.aligned(one)?.1))
        .collect();
    let sides = |side: &dyn Fn(&Plain) -> BTreeMap<i32, f64>| {
        let mut sums: BTreeMap<i32, Exact> = BTreeMap::new();
        for one in &aligned {
            for (index, count) in side(one) {
                sums.entry(index).or_default().add(count);
            }
        }
        sums.into_iter()
            .map(|(index, exact)| (index, finish(exact)))
            .collect()
    };
    Some(Plain {
        zero_count: add(&|one| one.zero_count),
        count: add(&|one| one.count),
        sum: add(&|one| one.sum),
        positive: sides(&|one| one.positive.clone()),
        negative: sides(&|one| one.negative.clone()),
        ..common
    })
}

/// `rate`, `increase` or `delta` of histograms only.
pub(crate) fn extrapolated(
    name: &str,
    window: &[(i64, &Plain)],
    end_ms: i64,
    range_ms: i64,
) -> Option<Plain> {
    let is_counter = name != "delta";
    let [(_, first), (_, second), ..] = window else {
        return None;
    };
    let last = window[window.len() - 1].1;
    let mut before = (*first).clone();
    if is_counter && second.fell_since(first) {
        before = Plain {
            schema: second.schema,
            bounds: second.bounds.clone(),
            ..Plain::default()
        };
    }
    let mut schema = before.schema.min(last.schema);
    for (_, between) in &window[1..] {
        if is_counter && between.is_custom() != before.is_custom() {
            return None;
        }
        if is_counter {
            schema = schema.min(between.schema);
        }
    }
    if last.is_custom() != before.is_custom() {
        return None;
    }
    let mut rise = last.reduced(schema).combine(&before, -1.0)?;
    for (_, now) in &window[1..] {
        if is_counter && now.fell_since(&before) {
            rise = rise.combine(&before, 1.0)?;
        }
        before = (*now).clone();
    }
    let rise = rise.compact();
    let times: Vec<i64> = window.iter().map(|(t, _)| *t).collect();
    let whole =
        (is_counter && rise.count > 0.0 && first.count >= 0.0).then(|| first.count / rise.count);
    let factor = factor(&times, end_ms, range_ms, whole, name == "rate");
    Some(rise.map(|value| value * factor))
}

/// `irate` or `idelta` of the last two.
pub(crate) fn instant(name: &str, before: (i64, &Plain), now: (i64, &Plain)) -> Option<Plain> {
    let is_rate = name == "irate";
    let mut rise = now.1.clone();
    if !is_rate || !now.1.fell_since(before.1) {
        rise = rise.combine(before.1, -1.0)?;
    }
    let rise = rise.compact();
    let seconds = (now.0 - before.0) as f64 / 1000.0;
    Some(if is_rate { rise.divide(seconds) } else { rise })
}

//! The instants of a track's open rows, in few bytes: most tracks are written at an interval, and a
//! track of one series must not pay for a column of its own.

use std::ops::Range;
use std::sync::Arc;

use barograph_model::TimeRange;

/// Memory for offsets is taken for so many at once.
const GROWTH: usize = 16;

/// Ascending instants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instants {
    first_ms: i64,
    step_ms: i64,
    count: u32,
    form: Form,
}

#[derive(Clone, Debug, Default)]
enum Form {
    /// All by the first and the step.
    #[default]
    Regular,
    /// By how much each is later than the first.
    Offsets(Vec<u32>),
    /// As they are: some are too far apart.
    Whole(Vec<i64>),
}

impl Instants {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The one of a row, counted from the first open one.
    pub(crate) fn get(&self, row: usize) -> Option<i64> {
        if row >= self.len() {
            return None;
        }
        Some(match &self.form {
            Form::Regular => self.regular(row),
            Form::Offsets(offsets) => self.first_ms + i64::from(offsets[row]),
            Form::Whole(all) => all[row],
        })
    }

    /// The oldest.
    pub(crate) fn first(&self) -> Option<i64> {
        self.get(0)
    }

    /// The newest.
    pub(crate) fn last(&self) -> Option<i64> {
        self.get(self.len().wrapping_sub(1))
    }

    /// All, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).map_while(|row| self.get(row))
    }

    /// The first so many, as a column.
    pub(crate) fn column(&self, rows: usize) -> Arc<[i64]> {
        self.iter().take(rows).collect()
    }

    /// The rows inside a range.
    pub(crate) fn inside(&self, range: TimeRange) -> Range<u32> {
        let start = self.count_while(|t| t < range.start_ms) as u32;
        let end = self.count_while(|t| t <= range.end_ms) as u32;
        start..end.max(start)
    }

    /// How many there are at the beginning for which it holds; it holds for none after those.
    pub(crate) fn count_while(&self, holds: impl Fn(i64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle).is_some_and(&holds) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Adds one at the end.
    pub(crate) fn push(&mut self, timestamp_ms: i64) {
        match self.count {
            0 => self.first_ms = timestamp_ms,
            1 if matches!(self.form, Form::Regular) => {
                match timestamp_ms.checked_sub(self.first_ms) {
                    Some(step_ms) => self.step_ms = step_ms,
                    None => self.widen(),
                }
            }
            _ => {}
        }
        if matches!(self.form, Form::Regular) && self.count > 1 {
            let next = self.step_ms.checked_mul(i64::from(self.count));
            let next = next.and_then(|offset| self.first_ms.checked_add(offset));
            if next != Some(timestamp_ms) {
                self.widen();
            }
        }
        let offset = timestamp_ms.checked_sub(self.first_ms);
        let offset = offset.and_then(|offset| u32::try_from(offset).ok());
        if matches!(self.form, Form::Offsets(_)) && offset.is_none() {
            self.form = Form::Whole(self.iter().collect());
        }
        match &mut self.form {
            Form::Regular => {}
            Form::Offsets(offsets) => {
                if offsets.len() == offsets.capacity() {
                    offsets.reserve_exact(GROWTH);
                }
                offsets.extend(offset);
            }
            Form::Whole(all) => all.push(timestamp_ms),
        }
        self.count += 1;
    }

    /// Removes all, and gives their memory back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the newest so many are those of another.
    pub(crate) fn end_alike(&self, other: &Self, count: usize) -> bool {
        match (
            self.len().checked_sub(count),
            other.len().checked_sub(count),
        ) {
            (Some(a), Some(b)) => (0..count).all(|at| self.get(a + at) == other.get(b + at)),
            _ => false,
        }
    }

    fn regular(&self, row: usize) -> i64 {
        // Checked when it was added.
        self.first_ms
            .wrapping_add(self.step_ms.wrapping_mul(row as i64))
    }

    /// Leaves the regular form.
    fn widen(&mut self) {
        let offset = |t: i64| u32::try_from(t.checked_sub(self.first_ms)?).ok();
        let offsets: Option<Vec<u32>> = self.iter().map(offset).collect();
        self.form = match offsets {
            Some(offsets) => Form::Offsets(offsets),
            None => Form::Whole(self.iter().collect()),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(all: &[i64]) {
        let mut instants = Instants::default();
        for (count, t) in all.iter().enumerate() {
            assert_eq!(instants.len(), count);
            instants.push(*t);
            assert_eq!(instants.last(), Some(*t));
        }
        assert_eq!(instants.iter().collect::<Vec<_>>(), all);
        assert_eq!(instants.first(), all.first().copied());
        assert_eq!(&*instants.column(3), &all[..all.len().min(3)]);
        for t in all {
            let want = all.partition_point(|have| have < t);
            assert_eq!(instants.count_while(|have| have < *t), want);
        }
        instants.clear();
        assert!(instants.is_empty() && instants.last().is_none());
    }

    #[test]
    fn instants_of_any_distance_survive() {
        check(&[]);
        check(&[i64::MIN + 1, i64::MAX]);
        check(&[i64::MIN + 1, 0, i64::MAX]);
        check(&[0, i64::MAX / 2, i64::MAX - 1, i64::MAX]);
        check(&(0..140).map(|row| row * 15_000).collect::<Vec<_>>());
        check(&[5, 6, 7, 9, 1 << 33, (1 << 33) + 1]);
    }

    proptest! {
        #[test]
        fn any_ascending_instants_survive(
            first in any::<i32>(),
            steps in prop::collection::vec(prop_oneof![Just(15_000i64), 1i64..20_000, 1i64..1 << 40], 0..140),
        ) {
            let mut all = vec![i64::from(first)];
            all.extend(steps.iter().scan(i64::from(first), |t, step| {
                *t += step;
                Some(*t)
            }));
            check(&all);
        }
    }
}

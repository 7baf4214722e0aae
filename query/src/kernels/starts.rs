//! Start timestamps: since when the counter behind a sample counts.

use super::Input;
use crate::eval::vector::ABSENT;

/// What start timestamps say of the samples of a series, beside each other.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// Milliseconds since the Unix epoch, 0 where unknown.
    since_ms: Vec<i64>,
    /// Whether the counter began anew since the sample before.
    pub(crate) began: Vec<bool>,
    /// Whether the counter claims to have begun before the sample before, but not with it.
    overlaps: Vec<bool>,
}

impl Starts {
    /// Of samples at `timestamps_ms`.
    pub(crate) fn new(timestamps_ms: &[i64], starts_ms: &[i64]) -> Self {
        let pairs = timestamps_ms.windows(2).zip(starts_ms.windows(2));
        let [mut began, mut overlaps] = [vec![false], vec![false]];
        for (times, starts) in pairs {
            began.push(begins(starts[0], times[0], starts[1], times[1]));
            overlaps.push(starts[1] != 0 && starts[1] < times[0] && starts[1] != starts[0]);
        }
        Self {
            since_ms: starts_ms.to_vec(),
            began,
            overlaps,
        }
    }

    /// When the counter began, if that is in the window, before its first sample.
    pub(super) fn inside(&self, first: usize, first_ms: i64, begin_ms: i64) -> Option<i64> {
        let start_ms = self.since_ms.get(first).copied()?;
        (start_ms != 0 && start_ms > begin_ms && start_ms < first_ms).then_some(start_ms)
    }

    /// Whether any sample claims to have begun before the sample before.
    pub(crate) fn any_overlap(&self) -> bool {
        self.overlaps.contains(&true)
    }

    /// Whether such a sample is in the window, and not its first.
    pub(crate) fn overlap_in(&self, (from, to): (u32, u32)) -> bool {
        let inside = self.overlaps.get(from as usize + 1..to as usize);
        inside.is_some_and(|inside| inside.contains(&true))
    }
}

/// Whether a counter began anew between two samples. A start at the very time of the sample before
/// is one of a delta, unless nothing is known of where that began.
fn begins(before_start_ms: i64, before_ms: i64, start_ms: i64, time_ms: i64) -> bool {
    if start_ms == 0 || start_ms >= time_ms || start_ms < before_ms {
        return false;
    }
    start_ms > before_ms || (before_start_ms != 0 && before_start_ms < before_ms)
}

/// `irate`: the second of the last two samples is the difference where the counter began anew.
pub(super) fn instant(input: &Input<'_>, starts: &Starts, out: &mut [f64]) {
    for (slot, (from, to)) in out.iter_mut().zip(&input.edges.spans) {
        let (from, to) = (*from as usize, *to as usize);
        *slot = ABSENT;
        if to < from + 2 {
            continue;
        }
        let apart_ms = input.timestamps_ms[to - 1] - input.timestamps_ms[to - 2];
        let (before, last) = (input.values[to - 2], input.values[to - 1]);
        if apart_ms == 0 {
            continue;
        }
        let difference = if last < before || starts.began[to - 1] {
            last
        } else {
            last - before
        };
        *slot = difference / (apart_ms as f64 / 1000.0);
    }
}

/// `resets`.
pub(super) fn resets(input: &Input<'_>, starts: &Starts, out: &mut [f64]) {
    for (slot, (from, to)) in out.iter_mut().zip(&input.edges.spans) {
        let (from, to) = (*from as usize, *to as usize);
        *slot = if from < to {
            let fell = |at: &usize| input.values[*at] < input.values[at - 1] || starts.began[*at];
            (from + 1..to).filter(fell).count() as f64
        } else {
            ABSENT
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_behind_the_sample_before_is_a_reset() {
        for (before_start, start, want) in [
            (0, 0, false),
            (0, 50, true),
            (0, -10, false),
            (0, 100, false),
            (0, 120, false),
            // Deltas begin where the one before ended.
            (-60, 40, true),
            (0, 40, false),
            (40, 40, false),
            (45, 40, false),
        ] {
            assert_eq!(
                begins(before_start, 40, start, 100),
                want,
                "{before_start} {start}"
            );
        }
    }
}

//! When a target is scraped: at a phase of its own within the interval, anchored to absolute time.

use barograph_model::Labels;

use crate::target::Endpoint;

/// Most a scrape may be late and still carry the scheduled time, milliseconds; at most a hundredth
/// of the interval. Exact spacing costs nothing to store.
const TOLERANCE_MS: i64 = 2;

/// The moments of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

impl Schedule {
    /// The phase comes from a hash of labels and URL, so that targets spread over the interval and
    /// each keeps its phase over restarts; `seed` tells replicas apart.
    pub(crate) fn new(labels: &Labels, endpoint: &Endpoint, seed: u64, interval_ms: i64) -> Self {
        let identity = format!("{:016}{}", labels.stable_hash(), endpoint.url);
        let interval_ms = interval_ms.max(1);
        let offset = (fnv1a(identity.as_bytes()) ^ seed) % interval_ms.unsigned_abs();
        Self {
            interval_ms,
            offset_ms: offset as i64,
        }
    }

    /// The first scheduled moment after `after_ms`.
    pub(crate) fn next_after(&self, after_ms: i64) -> i64 {
        let since = (after_ms - self.offset_ms).rem_euclid(self.interval_ms);
        after_ms - since + self.interval_ms
    }

    /// The timestamp of a scrape that was due at `due_ms` and begins at `now_ms`.
    pub(crate) fn timestamp(&self, due_ms: i64, now_ms: i64) -> i64 {
        let tolerance_ms = TOLERANCE_MS.min(self.interval_ms / 100);
        if (now_ms - due_ms).abs() <= tolerance_ms {
            due_ms
        } else {
            now_ms
        }
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(instance: &str, seed: u64, interval_ms: i64) -> Schedule {
        let endpoint = Endpoint {
            url: format!("http://{instance}/metrics"),
            unix_socket: None,
        };
        let labels = Labels::from_pairs([("instance", instance)]);
        Schedule::new(&labels, &endpoint, seed, interval_ms)
    }

    #[test]
    fn moments_are_anchored_and_spread() {
        let interval_ms = 15_000;
        let mut phases = Vec::new();
        for target in 0..200 {
            let schedule = schedule(&format!("host{target}:1"), 7, interval_ms);
            let first = schedule.next_after(1_700_000_000_000);
            assert!((1..=interval_ms).contains(&(first - 1_700_000_000_000)));
            assert_eq!(schedule.next_after(first), first + interval_ms);
            assert_eq!(schedule.next_after(first - 1), first);
            phases.push(first % interval_ms);
        }
        for third in 0..3 {
            let part = third * 5_000..(third + 1) * 5_000;
            let count = phases.iter().filter(|phase| part.contains(*phase)).count();
            assert!(count > 40, "{count} of 200 in one third");
        }
        assert_ne!(
            schedule("a:1", 1, interval_ms),
            schedule("a:1", 2, interval_ms)
        );
    }

    #[test]
    fn small_delays_are_aligned() {
        let schedule = schedule("a:1", 0, 15_000);
        for (late_ms, want_ms) in [(0, 0), (1, 0), (2, 0), (3, 3), (-1, 0), (400, 400)] {
            assert_eq!(
                schedule.timestamp(1_000_000, 1_000_000 + late_ms),
                1_000_000 + want_ms
            );
        }
        let fast = super::Schedule {
            interval_ms: 100,
            offset_ms: 0,
        };
        assert_eq!(
            fast.timestamp(1_000, 1_002),
            1_002,
            "a hundredth of 100 ms is 1 ms"
        );
    }
}

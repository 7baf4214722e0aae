//! Which series a key stands for.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use barograph_model::Labels;
use barograph_tsdb::{Db, GroupId, SeriesRef};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A series that nobody sent for two of these is forgotten here.
const GENERATION: Duration = Duration::from_mins(15);
/// Most series remembered in one generation; more are looked up by their labels each time.
const KNOWN_LIMIT: usize = 1 << 24;
/// Most groups. Targets beyond share them.
const GROUPS_LIMIT: u64 = 1 << 14;

/// A series as the receiver knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) series: SeriesRef,
    /// Number of the group its samples are appended to.
    pub(super) group: u32,
    /// Hash of what the sender said of its family.
    pub(super) described: u32,
}

/// The series that were sent lately, and the groups they are in: a sender's series with the same
/// `job` and `instance` come from one target, so they share their timestamps.
pub(super) struct KnownSeries {
    young: Keyed<Known>,
    old: Keyed<Known>,
    since: Instant,
    groups: Vec<Slot>,
    /// Numbers of groups, by the hash of their target.
    numbers: HashMap<u64, u32>,
    free: Vec<u32>,
}

struct Slot {
    group: Option<GroupId>,
    target: u64,
    /// In this generation.
    used: AtomicBool,
    used_before: bool,
}

impl KnownSeries {
    pub(super) fn new() -> Self {
        Self {
            young: Keyed::default(),
            old: Keyed::default(),
            since: Instant::now(),
            groups: Vec::new(),
            numbers: HashMap::new(),
            free: Vec::new(),
        }
    }

    /// What a key stands for, and whether it should be [kept](Self::keep) on.
    pub(super) fn get(&self, key: u128) -> Option<(Known, bool)> {
        if let Some(known) = self.young.get(&key) {
            return Some((*known, false));
        }
        self.old.get(&key).map(|known| (*known, true))
    }

    /// The group of a number that a [`Known`] names, which counts as used.
    pub(super) fn group(&self, number: u32) -> Option<GroupId> {
        let slot = self.groups.get(number as usize)?;
        slot.used.store(true, Ordering::Relaxed);
        slot.group
    }

    /// Remembers what a key stands for.
    pub(super) fn keep(&mut self, key: u128, known: Known) {
        if self.young.len() < KNOWN_LIMIT {
            self.young.insert(key, known);
        }
    }

    /// Forgets what a key stands for.
    pub(super) fn forget(&mut self, key: u128) {
        self.young.remove(&key);
        self.old.remove(&key);
    }

    /// The group for a series, made where there is none.
    pub(super) fn group_of(&mut self, db: &Db, labels: &Labels) -> u32 {
        let job = xxh3_64(labels.get("job").as_bytes());
        let mut target = xxh3_64_with_seed(labels.get("instance").as_bytes(), job);
        if self.numbers.len() as u64 >= GROUPS_LIMIT && !self.numbers.contains_key(&target) {
            target %= GROUPS_LIMIT;
        }
        if let Some(number) = self.numbers.get(&target) {
            return *number;
        }
        let slot = Slot {
            group: Some(db.open_group()),
            target,
            used: AtomicBool::new(true),
            used_before: true,
        };
        let number = if let Some(number) = self.free.pop() {
            self.groups[number as usize] = slot;
            number
        } else {
            self.groups.push(slot);
            self.groups.len() as u32 - 1
        };
        self.numbers.insert(target, number);
        number
    }

    /// Whether [`KnownSeries::turn`] is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= GENERATION
    }

    /// Begins a generation: forgets the series and closes the groups that were not used in the two
    /// before. A group outlives every series that names it.
    pub(super) fn turn(&mut self, db: &Db, now: Instant) {
        if !self.is_due(now) {
            return;
        }
        self.since = now;
        self.old = std::mem::take(&mut self.young);
        for (number, slot) in (0..).zip(&mut self.groups) {
            let used = std::mem::take(slot.used.get_mut());
            if !used
                && !slot.used_before
                && let Some(group) = slot.group.take()
            {
                db.close_group(group);
                self.numbers.remove(&slot.target);
                self.free.push(number);
            }
            slot.used_before = used;
        }
    }

    /// How many series are remembered.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// A map whose keys are hashes already.
type Keyed<T> = HashMap<u128, T, BuildHasherDefault<Half>>;

/// Takes half of a hash as the hash.
#[derive(Default)]
struct Half(u64);

impl Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("BUG: a key that is no hash");
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

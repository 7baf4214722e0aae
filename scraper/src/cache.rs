//! What the last scrapes of one target taught: which line is which series.
//!
//! A line is recognised by a keyed 128-bit hash of its series text, not by the text itself: at a
//! hundred and more bytes a line the texts would outweigh everything else a series costs. Two lines
//! of one target share a hash with a probability of n²/2¹²⁹.
//!
//! The first guess is positional: the line that followed the last line in the last scrape. The
//! second is a hash table. Only what misses both is parsed, relabelled and registered.

use std::hash::{BuildHasher, RandomState};

use barograph_tsdb::SeriesRef;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Index of an entry.
pub(crate) type Slot = u32;

/// A line that was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    hash: u128,
    /// The series, or `None` where relabelling dropped it.
    pub(crate) series: Option<SeriesRef>,
    /// The scrape that had it last.
    seen: u32,
    /// Where it stood in that scrape.
    position: u32,
    length: u32,
    /// Whether it gets a staleness marker when it vanishes.
    tracked: bool,
    /// Whether it was tracked in the scrape before the one that saw it last.
    was_live: bool,
}

/// The lines of one target.
pub(crate) struct SeriesCache {
    seed: u64,
    entries: Vec<Entry>,
    free: Vec<Slot>,
    table: HashTable<Slot>,
    /// The slots of the last complete scrape, in order of its lines.
    order: Vec<Slot>,
    /// The order of the scrape under way; the spare memory of `order` between scrapes.
    next_order: Vec<Slot>,
    cursor: usize,
    scrape: u32,
    /// How many entries the scrape under way has seen.
    seen: usize,
    /// How many entries were left after the last complete scrape.
    settled: usize,
    /// Series without an entry that are to be marked stale unless the next scrape has them.
    orphans: Vec<SeriesRef>,
}

/// What the cache knows of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    No,
    /// Its entry.
    Slot(Slot),
}

/// A line recognised by its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    /// Its entry.
    pub(crate) slot: Slot,
    /// How long its series text is.
    pub(crate) length: usize,
}

impl SeriesCache {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        Self {
            seed: RandomState::new().hash_one(0u8),
            entries: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            order: Vec::new(),
            next_order: Vec::new(),
            cursor: 0,
            scrape: 1,
            seen: 0,
            settled: 0,
            orphans: Vec::new(),
        }
    }

    /// How many lines are known.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Begins a scrape.
    pub(crate) fn begin(&mut self) {
        self.scrape += 1;
        self.cursor = 0;
        self.seen = 0;
        self.next_order.clear();
    }

    /// The entry whose series text `rest` begins with, if it is the one expected here.
    #[inline]
    pub(crate) fn guess(&self, rest: &[u8]) -> Option<Hit> {
        let slot = *self.order.get(self.cursor)?;
        let entry = &self.entries[slot as usize];
        let length = entry.length as usize;
        let text = rest.get(..length)?;
        (xxh3_128_with_seed(text, self.seed) == entry.hash).then_some(Hit { slot, length })
    }

    /// The entry of a line that was not guessed.
    pub(crate) fn find(&self, series: &[u8]) -> (u128, Known) {
        let hash = xxh3_128_with_seed(series, self.seed);
        let found = self.table.find(hash as u64, |slot| {
            let entry = &self.entries[*slot as usize];
            entry.hash == hash && entry.length as usize == series.len()
        });
        (hash, found.map_or(Known::No, |slot| Known::Slot(*slot)))
    }

    /// Notes that the scrape has this entry. Returns it, and whether it was seen in this scrape
    /// before.
    #[inline]
    pub(crate) fn see(&mut self, slot: Slot, tracked: bool) -> (Option<SeriesRef>, bool) {
        let position = self.next_order.len() as u32;
        self.next_order.push(slot);
        let entry = &mut self.entries[slot as usize];
        if entry.seen == self.scrape {
            if self.order.get(self.cursor) == Some(&slot) {
                self.cursor += 1;
            }
            return (entry.series, true);
        }
        entry.was_live = entry.tracked && entry.seen + 1 == self.scrape;
        entry.tracked = tracked;
        entry.seen = self.scrape;
        self.cursor = entry.position as usize + 1;
        entry.position = position;
        self.seen += 1;
        (entry.series, false)
    }

    /// Adds a line that the scrape has for the first time.
    pub(crate) fn insert(
        &mut self,
        hash: u128,
        length: usize,
        series: Option<SeriesRef>,
        tracked: bool,
    ) -> Slot {
        let entry = Entry {
            hash,
            series,
            seen: self.scrape,
            position: self.next_order.len() as u32,
            length: length as u32,
            tracked: tracked && series.is_some(),
            was_live: false,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = entry;
            slot
        } else {
            self.entries.push(entry);
            (self.entries.len() - 1) as Slot
        };
        let entries = &self.entries;
        self.table.insert_unique(hash as u64, slot, |slot| {
            entries[*slot as usize].hash as u64
        });
        self.next_order.push(slot);
        self.seen += 1;
        slot
    }

    /// Gives an entry the reference of a series that had to be registered again.
    pub(crate) fn replace_series(&mut self, slot: Slot, series: SeriesRef) {
        self.entries[slot as usize].series = Some(series);
    }

    /// Ends a scrape that went well: calls `stale` with each series that vanished, and forgets
    /// lines it did not have.
    pub(crate) fn finish(&mut self, mut stale: impl FnMut(SeriesRef)) {
        std::mem::swap(&mut self.order, &mut self.next_order);
        if self.seen < self.len() || !self.orphans.is_empty() {
            let present = self.present();
            for index in 0..self.entries.len() {
                let entry = self.entries[index];
                if entry.length == 0 || entry.seen == self.scrape {
                    continue;
                }
                if let Some(series) = entry.series
                    && entry.tracked
                    && entry.seen + 1 == self.scrape
                    && !present.contains(&series)
                {
                    stale(series);
                }
                self.forget(index as Slot);
            }
            for series in std::mem::take(&mut self.orphans) {
                if !present.contains(&series) {
                    stale(series);
                }
            }
        }
        self.settled = self.len();
    }

    /// Ends a scrape that failed, whatever it has seen so far: calls `stale` with each series the
    /// scrape before had. Returns whether the cache had grown so large that it was emptied of what
    /// no scrape confirmed.
    pub(crate) fn fail(&mut self, mut stale: impl FnMut(SeriesRef)) -> bool {
        for entry in &mut self.entries {
            let in_this = entry.seen == self.scrape;
            let live = if in_this {
                entry.was_live
            } else {
                entry.tracked && entry.seen + 1 == self.scrape
            };
            if in_this {
                entry.seen = 0;
                entry.was_live = false;
            }
            if let (true, Some(series)) = (live, entry.series) {
                stale(series);
            }
        }
        self.orphans.drain(..).for_each(stale);
        let flush = self.len() > 2 * self.settled + 1000;
        if flush {
            for index in 0..self.entries.len() {
                if self.entries[index].length > 0 {
                    self.forget(index as Slot);
                }
            }
            self.order.clear();
            self.settled = 0;
        }
        flush
    }

    /// Remembers series whose staleness markers could not be stored.
    pub(crate) fn owe_stale(&mut self, series: impl IntoIterator<Item = SeriesRef>) {
        self.orphans.extend(series);
    }

    /// Forgets every line, because lines now mean other series; the series of the last scrape are
    /// marked stale by the next unless it has them.
    pub(crate) fn reset(&mut self) {
        let scrape = self.scrape;
        let live = self
            .entries
            .iter()
            .filter(|e| e.tracked && e.seen == scrape && e.length > 0);
        self.orphans.extend(live.filter_map(|e| e.series));
        self.entries.clear();
        self.free.clear();
        self.table.clear();
        self.order.clear();
        self.settled = 0;
    }

    /// The series of the scrape under way.
    fn present(&self) -> std::collections::HashSet<SeriesRef> {
        let here = self
            .entries
            .iter()
            .filter(|e| e.seen == self.scrape && e.length > 0);
        here.filter_map(|e| e.series).collect()
    }

    fn forget(&mut self, slot: Slot) {
        let hash = self.entries[slot as usize].hash;
        if let Ok(found) = self.table.find_entry(hash as u64, |other| *other == slot) {
            found.remove();
        }
        let entry = &mut self.entries[slot as usize];
        entry.length = 0;
        entry.seen = 0;
        entry.tracked = false;
        entry.series = None;
        self.free.push(slot);
    }
}

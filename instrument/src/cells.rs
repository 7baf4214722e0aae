//! Counting without contention: a cell of memory per metric and thread, as the kernel's per-CPU
//! counters do it.
//!
//! A thread that counts claims a *slot* and is the only writer of the slot's cells, so counting is
//! a plain load, add and store: no locked instruction, no cache line that moves between cores.
//! Reading a metric adds up its cells over all slots. A slot keeps its cells when its thread ends
//! and passes them, values and all, to the next thread that claims it.
//!
//! There is a limit on slots and one on cells. Where either is reached, or a thread is ending and
//! has given up its slot, [`Cells::of_this_thread`] says `None` and the metric counts in a place
//! of its own that all threads share.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Threads that count without contention at one time; those beyond share.
const MAX_SLOTS: usize = 128;
/// Cells are made in blocks of this many, when a thread first counts in one of them: 4 KiB.
const CHUNK_CELLS: usize = 512;
/// Metrics beyond this many chunks of cells (a million counters) share among threads.
const MAX_CHUNKS: usize = 2048;

type Chunk = Box<[AtomicU64; CHUNK_CELLS]>;

struct Slot {
    /// Its place in [`SLOTS`].
    index: usize,
    chunks: Box<[OnceLock<Chunk>]>,
}

static SLOTS: [OnceLock<Slot>; MAX_SLOTS] = [const { OnceLock::new() }; MAX_SLOTS];
/// Slots that have ever been claimed are those before this index.
static SLOTS_USED: AtomicUsize = AtomicUsize::new(0);
/// Slots whose thread has ended.
static FREE_SLOTS: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static FREE_CELLS: Mutex<FreeCells> = Mutex::new(FreeCells {
    end: 0,
    ranges: BTreeMap::new(),
});

/// What may be given to new metrics.
struct FreeCells {
    /// Cells from here on were never given away.
    end: usize,
    /// What metrics have given back: where ranges of each length start.
    ranges: BTreeMap<u32, Vec<u32>>,
}

thread_local! {
    static SLOT: Cell<Claim> = const { Cell::new(Claim::NotYet) };
    /// Gives the slot back when the thread ends.
    static RETURN: ReturnSlot = const { ReturnSlot };
}

#[derive(Clone, Copy)]
enum Claim {
    NotYet,
    Slot(&'static Slot),
    /// There was no slot to claim, or the thread is ending.
    Refused,
}

struct ReturnSlot;

impl Drop for ReturnSlot {
    fn drop(&mut self) {
        if let Claim::Slot(slot) = SLOT.replace(Claim::Refused) {
            lock(&FREE_SLOTS).push(slot.index);
        }
    }
}

/// Some cells of every slot, which belong to one metric until it is dropped.
pub(crate) struct Cells {
    start: u32,
    count: u32,
}

impl Cells {
    /// Takes `count` cells, all zero. `None` when there are no more, or `count` is more than a
    /// chunk has.
    pub(crate) fn take(count: usize) -> Option<Self> {
        let mut free = lock(&FREE_CELLS);
        let wanted = u32::try_from(count).ok()?;
        if let Some(start) = free.ranges.get_mut(&wanted).and_then(Vec::pop) {
            return Some(Self {
                start,
                count: wanted,
            });
        }
        if count > CHUNK_CELLS {
            return None;
        }
        // A metric's cells lie in one chunk.
        let room = CHUNK_CELLS - free.end % CHUNK_CELLS;
        let start = if count > room {
            free.end + room
        } else {
            free.end
        };
        if start + count > MAX_CHUNKS * CHUNK_CELLS {
            return None;
        }
        free.end = start + count;
        Some(Self {
            start: start as u32,
            count: wanted,
        })
    }

    /// This thread's cells, of which it is the only writer.
    #[inline]
    pub(crate) fn of_this_thread(&self) -> Option<&[AtomicU64]> {
        let Claim::Slot(slot) = SLOT.get() else {
            return self.claim();
        };
        match slot.chunks[self.start as usize / CHUNK_CELLS].get() {
            Some(chunk) => Some(self.within(chunk)),
            None => Some(self.within(self.chunk(slot))),
        }
    }

    /// The one cell of this thread, where the metric has but one.
    #[inline]
    pub(crate) fn one_of_this_thread(&self) -> Option<&AtomicU64> {
        let Claim::Slot(slot) = SLOT.get() else {
            return self.claim()?.first();
        };
        let chunk = match slot.chunks[self.start as usize / CHUNK_CELLS].get() {
            Some(chunk) => chunk,
            None => self.chunk(slot),
        };
        Some(&chunk[self.start as usize % CHUNK_CELLS])
    }

    /// Shows the cells of every slot that has any.
    pub(crate) fn for_each_slot(&self, mut visit: impl FnMut(&[AtomicU64])) {
        let used = SLOTS_USED.load(Ordering::Acquire);
        for slot in SLOTS.iter().take(used).filter_map(OnceLock::get) {
            if let Some(chunk) = slot.chunks[self.start as usize / CHUNK_CELLS].get() {
                visit(self.within(chunk));
            }
        }
    }

    #[inline]
    fn within<'c>(&self, chunk: &'c Chunk) -> &'c [AtomicU64] {
        let first = self.start as usize % CHUNK_CELLS;
        &chunk[first..first + self.count as usize]
    }

    #[cold]
    fn chunk(&self, slot: &'static Slot) -> &'static Chunk {
        slot.chunks[self.start as usize / CHUNK_CELLS]
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; CHUNK_CELLS]))
    }

    #[cold]
    fn claim(&self) -> Option<&[AtomicU64]> {
        if matches!(SLOT.get(), Claim::Refused) {
            return None;
        }
        // Registers the return of the slot; a thread that is past it gets none.
        let claimed = RETURN.try_with(|_| claim_slot()).ok().flatten();
        SLOT.set(claimed.map_or(Claim::Refused, Claim::Slot));
        claimed.map(|slot| self.within(self.chunk(slot)))
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // Nobody else has a handle now, so nobody counts in these cells: zeroing them races with
        // no one, and the lock hands the zeros to whoever takes them next.
        self.for_each_slot(|cells| {
            for cell in cells {
                cell.store(0, Ordering::Relaxed);
            }
        });
        lock(&FREE_CELLS)
            .ranges
            .entry(self.count)
            .or_default()
            .push(self.start);
    }
}

fn claim_slot() -> Option<&'static Slot> {
    // The lock also makes the values of the thread before visible to the next owner.
    let mut free = lock(&FREE_SLOTS);
    let index = if let Some(index) = free.pop() {
        index
    } else {
        let next = SLOTS_USED.load(Ordering::Relaxed);
        if next == MAX_SLOTS {
            return None;
        }
        SLOTS_USED.store(next + 1, Ordering::Release);
        next
    };
    let make = || Slot {
        index,
        chunks: (0..MAX_CHUNKS).map(|_| OnceLock::new()).collect(),
    };
    Some(SLOTS[index].get_or_init(make))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(cells: &Cells) -> u64 {
        let mut total = 0;
        cells.for_each_slot(|slot| total += slot[0].load(Ordering::Relaxed));
        total
    }

    #[test]
    fn cells_that_are_given_back_are_zero_for_the_next() {
        for _ in 0..100 {
            let cells = Cells::take(3).expect("cells");
            assert_eq!(sum(&cells), 0);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        if let Some(mine) = cells.of_this_thread() {
                            mine[0].store(7, Ordering::Relaxed);
                        }
                    });
                }
            });
            assert!(sum(&cells) > 0);
        }
    }

    #[test]
    fn a_metrics_cells_never_cross_a_chunk() {
        let mut taken: Vec<Cells> = (0..20).filter_map(|_| Cells::take(100)).collect();
        taken.extend(Cells::take(CHUNK_CELLS));
        assert!(taken.len() > 20);
        for cells in &taken {
            assert!(cells.start as usize % CHUNK_CELLS + cells.count as usize <= CHUNK_CELLS);
        }
        assert!(Cells::take(CHUNK_CELLS + 1).is_none());
    }
}

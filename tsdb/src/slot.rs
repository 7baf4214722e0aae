//! Where the handler of SIGBUS finds what is mapped: slots that it reads without a lock while other
//! threads take them and give them back.
//!
//! A sequence lock per slot, whose writers hold a lock of their own; a reader that is disturbed need
//! not try again, see [`Slot::mark`]. `tests/loom.rs` tries this file with every order of execution
//! that the memory model has.

use crate::sync::{AtomicUsize, Ordering, fence};

/// A range of addresses that is mapped, or none.
pub(crate) struct Slot {
    /// Odd while the slot is taken. Never the same again.
    pub(crate) version: AtomicUsize,
    pub(crate) start: AtomicUsize,
    pub(crate) length: AtomicUsize,
    /// The newest version in which bytes of the range were gone.
    pub(crate) lost: AtomicUsize,
}

impl Slot {
    pub(crate) fn is_free(&self) -> bool {
        self.version.load(Ordering::Relaxed).is_multiple_of(2)
    }

    /// Takes the slot, which is free, for a range; whoever does so holds the lock. Returns the
    /// version, by which it is given back.
    pub(crate) fn take(&self, start: usize, length: usize) -> usize {
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Whoever sees the new range sees too that the version before is over.
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.length.store(length, Ordering::Relaxed);
        self.version.store(version, Ordering::Release);
        version
    }

    /// Gives the slot back: before the range is unmapped, so that no slot ever has addresses that
    /// may be someone else's.
    pub(crate) fn give_back(&self, version: usize) {
        self.version
            .store(version.wrapping_add(1), Ordering::Release);
    }

    /// Whether bytes of the range were gone since the slot was taken.
    pub(crate) fn is_lost(&self, version: usize) -> bool {
        self.lost.load(Ordering::Acquire) == version
    }

    /// Notes that the bytes at `address` are gone, if it is in the range. The thread that reads there
    /// holds the range, so its slot does not change meanwhile: one that does is none of its.
    pub(crate) fn mark(&self, address: usize) -> bool {
        let version = self.version.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let length = self.length.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_taken =
            !version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        let is_inside = address.checked_sub(start).is_some_and(|at| at < length);
        if is_taken && is_inside {
            self.lost.store(version, Ordering::Release);
        }
        is_taken && is_inside
    }
}

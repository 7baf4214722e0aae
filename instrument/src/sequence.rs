//! A sequence lock with one writer, which never waits: see Boehm, "Can seqlocks get along with
//! programming language memory models?" (2012).
//!
//! What it guards are atomics too, read and written relaxed. `tests/loom.rs` tries this file with
//! every order of execution that the memory model has.

use crate::sync::{AtomicU64, Ordering, fence};

/// Changes what `sequence` guards. Only one thread may do so.
#[inline]
pub(crate) fn write(sequence: &AtomicU64, change: impl FnOnce()) {
    let number = sequence.load(Ordering::Relaxed);
    sequence.store(number.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    change();
    sequence.store(number.wrapping_add(2), Ordering::Release);
}

/// Copies what `sequence` guards, and says whether all of it is of one moment.
#[inline]
pub(crate) fn read<T>(sequence: &AtomicU64, copy: impl FnOnce() -> T) -> (T, bool) {
    let before = sequence.load(Ordering::Acquire);
    let copied = copy();
    fence(Ordering::Acquire);
    let undisturbed = before.is_multiple_of(2) && sequence.load(Ordering::Relaxed) == before;
    (copied, undisturbed)
}

//! The heap of a program that measures: how many bytes it holds, and held at most.
#![allow(
    unsafe_code,
    reason = "an allocator that counts is the only way to tell the heap from its slack"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// The system's allocator, counting while it is told to. A program makes it its own with
/// `#[global_allocator]`.
pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static HELD_BYTES: AtomicI64 = AtomicI64::new(0);
static PEAK_BYTES: AtomicI64 = AtomicI64::new(0);

/// Counts from zero from now on.
pub fn begin() {
    HELD_BYTES.store(0, Relaxed);
    PEAK_BYTES.store(0, Relaxed);
    COUNTS.store(true, Relaxed);
}

/// Counts no more: counting costs time where threads allocate at once.
pub fn end() {
    COUNTS.store(false, Relaxed);
}

/// Bytes allocated and not freed since counting began. What was allocated before and freed since
/// counts against it.
pub fn held_bytes() -> usize {
    HELD_BYTES.load(Relaxed).max(0) as usize
}

/// The most there were at a time.
pub fn peak_bytes() -> usize {
    PEAK_BYTES.load(Relaxed).max(0) as usize
}

// SAFETY: every call is the system allocator's; only counters are kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Relaxed) {
            let size = layout.size() as i64;
            let held = HELD_BYTES.fetch_add(size, Relaxed) + size;
            PEAK_BYTES.fetch_max(held, Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if COUNTS.load(Relaxed) {
            HELD_BYTES.fetch_sub(layout.size() as i64, Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

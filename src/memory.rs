//! What is free goes back to the system.
//!
//! The allocator is the C library's. Under a scrape load it held 390 B per series where a
//! thread-caching one held 950: scrapes are stored on whichever thread is free, and a cache per
//! thread keeps a little of everything on each. What the C library does not do by itself is give
//! back what a large query leaves behind; a thread sees to that.

#![allow(
    unsafe_code,
    reason = "the allocator's settings are functions of the C library"
)]

use std::time::Duration;

/// Heaps among which threads are spread: one per core of a small machine. Each keeps its own free
/// memory.
const HEAPS: i32 = 2;
/// Blocks of this size have pages of their own, which go back at once.
const OWN_PAGES_BYTES: i32 = 1 << 20;
/// Free memory at the end of a heap beyond this goes back at once.
const FREE_END_BYTES: i32 = 8 << 20;
/// How often free memory inside the heaps is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Free memory worth giving back, bytes; and its least share of what is in use, one in so many.
const WORTH_BYTES: usize = 16 << 20;
const WORTH_ONE_OF: usize = 8;

/// Sets the allocator up and keeps it small from now on. Called once, before other threads are
/// begun.
#[cfg(target_env = "gnu")]
pub(crate) fn keep_small() {
    // SAFETY: `mallopt` takes two numbers and changes settings of the allocator; no other thread
    // runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_END_BYTES);
    }
    let thread = std::thread::Builder::new().name("memory".to_owned());
    let spawned = thread.spawn(|| {
        loop {
            std::thread::sleep(LOOK_INTERVAL);
            give_back();
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for giving memory back; large queries leave theirs in use");
    }
}

/// Other C libraries give memory back their own way.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_small() {}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: `mallinfo2` reads the allocator's counters, under its locks.
    let info = unsafe { libc::mallinfo2() };
    if info.fordblks > WORTH_BYTES.max(info.uordblks / WORTH_ONE_OF) {
        // SAFETY: `malloc_trim` gives free pages back, under the allocator's locks.
        unsafe { libc::malloc_trim(0) };
    }
}

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

/// Bytes this process may have: what the machine has, or less where its control group says so. 0
/// where neither is known.
pub(crate) fn machine_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let groups = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let of_groups = groups
        .iter()
        .filter_map(|path| read(path).trim().parse().ok());
    let of_machine = total_of(&read("/proc/meminfo"));
    of_groups.chain(of_machine).min().unwrap_or(0)
}

/// The total that `/proc/meminfo` names, bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_the_machine_is_found() {
        let text = "MemTotal:       24570108 kB\nMemFree:         3510108 kB\n";
        assert_eq!(total_of(text), Some(24_570_108 << 10));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
    }
}

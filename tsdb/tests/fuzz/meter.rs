//! What a round may cost: memory of the thread that runs it, and time.
#![allow(
    unsafe_code,
    reason = "counting what is allocated needs an allocator, and those are unsafe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// After so long without an end a round hangs, however slow the machine.
const ROUND_LIMIT: Duration = Duration::from_mins(2);

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
    static ROUND: Cell<u64> = const { Cell::new(0) };
    static LIMIT_BYTES: Cell<i64> = const { Cell::new(i64::MAX) };
}

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

// SAFETY: memory is the system allocator's; counting beside it touches none of it.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !admit(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are those of the system allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !admit(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are those of the system allocator.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as i64);
        // SAFETY: `at` came from `alloc`, and so from the system allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Counts; says the round and refuses where it is too much. Refusing ends the process: nothing
/// may unwind out of an allocator.
fn admit(size: usize) -> bool {
    let held = HELD.get() + size as i64;
    if held > LIMIT_BYTES.get() && ROUND.get() > 0 {
        // What saying it takes is not counted.
        let round = ROUND.replace(0) - 1;
        let backtrace = std::backtrace::Backtrace::force_capture();
        eprintln!("fuzz: round {round} asks for {size} bytes more\n{backtrace}");
        return false;
    }
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
    true
}

/// Rounds that run now, and since when.
static RUNNING: Mutex<Vec<(u64, String, Instant)>> = Mutex::new(Vec::new());
static WATCH: Once = Once::new();
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Time of this thread on a processor, beside which a busy machine does not count.
pub(crate) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs one round, which may hold so much memory; returns the most it held.
pub(crate) fn measured(name: &str, limit_bytes: i64, round: u64, run: impl FnOnce()) -> i64 {
    WATCH.call_once(|| {
        std::thread::spawn(watch);
    });
    let key = NEXT.fetch_add(1, Ordering::Relaxed);
    running().push((key, format!("{name}, round {round}"), Instant::now()));
    let _over = Over(key);
    HELD.set(0);
    PEAK.set(0);
    LIMIT_BYTES.set(limit_bytes);
    ROUND.set(round + 1);
    run();
    ROUND.set(0);
    PEAK.get()
}

/// Takes a round off the list when it ends, well or not.
struct Over(u64);

impl Drop for Over {
    fn drop(&mut self) {
        ROUND.set(0);
        running().retain(|(have, ..)| *have != self.0);
    }
}

fn running() -> MutexGuard<'static, Vec<(u64, String, Instant)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        for (_, what, began) in running().iter() {
            if began.elapsed() > ROUND_LIMIT {
                eprintln!("fuzz: {what} does not end");
                std::process::exit(3);
            }
        }
    }
}

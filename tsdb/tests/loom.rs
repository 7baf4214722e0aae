//! Every interleaving, and every value a read may see, of what is lock-free here; with loom's atomics
//! in place of the standard library's. `docs/testing.md` says how to run it.
#![cfg(loom)]

#[path = "../src/slot.rs"]
mod slot;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering, fence};
}

use loom::sync::{Arc, Mutex};
use loom::thread;
use slot::Slot;
use sync::AtomicUsize;

/// The slots of a process, and the lock of those who take one.
struct Slots {
    slots: [Slot; 2],
    taking: Mutex<()>,
}

impl Slots {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            slots: std::array::from_fn(|_| Slot {
                version: AtomicUsize::new(0),
                start: AtomicUsize::new(0),
                length: AtomicUsize::new(0),
                lost: AtomicUsize::new(0),
            }),
            taking: Mutex::new(()),
        })
    }

    /// As `map.rs` does it: which slot, and its version.
    fn take(&self, start: usize, length: usize) -> (usize, usize) {
        let _taking = self.taking.lock().expect("nobody panicked");
        let free = self.slots.iter().position(Slot::is_free);
        let at = free.expect("as many as there are ranges");
        (at, self.slots[at].take(start, length))
    }

    /// What the handler does.
    fn fault(&self, address: usize) -> usize {
        self.slots.iter().filter(|slot| slot.mark(address)).count()
    }

    fn is_lost(&self, (at, version): (usize, usize)) -> bool {
        self.slots[at].is_lost(version)
    }

    fn give_back(&self, (at, version): (usize, usize)) {
        self.slots[at].give_back(version);
    }
}

#[test]
fn a_fault_marks_the_range_it_is_in_and_no_other() {
    loom::model(|| {
        let slots = Slots::new();
        let other = {
            let slots = slots.clone();
            thread::spawn(move || {
                // Neither has 15, but the beginning of one and the length of the other do.
                let first = slots.take(0, 5);
                assert!(!slots.is_lost(first));
                slots.give_back(first);
                let second = slots.take(100, 50);
                assert!(!slots.is_lost(second), "a fault elsewhere");
                assert_eq!(slots.fault(120), 1);
                assert!(slots.is_lost(second));
                slots.give_back(second);
            })
        };
        let mine = slots.take(10, 10);
        assert!(!slots.is_lost(mine));
        assert_eq!(slots.fault(15), 1, "its own, and only that");
        assert!(slots.is_lost(mine));
        other.join().expect("does not panic");
        assert!(slots.is_lost(mine), "and stays so");
        slots.give_back(mine);
    });
}

#[test]
fn what_was_lost_is_not_when_the_slot_is_taken_anew() {
    loom::model(|| {
        let slots = Slots::new();
        let mine = slots.take(10, 10);
        let reader = {
            let slots = slots.clone();
            thread::spawn(move || assert_eq!(slots.fault(15), 1))
        };
        // Two threads read from one range.
        assert_eq!(slots.fault(12), 1);
        reader.join().expect("does not panic");
        assert!(slots.is_lost(mine));
        slots.give_back(mine);
        let again = slots.take(10, 10);
        assert_eq!(again.0, mine.0);
        assert!(!slots.is_lost(again));
    });
}

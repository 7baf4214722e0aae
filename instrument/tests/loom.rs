//! Every interleaving, and every value a read may see, of what is lock-free here; with loom's atomics
//! in place of the standard library's. `docs/testing.md` says how to run it.
#![cfg(loom)]

#[path = "../src/sequence.rs"]
mod sequence;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

use loom::sync::Arc;
use loom::thread;
use sync::{AtomicU64, Ordering::Relaxed};

/// As the cells of a histogram: a sequence number, a sum, two counts.
struct Cells([AtomicU64; 4]);

impl Cells {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// What an observation makes of them. Only stored: loom looks for another order at the last access
    /// of each of them only, which must not be a read of the writer's own.
    fn set(&self, values: [u64; 3]) {
        let [number, guarded @ ..] = &self.0;
        sequence::write(number, || {
            for (cell, value) in guarded.iter().zip(values) {
                cell.store(value, Relaxed);
            }
        });
    }

    fn read(&self) -> Option<[u64; 3]> {
        let [number, guarded @ ..] = &self.0;
        let (copied, undisturbed) = sequence::read(number, || {
            std::array::from_fn(|at| guarded[at].load(Relaxed))
        });
        undisturbed.then_some(copied)
    }
}

#[test]
fn what_is_read_is_of_one_moment() {
    loom::model(|| {
        let cells = Arc::new(Cells::new());
        let writer = {
            let cells = cells.clone();
            thread::spawn(move || {
                // 3 in the first bucket, then 5 in the second.
                cells.set([3, 1, 0]);
                cells.set([8, 1, 1]);
            })
        };
        if let Some([sum, first, second]) = cells.read() {
            assert_eq!(sum, first * 3 + second * 5);
            assert!(first >= second, "the first is observed first");
        }
        writer.join().expect("does not panic");
        assert_eq!(cells.read(), Some([8, 1, 1]));
    });
}

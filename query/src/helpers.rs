//! Threads that help queries which read much. They are few and fixed, and work only while cores are
//! not taken by queries of their own: with every slot busy each query has its one thread.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;

/// Most threads that help.
const HELPERS_LIMIT: usize = 7;

/// Work that several threads can take part in.
pub(crate) trait Task: Send + Sync {
    /// Works until nothing is left or `may_go_on` says no.
    fn help(&self, may_go_on: &dyn Fn() -> bool);
}

/// The threads. They end with it.
pub(crate) struct Helpers {
    shared: Arc<Shared>,
    started: Once,
}

struct Shared {
    /// Cores there are for queries.
    cores: usize,
    /// Queries under way.
    evaluating: AtomicUsize,
    /// Threads that help one of them.
    helping: AtomicUsize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    tasks: Vec<Arc<dyn Task>>,
    closed: bool,
}

/// A query under way.
pub(crate) struct Evaluating<'a>(&'a Shared);

impl Helpers {
    /// For a machine of so many cores; the threads are started when they are first needed.
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                cores,
                evaluating: AtomicUsize::new(0),
                helping: AtomicUsize::new(0),
                state: Mutex::default(),
                arrived: Condvar::new(),
            }),
            started: Once::new(),
        }
    }

    /// Counts a query for as long as the result is held.
    pub(crate) fn begin(&self) -> Evaluating<'_> {
        self.shared.evaluating.fetch_add(1, Relaxed);
        Evaluating(&self.shared)
    }

    /// Whether a core has nothing to do for queries.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.busy() < self.shared.cores
    }

    /// Asks for help with a task, as much as there are cores left.
    pub(crate) fn offer(&self, task: &Arc<impl Task + 'static>) {
        let room = self.shared.cores.saturating_sub(self.shared.busy());
        let room = room.min(HELPERS_LIMIT);
        if room == 0 {
            return;
        }
        self.started.call_once(|| self.start());
        let mut state = self.shared.lock();
        for _ in 0..room {
            state.tasks.push(task.clone());
        }
        drop(state);
        self.shared.arrived.notify_all();
    }

    fn start(&self) {
        for index in 0..self.shared.cores.saturating_sub(1).min(HELPERS_LIMIT) {
            let shared = self.shared.clone();
            let spawned = thread::Builder::new()
                .name(format!("query-help-{index}"))
                .spawn(move || shared.work());
            if let Err(error) = spawned {
                tracing::error!(%error, "a thread that helps queries could not be started");
            }
        }
    }
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers").finish_non_exhaustive()
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_all();
    }
}

impl Drop for Evaluating<'_> {
    fn drop(&mut self) {
        self.0.evaluating.fetch_sub(1, Relaxed);
    }
}

impl Shared {
    fn busy(&self) -> usize {
        self.evaluating.load(Relaxed) + self.helping.load(Relaxed)
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            self.helping.fetch_add(1, Relaxed);
            let may_go_on = || self.busy() <= self.cores;
            if may_go_on() {
                let helped = catch_unwind(AssertUnwindSafe(|| task.help(&may_go_on)));
                if helped.is_err() {
                    tracing::error!("BUG: a thread that helps a query panicked");
                }
            }
            self.helping.fetch_sub(1, Relaxed);
        }
    }

    fn next(&self) -> Option<Arc<dyn Task>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(task) = state.tasks.pop() {
                return Some(task);
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    struct Told(Mutex<mpsc::Sender<&'static str>>);

    impl Task for Told {
        fn help(&self, may_go_on: &dyn Fn() -> bool) {
            let told = self.0.lock().expect("nobody panicked");
            let _ = told.send(if may_go_on() { "went on" } else { "stopped" });
        }
    }

    #[test]
    fn help_comes_where_a_core_is_free_and_only_there() {
        let helpers = Helpers::new(2);
        let (sender, told) = mpsc::channel();
        let task = Arc::new(Told(Mutex::new(sender)));
        let one = helpers.begin();
        assert!(helpers.has_room());
        helpers.offer(&task);
        let heard = told.recv_timeout(Duration::from_secs(10));
        assert_eq!(heard, Ok("went on"));
        let two = helpers.begin();
        assert!(!helpers.has_room(), "two queries have both cores");
        helpers.offer(&task);
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
        drop((one, two));
    }
}

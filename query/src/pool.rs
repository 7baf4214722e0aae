//! A fixed pool of threads for evaluation, with a lane reserved for rules.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use barograph_instrument::{Counter, Registry};

/// Stack of a thread of the pool, bytes: room for the deepest expression that parses.
const STACK_BYTES: usize = 16 << 20;
/// Most jobs of rules that may wait.
const RULES_QUEUE_LIMIT: usize = 100_000;

/// Who asks. Rules have threads that users cannot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The HTTP API.
    #[default]
    User,
    /// Recording and alerting rules.
    Rules,
}

/// The queue of a lane is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// How many jobs wait already.
    pub waiting: usize,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queries wait already: try again later or raise --query.max-concurrency",
            self.waiting
        )
    }
}

impl std::error::Error for Busy {}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs. Cloning shares it; the threads end with the last clone.
#[derive(Clone)]
pub struct Pool {
    owner: Arc<Owner>,
}

impl Pool {
    /// A pool whose user lane has `threads` threads, but no more than `max_concurrency`, and queues
    /// as many jobs again as `max_concurrency`; rules have one thread of their own besides.
    pub fn new(threads: usize, max_concurrency: usize) -> Self {
        let max_concurrency = max_concurrency.max(1);
        let shared = Arc::new(Shared {
            max_concurrency,
            user: Queue::new(max_concurrency),
            rules: Queue::new(RULES_QUEUE_LIMIT),
            panics: Counter::default(),
        });
        let user_threads = threads.clamp(1, max_concurrency);
        for index in 0..=user_threads {
            let lane = if index == 0 { Lane::Rules } else { Lane::User };
            let shared = shared.clone();
            let spawned = thread::Builder::new()
                .name(format!("query-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || shared.work(lane));
            if let Err(error) = spawned {
                tracing::error!(%error, "a thread for queries could not be started");
            }
        }
        Self {
            owner: Arc::new(Owner(shared)),
        }
    }

    /// Registers what the pool says about itself.
    pub fn register(&self, registry: &Registry) {
        let shared = self.owner.0.clone();
        registry.gauge_fn(
            "prometheus_engine_queries_concurrent_max",
            "The max number of concurrent queries.",
            move || shared.max_concurrency as f64,
        );
        let shared = self.owner.0.clone();
        registry.gauge_fn(
            "barograph_engine_queries_waiting",
            "Queries that wait for a thread, rules included.",
            move || (shared.user.waiting() + shared.rules.waiting()) as f64,
        );
        let shared = self.owner.0.clone();
        registry.counter_fn(
            "barograph_engine_query_panics_total",
            "Queries that hit a bug and were given up.",
            move || shared.panics.get(),
        );
    }

    /// Runs `job` on the pool. A job that panics takes nothing else down.
    ///
    /// # Errors
    /// The lane's queue is full.
    pub fn spawn(&self, lane: Lane, job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        self.owner.0.queue(lane).push(Box::new(job))
    }
}

/// Closes the queues when the last handle goes.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.user.close();
        self.0.rules.close();
    }
}

struct Shared {
    max_concurrency: usize,
    user: Queue,
    rules: Queue,
    panics: Counter,
}

impl Shared {
    fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::User => &self.user,
            Lane::Rules => &self.rules,
        }
    }

    fn work(&self, lane: Lane) {
        while let Some(job) = self.queue(lane).pop() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
                self.panics.inc();
                let text = payload
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or("no message");
                tracing::error!("BUG: a query panicked: {text}");
            }
        }
    }
}

/// Jobs of one lane, oldest first.
struct Queue {
    limit: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
    /// Threads that have nothing to do.
    idle: usize,
}

impl Queue {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    fn push(&self, job: Job) -> Result<(), Busy> {
        let mut state = self.lock();
        // A job that an idle thread will take at once does not wait.
        let waiting = state.jobs.len().saturating_sub(state.idle);
        if waiting >= self.limit {
            return Err(Busy { waiting });
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next job; waits for one, and gives none when the queue is closed and empty.
    fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn waiting(&self) -> usize {
        self.lock().jobs.len()
    }

    fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_full_user_lane_refuses_and_rules_go_on() {
        let pool = Pool::new(1, 1);
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        pool.spawn(Lane::User, move || {
            started.send(()).expect("the test waits");
            let _ = released.recv();
        })
        .expect("an idle thread");
        has_started.recv_timeout(SOON).expect("it starts");
        pool.spawn(Lane::User, || {}).expect("one may wait");
        let busy = pool.spawn(Lane::User, || {}).expect_err("two may not");
        assert_eq!(busy, Busy { waiting: 1 });
        let (done, is_done) = mpsc::channel();
        pool.spawn(Lane::Rules, move || done.send(()).expect("the test waits"))
            .expect("rules have their own lane");
        is_done.recv_timeout(SOON).expect("the rule ran");
        drop(release);
    }

    #[test]
    fn a_panic_is_counted_and_the_thread_lives_on() {
        let pool = Pool::new(1, 2);
        pool.spawn(Lane::User, || panic!("BUG: on purpose"))
            .expect("room");
        let (done, is_done) = mpsc::channel();
        pool.spawn(Lane::User, move || done.send(()).expect("the test waits"))
            .expect("room");
        is_done.recv_timeout(SOON).expect("the next job ran");
        assert_eq!(pool.owner.0.panics.get(), 1.0);
    }
}

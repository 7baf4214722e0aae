//! How fast the background may use the disk.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A token bucket of bytes, and the word that it is time to stop.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    /// Bytes a second; 0 is no limit.
    rate: u64,
    /// Bytes that may be used at once; negative while debts are waited for.
    balance: f64,
    filled: Instant,
    stopped: bool,
}

/// The bucket holds what this many seconds bring.
const BURST_SECONDS: f64 = 0.25;

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            state: Mutex::new(State {
                rate: bytes_per_second,
                balance: 0.0,
                filled: Instant::now(),
                stopped: false,
            }),
            wake: Condvar::new(),
        }
    }

    /// Takes the bytes, waiting until the budget has them.
    ///
    /// # Errors
    /// `Interrupted` once [`Pace::stop`] was called.
    pub(crate) fn spend(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.rate > 0 {
            let now = Instant::now();
            let rate = state.rate as f64;
            let filled = now.duration_since(state.filled).as_secs_f64() * rate;
            state.balance = (state.balance + filled).min(rate * BURST_SECONDS) - bytes as f64;
            state.filled = now;
            let until = now + Duration::from_secs_f64((-state.balance / rate).clamp(0.0, 3600.0));
            while !state.stopped {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let waited = self.wake.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        if state.stopped {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the store is closing",
            ));
        }
        Ok(())
    }

    /// Makes every `spend` fail from now on.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        drop(state);
        self.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time() {
        let pace = Pace::new(1_000_000);
        let began = Instant::now();
        for _ in 0..5 {
            pace.spend(20_000).expect("not stopped");
        }
        assert!(began.elapsed() >= Duration::from_millis(90));
        Pace::new(0).spend(u64::MAX).expect("no limit");
    }

    #[test]
    fn stopping_ends_a_wait() {
        let pace = Pace::new(10);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pace.spend(10_000));
            pace.stop();
            let error = waiting.join().expect("no panic").expect_err("stopped");
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        });
    }
}

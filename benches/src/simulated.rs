//! What simulated time needs: a clock that stands where it was put, and numbers from a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use barograph_model::Clock;

/// A clock that shows what it was set to, in milliseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub struct Time(pub Arc<AtomicI64>);

impl Clock for Time {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers from a seed, which is not 0; the same in every run (xorshift64*, Vigna 2016).
pub struct Noise(pub u64);

impl Noise {
    /// Some 64 bits.
    pub fn next_bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next_bits() >> 11) % end
    }
}

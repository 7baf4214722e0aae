//! Messages with bytes changed, for what reads them: a few rounds in every run of the tests, as many
//! as `BAROGRAPH_FUZZ_SECONDS` allows where that is set. `BAROGRAPH_FUZZ_SEED` makes other ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Rounds in every run of the tests.
const ROUNDS: u64 = 3_000;
/// Longest message that is made, bytes.
const LENGTH_LIMIT_BYTES: usize = 16 << 10;

/// Bytes that mean something where integers are: tags, lengths, ends of variable length.
const TELLING: [u8; 14] = [
    0, 1, 2, 8, 0x0a, 0x12, 0x22, 0x2a, 0x3a, 0x7f, 0x80, 0xfe, 0xff, b'"',
];

/// Numbers that a seed determines (xorshift64*, Vigna 2016).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }

    /// One of `seeds`, with one to six changes.
    fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            let end = bytes.len().min(at + 1 + self.below(24));
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                2 if at < bytes.len() => bytes[at] = TELLING[self.below(TELLING.len())],
                3 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    let piece = &other[from..other.len().min(from + self.below(64))];
                    bytes.splice(at..at, piece.iter().copied());
                }
                5 => {
                    bytes.drain(at..end);
                }
                // The longest integer there is, or one that is too long.
                6 => {
                    let long = [0xff; 10];
                    let length = 5 + self.below(6);
                    bytes.splice(at..at, long[..length].iter().copied().chain([1]));
                }
                _ if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1),
                _ => {}
            }
            bytes.truncate(LENGTH_LIMIT_BYTES);
        }
        bytes
    }
}

/// Runs `round` with changed messages. Where it panics, the message is printed.
pub(crate) fn run(name: &str, seeds: &[Vec<u8>], mut round: impl FnMut(&[u8], &mut Random)) {
    let number = |name| {
        let text = std::env::var(name).ok();
        text.map(|text| text.parse::<u64>().expect("a number"))
    };
    let seconds = number("BAROGRAPH_FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("BAROGRAPH_FUZZ_SEED").unwrap_or(1);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (began, mut rounds) = (Instant::now(), 0);
    while seconds.map_or(rounds < ROUNDS, |limit| began.elapsed() < limit) {
        let message = random.changed(seeds);
        let outcome = catch_unwind(AssertUnwindSafe(|| round(&message, &mut random)));
        assert!(outcome.is_ok(), "{name}: seed {seed}: {message:02x?}");
        rounds += 1;
    }
    println!("{name}: {rounds} rounds in {:.0?}", began.elapsed());
}

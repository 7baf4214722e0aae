//! Samples in few bytes: what a side buffer makes of those it has sorted.

use crate::bytes::{Malformed, Reader, put_signed};
use crate::page::token::{self, State, Step};

/// A sample that came late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) timestamp_ms: i64,
    pub(crate) bits: u64,
    /// Which append of its buffers brought it: readers see those before their own time.
    pub(crate) sequence: u32,
}

impl Late {
    /// What samples are sorted by. Those of one instant stay in the order in which they came.
    pub(crate) fn key(&self) -> (i64, u32) {
        (self.timestamp_ms, self.sequence)
    }
}

/// Whether the bytes say which append brought a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequences {
    Kept,
    /// They are zero when decoded.
    Dropped,
}

/// Appends samples, preferably sorted; times count from `base_ms`.
pub(crate) fn encode(samples: &[Late], base_ms: i64, sequences: Sequences, out: &mut Vec<u8>) {
    let (mut time, mut step, mut sequence) = (base_ms, 0i64, 0u32);
    let mut state = State::default();
    for sample in samples {
        let new_step = sample.timestamp_ms.wrapping_sub(time);
        put_signed(out, new_step.wrapping_sub(step));
        if sequences == Sequences::Kept {
            put_signed(out, i64::from(sample.sequence) - i64::from(sequence));
        }
        if sample.bits == state.last {
            token::put_run(out, 1);
        } else {
            token::put_value(out, &mut state, sample.bits);
        }
        (time, step, sequence) = (sample.timestamp_ms, new_step, sample.sequence);
    }
}

/// Appends `count` samples to `into`.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    count: usize,
    base_ms: i64,
    sequences: Sequences,
    into: &mut Vec<Late>,
) -> Result<(), Malformed> {
    let (mut time, mut step, mut sequence) = (base_ms, 0i64, 0i64);
    let mut state = State::default();
    for _ in 0..count {
        step = step.wrapping_add(reader.signed()?);
        time = time.wrapping_add(step);
        if sequences == Sequences::Kept {
            sequence = sequence.wrapping_add(reader.signed()?);
        }
        match token::next(reader, &mut state)? {
            Step::Value | Step::Run(1) => {}
            _ => return Err(reader.fail("a step that is no value among late samples")),
        }
        into.push(Late {
            timestamp_ms: time,
            bits: state.last,
            sequence: sequence as u32,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use barograph_model::STALE_NAN_BITS;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_survive(
            samples in prop::collection::vec(
                (
                    prop_oneof![any::<i64>(), 0i64..100_000],
                    prop_oneof![any::<u64>(), Just(STALE_NAN_BITS), (0u8..9).prop_map(|v| f64::from(v).to_bits())],
                    prop_oneof![any::<u32>(), 0u32..4],
                ),
                0..60,
            ),
            base_ms in prop_oneof![any::<i64>(), Just(0)],
            dropped in any::<bool>(),
        ) {
            let mut samples: Vec<Late> = samples
                .into_iter()
                .map(|(timestamp_ms, bits, sequence)| Late { timestamp_ms, bits, sequence })
                .collect();
            samples.sort_by_key(Late::key);
            let mut bytes = Vec::new();
            let sequences = [Sequences::Kept, Sequences::Dropped][usize::from(dropped)];
            if dropped {
                for sample in &mut samples {
                    sample.sequence = 0;
                }
            }
            encode(&samples, base_ms, sequences, &mut bytes);
            let read = |bytes: &[u8]| {
                let mut back = Vec::new();
                let mut reader = Reader::new(bytes);
                decode(&mut reader, samples.len(), base_ms, sequences, &mut back).map(|()| back)
            };
            let back = read(&bytes);
            prop_assert_eq!(back.as_ref(), Ok(&samples));
            if let Some(short) = bytes.len().checked_sub(1) {
                prop_assert!(read(&bytes[..short]).is_err());
            }
        }
    }
}

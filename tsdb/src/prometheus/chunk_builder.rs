//! Samples of one series become chunks.

use barograph_model::Histogram;

use super::chunk::encoding;
use super::floats::{Xor2Encoder, XorEncoder};
use super::histogram_encoder::HistogramEncoder;

/// Most samples of a chunk: Prometheus's own number, which its readers are fastest with.
const CHUNK_SAMPLES: usize = 120;

/// What a sample holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

/// A chunk ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct BuiltChunk {
    pub(crate) encoding: u8,
    pub(crate) data: Box<[u8]>,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) samples: u64,
}

/// Builds the chunks of a series. None reaches over the end of a span.
#[derive(Clone, Debug)]
pub(crate) struct ChunkBuilder {
    span_ms: i64,
    open: Option<Open>,
    pub(crate) done: Vec<BuiltChunk>,
}

#[derive(Clone, Debug)]
enum Open {
    Floats(XorEncoder),
    /// Floats of which some have start timestamps: older versions cannot read such a chunk.
    FloatsWithStarts(Xor2Encoder),
    Histograms(Box<HistogramEncoder>),
}

impl ChunkBuilder {
    pub(crate) fn new(span_ms: i64) -> Self {
        Self {
            span_ms: span_ms.max(1),
            open: None,
            done: Vec::new(),
        }
    }

    /// Time of the newest sample.
    pub(crate) fn last_ms(&self) -> Option<i64> {
        let open = self.open.as_ref().map(Open::last_ms);
        open.or_else(|| self.done.last().map(|chunk| chunk.max_ms))
    }

    /// Adds a sample; it is later than those before. A start timestamp of 0 is not known.
    pub(crate) fn push(&mut self, timestamp_ms: i64, value: Value<'_>, start_ms: i64) {
        let span_ms = self.span_ms;
        let goes_on = self.open.as_ref().is_some_and(|open| {
            open.len() < CHUNK_SAMPLES
                && open.last_ms().div_euclid(span_ms) == timestamp_ms.div_euclid(span_ms)
        });
        if !goes_on {
            self.cut();
        }
        let taken = match (&mut self.open, value) {
            (Some(Open::Floats(encoder)), Value::Float(value)) if start_ms == 0 => {
                encoder.push(timestamp_ms, value);
                true
            }
            (Some(Open::FloatsWithStarts(encoder)), Value::Float(value)) => {
                encoder.push(timestamp_ms, value, start_ms);
                true
            }
            (Some(Open::Histograms(encoder)), Value::Histogram(histogram)) => {
                encoder.push(timestamp_ms, histogram, start_ms)
            }
            _ => false,
        };
        if taken {
            return;
        }
        self.cut();
        self.open = Some(match value {
            Value::Float(value) if start_ms == 0 => {
                let mut encoder = XorEncoder::new();
                encoder.push(timestamp_ms, value);
                Open::Floats(encoder)
            }
            Value::Float(value) => {
                let mut encoder = Xor2Encoder::new();
                encoder.push(timestamp_ms, value, start_ms);
                Open::FloatsWithStarts(encoder)
            }
            Value::Histogram(histogram) => {
                let encoder = HistogramEncoder::new(timestamp_ms, histogram, start_ms);
                Open::Histograms(Box::new(encoder))
            }
        });
    }

    /// Ends the chunk under construction.
    pub(crate) fn cut(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        let (min_ms, max_ms, samples) = (open.first_ms(), open.last_ms(), open.len() as u64);
        let (encoding, data) = match open {
            Open::Floats(encoder) => (encoding::XOR, encoder.finish()),
            Open::FloatsWithStarts(encoder) => (encoding::XOR2, encoder.finish()),
            Open::Histograms(encoder) => {
                let encoding = match (encoder.is_float(), encoder.has_starts()) {
                    (false, false) => encoding::HISTOGRAM,
                    (false, true) => encoding::HISTOGRAM_STARTS,
                    (true, false) => encoding::FLOAT_HISTOGRAM,
                    (true, true) => encoding::FLOAT_HISTOGRAM_STARTS,
                };
                (encoding, encoder.finish())
            }
        };
        self.done.push(BuiltChunk {
            encoding,
            data: data.into(),
            min_ms,
            max_ms,
            samples,
        });
    }
}

impl Open {
    fn len(&self) -> usize {
        match self {
            Self::Floats(encoder) => encoder.len(),
            Self::FloatsWithStarts(encoder) => encoder.len(),
            Self::Histograms(encoder) => encoder.len(),
        }
    }

    fn first_ms(&self) -> i64 {
        match self {
            Self::Floats(encoder) => encoder.first_ms,
            Self::FloatsWithStarts(encoder) => encoder.first_ms,
            Self::Histograms(encoder) => encoder.first_ms,
        }
    }

    fn last_ms(&self) -> i64 {
        match self {
            Self::Floats(encoder) => encoder.last_ms,
            Self::FloatsWithStarts(encoder) => encoder.last_ms,
            Self::Histograms(encoder) => encoder.last_ms(),
        }
    }
}

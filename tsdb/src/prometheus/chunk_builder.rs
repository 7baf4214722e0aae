//! Samples of one series become chunks.

use barograph_model::Histogram;

use super::chunk::encoding;
use super::floats::XorEncoder;
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

    /// Adds a sample; it is later than those before.
    pub(crate) fn push(&mut self, timestamp_ms: i64, value: Value<'_>) {
        let span_ms = self.span_ms;
        let goes_on = self.open.as_ref().is_some_and(|open| {
            open.len() < CHUNK_SAMPLES
                && open.last_ms().div_euclid(span_ms) == timestamp_ms.div_euclid(span_ms)
        });
        if !goes_on {
            self.cut();
        }
        let taken = match (&mut self.open, value) {
            (Some(Open::Floats(encoder)), Value::Float(value)) => {
                encoder.push(timestamp_ms, value);
                true
            }
            (Some(Open::Histograms(encoder)), Value::Histogram(histogram)) => {
                encoder.push(timestamp_ms, histogram)
            }
            _ => false,
        };
        if taken {
            return;
        }
        self.cut();
        self.open = Some(match value {
            Value::Float(value) => {
                let mut encoder = XorEncoder::new();
                encoder.push(timestamp_ms, value);
                Open::Floats(encoder)
            }
            Value::Histogram(histogram) => {
                Open::Histograms(Box::new(HistogramEncoder::new(timestamp_ms, histogram)))
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
            Open::Histograms(encoder) if encoder.is_float() => {
                (encoding::FLOAT_HISTOGRAM, encoder.finish())
            }
            Open::Histograms(encoder) => (encoding::HISTOGRAM, encoder.finish()),
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
            Self::Histograms(encoder) => encoder.len(),
        }
    }

    fn first_ms(&self) -> i64 {
        match self {
            Self::Floats(encoder) => encoder.first_ms,
            Self::Histograms(encoder) => encoder.first_ms,
        }
    }

    fn last_ms(&self) -> i64 {
        match self {
            Self::Floats(encoder) => encoder.last_ms,
            Self::Histograms(encoder) => encoder.last_ms(),
        }
    }
}

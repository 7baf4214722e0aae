//! Delimited messages of `io.prometheus.client.MetricFamily`.

use barograph_model::histogram::Span;
use barograph_model::{CounterResetHint, FloatHistogram};

use super::format::Escaping;
use super::{Families, Latest, Series, cumulative};

/// Kinds of families, as numbered.
mod kind {
    pub(super) const UNTYPED: u64 = 3;
    pub(super) const HISTOGRAM: u64 = 4;
    pub(super) const GAUGE_HISTOGRAM: u64 = 5;
}

/// The page; every change of kind inside a name begins a family of its own.
pub(super) fn page(families: &Families<'_>, escaping: Escaping) -> Vec<u8> {
    let mut page = Message::default();
    for (name, series) in &families.by_name {
        let name = escaping.name(name);
        for family in series.chunk_by(|a, b| kind_of(a) == kind_of(b)) {
            let mut message = Message::default();
            message.bytes(1, name.as_bytes());
            message.integer(3, family.first().map_or(kind::UNTYPED, kind_of));
            for one in family {
                message.message(4, &metric(one, families, escaping));
            }
            page.varint(message.0.len() as u64);
            page.0.append(&mut message.0);
        }
    }
    page.0
}

fn kind_of(series: &Series) -> u64 {
    match &series.latest {
        Latest::Float(_) => kind::UNTYPED,
        Latest::Histogram(histogram) if histogram.counter_reset_hint == CounterResetHint::Gauge => {
            kind::GAUGE_HISTOGRAM
        }
        Latest::Histogram(_) => kind::HISTOGRAM,
    }
}

fn metric(series: &Series, families: &Families<'_>, escaping: Escaping) -> Message {
    let mut message = Message::default();
    for (name, value) in families.labels(&series.labels) {
        let mut label = Message::default();
        label.bytes(1, escaping.name(name).as_bytes());
        label.bytes(2, value.as_bytes());
        message.message(1, &label);
    }
    match &series.latest {
        Latest::Float(value) => {
            let mut untyped = Message::default();
            untyped.double(1, *value);
            message.message(5, &untyped);
        }
        Latest::Histogram(histogram) => message.message(7, &content(histogram)),
    }
    message.integer(6, series.timestamp_ms as u64);
    message
}

/// Custom bounds have a form in classic buckets only.
fn content(histogram: &FloatHistogram) -> Message {
    let mut message = Message::default();
    message.double(4, histogram.count);
    message.double(2, histogram.sum);
    if histogram.has_custom_bounds() {
        for (bound, count) in cumulative(histogram) {
            let mut bucket = Message::default();
            bucket.double(4, count);
            bucket.double(2, bound);
            message.message(3, &bucket);
        }
        return message;
    }
    message.signed(5, i64::from(histogram.schema));
    message.double(6, histogram.zero_threshold);
    message.double(8, histogram.zero_count);
    message.side(
        9,
        11,
        &histogram.negative_spans,
        &histogram.negative_buckets,
    );
    message.side(
        12,
        14,
        &histogram.positive_spans,
        &histogram.positive_buckets,
    );
    message
}

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, number: u64, value: u64) {
        self.varint(number << 3);
        self.varint(value);
    }

    /// With its sign in bit 0.
    fn signed(&mut self, number: u64, value: i64) {
        self.integer(number, ((value << 1) ^ (value >> 63)) as u64);
    }

    fn double(&mut self, number: u64, value: f64) {
        self.varint(number << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, number: u64, value: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, number: u64, value: &Self) {
        self.bytes(number, &value.0);
    }

    /// The buckets on one side of zero.
    fn side(&mut self, spans_number: u64, counts_number: u64, spans: &[Span], counts: &[f64]) {
        for span in spans {
            let mut message = Self::default();
            message.signed(1, i64::from(span.offset));
            message.integer(2, u64::from(span.length));
            self.message(spans_number, &message);
        }
        for count in counts {
            self.double(counts_number, *count);
        }
    }
}

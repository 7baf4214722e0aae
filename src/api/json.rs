//! JSON as the API writes it: by hand, and large results in pieces, so that a reply never stands
//! in memory as a whole.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use barograph_model::{FloatHistogram, Labels, Sample, number};
use barograph_query::{Series, Value, VectorSample};
use bytes::Bytes;
use http::HeaderName;

use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How much is encoded before it is handed to the socket.
const PIECE_BYTES: usize = 64 * 1024;
/// How many samples are encoded between two looks at the size of the piece.
const SAMPLES_PER_STEP: usize = PIECE_BYTES / 32;

/// The Content-Type header of every reply.
pub(crate) const CONTENT_TYPE: [(HeaderName, &str); 1] =
    [(http::header::CONTENT_TYPE, "application/json")];

/// Appends a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[clean..at]);
        clean = at + 1;
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// Appends milliseconds as seconds: `1795253405.610`, `1795253405` where whole.
pub(crate) fn push_timestamp(out: &mut String, timestamp_ms: i64) {
    if timestamp_ms < 0 {
        out.push('-');
    }
    let magnitude = timestamp_ms.unsigned_abs();
    let _ = write!(out, "{}", magnitude / 1000);
    let fraction = magnitude % 1000;
    if fraction > 0 {
        let _ = write!(out, ".{fraction:03}");
    }
}

/// Appends `[seconds,"value"]`.
pub(crate) fn push_sample(out: &mut String, sample: Sample) {
    out.push('[');
    push_timestamp(out, sample.timestamp_ms);
    out.push_str(",\"");
    number::push_json(out, sample.value);
    out.push_str("\"]");
}

/// Appends `[seconds,{histogram}]`; buckets without observations are left out.
pub(crate) fn push_histogram_sample(
    out: &mut String,
    timestamp_ms: i64,
    histogram: &FloatHistogram,
) {
    let push_text = |out: &mut String, number| {
        out.push('"');
        number::push_json(out, number);
        out.push('"');
    };
    out.push('[');
    push_timestamp(out, timestamp_ms);
    out.push_str(",{\"count\":");
    push_text(out, histogram.count);
    out.push_str(",\"sum\":");
    push_text(out, histogram.sum);
    let mut first = true;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.push_str(if first { ",\"buckets\":[[" } else { ",[" });
        first = false;
        out.push((b'0' + bucket.boundaries_code()) as char);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(',');
            push_text(out, number);
        }
        out.push(']');
    }
    out.push_str(if first { "}]" } else { "]}]" });
}

/// Appends a number: a JSON number has no NaN and no infinity, so those become 0.
pub(crate) fn push_number(out: &mut String, value: f64) {
    number::push_json(out, if value.is_finite() { value } else { 0.0 });
}

/// Appends labels as an object.
pub(crate) fn push_labels(out: &mut String, labels: &Labels) {
    push_object(out, labels, push_string);
}

/// Appends an object of the pairs.
pub(crate) fn push_object<'a, V>(
    out: &mut String,
    pairs: impl IntoIterator<Item = (&'a str, V)>,
    mut push_value: impl FnMut(&mut String, V),
) {
    out.push('{');
    for (index, (name, value)) in pairs.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_value(out, value);
    }
    out.push('}');
}

/// Appends a list.
pub(crate) fn push_list<V>(
    out: &mut String,
    items: impl IntoIterator<Item = V>,
    mut push_item: impl FnMut(&mut String, V),
) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_item(out, item);
    }
    out.push(']');
}

/// What a request is answered with.
pub(crate) struct Reply {
    data: Data,
    /// Warnings, as clients show them.
    pub(crate) warnings: Vec<String>,
    /// Hints, as clients show them.
    pub(crate) infos: Vec<String>,
}

enum Data {
    /// Written already.
    Text(String),
    /// A value, and what stands behind it in `data`.
    Value(Value, String),
}

impl Reply {
    /// A reply whose `data` is written already.
    pub(crate) fn text(data: String) -> Self {
        Self {
            data: Data::Text(data),
            warnings: Vec::new(),
            infos: Vec::new(),
        }
    }

    /// A reply whose `data` serializes. For small things.
    pub(crate) fn of(data: &impl serde::Serialize) -> Self {
        Self::text(serde_json::to_string(data).unwrap_or_else(|_| "null".into()))
    }

    /// A reply whose `data` is a list of strings.
    pub(crate) fn strings<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::new();
        push_list(&mut text, items, push_string);
        Self::text(text)
    }

    /// A query's result, and what else stands in `data`: `,"name":…` for each, or nothing.
    pub(crate) fn value(value: Value, members: &str) -> Self {
        let tail = format!("{members}}}");
        Self {
            data: Data::Value(value, tail),
            warnings: Vec::new(),
            infos: Vec::new(),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut tail = String::new();
        for (name, texts) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if !texts.is_empty() {
                let _ = write!(tail, ",\"{name}\":");
                push_list(&mut tail, texts.iter(), |out, text| push_string(out, text));
            }
        }
        tail.push('}');
        let head = "{\"status\":\"success\",\"data\":";
        match self.data {
            Data::Text(text) => (CONTENT_TYPE, format!("{head}{text}{tail}")).into_response(),
            Data::Value(value, behind) => {
                let writer = ValueWriter::new(value, head, format!("{behind}{tail}"));
                (CONTENT_TYPE, Body::new(writer)).into_response()
            }
        }
    }
}

/// Writes a value piece by piece.
pub(crate) struct ValueWriter {
    state: State,
    tail: String,
    /// What is written before the next piece's own text.
    pending: String,
}

enum State {
    Vector(std::vec::IntoIter<VectorSample>, bool),
    /// The series left, the series under way with how many of its samples are written.
    Matrix(std::vec::IntoIter<Series>, Option<(Series, usize)>, bool),
    Done,
    Ended,
}

impl ValueWriter {
    /// A writer of `head`, the value as `{"resultType":…,"result":…`, and `tail`.
    pub(crate) fn new(value: Value, head: &str, tail: String) -> Self {
        let mut pending = format!("{head}{{\"resultType\":");
        let state = match value {
            Value::Scalar(sample) => {
                pending.push_str("\"scalar\",\"result\":");
                push_sample(&mut pending, sample);
                State::Done
            }
            Value::String { timestamp_ms, text } => {
                pending.push_str("\"string\",\"result\":[");
                push_timestamp(&mut pending, timestamp_ms);
                pending.push(',');
                push_string(&mut pending, &text);
                pending.push(']');
                State::Done
            }
            Value::Vector(samples) => {
                pending.push_str("\"vector\",\"result\":[");
                State::Vector(samples.into_iter(), true)
            }
            Value::Matrix(series) => {
                pending.push_str("\"matrix\",\"result\":[");
                State::Matrix(series.into_iter(), None, true)
            }
        };
        Self {
            state,
            tail,
            pending,
        }
    }

    /// The next piece; `None` behind the last.
    pub(crate) fn next_piece(&mut self) -> Option<String> {
        if matches!(self.state, State::Ended) {
            return None;
        }
        let mut out = std::mem::take(&mut self.pending);
        while out.len() < PIECE_BYTES {
            let ended = match &mut self.state {
                State::Vector(samples, first) => push_element(&mut out, samples, first),
                State::Matrix(rest, current, first) => {
                    push_some_of_series(&mut out, rest, current, first)
                }
                State::Done => {
                    out.push_str(&self.tail);
                    self.state = State::Ended;
                    break;
                }
                State::Ended => break,
            };
            if ended {
                out.push(']');
                self.state = State::Done;
            }
        }
        Some(out)
    }
}

impl hyper::body::Body for ValueWriter {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        let piece = self.next_piece();
        Poll::Ready(piece.map(|piece| Ok(hyper::body::Frame::data(piece.into()))))
    }
}

/// Appends the next element; `true` where there is none.
fn push_element(
    out: &mut String,
    samples: &mut std::vec::IntoIter<VectorSample>,
    first: &mut bool,
) -> bool {
    let Some(element) = samples.next() else {
        return true;
    };
    separate(out, first);
    out.push_str("{\"metric\":");
    push_labels(out, &element.labels);
    if let Some(histogram) = &element.histogram {
        out.push_str(",\"histogram\":");
        push_histogram_sample(out, element.sample.timestamp_ms, histogram);
    } else {
        out.push_str(",\"value\":");
        push_sample(out, element.sample);
    }
    out.push('}');
    false
}

/// Appends the next samples of the series under way, or the beginning of the next series; `true`
/// where there is none.
fn push_some_of_series(
    out: &mut String,
    rest: &mut std::vec::IntoIter<Series>,
    current: &mut Option<(Series, usize)>,
    first: &mut bool,
) -> bool {
    if let Some((series, written)) = current.take() {
        // Samples are counted through: floats, then histograms.
        let floats = series.samples.len();
        let all = floats + series.histograms.len();
        let mut end = written;
        let limit = out.len() + PIECE_BYTES;
        while end < all.min(written + SAMPLES_PER_STEP) && out.len() < limit {
            out.push_str(match end {
                0 if floats > 0 => ",\"values\":[",
                _ if end == floats => match end {
                    0 => ",\"histograms\":[",
                    _ => "],\"histograms\":[",
                },
                _ => ",",
            });
            if let Some(sample) = series.samples.get(end) {
                push_sample(out, *sample);
            } else {
                let sample = &series.histograms[end - floats];
                push_histogram_sample(out, sample.timestamp_ms, &sample.histogram);
            }
            end += 1;
        }
        if end < all {
            *current = Some((series, end));
        } else {
            out.push_str(if all > 0 { "]}" } else { "}" });
        }
        return false;
    }
    let Some(series) = rest.next() else {
        return true;
    };
    separate(out, first);
    out.push_str("{\"metric\":");
    push_labels(out, &series.labels);
    *current = Some((series, 0));
    false
}

fn separate(out: &mut String, first: &mut bool) {
    if !std::mem::replace(first, false) {
        out.push(',');
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

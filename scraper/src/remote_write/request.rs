//! The two messages of remote write, read without copying.

use std::ops::Range;

use barograph_model::{Exemplar, LabelsBuilder, Metadata, MetricKind};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Message;
use crate::wire::{Fields, Malformed, Value};

/// Most symbols of one request.
const SYMBOLS_LIMIT: usize = 1 << 20;
/// Most series of one request.
const SERIES_LIMIT: usize = 1 << 20;

/// A request: where its series are, and what they refer to.
pub(super) struct Request<'a> {
    message: Message,
    body: &'a [u8],
    series: Vec<Range<u32>>,
    /// Texts of a version 2 message, and their hashes.
    symbols: Vec<(&'a [u8], u128)>,
    /// Families a version 1 message describes.
    pub(super) families: Vec<(String, Metadata)>,
}

/// One series of a request. Reuse it.
#[derive(Default)]
pub(super) struct Series<'a> {
    /// Stands for the labels: equal labels written alike have equal keys.
    pub(super) key: u128,
    /// Value, time and start time, both in milliseconds; start 0 where there is none.
    pub(super) samples: Vec<(f64, i64, i64)>,
    /// Messages of native histograms.
    pub(super) histograms: Vec<&'a [u8]>,
    /// Messages of exemplars.
    pub(super) exemplars: Vec<&'a [u8]>,
    /// The message about the family (version 2).
    pub(super) metadata: Option<&'a [u8]>,
    /// Hash of what that says.
    pub(super) described: u32,
    /// Label messages (version 1).
    labels: Vec<&'a [u8]>,
    /// Numbers of symbols (version 2).
    references: Vec<u32>,
    /// What a key is made from.
    scratch: Vec<u8>,
}

impl<'a> Request<'a> {
    /// Finds the parts of a message.
    pub(super) fn read(message: Message, body: &'a [u8], seed: u64) -> Result<Self, Malformed> {
        let mut request = Self {
            message,
            body,
            series: Vec::new(),
            symbols: Vec::new(),
            families: Vec::new(),
        };
        let (series_field, symbol_field) = match message {
            Message::V1 => (1, u32::MAX),
            Message::V2 => (5, 4),
        };
        let mut fields = Fields::new(body);
        while let Some((number, value)) = fields.next()? {
            if number == series_field {
                let length = value.bytes()?.len();
                if request.series.len() == SERIES_LIMIT {
                    return Err(Malformed("too many series in one request"));
                }
                let end = body.len() - fields.remaining();
                request.series.push((end - length) as u32..end as u32);
            } else if number == symbol_field {
                let text = value.bytes()?;
                if request.symbols.len() == SYMBOLS_LIMIT {
                    return Err(Malformed("too many symbols in one request"));
                }
                request.symbols.push((text, xxh3_128_with_seed(text, seed)));
            } else if number == 3 && message == Message::V1 {
                request.families.push(family(value.bytes()?)?);
            }
        }
        Ok(request)
    }

    /// How many series it has.
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    /// Reads a series.
    pub(super) fn series(
        &self,
        index: usize,
        seed: u64,
        out: &mut Series<'a>,
    ) -> Result<(), Malformed> {
        out.clear();
        let range = &self.series[index];
        let message = &self.body[range.start as usize..range.end as usize];
        match self.message {
            Message::V1 => out.read_v1(message, seed),
            Message::V2 => out.read_v2(message, seed, &self.symbols),
        }
    }

    /// The labels of a series; whether they are fit to be stored is not checked.
    pub(super) fn labels(
        &self,
        series: &Series<'a>,
        out: &mut LabelPairs<'a>,
    ) -> Result<(), Malformed> {
        out.clear();
        match self.message {
            Message::V1 => {
                for label in &series.labels {
                    out.push(pair(label)?);
                }
            }
            Message::V2 => self.pairs(&series.references, out)?,
        }
        Ok(())
    }

    /// The exemplar of a message.
    pub(super) fn exemplar(&self, message: &'a [u8]) -> Result<Exemplar, Malformed> {
        let (mut value, mut timestamp_ms) = (0.0, 0);
        let (mut references, mut pairs) = (Vec::new(), Vec::new());
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match (number, self.message) {
                (1, Message::V1) => pairs.push(pair(field.bytes()?)?),
                (1, Message::V2) => numbers(field, &mut references)?,
                (2, _) => value = field.double()?,
                (3, _) => timestamp_ms = field.integer()? as i64,
                _ => {}
            }
        }
        self.pairs(&references, &mut pairs)?;
        let mut labels = LabelsBuilder::new();
        for (name, value) in pairs {
            labels.set(text(name)?, text(value)?);
        }
        Ok(Exemplar {
            labels: labels.build(),
            value,
            timestamp_ms,
        })
    }

    /// What a version 2 message says of the family of a series, and a hash of it.
    pub(super) fn metadata(&self, message: &[u8]) -> Result<Metadata, Malformed> {
        let mut metadata = Metadata::default();
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => metadata.kind = kind(field.integer()?),
                3 => self.symbol_text(field, &mut metadata.help)?,
                4 => self.symbol_text(field, &mut metadata.unit)?,
                _ => {}
            }
        }
        Ok(metadata)
    }

    fn pairs(
        &self,
        references: &[u32],
        out: &mut Vec<(&'a [u8], &'a [u8])>,
    ) -> Result<(), Malformed> {
        if !references.len().is_multiple_of(2) {
            return Err(Malformed("an odd number of label references"));
        }
        for pair in references.chunks_exact(2) {
            out.push((self.symbol(pair[0])?, self.symbol(pair[1])?));
        }
        Ok(())
    }

    fn symbol(&self, reference: u32) -> Result<&'a [u8], Malformed> {
        let found = self.symbols.get(reference as usize);
        found
            .map(|(text, _)| *text)
            .ok_or(Malformed("a reference beyond the symbols"))
    }

    fn symbol_text(&self, field: Value<'_>, out: &mut String) -> Result<(), Malformed> {
        let reference = u32::try_from(field.integer()?).unwrap_or(u32::MAX);
        text(self.symbol(reference)?)?.clone_into(out);
        Ok(())
    }
}

/// Names and values as sent.
pub(super) type LabelPairs<'a> = Vec<(&'a [u8], &'a [u8])>;

impl<'a> Series<'a> {
    fn clear(&mut self) {
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata = None;
        self.described = 0;
        self.labels.clear();
        self.references.clear();
        self.scratch.clear();
    }

    fn read_v1(&mut self, message: &'a [u8], seed: u64) -> Result<(), Malformed> {
        // The labels as they stand are the key: a sender writes a series' labels alike each time.
        let mut labelled = 0..0;
        let mut scattered = false;
        let mut fields = Fields::new(message);
        let mut start = 0;
        while let Some((number, value)) = fields.next()? {
            let end = message.len() - fields.remaining();
            match number {
                1 => {
                    self.labels.push(value.bytes()?);
                    scattered |= start != labelled.end;
                    labelled.end = end;
                }
                2 => self.samples.push(sample(value.bytes()?)?),
                3 => self.exemplars.push(value.bytes()?),
                4 => self.histograms.push(value.bytes()?),
                _ => {}
            }
            start = end;
        }
        let written = if scattered {
            for label in &self.labels {
                self.scratch
                    .extend_from_slice(&(label.len() as u64).to_le_bytes());
                self.scratch.extend_from_slice(label);
            }
            &self.scratch
        } else {
            &message[labelled]
        };
        self.key = xxh3_128_with_seed(written, seed);
        Ok(())
    }

    fn read_v2(
        &mut self,
        message: &'a [u8],
        seed: u64,
        symbols: &[(&'a [u8], u128)],
    ) -> Result<(), Malformed> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => numbers(value, &mut self.references)?,
                2 => self.samples.push(sample(value.bytes()?)?),
                3 => self.histograms.push(value.bytes()?),
                4 => self.exemplars.push(value.bytes()?),
                5 => self.metadata = Some(value.bytes()?),
                _ => {}
            }
        }
        // Symbols have other numbers in each request: the key is made from their texts.
        for reference in &self.references {
            let found = symbols.get(*reference as usize);
            let (_, hash) = found.ok_or(Malformed("a reference beyond the symbols"))?;
            self.scratch.extend_from_slice(&hash.to_le_bytes());
        }
        self.key = xxh3_128_with_seed(&self.scratch, seed);
        if let Some(message) = self.metadata {
            self.described = described(message, symbols)?;
        }
        Ok(())
    }

    /// Whether it has a sample.
    pub(super) fn is_filled(&self) -> bool {
        !self.samples.is_empty() || !self.histograms.is_empty()
    }
}

/// Hash of what a message says of a family, whatever numbers its symbols have.
fn described(message: &[u8], symbols: &[(&[u8], u128)]) -> Result<u32, Malformed> {
    let mut hash = 1u64;
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        let value = field.integer()?;
        let part = match number {
            3 | 4 => {
                let found = usize::try_from(value).ok().and_then(|at| symbols.get(at));
                found.ok_or(Malformed("a reference beyond the symbols"))?.1 as u64
            }
            _ => value,
        };
        let mixed = hash.rotate_left(5) ^ part ^ u64::from(number);
        hash = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    Ok((hash >> 32) as u32)
}

/// Text of a name or value.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a text that is not UTF-8"))
}

fn pair(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value) = (&message[..0], &message[..0]);
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn sample(message: &[u8]) -> Result<(f64, i64, i64), Malformed> {
    let mut sample = (0.0, 0, 0);
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => sample.0 = field.double()?,
            2 => sample.1 = field.integer()? as i64,
            3 => sample.2 = field.integer()? as i64,
            _ => {}
        }
    }
    Ok(sample)
}

/// Appends numbers, packed or not.
fn numbers(value: Value<'_>, out: &mut Vec<u32>) -> Result<(), Malformed> {
    let beyond = Malformed("a reference beyond 32 bits");
    match value {
        Value::Bytes(bytes) => {
            let mut reader = Fields::new(bytes);
            while reader.remaining() > 0 {
                out.push(u32::try_from(reader.varint()?).map_err(|_| beyond)?);
            }
        }
        one => out.push(u32::try_from(one.integer()?).map_err(|_| beyond)?),
    }
    Ok(())
}

fn family(message: &[u8]) -> Result<(String, Metadata), Malformed> {
    let mut name = String::new();
    let mut metadata = Metadata::default();
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => metadata.kind = kind(field.integer()?),
            2 => field.text()?.clone_into(&mut name),
            4 => field.text()?.clone_into(&mut metadata.help),
            5 => field.text()?.clone_into(&mut metadata.unit),
            _ => {}
        }
    }
    Ok((name, metadata))
}

/// Both messages number the kinds alike.
fn kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

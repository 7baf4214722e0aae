//! Log records: what they say, and their bytes.
//!
//! A record is a frame around operations. All operations of one append share one frame, so that a
//! torn write loses the append as a whole. Checkpoints consist of the same frames.

use barograph_model::Labels;
use std::collections::HashMap;

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader, put_text, put_varint};
use crate::component::Belongs;
use crate::track::DEAD;

/// Length and checksum before the operations.
pub(crate) const FRAME_BYTES: usize = 8;
/// Longest record accepted when reading.
pub(crate) const RECORD_LIMIT_BYTES: usize = 1 << 30;

/// Kinds of operation, as written.
pub(crate) mod kind {
    /// Series join a track.
    pub(crate) const JOIN: u8 = 1;
    /// A row of a track with plain bitmaps, as it was written first.
    pub(crate) const PLAIN_ROW: u8 = 2;
    /// The open rows of a track become a chunk.
    pub(crate) const SEAL: u8 = 3;
    /// A place where reading can resume.
    pub(crate) const MARKER: u8 = 4;
    /// The state of a track, in a checkpoint.
    pub(crate) const TRACK: u8 = 5;
    /// Counters of the directory, in a checkpoint.
    pub(crate) const COUNTERS: u8 = 6;
    /// The end of a checkpoint.
    pub(crate) const END: u8 = 7;
    /// The state of some members of a track, in a checkpoint.
    pub(crate) const MEMBERS: u8 = 8;
    /// A layout of histograms.
    pub(crate) const LAYOUT: u8 = 9;
    /// Exemplars.
    pub(crate) const EXEMPLARS: u8 = 10;
    /// What metric families say of themselves.
    pub(crate) const FAMILIES: u8 = 11;
    /// Samples out of order.
    pub(crate) const LATE: u8 = 12;
    /// A row of a track.
    pub(crate) const ROW: u8 = 13;
    /// Samples out of order and which append brought each, in a checkpoint.
    pub(crate) const LATE_STATE: u8 = 14;
    /// The greatest kind there is.
    pub(crate) const LAST: u8 = LATE_STATE;
}

/// Bytes that begin a marker's body.
pub(crate) const MARKER_MAGIC: [u8; 16] = *b"\xf5barograph-mark\xf6";

/// Memory that a builder keeps whatever its last record was.
const SPARE_BYTES: usize = 256 << 10;
/// How much larger than the last record it may stay beyond that.
const SPARE_FACTOR: usize = 4;

/// Collects the operations of one record.
#[derive(Debug, Default)]
pub(crate) struct RecordBuilder {
    bytes: Vec<u8>,
    is_naming: bool,
}

impl RecordBuilder {
    /// Begins a record. The first record of a large group, which names its series, is many times as
    /// long as the rows that follow: memory for it is given back.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > (SPARE_FACTOR * self.bytes.len()).max(SPARE_BYTES) {
            self.bytes.shrink_to(2 * self.bytes.len());
        }
        self.bytes.clear();
        self.bytes.resize(FRAME_BYTES, 0);
        self.is_naming = false;
    }

    /// Adds an operation, whose body `write` appends.
    pub(crate) fn operation(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.is_naming |= matches!(kind, kind::JOIN | kind::LAYOUT);
        self.bytes.push(kind);
        let body = self.bytes.len();
        write(&mut self.bytes);
        // The length stands before the body, and is known after it.
        let end = self.bytes.len();
        put_varint(&mut self.bytes, (end - body) as u64);
        let length = self.bytes.len() - end;
        self.bytes[body..].rotate_right(length);
    }

    /// The record with its length, and room for the checksum, which depends on the file.
    pub(crate) fn finish(&mut self, salt: u32) -> &[u8] {
        let length = (self.bytes.len() - FRAME_BYTES) as u32;
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(salt, length, &self.bytes[FRAME_BYTES..]);
        self.bytes[4..FRAME_BYTES].copy_from_slice(&sum.to_le_bytes());
        &self.bytes
    }

    /// Notes that later records mean nothing without this one.
    pub(crate) fn set_naming(&mut self) {
        self.is_naming = true;
    }

    /// Whether later records mean nothing without this one.
    pub(crate) fn is_naming(&self) -> bool {
        self.is_naming
    }

    /// Size of the record so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no operation in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() <= FRAME_BYTES
    }
}

/// The checksum of a frame. The salt is the file's own, so that bytes left from elsewhere, or
/// label values made to look like a frame, are not taken for one.
pub(crate) fn checksum(salt: u32, length: u32, payload: &[u8]) -> u32 {
    let seeded = crc32c::crc32c_append(salt, &length.to_le_bytes());
    crc32c::crc32c_append(seeded, payload)
}

/// Splits a record's payload into operations.
pub(crate) fn operations(
    payload: &[u8],
) -> impl Iterator<Item = Result<(u8, &[u8]), Malformed>> + '_ {
    let mut reader = Reader::new(payload);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.is_at_end() {
            return None;
        }
        let mut one = || {
            let kind = reader.u8()?;
            let length = reader.count(1)?;
            Ok((kind, reader.take(length)?))
        };
        let one = one();
        failed = one.is_err();
        Some(one)
    })
}

/// Series that join a track at consecutive positions.
#[derive(Debug, PartialEq)]
pub(crate) struct Join {
    pub(crate) group: u32,
    pub(crate) track: u32,
    /// Row number at which a new track begins.
    pub(crate) first_row: u32,
    /// Position of the first of them.
    pub(crate) position: u32,
    /// The series; names for those that the log has not named since its beginning. A dead
    /// position has neither.
    pub(crate) series: Vec<(SeriesRef, Option<Name>)>,
}

/// What a series is called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Name {
    Labels(Labels),
    Component(Belongs),
}

impl Join {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for field in [self.group, self.track, self.first_row, self.position] {
            put_varint(out, u64::from(field));
        }
        put_varint(out, self.series.len() as u64);
        let mut texts = Texts::default();
        for (series, name) in &self.series {
            if *series == DEAD {
                out.push(0);
                continue;
            }
            out.push(match name {
                None => 1,
                Some(Name::Labels(_)) => 2,
                Some(Name::Component(_)) => 3,
            });
            put_varint(out, u64::from(series.slot));
            put_varint(out, u64::from(series.generation));
            match name {
                None => {}
                Some(Name::Component(belongs)) => belongs.write(out),
                Some(Name::Labels(labels)) => put_labels(out, &mut texts, labels),
            }
        }
    }
}

/// A join as it is read: texts once each, labels as numbers of them.
#[derive(Debug)]
pub(crate) struct ReadJoin<'a> {
    pub(crate) group: u32,
    pub(crate) track: u32,
    /// Row number at which a new track begins.
    pub(crate) first_row: u32,
    /// Position of the first of them.
    pub(crate) position: u32,
    /// The series.
    pub(crate) series: Vec<(SeriesRef, ReadName)>,
    /// What labels refer to.
    pub(crate) texts: Vec<&'a str>,
    /// Labels of all series.
    labels: Vec<TextPair>,
}

/// A label: numbers of its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextPair {
    pub(crate) name: u32,
    pub(crate) value: u32,
}

/// What a series that is read is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReadName {
    /// It was named before.
    Known,
    /// So many labels, from the first on.
    Labels {
        at: u32,
        count: u32,
    },
    Component(Belongs),
}

impl<'a> ReadJoin<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut join = Self {
            group: reader.varint_u32()?,
            track: reader.varint_u32()?,
            first_row: reader.varint_u32()?,
            position: reader.varint_u32()?,
            series: Vec::new(),
            texts: Vec::new(),
            labels: Vec::new(),
        };
        let count = reader.count(1)?;
        join.series.reserve_exact(count);
        for _ in 0..count {
            let form = reader.u8()?;
            if form == 0 {
                join.series.push((DEAD, ReadName::Known));
                continue;
            }
            let series = SeriesRef {
                slot: reader.varint_u32()?,
                generation: reader.varint_u32()?,
            };
            let name = match form {
                1 => ReadName::Known,
                2 => join.read_labels(reader)?,
                3 => ReadName::Component(Belongs::read(reader)?),
                _ => return Err(reader.fail("an unknown form of series")),
            };
            join.series.push((series, name));
        }
        Ok(join)
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, at: u32, count: u32) -> &[TextPair] {
        &self.labels[at as usize..][..count as usize]
    }

    fn read_labels(&mut self, reader: &mut Reader<'a>) -> Result<ReadName, Malformed> {
        let count = reader.count(2)?;
        let at = self.labels.len();
        for _ in 0..count {
            let pair = TextPair {
                name: self.read_text(reader)?,
                value: self.read_text(reader)?,
            };
            self.labels.push(pair);
        }
        let (before, own) = self.labels.split_at(at);
        // Mostly the names are those of the series before, which are in order.
        let before = &before[at.saturating_sub(count)..];
        let is_same = before.len() == count
            && matches!(self.series.last(), Some((_, ReadName::Labels { count: last, .. })) if *last as usize == count)
            && before.iter().zip(own).all(|(a, b)| a.name == b.name);
        let text = |number: u32| self.texts[number as usize];
        if !is_same && !own.is_sorted_by(|a, b| text(a.name) < text(b.name))
            || own.iter().any(|pair| text(pair.value).is_empty())
        {
            return Err(reader.fail("labels out of order"));
        }
        Ok(ReadName::Labels {
            at: at as u32,
            count: count as u32,
        })
    }

    fn read_text(&mut self, reader: &mut Reader<'a>) -> Result<u32, Malformed> {
        let next = self.texts.len();
        match reader.varint()? {
            0 => {
                self.texts.push(reader.text()?);
                Ok(next as u32)
            }
            number if number <= next as u64 => Ok(number as u32 - 1),
            _ => Err(reader.fail("a text that was not named before")),
        }
    }
}

/// Numbers of the texts of an operation. A text is written where it first occurs; later it is a
/// number. Targets repeat theirs.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    known: HashMap<Box<str>, u64>,
}

/// Appends labels.
pub(crate) fn put_labels(out: &mut Vec<u8>, texts: &mut Texts, labels: &Labels) {
    put_varint(out, labels.len() as u64);
    for (name, value) in labels {
        for text in [name, value] {
            let next = texts.known.len() as u64 + 1;
            if let Some(number) = texts.known.get(text) {
                put_varint(out, *number);
            } else {
                texts.known.insert(text.into(), next);
                out.push(0);
                put_text(out, text);
            }
        }
    }
}

/// Reads labels; `texts` are those of the operation so far.
pub(crate) fn read_labels<'a>(
    reader: &mut Reader<'a>,
    texts: &mut Vec<&'a str>,
) -> Result<Labels, Malformed> {
    let pairs = reader.count(2)?;
    let mut list: Vec<(&str, &str)> = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let name = read_known(reader, texts)?;
        list.push((name, read_known(reader, texts)?));
    }
    if !list.is_sorted_by(|a, b| a.0 < b.0) || list.iter().any(|p| p.1.is_empty()) {
        return Err(reader.fail("labels out of order"));
    }
    Ok(Labels::from_sorted(list.into_iter()))
}

fn read_known<'a>(reader: &mut Reader<'a>, known: &mut Vec<&'a str>) -> Result<&'a str, Malformed> {
    match reader.varint()? {
        0 => {
            let text = reader.text()?;
            known.push(text);
            Ok(text)
        }
        number => known
            .get(number as usize - 1)
            .copied()
            .ok_or_else(|| reader.fail("a text that was not named before")),
    }
}

/// Counters that must not go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) generation: u32,
    pub(crate) next_track: u32,
    pub(crate) next_group: u32,
    /// No row before this instant is accepted any more.
    pub(crate) floor_ms: i64,
    /// Samples before this instant were put into blocks. What of them is in no block was deleted
    /// since then, or is past the retention.
    pub(crate) head_start_ms: i64,
    /// About how many series follow.
    pub(crate) series: u32,
}

impl Counters {
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        for field in [self.generation, self.next_track, self.next_group] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.floor_ms.to_le_bytes());
        out.extend_from_slice(&self.head_start_ms.to_le_bytes());
        out.extend_from_slice(&self.series.to_le_bytes());
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            generation: reader.u32()?,
            next_track: reader.u32()?,
            next_group: reader.u32()?,
            floor_ms: reader.i64()?,
            head_start_ms: if reader.left() > 0 {
                reader.i64()?
            } else {
                i64::MIN
            },
            series: if reader.left() > 0 { reader.u32()? } else { 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_survive() {
        let series = |slot, labels| {
            (
                SeriesRef {
                    slot,
                    generation: 3,
                },
                labels,
            )
        };
        let labels = |value| {
            let pairs = [("__name__", "up"), ("instance", value)];
            Name::Labels(Labels::from_pairs(pairs))
        };
        let parent = SeriesRef {
            slot: 7,
            generation: 3,
        };
        let component = Name::Component(Belongs {
            parent,
            key: crate::component::ComponentKey::negative(-3),
        });
        let join = Join {
            group: 1,
            track: 2,
            first_row: 300,
            position: 4,
            series: vec![
                series(7, Some(labels("up"))),
                (DEAD, None),
                series(8, None),
                series(9, Some(labels("b"))),
                series(10, Some(component)),
            ],
        };
        let mut out = Vec::new();
        join.write(&mut out);
        let read = ReadJoin::read(&mut Reader::new(&out)).expect("reads");
        let named = |name: ReadName| match name {
            ReadName::Known => None,
            ReadName::Labels { at, count } => {
                let labels = read.labels(at, count).iter();
                let text = |number: u32| read.texts[number as usize];
                let texts = labels.map(|pair| (text(pair.name), text(pair.value)));
                Some(Name::Labels(Labels::from_pairs(texts)))
            }
            ReadName::Component(belongs) => Some(Name::Component(belongs)),
        };
        let numbers = [read.group, read.track, read.first_row, read.position];
        let back = Join {
            group: numbers[0],
            track: numbers[1],
            first_row: numbers[2],
            position: numbers[3],
            series: read.series.iter().map(|(s, n)| (*s, named(*n))).collect(),
        };
        assert_eq!(back, join);
        for cut in 0..out.len() {
            assert!(ReadJoin::read(&mut Reader::new(&out[..cut])).is_err());
        }
    }
}

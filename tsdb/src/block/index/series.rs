//! The series of an index of version 2: in groups of 16, each said by how it differs from the one
//! before.

use crate::block::index::groups::{self, GROUP};
use crate::block::index::pages::{self, Origin};
use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// Reads label pairs of series; those of one group one after the other in one go.
#[derive(Debug, Default)]
pub(crate) struct PairsCursor {
    /// The group it is in, and how many of its series were read.
    group: Option<u32>,
    read: u32,
    /// Where in the section the next series is, and where the pairs of the group end.
    at: usize,
    end: usize,
    pairs: Vec<u32>,
}

/// Finds pages of series, likewise.
#[derive(Debug, Default)]
pub(crate) struct PagesCursor {
    group: Option<u32>,
    passed: u32,
    at: usize,
    end: usize,
    origin: Origin,
}

impl PairsCursor {
    /// The pairs of a series, ascending.
    pub(crate) fn seek(&mut self, section: &[u8], series: u32) -> Result<&[u32], Malformed> {
        let (group, number) = (series / GROUP, series % GROUP);
        if self.group != Some(group) || self.read > number + 1 {
            let (bytes, from) = groups::group_of(section, series)?;
            let mut reader = Reader::new(bytes);
            let length = reader.count(1)?;
            self.group = None;
            self.at = from + reader.offset();
            self.end = self.at + length;
            self.read = 0;
            self.pairs.clear();
        } else if series >= groups::count(section)? {
            return Err(Malformed {
                offset: 0,
                what: "a series that is not there",
            });
        }
        // Whatever fails leaves no half of a series behind.
        self.group = None;
        let mut reader = Reader::new(section.get(self.at..self.end).unwrap_or_default());
        while self.read <= number {
            take_pairs(&mut reader, &mut self.pairs).map_err(|error| error.behind(self.at))?;
            self.read += 1;
        }
        self.at += reader.offset();
        // Of those passed over, nobody asks.
        if !self.pairs.is_sorted_by(|a, b| a < b) {
            return Err(Malformed {
                offset: self.at,
                what: "pairs of a series that do not ascend",
            });
        }
        self.group = Some(group);
        Ok(&self.pairs)
    }
}

impl PagesCursor {
    /// A reader of the references of a series, and what they are relative to. The reader goes on
    /// with those of the series behind.
    pub(crate) fn seek<'a>(
        &mut self,
        section: &'a [u8],
        series: u32,
    ) -> Result<(Reader<'a>, Origin), Malformed> {
        let (group, number) = (series / GROUP, series % GROUP);
        if self.group != Some(group) || self.passed > number {
            let (bytes, from) = groups::group_of(section, series)?;
            let mut reader = Reader::new(bytes);
            let length = reader.count(1)?;
            reader.take(length)?;
            self.origin = Origin::at(reader.varint()?);
            self.at = from + reader.offset();
            self.end = from + bytes.len();
            self.passed = 0;
        } else if series >= groups::count(section)? {
            return Err(Malformed {
                offset: 0,
                what: "a series that is not there",
            });
        }
        self.group = None;
        let bytes = section.get(self.at..self.end).unwrap_or_default();
        let mut reader = Reader::new(bytes);
        while self.passed < number {
            pages::skip(&mut reader, &mut self.origin).map_err(|error| error.behind(self.at))?;
            self.passed += 1;
        }
        self.at += reader.offset();
        self.group = Some(group);
        Ok((reader, self.origin))
    }
}

/// Most pairs of a series that can be told by which of them changed.
const CHANGES_LIMIT: usize = 64;

/// Appends the pairs of a series, which ascend; `before` are those of the one before in the group.
pub(crate) fn put_pairs(out: &mut Vec<u8>, before: Option<&[u32]>, pairs: &[u32]) {
    if let Some(before) = before
        && before.len() == pairs.len()
        && pairs.len() <= CHANGES_LIMIT
    {
        let changes = || before.iter().zip(pairs).enumerate();
        let changes = || changes().filter(|(_, (before, pair))| before != pair);
        let mask = changes().fold(0u64, |mask, (at, _)| mask | 1 << at);
        // Two series of the same pairs there are not.
        if mask != 0 {
            put_varint(out, mask);
            for (_, (before, pair)) in changes() {
                put_signed(out, i64::from(*pair) - i64::from(*before));
            }
            return;
        }
    }
    out.push(0);
    put_varint(out, pairs.len() as u64);
    let mut last = 0;
    for pair in pairs {
        put_varint(out, u64::from(pair - last));
        last = *pair;
    }
}

/// Reads what [`put_pairs`] wrote, over the pairs of the series before.
fn take_pairs(reader: &mut Reader<'_>, pairs: &mut Vec<u32>) -> Result<(), Malformed> {
    let mut mask = reader.varint()?;
    if mask == 0 {
        let count = reader.count(1)?;
        pairs.clear();
        let mut last = 0u32;
        for _ in 0..count {
            let pair = last.checked_add(reader.varint_u32()?);
            last = pair.ok_or_else(|| reader.fail("a pair number beyond 32 bits"))?;
            pairs.push(last);
        }
    } else {
        while mask != 0 {
            let at = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let step = reader.signed()?;
            let Some(pair) = pairs.get_mut(at) else {
                return Err(reader.fail("a change of a pair that is not there"));
            };
            let changed = i64::from(*pair).checked_add(step);
            let changed = changed.and_then(|pair| u32::try_from(pair).ok());
            *pair = changed.ok_or_else(|| reader.fail("a pair number beyond 32 bits"))?;
        }
    }
    Ok(())
}

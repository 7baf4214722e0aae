//! Label names and values of an index of version 2: per name a dictionary of its values, ascending,
//! each said by how it differs from the one before, every eighth whole.

use std::ops::Range;

use crate::bytes::{Malformed, Reader, put_varint};

/// Values from one that is whole to the next.
const GROUP: u32 = 8;
const OFFSET_BYTES: usize = 4;
/// Size of a row of the table of names.
const NAME_BYTES: usize = 12;
const COUNT_BYTES: usize = 4;

/// The table of names, read in place: u32 count; a row per name and one more, of three u32: where the
/// name begins in the texts behind the rows, its first pair, where its values begin in the section of
/// values. The row at the end says where all of these end.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    rows: &'a [u8],
    texts: &'a [u8],
    count: u32,
}

/// A name, and where its values are.
#[derive(Clone, Debug)]
pub(crate) struct Name<'a> {
    pub(crate) text: &'a str,
    pub(crate) pairs: Range<u32>,
    /// Of the section of values.
    values: Range<usize>,
}

impl<'a> Names<'a> {
    pub(crate) fn of(section: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(section);
        let count = reader.u32()?;
        let rows = reader.take((count as usize + 1).saturating_mul(NAME_BYTES))?;
        Ok(Self {
            rows,
            texts: reader.rest(),
            count,
        })
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// How many pairs there are.
    pub(crate) fn pair_count(&self) -> Result<u32, Malformed> {
        Ok(self.row(self.count)?.1)
    }

    /// A name by number.
    pub(crate) fn get(&self, number: u32) -> Result<Name<'a>, Malformed> {
        let fail = |what| Malformed {
            offset: number as usize * NAME_BYTES,
            what,
        };
        if number >= self.count {
            return Err(fail("a name that is not there"));
        }
        let (start, end) = (self.row(number)?, self.row(number + 1)?);
        let text = self.texts.get(start.0..end.0);
        let text = text.and_then(|text| std::str::from_utf8(text).ok());
        if start.1 > end.1 {
            return Err(fail("pairs out of order"));
        }
        Ok(Name {
            text: text.ok_or(fail("a name that is no text"))?,
            pairs: start.1..end.1,
            values: start.2..end.2,
        })
    }

    /// A name by its text.
    pub(crate) fn find(&self, text: &str) -> Result<Option<Name<'a>>, Malformed> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let name = self.get(middle)?;
            match name.text.cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(name)),
            }
        }
        Ok(None)
    }

    /// The name of a pair.
    pub(crate) fn of_pair(&self, pair: u32) -> Result<Name<'a>, Malformed> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.row(middle + 1)?.1 <= pair {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let name = self.get(low)?;
        if name.pairs.contains(&pair) {
            return Ok(name);
        }
        Err(Malformed {
            offset: 0,
            what: "a pair that is not there",
        })
    }

    fn row(&self, number: u32) -> Result<(usize, u32, usize), Malformed> {
        let at = number as usize * NAME_BYTES;
        let mut row = Reader::new(self.rows.get(at..).unwrap_or_default());
        Ok((row.u32()? as usize, row.u32()?, row.u32()? as usize))
    }
}

/// The values of a name: where each eighth begins, u32, counted from the first; then per value
/// varints of how many bytes it has in common with the one before (not where it is whole) and how
/// many others, and these.
#[derive(Clone, Copy)]
pub(crate) struct Dictionary<'a> {
    offsets: &'a [u8],
    entries: &'a [u8],
    count: u32,
}

/// Where reading of a dictionary is. It can be kept while no dictionary is held.
#[derive(Debug)]
pub(crate) struct ValueCursor {
    /// The number of the value in `text`; beyond all of them at first.
    number: u32,
    /// Where the next one is.
    at: usize,
    text: Vec<u8>,
}

impl<'a> Dictionary<'a> {
    pub(crate) fn of(section: &'a [u8], name: &Name<'_>) -> Result<Self, Malformed> {
        let count = name.pairs.end - name.pairs.start;
        let bytes = section.get(name.values.clone()).ok_or(Malformed {
            offset: 0,
            what: "values of a name that are not there",
        })?;
        let mut reader = Reader::new(bytes);
        let offsets = reader.take(count.div_ceil(GROUP) as usize * OFFSET_BYTES)?;
        Ok(Self {
            offsets,
            entries: reader.rest(),
            count,
        })
    }

    /// Goes to a value by number.
    pub(crate) fn seek(&self, cursor: &mut ValueCursor, number: u32) -> Result<(), Malformed> {
        if number >= self.count {
            return Err(Malformed {
                offset: number as usize,
                what: "a value that is not there",
            });
        }
        let first = number / GROUP * GROUP;
        self.seek_group(cursor, number / GROUP)?;
        for _ in first..number {
            self.advance(cursor)?;
        }
        Ok(())
    }

    /// Goes to a value by number, from where the cursor is if that is shorter.
    pub(crate) fn seek_near(&self, cursor: &mut ValueCursor, number: u32) -> Result<(), Malformed> {
        if number < cursor.number || number / GROUP > cursor.number / GROUP + 1 {
            return self.seek(cursor, number);
        }
        while cursor.number < number {
            if !self.advance(cursor)? {
                return self.seek(cursor, number);
            }
        }
        Ok(())
    }

    /// Goes to the next value; says whether there is one.
    #[inline]
    pub(crate) fn advance(&self, cursor: &mut ValueCursor) -> Result<bool, Malformed> {
        let next = cursor.number + 1;
        if next >= self.count {
            return Ok(false);
        }
        if next.is_multiple_of(GROUP) {
            self.seek_group(cursor, next / GROUP)?;
            return Ok(true);
        }
        let mut reader = Reader::new(self.entries.get(cursor.at..).unwrap_or_default());
        let (common, length) = (reader.varint()?, reader.count(1)?);
        if common > cursor.text.len() as u64 {
            return Err(reader.fail("a value with more in common than the one before has"));
        }
        cursor.text.truncate(common as usize);
        cursor.text.extend_from_slice(reader.take(length)?);
        cursor.at += reader.offset();
        cursor.number = next;
        Ok(true)
    }

    /// Goes to the first value that is not less than `least`; says whether there is one.
    pub(crate) fn seek_from(
        &self,
        cursor: &mut ValueCursor,
        least: &str,
    ) -> Result<bool, Malformed> {
        let (mut low, mut high) = (0, self.groups());
        while low < high {
            let middle = low.midpoint(high);
            if self.head(middle)?.0 < least.as_bytes() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if self.count == 0 {
            return Ok(false);
        }
        self.seek_group(cursor, low.saturating_sub(1))?;
        while cursor.text.as_slice() < least.as_bytes() {
            if !self.advance(cursor)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes to the first value behind that does not begin with `start`, which this one does; says
    /// whether there is one. Far ones are found in few steps.
    pub(crate) fn seek_without(
        &self,
        cursor: &mut ValueCursor,
        start: &[u8],
    ) -> Result<bool, Malformed> {
        while self.advance(cursor)? {
            if !cursor.text.starts_with(start) {
                return Ok(true);
            }
            if !cursor.number.is_multiple_of(GROUP) {
                continue;
            }
            let (mut has, mut step) = (cursor.number / GROUP, 1);
            while has + step < self.groups() && self.head(has + step)?.0.starts_with(start) {
                has += step;
                step *= 2;
            }
            let mut has_not = (has + step).min(self.groups());
            while has_not - has > 1 {
                let middle = has.midpoint(has_not);
                if self.head(middle)?.0.starts_with(start) {
                    has = middle;
                } else {
                    has_not = middle;
                }
            }
            self.seek_group(cursor, has)?;
        }
        Ok(false)
    }

    fn groups(&self) -> u32 {
        self.count.div_ceil(GROUP)
    }

    fn seek_group(&self, cursor: &mut ValueCursor, group: u32) -> Result<(), Malformed> {
        let (head, at) = self.head(group)?;
        cursor.number = group * GROUP;
        cursor.at = at;
        cursor.text.clear();
        cursor.text.extend_from_slice(head);
        Ok(())
    }

    /// The first value of a group, and where the next one is.
    fn head(&self, group: u32) -> Result<(&'a [u8], usize), Malformed> {
        let offset = self.offsets.get(group as usize * OFFSET_BYTES..);
        let at = Reader::new(offset.unwrap_or_default()).u32()? as usize;
        let mut reader = Reader::new(self.entries.get(at..).unwrap_or_default());
        let length = reader.count(1)?;
        let head = reader.take(length)?;
        Ok((head, at + reader.offset()))
    }
}

impl Default for ValueCursor {
    fn default() -> Self {
        Self {
            number: u32::MAX,
            at: 0,
            text: Vec::new(),
        }
    }
}

impl ValueCursor {
    /// The number of the value it is at.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The value it is at.
    pub(crate) fn text(&self) -> Result<&str, Malformed> {
        std::str::from_utf8(&self.text).map_err(|_| Malformed {
            offset: self.at,
            what: "a value that is not UTF-8",
        })
    }
}

/// Names and values under construction: the two sections.
#[derive(Default)]
pub(crate) struct TextsBuilder {
    rows: Vec<u8>,
    texts: Vec<u8>,
    names: u32,
    pairs: u32,
    values: Vec<u8>,
    /// Of the newest name.
    offsets: Vec<u32>,
    entries: Vec<u8>,
    before: String,
    own: u32,
    name: Option<String>,
}

impl TextsBuilder {
    /// Adds a pair; they come in order of (name, value).
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        if self.name.as_deref() != Some(name) {
            self.end_name();
            self.put_row();
            self.texts.extend_from_slice(name.as_bytes());
            self.names += 1;
            self.name = Some(name.to_owned());
        }
        let bytes = value.as_bytes();
        let common = if self.own.is_multiple_of(GROUP) {
            self.offsets.push(self.entries.len() as u32);
            0
        } else {
            let same = self.before.as_bytes().iter().zip(bytes);
            let common = same.take_while(|(a, b)| a == b).count();
            put_varint(&mut self.entries, common as u64);
            common
        };
        put_varint(&mut self.entries, (bytes.len() - common) as u64);
        self.entries.extend_from_slice(&bytes[common..]);
        value.clone_into(&mut self.before);
        self.own += 1;
        self.pairs += 1;
    }

    /// The sections of names and of values.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.end_name();
        self.put_row();
        let mut names = Vec::with_capacity(COUNT_BYTES + self.rows.len() + self.texts.len());
        names.extend_from_slice(&self.names.to_le_bytes());
        names.extend_from_slice(&self.rows);
        names.extend_from_slice(&self.texts);
        (names, self.values)
    }

    fn put_row(&mut self) {
        let row = [
            self.texts.len() as u32,
            self.pairs,
            self.values.len() as u32,
        ];
        for field in row {
            self.rows.extend_from_slice(&field.to_le_bytes());
        }
    }

    fn end_name(&mut self) {
        for offset in self.offsets.drain(..) {
            self.values.extend_from_slice(&offset.to_le_bytes());
        }
        self.values.append(&mut self.entries);
        self.own = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn check(pairs: &BTreeSet<(String, String)>) {
        let mut builder = TextsBuilder::default();
        for (name, value) in pairs {
            builder.push(name, value);
        }
        let (names, values) = builder.finish();
        let names = Names::of(&names).expect("just written");
        assert_eq!(names.pair_count(), Ok(pairs.len() as u32));
        let mut cursor = ValueCursor::default();
        for (number, (name, value)) in (0..).zip(pairs) {
            let found = names.of_pair(number).expect("is there");
            assert_eq!(found.text, name);
            let dictionary = Dictionary::of(&values, &found).expect("is there");
            let own = number - found.pairs.start;
            if own == 0 {
                cursor = ValueCursor::default();
            }
            dictionary.seek_near(&mut cursor, own).expect("is there");
            assert_eq!(cursor.text(), Ok(value.as_str()));
            dictionary.seek(&mut cursor, own).expect("is there");
            assert_eq!(cursor.text(), Ok(value.as_str()));
            assert_eq!(dictionary.seek_from(&mut cursor, value), Ok(true));
            assert_eq!(cursor.number(), own);
            for end in (0..=value.len()).filter(|end| value.is_char_boundary(*end)) {
                let start = &value[..end];
                let same = || pairs.iter().filter(|(have, _)| have == name);
                let behind = same().skip(own as usize).map(|(_, v)| v);
                let want = behind.clone().find(|v| !v.starts_with(start));
                dictionary.seek(&mut cursor, own).expect("is there");
                let found = dictionary.seek_without(&mut cursor, start.as_bytes());
                assert_eq!(found, Ok(want.is_some()));
                if let Some(want) = want {
                    assert_eq!(cursor.text(), Ok(want.as_str()));
                }
                let from = dictionary.seek_from(&mut cursor, start);
                assert_eq!(from, Ok(true));
                let want = same().map(|(_, v)| v).find(|v| v.as_str() >= start);
                assert_eq!(cursor.text().ok(), want.map(String::as_str));
            }
        }
        assert!(names.of_pair(pairs.len() as u32).is_err());
    }

    #[test]
    fn long_runs_of_common_beginnings_are_passed_over() {
        let value = |n: u32| format!("{}-{n:05}", ["aa", "ab", "b"][(n / 700) as usize % 3]);
        let pairs = (0..2100).map(|n| ("pod".to_owned(), value(n)));
        check(&pairs.step_by(3).collect());
    }

    proptest! {
        #[test]
        fn any_pairs_come_back(pairs in prop::collection::btree_set(
            ("[ab]{1,2}", prop_oneof!["[ab]{1,6}", "é{0,2}[ß-ü]{1,3}"]), 0..120)) {
            check(&pairs);
        }
    }
}

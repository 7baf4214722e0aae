//! The index of a block, read in place. Each section's checksum is verified before its first use.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use barograph_model::TimeRange;
use croaring::Bitmap;

use crate::block::{Damaged, INDEX_MAGIC, section};
use crate::bytes::{Malformed, Reader};
use crate::component::ComponentKey;
use crate::layout::Layout;
use crate::map::{Held, Region, with_bitmap};
use crate::matches::{MatchCache, MatchKey};
use crate::select::{self, Index, Judged, Values};

const SECTIONS: usize = 7;
/// Those that every index has.
const REQUIRED_SECTIONS: u32 = 5;
const CONTENTS_ENTRY_BYTES: usize = 24;
const FOOTER_BYTES: usize = 16;
/// Size of a row of the table of columns.
const COLUMN_BYTES: usize = 32;
/// Size of a row of the table of pairs.
const PAIR_BYTES: usize = 8;
/// Size of an offset in a table of items.
const OFFSET_BYTES: usize = 4;
/// Decoded columns kept for selecting by time.
const COLUMNS_LIMIT: usize = 4096;

const UNKNOWN: u8 = 0;
const INTACT: u8 = 1;
const BROKEN: u8 = 2;

/// An index file.
#[derive(Debug)]
pub(crate) struct BlockIndex {
    file: Region,
    sections: [Section; SECTIONS],
    columns: Mutex<HashMap<u32, Arc<[i64]>>>,
}

/// An index during an operation.
pub(crate) struct IndexView<'a> {
    index: &'a BlockIndex,
    sections: [OnceCell<Held<'a>>; SECTIONS],
    /// What is remembered of patterns, and the number of this block there.
    matches: Option<(&'a MatchCache, u64)>,
}

/// Sections that stay in memory.
#[derive(Debug, Default)]
pub(crate) struct Pin(Vec<Arc<[u8]>>);

#[derive(Debug, Default)]
struct Section {
    offset: usize,
    length: usize,
    sum: u32,
    state: AtomicU8,
}

/// Pages of a series, one after the other.
pub(crate) struct Pages<'a> {
    reader: Reader<'a>,
    left: u64,
    base: u64,
}

/// A page of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRef {
    pub(crate) column: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A timestamp column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnRef {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) rows: u32,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

impl ColumnRef {
    /// Whether a row may be inside the range.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.start_ms <= range.end_ms && range.start_ms <= self.end_ms
    }
}

impl BlockIndex {
    /// Reads the table of contents.
    pub(crate) fn open(file: Region) -> Result<Self, Malformed> {
        let fail = |offset, what| Malformed { offset, what };
        let read = |offset, length| {
            let read = file.read(offset, length);
            read.map_err(|_| fail(offset, "an index whose end cannot be read"))
        };
        let footer_at = file
            .len()
            .checked_sub(FOOTER_BYTES)
            .ok_or(fail(0, "an index without a footer"))?;
        let footer = read(footer_at, FOOTER_BYTES)?;
        let mut footer = Reader::new(&footer);
        let (sum, count) = (footer.u32()?, footer.u32()? as usize);
        if footer.take(8)? != INDEX_MAGIC {
            return Err(fail(footer_at, "an index without its end"));
        }
        let contents_at = count
            .checked_mul(CONTENTS_ENTRY_BYTES)
            .and_then(|length| footer_at.checked_sub(length))
            .ok_or(fail(footer_at, "a table of contents beyond the file"))?;
        let contents = read(contents_at, footer_at - contents_at)?;
        if crc32c::crc32c(&contents) != sum {
            return Err(fail(
                contents_at,
                "a table of contents whose checksum does not fit",
            ));
        }
        let mut sections: [Section; SECTIONS] = Default::default();
        let mut reader = Reader::new(&contents);
        while !reader.is_at_end() {
            let (id, sum) = (reader.u32()? as usize, reader.u32()?);
            let (offset, length) = (reader.u64()? as usize, reader.u64()? as usize);
            let inside = offset
                .checked_add(length)
                .is_some_and(|end| end <= contents_at);
            if !inside {
                return Err(fail(contents_at, "a section beyond the file"));
            }
            // Sections of later minor versions are passed over.
            if let Some(section) = id.checked_sub(1).and_then(|at| sections.get_mut(at)) {
                *section = Section {
                    offset,
                    length,
                    sum,
                    state: AtomicU8::new(UNKNOWN),
                };
            }
        }
        drop(contents);
        Ok(Self {
            file,
            sections,
            columns: Mutex::default(),
        })
    }

    /// For a while of reading: what was read for it stays in memory as long as it is held.
    pub(crate) fn view(&self) -> IndexView<'_> {
        IndexView {
            index: self,
            sections: Default::default(),
            matches: None,
        }
    }

    /// Size of a section; 0 where it is absent.
    pub(crate) fn section_bytes(&self, id: u32) -> u64 {
        self.sections[id as usize - 1].length as u64
    }

    /// Whether bytes of the file were gone when they were read.
    pub(crate) fn is_lost(&self) -> bool {
        self.file.is_lost()
    }

    /// Keeps in memory what reading series needs, for as long as the result is held. Nothing where
    /// the file is mapped.
    pub(crate) fn pin(&self) -> Pin {
        let mut pin = Pin::default();
        for id in [section::SERIES, section::COLUMNS] {
            let Section { offset, length, .. } = self.sections[id as usize - 1];
            // What cannot be read is met by who reads it.
            if let Ok(Held::Read(bytes)) = self.file.keep(offset, length) {
                pin.0.push(bytes);
            }
        }
        pin
    }
}

impl<'a> IndexView<'a> {
    /// Remembers which series have which values in `matches`, as block number `block`.
    pub(crate) fn remembering(self, matches: &'a MatchCache, block: u64) -> Self {
        Self {
            matches: Some((matches, block)),
            ..self
        }
    }

    /// Verifies the checksum of every section.
    pub(crate) fn verify(&self) -> Result<(), Damaged> {
        let there = |id: &u32| *id <= REQUIRED_SECTIONS || self.has_section(*id);
        let mut sections = (1..=SECTIONS as u32).filter(there);
        sections.try_for_each(|id| self.section(id).map(drop))
    }

    /// How many timestamp columns there are.
    pub(crate) fn column_count(&self) -> Result<u32, Damaged> {
        self.count(section::COLUMNS)
    }

    /// How many series there are.
    pub(crate) fn series_count(&self) -> Result<u32, Damaged> {
        self.count(section::SERIES)
    }

    /// How many label pairs there are.
    pub(crate) fn pair_count(&self) -> Result<u32, Damaged> {
        self.count(section::PAIRS)
    }

    /// The numbers of the pairs of a series, ascending, in place of what `pairs` holds.
    pub(crate) fn pairs_of_series(&self, series: u32, pairs: &mut Vec<u32>) -> Result<(), Damaged> {
        pairs.clear();
        let mut reader = Reader::new(self.item(section::SERIES, series)?);
        self.read_pairs(&mut reader, |pair| pairs.push(pair))
    }

    /// The pages of a series.
    pub(crate) fn pages(&self, series: u32) -> Result<Pages<'_>, Damaged> {
        let mut reader = Reader::new(self.item(section::SERIES, series)?);
        self.read_pairs(&mut reader, |_| {})?;
        let base = self.index.sections[section::SERIES as usize - 1].offset as u64;
        let left = reader.varint().map_err(|e| in_index(base, e))?;
        Ok(Pages { reader, left, base })
    }

    /// Whether a series has components.
    pub(crate) fn has_components(&self, series: u32) -> Result<bool, Damaged> {
        Ok(self.find_parent(series)?.is_some())
    }

    /// The components of a series and their pages, in order of key.
    pub(crate) fn components(
        &self,
        series: u32,
    ) -> Result<Vec<(ComponentKey, Pages<'_>)>, Damaged> {
        let Some(at) = self.find_parent(series)? else {
            return Ok(Vec::new());
        };
        let base = self.index.sections[section::COMPONENTS as usize - 1].offset as u64;
        let mut reader = Reader::new(self.item(section::COMPONENTS, at)?);
        let mut read = || {
            reader.u32()?;
            let mut components = Vec::new();
            while !reader.is_at_end() {
                let key = ComponentKey::read(&mut reader)?;
                let length = reader.count(1)?;
                let mut reader = Reader::new(reader.take(length)?);
                let left = reader.varint()?;
                components.push((key, Pages { reader, left, base }));
            }
            Ok(components)
        };
        read().map_err(|e: Malformed| self.damage(section::COMPONENTS, e))
    }

    /// A layout of histograms by number.
    pub(crate) fn layout(&self, id: u64) -> Result<Option<Arc<Layout>>, Damaged> {
        if !self.has_section(section::LAYOUTS) {
            return Ok(None);
        }
        let (mut low, mut high) = (0, self.count(section::LAYOUTS)?);
        while low < high {
            let middle = low.midpoint(high);
            let (have, bytes) = self.layout_item(middle)?;
            match have.cmp(&id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let layout = Layout::new(id, bytes);
                    return match layout {
                        Ok(layout) => Ok(Some(Arc::new(layout))),
                        Err(error) => Err(self.damage(section::LAYOUTS, error)),
                    };
                }
            }
        }
        Ok(None)
    }

    /// Every layout of histograms, by number.
    pub(crate) fn layouts(&self) -> Result<Vec<Layout>, Damaged> {
        if !self.has_section(section::LAYOUTS) {
            return Ok(Vec::new());
        }
        let layout = |number| {
            let (id, bytes) = self.layout_item(number)?;
            Layout::new(id, bytes).map_err(|error| self.damage(section::LAYOUTS, error))
        };
        (0..self.count(section::LAYOUTS)?).map(layout).collect()
    }

    fn layout_item(&self, number: u32) -> Result<(u64, &[u8]), Damaged> {
        let item = self.item(section::LAYOUTS, number)?;
        match item.split_first_chunk() {
            Some((id, bytes)) => Ok((u64::from_le_bytes(*id), bytes)),
            None => Err(self.damage(
                section::LAYOUTS,
                Malformed {
                    offset: 0,
                    what: "a layout that is too short",
                },
            )),
        }
    }

    /// Where the components of a series are.
    fn find_parent(&self, series: u32) -> Result<Option<u32>, Damaged> {
        if !self.has_section(section::COMPONENTS) {
            return Ok(None);
        }
        let (mut low, mut high) = (0, self.count(section::COMPONENTS)?);
        while low < high {
            let middle = low.midpoint(high);
            let parent = Reader::new(self.item(section::COMPONENTS, middle)?).u32();
            let parent = parent.map_err(|e| self.damage(section::COMPONENTS, e))?;
            match parent.cmp(&series) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    fn has_section(&self, id: u32) -> bool {
        self.index.sections[id as usize - 1].length > 0
    }

    /// Where a column is, and its times.
    pub(crate) fn column(&self, number: u32) -> Result<ColumnRef, Damaged> {
        let bytes = self.section(section::COLUMNS)?;
        let read = || {
            let mut reader = Reader::new(bytes);
            if number >= reader.u32()? {
                return Err(reader.fail("a column that is not there"));
            }
            reader.take(number as usize * COLUMN_BYTES)?;
            Ok(ColumnRef {
                offset: reader.u64()?,
                length: reader.u32()?,
                rows: reader.u32()?,
                start_ms: reader.i64()?,
                end_ms: reader.i64()?,
            })
        };
        read().map_err(|e: Malformed| self.damage(section::COLUMNS, e))
    }

    /// A column that was decoded before, or by `decode` now.
    pub(crate) fn decoded_column(
        &self,
        number: u32,
        decode: impl FnOnce() -> Result<Arc<[i64]>, Damaged>,
    ) -> Result<Arc<[i64]>, Damaged> {
        let lock = || {
            self.index
                .columns
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(column) = lock().get(&number) {
            return Ok(column.clone());
        }
        let column = decode()?;
        let mut columns = lock();
        if columns.len() >= COLUMNS_LIMIT {
            columns.clear();
        }
        columns.insert(number, column.clone());
        Ok(column)
    }

    /// Name and value of a pair.
    pub(crate) fn pair(&self, pair: u32) -> Result<(&str, &str), Damaged> {
        let (name, value) = self.pair_numbers(pair)?;
        Ok((self.text(name)?, self.text(value)?))
    }

    /// The pairs of a label name; their values ascend.
    pub(crate) fn pairs_of(&self, name: &str) -> Result<Range<u32>, Damaged> {
        match self.find_text(name)? {
            Some(name) => {
                let start = self.partition_pairs(|have, _| have < name)?;
                let end = self.partition_pairs(|have, _| have <= name)?;
                Ok(start..end)
            }
            None => Ok(0..0),
        }
    }

    /// Calls `each` with every label name and its pairs.
    pub(crate) fn names(
        &self,
        mut each: impl FnMut(&str, Range<u32>) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let count = self.count(section::PAIRS)?;
        let mut start = 0;
        while start < count {
            let (name, _) = self.pair_numbers(start)?;
            let end = self.partition_pairs(|have, _| have <= name)?;
            if end <= start {
                return Err(self.damage(
                    section::PAIRS,
                    Malformed {
                        offset: 0,
                        what: "pairs out of order",
                    },
                ));
            }
            each(self.text(name)?, start..end)?;
            start = end;
        }
        Ok(())
    }

    /// Whether a series of `set` has the pair; any series, where `set` is none.
    pub(crate) fn pair_is_in(&self, pair: u32, set: Option<&Bitmap>) -> Result<bool, Damaged> {
        match set {
            Some(set) => self.postings(pair, |bitmap| bitmap.intersect(set)),
            None => Ok(true),
        }
    }

    /// Series that have the label with a value that is asked for.
    fn union_of(&self, name: &str, values: Values<'_>) -> Result<Bitmap, Damaged> {
        let pairs = self.pairs_of(name)?;
        let (start, end) = (pairs.start as usize, pairs.end as usize);
        let prefix = values.prefix();
        let value_of = |pair: usize| Ok(self.pair(pair as u32)?.1);
        let mut at = select::first_from(start..end, prefix, value_of)?;
        let mut set = Bitmap::new();
        let mut values = values.ascending();
        while at < end {
            let (pair, value) = (at as u32, value_of(at)?);
            if !value.starts_with(prefix) {
                break;
            }
            at += 1;
            match values.judge(value) {
                Judged::Fits => self.postings(pair, |bitmap| set.or_inplace(bitmap))?,
                Judged::Not => {}
                Judged::NoneWith(length) => {
                    let start = &value.as_bytes()[..length];
                    let has = |at, start: &[u8]| Ok(value_of(at)?.as_bytes().starts_with(start));
                    at = select::first_without(at..end, start, has)?;
                }
            }
        }
        Ok(set)
    }

    fn postings<T>(&self, pair: u32, read: impl FnOnce(&Bitmap) -> T) -> Result<T, Damaged> {
        let bytes = self.item(section::POSTINGS, pair)?;
        let series = self.count(section::SERIES)?;
        // A few bytes can speak of four billion series.
        let read = |bitmap: &Bitmap| {
            let inside = bitmap.maximum().is_none_or(|last| last < series);
            inside.then(|| read(bitmap))
        };
        with_bitmap(bytes, read).flatten().ok_or_else(|| {
            self.damage(
                section::POSTINGS,
                Malformed {
                    offset: 0,
                    what: "postings that are no bitmap of series",
                },
            )
        })
    }

    fn find_pair(&self, name: &str, value: &str) -> Result<Option<u32>, Damaged> {
        let (Some(name), Some(value)) = (self.find_text(name)?, self.find_text(value)?) else {
            return Ok(None);
        };
        let at = self.partition_pairs(|n, v| (n, v) < (name, value))?;
        if at < self.count(section::PAIRS)? && self.pair_numbers(at)? == (name, value) {
            return Ok(Some(at));
        }
        Ok(None)
    }

    fn find_text(&self, text: &str) -> Result<Option<u32>, Damaged> {
        let (mut low, mut high) = (0, self.count(section::TEXTS)?);
        while low < high {
            let middle = low.midpoint(high);
            match self.text(middle)?.cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    fn partition_pairs(&self, before: impl Fn(u32, u32) -> bool) -> Result<u32, Damaged> {
        let (mut low, mut high) = (0, self.count(section::PAIRS)?);
        while low < high {
            let middle = low.midpoint(high);
            let (name, value) = self.pair_numbers(middle)?;
            if before(name, value) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn pair_numbers(&self, pair: u32) -> Result<(u32, u32), Damaged> {
        let bytes = self.section(section::PAIRS)?;
        let read = || {
            let mut reader = Reader::new(bytes);
            reader.take(4 + pair as usize * 8)?;
            Ok((reader.u32()?, reader.u32()?))
        };
        read().map_err(|e: Malformed| self.damage(section::PAIRS, e))
    }

    fn text(&self, number: u32) -> Result<&str, Damaged> {
        std::str::from_utf8(self.item(section::TEXTS, number)?).map_err(|_| {
            self.damage(
                section::TEXTS,
                Malformed {
                    offset: 0,
                    what: "a text that is not UTF-8",
                },
            )
        })
    }

    fn read_pairs(
        &self,
        reader: &mut Reader<'_>,
        mut take: impl FnMut(u32),
    ) -> Result<(), Damaged> {
        let mut read = || {
            let count = reader.count(1)?;
            let mut last = 0u32;
            for _ in 0..count {
                let step = reader.varint_u32()?;
                last = last
                    .checked_add(step)
                    .ok_or_else(|| reader.fail("a pair number beyond 32 bits"))?;
                take(last);
            }
            Ok(())
        };
        read().map_err(|e: Malformed| self.damage(section::SERIES, e))
    }

    /// How many items a section says it has; it is long enough for them.
    fn count(&self, id: u32) -> Result<u32, Damaged> {
        let bytes = self.section(id)?;
        let read = || {
            let mut reader = Reader::new(bytes);
            let count = reader.u32()?;
            let each = match id {
                section::COLUMNS => COLUMN_BYTES,
                section::PAIRS => PAIR_BYTES,
                _ => OFFSET_BYTES,
            };
            if (count as usize).saturating_mul(each) > reader.left() {
                return Err(reader.fail("more items than the section has bytes for"));
            }
            Ok(count)
        };
        read().map_err(|e: Malformed| self.damage(id, e))
    }

    /// An item of a section that is a table.
    fn item(&self, id: u32, number: u32) -> Result<&[u8], Damaged> {
        let bytes = self.section(id)?;
        let read = || {
            let count = Reader::new(bytes).u32()?;
            let outside = Malformed {
                offset: number as usize,
                what: "an item beyond its table",
            };
            if number >= count {
                return Err(outside);
            }
            let mut offsets = Reader::new(bytes.get(4 + number as usize * 4..).ok_or(outside)?);
            let (start, end) = (offsets.u32()? as usize, offsets.u32()? as usize);
            let items = bytes.get(4 + (count as usize + 1) * 4..).ok_or(outside)?;
            items.get(start..end).ok_or(outside)
        };
        read().map_err(|e| self.damage(id, e))
    }

    fn section(&self, id: u32) -> Result<&[u8], Damaged> {
        let held = &self.sections[id as usize - 1];
        if let Some(bytes) = held.get() {
            return Ok(bytes);
        }
        let section = &self.index.sections[id as usize - 1];
        let bytes = self.index.file.keep(section.offset, section.length);
        let bytes = bytes.map_err(|error| Damaged {
            file: "index",
            offset: section.offset as u64,
            what: format!("cannot be read: {error}"),
        })?;
        let mut state = section.state.load(Ordering::Acquire);
        if state == UNKNOWN {
            let intact = section.length > 0 && crc32c::crc32c(&bytes) == section.sum;
            state = if intact { INTACT } else { BROKEN };
            section.state.store(state, Ordering::Release);
        }
        if state == INTACT {
            return Ok(held.get_or_init(|| bytes));
        }
        Err(self.damage(
            id,
            Malformed {
                offset: 0,
                what: "a section whose checksum does not fit",
            },
        ))
    }

    fn damage(&self, id: u32, error: Malformed) -> Damaged {
        in_index(self.index.sections[id as usize - 1].offset as u64, error)
    }
}

impl Pages<'_> {
    /// The next page; its stretches of rows replace what `rows` holds.
    pub(crate) fn next(&mut self, rows: &mut Vec<(u32, u32)>) -> Result<Option<PageRef>, Damaged> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let base = self.base;
        self.read(rows).map(Some).map_err(|e| in_index(base, e))
    }

    fn read(&mut self, rows: &mut Vec<(u32, u32)>) -> Result<PageRef, Malformed> {
        let reader = &mut self.reader;
        let page = PageRef {
            column: reader.varint_u32()?,
            offset: reader.varint()?,
            length: reader.varint()?,
        };
        let runs = reader.count(2)?;
        rows.clear();
        let mut at = 0i64;
        for _ in 0..runs {
            let step = reader.signed()?;
            let count = reader.varint_u32()?;
            if step < 0 || count == 0 {
                return Err(reader.fail("stretches of rows that do not ascend"));
            }
            let first = at.saturating_add(step);
            at = first.saturating_add(i64::from(count));
            let row = u32::try_from(first)
                .ok()
                .filter(|_| u32::try_from(at).is_ok());
            rows.push((
                row.ok_or_else(|| reader.fail("rows beyond 32 bits"))?,
                count,
            ));
        }
        Ok(page)
    }
}

impl Index for IndexView<'_> {
    type Set = Bitmap;
    type Error = Damaged;

    fn everything(&self) -> Result<Bitmap, Damaged> {
        Ok(Bitmap::from_range(0..self.count(section::SERIES)?))
    }

    fn count(&self, name: &str, value: &str) -> Result<u64, Damaged> {
        match self.find_pair(name, value)? {
            Some(pair) => self.postings(pair, Bitmap::cardinality),
            None => Ok(0),
        }
    }

    fn with_pair(&self, name: &str, value: &str) -> Result<Bitmap, Damaged> {
        match self.find_pair(name, value)? {
            Some(pair) => self.postings(pair, Bitmap::clone),
            None => Ok(Bitmap::new()),
        }
    }

    fn keep_pair(&self, set: &mut Bitmap, name: &str, value: &str) -> Result<(), Damaged> {
        if let Some(pair) = self.find_pair(name, value)? {
            return self.postings(pair, |bitmap| set.and_inplace(bitmap));
        }
        set.clear();
        Ok(())
    }

    fn with_values(&self, name: &str, values: Values<'_>) -> Result<Bitmap, Damaged> {
        let Some((matches, block)) = self.matches else {
            return self.union_of(name, values);
        };
        let key = MatchKey::new(block, name, &values);
        if let Some(found) = matches.get(&key) {
            return Ok(Bitmap::clone(&found));
        }
        let found = self.union_of(name, values)?;
        matches.insert(key, &found);
        Ok(found)
    }

    fn add_pair(&self, set: &mut Bitmap, name: &str, value: &str) -> Result<(), Damaged> {
        match self.find_pair(name, value)? {
            Some(pair) => self.postings(pair, |bitmap| set.or_inplace(bitmap)),
            None => Ok(()),
        }
    }

    fn intersect(set: &mut Bitmap, other: &Bitmap) {
        set.and_inplace(other);
    }

    fn subtract(set: &mut Bitmap, other: &Bitmap) {
        set.andnot_inplace(other);
    }

    fn is_empty(set: &Bitmap) -> bool {
        set.is_empty()
    }
}

fn in_index(base: u64, error: Malformed) -> Damaged {
    Damaged {
        file: "index",
        offset: base + error.offset as u64,
        what: error.what.to_owned(),
    }
}

//! The index of a block, read in place. Each section's checksum is verified before its first use.

mod first;
mod groups;
pub(crate) mod lists;
mod pages;
mod second;
pub(crate) mod series;
pub(crate) mod texts;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use barograph_model::TimeRange;
use croaring::Bitmap;

pub(crate) use self::groups::GROUP;
pub(crate) use self::pages::{Origin, PageRef, Pages, PagesWriter, Place};

use self::second::TextCursors;
use self::series::{PagesCursor, PairsCursor};
use crate::block::{Damaged, INDEX_MAGIC};
use crate::bytes::{Malformed, Reader};
use crate::component::ComponentKey;
use crate::layout::Layout;
use crate::map::{Held, Region};
use crate::matches::{MatchCache, MatchKey};
use crate::select::{Index, Values};

/// Version of what is written.
pub(crate) const VERSION: u32 = 2;
/// The oldest version that is read.
pub(crate) const OLDEST_VERSION: u32 = 1;

/// Sections of an index.
pub(crate) mod section {
    /// Of version 1: distinct label names and values, sorted.
    pub(crate) const TEXTS_1: u32 = 1;
    /// Of version 1: label pairs, sorted.
    pub(crate) const PAIRS_1: u32 = 2;
    /// Of version 1: per pair a portable roaring bitmap of the series that have it.
    pub(crate) const POSTINGS_1: u32 = 3;
    /// Of version 1: series in order of their labels: pairs and pages.
    pub(crate) const SERIES_1: u32 = 4;
    /// Timestamp columns.
    pub(crate) const COLUMNS: u32 = 5;
    /// Of version 1: series that have components: theirs and their pages. Absent where there are
    /// none.
    pub(crate) const COMPONENTS_1: u32 = 6;
    /// Layouts of histograms. Absent where there are none.
    pub(crate) const LAYOUTS: u32 = 7;
    /// Label names, sorted.
    pub(crate) const NAMES: u32 = 8;
    /// The values of each name, sorted.
    pub(crate) const VALUES: u32 = 9;
    /// Per pair: the series that have it.
    pub(crate) const POSTINGS: u32 = 10;
    /// Series in order of their labels: pairs and pages.
    pub(crate) const SERIES: u32 = 11;
    /// Series that have components: theirs and their pages. Absent where there are none.
    pub(crate) const COMPONENTS: u32 = 12;
    /// Pages that several series refer to. Absent where there are none.
    pub(crate) const SHARED: u32 = 13;

    /// What they are called.
    pub(crate) const TITLES: [(u32, &str); 13] = [
        (TEXTS_1, "texts"),
        (PAIRS_1, "pairs"),
        (POSTINGS_1, "postings"),
        (SERIES_1, "series"),
        (COLUMNS, "columns"),
        (COMPONENTS_1, "components"),
        (LAYOUTS, "layouts"),
        (NAMES, "names"),
        (VALUES, "values"),
        (POSTINGS, "postings"),
        (SERIES, "series"),
        (COMPONENTS, "components"),
        (SHARED, "shared pages"),
    ];

    /// Those that every index of version 1 has.
    pub(super) const REQUIRED_1: [u32; 5] = [TEXTS_1, PAIRS_1, POSTINGS_1, SERIES_1, COLUMNS];
    /// Those that every later index has.
    pub(super) const REQUIRED: [u32; 5] = [COLUMNS, NAMES, VALUES, POSTINGS, SERIES];
}

const SECTIONS: usize = 13;
const CONTENTS_ENTRY_BYTES: usize = 24;
/// Sections begin at multiples of this.
const SECTION_ALIGNMENT: usize = 8;
const FOOTER_BYTES: usize = 16;
/// Size of a row of the table of columns.
const COLUMN_BYTES: usize = 32;
/// Size of a row of the table of shared pages.
pub(crate) const SHARED_PAGE_BYTES: usize = 12;
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
    version: u32,
    sections: [Section; SECTIONS],
    columns: Mutex<HashMap<u32, Arc<[i64]>>>,
}

/// An index during an operation.
pub(crate) struct IndexView<'a> {
    index: &'a BlockIndex,
    sections: [OnceCell<Held<'a>>; SECTIONS],
    /// Where it was last: what is next is near.
    texts: RefCell<TextCursors>,
    pairs: RefCell<PairsCursor>,
    pages: RefCell<PagesCursor>,
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
    pub(crate) fn open(file: Region, version: u32) -> Result<Self, Malformed> {
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
            version,
            sections,
            columns: Mutex::default(),
        })
    }

    /// For a while of reading: what was read for it stays in memory as long as it is held.
    pub(crate) fn view(&self) -> IndexView<'_> {
        IndexView {
            index: self,
            sections: Default::default(),
            texts: RefCell::default(),
            pairs: RefCell::default(),
            pages: RefCell::default(),
            matches: None,
        }
    }

    fn is_first(&self) -> bool {
        self.version == 1
    }

    /// Size of a section; 0 where it is absent.
    pub(crate) fn section_bytes(&self, id: u32) -> u64 {
        self.sections[id as usize - 1].length as u64
    }

    /// Whether bytes of the file were gone when they were read.
    pub(crate) fn is_lost(&self) -> bool {
        self.file.is_lost()
    }

    /// What stands between sections is zero.
    fn verify_padding(&self) -> Result<(), Malformed> {
        let sections = self.sections.iter().filter(|section| section.length > 0);
        let mut sections: Vec<(usize, usize)> = sections
            .map(|section| (section.offset, section.offset + section.length))
            .collect();
        sections.sort_unstable();
        let mut at = super::HEADER_BYTES;
        for (start, end) in sections {
            // A longer gap is a section of a later minor version.
            let gap = start.saturating_sub(at);
            if (1..SECTION_ALIGNMENT).contains(&gap) {
                let bytes = self.file.read(at, gap);
                if bytes.is_ok_and(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                    return Err(Malformed {
                        offset: at,
                        what: "padding that is not zero",
                    });
                }
            }
            at = at.max(end);
        }
        Ok(())
    }

    /// Keeps in memory what reading series needs, for as long as the result is held. Nothing where
    /// the file is mapped.
    pub(crate) fn pin(&self) -> Pin {
        let mut pin = Pin::default();
        let series = if self.is_first() {
            [section::SERIES_1, section::COLUMNS, section::COLUMNS]
        } else {
            [section::SERIES, section::COLUMNS, section::SHARED]
        };
        for id in series {
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

    /// Verifies the checksum of every section, and the zeros between them.
    pub(crate) fn verify(&self) -> Result<(), Damaged> {
        let required = if self.index.is_first() {
            section::REQUIRED_1
        } else {
            section::REQUIRED
        };
        let there = |id: &u32| required.contains(id) || self.has_section(*id);
        let mut sections = (1..=SECTIONS as u32).filter(there);
        sections.try_for_each(|id| self.section(id).map(drop))?;
        self.index
            .verify_padding()
            .map_err(|error| in_index(0, error))
    }

    /// How many timestamp columns there are.
    pub(crate) fn column_count(&self) -> Result<u32, Damaged> {
        self.count(section::COLUMNS)
    }

    /// How many series there are.
    pub(crate) fn series_count(&self) -> Result<u32, Damaged> {
        if self.index.is_first() {
            return self.count(section::SERIES_1);
        }
        self.grouped_count(section::SERIES)
    }

    /// How many label pairs there are.
    pub(crate) fn pair_count(&self) -> Result<u32, Damaged> {
        if self.index.is_first() {
            return self.count(section::PAIRS_1);
        }
        self.second_pair_count()
    }

    /// The numbers of the pairs of a series, ascending, in place of what `pairs` holds.
    pub(crate) fn pairs_of_series(&self, series: u32, pairs: &mut Vec<u32>) -> Result<(), Damaged> {
        if self.index.is_first() {
            return self.first_pairs_of_series(series, pairs);
        }
        self.second_pairs_of_series(series, pairs)
    }

    /// The pages of a series.
    pub(crate) fn pages(&self, series: u32) -> Result<Pages<'_>, Damaged> {
        if self.index.is_first() {
            return self.first_pages(series);
        }
        self.second_pages(series)
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
        let id = self.components_section();
        let Some(at) = self.find_parent(series)? else {
            return Ok(Vec::new());
        };
        let base = self.base(id);
        let mut reader = Reader::new(self.item(id, at)?);
        let fail = |error| self.damage(id, error);
        reader.u32().map_err(fail)?;
        if !self.index.is_first() {
            return self.second_components(reader, base);
        }
        let mut components = Vec::new();
        while !reader.is_at_end() {
            let key = ComponentKey::read(&mut reader).map_err(fail)?;
            let length = reader.count(1).map_err(fail)?;
            let pages = reader.take(length).map_err(fail)?;
            components.push((key, Pages::plain(Reader::new(pages), base)?));
        }
        Ok(components)
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
        let id = self.components_section();
        if !self.has_section(id) {
            return Ok(None);
        }
        let (mut low, mut high) = (0, self.count(id)?);
        while low < high {
            let middle = low.midpoint(high);
            let parent = Reader::new(self.item(id, middle)?).u32();
            let parent = parent.map_err(|e| self.damage(id, e))?;
            match parent.cmp(&series) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    fn components_section(&self) -> u32 {
        if self.index.is_first() {
            section::COMPONENTS_1
        } else {
            section::COMPONENTS
        }
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

    /// Calls `take` with name and value of a pair; it reads nothing of the index.
    pub(crate) fn pair<T>(
        &self,
        pair: u32,
        take: impl FnOnce(&str, &str) -> T,
    ) -> Result<T, Damaged> {
        if self.index.is_first() {
            let (name, value) = self.first_pair(pair)?;
            return Ok(take(name, value));
        }
        self.second_pair(pair, take)
    }

    /// The pairs of a label name; their values ascend.
    pub(crate) fn pairs_of(&self, name: &str) -> Result<Range<u32>, Damaged> {
        if self.index.is_first() {
            return self.first_pairs_of(name);
        }
        self.second_pairs_of(name)
    }

    /// Calls `each` with every label name and its pairs.
    pub(crate) fn names(
        &self,
        each: impl FnMut(&str, Range<u32>) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        if self.index.is_first() {
            return self.first_names(each);
        }
        self.second_names(each)
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
        if self.index.is_first() {
            return self.first_union_of(name, values);
        }
        self.second_union_of(name, values)
    }

    fn postings<T>(&self, pair: u32, read: impl FnOnce(&Bitmap) -> T) -> Result<T, Damaged> {
        if self.index.is_first() {
            return self.first_postings(pair, read);
        }
        self.second_postings(pair, read)
    }

    fn find_pair(&self, name: &str, value: &str) -> Result<Option<u32>, Damaged> {
        if self.index.is_first() {
            return self.first_find_pair(name, value);
        }
        self.second_find_pair(name, value)
    }

    /// How many items a section says it has; it is long enough for them.
    fn count(&self, id: u32) -> Result<u32, Damaged> {
        let bytes = self.section(id)?;
        let read = || {
            let mut reader = Reader::new(bytes);
            let count = reader.u32()?;
            let each = match id {
                section::COLUMNS => COLUMN_BYTES,
                section::PAIRS_1 => PAIR_BYTES,
                section::SHARED => SHARED_PAGE_BYTES,
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

    /// Where a section is.
    fn base(&self, id: u32) -> u64 {
        self.index.sections[id as usize - 1].offset as u64
    }

    fn damage(&self, id: u32, error: Malformed) -> Damaged {
        in_index(self.base(id), error)
    }
}

impl Index for IndexView<'_> {
    type Set = Bitmap;
    type Error = Damaged;

    fn everything(&self) -> Result<Bitmap, Damaged> {
        Ok(Bitmap::from_range(0..self.series_count()?))
    }

    fn count(&self, name: &str, value: &str) -> Result<u64, Damaged> {
        match self.find_pair(name, value)? {
            Some(pair) if self.index.is_first() => self.postings(pair, Bitmap::cardinality),
            Some(pair) => self.second_count(pair),
            None => Ok(0),
        }
    }

    fn with_pair(&self, name: &str, value: &str) -> Result<Bitmap, Damaged> {
        match self.find_pair(name, value)? {
            Some(pair) if self.index.is_first() => self.postings(pair, Bitmap::clone),
            Some(pair) => {
                let mut set = Bitmap::new();
                self.add_postings(pair, &mut set)?;
                Ok(set)
            }
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
            Some(pair) if self.index.is_first() => {
                self.postings(pair, |bitmap| set.or_inplace(bitmap))
            }
            Some(pair) => self.add_postings(pair, set),
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

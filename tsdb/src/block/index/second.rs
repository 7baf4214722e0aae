//! What an index of version 2 has otherwise: dictionaries of values, posting lists and series in
//! groups.

use std::collections::HashMap;
use std::ops::Range;

use croaring::Bitmap;

use crate::block::Damaged;
use crate::block::index::lists::{self, List};
use crate::block::index::pages;
use crate::block::index::texts::{Dictionary, Name, Names, ValueCursor};
use crate::block::index::{GROUP, IndexView, Origin, Pages, groups, section};
use crate::bytes::{Malformed, Reader};
use crate::component::ComponentKey;
use crate::map::with_bitmap;
use crate::select::{Judged, Values};
use crate::sort_out::FastHash;

/// The value of each name that was read last: what is next of a name is near, whatever was read of
/// others in between.
#[derive(Debug, Default)]
pub(super) struct TextCursors(HashMap<u32, ValueCursor, FastHash>);

impl IndexView<'_> {
    pub(super) fn grouped_count(&self, id: u32) -> Result<u32, Damaged> {
        groups::count(self.section(id)?).map_err(|e| self.damage(id, e))
    }

    pub(super) fn second_pair_count(&self) -> Result<u32, Damaged> {
        self.name_table()?
            .pair_count()
            .map_err(|e| self.in_names(e))
    }

    pub(super) fn second_pairs_of_series(
        &self,
        series: u32,
        pairs: &mut Vec<u32>,
    ) -> Result<(), Damaged> {
        let section = self.section(section::SERIES)?;
        let mut cursor = self.pairs.borrow_mut();
        let found = cursor.seek(section, series);
        pairs.clear();
        pairs.extend_from_slice(found.map_err(|e| self.damage(section::SERIES, e))?);
        Ok(())
    }

    pub(super) fn second_pages(&self, series: u32) -> Result<Pages<'_>, Damaged> {
        let section = self.section(section::SERIES)?;
        let found = self.pages.borrow_mut().seek(section, series);
        let (reader, origin) = found.map_err(|e| self.damage(section::SERIES, e))?;
        let (columns, shared) = self.page_tables()?;
        Pages::relative(reader, self.base(section::SERIES), origin, columns, shared)
    }

    pub(super) fn second_components<'s>(
        &'s self,
        mut reader: Reader<'s>,
        base: u64,
    ) -> Result<Vec<(ComponentKey, Pages<'s>)>, Damaged> {
        let (columns, shared) = self.page_tables()?;
        let mut components = Vec::new();
        let fail = |error| self.damage(section::COMPONENTS, error);
        let mut origin = Origin::at(reader.varint().map_err(fail)?);
        while !reader.is_at_end() {
            let key = ComponentKey::read(&mut reader).map_err(fail)?;
            let pages = Pages::relative(reader, base, origin, columns, shared)?;
            components.push((key, pages));
            pages::skip(&mut reader, &mut origin).map_err(fail)?;
        }
        Ok(components)
    }

    /// The tables of columns and of shared pages.
    fn page_tables(&self) -> Result<(&[u8], &[u8]), Damaged> {
        let shared = if self.has_section(section::SHARED) {
            self.section(section::SHARED)?
        } else {
            &[]
        };
        Ok((self.section(section::COLUMNS)?, shared))
    }

    pub(super) fn second_pair<T>(
        &self,
        pair: u32,
        take: impl FnOnce(&str, &str) -> T,
    ) -> Result<T, Damaged> {
        let name = self.name_table()?.of_pair(pair);
        let name = name.map_err(|e| self.in_names(e))?;
        let dictionary = self.dictionary(&name)?;
        let mut cursors = self.texts.borrow_mut();
        let cursor = cursors.0.entry(name.pairs.start).or_default();
        let number = pair - name.pairs.start;
        let found = dictionary.seek_near(cursor, number);
        if found.is_err() {
            *cursor = ValueCursor::default();
        }
        let value = found.and_then(|()| cursor.text());
        Ok(take(name.text, value.map_err(|e| self.in_values(e))?))
    }

    pub(super) fn second_pairs_of(&self, name: &str) -> Result<Range<u32>, Damaged> {
        let name = self.name_table()?.find(name);
        let name = name.map_err(|e| self.in_names(e))?;
        Ok(name.map_or(0..0, |name| name.pairs))
    }

    pub(super) fn second_names(
        &self,
        mut each: impl FnMut(&str, Range<u32>) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let names = self.name_table()?;
        for number in 0..names.len() {
            let name = names.get(number).map_err(|e| self.in_names(e))?;
            each(name.text, name.pairs)?;
        }
        Ok(())
    }

    pub(super) fn second_find_pair(&self, name: &str, value: &str) -> Result<Option<u32>, Damaged> {
        let name = self.name_table()?.find(name);
        let Some(name) = name.map_err(|e| self.in_names(e))? else {
            return Ok(None);
        };
        let mut cursor = ValueCursor::default();
        let found = self.dictionary(&name)?.seek_from(&mut cursor, value);
        if found.map_err(|e| self.in_values(e))?
            && cursor.text().map_err(|e| self.in_values(e))? == value
        {
            return Ok(Some(name.pairs.start + cursor.number()));
        }
        Ok(None)
    }

    pub(super) fn second_union_of(
        &self,
        name: &str,
        values: Values<'_>,
    ) -> Result<Bitmap, Damaged> {
        let mut set = Bitmap::new();
        let name = self.name_table()?.find(name);
        let Some(name) = name.map_err(|e| self.in_names(e))? else {
            return Ok(set);
        };
        let dictionary = self.dictionary(&name)?;
        let prefix = values.prefix();
        let mut values = values.ascending();
        let mut cursor = ValueCursor::default();
        let mut start = Vec::new();
        let seek = dictionary.seek_from(&mut cursor, prefix);
        let mut is_there = seek.map_err(|e| self.in_values(e))?;
        while is_there {
            let value = cursor.text().map_err(|e| self.in_values(e))?;
            if !value.starts_with(prefix) {
                break;
            }
            let next = match values.judge(value) {
                Judged::NoneWith(length) => {
                    start.clear();
                    start.extend_from_slice(&value.as_bytes()[..length]);
                    dictionary.seek_without(&mut cursor, &start)
                }
                judged => {
                    if judged == Judged::Fits {
                        self.add_postings(name.pairs.start + cursor.number(), &mut set)?;
                    }
                    dictionary.advance(&mut cursor)
                }
            };
            is_there = next.map_err(|e| self.in_values(e))?;
        }
        Ok(set)
    }

    /// How many series have the pair.
    pub(super) fn second_count(&self, pair: u32) -> Result<u64, Damaged> {
        Ok(self.list_of(pair)?.count())
    }

    pub(super) fn second_postings<T>(
        &self,
        pair: u32,
        read: impl FnOnce(&Bitmap) -> T,
    ) -> Result<T, Damaged> {
        if let List::Bitmap { bytes, .. } = self.list(pair)? {
            return self.with_view(bytes, read);
        }
        let mut set = Bitmap::new();
        self.add_postings(pair, &mut set)?;
        Ok(read(&set))
    }

    /// Adds to `set` the series with the pair.
    pub(super) fn add_postings(&self, pair: u32, set: &mut Bitmap) -> Result<(), Damaged> {
        match self.list(pair)? {
            List::Bitmap { bytes, .. } => self.with_view(bytes, |bitmap| set.or_inplace(bitmap)),
            List::Gaps { count, bytes } => {
                let added = lists::add_gaps(bytes, count, self.series_count()?, set);
                added.map_err(|e| self.damage(section::POSTINGS, e))
            }
            List::Same { .. } => Err(self.in_postings("a posting list that is another's other")),
        }
    }

    fn with_view<T>(&self, bytes: &[u8], read: impl FnOnce(&Bitmap) -> T) -> Result<T, Damaged> {
        let series = self.series_count()?;
        // A few bytes can speak of four billion series.
        let read = |bitmap: &Bitmap| {
            let inside = bitmap.maximum().is_none_or(|last| last < series);
            inside.then(|| read(bitmap))
        };
        let read = with_bitmap(bytes, read).flatten();
        read.ok_or_else(|| self.in_postings("postings that are no bitmap of series"))
    }

    /// The list of a pair; that of the other one where it is the same.
    fn list(&self, pair: u32) -> Result<List<'_>, Damaged> {
        match self.list_of(pair)? {
            List::Same { pair, .. } => self.list_of(pair),
            list => Ok(list),
        }
    }

    fn list_of(&self, pair: u32) -> Result<List<'_>, Damaged> {
        let section = self.section(section::POSTINGS)?;
        let read = || {
            let (group, at) = groups::group_of(section, pair)?;
            let mut reader = Reader::new(group);
            for _ in 0..pair % GROUP {
                let length = reader.count(1)?;
                reader.take(length)?;
            }
            let length = reader.count(1)?;
            let item = reader.take(length)?;
            List::read(item).map_err(|error| error.behind(at + reader.offset() - length))
        };
        read().map_err(|e: Malformed| self.damage(section::POSTINGS, e))
    }

    fn name_table(&self) -> Result<Names<'_>, Damaged> {
        Names::of(self.section(section::NAMES)?).map_err(|e| self.in_names(e))
    }

    fn dictionary(&self, name: &Name<'_>) -> Result<Dictionary<'_>, Damaged> {
        let section = self.section(section::VALUES)?;
        Dictionary::of(section, name).map_err(|e| self.in_values(e))
    }

    fn in_names(&self, error: Malformed) -> Damaged {
        self.damage(section::NAMES, error)
    }

    fn in_values(&self, error: Malformed) -> Damaged {
        self.damage(section::VALUES, error)
    }

    fn in_postings(&self, what: &'static str) -> Damaged {
        self.damage(section::POSTINGS, Malformed { offset: 0, what })
    }
}

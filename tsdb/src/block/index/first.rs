//! What an index of version 1 has otherwise: tables of texts, pairs, postings and series with an
//! offset for each item.

use std::ops::Range;

use croaring::Bitmap;

use crate::block::Damaged;
use crate::block::index::{IndexView, Pages, section};
use crate::bytes::{Malformed, Reader};
use crate::map::with_bitmap;
use crate::select::{self, Judged, Values};

impl IndexView<'_> {
    /// The numbers of the pairs of a series, ascending, in place of what `pairs` holds.
    pub(super) fn first_pairs_of_series(
        &self,
        series: u32,
        pairs: &mut Vec<u32>,
    ) -> Result<(), Damaged> {
        pairs.clear();
        let mut reader = Reader::new(self.item(section::SERIES_1, series)?);
        self.read_pairs(&mut reader, |pair| pairs.push(pair))
    }

    /// The pages of a series.
    pub(super) fn first_pages(&self, series: u32) -> Result<Pages<'_>, Damaged> {
        let mut reader = Reader::new(self.item(section::SERIES_1, series)?);
        self.read_pairs(&mut reader, |_| {})?;
        Pages::plain(reader, self.base(section::SERIES_1))
    }

    /// Name and value of a pair.
    pub(super) fn first_pair(&self, pair: u32) -> Result<(&str, &str), Damaged> {
        let (name, value) = self.pair_numbers(pair)?;
        Ok((self.text(name)?, self.text(value)?))
    }

    /// The pairs of a label name; their values ascend.
    pub(super) fn first_pairs_of(&self, name: &str) -> Result<Range<u32>, Damaged> {
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
    pub(super) fn first_names(
        &self,
        mut each: impl FnMut(&str, Range<u32>) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let count = self.count(section::PAIRS_1)?;
        let mut start = 0;
        while start < count {
            let (name, _) = self.pair_numbers(start)?;
            let end = self.partition_pairs(|have, _| have <= name)?;
            if end <= start {
                return Err(self.damage(
                    section::PAIRS_1,
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

    /// Series that have the label with a value that is asked for.
    pub(super) fn first_union_of(&self, name: &str, values: Values<'_>) -> Result<Bitmap, Damaged> {
        let pairs = self.first_pairs_of(name)?;
        let (start, end) = (pairs.start as usize, pairs.end as usize);
        let prefix = values.prefix();
        let value_of = |pair: usize| Ok(self.first_pair(pair as u32)?.1);
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
                Judged::Fits => self.first_postings(pair, |bitmap| set.or_inplace(bitmap))?,
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

    pub(super) fn first_postings<T>(
        &self,
        pair: u32,
        read: impl FnOnce(&Bitmap) -> T,
    ) -> Result<T, Damaged> {
        let bytes = self.item(section::POSTINGS_1, pair)?;
        let series = self.count(section::SERIES_1)?;
        // A few bytes can speak of four billion series.
        let read = |bitmap: &Bitmap| {
            let inside = bitmap.maximum().is_none_or(|last| last < series);
            inside.then(|| read(bitmap))
        };
        with_bitmap(bytes, read).flatten().ok_or_else(|| {
            self.damage(
                section::POSTINGS_1,
                Malformed {
                    offset: 0,
                    what: "postings that are no bitmap of series",
                },
            )
        })
    }

    pub(super) fn first_find_pair(&self, name: &str, value: &str) -> Result<Option<u32>, Damaged> {
        let (Some(name), Some(value)) = (self.find_text(name)?, self.find_text(value)?) else {
            return Ok(None);
        };
        let at = self.partition_pairs(|n, v| (n, v) < (name, value))?;
        if at < self.count(section::PAIRS_1)? && self.pair_numbers(at)? == (name, value) {
            return Ok(Some(at));
        }
        Ok(None)
    }

    fn find_text(&self, text: &str) -> Result<Option<u32>, Damaged> {
        let (mut low, mut high) = (0, self.count(section::TEXTS_1)?);
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
        let (mut low, mut high) = (0, self.count(section::PAIRS_1)?);
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
        let bytes = self.section(section::PAIRS_1)?;
        let read = || {
            let mut reader = Reader::new(bytes);
            reader.take(4 + pair as usize * 8)?;
            Ok((reader.u32()?, reader.u32()?))
        };
        read().map_err(|e: Malformed| self.damage(section::PAIRS_1, e))
    }

    fn text(&self, number: u32) -> Result<&str, Damaged> {
        std::str::from_utf8(self.item(section::TEXTS_1, number)?).map_err(|_| {
            self.damage(
                section::TEXTS_1,
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
        read().map_err(|e: Malformed| self.damage(section::SERIES_1, e))
    }
}

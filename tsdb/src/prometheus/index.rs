//! A block's index, versions 1 to 3, read in place.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use barograph_model::Labels;
use croaring::Bitmap;

use super::{Damage, be32, be64, strict};
use crate::bytes::{Malformed, Reader};
use crate::map::Region;
use crate::select::{self, Judged};

pub(super) const MAGIC: u32 = 0xbaaa_d700;
pub(super) const CONTENTS_BYTES: usize = 6 * 8 + 4;
/// Series begin at multiples of this, since version 2.
pub(super) const SERIES_ALIGNMENT: usize = 16;
const FILE: &str = "index";
pub(super) const HEADER_BYTES: usize = 5;

/// An index file.
#[derive(Debug)]
pub(super) struct Index {
    file: Region,
    version: u8,
    symbols_at: usize,
    postings_table_at: usize,
    /// Read at their first use: most blocks of a directory wait long for a query.
    symbols: OnceLock<Result<Symbols, Damage>>,
    pairs: OnceLock<Result<Pairs, Damage>>,
}

/// A chunk of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkMeta {
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) reference: u64,
}

/// A series of the index.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Symbols of names and values.
    labels: Vec<(u32, u32)>,
    pub(super) chunks: Vec<ChunkMeta>,
}

/// Where the texts are.
#[derive(Debug)]
struct Symbols {
    /// Offset of each, from where `inside` begins less the count. In version 1 references are
    /// offsets in the file.
    offsets: Vec<u32>,
    /// Where texts may be.
    inside: Range<usize>,
}

/// The label pairs.
#[derive(Debug)]
struct Pairs {
    /// Names and which of the entries are theirs, sorted.
    names: Vec<(Box<str>, Range<usize>)>,
    /// Where the table is in the file.
    base: usize,
    /// Offset in the table of each of its entries, in order of (name, value).
    entries: Vec<u32>,
}

/// An entry of the table of postings.
struct Pair<'a> {
    name: &'a str,
    value: &'a str,
    /// Where its postings are.
    postings_at: u64,
}

impl Index {
    /// Reads header and table of contents.
    pub(super) fn open(file: Region) -> Result<Self, Damage> {
        let bytes = file.as_slice();
        let fail = |error| Damage::at(FILE, 0, error);
        let mut reader = Reader::new(bytes);
        if be32(&mut reader).map_err(fail)? != MAGIC {
            return Err(Damage::new(FILE, 0, "not an index of Prometheus"));
        }
        let version = reader.u8().map_err(fail)?;
        if !(1..=3).contains(&version) {
            let what = format!("index version {version} is newer than this program understands");
            return Err(Damage::new(FILE, 4, &what));
        }
        if bytes.len() < HEADER_BYTES + CONTENTS_BYTES {
            return Err(Damage::new(FILE, bytes.len(), "ends too early"));
        }
        let contents_at = bytes.len() - CONTENTS_BYTES;
        let contents = &bytes[contents_at..bytes.len() - 4];
        let sum = be32(&mut Reader::new(&bytes[bytes.len() - 4..])).map_err(fail)?;
        if crc32c::crc32c(contents) != sum {
            let what = "a table of contents whose checksum does not fit";
            return Err(Damage::new(FILE, contents_at, what));
        }
        let mut reader = Reader::new(contents);
        let mut next = || {
            let offset = be64(&mut reader).map_err(|e| Damage::at(FILE, contents_at, e))?;
            let inside = offset < contents_at as u64;
            let outside = Damage::new(FILE, contents_at, "a section beyond the file");
            if inside {
                Ok(offset as usize)
            } else {
                Err(outside)
            }
        };
        let symbols_at = next()?;
        // Series, label indices, their table and postings are found through what refers to them.
        for _ in 0..4 {
            next()?;
        }
        let postings_table_at = next()?;
        Ok(Self {
            version,
            symbols_at,
            postings_table_at,
            symbols: OnceLock::new(),
            pairs: OnceLock::new(),
            file,
        })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.file.as_slice().len() as u64
    }

    /// The series of a reference, into `series`.
    pub(super) fn series(&self, reference: u32, series: &mut Series) -> Result<(), Damage> {
        let at = match self.version {
            1 => reference as usize,
            _ => reference as usize * SERIES_ALIGNMENT,
        };
        let mut base = at;
        let mut read = || {
            let bytes = self.file.as_slice();
            let mut reader = Reader::new(bytes.get(at..).unwrap_or_default());
            let length = reader.count(1)?;
            base += reader.offset();
            let content = reader.take(length)?;
            if crc32c::crc32c(content) != be32(&mut reader)? {
                return Err(Malformed {
                    offset: 0,
                    what: "a series whose checksum does not fit",
                });
            }
            read_series(content, series)
        };
        read().map_err(|error| Damage::at(FILE, base, error))
    }

    /// The labels of a series.
    pub(super) fn labels(&self, series: &Series) -> Result<Labels, Damage> {
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(series.labels.len());
        for (name, value) in &series.labels {
            let (name, value) = (self.symbol(*name)?, self.symbol(*value)?);
            if pairs.last().is_some_and(|(last, _)| *last >= name) {
                return Err(Damage::new(
                    FILE,
                    0,
                    "a series whose labels are not in order",
                ));
            }
            if !value.is_empty() {
                pairs.push((name, value));
            }
        }
        Ok(Labels::from_sorted(pairs.into_iter()))
    }

    /// How many label pairs there are, the empty one aside.
    pub(super) fn pair_count(&self) -> Result<u32, Damage> {
        let pairs = self.pairs()?;
        Ok((pairs.entries.len() - pairs.of("").len()) as u32)
    }

    /// A label pair by its number in order of (name, value).
    pub(super) fn pair(&self, number: u32) -> Result<(&str, &str), Damage> {
        // The empty name comes first.
        let pair = self.entry(self.pairs()?.of("").len() + number as usize)?;
        Ok((pair.name, pair.value))
    }

    /// The numbers of a series' label pairs; `known` remembers them by their symbols.
    pub(super) fn pairs_of(
        &self,
        reference: u32,
        known: &mut HashMap<(u32, u32), u32>,
    ) -> Result<Vec<u32>, Damage> {
        let mut series = Series::default();
        self.series(reference, &mut series)?;
        let mut numbers = Vec::with_capacity(series.labels.len());
        for symbols in series.labels {
            if let Some(number) = known.get(&symbols) {
                numbers.push(*number);
                continue;
            }
            let (name, value) = (self.symbol(symbols.0)?, self.symbol(symbols.1)?);
            if value.is_empty() {
                continue;
            }
            let Some(at) = self.find_entry(name, value)? else {
                let what = format!("a series has {name}={value}, which has no postings");
                return Err(Damage::new(FILE, 0, &what));
            };
            let number = (at - self.pairs()?.of("").len()) as u32;
            known.insert(symbols, number);
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// Calls `each` with every label name but the empty one.
    pub(super) fn names(&self) -> Result<impl Iterator<Item = &str>, Damage> {
        let names = self.pairs()?.names.iter();
        Ok(names
            .map(|(name, _)| &**name)
            .filter(|name| !name.is_empty()))
    }

    /// Names of the labels that the series of a set have.
    pub(super) fn names_of(&self, set: &Bitmap) -> Result<Vec<&str>, Damage> {
        let mut seen = HashSet::new();
        let mut series = Series::default();
        for reference in set.iter() {
            self.series(reference, &mut series)?;
            seen.extend(series.labels.iter().map(|(name, _)| *name));
        }
        seen.into_iter().map(|name| self.symbol(name)).collect()
    }

    /// Values of a label among the series of a set, or all of them.
    pub(super) fn values(&self, name: &str, set: Option<&Bitmap>) -> Result<Vec<&str>, Damage> {
        let range = self.pairs()?.of(name);
        let Some(set) = set else {
            return range.map(|at| Ok(self.entry(at)?.value)).collect();
        };
        let mut values = Vec::new();
        if set.cardinality() < range.len() as u64 {
            let mut seen = HashSet::new();
            let mut series = Series::default();
            for reference in set.iter() {
                self.series(reference, &mut series)?;
                for (have, value) in &series.labels {
                    if self.symbol(*have)? == name && seen.insert(*value) {
                        values.push(self.symbol(*value)?);
                    }
                }
            }
            return Ok(values);
        }
        for at in range {
            let pair = self.entry(at)?;
            if self.postings(pair.postings_at)?.intersect(set) {
                values.push(pair.value);
            }
        }
        Ok(values)
    }

    /// Reads the whole index, for its checksums and for what its parts say of each other.
    pub(super) fn verify(&self) -> Result<(), Damage> {
        let count = strict::index(self.file.as_slice());
        let count = count.map_err(|error| Damage::at(FILE, 0, error))?;
        let all = select::Index::everything(self)?.cardinality();
        if all != count {
            let what = format!("has {count} series, and says it has {all}");
            return Err(Damage::new(FILE, 0, &what));
        }
        for at in 0..self.pairs()?.entries.len() {
            let pair = self.entry(at)?;
            self.postings(pair.postings_at)?;
        }
        Ok(())
    }

    fn postings(&self, at: u64) -> Result<Bitmap, Damage> {
        let (base, content) = self.section(at)?;
        let read = || {
            let mut reader = Reader::new(content);
            let count = be32(&mut reader)? as usize;
            let list = reader.take(count.saturating_mul(4))?;
            let mut references = Vec::with_capacity(count);
            for each in list.chunks_exact(4) {
                references.push(u32::from_be_bytes([each[0], each[1], each[2], each[3]]));
            }
            Ok(Bitmap::of(&references))
        };
        read().map_err(|error| Damage::at(FILE, base, error))
    }

    fn find(&self, name: &str, value: &str) -> Result<Option<u64>, Damage> {
        let at = self.find_entry(name, value)?;
        at.map(|at| Ok(self.entry(at)?.postings_at)).transpose()
    }

    fn find_entry(&self, name: &str, value: &str) -> Result<Option<usize>, Damage> {
        let range = self.pairs()?.of(name);
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low.midpoint(high);
            let pair = self.entry(middle)?;
            match pair.value.cmp(value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    fn entry(&self, at: usize) -> Result<Pair<'_>, Damage> {
        let pairs = self.pairs()?;
        let at = pairs.base + pairs.entries.get(at).copied().unwrap_or(u32::MAX) as usize;
        let bytes = self.file.as_slice().get(at..).unwrap_or_default();
        read_pair(&mut Reader::new(bytes)).map_err(|error| Damage::at(FILE, at, error))
    }

    fn pairs(&self) -> Result<&Pairs, Damage> {
        let pairs = self.pairs.get_or_init(|| self.read_pairs());
        pairs.as_ref().map_err(Clone::clone)
    }

    fn read_pairs(&self) -> Result<Pairs, Damage> {
        let mut pairs = Pairs {
            names: Vec::new(),
            base: 0,
            entries: Vec::new(),
        };
        if self.postings_table_at == 0 {
            return Ok(pairs);
        }
        let (base, content) = self.section(self.postings_table_at as u64)?;
        pairs.base = base;
        let mut sorted = true;
        let mut last = None;
        let mut read = || {
            let mut reader = Reader::new(content);
            let count = be32(&mut reader)?;
            for _ in 0..count {
                let at = reader.offset() as u32;
                let pair = read_pair(&mut reader)?;
                sorted &= last.is_none_or(|last| last < (pair.name, pair.value));
                last = Some((pair.name, pair.value));
                pairs.entries.push(at);
            }
            Ok(())
        };
        read().map_err(|error| Damage::at(FILE, base, error))?;
        let key = |at: u32| {
            let pair = read_pair(&mut Reader::new(
                content.get(at as usize..).unwrap_or_default(),
            ));
            pair.map_or(("", ""), |pair| (pair.name, pair.value))
        };
        if !sorted {
            // Version 1 promises no order.
            pairs.entries.sort_by(|a, b| key(*a).cmp(&key(*b)));
        }
        for (index, at) in pairs.entries.iter().enumerate() {
            let (name, _) = key(*at);
            match pairs.names.last_mut() {
                Some((have, range)) if **have == *name => range.end = index + 1,
                _ => pairs.names.push((name.into(), index..index + 1)),
            }
        }
        Ok(pairs)
    }

    fn symbol(&self, reference: u32) -> Result<&str, Damage> {
        let symbols = self.symbols.get_or_init(|| self.read_symbols());
        let symbols = symbols.as_ref().map_err(Clone::clone)?;
        let at = if self.version == 1 {
            Some(reference as usize)
        } else {
            let offset = symbols.offsets.get(reference as usize);
            offset.map(|at| symbols.inside.start - 4 + *at as usize)
        };
        let Some(at) = at.filter(|at| symbols.inside.contains(at)) else {
            let what = format!("refers to symbol {reference}, which is not there");
            return Err(Damage::new(FILE, self.symbols_at, &what));
        };
        Reader::new(&self.file.as_slice()[at..symbols.inside.end])
            .text()
            .map_err(|error| Damage::at(FILE, at, error))
    }

    fn read_symbols(&self) -> Result<Symbols, Damage> {
        let (base, content) = self.section(self.symbols_at as u64)?;
        let inside = base + 4..base + content.len();
        let mut offsets = Vec::new();
        let mut read = || {
            let mut reader = Reader::new(content);
            let count = be32(&mut reader)?;
            for _ in 0..count {
                let at = reader.offset() as u32;
                let length = reader.count(1)?;
                reader.take(length)?;
                offsets.push(at);
            }
            Ok(())
        };
        read().map_err(|error| Damage::at(FILE, base, error))?;
        Ok(Symbols { offsets, inside })
    }

    /// Content of a section behind its length, its checksum verified; and where it begins.
    fn section(&self, at: u64) -> Result<(usize, &[u8]), Damage> {
        let bytes = self.file.as_slice();
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let read = || {
            let mut reader = Reader::new(bytes.get(at..).unwrap_or_default());
            let length = be32(&mut reader)? as usize;
            let content = reader.take(length)?;
            if crc32c::crc32c(content) != be32(&mut reader)? {
                return Err(Malformed {
                    offset: 0,
                    what: "a section whose checksum does not fit",
                });
            }
            Ok(content)
        };
        read()
            .map(|content| (at + 4, content))
            .map_err(|error| Damage::at(FILE, at, error))
    }
}

impl Pairs {
    fn of(&self, name: &str) -> Range<usize> {
        match self.names.binary_search_by(|(have, _)| (**have).cmp(name)) {
            Ok(at) => self.names[at].1.clone(),
            Err(_) => 0..0,
        }
    }
}

fn read_pair<'a>(reader: &mut Reader<'a>) -> Result<Pair<'a>, Malformed> {
    if reader.varint()? != 2 {
        return Err(reader.fail("postings of something else than a label pair"));
    }
    Ok(Pair {
        name: reader.text()?,
        value: reader.text()?,
        postings_at: reader.varint()?,
    })
}

fn read_series(content: &[u8], series: &mut Series) -> Result<(), Malformed> {
    series.labels.clear();
    series.chunks.clear();
    let mut reader = Reader::new(content);
    let labels = reader.count(2)?;
    for _ in 0..labels {
        series
            .labels
            .push((reader.varint_u32()?, reader.varint_u32()?));
    }
    let chunks = reader.count(3)?;
    let (mut at_ms, mut reference) = (0i64, 0u64);
    for index in 0..chunks {
        let beyond = reader.fail("a time beyond 64 bits");
        let min_ms = if index == 0 {
            reader.signed()?
        } else {
            at_ms.checked_add_unsigned(reader.varint()?).ok_or(beyond)?
        };
        let max_ms = min_ms
            .checked_add_unsigned(reader.varint()?)
            .ok_or(beyond)?;
        reference = if index == 0 {
            reader.varint()?
        } else {
            reference.wrapping_add_signed(reader.signed()?)
        };
        at_ms = max_ms;
        series.chunks.push(ChunkMeta {
            min_ms,
            max_ms,
            reference,
        });
    }
    Ok(())
}

impl select::Index for Index {
    type Set = Bitmap;
    type Error = Damage;

    fn everything(&self) -> Result<Bitmap, Damage> {
        self.with_pair("", "")
    }

    fn count(&self, name: &str, value: &str) -> Result<u64, Damage> {
        let Some(at) = self.find(name, value)? else {
            return Ok(0);
        };
        // Only to begin with the rarest: the checksum is verified when the list is read.
        let at = usize::try_from(at).unwrap_or(usize::MAX).saturating_add(4);
        let mut reader = Reader::new(self.file.as_slice().get(at..).unwrap_or_default());
        be32(&mut reader)
            .map(u64::from)
            .map_err(|error| Damage::at(FILE, at, error))
    }

    fn with_pair(&self, name: &str, value: &str) -> Result<Bitmap, Damage> {
        match self.find(name, value)? {
            Some(at) => self.postings(at),
            None => Ok(Bitmap::new()),
        }
    }

    fn keep_pair(&self, set: &mut Bitmap, name: &str, value: &str) -> Result<(), Damage> {
        set.and_inplace(&self.with_pair(name, value)?);
        Ok(())
    }

    fn with_values(&self, name: &str, values: select::Values<'_>) -> Result<Bitmap, Damage> {
        let (range, prefix) = (self.pairs()?.of(name), values.prefix());
        let mut at = select::first_from(range.clone(), prefix, |at| Ok(self.entry(at)?.value))?;
        let mut found = Bitmap::new();
        let mut values = values.ascending();
        while at < range.end {
            let pair = self.entry(at)?;
            if !pair.value.starts_with(prefix) {
                break;
            }
            at += 1;
            match values.judge(pair.value) {
                Judged::Fits => found.or_inplace(&self.postings(pair.postings_at)?),
                Judged::Not => {}
                Judged::NoneWith(length) => {
                    let has = |at: usize, start: &[u8]| {
                        Ok(self.entry(at)?.value.as_bytes().starts_with(start))
                    };
                    at = select::first_without(
                        at..range.end,
                        &pair.value.as_bytes()[..length],
                        has,
                    )?;
                }
            }
        }
        Ok(found)
    }

    fn add_pair(&self, set: &mut Bitmap, name: &str, value: &str) -> Result<(), Damage> {
        set.or_inplace(&self.with_pair(name, value)?);
        Ok(())
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

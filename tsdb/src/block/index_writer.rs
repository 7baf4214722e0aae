//! What goes into the index of a block under construction. Of each series, what it takes in memory
//! until the end are its places in posting lists; the rest is set aside.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::index::lists::ListBuilder;
use crate::block::index::texts::TextsBuilder;
use crate::block::index::{GROUP, Origin, PagesWriter, Place, section, series};
use crate::block::index_file::IndexFile;
use crate::block::stage::Stage;
use crate::bytes::{Malformed, Reader, put_varint};
use crate::compact::pace::Pace;
use crate::component::ComponentKey;
use crate::disk::Disk;

type Failure = (PathBuf, io::Error);

/// A timestamp column.
pub(crate) struct Column {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) rows: u32,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

/// A page of a series, and which rows of its column it has.
pub(crate) struct PlacedPage {
    pub(crate) place: Place,
    pub(crate) column: u32,
    pub(crate) rows: Vec<(u32, u32)>,
}

/// An index under construction.
pub(crate) struct IndexWriter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    pace: Option<Arc<Pace>>,
    pub(crate) columns: Vec<Column>,
    /// Where pages are that several series share, and their sizes.
    shared: Vec<(u64, u32)>,
    /// Groups of series: their pairs as the caller numbers them, then their pages.
    staged: Stage,
    group: Group,
    series: u32,
    /// Series that have components, and what these are.
    components: Stage,
    component: Option<Parent>,
    /// Where each item of the table of components ends.
    component_ends: Vec<u32>,
    /// Layouts of histograms, by number.
    layouts: BTreeMap<u64, Box<[u8]>>,
    /// Per pair of the caller: series that have it.
    postings: Vec<ListBuilder>,
}

/// Series that are not set aside yet.
#[derive(Default)]
struct Group {
    start: u64,
    origin: Origin,
    series: u32,
    pairs: Vec<u8>,
    pages: Vec<u8>,
}

/// The components of the newest series.
struct Parent {
    origin: Origin,
    item: Vec<u8>,
}

/// Shorter lists are not looked for among others.
const SAME_LEAST_BYTES: usize = 6;

impl IndexWriter {
    /// An index of so many label pairs, in a directory.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        pairs: usize,
        pace: Option<Arc<Pace>>,
    ) -> Self {
        let stage = |name| Stage::new(disk.clone(), directory.join(name), pace.clone());
        Self {
            disk: disk.clone(),
            path: directory.join("index"),
            columns: Vec::new(),
            shared: Vec::new(),
            staged: stage("series"),
            group: Group::default(),
            series: 0,
            components: stage("components"),
            component: None,
            component_ends: vec![0],
            layouts: BTreeMap::new(),
            postings: vec![ListBuilder::default(); pairs],
            pace,
        }
    }

    /// How many series so far.
    pub(crate) fn len(&self) -> u32 {
        self.series
    }

    /// The number of a page that several series will refer to.
    pub(crate) fn share(&mut self, offset: u64, length: u32) -> u32 {
        self.shared.push((offset, length));
        self.shared.len() as u32 - 1
    }

    /// Adds a series; series come in order of their labels. `pairs` ascend, `start` is where the data
    /// file ended before its pages were written.
    pub(crate) fn series(
        &mut self,
        pairs: &[u32],
        start: u64,
        pages: &[PlacedPage],
    ) -> Result<(), Failure> {
        self.end_components()?;
        for pair in pairs {
            self.postings[*pair as usize].push(self.series);
        }
        let group = &mut self.group;
        if group.series == 0 {
            group.start = start;
            group.origin = Origin::at(start);
        }
        put_varint(&mut group.pairs, pairs.len() as u64);
        let mut last = 0;
        for pair in pairs {
            put_varint(&mut group.pairs, u64::from(pair - last));
            last = *pair;
        }
        put_pages(&mut group.pages, &mut group.origin, pages, &self.columns);
        group.series += 1;
        self.series += 1;
        if group.series == GROUP {
            self.end_group()?;
        }
        Ok(())
    }

    /// Adds a component of the series that was added last; they come in order of key.
    pub(crate) fn component(&mut self, key: ComponentKey, start: u64, pages: &[PlacedPage]) {
        let Some(parent) = self.series.checked_sub(1) else {
            unreachable!("BUG: a component before any series");
        };
        let Parent { origin, item } = self.component.get_or_insert_with(|| {
            let mut item = parent.to_le_bytes().to_vec();
            put_varint(&mut item, start);
            let origin = Origin::at(start);
            Parent { origin, item }
        });
        key.write(item);
        put_pages(item, origin, pages, &self.columns);
    }

    /// Adds a layout that a series refers to.
    pub(crate) fn layout(&mut self, id: u64, bytes: &[u8]) -> Result<(), Failure> {
        match self.layouts.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(bytes.into());
                Ok(())
            }
            Entry::Occupied(entry) if **entry.get() == *bytes => Ok(()),
            Entry::Occupied(_) => {
                let error = format!("layout {id} of histograms is two different ones");
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                Err((self.path.clone(), error))
            }
        }
    }

    /// Writes the file; `texts` gives names and values of the pairs. Returns its size.
    pub(crate) fn finish<'t>(
        mut self,
        texts: impl Fn(usize) -> (&'t str, &'t str),
    ) -> Result<u64, Failure> {
        self.end_components()?;
        self.end_group()?;
        let mut file = IndexFile::create(&self.disk, self.path.clone(), self.pace.clone())?;
        // Pairs that no series of this block has are left out; the others keep their order.
        let mut builder = TextsBuilder::default();
        let mut numbers = vec![0u32; self.postings.len()];
        let mut used = 0;
        for (pair, list) in self.postings.iter().enumerate() {
            if !list.is_empty() {
                let (name, value) = texts(pair);
                builder.push(name, value);
                numbers[pair] = used;
                used += 1;
            }
        }
        let (names, values) = builder.finish();
        self.check_size(values.len().max(names.len()) as u64)?;
        file.section(section::NAMES, &names)?;
        file.section(section::VALUES, &values)?;
        drop((names, values));
        let postings = std::mem::take(&mut self.postings);
        self.write_postings(postings, &mut file, &numbers, used)?;
        self.write_series(file, &numbers)
    }

    fn write_postings(
        &self,
        mut postings: Vec<ListBuilder>,
        file: &mut IndexFile,
        numbers: &[u32],
        used: u32,
    ) -> Result<(), Failure> {
        let mut known: HashMap<u64, usize> = HashMap::new();
        let hasher = known.hasher().clone();
        let mut offsets = Vec::with_capacity(used.div_ceil(GROUP) as usize);
        let mut item = Vec::new();
        file.begin();
        file.put(&used.to_le_bytes())?;
        for pair in 0..postings.len() {
            if postings[pair].is_empty() {
                continue;
            }
            let mut list = std::mem::take(&mut postings[pair]);
            list.complete();
            if numbers[pair].is_multiple_of(GROUP) {
                offsets.push(self.offset_in(file)?);
            }
            let mut same = None;
            if list.gaps().len() >= SAME_LEAST_BYTES {
                let first = *known.entry(hasher.hash_one(list.gaps())).or_insert(pair);
                let is_same = first != pair && postings[first].gaps() == list.gaps();
                same = is_same.then(|| numbers[first]);
            }
            item.clear();
            list.write(same, &mut item);
            file.put(&item)?;
            if list.gaps().len() >= SAME_LEAST_BYTES && same.is_none() {
                postings[pair] = list;
            }
        }
        self.end_groups(file, section::POSTINGS, &offsets)
    }

    fn write_series(self, mut file: IndexFile, numbers: &[u32]) -> Result<u64, Failure> {
        let mut offsets = Vec::with_capacity(self.series.div_ceil(GROUP) as usize);
        let (path, series_count) = (self.path, self.series);
        let too_large = || (path.clone(), too_large());
        file.begin();
        file.put(&series_count.to_le_bytes())?;
        let mut item = Vec::new();
        self.staged.drain(|group| {
            let offset = u32::try_from(file.section_bytes() - 4).map_err(|_| too_large())?;
            offsets.push(offset);
            item.clear();
            if renumber(group, numbers, &mut item).is_err() {
                let error = io::Error::new(io::ErrorKind::InvalidData, "series came back changed");
                return Err((path.clone(), error));
            }
            file.put(&item)
        })?;
        if file.section_bytes() > u64::from(u32::MAX) {
            return Err(too_large());
        }
        for offset in &offsets {
            file.put(&offset.to_le_bytes())?;
        }
        file.end_section(section::SERIES);
        file.begin();
        file.put(&(self.columns.len() as u32).to_le_bytes())?;
        for column in &self.columns {
            file.put(&column.offset.to_le_bytes())?;
            file.put(&column.length.to_le_bytes())?;
            file.put(&column.rows.to_le_bytes())?;
            file.put(&column.start_ms.to_le_bytes())?;
            file.put(&column.end_ms.to_le_bytes())?;
        }
        file.end_section(section::COLUMNS);
        if !self.shared.is_empty() {
            file.begin();
            file.put(&(self.shared.len() as u32).to_le_bytes())?;
            for (offset, length) in &self.shared {
                file.put(&offset.to_le_bytes())?;
                file.put(&length.to_le_bytes())?;
            }
            file.end_section(section::SHARED);
        }
        if let [_, .., _] = self.component_ends[..] {
            file.begin();
            file.put(&(self.component_ends.len() as u32 - 1).to_le_bytes())?;
            for end in &self.component_ends {
                file.put(&end.to_le_bytes())?;
            }
            self.components.drain(|item| file.put(item))?;
            file.end_section(section::COMPONENTS);
        }
        if !self.layouts.is_empty() {
            let items = self.layouts.iter().map(|(id, bytes)| {
                let mut item = id.to_le_bytes().to_vec();
                item.extend_from_slice(bytes);
                item
            });
            let mut table = Vec::new();
            put_table(&mut table, items);
            file.section(section::LAYOUTS, &table)?;
        }
        file.finish()
    }

    fn end_groups(&self, file: &mut IndexFile, id: u32, offsets: &[u32]) -> Result<(), Failure> {
        self.check_size(file.section_bytes())?;
        for offset in offsets {
            file.put(&offset.to_le_bytes())?;
        }
        file.end_section(id);
        Ok(())
    }

    /// Where the next group of a section begins, counted from behind the number of items.
    fn offset_in(&self, file: &IndexFile) -> Result<u32, Failure> {
        let offset = file.section_bytes() - 4;
        self.check_size(offset)?;
        Ok(offset as u32)
    }

    fn check_size(&self, bytes: u64) -> Result<(), Failure> {
        if bytes > u64::from(u32::MAX) {
            return Err((self.path.clone(), too_large()));
        }
        Ok(())
    }

    /// Sets the series of a group aside.
    fn end_group(&mut self) -> Result<(), Failure> {
        if self.group.series == 0 {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        let mut record = Vec::with_capacity(group.pairs.len() + group.pages.len() + 16);
        put_varint(&mut record, u64::from(group.series));
        record.extend_from_slice(&group.pairs);
        put_varint(&mut record, group.start);
        record.extend_from_slice(&group.pages);
        self.staged.push(&record)
    }

    fn end_components(&mut self) -> Result<(), Failure> {
        let Some(parent) = self.component.take() else {
            return Ok(());
        };
        let end = self.component_ends.last().copied().unwrap_or_default() as usize;
        let end = end + parent.item.len();
        self.check_size(end as u64)?;
        self.component_ends.push(end as u32);
        self.components.push(&parent.item)
    }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "a section beyond 4 GiB")
}

fn put_pages(out: &mut Vec<u8>, origin: &mut Origin, pages: &[PlacedPage], columns: &[Column]) {
    let mut writer = PagesWriter::begin(out, origin, pages.len());
    for page in pages {
        let all = columns[page.column as usize].rows;
        writer.put(page.place, page.column, &page.rows, all);
    }
}

/// A group as the index has it, from one that was set aside.
fn renumber(group: &[u8], numbers: &[u32], item: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut reader = Reader::new(group);
    let (mut before, mut pairs, mut encoded) = (Vec::new(), Vec::new(), Vec::new());
    for series in 0..reader.count(1)? {
        pairs.clear();
        let mut last = 0;
        for _ in 0..reader.count(1)? {
            last += reader.varint_u32()?;
            pairs.push(numbers[last as usize]);
        }
        let before_it = (series > 0).then_some(&before[..]);
        series::put_pairs(&mut encoded, before_it, &pairs);
        std::mem::swap(&mut before, &mut pairs);
    }
    put_varint(item, encoded.len() as u64);
    item.extend_from_slice(&encoded);
    item.extend_from_slice(reader.rest());
    Ok(())
}

/// Count u32, offsets u32 (one more than the count, relative to the first item), the items.
fn put_table<T: AsRef<[u8]>>(out: &mut Vec<u8>, items: impl Iterator<Item = T>) {
    let (mut offsets, mut bytes) = (vec![0u32], Vec::new());
    for item in items {
        bytes.extend_from_slice(item.as_ref());
        offsets.push(bytes.len() as u32);
    }
    out.extend_from_slice(&(offsets.len() as u32 - 1).to_le_bytes());
    for offset in offsets {
        out.extend_from_slice(&offset.to_le_bytes());
    }
    out.extend_from_slice(&bytes);
}

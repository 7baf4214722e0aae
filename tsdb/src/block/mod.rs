//! Blocks: immutable directories, each with the samples of a stretch of time.

pub(crate) mod index;
pub(crate) mod meta;
pub(crate) mod report;
pub(crate) mod writer;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::{Matcher, TimeRange};

use crate::assemble::{Assembly, ColumnKey};
use crate::block::index::{BlockIndex, ColumnRef, IndexView, PageRef, Pages, Pin};
use crate::block::meta::{Meta, MetaError};
use crate::bytes::{Malformed, Reader};
use crate::compact::merge::{InputColumns, InputPiece};
use crate::component::ComponentKey;
use crate::digest::{Extremes, Stretch};
use crate::disk::Disk;
use crate::error::{OpenError, ReadError, SelectError};
use crate::layout::Layout;
use crate::map::{Held, Region};
use crate::matches::MatchCache;
use crate::page::{codec, timestamps};
use crate::pairs::{List, Pairs};
use crate::select;
use crate::view::{StoredBlock, View};

pub(crate) const DATA_MAGIC: [u8; 8] = *b"BARODAT\n";
pub(crate) const DATA_VERSION: u32 = 1;
pub(crate) const INDEX_MAGIC: [u8; 8] = *b"BAROIDX\n";
pub(crate) const INDEX_VERSION: u32 = 1;
/// Size of the header of a data or index file.
const HEADER_BYTES: usize = 16;

/// Most rows of a timestamp column that are read: a week of 50 a second. A few bytes can speak of any
/// number.
const COLUMN_ROWS_LIMIT: u32 = 1 << 25;

/// Sections of an index.
pub(crate) mod section {
    /// Distinct label names and values, sorted.
    pub(crate) const TEXTS: u32 = 1;
    /// Label pairs, sorted.
    pub(crate) const PAIRS: u32 = 2;
    /// Per pair: a portable roaring bitmap of the series that have it.
    pub(crate) const POSTINGS: u32 = 3;
    /// Series in order of their labels: pairs and pages.
    pub(crate) const SERIES: u32 = 4;
    /// Timestamp columns.
    pub(crate) const COLUMNS: u32 = 5;
    /// Series that have components: theirs and their pages. Absent where there are none.
    pub(crate) const COMPONENTS: u32 = 6;
    /// Layouts of histograms. Absent where there are none.
    pub(crate) const LAYOUTS: u32 = 7;

    /// What they are called.
    pub(crate) const NAMES: [(u32, &str); 7] = [
        (TEXTS, "texts"),
        (PAIRS, "pairs"),
        (POSTINGS, "postings"),
        (SERIES, "series"),
        (COLUMNS, "columns"),
        (COMPONENTS, "components"),
        (LAYOUTS, "layouts"),
    ];
}

/// A series of a block in a selection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockSeries {
    /// Number of the block in the view.
    pub(crate) block: u32,
    /// Number of the series in the block.
    pub(crate) series: u32,
}

/// An open block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) meta: Meta,
    pub(crate) path: PathBuf,
    data: Region,
    index: BlockIndex,
}

/// Something wrong in a block's file.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) file: &'static str,
    pub(crate) offset: u64,
    pub(crate) what: String,
}

impl Block {
    /// Opens a block directory.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, OpenError> {
        let io = |action| {
            let path = path.to_owned();
            move |source| OpenError::Io {
                path,
                action,
                source,
            }
        };
        let meta_path = path.join("meta");
        let bytes = disk.read(&meta_path).map_err(io("read the meta file"))?;
        let meta = Meta::decode(&bytes).map_err(|error| match error {
            MetaError::Version(version) => OpenError::Version {
                path: meta_path.clone(),
                version,
            },
            MetaError::Malformed(error) => damaged(&meta_path, error),
        })?;
        let data = disk
            .map(&path.join("data"), meta.data_bytes)
            .map_err(io("map the data file"))?;
        let index = disk
            .map(&path.join("index"), meta.index_bytes)
            .map_err(io("map the index file"))?;
        check_header(&data.0, DATA_MAGIC, DATA_VERSION, &path.join("data"))?;
        let index_path = path.join("index");
        check_header(&index.0, INDEX_MAGIC, INDEX_VERSION, &index_path)?;
        let index = BlockIndex::open(index.0).map_err(|error| damaged(&index_path, error))?;
        Ok(Self {
            meta,
            path: path.to_owned(),
            data: data.0,
            index,
        })
    }

    /// Reads everything and verifies every checksum.
    ///
    /// # Errors
    /// The first damage that is found.
    pub(crate) fn verify(&self) -> Result<(), OpenError> {
        let check = || {
            let index = self.index.view();
            index.verify()?;
            for column in 0..index.column_count()? {
                self.column(&index, column)?;
            }
            self.layouts()?;
            Ok(())
        };
        check().map_err(|error: Damaged| self.open_error(error))?;
        self.each_page(|_, bytes| codec::verify(bytes).map(drop))
    }

    /// Calls `visit` with every page, as often as it is referred to.
    fn each_page(
        &self,
        mut visit: impl FnMut(&PageRef, &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), OpenError> {
        let mut rows = Vec::new();
        let mut all = |mut pages: Pages<'_>| {
            while let Some(page) = pages.next(&mut rows)? {
                let bytes = self.data_at(page.offset, page.length)?;
                visit(&page, &bytes).map_err(|error| in_data(page.offset, &error))?;
            }
            Ok(())
        };
        let mut visit_all = || {
            let index = self.index.view();
            for series in 0..index.series_count()? {
                all(index.pages(series)?)?;
                for (_, pages) in index.components(series)? {
                    all(pages)?;
                }
            }
            Ok(())
        };
        visit_all().map_err(|error: Damaged| self.open_error(error))
    }

    /// Whether what was read was there: a file that was cut short under its map reads as zeros.
    fn check_files(&self) -> Result<(), Damaged> {
        for (file, lost) in [
            ("data", self.data.is_lost()),
            ("index", self.index.is_lost()),
        ] {
            if lost {
                return Err(Damaged {
                    file,
                    offset: 0,
                    what: "bytes that were written are gone: the file was cut short, or the disk failed"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    fn open_error(&self, error: Damaged) -> OpenError {
        OpenError::Corrupt {
            path: self.path.join(error.file),
            offset: error.offset,
            what: error.what,
        }
    }

    /// Keeps in memory what reading its series needs, for as long as the result is held.
    pub(crate) fn pin(&self) -> Pin {
        self.index.pin()
    }

    /// From its oldest to its newest sample.
    pub(crate) fn range(&self) -> TimeRange {
        self.meta.times
    }

    /// Size of its files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.meta.data_bytes + self.meta.index_bytes
    }

    /// Series that fit and may have samples in `range`, in order of their labels.
    pub(crate) fn select(
        &self,
        number: u32,
        matchers: &[Matcher],
        range: TimeRange,
        matches: &MatchCache,
        pairs: &mut Pairs,
    ) -> Result<Vec<(List, BlockSeries)>, SelectError> {
        let mut found = Vec::new();
        let mut source = pairs.begin_source();
        let mut ids = Vec::new();
        let mut select = || {
            let index = self.index.view().remembering(matches, self.meta.uid);
            let set = select::select(&index, matchers)?;
            let whole = range.start_ms <= self.meta.times.start_ms
                && self.meta.times.end_ms <= range.end_ms;
            for series in set.to_vec() {
                if whole || self.may_have(&index, series, range)? {
                    let at = BlockSeries {
                        block: number,
                        series,
                    };
                    index.pairs_of_series(series, &mut ids)?;
                    let list = source.add(pairs, &ids, |pair| index.pair(pair))?;
                    found.push((list, at));
                }
            }
            Ok(())
        };
        select()
            .and_then(|()| self.check_files())
            .map_err(|error| self.select_error(error))?;
        Ok(found)
    }

    /// Adds the label names of the series that fit.
    pub(crate) fn label_names(
        &self,
        matchers: &[Matcher],
        matches: &MatchCache,
        into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        let mut collect = || {
            let index = self.index.view().remembering(matches, self.meta.uid);
            let set = match matchers {
                [] => None,
                _ => Some(select::select(&index, matchers)?),
            };
            index.names(|name, pairs| {
                for pair in pairs {
                    if index.pair_is_in(pair, set.as_ref())? {
                        into.insert(name.to_owned());
                        break;
                    }
                }
                Ok(())
            })
        };
        collect()
            .and_then(|()| self.check_files())
            .map_err(|error| self.select_error(error))
    }

    /// Adds the values of a label among the series that fit.
    pub(crate) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        matches: &MatchCache,
        into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        let mut collect = || {
            let index = self.index.view().remembering(matches, self.meta.uid);
            let set = match matchers {
                [] => None,
                _ => Some(select::select(&index, matchers)?),
            };
            for pair in index.pairs_of(name)? {
                if index.pair_is_in(pair, set.as_ref())? {
                    into.insert(index.pair(pair)?.1.to_owned());
                }
            }
            Ok(())
        };
        collect()
            .and_then(|()| self.check_files())
            .map_err(|error| self.select_error(error))
    }

    /// Reads the samples of a series inside `range`.
    pub(crate) fn read(
        &self,
        at: BlockSeries,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let index = self.index.view();
        let pages = index.pages(at.series);
        pages
            .and_then(|pages| self.read_pages(&index, at.block, pages, range, assembly))
            .and_then(|()| self.check_files())
            .map_err(|error| self.read_error(error))
    }

    /// Whether a series has components.
    pub(crate) fn has_components(&self, series: u32) -> Result<bool, Damaged> {
        self.index.view().has_components(series)
    }

    /// Reads the samples of a component of a series inside `range`.
    pub(crate) fn read_component(
        &self,
        at: BlockSeries,
        key: ComponentKey,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let index = self.index.view();
        let mut read = || {
            let mut components = index.components(at.series)?.into_iter();
            match components.find(|(have, _)| *have == key) {
                Some((_, pages)) => self.read_pages(&index, at.block, pages, range, assembly),
                None => Ok(()),
            }
        };
        read()
            .and_then(|()| self.check_files())
            .map_err(|error| self.read_error(error))
    }

    /// A layout of histograms by number.
    pub(crate) fn layout(&self, id: u64) -> Result<Option<Arc<Layout>>, ReadError> {
        let layout = self.index.view().layout(id);
        layout.map_err(|error| self.read_error(error))
    }

    /// Every layout of histograms, by number.
    pub(crate) fn layouts(&self) -> Result<Vec<Layout>, Damaged> {
        self.index.view().layouts()
    }

    /// The components of a series, in order.
    pub(crate) fn component_keys(&self, series: u32) -> Result<Vec<ComponentKey>, Damaged> {
        let index = self.index.view();
        let components = index.components(series)?.into_iter();
        Ok(components.map(|(key, _)| key).collect())
    }

    fn read_error(&self, error: Damaged) -> ReadError {
        ReadError::Corrupt {
            path: self.path.join(error.file),
            offset: error.offset,
            what: error.what,
        }
    }

    fn read_pages(
        &self,
        index: &IndexView<'_>,
        block: u32,
        mut pages: Pages<'_>,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), Damaged> {
        let mut rows = Vec::new();
        while let Some(page) = pages.next(&mut rows)? {
            if !index.column(page.column)?.overlaps(range) {
                continue;
            }
            let key = ColumnKey::Block {
                block,
                column: page.column,
            };
            let column = assembly.column(key, || self.column(index, page.column))?;
            let start = column.partition_point(|t| *t < range.start_ms) as u32;
            let end = column.partition_point(|t| *t <= range.end_ms) as u32;
            // Samples are numbered through the stretches.
            let (mut number, mut first, mut last) = (0u64, None, 0u64);
            for (row, count) in &mut rows {
                let (from, to) = ((*row).max(start), (*row + *count).min(end));
                if *row as usize + *count as usize > column.len() {
                    return Err(too_many_rows());
                }
                if from < to {
                    first = first.or(Some(number + u64::from(from - *row)));
                    last = number + u64::from(to - *row);
                }
                number += u64::from(*count);
                (*row, *count) = (from, to.saturating_sub(from));
            }
            let Some(first) = first else {
                continue;
            };
            let bytes = self.data_at(page.offset, page.length)?;
            let (values, runs) = assembly.parts();
            codec::decode(&bytes, first as usize..last as usize, values)
                .map_err(|error| in_data(page.offset, &error))?;
            for (row, count) in rows.iter().filter(|(_, count)| *count > 0) {
                runs.push(key, &column, *row, *count);
            }
        }
        Ok(())
    }

    /// Appends what is known of the samples of a series inside `range`, oldest first.
    pub(crate) fn stretches(
        &self,
        at: BlockSeries,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
        stretches: &mut Vec<Stretch>,
    ) -> Result<(), ReadError> {
        let index = self.index.view();
        let mut read = || {
            let (mut pages, mut rows) = (index.pages(at.series)?, Vec::new());
            while let Some(page) = pages.next(&mut rows)? {
                let stretch = self.stretch(&index, at.block, &page, &rows, range, assembly)?;
                stretches.extend(stretch);
            }
            Ok(())
        };
        read()
            .and_then(|()| self.check_files())
            .map_err(|error| self.read_error(error))
    }

    /// What is known of a page; nothing where it has no sample inside the range.
    fn stretch(
        &self,
        index: &IndexView<'_>,
        block: u32,
        page: &PageRef,
        rows: &[(u32, u32)],
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<Option<Stretch>, Damaged> {
        let times = index.column(page.column)?;
        let (Some((first, _)), Some((row, count))) = (rows.first(), rows.last()) else {
            return Ok(None);
        };
        if !times.overlaps(range) {
            return Ok(None);
        }
        let last = u64::from(*row) + u64::from(*count);
        let (start_ms, end_ms) = if *first == 0 && last == u64::from(times.rows) {
            (times.start_ms, times.end_ms)
        } else {
            let key = ColumnKey::Block {
                block,
                column: page.column,
            };
            let column = assembly.column(key, || self.column(index, page.column))?;
            let end = column.get((last as usize).wrapping_sub(1));
            match (column.get(*first as usize), end) {
                (Some(start), Some(end)) => (*start, *end),
                _ => return Err(too_many_rows()),
            }
        };
        if end_ms < range.start_ms || range.end_ms < start_ms {
            return Ok(None);
        }
        let mut stretch = Stretch {
            start_ms: start_ms.max(range.start_ms),
            end_ms: end_ms.min(range.end_ms),
            known: None,
        };
        if (stretch.start_ms, stretch.end_ms) != (start_ms, end_ms) {
            return Ok(Some(stretch));
        }
        let bytes = self.data_at(page.offset, page.length)?;
        let summary = codec::verify(&bytes).and_then(|_| codec::summary(&bytes));
        let summary = summary.map_err(|error| in_data(page.offset, &error))?;
        let count: u64 = rows.iter().map(|(_, count)| u64::from(*count)).sum();
        if summary.count as u64 != count {
            return Err(too_many_rows());
        }
        stretch.known = summary.plain.then_some(Extremes {
            count,
            least: summary.least,
            greatest: summary.greatest,
            rising: summary.rising,
        });
        Ok(Some(stretch))
    }

    /// Whether a page of the series has rows of the range. Columns are decoded at most once per
    /// call of the caller's loop; they are short.
    fn may_have(
        &self,
        index: &IndexView<'_>,
        series: u32,
        range: TimeRange,
    ) -> Result<bool, Damaged> {
        let mut pages = index.pages(series)?;
        let mut rows = Vec::new();
        while let Some(page) = pages.next(&mut rows)? {
            let times = index.column(page.column)?;
            if !times.overlaps(range) {
                continue;
            }
            if rows.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() == u64::from(times.rows)
                && range.start_ms <= times.start_ms
                && times.end_ms <= range.end_ms
            {
                return Ok(true);
            }
            let column = index.decoded_column(page.column, || self.column(index, page.column))?;
            let start = column.partition_point(|t| *t < range.start_ms) as u32;
            let end = column.partition_point(|t| *t <= range.end_ms) as u32;
            if rows
                .iter()
                .any(|(row, count)| *row < end && row + count > start)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many label pairs there are, numbered in order of (name, value).
    pub(crate) fn pair_count(&self) -> Result<u32, Damaged> {
        self.index.view().pair_count()
    }

    /// Name and value of a pair.
    pub(crate) fn pair_texts(&self, number: u32) -> Result<(String, String), Damaged> {
        let index = self.index.view();
        let (name, value) = index.pair(number)?;
        Ok((name.to_owned(), value.to_owned()))
    }

    /// How many series there are, numbered in order of their labels.
    pub(crate) fn series_count(&self) -> Result<u32, Damaged> {
        self.index.view().series_count()
    }

    /// The numbers of the pairs of a series, ascending.
    pub(crate) fn pairs_of(&self, series: u32) -> Result<Vec<u32>, Damaged> {
        let mut pairs = Vec::new();
        self.index.view().pairs_of_series(series, &mut pairs)?;
        Ok(pairs)
    }

    /// Appends the samples of a series, or of one of its components, page by page; returns how many
    /// bytes that read.
    pub(crate) fn read_pieces(
        &self,
        series: u32,
        component: Option<ComponentKey>,
        columns: &mut InputColumns,
        pieces: &mut Vec<InputPiece>,
    ) -> Result<u64, Damaged> {
        let index = self.index.view();
        let mut pages = match component {
            None => index.pages(series)?,
            Some(key) => {
                let mut components = index.components(series)?.into_iter();
                match components.find(|(have, _)| *have == key) {
                    Some((_, pages)) => pages,
                    None => return Ok(0),
                }
            }
        };
        let (mut runs, mut values, mut read) = (Vec::new(), Vec::new(), 0);
        while let Some(page) = pages.next(&mut runs)? {
            let column = columns.get(page.column, || self.column(&index, page.column))?;
            let fits = |(row, count): &(u32, u32)| {
                row.checked_add(*count)
                    .is_some_and(|end| end as usize <= column.len())
            };
            if !runs.iter().all(fits) {
                return Err(too_many_rows());
            }
            let count = runs.iter().map(|(_, count)| *count as usize).sum();
            let bytes = self.data_at(page.offset, page.length)?;
            values.clear();
            codec::decode(&bytes, 0..count, &mut values)
                .map_err(|error| in_data(page.offset, &error))?;
            read += page.length;
            let values = values.iter().map(|v: &f64| v.to_bits());
            match pieces.last_mut() {
                // A long column has several pages.
                Some(last) if last.column == Some(page.column) => {
                    last.runs.append(&mut runs);
                    last.values.extend(values);
                }
                _ => pieces.push(InputPiece {
                    column: Some(page.column),
                    timestamps_ms: column,
                    runs: std::mem::take(&mut runs),
                    values: values.collect(),
                }),
            }
        }
        Ok(read)
    }

    fn column(&self, index: &IndexView<'_>, number: u32) -> Result<Arc<[i64]>, Damaged> {
        let ColumnRef {
            offset,
            length,
            rows,
            ..
        } = index.column(number)?;
        let bytes = self.data_at(offset, u64::from(length))?;
        let read = || {
            let mut reader = Reader::new(&bytes);
            if rows > COLUMN_ROWS_LIMIT {
                return Err(reader.fail("a timestamp column of more rows than can be read"));
            }
            if reader.u32()? != crc32c::crc32c(&bytes[4..]) {
                return Err(reader.fail("a timestamp column whose checksum does not fit"));
            }
            let mut column = Vec::with_capacity(rows.min(1 << 20) as usize);
            timestamps::decode(&mut reader, rows as usize, &mut column)?;
            Ok(column.into())
        };
        read().map_err(|error: Malformed| in_data(offset, &error))
    }

    fn data_at(&self, offset: u64, length: u64) -> Result<Held<'_>, Damaged> {
        let end = offset.checked_add(length);
        if length < 4 || end.is_none_or(|end| end > self.data.len() as u64) {
            return Err(Damaged {
                file: "index",
                offset: 0,
                what: format!("bytes {offset} to {offset}+{length} are outside the data file"),
            });
        }
        let bytes = self.data.read(offset as usize, length as usize);
        bytes.map_err(|error| Damaged {
            file: "data",
            offset,
            what: format!("cannot be read: {error}"),
        })
    }

    fn select_error(&self, error: Damaged) -> SelectError {
        SelectError::Corrupt {
            path: self.path.join(error.file),
            offset: error.offset,
            what: error.what,
        }
    }
}

fn in_data(base: u64, error: &Malformed) -> Damaged {
    Damaged {
        file: "data",
        offset: base + error.offset as u64,
        what: error.what.to_owned(),
    }
}

fn too_many_rows() -> Damaged {
    Damaged {
        file: "index",
        offset: 0,
        what: "a page has more rows than its column".to_owned(),
    }
}

/// Opens every block of a directory, and removes unfinished ones. A damaged block is left alone and
/// not read; the others are.
pub(crate) fn open_blocks(
    disk: &Arc<dyn Disk>,
    directory: &Path,
) -> Result<(View, u64), OpenError> {
    let names = disk.list(directory).map_err(|source| OpenError::Io {
        path: directory.to_owned(),
        action: "list",
        source,
    })?;
    let (mut blocks, mut unreadable) = (Vec::new(), 0);
    for name in names {
        let path = directory.join(&name);
        if name.starts_with("tmp-") {
            if let Err(error) = disk.remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished block");
            }
            continue;
        }
        match Block::open(disk, &path) {
            Ok(block) => blocks.push(Arc::new(block)),
            Err(error @ OpenError::Version { .. }) => return Err(error),
            Err(error) => {
                unreadable += 1;
                tracing::error!(%error, "a block cannot be opened; its time is missing from answers");
            }
        }
    }
    remove_superseded(disk, directory, &mut blocks);
    let blocks = blocks.into_iter().map(StoredBlock::Own).collect();
    Ok((view_of(blocks), unreadable))
}

/// Leaves out blocks that another one was made of, and removes them: a crash came before that.
fn remove_superseded(disk: &Arc<dyn Disk>, directory: &Path, blocks: &mut Vec<Arc<Block>>) {
    let parents = blocks.iter().flat_map(|block| &block.meta.parents);
    let parents: HashSet<u64> = parents.copied().collect();
    blocks.retain(|block| {
        let uid = block.meta.uid;
        if !parents.contains(&uid) {
            return true;
        }
        let grave = directory.join(format!("tmp-{uid:016x}"));
        let removed = disk
            .rename(&block.path, &grave)
            .and_then(|()| disk.remove_dir_all(&grave));
        if let Err(error) = removed {
            tracing::warn!(path = %block.path.display(), %error, "cannot remove a block that was compacted");
        }
        false
    });
}

/// A view of these blocks.
pub(crate) fn view_of(mut blocks: Vec<StoredBlock>) -> View {
    blocks.sort_by_key(|block| (block.range().start_ms, block.uid()));
    let own = blocks.iter().filter_map(StoredBlock::own);
    let whole = own.filter(|block| !block.meta.part);
    View {
        head_start_ms: whole.map(|b| b.meta.end_ms).max().unwrap_or(i64::MIN),
        deletions: Arc::default(),
        matches: Arc::default(),
        blocks,
    }
}

/// The header of a data or index file: magic, version, checksum of both.
pub(crate) fn header(magic: [u8; 8], version: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn check_header(file: &Region, magic: [u8; 8], version: u32, path: &Path) -> Result<(), OpenError> {
    let bytes = file.read(0, HEADER_BYTES.min(file.len()));
    let bytes = bytes.map_err(|source| OpenError::Io {
        path: path.to_owned(),
        action: "read the header of",
        source,
    })?;
    let mut reader = Reader::new(&bytes);
    let mut check = || {
        if reader.take(8)? != magic {
            return Err(reader.fail("not a file of this kind"));
        }
        let have = reader.u32()?;
        if reader.u32()? != crc32c::crc32c(&bytes[..12]) {
            return Err(reader.fail("a header whose checksum does not fit"));
        }
        Ok(have)
    };
    match check() {
        Ok(have) if have == version => Ok(()),
        Ok(version) => Err(OpenError::Version {
            path: path.to_owned(),
            version,
        }),
        Err(error) => Err(damaged(path, error)),
    }
}

fn damaged(path: &Path, error: Malformed) -> OpenError {
    OpenError::Corrupt {
        path: path.to_owned(),
        offset: error.offset as u64,
        what: error.what.to_owned(),
    }
}

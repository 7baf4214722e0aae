//! Blocks: immutable directories, each with the samples of a stretch of time.

pub(crate) mod index;
mod index_file;
mod index_writer;
pub(crate) mod meta;
mod open;
mod read;
pub(crate) mod report;
mod select;
mod stage;
pub(crate) mod writer;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::TimeRange;

use crate::block::index::{BlockIndex, ColumnRef, IndexView, PageRef, Pages, Pin};
use crate::block::meta::{Meta, MetaError};
use crate::bytes::{Malformed, Reader};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::map::{Held, Region};
use crate::page::{codec, timestamps};

pub(crate) use self::open::{open_blocks, view_of};

pub(crate) const DATA_MAGIC: [u8; 8] = *b"BARODAT\n";
pub(crate) const DATA_VERSION: u32 = 1;
pub(crate) const INDEX_MAGIC: [u8; 8] = *b"BAROIDX\n";
/// Size of the header of a data or index file.
const HEADER_BYTES: usize = 16;

/// Most rows of a timestamp column that are read: a week of 50 a second. A few bytes can speak of any
/// number.
const COLUMN_ROWS_LIMIT: u32 = 1 << 25;

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
        let versions = DATA_VERSION..=DATA_VERSION;
        check_header(&data.0, DATA_MAGIC, &versions, &path.join("data"))?;
        let index_path = path.join("index");
        let versions = index::OLDEST_VERSION..=index::VERSION;
        let version = check_header(&index.0, INDEX_MAGIC, &versions, &index_path)?;
        let index =
            BlockIndex::open(index.0, version).map_err(|error| damaged(&index_path, error))?;
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
        self.each_page(|_, _, bytes| codec::verify(bytes).map(drop))
    }

    /// Calls `visit` with the series of every page and the page, as often as it is referred to.
    fn each_page(
        &self,
        mut visit: impl FnMut(u32, &PageRef, &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), OpenError> {
        let mut rows = Vec::new();
        let mut all = |series: u32, mut pages: Pages<'_>| {
            while let Some(page) = pages.next(&mut rows)? {
                let bytes = self.data_at(page.offset, page.length)?;
                visit(series, &page, &bytes).map_err(|error| in_data(page.offset, &error))?;
            }
            Ok(())
        };
        let mut visit_all = || {
            let index = self.index.view();
            for series in 0..index.series_count()? {
                all(series, index.pages(series)?)?;
                for (_, pages) in index.components(series)? {
                    all(series, pages)?;
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

    /// How many label pairs there are, numbered in order of (name, value).
    pub(crate) fn pair_count(&self) -> Result<u32, Damaged> {
        self.index.view().pair_count()
    }

    /// Name and value of a pair.
    pub(crate) fn pair_texts(&self, number: u32) -> Result<(String, String), Damaged> {
        let index = self.index.view();
        index.pair(number, |name, value| (name.to_owned(), value.to_owned()))
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

/// The header of a data or index file: magic, version, checksum of both.
pub(crate) fn header(magic: [u8; 8], version: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The version of a file, which is one of these.
fn check_header(
    file: &Region,
    magic: [u8; 8],
    versions: &RangeInclusive<u32>,
    path: &Path,
) -> Result<u32, OpenError> {
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
        Ok(version) if versions.contains(&version) => Ok(version),
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

//! Every byte of the files beside the blocks, read for checksums.
//!
//! Opening a store reads what it needs, and goes on behind damage; this is for whoever asks whether
//! a directory is whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::Reader;
use crate::disk::Disk;
use crate::head_file;
use crate::parity::{self, PARITY_MAGIC, PARITY_VERSION};
use crate::wal::header::{self, HEADER_BYTES, HeaderError};
use crate::wal::reader::read_segment;
use crate::wal::record::{checksum, kind, operations};
use crate::wal::writer::{SEGMENT_MAGIC, SEGMENT_VERSION};

/// How often a file is read again that changes meanwhile.
const ATTEMPTS_LIMIT: u32 = 4;
/// Damaged places of a file that are listed one by one.
const DAMAGE_LIMIT: usize = 20;

/// What reading a file whole found.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// How many records, chunks or frames are whole.
    pub pieces: u64,
    /// Where something is wrong, and what; the first twenty places.
    pub damage: Vec<(u64, String)>,
    /// Whether the damage may be a write that its writer's end cut short.
    pub may_be_unfinished: bool,
}

impl FileReport {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            pieces: 0,
            damage: Vec::new(),
            may_be_unfinished: false,
        }
    }

    pub(crate) fn damage(&mut self, offset: usize, what: &str) {
        if self.damage.len() < DAMAGE_LIMIT {
            self.damage.push((offset as u64, what.to_owned()));
        }
    }
}

/// Calls `each` with what is found of every segment, its parity, every checkpoint and head file.
pub(crate) fn files(
    disk: &Arc<dyn Disk>,
    root: &Path,
    each: &mut dyn FnMut(FileReport),
) -> Result<(), (PathBuf, io::Error)> {
    for (part, suffix) in [
        ("wal", ".ckpt"),
        ("wal", ".wal"),
        ("wal", ".parity"),
        ("head", ".head"),
    ] {
        let directory = root.join(part);
        let mut names = match disk.list(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|error| (directory.clone(), error))?,
        };
        names.retain(|name| name.ends_with(suffix));
        names.sort();
        for name in names {
            if let Some(report) = file(disk, &directory.join(name), suffix)? {
                each(report);
            }
        }
    }
    Ok(())
}

/// `None` where a server removed the file meanwhile.
fn file(
    disk: &Arc<dyn Disk>,
    path: &Path,
    suffix: &str,
) -> Result<Option<FileReport>, (PathBuf, io::Error)> {
    let mut before = Vec::new();
    for attempt in 0.. {
        let bytes = match disk.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| (path.to_owned(), error))?,
        };
        let mut report = FileReport::new(path.to_owned());
        match suffix {
            ".head" => head(&bytes, &mut report),
            ".parity" => parity_entries(&bytes, &mut report),
            _ => segment(&bytes, suffix == ".ckpt", &mut report),
        }
        // A server may have been writing what looked damaged.
        if report.damage.is_empty() || bytes == before || attempt == ATTEMPTS_LIMIT {
            return Ok(Some(report));
        }
        before = bytes;
    }
    Ok(None)
}

fn segment(bytes: &[u8], is_checkpoint: bool, report: &mut FileReport) {
    let (mut pieces, mut ended) = (0, false);
    let mut damage = Vec::new();
    let content = read_segment(
        bytes,
        |_, payload| {
            pieces += 1;
            let last = operations(payload).last();
            ended = matches!(last, Some(Ok((kind::END, _))));
        },
        |found| damage.push(found),
    );
    report.pieces = pieces;
    match content {
        Err(HeaderError::Version(version)) => {
            report.damage(8, &format!("version {version} is newer than this program"));
        }
        Err(HeaderError::Damaged) => report.damage(0, "both copies of the header are damaged"),
        // Reserved and never used.
        Ok(0) => {}
        Ok(_) => {
            check_header(bytes, SEGMENT_MAGIC, SEGMENT_VERSION, report);
            for found in damage {
                report.may_be_unfinished |= found.at_end;
                report.damage(
                    found.offset,
                    &format!("{} bytes are no record", found.length),
                );
            }
        }
    }
    if is_checkpoint && !ended && report.damage.is_empty() {
        report.damage(bytes.len(), "a checkpoint that ends too early");
    }
}

/// Frames one behind the other, up to the end of the file.
fn head(bytes: &[u8], report: &mut FileReport) {
    let Some(salt) = salt_of(bytes, (head_file::MAGIC, head_file::VERSION), report) else {
        return;
    };
    let mut reader = Reader::new(bytes);
    if reader.take(HEADER_BYTES).is_err() {
        return report.damage(bytes.len(), "a header that ends too early");
    }
    while !reader.is_at_end() {
        let at = reader.offset();
        let mut frame = || {
            let (length, sum) = (reader.u32()?, reader.u32()?);
            let content = reader.take(length as usize)?;
            Ok::<_, crate::bytes::Malformed>(length > 0 && sum == checksum(salt, length, content))
        };
        match frame() {
            Ok(true) => report.pieces += 1,
            Ok(false) => report.damage(at, "a chunk whose checksum does not fit"),
            Err(_) => {
                report.may_be_unfinished = true;
                report.damage(at, "a chunk that reaches beyond the end");
                return;
            }
        }
    }
}

/// Both copies, and the zeros between them.
/// Entries, of which the last may be being replaced.
fn parity_entries(bytes: &[u8], report: &mut FileReport) {
    let Some(salt) = salt_of(bytes, (PARITY_MAGIC, PARITY_VERSION), report) else {
        return;
    };
    let mut last = None;
    report.pieces = parity::check(bytes, salt, |at| {
        report.damage(at, "an entry of parity whose checksum does not fit");
        last = Some(at);
    });
    report.may_be_unfinished = last.is_some_and(|at| at + parity::ENTRY_BYTES >= bytes.len());
}

/// The number that begins every checksum of a file; says what is wrong with its header.
fn salt_of(bytes: &[u8], (magic, version): ([u8; 8], u32), report: &mut FileReport) -> Option<u32> {
    match header::read(bytes, magic, version) {
        Ok(salt) => {
            check_header(bytes, magic, version, report);
            Some(salt)
        }
        Err(HeaderError::Version(version)) => {
            report.damage(8, &format!("version {version} is newer than this program"));
            None
        }
        Err(HeaderError::Damaged) => {
            report.damage(0, "both copies of the header are damaged");
            None
        }
    }
}

fn check_header(bytes: &[u8], magic: [u8; 8], version: u32, report: &mut FileReport) {
    let Some(want) = header::whole(bytes, magic, version) else {
        return;
    };
    let have = bytes.get(..HEADER_BYTES).unwrap_or(bytes);
    let differs = want.iter().zip(have).position(|(want, have)| want != have);
    if let Some(at) = differs {
        report.damage(at, "a damaged copy of the header; the other one is used");
    }
}

//! The files of a data directory of Prometheus beside its blocks, read whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log::read_segment;
use super::{record, strict};
use crate::disk::Disk;
use crate::verify::FileReport;

/// What is read how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Log,
    /// A log whose records are of another kind: only their checksums are checked.
    Snapshot,
    HeadChunks,
}

/// Calls `each` with what is found of every file of logs, snapshots of the head and chunks of the
/// head. A log that a stopped Prometheus left may end in the middle of a record.
pub(crate) fn files(
    disk: &Arc<dyn Disk>,
    root: &Path,
    each: &mut dyn FnMut(FileReport),
) -> Result<(), (PathBuf, io::Error)> {
    let wal = root.join("wal");
    let mut directories = Vec::new();
    for (parent, prefix, kind) in [
        (wal.as_path(), "checkpoint.", Kind::Log),
        (root, "chunk_snapshot.", Kind::Snapshot),
    ] {
        let names = list(disk, parent)?.into_iter();
        let names = names.filter(|name| name.starts_with(prefix) && !name.contains(".tmp"));
        directories.extend(names.map(|name| (parent.join(name), kind)));
    }
    directories.push((wal.clone(), Kind::Log));
    directories.push((root.join("wbl"), Kind::Log));
    directories.push((root.join("chunks_head"), Kind::HeadChunks));
    for (directory, kind) in directories {
        let mut names = list(disk, &directory)?;
        names.retain(|name| name.parse::<u64>().is_ok());
        names.sort();
        for name in &names {
            let path = directory.join(name);
            let is_last = Some(name) == names.last();
            each(file(disk, path, kind, is_last)?);
        }
    }
    Ok(())
}

fn list(disk: &Arc<dyn Disk>, directory: &Path) -> Result<Vec<String>, (PathBuf, io::Error)> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| (directory.to_owned(), error)),
    }
}

fn file(
    disk: &Arc<dyn Disk>,
    path: PathBuf,
    kind: Kind,
    is_last: bool,
) -> Result<FileReport, (PathBuf, io::Error)> {
    let bytes = disk.read(&path).map_err(|error| (path.clone(), error))?;
    let mut report = FileReport::new(path);
    if kind == Kind::HeadChunks {
        match strict::head_chunks(&bytes) {
            Ok(count) => report.pieces = count,
            // The last was being written when its writer ended.
            Err(error) => report.damage(error.offset, error.what),
        }
        return Ok(report);
    }
    let mut pieces = 0;
    // A torn end is damage here: whoever asks wants to know of it.
    read_segment(
        &bytes,
        false,
        |bytes| {
            pieces += 1;
            match kind {
                Kind::Log => record::decode(bytes, |_| {}),
                _ => Ok(()),
            }
        },
        |offset, what| report.damage(offset, what),
    );
    report.pieces = pieces;
    if is_last && !report.damage.is_empty() {
        report.may_be_unfinished = true;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::SystemDisk;

    /// A segment of one record: its kind, length, checksum.
    fn segment(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![1];
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        out.extend_from_slice(&crc32c::crc32c(payload).to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    fn head_chunks() -> Vec<u8> {
        let mut out = 0x0130_bc91u32.to_be_bytes().to_vec();
        out.extend_from_slice(&[1, 0, 0, 0]);
        for reference in 1..4u64 {
            let begin = out.len();
            for number in [reference, 1000, 2000] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            out.extend_from_slice(&[1, 5, 0, 1, 2, 3, 4]);
            let sum = crc32c::crc32c(&out[begin..]);
            out.extend_from_slice(&sum.to_be_bytes());
        }
        // Set aside and not used yet.
        out.resize(out.len() + 50, 0);
        out
    }

    #[test]
    fn every_damaged_byte_is_found() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        let tombstone = [&[3][..], &7u64.to_be_bytes(), &[2, 8]].concat();
        let files = [
            ("wal/checkpoint.00000003/00000000", segment(&tombstone)),
            ("wal/00000004", segment(&tombstone)),
            ("wbl/00000000", segment(&tombstone)),
            (
                "chunk_snapshot.000004.0000000123/000000",
                segment(&[1, 2, 3, 4]),
            ),
            ("chunks_head/000001", head_chunks()),
        ];
        for (name, bytes) in &files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("creates");
            fs::write(&path, bytes).expect("writes");
        }
        let look = || {
            let (mut pieces, mut damaged) = (Vec::new(), Vec::new());
            let read = super::files(&disk, root, &mut |report| {
                pieces.push(report.pieces);
                if !report.damage.is_empty() {
                    damaged.push(report.path);
                }
            });
            read.expect("reads");
            (pieces, damaged)
        };
        assert_eq!(look(), (vec![1, 1, 1, 1, 3], Vec::new()));
        for (name, bytes) in &files {
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (at % 8);
                fs::write(root.join(name), damaged).expect("writes");
                assert_eq!(look().1, [root.join(name)], "{name}: byte {at}");
            }
            fs::write(root.join(name), bytes).expect("writes");
        }
    }
}

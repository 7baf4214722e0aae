//! Opening a directory: lock, blocks, head files, checkpoint, log.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::block::open_blocks;
use crate::checkpoint::checkpoint_number;
use crate::db::{ClockDebug, Inner};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::head::Head;
use crate::head_file::{Found, HeadFiles, OpenFailure};
use crate::metrics::Figures;
use crate::options::Options;
use crate::replay::{Replay, ReplayOutcome};
use crate::wal::reader::{Damage, SegmentError, read_segment};
use crate::wal::writer::{Wal, segment_name, segment_number};

/// Most quarantined pieces kept.
const QUARANTINE_LIMIT: usize = 1000;
/// Largest quarantined piece.
const QUARANTINE_PIECE_LIMIT_BYTES: usize = 16 << 20;

pub(crate) fn open(
    options: Options,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn ClockDebug>,
) -> Result<Inner, OpenError> {
    let root = options.path.clone();
    for part in ["", "wal", "head", "blocks"] {
        let path = root.join(part);
        disk.create_dir_all(&path)
            .map_err(|source| failure(&path, "create the directory", source))?;
    }
    if let Err(error) = disk.sync_dir(&root) {
        // A full disk can still be read from.
        tracing::warn!(path = %root.display(), %error, "cannot make the directories durable");
    }
    let lock_path = root.join("lock");
    let lock = disk
        .lock(&lock_path)
        .map_err(|source| failure(&lock_path, "take the lock file", source))?
        .ok_or_else(|| OpenError::Locked { path: root.clone() })?;
    let figures = Figures::default();
    let (view, unreadable) = open_blocks(&disk, &root.join("blocks"))?;
    figures
        .blocks_unreadable
        .store(unreadable, Ordering::Relaxed);
    let (head_files, found) = open_head_files(&disk, &root.join("head"))?;
    figures
        .head_file_failures
        .fetch_add(found.damaged, Ordering::Relaxed);
    let head = Arc::new(Head::new(options.series_limit));
    head.floor_ms.store(view.head_start_ms, Ordering::Relaxed);
    let next_number = replay(&disk, &root, &head, found, &figures)?;
    // Blocks have what is older; a crash may have come between writing one and dropping it here.
    head.drop_before(view.head_start_ms);
    let wal = Wal::new(
        disk.clone(),
        root.join("wal"),
        options.wal_segment_bytes,
        options.wal_sync,
        next_number,
    );
    Ok(Inner::new(
        options, disk, clock, head, wal, view, head_files, figures, lock,
    ))
}

fn open_head_files(
    disk: &Arc<dyn Disk>,
    directory: &Path,
) -> Result<(HeadFiles, Found), OpenError> {
    HeadFiles::open(disk.clone(), directory.to_owned()).map_err(|(path, error)| match error {
        OpenFailure::Io(source) => failure(&path, "read", source),
        OpenFailure::Version(version) => OpenError::Version { path, version },
    })
}

/// Rebuilds the head; returns the number of the next log segment.
fn replay(
    disk: &Arc<dyn Disk>,
    root: &Path,
    head: &Head,
    found: Found,
    figures: &Figures,
) -> Result<u64, OpenError> {
    let began = std::time::Instant::now();
    let directory = root.join("wal");
    let names = disk
        .list(&directory)
        .map_err(|source| failure(&directory, "list", source))?;
    let checkpoint = names
        .iter()
        .filter_map(|name| checkpoint_number(name))
        .max();
    let mut segments: Vec<u64> = names.iter().filter_map(|n| segment_number(n)).collect();
    segments.sort_unstable();
    let next_number = segments
        .last()
        .copied()
        .unwrap_or(0)
        .max(checkpoint.unwrap_or(0))
        + 1;
    let mut replay = Replay::new(head, found.chunks);
    if let Some(number) = checkpoint {
        let path = directory.join(crate::checkpoint::checkpoint_name(number));
        read(disk, root, &path, true, &mut replay, figures)?;
        if !replay.outcome.ended {
            tracing::error!(path = %path.display(), "the checkpoint has no end; series named after its last record come back when they are written again");
        }
    }
    let from = checkpoint.unwrap_or(0);
    let last = segments.last().copied();
    for number in segments.into_iter().filter(|number| *number >= from) {
        let path = directory.join(segment_name(number));
        read(
            disk,
            root,
            &path,
            last != Some(number),
            &mut replay,
            figures,
        )?;
    }
    let outcome = replay.finish();
    report(head, &outcome, figures, began);
    Ok(next_number)
}

fn report(head: &Head, outcome: &ReplayOutcome, figures: &Figures, began: std::time::Instant) {
    figures
        .wal_rows_lost
        .store(outcome.rows_lost, Ordering::Relaxed);
    figures
        .wal_corruptions
        .fetch_add(outcome.malformed, Ordering::Relaxed);
    let series = head.catalog().len();
    if series > 0 || outcome.rows > 0 {
        tracing::info!(
            series,
            rows = outcome.rows,
            samples = outcome.samples,
            rows_lost = outcome.rows_lost,
            milliseconds = began.elapsed().as_millis() as u64,
            "the head is restored"
        );
    }
}

/// Replays one file. `complete` where a torn end would be damage: only the newest segment may end
/// in the middle of a write.
fn read(
    disk: &Arc<dyn Disk>,
    root: &Path,
    path: &Path,
    complete: bool,
    replay: &mut Replay<'_>,
    figures: &Figures,
) -> Result<(), OpenError> {
    let bytes = disk
        .read(path)
        .map_err(|source| failure(path, "read", source))?;
    let result = read_segment(
        &bytes,
        |_, payload| replay.record(payload),
        |damage| {
            if damage.at_end && !complete {
                tracing::info!(path = %path.display(), offset = damage.offset,
                    "the log ends in an unfinished record, which was not acknowledged");
                return;
            }
            figures.wal_corruptions.fetch_add(1, Ordering::Relaxed);
            tracing::error!(path = %path.display(), offset = damage.offset, bytes = damage.length,
                "a damaged place in the log is skipped and kept in quarantine/; what follows is read");
            quarantine(disk, root, path, &bytes, damage);
        },
    );
    match result {
        Ok(end) => {
            // Nothing is written to this file any more. Its reserved tail would be read at every
            // start, and a process that is killed again and again would fill the disk with it.
            if end < bytes.len()
                && let Err(error) = disk.truncate(path, end as u64)
            {
                tracing::debug!(path = %path.display(), %error, "the log file keeps its reserved tail");
            }
            Ok(())
        }
        Err(SegmentError::Version(version)) => Err(OpenError::Version {
            path: path.to_owned(),
            version,
        }),
        Err(SegmentError::Header) => {
            figures.wal_corruptions.fetch_add(1, Ordering::Relaxed);
            tracing::error!(path = %path.display(), "both headers of the log file are damaged; it is kept in quarantine/");
            let damage = Damage {
                offset: 0,
                length: bytes.len(),
                at_end: true,
            };
            quarantine(disk, root, path, &bytes, damage);
            Ok(())
        }
    }
}

/// Keeps damaged bytes for whoever wants to look at them. Best effort: a disk that refuses must
/// not keep the store from opening.
fn quarantine(disk: &Arc<dyn Disk>, root: &Path, path: &Path, bytes: &[u8], damage: Damage) {
    let directory = root.join("quarantine");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let target = directory.join(format!("{name}.{}", damage.offset));
    let length = damage.length.min(QUARANTINE_PIECE_LIMIT_BYTES);
    let piece = &bytes[damage.offset..damage.offset + length];
    let keep = || -> io::Result<()> {
        disk.create_dir_all(&directory)?;
        let have = disk.list(&directory)?;
        let known = have.iter().any(|h| target.ends_with(h));
        if known || have.len() >= QUARANTINE_LIMIT {
            return Ok(());
        }
        disk.create(&target, 0)?.write_at(piece, 0)
    };
    if let Err(error) = keep() {
        tracing::warn!(path = %target.display(), %error, "cannot keep a damaged piece of the log");
    }
}

fn failure(path: &Path, action: &'static str, source: io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

//! Opening a directory: lock, blocks, head files, checkpoint, log.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::block::open_blocks;
use crate::checkpoint::{checkpoint_name, checkpoint_number};
use crate::db::{ClockDebug, Inner};
use crate::deletions;
use crate::disk::{Disk, Mapping};
use crate::error::{AppendError, OpenError};
use crate::head::Head;
use crate::head_file::{Found, HeadFiles, OpenFailure};
use crate::metrics::Figures;
use crate::options::{BlockAccess, Options};
use crate::parity::{PARITY_MAGIC, PARITY_VERSION, repair};
use crate::positioned::{PositionedDisk, ReadCache};
use crate::progress::{OpeningStep, Progress};
use crate::prometheus;
use crate::prometheus::import::Imported;
use crate::quarantine::{PIECE_LIMIT_BYTES, Quarantine};
use crate::replay::{Replay, ReplayOutcome};
use crate::view::StoredBlock;
use crate::view::View;
use crate::wal::header::{self, HeaderError};
use crate::wal::reader::{Damage, read_segment};
use crate::wal::record::{FRAME_BYTES, kind, operations};
use crate::wal::writer::{
    SEGMENT_MAGIC, SEGMENT_VERSION, Wal, parity_name, parity_number, segment_name, segment_number,
};

pub(crate) fn open(
    options: Options,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn ClockDebug>,
    progress: &Progress,
) -> Result<Inner, OpenError> {
    progress.begin(OpeningStep::Blocks, 0);
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
    let cache = Arc::new(ReadCache::new(options.read_cache_bytes));
    let disk: Arc<dyn Disk> = match options.block_access {
        BlockAccess::Mmap => disk,
        BlockAccess::Pread => Arc::new(PositionedDisk::new(disk, cache.clone())),
    };
    let lock_path = root.join("lock");
    let lock = disk
        .lock(&lock_path)
        .map_err(|source| failure(&lock_path, "take the lock file", source))?
        .ok_or_else(|| OpenError::Locked { path: root.clone() })?;
    let figures = Figures {
        read_cache: Some(cache),
        ..Figures::default()
    };
    let (view, unreadable) = open_blocks(&disk, &root.join("blocks"))?;
    let taken_over = take_over(&disk, &root, &options, clock.now_ms());
    figures.takeover.set(&taken_over);
    let (view, unreadable_foreign) = prometheus::block::open_beside(view, &disk, &root)?;
    figures
        .blocks_unreadable
        .store(unreadable + unreadable_foreign, Ordering::Relaxed);
    let view = View {
        deletions: Arc::new(deletions::load(&disk, &root)?),
        ..view
    };
    let quarantine = Quarantine::new(disk.clone(), &root);
    progress.begin(OpeningStep::HeadFiles, 0);
    let (head_files, found) = open_head_files(&disk, &root.join("head"), &quarantine)?;
    figures
        .head_file_corruptions
        .fetch_add(found.damaged, Ordering::Relaxed);
    let head = Arc::new(Head::new(options.series_limit));
    head.exemplars.set_limit(options.exemplars_limit);
    head.floor_ms.store(view.head_start_ms, Ordering::Relaxed);
    head.late.configure(
        clock.clone(),
        options.out_of_order_buffer_bytes,
        options.block_span_ms,
    );
    head.late.set_window(options.out_of_order_window_ms);
    // A merge of parts has their samples.
    let merged = view.blocks.iter().filter_map(StoredBlock::own);
    let merged = merged.flat_map(|block| block.meta.parents.iter().copied());
    let done = view
        .blocks
        .iter()
        .map(StoredBlock::uid)
        .chain(merged)
        .collect();
    let source = Source {
        disk: &disk,
        root: &root,
        quarantine: &quarantine,
        figures: &figures,
        progress,
    };
    let next_number = replay(&source, &head, found, done)?;
    // Of a block that cannot be opened the head may still have some.
    let told_ms = if unreadable == 0 {
        head.start_ms.load(Ordering::Relaxed)
    } else {
        i64::MIN
    };
    let head_start_ms = view.head_start_ms.max(told_ms);
    head.start_ms.store(head_start_ms, Ordering::Relaxed);
    let view = View {
        head_start_ms,
        ..view
    };
    // Blocks have what is older; a crash may have come between writing one and dropping it here.
    head.drop_before(head_start_ms);
    let wal = Wal::new(
        disk.clone(),
        root.join("wal"),
        options.wal_segment_bytes,
        options.wal_sync,
        next_number,
    );
    if let Err(error) = take_in(&head, &wal, &taken_over) {
        tracing::error!(%error, "exemplars and metadata of Prometheus's log cannot be written");
    }
    Ok(Inner::new(
        options, disk, clock, head, wal, view, head_files, quarantine, figures, lock,
    ))
}

/// What a log of Prometheus had; nothing where there is none, or it was taken over before.
fn take_over(disk: &Arc<dyn Disk>, root: &Path, options: &Options, now_ms: i64) -> Imported {
    let imported = prometheus::import::import_log(disk, root, now_ms, options.exemplars_limit);
    match imported {
        Ok(imported) => imported.unwrap_or_default(),
        Err((path, error)) => {
            tracing::error!(path = %path.display(), %error,
                "the log of Prometheus cannot be taken over: its samples are missing from answers; the next start tries again");
            Imported::default()
        }
    }
}

/// Takes in what has no place in blocks.
fn take_in(head: &Head, wal: &Wal, from: &Imported) -> Result<(), AppendError> {
    for (family, metadata) in &from.metadata {
        head.set_metadata(wal, family, metadata)?;
    }
    let exemplars = from.exemplars.iter();
    let exemplars: Vec<_> = exemplars.map(|(labels, e)| (labels.clone(), e)).collect();
    head.take_over_exemplars(wal, &exemplars)
}

fn open_head_files(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    quarantine: &Quarantine,
) -> Result<(HeadFiles, Found), OpenError> {
    let opened = HeadFiles::open(disk.clone(), directory.to_owned(), quarantine);
    opened.map_err(|(path, error)| match error {
        OpenFailure::Io(source) => failure(&path, "read", source),
        OpenFailure::Version(version) => OpenError::Version { path, version },
    })
}

/// Rebuilds the head; returns the number of the next log segment.
fn replay(
    from: &Source<'_>,
    head: &Head,
    found: Found,
    done: HashSet<u64>,
) -> Result<u64, OpenError> {
    let began = std::time::Instant::now();
    let directory = from.root.join("wal");
    let names = from
        .disk
        .list(&directory)
        .map_err(|source| failure(&directory, "list", source))?;
    let mut checkpoints: Vec<u64> = names.iter().filter_map(|n| checkpoint_number(n)).collect();
    let mut segments: Vec<u64> = names.iter().filter_map(|n| segment_number(n)).collect();
    checkpoints.sort_unstable();
    segments.sort_unstable();
    let newest = segments.last().max(checkpoints.last());
    let next_number = newest.map_or(1, |number| number.saturating_add(1));
    let parities: Vec<u64> = names.iter().filter_map(|n| parity_number(n)).collect();
    let mut loader = Loader {
        from,
        replay: Replay::new(head, found.chunks, found.saved, done),
        torn: None,
    };
    loader.replay.damaged = found.damaged > 0;
    let checkpoint = loader.choose(&directory, &checkpoints)?;
    if let Some(checkpoint) = &checkpoint {
        loader.checkpoint(&directory, checkpoint)?;
    }
    let checkpoint = checkpoint.map(|checkpoint| checkpoint.number);
    let first = checkpoint.unwrap_or(0);
    let unread = checkpoints
        .iter()
        .filter(|number| Some(**number) != checkpoint);
    let unread = unread.map(|number| checkpoint_name(*number));
    let old = segments.iter().filter(|number| **number < first);
    for name in unread.chain(old.map(|number| segment_name(*number))) {
        loader.check_version(&directory.join(name))?;
    }
    for number in &parities {
        let path = directory.join(parity_name(*number));
        loader.check_header(&path, PARITY_MAGIC, PARITY_VERSION)?;
    }
    segments.retain(|number| *number >= first);
    let progress = from.progress;
    if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
        progress.segments(*first, *last);
    }
    let size = |number: &u64| from.disk.size_bytes(&directory.join(segment_name(*number)));
    let sizes = segments.iter().map(|number| size(number).unwrap_or(0));
    progress.begin(OpeningStep::Log, sizes.sum());
    for number in segments {
        progress.segment(number);
        let parity = parities.contains(&number).then(|| parity_name(number));
        let parity = parity.map(|name| directory.join(name));
        loader.segment(&directory.join(segment_name(number)), parity.as_deref())?;
    }
    let outcome = loader.finish();
    report(head, &outcome, from.figures, began);
    Ok(next_number)
}

fn report(head: &Head, outcome: &ReplayOutcome, figures: &Figures, began: std::time::Instant) {
    figures
        .wal_rows_lost
        .store(outcome.rows_lost, Ordering::Relaxed);
    figures
        .rows_missing
        .store(outcome.rows_missing, Ordering::Relaxed);
    if outcome.rows_missing > 0 {
        tracing::error!(
            rows = outcome.rows_missing,
            "sealed rows are in no head file and no longer in the log"
        );
    }
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

/// What the head is rebuilt from.
struct Source<'a> {
    disk: &'a Arc<dyn Disk>,
    root: &'a Path,
    quarantine: &'a Quarantine,
    figures: &'a Figures,
    progress: &'a Progress,
}

/// Replays files, and decides what their damaged places are.
struct Loader<'a> {
    from: &'a Source<'a>,
    replay: Replay<'a>,
    /// A segment's end that is no record. Where a record follows in a later segment it is damage;
    /// else it is the write that the end of the process cut short.
    torn: Option<Torn>,
}

/// A checkpoint whose checksums were verified.
struct Chosen {
    number: u64,
    mapping: Mapping,
    /// Where its intact records are.
    records: Vec<Range<usize>>,
    is_whole: bool,
}

struct Torn {
    path: PathBuf,
    offset: usize,
    length: usize,
    piece: Vec<u8>,
}

impl Loader<'_> {
    /// The newest checkpoint that is whole. The one before it and the log since then say the same;
    /// the newest after all, where neither is whole.
    fn choose(&self, directory: &Path, numbers: &[u64]) -> Result<Option<Chosen>, OpenError> {
        let mut newest = None;
        for number in numbers.iter().rev() {
            let path = directory.join(checkpoint_name(*number));
            let mapping = self.map(&path)?;
            let mut records = Vec::new();
            let mut is_whole = true;
            let mut ended = false;
            let read = read_segment(
                mapping.0.as_slice(),
                |at, payload| {
                    ended = is_end(payload);
                    let start = at + FRAME_BYTES;
                    records.push(start..start + payload.len());
                },
                |_| is_whole = false,
            );
            if let Err(HeaderError::Version(version)) = read {
                return Err(OpenError::Version { path, version });
            }
            is_whole &= read.is_ok() && ended;
            let chosen = Chosen {
                number: *number,
                mapping,
                records,
                is_whole,
            };
            if is_whole {
                return Ok(Some(chosen));
            }
            tracing::error!(path = %path.display(),
                "the checkpoint is damaged; the one before it and the log since then are read instead, where they are there");
            self.quarantine_checkpoint(&path, chosen.mapping.0.as_slice());
            newest.get_or_insert(chosen);
        }
        Ok(newest)
    }

    fn quarantine_checkpoint(&self, path: &Path, bytes: &[u8]) {
        let mut places = 0;
        let read = read_segment(
            bytes,
            |_, _| {},
            |damage| {
                places += 1;
                self.damage(
                    path,
                    damage.offset,
                    &bytes[damage.offset..][..damage.length],
                );
            },
        );
        if read.is_err() || places == 0 {
            self.damage(path, 0, bytes);
        }
    }

    /// Replays a checkpoint as far as it is intact; its damage was reported.
    fn checkpoint(&mut self, directory: &Path, chosen: &Chosen) -> Result<(), OpenError> {
        let bytes = chosen.mapping.0.as_slice();
        self.replay.expect(bytes.len());
        let progress = self.from.progress;
        progress.begin(OpeningStep::Checkpoint, bytes.len() as u64);
        self.replay.records(bytes.len(), true, |apply| {
            for record in &chosen.records {
                apply(&bytes[record.clone()]);
                progress.read(FRAME_BYTES + record.len());
            }
        });
        self.replay.damaged |= !chosen.is_whole;
        if chosen.mapping.0.is_lost() {
            // What was verified cannot be read any more: zeros came in its place.
            let path = directory.join(checkpoint_name(chosen.number));
            return Err(failure(&path, "read", io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Replays a segment; gives back the space that is reserved in it, since nothing is written to
    /// it any more. It would be read at every start, and a process that is killed again and again
    /// would fill the disk with it.
    fn segment(&mut self, path: &Path, parity: Option<&Path>) -> Result<(), OpenError> {
        let disk = self.from.disk;
        let mut bytes = disk
            .read(path)
            .map_err(|source| failure(path, "read", source))?;
        let covered = match parity {
            Some(parity) => self.repair(path, &mut bytes, parity)?,
            None => 0,
        };
        let mut damages: Vec<Damage> = Vec::new();
        let mut records = 0;
        let (replay, progress) = (&mut self.replay, self.from.progress);
        let read = replay.records(bytes.len(), false, |apply| {
            read_segment(
                &bytes,
                |_, payload| {
                    records += 1;
                    apply(payload);
                    progress.read(FRAME_BYTES + payload.len());
                },
                |damage| damages.push(damage),
            )
        });
        if records > 0 {
            self.judge_torn(true);
        }
        let end = match read {
            Ok(end) => end,
            Err(HeaderError::Version(version)) => {
                let path = path.to_owned();
                return Err(OpenError::Version { path, version });
            }
            Err(HeaderError::Damaged) => {
                self.replay.damaged = true;
                self.damage(path, 0, &bytes);
                return Ok(());
            }
        };
        if let Some(parity) = parity
            && covered > end
        {
            // What it speaks of beyond the end is given up now: other rows get these numbers, and no
            // later start may restore it.
            if let Err(error) = disk.remove_file(parity) {
                tracing::warn!(path = %parity.display(), %error, "cannot remove the parity of a log segment that lost its end");
            }
        }
        let mut torn = None;
        for Damage {
            offset,
            length,
            at_end,
        } in damages
        {
            let piece = &bytes[offset..offset + length];
            if at_end {
                torn = Some(Torn {
                    path: path.to_owned(),
                    offset,
                    length,
                    piece: piece[..piece.len().min(PIECE_LIMIT_BYTES)].to_vec(),
                });
            } else {
                self.replay.damaged = true;
                self.damage(path, offset, piece);
            }
        }
        if torn.is_some() {
            self.judge_torn(true);
            self.torn = torn;
        } else if end < bytes.len() {
            truncate(disk, path, end);
        }
        Ok(())
    }

    /// Restores in memory what the segment's parity can restore; returns how far that reaches.
    fn repair(
        &self,
        path: &Path,
        bytes: &mut Vec<u8>,
        parity_path: &Path,
    ) -> Result<usize, OpenError> {
        let disk = self.from.disk;
        let parity = match disk.read(parity_path) {
            Ok(parity) => parity,
            Err(error) => {
                tracing::warn!(path = %parity_path.display(), %error, "cannot read the parity of a log segment");
                return Ok(0);
            }
        };
        let repaired = repair(bytes, &parity, (SEGMENT_MAGIC, SEGMENT_VERSION));
        let repaired = repaired.map_err(|version| OpenError::Version {
            path: parity_path.to_owned(),
            version,
        })?;
        for (offset, found) in repaired.places {
            self.from
                .figures
                .wal_repairs
                .fetch_add(1, Ordering::Relaxed);
            tracing::error!(path = %path.display(), offset, bytes = found.len(),
                "a damaged place in the log was restored from its parity; as it was, it is kept in quarantine/");
            self.from.quarantine.keep(path, offset, &found);
        }
        Ok(repaired.covered)
    }

    fn finish(mut self) -> ReplayOutcome {
        self.judge_torn(false);
        self.replay.finish()
    }

    fn judge_torn(&mut self, is_damage: bool) {
        let Some(torn) = self.torn.take() else { return };
        if is_damage {
            self.replay.damaged = true;
            self.damage(&torn.path, torn.offset, &torn.piece);
            return;
        }
        tracing::info!(path = %torn.path.display(), offset = torn.offset, bytes = torn.length,
            "the log ends in an unfinished record, which was not acknowledged; it is kept in quarantine/");
        let figures = self.from.figures;
        figures.wal_torn_ends.fetch_add(1, Ordering::Relaxed);
        self.from
            .quarantine
            .keep(&torn.path, torn.offset, &torn.piece);
        // Later segments follow: the next start must not take it for damage between records.
        truncate(self.from.disk, &torn.path, torn.offset);
    }

    fn damage(&self, path: &Path, offset: usize, bytes: &[u8]) {
        self.from
            .figures
            .wal_corruptions
            .fetch_add(1, Ordering::Relaxed);
        tracing::error!(path = %path.display(), offset, bytes = bytes.len(),
            "a damaged place in the log is skipped and kept in quarantine/; what follows is read");
        self.from.quarantine.keep(path, offset, bytes);
    }

    /// Of a file that is not read: a later version wrote others too, which may say something else.
    fn check_version(&self, path: &Path) -> Result<(), OpenError> {
        self.check_header(path, SEGMENT_MAGIC, SEGMENT_VERSION)
    }

    fn check_header(&self, path: &Path, magic: [u8; 8], version: u32) -> Result<(), OpenError> {
        match header::read(self.map(path)?.0.as_slice(), magic, version) {
            Err(HeaderError::Version(version)) => Err(OpenError::Version {
                path: path.to_owned(),
                version,
            }),
            _ => Ok(()),
        }
    }

    fn map(&self, path: &Path) -> Result<Mapping, OpenError> {
        let disk = self.from.disk;
        disk.size_bytes(path)
            .and_then(|size| disk.map(path, size))
            .map_err(|source| failure(path, "read", source))
    }
}

fn is_end(payload: &[u8]) -> bool {
    matches!(operations(payload).last(), Some(Ok((kind::END, _))))
}

fn truncate(disk: &Arc<dyn Disk>, path: &Path, size: usize) {
    if let Err(error) = disk.truncate(path, size as u64) {
        tracing::debug!(path = %path.display(), %error, "a log file keeps its tail");
    }
}

fn failure(path: &Path, action: &'static str, source: io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

//! Checkpoints: the state of the head in one file, so that a restart reads little log.
//!
//! A checkpoint is a log file of another name: joins that name every series, then the state of
//! each track. Each group is written as of one instant, while appends to the others go on; log
//! records that it already reflects are recognised by their row numbers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::bytes::put_varint;
use crate::catalog::Catalog;
use crate::disk::{Disk, DiskFile};
use crate::head::{Group, Head};
use crate::track::{DEAD, Track};
use crate::wal::record::{Counters, Join, RecordBuilder, kind};
use crate::wal::writer::{header, new_salt};

/// Series named per record.
const SERIES_PER_RECORD: usize = 4096;
/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The name of the checkpoint that reflects all segments before `number`.
pub(crate) fn checkpoint_name(number: u64) -> String {
    format!("{number:08}.ckpt")
}

/// The number in a checkpoint's name.
pub(crate) fn checkpoint_number(name: &str) -> Option<u64> {
    name.strip_suffix(".ckpt")?.parse().ok()
}

/// Writes a checkpoint that reflects every log segment before `number`; removes older ones.
///
/// It counts once it has its name. Before that `flush` is called: chunks that were sealed before
/// their group was written are named by nothing but their head file.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    head: &Head,
    number: u64,
    flush: impl FnOnce() -> Result<(), (PathBuf, io::Error)>,
) -> Result<u64, (PathBuf, io::Error)> {
    let temporary = directory.join("checkpoint.tmp");
    let path = directory.join(checkpoint_name(number));
    let result = write_file(disk, &temporary, head, number)
        .map_err(|error| (temporary.clone(), error))
        .and_then(|size| flush().map(|()| size))
        .and_then(|size| {
            disk.rename(&temporary, &path)
                .and_then(|()| disk.sync_dir(directory))
                .map(|()| size)
                .map_err(|error| (path.clone(), error))
        });
    match result {
        Ok(size) => {
            remove_others(disk, directory, number);
            Ok(size)
        }
        Err(error) => {
            // It may not exist; the next attempt removes it too.
            disk.remove_file(&temporary).ok();
            Err(error)
        }
    }
}

fn remove_others(disk: &Arc<dyn Disk>, directory: &Path, number: u64) {
    let names = disk.list(directory).unwrap_or_default();
    for name in names {
        if checkpoint_number(&name).is_some_and(|have| have != number)
            && let Err(error) = disk.remove_file(&directory.join(&name))
        {
            tracing::warn!(%name, %error, "cannot remove an old checkpoint");
        }
    }
}

struct Sink {
    file: Arc<dyn DiskFile>,
    salt: u32,
    offset: u64,
    buffer: Vec<u8>,
    record: RecordBuilder,
}

impl Sink {
    fn operation(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.record.clear();
        self.record.operation(kind, write);
        let bytes = self.record.finish(self.salt);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn write_file(disk: &Arc<dyn Disk>, path: &Path, head: &Head, number: u64) -> io::Result<u64> {
    if disk.size_bytes(path).is_ok() {
        disk.remove_file(path)?;
    }
    let salt = new_salt();
    let mut sink = Sink {
        file: disk.create(path, 0)?,
        salt,
        offset: 0,
        buffer: header(salt, number),
        record: RecordBuilder::default(),
    };
    let counters = Counters {
        generation: head.catalog().generation(),
        next_track: head.next_track.load(Ordering::Relaxed),
        next_group: head.next_group.load(Ordering::Relaxed),
        floor_ms: head.floor_ms.load(Ordering::Relaxed),
    };
    sink.operation(kind::COUNTERS, |out| counters.write(out))?;
    for group in head.all_groups() {
        write_group(&mut sink, head, &group)?;
    }
    sink.operation(kind::END, |_| {})?;
    sink.flush()?;
    sink.file.sync_data()?;
    Ok(sink.offset)
}

fn write_group(sink: &mut Sink, head: &Head, group: &Group) -> io::Result<()> {
    // No append between the tracks: a series that moves is in one of them.
    let writer = group.writer();
    let state = group.read();
    for track in state.tracks.iter().flatten() {
        {
            let catalog = head.catalog();
            write_members(sink, &catalog, group.number, track)?;
        }
        let slab = head.slab(group.number);
        sink.operation(kind::TRACK, |out| {
            put_varint(out, u64::from(track.id));
            track.dump(&slab, out);
        })?;
    }
    drop(state);
    drop(writer);
    Ok(())
}

fn write_members(sink: &mut Sink, catalog: &Catalog, group: u32, track: &Track) -> io::Result<()> {
    let mut position = 0;
    // A track whose members all left still names its chunks.
    loop {
        let rest = &track.ids[position..];
        let part = &rest[..rest.len().min(SERIES_PER_RECORD)];
        let named = |id: &crate::batch::SeriesRef| match catalog.locate(*id) {
            Some(_) => (*id, Some(catalog.labels(id.slot))),
            None => (DEAD, None),
        };
        let join = Join {
            group,
            track: track.id,
            first_row: track.first_row,
            position: position as u32,
            series: part.iter().map(named).collect(),
        };
        sink.operation(kind::JOIN, |out| join.write(out))?;
        position += part.len();
        if position >= track.ids.len() {
            return Ok(());
        }
    }
}

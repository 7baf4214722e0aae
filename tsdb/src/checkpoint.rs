//! Checkpoints: the state of the head in one file, so that a restart reads little log.
//!
//! A checkpoint is a log file of another name: joins that name every series, then the state of
//! each track. Each group is written as of one instant, while appends to the others go on; log
//! records that it already reflects are recognised by their row numbers.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::batch::SeriesRef;
use crate::bytes::put_varint;
use crate::disk::{Disk, DiskFile};
use crate::head::{Group, GroupState, Head};
use crate::page::slab::Slab;
use crate::track::{DEAD, MembersThen, Track};
use crate::wal::header::new_salt;
use crate::wal::record::{Counters, Join, RecordBuilder, kind};
use crate::wal::writer::segment_header;

/// Series named per record, and members whose state is in one: what one damaged place can cost, and
/// how long the catalog is held.
const SERIES_PER_RECORD: usize = 1024;
/// How often a group is copied while appends to it go on, before they have to wait: its rows may be
/// sealed meanwhile.
const ATTEMPTS: usize = 3;
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

/// Writes a checkpoint that reflects every log segment before `number`. Returns the number of the
/// checkpoint before it, which stays, should the new one turn out to be damaged, and the bytes of the
/// new one; older ones are removed.
///
/// It counts once it has its name. Before that `flush` is called: chunks that were sealed before
/// their group was written are named by nothing but their head file.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    head: &Head,
    number: u64,
    flush: impl FnOnce() -> Result<(), (PathBuf, io::Error)>,
) -> Result<(u64, u64), (PathBuf, io::Error)> {
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
            tracing::debug!(path = %path.display(), bytes = size, "a checkpoint is written");
            Ok((remove_others(disk, directory, number), size))
        }
        Err(error) => {
            // It may not exist; the next attempt removes it too.
            disk.remove_file(&temporary).ok();
            Err(error)
        }
    }
}

/// Removes all checkpoints but one and the one before it, whose number is returned.
fn remove_others(disk: &Arc<dyn Disk>, directory: &Path, number: u64) -> u64 {
    let names = disk.list(directory).unwrap_or_default();
    let numbers = names.iter().filter_map(|name| checkpoint_number(name));
    let before = numbers.filter(|have| *have < number).max();
    for name in &names {
        if checkpoint_number(name).is_some_and(|have| have != number && Some(have) != before)
            && let Err(error) = disk.remove_file(&directory.join(name))
        {
            tracing::warn!(%name, %error, "cannot remove an old checkpoint");
        }
    }
    // Without one before, the log from its beginning serves.
    before.unwrap_or(0)
}

struct Sink {
    file: Arc<dyn DiskFile>,
    salt: u32,
    offset: u64,
    buffer: Vec<u8>,
    record: RecordBuilder,
}

impl Sink {
    /// Adds an operation as a record of its own, in memory.
    fn operation(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.record.clear();
        self.record.operation(kind, write);
        let bytes = self.record.finish(self.salt);
        self.buffer.extend_from_slice(bytes);
    }

    /// Writes what was added, where it is enough. No lock of the head may be held.
    fn spill(&mut self) -> io::Result<()> {
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
        buffer: segment_header(salt, number),
        record: RecordBuilder::default(),
    };
    let counters = Counters {
        generation: head.catalog().generation(),
        next_track: head.next_track.load(Ordering::Relaxed),
        next_group: head.next_group.load(Ordering::Relaxed),
        floor_ms: head.floor_ms.load(Ordering::Relaxed),
        head_start_ms: head.start_ms.load(Ordering::Relaxed),
        series: head.catalog().len() as u32,
    };
    sink.operation(kind::COUNTERS, |out| counters.write(out));
    for layout in head.layouts.all() {
        sink.operation(kind::LAYOUT, |out| layout.write(out));
    }
    for group in head.all_groups() {
        write_group(&mut sink, head, &group)?;
    }
    head.exemplars.dump(|body| {
        sink.operation(kind::EXEMPLARS, |out| out.extend_from_slice(body));
    });
    if let Some(body) = head.families.dump() {
        sink.operation(kind::FAMILIES, |out| out.extend_from_slice(&body));
    }
    head.late.checkpoint(head, |write| {
        sink.operation(kind::LATE_STATE, |out| write(out));
        sink.spill()
    })?;
    sink.operation(kind::END, |_| {});
    sink.flush()?;
    sink.file.sync_data()?;
    Ok(sink.offset)
}

/// A track as of one instant.
struct Dump {
    index: u32,
    id: u32,
    first_row: u32,
    ids: Vec<SeriesRef>,
    members: MembersThen,
    positions: usize,
    /// Bodies of the records that hold its state.
    bodies: Vec<(u8, Vec<u8>)>,
}

fn write_group(sink: &mut Sink, head: &Head, group: &Group) -> io::Result<()> {
    let dumps = (0..ATTEMPTS).find_map(|_| dump_group(head, group, SERIES_PER_RECORD));
    let dumps = dumps.or_else(|| dump_group(head, group, usize::MAX));
    let Some(dumps) = dumps else {
        unreachable!("BUG: a group that is locked was sealed");
    };
    for dump in dumps {
        write_members(sink, head, group.number, &dump)?;
        for (kind, body) in &dump.bodies {
            sink.operation(*kind, |out| out.extend_from_slice(body));
            sink.spill()?;
        }
    }
    Ok(())
}

/// The tracks of a group as of one instant. An append waits while what is of fixed size is copied for
/// each member; open pages are copied a few at a time, since nothing but their ends changes, unless
/// the group has no more than `few` members. `None` where rows were sealed meanwhile.
fn dump_group(head: &Head, group: &Group, few: usize) -> Option<Vec<Dump>> {
    // No append between the tracks: a series that moves is in one of them.
    let writer = group.writer();
    let state = group.read();
    let tracks = (0..).zip(&state.tracks);
    let tracks = tracks.filter_map(|(index, track)| Some((index, track.as_deref()?)));
    let mut dumps: Vec<Dump> = tracks.map(|(index, track)| begin(index, track)).collect();
    if dumps.iter().map(|dump| dump.positions).sum::<usize>() <= few {
        for dump in &mut dumps {
            dump.complete(|dump, part| {
                let slab = head.slab(group.number);
                dump.members_of(&state, &slab, part)
            })?;
        }
        return Some(dumps);
    }
    drop((state, writer));
    for dump in &mut dumps {
        dump.complete(|dump, part| {
            let state = group.read();
            let slab = head.slab(group.number);
            dump.members_of(&state, &slab, part)
        })?;
    }
    Some(dumps)
}

fn begin(index: u32, track: &Track) -> Dump {
    let mut body = Vec::new();
    put_varint(&mut body, u64::from(track.id));
    track.dump(&mut body);
    Dump {
        index,
        id: track.id,
        first_row: track.first_row,
        ids: track.members(),
        members: track.members_now(),
        positions: track.ids.len(),
        bodies: vec![(kind::TRACK, body)],
    }
}

impl Dump {
    /// Adds the state of all members, by `part` of some of them.
    fn complete(&mut self, part: impl Fn(&Self, Range<usize>) -> Option<Vec<u8>>) -> Option<()> {
        for first in (0..self.positions).step_by(SERIES_PER_RECORD) {
            let end = self.positions.min(first + SERIES_PER_RECORD);
            let body = part(self, first..end)?;
            self.bodies.push((kind::MEMBERS, body));
        }
        Some(())
    }

    /// The record of the members at some positions; `None` where they have other pages by now.
    fn members_of(&self, state: &GroupState, slab: &Slab, part: Range<usize>) -> Option<Vec<u8>> {
        let track = state.track(self.index)?;
        let mut body = Vec::new();
        put_varint(&mut body, u64::from(self.id));
        let is_there =
            track.id == self.id && track.dump_members(slab, &self.members, part, &mut body);
        is_there.then_some(body)
    }
}

fn write_members(sink: &mut Sink, head: &Head, group: u32, dump: &Dump) -> io::Result<()> {
    let mut position = 0;
    // A track whose members all left still names its chunks.
    loop {
        let rest = &dump.ids[position..];
        let part = &rest[..rest.len().min(SERIES_PER_RECORD)];
        let series = {
            let catalog = head.catalog();
            // One that left memory since the dump has no sample that is not in a block.
            let named = |id: &SeriesRef| match catalog.locate(*id) {
                Some(_) => (*id, Some(catalog.name_of(id.slot))),
                None => (DEAD, None),
            };
            part.iter().map(named).collect()
        };
        let join = Join {
            group,
            track: dump.id,
            first_row: dump.first_row,
            position: position as u32,
            series,
        };
        sink.operation(kind::JOIN, |out| join.write(out));
        sink.spill()?;
        position += part.len();
        if position >= dump.ids.len() {
            return Ok(());
        }
    }
}

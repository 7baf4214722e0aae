//! What a record says of one track's columns: rows, seals, the state of members. It touches that
//! track, the slab of its group and the list of new chunks, nothing else; so the tracks of different
//! groups are restored beside each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::ReplayOutcome;
use crate::bytes::{Malformed, Reader};
use crate::chunk::Chunk;
use crate::head::{Group, Head};
use crate::row::Row;
use crate::track::{Logged, ROWS_LIMIT, Track};
use crate::wal::record::kind;

/// Most threads that restore columns. It divides the number of slabs: no two wait for the same.
const WORKERS_LIMIT: usize = 4;
/// Files shorter than this are read by one thread.
const ALONE_BYTES: usize = 1 << 20;
/// Tasks handed over at once, and how many such lists wait: what bounds the memory.
const TASKS_AT_ONCE: usize = 64;
const LISTS_WAITING: usize = 8;
/// Records after one that all workers had to wait for, which are not handed over: the next such
/// record may follow soon.
const RECORDS_ALONE: usize = 64;

/// Chunks found in head files, by track, oldest first.
pub(super) type Stored = Arc<HashMap<u32, Vec<Arc<Chunk>>>>;

/// Whether an operation is of this kind.
pub(super) fn is_of_columns(kind: u8) -> bool {
    matches!(
        kind,
        kind::ROW | kind::PLAIN_ROW | kind::SEAL | kind::MEMBERS
    )
}

/// An operation on a track.
pub(super) struct Task<'p> {
    pub(super) kind: u8,
    /// Its body behind the number of the track.
    pub(super) body: &'p [u8],
    /// Where the track is.
    pub(super) group: Arc<Group>,
    pub(super) index: u32,
}

/// Applies operations on tracks, in order.
pub(super) struct Columns<'a> {
    pub(super) head: &'a Head,
    pub(super) stored: Stored,
    row: Row,
    pub(super) outcome: ReplayOutcome,
}

impl<'a> Columns<'a> {
    pub(super) fn new(head: &'a Head, stored: Stored) -> Self {
        Self {
            head,
            stored,
            row: Row::default(),
            outcome: ReplayOutcome::default(),
        }
    }

    /// Applies one; counts it where it makes no sense.
    pub(super) fn apply(&mut self, task: &Task<'_>) {
        let mut reader = Reader::new(task.body);
        let mut state = task.group.write();
        let Some(track) = state.track_mut(task.index) else {
            return;
        };
        let number = task.group.number;
        let done = match task.kind {
            kind::ROW => self.row(track, number, &mut reader, Track::decode_row),
            kind::PLAIN_ROW => self.row(track, number, &mut reader, Track::decode_plain_row),
            kind::SEAL => self.seal(track, number, &mut reader),
            _ => track.restore_members(&mut self.head.slab(number), &mut reader),
        };
        drop(state);
        if let Err(error) = done {
            self.outcome.malformed(error);
        }
    }

    fn row(
        &mut self,
        track: &mut Track,
        group: u32,
        reader: &mut Reader<'_>,
        decode: impl FnOnce(&mut Track, &mut Reader<'_>, &mut Row) -> Result<Logged, Malformed>,
    ) -> Result<(), Malformed> {
        let number = match decode(track, reader, &mut self.row)? {
            Logged::Row { number } => number,
            Logged::Known => return Ok(()),
            Logged::Lost => {
                self.outcome.rows_lost += 1;
                return Ok(());
            }
        };
        let mut slab = self.head.slab(group);
        let gap = number > track.next_row();
        let full = track.timestamps_ms.len() as u32 >= ROWS_LIMIT;
        if gap || full && !self.row.amends {
            self.head.sealed(track.seal(&mut slab));
            track.skip_to(number);
        }
        let in_order = if self.row.amends {
            self.row.timestamp_ms == track.last_ms
        } else {
            self.row.timestamp_ms > track.last_ms
        };
        if !in_order {
            self.outcome.rows_lost += 1;
            return Ok(());
        }
        track.apply(&mut slab, &self.row);
        self.outcome.rows += u64::from(!self.row.amends);
        self.outcome.samples += self.row.len() as u64;
        Ok(())
    }

    fn seal(
        &mut self,
        track: &mut Track,
        group: u32,
        reader: &mut Reader<'_>,
    ) -> Result<(), Malformed> {
        let end_row = reader.varint_u32()?;
        if end_row <= track.first_row {
            return Ok(());
        }
        let Some(chunk) = track.seal(&mut self.head.slab(group)) else {
            return Ok(());
        };
        // The head file may have it already.
        let stored = self.stored.get(&track.id).and_then(|chunks| {
            let at = chunks.binary_search_by_key(&chunk.first_row, |c| c.first_row);
            at.ok().map(|at| chunks[at].clone())
        });
        match stored {
            // The process that wrote it had every record.
            Some(stored) if stored.end_row() == end_row && end_row >= chunk.end_row() => {
                let chunks = Arc::make_mut(&mut track.chunks);
                chunks.pop();
                chunks.push(stored);
            }
            _ => self.head.sealed(Some(chunk)),
        }
        Ok(())
    }
}

/// The threads that restore columns while records of a file are read.
pub(super) struct Crew<'p> {
    workers: Vec<Worker<'p>>,
    /// Records that are not handed over.
    alone: usize,
    /// The record before.
    before: &'p [u8],
}

struct Worker<'p> {
    tasks: Vec<Task<'p>>,
    send: SyncSender<Message<'p>>,
}

enum Message<'p> {
    Tasks(Vec<Task<'p>>),
    /// Answers when everything before is done.
    Wait(SyncSender<()>),
}

/// Calls `read` with threads that take what is handed to them, for a file of so many bytes. All of it
/// is done on return.
pub(super) fn with_crew<'p, R>(
    columns: &Columns<'_>,
    size_bytes: usize,
    read: impl FnOnce(&mut Crew<'p>) -> R,
) -> (R, ReplayOutcome) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = match cores.min(WORKERS_LIMIT) {
        _ if size_bytes < ALONE_BYTES => 0,
        1 => 0,
        2 | 3 => 2,
        _ => WORKERS_LIMIT,
    };
    std::thread::scope(|scope| {
        let (mut threads, mut workers) = (Vec::new(), Vec::new());
        for number in 0..count {
            let (send, take) = sync_channel(LISTS_WAITING);
            let own = Columns::new(columns.head, columns.stored.clone());
            let thread = std::thread::Builder::new()
                .name(format!("tsdb-open-{number}"))
                .spawn_scoped(scope, move || work(own, &take));
            // Fewer do as well.
            if let Ok(thread) = thread {
                threads.push(thread);
                let tasks = Vec::new();
                workers.push(Worker { tasks, send });
            }
        }
        let mut crew = Crew {
            workers,
            alone: 0,
            before: &[],
        };
        let result = read(&mut crew);
        crew.flush();
        drop(crew);
        let mut outcome = ReplayOutcome::default();
        for thread in threads {
            match thread.join() {
                Ok(own) => outcome.add(&own),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (result, outcome)
    })
}

fn work(mut columns: Columns<'_>, take: &Receiver<Message<'_>>) -> ReplayOutcome {
    while let Ok(message) = take.recv() {
        match message {
            Message::Tasks(tasks) => tasks.iter().for_each(|task| columns.apply(task)),
            Message::Wait(answer) => {
                answer.send(()).ok();
            }
        }
    }
    columns.outcome
}

impl<'p> Crew<'p> {
    /// A record begins. Whether it says what the one before it said.
    pub(super) fn begin_record(&mut self, payload: &'p [u8]) -> bool {
        self.alone = self.alone.saturating_sub(1);
        std::mem::replace(&mut self.before, payload) == payload
    }

    /// Hands a task over; gives it back where nobody takes it.
    pub(super) fn hand(&mut self, task: Task<'p>) -> Option<Task<'p>> {
        if self.alone > 0 || self.workers.is_empty() {
            return Some(task);
        }
        let at = task.group.number as usize % self.workers.len();
        self.workers[at].push(task);
        None
    }

    /// Waits until everything that was handed over is done. Records that follow are not handed over
    /// for a while.
    pub(super) fn wait(&mut self) {
        let is_idle = std::mem::replace(&mut self.alone, RECORDS_ALONE) > 0;
        if is_idle || self.workers.is_empty() {
            return;
        }
        self.flush();
        let (answer, answers) = sync_channel(self.workers.len());
        for worker in &self.workers {
            worker.send.send(Message::Wait(answer.clone())).ok();
        }
        drop(answer);
        // Ends early where a worker panicked, which is seen at the end.
        for _ in 0..self.workers.len() {
            answers.recv().ok();
        }
    }

    fn flush(&mut self) {
        for worker in &mut self.workers {
            worker.flush();
        }
    }
}

impl<'p> Worker<'p> {
    fn push(&mut self, task: Task<'p>) {
        self.tasks.push(task);
        if self.tasks.len() >= TASKS_AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.tasks.is_empty() {
            let tasks = std::mem::take(&mut self.tasks);
            // Fails where the worker panicked, which is seen at the end.
            self.send.send(Message::Tasks(tasks)).ok();
        }
    }
}

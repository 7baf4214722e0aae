//! Rows of a selection: each made from one series alone, and so on any thread.
//!
//! Series are taken in batches. The thread of the query consumes them in order of the series,
//! whoever made them, so that what is added up has the same bits however many threads there are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use barograph_model::TimeRange;
use barograph_tsdb::{Column, Reader};

use super::Evaluator;
use super::arena::{is_signalling, quiet};
use super::key::Selected;
use super::ledger::window_sizes;
use super::limits::Limits;
use super::select::{Shared, picks, size_bytes};
use super::vector::{ABSENT, is_absent};
use crate::error::QueryError;
use crate::functions::Window;
use crate::helpers::Task;
use crate::kernels::{self, Edges, Input};
use crate::memory::Held;
use crate::plan::{Steps, Times};

/// Slots of a batch; one series may have more.
const BATCH_SLOTS: usize = 4096;
/// Most series of a batch.
const BATCH_SERIES: usize = 256;
/// Most batches made ahead of the one that is consumed.
const BATCHES_AHEAD: usize = 16;
/// From so long a window on, some pages of blocks are likely to be wholly inside.
const DIGEST_RANGE_MS: i64 = 3 * 3_600_000;
/// What reading the heads of pages is taken for, in samples.
const DIGEST_WORK: usize = 256;
/// Samples and slots after which a thread looks whether to go on.
const CHECK_SAMPLES: usize = 8192;

/// How a row is made.
pub(super) enum Kernel {
    /// The newest sample not older than the lookback.
    Newest { times: Times, lookback_ms: i64 },
    Window {
        function: Window,
        params: Vec<Vec<f64>>,
        times: Times,
        range_ms: i64,
    },
}

/// The rows of a selection.
pub(super) struct RowJob {
    pub(super) selected: Arc<Selected>,
    pub(super) kernel: Kernel,
    pub(super) range: TimeRange,
    pub(super) steps: Steps,
    pub(super) limits: Limits,
    /// Tell how many samples windows have.
    pub(super) sizes_windows: bool,
    /// A series has histograms: the others are likely to have some, and these need the evaluator.
    pub(super) has_histograms: AtomicBool,
}

/// A row, or a series that nobody but the evaluator can make one of.
pub(super) enum Row<'a> {
    Values(usize, &'a mut [f64]),
    Left(usize),
}

/// What became of a series in a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has values.
    Row,
    /// It is left to the evaluator.
    Left,
    /// It has nothing but windows that are counted.
    Counted,
}

/// Some rows. What they take is held until the batch goes, whoever made it.
struct Batch {
    rows: Vec<(usize, Fate)>,
    values: Vec<f64>,
    /// The most samples in a window of each series and those of its last, where asked for.
    windows: Vec<(u64, u64)>,
    /// Samples that entered evaluation, once per step that used them; and those read for it.
    used: u64,
    read: u64,
    pages_decoded: u64,
    /// What it took to make, in samples and slots.
    work: usize,
    memory: Held,
}

/// What a thread keeps from row to row.
struct Scratch<'a> {
    reader: Reader<'a>,
    column: Column,
    picks: Shared<Vec<u32>>,
    edges: Shared<Edges>,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    held: usize,
    /// Those of the series read last.
    window_sizes: (u64, u64),
    /// What the longest column takes.
    memory: Held,
    unchecked: usize,
    limits: Limits,
}

impl Evaluator<'_> {
    /// Gives the rows of a selection to `take`, in order of the series.
    pub(super) fn each_row(
        &mut self,
        job: RowJob,
        take: &mut dyn FnMut(&mut Self, Row<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let job = Arc::new(job);
        let all = job.selected.selection.len();
        let count = (BATCH_SLOTS / job.steps.count.max(1)).clamp(1, BATCH_SERIES);
        // Some batches at least, so that there is something to share.
        let count = count.min(all / 8 + 1);
        let mut scratch = Scratch::new(&job);
        let mut batch = Batch::new(&job.limits);
        let (mut next, mut work) = (0, 0);
        while next < all {
            let end = all.min(next + count);
            job.fill(next..end, &mut scratch, &mut batch)?;
            next = end;
            work += batch.work;
            self.deliver(&mut batch, &job, take)?;
            let left = (work / next).saturating_mul(all - next);
            if left as u64 >= self.parallel_samples && self.profiler.is_none() {
                break;
            }
        }
        while next < all {
            let helpers = self.helpers.clone().filter(|helpers| helpers.has_room());
            let Some(helpers) = helpers else {
                // Alone, until a core is free.
                let end = all.min(next + count);
                job.fill(next..end, &mut scratch, &mut batch)?;
                next = end;
                self.deliver(&mut batch, &job, take)?;
                continue;
            };
            let team = Arc::new(Team::new(job.clone(), next..all, count));
            let _ends = TeamEnd(&team);
            helpers.offer(&team);
            while let Some(batch) = team.next(&mut scratch) {
                self.deliver(&mut batch?, &job, take)?;
            }
            next = all;
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        batch: &mut Batch,
        job: &RowJob,
        take: &mut dyn FnMut(&mut Self, Row<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        self.counts.total += batch.used;
        self.counts.read += batch.read;
        self.counts.pages_decoded += batch.pages_decoded;
        let mut values = batch.values.chunks_exact_mut(job.steps.count.max(1));
        let mut windows = batch.windows.iter();
        for (index, fate) in batch.rows.drain(..) {
            if fate == Fate::Left {
                take(self, Row::Left(index))?;
                continue;
            }
            if let (Some(ledger), Some(sizes)) = (&self.ledger, windows.next()) {
                ledger.borrow_mut().window(*sizes);
            }
            if fate == Fate::Row
                && let Some(values) = values.next()
            {
                take(self, Row::Values(index, values))?;
            }
        }
        Ok(())
    }
}

impl RowJob {
    /// Makes the rows of some series.
    fn fill(
        &self,
        indices: Range<usize>,
        scratch: &mut Scratch<'_>,
        batch: &mut Batch,
    ) -> Result<(), QueryError> {
        batch.rows.clear();
        batch.values.clear();
        batch.windows.clear();
        (batch.used, batch.read, batch.work) = (0, 0, 0);
        batch.pages_decoded = 0;
        for index in indices {
            if self.has_histograms.load(Relaxed) {
                batch.rows.push((index, Fate::Left));
                continue;
            }
            if self.fill_digest(index, scratch, batch)? {
                continue;
            }
            let Scratch { reader, column, .. } = scratch;
            reader
                .read(index, column)
                .map_err(|error| QueryError::Storage(format!("expanding series: {error}")))?;
            batch.pages_decoded += u64::from(scratch.column.pages_decoded);
            if !scratch.column.histograms.is_empty() {
                self.has_histograms.store(true, Relaxed);
                batch.rows.push((index, Fate::Left));
                continue;
            }
            let held = scratch.column.values.len();
            scratch.hold(held, held + self.steps.count)?;
            batch.work += held + self.steps.count;
            if held == 0 {
                continue;
            }
            let from = batch.values.len();
            batch.values.resize(from + self.steps.count, ABSENT);
            let Batch {
                values, used, read, ..
            } = batch;
            scratch.window_sizes = (0, 0);
            if self.row(scratch, &mut values[from..], used, read) {
                batch.rows.push((index, Fate::Row));
            } else {
                batch.values.truncate(from);
                if !self.sizes_windows {
                    continue;
                }
                batch.rows.push((index, Fate::Counted));
            }
            if self.sizes_windows {
                batch.windows.push(scratch.window_sizes);
            }
        }
        batch.memory.set(batch.size_bytes());
        self.limits.memory.check()
    }

    /// Makes the row of a series of what its pages say of themselves, where there is one long window
    /// that takes no more than that; tells whether it did.
    fn fill_digest(
        &self,
        index: usize,
        scratch: &mut Scratch<'_>,
        batch: &mut Batch,
    ) -> Result<bool, QueryError> {
        let Kernel::Window {
            function,
            times,
            range_ms,
            ..
        } = &self.kernel
        else {
            return Ok(false);
        };
        if self.steps.count != 1 || *range_ms < DIGEST_RANGE_MS {
            return Ok(false);
        }
        let Some(wanted) = kernels::digested(*function) else {
            return Ok(false);
        };
        let selection = &self.selected.selection;
        let column = &mut scratch.column;
        let digest = selection.digest(index, self.range, wanted, column);
        let digest =
            digest.map_err(|error| QueryError::Storage(format!("expanding series: {error}")))?;
        let Some(digest) = digest else {
            return Ok(false);
        };
        batch.pages_decoded += u64::from(scratch.column.pages_decoded);
        let samples = digest.count as usize;
        scratch.hold(samples, DIGEST_WORK)?;
        batch.work += DIGEST_WORK;
        batch.used += digest.count;
        batch.read += digest.count;
        if digest.count > 0 {
            let window_ms = (times.at_step(&self.steps, 0), *range_ms);
            let value = kernels::run_digest(*function, &digest, window_ms);
            if !is_absent(value) {
                batch.rows.push((index, Fate::Row));
                batch.values.push(value);
            } else if self.sizes_windows {
                batch.rows.push((index, Fate::Counted));
            }
            if self.sizes_windows {
                batch.windows.push((digest.count, digest.count));
            }
        }
        Ok(true)
    }

    /// Makes the row of the series that was read; tells whether there is anything in it.
    fn row(
        &self,
        scratch: &mut Scratch<'_>,
        out: &mut [f64],
        used: &mut u64,
        read: &mut u64,
    ) -> bool {
        let column = &scratch.column;
        match &self.kernel {
            Kernel::Newest { times, lookback_ms } => {
                let picks = scratch.picks.get(
                    &column.timestamps_ms,
                    |timestamps| picks(timestamps, *times, &self.steps, *lookback_ms),
                    |picks| picks.len() * size_of::<u32>(),
                );
                let mut present = 0;
                for (slot, at) in out.iter_mut().zip(picks.iter()) {
                    if let Some(value) = column.values.get(*at as usize) {
                        // A staleness marker is what an empty slot holds.
                        *slot = quiet(*value);
                        present += u64::from(!is_absent(*slot));
                    }
                }
                *used += present;
                *read += present;
                present > 0
            }
            Kernel::Window {
                function,
                params,
                times,
                range_ms,
            } => {
                let make =
                    |timestamps: &[i64]| Edges::new(timestamps, *times, *range_ms, &self.steps);
                let own_edges;
                let shared_edges;
                let (timestamps_ms, values, edges): (&[i64], &[f64], &Edges) =
                    if any_signalling(&column.values) {
                        // Without the staleness markers indices are the series' own.
                        scratch.timestamps_ms.clear();
                        scratch.values.clear();
                        for (t, value) in column.timestamps_ms.iter().zip(&column.values) {
                            if !is_absent(*value) {
                                scratch.timestamps_ms.push(*t);
                                scratch.values.push(quiet(*value));
                            }
                        }
                        own_edges = make(&scratch.timestamps_ms);
                        (&scratch.timestamps_ms, &scratch.values, &own_edges)
                    } else {
                        let shared = &mut scratch.edges;
                        shared_edges = shared.get(&column.timestamps_ms, make, Edges::size_bytes);
                        (&column.timestamps_ms, &column.values, &shared_edges)
                    };
                *used += edges.total_samples;
                *read += edges.new_samples;
                if edges.total_samples == 0 {
                    return false;
                }
                if self.sizes_windows {
                    scratch.window_sizes = window_sizes(edges, None);
                }
                let input = Input {
                    timestamps_ms,
                    values,
                    edges,
                    steps: &self.steps,
                    times: *times,
                    range_ms: *range_ms,
                    starts: None,
                    params,
                };
                kernels::run(*function, &input, out);
                out.iter().any(|value| !is_absent(*value))
            }
        }
    }
}

/// Whether a column has staleness markers, or what could be taken for something else than a float.
fn any_signalling(values: &[f64]) -> bool {
    // Nearly all are numbers, which is told of several at a time.
    let any_nan = |part: &&[f64]| part.iter().fold(false, |any, value| any | value.is_nan());
    let mut with_nan = values.chunks(64).filter(any_nan);
    with_nan.any(|part| part.iter().any(|value| is_signalling(*value)))
}

impl Batch {
    fn new(limits: &Limits) -> Self {
        Self {
            rows: Vec::new(),
            values: Vec::new(),
            windows: Vec::new(),
            used: 0,
            read: 0,
            pages_decoded: 0,
            work: 0,
            memory: limits.held(),
        }
    }

    fn size_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
            + self.rows.capacity() * size_of::<(usize, Fate)>()
            + self.windows.capacity() * size_of::<(u64, u64)>()
    }
}

impl<'a> Scratch<'a> {
    fn new(job: &'a RowJob) -> Self {
        let limits = &job.limits;
        Self {
            reader: job.selected.selection.reader(job.range),
            column: Column::default(),
            picks: Shared::new(limits),
            edges: Shared::new(limits),
            timestamps_ms: Vec::new(),
            values: Vec::new(),
            held: 0,
            window_sizes: (0, 0),
            memory: limits.held(),
            unchecked: 0,
            limits: limits.clone(),
        }
    }

    /// Takes memory for the longest column so far, and looks now and then whether to go on.
    fn hold(&mut self, samples: usize, work: usize) -> Result<(), QueryError> {
        if samples > self.held {
            let more = samples - self.held;
            self.held = samples;
            let copies = self.timestamps_ms.capacity() + self.values.capacity();
            self.memory
                .set(size_bytes(&self.column) + copies * size_of::<f64>());
            self.limits.hold(more)?;
        }
        self.unchecked += work;
        if self.unchecked >= CHECK_SAMPLES {
            self.unchecked = 0;
            self.limits.check()?;
        }
        Ok(())
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.limits.release(self.held);
    }
}

/// Batches that several threads make and one consumes.
struct Team {
    job: Arc<RowJob>,
    series: Range<usize>,
    /// Series of a batch.
    count: usize,
    state: Mutex<TeamState>,
    changed: Condvar,
}

#[derive(Default)]
struct TeamState {
    /// The first batch that nobody makes yet.
    next: usize,
    /// The batch to be consumed next.
    wanted: usize,
    made: BTreeMap<usize, Result<Batch, QueryError>>,
    ended: bool,
}

/// Sends those who help home.
struct TeamEnd<'a>(&'a Team);

impl Drop for TeamEnd<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Team {
    fn new(job: Arc<RowJob>, series: Range<usize>, count: usize) -> Self {
        Self {
            job,
            series,
            count,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The next batch in order, made here where nobody else did.
    fn next(&self, scratch: &mut Scratch<'_>) -> Option<Result<Batch, QueryError>> {
        let batches = self.series.len().div_ceil(self.count);
        let mut state = self.lock();
        loop {
            if state.wanted == batches {
                return None;
            }
            let wanted = state.wanted;
            if let Some(batch) = state.made.remove(&wanted) {
                state.wanted += 1;
                drop(state);
                self.changed.notify_all();
                return Some(batch);
            }
            state = if let Some(number) = self.claim(&mut state) {
                drop(state);
                let batch = self.make(number, scratch);
                let mut state = self.lock();
                state.made.insert(number, batch);
                state
            } else {
                self.wait(state)
            };
        }
    }

    fn claim(&self, state: &mut TeamState) -> Option<usize> {
        let batches = self.series.len().div_ceil(self.count);
        let number = state.next;
        (number < batches && number < state.wanted + BATCHES_AHEAD).then(|| {
            state.next += 1;
            number
        })
    }

    fn make(&self, number: usize, scratch: &mut Scratch<'_>) -> Result<Batch, QueryError> {
        let start = self.series.start + number * self.count;
        let end = self.series.end.min(start + self.count);
        let mut batch = Batch::new(&self.job.limits);
        self.job.fill(start..end, scratch, &mut batch)?;
        Ok(batch)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, TeamState>) -> MutexGuard<'s, TeamState> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, TeamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task for Team {
    fn help(&self, may_go_on: &dyn Fn() -> bool) {
        let mut scratch = Scratch::new(&self.job);
        let batches = self.series.len().div_ceil(self.count);
        let mut state = self.lock();
        while !state.ended && state.next < batches && may_go_on() {
            let Some(number) = self.claim(&mut state) else {
                state = self.wait(state);
                continue;
            };
            drop(state);
            let mut made = Made {
                team: self,
                number,
                batch: None,
            };
            made.batch = Some(self.make(number, &mut scratch));
            drop(made);
            state = self.lock();
        }
    }
}

/// A batch that somebody waits for, whatever becomes of who makes it.
struct Made<'a> {
    team: &'a Team,
    number: usize,
    batch: Option<Result<Batch, QueryError>>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let panicked = || Err(QueryError::Execution("BUG: a query panicked".to_owned()));
        let batch = self.batch.take().unwrap_or_else(panicked);
        self.team.lock().made.insert(self.number, batch);
        self.team.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use barograph_instrument::Registry;
    use barograph_model::Labels;
    use barograph_tsdb::{Batch as Samples, Db, Options};

    use super::*;
    use crate::engine::Cancel;
    use crate::memory::{Account, Budget};
    use crate::pool::Lane;

    const SERIES: usize = 8;
    const STEPS: usize = 10_000;

    /// Rows of some series with a value at every step, made by whoever comes.
    fn team(max_bytes: u64) -> (Team, Arc<Account>, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let db = Db::open(Options::new(directory.path()), &Registry::new()).expect("a store");
        let group = db.open_group();
        let mut samples = Samples::new(group);
        for index in 0..SERIES {
            let index = index.to_string();
            let labels = Labels::from_pairs([("__name__", "m"), ("i", &index)]);
            samples.push(db.register(group, &labels).expect("room"), 0, 1.0);
        }
        db.append(&samples).expect("stored");
        let range = TimeRange {
            start_ms: 0,
            end_ms: STEPS as i64,
        };
        let selection = db.snapshot().select(&[], range).expect("readable");
        let account = Budget::new(max_bytes, 0, &Registry::new()).open(Lane::User);
        let deadline = Instant::now() + Duration::from_mins(1);
        let limits = Limits::new(deadline, Cancel::default(), u64::MAX, account.clone());
        let still = Times {
            offset_ms: 0,
            at_ms: None,
        };
        let job = RowJob {
            selected: Arc::new(Selected::new(selection, limits.held())),
            kernel: Kernel::Newest {
                times: still,
                lookback_ms: STEPS as i64,
            },
            range,
            steps: Steps {
                start_ms: 0,
                step_ms: 1,
                count: STEPS,
            },
            limits,
            sizes_windows: false,
            has_histograms: AtomicBool::new(false),
        };
        (Team::new(Arc::new(job), 0..SERIES, 1), account, directory)
    }

    #[test]
    fn rows_made_ahead_by_others_are_held_until_they_are_consumed() {
        let (team, account, _directory) = team(0);
        team.help(&|| true);
        let rows_bytes = (SERIES * STEPS * size_of::<f64>()) as u64;
        assert!(account.used() >= rows_bytes, "{}", account.used());
        let mut scratch = Scratch::new(&team.job);
        let mut rows = 0;
        while let Some(batch) = team.next(&mut scratch) {
            rows += batch.expect("within the limit").rows.len();
        }
        assert_eq!(rows, SERIES);
        assert!(account.used() < rows_bytes / 4, "{}", account.used());
    }

    #[test]
    fn rows_made_ahead_by_others_can_be_too_many() {
        let (team, _account, _directory) = team(4 * (STEPS * size_of::<f64>()) as u64);
        team.help(&|| true);
        let mut scratch = Scratch::new(&team.job);
        let refused = std::iter::from_fn(|| team.next(&mut scratch)).find_map(Result::err);
        let refused = refused.expect("too much").to_string();
        assert!(refused.contains("--query.max-memory"), "{refused}");
    }
}

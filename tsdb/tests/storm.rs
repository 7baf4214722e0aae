//! Everything a store does, on a disk that fails at any operation, loses its power and flips bits,
//! against one model: rows in order and late, histograms, exemplars, deletes, compaction, snapshots.
//! What was acknowledged is there with its values, what was deleted stays away, what is there was
//! written.
//!
//! `BAROGRAPH_STORM_SEEDS=<first>..<end>` runs other seeds than the few of every run.

mod disk;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Exemplar, Histogram, Labels, MatchOp, Matcher, SystemClock, TimeRange};
use barograph_tsdb::{Batch, Column, Db, GroupId, OpenError, Options, Snapshot, WalSync};
use disk::{FaultyDisk, Random};
use support::seeds;

const STEP_MS: i64 = 20_000;
const START_MS: i64 = 1_650_000_000_000 / 600_000 * 600_000;
const GROUPS: usize = 2;
const SERIES: usize = 10;
/// Series whose samples may come late.
const LATE: [usize; 3] = [3, 6, 9];
/// How many rows late at most.
const LATE_ROWS: u64 = 45;

fn options(path: &Path) -> Options {
    Options {
        wal_segment_bytes: 1 << 16,
        wal_sync: WalSync::Always,
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::ZERO,
        block_span_ms: 600_000,
        retention_ms: 0,
        reserve_bytes: 0,
        out_of_order_spill_interval: Duration::ZERO,
        block_access: support::block_access(),
        ..Options::new(path)
    }
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "x".to_owned()), ("id", series.to_string())])
}

fn value(series: usize, row: i64) -> f64 {
    match series % 4 {
        0 => 42.0,
        1 => row as f64 * 17.0,
        2 => (row % 7) as f64 / 10.0,
        _ => (row as f64).sqrt(),
    }
}

/// Series of histograms; one late, one not.
fn is_histogram(series: usize) -> bool {
    series == 5 || series == 6
}

fn histogram(row: i64) -> Histogram {
    support::histogram(row, if row % 60 > 45 { 2 } else { 3 })
}

/// What a sample must read as.
fn text(series: usize, row: i64) -> String {
    if is_histogram(series) {
        format!("{:?}", histogram(row).to_float())
    } else {
        format!("{:016x}", value(series, row).to_bits())
    }
}

/// What is known of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Acknowledged: it must be there.
    There,
    /// Its writing, or its deletion, was not acknowledged.
    Perhaps,
    /// Deleted: it must not be there.
    Deleted,
    /// Not acknowledged, and not there after a start: it must not come back.
    Gone,
}

/// A deletion: what comes into it in the head's time may or may not count as there already.
struct Deleted {
    series: Vec<usize>,
    rows: RangeInclusive<i64>,
}

/// What a store should hold.
#[derive(Default)]
struct Model {
    samples: BTreeMap<(usize, i64), State>,
    /// Whether an exemplar was acknowledged, by row.
    exemplars: BTreeMap<i64, bool>,
    deletions: Vec<Deleted>,
    next_row: i64,
}

impl Model {
    /// Uses the store until a number of steps is done; the disk may die meanwhile.
    fn live(&mut self, db: &Db, root: &Path, random: &mut Random, steps: u64, context: &str) {
        let groups: Vec<_> = (0..GROUPS).map(|_| db.open_group()).collect();
        for step in 0..steps {
            match random.below(40) {
                0 | 1 => db.maintain(),
                2 => {
                    db.compact();
                }
                3 => self.next_row += random.below(20) as i64,
                4 => self.delete(db, random),
                5 if random.one_in(2) => {
                    db.clean_tombstones().ok();
                }
                6 if random.one_in(2) => self.archive(db, root, step, random, context),
                7 if random.one_in(2) => {
                    self.check(db, false, context);
                }
                _ => {
                    let group = random.below(GROUPS as u64) as usize;
                    self.append(db, groups[group], group, random);
                }
            }
        }
    }

    fn append(&mut self, db: &Db, id: GroupId, group: usize, random: &mut Random) {
        let newest = self.next_row;
        self.next_row += 1;
        let mut batch = Batch::new(id);
        let mut samples = Vec::new();
        let mut has_exemplar = false;
        for series in (0..SERIES).filter(|series| series % GROUPS == group) {
            // Members come and go.
            if random.one_in(9) {
                continue;
            }
            let is_late = LATE.contains(&series) && random.one_in(3);
            let row = newest
                - if is_late {
                    1 + random.below(LATE_ROWS) as i64
                } else {
                    0
                };
            let known = self.samples.get(&(series, row));
            if row < 0 || known.is_some_and(|state| *state != State::Gone) {
                continue;
            }
            let reference = db.register(id, &labels(series)).expect("registers");
            let time = START_MS + row * STEP_MS;
            if is_histogram(series) {
                batch
                    .push_histogram(reference, time, &histogram(row))
                    .expect("a histogram");
            } else {
                batch.push(reference, time, value(series, row));
            }
            samples.push((series, row));
            if series == 1 && random.one_in(4) {
                let exemplar = Exemplar {
                    labels: Labels::from_pairs([("trace_id", row.to_string())]),
                    value: row as f64 / 3.0,
                    timestamp_ms: time,
                };
                batch.push_exemplar(reference, exemplar);
                has_exemplar = true;
            }
        }
        let appended = db.append(&batch);
        let accepted = |index: usize| {
            let appended = appended.as_ref();
            appended.is_ok_and(|appended| appended.rejected.iter().all(|r| r.index != index))
        };
        for (index, (series, row)) in samples.iter().enumerate() {
            let is_deleted = |d: &Deleted| d.series.contains(series) && d.rows.contains(row);
            let state = if accepted(index) && !self.deletions.iter().any(is_deleted) {
                State::There
            } else {
                State::Perhaps
            };
            self.samples.insert((*series, *row), state);
        }
        if has_exemplar {
            let stored = appended.as_ref().is_ok_and(|a| a.exemplars.stored == 1);
            self.exemplars.insert(newest, stored);
        }
    }

    fn delete(&mut self, db: &Db, random: &mut Random) {
        let first = self.next_row - random.below(150) as i64;
        let rows = first..=first + random.below(40) as i64;
        let (series, matcher) = if random.one_in(3) {
            let matcher = Matcher::new("id", MatchOp::Regex, "[3-6]").expect("valid");
            ((3..=6).collect(), matcher)
        } else {
            let series = random.below(SERIES as u64) as usize;
            (vec![series], Matcher::equal("id", &series.to_string()))
        };
        let range = TimeRange {
            start_ms: START_MS + rows.start() * STEP_MS,
            end_ms: START_MS + rows.end() * STEP_MS,
        };
        let matchers = [Matcher::equal("__name__", "x"), matcher];
        let done = db.delete_series(&matchers, range).is_ok();
        for ((_, _), state) in self
            .samples
            .iter_mut()
            .filter(|((have, row), _)| series.contains(have) && rows.contains(row))
        {
            *state = match *state {
                State::There if done => State::Deleted,
                State::There => State::Perhaps,
                // What was not acknowledged may not be in the head, and come back from the log.
                other => other,
            };
        }
        self.deletions.push(Deleted { series, rows });
    }

    /// A snapshot opens, elsewhere, and has what the store has.
    fn archive(&self, db: &Db, root: &Path, step: u64, random: &mut Random, context: &str) {
        let below = root.join("snapshots").join(step.to_string());
        if db.write_snapshot(&below, false).is_err() || random.one_in(2) {
            return;
        }
        let copy = tempfile::tempdir().expect("a temporary directory");
        support::copy(&below, copy.path());
        let context = format!("{context}, snapshot of step {step}");
        let opened = Db::open(options(copy.path()), &Registry::new());
        let opened = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
        self.check(&opened, false, &context);
    }

    /// Compares with what a store has. `is_torn` says that bytes of it were changed, so that some may
    /// be missing; returns how many are.
    fn compare(&self, snapshot: &Snapshot, is_torn: bool, context: &str) -> Found {
        let everything = [Matcher::equal("__name__", "x")];
        let mut found = Found::default();
        let selection = match snapshot.select(&everything, TimeRange::ALL) {
            Ok(selection) => selection,
            Err(error) if is_torn => {
                found.errors.push(error.to_string());
                return found;
            }
            Err(error) => panic!("{context}: {error}"),
        };
        let mut column = Column::default();
        for index in 0..selection.len() {
            let series: usize = selection.labels(index).get("id").parse().expect("a number");
            match selection.read(index, TimeRange::ALL, &mut column) {
                Ok(()) => {}
                Err(error) if is_torn => {
                    found.errors.push(error.to_string());
                    continue;
                }
                Err(error) => panic!("{context}: {error}"),
            }
            let floats = column.timestamps_ms.iter().zip(&column.values);
            let floats = floats.map(|(t, v)| (*t, format!("{:016x}", v.to_bits())));
            let histograms = &column.histograms;
            let times = histograms.timestamps_ms.iter();
            let histograms = times
                .zip(&histograms.values)
                .map(|(t, h)| (*t, format!("{h:?}")));
            for (time, have) in floats.chain(histograms) {
                let row = (time - START_MS) / STEP_MS;
                assert_eq!(time, START_MS + row * STEP_MS, "{context}");
                let want = text(series, row);
                assert_eq!(have, want, "{context}: series {series} row {row}");
                let is_new = found.samples.insert((series, row));
                assert!(is_new, "{context}: series {series} row {row} twice");
            }
        }
        for sample in &found.samples {
            match self.samples.get(sample) {
                Some(State::There | State::Perhaps) => {}
                // Which samples were deleted may be what was lost; that is said, see the caller.
                Some(State::Deleted | State::Gone) if is_torn => found.risen += 1,
                Some(state) => panic!("{context}: {sample:?} is {state:?}, and back"),
                None => panic!("{context}: {sample:?} was never written"),
            }
        }
        let there = self.samples.iter().filter(|(_, s)| **s == State::There);
        let lost = there.filter(|(sample, _)| !found.samples.contains(sample));
        found.lost = lost.map(|(sample, _)| *sample).collect();
        for series in snapshot.exemplars(&[everything.to_vec()], TimeRange::ALL) {
            for exemplar in &series.exemplars {
                let row = (exemplar.timestamp_ms - START_MS) / STEP_MS;
                assert_eq!(exemplar.value.to_bits(), (row as f64 / 3.0).to_bits());
                assert_eq!(exemplar.labels.get("trace_id"), row.to_string());
                assert!(
                    self.exemplars.contains_key(&row),
                    "{context}: exemplar {row}"
                );
                found.exemplars.insert(row);
            }
        }
        found
    }

    /// Nothing is missing. What was not certain is as it was found from now on.
    fn check_all(&mut self, db: &Db, context: &str) {
        let found = self.check(db, true, context);
        for (sample, state) in &mut self.samples {
            if *state == State::Perhaps {
                let is_there = found.samples.contains(sample);
                *state = if is_there { State::There } else { State::Gone };
            }
        }
        self.exemplars
            .retain(|row, _| found.exemplars.contains(row));
        self.exemplars.values_mut().for_each(|kept| *kept = true);
    }

    fn check(&self, db: &Db, with_exemplars: bool, context: &str) -> Found {
        let found = self.compare(&db.snapshot(), false, context);
        assert!(found.lost.is_empty(), "{context}: lost {:?}", found.lost);
        if with_exemplars {
            let lost = self.exemplars.iter().filter(|(_, kept)| **kept);
            let lost: Vec<_> = lost
                .filter(|(row, _)| !found.exemplars.contains(row))
                .collect();
            assert!(lost.is_empty(), "{context}: lost exemplars {lost:?}");
        }
        found
    }
}

/// What a store was found to hold.
#[derive(Default)]
struct Found {
    samples: BTreeSet<(usize, i64)>,
    exemplars: BTreeSet<i64>,
    lost: Vec<(usize, i64)>,
    /// Deleted samples that are back.
    risen: usize,
    errors: Vec<String>,
}

/// One bit of one file flips: whatever is missing then is missing with an error or a metric.
fn flip_a_bit(model: &Model, directory: &Path, random: &mut Random, context: &str) {
    let copy = tempfile::tempdir().expect("a temporary directory");
    support::copy(directory, copy.path());
    std::fs::remove_dir_all(copy.path().join("snapshots")).ok();
    let files = support::files(copy.path());
    let files: Vec<_> = files
        .iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    if files.is_empty() {
        return;
    }
    let (path, bytes) = files[random.below(files.len() as u64) as usize];
    let mut bytes = bytes.clone();
    let at = random.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << random.below(8);
    std::fs::write(copy.path().join(path), bytes).expect("writes");
    let context = format!(
        "{context}, a bit of byte {at} of {} flipped",
        path.display()
    );
    let registry = Registry::new();
    let db = match Db::open(options(copy.path()), &registry) {
        Ok(db) => db,
        Err(error) => {
            let text = error.to_string();
            let name = path.file_name().expect("a name").to_string_lossy();
            assert!(text.contains(&*name), "{context}: {text}");
            return;
        }
    };
    let found = model.compare(&db.snapshot(), true, &context);
    let counted = support::damage(&registry);
    let is_told = counted > 0.0 || !found.errors.is_empty();
    assert!(
        is_told || (found.lost.is_empty() && found.risen == 0),
        "{context}: lost {:?}, {} came back, and nothing is said",
        found.lost,
        found.risen
    );
}

/// Some lives of a store; each ends with a power cut in the middle of some operation.
fn lives(seed: u64, fault_one_in: u64) {
    let mut random = Random::new(seed);
    let mut directory = tempfile::tempdir().expect("a temporary directory");
    let mut model = Model::default();
    for life in 0..4 {
        let context = format!("seed {seed}, life {life}, faults 1/{fault_one_in}");
        let disk = FaultyDisk::new(directory.path(), random.below(u64::MAX));
        disk.die_at(random.below(1500));
        disk.fail_one_in(fault_one_in);
        if fault_one_in > 0 && random.one_in(3) {
            // Somebody else fills it.
            disk.set_capacity(disk.used_bytes() + random.below(1 << 20));
        }
        let opened = Db::open_with(
            options(directory.path()),
            &Registry::new(),
            Arc::new(disk.clone()),
            SystemClock,
        );
        match opened {
            Ok(db) => {
                let steps = random.below(400);
                model.live(&db, directory.path(), &mut random, steps, &context);
            }
            Err(OpenError::Io { .. }) => {}
            Err(error) => panic!("{context}: {error}"),
        }
        let left = tempfile::tempdir().expect("a temporary directory");
        disk.lose_power(left.path());
        let untouched = tempfile::tempdir().expect("a temporary directory");
        support::copy(left.path(), untouched.path());
        let registry = Registry::new();
        let opened = Db::open(options(left.path()), &registry);
        let db = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
        model.check_all(&db, &context);
        drop(db);
        for _ in 0..2 {
            flip_a_bit(&model, untouched.path(), &mut random, &context);
        }
        directory = left;
    }
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    for seed in seeds("BAROGRAPH_STORM_SEEDS", 0..12) {
        lives(seed, 0);
    }
}

#[test]
fn nothing_acknowledged_is_lost_with_faults_and_the_power() {
    for seed in seeds("BAROGRAPH_STORM_SEEDS", 1000..1012) {
        lives(seed, 60);
    }
}

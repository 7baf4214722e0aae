//! Every reader of files, given files whose checksums fit and whose content does not: changes are
//! made behind the checksums, so that decoders meet them. Whatever they say, nothing panics, hangs
//! or asks for memory without limit, errors name the file, and what other files hold is answered.
//!
//! A round is determined by the seed and its number. `BAROGRAPH_FUZZ_SECONDS` goes on for so long
//! with each target rather than for a few rounds, `BAROGRAPH_FUZZ_SEED` makes other rounds,
//! `BAROGRAPH_FUZZ_ROUND` repeats one and leaves its files.

mod foreign;
mod index;
mod layout;
mod meter;
mod mutate;
mod seeds;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barograph_model::TimeRange;
use layout::{Layout, Unit};
use mutate::Random;
use seeds::{Files, NOW_MS, SPAN_MS, START_MS};
use world::{Answers, Promise};

/// Rounds of each target in every run of the tests.
const ROUNDS: u64 = 60;
/// Failures after which a target ends.
const FAILURES_LIMIT: usize = 40;

/// A kind of file, and a store that has some.
struct Target {
    name: &'static str,
    store: Files,
    changed: Vec<(PathBuf, Layout, Vec<Unit>)>,
    /// What other files hold, by the span of time.
    neighbours: Vec<(TimeRange, Answers)>,
    may_add: bool,
}

impl Target {
    /// Files of `store` that `is_one` takes apart.
    fn new(
        name: &'static str,
        store: Files,
        mut split: impl FnMut(&Path, &[u8]) -> Option<(Layout, Vec<Unit>)>,
    ) -> Self {
        let mut changed = Vec::new();
        for (path, bytes) in &store {
            if let Some((layout, units)) = split(path, bytes) {
                assert!(!units.is_empty(), "{}", path.display());
                let built = layout.build(&units);
                // Taking apart and putting together understand the format.
                assert!(built.bytes == *bytes, "{name}: {}", path.display());
                changed.push((path.clone(), layout, units));
            }
        }
        assert!(!changed.is_empty(), "{name}: no such file");
        Self {
            name,
            store,
            changed,
            neighbours: Vec::new(),
            may_add: false,
        }
    }

    /// Expects of each of these spans what the unchanged store answers.
    fn with_neighbours(mut self, spans: &[(i64, i64)], may_add: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        world::put(directory.path(), &self.store);
        let db = seeds::open(directory.path(), NOW_MS).expect("opens");
        for (start_ms, end_ms) in spans {
            let range = TimeRange {
                start_ms: *start_ms,
                end_ms: end_ms - 1,
            };
            let answers = world::answers(&db, range).expect("reads");
            assert!(answers.len() > 3, "{}: an empty span", self.name);
            self.neighbours.push((range, answers));
        }
        self.may_add = may_add;
        self
    }

    fn run(&self) {
        let number = |name| {
            std::env::var(name)
                .ok()
                .map(|text| text.parse::<u64>().expect("a number"))
        };
        let seed = number("BAROGRAPH_FUZZ_SEED").unwrap_or(1);
        let only = number("BAROGRAPH_FUZZ_ROUND");
        let seconds = number("BAROGRAPH_FUZZ_SECONDS").map(Duration::from_secs);
        let (began, mut failures, mut peak, mut last) = (Instant::now(), Vec::new(), 0, 0);
        let spent = meter::processor_time();
        for round in only.unwrap_or(0).. {
            let is_over = match seconds {
                Some(limit) => began.elapsed() > limit,
                None => round >= ROUNDS,
            };
            if only.map_or(is_over, |only| round > only) || failures.len() >= FAILURES_LIMIT {
                break;
            }
            let mut random = Random::new(seed, round);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                meter::measured(self.name, self.limit_bytes(), round, || {
                    self.round(&mut random, only.is_some());
                })
            }));
            if let Ok(held) = outcome {
                peak = held.max(peak);
            } else {
                eprintln!("fuzz: {}, seed {seed}, round {round} fails", self.name);
                failures.push(round);
            }
            last = round;
        }
        println!(
            "{}: seed {seed}, up to round {last} in {:.0?} ({:.0?} on a processor), at most {} KiB at once",
            self.name,
            began.elapsed(),
            meter::processor_time().saturating_sub(spent),
            peak >> 10
        );
        assert!(
            failures.is_empty(),
            "{}: BAROGRAPH_FUZZ_SEED={seed} BAROGRAPH_FUZZ_ROUND= one of {failures:?}",
            self.name
        );
    }

    /// Memory that a round may hold: what logs say of slots and positions takes up to their limits.
    fn limit_bytes(&self) -> i64 {
        let is_log = self
            .changed
            .iter()
            .any(|(_, layout, _)| matches!(layout, Layout::Log { .. }));
        if is_log { 6 << 30 } else { 1 << 30 }
    }

    fn round(&self, random: &mut Random, keep: bool) {
        let (path, layout, units) = &self.changed[random.below(self.changed.len())];
        let mut units = units.clone();
        let mut files = self.store.clone();
        let in_place = random.one_in(4);
        if !in_place {
            mutate::change(&mut units, random);
        }
        let mut built = layout.build(&units);
        if in_place || random.one_in(8) {
            mutate::change_in_place(&mut built, random);
        }
        resize(&mut files, path, built.bytes.len());
        files.insert(path.clone(), built.bytes);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let directory = if keep {
            directory.keep()
        } else {
            directory.path().to_owned()
        };
        if keep {
            println!("{} in {}", path.display(), directory.display());
        }
        world::put(&directory, &files);
        let changed = directory.join(path);
        let neighbour = self.neighbour(path, random);
        let promise = Promise {
            changed: &changed,
            neighbour,
            may_add: self.may_add,
        };
        world::live(&directory, &promise, random);
        if !keep {
            std::fs::remove_dir_all(&directory).ok();
        }
    }

    /// A span that is not that of the changed file, were it a block's.
    fn neighbour(&self, path: &Path, random: &mut Random) -> Option<(TimeRange, &Answers)> {
        let text = path.to_string_lossy();
        let is_its_own = |range: &TimeRange| text.contains(&format!("/{}-", range.start_ms));
        let others = self
            .neighbours
            .iter()
            .filter(|(range, _)| !is_its_own(range));
        let others: Vec<_> = others.collect();
        if others.is_empty() {
            return None;
        }
        let (range, answers) = others[random.below(others.len())];
        Some((*range, answers))
    }
}

/// A block says in `meta` how long its files are.
fn resize(files: &mut Files, path: &Path, length: usize) {
    let field = match path.file_name().and_then(|name| name.to_str()) {
        Some("data") => 80,
        Some("index") => 88,
        _ => return,
    };
    let Some(meta) = files.get_mut(&path.with_file_name("meta")) else {
        return;
    };
    meta[field..field + 8].copy_from_slice(&(length as u64).to_le_bytes());
    let body = meta.len() - 4;
    let sum = crc32c::crc32c(&meta[..body]);
    meta[body..].copy_from_slice(&sum.to_le_bytes());
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|have| have == extension)
}

/// The two oldest blocks.
const BLOCK_SPANS: [(i64, i64); 2] = [
    (START_MS, START_MS + SPAN_MS),
    (START_MS + SPAN_MS, START_MS + 2 * SPAN_MS),
];

#[test]
fn logs() {
    let split = |path: &Path, bytes: &[u8]| {
        let is_log = has_extension(path, "wal") && bytes.len() > 5000;
        is_log.then(|| layout::split_log(bytes))
    };
    // What restores a log would undo the changes.
    let bare = |mut store: Files| {
        store.retain(|path, _| !has_extension(path, "parity"));
        store
    };
    Target::new("log from its beginning", bare(seeds::log_only()), split).run();
    Target::new("log after a checkpoint", bare(seeds::whole()), split)
        .with_neighbours(&BLOCK_SPANS, true)
        .run();
}

#[test]
fn parities_of_logs() {
    let split = |path: &Path, bytes: &[u8]| {
        has_extension(path, "parity").then(|| layout::split_parity(bytes))
    };
    let mut store = seeds::whole();
    // Something to restore.
    let logs = store.iter_mut();
    for (_, log) in logs.filter(|(path, _)| has_extension(path, "wal")) {
        let at = log.len() / 2;
        log[at] ^= 0x20;
    }
    Target::new("parity of a log", store, split)
        .with_neighbours(&BLOCK_SPANS, true)
        .run();
}

#[test]
fn checkpoints() {
    let mut store = seeds::whole();
    // Only the newest, or a damaged one is passed over.
    let oldest = store.keys().find(|path| has_extension(path, "ckpt"));
    let oldest = oldest.expect("two checkpoints").clone();
    store.remove(&oldest);
    let split =
        |path: &Path, bytes: &[u8]| has_extension(path, "ckpt").then(|| layout::split_log(bytes));
    Target::new("checkpoint", store, split)
        .with_neighbours(&BLOCK_SPANS, true)
        .run();
}

#[test]
fn head_files() {
    let split =
        |path: &Path, bytes: &[u8]| has_extension(path, "head").then(|| layout::split_head(bytes));
    Target::new("head file", seeds::whole(), split)
        .with_neighbours(&BLOCK_SPANS, true)
        .run();
}

#[test]
fn block_indices() {
    let split = |path: &Path, bytes: &[u8]| path.ends_with("index").then(|| index::split(bytes));
    Target::new("block index", seeds::whole(), split)
        .with_neighbours(&BLOCK_SPANS, false)
        .run();
}

#[test]
fn block_data() {
    let store = seeds::whole();
    let indices = store.clone();
    let split = |path: &Path, bytes: &[u8]| {
        let index = &indices.get(&path.with_file_name("index"))?;
        path.ends_with("data")
            .then(|| index::split_data(bytes, index))
    };
    Target::new("block data", store, split)
        .with_neighbours(&BLOCK_SPANS, false)
        .run();
}

#[test]
fn block_metas() {
    let split =
        |path: &Path, bytes: &[u8]| path.ends_with("meta").then(|| layout::split_meta(bytes));
    Target::new("block meta", seeds::whole(), split).run();
}

#[test]
fn deletions() {
    let split = |path: &Path, bytes: &[u8]| {
        path.ends_with("deletions")
            .then(|| layout::split_deletions(bytes))
    };
    Target::new("deletions", seeds::whole(), split).run();
}

#[test]
fn blocks_of_prometheus() {
    let split = |path: &Path, bytes: &[u8]| {
        if path.ends_with("index") {
            return Some(foreign::split_index(bytes));
        }
        if path.ends_with("tombstones") && bytes.len() > 9 {
            return Some(foreign::split_tombstones(bytes));
        }
        let is_chunks = path.parent().is_some_and(|dir| dir.ends_with("chunks"));
        is_chunks.then(|| foreign::split_chunks(bytes))
    };
    Target::new("block of Prometheus", seeds::of_prometheus(), split).run();
    let split =
        |path: &Path, bytes: &[u8]| has_extension(path, "json").then(|| layout::split_plain(bytes));
    Target::new("meta.json of Prometheus", seeds::of_prometheus(), split).run();
}

#[test]
fn logs_of_prometheus() {
    let store = seeds::of_prometheus();
    let log = |path: &Path, _: &[u8]| {
        path.ends_with("wal/00000000")
            .then(|| foreign::log(seeds::FOREIGN_LOG_START_MS))
    };
    Target::new("log of Prometheus", store, log).run();
}

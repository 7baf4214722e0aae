//! Series that come and go, have timestamps of their own, miss samples or come one by one: whatever
//! a group's tracks make of it, reading gives what was appended.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Clock, Labels, TimeRange};
use barograph_tsdb::disk::SystemDisk;
use barograph_tsdb::{Batch, Column, Db, GroupId, Options, RejectReason, SeriesRef};
use proptest::prelude::*;
use support::cases;

const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_006_400_000;

#[derive(Clone, Debug)]
struct Time(Arc<AtomicI64>);

impl Clock for Time {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn open(path: &Path, now: &Arc<AtomicI64>) -> Db {
    let options = Options {
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::from_hours(1),
        block_span_ms: 40 * 60_000,
        retention_ms: 0,
        retire_series: 8,
        wal_segment_bytes: 1 << 18,
        ..Options::new(path)
    };
    let clock = Time(now.clone());
    Db::open_with(options, &Registry::new(), Arc::new(SystemDisk), clock).expect("opens")
}

fn labels(id: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("id", &format!("{id:06}"))])
}

struct World {
    directory: tempfile::TempDir,
    now: Arc<AtomicI64>,
    db: Db,
    group: GroupId,
    references: BTreeMap<usize, SeriesRef>,
    /// Who is there now.
    members: Vec<usize>,
    next_id: usize,
    model: BTreeMap<usize, BTreeMap<i64, f64>>,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Action {
    /// Rows in which parts of the members have instants of their own: so many parts, so many rows,
    /// so many in a hundred samples missing, one batch per sample or not.
    Rows {
        parts: usize,
        rows: usize,
        missing: u64,
        single: bool,
    },
    /// A part of the members is replaced: one in so many.
    Replace(usize),
    /// Nothing comes for some rows.
    Silence(i64),
    Maintain,
    Reopen {
        clean: bool,
    },
}

impl World {
    fn new(members: usize, seed: u64) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let now = Arc::new(AtomicI64::new(START_MS));
        let db = open(directory.path(), &now);
        let group = db.open_group();
        Self {
            directory,
            now,
            db,
            group,
            references: BTreeMap::new(),
            members: (0..members).collect(),
            next_id: members,
            model: BTreeMap::new(),
            seed: seed | 1,
        }
    }

    fn random(&mut self, end: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 8) % end
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Rows {
                parts,
                rows,
                missing,
                single,
            } => {
                for _ in 0..rows {
                    self.row(parts, missing, single);
                }
            }
            Action::Replace(one_in) => {
                for at in (0..self.members.len()).step_by(one_in) {
                    self.members[at] = self.next_id;
                    self.next_id += 1;
                }
            }
            Action::Silence(rows) => {
                self.now.fetch_add(rows * STEP_MS, Ordering::Relaxed);
            }
            Action::Maintain => self.db.maintain(),
            Action::Reopen { clean } => {
                if clean {
                    self.db.close().expect("closes");
                }
                // The old one is dropped before, or its lock is still held.
                let elsewhere = tempfile::tempdir().expect("a temporary directory");
                self.db = open(elsewhere.path(), &self.now);
                self.db = open(self.directory.path(), &self.now);
                self.group = self.db.open_group();
                self.references.clear();
            }
        }
    }

    fn row(&mut self, parts: usize, missing: u64, single: bool) {
        let now_ms = self.now.fetch_add(STEP_MS, Ordering::Relaxed) + STEP_MS;
        let mut samples = Vec::new();
        for part in 0..parts {
            let own_ms = if parts > 1 {
                self.random(STEP_MS as u64) as i64
            } else {
                0
            };
            for at in (part..self.members.len()).step_by(parts) {
                if self.random(100) >= missing {
                    let value = self.random(1000) as f64 / 10.0;
                    samples.push((self.members[at], now_ms - own_ms, value));
                }
            }
        }
        if single {
            for sample in samples {
                self.append(&[sample]);
            }
        } else {
            self.append(&samples);
        }
    }

    fn append(&mut self, samples: &[(usize, i64, f64)]) {
        let mut left = samples.to_vec();
        for _ in 0..2 {
            let mut batch = Batch::new(self.group);
            for (id, t, value) in &left {
                let (db, group) = (&self.db, self.group);
                let series = self.references.entry(*id);
                let series =
                    series.or_insert_with(|| db.register(group, &labels(*id)).expect("registers"));
                batch.push(*series, *t, *value);
            }
            let appended = self.db.append(&batch).expect("appends");
            let rejected: BTreeMap<usize, RejectReason> = appended
                .rejected
                .iter()
                .map(|r| (r.index, r.reason))
                .collect();
            let mut again = Vec::new();
            for (index, (id, t, value)) in left.into_iter().enumerate() {
                match rejected.get(&index) {
                    None => {
                        self.model.entry(id).or_default().insert(t, value);
                    }
                    Some(RejectReason::RetiredSeries) => {
                        self.references.remove(&id);
                        again.push((id, t, value));
                    }
                    Some(reason) => panic!("{id} at {t}: {}", reason.as_str()),
                }
            }
            left = again;
            if left.is_empty() {
                return;
            }
        }
        panic!("{left:?} were rejected as retired again and again");
    }

    fn check(&self, when: &str) {
        let selection = self
            .db
            .snapshot()
            .select(&[], TimeRange::ALL)
            .expect("selects");
        let found: Vec<Labels> = (0..selection.len())
            .map(|at| selection.labels(at).clone())
            .collect();
        let want: Vec<Labels> = self.model.keys().map(|id| labels(*id)).collect();
        assert_eq!(found, want);
        let mut column = Column::default();
        for (at, (id, samples)) in self.model.iter().enumerate() {
            selection
                .read(at, TimeRange::ALL, &mut column)
                .expect("reads");
            let values = column.values.iter().copied();
            let got: Vec<_> = column.timestamps_ms.iter().copied().zip(values).collect();
            let want: Vec<_> = samples.iter().map(|(t, v)| (*t, *v)).collect();
            assert_eq!(got, want, "{when}: series {id}");
        }
    }

    /// Does all of it, is killed, and has everything each time.
    fn goes_through(mut self, actions: &[Action]) {
        for action in actions {
            self.act(action);
        }
        self.check("before");
        self.act(&Action::Reopen { clean: false });
        self.check("opened again");
    }
}

fn action() -> impl Strategy<Value = Action> {
    let rows = (
        prop_oneof![3 => Just(1usize), 2 => 2usize..5],
        1usize..40,
        prop_oneof![2 => Just(0u64), 1 => Just(20)],
        prop_oneof![5 => Just(false), 1 => Just(true)],
    );
    let rows = rows.prop_map(|(parts, rows, missing, single)| Action::Rows {
        parts,
        rows: if single { rows / 8 + 1 } else { rows },
        missing,
        single,
    });
    prop_oneof![
        6 => rows,
        3 => (1usize..4).prop_map(Action::Replace),
        1 => prop_oneof![2 => 1i64..20, 1 => Just(70)].prop_map(Action::Silence),
        3 => Just(Action::Maintain),
        1 => any::<bool>().prop_map(|clean| Action::Reopen { clean }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(40), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn reading_gives_what_was_appended(
        members in 1usize..90,
        seed in any::<u64>(),
        actions in prop::collection::vec(action(), 1..25),
    ) {
        World::new(members, seed).goes_through(&actions);
    }
}

/// Two tracks become one after a silence, in the same row in which new series look for a track.
#[test]
fn new_series_do_not_move_to_a_track_that_others_leave() {
    let rows = |parts, rows, missing, single| Action::Rows {
        parts,
        rows,
        missing,
        single,
    };
    let actions = [
        rows(4, 26, 0, false),
        rows(4, 27, 0, false),
        rows(4, 12, 20, false),
        rows(4, 19, 0, false),
        rows(1, 3, 0, false),
        rows(3, 11, 0, false),
        rows(1, 2, 0, true),
        rows(4, 5, 0, true),
        rows(1, 2, 0, true),
        rows(1, 8, 20, false),
        rows(1, 23, 20, false),
        Action::Silence(3),
        Action::Replace(3),
        rows(3, 35, 0, false),
    ];
    World::new(33, 8_198_684_037_981_363_994).goes_through(&actions);
}

/// Series that are found silent may be on a track that closes before they leave it.
#[test]
fn series_leave_memory_after_their_track_closed() {
    let rows = |parts, rows| Action::Rows {
        parts,
        rows,
        missing: 0,
        single: false,
    };
    let actions = [
        rows(1, 12),
        Action::Replace(2),
        rows(1, 39),
        rows(1, 39),
        Action::Silence(70),
        rows(4, 2),
        Action::Maintain,
        Action::Replace(1),
        Action::Silence(70),
        rows(1, 8),
        Action::Maintain,
    ];
    let mut world = World::new(43, 0);
    for action in &actions {
        world.act(action);
    }
    world.check("before");
}

#[test]
fn silent_series_leave_memory_and_are_still_read() {
    let rows = |rows| Action::Rows {
        parts: 1,
        rows,
        missing: 0,
        single: false,
    };
    let mut world = World::new(40, 7);
    world.act(&rows(30));
    let before = world.db.snapshot();
    world.act(&Action::Replace(1));
    world.act(&rows(70));
    // Who looked before holds up their leaving.
    for _ in 0..3 {
        world.act(&Action::Maintain);
    }
    assert_eq!(world.db.stats(0).head.series, 80);
    world.check("at the end");
    let held = before.select(&[], TimeRange::ALL).expect("selects");
    let mut column = Column::default();
    held.read(0, TimeRange::ALL, &mut column).expect("reads");
    assert_eq!(column.values.len(), 30);
    drop((before, held));
    for _ in 0..2 {
        world.act(&Action::Maintain);
    }
    assert_eq!(world.db.stats(0).head.series, 40);
    world.check("at the end");
    // One comes back, and is one series.
    world.members[0] = 3;
    world.act(&rows(2));
    assert_eq!(world.model[&3].len(), 32);
    world.check("at the end");
    for clean in [false, true] {
        world.act(&Action::Reopen { clean });
        world.check("at the end");
    }
    assert!(world.db.stats(0).head.series <= 41);
}

/// A third of the series is replaced every ten minutes, for hours: memory is that of two
/// generations.
#[test]
fn churn_does_not_grow_what_is_in_memory() {
    let mut world = World::new(90, 11);
    for round in 0..24 {
        world.act(&Action::Replace(3));
        for _ in 0..4 {
            world.act(&Action::Rows {
                parts: 1,
                rows: 10,
                missing: 0,
                single: false,
            });
            world.act(&Action::Maintain);
        }
        let series = world.db.stats(0).head.series;
        assert!(series <= 90 + 4 * 30, "{series} in round {round}");
    }
    world.check("at the end");
}

//! Samples out of order: taken within a window, read in order, never lost, at a bounded cost.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, MatchOp, Matcher, STALE_NAN_BITS, TimeRange};
use barograph_tsdb::{Batch, Column, Db, GroupId, Options, RejectReason, SeriesRef};
use proptest::prelude::*;
use support::{cases, metric};

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn options(path: &Path) -> Options {
    Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        wal_segment_bytes: 1 << 20,
        block_access: support::block_access(),
        ..Options::new(path)
    }
}

fn open(path: &Path) -> Db {
    Db::open(options(path), &Registry::new()).expect("opens")
}

fn samples(db: &Db, name: &str) -> Vec<(i64, f64)> {
    let matchers = [Matcher::equal("__name__", name)];
    let snapshot = db.snapshot();
    let selection = snapshot.select(&matchers, TimeRange::ALL).expect("selects");
    let mut column = Column::default();
    if selection.is_empty() {
        return Vec::new();
    }
    selection
        .read(0, TimeRange::ALL, &mut column)
        .expect("reads");
    let times = column.timestamps_ms.iter().copied();
    times.zip(column.values).collect()
}

#[test]
fn the_window_decides_and_can_change() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    let group = db.open_group();
    let name = |name| Labels::from_pairs([("__name__", name)]);
    let series = db.register(group, &name("m")).expect("registers");
    let append = |samples: &[(i64, f64)]| {
        let mut batch = Batch::new(group);
        for (t, value) in samples {
            batch.push(series, *t, *value);
        }
        db.append(&batch).expect("appends")
    };
    let reasons = |samples: &[(i64, f64)]| -> Vec<RejectReason> {
        let rejected = append(samples).rejected;
        rejected.into_iter().map(|r| r.reason).collect()
    };
    let late = [
        (NOW_MS, 1.0),
        (NOW_MS - 24 * HOUR_MS, 2.0),
        (NOW_MS - 4000, 3.0),
    ];
    assert_eq!(reasons(&late), []);
    assert_eq!(
        reasons(&[(NOW_MS - 24 * HOUR_MS - 1, 4.0), (NOW_MS, 5.0)]),
        [RejectReason::TooOld, RejectReason::DuplicateTimestamp]
    );
    // Again: the same values are no error.
    assert_eq!(reasons(&late), []);
    let mut batch = Batch::new(group);
    batch.in_order_from_here();
    batch.push(series, NOW_MS - 1000, 9.0);
    let rejected = db.append(&batch).expect("appends").rejected;
    assert_eq!(rejected[0].reason, RejectReason::OutOfOrder);
    db.set_out_of_order_window(HOUR_MS);
    assert_eq!(
        reasons(&[(NOW_MS - HOUR_MS, 6.0), (NOW_MS - HOUR_MS - 1, 7.0)]),
        [RejectReason::TooOld]
    );
    db.set_out_of_order_window(0);
    assert_eq!(reasons(&[(NOW_MS - 1, 8.0)]), [RejectReason::OutOfOrder]);
    let want = [
        (NOW_MS - 24 * HOUR_MS, 2.0),
        (NOW_MS - HOUR_MS, 6.0),
        (NOW_MS - 4000, 3.0),
        (NOW_MS, 1.0),
    ];
    assert_eq!(samples(&db, "m"), want);
    drop(db);
    let db = open(directory.path());
    assert_eq!(samples(&db, "m"), want, "after a crash");
    db.close().expect("closes");
    drop(db);
    let db = open(directory.path());
    assert_eq!(samples(&db, "m"), want, "after closing");
}

/// A sample: series, instant, bits.
type Sample = (usize, i64, u64);

/// What happens between two appends.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Maintain,
    Compact,
    Crash,
    Close,
}

/// A store that is written in some order.
struct World {
    directory: tempfile::TempDir,
    spill: bool,
    db: Option<Db>,
    groups: Vec<GroupId>,
    references: HashMap<usize, SeriesRef>,
}

impl World {
    fn new(spill: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut world = Self {
            directory,
            spill,
            db: None,
            groups: Vec::new(),
            references: HashMap::new(),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.db = None;
        let hour = Duration::from_hours(1);
        let options = Options {
            out_of_order_spill_interval: if self.spill { Duration::ZERO } else { hour },
            block_span_ms: HOUR_MS,
            ..options(self.directory.path())
        };
        let db = Db::open(options, &Registry::new()).expect("opens");
        self.groups = (0..3).map(|_| db.open_group()).collect();
        self.references.clear();
        self.db = Some(db);
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("open")
    }

    /// Appends samples; returns those that were refused since another value is the newest.
    fn append(&mut self, samples: &[Sample]) -> Vec<Sample> {
        let (mut left, mut refused) = (samples.to_vec(), Vec::new());
        for _ in 0..4 {
            let mut retired = Vec::new();
            for group in 0..3 {
                let mut batch = Batch::new(self.groups[group]);
                let of_group: Vec<Sample> =
                    left.iter().copied().filter(|s| s.0 % 3 == group).collect();
                for (series, t, bits) in &of_group {
                    let (db, group) = (self.db.as_ref().expect("open"), self.groups[group]);
                    let labels = Labels::from_pairs([
                        ("__name__", "late".to_owned()),
                        ("id", series.to_string()),
                    ]);
                    let reference = *self
                        .references
                        .entry(*series)
                        .or_insert_with(|| db.register(group, &labels).expect("registers"));
                    batch.push(reference, *t, f64::from_bits(*bits));
                }
                let appended = self.db().append(&batch).expect("appends");
                for rejected in appended.rejected {
                    let sample = of_group[rejected.index];
                    match rejected.reason {
                        RejectReason::RetiredSeries => {
                            self.references.remove(&sample.0);
                            retired.push(sample);
                        }
                        RejectReason::DuplicateTimestamp => refused.push(sample),
                        reason => panic!("{sample:?}: {reason:?}"),
                    }
                }
            }
            left = retired;
            if left.is_empty() {
                return refused;
            }
        }
        panic!("series are retired again and again");
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            Event::Maintain => self.db().maintain(),
            Event::Compact => {
                self.db().compact();
            }
            Event::Crash => self.open(),
            Event::Close => {
                self.db().close().expect("closes");
                self.open();
            }
        }
    }

    fn everything(&self) -> BTreeMap<usize, Vec<(i64, u64)>> {
        let matchers = [Matcher::new("id", MatchOp::Regex, "[0-9]+").expect("valid")];
        let snapshot = self.db().snapshot();
        let selection = snapshot.select(&matchers, TimeRange::ALL).expect("selects");
        let mut all = BTreeMap::new();
        let mut column = Column::default();
        for index in 0..selection.len() {
            let id = selection.labels(index).get("id").parse().expect("a number");
            selection
                .read(index, TimeRange::ALL, &mut column)
                .expect("reads");
            let times = column.timestamps_ms.iter().copied();
            let samples = times.zip(column.values.iter().map(|v| v.to_bits()));
            let twice = all.insert(id, samples.collect());
            assert_eq!(twice, None, "a series comes once");
        }
        all
    }
}

/// What is read whatever the order: of several values of one instant the one that ranks highest.
fn reference(samples: &[Sample]) -> BTreeMap<usize, Vec<(i64, u64)>> {
    let rank = |bits: u64| {
        let value = f64::from_bits(bits);
        (bits != STALE_NAN_BITS, !value.is_nan(), value)
    };
    let mut all: BTreeMap<usize, BTreeMap<i64, u64>> = BTreeMap::new();
    for (series, t, bits) in samples {
        let have = all.entry(*series).or_default().entry(*t).or_insert(*bits);
        if rank(*bits).partial_cmp(&rank(*have)) == Some(std::cmp::Ordering::Greater) {
            *have = *bits;
        }
    }
    let lists = all
        .into_iter()
        .map(|(series, s)| (series, s.into_iter().collect()));
    lists.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(8), failure_persistence: None, ..ProptestConfig::default() })]

    /// The same samples in two orders, with blocks cut, buffers spilled, crashes and restarts in
    /// between, give the same answers.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        samples in prop::collection::vec(
            (
                0usize..7,
                0i64..400,
                prop_oneof![
                    4 => (0i32..1000).prop_map(|v| f64::from(v).to_bits()),
                    1 => Just(STALE_NAN_BITS),
                    1 => Just(f64::NAN.to_bits()),
                    1 => Just(0.1f64.to_bits()),
                ],
            ).prop_map(|(series, t, bits)| (series, NOW_MS + t * 60_000, bits)),
            1..300,
        ),
        orders in prop::collection::vec(
            (
                any::<u64>(),
                1usize..60,
                prop::collection::vec(
                    prop_oneof![
                        4 => Just(Event::Nothing),
                        2 => Just(Event::Maintain),
                        1 => Just(Event::Compact),
                        1 => Just(Event::Crash),
                        1 => Just(Event::Close),
                    ],
                    1..12,
                ),
                any::<bool>(),
            ),
            2,
        ),
    ) {
        let newest_ms = NOW_MS + 401 * 60_000;
        let last: Vec<Sample> = (0..7).map(|series| (series, newest_ms, 7)).collect();
        let mut all = samples.clone();
        all.extend(&last);
        let want = reference(&all);
        for (seed, size, events, spill) in orders {
            let mut order = samples.clone();
            // One of the orders there are.
            order.sort_by_key(|(series, t, bits)| {
                let mut x = seed ^ *bits ^ (*t as u64) << 20 ^ *series as u64;
                x = (x ^ x >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                if seed % 4 == 0 { *t as u64 } else { x ^ x >> 29 }
            });
            let mut world = World::new(spill);
            let mut events = events.into_iter().cycle();
            let mut refused = Vec::new();
            for part in order.chunks(size) {
                refused.extend(world.append(part));
                world.happen(events.next().unwrap_or(Event::Nothing));
            }
            // Once something newer is there, nothing is the newest any more.
            world.append(&last);
            prop_assert_eq!(world.append(&refused), vec![]);
            prop_assert_eq!(&world.everything(), &want, "seed {} spill {}", seed, spill);
            for event in [Event::Crash, Event::Maintain, Event::Compact, Event::Close, Event::Maintain] {
                world.happen(event);
                prop_assert_eq!(&world.everything(), &want, "after {:?}, seed {}", event, seed);
            }
        }
    }
}

#[test]
fn one_late_target_among_many_costs_little_and_loses_nothing() {
    const TARGETS: usize = 8;
    const SERIES: usize = 40;
    const ROWS: i64 = 480;
    const LATE_MS: i64 = 5 * HOUR_MS;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let db = Db::open(options(directory.path()), &registry).expect("opens");
    let groups: Vec<GroupId> = (0..TARGETS).map(|_| db.open_group()).collect();
    let labels = |target: usize, series: usize| {
        Labels::from_pairs([
            ("__name__", format!("m{series}")),
            ("target", target.to_string()),
        ])
    };
    let mut references = HashMap::new();
    let mut batch = Batch::new(groups[0]);
    for row in 0..ROWS {
        for (target, group) in groups.iter().enumerate() {
            let late_ms = if target == 3 { LATE_MS } else { 0 };
            for _ in 0..3 {
                batch.reset(*group);
                for series in 0..SERIES {
                    let reference = references.entry((target, series)).or_insert_with(|| {
                        db.register(*group, &labels(target, series))
                            .expect("registers")
                    });
                    batch.push(*reference, NOW_MS + row * 60_000 - late_ms, row as f64);
                }
                let appended = db.append(&batch).expect("appends");
                let retired =
                    |r: &barograph_tsdb::Rejected| r.reason == RejectReason::RetiredSeries;
                assert!(
                    appended.rejected.iter().all(retired),
                    "{:?}",
                    appended.rejected
                );
                if appended.rejected.is_empty() {
                    break;
                }
                references.retain(|(own, _), _| *own != target);
            }
        }
        if row % 40 == 0 {
            db.maintain();
        }
    }
    db.maintain();
    let bytes = db.stats(1).late.bytes;
    let late = metric(
        &registry,
        "prometheus_tsdb_head_out_of_order_samples_appended_total",
    );
    assert!(late > 0.0);
    assert!(
        bytes < 40 * late as u64 + (1 << 18),
        "{bytes} bytes for {late} samples"
    );
    let snapshot = db.snapshot();
    for target in 0..TARGETS {
        let matchers = [Matcher::equal("target", &target.to_string())];
        let selection = snapshot.select(&matchers, TimeRange::ALL).expect("selects");
        assert_eq!(selection.len(), SERIES);
        let mut column = Column::default();
        let mut shared: Option<std::sync::Arc<[i64]>> = None;
        for index in 0..SERIES {
            selection
                .read(index, TimeRange::ALL, &mut column)
                .expect("reads");
            let rows: Vec<f64> = (0..ROWS).map(|row| row as f64).collect();
            assert_eq!(column.values, rows, "target {target}");
            let first = shared.get_or_insert_with(|| column.timestamps_ms.clone());
            assert!(
                std::sync::Arc::ptr_eq(first, &column.timestamps_ms),
                "they share their times"
            );
        }
    }
}

#[test]
fn full_buffers_refuse_and_spilling_makes_room() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options {
        out_of_order_buffer_bytes: 1 << 20,
        ..options(directory.path())
    };
    let registry = Registry::new();
    let db = Db::open(options, &registry).expect("opens");
    let group = db.open_group();
    let series: Vec<SeriesRef> = (0..500)
        .map(|id| {
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("id", id.to_string())]);
            db.register(group, &labels).expect("registers")
        })
        .collect();
    let mut batch = Batch::new(group);
    let mut row = |t: i64, value: f64| {
        batch.clear();
        for one in &series {
            batch.push(*one, t, value);
        }
        db.append(&batch).expect("appends")
    };
    assert!(row(NOW_MS, 0.0).rejected.is_empty());
    let mut accepted = 0;
    // Values that do not compress.
    let value = |t: i64| {
        f64::from_bits(0x3ff0_0000_0000_0000 | (t as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12)
    };
    for t in 1..2000 {
        let appended = row(NOW_MS - t * 1000, value(t));
        accepted += appended.accepted;
        if let Some(rejected) = appended.rejected.first() {
            assert_eq!(rejected.reason, RejectReason::OutOfOrderFull);
            break;
        }
        assert!(t < 1999, "the limit is never reached");
    }
    let bytes = db.stats(1).late.bytes;
    assert!((1 << 20..3 << 19).contains(&bytes), "{bytes} bytes");
    assert!(metric(&registry, "barograph_tsdb_out_of_order_refused_total") > 0.0);
    db.maintain();
    assert_eq!(db.stats(1).late.samples, 0);
    assert!(metric(&registry, "barograph_tsdb_parts_written_total") >= 1.0);
    let appended = row(NOW_MS - 500, 1.0);
    assert!(appended.rejected.is_empty(), "there is room again");
    let snapshot = db.snapshot();
    let selection = snapshot.select(&[], TimeRange::ALL).expect("selects");
    let mut column = Column::default();
    let mut read = 0;
    for index in 0..selection.len() {
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        read += column.values.len();
    }
    assert_eq!(read, accepted + 2 * 500);
}

#[test]
fn spilling_what_left_memory_makes_room_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = Options {
        out_of_order_buffer_bytes: 1 << 20,
        retire_series: 1,
        ..options(directory.path())
    };
    let db = Db::open(options, &Registry::new()).expect("opens");
    let append = |name: &str, samples: &[(i64, f64)]| {
        let group = db.open_group();
        let labels = Labels::from_pairs([("__name__", name)]);
        let series = db.register(group, &labels).expect("registers");
        let mut batch = Batch::new(group);
        for (t, value) in samples {
            batch.push(series, *t, *value);
        }
        db.append(&batch).expect("appends")
    };
    append("silent", &[(NOW_MS, 1.0), (NOW_MS - 1000, 2.0)]);
    let later_ms = NOW_MS + HOUR_MS;
    append("other", &[(later_ms, 1.0)]);
    for _ in 0..3 {
        db.maintain();
    }
    assert_eq!(db.stats(1).late.samples, 1, "it is not spilled yet");
    assert_eq!(db.stats(1).head.series, 1, "its series left memory");
    let mut t = later_ms;
    while db.stats(1).late.bytes < 1 << 19 {
        let late: Vec<_> = (0..1000).map(|n| (t - 1 - n, n as f64)).collect();
        assert!(append("other", &late).rejected.is_empty());
        t -= 1000;
    }
    db.maintain();
    let late = db.stats(1).late;
    assert_eq!((late.samples, late.bytes), (0, 0));
    let appended = append("other", &[(t - 1, 1.0)]);
    assert!(appended.rejected.is_empty(), "there is room again");
}

#[test]
fn a_snapshot_does_not_see_what_comes_late() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    let group = db.open_group();
    let series = db
        .register(group, &Labels::from_pairs([("__name__", "m")]))
        .expect("registers");
    let append = |samples: &[(i64, f64)]| {
        let mut batch = Batch::new(group);
        for (t, value) in samples {
            batch.push(series, NOW_MS + t, *value);
        }
        assert!(db.append(&batch).expect("appends").rejected.is_empty());
    };
    append(&[(0, 1.0), (-50, 2.0)]);
    let snapshot = db.snapshot();
    let before = db.past_generation(TimeRange::ALL);
    let mut late: Vec<(i64, f64)> = (1..100).map(|t| (-t * 10, 3.0)).collect();
    late.push((-50, 9.0));
    append(&late);
    assert!(db.past_generation(TimeRange::ALL) > before);
    let read = || {
        let matchers = [Matcher::equal("__name__", "m")];
        let selection = snapshot.select(&matchers, TimeRange::ALL).expect("selects");
        let mut column = Column::default();
        selection
            .read(0, TimeRange::ALL, &mut column)
            .expect("reads");
        column.values
    };
    assert_eq!(read(), [2.0, 1.0]);
    db.maintain();
    assert_eq!(read(), [2.0, 1.0]);
    assert_eq!(samples(&db, "m").len(), 100);
}

#[test]
fn history_of_any_age_is_imported_and_can_be_imported_again() {
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(directory.path());
    let group = db.open_group();
    let labels =
        |id: i64| Labels::from_pairs([("__name__", "imported".to_owned()), ("id", id.to_string())]);
    let now = db.register(group, &labels(0)).expect("registers");
    let mut batch = Batch::new(group);
    batch.push(now, NOW_MS, 5.0);
    db.append(&batch).expect("appends");
    let import = |db: &Db| {
        let mut backfill = db.backfill();
        for id in 0..3 {
            let times = (0..2000).map(|row| NOW_MS - 2 * YEAR_MS + row * 8 * HOUR_MS);
            let samples = times.map(|t| (t + id, (t / HOUR_MS) as f64));
            // In no order, and some of it twice.
            let mut samples: Vec<_> = samples.collect();
            samples.reverse();
            backfill
                .push(&labels(id), samples.iter().copied())
                .expect("imports");
            backfill
                .push(&labels(id), samples.into_iter().take(7))
                .expect("imports");
        }
        backfill.finish().expect("imports")
    };
    let first = import(&db);
    assert_eq!(first.samples, 3 * 2007);
    assert!(first.blocks > 50, "{first:?}");
    let again = import(&db);
    assert_eq!(again.blocks, 0, "what is there is not written again");
    let check = |db: &Db| {
        let snapshot = db.snapshot();
        let selection = snapshot.select(&[], TimeRange::ALL).expect("selects");
        assert_eq!(selection.len(), 3);
        let mut column = Column::default();
        for index in 0..3 {
            selection
                .read(index, TimeRange::ALL, &mut column)
                .expect("reads");
            assert_eq!(column.values.len(), 2000 + usize::from(index == 0));
            assert!(column.timestamps_ms.is_sorted());
        }
    };
    check(&db);
    drop(db);
    let db = open(directory.path());
    check(&db);
    assert_eq!(import(&db).blocks, 0);
    db.maintain();
    db.compact();
    check(&db);
    db.close().expect("closes");
    assert!(db.backfill().push(&labels(0), [(1, 1.0)]).is_ok());
    let mut closed = db.backfill();
    closed.push(&labels(0), [(1, 1.0)]).expect("collects");
    assert!(closed.finish().is_err(), "the store is closed");
}

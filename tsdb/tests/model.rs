//! The store against a plain model: whatever is appended, sealed, checkpointed, cut into blocks,
//! crashed and reopened, reading gives what the model holds.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::{Labels, MatchOp, Matcher, STALE_NAN_BITS, TimeRange};
use barograph_tsdb::{Batch, Column, Db, GroupId, Options, RejectReason, SeriesRef};
use proptest::prelude::*;
use support::cases;

const MINUTE_MS: i64 = 60_000;
/// Of a block.
const SPAN_MS: i64 = 10 * MINUTE_MS;

fn options(path: &Path, spill: bool) -> Options {
    let hour = Duration::from_hours(1);
    Options {
        out_of_order_spill_interval: if spill { Duration::ZERO } else { hour },
        wal_segment_bytes: 1 << 16,
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::from_hours(1),
        block_span_ms: SPAN_MS,
        retention_ms: 0,
        block_access: support::block_access(),
        ..Options::new(path)
    }
}

fn open(path: &Path, spill: bool) -> Db {
    Db::open(options(path, spill), &Registry::new()).expect("the directory opens")
}

/// Of two values of one instant, the one that counts.
fn winner(a: u64, b: u64) -> u64 {
    let rank = |bits: u64| {
        let value = f64::from_bits(bits);
        let kind = if bits == STALE_NAN_BITS {
            0
        } else if value.is_nan() {
            1
        } else {
            2
        };
        (kind, if kind == 2 { value } else { 0.0 })
    };
    let (x, y) = (rank(a), rank(b));
    let order = x.0.cmp(&y.0).then(x.1.total_cmp(&y.1));
    if order.then(a.cmp(&b)).is_ge() { a } else { b }
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{}", series % 3)),
        ("id", series.to_string()),
        ("parity", ["even", "odd", ""][series % 3].to_owned()),
    ])
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    series: BTreeMap<usize, BTreeMap<i64, u64>>,
}

struct World {
    directory: tempfile::TempDir,
    db: Db,
    groups: Vec<GroupId>,
    references: BTreeMap<usize, SeriesRef>,
    model: Model,
    now_ms: i64,
    /// Whether maintenance writes late samples to blocks at once.
    spill: bool,
}

#[derive(Clone, Debug)]
enum Action {
    /// A row: group, step since the last, which series, values.
    Row(usize, i64, Vec<(usize, u64)>),
    /// Samples with timestamps of their own, some of them late or repeated.
    Scattered(usize, Vec<(usize, i64, u64)>),
    /// Many rows in a row, to seal pages.
    Burst(usize, u16, usize, usize),
    Maintain,
    Compact,
    Reopen {
        clean: bool,
    },
    CloseGroup(usize),
}

impl World {
    fn new(spill: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let db = open(directory.path(), spill);
        let groups = (0..3).map(|_| db.open_group()).collect();
        Self {
            directory,
            db,
            groups,
            references: BTreeMap::new(),
            model: Model::default(),
            now_ms: 1_700_000_000_000,
            spill,
        }
    }

    fn reference(&mut self, group: usize, series: usize) -> SeriesRef {
        let (db, group) = (&self.db, self.groups[group]);
        *self
            .references
            .entry(series)
            .or_insert_with(|| db.register(group, &labels(series)).expect("registers"))
    }

    fn append(&mut self, group: usize, samples: &[(usize, i64, u64)]) {
        let mut left = samples.to_vec();
        for _ in 0..3 {
            let mut batch = Batch::new(self.groups[group]);
            for (series, timestamp_ms, bits) in &left {
                let reference = self.reference(group, *series);
                batch.push(reference, *timestamp_ms, f64::from_bits(*bits));
            }
            let appended = self.db.append(&batch).expect("appends");
            let mut again = Vec::new();
            for (index, sample) in left.iter().enumerate() {
                let rejected = appended.rejected.iter().find(|r| r.index == index);
                match rejected.map(|r| r.reason) {
                    Some(RejectReason::RetiredSeries) => {
                        self.references.remove(&sample.0);
                        again.push(*sample);
                    }
                    reason => self.expect(*sample, reason),
                }
            }
            left = again;
            if left.is_empty() {
                return;
            }
        }
        panic!("samples of {left:?} were rejected as retired again and again");
    }

    /// Checks the verdict on a sample, and notes it.
    fn expect(
        &mut self,
        (series, timestamp_ms, bits): (usize, i64, u64),
        got: Option<RejectReason>,
    ) {
        let samples = self.model.series.entry(series).or_default();
        let newest = samples.last_key_value().map(|(t, b)| (*t, *b));
        match (newest, got) {
            (Some((t, b)), Some(RejectReason::DuplicateTimestamp)) => {
                assert!(timestamp_ms == t && bits != b);
            }
            // What was cut is late for everyone, also for a series that begins there. It was cut when
            // half a span had passed since.
            (Some((t, b)), None) if t == timestamp_ms && t >= self.now_ms - SPAN_MS / 2 => {
                assert_eq!(bits, b);
            }
            // Late or not.
            (_, None) => {
                let have = samples.entry(timestamp_ms).or_insert(bits);
                *have = winner(*have, bits);
            }
            other => panic!("series {series} at {timestamp_ms}: {other:?}"),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Row(group, step_ms, samples) => {
                self.now_ms += step_ms;
                let now_ms = self.now_ms;
                let row: Vec<_> = samples.into_iter().map(|(s, b)| (s, now_ms, b)).collect();
                self.append(group, &row);
            }
            Action::Scattered(group, samples) => {
                self.now_ms += 1000;
                let now_ms = self.now_ms;
                let samples: Vec<_> = samples
                    .into_iter()
                    .map(|(s, offset, b)| (s, now_ms + offset, b))
                    .collect();
                self.append(group, &samples);
                self.now_ms += 10_000;
            }
            Action::Burst(group, rows, from, count) => {
                for row in 0..rows {
                    self.now_ms += 5_000;
                    let now_ms = self.now_ms;
                    let value = |s: usize| match s % 4 {
                        0 => f64::from(row) * 3.0,
                        1 => 7.0,
                        2 => f64::from(row % 17) / 10.0,
                        _ => (f64::from(row) + 0.1).sqrt(),
                    };
                    let samples: Vec<_> = (from..from + count)
                        .filter(|s| (usize::from(row) + s) % 11 != 0)
                        .map(|s| (s, now_ms, value(s).to_bits()))
                        .collect();
                    self.append(group, &samples);
                }
            }
            Action::Maintain => self.db.maintain(),
            Action::Compact => {
                self.db.compact();
            }
            Action::Reopen { clean } => {
                if clean {
                    self.db.close().expect("closes");
                }
                // A placeholder on another directory, so that the lock is free.
                let other = tempfile::tempdir().expect("a temporary directory");
                self.db = open(other.path(), false);
                self.db = open(self.directory.path(), self.spill);
                self.groups = (0..3).map(|_| self.db.open_group()).collect();
                self.references.clear();
            }
            Action::CloseGroup(group) => {
                self.db.close_group(self.groups[group]);
                self.groups[group] = self.db.open_group();
                self.references.clear();
            }
        }
    }

    fn check(&self) {
        let snapshot = self.db.snapshot();
        let everything = [Matcher::new("__name__", MatchOp::Regex, "metric_.*").expect("valid")];
        self.check_selection(&snapshot, &everything, TimeRange::ALL, |_| true);
        let half = TimeRange {
            start_ms: self.now_ms - 20 * MINUTE_MS,
            end_ms: self.now_ms - 3 * MINUTE_MS,
        };
        let some = [
            Matcher::equal("__name__", "metric_1"),
            Matcher::new("id", MatchOp::NotEqual, "4").expect("valid"),
        ];
        self.check_selection(&snapshot, &some, half, |s| s % 3 == 1 && s != 4);
        let without = [Matcher::equal("parity", "")];
        self.check_selection(&snapshot, &without, TimeRange::ALL, |s| s % 3 == 2);
        let odd = [Matcher::new("parity", MatchOp::NotRegex, "e.*|").expect("valid")];
        self.check_selection(&snapshot, &odd, TimeRange::ALL, |s| s % 3 == 1);
        let values = snapshot
            .label_values("id", &[], TimeRange::ALL)
            .expect("reads");
        let mut want: Vec<String> = self.filled(TimeRange::ALL).map(|s| s.to_string()).collect();
        want.sort();
        for value in want {
            assert!(values.contains(&value), "id {value} in {values:?}");
        }
    }

    fn filled(&self, range: TimeRange) -> impl Iterator<Item = usize> + '_ {
        let in_range = move |samples: &BTreeMap<i64, u64>| {
            samples
                .range(range.start_ms..=range.end_ms)
                .next()
                .is_some()
        };
        let series = self.model.series.iter();
        series.filter(move |(_, s)| in_range(s)).map(|(s, _)| *s)
    }

    fn check_selection(
        &self,
        snapshot: &barograph_tsdb::Snapshot,
        matchers: &[Matcher],
        range: TimeRange,
        fits: impl Fn(usize) -> bool,
    ) {
        let selection = snapshot.select(matchers, range).expect("selects");
        let mut got = BTreeMap::new();
        let mut column = Column::default();
        let mut before: Option<Labels> = None;
        for index in 0..selection.len() {
            let labels = selection.labels(index);
            assert!(before.as_ref() < Some(labels), "in label order, each once");
            before = Some(labels.clone());
            selection.read(index, range, &mut column).expect("reads");
            assert_eq!(column.values.len(), column.timestamps_ms.len());
            let samples: Vec<(i64, u64)> = column
                .timestamps_ms
                .iter()
                .copied()
                .zip(column.values.iter().map(|v| v.to_bits()))
                .collect();
            let id: usize = labels.get("id").parse().expect("a number");
            assert!(fits(id), "series {id} does not fit");
            if !samples.is_empty() {
                got.insert(id, samples);
            }
        }
        let want: BTreeMap<usize, Vec<(i64, u64)>> = self
            .filled(range)
            .filter(|s| fits(*s))
            .map(|s| {
                let samples = self.model.series[&s].range(range.start_ms..=range.end_ms);
                (s, samples.map(|(t, b)| (*t, *b)).collect())
            })
            .collect();
        for (series, samples) in &want {
            assert_eq!(got.get(series), Some(samples), "series {series}");
        }
        assert_eq!(got.len(), want.len());
    }
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0i32..100).prop_map(|v| f64::from(v).to_bits()),
        2 => (0i32..100_000).prop_map(|v| (f64::from(v) / 100.0).to_bits()),
        1 => any::<u64>(),
        1 => Just(STALE_NAN_BITS),
        1 => Just((-0.0f64).to_bits()),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let samples = || prop::collection::vec((0usize..12, value()), 0..12);
    prop_oneof![
        6 => (0usize..3, 1i64..30_000, samples()).prop_map(|(g, s, mut v)| {
            v.sort_by_key(|(series, _)| *series);
            v.dedup_by_key(|(series, _)| *series);
            Action::Row(g, s, v)
        }),
        3 => (0usize..3, prop::collection::vec((0usize..12, -900i64..900, value()), 0..12))
            .prop_map(|(g, v)| Action::Scattered(g, v.into_iter().map(|(s, o, b)| (s, o / 100 * 100, b)).collect())),
        2 => (0usize..3, prop::collection::vec((0usize..12, 0i64..900, value()), 0..20))
            .prop_map(|(g, v)| Action::Scattered(g, v.into_iter().map(|(s, o, b)| (s, -o * 5_000, b)).collect())),
        2 => (0usize..3, 1u16..150, 0usize..8, 1usize..5).prop_map(|(g, r, f, c)| Action::Burst(g, r, f, c)),
        2 => Just(Action::Maintain),
        2 => Just(Action::Compact),
        2 => any::<bool>().prop_map(|clean| Action::Reopen { clean }),
        1 => (0usize..3).prop_map(Action::CloseGroup),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), ..ProptestConfig::default() })]

    #[test]
    fn reading_gives_what_was_acknowledged(
        actions in prop::collection::vec(action(), 1..25),
        spill in any::<bool>(),
    ) {
        let mut world = World::new(spill);
        for action in actions {
            world.act(action);
        }
        world.check();
        world.act(Action::Reopen { clean: false });
        world.check();
        world.act(Action::Maintain);
        world.act(Action::Compact);
        world.check();
        world.act(Action::Reopen { clean: true });
        world.check();
    }
}

#[test]
fn two_samples_of_one_instant_begin_a_series() {
    let mut world = World::new(false);
    for action in [
        Action::Burst(0, 94, 0, 1),
        Action::Burst(0, 46, 0, 1),
        Action::Maintain,
        Action::Scattered(
            0,
            vec![(8, -455_000, 0), (8, -455_000, 4_607_182_418_800_017_408)],
        ),
    ] {
        world.act(action);
    }
    world.check();
}

//! Every kind of value against a plain model: floats of any bits, histograms of any layout, start
//! timestamps, in one series as well, through seals, checkpoints, blocks and crashes.

mod support;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barograph_instrument::{Format, Registry};
use barograph_model::histogram::Span;
use barograph_model::{
    CounterResetHint, Exemplar, FloatHistogram, Histogram, IntegerHistogram, Labels, Matcher,
    Metadata, MetricKind, STALE_NAN_BITS, TimeRange, stale_nan,
};
use barograph_tsdb::{
    Batch, Column, Db, GroupId, HistogramError, Options, RejectReason, SeriesRef,
};
use proptest::prelude::*;
use support::cases;

const MINUTE_MS: i64 = 60_000;
const SERIES: usize = 5;
/// Of instants at which samples meet.
const GRID_MS: i64 = 40_000;

fn open(path: &Path, spill: bool) -> Db {
    let hour = Duration::from_hours(1);
    let options = Options {
        wal_segment_bytes: 1 << 16,
        maintenance_interval: Duration::ZERO,
        checkpoint_interval: Duration::from_hours(1),
        block_span_ms: 10 * MINUTE_MS,
        retention_ms: 0,
        out_of_order_spill_interval: if spill { Duration::ZERO } else { hour },
        block_access: support::block_access(),
        ..Options::new(path)
    };
    Db::open(options, &Registry::new()).expect("the directory opens")
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "latency".to_owned()),
        ("id", series.to_string()),
    ])
}

/// A sample of any kind, comparable by its bits.
#[derive(Clone, Debug)]
enum Value {
    Float(u64),
    Histogram(Histogram),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        // The text of a float tells its sign and whether it is NaN; payloads do not matter in sums
        // and counts here, since the strategy makes none.
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Histogram(a), Self::Histogram(b)) => format!("{a:?}") == format!("{b:?}"),
            _ => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Stored {
    value: Value,
    start_ms: i64,
}

struct World {
    directory: tempfile::TempDir,
    db: Db,
    group: GroupId,
    references: BTreeMap<usize, SeriesRef>,
    model: BTreeMap<usize, BTreeMap<i64, Stored>>,
    /// Histograms that the store may read in place of the model's: those of as many observations.
    equals: BTreeMap<(usize, i64), Vec<Stored>>,
    now_ms: i64,
    /// Whether maintenance writes late samples to blocks at once.
    spill: bool,
}

#[derive(Clone, Debug)]
enum Action {
    /// A row: step since the last; series, offset from the row's time, value, start.
    Row(i64, Vec<(usize, i64, Value, i64)>),
    /// Samples at instants of a grid, in its steps from now.
    Meet(Vec<(usize, i64, Value, i64)>),
    /// Many rows of one series' growing histogram.
    Burst(usize, u16),
    Maintain,
    Compact,
    Reopen {
        clean: bool,
    },
}

impl World {
    fn new(spill: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let db = open(directory.path(), spill);
        let group = db.open_group();
        Self {
            directory,
            db,
            group,
            references: BTreeMap::new(),
            model: BTreeMap::new(),
            equals: BTreeMap::new(),
            now_ms: 1_700_000_000_000,
            spill,
        }
    }

    fn append(&mut self, samples: &[(usize, i64, Value, i64)]) {
        let mut left = samples.to_vec();
        for _ in 0..3 {
            let mut batch = Batch::new(self.group);
            for (series, timestamp_ms, value, start_ms) in &left {
                let reference = *self.references.entry(*series).or_insert_with(|| {
                    self.db
                        .register(self.group, &labels(*series))
                        .expect("registers")
                });
                match value {
                    Value::Float(bits) => {
                        batch.push(reference, *timestamp_ms, f64::from_bits(*bits));
                    }
                    Value::Histogram(histogram) => batch
                        .push_histogram(reference, *timestamp_ms, histogram)
                        .expect("valid"),
                }
                batch.set_start(*start_ms);
            }
            let appended = self.db.append(&batch).expect("appends");
            assert_eq!(appended.accepted + appended.rejected.len(), left.len());
            let mut again = Vec::new();
            for (index, sample) in left.iter().enumerate() {
                let rejected = appended.rejected.iter().find(|r| r.index == index);
                if rejected.is_some_and(|r| r.reason == RejectReason::RetiredSeries) {
                    self.references.remove(&sample.0);
                    again.push(sample.clone());
                } else {
                    self.expect(sample, rejected.map(|r| r.reason));
                }
            }
            left = again;
            if left.is_empty() {
                return;
            }
        }
        panic!("samples of {left:?} were rejected as retired again and again");
    }

    fn expect(
        &mut self,
        (series, timestamp_ms, value, start_ms): &(usize, i64, Value, i64),
        got: Option<RejectReason>,
    ) {
        let stored = Stored {
            value: value.clone(),
            start_ms: *start_ms,
        };
        let samples = self.model.entry(*series).or_default();
        let newest = samples.last_key_value().map(|(t, s)| (*t, s.clone()));
        match (newest, got) {
            (Some((t, old)), Some(RejectReason::DuplicateTimestamp)) => {
                assert!(*timestamp_ms == t && old != stored);
            }
            // Late or not; a start timestamp may come to a sample that is stored already.
            (_, None) => {
                let have = samples.entry(*timestamp_ms).or_insert(stored.clone());
                match rank(&stored).cmp(&rank(have)) {
                    Ordering::Less => {}
                    Ordering::Greater => {
                        self.equals.remove(&(*series, *timestamp_ms));
                        *have = stored;
                    }
                    Ordering::Equal => {
                        let equals = self.equals.entry((*series, *timestamp_ms)).or_default();
                        equals.push(stored);
                    }
                }
            }
            other => panic!("series {series} at {timestamp_ms}: {other:?}"),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Row(step_ms, samples) => {
                self.now_ms += step_ms;
                let now_ms = self.now_ms;
                let samples: Vec<_> = samples
                    .into_iter()
                    .map(|(series, offset_ms, value, start)| {
                        (series, now_ms + offset_ms, value, start)
                    })
                    .collect();
                self.append(&samples);
            }
            Action::Meet(samples) => {
                let now = self.now_ms / GRID_MS;
                let samples = samples.into_iter();
                let samples = samples
                    .map(|(s, steps, value, start)| (s, (now + steps) * GRID_MS, value, start));
                self.append(&samples.collect::<Vec<_>>());
            }
            Action::Burst(series, rows) => {
                for row in 0..u64::from(rows) {
                    self.now_ms += 5_000;
                    let histogram = growing(row);
                    let sample = (series, self.now_ms, Value::Histogram(histogram), 17);
                    let other = ((series + 1) % SERIES, self.now_ms, Value::Float(row), 0);
                    self.append(&[sample, other]);
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
                let other = tempfile::tempdir().expect("a temporary directory");
                self.db = open(other.path(), false);
                self.db = open(self.directory.path(), self.spill);
                self.group = self.db.open_group();
                self.references.clear();
            }
        }
    }

    fn check(&self, range: TimeRange) {
        let matchers = [Matcher::equal("__name__", "latency")];
        let snapshot = self.db.snapshot();
        let selection = snapshot.select(&matchers, range).expect("selects");
        let mut column = Column::default();
        let mut got: BTreeMap<usize, BTreeMap<i64, Stored>> = BTreeMap::new();
        for index in 0..selection.len() {
            let id: usize = selection
                .labels(index)
                .get("id")
                .parse()
                .expect("a series, no component");
            selection.read(index, range, &mut column).expect("reads");
            let exact = selection.read_histograms(index, range).expect("reads");
            let histograms = &column.histograms;
            assert_eq!(histograms.timestamps_ms.len(), histograms.values.len());
            assert_eq!(exact.len(), histograms.values.len());
            let samples = got.entry(id).or_default();
            let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
            for (at, (t, exact)) in exact.into_iter().enumerate() {
                assert_eq!(histograms.timestamps_ms[at], t);
                let float = format!("{:?}", exact.to_float());
                assert_eq!(format!("{:?}", histograms.values[at]), float);
                let value = Value::Histogram(exact);
                let start_ms = start(&histograms.starts_ms, at);
                samples.insert(t, Stored { value, start_ms });
            }
            assert_eq!(column.timestamps_ms.len(), column.values.len());
            for (at, (t, value)) in column.timestamps_ms.iter().zip(&column.values).enumerate() {
                let value = Value::Float(value.to_bits());
                let start_ms = start(&column.starts_ms, at);
                let twice = samples.insert(*t, Stored { value, start_ms });
                assert_eq!(twice, None, "a timestamp in both");
            }
        }
        got.retain(|_, samples| !samples.is_empty());
        let inside = |samples: &BTreeMap<i64, Stored>| -> BTreeMap<i64, Stored> {
            let inside = samples.range(range.start_ms..=range.end_ms);
            inside.map(|(t, s)| (*t, s.clone())).collect()
        };
        let mut want: BTreeMap<usize, _> =
            self.model.iter().map(|(id, s)| (*id, inside(s))).collect();
        want.retain(|_, samples| !samples.is_empty());
        for (id, samples) in &want {
            for (t, stored) in samples {
                let have = got.get(id).and_then(|s| s.get(t));
                let mut equals = self.equals.get(&(*id, *t)).into_iter().flatten();
                if !equals.any(|equal| have == Some(equal)) {
                    assert_eq!(have, Some(stored), "series {id} at {t}");
                }
            }
            assert_eq!(got.get(id).map(BTreeMap::len), Some(samples.len()));
        }
        assert_eq!(got.len(), want.len());
    }
}

/// Bits of a float so that greater ones are of greater floats.
fn ascending(bits: u64) -> u64 {
    if bits >> 63 != 0 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// Bits of an integer as the store orders them.
fn integer(value: u64) -> u64 {
    if value <= 1 << 53 {
        (value as f64).to_bits()
    } else {
        value
    }
}

/// Of several samples of one instant the one with the greatest of these counts. Histograms of as
/// many observations go by what the store makes of their layouts, which is not repeated here.
fn rank(stored: &Stored) -> (u8, u64, Option<u64>) {
    let start = (stored.start_ms != 0).then(|| ascending(integer(stored.start_ms as u64)));
    match &stored.value {
        Value::Float(bits) if *bits == STALE_NAN_BITS => (0, 0, start),
        // Those that look like the store's own are among each other the other way round.
        Value::Float(bits) if bits >> 50 == 0xfff4 >> 2 => (1, bits ^ ((1 << 50) - 1), start),
        Value::Float(bits) if f64::from_bits(*bits).is_nan() => (1, *bits, start),
        Value::Float(bits) => (3, ascending(*bits), start),
        Value::Histogram(histogram) => {
            let count = match histogram {
                Histogram::Integer(h) => integer(h.count),
                Histogram::Float(h) => h.count.to_bits(),
            };
            (2, ascending(count), None)
        }
    }
}

/// A histogram that grows with its number, whose layout changes from time to time.
fn growing(row: u64) -> Histogram {
    let buckets = 3 + (row / 40) as u32;
    let counts: Vec<u64> = (0..u64::from(buckets)).map(|b| row * (b + 1)).collect();
    Histogram::Integer(IntegerHistogram {
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: row,
        count: counts.iter().sum::<u64>() + row,
        sum: row as f64 * 0.37,
        positive_spans: vec![Span {
            offset: -1,
            length: buckets,
        }],
        positive_buckets: counts,
        ..IntegerHistogram::default()
    })
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec((0i32..5, 0u32..4), 0..4).prop_map(|spans| {
        let spans = spans.into_iter();
        spans
            .map(|(offset, length)| Span { offset, length })
            .collect()
    })
}

fn hint() -> impl Strategy<Value = CounterResetHint> {
    prop_oneof![
        Just(CounterResetHint::Unknown),
        Just(CounterResetHint::CounterReset),
        Just(CounterResetHint::NotCounterReset),
        Just(CounterResetHint::Gauge),
    ]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..1000, 1 => any::<u64>(), 1 => (1u64 << 53) - 2..(1 << 53) + 3]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0u32..1000).prop_map(f64::from),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
        1 => -1e300f64..1e300,
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let shape = (
        (hint(), -4i32..9, number(), spans(), spans()),
        prop::collection::vec(count(), 40),
        prop::collection::vec(number(), 40),
        any::<bool>(),
        any::<bool>(),
    );
    shape.prop_map(
        |((hint, schema, threshold, positive, negative), counts, numbers, float, custom)| {
            let length = |spans: &[Span]| spans.iter().map(|s| s.length as usize).sum::<usize>();
            let (p, n) = (length(&positive), length(&negative));
            let (schema, bounds): (i32, Arc<[f64]>) = if custom {
                (-53, numbers[30..34].into())
            } else {
                (schema, Arc::default())
            };
            if float {
                Histogram::Float(FloatHistogram {
                    counter_reset_hint: hint,
                    schema,
                    zero_threshold: threshold,
                    zero_count: numbers[0],
                    count: numbers[1],
                    sum: numbers[2],
                    positive_spans: positive,
                    positive_buckets: numbers[3..3 + p].to_vec(),
                    negative_spans: negative,
                    negative_buckets: numbers[15..15 + n].to_vec(),
                    custom_bounds: bounds,
                })
            } else {
                Histogram::Integer(IntegerHistogram {
                    counter_reset_hint: hint,
                    schema,
                    zero_threshold: threshold,
                    zero_count: counts[0],
                    count: counts[1],
                    sum: numbers[2],
                    positive_spans: positive,
                    positive_buckets: counts[3..3 + p].to_vec(),
                    negative_spans: negative,
                    negative_buckets: counts[15..15 + n].to_vec(),
                    custom_bounds: bounds,
                })
            }
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => (0u32..100).prop_map(|v| Value::Float(f64::from(v).to_bits())),
        1 => any::<u64>().prop_map(Value::Float),
        // Bits that the store uses for itself.
        1 => (0u64..1 << 50).prop_map(|id| Value::Float(0xfff4 << 48 | id)),
        1 => Just(Value::Float(0xfff4 << 48)),
        1 => Just(Value::Float(STALE_NAN_BITS)),
        1 => Just(Value::Float((-0.0f64).to_bits())),
        6 => histogram().prop_map(Value::Histogram),
    ]
}

fn start() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => Just(1_600_000_000_000), 1 => any::<i64>()]
}

fn action() -> impl Strategy<Value = Action> {
    let sample = || (0..SERIES, Just(0), value(), start());
    let scattered = || (0..SERIES, -3i64..3, value(), start());
    let late = || (0..SERIES, -1_000_000i64..0, value(), start());
    // On a grid, so that samples meet.
    let meeting = || (0..SERIES, -30i64..0, value(), start());
    prop_oneof![
        6 => (1i64..30_000, prop::collection::vec(sample(), 0..8)).prop_map(|(s, v)| Action::Row(s, v)),
        3 => (1i64..9_000, prop::collection::vec(scattered(), 0..8)).prop_map(|(s, v)| Action::Row(s, v)),
        2 => (1i64..9_000, prop::collection::vec(late(), 0..8)).prop_map(|(s, v)| Action::Row(s, v)),
        3 => prop::collection::vec(meeting(), 0..12).prop_map(Action::Meet),
        2 => (0..SERIES, 1u16..150).prop_map(|(s, r)| Action::Burst(s, r)),
        2 => Just(Action::Maintain),
        1 => Just(Action::Compact),
        2 => any::<bool>().prop_map(|clean| Action::Reopen { clean }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), ..ProptestConfig::default() })]

    #[test]
    fn every_kind_of_value_comes_back(
        actions in prop::collection::vec(action(), 1..20),
        spill in any::<bool>(),
    ) {
        let mut world = World::new(spill);
        for action in actions {
            world.act(action);
        }
        world.check(TimeRange::ALL);
        let start_ms = world.now_ms - 15 * MINUTE_MS;
        world.check(TimeRange { start_ms, end_ms: world.now_ms - 2 * MINUTE_MS });
        world.act(Action::Reopen { clean: false });
        world.check(TimeRange::ALL);
        world.act(Action::Maintain);
        world.act(Action::Compact);
        world.check(TimeRange::ALL);
        world.act(Action::Reopen { clean: true });
        world.check(TimeRange::ALL);
    }
}

#[test]
fn a_stale_histogram_is_a_staleness_marker() {
    let mut world = World::new(false);
    let stale = Histogram::Float(FloatHistogram {
        sum: stale_nan(),
        ..FloatHistogram::default()
    });
    world.append(&[(0, world.now_ms, Value::Histogram(growing(3)), 0)]);
    let series = world.references[&0];
    let mut batch = Batch::new(world.group);
    batch
        .push_histogram(series, world.now_ms + 1, &stale)
        .expect("valid");
    world.db.append(&batch).expect("appends");
    let snapshot = world.db.snapshot();
    let selection = snapshot.select(&[], TimeRange::ALL).expect("selects");
    let mut column = Column::default();
    selection
        .read(0, TimeRange::ALL, &mut column)
        .expect("reads");
    assert_eq!(column.histograms.len(), 1);
    assert_eq!(column.values.len(), 1);
    assert_eq!(column.values[0].to_bits(), STALE_NAN_BITS);
}

#[test]
fn a_histogram_that_contradicts_itself_is_not_added() {
    let world = World::new(false);
    let series = world
        .db
        .register(world.group, &labels(0))
        .expect("registers");
    let mut batch = Batch::new(world.group);
    let lying = Histogram::Integer(IntegerHistogram {
        positive_buckets: vec![1],
        ..IntegerHistogram::default()
    });
    let error = batch.push_histogram(series, 1, &lying).expect_err("lies");
    assert!(matches!(error, HistogramError::SpansMismatch { .. }));
    assert!(batch.is_empty());
}

#[test]
fn exemplars_and_metadata_survive() {
    let mut world = World::new(false);
    let exemplar = |trace: &str, timestamp_ms| Exemplar {
        labels: Labels::from_pairs([("trace_id", trace)]),
        value: 0.25,
        timestamp_ms,
    };
    let series: Vec<_> = (0..3)
        .map(|id| {
            world
                .db
                .register(world.group, &labels(id))
                .expect("registers")
        })
        .collect();
    let mut batch = Batch::new(world.group);
    batch.push(series[0], world.now_ms, 1.0);
    batch.push_exemplar(series[0], exemplar("a", 1000));
    let appended = world.db.append(&batch).expect("appends");
    assert_eq!(appended.exemplars.stored, 1);
    batch.clear();
    // A series without samples, and one that repeats itself.
    batch.push_exemplar(series[1], exemplar("b", 2000));
    batch.push_exemplar(series[0], exemplar("a", 1000));
    let appended = world.db.append(&batch).expect("appends");
    assert_eq!(appended.exemplars.stored, 1);
    assert_eq!(appended.exemplars.duplicates, 1);
    let metadata = Metadata {
        kind: MetricKind::Histogram,
        unit: "seconds".to_owned(),
        help: "How long it takes.".to_owned(),
    };
    assert!(world.db.set_metadata("latency", &metadata).expect("sets"));
    let check = |world: &World| {
        let sets = [
            vec![Matcher::equal("id", "0")],
            vec![Matcher::equal("id", "1")],
        ];
        let found = world.db.snapshot().exemplars(&sets, TimeRange::ALL);
        let got: Vec<_> = found
            .iter()
            .map(|s| (s.labels.get("id").to_owned(), s.exemplars.clone()))
            .collect();
        assert_eq!(
            got,
            [
                ("0".to_owned(), vec![exemplar("a", 1000)]),
                ("1".to_owned(), vec![exemplar("b", 2000)])
            ]
        );
        let known = world.db.metadata();
        assert_eq!(known, [("latency".to_owned(), metadata.clone())]);
    };
    check(&world);
    world.act(Action::Reopen { clean: false });
    check(&world);
    world.act(Action::Maintain);
    world.act(Action::Reopen { clean: true });
    check(&world);
}

#[test]
fn metrics_count_histograms_apart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::new();
    let db = Db::open(Options::new(directory.path()), &registry).expect("opens");
    let group = db.open_group();
    let series = db.register(group, &labels(0)).expect("registers");
    let mut batch = Batch::new(group);
    batch.push(series, 1000, 1.0);
    batch
        .push_histogram(series, 2000, &growing(3))
        .expect("valid");
    batch
        .push_histogram(series, 2000, &growing(4))
        .expect("valid");
    let appended = db.append(&batch).expect("appends");
    assert_eq!((appended.accepted, appended.rejected.len()), (2, 1));
    let mut page = String::new();
    registry.encode(Format::Text004, &mut page);
    for line in [
        "prometheus_tsdb_head_samples_appended_total{type=\"float\"} 1\n",
        "prometheus_tsdb_head_samples_appended_total{type=\"histogram\"} 1\n",
        "barograph_tsdb_layouts 1\n",
        "barograph_tsdb_head_component_columns 6\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
}

/// Everything that is read of the series, with every bit.
fn reading(db: &Db) -> String {
    use std::fmt::Write;

    let matchers = [Matcher::equal("__name__", "latency")];
    let snapshot = db.snapshot();
    let selection = snapshot.select(&matchers, TimeRange::ALL).expect("selects");
    let (mut text, mut column) = (String::new(), Column::default());
    for index in 0..selection.len() {
        selection
            .read(index, TimeRange::ALL, &mut column)
            .expect("reads");
        let exact = selection.read_histograms(index, TimeRange::ALL);
        let bits: Vec<u64> = column.values.iter().map(|v| v.to_bits()).collect();
        writeln!(
            text,
            "{:?} {:?} {bits:x?} {:?} {:?} {:?}",
            selection.labels(index),
            column.timestamps_ms,
            column.starts_ms,
            exact.expect("reads"),
            column.histograms.starts_ms,
        )
        .expect("writes");
    }
    text
}

/// Delivers late samples in an order, as many at once as `batches` says, and reads: as they are, and
/// after each of the ways in which they are kept.
fn delivered(samples: &[(usize, i64, Value, i64)], batches: &[usize], ways: &[u8]) -> String {
    let mut world = World::new(true);
    let newest: Vec<_> = (0..SERIES)
        .map(|series| (series, world.now_ms, Value::Float(0), 0))
        .collect();
    world.append(&newest);
    let now_ms = world.now_ms;
    let mut left: Vec<_> = samples.to_vec();
    let (mut batches, mut ways) = (batches.iter().cycle(), ways.iter().cycle());
    while !left.is_empty() {
        let some = batches.next().map_or(1, |count| *count).min(left.len());
        let mut some: Vec<_> = left.drain(..some).collect();
        for (_, t, ..) in &mut some {
            *t += now_ms;
        }
        world.append(&some);
        match ways.next() {
            Some(0) => world.act(Action::Maintain),
            Some(1) => world.act(Action::Compact),
            Some(2) => world.act(Action::Reopen { clean: true }),
            Some(3) => world.act(Action::Reopen { clean: false }),
            _ => {}
        }
    }
    let first = reading(&world.db);
    for action in [
        Action::Reopen { clean: false },
        Action::Reopen { clean: true },
        Action::Maintain,
        Action::Compact,
        Action::Reopen { clean: true },
    ] {
        let what = format!("{action:?}");
        world.act(action);
        assert_eq!(first, reading(&world.db), "after {what}");
    }
    first
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(40), ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        samples in prop::collection::vec((0..2usize, -4i64..0, value(), start()), 1..24),
        orders in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::collection::vec(1usize..5, 1..6), prop::collection::vec(0u8..9, 1..8)),
            2..4,
        ),
    ) {
        let mut samples: Vec<_> = samples
            .into_iter()
            .map(|(series, steps, value, start)| (series, steps * GRID_MS, value, start))
            .collect();
        let mut first = None;
        for (number, (turn, batches, ways)) in orders.iter().enumerate() {
            let turn = turn.index(samples.len());
            samples.rotate_left(turn);
            if number % 2 == 1 {
                samples.reverse();
            }
            let got = delivered(&samples, batches, ways);
            let first = first.get_or_insert_with(|| got.clone());
            prop_assert_eq!(&*first, &got);
        }
    }
}

//! Families: one metric per combination of label values.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use barograph_model::MetricKind;

use crate::encode::{Encoder, Line, push_escaped_label};
use crate::labels::{LabelSet, LabelValues, values_of};
use crate::{Counter, Gauge, Histogram};

/// Series a family has at most, unless [`Family::max_series`] says otherwise.
pub const DEFAULT_MAX_SERIES: usize = 10_000;

/// What a family is made of: [`Counter`], [`Gauge`] or [`Histogram`].
pub trait Metric: Clone + Send + Sync + 'static {
    /// What its TYPE line says.
    const KIND: MetricKind;
    #[doc(hidden)]
    fn write(&self, line: &mut Line<'_, '_>);
    #[doc(hidden)]
    fn into_cached(self) -> Cached;
    #[doc(hidden)]
    fn from_cached(cached: &Cached) -> Option<&Self>;
}

/// A metric of any kind.
#[doc(hidden)]
pub enum Cached {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A metric per label set. Cloning shares it.
///
/// A family has at most [`DEFAULT_MAX_SERIES`] series, or what [`max_series`](Self::max_series)
/// says. Label sets beyond that count together in one more series with the one label
/// `overflow="true"`, so that neither the sum over the family nor the process suffers; how often
/// that happened is exposed as `metrics_series_overflow_total`.
pub struct Family<L, M> {
    inner: Arc<Inner<M>>,
    labels: PhantomData<fn(L)>,
}

struct Inner<M> {
    /// Different for each family of the process.
    id: u64,
    /// What keys are hashed with, so that who chooses label values cannot choose collisions.
    secret: u64,
    make: Box<dyn Fn() -> M + Send + Sync>,
    names: &'static [&'static str],
    max_series: AtomicUsize,
    /// Rises when series are removed: what threads remember from before is void.
    generation: AtomicU64,
    series: RwLock<AllSeries<M>>,
    overflow: OnceLock<M>,
    overflows: AtomicU64,
}

struct AllSeries<M> {
    /// By the hash of the key, the first of the rows that have it.
    first: HashMap<u64, u32, BuildHasherDefault<HashOfHash>>,
    rows: Vec<Series<M>>,
    /// Indices into `rows` in order of label values; fewer than rows when it must be made anew.
    sorted: Vec<u32>,
}

struct Series<M> {
    key: Box<[u8]>,
    /// `method="GET",code="200"`: escaped once, copied at each scrape.
    block: Box<str>,
    metric: M,
    /// The next row of the same hash, or [`NO_ROW`].
    next: u32,
}

/// Stands for no row; a family has fewer rows.
const NO_ROW: u32 = u32::MAX;

impl<L, M> Clone for Family<L, M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            labels: PhantomData,
        }
    }
}

impl<L: LabelSet, M: Metric> Family<L, M> {
    pub(crate) fn new(make: impl Fn() -> M + Send + Sync + 'static) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        Self {
            inner: Arc::new(Inner {
                id: IDS.fetch_add(1, Ordering::Relaxed),
                make: Box::new(make),
                names: L::NAMES,
                max_series: AtomicUsize::new(DEFAULT_MAX_SERIES),
                generation: AtomicU64::new(0),
                secret: RandomState::new().hash_one(0u8) | 1,
                series: RwLock::new(AllSeries {
                    first: HashMap::default(),
                    rows: Vec::new(),
                    sorted: Vec::new(),
                }),
                overflow: OnceLock::new(),
                overflows: AtomicU64::new(0),
            }),
            labels: PhantomData,
        }
    }

    /// Sets how many series the family may have. Those it has already stay.
    #[must_use]
    pub fn max_series(self, count: usize) -> Self {
        self.inner.max_series.store(count, Ordering::Relaxed);
        self
    }

    /// The metric of these label values, made at the first call. Hold it where the values are
    /// known: updating a held metric needs no look-up.
    pub fn with<Q: LabelSet<Schema = L::Schema>>(&self, labels: &Q) -> M {
        self.update(labels, M::clone)
    }

    /// Updates the metric of these label values in place: [`with`](Self::with) without the cost
    /// of a handle.
    pub fn update<Q, T>(&self, labels: &Q, update: impl FnOnce(&M) -> T) -> T
    where
        Q: LabelSet<Schema = L::Schema>,
    {
        let mut update = Some(update);
        let mut run = |metric: &M| match update.take() {
            Some(update) => update(metric),
            None => unreachable!("BUG: a metric is found once"),
        };
        let cached = CACHE.try_with(|cache| {
            let mut cache = cache.try_borrow_mut().ok()?;
            Some(cache.find(&self.inner, labels, &mut run))
        });
        if let Ok(Some(result)) = cached {
            return result;
        }
        // The thread is ending, or `labels` or `update` look up a metric themselves.
        let mut key = Vec::new();
        labels.write(&mut LabelValues::new(&mut key));
        let hash = hash(self.inner.secret, &key);
        run(&self.inner.find_or_make(hash, &key).0)
    }

    /// Forgets the metric of these label values. Returns whether there was one. Handles to it
    /// still count, but are no longer exposed.
    pub fn remove<Q: LabelSet<Schema = L::Schema>>(&self, labels: &Q) -> bool {
        let mut key = Vec::new();
        labels.write(&mut LabelValues::new(&mut key));
        let mut series = self
            .inner
            .series
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let secret = self.inner.secret;
        let Some(row) = series.find(hash(secret, &key), &key) else {
            return false;
        };
        series.remove(row, |key| hash(secret, key));
        self.inner.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// Forgets all metrics of the family.
    pub fn clear(&self) {
        let mut series = self
            .inner
            .series
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        series.first.clear();
        series.rows.clear();
        series.sorted.clear();
        self.inner.generation.fetch_add(1, Ordering::Release);
    }

    /// How many series the family has.
    pub fn series_count(&self) -> usize {
        self.inner.read().rows.len()
    }

    /// How often label sets beyond the limit were counted in the overflow series.
    pub(crate) fn overflows(&self) -> u64 {
        self.inner.overflows.load(Ordering::Relaxed)
    }

    /// Writes every series in order of its label values.
    pub(crate) fn write(&self, name: &str, encoder: &mut Encoder<'_>) {
        let mut series = self.inner.read();
        if series.sorted.len() != series.rows.len() {
            drop(series);
            self.inner.sort();
            series = self.inner.read();
        }
        // A series that came since is in the next scrape.
        for row in series
            .sorted
            .iter()
            .filter_map(|index| series.rows.get(*index as usize))
        {
            row.metric.write(&mut Line::new(encoder, name, &row.block));
        }
        if let Some(metric) = self.inner.overflow.get() {
            metric.write(&mut Line::new(encoder, name, "overflow=\"true\""));
        }
    }
}

impl<M: Metric> Inner<M> {
    fn read(&self) -> RwLockReadGuard<'_, AllSeries<M>> {
        self.series.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metric of `key`, and whether a thread may remember it.
    fn find_or_make(&self, hash: u64, key: &[u8]) -> (M, bool) {
        let series = self.read();
        if let Some(row) = series.find(hash, key) {
            return (series.rows[row as usize].metric.clone(), true);
        }
        drop(series);
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = series.find(hash, key) {
            return (series.rows[row as usize].metric.clone(), true);
        }
        let limit = self.max_series.load(Ordering::Relaxed).min(NO_ROW as usize);
        if series.rows.len() >= limit && !self.names.is_empty() {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            return (self.overflow.get_or_init(|| (self.make)()).clone(), false);
        }
        let metric = (self.make)();
        let row = series.rows.len() as u32;
        let next = series.first.insert(hash, row).unwrap_or(NO_ROW);
        series.rows.push(Series {
            key: key.into(),
            block: self.block_of(key),
            metric: metric.clone(),
            next,
        });
        (metric, true)
    }

    fn block_of(&self, key: &[u8]) -> Box<str> {
        let mut block = String::new();
        for (name, value) in self.names.iter().zip(values_of(key)) {
            if !block.is_empty() {
                block.push(',');
            }
            block.push_str(name);
            block.push_str("=\"");
            push_escaped_label(&mut block, value);
            block.push('"');
        }
        block.into()
    }

    fn sort(&self) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<u32> = (0..series.rows.len() as u32).collect();
        let key = |row: u32| &series.rows[row as usize].key;
        sorted.sort_unstable_by(|a, b| values_of(key(*a)).cmp(values_of(key(*b))));
        series.sorted = sorted;
    }
}

impl<M> AllSeries<M> {
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let mut row = *self.first.get(&hash)?;
        while let Some(series) = self.rows.get(row as usize) {
            if *series.key == *key {
                return Some(row);
            }
            row = series.next;
        }
        None
    }

    /// Takes a row out; the last row gets its number.
    fn remove(&mut self, row: u32, hash_of: impl Fn(&[u8]) -> u64) {
        self.sorted.clear();
        let hash = |rows: &[Series<M>], row: u32| hash_of(&rows[row as usize].key);
        self.point(hash(&self.rows, row), row, self.rows[row as usize].next);
        let last = self.rows.len() as u32 - 1;
        if row != last {
            self.point(hash(&self.rows, last), last, row);
        }
        self.rows.swap_remove(row as usize);
    }

    /// Makes what points at `row`, of this hash, point at `to`.
    fn point(&mut self, hash: u64, row: u32, to: u32) {
        let Some(first) = self.first.get_mut(&hash) else {
            return;
        };
        if *first == row {
            *first = to;
            if to == NO_ROW {
                self.first.remove(&hash);
            }
            return;
        }
        let mut before = *first;
        while let Some(series) = self.rows.get_mut(before as usize) {
            if series.next == row {
                series.next = to;
                return;
            }
            before = series.next;
        }
    }
}

thread_local! {
    static CACHE: RefCell<Cache> = const { RefCell::new(Cache { key: Vec::new(), entries: Vec::new() }) };
}

/// Metrics a thread remembers, each in the one place its hash says.
const CACHE_ENTRIES: usize = 256;

/// The metrics this thread looked up last. It keeps removed metrics alive until their place is
/// taken or the thread ends.
struct Cache {
    key: Vec<u8>,
    entries: Vec<Option<Entry>>,
}

struct Entry {
    family: u64,
    generation: u64,
    key: Vec<u8>,
    metric: Cached,
}

impl Cache {
    fn find<M: Metric, T>(
        &mut self,
        family: &Inner<M>,
        labels: &impl LabelSet,
        run: &mut impl FnMut(&M) -> T,
    ) -> T {
        labels.write(&mut LabelValues::new(&mut self.key));
        if self.entries.is_empty() {
            self.entries.resize_with(CACHE_ENTRIES, || None);
        }
        let hash = hash(family.secret, &self.key);
        let place = hash as usize % CACHE_ENTRIES;
        let generation = family.generation.load(Ordering::Acquire);
        if let Some(entry) = &self.entries[place]
            && entry.family == family.id
            && entry.generation == generation
            && entry.key == self.key
            && let Some(metric) = M::from_cached(&entry.metric)
        {
            return run(metric);
        }
        let (metric, may_remember) = family.find_or_make(hash, &self.key);
        let result = run(&metric);
        if may_remember {
            let mut key = self.entries[place]
                .take()
                .map(|entry| entry.key)
                .unwrap_or_default();
            key.clear();
            key.extend_from_slice(&self.key);
            let metric = metric.into_cached();
            self.entries[place] = Some(Entry {
                family: family.id,
                generation,
                key,
                metric,
            });
        }
        result
    }
}

/// Hashes a key. Multiplies 64 by 64 bits and folds the product, as wyhash and its kin do.
#[inline]
fn hash(secret: u64, key: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut state = secret ^ (key.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), secret ^ FACTOR);
    }
    // The last word overlaps the one before, where there is one.
    let last = match key.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last),
        None => rest
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    fold(state ^ last, secret.rotate_left(32) ^ FACTOR)
}

/// Leaves as it is what is a hash already.
#[derive(Default)]
struct HashOfHash {
    hash: u64,
}

impl Hasher for HashOfHash {
    fn write(&mut self, bytes: &[u8]) {
        self.hash = hash(self.hash, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.hash = hash;
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;

    labels! { struct Two<'a> { one: &'a str, two: &'a str } }

    fn family() -> Family<Two<'static>, Counter> {
        Family::new(Counter::default)
    }

    fn page(family: &Family<Two<'static>, Counter>) -> String {
        let mut page = String::new();
        let mut encoder = Encoder::new(crate::Format::Text004, &mut page);
        family.write("m", &mut encoder);
        encoder.finish();
        page
    }

    #[test]
    fn values_with_the_same_letters_are_different_series() {
        let family = family();
        family
            .with(&Two {
                one: "ab",
                two: "c",
            })
            .inc();
        family
            .with(&Two {
                one: "a",
                two: "bc",
            })
            .inc_by(2);
        let want = "m{one=\"a\",two=\"bc\"} 2\nm{one=\"ab\",two=\"c\"} 1\n";
        assert_eq!(page(&family), want);
    }

    #[test]
    fn a_removed_series_starts_again_at_zero_also_where_it_was_remembered() {
        let family = family();
        let labels = Two { one: "1", two: "2" };
        family.with(&labels).inc_by(5);
        family
            .with(&Two {
                one: "other",
                two: "",
            })
            .inc();
        assert!(family.remove(&labels));
        assert!(!family.remove(&labels));
        assert_eq!(family.series_count(), 1);
        family.with(&labels).inc();
        assert!(page(&family).contains("m{one=\"1\",two=\"2\"} 1\n"));
        family.clear();
        assert_eq!(page(&family), "");
        family.update(&labels, Counter::inc);
        assert_eq!(page(&family), "m{one=\"1\",two=\"2\"} 1\n");
    }

    #[test]
    fn rows_of_one_hash_and_rows_that_move_are_found() {
        let family = family();
        let key = |text: &str| [text.as_bytes(), &[0xff, 0xff]].concat();
        // All under one hash: a collision that the secret makes too rare to wait for.
        let mut series = family.inner.series.write().expect("a lock");
        for row in 0..4u32 {
            let next = series.first.insert(7, row).unwrap_or(NO_ROW);
            let (key, metric) = (key(&row.to_string()).into(), Counter::default());
            series.rows.push(Series {
                key,
                block: "".into(),
                metric,
                next,
            });
        }
        for row in 0..4u32 {
            assert_eq!(series.find(7, &key(&row.to_string())), Some(row));
        }
        assert_eq!(series.find(7, &key("4")), None);
        assert_eq!(series.find(8, &key("0")), None);
        for gone in ["1", "3", "0", "2"] {
            let row = series.find(7, &key(gone)).expect("there until now");
            series.remove(row, |_| 7);
            assert_eq!(series.find(7, &key(gone)), None);
            for row in 0..series.rows.len() as u32 {
                let key = series.rows[row as usize].key.clone();
                assert_eq!(series.find(7, &key), Some(row), "after {gone}");
            }
        }
        assert!(series.rows.is_empty() && series.first.is_empty());
        drop(series);

        let family: Family<Two<'static>, Counter> = Family::new(Counter::default);
        let mut left: Vec<String> = (0..40).map(|index| index.to_string()).collect();
        for one in &left {
            family.with(&Two { one, two: "" }).inc();
        }
        while left.len() > 3 {
            let one = left.swap_remove(left.len() * 7 / 11);
            assert!(family.remove(&Two { one: &one, two: "" }));
            assert_eq!(family.series_count(), left.len());
            for one in &left {
                assert!(page(&family).contains(&format!("m{{one=\"{one}\",two=\"\"}} 1\n")));
                family.update(&Two { one, two: "" }, |metric| {
                    assert_eq!(metric.get(), 1.0);
                });
            }
        }
    }

    #[test]
    fn label_sets_beyond_the_limit_count_together() {
        let family = family().max_series(2);
        for index in 0..10 {
            family
                .with(&Two {
                    one: &index.to_string(),
                    two: "x",
                })
                .inc();
        }
        assert_eq!(family.series_count(), 2);
        assert_eq!(family.overflows(), 8);
        assert!(page(&family).ends_with("m{overflow=\"true\"} 8\n"));
        family.with(&Two { one: "0", two: "x" }).inc();
        assert!(page(&family).starts_with("m{one=\"0\",two=\"x\"} 2\n"));
    }

    #[test]
    fn an_update_may_look_up_another_metric() {
        let family = family();
        family.update(&Two { one: "a", two: "" }, |outer| {
            family.with(&Two { one: "b", two: "" }).inc_by(3);
            outer.inc();
        });
        assert_eq!(
            page(&family),
            "m{one=\"a\",two=\"\"} 1\nm{one=\"b\",two=\"\"} 3\n"
        );
    }

    #[test]
    fn threads_make_a_series_once() {
        let family = family();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for index in 0..1000 {
                        family
                            .with(&Two {
                                one: &(index % 50).to_string(),
                                two: "",
                            })
                            .inc();
                    }
                });
            }
        });
        assert_eq!(family.series_count(), 50);
        let total: f64 = page(&family)
            .lines()
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum();
        assert_eq!(total, 8000.0);
    }
}

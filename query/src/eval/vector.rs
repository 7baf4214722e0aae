//! Series with a slot per step.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use barograph_model::{Labels, METRIC_NAME, STALE_NAN_BITS};
use rapidhash::fast::RapidHasher;

use super::arena::is_histogram;
use super::distinct::Distinct;
use super::key::{Key, Selected};
use crate::error::QueryError;
use crate::memory::Held;

/// A map for keys that no stranger chooses to collide: queries are bounded.
pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<RapidHasher<'static>>>;
/// The set of the same kind.
pub(crate) type FastSet<K> = HashSet<K, BuildHasherDefault<RapidHasher<'static>>>;

/// What an empty slot holds: the staleness marker, which never is the value of a sample here.
/// Kernels look for it before they compute.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a slot is empty.
#[inline]
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// What is known of a series besides its values.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    name: Name,
    /// The name no longer fits and is dropped later.
    pub(crate) drop_name: bool,
}

/// What a series is called. Labels of stored series are made when someone looks at them.
#[derive(Clone)]
enum Name {
    Labels(Labels),
    /// A series of a selection; without what describes its metric where there is room for such labels.
    Stored(Arc<Selected>, usize, Option<OnceCell<Labels>>),
}

impl Meta {
    pub(crate) fn new(key: Key<'_>, drop_name: bool) -> Self {
        let name = match key {
            Key::Labels(labels) => Name::Labels(labels.clone()),
            Key::Selected(selected, index) => Name::Stored(selected.clone(), index, None),
            Key::Bare(selected, index, labels) => {
                Name::Stored(selected.clone(), index, Some(labels.clone()))
            }
        };
        Self { name, drop_name }
    }

    pub(crate) fn labels(&self) -> &Labels {
        self.key().labels()
    }

    /// The same for who need not look at them.
    pub(crate) fn key(&self) -> Key<'_> {
        match &self.name {
            Name::Labels(labels) => Key::Labels(labels),
            Name::Stored(selected, index, None) => Key::Selected(selected, *index),
            Name::Stored(selected, index, Some(labels)) => Key::Bare(selected, *index, labels),
        }
    }

    pub(crate) fn set_labels(&mut self, labels: Labels) {
        self.name = Name::Labels(labels);
    }

    /// Takes away what describes the metric; tells whether there was a type or a unit.
    fn drop_name(&mut self) -> bool {
        let more = self.key().has_type_or_unit();
        self.drop_name = false;
        match &mut self.name {
            Name::Labels(labels) => *labels = labels.without(describes_metric),
            Name::Stored(_, _, bare) => *bare = Some(bare.take().unwrap_or_default()),
        }
        more
    }

    /// Bytes of the labels, made or not, where nothing else holds them.
    fn size_bytes(&self) -> usize {
        /// The two counts of references before the text.
        const COUNTS_BYTES: usize = 16;
        COUNTS_BYTES
            + match &self.name {
                Name::Labels(labels) => labels.size_bytes(),
                Name::Stored(selected, ..) => selected.labels_bytes,
            }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels(labels) => labels.fmt(f),
            Self::Stored(selected, index, _) => selected.selection.labels(*index).fmt(f),
        }
    }
}

/// Series, each with one slot per step; the slots of a series are neighbours.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    steps: usize,
    metas: Vec<Meta>,
    values: Vec<f64>,
    memory: Held,
    /// Bytes of the labels.
    labels_bytes: usize,
}

impl Vector {
    pub(crate) fn new(steps: usize, memory: Held) -> Self {
        Self {
            steps,
            metas: Vec::new(),
            values: Vec::new(),
            memory,
            labels_bytes: 0,
        }
    }

    /// One without series, of the same query.
    fn another(&self) -> Self {
        Self::new(self.steps, self.memory.another())
    }

    /// Makes room for a series, and accounts for it where that takes memory.
    fn add(&mut self, meta: Meta) {
        let before = (self.metas.capacity(), self.values.capacity());
        self.values.reserve(self.steps);
        self.labels_bytes += meta.size_bytes();
        self.metas.push(meta);
        if before != (self.metas.capacity(), self.values.capacity()) {
            self.account();
        }
    }

    /// Tells the query's account what this holds: after labels have changed as well.
    pub(crate) fn account(&mut self) {
        self.memory.set(
            self.metas.capacity() * size_of::<Meta>()
                + self.values.capacity() * size_of::<f64>()
                + self.labels_bytes,
        );
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// How many series.
    pub(crate) fn len(&self) -> usize {
        self.metas.len()
    }

    /// How many slots it holds.
    pub(crate) fn held(&self) -> usize {
        self.values.len()
    }

    /// How many slots are not empty.
    pub(crate) fn present(&self) -> usize {
        let values = self.values.iter();
        values.filter(|value| !is_absent(**value)).count()
    }

    pub(crate) fn push(&mut self, labels: Labels, drop_name: bool, values: &[f64]) {
        let name = Name::Labels(labels);
        self.push_as(Meta { name, drop_name }, values);
    }

    pub(crate) fn push_as(&mut self, meta: Meta, values: &[f64]) {
        self.add(meta);
        self.values.extend_from_slice(values);
    }

    /// Adds a series whose slots `fill` writes; all are empty before.
    pub(crate) fn push_with(
        &mut self,
        labels: Labels,
        drop_name: bool,
        fill: impl FnOnce(&mut [f64]),
    ) {
        let name = Name::Labels(labels);
        self.fill_as(Meta { name, drop_name }, fill);
    }

    /// The same for a series that is called like another one.
    pub(crate) fn fill_as(&mut self, meta: Meta, fill: impl FnOnce(&mut [f64])) {
        self.add(meta);
        let from = self.values.len();
        self.values.resize(from + self.steps, ABSENT);
        fill(&mut self.values[from..]);
    }

    pub(crate) fn meta(&self, index: usize) -> &Meta {
        &self.metas[index]
    }

    pub(crate) fn meta_mut(&mut self, index: usize) -> &mut Meta {
        &mut self.metas[index]
    }

    pub(crate) fn values(&self, index: usize) -> &[f64] {
        &self.values[index * self.steps..(index + 1) * self.steps]
    }

    pub(crate) fn values_mut(&mut self, index: usize) -> &mut [f64] {
        &mut self.values[index * self.steps..(index + 1) * self.steps]
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Meta, &[f64])> {
        (0..self.len()).map(|index| (self.meta(index), self.values(index)))
    }

    /// The float at a step where exactly one series has one, NaN otherwise.
    pub(crate) fn only_at(&self, step: usize) -> f64 {
        let mut present = (0..self.len())
            .map(|index| self.values(index)[step])
            .filter(|value| !is_absent(*value) && !is_histogram(*value));
        match (present.next(), present.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    }

    /// Per step, whether any series has a value.
    pub(crate) fn any_present(&self) -> Vec<bool> {
        let mut any = vec![false; self.steps];
        for (_, values) in self.rows() {
            for (any, value) in any.iter_mut().zip(values) {
                *any |= !is_absent(*value);
            }
        }
        any
    }

    /// Puts the series into the order given by their indices now.
    pub(crate) fn reorder(&self, order: &[usize]) -> Self {
        let mut sorted = self.another();
        for index in order {
            sorted.push_as(self.meta(*index).clone(), self.values(*index));
        }
        sorted
    }

    /// Removes the names that are to be dropped, and type and unit with them. Returns whether there
    /// was a type or a unit: then series that differed in these alone are equal now.
    pub(crate) fn drop_names(&mut self) -> bool {
        let mut more = false;
        for meta in self.metas.iter_mut().filter(|meta| meta.drop_name) {
            more |= meta.drop_name();
        }
        self.recount_labels();
        more
    }

    /// Accounts for labels that were exchanged.
    pub(crate) fn recount_labels(&mut self) {
        self.labels_bytes = self.metas.iter().map(Meta::size_bytes).sum();
        self.account();
    }

    pub(crate) fn has_equal_labels(&self) -> bool {
        if let Some(distinct) = self.are_distinct() {
            return !distinct;
        }
        let mut seen = FastSet::default();
        self.metas
            .iter()
            .any(|meta| !seen.insert(meta.labels().as_encoded()))
    }

    /// Whether the labels differ, where that is told without making them: where all series are of one
    /// selection, without what describes their metric.
    fn are_distinct(&self) -> Option<bool> {
        let of = |meta: &Meta| match &meta.name {
            Name::Stored(selected, _, Some(_)) => Some(Arc::as_ptr(selected)),
            _ => None,
        };
        let first = of(self.metas.first()?)?;
        if !self.metas.iter().all(|meta| of(meta) == Some(first)) {
            return None;
        }
        let mut distinct = Distinct::new(self.memory.another());
        for meta in &self.metas {
            if let Name::Stored(selected, index, _) = &meta.name {
                distinct.note(Key::Selected(selected, *index));
            }
        }
        Some(distinct.all_differ())
    }

    /// Makes one series of those with equal labels.
    ///
    /// # Errors
    /// Two of them have a sample at the same step.
    pub(crate) fn merge_equal_labels(self) -> Result<Self, QueryError> {
        if self.len() < 2 || !self.has_equal_labels() {
            return Ok(self);
        }
        let mut merged = self.another();
        let mut places: FastMap<&str, usize> = FastMap::default();
        for (meta, values) in self.rows() {
            let Some(place) = places.get(meta.labels().as_encoded()) else {
                places.insert(meta.labels().as_encoded(), merged.len());
                merged.push_as(meta.clone(), values);
                continue;
            };
            for (slot, value) in merged.values_mut(*place).iter_mut().zip(values) {
                if !is_absent(*value) {
                    if !is_absent(*slot) {
                        return Err(same_labels());
                    }
                    *slot = *value;
                }
            }
        }
        Ok(merged)
    }

    /// Only the series that have a sample.
    pub(crate) fn without_empty(self) -> Self {
        let empty = |values: &[f64]| values.iter().all(|value| is_absent(*value));
        if !self.rows().any(|(_, values)| empty(values)) {
            return self;
        }
        let mut kept = self.another();
        for (meta, values) in self.rows().filter(|(_, values)| !empty(values)) {
            kept.push_as(meta.clone(), values);
        }
        kept
    }
}

/// Whether a label says what a metric is: its name, its type, its unit.
pub(crate) fn describes_metric(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Whether a series has a type or a unit as label.
pub(crate) fn has_type_or_unit(labels: &Labels) -> bool {
    labels.has("__type__") || labels.has("__unit__")
}

/// Two series of a result cannot be told apart.
pub(crate) fn same_labels() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

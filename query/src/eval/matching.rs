//! Which series belong together: groups of aggregations, partners of binary operations.

use barograph_model::{Labels, LabelsBuilder, METRIC_NAME};

use super::key::{Key, Selected};
use super::vector::{FastMap, Vector, describes_metric};
use crate::ast::Matching;
use crate::plan::Grouping;

/// The groups of an aggregation, found by the labels that define them.
pub(super) struct Groups<'a> {
    grouping: &'a Grouping,
    by_key: FastMap<String, usize>,
    /// The labels of each group.
    pub(super) labels: Vec<Labels>,
    key: String,
    ids: Ids,
}

impl<'a> Groups<'a> {
    pub(super) fn new(grouping: &'a Grouping) -> Self {
        Self {
            grouping,
            by_key: FastMap::default(),
            labels: Vec::new(),
            key: String::new(),
            ids: Ids::default(),
        }
    }

    /// The group of a series of a stream; `without_name` hides what describes its metric. Labels are
    /// looked at where a group is new.
    pub(super) fn place_key(&mut self, key: Key<'_>, without_name: bool) -> usize {
        let Some((selected, index, is_bare)) = key.stored() else {
            return self.place(key.labels(), without_name);
        };
        let without_name = without_name || is_bare;
        if !self.grouping.without && self.grouping.labels.is_empty() {
            if self.labels.is_empty() {
                return self.place(&Labels::empty(), without_name);
            }
            return 0;
        }
        let mut ids = std::mem::take(&mut self.ids);
        ids.keep(selected, index, without_name, |name| {
            self.keeps(name, without_name)
        });
        self.ids = ids;
        if let Some(group) = self.ids.find() {
            return group;
        }
        let group = self.place(key.labels(), without_name);
        self.ids.add(group);
        group
    }

    /// The group of a series; `without_name` hides what describes its metric.
    pub(super) fn place(&mut self, labels: &Labels, without_name: bool) -> usize {
        self.key.clear();
        for (name, value) in labels {
            if self.keeps(name, without_name) {
                push_pair(&mut self.key, name, value);
            }
        }
        if let Some(place) = self.by_key.get(&self.key) {
            return *place;
        }
        let place = self.labels.len();
        self.by_key.insert(self.key.clone(), place);
        self.labels
            .push(labels.without(|name| !self.keeps(name, without_name)));
        place
    }

    fn keeps(&self, name: &str, without_name: bool) -> bool {
        if (without_name && describes_metric(name))
            || (self.grouping.without && name == METRIC_NAME)
        {
            return false;
        }
        let listed = self
            .grouping
            .labels
            .binary_search_by(|have| have.as_str().cmp(name))
            .is_ok();
        listed != self.grouping.without
    }
}

/// Groups of the series of one selection, found by the numbers of the label pairs that define them.
/// It stands before the search by text: what is not found here is looked for there, once.
#[derive(Default)]
struct Ids {
    /// Which selection, by its address while it streams.
    selection: usize,
    /// Per number of a pair whether it is kept, where that is known: with names, and without.
    kept: [Vec<Option<bool>>; 2],
    /// The group of series with these pairs kept.
    groups: FastMap<Box<[u32]>, usize>,
    /// The kept pairs of the series at hand.
    own: Vec<u32>,
    /// Those of the series before, and its group.
    before: (Vec<u32>, usize),
}

impl Ids {
    /// Looks at a series: the pairs it keeps are its own from now on. `keeps` depends on the name of a
    /// label, and on `without_name`.
    fn keep(
        &mut self,
        selected: &Selected,
        index: usize,
        without_name: bool,
        keeps: impl Fn(&str) -> bool,
    ) {
        self.reset(selected);
        let known = &mut self.kept[usize::from(without_name)];
        self.own.clear();
        for pair in selected.selection.pairs(index) {
            let known = &mut known[*pair as usize];
            if *known.get_or_insert_with(|| keeps(selected.selection.pair(*pair).0)) {
                self.own.push(*pair);
            }
        }
    }

    fn reset(&mut self, selected: &Selected) {
        let selection = std::ptr::from_ref(selected).addr();
        if self.selection != selection {
            let count = selected.selection.pair_count();
            *self = Self {
                selection,
                kept: [vec![None; count], vec![None; count]],
                ..Self::default()
            };
        }
    }

    fn find(&mut self) -> Option<usize> {
        if self.own == self.before.0 && !self.groups.is_empty() {
            return Some(self.before.1);
        }
        let group = *self.groups.get(self.own.as_slice())?;
        self.note(group);
        Some(group)
    }

    fn add(&mut self, group: usize) {
        self.groups.insert(self.own.as_slice().into(), group);
        self.note(group);
    }

    fn note(&mut self, group: usize) {
        self.before.0.clone_from(&self.own);
        self.before.1 = group;
    }
}

/// Numbers for the values of the labels two vectors are matched on.
pub(super) struct Signatures<'a> {
    matching: &'a Matching,
    numbers: FastMap<String, usize>,
    key: String,
}

impl<'a> Signatures<'a> {
    pub(super) fn new(matching: &'a Matching) -> Self {
        Self {
            matching,
            numbers: FastMap::default(),
            key: String::new(),
        }
    }

    /// The number of each series of a vector; equal for those that match.
    pub(super) fn of(&mut self, vector: &Vector) -> Vec<usize> {
        let (mut ids, matching) = (Ids::default(), self.matching);
        (0..vector.len())
            .map(|index| {
                let key = vector.meta(index).key();
                let Some((selected, index, is_bare)) = key.stored() else {
                    let pairs = key.labels().iter();
                    return self.number(pairs.filter(|(name, _)| compares(matching, name)));
                };
                // Labels by their numbers; texts only where these are new.
                ids.keep(selected, index, is_bare, |name| {
                    compares(matching, name) && !(is_bare && describes_metric(name))
                });
                if let Some(number) = ids.find() {
                    return number;
                }
                let own = ids.own.iter();
                let number = self.number(own.map(|pair| selected.selection.pair(*pair)));
                ids.add(number);
                number
            })
            .collect()
    }

    /// The number of what is compared of a series.
    fn number<'t>(&mut self, pairs: impl Iterator<Item = (&'t str, &'t str)>) -> usize {
        self.key.clear();
        for (name, value) in pairs {
            push_pair(&mut self.key, name, value);
        }
        if let Some(number) = self.numbers.get(&self.key) {
            return *number;
        }
        let number = self.numbers.len();
        self.numbers.insert(self.key.clone(), number);
        number
    }

    /// How many numbers were given.
    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }
}

/// Whether two vectors are matched on a label.
fn compares(matching: &Matching, name: &str) -> bool {
    let listed = matching.labels.iter().any(|have| have == name);
    if matching.on {
        listed
    } else {
        !listed && name != METRIC_NAME
    }
}

/// The labels two series were matched on, as error messages show them.
pub(super) fn matched_labels(labels: &Labels, matching: &Matching) -> Labels {
    let mut builder = LabelsBuilder::new();
    for (name, value) in labels {
        let listed = matching.labels.iter().any(|have| have == name);
        if listed == matching.on && (matching.on || name != METRIC_NAME) {
            builder.set(name, value);
        }
    }
    builder.build()
}

/// Appends a pair with its lengths, so that no two lists of pairs give the same text.
fn push_pair(key: &mut String, name: &str, value: &str) {
    use std::fmt::Write as _;
    let _ = write!(key, "{}:{}:", name.len(), value.len());
    key.push_str(name);
    key.push_str(value);
}

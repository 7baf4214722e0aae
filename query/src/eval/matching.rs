//! Which series belong together: groups of aggregations, partners of binary operations.

use barograph_model::{Labels, LabelsBuilder, METRIC_NAME};

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
}

impl<'a> Groups<'a> {
    pub(super) fn new(grouping: &'a Grouping) -> Self {
        Self {
            grouping,
            by_key: FastMap::default(),
            labels: Vec::new(),
            key: String::new(),
        }
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

/// Numbers for the values of the labels two vectors are matched on.
pub(super) struct Signatures<'a> {
    matching: &'a Matching,
    numbers: FastMap<String, usize>,
}

impl<'a> Signatures<'a> {
    pub(super) fn new(matching: &'a Matching) -> Self {
        Self {
            matching,
            numbers: FastMap::default(),
        }
    }

    /// The number of each series of a vector; equal for those that match.
    pub(super) fn of(&mut self, vector: &Vector) -> Vec<usize> {
        let mut key = String::new();
        (0..vector.len())
            .map(|index| {
                key.clear();
                for (name, value) in &vector.meta(index).labels {
                    if self.compares(name) {
                        push_pair(&mut key, name, value);
                    }
                }
                if let Some(number) = self.numbers.get(&key) {
                    return *number;
                }
                let number = self.numbers.len();
                self.numbers.insert(key.clone(), number);
                number
            })
            .collect()
    }

    /// How many numbers were given.
    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }

    fn compares(&self, name: &str) -> bool {
        let listed = self.matching.labels.iter().any(|have| have == name);
        if self.matching.on {
            listed
        } else {
            !listed && name != METRIC_NAME
        }
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

//! Reading: an immutable view of the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use barograph_model::{Labels, Matcher, Sample, TimeRange};

use crate::error::{ReadError, SelectError};

/// An immutable view of the store. Cheap to clone, safe to hold for as long as a query runs.
#[derive(Clone)]
pub struct Snapshot {
    series: Arc<Vec<(Labels, Arc<Vec<Sample>>)>>,
}

/// The series of one selection, in order of their labels.
pub struct Selection {
    series: Vec<(Labels, Arc<Vec<Sample>>)>,
}

/// Samples of one series, oldest first. Reuse it between reads.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Milliseconds since the Unix epoch, ascending. Series of one group share this: two columns
    /// with the same `Arc` have the same window edges.
    pub timestamps_ms: Arc<[i64]>,
    /// A value per timestamp; staleness markers included.
    pub values: Vec<f64>,
}

impl Snapshot {
    pub(crate) fn new(series: Vec<(Labels, Arc<Vec<Sample>>)>) -> Self {
        Self {
            series: Arc::new(series),
        }
    }

    /// The series that fit every matcher and may have samples in `range`.
    ///
    /// # Errors
    /// A damaged index.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Selection, SelectError> {
        let fits = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name())));
        let inside = |samples: &[Sample]| samples.iter().any(|s| range.contains(s.timestamp_ms));
        let series = self
            .series
            .iter()
            .filter(|(l, s)| fits(l) && inside(s))
            .cloned()
            .collect();
        Ok(Selection { series })
    }

    /// Label names in use by the series that fit, sorted.
    ///
    /// # Errors
    /// A damaged index.
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, SelectError> {
        let selection = self.select(matchers, range)?;
        let names: BTreeSet<&str> = selection
            .series
            .iter()
            .flat_map(|(l, _)| l.iter().map(|(n, _)| n))
            .collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// Values of the label `name` among the series that fit, sorted.
    ///
    /// # Errors
    /// A damaged index.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, SelectError> {
        let selection = self.select(matchers, range)?;
        let values: BTreeSet<&str> = selection
            .series
            .iter()
            .map(|(l, _)| l.get(name))
            .filter(|v| !v.is_empty())
            .collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}

impl Selection {
    /// How many series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The labels of series `index`.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.series[index].0
    }

    /// Reads the samples of series `index` inside `range` into `column`, replacing what it holds.
    ///
    /// # Errors
    /// A damaged page.
    pub fn read(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
    ) -> Result<(), ReadError> {
        let samples = || {
            self.series[index]
                .1
                .iter()
                .filter(|s| range.contains(s.timestamp_ms))
        };
        column.timestamps_ms = samples().map(|s| s.timestamp_ms).collect();
        column.values.clear();
        column.values.extend(samples().map(|s| s.value));
        Ok(())
    }
}

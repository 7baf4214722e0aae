//! Rows of an evaluation into the store.

use std::collections::HashMap;
use std::sync::Arc;

use barograph_model::sample::stale_nan;
use barograph_model::{FloatHistogram, Histogram, Labels};
use barograph_tsdb::{Batch, Db, GroupId, RejectReason, SeriesRef};

/// Why rows were not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("cannot store {series}: {reason}")]
    Sample {
        series: String,
        reason: &'static str,
    },
    #[error("{0}")]
    Refused(String),
}

/// What a row holds.
#[derive(Clone, Debug)]
pub(crate) enum RowValue {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// Stores one evaluation's rows as one batch, with staleness markers for what is gone.
pub(crate) struct Writer<'a> {
    db: &'a Db,
    group: GroupId,
    stamp_ms: i64,
    /// The last thing that went wrong.
    pub error: Option<WriteError>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(db: &'a Db, group: GroupId, stamp_ms: i64) -> Self {
        Self {
            db,
            group,
            stamp_ms,
            error: None,
        }
    }

    /// Writes `rows`, and a staleness marker for each series of `before` that is not among them.
    /// Returns the series that are there now.
    pub(crate) fn write(
        &mut self,
        rows: Vec<(Labels, RowValue)>,
        mut before: HashMap<Labels, SeriesRef>,
    ) -> HashMap<Labels, SeriesRef> {
        let mut after = HashMap::with_capacity(rows.len());
        let mut batch = Batch::new(self.group);
        batch.in_order_from_here();
        let mut written = Vec::with_capacity(rows.len());
        for (labels, value) in rows {
            let known = before.remove(&labels);
            let Some(series) = known.or_else(|| self.register(&labels)) else {
                continue;
            };
            if !self.push(&mut batch, series, &labels, &value) {
                continue;
            }
            after.insert(labels.clone(), series);
            written.push((labels, value));
        }
        let vanished: Vec<(Labels, SeriesRef)> = before.into_iter().collect();
        for (_, series) in &vanished {
            batch.push(*series, self.stamp_ms, stale_nan());
        }
        let mut retired = Vec::new();
        let stored = self.append(&batch, |index, reason| match written.get(index) {
            Some((labels, value)) if reason == RejectReason::RetiredSeries => {
                retired.push((labels.clone(), value.clone()));
                None
            }
            Some((labels, _)) => Some(labels.to_string()),
            // Another rule may go on with a series that vanished here.
            None => None,
        });
        if !stored {
            // The markers are owed until the store takes them.
            after.extend(vanished);
        }
        if !retired.is_empty() {
            self.write_again(retired, &mut after);
        }
        after
    }

    /// Registers series anew that left memory since they were written last.
    fn write_again(
        &mut self,
        retired: Vec<(Labels, RowValue)>,
        after: &mut HashMap<Labels, SeriesRef>,
    ) {
        let mut batch = Batch::new(self.group);
        batch.in_order_from_here();
        let mut names = Vec::with_capacity(retired.len());
        for (labels, value) in retired {
            after.remove(&labels);
            let Some(series) = self.register(&labels) else {
                continue;
            };
            if !self.push(&mut batch, series, &labels, &value) {
                continue;
            }
            names.push(labels.to_string());
            after.insert(labels, series);
        }
        self.append(&batch, |index, _| names.get(index).cloned());
    }

    /// Adds a row to a batch. Returns whether it could be: a histogram may be too large.
    fn push(
        &mut self,
        batch: &mut Batch,
        series: SeriesRef,
        labels: &Labels,
        value: &RowValue,
    ) -> bool {
        match value {
            RowValue::Float(value) => batch.push(series, self.stamp_ms, *value),
            RowValue::Histogram(histogram) => {
                let histogram = Histogram::Float(FloatHistogram::clone(histogram));
                if let Err(error) = batch.push_histogram(series, self.stamp_ms, &histogram) {
                    self.error = Some(WriteError::Refused(format!(
                        "cannot store {labels}: {error}"
                    )));
                    return false;
                }
            }
        }
        true
    }

    fn register(&mut self, labels: &Labels) -> Option<SeriesRef> {
        match self.db.register(self.group, labels) {
            Ok(series) => Some(series),
            Err(error) => {
                self.error = Some(WriteError::Refused(error.to_string()));
                None
            }
        }
    }

    /// Returns whether the store took the batch. `name_of` names a rejected series that is to be
    /// reported.
    fn append(
        &mut self,
        batch: &Batch,
        mut name_of: impl FnMut(usize, RejectReason) -> Option<String>,
    ) -> bool {
        if batch.is_empty() {
            return true;
        }
        match self.db.append(batch) {
            Err(error) => {
                self.error = Some(WriteError::Refused(error.to_string()));
                false
            }
            Ok(appended) => {
                for rejected in appended.rejected {
                    if let Some(series) = name_of(rejected.index, rejected.reason) {
                        let reason = reason_text(rejected.reason);
                        self.error = Some(WriteError::Sample { series, reason });
                    }
                }
                true
            }
        }
    }
}

/// Prometheus's words where it has some.
fn reason_text(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::OutOfOrder => "out of order sample",
        RejectReason::DuplicateTimestamp => "duplicate sample for timestamp",
        RejectReason::TooOld => "too old sample",
        RejectReason::RetiredSeries
        | RejectReason::TooManyBuckets
        | RejectReason::OutOfOrderFull => reason.as_str(),
    }
}

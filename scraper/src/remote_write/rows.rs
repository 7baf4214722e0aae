//! Appending what a request has, row by row.

use std::sync::PoisonError;

use barograph_tsdb::{Appended, Batch, GroupId, RejectReason};

use super::gather::{Gathered, Pending};
use super::request::Request;
use super::{Message, Progress, Shared};

/// Rows with fewer samples on average are appended as one batch per group.
const NARROW_ROW: usize = 4;

impl Shared {
    /// Appends everything; returns the series that had left memory.
    pub(super) fn append(
        &self,
        request: &Request<'_>,
        message: Message,
        gathered: &mut Gathered,
        progress: &mut Progress,
    ) -> Vec<u32> {
        let Some(any_group) = gathered.any_group else {
            return Vec::new();
        };
        // Nearly always in order already.
        gathered
            .pending
            .sort_by_key(|pending| (pending.group, pending.timestamp_ms));
        let mut batch = Batch::new(any_group);
        let mut retired = Vec::new();
        for of_group in gathered.pending.chunk_by(|a, b| a.group == b.group) {
            let group = {
                let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                known.group(of_group[0].group)
            };
            // Closed meanwhile: its series are looked up again.
            let Some(group) = group else {
                retired.extend(of_group.iter().map(|pending| pending.origin));
                continue;
            };
            let rows = of_group.chunk_by(|a, b| a.timestamp_ms == b.timestamp_ms);
            if of_group.len() < rows.clone().count() * NARROW_ROW {
                self.append_batch(
                    request,
                    group,
                    of_group,
                    &mut batch,
                    gathered,
                    progress,
                    &mut retired,
                );
            } else {
                for row in rows {
                    self.append_batch(
                        request,
                        group,
                        row,
                        &mut batch,
                        gathered,
                        progress,
                        &mut retired,
                    );
                }
            }
            if progress.unavailable.is_some() {
                return retired;
            }
        }
        self.append_exemplars(request, message, gathered, any_group, progress);
        retired.sort_unstable();
        retired.dedup();
        retired
    }

    #[expect(clippy::too_many_arguments, reason = "a step of `append`, used twice")]
    fn append_batch(
        &self,
        request: &Request<'_>,
        group: GroupId,
        row: &[Pending],
        batch: &mut Batch,
        gathered: &Gathered,
        progress: &mut Progress,
        retired: &mut Vec<u32>,
    ) {
        batch.reset(group);
        // Where entries come from; floats alone are where they were.
        let plain = gathered.extras.is_empty();
        let mut places: Vec<u32> = Vec::new();
        for (at, pending) in (0..).zip(row) {
            let extra = gathered.extras.get(pending.extra as usize);
            if let Some(histogram) = extra.and_then(|extra| extra.histogram.as_ref()) {
                let pushed = batch.push_histogram(pending.series, pending.timestamp_ms, histogram);
                if let Err(error) = pushed {
                    self.metrics.refused("invalid_histogram", 1);
                    progress.problem(|| self.about(request, pending.origin, &error.to_string()));
                    continue;
                }
            } else {
                batch.push(pending.series, pending.timestamp_ms, pending.value);
            }
            if let Some(extra) = extra {
                batch.set_start(extra.start_ms);
            }
            if !plain {
                places.push(at);
            }
        }
        let appended = match self.db.append(batch) {
            Ok(appended) => appended,
            Err(error) => {
                progress.unavailable = Some(error.to_string());
                return;
            }
        };
        let place = |index: usize| places.get(index).map_or(index, |place| *place as usize);
        let is_histogram = |pending: &Pending| {
            let extra = gathered.extras.get(pending.extra as usize);
            extra.is_some_and(|extra| extra.histogram.is_some())
        };
        let mut histograms = 0;
        if !gathered.extras.is_empty() {
            histograms = (0..batch.len())
                .filter(|index| is_histogram(&row[place(*index)]))
                .count();
        }
        progress.written.samples += batch.len() - histograms;
        progress.written.histograms += histograms;
        self.rejected(
            request,
            &appended,
            progress,
            |index| {
                let pending = &row[place(index)];
                (pending.origin, is_histogram(pending))
            },
            retired,
        );
    }

    /// Accounts for what the store did not take.
    fn rejected(
        &self,
        request: &Request<'_>,
        appended: &Appended,
        progress: &mut Progress,
        origin: impl Fn(usize) -> (u32, bool),
        retired: &mut Vec<u32>,
    ) {
        for rejected in &appended.rejected {
            let (origin, is_histogram) = origin(rejected.index);
            if is_histogram {
                progress.written.histograms -= 1;
            } else {
                progress.written.samples -= 1;
            }
            let text = match rejected.reason {
                RejectReason::RetiredSeries => {
                    retired.push(origin);
                    continue;
                }
                RejectReason::TooManyBuckets | RejectReason::OutOfOrderFull => {
                    self.metrics.refused(rejected.reason.as_str(), 1);
                    progress
                        .unavailable
                        .get_or_insert_with(|| rejected.reason.as_str().replace('_', " "));
                    continue;
                }
                RejectReason::OutOfOrder => "out of order sample",
                RejectReason::DuplicateTimestamp => "duplicate sample for timestamp",
                RejectReason::TooOld => "too old sample",
            };
            self.metrics.refused(rejected.reason.as_str(), 1);
            progress.problem(|| self.about(request, origin, text));
        }
    }

    fn append_exemplars(
        &self,
        request: &Request<'_>,
        message: Message,
        gathered: &mut Gathered,
        group: GroupId,
        progress: &mut Progress,
    ) {
        let Some((first, _, _)) = gathered.exemplars.first() else {
            return;
        };
        let first = *first;
        let mut batch = Batch::new(group);
        for (_, series, exemplar) in gathered.exemplars.drain(..) {
            batch.push_exemplar(series, exemplar);
        }
        match self.db.append(&batch) {
            Ok(appended) => {
                progress.written.exemplars += appended.exemplars.stored;
                // Version 1 has always been silent about them.
                if message == Message::V2 && appended.exemplars.out_of_order > 0 {
                    progress.problem(|| self.about(request, first, "out of order exemplar"));
                }
            }
            Err(error) => progress.unavailable = Some(error.to_string()),
        }
    }
}

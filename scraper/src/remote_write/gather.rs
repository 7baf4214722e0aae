//! Reading a request: which of our series its series are, and which samples they have.

use std::sync::PoisonError;
use std::time::Instant;

use barograph_model::{Exemplar, Histogram, Labels, LabelsBuilder, METRIC_NAME, MetricKind};
use barograph_tsdb::{GroupId, RegisterError, SeriesRef};

use super::histogram::{self, TimedHistogram};
use super::known::Known;
use super::request::{self, LabelPairs, Request, Series};
use super::{Message, Progress, Shared, show};
use crate::wire::Malformed;

/// A sample may be this far ahead of the clock, milliseconds.
const MAX_AHEAD_MS: i64 = 10 * 60_000;

/// A sample on its way into a batch.
pub(super) struct Pending {
    pub(super) group: u32,
    /// Index of the series in the request.
    pub(super) origin: u32,
    pub(super) timestamp_ms: i64,
    pub(super) series: SeriesRef,
    pub(super) value: f64,
    /// Index into what it has beside a float, or [`PLAIN`].
    pub(super) extra: u32,
}

const PLAIN: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct Extra {
    pub(super) start_ms: i64,
    pub(super) histogram: Option<Histogram>,
}

/// Everything read from a request that is to be appended.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) pending: Vec<Pending>,
    pub(super) extras: Vec<Extra>,
    pub(super) exemplars: Vec<(u32, SeriesRef, Exemplar)>,
    /// In a group that is open.
    pub(super) any_group: Option<GroupId>,
}

impl Gathered {
    /// Empties it, keeping its memory.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.extras.clear();
        self.exemplars.clear();
        self.any_group = None;
    }
}

impl Shared {
    /// Reads series and finds out which of ours they are.
    pub(super) fn gather(
        &self,
        request: &Request<'_>,
        message: Message,
        wanted: &[u32],
        gathered: &mut Gathered,
        progress: &mut Progress,
    ) -> Result<(), Malformed> {
        let now = Instant::now();
        let newest_ms = self.clock.now_ms().saturating_add(MAX_AHEAD_MS);
        let mut series = Series::default();
        let mut misses = Vec::new();
        let mut promoted = Vec::new();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let due = known.is_due(now);
        for origin in wanted {
            request.series(*origin as usize, self.seed, &mut series)?;
            let found = known
                .get(series.key)
                .filter(|(found, _)| found.described == series.described && series.is_filled());
            let group = found.and_then(|(found, _)| known.group(found.group));
            if let (Some((found, old)), Some(group)) = (found, group) {
                gathered.any_group = Some(group);
                if old {
                    promoted.push((series.key, found));
                }
                self.take(
                    request, &series, *origin, found, newest_ms, gathered, progress,
                )?;
            } else {
                misses.push(*origin);
            }
        }
        drop(known);
        if due || !promoted.is_empty() {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            for (key, found) in promoted {
                known.keep(key, found);
            }
            known.turn(&self.db, now);
        }
        let mut pairs = LabelPairs::new();
        for origin in misses {
            request.series(origin as usize, self.seed, &mut series)?;
            request.labels(&series, &mut pairs)?;
            let count = series.samples.len() + series.histograms.len();
            if message == Message::V2 && count == 0 {
                progress.problem(|| {
                    let labels = show(&pairs);
                    format!(
                        "TimeSeries must contain at least one sample or histogram for series {labels}"
                    )
                });
                continue;
            }
            let labels = match stored_labels(&pairs) {
                Ok(labels) => labels,
                Err(reason) => {
                    self.metrics.invalid_labels.inc_by(count as u64);
                    // Version 1 has always been silent about them.
                    if message == Message::V2 {
                        progress.problem(|| format!("{reason}: {}", show(&pairs)));
                    }
                    continue;
                }
            };
            match self.register(&labels, series.key, series.described) {
                Ok((found, group)) => {
                    gathered.any_group = Some(group);
                    if let Some(metadata) = series.metadata {
                        let metadata = request.metadata(metadata)?;
                        let family = family_of(labels.metric_name(), metadata.kind);
                        if let Err(error) = self.db.set_metadata(family, &metadata) {
                            progress.unavailable.get_or_insert(error.to_string());
                        }
                    }
                    self.take(
                        request, &series, origin, found, newest_ms, gathered, progress,
                    )?;
                }
                Err(error) => {
                    self.metrics.refused("series_limit", count as u64);
                    progress.problem(|| format!("{error}: series {labels}"));
                }
            }
        }
        Ok(())
    }

    /// Takes a series' samples for appending.
    #[expect(
        clippy::too_many_arguments,
        reason = "a step of `gather`, split for length"
    )]
    fn take<'a>(
        &self,
        request: &Request<'a>,
        series: &Series<'a>,
        origin: u32,
        known: Known,
        newest_ms: i64,
        gathered: &mut Gathered,
        progress: &mut Progress,
    ) -> Result<(), Malformed> {
        let (ours, group) = (known.series, known.group);
        let mut put = |timestamp_ms: i64,
                       value,
                       start_ms: i64,
                       histogram: Option<Histogram>,
                       progress: &mut Progress| {
            if timestamp_ms > newest_ms {
                self.metrics.refused("too_far_in_the_future", 1);
                let text = "out of bounds: timestamp is too far in the future";
                progress.problem(|| self.about(request, origin, text));
                return;
            }
            let start_ms = if self.options.start_timestamps {
                start_ms
            } else {
                0
            };
            let mut extra = PLAIN;
            if histogram.is_some() || start_ms != 0 {
                extra = gathered.extras.len() as u32;
                gathered.extras.push(Extra {
                    start_ms,
                    histogram,
                });
            }
            gathered.pending.push(Pending {
                group,
                origin,
                timestamp_ms,
                series: ours,
                value,
                extra,
            });
        };
        for (value, timestamp_ms, start_ms) in &series.samples {
            put(*timestamp_ms, *value, *start_ms, None, progress);
        }
        for message in &series.histograms {
            let TimedHistogram {
                timestamp_ms,
                start_ms,
                mut histogram,
            } = histogram::read(message)?;
            histogram.reduce_reserved_schema();
            if let Err(error) = check(&histogram) {
                self.metrics.refused("invalid_histogram", 1);
                progress.problem(|| self.about(request, origin, &error));
                continue;
            }
            put(timestamp_ms, f64::NAN, start_ms, Some(histogram), progress);
        }
        for message in &series.exemplars {
            let exemplar = request.exemplar(message)?;
            if exemplar.timestamp_ms <= newest_ms {
                gathered.exemplars.push((origin, ours, exemplar));
            }
        }
        Ok(())
    }

    /// The series of these labels, made where there is none.
    fn register(
        &self,
        labels: &Labels,
        key: u128,
        described: u32,
    ) -> Result<(Known, GroupId), RegisterError> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let number = known.group_of(&self.db, labels);
        let Some(group) = known.group(number) else {
            unreachable!("BUG: a group that was just found is closed");
        };
        let found = Known {
            series: self.db.register(group, labels)?,
            group: number,
            described,
        };
        known.keep(key, found);
        Ok((found, group))
    }
}

/// Labels fit to be stored, or why they are not.
fn stored_labels(pairs: &LabelPairs<'_>) -> Result<Labels, String> {
    let mut labels = LabelsBuilder::new();
    let mut names: Vec<&str> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let invalid = |_| "invalid metric name or labels".to_owned();
        let name = request::text(name).map_err(&invalid)?;
        let value = request::text(value).map_err(invalid)?;
        if name.is_empty() {
            return Err("invalid metric name or labels".to_owned());
        }
        names.push(name);
        labels.set(name, value);
    }
    names.sort_unstable();
    let twice = names.array_windows().find(|[name, next]| name == next);
    if let Some([name, _]) = twice {
        return Err(format!(
            "invalid labels for series, duplicated label {name}"
        ));
    }
    let labels = labels.build();
    if labels.get(METRIC_NAME).is_empty() {
        return Err("invalid metric name or labels".to_owned());
    }
    Ok(labels)
}
fn check(histogram: &Histogram) -> Result<(), String> {
    match histogram {
        Histogram::Integer(histogram) => histogram.validate(),
        Histogram::Float(histogram) => histogram.validate(),
    }
    .map_err(|error| error.to_string())
}

/// The family a series of a kind belongs to.
fn family_of(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    let stripped = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    stripped.unwrap_or(name)
}

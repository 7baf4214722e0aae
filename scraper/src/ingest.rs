//! One scrape's body to one row in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use barograph_model::{
    CounterResetHint, FloatHistogram, Histogram, IntegerHistogram, Labels, LabelsBuilder,
    MetricKind, stale_nan,
};
use barograph_tsdb::{Appended, Db, Entry, GroupId, RegisterError, RejectReason, SeriesRef};

use crate::cache::{Hit, Known, SeriesCache};
use crate::config::ScrapeConfig;
use crate::error::ScrapeError;
use crate::exemplars::ExemplarMemory;
use crate::family::FamilyCache;
use crate::metrics::ScrapeMetrics;
use crate::parse::{
    Dialect, Guess, Item, OpenMetricsParser, ParseError, Parser, SampleLine, TextParser, Unknown,
    read_labels,
};
use crate::protobuf::NativeHistogram;
use crate::resolution;
use crate::sample_labels::{report_labels, stored_labels};
use crate::scratch::{Row, Scratch};

/// A sample may be this far ahead of the clock, milliseconds.
const MAX_AHEAD_MS: i64 = 10 * 60_000;
/// A start that is longer ago gets no sample of zero: half a block, as with Prometheus.
const ZERO_AGE_MS: i64 = 60 * 60_000;
/// Series of a target whose starts are remembered.
const ZEROS_LIMIT: usize = 1 << 18;
/// Times a batch is appended again because series of it had left memory.
const RETRIES: usize = 3;

/// The series about a scrape itself, in order of writing.
const REPORT: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
/// The additional ones of `extra_scrape_metrics`.
const REPORT_EXTRA: [&str; 3] = [
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

/// What scraping one target needs to remember.
pub(crate) struct TargetMemory {
    /// The group of the target's series.
    pub(crate) group: GroupId,
    /// Its lines.
    pub(crate) cache: SeriesCache,
    /// Its metadata.
    pub(crate) families: Arc<Mutex<FamilyCache>>,
    exemplars: ExemplarMemory,
    /// The start at which a series has a sample of zero.
    zeros: HashMap<SeriesRef, i64>,
    report: Vec<(Labels, Option<SeriesRef>)>,
    builder: LabelsBuilder,
}

impl TargetMemory {
    /// The memory of a target that was not scraped yet.
    pub(crate) fn new(group: GroupId, families: Arc<Mutex<FamilyCache>>) -> Self {
        Self {
            group,
            cache: SeriesCache::new(),
            families,
            exemplars: ExemplarMemory::default(),
            zeros: HashMap::new(),
            report: Vec::new(),
            builder: LabelsBuilder::new(),
        }
    }
}

/// What a scrape is done with.
pub(crate) struct Ingest<'a> {
    /// The store.
    pub(crate) db: &'a Db,
    /// The job.
    pub(crate) config: &'a ScrapeConfig,
    /// Labels of the target.
    pub(crate) target: &'a Labels,
    /// The target's timeout, milliseconds.
    pub(crate) timeout_ms: i64,
    /// The time of samples without one of their own.
    pub(crate) timestamp_ms: i64,
    /// The wall clock.
    pub(crate) now_ms: i64,
    /// When the scrape began.
    pub(crate) started: Instant,
    /// Counters.
    pub(crate) metrics: &'a ScrapeMetrics,
}

/// A body that was fetched.
#[derive(Clone, Copy)]
pub(crate) struct Page<'a> {
    /// The exposition.
    pub(crate) body: &'a [u8],
    /// How it is written.
    pub(crate) dialect: Dialect,
    /// The native histograms that lines stand for, in order.
    pub(crate) histograms: &'a [NativeHistogram],
    /// Since when lines count, milliseconds: by where they begin, in order.
    pub(crate) starts: &'a [(usize, i64)],
}

impl<'a> Page<'a> {
    /// The native histogram that the line at an offset stands for.
    pub(crate) fn histogram(&self, offset: usize) -> Option<&'a NativeHistogram> {
        let at = self.histograms.binary_search_by_key(&offset, |h| h.offset);
        at.ok().map(|at| &self.histograms[at])
    }

    /// Since when the line at an offset counts; 0 where that is not known.
    pub(crate) fn start(&self, offset: usize) -> i64 {
        let at = self.starts.binary_search_by_key(&offset, |(at, _)| *at);
        at.map_or(0, |at| self.starts[at].1)
    }

    /// Whether all lines are floats and nothing more.
    fn is_plain(&self) -> bool {
        self.histograms.is_empty() && self.starts.is_empty()
    }
}

/// How a scrape went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Lines with samples.
    pub(crate) scraped: u64,
    /// Those that relabelling kept.
    pub(crate) kept: u64,
    /// Series not seen in the scrape before.
    pub(crate) added: u64,
    /// Why it failed.
    pub(crate) error: Option<ScrapeError>,
    /// What went wrong though it did not fail, or empty.
    pub(crate) warning: String,
    pub(crate) dropped: Dropped,
}

/// Samples that were not stored, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    duplicates: u64,
    out_of_order: u64,
    out_of_bounds: u64,
    series_limit: u64,
    /// What the store said about them.
    series_limit_reason: String,
}

impl Ingest<'_> {
    /// Parses a page into a row, completes the row with staleness markers and the series about the
    /// scrape, and appends it. A scrape that failed before or fails here becomes markers for every
    /// series the last one had.
    pub(crate) fn run(
        &self,
        memory: &mut TargetMemory,
        scratch: &mut Scratch,
        page: Result<Page<'_>, ScrapeError>,
        body_size_bytes: i64,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        scratch.batch.reset(memory.group);
        scratch.rows.clear();
        memory.cache.begin();
        let families = memory.families.clone();
        let mut families = families.lock().unwrap_or_else(PoisonError::into_inner);
        families.begin();
        let parsed = page.and_then(|page| {
            // An empty answer is a scrape without samples, not a broken one.
            match page.dialect {
                _ if page.body.is_empty() => Ok(()),
                Dialect::Text => {
                    let parser = TextParser::new(page.body);
                    self.rows(memory, &mut families, scratch, parser, page, &mut outcome)
                }
                Dialect::OpenMetrics => {
                    let parser = OpenMetricsParser::new(page.body);
                    self.rows(memory, &mut families, scratch, parser, page, &mut outcome)
                }
            }
            .map(|()| page)
        });
        let stale = |series| (series, self.timestamp_ms, stale_nan());
        let body = match parsed {
            Ok(page) => {
                let batch = &mut scratch.batch;
                // Markers and reports have the scrape's own time: late, they would be wrong.
                batch.in_order_from_here();
                memory.cache.finish(|series| {
                    let (series, timestamp_ms, value) = stale(series);
                    batch.push(series, timestamp_ms, value);
                });
                families.finish();
                Some(page)
            }
            Err(error) => {
                self.count_failure(&error);
                outcome.error = Some(error);
                outcome.dropped = Dropped::default();
                self.roll_back(memory, scratch);
                None
            }
        };
        drop(families);
        self.push_report(memory, scratch, &outcome, body_size_bytes);
        self.append(memory, scratch, body, &mut outcome);
        self.count_dropped(&mut outcome);
        outcome
    }

    /// Marks every series of a target that is gone.
    pub(crate) fn mark_gone(&self, memory: &mut TargetMemory, scratch: &mut Scratch) {
        scratch.batch.reset(memory.group);
        scratch.rows.clear();
        memory.cache.begin();
        self.roll_back(memory, scratch);
        for (_, series) in &memory.report {
            if let Some(series) = series {
                scratch.batch.push(*series, self.timestamp_ms, stale_nan());
            }
        }
        // A series that left memory needs no marker, nor does one that went on elsewhere.
        if let Err(error) = self.db.append(&scratch.batch) {
            tracing::warn!(target_labels = %self.target, %error, "staleness markers are not stored");
        }
    }

    /// Reads lines into the batch.
    fn rows<'b, P: Parser<'b>>(
        &self,
        memory: &mut TargetMemory,
        families: &mut FamilyCache,
        scratch: &mut Scratch,
        mut parser: P,
        page: Page<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), ScrapeError> {
        let config = self.config;
        let newest_ms = self.now_ms.saturating_add(MAX_AHEAD_MS);
        let sample_limit = match config.sample_limit {
            0 => u64::MAX,
            limit => limit,
        };
        loop {
            let mut expected = Expected {
                cache: &memory.cache,
                families,
                hit: None,
            };
            let item = parser.next(&mut expected);
            let hit = expected.hit;
            let line = match item {
                Ok(Some(Item::Sample(line))) => line,
                Ok(Some(Item::Metadata(line))) => {
                    families.note(line);
                    continue;
                }
                Ok(None) => break,
                Err(error) => return Err(ScrapeError::Parse(*error)),
            };
            outcome.scraped += 1;
            let own_time = line.timestamp_ms.filter(|_| config.honor_timestamps);
            let timestamp_ms = own_time.unwrap_or(self.timestamp_ms);
            let tracked = own_time.is_none() || config.track_timestamps_staleness;
            let known = match hit {
                Some(hit) if hit.length == line.series.len() => Ok(hit.slot),
                _ => match memory.cache.find(line.series) {
                    (_, Known::Slot(slot)) => Ok(slot),
                    (hash, Known::No) => Err(hash),
                },
            };
            let (slot, series, again) = match known {
                Ok(slot) => {
                    let (series, again) = memory.cache.see(slot, tracked);
                    (slot, series, again)
                }
                Err(hash) => {
                    let labels = self.labels(&mut memory.builder, page, &line, parser.kind())?;
                    let series = match labels {
                        None => None,
                        Some(_) if outcome.kept >= sample_limit => {
                            // The limit is broken: only the count is still of interest.
                            outcome.kept += 1;
                            continue;
                        }
                        Some(labels) => match self.db.register(memory.group, &labels) {
                            Ok(series) => Some(series),
                            Err(
                                error @ (RegisterError::TooManySeries { .. }
                                | RegisterError::TooMuchText { .. }),
                            ) => {
                                outcome.kept += 1;
                                if outcome.dropped.series_limit == 0 {
                                    outcome.dropped.series_limit_reason = error.to_string();
                                }
                                outcome.dropped.series_limit += 1;
                                continue;
                            }
                            Err(error) => return Err(ScrapeError::Store(error.to_string())),
                        },
                    };
                    outcome.added += u64::from(series.is_some());
                    let length = line.series.len();
                    (
                        memory.cache.insert(hash, length, series, tracked),
                        series,
                        false,
                    )
                }
            };
            let Some(series) = series else {
                continue;
            };
            outcome.kept += 1;
            if outcome.kept > sample_limit {
                continue;
            }
            if again && own_time.is_none() {
                outcome.dropped.duplicates += 1;
                continue;
            }
            if timestamp_ms > newest_ms {
                outcome.dropped.out_of_bounds += 1;
                continue;
            }
            let row = Row {
                slot,
                offset: line.offset as u32,
            };
            if page.is_plain() {
                scratch.batch.push(series, timestamp_ms, line.value);
            } else {
                let zeros = &mut memory.zeros;
                self.push_any(page, row, zeros, scratch, series, timestamp_ms, line.value)?;
            }
            if let Some(text) = line.exemplar {
                let batch = &mut scratch.batch;
                memory.exemplars.add(batch, series, text, timestamp_ms);
            }
            scratch.rows.push(row);
        }
        if outcome.kept > sample_limit {
            return Err(ScrapeError::SampleLimit {
                have: outcome.kept,
                limit: sample_limit,
            });
        }
        Ok(())
    }

    /// The labels a new line is stored under, or `None` where relabelling drops it.
    #[cold]
    fn labels(
        &self,
        builder: &mut LabelsBuilder,
        page: Page<'_>,
        line: &SampleLine<'_>,
        kind: MetricKind,
    ) -> Result<Option<Labels>, ScrapeError> {
        read_labels(line.series, page.dialect, kind, builder)
            .map_err(|error| ParseError::new(page.body, line.offset, error.0))?;
        stored_labels(self.config, self.target, builder)
    }

    /// Replaces the batch by staleness markers of what the last scrape had.
    fn roll_back(&self, memory: &mut TargetMemory, scratch: &mut Scratch) {
        let batch = &mut scratch.batch;
        batch.clear();
        batch.in_order_from_here();
        scratch.rows.clear();
        memory.exemplars.forget();
        let flushed = memory
            .cache
            .fail(|series| batch.push(series, self.timestamp_ms, stale_nan()));
        if flushed {
            self.metrics.cache_flushes.inc();
        }
    }

    fn push_report(
        &self,
        memory: &mut TargetMemory,
        scratch: &mut Scratch,
        outcome: &Outcome,
        body_size_bytes: i64,
    ) {
        let config = self.config;
        let names = REPORT.into_iter().chain(
            REPORT_EXTRA
                .into_iter()
                .filter(|_| config.extra_scrape_metrics),
        );
        let values = [
            f64::from(u8::from(outcome.error.is_none())),
            self.started.elapsed().as_secs_f64(),
            outcome.scraped as f64,
            outcome.kept as f64,
            outcome.added as f64,
            self.timeout_ms as f64 / 1000.0,
            config.sample_limit as f64,
            body_size_bytes as f64,
        ];
        for (index, (name, value)) in names.zip(values).enumerate() {
            if memory.report.len() == index {
                memory.report.push((report_labels(name, self.target), None));
            }
            let (labels, series) = &mut memory.report[index];
            if series.is_none() {
                *series = self.register_report(memory.group, labels);
            }
            if let Some(series) = series {
                scratch.batch.push(*series, self.timestamp_ms, value);
            }
        }
    }

    fn register_report(&self, group: GroupId, labels: &Labels) -> Option<SeriesRef> {
        match self.db.register(group, labels) {
            Ok(series) => Some(series),
            Err(error) => {
                self.metrics.series_refused.inc();
                tracing::warn!(series = %labels, %error, "a series about the scrape is not stored");
                None
            }
        }
    }

    /// Appends the batch; registers again what had left memory.
    fn append(
        &self,
        memory: &mut TargetMemory,
        scratch: &mut Scratch,
        page: Option<Page<'_>>,
        outcome: &mut Outcome,
    ) {
        for _ in 0..=RETRIES {
            let appended = match self.db.append(&scratch.batch) {
                Ok(appended) => appended,
                Err(error) => {
                    self.metrics.appends_refused.inc();
                    let owed =
                        scratch.batch.entries().iter().filter(|entry| {
                            entry.value.to_bits() == barograph_model::STALE_NAN_BITS
                        });
                    memory.cache.owe_stale(owed.map(|entry| entry.series));
                    outcome.error = Some(ScrapeError::Store(error.to_string()));
                    return;
                }
            };
            if !self.retry_batch(memory, scratch, page, &appended, &mut outcome.dropped) {
                return;
            }
        }
        tracing::warn!(target_labels = %self.target, "series leave memory as fast as they come");
    }

    /// Counts what was rejected and makes a batch of the series that had left memory. Returns
    /// whether there is one.
    fn retry_batch(
        &self,
        memory: &mut TargetMemory,
        scratch: &mut Scratch,
        page: Option<Page<'_>>,
        appended: &Appended,
        dropped: &mut Dropped,
    ) -> bool {
        if appended.rejected.is_empty() {
            return false;
        }
        let samples = scratch.rows.len();
        let (mut retired, mut report) = (Vec::new(), Vec::new());
        for rejected in &appended.rejected {
            let entry = scratch.batch.entries()[rejected.index];
            let own = rejected.index < samples;
            match rejected.reason {
                // A sample of zero at the start is only wanted where it is news.
                _ if own && scratch.batch.is_in_order_only(rejected.index) => {}
                RejectReason::DuplicateTimestamp if own => dropped.duplicates += 1,
                RejectReason::OutOfOrder | RejectReason::OutOfOrderFull if own => {
                    dropped.out_of_order += 1;
                }
                RejectReason::TooOld if own => dropped.out_of_bounds += 1,
                RejectReason::RetiredSeries if own => {
                    retired.push((scratch.rows[rejected.index], entry));
                }
                RejectReason::RetiredSeries => {
                    // A marker for a series that is gone is not missed; the report is.
                    let group = memory.group;
                    let found = memory
                        .report
                        .iter_mut()
                        .find(|(_, s)| *s == Some(entry.series));
                    if let Some((labels, series)) = found {
                        *series = self.register_report(group, labels);
                        report.extend(series.map(|series| (series, entry)));
                    }
                }
                RejectReason::DuplicateTimestamp
                | RejectReason::OutOfOrder
                | RejectReason::OutOfOrderFull
                | RejectReason::TooOld
                | RejectReason::TooManyBuckets => {}
            }
        }
        scratch.batch.clear();
        scratch.rows.clear();
        if let (Some(page), false) = (page, retired.is_empty()) {
            for (series, row, entry) in self.register_again(memory, page, &retired) {
                let (at_ms, value) = (entry.timestamp_ms, entry.value);
                let zeros = &mut memory.zeros;
                let pushed = self.push_any(page, row, zeros, scratch, series, at_ms, value);
                if pushed.is_ok() {
                    scratch.rows.push(row);
                }
            }
        }
        scratch.batch.in_order_from_here();
        for (series, entry) in report {
            scratch.batch.push(series, entry.timestamp_ms, entry.value);
        }
        !scratch.batch.is_empty()
    }

    /// Registers the series of these rows again, which are in order of their lines.
    fn register_again(
        &self,
        memory: &mut TargetMemory,
        page: Page<'_>,
        retired: &[(Row, Entry)],
    ) -> Vec<(SeriesRef, Row, Entry)> {
        let mut found = Vec::with_capacity(retired.len());
        let mut rest = retired.iter().peekable();
        for_each_sample(page, |line, kind| {
            while let Some((row, entry)) =
                rest.next_if(|(row, _)| row.offset as usize == line.offset)
            {
                let labels = self.labels(&mut memory.builder, page, &line, kind);
                let Ok(Some(labels)) = labels else {
                    continue;
                };
                match self.db.register(memory.group, &labels) {
                    Ok(series) => {
                        memory.cache.replace_series(row.slot, series);
                        found.push((series, *row, *entry));
                    }
                    Err(error) => {
                        self.metrics.series_refused.inc();
                        tracing::warn!(series = %labels, %error, "a series is not stored");
                    }
                }
            }
            rest.peek().is_some()
        });
        found
    }

    /// Adds the sample of a line to the batch: a float, or the native histogram it stands for; and
    /// since when it counts.
    #[inline(never)]
    #[expect(
        clippy::too_many_arguments,
        reason = "the line's row, its sample, and where both go"
    )]
    fn push_any(
        &self,
        page: Page<'_>,
        row: Row,
        zeros: &mut HashMap<SeriesRef, i64>,
        scratch: &mut Scratch,
        series: SeriesRef,
        timestamp_ms: i64,
        value: f64,
    ) -> Result<(), ScrapeError> {
        let config = self.config;
        let (start_ms, starts) = (page.start(row.offset as usize), config.start_timestamps);
        let native = page.histogram(row.offset as usize);
        let mut histogram = native.map(|native| native.histogram.clone());
        if let Some(histogram) = &mut histogram {
            let finest = resolution::finest_schema(config.native_histogram_min_bucket_factor);
            let limit = config.native_histogram_bucket_limit;
            if !resolution::limit(histogram, finest, limit) {
                return Err(ScrapeError::BucketLimit { limit });
            }
        }
        let bad = |error| ScrapeError::Page(format!("a native histogram: {error}"));
        let is_news = starts.zeros
            && start_ms != 0
            && (timestamp_ms.saturating_sub(ZERO_AGE_MS)..timestamp_ms).contains(&start_ms)
            && zeros.get(&series) != Some(&start_ms);
        let batch = &mut scratch.batch;
        if is_news {
            match histogram.as_ref().map(zero_of) {
                Some(zero) => batch.push_histogram(series, start_ms, &zero).map_err(bad)?,
                None => batch.push(series, start_ms, 0.0),
            }
            batch.last_in_order();
            scratch.rows.push(row);
            if zeros.len() >= ZEROS_LIMIT {
                zeros.clear();
            }
            zeros.insert(series, start_ms);
        }
        match &histogram {
            Some(histogram) => batch
                .push_histogram(series, timestamp_ms, histogram)
                .map_err(bad)?,
            None => batch.push(series, timestamp_ms, value),
        }
        if starts.stored {
            batch.set_start(start_ms);
        }
        for exemplar in native.into_iter().flat_map(|native| &native.exemplars) {
            batch.push_exemplar(series, exemplar.clone());
        }
        Ok(())
    }

    fn count_failure(&self, error: &ScrapeError) {
        match error {
            ScrapeError::BodyLimit { .. } => self.metrics.exceeded_body_size_limit.inc(),
            ScrapeError::SampleLimit { .. } => self.metrics.exceeded_sample_limit.inc(),
            ScrapeError::BucketLimit { .. } => self.metrics.exceeded_bucket_limit.inc(),
            ScrapeError::LabelLimit { .. } => self.metrics.exceeded_label_limits.inc(),
            _ => {}
        }
    }

    fn count_dropped(&self, outcome: &mut Outcome) {
        let dropped = &outcome.dropped;
        let metrics = self.metrics;
        let mut warnings = Vec::new();
        for (count, counter, what) in [
            (
                dropped.duplicates,
                &metrics.duplicate_timestamp,
                "have another value at the same time",
            ),
            (
                dropped.out_of_order,
                &metrics.out_of_order,
                "are older than what their series has",
            ),
            (
                dropped.out_of_bounds,
                &metrics.out_of_bounds,
                "are too old or too far in the future",
            ),
        ] {
            if count > 0 {
                counter.inc_by(count);
                warnings.push(format!("{count} samples dropped: they {what}"));
            }
        }
        if dropped.series_limit > 0 {
            metrics.series_refused.inc_by(dropped.series_limit);
            let (count, reason) = (dropped.series_limit, &dropped.series_limit_reason);
            warnings.push(format!("{count} samples dropped: {reason}"));
        }
        outcome.warning = warnings.join("; ");
    }
}

/// The lines of the last scrape, asked in order.
struct Expected<'a> {
    cache: &'a SeriesCache,
    families: &'a mut FamilyCache,
    hit: Option<Hit>,
}

impl Guess for Expected<'_> {
    #[inline]
    fn series(&mut self, rest: &[u8]) -> usize {
        self.hit = self.cache.guess(rest);
        self.hit.map_or(0, |hit| hit.length)
    }

    #[inline]
    fn metadata(&mut self, rest: &[u8]) -> Option<(usize, Option<MetricKind>)> {
        self.families.expect(rest)
    }
}

/// A histogram of the same layout that has counted nothing yet.
fn zero_of(histogram: &Histogram) -> Histogram {
    let counter_reset_hint = CounterResetHint::CounterReset;
    match histogram {
        Histogram::Integer(histogram) => Histogram::Integer(IntegerHistogram {
            counter_reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            custom_bounds: histogram.custom_bounds.clone(),
            ..IntegerHistogram::default()
        }),
        Histogram::Float(histogram) => Histogram::Float(FloatHistogram {
            counter_reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            custom_bounds: histogram.custom_bounds.clone(),
            ..FloatHistogram::default()
        }),
    }
}

/// Calls `visit` with each sample line and the kind its family declared, while it says yes.
fn for_each_sample(page: Page<'_>, mut visit: impl FnMut(SampleLine<'_>, MetricKind) -> bool) {
    fn walk<'a, P: Parser<'a>>(
        mut parser: P,
        mut visit: impl FnMut(SampleLine<'_>, MetricKind) -> bool,
    ) {
        while let Ok(Some(item)) = parser.next(&mut Unknown) {
            let kind = parser.kind();
            if let Item::Sample(line) = item
                && !visit(line, kind)
            {
                return;
            }
        }
    }
    match page.dialect {
        Dialect::Text => walk(TextParser::new(page.body), &mut visit),
        Dialect::OpenMetrics => walk(OpenMetricsParser::new(page.body), &mut visit),
    }
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;

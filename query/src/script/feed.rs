//! Series in script notation as a source of samples, stored step by step.

use barograph_model::{FloatHistogram, Labels};
use barograph_tsdb::{Batch, Db, GroupId, SeriesRef};

use super::run::RunError;
use super::series::{self, Point};

/// Why a series of a [`Feed`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Its labels or values do not follow the notation.
    #[error("{series} {values}: {message}")]
    Notation {
        /// The series as written.
        series: String,
        /// Its values as written.
        values: String,
        /// What does not fit.
        message: String,
    },
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] RunError),
}

/// Series whose values lie `step_ms` apart, from `start_ms` on.
pub struct Feed {
    group: GroupId,
    series: Vec<(SeriesRef, Labels, Vec<Point>)>,
    start_ms: i64,
    step_ms: i64,
    /// The step that comes next.
    next: usize,
}

impl Feed {
    /// A feed without series; what it stores forms a group of its own.
    pub fn new(db: &Db, start_ms: i64, step_ms: i64) -> Self {
        Self {
            group: db.open_group(),
            series: Vec::new(),
            start_ms,
            step_ms: step_ms.max(1),
            next: 0,
        }
    }

    /// Adds a series such as `up{job="a"}` with values such as `1+0x5 _ stale`. Of two with the
    /// same labels the later counts.
    ///
    /// # Errors
    /// The notation, or a store that refuses the series.
    pub fn add(&mut self, db: &Db, series: &str, values: &str) -> Result<(), FeedError> {
        let fail = |message: String| FeedError::Notation {
            series: series.to_owned(),
            values: values.to_owned(),
            message,
        };
        let (labels, points) = series::parse(&format!("{series} {values}")).map_err(fail)?;
        self.series.retain(|(_, have, _)| *have != labels);
        let reference = db.register(self.group, &labels).map_err(RunError::from)?;
        self.series.push((reference, labels, points));
        Ok(())
    }

    /// Stores all samples up to and including `time_ms` that are not stored yet.
    ///
    /// # Errors
    /// The store refuses them.
    pub fn run_until(&mut self, db: &Db, time_ms: i64) -> Result<(), FeedError> {
        let steps = self.series.iter().map(|(_, _, points)| points.len()).max();
        let mut batch = Batch::new(self.group);
        while self.next < steps.unwrap_or(0) {
            let at_ms = self.start_ms + self.next as i64 * self.step_ms;
            if at_ms > time_ms {
                break;
            }
            batch.clear();
            for (series, _, points) in &self.series {
                if let Some(point) = points.get(self.next) {
                    point
                        .push_to(&mut batch, *series, at_ms)
                        .map_err(RunError::from)?;
                }
            }
            self.next += 1;
            if batch.is_empty() {
                continue;
            }
            let appended = db.append(&batch).map_err(RunError::from)?;
            if let Some(first) = appended.rejected.first() {
                let count = appended.rejected.len();
                return Err(RunError::Rejected(count, first.reason.as_str()).into());
            }
        }
        Ok(())
    }
}

/// Labels in script notation, such as `up{job="a"}`.
///
/// # Errors
/// What does not follow the notation.
pub fn parse_labels(text: &str) -> Result<Labels, String> {
    let text = text.trim();
    let (labels, used) = series::labels(text)?;
    match &text[used..] {
        "" => Ok(labels),
        rest => Err(format!("unexpected text behind the labels: {rest:?}")),
    }
}

/// A histogram in script notation, such as `{{schema:1 count:3 sum:4 buckets:[1 2]}}`.
///
/// # Errors
/// What does not follow the notation.
pub fn parse_histogram(text: &str) -> Result<FloatHistogram, String> {
    let (_, points) = series::parse(&format!("{{}} {text}"))?;
    match points.first() {
        Some(Point::Histogram { histogram, .. }) => Ok(FloatHistogram::clone(histogram)),
        _ => Err(format!("no histogram: {text:?}")),
    }
}

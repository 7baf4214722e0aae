//! `/federate`: the latest samples of series, for another server to scrape.

mod format;
mod protobuf;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use barograph_model::{
    Clock, FloatHistogram, Labels, METRIC_NAME, SystemClock, TimeRange, is_stale,
};
use barograph_query::Cancel;
use barograph_tsdb::{Column, Snapshot};
use format::{Format, Kind};
use http::{HeaderMap, StatusCode, header};

use super::error::{ApiError, ErrorKind};
use super::params::Params;
use super::query::on_pool;
use super::series::{selectors, unnamed};
use crate::app::{App, Core};

/// `/federate`: what `match[]` selects, in the format that the client likes best.
pub(super) async fn federate(
    State(app): State<Arc<App>>,
    core: Core,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let format = Format::negotiate(accept.unwrap_or_default());
    let selectors = match selectors(&params).map_err(unnamed) {
        Ok(selectors) => selectors,
        Err(error) => return plain_error(&error),
    };
    let external = core.active.config().external_labels.clone();
    let now_ms = SystemClock.now_ms();
    // Left-open, like the lookback of a query.
    let range = TimeRange {
        start_ms: now_ms - app.settings.lookback_ms + 1,
        end_ms: now_ms,
    };
    let db = core.db.clone();
    let written = on_pool(&core, Cancel::default(), move || {
        let snapshot = db.snapshot();
        let mut families = Families::new(&external);
        for matchers in &selectors {
            families.read(&snapshot, matchers, range)?;
        }
        families.sort();
        Ok(match format.kind {
            Kind::Text004 => text::page(&families, format.escaping).into_bytes(),
            Kind::Protobuf => protobuf::page(&families, format.escaping),
        })
    });
    match written.await {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(error) => plain_error(&error),
    }
}

fn plain_error(error: &ApiError) -> Response {
    let text = format!("{}\n", error.message);
    let status: StatusCode = error.kind.status();
    (status, text).into_response()
}

/// Series by metric name, each with its latest sample.
struct Families<'a> {
    /// Labels of this server.
    external: &'a Labels,
    seen: BTreeSet<Labels>,
    by_name: BTreeMap<String, Vec<Series>>,
}

/// A series and its latest sample.
struct Series {
    labels: Labels,
    timestamp_ms: i64,
    latest: Latest,
}

enum Latest {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// The latest sample in a column, with its time; none where it cannot be passed on.
fn latest(column: &Column) -> Option<(i64, Latest)> {
    let float = column.timestamps_ms.last().zip(column.values.last());
    let histograms = &column.histograms;
    let histogram = histograms
        .timestamps_ms
        .last()
        .zip(histograms.values.last());
    match (float, histogram) {
        (float, Some((t, histogram))) if float.is_none_or(|(of_float, _)| of_float < t) => {
            Some((*t, Latest::Histogram(histogram.clone())))
        }
        // What ended is not passed on.
        (Some((t, value)), _) => (!is_stale(*value)).then_some((*t, Latest::Float(*value))),
        _ => None,
    }
}

impl<'a> Families<'a> {
    fn new(external: &'a Labels) -> Self {
        Self {
            external,
            seen: BTreeSet::new(),
            by_name: BTreeMap::new(),
        }
    }

    fn read(
        &mut self,
        snapshot: &Snapshot,
        matchers: &[barograph_model::Matcher],
        range: TimeRange,
    ) -> Result<(), ApiError> {
        let fail =
            |error: &dyn std::fmt::Display| ApiError::new(ErrorKind::Internal, error.to_string());
        let selection = snapshot
            .select(matchers, range)
            .map_err(|error| fail(&error))?;
        let mut column = Column::default();
        for index in 0..selection.len() {
            let labels = selection.labels(index);
            selection
                .read(index, range, &mut column)
                .map_err(|error| fail(&error))?;
            let Some((timestamp_ms, latest)) = latest(&column) else {
                continue;
            };
            // What has no name cannot be written.
            if labels.metric_name().is_empty() || !self.seen.insert(labels.clone()) {
                continue;
            }
            let family = self
                .by_name
                .entry(labels.metric_name().to_owned())
                .or_default();
            family.push(Series {
                labels: labels.clone(),
                timestamp_ms,
                latest,
            });
        }
        Ok(())
    }

    /// Puts the series of every name in order of their labels.
    fn sort(&mut self) {
        for series in self.by_name.values_mut() {
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
    }

    /// Labels as the page has them: a series' own, then those of this server that it lacks.
    fn labels<'b>(&'b self, labels: &'b Labels) -> impl Iterator<Item = (&'b str, &'b str)> {
        let external = self.external;
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let missing = external.iter().filter(|(name, _)| !labels.has(name));
        // Without it, the server that scrapes this page would put this server's there.
        let has_instance = labels.has("instance") || external.has("instance");
        let empty = (!has_instance).then_some(("instance", ""));
        own.chain(missing).chain(empty)
    }
}

/// The bounds of a histogram with custom ones, and how much is below each.
fn cumulative(histogram: &FloatHistogram) -> impl Iterator<Item = (f64, f64)> + '_ {
    histogram.custom_bounds.iter().map(|bound| {
        let below = histogram.positive().filter(|b| b.upper <= *bound);
        (*bound, below.map(|bucket| bucket.count).sum())
    })
}

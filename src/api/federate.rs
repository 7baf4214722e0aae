//! `/federate`: the latest samples of series, for another server to scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use barograph_model::labels::is_legacy_metric_name;
use barograph_model::{
    Clock, FloatHistogram, Labels, METRIC_NAME, SystemClock, TimeRange, is_stale, number,
};
use barograph_query::Cancel;
use barograph_tsdb::{Column, Snapshot};
use http::{StatusCode, header};

use super::error::{ApiError, ErrorKind};
use super::params::Params;
use super::query::on_pool;
use super::series::{selectors, unnamed};
use crate::app::{App, Core};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// `/federate`: what `match[]` selects, as exposition text with timestamps.
pub(super) async fn federate(State(app): State<Arc<App>>, core: Core, params: Params) -> Response {
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
        let mut families = Families::default();
        for matchers in &selectors {
            families.read(&snapshot, matchers, range)?;
        }
        Ok(families.page(&external))
    });
    match written.await {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(error) => plain_error(&error),
    }
}

fn plain_error(error: &ApiError) -> Response {
    let text = format!("{}\n", error.message);
    let status: StatusCode = error.kind.status();
    (status, text).into_response()
}

/// Series by metric name, each with its latest sample.
#[derive(Default)]
struct Families {
    seen: BTreeSet<Labels>,
    by_name: BTreeMap<String, Vec<(Labels, i64, Latest)>>,
}

/// The latest sample of a series.
enum Latest {
    Float(f64),
    /// One with custom bounds: the text format writes it as a classic histogram, and has no form
    /// for others.
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
            histogram
                .has_custom_bounds()
                .then(|| (*t, Latest::Histogram(histogram.clone())))
        }
        // What ended is not passed on.
        (Some((t, value)), _) => (!is_stale(*value)).then_some((*t, Latest::Float(*value))),
        _ => None,
    }
}

impl Families {
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
            let Some((timestamp_ms, value)) = latest(&column) else {
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
            family.push((labels.clone(), timestamp_ms, value));
        }
        Ok(())
    }

    fn page(self, external: &Labels) -> String {
        let mut page = String::new();
        for (name, mut series) in self.by_name {
            series.sort_by(|(a, ..), (b, ..)| a.cmp(b));
            let name = escaped(&name);
            let mut kind_before = "";
            for (labels, timestamp_ms, value) in series {
                let kind = match &value {
                    Latest::Float(_) => "untyped",
                    Latest::Histogram(_) => "histogram",
                };
                if kind != kind_before {
                    let _ = writeln!(page, "# TYPE {name} {kind}");
                    kind_before = kind;
                }
                let mut writer = Lines {
                    page: &mut page,
                    name: &name,
                    labels: &labels,
                    external,
                    timestamp_ms,
                };
                match value {
                    Latest::Float(value) => writer.line("", None, value),
                    Latest::Histogram(histogram) => writer.histogram(&histogram),
                }
            }
        }
        page
    }
}

/// Writes the lines of one series.
struct Lines<'a> {
    page: &'a mut String,
    name: &'a str,
    labels: &'a Labels,
    external: &'a Labels,
    timestamp_ms: i64,
}

impl Lines<'_> {
    /// The buckets below each bound, all of them, sum and count.
    fn histogram(&mut self, histogram: &FloatHistogram) {
        for bound in histogram.custom_bounds.iter() {
            let below = histogram.positive().filter(|b| b.upper <= *bound);
            let below: f64 = below.map(|bucket| bucket.count).sum();
            let mut le = String::new();
            number::push_go_g(&mut le, *bound);
            self.line("_bucket", Some(&le), below);
        }
        self.line("_bucket", Some("+Inf"), histogram.count);
        self.line("_sum", None, histogram.sum);
        self.line("_count", None, histogram.count);
    }

    fn line(&mut self, suffix: &str, le: Option<&str>, value: f64) {
        let (page, labels, external) = (&mut *self.page, self.labels, self.external);
        page.push_str(self.name);
        page.push_str(suffix);
        page.push('{');
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let missing = external.iter().filter(|(name, _)| !labels.has(name));
        // Without it, the server that scrapes this page would put this server's there.
        let has_instance = labels.has("instance") || external.has("instance");
        let empty = (!has_instance).then_some(("instance", ""));
        let le = le.map(|le| ("le", le));
        for (index, (name, value)) in own.chain(missing).chain(empty).chain(le).enumerate() {
            if index > 0 {
                page.push(',');
            }
            let _ = write!(page, "{}=\"", escaped(name));
            push_escaped(page, value);
            page.push('"');
        }
        page.push_str("} ");
        number::push_go_g(page, value);
        let _ = writeln!(page, " {}", self.timestamp_ms);
    }
}

/// A name in the characters of before UTF-8, others as `_`.
fn escaped(name: &str) -> String {
    if is_legacy_metric_name(name) {
        return name.to_owned();
    }
    let plain = |ch: char| ch.is_ascii_alphanumeric() || ch == '_' || ch == ':';
    let mut text: String = name
        .chars()
        .map(|ch| if plain(ch) { ch } else { '_' })
        .collect();
    if text.starts_with(|ch: char| ch.is_ascii_digit()) {
        text.replace_range(..1, "_");
    }
    text
}

fn push_escaped(page: &mut String, value: &str) {
    for ch in value.chars() {
        match ch {
            '\\' => page.push_str("\\\\"),
            '\n' => page.push_str("\\n"),
            '"' => page.push_str("\\\""),
            ch => page.push(ch),
        }
    }
}

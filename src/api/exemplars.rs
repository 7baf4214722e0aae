//! `/query_exemplars`.

use std::sync::Arc;

use axum::extract::State;
use barograph_model::{Exemplar, TimeRange, number};
use barograph_query::Cancel;
use barograph_tsdb::SeriesExemplars;

use super::error::ApiError;
use super::json::{Reply, push_labels, push_list, push_timestamp};
use super::params::Params;
use super::query::on_pool;
use crate::app::{App, Core};

/// `/query_exemplars`: exemplars of the series that an expression selects.
pub(super) async fn query_exemplars(
    State(app): State<Arc<App>>,
    core: Core,
    params: Params,
) -> Result<Reply, ApiError> {
    let range = TimeRange {
        start_ms: params.time_or("start", i64::MIN)?,
        end_ms: params.time_or("end", i64::MAX)?,
    };
    if range.end_ms < range.start_ms {
        return Err(ApiError::bad_data(
            "end timestamp must not be before start timestamp",
        ));
    }
    // Prometheus does not name the parameter here.
    let expr = barograph_query::parse_with(params.query()?, app.parse_options())
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    let db = core.db.clone();
    let job = move || {
        let selectors = expr.selectors().into_iter();
        let sets: Vec<_> = selectors.map(|s| s.matchers.clone()).collect();
        let found = db.snapshot().exemplars(&sets, range);
        let mut text = String::new();
        push_list(&mut text, &found, push_series);
        Ok(Reply::text(text))
    };
    on_pool(&core, Cancel::default(), job).await
}

fn push_series(out: &mut String, series: &SeriesExemplars) {
    out.push_str("{\"seriesLabels\":");
    push_labels(out, &series.labels);
    out.push_str(",\"exemplars\":");
    push_list(out, &series.exemplars, push_exemplar);
    out.push('}');
}

fn push_exemplar(out: &mut String, exemplar: &Exemplar) {
    out.push_str("{\"labels\":");
    push_labels(out, &exemplar.labels);
    out.push_str(",\"value\":\"");
    number::push_json(out, exemplar.value);
    out.push_str("\",\"timestamp\":");
    push_timestamp(out, exemplar.timestamp_ms);
    out.push('}');
}

//! `/status/*`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use barograph_model::duration::format_duration_ms;
use barograph_model::{Clock, SystemClock};
use barograph_query::Cancel;
use barograph_tsdb::Retention;
use serde::Serialize;

use super::error::ApiError;
use super::json::Reply;
use super::params::Params;
use super::query::on_pool;
use super::time::rfc3339;
use crate::app::{App, Core};
use crate::cli::{VERSION, format_size_bytes};
use crate::server::hostname;

/// Which Prometheus clients may take this server for: they switch features on by this number.
const COMPATIBLE_WITH: &str = "3.14.0";
/// Most rows per list of `/status/tsdb`.
const ROWS_LIMIT: usize = 10_000;
const ROWS_DEFAULT: usize = 10;

/// Facts about the build.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BuildInfo {
    version: String,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    application: &'static str,
    application_version: &'static str,
}

impl BuildInfo {
    /// This build.
    pub(super) fn new() -> Self {
        Self {
            version: format!("{COMPATIBLE_WITH}+barograph.{VERSION}"),
            revision: "",
            branch: "",
            build_user: "",
            build_date: "",
            go_version: "",
            application: "Barograph",
            application_version: VERSION,
        }
    }
}

/// `/status/buildinfo`.
pub(super) async fn build_info() -> Reply {
    Reply::of(&BuildInfo::new())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeInfo {
    start_time: String,
    #[serde(rename = "CWD")]
    working_directory: String,
    hostname: String,
    server_time: String,
    reload_config_success: bool,
    last_config_time: String,
    corruption_count: u64,
    goroutine_count: usize,
    #[serde(rename = "GOMAXPROCS")]
    threads: usize,
    #[serde(rename = "GOMEMLIMIT")]
    memory_limit_bytes: i64,
    #[serde(rename = "GOGC")]
    gogc: &'static str,
    #[serde(rename = "GODEBUG")]
    godebug: &'static str,
    storage_retention: String,
}

/// `/status/runtimeinfo`. What speaks of Go's runtime keeps its key and says what comes closest.
pub(super) async fn runtime_info(State(app): State<Arc<App>>, core: Core) -> Reply {
    let active = &core.active;
    let retention = app.settings.retention(active.config().retention);
    Reply::of(&RuntimeInfo {
        start_time: rfc3339(app.started_ms),
        working_directory: std::env::current_dir()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        hostname: hostname(),
        server_time: rfc3339(SystemClock.now_ms()),
        reload_config_success: active.last_reload_ok.load(Relaxed),
        last_config_time: rfc3339(active.loaded_ms.load(Relaxed) / 1000 * 1000),
        corruption_count: 0,
        goroutine_count: tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        memory_limit_bytes: i64::MAX,
        gogc: "",
        godebug: "",
        storage_retention: shown_retention(retention),
    })
}

/// The limits that are set, as Prometheus joins them.
fn shown_retention(retention: Retention) -> String {
    let mut limits = Vec::new();
    if retention.time_ms != 0 {
        limits.push(format_duration_ms(retention.time_ms));
    }
    if retention.size_bytes != 0 {
        limits.push(format_size_bytes(retention.size_bytes));
    }
    if retention.disk_percent != 0.0 {
        limits.push(format!("{}%", retention.disk_percent));
    }
    limits.join(" or ")
}

/// `/status/config`: the configuration in force as YAML.
pub(super) async fn config(core: Core) -> Reply {
    let config = core.active.config();
    Reply::of(&std::collections::BTreeMap::from([("yaml", &config.shown)]))
}

/// `/status/flags`: every flag's value.
pub(super) async fn flags(State(app): State<Arc<App>>) -> Reply {
    Reply::of(&app.settings.shown)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadRow {
    num_series: u64,
    num_label_pairs: u64,
    chunk_count: u64,
    min_time: i64,
    max_time: i64,
}

/// Samples out of order that are in memory: not one of Prometheus's figures.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LateRow {
    num_series: u64,
    num_samples: u64,
    bytes: u64,
    min_time: i64,
    max_time: i64,
    window_milliseconds: i64,
}

#[derive(Serialize)]
struct Row {
    name: String,
    value: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TsdbStatus {
    head_stats: HeadRow,
    series_count_by_metric_name: Vec<Row>,
    label_value_count_by_label_name: Vec<Row>,
    memory_in_bytes_by_label_name: Vec<Row>,
    series_count_by_label_value_pair: Vec<Row>,
    out_of_order: LateRow,
}

/// `/status/tsdb`: figures about the store.
pub(super) async fn tsdb(core: Core, params: Params) -> Result<Reply, ApiError> {
    let rows = match params.get("limit").map(str::parse::<usize>) {
        None => ROWS_DEFAULT,
        Some(Ok(rows)) if rows > 0 => rows,
        Some(_) => return Err(ApiError::bad_data("limit must be a positive number")),
    };
    if rows > ROWS_LIMIT {
        return Err(ApiError::bad_data(format!(
            "limit must not exceed {ROWS_LIMIT}"
        )));
    }
    let db = core.db.clone();
    let stats = on_pool(&core, Cancel::default(), move || Ok(db.stats(rows))).await?;
    let list = |rows: Vec<(String, u64)>| {
        rows.into_iter()
            .map(|(name, value)| Row { name, value })
            .collect()
    };
    Ok(Reply::of(&TsdbStatus {
        head_stats: HeadRow {
            num_series: stats.head.series,
            num_label_pairs: stats.head.label_pairs,
            chunk_count: stats.head.pages,
            // Prometheus's values for an empty head.
            min_time: stats.head.min_time_ms.unwrap_or(i64::MAX),
            max_time: stats.head.max_time_ms.unwrap_or(i64::MIN),
        },
        series_count_by_metric_name: list(stats.series_by_metric),
        label_value_count_by_label_name: list(stats.values_by_label),
        memory_in_bytes_by_label_name: list(stats.bytes_by_label),
        series_count_by_label_value_pair: list(stats.series_by_pair),
        out_of_order: LateRow {
            num_series: stats.late.series,
            num_samples: stats.late.samples,
            bytes: stats.late.bytes,
            min_time: stats.late.range.map_or(i64::MAX, |range| range.start_ms),
            max_time: stats.late.range.map_or(i64::MIN, |range| range.end_ms),
            window_milliseconds: stats.late.window_ms,
        },
    }))
}

/// `/status/walreplay`: segments of the log that are read at the start, and the one that is read.
pub(super) async fn wal_replay(State(app): State<Arc<App>>) -> Reply {
    let progress = app.opening_progress();
    Reply::text(format!(
        "{{\"min\":{},\"max\":{},\"current\":{}}}",
        progress.first_segment, progress.last_segment, progress.segment
    ))
}

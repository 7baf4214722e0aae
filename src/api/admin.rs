//! `/admin/tsdb/*` and `/status/tsdb/blocks`.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use barograph_model::{Clock, SystemClock, TimeRange};
use http::StatusCode;
use serde::Serialize;

use super::error::{ApiError, ErrorKind};
use super::json::Reply;
use super::params::Params;
use super::series::any_selector;
use super::time::rfc3339;
use crate::app::{App, Core};

/// The directory of snapshots in the data directory.
const SNAPSHOTS: &str = "snapshots";

/// `/admin/tsdb/delete_series`: deletes what the selectors find.
pub(super) async fn delete_series(
    State(app): State<Arc<App>>,
    core: Core,
    params: Params,
) -> Result<Response, ApiError> {
    allowed(&app)?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = TimeRange {
        start_ms: params.time_or("start", i64::MIN)?,
        end_ms: params.time_or("end", i64::MAX)?,
    };
    let selectors: Result<Vec<_>, _> = params.all("match[]").map(any_selector).collect();
    let selectors = selectors?;
    let db = core.db.clone();
    in_background(move || {
        for matchers in &selectors {
            db.delete_series(matchers, range).map_err(internal)?;
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `/admin/tsdb/clean_tombstones`: erases what was deleted.
pub(super) async fn clean_tombstones(
    State(app): State<Arc<App>>,
    core: Core,
) -> Result<Response, ApiError> {
    allowed(&app)?;
    let db = core.db.clone();
    in_background(move || db.clean_tombstones().map_err(internal)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Serialize)]
struct Written {
    name: String,
}

/// `/admin/tsdb/snapshot`: writes a snapshot below the data directory.
pub(super) async fn snapshot(
    State(app): State<Arc<App>>,
    core: Core,
    params: Params,
) -> Result<Reply, ApiError> {
    allowed(&app)?;
    let skip_head = match params.get("skip_head") {
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => true,
        None | Some("0" | "f" | "F" | "FALSE" | "false" | "False") => false,
        Some(other) => {
            let text = format!(
                "unable to parse boolean: strconv.ParseBool: parsing {other:?}: invalid syntax"
            );
            return Err(ApiError::parameter("skip_head", text));
        }
    };
    let now_ms = SystemClock.now_ms();
    let time: String = rfc3339(now_ms / 1000 * 1000)
        .chars()
        .filter(|ch| !matches!(ch, '-' | ':'))
        .collect();
    let name = format!("{time}-{:016x}", RandomState::new().hash_one(now_ms) >> 1);
    let directory = app.settings.data_path.join(SNAPSHOTS).join(&name);
    let db = core.db.clone();
    in_background(move || {
        let written = db.write_snapshot(&directory, skip_head);
        written.map_err(|error| internal(format!("create snapshot: {error}")))
    })
    .await?;
    Ok(Reply::of(&Written { name }))
}

#[derive(Serialize)]
struct Blocks {
    blocks: Vec<Block>,
}

/// A block in Prometheus's words; times end exclusively.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    ulid: String,
    min_time: i64,
    max_time: i64,
    stats: BlockStats,
    compaction: Compaction,
    version: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockStats {
    num_samples: u64,
    num_series: u64,
    num_chunks: u64,
    num_tombstones: u64,
    size_bytes: u64,
}

#[derive(Serialize)]
struct Compaction {
    level: u64,
    sources: Vec<String>,
}

/// `/status/tsdb/blocks`: the blocks there are.
pub(super) async fn blocks(core: Core) -> Reply {
    let infos = core.db.blocks().into_iter();
    let blocks = infos.map(|info| Block {
        min_time: info.start_ms,
        max_time: info.end_ms,
        stats: BlockStats {
            num_samples: info.samples,
            num_series: info.series,
            num_chunks: info.chunks,
            num_tombstones: info.tombstones,
            size_bytes: info.size_bytes,
        },
        compaction: Compaction {
            level: info.level,
            sources: vec![info.name.clone()],
        },
        ulid: info.name,
        version: 1,
    });
    Reply::of(&Blocks {
        blocks: blocks.collect(),
    })
}

fn allowed(app: &App) -> Result<(), ApiError> {
    if app.settings.enable_admin_api {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::Disabled, "admin APIs disabled"))
}

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::Internal, error.to_string())
}

/// Work on the disk, neither on a thread of the sockets nor in the place of a query.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| internal(format!("BUG: {error}")))?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::test_server::Server;

    async fn post(server: &Server, path: &str) -> (u16, String) {
        let url = format!("{}/api/v1/admin/tsdb/{path}", server.url);
        let reply = server.client.post(url).send().await.expect("a reply");
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    }

    #[tokio::test]
    async fn administration_is_off_unless_asked_for() {
        let server = Server::new().await;
        for path in ["snapshot", "delete_series", "clean_tombstones"] {
            // What Prometheus 3.14 answers, to the byte.
            let want =
                r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#;
            assert_eq!(post(&server, path).await, (500, want.to_owned()));
        }
    }

    #[tokio::test]
    async fn series_are_deleted_and_snapshots_open() {
        let server = Server::with("", &["--web.enable-admin-api"]).await;
        let series: [(&[(&str, &str)], f64); 2] = [
            (&[("__name__", "kept")], 1.0),
            (&[("__name__", "gone")], 2.0),
        ];
        server.store(&series);
        for (path, want) in [
            ("delete_series", "no match[] parameter provided"),
            (
                "delete_series?match[]=up&start=x",
                "invalid parameter \\\"start\\\": invalid time value for 'start': cannot parse \\\"x\\\" to a valid timestamp",
            ),
            (
                "delete_series?match[]=up%7B",
                "invalid parameter \\\"match[]\\\": ",
            ),
            (
                "snapshot?skip_head=x",
                "invalid parameter \\\"skip_head\\\": unable to parse boolean: strconv.ParseBool: parsing \\\"x\\\": invalid syntax",
            ),
        ] {
            let (status, text) = post(&server, path).await;
            assert_eq!(status, 400, "{path}: {text}");
            assert!(text.contains(want), "{path}: {text}");
        }
        let (status, text) = post(&server, "snapshot").await;
        assert_eq!(status, 200, "{text}");
        let name = text.split('"').rev().nth(1).expect("a name");
        let (status, _) = post(&server, "delete_series?match[]=gone").await;
        assert_eq!(status, 204);
        let (status, _) = post(&server, "clean_tombstones").await;
        assert_eq!(status, 204);
        let names = server.data("/api/v1/series?match[]=%7B__name__%3D~%22gone%7Ckept%22%7D");
        assert_eq!(names.await, json!([{"__name__": "kept"}]));
        let blocks = server.data("/api/v1/status/tsdb/blocks").await;
        assert_eq!(blocks, json!({"blocks": []}));
        let directory = server.directory.path().join("data/snapshots").join(name);
        let options = barograph_tsdb::Options::new(directory);
        let registry = barograph_instrument::Registry::new();
        let copy = barograph_tsdb::Db::open(options, &registry).expect("opens");
        assert_eq!(copy.stats(1).head.series, 2);
    }
}

//! The HTTP API: routes, and one module per group of them. The only place with JSON replies.

mod admin;
mod ast;
mod error;
mod exemplars;
mod federate;
mod json;
mod lifecycle;
mod metadata;
mod params;
mod query;
mod rules;
mod series;
mod status;
mod targets;
mod time;
mod web;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, Method, StatusCode, header};
use tower_http::compression::CompressionLayer;

use crate::app::App;
use crate::metrics::measure;
pub(crate) use error::{ApiError, ErrorKind};

pub(crate) use json::{ValueWriter, push_labels, push_list, push_string};
pub(crate) use query::push_profile;
pub(crate) use time::{parse_rfc3339, rfc3339};

/// Every route of the server, below the prefix.
pub(crate) fn router(app: Arc<App>) -> Router {
    let prefix = app.settings.route_prefix.trim_end_matches('/').to_owned();
    let routes = v1()
        .route("/federate", get(federate::federate))
        .merge(lifecycle::routes())
        .merge(web::routes())
        .route_layer(middleware::from_fn_with_state(app.clone(), measure))
        .fallback(web::not_found);
    let routes = if prefix.is_empty() {
        routes
    } else {
        // A nested router leaves out its own root with a slash behind; and people who come without
        // the prefix are shown where it is.
        Router::new()
            .nest(&prefix, routes)
            .route(&format!("{prefix}/"), get(web::home))
            .route("/", get(web::home))
            .fallback(web::not_found)
    };
    routes
        .layer(middleware::from_fn_with_state(app.clone(), cors))
        .layer(CompressionLayer::new().gzip(true))
        .with_state(app)
}

fn v1() -> Router<Arc<App>> {
    let routes = Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route(
            "/query_exemplars",
            get(exemplars::query_exemplars).post(exemplars::query_exemplars),
        )
        .route("/format_query", get(query::format).post(query::format))
        .route("/queries", get(query::running))
        .route("/queries/{id}", axum::routing::delete(query::cancel))
        .route("/parse_query", get(query::tree).post(query::tree))
        .route("/series", get(series::series).post(series::series))
        .route(
            "/labels",
            get(series::label_names).post(series::label_names),
        )
        .route("/label/{name}/values", get(series::label_values))
        .route("/write", post(write::write))
        .route("/metadata", get(metadata::metadata))
        .route("/targets", get(targets::targets))
        .route("/targets/metadata", get(metadata::of_targets))
        .route("/scrape_pools", get(targets::scrape_pools))
        .route("/alertmanagers", get(targets::alertmanagers))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/notifications", get(rules::notifications))
        .route("/notifications/deliveries", get(rules::deliveries))
        .route("/status/buildinfo", get(status::build_info))
        .route("/status/runtimeinfo", get(status::runtime_info))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/tsdb/blocks", get(admin::blocks))
        .route("/status/walreplay", get(status::wal_replay))
        .route(
            "/admin/tsdb/snapshot",
            post(admin::snapshot).put(admin::snapshot),
        )
        .route(
            "/admin/tsdb/delete_series",
            post(admin::delete_series).put(admin::delete_series),
        )
        .route(
            "/admin/tsdb/clean_tombstones",
            post(admin::clean_tombstones).put(admin::clean_tombstones),
        )
        .fallback(no_such_route);
    Router::new().nest("/api/v1", routes)
}

async fn no_such_route(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::new(
        ErrorKind::NotFound,
        format!("no such API endpoint: {}", uri.path()),
    )
}

/// Lets pages of allowed origins read replies, and answers their preflight requests.
async fn cors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_api = request.uri().path().contains("/api/");
    let mut reply = if request.method() == Method::OPTIONS && is_api {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    if !is_api {
        return reply;
    }
    let headers = reply.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin
        && origin
            .to_str()
            .is_ok_and(|text| app.settings.cors_origin.is_match(text))
    {
        let everyone = app.settings.cors_origin.as_str() == ".*";
        let allowed = if everyone {
            HeaderValue::from_static("*")
        } else {
            origin
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        for (name, value) in [
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Accept, Authorization, Content-Type, Origin",
            ),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    reply
}

#[cfg(test)]
mod reply_tests;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

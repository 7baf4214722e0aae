//! `/-/healthy`, `/-/ready`, `/-/reload`, `/-/quit`, `/metrics`, `/version`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use barograph_instrument::Format;
use http::{HeaderMap, StatusCode, header};

use super::status::BuildInfo;
use crate::app::{App, not_ready};

/// The routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", get(only_post).post(reload).put(reload))
        .route("/-/quit", get(only_post).post(quit).put(quit))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
}

async fn healthy() -> &'static str {
    "Barograph is Healthy.\n"
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.core() {
        Some(_) => "Barograph is Ready.\n".into_response(),
        None => not_ready(&app),
    }
}

async fn reload(State(app): State<Arc<App>>) -> Response {
    if !app.settings.enable_lifecycle {
        return disabled();
    }
    match app.reload().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn quit(State(app): State<Arc<App>>) -> Response {
    if !app.settings.enable_lifecycle {
        return disabled();
    }
    app.quit.notify_one();
    "Requesting termination... Goodbye!".into_response()
}

fn disabled() -> Response {
    let text = "Lifecycle API is not enabled. Start with --web.enable-lifecycle to allow this, or send SIGHUP to reload and SIGTERM to stop.\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

async fn only_post() -> Response {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        "Only POST or PUT requests allowed",
    )
        .into_response()
}

async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = Format::negotiate(accept.unwrap_or_default());
    let mut page = String::new();
    app.registry.encode(format, &mut page);
    ([(header::CONTENT_TYPE, format.content_type())], page).into_response()
}

async fn version() -> Response {
    json_page(&BuildInfo::new())
}

fn json_page(value: &impl serde::Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    (super::json::CONTENT_TYPE, text).into_response()
}

//! The web pages and their files.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};

use crate::app::App;
use crate::cli::Settings;

/// The pages of the UI. Each is the same document; its script reads the address.
const PAGES: [&str; 12] = [
    "/query",
    "/alerts",
    "/rules",
    "/targets",
    "/service-discovery",
    "/status",
    "/tsdb-status",
    "/flags",
    "/config",
    "/alertmanager-discovery",
    "/notifications",
    "/dashboards",
];

/// Files outside `/assets`.
const FILES: [&str; 4] = [
    "/favicon.svg",
    "/favicon.ico",
    "/manifest.json",
    "/robots.txt",
];

/// The routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/", get(home))
        .route("/graph", get(graph))
        .route("/assets/{*path}", get(asset));
    for page in PAGES {
        router = router.route(page, get(index));
    }
    for file in FILES {
        router = router.route(file, get(top_file));
    }
    router
}

/// What no route serves. API clients get JSON.
pub(super) async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    if path.contains("/api/") {
        let message = format!("no such API endpoint: {path}");
        return super::ApiError::new(super::ErrorKind::NotFound, message).into_response();
    }
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

/// To the first page.
pub(super) async fn home(State(app): State<Arc<App>>) -> Response {
    redirect(&app, "query", None)
}

/// Links of Prometheus 2 lead to the page of today.
async fn graph(State(app): State<Arc<App>>, request: Request) -> Response {
    redirect(&app, "query", request.uri().query())
}

fn redirect(app: &App, page: &str, query: Option<&str>) -> Response {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}{page}{query}", public_path(&app.settings));
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

/// The path under which people reach this server, ending in a slash. A proxy may strip it, so it is
/// the external URL's and not the prefix of our routes.
fn public_path(settings: &Settings) -> String {
    let external_url = match settings.external_url.as_str() {
        "" => &settings.route_prefix,
        url => url,
    };
    let behind_scheme = external_url
        .split_once("://")
        .map_or(external_url, |(_, rest)| rest);
    let path = behind_scheme
        .find('/')
        .map_or("", |at| &behind_scheme[at..]);
    format!("{}/", path.trim_end_matches('/'))
}

async fn index(State(app): State<Arc<App>>) -> Response {
    let nonce = nonce();
    let page = barograph_ui::index(&public_path(&app.settings), &nonce);
    let page = with_title(page, &app.settings.page_title);
    let policy = barograph_ui::content_security_policy(&nonce);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "same-origin".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, page).into_response()
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    file(&format!("assets/{path}"), &headers)
}

async fn top_file(request: Request) -> Response {
    let path = request.uri().path();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    file(&name, request.headers())
}

fn file(path: &str, headers: &HeaderMap) -> Response {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
            .unwrap_or_default()
    };
    let Some(asset) = barograph_ui::asset(path, text(header::ACCEPT_ENCODING)) else {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    };
    let cache = if asset.immutable {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut reply = HeaderMap::new();
    let mut set = |name, value: &str| {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            reply.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, asset.content_type);
    set(header::CACHE_CONTROL, cache);
    set(header::ETAG, &asset.etag);
    set(header::VARY, "Accept-Encoding");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if text(header::IF_NONE_MATCH)
        .split(',')
        .any(|tag| tag.trim() == asset.etag)
    {
        return (StatusCode::NOT_MODIFIED, reply).into_response();
    }
    if let Some(encoding) = asset.encoding {
        set(header::CONTENT_ENCODING, encoding);
    }
    let bytes: bytes::Bytes = match asset.bytes {
        std::borrow::Cow::Borrowed(bytes) => bytes::Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => bytes.into(),
    };
    (reply, bytes).into_response()
}

/// The page with its title replaced.
fn with_title(page: String, title: &str) -> String {
    let Some((head, rest)) = page.split_once("<title>") else {
        return page;
    };
    let Some((_, tail)) = rest.split_once("</title>") else {
        return page;
    };
    let title = title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!("{head}<title>{title}</title>{tail}")
}

/// 128 bits nobody can guess: SipHash under keys the system's random source gave.
fn nonce() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

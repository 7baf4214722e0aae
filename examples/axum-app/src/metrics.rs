//! What the service counts about itself, and the middleware that counts it.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use barograph_instrument::{Buckets, Counter, Family, Gauge, Histogram, Registry, labels};

labels! {
    /// What requests are counted by.
    pub(crate) struct Answered<'a> {
        method: &'static str,
        path: &'a str,
        status: u16,
    }
}

labels! {
    /// What the duration of requests is measured by.
    pub(crate) struct Route<'a> {
        method: &'static str,
        path: &'a str,
    }
}

/// The metrics of the service.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered<'static>, Counter>,
    duration: Family<Route<'static>, Histogram>,
    in_flight: Gauge,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        Self {
            requests: registry.counter_family("http_requests_total", "Requests answered."),
            duration: registry.histogram_family(
                "http_request_duration_seconds",
                "Time from a request to its answer.",
                Buckets::web(),
            ),
            in_flight: registry.gauge("http_requests_in_flight", "Requests being answered now."),
            registry,
        }
    }
}

/// Answers `/metrics`, in the format the scraper asks for.
pub(crate) async fn scrape(State(metrics): State<Metrics>, request: Request) -> Response {
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (content_type, body) = metrics.registry.scrape(accept);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// Measures every request that passes.
pub(crate) async fn measure(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    // The pattern, not the path: paths that anyone can invent must not become series.
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut measured = Measured {
        metrics: &metrics,
        method: known(request.method()),
        path: path.as_ref().map_or("unmatched", MatchedPath::as_str),
        status: CLIENT_WENT_AWAY,
        start: Instant::now(),
    };
    let _in_flight = metrics.in_flight.track();
    let response = next.run(request).await;
    measured.status = response.status();
    drop(measured);
    response
}

/// What stays when a request is dropped before its answer: nginx's code for it.
const CLIENT_WENT_AWAY: StatusCode = match StatusCode::from_u16(499) {
    Ok(code) => code,
    Err(_) => unreachable!(),
};

/// Counts a request when it is dropped: also when the client goes away before the answer.
struct Measured<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    path: &'a str,
    status: StatusCode,
    start: Instant,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        let (method, path, status) = (self.method, self.path, self.status.as_u16());
        self.metrics.requests.update(
            &Answered {
                method,
                path,
                status,
            },
            Counter::inc,
        );
        let seconds = self.start.elapsed().as_secs_f64();
        self.metrics
            .duration
            .update(&Route { method, path }, |duration| {
                duration.observe(seconds);
            });
    }
}

/// The method, if it is a usual one: clients can send any word.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

//! Metrics of this crate, under Prometheus's names.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use barograph_instrument::{Buckets, Counter, Family, Gauge, Histogram, Registry, labels};
use hyper::body::Body as _;

use crate::app::App;
use crate::cli::VERSION;

labels! {
    /// What requests are counted by.
    pub(crate) struct Answer { handler: String, code: u16 }
}

labels! {
    /// What requests are measured by.
    pub(crate) struct Handler { handler: String }
}

labels! {
    /// Facts about the build.
    pub(crate) struct Build {
        branch: &'static str,
        goarch: &'static str,
        goos: &'static str,
        goversion: &'static str,
        revision: &'static str,
        tags: &'static str,
        version: &'static str,
    }
}

/// The metrics.
pub(crate) struct ServerMetrics {
    requests: Family<Answer, Counter>,
    durations: Family<Handler, Histogram>,
    sizes: Family<Handler, Histogram>,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Connections that had to wait because as many as allowed were open.
    pub(crate) connections_delayed: Counter,
    /// 1 while requests are answered.
    pub(crate) ready: Gauge,
    reload_successful: Gauge,
    reload_success_time: Gauge,
}

impl ServerMetrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Self {
        let build = registry.gauge_family::<Build>(
            "prometheus_build_info",
            "Facts about the build of this server, value 1.",
        );
        let facts = Build {
            branch: "",
            goarch: std::env::consts::ARCH,
            goos: std::env::consts::OS,
            goversion: "",
            revision: "",
            tags: "barograph",
            version: VERSION,
        };
        build.with(&facts).set(1.0);
        Self {
            requests: registry
                .counter_family("prometheus_http_requests_total", "HTTP requests answered."),
            durations: registry.histogram_family(
                "prometheus_http_request_duration_seconds",
                "Time to answer an HTTP request.",
                Buckets::new([0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0]),
            ),
            sizes: registry.histogram_family(
                "prometheus_http_response_size_bytes",
                "Size of replies to HTTP requests whose size is known when they begin.",
                Buckets::exponential(100.0, 10.0, 8),
            ),
            connections: registry.gauge("barograph_http_connections", "Connections that are open."),
            connections_delayed: registry.counter(
                "barograph_http_connections_delayed_total",
                "Connections that waited because --web.max-connections were open.",
            ),
            ready: registry.gauge(
                "prometheus_ready",
                "Whether the server has started and answers requests.",
            ),
            reload_successful: registry.gauge(
                "prometheus_config_last_reload_successful",
                "Whether the last attempt to load the configuration went well.",
            ),
            reload_success_time: registry.gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded.",
            ),
        }
    }

    /// An attempt to load the configuration ended.
    pub(crate) fn config_loaded(&self, successful: bool, now_ms: i64) {
        self.reload_successful.set(f64::from(u8::from(successful)));
        if successful {
            self.reload_success_time.set(now_ms as f64 / 1000.0);
        }
    }
}

/// Counts and measures one request.
pub(crate) async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let prefix = app.settings.route_prefix.trim_end_matches('/').to_owned();
    let handler = match request.extensions().get::<MatchedPath>() {
        // Prometheus's name for the route: `/api/v1/label/:name/values`.
        Some(path) => path
            .as_str()
            .strip_prefix(&prefix)
            .unwrap_or(path.as_str())
            .replace("{*", "*")
            .replace('{', ":")
            .replace('}', ""),
        None => "/*".to_owned(),
    };
    let began = Instant::now();
    let reply = next.run(request).await;
    let by = Handler {
        handler: handler.clone(),
    };
    app.metrics
        .durations
        .with(&by)
        .observe(began.elapsed().as_secs_f64());
    if let Some(size) = reply.body().size_hint().exact() {
        app.metrics.sizes.with(&by).observe(size as f64);
    }
    let answer = Answer {
        handler,
        code: reply.status().as_u16(),
    };
    app.metrics.requests.with(&answer).inc();
    reply
}

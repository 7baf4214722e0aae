//! The routes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::{Metrics, measure, scrape};

type Parameters = Query<HashMap<String, String>>;

/// The service; `/user` fails at `error_ratio` unless it is asked for another ratio.
pub(crate) fn router(error_ratio: f64) -> Router {
    let metrics = Metrics::new();
    Router::new()
        .route("/", get(|| async { "Try /user, /cpu and /metrics.\n" }))
        .route("/user", get(user).with_state(error_ratio))
        .route("/cpu", get(cpu))
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is nothing here.\n") })
        .layer(middleware::from_fn_with_state(metrics.clone(), measure))
        // Added after the layer, and so not measured.
        .route("/metrics", get(scrape).with_state(metrics))
}

/// A ratio from 0 to 1 as text, or `default` where there is none.
pub(crate) fn ratio(text: Option<&str>, default: f64) -> Result<f64, &str> {
    let Some(text) = text else { return Ok(default) };
    text.parse()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or(text)
}

/// Answers after a short wait, and fails now and then, as often as `?fail=` says.
async fn user(State(error_ratio): State<f64>, Query(parameters): Parameters) -> Response {
    let Ok(ratio) = ratio(parameters.get("fail").map(String::as_str), error_ratio) else {
        return (StatusCode::BAD_REQUEST, "fail is a number from 0 to 1\n").into_response();
    };
    tokio::time::sleep(Duration::from_secs_f64(0.005 + 0.045 * random())).await;
    if random() < ratio {
        let body = "{\"error\":\"the user store is away\"}\n";
        return (StatusCode::INTERNAL_SERVER_ERROR, json(body)).into_response();
    }
    json("{\"id\":1,\"name\":\"Ada\"}\n").into_response()
}

/// Keeps a processor busy for about `?ms=50` (at most two seconds).
async fn cpu(Query(parameters): Parameters) -> Response {
    let wanted: u64 = match parameters.get("ms").map_or(Ok(50), |ms| ms.parse()) {
        Ok(ms) => ms,
        Err(_) => return (StatusCode::BAD_REQUEST, "ms is a whole number\n").into_response(),
    };
    let wanted = Duration::from_millis(wanted.min(2000));
    // Not on the threads that serve connections.
    let worked = tokio::task::spawn_blocking(move || {
        let end = Instant::now() + wanted;
        let mut sum = 0.0;
        while Instant::now() < end {
            sum += random().sqrt();
        }
        sum
    });
    match worked.await {
        Ok(sum) => json(format!(
            "{{\"busy_ms\":{},\"sum\":{sum}}}\n",
            wanted.as_millis()
        ))
        .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn json(body: impl Into<String>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], body.into())
}

/// A number from 0 to 1, random enough for an example.
fn random() -> f64 {
    (RandomState::new().hash_one(0u8) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn ask(service: &Router, method: &str, path: &str, accept: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .expect("a request");
        let response = service.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn what_is_asked_is_counted_by_its_pattern() {
        let service = router(0.0);
        for (method, path, want) in [
            ("GET", "/", StatusCode::OK),
            ("GET", "/user", StatusCode::OK),
            ("GET", "/user?fail=1", StatusCode::INTERNAL_SERVER_ERROR),
            ("GET", "/user?fail=2", StatusCode::BAD_REQUEST),
            ("GET", "/cpu?ms=1", StatusCode::OK),
            ("GET", "/invented/by/a/stranger", StatusCode::NOT_FOUND),
            ("INVENTED", "/", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            assert_eq!(
                ask(&service, method, path, "").await.0,
                want,
                "{method} {path}"
            );
        }
        let (_, page) = ask(&service, "GET", "/metrics", "").await;
        for want in [
            "http_requests_total{method=\"GET\",path=\"/\",status=\"200\"} 1\n",
            "http_requests_total{method=\"GET\",path=\"/user\",status=\"500\"} 1\n",
            "http_requests_total{method=\"GET\",path=\"/cpu\",status=\"200\"} 1\n",
            "http_requests_total{method=\"GET\",path=\"unmatched\",status=\"404\"} 1\n",
            "http_requests_total{method=\"other\",path=\"/\",status=\"405\"} 1\n",
            "http_request_duration_seconds_count{method=\"GET\",path=\"/user\"} 3\n",
            "http_requests_in_flight 0\n",
        ] {
            assert!(page.contains(want), "{want} in:\n{page}");
        }
        assert!(
            !page.contains("/metrics"),
            "scrapes are not counted:\n{page}"
        );
        let (_, page) = ask(&service, "GET", "/metrics", "application/openmetrics-text").await;
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_is_counted_too() {
        let service = router(0.0);
        let request = Request::get("/user")
            .body(Body::empty())
            .expect("a request");
        let answer = service.clone().oneshot(request);
        tokio::time::timeout(Duration::from_millis(1), answer)
            .await
            .expect_err("too early");
        let (_, page) = ask(&service, "GET", "/metrics", "").await;
        let want = "http_requests_total{method=\"GET\",path=\"/user\",status=\"499\"} 1\n";
        assert!(page.contains(want), "{page}");
        assert!(page.contains("http_requests_in_flight 0\n"), "{page}");
    }
}

//! The HTTP client of all destinations.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::{Attempt, Policy};

/// Most redirects followed.
const REDIRECT_LIMIT: usize = 5;
/// How much of an error's body is quoted, bytes.
const BODY_LIMIT_BYTES: usize = 512;
/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestError {
    /// What happened. Names no URL: it may be a secret.
    pub message: String,
    /// Whether it may go better next time.
    pub may_retry: bool,
    /// Alertmanager's word for the kind of failure.
    pub reason: &'static str,
}

/// Posts JSON. Redirects are followed only where they stay on the same host, so that nobody else
/// sees alerts or credentials.
#[derive(Clone)]
pub(super) struct Client {
    client: Result<reqwest::Client, String>,
}

impl Client {
    pub(super) fn new() -> Self {
        // Another part of the program may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("barograph/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(same_host))
            .connect_timeout(CONNECT_LIMIT)
            .no_proxy()
            .build()
            .map_err(|error| chain(&error));
        if let Err(error) = &client {
            tracing::error!(
                "the HTTP client cannot be made, no notification will be sent: {error}"
            );
        }
        Self { client }
    }

    /// Posts `body`. Any 2xx is success.
    pub(super) async fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        let client = self.client.as_ref().map_err(|error| RequestError {
            message: error.clone(),
            may_retry: false,
            reason: "other",
        })?;
        let mut response = client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .timeout(timeout)
            .body(body)
            .send()
            .await
            .map_err(|error| failure(error, timeout))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        if status.is_redirection() {
            return Err(RequestError {
                message: format!(
                    "answered with a redirect (status {}), which is not followed to another place: \
                     set the URL to where it leads",
                    status.as_u16()
                ),
                may_retry: false,
                reason: "clientError",
            });
        }
        let mut message = format!("unexpected status code {}", status.as_u16());
        let mut body = Vec::new();
        while body.len() < BODY_LIMIT_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(BODY_LIMIT_BYTES);
        let details = String::from_utf8_lossy(&body);
        if !details.trim().is_empty() {
            message = format!("{message}: {}", details.trim().escape_debug());
        }
        let reason = match status.as_u16() {
            401 | 403 => "authError",
            429 => "rateLimited",
            400..=499 => "clientError",
            500..=599 => "serverError",
            _ => "other",
        };
        Err(RequestError {
            message,
            may_retry: status.is_server_error(),
            reason,
        })
    }
}

/// A request that brought no response.
fn failure(error: reqwest::Error, timeout: Duration) -> RequestError {
    if error.is_timeout() && !error.is_connect() {
        return RequestError {
            message: format!("no answer within {}", seconds(timeout)),
            may_retry: true,
            reason: "contextDeadlineExceeded",
        };
    }
    RequestError {
        // A URL that is none does not become one.
        may_retry: !error.is_builder(),
        message: chain(&error.without_url()),
        reason: "other",
    }
}

fn same_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let stays = attempt.previous().first().is_some_and(|first| {
        let to = attempt.url();
        first.host_str() == to.host_str()
            && first.port_or_known_default() == to.port_or_known_default()
            && first.scheme() == to.scheme()
    });
    // 301 to 303 turn a POST into a GET, which delivers nothing.
    let keeps_method = matches!(attempt.status().as_u16(), 307 | 308);
    if stays && keeps_method && attempt.previous().len() <= REDIRECT_LIMIT {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// An error with its causes: the first alone often says nothing.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

fn seconds(duration: Duration) -> String {
    barograph_model::duration::format_duration_ms(duration.as_millis() as i64)
}

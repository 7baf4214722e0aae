//! `/write`: receives remote write.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use barograph_scraper::{Message, REMOTE_WRITE_LIMIT_BYTES, RemoteWriteError, Written};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::LengthLimitError;

use crate::app::{App, Core};

/// The content type of both messages.
const PROTOBUF: &str = "application/x-protobuf";
/// Names of the messages, as content types and the flag have them.
const MESSAGES: [(&str, Message); 2] = [
    ("prometheus.WriteRequest", Message::V1),
    ("io.prometheus.write.v2.Request", Message::V2),
];
/// Seconds after which a sender may come again while the store takes nothing.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// `/write`: stores a request.
pub(super) async fn write(State(app): State<Arc<App>>, core: Core, request: Request) -> Response {
    let Some(receiver) = &core.remote_write else {
        let text =
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver";
        return plain(StatusCode::NOT_FOUND, text);
    };
    let message = match message(request.headers(), &app.settings.remote_write_messages) {
        Ok(message) => message,
        Err(text) => return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text),
    };
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let kibibytes = length
        .unwrap_or(REMOTE_WRITE_LIMIT_BYTES)
        .clamp(1, REMOTE_WRITE_LIMIT_BYTES)
        .div_ceil(1024) as u32;
    let Ok(room) = app.write_bodies.clone().try_acquire_many_owned(kibibytes) else {
        return later("requests that wait to be stored fill the memory set aside for them");
    };
    let reading = axum::body::to_bytes(request.into_body(), REMOTE_WRITE_LIMIT_BYTES);
    let body = match tokio::time::timeout(app.settings.read_timeout, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => {
            let limited = std::error::Error::source(&error)
                .is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
            if limited {
                let text =
                    format!("request body exceeds the {REMOTE_WRITE_LIMIT_BYTES} bytes limit");
                return plain(StatusCode::PAYLOAD_TOO_LARGE, text);
            }
            return plain(StatusCode::BAD_REQUEST, error);
        }
        Err(_) => {
            let text = "the request did not arrive in --web.read-timeout";
            return plain(StatusCode::REQUEST_TIMEOUT, text);
        }
    };
    let Ok(permit) = app.writers.clone().acquire_owned().await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    };
    let receiver = receiver.clone();
    let received = tokio::task::spawn_blocking(move || {
        let _permit = (permit, room);
        receiver.receive(message, &body)
    });
    let (written, outcome) = match received.await {
        Ok(received) => received,
        Err(panic) => return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("BUG: {panic}")),
    };
    let mut reply = match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(RemoteWriteError::Refused(text)) => plain(StatusCode::BAD_REQUEST, text),
        Err(RemoteWriteError::Unavailable(text)) => later(text),
    };
    if message == Message::V2 {
        say_written(reply.headers_mut(), written);
    }
    reply
}

/// Which message a request has.
fn message(headers: &HeaderMap, accepted: &[String]) -> Result<Message, String> {
    let text = |name| headers.get(name).map_or(Ok(""), HeaderValue::to_str);
    let encoding = text(header::CONTENT_ENCODING).unwrap_or("?");
    if !encoding.is_empty() && encoding != "snappy" {
        return Err(format!(
            "{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
        ));
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or("?");
    let mut parts = kind.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && media != PROTOBUF {
        return Err(format!(
            "expected {PROTOBUF} as the first (media) part, got {kind} content-type"
        ));
    }
    let mut name = MESSAGES[0].0;
    for parameter in parts {
        let Some((key, value)) = parameter.split_once('=') else {
            return Err(format!(
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {parameter} in {kind} content-type"
            ));
        };
        if key.trim() == "proto" {
            name = value.trim();
        }
    }
    let Some((name, message)) = MESSAGES.iter().find(|(known, _)| *known == name) else {
        return Err(format!(
            "got {kind} content type; unknown remote write protobuf message {name}, supported: {}, {}",
            MESSAGES[0].0, MESSAGES[1].0
        ));
    };
    if !accepted.iter().any(|one| one == name) {
        return Err(format!(
            "{name} protobuf message is not accepted by this server; only accepts {}",
            accepted.join(", ")
        ));
    }
    Ok(*message)
}

fn say_written(headers: &mut HeaderMap, written: Written) {
    for (name, count) in [
        ("x-prometheus-remote-write-samples-written", written.samples),
        (
            "x-prometheus-remote-write-histograms-written",
            written.histograms,
        ),
        (
            "x-prometheus-remote-write-exemplars-written",
            written.exemplars,
        ),
    ] {
        headers.insert(name, HeaderValue::from(count));
    }
}

/// The store takes nothing now: the sender is to come again.
fn later(text: impl std::fmt::Display) -> Response {
    let mut reply = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    reply.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    reply
}

fn plain(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, format!("{text}\n")).into_response()
}

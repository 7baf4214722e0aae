//! Asking a target for its page.

mod connection;
mod headers;
mod proxy;
mod redirect;
mod tls;

pub(crate) use headers::RequestHeaders;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use barograph_model::duration::format_duration_ms;

use crate::config::ScrapeConfig;
use crate::error::ScrapeError;
use crate::parse::Dialect;
use crate::target::Target;

use connection::HttpClient;
use proxy::ProxyClient;
use tls::TlsFiles;

/// Most bytes of a body, uncompressed, where the configuration sets no limit.
pub(crate) const BODY_LIMIT_BYTES: u64 = 128 << 20;
/// How the built-in limit is named in messages.
const BUILT_IN_LIMIT: &str = "the built-in limit; set body_size_limit to allow more";

/// What is shared by the targets of one job.
pub(crate) struct JobClient {
    pub(crate) headers: RequestHeaders,
    tls: TlsFiles,
    proxy: Option<ProxyClient>,
    follow_redirects: bool,
    /// What makes the settings unusable, or none.
    broken: Option<String>,
    pub(crate) body_limit: u64,
    pub(crate) body_limit_setting: &'static str,
    fallback: Option<Format>,
}

/// A page as it came.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The bytes of the body.
    pub(crate) raw: Vec<u8>,
    /// Whether they are gzip.
    pub(crate) gzip: bool,
    /// How the page is written.
    pub(crate) format: Format,
}

/// An answer's head and body.
pub(crate) struct Answer {
    pub(crate) status: http::StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) raw: Vec<u8>,
}

/// What a fetch is waiting for, for the message of a timeout.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    phase: Arc<Mutex<String>>,
}

/// The way to one target.
pub(crate) enum Fetcher {
    /// A kept connection.
    Http(HttpClient),
    /// Through a proxy, with the job's client.
    Proxy,
}

impl Progress {
    pub(crate) fn set(&self, phase: impl Into<String>) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase.into();
    }

    fn get(&self) -> String {
        self.phase
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl JobClient {
    /// Prepares the client of a job. Settings that cannot be used show at each of its targets.
    pub(crate) fn new(config: &ScrapeConfig) -> Self {
        let mut broken = None;
        let headers = RequestHeaders::new(config).unwrap_or_else(|reason| {
            broken = Some(reason);
            RequestHeaders::default()
        });
        let tls = TlsFiles::new(config.http.tls.clone());
        let proxy = match &config.http.proxy_url {
            None => None,
            Some(url) => ProxyClient::new(url, &tls)
                .map_err(|reason| broken = Some(reason))
                .ok(),
        };
        let (body_limit, body_limit_setting) = match config.body_size_limit_bytes {
            0 => (BODY_LIMIT_BYTES, BUILT_IN_LIMIT),
            limit => (limit.min(u64::from(u32::MAX)), "body_size_limit"),
        };
        Self {
            headers,
            tls,
            proxy,
            follow_redirects: config.http.follow_redirects,
            broken,
            body_limit,
            body_limit_setting,
            fallback: config
                .fallback_scrape_protocol
                .as_deref()
                .map(format_of_protocol),
        }
    }

    pub(crate) fn body_limit_error(&self) -> ScrapeError {
        ScrapeError::BodyLimit {
            limit: self.body_limit,
            setting: self.body_limit_setting,
        }
    }
}

impl Fetcher {
    /// The way to a target of `job`.
    pub(crate) fn new(job: &JobClient) -> Self {
        if job.proxy.is_some() {
            Self::Proxy
        } else {
            Self::Http(HttpClient::default())
        }
    }

    /// Fetches the target's page within its timeout, into `buffer` where it can.
    ///
    /// # Errors
    /// Anything between here and a 200 with a body in a known format.
    pub(crate) async fn fetch(
        &mut self,
        job: &JobClient,
        target: &Target,
        buffer: Vec<u8>,
    ) -> Result<Fetched, ScrapeError> {
        if let Some(reason) = &job.broken {
            return Err(ScrapeError::Settings(reason.clone()));
        }
        let progress = Progress::default();
        let timeout = Duration::from_millis(target.timeout_ms.unsigned_abs());
        let exchange = async {
            match self {
                Self::Http(client) => {
                    client.buffer = buffer;
                    client.get(job, target, &progress).await
                }
                Self::Proxy => match &job.proxy {
                    Some(proxy) => proxy.get(job, target, &progress).await,
                    None => Err(ScrapeError::Settings("no proxy is set".to_owned())),
                },
            }
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => judge(job, target, answer?),
            Err(_) => Err(ScrapeError::Timeout {
                timeout: format_duration_ms(target.timeout_ms),
                phase: progress.get(),
            }),
        }
    }
}

/// Decides whether an answer is a page of metrics.
fn judge(job: &JobClient, target: &Target, answer: Answer) -> Result<Fetched, ScrapeError> {
    if answer.status != http::StatusCode::OK {
        let reason = answer.status.canonical_reason().unwrap_or_default();
        return Err(ScrapeError::Status {
            status: format!("{} {reason}", answer.status.as_u16())
                .trim_end()
                .to_owned(),
            hint: match answer.status.as_u16() {
                401 | 403 => ": set basic_auth or authorization for this job, or check them",
                404 => ": is metrics_path right?",
                300..=399 => ": the redirect was not followed (follow_redirects, or too many)",
                _ => "",
            },
        });
    }
    let header = |name| {
        answer
            .headers
            .get(name)
            .and_then(|v: &http::HeaderValue| v.to_str().ok())
    };
    let gzip = header(http::header::CONTENT_ENCODING) == Some("gzip");
    let content_type = header(http::header::CONTENT_TYPE).unwrap_or_default();
    let format = match negotiate(content_type) {
        Ok(format) => format,
        Err(what) => {
            let html = media_type(content_type).is_some_and(|media| media == "text/html");
            match job.fallback {
                Some(format) => format,
                None if html => {
                    let url = target.endpoint.url.clone();
                    return Err(ScrapeError::Html { url });
                }
                None => return Err(ScrapeError::ContentType { what }),
            }
        }
    };
    Ok(Fetched {
        raw: answer.raw,
        gzip,
        format,
    })
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines of text.
    Text(Dialect),
    /// Protocol buffers.
    Protobuf,
}

/// Whether a body is a web page rather than metrics.
pub(crate) fn is_html(body: &[u8]) -> bool {
    let head = body.trim_ascii_start();
    ["<!doctype", "<html"].iter().any(|tag| {
        head.get(..tag.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(tag.as_bytes()))
    })
}

/// The format of a Content-Type, or what is wrong with it.
fn negotiate(content_type: &str) -> Result<Format, String> {
    if content_type.is_empty() {
        return Err("the answer has no Content-Type".to_owned());
    }
    match media_type(content_type).as_deref() {
        Some("text/plain") => Ok(Format::Text(Dialect::Text)),
        Some("application/openmetrics-text") => Ok(Format::Text(Dialect::OpenMetrics)),
        // As Prometheus: of other encodings and messages nothing is said to be metrics.
        Some("application/vnd.google.protobuf") if is_delimited(content_type) => {
            Ok(Format::Protobuf)
        }
        Some(_) => Err(format!(
            "the answer's Content-Type {content_type:?} is not supported"
        )),
        None => Err(format!(
            "the answer's Content-Type {content_type:?} cannot be parsed"
        )),
    }
}

/// The media type in lower case, without parameters.
fn media_type(content_type: &str) -> Option<String> {
    let media = content_type.split(';').next()?.trim().to_ascii_lowercase();
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'/' && b != b',')
    };
    match media.split_once('/') {
        Some((kind, subtype)) => (token(kind) && token(subtype)).then_some(media),
        None => token(&media).then_some(media),
    }
}

fn format_of_protocol(protocol: &str) -> Format {
    match protocol {
        "PrometheusProto" => Format::Protobuf,
        _ if protocol.starts_with("OpenMetrics") => Format::Text(Dialect::OpenMetrics),
        _ => Format::Text(Dialect::Text),
    }
}

/// Whether the parameters name delimited metric families.
fn is_delimited(content_type: &str) -> bool {
    let has = |wanted: &str| {
        let mut parameters = content_type.split(';').skip(1).map(str::trim);
        parameters.any(|parameter| parameter.eq_ignore_ascii_case(wanted))
    };
    has("proto=io.prometheus.client.MetricFamily") && has("encoding=delimited")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (text, want) in [
            ("text/plain", Some(Format::Text(Dialect::Text))),
            (
                "text/plain; version=0.0.4; charset=utf-8",
                Some(Format::Text(Dialect::Text)),
            ),
            (
                "Text/Plain;version=1.0.0",
                Some(Format::Text(Dialect::Text)),
            ),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                Some(Format::Protobuf),
            ),
            (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                Some(Format::Text(Dialect::OpenMetrics)),
            ),
            ("", None),
            ("text/html; charset=utf-8", None),
            ("application/json", None),
            ("application/vnd.google.protobuf", None),
            (";", None),
        ] {
            assert_eq!(negotiate(text).ok(), want, "{text:?}");
        }
    }
}

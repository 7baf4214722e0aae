//! The headers of a scrape.

use std::path::Path;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};

use crate::config::{BasicAuth, ScrapeConfig, Secret};
use crate::error::ScrapeError;

/// Some targets know the scraper by this name.
const AGENT: &str = concat!(
    "Prometheus/3.14.0 (compatible; Barograph/",
    env!("CARGO_PKG_VERSION"),
    ")"
);
/// Quality of the first protocol, in tenths: one more than there are protocols in all.
const FIRST_QUALITY: usize = 6;

/// What a job sends with each request.
#[derive(Default)]
pub(crate) struct RequestHeaders {
    /// Sent to every host.
    common: HeaderMap,
    /// From the configuration: sent to the target's host only.
    own: HeaderMap,
    basic_auth: Option<BasicAuth>,
    authorization: Option<(String, Secret)>,
}

impl RequestHeaders {
    /// Builds what does not change.
    ///
    /// # Errors
    /// A header that cannot be sent, in words.
    pub(crate) fn new(config: &ScrapeConfig) -> Result<Self, String> {
        let mut common = HeaderMap::new();
        let value = |name: &str, text: &str| {
            HeaderValue::from_str(text).map_err(|_| {
                format!("the header {name} cannot be sent: it holds control characters")
            })
        };
        common.insert(
            ACCEPT,
            value(
                "Accept",
                &accept(&config.scrape_protocols, config.legacy_names),
            )?,
        );
        let encoding = if config.enable_compression {
            "gzip"
        } else {
            "identity"
        };
        common.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        common.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let mut own = HeaderMap::new();
        for (name, text) in &config.http.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{name:?} is not a header name"))?;
            let mut text = value(name.as_str(), text)?;
            text.set_sensitive(true);
            own.append(name, text);
        }
        Ok(Self {
            common,
            own,
            basic_auth: config.http.basic_auth.clone(),
            authorization: config.http.authorization.clone(),
        })
    }

    /// The headers of one request. `trusted` is whether it goes to the target's own host:
    /// credentials go nowhere else.
    ///
    /// # Errors
    /// A secret's file cannot be read.
    pub(crate) async fn of_request(
        &self,
        timeout_ms: i64,
        trusted: bool,
    ) -> Result<HeaderMap, ScrapeError> {
        let mut headers = self.common.clone();
        let seconds = barograph_model::number::json(timeout_ms as f64 / 1000.0);
        if let Ok(seconds) = HeaderValue::from_str(&seconds) {
            headers.insert("x-prometheus-scrape-timeout-seconds", seconds);
        }
        if !trusted {
            return Ok(headers);
        }
        for (name, value) in &self.own {
            headers.append(name, value.clone());
        }
        let credentials = if let Some(auth) = &self.basic_auth {
            let password = read(&auth.password).await?;
            Some(format!(
                "Basic {}",
                base64(format!("{}:{password}", auth.username).as_bytes())
            ))
        } else if let Some((kind, secret)) = &self.authorization {
            Some(format!("{kind} {}", read(secret).await?))
        } else {
            None
        };
        if let Some(credentials) = credentials {
            let mut value = HeaderValue::from_str(&credentials).map_err(|_| {
                ScrapeError::Settings("the credentials hold control characters".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

async fn read(secret: &Secret) -> Result<String, ScrapeError> {
    match secret {
        Secret::Inline(text) => Ok(text.clone()),
        Secret::File(path) => read_file(path).await,
    }
}

async fn read_file(path: &Path) -> Result<String, ScrapeError> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(ScrapeError::Settings(format!(
            "cannot read the secret in {}: {error}",
            path.display()
        ))),
    }
}

/// The Accept header: each protocol with a falling weight, then anything.
fn accept(protocols: &[String], legacy_names: bool) -> String {
    let escaping = if legacy_names {
        "underscores"
    } else {
        "allow-utf-8"
    };
    let mut accept = String::new();
    let mut quality = FIRST_QUALITY;
    for protocol in protocols {
        let media = match protocol.as_str() {
            "OpenMetricsText1.0.0" => {
                format!("application/openmetrics-text;version=1.0.0;escaping={escaping}")
            }
            "OpenMetricsText0.0.1" => "application/openmetrics-text;version=0.0.1".to_owned(),
            "PrometheusText1.0.0" => format!("text/plain;version=1.0.0;escaping={escaping}"),
            "PrometheusText0.0.4" => "text/plain;version=0.0.4".to_owned(),
            "PrometheusProto" => concat!(
                "application/vnd.google.protobuf",
                ";proto=io.prometheus.client.MetricFamily;encoding=delimited"
            )
            .to_owned(),
            // What is not read is not offered.
            _ => continue,
        };
        accept.push_str(&media);
        push_quality(&mut accept, quality);
        accept.push(',');
        quality = quality.saturating_sub(1).max(1);
    }
    accept.push_str("*/*");
    push_quality(&mut accept, quality);
    accept
}

fn push_quality(accept: &mut String, tenths: usize) {
    accept.push_str(";q=0.");
    accept.push_str(&tenths.to_string());
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            if index <= chunk.len() {
                text.push(ALPHABET[(word >> (18 - 6 * index) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_prometheus_s() {
        let config = ScrapeConfig::new("j");
        assert_eq!(
            accept(&config.scrape_protocols, false),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            accept(
                &["PrometheusProto".into(), "PrometheusText1.0.0".into()],
                true
            ),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             text/plain;version=1.0.0;escaping=underscores;q=0.5,*/*;q=0.4"
        );
    }

    #[test]
    fn base64_is_padded() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("user:pass", "dXNlcjpwYXNz"),
        ] {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }
}

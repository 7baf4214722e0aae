//! Request parameters: from the URL and from a form, decoded once, read by name.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use barograph_model::duration::parse_duration_ms;
use http::{Method, header};

use super::error::ApiError;
use super::time::parse_rfc3339;
use crate::app::App;

/// Most bytes of a form, as Go's server allows.
pub(crate) const FORM_LIMIT_BYTES: usize = 10 << 20;
/// Most parameters of a request.
const PARAMETERS_LIMIT: usize = 10_000;
/// Most bytes of a query text.
const QUERY_LIMIT_BYTES: usize = 1 << 20;
/// The instants that stand for "no bound", as Go clients send them.
const MIN_TIME: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME: &str = "292277025-08-18T07:12:54.999999999Z";

/// The parameters of a request: those of a form before those of the URL, as in Go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Decodes `application/x-www-form-urlencoded` text.
    pub(crate) fn decode(text: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(name)?, decode(value)?));
            if pairs.len() > PARAMETERS_LIMIT {
                return Err(ApiError::bad_data(format!(
                    "more than {PARAMETERS_LIMIT} parameters"
                )));
            }
        }
        Ok(Self { pairs })
    }

    /// The first value of a parameter, where it is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let first = self.pairs.iter().find(|(have, _)| have == name);
        first
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// The text of the parameter `query`.
    pub(crate) fn query(&self) -> Result<&str, ApiError> {
        let text = self.get("query").unwrap_or_default();
        if text.len() > QUERY_LIMIT_BYTES {
            return Err(ApiError::parameter(
                "query",
                format!("longer than {QUERY_LIMIT_BYTES} bytes"),
            ));
        }
        Ok(text)
    }

    /// An instant that must be there.
    pub(crate) fn time(&self, name: &str) -> Result<i64, ApiError> {
        parse_time(self.get(name).unwrap_or_default())
            .map_err(|error| ApiError::parameter(name, error))
    }

    /// An instant that may be left out.
    pub(crate) fn time_or(&self, name: &str, default_ms: i64) -> Result<i64, ApiError> {
        self.get(name).map_or(Ok(default_ms), |text| {
            parse_time(text).map_err(|error| {
                ApiError::parameter(name, format!("invalid time value for '{name}': {error}"))
            })
        })
    }

    /// A duration that must be there, milliseconds.
    pub(crate) fn duration(&self, name: &str) -> Result<i64, ApiError> {
        parse_duration(self.get(name).unwrap_or_default())
            .map_err(|error| ApiError::parameter(name, error))
    }

    /// A duration that may be left out, milliseconds.
    pub(crate) fn duration_opt(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|_| self.duration(name)).transpose()
    }

    /// `limit`: 0 and absent are no limit.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else {
            return Ok(usize::MAX);
        };
        match text.parse::<i64>() {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Ok(_) => Err(ApiError::parameter("limit", "limit must be non-negative")),
            Err(_) => Err(ApiError::parameter(
                "limit",
                format!("strconv.Atoi: parsing {text:?}: invalid syntax"),
            )),
        }
    }
}

impl FromRequest<Arc<App>> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let url = request.uri().query().unwrap_or_default().to_owned();
        let is_form = request.method() == Method::POST
            && request
                .headers()
                .get(header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let mut params = Self::default();
        if is_form {
            let reading = axum::body::to_bytes(request.into_body(), FORM_LIMIT_BYTES);
            let body = tokio::time::timeout(app.settings.read_timeout, reading)
                .await
                .map_err(|_| {
                    ApiError::bad_data(
                        "error reading form: it did not arrive in --web.read-timeout",
                    )
                })?
                .map_err(|error| {
                    ApiError::bad_data(format!(
                        "error reading form (at most {FORM_LIMIT_BYTES} bytes are read): {error}"
                    ))
                })?;
            let text = std::str::from_utf8(&body)
                .map_err(|_| ApiError::bad_data("error parsing form values: not UTF-8"))?;
            params = Self::decode(text)?;
        }
        params.pairs.extend(Self::decode(&url)?.pairs);
        Ok(params)
    }
}

/// Reads seconds since the epoch (fractions rounded to milliseconds) or RFC 3339.
fn parse_time(text: &str) -> Result<i64, String> {
    let fail = || format!("cannot parse {text:?} to a valid timestamp");
    match text {
        MIN_TIME => return Ok(i64::MIN),
        MAX_TIME => return Ok(i64::MAX),
        _ => {}
    }
    if let Some(seconds) = parse_float(text) {
        if seconds.is_nan() {
            return Err(fail());
        }
        // Whole and fraction apart, as Prometheus rounds; `as` saturates.
        let (whole, fraction) = (seconds.trunc(), seconds.fract());
        return Ok((whole as i64)
            .saturating_mul(1000)
            .saturating_add((fraction * 1000.0).round() as i64));
    }
    parse_rfc3339(text).ok_or_else(fail)
}

/// Reads seconds or a Prometheus duration; returns milliseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let ms = seconds * 1000.0;
        // The range of Go's durations, which count nanoseconds.
        if !(i64::MIN as f64 / 1e6..=i64::MAX as f64 / 1e6).contains(&ms) {
            return Err(format!(
                "cannot parse {text:?} to a valid duration. It overflows int64"
            ));
        }
        return Ok(ms as i64);
    }
    parse_duration_ms(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

fn parse_float(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if !plain && !matches!(text.trim_start_matches(['+', '-']), "Inf" | "inf") {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Digits that overflow are no number; an infinity is only what says so.
    (!plain || value.is_finite()).then_some(value)
}

/// Undoes percent encoding; `+` is a space.
pub(crate) fn decode(text: &str) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| (b as char).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => {
                        return Err(ApiError::bad_data(format!(
                            "error parsing form values: invalid URL escape in {text:?}"
                        )));
                    }
                }
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| ApiError::bad_data("error parsing form values: not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let params =
            Params::decode("query=sum%28up%29+%2B+1&match[]=a&match[]=b&empty=&x").expect("valid");
        assert_eq!(params.get("query"), Some("sum(up) + 1"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (params.get("empty"), params.get("x"), params.get("y")),
            (None, None, None)
        );
        for bad in ["a=%", "a=%2", "a=%zz", "a=%ff"] {
            assert!(Params::decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read() {
        for (text, want) in [
            ("1.5", Some(1500)),
            ("1.0005", Some(1000)),
            ("1e30", Some(i64::MAX)),
            ("-1", Some(-1000)),
            ("1e3", Some(1_000_000)),
            ("1234567890.1234", Some(1_234_567_890_123)),
            ("2026-11-21T09:30:02.692Z", Some(1_795_253_402_692)),
            (MIN_TIME, Some(i64::MIN)),
            (MAX_TIME, Some(i64::MAX)),
            ("", None),
            ("NaN", None),
            ("1e400", None),
            ("soon", None),
        ] {
            assert_eq!(parse_time(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, want) in [
            ("15", Some(15_000)),
            ("0.25", Some(250)),
            ("1m30s", Some(90_000)),
            ("-1", Some(-1000)),
            ("", None),
            ("1x", None),
            ("1e300", None),
            ("Inf", None),
        ] {
            assert_eq!(parse_duration(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn limits_are_read() {
        for (text, want) in [
            ("", Some(usize::MAX)),
            ("limit=0", Some(usize::MAX)),
            ("limit=7", Some(7)),
            ("limit=-1", None),
            ("limit=x", None),
        ] {
            let params = Params::decode(text).expect("valid");
            assert_eq!(params.limit().ok(), want, "{text}");
        }
    }
}

//! Questions to a server.

use std::fmt::Write as _;
use std::time::Duration;

use barograph_scraper::HttpSettings;
use reqwest::header::CONTENT_TYPE;

use super::client::{Client, reason};
use super::{Access, Question, range};

/// Longest wait for an answer: a server gives up on queries earlier.
const TIMEOUT: Duration = Duration::from_mins(5);
/// Longest wait for a word of a server about itself.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer accepted, bytes.
const ANSWER_LIMIT_BYTES: usize = 1 << 30;

/// The text of the reply.
///
/// # Errors
/// The server cannot be asked, or its answer is too large.
pub(super) fn ask(
    url: &str,
    access: &Access,
    question: &Question,
    profile: bool,
) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let (path, mut form) = request(question);
    if profile {
        form.push_str("&profile=true");
    }
    let url = format!("{url}/api/v1/{path}");
    let client = access.client(TIMEOUT)?;
    runtime.block_on(send(&url, &client, form))
}

/// The text at a path of a server's own, such as `/-/ready`.
///
/// # Errors
/// The server cannot be asked, or says no.
pub(in crate::tools) fn reach(url: &str, path: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let url = format!("{}{path}", url.trim_end_matches('/'));
    runtime.block_on(async {
        let fail = |error: reqwest::Error| format!("{url}: {}", reason(&error));
        let client = Client::new(&HttpSettings::default(), &[], REACH_TIMEOUT)?;
        let response = client.get(&url).send().await.map_err(fail)?;
        let status = response.status();
        let text = response.text().await.map_err(fail)?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(format!("{url}: {status}: {}", text.trim()))
        }
    })
}

async fn send(url: &str, client: &Client, form: String) -> Result<String, String> {
    let fail = |error: reqwest::Error| format!("{url}: {}", reason(&error));
    let request = if url.contains("/label/") {
        // This one is asked by GET alone.
        client.get(&format!("{url}?{form}"))
    } else {
        client
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
    };
    let mut response = request.send().await.map_err(fail)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(fail)? {
        if body.len() + piece.len() > ANSWER_LIMIT_BYTES {
            return Err(format!(
                "{url}: the answer is longer than {ANSWER_LIMIT_BYTES} bytes: ask for less"
            ));
        }
        body.extend_from_slice(&piece);
    }
    let text = String::from_utf8(body).map_err(|_| format!("{url}: the answer is no text"))?;
    if status.is_success() || text.starts_with('{') {
        return Ok(text);
    }
    let advice = match status.as_u16() {
        401 | 403 => ": give credentials with --http.config.file",
        404 => ": is this the address of a server with Prometheus's HTTP API?",
        _ => "",
    };
    Err(format!("{url}: {status}{advice}"))
}

/// The path below `/api/v1/`, and the parameters.
fn request(question: &Question) -> (String, String) {
    let mut form = Form::default();
    let path = match question {
        Question::Instant { expr, time_ms } => {
            form.text("query", expr).time("time", *time_ms);
            "query".to_owned()
        }
        Question::Range {
            expr,
            start_ms,
            end_ms,
            step_ms,
        } => {
            let (start_ms, end_ms, step_ms) = range(*start_ms, *end_ms, *step_ms);
            form.text("query", expr)
                .time("start", Some(start_ms))
                .time("end", Some(end_ms))
                .time("step", Some(step_ms));
            "query_range".to_owned()
        }
        Question::Series {
            selectors,
            start_ms,
            end_ms,
        } => {
            form.selectors(selectors, *start_ms, *end_ms);
            "series".to_owned()
        }
        Question::Labels {
            name,
            selectors,
            start_ms,
            end_ms,
        } => {
            form.selectors(selectors, *start_ms, *end_ms);
            match name {
                Some(name) => format!("label/{}/values", encoded(name)),
                None => "labels".to_owned(),
            }
        }
    };
    (path, form.0)
}

/// Parameters as a form writes them.
#[derive(Default)]
struct Form(String);

impl Form {
    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        let _ = write!(self.0, "{}={}", encoded(name), encoded(value));
        self
    }

    fn time(&mut self, name: &str, time_ms: Option<i64>) -> &mut Self {
        if let Some(time_ms) = time_ms {
            self.text(name, &format!("{}", time_ms as f64 / 1000.0));
        }
        self
    }

    fn selectors(&mut self, selectors: &[String], start_ms: Option<i64>, end_ms: Option<i64>) {
        for selector in selectors {
            self.text("match[]", selector);
        }
        self.time("start", start_ms).time("end", end_ms);
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_become_requests() {
        let question = Question::Range {
            expr: "a + b".into(),
            start_ms: Some(1500),
            end_ms: Some(60_000),
            step_ms: Some(10_000),
        };
        assert_eq!(
            request(&question),
            (
                "query_range".to_owned(),
                "query=a%20%2B%20b&start=1.5&end=60&step=10".to_owned()
            )
        );
        let question = Question::Labels {
            name: Some("job".into()),
            selectors: vec!["up".into()],
            start_ms: None,
            end_ms: None,
        };
        assert_eq!(
            request(&question),
            ("label/job/values".to_owned(), "match%5B%5D=up".to_owned())
        );
    }
}

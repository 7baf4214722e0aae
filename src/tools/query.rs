//! `barograph query`: questions from the shell, to a server or to a data directory.

mod client;
mod local;
mod picture;
mod plot;
mod remote;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use barograph_model::{Clock, SystemClock};
use barograph_scraper::HttpSettings;
use serde_json::Value;

use crate::chart::Body;

pub(crate) use picture::Pictures;
pub(super) use remote::reach;

/// Who is asked.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A server that speaks Prometheus's HTTP API; its URL without `/api/v1`.
    Server(String),
    /// A data directory; a server may have it open.
    Directory(PathBuf),
}

impl Source {
    /// From the command line: what begins like a URL is one.
    pub(crate) fn new(text: &str) -> Self {
        if text.starts_with("http://") || text.starts_with("https://") {
            Self::Server(text.trim_end_matches('/').to_owned())
        } else {
            Self::Directory(text.into())
        }
    }
}

/// What is asked. Times in milliseconds since the Unix epoch; now where absent.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// The value of an expression at a time.
    Instant { expr: String, time_ms: Option<i64> },
    /// Its values over time; an hour up to now where no bounds are given, in steps that make at
    /// most 250 of it.
    Range {
        expr: String,
        start_ms: Option<i64>,
        end_ms: Option<i64>,
        step_ms: Option<i64>,
    },
    /// The series that selectors find.
    Series {
        selectors: Vec<String>,
        start_ms: Option<i64>,
        end_ms: Option<i64>,
    },
    /// The names of labels, or the values of one.
    Labels {
        name: Option<String>,
        selectors: Vec<String>,
        start_ms: Option<i64>,
        end_ms: Option<i64>,
    },
}

impl Question {
    /// The same with the bounds of a range filled in, so that everyone means the same ones.
    fn at(&self, now_ms: i64) -> Self {
        let mut question = self.clone();
        if let Self::Range {
            start_ms,
            end_ms,
            step_ms,
            ..
        } = &mut question
        {
            let (start, end, step) = range(*start_ms, end_ms.or(Some(now_ms)), *step_ms);
            (*start_ms, *end_ms, *step_ms) = (Some(start), Some(end), Some(step));
        }
        question
    }
}

/// How the answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// As the HTTP API replies.
    Json,
    /// A line per value, a column per label.
    Csv,
}

/// What a server wants to see of who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// Headers of requests, as `Name: value`.
    pub(crate) headers: Vec<String>,
    /// A file with credentials and TLS, in Prometheus's format for HTTP clients.
    pub(crate) config: Option<PathBuf>,
}

impl Access {
    fn client(&self, timeout: Duration) -> Result<client::Client, String> {
        let (settings, notices) = match &self.config {
            Some(path) => crate::config::http_client_file(path)?,
            None => (HttpSettings::default(), Vec::new()),
        };
        for notice in &notices {
            complain!("barograph: {}", notice.text);
        }
        client::Client::new(&settings, &self.headers, timeout)
    }
}

/// A question, whom to ask and how to show the answer.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) source: Source,
    pub(crate) question: Question,
    pub(crate) format: Format,
    /// Draw the values over time in the terminal.
    pub(crate) plot: bool,
    /// Draw the answer into files.
    pub(crate) pictures: Pictures,
    /// Show where the time went.
    pub(crate) profile: bool,
    /// For a server.
    pub(crate) access: Access,
}

/// Asks and shows: success where there is an answer, even an empty one.
pub(crate) fn run(query: &Query) -> ExitCode {
    let question = query.question.at(SystemClock.now_ms());
    let asked = match &query.source {
        Source::Server(url) => remote::ask(url, &query.access, &question, query.profile),
        Source::Directory(path) => local::ask(path, &question, query.profile),
    };
    let reply = match asked.and_then(|text| Reply::read(&text).map(|reply| (text, reply))) {
        Ok((text, reply)) => {
            if query.format == Format::Json {
                say_line!("{text}");
                return ExitCode::SUCCESS;
            }
            reply
        }
        Err(error) => {
            complain!("barograph: {error}");
            return ExitCode::FAILURE;
        }
    };
    for text in &reply.notes {
        complain!("{text}");
    }
    if !query.pictures.is_empty() {
        if let Err(error) = query.pictures.write(&question, &reply.data) {
            complain!("barograph: {error}");
            return ExitCode::FAILURE;
        }
    } else if query.plot {
        match terminal_picture(query, &question, &reply.data) {
            Ok(picture) => say!("{picture}"),
            Err(error) => complain!("barograph: {error}"),
        }
    } else {
        let show = match query.format {
            Format::Csv => show::csv,
            Format::Table | Format::Json => show::table,
        };
        say!("{}", show(&reply.data));
    }
    if query.profile {
        match show::profile(&reply.data["profile"]) {
            Some(profile) => say!("\n{profile}"),
            None => complain!("barograph: this server gives no profiles"),
        }
    }
    ExitCode::SUCCESS
}

/// The data of a server's reply, and its warnings and infos.
///
/// # Errors
/// The server cannot be asked, or says no.
pub(crate) fn ask_server(
    url: &str,
    headers: &[String],
    question: &Question,
) -> Result<(Value, Vec<String>), String> {
    let access = Access {
        headers: headers.to_vec(),
        config: None,
    };
    let text = remote::ask(url, &access, question, false)?;
    let reply = Reply::read(&text).map_err(|error| format!("{url}: {error}"))?;
    Ok((reply.data, reply.notes))
}

/// The answer drawn with characters.
fn terminal_picture(query: &Query, question: &Question, data: &Value) -> Result<String, String> {
    let chart = query.pictures.chart(question, data)?;
    let Body::Lines(lines) = &chart.body else {
        return Err("native histograms are drawn by --png and --svg only".to_owned());
    };
    let nothing = || "nothing to plot: no series has values in this range".to_owned();
    plot::draw(&chart, lines).ok_or_else(nothing)
}

/// What the API replied.
struct Reply {
    data: Value,
    /// Warnings and infos.
    notes: Vec<String>,
}

impl Reply {
    /// # Errors
    /// The text is no reply, or says that something failed.
    fn read(text: &str) -> Result<Self, String> {
        let mut reply: Value = serde_json::from_str(text).map_err(|_| {
            "the answer is no JSON: is this the address of a server with Prometheus's HTTP API?"
                .to_owned()
        })?;
        if reply["status"] != "success" {
            let error = reply["error"].as_str().unwrap_or("no reason given");
            let kind = reply["errorType"].as_str().unwrap_or("error");
            return Err(format!("{kind}: {error}"));
        }
        let notes = ["warnings", "infos"]
            .iter()
            .filter_map(|name| reply[*name].as_array())
            .flatten()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect();
        Ok(Self {
            data: reply["data"].take(),
            notes,
        })
    }
}

/// Bounds and step of a range, filled in.
fn range(start_ms: Option<i64>, end_ms: Option<i64>, step_ms: Option<i64>) -> (i64, i64, i64) {
    const HOUR_MS: i64 = 3_600_000;
    const STEPS: i64 = 250;
    let end_ms = end_ms.unwrap_or_else(|| SystemClock.now_ms());
    let start_ms = start_ms.unwrap_or(end_ms - HOUR_MS);
    let step_ms = step_ms.unwrap_or_else(|| ((end_ms - start_ms) / STEPS / 1000 * 1000).max(1000));
    (start_ms, end_ms, step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_say_no_are_errors() {
        let text = r#"{"status":"error","errorType":"bad_data","error":"no"}"#;
        assert_eq!(Reply::read(text).err().as_deref(), Some("bad_data: no"));
        assert!(Reply::read("<html>").is_err());
        let text = r#"{"status":"success","data":["a"],"warnings":["w"]}"#;
        let reply = Reply::read(text).expect("a success");
        assert_eq!(
            (reply.data[0].as_str(), reply.notes),
            (Some("a"), vec!["w".to_owned()])
        );
    }

    #[test]
    fn a_range_is_filled_in() {
        assert_eq!(
            range(Some(0), Some(3_600_000), None),
            (0, 3_600_000, 14_000)
        );
        assert_eq!(range(Some(0), Some(10_000), None), (0, 10_000, 1000));
    }
}

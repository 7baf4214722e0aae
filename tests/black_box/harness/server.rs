//! The shipped binary, started as a user would.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::exposition::{LabelMap, read_number};
use super::http::{Answer, form, get, post};
use super::process::Process;
use super::wait::wait_for;

/// From the start of the process to its first answer.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("BAROGRAPH_BINARY").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_barograph")),
        PathBuf::from,
    )
}

/// A directory with what a server is started from.
pub(crate) struct Setup {
    directory: TempDir,
    arguments: Vec<String>,
}

/// A running server, ready for requests.
pub(crate) struct Server {
    setup: Setup,
    process: Process,
    address: SocketAddr,
    url: String,
    /// From the start of the process to the first "ready".
    pub(crate) ready_after: Duration,
}

/// One series with its samples.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: LabelMap,
    /// Milliseconds since the epoch, and the value's text.
    pub(crate) samples: Vec<(i64, String)>,
}

impl Series {
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The last sample's value.
    pub(crate) fn value(&self) -> f64 {
        read_number(&self.samples.last().expect("a sample").1)
    }
}

impl Setup {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("barograph-test-")
            .tempdir()
            .expect("a temporary directory");
        Self {
            directory,
            arguments: vec!["--web.listen-address=127.0.0.1:0".to_owned()],
        }
    }

    /// A set-up with this `prometheus.yml`.
    pub(crate) fn with_config(config: &str) -> Self {
        Self::new()
            .file("prometheus.yml", config)
            .argument("--config.file=prometheus.yml")
    }

    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the binary without waiting for anything.
    pub(crate) fn spawn(&self, name: &str) -> Process {
        let mut command = Command::new(binary());
        command.args(&self.arguments).current_dir(self.path());
        Process::start(name, command, self.path())
    }

    /// Starts the binary, which must refuse: its exit code and what it wrote.
    pub(crate) fn refused(&self) -> (i32, String) {
        let mut process = self.spawn("refused");
        let status = process.wait(Duration::from_secs(15));
        (status.code().unwrap_or(-1), process.output())
    }

    /// Starts the binary and waits until it is ready.
    pub(crate) fn start(self) -> Server {
        let (process, address, url, ready_after) = self.launch();
        Server {
            setup: self,
            process,
            address,
            url,
            ready_after,
        }
    }

    fn launch(&self) -> (Process, SocketAddr, String, Duration) {
        let start = Instant::now();
        let mut process = self.spawn("barograph");
        let url = wait_for("URL printed", START_LIMIT, || {
            if let Some(status) = process.ended() {
                panic!("barograph ended with {status}:\n{}", process.output());
            }
            printed_urls(&process.output())
                .into_iter()
                .next()
                .ok_or_else(|| process.output())
        });
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let address: SocketAddr = address
            .replace("localhost", "127.0.0.1")
            .parse()
            .unwrap_or_else(|_| panic!("{url} is no URL of an address"));
        wait_for("readiness", START_LIMIT, || {
            match super::http::request(address, "GET", "/-/ready", &[], b"") {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        (process, address, url, start.elapsed())
    }
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// What it has written so far.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// Waits until what it has written contains all of `words` in one line.
    pub(crate) fn wait_for_log(&self, words: &[&str]) -> String {
        let what = format!("log line with {words:?}");
        wait_for(&what, Duration::from_secs(20), || {
            let output = self.output();
            let line = output
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned).ok_or(output)
        })
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same directory. The process must have ended.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "the server still runs");
        let (process, address, url, ready_after) = self.setup.launch();
        self.process = process;
        self.address = address;
        self.url = url;
        self.ready_after = ready_after;
    }

    /// SIGTERM; must end by itself, without an error.
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(20));
        assert!(status.success(), "ended with {status}: {}", self.output());
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.address, path)
    }

    /// A GET of the API with parameters.
    pub(crate) fn api(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Answer {
        self.get(&format!("/api/v1/{endpoint}?{}", form(parameters)))
    }

    /// A form POST to the API.
    pub(crate) fn api_post(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Answer {
        let path = format!("/api/v1/{endpoint}");
        let body = form(parameters);
        post(
            self.address,
            &path,
            "application/x-www-form-urlencoded",
            &body,
        )
    }

    /// The `data` of an answer that must be a success.
    pub(crate) fn data(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Value {
        let answer = self.api(endpoint, parameters);
        let json = answer.json();
        assert_eq!(
            json["status"], "success",
            "{endpoint} {parameters:?}: {json}"
        );
        assert_eq!(answer.status, 200);
        json["data"].clone()
    }

    /// An instant query now.
    pub(crate) fn query(&self, expression: &str) -> Vec<Series> {
        read_result(&self.data("query", &[("query", expression)]))
    }

    /// An instant query at a time, milliseconds.
    pub(crate) fn query_at(&self, expression: &str, time_ms: i64) -> Vec<Series> {
        let time = format!("{}.{:03}", time_ms / 1000, time_ms % 1000);
        read_result(&self.data("query", &[("query", expression), ("time", &time)]))
    }

    /// The value of an expression that yields one series or a scalar.
    pub(crate) fn value(&self, expression: &str) -> f64 {
        let result = self.query(expression);
        assert_eq!(result.len(), 1, "{expression} yields {result:?}");
        result[0].value()
    }

    /// Waits until an expression yields something.
    pub(crate) fn wait_for_result(&self, expression: &str, limit: Duration) -> Vec<Series> {
        wait_for(&format!("result of {expression}"), limit, || {
            let result = self.query(expression);
            if result.is_empty() {
                Err(format!("nothing; targets: {}", self.data("targets", &[])))
            } else {
                Ok(result)
            }
        })
    }

    /// The active target of a job, once it has been scraped.
    pub(crate) fn wait_for_target(&self, job: &str, health: &str) -> Value {
        wait_for(
            &format!("{health} target of {job}"),
            Duration::from_secs(20),
            || {
                let data = self.data("targets", &[]);
                let targets = data["activeTargets"].as_array().expect("a list");
                targets
                    .iter()
                    .find(|target| target["labels"]["job"] == job && target["health"] == health)
                    .cloned()
                    .ok_or_else(|| data.to_string())
            },
        )
    }

    /// The sum of a metric's series on the server's own `/metrics`, 0 where there are none.
    pub(crate) fn own_metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").text();
        super::exposition::read_samples(&page)
            .iter()
            .filter(|(labels, _)| labels["__name__"] == name)
            .map(|(_, value)| value)
            .sum()
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock past 1970").as_millis() as i64
}

/// Every URL of this server in what it printed.
pub(crate) fn printed_urls(output: &str) -> Vec<String> {
    output
        .split_whitespace()
        .filter_map(|word| word.find("http://").map(|at| &word[at..]))
        .map(|word| word.trim_end_matches(['.', ',', '"', '\'', ')']).to_owned())
        .filter(|url| url.contains("127.0.0.1:") || url.contains("localhost:"))
        .collect()
}

fn read_result(data: &Value) -> Vec<Series> {
    let result = &data["result"];
    match data["resultType"].as_str().expect("a result type") {
        "scalar" => vec![Series {
            labels: LabelMap::new(),
            samples: vec![read_sample(result)],
        }],
        "vector" | "matrix" => result
            .as_array()
            .expect("a list")
            .iter()
            .map(|series| Series {
                labels: series["metric"]
                    .as_object()
                    .expect("labels")
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()))
                    .collect(),
                samples: match series.get("value") {
                    Some(sample) => vec![read_sample(sample)],
                    None => series["values"]
                        .as_array()
                        .expect("samples")
                        .iter()
                        .map(read_sample)
                        .collect(),
                },
            })
            .collect(),
        other => panic!("result type {other}"),
    }
}

fn read_sample(sample: &Value) -> (i64, String) {
    let time = sample[0].as_f64().expect("a time");
    let value = sample[1].as_str().expect("a value's text");
    ((time * 1000.0).round() as i64, value.to_owned())
}

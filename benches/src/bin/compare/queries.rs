//! What is asked, and how long the answers take.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use barograph_benches::http::{self, Answer};
use barograph_benches::measure;
use barograph_benches::table::quantile;

/// Longest wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

/// Which questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Set {
    /// Over what the generator serves.
    Families,
    /// Over one counter of many series (`--one-counter`), a day of it.
    Day,
    /// Over node exporters (`--recorded`): dashboards and alerts.
    Node,
}

/// Which part of the data a question is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Span {
    /// The end.
    Instant,
    /// All of it, in the steps that the run has.
    Whole,
    /// Its last seconds, in steps of seconds.
    Last(u64, u64),
}

/// A question; where it has several expressions, they are asked one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    /// WINDOW stands for the window of the run.
    texts: &'static [&'static str],
    span: Span,
}

const fn ask(name: &'static str, texts: &'static [&'static str], span: Span) -> Question {
    Question { name, texts, span }
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

const FAMILIES: &[Question] = &[
    ask(
        "instant sum(rate), all series",
        &["sum(rate({__name__=~\"http_server_requests_family_.+\"}[WINDOW]))"],
        Span::Instant,
    ),
    ask(
        "instant sum by(rate), one family",
        &["sum by (code) (rate(http_server_requests_family_3_total[WINDOW]))"],
        Span::Instant,
    ),
    ask(
        "range sum by(rate), all series",
        &["sum by (code) (rate({__name__=~\"http_server_requests_family_.+\"}[WINDOW]))"],
        Span::Whole,
    ),
    ask(
        "range quantile_over_time, all series",
        &["sum(quantile_over_time(0.9, {__name__=~\"http_server_requests_family_.+\"}[WINDOW]))"],
        Span::Whole,
    ),
    ask(
        "range sum by(rate), one family",
        &["sum by (code) (rate(http_server_requests_family_3_total[WINDOW]))"],
        Span::Whole,
    ),
    ask(
        "range max_over_time, one family",
        &["max by (method) (max_over_time(http_server_requests_family_5_total[WINDOW]))"],
        Span::Whole,
    ),
    ask(
        "range quantile_over_time, one family",
        &["sum(quantile_over_time(0.9, http_server_requests_family_5_total[WINDOW]))"],
        Span::Whole,
    ),
    ask(
        "range, one family, every series",
        &["http_server_requests_family_7_total"],
        Span::Whole,
    ),
];

const COUNTER: &[Question] = &[
    ask(
        "sum by(rate[5m]), 24 h/1 m",
        &["sum by (code) (rate(x_total[5m]))"],
        Span::Last(DAY, 60),
    ),
    ask(
        "the same, 1 h/15 s",
        &["sum by (code) (rate(x_total[5m]))"],
        Span::Last(HOUR, 15),
    ),
    ask(
        "sum by(instance), 24 h/1 m",
        &["sum by (instance) (x_total)"],
        Span::Last(DAY, 60),
    ),
    ask(
        "max_over_time[1h], 24 h/5 m",
        &["max by (code) (max_over_time(x_total[1h]))"],
        Span::Last(DAY, 300),
    ),
    ask(
        "quantile_over_time[1h], 24 h/5 m",
        &["sum by (code) (quantile_over_time(0.9, x_total[1h]))"],
        Span::Last(DAY, 300),
    ),
    ask(
        "instant sum by(rate)",
        &["sum by (code) (rate(x_total[5m]))"],
        Span::Instant,
    ),
    ask(
        "instant rule: share of errors",
        &[
            "sum by (instance) (rate(x_total{code=~\"5..\"}[5m])) / sum by (instance) (rate(x_total[5m])) > 0.05",
        ],
        Span::Instant,
    ),
    ask(
        "rate of 50 series, 24 h/1 m",
        &["rate(x_total{code=\"200\",path=~\"/[0-9]\"}[5m])"],
        Span::Last(DAY, 60),
    ),
    ask(
        "simple_range: one series, 5 h/15 s",
        &["x_total{code=\"200\",path=\"/7\"}"],
        Span::Last(5 * HOUR, 15),
    ),
    ask(
        "aggr_instant: sum, avg and count by code",
        &[
            "sum by (code) (x_total)",
            "avg by (code) (x_total)",
            "count by (code) (x_total)",
        ],
        Span::Instant,
    ),
    ask(
        "aggr_range: sum(rate) by code, 5 h/1 m",
        &["sum by (code) (rate(x_total[1m]))"],
        Span::Last(5 * HOUR, 60),
    ),
    ask(
        "heavy_instant: topk, quantile, sort",
        &[
            "topk(10, x_total)",
            "quantile(0.99, rate(x_total[1h]))",
            "sort_desc(sum by (path) (rate(x_total[1h])))",
        ],
        Span::Instant,
    ),
];

const NODE: &[Question] = &[
    ask(
        "simple_range: load, memory, disk space, 24 h/1 m",
        &[
            "node_load1",
            "node_memory_MemAvailable_bytes",
            "node_filesystem_avail_bytes",
        ],
        Span::Last(DAY, 60),
    ),
    ask(
        "aggr_instant: processors in use",
        &["avg by (instance) (rate(node_cpu_seconds_total{mode!=\"idle\"}[5m]))"],
        Span::Instant,
    ),
    ask(
        "aggr_range: processors by mode, 24 h/1 m",
        &["sum by (mode) (rate(node_cpu_seconds_total[5m]))"],
        Span::Last(DAY, 60),
    ),
    ask(
        "aggr_range: network and disks, 24 h/1 m",
        &[
            "sum by (device) (rate(node_network_receive_bytes_total[5m]))",
            "sum by (device) (rate(node_disk_written_bytes_total[5m]))",
        ],
        Span::Last(DAY, 60),
    ),
    ask(
        "heavy_instant: largest metrics",
        &["topk(10, count by (__name__) ({job=\"load\"}))"],
        Span::Instant,
    ),
    ask("alerts of a node, one after another", ALERTS, Span::Instant),
];

/// The alerts that hosts are commonly watched with. Most find nothing.
const ALERTS: &[&str] = &[
    "up == 0",
    "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.1",
    "rate(node_vmstat_pgmajfault[5m]) > 1000",
    "1 - node_memory_SwapFree_bytes / (node_memory_SwapTotal_bytes > 0) > 0.8",
    "increase(node_vmstat_oom_kill[5m]) > 0",
    "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m])) > 0.9",
    "avg by (instance) (rate(node_cpu_seconds_total{mode=\"steal\"}[5m])) > 0.1",
    "avg by (instance) (rate(node_cpu_seconds_total{mode=\"iowait\"}[5m])) > 0.1",
    "node_load1 / on (instance) count by (instance) (node_cpu_seconds_total{mode=\"idle\"}) > 2",
    "sum by (instance) (rate(node_network_receive_bytes_total[2m])) > 1e8",
    "sum by (instance) (rate(node_network_transmit_bytes_total[2m])) > 1e8",
    "rate(node_network_receive_errs_total[2m]) / rate(node_network_receive_packets_total[2m]) > 0.01",
    "rate(node_network_transmit_errs_total[2m]) / rate(node_network_transmit_packets_total[2m]) > 0.01",
    "sum by (instance) (rate(node_disk_read_bytes_total[2m])) > 5e7",
    "sum by (instance) (rate(node_disk_written_bytes_total[2m])) > 5e7",
    "rate(node_disk_io_time_seconds_total[5m]) > 0.9",
    "rate(node_disk_read_time_seconds_total[5m]) / rate(node_disk_reads_completed_total[5m]) > 0.1 and rate(node_disk_reads_completed_total[5m]) > 0",
    "rate(node_disk_write_time_seconds_total[5m]) / rate(node_disk_writes_completed_total[5m]) > 0.1 and rate(node_disk_writes_completed_total[5m]) > 0",
    "node_filesystem_avail_bytes{fstype!=\"tmpfs\"} / node_filesystem_size_bytes < 0.1 and on (instance, device, mountpoint) node_filesystem_readonly == 0",
    "predict_linear(node_filesystem_avail_bytes{fstype!=\"tmpfs\"}[6h], 24 * 3600) < 0 and on (instance, device, mountpoint) node_filesystem_readonly == 0",
    "node_filesystem_files_free / node_filesystem_files < 0.1",
    "node_filesystem_device_error == 1",
    "node_filefd_allocated / node_filefd_maximum > 0.8",
    "node_nf_conntrack_entries / node_nf_conntrack_entries_limit > 0.8",
    "rate(node_context_switches_total[5m]) / on (instance) count by (instance) (node_cpu_seconds_total{mode=\"idle\"}) > 10000",
    "abs(node_timex_offset_seconds) > 0.05 and deriv(node_timex_offset_seconds[5m]) >= 0",
    "min_over_time(node_timex_sync_status[1m]) == 0 and node_timex_maxerror_seconds >= 16",
    "changes(node_boot_time_seconds[1h]) > 0",
    "node_textfile_scrape_error == 1",
    "node_scrape_collector_success == 0",
];

impl Set {
    /// Its questions.
    pub(crate) fn questions(self) -> &'static [Question] {
        match self {
            Self::Families => FAMILIES,
            Self::Day => COUNTER,
            Self::Node => NODE,
        }
    }

    /// The question that shows that data is there after a restart.
    pub(crate) fn probe(self) -> &'static Question {
        match self {
            Self::Families => &FAMILIES[1],
            Self::Day => &COUNTER[5],
            Self::Node => &NODE[1],
        }
    }
}

/// When the data ends and how a run asks, seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) now: u64,
    pub(crate) whole: u64,
    pub(crate) step: u64,
    pub(crate) window: u64,
}

impl Question {
    /// What is asked for, of each expression.
    pub(crate) fn paths(&self, frame: Frame) -> Vec<String> {
        let path = |text: &&str| {
            let text = text.replace("WINDOW", &format!("{}s", frame.window));
            let query = http::escape(&text);
            let (span, step) = match self.span {
                Span::Instant => return format!("/api/v1/query?query={query}&time={}", frame.now),
                Span::Whole => (frame.whole, frame.step),
                Span::Last(span, step) => (span, step),
            };
            format!(
                "/api/v1/query_range?query={query}&start={}&end={}&step={step}",
                frame.now - span,
                frame.now
            )
        };
        self.texts.iter().map(path).collect()
    }

    /// Asks once; how long that took, milliseconds.
    ///
    /// # Errors
    /// No answer, an error as answer, or an empty one where there is one expression only.
    pub(crate) fn once(&self, address: SocketAddr, frame: Frame) -> io::Result<f64> {
        let paths = self.paths(frame);
        let mut answers = Vec::with_capacity(paths.len());
        let begun = Instant::now();
        for path in &paths {
            answers.push(http::get(address, path, ANSWER_LIMIT)?);
        }
        let took = begun.elapsed().as_secs_f64() * 1e3;
        for answer in &answers {
            if answer.status != 200 {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(io::Error::other(text));
            }
        }
        if answers.iter().all(|answer| results(answer) == 0) {
            return Err(io::Error::other("empty result"));
        }
        Ok(took)
    }

    /// Asks some times.
    pub(crate) fn measure(
        &self,
        address: SocketAddr,
        pid: u32,
        frame: Frame,
        rounds: usize,
    ) -> Took {
        let mut times = Vec::new();
        let cpu = || measure::usage(pid).map_or(0.0, |usage| usage.cpu_seconds);
        let before = cpu();
        for _ in 0..rounds.max(1) {
            match self.once(address, frame) {
                Ok(took) => times.push(took),
                Err(error) => {
                    eprintln!("  {}: {error}", self.name);
                    return Took::default();
                }
            }
        }
        Took {
            median: quantile(&times, 0.5),
            p99: quantile(&times, 0.99),
            cpu: Some((cpu() - before) * 1e3 / times.len() as f64),
        }
    }
}

/// What a question took, milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub(crate) median: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Processor time of the system in the meantime, per round: where it scrapes, of that too.
    pub(crate) cpu: Option<f64>,
}

/// Series in an answer.
pub(crate) fn results(answer: &Answer) -> usize {
    if answer.status != 200 {
        return 0;
    }
    let reply: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    reply
        .as_ref()
        .and_then(|reply| reply["data"]["result"].as_array())
        .map_or(0, Vec::len)
}

/// The number that an instant expression gives.
pub(crate) fn number(address: SocketAddr, expression: &str, at: u64) -> Option<f64> {
    let query = http::escape(expression);
    let path = format!("/api/v1/query?query={query}&time={at}");
    let answer = http::get(address, &path, ANSWER_LIMIT).ok()?;
    let reply: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    reply["data"]["result"][0]["value"][1]
        .as_str()?
        .parse()
        .ok()
}

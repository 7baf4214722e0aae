//! Runs Barograph and the peers that are installed under the same scrape load, one at a time, and
//! prints what each took and how the others compare.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use barograph_benches::http;
use barograph_benches::measure::{self, Usage};
use barograph_benches::systems::{Programs, System};
use clap::Parser;

/// What is asked after the load ran: name, expression with WINDOW for the window, whether over a
/// range.
const QUERIES: [(&str, &str, bool); 8] = [
    (
        "instant sum(rate), all series",
        "sum(rate({__name__=~\"http_server_requests_family_.+\"}[WINDOW]))",
        false,
    ),
    (
        "instant sum by(rate), one family",
        "sum by (code) (rate(http_server_requests_family_3_total[WINDOW]))",
        false,
    ),
    (
        "range sum by(rate), all series",
        "sum by (code) (rate({__name__=~\"http_server_requests_family_.+\"}[WINDOW]))",
        true,
    ),
    (
        "range quantile_over_time, all series",
        "sum(quantile_over_time(0.9, {__name__=~\"http_server_requests_family_.+\"}[WINDOW]))",
        true,
    ),
    (
        "range sum by(rate), one family",
        "sum by (code) (rate(http_server_requests_family_3_total[WINDOW]))",
        true,
    ),
    (
        "range max_over_time, one family",
        "max by (method) (max_over_time(http_server_requests_family_5_total[WINDOW]))",
        true,
    ),
    (
        "range quantile_over_time, one family",
        "sum(quantile_over_time(0.9, http_server_requests_family_5_total[WINDOW]))",
        true,
    ),
    (
        "range, one family, every series",
        "http_server_requests_family_7_total",
        true,
    ),
];
/// Longest wait for a fast clock to reach its end.
const FILL_LIMIT: Duration = Duration::from_hours(2);
/// Longest wait for background work to end.
const SETTLE_LIMIT: Duration = Duration::from_mins(5);
/// Longest wait for the first scrape and the first answer after a restart.
const RESTART_LIMIT: Duration = Duration::from_mins(3);

/// Compares systems.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    /// How many targets.
    #[arg(long, default_value_t = 100)]
    targets: usize,
    /// Series per target.
    #[arg(long, default_value_t = 1000)]
    series: usize,
    /// Seconds between scrapes.
    #[arg(long, default_value_t = 5)]
    interval: u64,
    /// Seconds before measuring begins.
    #[arg(long, default_value_t = 30)]
    warmup: u64,
    /// Seconds of measuring.
    #[arg(long, default_value_t = 90)]
    measure: u64,
    /// How often each query is asked; the median counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Replace one series of so many each time; 0 replaces none.
    #[arg(long, default_value_t = 0)]
    churn_one_of: usize,
    /// Replace after so many scrapes.
    #[arg(long, default_value_t = 40)]
    churn_scrapes: usize,
    /// Serve recorded bodies from this directory instead of generated ones. May be given more than
    /// once.
    #[arg(long)]
    recorded: Vec<PathBuf>,
    /// Hours of history, ending now, that a fast clock brings by scrapes with timestamps; 0 scrapes
    /// in real time.
    #[arg(long, default_value_t = 0.0)]
    fill_hours: f64,
    /// Seconds between samples of a series on the fast clock.
    #[arg(long, default_value_t = 15)]
    step: u64,
    /// Samples per series and scrape on the fast clock.
    #[arg(long, default_value_t = 4)]
    steps: u64,
}

impl Arguments {
    fn fills(&self) -> bool {
        self.fill_hours > 0.0
    }

    /// Seconds between two samples of a series.
    fn sample_seconds(&self) -> u64 {
        if self.fills() {
            self.step
        } else {
            self.interval
        }
    }

    /// Seconds of data the range queries ask for.
    fn range_seconds(&self) -> u64 {
        if self.fills() {
            (self.fill_hours * 3600.0) as u64
        } else {
            self.measure
        }
    }

    /// The window of range functions, seconds.
    fn window_seconds(&self) -> u64 {
        (self.sample_seconds() * 20).max(60)
    }

    /// The step of range queries, seconds.
    fn query_step_seconds(&self) -> u64 {
        if self.fills() {
            (self.range_seconds() / 1440).max(self.step)
        } else {
            self.interval
        }
    }
}

/// What one system took.
struct Result {
    label: String,
    cpu_us_per_sample: f64,
    anonymous_bytes_per_series: f64,
    resident_bytes_per_series: f64,
    peak_bytes_per_series: f64,
    written_bytes_per_sample: f64,
    disk_bytes_per_sample: f64,
    restart: Restart,
    query_ms: Vec<Option<f64>>,
}

/// How a system came back after `kill -9`.
#[derive(Clone, Copy, Default)]
struct Restart {
    ready_seconds: Option<f64>,
    scrape_seconds: Option<f64>,
    query_seconds: Option<f64>,
    peak_bytes: u64,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let systems = arguments.programs.find();
    let mut results = Vec::new();
    for system in &systems {
        eprintln!("{} …", system.label);
        results.push(run(&arguments, system)?);
    }
    println!("{}", table(&arguments, &results));
    Ok(())
}

fn run(arguments: &Arguments, system: &System) -> io::Result<Result> {
    let directory = tempfile::tempdir()?;
    let until = unix_seconds();
    let mut load = Load::start(arguments, until)?;
    let config = directory.path().join("prometheus.yml");
    std::fs::write(&config, scrape_config(arguments, load.address))?;
    let data = directory.path().join("data");
    std::fs::create_dir(&data)?;
    let running = system.start(&config, &data)?;

    let (before, served_before) = if arguments.fills() {
        (Usage::default(), 0)
    } else {
        std::thread::sleep(Duration::from_secs(arguments.warmup));
        (measure::usage(running.pid())?, load.served()?)
    };
    if arguments.fills() {
        load.wait_until_done()?;
        std::thread::sleep(Duration::from_secs(arguments.interval));
    } else {
        std::thread::sleep(Duration::from_secs(arguments.measure));
    }
    let (after, served_after) = (measure::usage(running.pid())?, load.served()?);
    let samples = (served_after - served_before).max(1) as f64;
    if arguments.fills() {
        settle(running.pid())?;
    }
    let now = if arguments.fills() {
        until
    } else {
        unix_seconds()
    };
    let query_ms = QUERIES
        .iter()
        .map(|query| ask(arguments, running.address, query, now))
        .collect::<Vec<_>>();

    let written = measure::usage(running.pid())?.written_bytes;
    let served = load.served()?.max(1) as f64;
    let disk_bytes_per_sample = measure::disk_bytes(&data) as f64 / served;
    running.kill();
    let restart = restart(arguments, system, &config, &data, &mut load, now)?;
    load.stop();
    let series = (arguments.targets * arguments.series) as f64;
    let resident = |usage: &Usage| (usage.anonymous_bytes + usage.file_bytes) as f64;
    Ok(Result {
        label: system.label.clone(),
        cpu_us_per_sample: (after.cpu_seconds - before.cpu_seconds) * 1e6 / samples,
        anonymous_bytes_per_series: after.anonymous_bytes as f64 / series,
        resident_bytes_per_series: resident(&after) / series,
        peak_bytes_per_series: after.peak_bytes as f64 / series,
        written_bytes_per_sample: if arguments.fills() {
            written as f64 / served
        } else {
            (after.written_bytes - before.written_bytes) as f64 / samples
        },
        disk_bytes_per_sample,
        restart,
        query_ms,
    })
}

/// Starts a system on the directory that its killed predecessor left.
fn restart(
    arguments: &Arguments,
    system: &System,
    config: &std::path::Path,
    data: &std::path::Path,
    load: &mut Load,
    now: u64,
) -> io::Result<Restart> {
    let scrapes = load.scrapes()?;
    let begun = Instant::now();
    let mut came = Restart::default();
    let mut running = system.spawn(config, data)?;
    let (_, expression, _) = QUERIES[1];
    let query = http::escape(&window(arguments, expression));
    let path = format!("/api/v1/query?query={query}&time={now}");
    let elapsed = || Some(begun.elapsed().as_secs_f64());
    while begun.elapsed() < RESTART_LIMIT {
        if came.ready_seconds.is_none() && running.is_ready()? {
            came.ready_seconds = elapsed();
        }
        if came.scrape_seconds.is_none() && load.scrapes()? > scrapes {
            came.scrape_seconds = elapsed();
        }
        if came.query_seconds.is_none()
            && let Ok(answer) = http::get(running.address, &path, Duration::from_secs(10))
            && has_result(&answer)
        {
            came.query_seconds = elapsed();
        }
        if came.scrape_seconds.is_some() && came.query_seconds.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    came.peak_bytes = measure::usage(running.pid())?.peak_bytes;
    running.stop()?;
    Ok(came)
}

/// Waits until a process does next to nothing any more.
fn settle(pid: u32) -> io::Result<()> {
    let begun = Instant::now();
    let window = Duration::from_secs(5);
    while begun.elapsed() < SETTLE_LIMIT {
        let before = measure::usage(pid)?.cpu_seconds;
        std::thread::sleep(window);
        if measure::usage(pid)?.cpu_seconds - before < window.as_secs_f64() * 0.05 {
            break;
        }
    }
    Ok(())
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

fn scrape_config(arguments: &Arguments, load: SocketAddr) -> String {
    let mut text = format!(
        "global:\n  scrape_interval: {0}s\n  scrape_timeout: {0}s\nscrape_configs:\n  - job_name: load\n    honor_timestamps: true\n    static_configs:\n",
        arguments.interval
    );
    for target in 0..arguments.targets {
        let _ = write!(
            text,
            "      - targets: ['{load}']\n        labels: {{__metrics_path__: /t/{target}/metrics, instance: 'service-{}-7d9c6b8f5d-x{target:05}', namespace: 'namespace-{}', cluster: prod-eu-west-1}}\n",
            target % 50,
            target % 20,
        );
    }
    text
}

/// The median time of one query in milliseconds; nothing where it yields no result.
fn ask(
    arguments: &Arguments,
    address: SocketAddr,
    (name, expression, over_range): &(&str, &str, bool),
    now: u64,
) -> Option<f64> {
    let query = http::escape(&window(arguments, expression));
    let path = if *over_range {
        let start = now - arguments.range_seconds();
        format!(
            "/api/v1/query_range?query={query}&start={start}&end={now}&step={}",
            arguments.query_step_seconds()
        )
    } else {
        format!("/api/v1/query?query={query}&time={now}")
    };
    let mut times = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
        let begun = Instant::now();
        match http::get(address, &path, Duration::from_mins(2)) {
            Ok(answer) if answer.status == 200 => {
                times.push(begun.elapsed().as_secs_f64() * 1e3);
                if !has_result(&answer) {
                    eprintln!("  {name}: empty result");
                    return None;
                }
            }
            Ok(answer) => {
                eprintln!("  {name}: {}", String::from_utf8_lossy(&answer.body));
                return None;
            }
            Err(error) => {
                eprintln!("  {name}: {error}");
                return None;
            }
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

fn window(arguments: &Arguments, expression: &str) -> String {
    expression.replace("WINDOW", &format!("{}s", arguments.window_seconds()))
}

fn has_result(answer: &http::Answer) -> bool {
    let reply: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let has = |reply: serde_json::Value| {
        reply["data"]["result"]
            .as_array()
            .is_some_and(|result| !result.is_empty())
    };
    answer.status == 200 && reply.is_some_and(has)
}

/// Reads one figure of a result.
type Figure = Box<dyn Fn(&Result) -> Option<f64>>;

fn table(arguments: &Arguments, results: &[Result]) -> String {
    let mut rows: Vec<(String, Figure)> = vec![
        (
            "CPU per sample, µs".into(),
            Box::new(|r| Some(r.cpu_us_per_sample)),
        ),
        (
            "anonymous memory per series, B".into(),
            Box::new(|r| Some(r.anonymous_bytes_per_series)),
        ),
        (
            "resident memory per series, B".into(),
            Box::new(|r| Some(r.resident_bytes_per_series)),
        ),
        (
            "peak resident per series, B".into(),
            Box::new(|r| Some(r.peak_bytes_per_series)),
        ),
        (
            "written per sample, B".into(),
            Box::new(|r| Some(r.written_bytes_per_sample)),
        ),
        (
            "disk per sample at the end, B".into(),
            Box::new(|r| Some(r.disk_bytes_per_sample)),
        ),
        (
            "ready after kill -9, s".into(),
            Box::new(|r| r.restart.ready_seconds),
        ),
        (
            "first scrape after kill -9, s".into(),
            Box::new(|r| r.restart.scrape_seconds),
        ),
        (
            "first answer after kill -9, s".into(),
            Box::new(|r| r.restart.query_seconds),
        ),
        (
            "peak resident of the restart, MiB".into(),
            Box::new(|r| Some(r.restart.peak_bytes as f64 / f64::from(1 << 20))),
        ),
    ];
    for (index, (name, ..)) in QUERIES.iter().enumerate() {
        rows.push((format!("{name}, ms"), Box::new(move |r| r.query_ms[index])));
    }
    let mut text = format!(
        "{} targets × {} series",
        arguments.targets, arguments.series
    );
    if !arguments.recorded.is_empty() {
        text = format!("{} targets that repeat recordings", arguments.targets);
    }
    if arguments.fills() {
        let _ = write!(
            text,
            ", {} h of history at {} s, {} samples per series and scrape, a scrape every {} s",
            arguments.fill_hours, arguments.step, arguments.steps, arguments.interval
        );
    } else {
        let _ = write!(
            text,
            ", every {} s; {} s of warm-up, {} s measured",
            arguments.interval, arguments.warmup, arguments.measure
        );
    }
    if arguments.churn_one_of > 0 {
        let _ = write!(
            text,
            "; 1 series of {} replaced every {} scrapes",
            arguments.churn_one_of, arguments.churn_scrapes
        );
    }
    let _ = write!(
        text,
        "; window {} s, median of {} queries\n\n|",
        arguments.window_seconds(),
        arguments.rounds
    );
    for result in results {
        let _ = write!(text, " | {}", result.label);
    }
    text.push_str(" |\n|---");
    text.push_str(&"|---".repeat(results.len()));
    text.push_str("|\n");
    for (name, figure) in rows {
        let _ = write!(text, "| {name}");
        let ours = results.first().and_then(&figure);
        for (index, result) in results.iter().enumerate() {
            match (figure(result), ours) {
                (None, _) => text.push_str(" | –"),
                (Some(value), Some(ours)) if index > 0 && ours > 0.0 => {
                    let _ = write!(text, " | {} ({:.1}×)", short(value), value / ours);
                }
                (Some(value), _) => {
                    let _ = write!(text, " | {}", short(value));
                }
            }
        }
        text.push_str(" |\n");
    }
    text
}

fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        3
    };
    format!("{value:.digits$}")
}

/// The load generator, as a process of its own.
struct Load {
    child: Child,
    address: SocketAddr,
}

impl Load {
    fn start(arguments: &Arguments, until: u64) -> io::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("load");
        let mut command = Command::new(&binary);
        command
            .args(["--targets", &arguments.targets.to_string()])
            .args(["--series", &arguments.series.to_string()])
            .args(["--churn-one-of", &arguments.churn_one_of.to_string()])
            .args(["--churn-scrapes", &arguments.churn_scrapes.to_string()]);
        for directory in &arguments.recorded {
            command.arg("--recorded").arg(directory);
        }
        if arguments.fills() {
            let from = until - arguments.range_seconds();
            command
                .args(["--from-ms", &(from * 1000).to_string()])
                .args(["--until-ms", &(until * 1000).to_string()])
                .args(["--step-ms", &(arguments.step * 1000).to_string()])
                .args(["--steps", &arguments.steps.to_string()]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", binary.display())))?;
        let mut line = String::new();
        let output = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no output"))?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self { child, address })
    }

    /// Samples served so far.
    fn served(&mut self) -> io::Result<u64> {
        self.number("/served")
    }

    /// Scrapes served so far.
    fn scrapes(&mut self) -> io::Result<u64> {
        self.number("/scrapes")
    }

    fn wait_until_done(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        while self.number("/done")? == 0 {
            if begun.elapsed() > FILL_LIMIT {
                return Err(io::Error::other(format!(
                    "the fast clock did not reach its end within {FILL_LIMIT:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn number(&mut self, path: &str) -> io::Result<u64> {
        let answer = http::get(self.address, path, Duration::from_secs(10))?;
        String::from_utf8_lossy(&answer.body)
            .trim()
            .parse()
            .map_err(io::Error::other)
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

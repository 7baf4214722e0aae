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
use barograph_benches::systems::{Kind, System};
use clap::Parser;

/// What is asked after the load ran: name, expression, whether over a range.
const QUERIES: [(&str, &str, bool); 6] = [
    (
        "instant sum(rate[1m]), all series",
        "sum(rate({__name__=~\"http_server_requests_family_.+\"}[1m]))",
        false,
    ),
    (
        "instant sum by(rate[1m]), one family",
        "sum by (code) (rate(http_server_requests_family_3_total[1m]))",
        false,
    ),
    (
        "range sum by(rate[1m]), one family",
        "sum by (code) (rate(http_server_requests_family_3_total[1m]))",
        true,
    ),
    (
        "range max_over_time[1m], one family",
        "max by (method) (max_over_time(http_server_requests_family_5_total[1m]))",
        true,
    ),
    (
        "range quantile_over_time[1m], one family",
        "sum(quantile_over_time(0.9, http_server_requests_family_5_total[1m]))",
        true,
    ),
    (
        "range, one family, every series",
        "http_server_requests_family_7_total",
        true,
    ),
];

/// Compares systems.
#[derive(Parser)]
struct Arguments {
    /// Our binary.
    #[arg(long, default_value = "target/release/barograph")]
    barograph: PathBuf,
    /// Prometheus; left out where it cannot be started. May be given more than once.
    #[arg(long, default_value = "prometheus")]
    prometheus: Vec<PathBuf>,
    /// VictoriaMetrics; left out where it cannot be started. May be given more than once.
    #[arg(long, default_value = "victoria-metrics")]
    victoria_metrics: Vec<PathBuf>,
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
    restart_seconds: f64,
    query_ms: Vec<Option<f64>>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut systems = Vec::new();
    let candidates = [(Kind::Barograph, std::slice::from_ref(&arguments.barograph))]
        .into_iter()
        .chain([(Kind::Prometheus, &arguments.prometheus[..])])
        .chain([(Kind::VictoriaMetrics, &arguments.victoria_metrics[..])]);
    for (kind, binaries) in candidates {
        for binary in binaries {
            match System::find(kind, binary) {
                Some(system) => systems.push(system),
                None => eprintln!("left out: {} cannot be started", binary.display()),
            }
        }
    }
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
    let mut load = Load::start(arguments)?;
    let config = directory.path().join("prometheus.yml");
    std::fs::write(&config, scrape_config(arguments, load.address))?;
    let data = directory.path().join("data");
    std::fs::create_dir(&data)?;
    let running = system.start(&config, &data)?;

    std::thread::sleep(Duration::from_secs(arguments.warmup));
    let (before, served_before) = (measure::usage(running.pid())?, load.served()?);
    std::thread::sleep(Duration::from_secs(arguments.measure));
    let (after, served_after) = (measure::usage(running.pid())?, load.served()?);
    let samples = (served_after - served_before).max(1) as f64;
    let query_ms = QUERIES
        .iter()
        .map(|query| ask(arguments, running.address, query))
        .collect::<Vec<_>>();

    let served = load.served()?.max(1) as f64;
    running.kill();
    let begun = Instant::now();
    let again = system.start(&config, &data)?;
    let restart_seconds = begun.elapsed().as_secs_f64();
    load.stop();
    again.stop()?;
    let series = (arguments.targets * arguments.series) as f64;
    let resident = |usage: &Usage| (usage.anonymous_bytes + usage.file_bytes) as f64;
    Ok(Result {
        label: system.label.clone(),
        cpu_us_per_sample: (after.cpu_seconds - before.cpu_seconds) * 1e6 / samples,
        anonymous_bytes_per_series: after.anonymous_bytes as f64 / series,
        resident_bytes_per_series: resident(&after) / series,
        peak_bytes_per_series: after.peak_bytes as f64 / series,
        written_bytes_per_sample: (after.written_bytes - before.written_bytes) as f64 / samples,
        disk_bytes_per_sample: measure::disk_bytes(&data) as f64 / served,
        restart_seconds,
        query_ms,
    })
}

fn scrape_config(arguments: &Arguments, load: SocketAddr) -> String {
    let mut text = format!(
        "global:\n  scrape_interval: {0}s\n  scrape_timeout: {0}s\nscrape_configs:\n  - job_name: load\n    static_configs:\n",
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
) -> Option<f64> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?
        .as_secs();
    let query = http::escape(expression);
    let path = if *over_range {
        let start = now - arguments.measure;
        format!(
            "/api/v1/query_range?query={query}&start={start}&end={now}&step={}",
            arguments.interval
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
                let reply: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
                if reply["data"]["result"].as_array().is_none_or(Vec::is_empty) {
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
            Box::new(|r| Some(r.restart_seconds)),
        ),
    ];
    for (index, (name, ..)) in QUERIES.iter().enumerate() {
        rows.push((format!("{name}, ms"), Box::new(move |r| r.query_ms[index])));
    }
    let mut text = format!(
        "{} targets × {} series, every {} s; {} s of warm-up, {} s measured, median of {} queries\n\n|",
        arguments.targets,
        arguments.series,
        arguments.interval,
        arguments.warmup,
        arguments.measure,
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
    fn start(arguments: &Arguments) -> io::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("load");
        let mut child = Command::new(&binary)
            .args(["--targets", &arguments.targets.to_string()])
            .args(["--series", &arguments.series.to_string()])
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

    fn served(&mut self) -> io::Result<u64> {
        let answer = http::get(self.address, "/served", Duration::from_secs(10))?;
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

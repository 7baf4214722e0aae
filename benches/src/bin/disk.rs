//! What days of history take on disk: bytes per sample after compaction, processor time and bytes
//! written to get there, for Barograph, Prometheus and VictoriaMetrics. Each gets the same text, a
//! day at a time, by the way it has for history, then runs until it has merged what it merges.
//! Timestamps are late by a few milliseconds now and then, as scrapes are.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use barograph_benches::history::{Made, Recorded, Rows};
use barograph_benches::http;
use barograph_benches::measure::{self, Usage};
use barograph_benches::simulated::Noise;
use barograph_benches::systems::{Kind, Programs, System};
use barograph_benches::table::{Table, short};
use clap::Parser;

const DAY_MS: i64 = 24 * 3_600_000;
/// Bytes of one request to a peer that takes history by requests.
const REQUEST_BYTES: usize = 4 << 20;
/// Longest wait for one request or command.
const STEP_LIMIT: Duration = Duration::from_mins(10);
/// Merging is over when nothing happened for so long; peers look for work once a minute.
const QUIET: Duration = Duration::from_secs(75);
/// Longest wait for that.
const SETTLE_LIMIT: Duration = Duration::from_mins(6);

/// Measures history on disk.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    /// The tool that writes Prometheus's blocks.
    #[arg(long, default_value = "promtool")]
    promtool: PathBuf,
    /// How much history.
    #[arg(long, default_value_t = 1)]
    days: i64,
    /// Seconds between samples.
    #[arg(long, default_value_t = 15)]
    step: i64,
    /// Archives or directories of recorded scrapes, a target each.
    #[arg(long)]
    recorded: Vec<PathBuf>,
    /// Targets of 100 made-up series of known entropy.
    #[arg(long, default_value_t = 0)]
    made: usize,
}

/// What one system took.
#[derive(Default)]
struct Outcome {
    load: Usage,
    merge: Usage,
    before_merge_bytes: u64,
    disk_bytes: u64,
    split: String,
}

/// Targets, and the time they have come to.
struct Source {
    targets: Vec<Box<dyn Rows>>,
    noise: Noise,
    row: usize,
}

fn main() {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.unwrap_or_default().as_millis() as i64;
    // Whole days, the last of them old enough for every peer to call it history.
    let end_ms = (now_ms - 6 * 3_600_000) / DAY_MS * DAY_MS;
    let systems = arguments.programs.find();
    let (mut outcomes, mut ran, mut samples) = (Vec::new(), Vec::new(), 0);
    for system in systems {
        eprintln!("{} …", system.label);
        // Where one fails the others still count.
        match run(&arguments, &system, end_ms) {
            Ok((outcome, count)) => {
                eprintln!(
                    "  {} B per sample",
                    short(outcome.disk_bytes as f64 / count as f64)
                );
                outcomes.push(outcome);
                ran.push(system);
                samples = count;
            }
            Err(error) => eprintln!("  {error}"),
        }
    }
    print(&arguments, &ran, &outcomes, samples as f64);
}

fn run(arguments: &Arguments, system: &System, end_ms: i64) -> io::Result<(Outcome, u64)> {
    let directory = barograph_benches::directory()?;
    let (config, data) = (
        directory.path().join("none.yml"),
        directory.path().join("data"),
    );
    fs::write(&config, "scrape_configs: []\n")?;
    fs::create_dir(&data)?;
    let file = directory.path().join("history.om");
    let mut source = Source::new(arguments)?;
    let (mut outcome, mut samples) = (Outcome::default(), 0);
    let server = (system.kind == Kind::VictoriaMetrics).then(|| system.start(&config, &data));
    let server = server.transpose()?;
    for day in 0..arguments.days {
        let from_ms = end_ms - (arguments.days - day) * DAY_MS;
        samples += source.write_day(from_ms, arguments.step * 1000, &file)?;
        if let Some(server) = &server {
            import(server.address, &file)?;
            continue;
        }
        let mut command = match system.kind {
            Kind::Prometheus => Command::new(&arguments.promtool),
            _ => Command::new(&system.binary),
        };
        command.args(["tsdb", "create-blocks-from", "openmetrics"]);
        command.arg(&file).arg(&data);
        outcome.load = add(outcome.load, finish(command)?);
    }
    fs::remove_file(&file)?;
    let server = if let Some(server) = server {
        get(server.address, "/internal/force_flush")?;
        outcome.load = measure::usage(server.pid())?;
        outcome.before_merge_bytes = measure::disk_bytes(&data);
        get(server.address, "/internal/force_merge")?;
        server
    } else {
        outcome.before_merge_bytes = measure::disk_bytes(&data);
        system.start(&config, &data)?
    };
    settle(server.pid(), &data)?;
    let after = measure::usage(server.pid())?;
    outcome.merge = after;
    if system.kind == Kind::VictoriaMetrics {
        outcome.merge.cpu_seconds -= outcome.load.cpu_seconds;
        outcome.merge.written_bytes -= outcome.load.written_bytes;
    }
    server.stop()?;
    for (name, bytes) in measure::disk_split(&data)? {
        // What is set aside or could be made anew is no history.
        if !["wal", "reserve", "chunks_head", "cache"].contains(&name.as_str()) {
            outcome.disk_bytes += bytes;
        }
        let _ = write!(outcome.split, " {name} {:.2} MB,", bytes as f64 / 1e6);
    }
    Ok((outcome, samples))
}

impl Source {
    fn new(arguments: &Arguments) -> io::Result<Self> {
        let mut targets: Vec<Box<dyn Rows>> = Vec::new();
        for path in &arguments.recorded {
            targets.push(Box::new(Recorded::read(path)?));
        }
        for target in 0..arguments.made {
            targets.push(Box::new(Made::new(target, 100)));
        }
        Ok(Self {
            targets,
            noise: Noise(7),
            row: 0,
        })
    }

    /// Writes a day as OpenMetrics, series after series; returns its samples.
    fn write_day(&mut self, from_ms: i64, step_ms: i64, path: &Path) -> io::Result<u64> {
        let rows = (DAY_MS / step_ms) as usize;
        let mut out = io::BufWriter::new(fs::File::create(path)?);
        let (mut samples, mut line) = (0, String::new());
        for (number, target) in self.targets.iter_mut().enumerate() {
            let labels = target.labels();
            let mut columns: Vec<Vec<(i64, f64)>> = vec![Vec::with_capacity(rows); labels.len()];
            let mut values = Vec::new();
            for row in 0..rows {
                let late_ms = match self.noise.below(4) {
                    0 => self.noise.below(8) as i64,
                    _ => 0,
                };
                let time_ms = from_ms + row as i64 * step_ms + late_ms;
                target.row(self.row + row, &mut values);
                for (column, value) in columns.iter_mut().zip(&values) {
                    column.extend(value.map(|value| (time_ms, value)));
                }
            }
            for (labels, column) in labels.iter().zip(&columns) {
                line.clear();
                let _ = write!(line, "{}{{target=\"{number}\"", labels.metric_name());
                for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
                    let _ = write!(line, ",{name}=\"{value}\"");
                }
                line.push_str("} ");
                let end = line.len();
                for (time_ms, value) in column {
                    line.truncate(end);
                    let (seconds, ms) = (time_ms / 1000, time_ms % 1000);
                    if value.is_finite() {
                        let _ = write!(line, "{value}");
                    } else {
                        let infinite = ["+Inf", "-Inf"][usize::from(*value < 0.0)];
                        line.push_str(if value.is_nan() { "NaN" } else { infinite });
                    }
                    let _ = writeln!(line, " {seconds}.{ms:03}");
                    io::Write::write_all(&mut out, line.as_bytes())?;
                }
                samples += column.len() as u64;
            }
        }
        self.row += rows;
        io::Write::write_all(&mut out, b"# EOF\n")?;
        io::Write::flush(&mut out)?;
        Ok(samples)
    }
}

/// Sends a file in requests of whole lines.
fn import(address: std::net::SocketAddr, path: &Path) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    let mut body = Vec::new();
    loop {
        let read = (&mut file)
            .take(REQUEST_BYTES as u64)
            .read_to_end(&mut body)?;
        let whole = body.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        if whole > 0 {
            let path = "/api/v1/import/prometheus";
            let answer = http::post(address, path, &body[..whole], STEP_LIMIT)?;
            if answer.status >= 300 {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(io::Error::other(text));
            }
            body.drain(..whole);
        }
        if read == 0 {
            return Ok(());
        }
    }
}

fn get(address: std::net::SocketAddr, path: &str) -> io::Result<()> {
    let answer = http::get(address, path, STEP_LIMIT)?;
    if answer.status == 200 {
        return Ok(());
    }
    Err(io::Error::other(format!("{path} says {}", answer.status)))
}

/// Runs a command to its end; returns what it took.
fn finish(mut command: Command) -> io::Result<Usage> {
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let stat = format!("/proc/{}/stat", child.id());
    let begun = Instant::now();
    let mut usage = Usage::default();
    // Once it has ended it can still be read, until it is waited for.
    loop {
        let text = fs::read_to_string(&stat)?;
        let ended = text
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" Z"));
        let now = measure::usage(child.id())?;
        usage.cpu_seconds = now.cpu_seconds;
        usage.written_bytes = usage.written_bytes.max(now.written_bytes);
        usage.peak_bytes = usage.peak_bytes.max(now.peak_bytes);
        if ended {
            break;
        }
        if begun.elapsed() > STEP_LIMIT {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(usage);
    }
    Err(io::Error::other(format!("{command:?} ended: {status}")))
}

fn add(a: Usage, b: Usage) -> Usage {
    Usage {
        cpu_seconds: a.cpu_seconds + b.cpu_seconds,
        written_bytes: a.written_bytes + b.written_bytes,
        peak_bytes: a.peak_bytes.max(b.peak_bytes),
        ..a
    }
}

/// Waits until a process has merged what there is: neither its directory nor its processor time
/// moved.
fn settle(pid: u32, data: &Path) -> io::Result<()> {
    let state = || -> io::Result<(u64, f64)> {
        Ok((measure::disk_bytes(data), measure::usage(pid)?.cpu_seconds))
    };
    let begun = Instant::now();
    let (mut last, mut since) = (state()?, Instant::now());
    while since.elapsed() < QUIET && begun.elapsed() < SETTLE_LIMIT {
        std::thread::sleep(Duration::from_secs(1));
        let now = state()?;
        if now.0 != last.0 || now.1 - last.1 > 0.2 {
            since = Instant::now();
        }
        last = now;
    }
    Ok(())
}

fn print(arguments: &Arguments, systems: &[System], outcomes: &[Outcome], samples: f64) {
    println!(
        "{} days at {} s, {} recordings and {} targets of 100 made-up series ({} B of information per sample of these), {samples} samples\n",
        arguments.days,
        arguments.step,
        arguments.recorded.len(),
        arguments.made,
        short(Made::entropy_bytes()),
    );
    let mut table = Table::new(systems.iter().map(|system| system.label.as_str()));
    let mut row = |name: &str, figure: &dyn Fn(&Outcome) -> f64| {
        table.row(name, outcomes.iter().map(|outcome| Some(figure(outcome))));
    };
    row("disk per sample, B", &|o| o.disk_bytes as f64 / samples);
    row("before merging, B", &|o| {
        o.before_merge_bytes as f64 / samples
    });
    row("processor time to load, ns per sample", &|o| {
        o.load.cpu_seconds * 1e9 / samples
    });
    row("processor time to merge, ns per sample", &|o| {
        o.merge.cpu_seconds * 1e9 / samples
    });
    row("written, times what is kept", &|o| {
        (o.load.written_bytes + o.merge.written_bytes) as f64 / o.disk_bytes as f64
    });
    row("peak memory to load, MB", &|o| {
        o.load.peak_bytes as f64 / 1e6
    });
    row("peak memory to merge, MB", &|o| {
        o.merge.peak_bytes as f64 / 1e6
    });
    println!("{}\nDisk at the end:", table.text());
    for (system, outcome) in systems.iter().zip(outcomes) {
        println!("- {}:{}", system.label, outcome.split.trim_end_matches(','));
    }
}

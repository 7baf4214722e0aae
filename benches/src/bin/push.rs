//! Pushes remote write at Barograph and its peers as fast as they take it, one system at a time.
//!
//! Each sender has the series of some targets in a queue and cuts it into requests wherever they
//! are full, as Prometheus's queues do.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use barograph_benches::http;
use barograph_benches::measure;
use barograph_benches::remote_write::{Connection, Request, labels_of};
use barograph_benches::systems::{Programs, System};
use barograph_benches::table::{Table, quantile};
use barograph_benches::workload::{Churn, Layout, Page, Shape};
use clap::Parser;

/// Pushes remote write.
#[derive(Clone, Parser)]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    /// How many targets the senders have.
    #[arg(long, default_value_t = 100)]
    targets: usize,
    /// Series per target.
    #[arg(long, default_value_t = 1000)]
    series: usize,
    /// Samples per series.
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Seconds between samples of a series.
    #[arg(long, default_value_t = 15)]
    step: i64,
    /// Samples per request. Where it does not divide the samples of a scrape, rows are cut.
    #[arg(long, default_value_t = 2000)]
    request: usize,
    /// Senders at a time.
    #[arg(long, default_value_t = 2)]
    senders: usize,
    /// Version of the protocol; 2 only where the peer has it.
    #[arg(long, default_value_t = 1)]
    version: u8,
    /// Replace one series of so many each time; 0 replaces none.
    #[arg(long, default_value_t = 0)]
    churn_one_of: usize,
    /// Replace after so many samples.
    #[arg(long, default_value_t = 40)]
    churn_scrapes: usize,
}

/// What one system did.
struct Outcome {
    label: String,
    samples: u64,
    seconds: f64,
    cpu_us: f64,
    anonymous_bytes: f64,
    written_bytes: f64,
    disk_bytes: f64,
    /// Time from request to reply, milliseconds.
    replies_ms: Vec<f64>,
    stored: String,
}

fn main() {
    let arguments = Arguments::parse();
    let mut outcomes = Vec::new();
    for system in arguments.programs.find() {
        eprintln!("{} …", system.label);
        match run(&arguments, &system) {
            Ok(outcome) => outcomes.push(outcome),
            // Not every peer has every version.
            Err(error) => eprintln!("{} left out: {error}", system.label),
        }
    }
    print(&arguments, &outcomes);
}

fn run(arguments: &Arguments, system: &System) -> io::Result<Outcome> {
    let directory = barograph_benches::directory()?;
    let config = directory.path().join("config.yml");
    std::fs::write(&config, "scrape_configs: []\n")?;
    let running = system.start(&config, &directory.path().join("data"))?;
    let before = measure::usage(running.pid())?;
    let began = Instant::now();
    let senders: Vec<_> = (0..arguments.senders)
        .map(|number| {
            let (arguments, address) = (arguments.clone(), running.address);
            std::thread::spawn(move || send(&arguments, number, address))
        })
        .collect();
    let mut replies_ms = Vec::new();
    for sender in senders {
        replies_ms.extend(
            sender
                .join()
                .map_err(|_| io::Error::other("a sender panicked"))??,
        );
    }
    let seconds = began.elapsed().as_secs_f64();
    let after = measure::usage(running.pid())?;
    // What is in flight inside the peers settles.
    std::thread::sleep(Duration::from_secs(2));
    let expression = format!(
        "sum(count_over_time({{job!=\"\"}}[{}s]))",
        arguments.rounds as i64 * arguments.step + 600
    );
    let path = format!("/api/v1/query?query={}", http::escape(&expression));
    let answer = http::get(running.address, &path, Duration::from_mins(2))?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let value = &answer["data"]["result"][0]["value"][1];
    let stored = value.as_str().unwrap_or("none").to_owned();
    Ok(Outcome {
        label: system.label.clone(),
        samples: (arguments.targets * arguments.series * arguments.rounds) as u64,
        seconds,
        cpu_us: (after.cpu_seconds - before.cpu_seconds) * 1e6,
        anonymous_bytes: after.anonymous_bytes as f64,
        written_bytes: (after.written_bytes - before.written_bytes) as f64,
        disk_bytes: measure::disk_bytes(&directory.path().join("data")) as f64,
        replies_ms,
        stored,
    })
}

/// Sends the samples of every n-th target; returns the time each reply took, milliseconds.
fn send(arguments: &Arguments, number: usize, address: SocketAddr) -> io::Result<Vec<f64>> {
    let shape = Shape {
        targets: arguments.targets,
        series: arguments.series,
        seed: 1,
        layout: Layout::Families,
        churn: (arguments.churn_one_of > 0).then_some(Churn {
            one_of: arguments.churn_one_of,
            scrapes: arguments.churn_scrapes,
        }),
        rollout: None,
    };
    let targets = (number..arguments.targets).step_by(arguments.senders);
    let mut pages: Vec<(usize, Page)> = targets.map(|t| (t, Page::new(shape, t))).collect();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let end_ms = now.as_millis() as i64 - 60_000;
    let mut connection = Connection::open(address, arguments.version)?;
    let mut request = Request::new(arguments.version);
    let mut text = String::new();
    let mut replies_ms = Vec::new();
    for round in 0..arguments.rounds as i64 {
        let round_ms = end_ms - (arguments.rounds as i64 - 1 - round) * arguments.step * 1000;
        for (target, page) in &mut pages {
            text.clear();
            page.render(&mut text);
            let at_ms = round_ms + (*target as i64 * 7919) % (arguments.step * 1000);
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').unwrap_or((line, "0"));
                let labels = labels_of(series);
                let mut labels: Vec<_> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
                let instance = format!("10.0.0.{target}:8080");
                labels.extend([("instance", &*instance), ("job", "push")]);
                let value = value.parse().unwrap_or(f64::NAN);
                request.add(&mut labels, &[(at_ms, value)]);
                if request.samples == arguments.request {
                    replies_ms.push(connection.post(request.finish())?);
                }
            }
        }
    }
    if request.samples > 0 {
        replies_ms.push(connection.post(request.finish())?);
    }
    Ok(replies_ms)
}

/// A row of the table: what it shows, and of an outcome its value.
type Row<'a> = (&'a str, &'a dyn Fn(&Outcome) -> Option<f64>);

fn print(arguments: &Arguments, outcomes: &[Outcome]) {
    print!(
        "remote write {}, {} targets × {} series × {} samples, {} per request, {} senders",
        arguments.version,
        arguments.targets,
        arguments.series,
        arguments.rounds,
        arguments.request,
        arguments.senders
    );
    if arguments.churn_one_of > 0 {
        print!(
            ", 1 series of {} replaced every {} samples",
            arguments.churn_one_of, arguments.churn_scrapes
        );
    }
    println!("\n");
    let series = (arguments.targets * arguments.series) as f64;
    let rows: [Row<'_>; 7] = [
        ("CPU per sample, µs", &|o| {
            Some(o.cpu_us / o.samples as f64)
        }),
        ("samples per second, thousands", &|o| {
            Some(o.samples as f64 / o.seconds / 1e3)
        }),
        ("reply, median, ms", &|o| quantile(&o.replies_ms, 0.5)),
        ("reply, p99, ms", &|o| quantile(&o.replies_ms, 0.99)),
        ("anonymous memory per series, B", &|o| {
            Some(o.anonymous_bytes / series)
        }),
        ("written per sample, B", &|o| {
            Some(o.written_bytes / o.samples as f64)
        }),
        ("disk per sample, B", &|o| {
            Some(o.disk_bytes / o.samples as f64)
        }),
    ];
    let mut table = Table::new(outcomes.iter().map(|o| o.label.as_str()));
    for (title, value) in rows {
        table.row(title, outcomes.iter().map(value));
    }
    let stored = outcomes.iter().map(|o| o.stored.as_str());
    table.texts("samples found afterwards", stored);
    println!("{}", table.text());
}

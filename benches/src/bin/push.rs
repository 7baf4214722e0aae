//! Pushes remote write at Barograph and its peers as fast as they take it, one system at a time.
//!
//! Each sender has the series of some targets in a queue and cuts it into requests wherever they
//! are full, as Prometheus's queues do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use barograph_benches::http;
use barograph_benches::measure;
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
                request.add(line, *target, at_ms);
                if request.series == arguments.request {
                    replies_ms.push(connection.post(request.finish())?);
                }
            }
        }
    }
    if request.series > 0 {
        replies_ms.push(connection.post(request.finish())?);
    }
    Ok(replies_ms)
}

/// A request on its way to being full.
struct Request {
    version: u8,
    series: usize,
    body: Vec<u8>,
    /// Texts and their numbers (version 2).
    symbols: std::collections::HashMap<String, u64>,
    texts: Vec<u8>,
    compressed: Vec<u8>,
}

impl Request {
    fn new(version: u8) -> Self {
        let mut request = Self {
            version,
            series: 0,
            body: Vec::new(),
            symbols: std::collections::HashMap::new(),
            texts: Vec::new(),
            compressed: Vec::new(),
        };
        request.symbol("");
        request
    }

    /// Adds `name{a="b",c="d"} value` of a target.
    fn add(&mut self, line: &str, target: usize, at_ms: i64) {
        let (series, value) = line.rsplit_once(' ').unwrap_or((line, "0"));
        let value: f64 = value.parse().unwrap_or(f64::NAN);
        let (name, rest) = series.split_once('{').unwrap_or((series, ""));
        let instance = format!("10.0.0.{target}:8080");
        let mut labels = vec![("__name__", name), ("instance", &instance), ("job", "push")];
        // Values of the workload hold no quotes or commas.
        let pairs = rest.trim_end_matches('}').split(',');
        labels.extend(pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name, value.trim_matches('"')))
        }));
        labels.sort_unstable();
        let mut message = Vec::with_capacity(256);
        if self.version == 1 {
            for (name, value) in labels {
                let mut label = Vec::with_capacity(64);
                put_bytes(&mut label, 1, name.as_bytes());
                put_bytes(&mut label, 2, value.as_bytes());
                put_bytes(&mut message, 1, &label);
            }
        } else {
            let mut references = Vec::with_capacity(32);
            for (name, value) in labels {
                put_varint(&mut references, self.symbol(name));
                put_varint(&mut references, self.symbol(value));
            }
            put_bytes(&mut message, 1, &references);
        }
        let mut sample = Vec::with_capacity(20);
        sample.push(1 << 3 | 1);
        sample.extend_from_slice(&value.to_bits().to_le_bytes());
        sample.push(2 << 3);
        put_varint(&mut sample, at_ms as u64);
        put_bytes(&mut message, 2, &sample);
        let field = if self.version == 1 { 1 } else { 5 };
        put_bytes(&mut self.body, field, &message);
        self.series += 1;
    }

    fn symbol(&mut self, text: &str) -> u64 {
        if let Some(number) = self.symbols.get(text) {
            return *number;
        }
        let number = self.symbols.len() as u64;
        self.symbols.insert(text.to_owned(), number);
        put_bytes(&mut self.texts, 4, text.as_bytes());
        number
    }

    /// The compressed request; begins the next one.
    fn finish(&mut self) -> &[u8] {
        let mut whole = Vec::with_capacity(self.texts.len() + self.body.len());
        if self.version == 2 {
            whole.extend_from_slice(&self.texts);
        }
        whole.extend_from_slice(&self.body);
        self.compressed
            .resize(snap::raw::max_compress_len(whole.len()), 0);
        let length = snap::raw::Encoder::new().compress(&whole, &mut self.compressed);
        self.compressed.truncate(length.unwrap_or(0));
        self.series = 0;
        self.body.clear();
        self.texts.clear();
        self.symbols.clear();
        self.symbol("");
        &self.compressed
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A kept connection.
struct Connection {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Connection {
    fn open(address: SocketAddr, version: u8) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let (kind, number) = match version {
            1 => ("application/x-protobuf", "0.1.0"),
            _ => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "2.0.0",
            ),
        };
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: {address}\r\nContent-Encoding: snappy\r\nContent-Type: {kind}\r\nX-Prometheus-Remote-Write-Version: {number}\r\n"
        );
        Ok(Self {
            stream: BufReader::new(stream),
            head,
        })
    }

    /// Sends a request and waits for the reply; returns how long that took, milliseconds.
    fn post(&mut self, body: &[u8]) -> io::Result<f64> {
        let mut request =
            format!("{}Content-Length: {}\r\n\r\n", self.head, body.len()).into_bytes();
        request.extend_from_slice(body);
        let began = Instant::now();
        self.stream.get_mut().write_all(&request)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? <= 2 {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text)?;
        if !status.starts_with('2') {
            let text = String::from_utf8_lossy(&text);
            return Err(io::Error::other(format!("the reply is {status}: {text}")));
        }
        Ok(began.elapsed().as_secs_f64() * 1000.0)
    }
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

//! Serves a deterministic workload as scrape targets on loopback: `/t/<n>/metrics` is target n.
//! `/served` says how many samples were served, `/scrapes` in how many scrapes, `/done` whether a fast
//! clock has reached the end of its span.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use barograph_benches::generator::{FastClock, Workload};
use barograph_benches::workload::{Page, Recording};
use clap::Parser;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// Longest request head, bytes.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;

/// Serves scrape targets.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    workload: Workload,
    /// Changes every value.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to listen; loopback only.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A fast clock: timestamps from this instant on, milliseconds since the Unix epoch.
    #[arg(long)]
    from_ms: Option<i64>,
    /// The end of the fast clock; after it pages are empty.
    #[arg(long, default_value_t = i64::MAX)]
    until_ms: i64,
    /// Milliseconds of the fast clock between two samples of a series.
    #[arg(long, default_value_t = 15_000)]
    step_ms: i64,
    /// Samples per series and scrape with the fast clock.
    #[arg(long, default_value_t = 1)]
    steps: usize,
}

/// Where a target's samples come from.
enum Source {
    Generated(Box<Page>),
    Recorded(Recording),
}

/// A target, and where its fast clock stands.
struct Target {
    source: Source,
    next_ms: i64,
}

struct Served {
    targets: Vec<Mutex<Target>>,
    series: u64,
    clock: Option<FastClock>,
    gzip: bool,
    samples: AtomicU64,
    scrapes: AtomicU64,
    /// Targets whose clock reached the end.
    ended: AtomicUsize,
}

impl Target {
    /// Writes the next page over `body`; returns its samples, and whether this was the last.
    fn render(&mut self, series: u64, clock: Option<FastClock>, body: &mut String) -> (u64, bool) {
        let Some(clock) = clock else {
            return match &mut self.source {
                Source::Generated(page) => {
                    page.render(body);
                    (series, false)
                }
                Source::Recorded(recording) => {
                    let samples = recording.samples();
                    recording.render(body);
                    (samples, false)
                }
            };
        };
        let left = (clock.until_ms.saturating_sub(self.next_ms)).max(0) / clock.step_ms;
        let steps = left.min(clock.steps as i64);
        let (from_ms, step_ms) = (self.next_ms, clock.step_ms);
        let instants = (0..steps).map(|step| from_ms + step * step_ms);
        self.next_ms += steps * step_ms;
        let samples = match &mut self.source {
            Source::Generated(page) => {
                page.render_at(instants, body);
                series * steps as u64
            }
            Source::Recorded(recording) => {
                let samples = recording.samples();
                recording.render_at(instants, body);
                samples * steps as u64
            }
        };
        (samples, steps > 0 && left == steps)
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    if !arguments.listen.ip().is_loopback() {
        return Err(std::io::Error::other("--listen must be a loopback address"));
    }
    let shape = arguments.workload.shape(arguments.seed);
    let recordings: Vec<Recording> = arguments
        .workload
        .recorded
        .iter()
        .map(|directory| Recording::read(directory))
        .collect::<Result<_, _>>()?;
    let source = |target: usize| match recordings.get(target % recordings.len().max(1)) {
        Some(recording) => {
            let share = target as f64 / shape.targets as f64;
            Source::Recorded(recording.starting_at(share))
        }
        None => Source::Generated(Box::new(Page::new(shape, target))),
    };
    let served = Arc::new(Served {
        targets: (0..shape.targets)
            .map(|target| {
                Mutex::new(Target {
                    source: source(target),
                    next_ms: arguments.from_ms.unwrap_or_default(),
                })
            })
            .collect(),
        series: shape.series as u64,
        gzip: arguments.workload.gzip,
        clock: arguments.from_ms.map(|from_ms| FastClock {
            from_ms,
            until_ms: arguments.until_ms,
            step_ms: arguments.step_ms.max(1),
            steps: arguments.steps,
        }),
        samples: AtomicU64::new(0),
        scrapes: AtomicU64::new(0),
        ended: AtomicUsize::new(0),
    });
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let served = served.clone();
        tokio::spawn(async move {
            // A scraper that goes away is no failure of ours.
            let _ = serve(stream, &served).await;
        });
    }
}

async fn serve(mut stream: TcpStream, served: &Served) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut head, mut body) = (Vec::new(), String::new());
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD_LIMIT_BYTES {
                return Ok(());
            }
        }
        let line = String::from_utf8_lossy(&head);
        let path = line.split(' ').nth(1).unwrap_or_default();
        let target = path
            .strip_prefix("/t/")
            .and_then(|rest| rest.split('/').next());
        let page = target
            .and_then(|n| n.parse::<usize>().ok())
            .and_then(|n| served.targets.get(n));
        let status = if let Some(page) = page {
            let (samples, ended) = page
                .lock()
                .await
                .render(served.series, served.clock, &mut body);
            served.samples.fetch_add(samples, Relaxed);
            served.scrapes.fetch_add(1, Relaxed);
            served.ended.fetch_add(usize::from(ended), Relaxed);
            "200 OK"
        } else if path == "/scrapes" {
            body = served.scrapes.load(Relaxed).to_string();
            "200 OK"
        } else if path == "/done" {
            body = u8::from(served.ended.load(Relaxed) >= served.targets.len()).to_string();
            "200 OK"
        } else if path == "/served" {
            body = served.samples.load(Relaxed).to_string();
            "200 OK"
        } else {
            body.clear();
            "404 Not Found"
        };
        let head = line.to_ascii_lowercase();
        let gzip = served.gzip && page.is_some() && head.contains("gzip");
        let compressed = if gzip { compress(&body)? } else { Vec::new() };
        let (encoding, body) = if gzip {
            ("Content-Encoding: gzip\r\n", &compressed[..])
        } else {
            ("", body.as_bytes())
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n{encoding}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(body).await?;
        if head.contains("connection: close") {
            return Ok(());
        }
    }
}

fn compress(body: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body.as_bytes())?;
    encoder.finish()
}

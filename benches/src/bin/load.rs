//! Serves a deterministic workload as scrape targets on loopback: `/t/<n>/metrics` is target n.
//! `/served` says how many samples were served, `/scrapes` in how many scrapes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use barograph_benches::generator::Workload;
use barograph_benches::workload::Source;
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
}

struct Served {
    targets: Vec<Mutex<Source>>,
    gzip: bool,
    samples: AtomicU64,
    scrapes: AtomicU64,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    if !arguments.listen.ip().is_loopback() {
        return Err(std::io::Error::other("--listen must be a loopback address"));
    }
    let sources = arguments.workload.sources(arguments.seed)?;
    let served = Arc::new(Served {
        targets: sources.into_iter().map(Mutex::new).collect(),
        gzip: arguments.workload.gzip,
        samples: AtomicU64::new(0),
        scrapes: AtomicU64::new(0),
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
            let samples = page.lock().await.render(&mut body);
            served.samples.fetch_add(samples, Relaxed);
            served.scrapes.fetch_add(1, Relaxed);
            "200 OK"
        } else if path == "/scrapes" {
            body = served.scrapes.load(Relaxed).to_string();
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

//! Serves a deterministic workload as scrape targets on loopback: `/t/<n>/metrics` is target n.
//! `/served` says how many samples were served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use barograph_benches::workload::{Page, Shape};
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// Longest request head, bytes.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;

/// Serves scrape targets.
#[derive(Parser)]
struct Arguments {
    /// How many targets.
    #[arg(long, default_value_t = 250)]
    targets: usize,
    /// Series per target.
    #[arg(long, default_value_t = 1000)]
    series: usize,
    /// Changes every value.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to listen; loopback only.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

struct Served {
    pages: Vec<Mutex<Page>>,
    series: u64,
    samples: AtomicU64,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    if !arguments.listen.ip().is_loopback() {
        return Err(std::io::Error::other("--listen must be a loopback address"));
    }
    let shape = Shape {
        targets: arguments.targets,
        series: arguments.series,
        seed: arguments.seed,
    };
    let served = Arc::new(Served {
        pages: (0..shape.targets)
            .map(|target| Mutex::new(Page::new(shape, target)))
            .collect(),
        series: shape.series as u64,
        samples: AtomicU64::new(0),
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
            .and_then(|n| served.pages.get(n));
        let status = if let Some(page) = page {
            page.lock().await.render(&mut body);
            served.samples.fetch_add(served.series, Relaxed);
            "200 OK"
        } else if path == "/served" {
            body = served.samples.load(Relaxed).to_string();
            "200 OK"
        } else {
            body.clear();
            "404 Not Found"
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        if line.to_ascii_lowercase().contains("connection: close") {
            return Ok(());
        }
    }
}

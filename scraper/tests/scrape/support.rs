//! A store, a scraper and targets that misbehave on demand.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barograph_instrument::{Format, Registry};
use barograph_model::{Clock, Labels, MatchOp, Matcher, STALE_NAN_BITS, SystemClock, TimeRange};
use barograph_scraper::{
    Collector, ScrapeConfig, Scraper, ScraperOptions, StaticTargets, TargetStatus,
};
use barograph_tsdb::{Column, Db, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest any test waits for something.
const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that follows tokio's, which a test may pause.
pub(crate) struct TokioClock {
    start: tokio::time::Instant,
    start_ms: i64,
}

impl TokioClock {
    pub(crate) fn new(start_ms: i64) -> Self {
        Self {
            start: tokio::time::Instant::now(),
            start_ms,
        }
    }
}

impl Clock for TokioClock {
    fn now_ms(&self) -> i64 {
        self.start_ms + self.start.elapsed().as_millis() as i64
    }
}

/// A scraper with its store.
pub(crate) struct Stack {
    pub(crate) scraper: Scraper,
    pub(crate) db: Db,
    pub(crate) registry: Registry,
    _directory: tempfile::TempDir,
}

impl Stack {
    pub(crate) fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    pub(crate) fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let registry = Registry::new();
        let db = Db::open(Options::new(directory.path()), &registry).expect("opens");
        let options = ScraperOptions::default();
        let scraper = Scraper::new(db.clone(), &registry, clock, options);
        Self {
            scraper,
            db,
            registry,
            _directory: directory,
        }
    }

    /// Samples of every series of that name: labels without the name and the target's, values with
    /// `stale` for the marker.
    pub(crate) fn samples(&self, metric: &str) -> BTreeMap<String, Vec<(i64, String)>> {
        let matcher = Matcher::new("__name__", MatchOp::Equal, metric).expect("no pattern");
        let snapshot = self.db.snapshot();
        let selection = snapshot
            .select(&[matcher], TimeRange::ALL)
            .expect("readable");
        let mut column = Column::default();
        (0..selection.len())
            .map(|index| {
                selection
                    .read(index, TimeRange::ALL, &mut column)
                    .expect("readable");
                let labels = selection.labels(index);
                let labels = labels.without(|n| matches!(n, "__name__" | "job" | "instance"));
                let values = column.timestamps_ms.iter().zip(&column.values);
                let values = values.map(|(t, v)| {
                    let stale = v.to_bits() == STALE_NAN_BITS;
                    (
                        *t,
                        if stale {
                            "stale".to_owned()
                        } else {
                            v.to_string()
                        },
                    )
                });
                (labels.to_string(), values.collect())
            })
            .collect()
    }

    /// The values of the only series of that name.
    pub(crate) fn values(&self, metric: &str) -> Vec<String> {
        let all = self.samples(metric);
        assert!(all.len() <= 1, "{metric}: {all:?}");
        all.into_values()
            .flatten()
            .map(|(_, value)| value)
            .collect()
    }

    pub(crate) fn last(&self, metric: &str) -> Option<String> {
        self.values(metric).pop()
    }

    /// The value of one of the scraper's own counters without labels.
    pub(crate) fn counter(&self, name: &str) -> f64 {
        let mut page = String::new();
        self.registry.encode(Format::Text004, &mut page);
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{page}"))
    }

    /// The only target.
    pub(crate) fn target(&self) -> TargetStatus {
        let mut targets = self.scraper.targets();
        assert_eq!(targets.len(), 1);
        targets.remove(0)
    }

    /// Waits until the only target was scraped at least once more.
    pub(crate) async fn next_scrape(&self) -> TargetStatus {
        let before = self.target().last_scrape_ms;
        until("the next scrape", || self.target().last_scrape_ms != before).await;
        self.target()
    }
}

/// Waits until `done` says yes.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = tokio::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A quick job of one static target. The timeout leaves room for a busy machine.
pub(crate) fn job(address: &str) -> ScrapeConfig {
    ScrapeConfig {
        interval_ms: 300,
        timeout_ms: 300,
        static_targets: vec![StaticTargets {
            targets: vec![address.to_owned()],
            labels: Labels::empty(),
        }],
        ..ScrapeConfig::new("test")
    }
}

/// A page that tests can change while it is scraped.
#[derive(Clone, Default)]
pub(crate) struct Body(Arc<Mutex<String>>);

impl Body {
    pub(crate) fn new(text: &str) -> Self {
        let body = Self::default();
        body.set(text);
        body
    }

    pub(crate) fn set(&self, text: &str) {
        text.clone_into(&mut self.0.lock().expect("not poisoned"));
    }

    pub(crate) fn get(&self) -> String {
        self.0.lock().expect("not poisoned").clone()
    }

    pub(crate) fn collector(&self) -> Collector {
        let body = self.clone();
        Arc::new(move |page: &mut String| page.push_str(&body.get()))
    }
}

/// An HTTP server whose connections are handled by a test's function, which gets each request's
/// head and writes the answer. Ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(String, TcpStream) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Option<TcpStream>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    while let Some(head) = read_head(&mut stream).await {
                        match answer(head, stream).await {
                            Some(back) => stream = back,
                            None => return,
                        }
                    }
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// A server that always gives the answer `answer` makes, whole.
    pub(crate) async fn fixed(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::start(move |head, mut stream| {
            let bytes = answer(&head);
            async move {
                stream.write_all(&bytes).await.ok()?;
                Some(stream)
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn job(&self) -> ScrapeConfig {
        job(&self.address.to_string())
    }
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A page in text 0.0.4.
pub(crate) fn page(body: &str) -> Vec<u8> {
    answer(
        "200 OK",
        "Content-Type: text/plain; version=0.0.4\r\n",
        body.as_bytes(),
    )
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 64 << 10 || stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

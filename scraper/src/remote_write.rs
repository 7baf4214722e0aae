//! Receiving remote write, versions 1 and 2.
//!
//! A request is a list of series with their samples. Each series is recognised by a hash of its
//! labels as written, so that labels are read and looked up only when a series is new here. Samples
//! are then put in order of target and time, and appended row by row as a scrape's would be.

mod gather;
mod histogram;
mod known;
mod metrics;
mod request;
mod rows;

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use barograph_instrument::Registry;
use barograph_model::Clock;
use barograph_tsdb::Db;

use crate::wire::Malformed;
use gather::Gathered;
use known::KnownSeries;
use metrics::RemoteWriteMetrics;
use request::{LabelPairs, Request, Series};

/// Most bytes of a request, before and after decompression.
pub const REMOTE_WRITE_LIMIT_BYTES: usize = 32 << 20;
/// Times a series is looked up again because it had left memory.
const RETRIES: usize = 3;
/// Most problems a reply spells out.
const PROBLEMS_LIMIT: usize = 10;
/// Decompression buffers kept for the next requests.
const BUFFERS_LIMIT: usize = 8;
/// Largest buffer kept.
const KEPT_BUFFER_LIMIT_BYTES: usize = 1 << 20;

/// The message a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// Settings of the receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoteWriteOptions {
    /// Whether start timestamps are stored.
    pub start_timestamps: bool,
}

/// Takes requests. Cloning shares it. Its methods block: call them where that is allowed.
#[derive(Clone)]
pub struct RemoteWrite {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    clock: Arc<dyn Clock>,
    options: RemoteWriteOptions,
    metrics: RemoteWriteMetrics,
    seed: u64,
    known: RwLock<KnownSeries>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// How many were stored: what the headers of a version 2 reply say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Floats.
    pub samples: usize,
    /// Native histograms.
    pub histograms: usize,
    /// Exemplars.
    pub exemplars: usize,
}

/// Why a request was not, or not wholly, stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteWriteError {
    /// The request or parts of it are wrong: sending it again is of no use. What fits is stored.
    #[error("{0}")]
    Refused(String),
    /// The store does not take samples now: send it again. Samples that are stored already may be
    /// sent twice.
    #[error("{0}")]
    Unavailable(String),
}

/// What one request asks to store, and what became of it.
#[derive(Default)]
struct Progress {
    written: Written,
    problems: Vec<String>,
    problem_count: usize,
    unavailable: Option<String>,
}

impl RemoteWrite {
    /// A receiver that appends to `db`.
    pub fn new(
        db: Db,
        registry: &Registry,
        clock: Arc<dyn Clock>,
        options: RemoteWriteOptions,
    ) -> Self {
        let shared = Arc::new(Shared {
            db,
            clock,
            options,
            metrics: RemoteWriteMetrics::new(registry),
            seed: RandomState::new().hash_one(0),
            known: RwLock::new(KnownSeries::new()),
            buffers: Mutex::default(),
        });
        let weak = Arc::downgrade(&shared);
        registry.gauge_fn(
            "barograph_remote_write_known_series",
            "Series that senders of remote write are known to send.",
            move || {
                weak.upgrade().map_or(0.0, |shared| {
                    let known = shared.known.read().unwrap_or_else(PoisonError::into_inner);
                    known.len() as f64
                })
            },
        );
        Self { shared }
    }

    /// Stores a request, compressed with Snappy as the protocol has it. When this returns without
    /// an error, everything in it survives a crash of the process.
    pub fn receive(
        &self,
        message: Message,
        compressed: &[u8],
    ) -> (Written, Result<(), RemoteWriteError>) {
        let shared = &*self.shared;
        let mut body = shared.buffer();
        let mut progress = Progress::default();
        let outcome = match decompress(compressed, &mut body) {
            Ok(()) => shared.store(message, &body, &mut progress),
            Err(text) => Err(RemoteWriteError::Refused(text)),
        };
        shared.give_back(body);
        shared.metrics.count(&progress.written, &outcome);
        (progress.written, outcome)
    }
}

impl Shared {
    fn store(
        &self,
        message: Message,
        body: &[u8],
        progress: &mut Progress,
    ) -> Result<(), RemoteWriteError> {
        let malformed = |error: Malformed| {
            RemoteWriteError::Refused(format!("the message is malformed: {}", error.0))
        };
        let request = Request::read(message, body, self.seed).map_err(malformed)?;
        let mut wanted: Vec<u32> = (0..request.len() as u32).collect();
        let mut gathered = Gathered::default();
        for _ in 0..=RETRIES {
            gathered.clear();
            self.gather(&request, message, &wanted, &mut gathered, progress)
                .map_err(malformed)?;
            wanted = self.append(&request, message, &mut gathered, progress);
            if wanted.is_empty() || progress.unavailable.is_some() {
                break;
            }
            self.forget(&request, &wanted).map_err(malformed)?;
        }
        if !wanted.is_empty() && progress.unavailable.is_none() {
            progress.unavailable = Some("series leave memory as fast as they come".to_owned());
        }
        for (family, metadata) in &request.families {
            if let Err(error) = self.db.set_metadata(family, metadata) {
                progress.unavailable.get_or_insert(error.to_string());
            }
        }
        progress.outcome()
    }

    fn forget(&self, request: &Request<'_>, origins: &[u32]) -> Result<(), Malformed> {
        let mut series = Series::default();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for origin in origins {
            request.series(*origin as usize, self.seed, &mut series)?;
            known.forget(series.key);
        }
        Ok(())
    }

    /// A problem, and the series it is with.
    fn about(&self, request: &Request<'_>, origin: u32, problem: &str) -> String {
        let mut series = Series::default();
        let mut pairs = LabelPairs::new();
        let read = request.series(origin as usize, self.seed, &mut series);
        match read.and_then(|()| request.labels(&series, &mut pairs)) {
            Ok(()) => format!("{problem} for series {}", show(&pairs)),
            Err(error) => format!("{problem} for a series that is malformed: {}", error.0),
        }
    }

    fn buffer(&self) -> Vec<u8> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < BUFFERS_LIMIT && buffer.capacity() <= KEPT_BUFFER_LIMIT_BYTES {
            buffers.push(buffer);
        }
    }
}

impl Progress {
    fn problem(&mut self, text: impl FnOnce() -> String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_LIMIT {
            self.problems.push(text());
        }
    }

    fn outcome(&mut self) -> Result<(), RemoteWriteError> {
        if let Some(text) = self.unavailable.take() {
            return Err(RemoteWriteError::Unavailable(text));
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        let mut text = self.problems.join("\n");
        if self.problem_count > self.problems.len() {
            let more = self.problem_count - self.problems.len();
            let _ = write!(text, "\nand {more} more");
        }
        Err(RemoteWriteError::Refused(text))
    }
}

fn decompress(compressed: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let length = snap::raw::decompress_len(compressed).map_err(|error| error.to_string())?;
    if length > REMOTE_WRITE_LIMIT_BYTES {
        return Err(format!(
            "decoded size exceeds the {REMOTE_WRITE_LIMIT_BYTES} bytes limit"
        ));
    }
    out.resize(length, 0);
    let written = snap::raw::Decoder::new().decompress(compressed, out);
    out.truncate(written.map_err(|error| error.to_string())?);
    Ok(())
}

/// Labels as people read them, whatever they are.
fn show(pairs: &LabelPairs<'_>) -> String {
    let shown: Vec<String> = pairs
        .iter()
        .map(|(name, value)| {
            let (name, value) = (
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value),
            );
            format!("{name}={value:?}")
        })
        .collect();
    format!("{{{}}}", shown.join(", "))
}

#[cfg(test)]
mod tests;

//! The manager of all target loops.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use barograph_instrument::Registry;
use barograph_model::{Clock, Labels};
use barograph_tsdb::Db;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::config::ScrapeConfig;
use crate::job::Job;
use crate::metrics::ScrapeMetrics;
use crate::scratch::ScratchPool;
use crate::status::{DroppedTarget, FamilyMetadata, TargetStatus};

/// Scrapes that are parsed and stored at once, per core. More would only wait for cores or for
/// the disk, each with its buffers in hand.
const INGESTS_PER_CORE: usize = 2;

/// Bytes of pages, as they came, that may wait for the store while it is being opened. Where there
/// are more, targets are scraped again when it is open.
const HELD_LIMIT_BYTES: usize = 64 << 20;

/// What all jobs share.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScraperOptions {
    /// Mixed into each target's offset, so that replicas scrape at different moments.
    pub offset_seed: u64,
}

/// Scrapes. Cloning shares it. Needs a tokio runtime.
#[derive(Clone)]
pub struct Scraper {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    jobs: Mutex<BTreeMap<String, Arc<Job>>>,
    /// One reload at a time.
    applying: tokio::sync::Mutex<()>,
    /// Yields `None` once every loop has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// What every loop uses.
pub(crate) struct Shared {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) offset_seed: u64,
    pub(crate) metrics: ScrapeMetrics,
    pub(crate) scratch: ScratchPool,
    pub(crate) ingest_permits: Arc<Semaphore>,
    /// How many permits there are.
    ingest_width: u32,
    pub(crate) active: ActiveLabels,
    pub(crate) stop: watch::Sender<bool>,
    running: Mutex<Option<mpsc::Sender<()>>>,
    /// Whether the store is open, once that is known.
    opened: tokio::sync::OnceCell<bool>,
    /// Bytes of pages that wait for it.
    held_bytes: AtomicUsize,
}

/// How many running loops have which labels.
#[derive(Default)]
pub(crate) struct ActiveLabels {
    counts: Mutex<HashMap<Labels, usize>>,
}

impl ActiveLabels {
    pub(crate) fn add(&self, labels: &Labels) {
        *self.lock().entry(labels.clone()).or_default() += 1;
    }

    pub(crate) fn remove(&self, labels: &Labels) {
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(labels) {
            *count -= 1;
            if *count == 0 {
                counts.remove(labels);
            }
        }
    }

    pub(crate) fn has(&self, labels: &Labels) -> bool {
        self.lock().contains_key(labels)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Labels, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Waits for [`Scraper::stop`].
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as `self`: this cannot fail before it is true.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Waits until the store is open; `false` where it will not be. A store that comes back after a
    /// crash takes a moment, in which targets are scraped already.
    pub(crate) async fn opened(&self) -> bool {
        let wait = || async {
            let db = self.db.clone();
            let waiting = tokio::task::spawn_blocking(move || db.is_open(true));
            waiting.await.unwrap_or(false)
        };
        self.db.is_open(false) || *self.opened.get_or_init(wait).await
    }

    /// Where there is no room for one more page to wait for the store: waits until it is open.
    pub(crate) async fn is_held_back(&self) -> bool {
        if self.db.is_open(false) || self.held_bytes.load(Relaxed) < HELD_LIMIT_BYTES {
            return false;
        }
        self.metrics.held_back.inc();
        self.opened().await;
        true
    }

    /// [`Self::opened`], with a page of so many bytes in hand.
    pub(crate) async fn opened_for(self: &Arc<Self>, bytes: usize) -> bool {
        if self.db.is_open(false) {
            return true;
        }
        let _held = Held::new(self.clone(), bytes);
        self.opened().await
    }

    /// Held by each task for as long as it runs.
    pub(crate) fn running(&self) -> Option<mpsc::Sender<()>> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A page that waits for the store.
struct Held {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Held {
    fn new(shared: Arc<Shared>, bytes: usize) -> Self {
        shared.held_bytes.fetch_add(bytes, Relaxed);
        shared.metrics.held_bytes.add(bytes as f64);
        Self { shared, bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.held_bytes.fetch_sub(self.bytes, Relaxed);
        self.shared.metrics.held_bytes.add(-(self.bytes as f64));
    }
}

impl Scraper {
    /// A scraper without targets; registers its metrics.
    pub fn new(
        db: Db,
        registry: &Registry,
        clock: Arc<dyn Clock>,
        options: ScraperOptions,
    ) -> Self {
        let (running, ended) = mpsc::channel(1);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let ingest_width = cores * INGESTS_PER_CORE;
        let shared = Shared {
            db,
            clock,
            offset_seed: options.offset_seed,
            metrics: ScrapeMetrics::new(registry),
            scratch: ScratchPool::default(),
            ingest_permits: Arc::new(Semaphore::new(ingest_width)),
            ingest_width: ingest_width as u32,
            active: ActiveLabels::default(),
            stop: watch::channel(false).0,
            running: Mutex::new(Some(running)),
            opened: tokio::sync::OnceCell::new(),
            held_bytes: AtomicUsize::new(0),
        };
        Self {
            inner: Arc::new(Inner {
                shared: Arc::new(shared),
                jobs: Mutex::default(),
                applying: tokio::sync::Mutex::default(),
                ended: tokio::sync::Mutex::new(ended),
            }),
        }
    }

    /// Makes `configs` the whole set of jobs. Targets that did not change keep their loops, caches
    /// and schedule. Returns when target files were read once.
    pub async fn apply(&self, configs: Vec<ScrapeConfig>) {
        let _one = self.inner.applying.lock().await;
        if *self.inner.shared.stop.borrow() {
            return;
        }
        let mut old = std::mem::take(&mut *self.jobs());
        let mut new = BTreeMap::new();
        for config in configs {
            let name = config.job_name.clone();
            let job = match old.remove(&name) {
                Some(job) => {
                    job.configure(config);
                    job
                }
                None => Job::new(&self.inner.shared, config),
            };
            new.insert(name, job);
        }
        // New targets first: a target that moved to another job is known to go on before it is
        // removed from the old one.
        self.jobs().clone_from(&new);
        for job in new.values() {
            job.discover().await;
        }
        for job in old.values() {
            job.remove();
        }
    }

    /// Every active target, by job and address.
    pub fn targets(&self) -> Vec<TargetStatus> {
        let jobs = self.jobs().clone();
        jobs.values().flat_map(|job| job.targets()).collect()
    }

    /// Targets that relabelling dropped, as far as they are kept, and how many per job there are.
    pub fn dropped_targets(&self) -> (Vec<DroppedTarget>, Vec<(String, usize)>) {
        let jobs = self.jobs().clone();
        let (mut all, mut counts) = (Vec::new(), Vec::new());
        for (name, job) in jobs {
            let (dropped, count) = job.dropped();
            all.extend(dropped);
            counts.push((name, count));
        }
        (all, counts)
    }

    /// Metadata of every family of every target.
    pub fn metadata(&self) -> Vec<FamilyMetadata> {
        let jobs = self.jobs().clone();
        let mut all = Vec::new();
        for job in jobs.values() {
            job.metadata(&mut all);
        }
        all
    }

    /// Stops all loops; writes no staleness markers. Scrapes under way are given up.
    pub async fn stop(&self) {
        let _one = self.inner.applying.lock().await;
        let shared = &self.inner.shared;
        if shared.stop.send_replace(true) {
            return;
        }
        *shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        while self.inner.ended.lock().await.recv().await.is_some() {}
        // What was being stored is stored: nothing is appended from here on.
        if let Ok(permits) = shared
            .ingest_permits
            .acquire_many(shared.ingest_width)
            .await
        {
            permits.forget();
        }
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.inner
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

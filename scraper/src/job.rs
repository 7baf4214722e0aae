//! One job: from what is discovered to running loops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use barograph_model::Labels;

use crate::config::{ScrapeConfig, StaticTargets};
use crate::discovery::FileDiscoverer;
use crate::error::ScrapeError;
use crate::fetch::JobClient;
use crate::metrics;
use crate::scrape_loop::{LoopHandle, LoopSettings};
use crate::scraper::Shared;
use crate::status::{DroppedTarget, FamilyMetadata, TargetStatus};
use crate::target::{ADDRESS, Resolved, Target, TargetKey, resolve};

/// A job with its targets.
pub(crate) struct Job {
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
}

struct Inner {
    config: Arc<ScrapeConfig>,
    client: Arc<JobClient>,
    /// What files brought last.
    discovered: Vec<StaticTargets>,
    discoverer: Option<FileDiscoverer>,
    loops: HashMap<TargetKey, LoopHandle>,
    dropped: Vec<DroppedTarget>,
    dropped_count: usize,
    stopped: bool,
}

impl Job {
    /// A job without targets yet.
    pub(crate) fn new(shared: &Arc<Shared>, config: ScrapeConfig) -> Arc<Self> {
        shared.metrics.pools.inc();
        Arc::new(Self {
            shared: shared.clone(),
            inner: Mutex::new(Inner {
                client: Arc::new(JobClient::new(&config)),
                config: Arc::new(config),
                discovered: Vec::new(),
                discoverer: None,
                loops: HashMap::new(),
                dropped: Vec::new(),
                dropped_count: 0,
                stopped: false,
            }),
        })
    }

    /// Takes over new settings. Loops whose target stays keep running.
    pub(crate) fn configure(&self, config: ScrapeConfig) {
        let mut inner = self.lock();
        let same_client = inner.config.same_settings(&config);
        if same_client
            && inner.config.static_targets == config.static_targets
            && inner.config.file_discovery == config.file_discovery
        {
            return;
        }
        self.shared.metrics.pool_reloads.inc();
        if !same_client {
            inner.client = Arc::new(JobClient::new(&config));
        }
        inner.config = Arc::new(config);
    }

    /// Starts what discovers targets, unless it runs already, and waits for its first answer.
    pub(crate) async fn discover(self: &Arc<Self>) {
        let config = self.lock().config.clone();
        let keeps = self
            .lock()
            .discoverer
            .as_ref()
            .is_some_and(|running| running.reads(&config.file_discovery));
        if !keeps {
            self.lock().discoverer = None;
            let mut discovered = Vec::new();
            if !config.file_discovery.is_empty() {
                let (discoverer, first) =
                    FileDiscoverer::start(&self.shared, self, &config.file_discovery).await;
                discovered = first;
                self.lock().discoverer = Some(discoverer);
            }
            self.lock().discovered = discovered;
        }
        self.sync();
    }

    /// Takes over a new list from discovery.
    pub(crate) fn set_discovered(&self, discovered: Vec<StaticTargets>) {
        {
            let mut inner = self.lock();
            if inner.discovered == discovered {
                return;
            }
            inner.discovered = discovered;
        }
        self.sync();
    }

    /// Ends all loops; their series are marked stale in due time.
    pub(crate) fn remove(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        inner.discoverer = None;
        for (_, handle) in inner.loops.drain() {
            handle.remove(&self.shared);
        }
        let job = metrics::Job {
            scrape_job: inner.config.job_name.clone(),
        };
        self.shared.metrics.pool_targets.remove(&job);
        self.shared.metrics.pool_target_limit.remove(&job);
    }

    /// Active targets, by address.
    pub(crate) fn targets(&self) -> Vec<TargetStatus> {
        let inner = self.lock();
        let mut targets: Vec<_> = inner
            .loops
            .values()
            .filter_map(|handle| Some(handle.state().status(&*handle.settings()?)))
            .collect();
        targets.sort_by(|a, b| (&a.scrape_url, &a.labels).cmp(&(&b.scrape_url, &b.labels)));
        targets
    }

    /// Dropped targets as far as they are kept, and how many there are.
    pub(crate) fn dropped(&self) -> (Vec<DroppedTarget>, usize) {
        let inner = self.lock();
        (inner.dropped.clone(), inner.dropped_count)
    }

    /// Metadata of all targets.
    pub(crate) fn metadata(&self, all: &mut Vec<FamilyMetadata>) {
        let inner = self.lock();
        for ((labels, _), handle) in &inner.loops {
            let families = &handle.state().families;
            let families = families.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(
                families
                    .list()
                    .into_iter()
                    .map(|(family, metadata)| FamilyMetadata {
                        target: labels.clone(),
                        family,
                        metadata,
                    }),
            );
        }
    }

    /// Makes the loops those of the targets that are configured and discovered now.
    fn sync(&self) {
        let mut inner = self.lock();
        if inner.stopped {
            return;
        }
        let job = metrics::Job {
            scrape_job: inner.config.job_name.clone(),
        };
        let metrics = &self.shared.metrics;
        metrics.syncs.with(&job).inc();
        let wanted = self.resolve_all(&mut inner, &job);
        let forced_error = self.limit_error(&inner.config, wanted.len());
        metrics.pool_targets.with(&job).set(wanted.len() as f64);
        metrics
            .pool_target_limit
            .with(&job)
            .set(inner.config.target_limit as f64);
        let inner = &mut *inner;
        let gone: Vec<TargetKey> = inner
            .loops
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .cloned()
            .collect();
        for handle in gone
            .iter()
            .filter_map(|key| inner.loops.remove(key))
            .collect::<Vec<_>>()
        {
            handle.remove(&self.shared);
        }
        for (key, target) in wanted {
            let settings = LoopSettings {
                config: inner.config.clone(),
                client: inner.client.clone(),
                target,
                forced_error: forced_error.clone(),
            };
            match inner.loops.get(&key) {
                Some(handle) => {
                    let same = handle.settings().is_some_and(|have| {
                        Arc::ptr_eq(&have.config, &settings.config)
                            && have.target == settings.target
                            && have.forced_error == settings.forced_error
                    });
                    if !same {
                        handle.update(settings);
                    }
                }
                None => {
                    inner
                        .loops
                        .insert(key, LoopHandle::start(&self.shared, settings));
                }
            }
        }
    }

    /// Every discovered target that is to be scraped, once; notes the dropped ones.
    fn resolve_all(&self, inner: &mut Inner, job: &metrics::Job) -> HashMap<TargetKey, Target> {
        let config = inner.config.clone();
        let keep = match config.keep_dropped_targets {
            0 => usize::MAX,
            limit => limit as usize,
        };
        inner.dropped.clear();
        inner.dropped_count = 0;
        let mut wanted = HashMap::new();
        let sources = [
            ("static", &config.static_targets),
            ("file", &inner.discovered),
        ];
        for (name, groups) in sources {
            let mut found = 0usize;
            for labels in groups.iter().flat_map(target_labels) {
                found += 1;
                match resolve(&config, &labels) {
                    Resolved::Active(target) => {
                        wanted.entry(target.key()).or_insert(target);
                    }
                    Resolved::Dropped(discovered_labels) => {
                        inner.dropped_count += 1;
                        if inner.dropped.len() < keep {
                            inner.dropped.push(DroppedTarget {
                                job_name: config.job_name.clone(),
                                discovered_labels,
                            });
                        }
                    }
                    Resolved::Invalid(reason) => {
                        self.shared.metrics.sync_failures.with(job).inc();
                        tracing::error!(job = config.job_name, reason, "a target is not scraped");
                    }
                }
            }
            let discovery = metrics::Discovery {
                name,
                config: config.job_name.clone(),
            };
            self.shared
                .metrics
                .discovered
                .with(&discovery)
                .set(found as f64);
        }
        wanted
    }

    fn limit_error(&self, config: &ScrapeConfig, have: usize) -> Option<ScrapeError> {
        if config.target_limit == 0 || have as u64 <= config.target_limit {
            return None;
        }
        self.shared.metrics.exceeded_target_limit.inc();
        Some(ScrapeError::TargetLimit {
            have,
            limit: config.target_limit,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The label sets of one group's targets.
fn target_labels(group: &StaticTargets) -> impl Iterator<Item = Labels> + '_ {
    group.targets.iter().map(|address| {
        let mut labels = group.labels.to_builder();
        labels.set(ADDRESS, address);
        labels.build()
    })
}

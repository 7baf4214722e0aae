//! The loop of one target.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use barograph_model::duration::format_duration_ms;
use barograph_tsdb::GroupId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::classic::{self, Conversion};
use crate::config::{Collector, ScrapeConfig};
use crate::error::ScrapeError;
use crate::family::FamilyCache;
use crate::fetch::{Fetched, Fetcher, Format, JobClient, is_html};
use crate::ingest::{Ingest, Outcome, Page, TargetMemory};
use crate::parse::Dialect;
use crate::protobuf::{self, Rewritten};
use crate::schedule::Schedule;
use crate::scraper::Shared;
use crate::status::{Health, TargetStatus};
use crate::target::Target;

/// What a loop does; replaced on reload.
pub(crate) struct LoopSettings {
    /// The job.
    pub(crate) config: Arc<ScrapeConfig>,
    /// How its targets are asked.
    pub(crate) client: Arc<JobClient>,
    /// The target.
    pub(crate) target: Target,
    /// Why nothing is fetched, where that is so.
    pub(crate) forced_error: Option<ScrapeError>,
}

/// What is known of a target from outside its loop.
#[derive(Default)]
pub(crate) struct TargetState {
    last: Mutex<LastScrape>,
    /// Metadata of its families.
    pub(crate) families: Arc<Mutex<FamilyCache>>,
}

#[derive(Clone, Default)]
struct LastScrape {
    error: String,
    began_ms: Option<i64>,
    seconds: f64,
    up: bool,
}

/// A running loop.
pub(crate) struct LoopHandle {
    settings: watch::Sender<Option<Arc<LoopSettings>>>,
    state: Arc<TargetState>,
}

impl LoopHandle {
    /// Starts the loop of a target.
    pub(crate) fn start(shared: &Arc<Shared>, settings: LoopSettings) -> Self {
        let state = Arc::<TargetState>::default();
        shared.active.add(&settings.target.labels);
        let (sender, receiver) = watch::channel(Some(Arc::new(settings)));
        let task = TargetLoop {
            group: None,
            shared: shared.clone(),
            state: state.clone(),
            settings: receiver,
            memory: None,
            fetcher: None,
            collecting: None,
            last_due_ms: None,
            last_start: None,
        };
        let done = shared.running();
        let stopping = shared.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stopping.stopped() => {}
                () = task.run() => {}
            }
            drop(done);
        });
        Self {
            settings: sender,
            state,
        }
    }

    /// Gives the loop new settings, from its next scrape on.
    pub(crate) fn update(&self, settings: LoopSettings) {
        self.settings.send_replace(Some(Arc::new(settings)));
    }

    /// What the loop works with; `None` once it was removed.
    pub(crate) fn settings(&self) -> Option<Arc<LoopSettings>> {
        self.settings.borrow().clone()
    }

    /// Ends the loop after the scrape under way, and marks its series stale in due time.
    pub(crate) fn remove(self, shared: &Shared) {
        if let Some(settings) = self.settings.send_replace(None) {
            shared.active.remove(&settings.target.labels);
        }
    }

    /// What is known of the target.
    pub(crate) fn state(&self) -> &Arc<TargetState> {
        &self.state
    }
}

impl TargetState {
    /// The target's status.
    pub(crate) fn status(&self, settings: &LoopSettings) -> TargetStatus {
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let target = &settings.target;
        TargetStatus {
            job_name: settings.config.job_name.clone(),
            discovered_labels: target.discovered.clone(),
            labels: target.labels.clone(),
            scrape_url: target.endpoint.url.clone(),
            last_error: last.error,
            last_scrape_ms: last.began_ms,
            last_scrape_seconds: last.seconds,
            health: match (last.began_ms, last.up) {
                (None, _) => Health::Unknown,
                (Some(_), true) => Health::Up,
                (Some(_), false) => Health::Down,
            },
            interval_ms: target.interval_ms,
            timeout_ms: target.timeout_ms,
        }
    }
}

struct TargetLoop {
    shared: Arc<Shared>,
    state: Arc<TargetState>,
    settings: watch::Receiver<Option<Arc<LoopSettings>>>,
    /// Begun once the store is open.
    group: Option<GroupId>,
    /// `None` before the first scrape.
    memory: Option<Box<TargetMemory>>,
    fetcher: Option<(Arc<JobClient>, Fetcher)>,
    /// A collector that did not return in time and still runs.
    collecting: Option<JoinHandle<String>>,
    last_due_ms: Option<i64>,
    last_start: Option<Instant>,
}

impl TargetLoop {
    async fn run(mut self) {
        let mut current = None;
        loop {
            let next = self.settings.borrow_and_update().clone();
            let Some(settings) = next else {
                break;
            };
            self.adopt(current.as_ref(), &settings);
            let schedule = self.schedule(&settings);
            let due_ms = self.next_due(schedule, &settings);
            current = Some(settings.clone());
            let sleep = sleep_until(self.shared.clone(), due_ms);
            tokio::select! {
                biased;
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    continue;
                }
                () = sleep => {}
            }
            self.last_due_ms = Some(due_ms);
            let timestamp_ms = schedule.timestamp(due_ms, self.shared.clock.now_ms());
            self.scrape(&settings, timestamp_ms).await;
        }
        if let Some(settings) = current {
            self.mark_gone(&settings).await;
        }
        if let Some(group) = self.group {
            self.shared.db.close_group(group);
        }
    }

    /// Drops what was learned under settings that no longer hold.
    fn adopt(&mut self, old: Option<&Arc<LoopSettings>>, new: &Arc<LoopSettings>) {
        let relabelled = old.is_some_and(|old| !old.config.same_labelling(&new.config));
        if let (true, Some(memory)) = (relabelled, &mut self.memory) {
            memory.cache.reset();
        }
        if self
            .fetcher
            .as_ref()
            .is_some_and(|(client, _)| !Arc::ptr_eq(client, &new.client))
        {
            self.fetcher = None;
        }
    }

    fn schedule(&self, settings: &LoopSettings) -> Schedule {
        let target = &settings.target;
        Schedule::new(
            &target.labels,
            &target.endpoint,
            self.shared.offset_seed,
            target.interval_ms,
        )
    }

    fn next_due(&self, schedule: Schedule, settings: &LoopSettings) -> i64 {
        let due_ms = schedule.next_after(self.shared.clock.now_ms());
        // The timer may fire a little before the wall clock says so.
        if self.last_due_ms == Some(due_ms) {
            due_ms + settings.target.interval_ms
        } else {
            due_ms
        }
    }

    async fn scrape(&mut self, settings: &Arc<LoopSettings>, timestamp_ms: i64) {
        if self.shared.is_held_back().await {
            return;
        }
        let began_ms = self.shared.clock.now_ms();
        let started = Instant::now();
        if let Some(last) = self.last_start.replace(started) {
            let seconds = (started - last).as_secs_f64();
            self.shared
                .metrics
                .intervals
                .observe(settings.target.interval_ms, seconds);
        }
        let fetched = self.fetch(settings).await;
        let fetch_seconds = started.elapsed().as_secs_f64();
        let outcome = self.ingest(settings, fetched, timestamp_ms, started).await;
        self.shared
            .metrics
            .scrape_duration
            .observe(started.elapsed().as_secs_f64());
        if let Some(error) = &outcome.error {
            let target = &settings.target;
            tracing::debug!(url = target.endpoint.url, %error, "scrape failed");
        }
        let mut last = self
            .state
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = LastScrape {
            up: outcome.error.is_none(),
            error: outcome
                .error
                .map_or(outcome.warning, |error| error.to_string()),
            began_ms: Some(began_ms),
            seconds: fetch_seconds.max(started.elapsed().as_secs_f64()),
        };
    }

    async fn fetch(&mut self, settings: &LoopSettings) -> Result<Fetched, ScrapeError> {
        if let Some(error) = &settings.forced_error {
            return Err(error.clone());
        }
        if let Some(collector) = &settings.config.collector {
            return self
                .collect(collector.clone(), settings.target.timeout_ms)
                .await;
        }
        let (client, fetcher) = self
            .fetcher
            .get_or_insert_with(|| (settings.client.clone(), Fetcher::new(&settings.client)));
        let buffer = self.shared.scratch.take_body();
        fetcher.fetch(client, &settings.target, buffer).await
    }

    /// Runs a collector of this process where it may block.
    async fn collect(&mut self, run: Collector, timeout_ms: i64) -> Result<Fetched, ScrapeError> {
        let mut task = self.collecting.take().unwrap_or_else(|| {
            tokio::task::spawn_blocking(move || {
                let mut page = String::new();
                run(&mut page);
                page
            })
        });
        let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
        match tokio::time::timeout(timeout, &mut task).await {
            Ok(Ok(page)) => Ok(Fetched {
                raw: page.into_bytes(),
                gzip: false,
                format: Format::Text(Dialect::Text),
            }),
            Ok(Err(error)) => Err(ScrapeError::Collector(format!(
                "BUG: the built-in collector panicked: {error}"
            ))),
            Err(_) => {
                self.collecting = Some(task);
                Err(ScrapeError::Timeout {
                    timeout: format_duration_ms(timeout_ms),
                    phase: "the built-in collector did not return".to_owned(),
                })
            }
        }
    }

    /// Brings what was fetched into the store, off the workers that serve sockets: it computes, and
    /// the store may wait for its disk.
    async fn ingest(
        &mut self,
        settings: &Arc<LoopSettings>,
        fetched: Result<Fetched, ScrapeError>,
        timestamp_ms: i64,
        started: Instant,
    ) -> Outcome {
        let fetched_at = Instant::now();
        let bytes = fetched.as_ref().map_or(0, |page| page.raw.len());
        let Some(memory) = self.take_memory(bytes).await else {
            return Outcome {
                error: Some(ScrapeError::Store("the store is not open".to_owned())),
                ..Outcome::default()
            };
        };
        // Waiting for a store that is being opened says nothing of the target.
        let started = started + fetched_at.elapsed();
        let now_ms = self.shared.clock.now_ms();
        let settings = settings.clone();
        let work = move |shared: &Shared, mut memory: Box<TargetMemory>| {
            let outcome = ingest_page(shared, &settings, &mut memory, &fetched, |ingest| {
                ingest.timestamp_ms = timestamp_ms;
                ingest.now_ms = now_ms;
                ingest.started = started;
            });
            if let Ok(fetched) = fetched {
                shared.scratch.give_body(fetched.raw);
            }
            (memory, outcome)
        };
        match self.off_workers(memory, work).await {
            Ok((memory, outcome)) => {
                self.memory = Some(memory);
                outcome
            }
            Err(error) => Outcome {
                error: Some(ScrapeError::Store(error)),
                ..Outcome::default()
            },
        }
    }

    /// What is known of the target; `None` where the store cannot be opened. A page of so many bytes
    /// waits for that.
    async fn take_memory(&mut self, page_bytes: usize) -> Option<Box<TargetMemory>> {
        if let Some(memory) = self.memory.take() {
            return Some(memory);
        }
        if !self.shared.opened_for(page_bytes).await {
            return None;
        }
        let db = &self.shared.db;
        let group = *self.group.get_or_insert_with(|| db.open_group());
        let families = self.state.families.clone();
        Some(Box::new(TargetMemory::new(group, families)))
    }

    async fn off_workers<T: Send + 'static>(
        &self,
        memory: Box<TargetMemory>,
        work: impl FnOnce(&Shared, Box<TargetMemory>) -> T + Send + 'static,
    ) -> Result<T, String> {
        let permit = self.shared.ingest_permits.clone().acquire_owned().await;
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&shared, memory)
        })
        .await
        .map_err(|error| format!("BUG: storing a scrape panicked: {error}"))
    }

    /// After removal: waits until a target that was only renamed or moved has been scraped again,
    /// then marks the series stale from the first scrape that did not happen.
    async fn mark_gone(&mut self, settings: &Arc<LoopSettings>) {
        if self.memory.is_none() {
            return;
        }
        let schedule = self.schedule(settings);
        let missed_ms = self.next_due(schedule, settings);
        let interval_ms = settings.target.interval_ms;
        let settled_ms = missed_ms + interval_ms + interval_ms / 10;
        sleep_until(self.shared.clone(), settled_ms).await;
        if self.shared.active.has(&settings.target.labels) {
            return;
        }
        let Some(memory) = self.memory.take() else {
            return;
        };
        let settings = settings.clone();
        let work = move |shared: &Shared, mut memory: Box<TargetMemory>| {
            let mut scratch = shared.scratch.take(memory.group);
            let ingest = Ingest {
                timestamp_ms: missed_ms,
                ..ingest_of(shared, &settings)
            };
            ingest.mark_gone(&mut memory, &mut scratch);
            shared.scratch.give(scratch);
        };
        if let Err(error) = self.off_workers(memory, work).await {
            tracing::error!(
                error,
                "staleness markers of a removed target are not stored"
            );
        }
    }
}

async fn sleep_until(shared: Arc<Shared>, due_ms: i64) {
    let wait_ms = (due_ms - shared.clock.now_ms()).max(0);
    tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
}

fn ingest_of<'a>(shared: &'a Shared, settings: &'a LoopSettings) -> Ingest<'a> {
    Ingest {
        db: &shared.db,
        config: &settings.config,
        target: &settings.target.labels,
        timeout_ms: settings.target.timeout_ms,
        timestamp_ms: 0,
        now_ms: 0,
        started: Instant::now(),
        metrics: &shared.metrics,
    }
}

fn ingest_page(
    shared: &Shared,
    settings: &LoopSettings,
    memory: &mut TargetMemory,
    fetched: &Result<Fetched, ScrapeError>,
    fill: impl FnOnce(&mut Ingest<'_>),
) -> Outcome {
    let mut ingest = ingest_of(shared, settings);
    fill(&mut ingest);
    let mut scratch = shared.scratch.take(memory.group);
    let mut inflated = Vec::new();
    let (mut rewritten, mut converted) = (Rewritten::default(), Rewritten::default());
    let mut size_bytes = 0;
    let page = match fetched {
        Err(error) => Err(error.clone()),
        Ok(fetched) => {
            let client = &settings.client;
            let body = if fetched.gzip {
                let limit = (client.body_limit, client.body_limit_setting);
                let done = scratch.gunzip(&fetched.raw, limit.0, limit.1);
                inflated = std::mem::take(&mut scratch.body);
                done.map(|()| &inflated[..])
            } else {
                Ok(&fetched.raw[..])
            };
            body.and_then(|body| {
                size_bytes = body.len();
                if is_html(body) {
                    let url = settings.target.endpoint.url.clone();
                    return Err(ScrapeError::Html { url });
                }
                let dialect = match fetched.format {
                    Format::Text(dialect) => dialect,
                    Format::Protobuf => {
                        let wanted = protobuf::Wanted {
                            native: settings.target.histograms.native,
                            classic_too: settings.target.histograms.classic_too,
                            starts: settings.config.start_timestamps.is_read(),
                        };
                        rewritten = protobuf::rewrite(body, wanted).map_err(ScrapeError::Page)?;
                        Dialect::OpenMetrics
                    }
                };
                let is_text = matches!(fetched.format, Format::Text(_));
                let page = Page {
                    body: if is_text {
                        body
                    } else {
                        rewritten.text.as_bytes()
                    },
                    dialect,
                    histograms: &rewritten.histograms,
                    starts: &rewritten.starts,
                };
                let conversion = Conversion {
                    histograms: settings.target.histograms.custom,
                    keep_classic: settings.target.histograms.classic_too,
                    starts: settings.config.start_timestamps.is_read(),
                };
                if !conversion.concerns(page) {
                    return Ok(page);
                }
                let done = classic::convert(page, conversion);
                converted = done.map_err(|error| ScrapeError::Parse(*error))?;
                Ok(Page {
                    body: converted.text.as_bytes(),
                    dialect,
                    histograms: &converted.histograms,
                    starts: &converted.starts,
                })
            })
        }
    };
    let body_size_bytes = match &page {
        Ok(_) => size_bytes as i64,
        Err(ScrapeError::BodyLimit { .. }) => -1,
        Err(_) => 0,
    };
    let outcome = ingest.run(memory, &mut scratch, page, body_size_bytes);
    scratch.body = inflated;
    shared.scratch.give(scratch);
    outcome
}

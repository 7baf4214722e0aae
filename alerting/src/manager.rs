//! The manager of all rule groups.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use barograph_instrument::Registry;
use barograph_model::{Clock, Labels};
use barograph_query::{Cancel, Engine, Lane, ParseOptions, Pool};
use barograph_tsdb::Db;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;

use crate::group::{Context, Evaluated, Group};
use crate::metrics::RuleMetrics;
use crate::notifier::Notifier;
use crate::rule_file::{RuleFile, RuleGroup};
use crate::status::GroupStatus;

/// Longest sleep before the clock is read again, so that a clock that was set is noticed.
const SLEEP_LIMIT_MS: i64 = 5_000;
/// How long to wait before a full queue is tried again.
const BUSY_WAIT: Duration = Duration::from_millis(50);

/// What all groups share; changes with the configuration.
#[derive(Clone, Debug)]
pub struct RuleManagerOptions {
    /// Milliseconds between evaluations of groups that say nothing.
    pub default_interval_ms: i64,
    /// How far back rules of groups that say nothing look, milliseconds.
    pub default_query_offset_ms: i64,
    /// Labels templates see as `$externalLabels`.
    pub external_labels: Labels,
    /// The URL under which people reach this server.
    pub external_url: String,
    /// How long an outage may last for `for` to be restored after it, milliseconds.
    pub outage_tolerance_ms: i64,
    /// Least `for` that is restored, milliseconds.
    pub for_grace_period_ms: i64,
    /// Least time between two sendings of one alert, milliseconds.
    pub resend_delay_ms: i64,
    /// What queries of templates may use.
    pub language: ParseOptions,
}

impl Default for RuleManagerOptions {
    fn default() -> Self {
        Self {
            default_interval_ms: 60_000,
            default_query_offset_ms: 0,
            external_labels: Labels::empty(),
            external_url: String::new(),
            outage_tolerance_ms: 3_600_000,
            for_grace_period_ms: 600_000,
            resend_delay_ms: 60_000,
            language: ParseOptions::default(),
        }
    }
}

/// Evaluates rule groups. Cloning shares it. Needs a tokio runtime.
#[derive(Clone)]
pub struct RuleManager {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    engine: Engine,
    pool: Pool,
    clock: Arc<dyn Clock>,
    notifier: Notifier,
    metrics: RuleMetrics,
    options: RwLock<Arc<RuleManagerOptions>>,
    /// What readers see; replaced as a whole.
    groups: RwLock<Vec<Arc<Group>>>,
    /// Held while groups are exchanged.
    running: Mutex<HashMap<GroupKey, Running>>,
    /// Whether rules were loaded before: only the first load restores state.
    loaded: AtomicBool,
    stopped: AtomicBool,
    cancel: Cancel,
}

type GroupKey = (PathBuf, String);

struct Running {
    group: Arc<Group>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) -> Arc<Group> {
        let _ = self.stop.send(true);
        // A panic in the task was reported when it happened; the group ends either way.
        let _ = self.task.await;
        self.group
    }
}

impl RuleManager {
    /// A manager without groups; registers its metrics.
    pub fn new(
        db: Db,
        engine: Engine,
        pool: Pool,
        registry: &Registry,
        clock: Arc<dyn Clock>,
        notifier: Notifier,
    ) -> Self {
        let inner = Inner {
            db,
            engine,
            pool,
            clock,
            notifier,
            metrics: RuleMetrics::new(registry),
            options: RwLock::default(),
            groups: RwLock::default(),
            running: Mutex::default(),
            loaded: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            cancel: Cancel::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Makes `files` the whole set of rules. Groups that did not change go on; alerts of changed
    /// groups keep their state where rule and labels are the same. Series of groups that are gone
    /// are marked stale two intervals later.
    pub async fn apply(&self, files: Vec<RuleFile>, options: RuleManagerOptions) {
        let inner = &self.inner;
        let mut running = inner.running.lock().await;
        if inner.stopped.load(Relaxed) {
            return;
        }
        let first = !inner.loaded.swap(true, Relaxed);
        *inner
            .options
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(options.clone());
        let mut next = HashMap::new();
        let mut seen = HashSet::new();
        let mut changed = Vec::new();
        for (key, spec) in wanted(files) {
            // A file that several patterns name is read once.
            if !seen.insert(key.clone()) {
                continue;
            }
            match running.remove(&key) {
                Some(old) if old.group.is_same(&spec, options.default_interval_ms) => {
                    next.insert(key, old);
                }
                old => changed.push((key, spec, old)),
            }
        }
        let removed: Vec<Running> = running.drain().map(|(_, old)| old).collect();
        let replaced = changed.iter().filter_map(|(_, _, old)| old.as_ref());
        for old in removed.iter().chain(replaced) {
            let _ = old.stop.send(true);
        }
        for (key, spec, old) in changed {
            let old = match old {
                Some(old) => Some(old.stop().await),
                None => None,
            };
            let group = inner.make_group(&key, spec, &options, old.as_deref(), first);
            next.insert(key, self.start(group));
        }
        for old in removed {
            let group = old.stop().await;
            inner.metrics.end(&group.metric_key);
            tokio::spawn(retire(Arc::downgrade(inner), group, inner.clock.now_ms()));
        }
        let mut groups: Vec<Arc<Group>> =
            next.values().map(|r: &Running| r.group.clone()).collect();
        groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
        *inner.groups.write().unwrap_or_else(PoisonError::into_inner) = groups;
        *running = next;
    }

    /// Every group, by file and name.
    pub fn groups(&self) -> Vec<GroupStatus> {
        self.inner
            .groups()
            .iter()
            .map(|group| group.status())
            .collect()
    }

    /// Stops evaluating; running queries are cancelled.
    pub async fn stop(&self) {
        self.inner.stopped.store(true, Relaxed);
        self.inner.cancel.cancel();
        let mut running = self.inner.running.lock().await;
        for old in running.values() {
            let _ = old.stop.send(true);
        }
        for (_, old) in running.drain() {
            old.stop().await;
        }
    }

    fn start(&self, group: Arc<Group>) -> Running {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(self.inner.clone(), group.clone(), stopped));
        Running { group, stop, task }
    }
}

impl Inner {
    fn make_group(
        &self,
        key: &GroupKey,
        spec: RuleGroup,
        options: &RuleManagerOptions,
        old: Option<&Group>,
        first: bool,
    ) -> Arc<Group> {
        let writer = match old {
            Some(old) => old.writer,
            None => self.db.open_group(),
        };
        let restore = first || old.is_some_and(Group::restore_pending);
        let restore = restore.then_some(options.for_grace_period_ms);
        let interval_ms = options.default_interval_ms;
        let group = Group::new(key.0.clone(), spec, interval_ms, writer, restore);
        if let Some(old) = old {
            group.take_over(old);
        }
        self.metrics
            .begin(&group.metric_key, group.interval_ms, group.rule_count());
        Arc::new(group)
    }

    fn groups(&self) -> Vec<Arc<Group>> {
        self.groups
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn context(&self) -> Arc<Context> {
        let options = self.options.read().unwrap_or_else(PoisonError::into_inner);
        Arc::new(Context {
            db: self.db.clone(),
            engine: self.engine.clone(),
            metrics: self.metrics.clone(),
            options: options.clone(),
            cancel: self.cancel.clone(),
        })
    }

    /// Runs `job` on the query pool, once: again is only asked for a place.
    ///
    /// # Errors
    /// It found no place in time, or panicked.
    async fn on_pool<T: Send + 'static>(
        &self,
        patience: Duration,
        job: impl Fn() -> T + Clone + Send + 'static,
    ) -> Result<T, String> {
        let deadline = Instant::now() + patience;
        loop {
            let (done, result) = oneshot::channel();
            let job = job.clone();
            let spawned = self.pool.spawn(Lane::Rules, move || {
                let _ = done.send(job());
            });
            match spawned {
                Ok(()) => {
                    return result
                        .await
                        .map_err(|_| "BUG: the evaluation panicked".to_owned());
                }
                Err(busy) if Instant::now() >= deadline => return Err(busy.to_string()),
                Err(_) => tokio::time::sleep(BUSY_WAIT).await,
            }
        }
    }
}

/// The groups of all files, in order.
fn wanted(files: Vec<RuleFile>) -> impl Iterator<Item = (GroupKey, RuleGroup)> {
    files.into_iter().flat_map(|file| {
        let path = file.path;
        file.groups
            .into_iter()
            .map(move |group| ((path.clone(), group.name.clone()), group))
    })
}

/// The life of a group: its slots, one after another, until it is stopped.
async fn run(inner: Arc<Inner>, group: Arc<Group>, mut stopped: watch::Receiver<bool>) {
    let interval_ms = group.interval_ms;
    let mut slot_ms = group.slot_before_ms(inner.clock.now_ms()) + interval_ms;
    let mut iterations = 0u64;
    loop {
        if !sleep_until(&inner, &group, &mut slot_ms, &mut stopped).await {
            return;
        }
        inner.metrics.iterations.with(&group.metric_key).inc();
        iterate(&inner, &group, slot_ms, &stopped).await;
        iterations += 1;
        // One more evaluation than the first, so that recording rules have written what alerts
        // depend on.
        if iterations == 2 && group.restore_pending() {
            let (restored, context) = (group.clone(), inner.context());
            let now_ms = inner.clock.now_ms();
            let job = move || restored.restore(now_ms, &context);
            if let Err(error) = inner
                .on_pool(Duration::from_millis(interval_ms as u64), job)
                .await
            {
                tracing::error!("cannot restore since when alerts are pending: {error}");
                iterations = 1;
            }
        }
        let missed = (inner.clock.now_ms() - slot_ms) / interval_ms - 1;
        if missed > 0 {
            inner
                .metrics
                .missed
                .with(&group.metric_key)
                .inc_by(missed as u64);
            inner
                .metrics
                .iterations
                .with(&group.metric_key)
                .inc_by(missed as u64);
        }
        slot_ms += (missed.max(0) + 1) * interval_ms;
    }
}

/// Waits for the slot. Returns whether there is to be an evaluation.
async fn sleep_until(
    inner: &Inner,
    group: &Group,
    slot_ms: &mut i64,
    stopped: &mut watch::Receiver<bool>,
) -> bool {
    loop {
        if *stopped.borrow() {
            return false;
        }
        let now_ms = inner.clock.now_ms();
        let left_ms = *slot_ms - now_ms;
        if left_ms <= 0 {
            return true;
        }
        if left_ms > 2 * group.interval_ms {
            // The clock was set back: do not wait for the old time to come again.
            *slot_ms = group.slot_before_ms(now_ms) + group.interval_ms;
        }
        let nap = Duration::from_millis(left_ms.clamp(1, SLEEP_LIMIT_MS) as u64);
        tokio::select! {
            () = tokio::time::sleep(nap) => {}
            changed = stopped.changed() => {
                if changed.is_err() {
                    return false;
                }
            }
        }
    }
}

/// Evaluates the rules of a group in order.
async fn iterate(
    inner: &Arc<Inner>,
    group: &Arc<Group>,
    slot_ms: i64,
    stopped: &watch::Receiver<bool>,
) {
    let started = Instant::now();
    let context = inner.context();
    let patience = Duration::from_millis(group.interval_ms as u64);
    let mut samples = 0;
    for index in 0..group.rule_count() {
        if *stopped.borrow() {
            return;
        }
        let job = {
            let (group, context) = (group.clone(), context.clone());
            move || group.evaluate(index, slot_ms, &context)
        };
        match inner.on_pool(patience, job).await {
            Ok(Evaluated {
                samples: more,
                alerts,
            }) => {
                samples += more;
                inner.notifier.send(alerts);
            }
            Err(error) => group.fail(index, slot_ms, &context, &error),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let finish = {
        let (group, context) = (group.clone(), context.clone());
        move || group.finish(slot_ms, seconds, samples, &context)
    };
    if let Err(error) = inner.on_pool(patience, finish).await {
        tracing::warn!(group = group.name, "cannot finish the evaluation: {error}");
    }
}

/// Marks the series of a removed group stale, late enough for a renamed group to have taken over.
async fn retire(inner: Weak<Inner>, group: Arc<Group>, removed_at_ms: i64) {
    tokio::time::sleep(Duration::from_millis(2 * group.interval_ms as u64)).await;
    let Some(inner) = inner.upgrade() else { return };
    if inner.stopped.load(Relaxed) {
        return;
    }
    let mut alive = HashSet::new();
    for group in inner.groups() {
        group.collect_series(&mut alive);
    }
    let (alive, context, retired) = (Arc::new(alive), inner.context(), group.clone());
    let job = move || retired.mark_stale(removed_at_ms, &context, &alive);
    let patience = Duration::from_millis(group.interval_ms as u64);
    if let Err(error) = inner.on_pool(patience, job).await {
        tracing::warn!(
            group = group.name,
            "cannot mark removed series stale: {error}"
        );
    }
    inner.db.close_group(group.writer);
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;

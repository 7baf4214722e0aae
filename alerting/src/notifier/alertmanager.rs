//! External Alertmanagers: a queue and a sender for each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use barograph_model::Labels;
use barograph_model::relabel::relabel;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::metrics::AlertmanagerLabel;
use super::{Alert, DeliveryStatus, Shared, payload};
use crate::config::{AlertmanagerTarget, without_credentials};

/// One Alertmanager. A batch that fails is dropped: the rules send every alert again.
pub(super) struct Sender {
    shared: Arc<Shared>,
    target: AlertmanagerTarget,
    label: AlertmanagerLabel,
    queue: Mutex<VecDeque<Arc<Alert>>>,
    work: Notify,
    stopping: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Sender {
    /// A sender with its task.
    pub(super) fn start(shared: Arc<Shared>, target: AlertmanagerTarget) -> Arc<Self> {
        let label = AlertmanagerLabel {
            alertmanager: without_credentials(&endpoint(&target.url)),
        };
        let metrics = &shared.metrics;
        metrics.errors.with(&label);
        metrics.sent.with(&label);
        metrics.dropped.with(&label);
        metrics.queue_length.with(&label).set(0.0);
        let sender = Arc::new(Self {
            shared,
            target,
            label,
            queue: Mutex::default(),
            work: Notify::new(),
            stopping: watch::Sender::new(false),
            task: Mutex::default(),
        });
        let task = tokio::spawn(run(sender.clone()));
        *sender.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        sender
    }

    pub(super) fn url(&self) -> &str {
        &self.target.url
    }

    pub(super) fn is_for(&self, target: &AlertmanagerTarget) -> bool {
        self.target.url == target.url
            && self.target.timeout_ms == target.timeout_ms
            && self.target.relabel == target.relabel
    }

    /// Queues alerts; the oldest make room.
    pub(super) fn push(&self, alerts: &[Arc<Alert>]) {
        let mut queue = self.lock();
        for alert in alerts {
            let mut labels = alert.labels.to_builder();
            if !relabel(&self.target.relabel, &mut labels) {
                continue;
            }
            let alert = if self.target.relabel.is_empty() {
                alert.clone()
            } else {
                Arc::new(Alert {
                    labels: labels.build(),
                    ..alert.as_ref().clone()
                })
            };
            queue.push_back(alert);
        }
        let excess = queue
            .len()
            .saturating_sub(self.shared.options.queue_capacity);
        if excess > 0 {
            queue.drain(..excess);
            self.count_dropped(excess);
            tracing::warn!(
                alertmanager = self.label.alertmanager,
                "the queue is full: the {excess} oldest alerts were dropped"
            );
        }
        self.set_length(&queue);
        drop(queue);
        self.work.notify_one();
    }

    /// Sends what is queued for at most `limit`, and ends.
    pub(super) async fn stop(&self, limit: Duration) {
        let _ = self.stopping.send(true);
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut task) = task else { return };
        if tokio::time::timeout(limit, &mut task).await.is_err() {
            task.abort();
        }
        let left = self.lock().len();
        if left > 0 {
            self.count_dropped(left);
            tracing::warn!(
                alertmanager = self.label.alertmanager,
                "{left} alerts could not be sent before stopping and were dropped"
            );
        }
        let metrics = &self.shared.metrics;
        metrics.latency.remove(&self.label);
        metrics.errors.remove(&self.label);
        metrics.sent.remove(&self.label);
        metrics.dropped.remove(&self.label);
        metrics.queue_length.remove(&self.label);
    }

    async fn send_batch(&self, batch: Vec<Arc<Alert>>) {
        let started = Instant::now();
        let body = payload::alertmanager_body(&batch);
        let timeout = Duration::from_millis(self.target.timeout_ms.max(1) as u64);
        let url = endpoint(&self.target.url);
        let result = self.shared.client.post(&url, body, timeout).await;
        let metrics = &self.shared.metrics;
        match &result {
            Ok(()) => {
                metrics
                    .latency
                    .with(&self.label)
                    .observe(started.elapsed().as_secs_f64());
                metrics.sent.with(&self.label).inc_by(batch.len() as u64);
            }
            Err(error) => {
                metrics.errors.with(&self.label).inc_by(batch.len() as u64);
                self.count_dropped(batch.len());
                tracing::error!(
                    alertmanager = self.label.alertmanager,
                    alerts = batch.len(),
                    "sending alerts failed: {}",
                    error.message
                );
            }
        }
        let id = self.shared.history.begin();
        let status = DeliveryStatus {
            time_ms: self.shared.clock.now_ms(),
            receiver: self.label.alertmanager.clone(),
            integration: "alertmanager",
            group_labels: Labels::empty(),
            alerts: batch.len(),
            attempts: 1,
            finished: true,
            error: result.err().map(|error| error.message),
        };
        self.shared.history.record(id, status);
    }

    fn take_batch(&self) -> Vec<Arc<Alert>> {
        let mut queue = self.lock();
        let count = queue.len().min(self.shared.options.batch_size.max(1));
        let batch = queue.drain(..count).collect();
        self.set_length(&queue);
        batch
    }

    fn set_length(&self, queue: &VecDeque<Arc<Alert>>) {
        let gauge = self.shared.metrics.queue_length.with(&self.label);
        gauge.set(queue.len() as f64);
    }

    fn count_dropped(&self, count: usize) {
        self.shared
            .metrics
            .dropped
            .with(&self.label)
            .inc_by(count as u64);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Alert>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(sender: Arc<Sender>) {
    let mut stopping = sender.stopping.subscribe();
    loop {
        let batch = sender.take_batch();
        if !batch.is_empty() {
            sender.send_batch(batch).await;
            continue;
        }
        if *stopping.borrow() {
            return;
        }
        tokio::select! {
            () = sender.work.notified() => {}
            _ = stopping.changed() => {}
        }
    }
}

fn endpoint(base: &str) -> String {
    format!("{}/api/v2/alerts", base.trim_end_matches('/'))
}

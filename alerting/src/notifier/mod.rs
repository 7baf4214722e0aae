//! Takes alerts to where they are wanted.

mod alertmanager;
mod client;
mod dispatch;
mod history;
mod metrics;
mod notification_log;
mod payload;
mod webhook;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::relabel::{RelabelRule, relabel};
use barograph_model::{Clock, Labels};

use crate::config::{AlertmanagerTarget, RoutingConfig, without_credentials};
use alertmanager::Sender;
use client::Client;
use dispatch::Dispatcher;
use history::History;
use metrics::NotifierMetrics;
use notification_log::NotificationLog;

/// How long stopping may take.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the notifier is made with.
#[derive(Clone, Debug)]
pub struct NotifierOptions {
    /// Most alerts queued per destination; the oldest is dropped beyond it.
    pub queue_capacity: usize,
    /// Most alerts per request to an Alertmanager.
    pub batch_size: usize,
}

impl Default for NotifierOptions {
    fn default() -> Self {
        Self {
            queue_capacity: 10_000,
            batch_size: 256,
        }
    }
}

/// One attempt, or series of attempts, to deliver a notification.
#[derive(Clone, Debug)]
pub struct DeliveryStatus {
    /// When it was last tried, milliseconds since the epoch.
    pub time_ms: i64,
    /// The receiver's name, or the Alertmanager's URL.
    pub receiver: String,
    /// The integration: `webhook` or `alertmanager`.
    pub integration: &'static str,
    /// The group's labels.
    pub group_labels: Labels,
    /// How many alerts it carried.
    pub alerts: usize,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether it was given up or has succeeded; otherwise it will be tried again.
    pub finished: bool,
    /// Why it failed; `None` after success.
    pub error: Option<String>,
}

/// An alert on its way to those who are to know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alert {
    pub labels: Labels,
    pub annotations: Labels,
    /// Since when it fires, milliseconds since the epoch.
    pub starts_at_ms: i64,
    /// When it ended, or until when it is valid unless it is sent again.
    pub ends_at_ms: Option<i64>,
    /// Where its expression can be looked at.
    pub generator_url: String,
}

/// Sends notifications. Cloning shares it. Needs a tokio runtime.
#[derive(Clone)]
pub struct Notifier {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    destinations: RwLock<Destinations>,
    /// Held while destinations are exchanged.
    applying: tokio::sync::Mutex<()>,
    stopped: AtomicBool,
}

/// What every destination needs.
struct Shared {
    options: NotifierOptions,
    clock: Arc<dyn Clock>,
    client: Client,
    metrics: NotifierMetrics,
    history: History,
    log: NotificationLog,
}

#[derive(Default)]
struct Destinations {
    senders: Vec<Arc<Sender>>,
    dispatcher: Option<Arc<Dispatcher>>,
    relabel: Vec<RelabelRule>,
    external_labels: Labels,
}

impl Notifier {
    /// A notifier without destinations; registers its metrics.
    pub fn new(options: NotifierOptions, registry: &Registry, clock: Arc<dyn Clock>) -> Self {
        let metrics = NotifierMetrics::new(registry);
        metrics.queue_capacity.set(options.queue_capacity as f64);
        let shared = Shared {
            options,
            clock,
            client: Client::new(),
            metrics,
            history: History::default(),
            log: NotificationLog::default(),
        };
        Self {
            inner: Arc::new(Inner {
                shared: Arc::new(shared),
                destinations: RwLock::default(),
                applying: tokio::sync::Mutex::default(),
                stopped: AtomicBool::new(false),
            }),
        }
    }

    /// Makes these the destinations: external Alertmanagers, and our own routing where there is
    /// any. `relabel` and `external_labels` apply to all alerts on their way out, as they do
    /// between Prometheus and Alertmanager. Destinations that did not change go on undisturbed.
    pub async fn apply(
        &self,
        alertmanagers: Vec<AlertmanagerTarget>,
        routing: Option<RoutingConfig>,
        relabel: Vec<RelabelRule>,
        external_labels: Labels,
        external_url: String,
    ) {
        let _applying = self.inner.applying.lock().await;
        if self.inner.stopped.load(Relaxed) {
            return;
        }
        let shared = &self.inner.shared;
        let (retired, replaced) = {
            let mut destinations = self.write();
            let mut old = std::mem::take(&mut destinations.senders);
            for target in alertmanagers {
                let same = old.iter().position(|sender| sender.is_for(&target));
                destinations.senders.push(match same {
                    Some(at) => old.swap_remove(at),
                    None => Sender::start(shared.clone(), target),
                });
            }
            // Our own routing is one more place that takes alerts: without it, the common alert
            // about a server that has no Alertmanager would fire.
            let count = destinations.senders.len() + usize::from(routing.is_some());
            shared.metrics.alertmanagers_discovered.set(count as f64);
            let before = destinations.dispatcher.take();
            let (kept, replaced) = match (before, &routing) {
                (Some(old), Some(new)) if old.is_for(new, &external_url) => (Some(old), None),
                (old, _) => (None, old),
            };
            destinations.dispatcher = kept.or_else(|| {
                routing.map(|routing| {
                    let dispatcher = Dispatcher::new(shared.clone(), routing, external_url);
                    // What the old routing held goes on in the new one.
                    if let Some(old) = &replaced {
                        old.alerts()
                            .into_iter()
                            .for_each(|alert| dispatcher.put(alert));
                    }
                    dispatcher
                })
            });
            destinations.relabel = relabel;
            destinations.external_labels = external_labels;
            (old, replaced)
        };
        if let Some(dispatcher) = replaced {
            dispatcher.stop(Duration::ZERO).await;
        }
        for sender in retired {
            sender.stop(STOP_LIMIT).await;
        }
    }

    /// The URLs of the external Alertmanagers.
    pub fn alertmanagers(&self) -> Vec<String> {
        let senders = &self.read().senders;
        senders
            .iter()
            .map(|sender| without_credentials(sender.url()))
            .collect()
    }

    /// The latest deliveries, newest first, failures included.
    pub fn deliveries(&self) -> Vec<DeliveryStatus> {
        self.inner.shared.history.newest_first()
    }

    /// Sends what is queued, for at most a few seconds, and stops. Groups that nobody was told of
    /// yet are sent at once.
    pub async fn stop(&self) {
        self.inner.stopped.store(true, Relaxed);
        let _applying = self.inner.applying.lock().await;
        let destinations = std::mem::take(&mut *self.write());
        let senders = destinations
            .senders
            .into_iter()
            .map(|sender| tokio::spawn(async move { sender.stop(STOP_LIMIT).await }));
        let senders: Vec<_> = senders.collect();
        if let Some(dispatcher) = destinations.dispatcher {
            dispatcher.stop(STOP_LIMIT).await;
        }
        for sender in senders {
            let _ = sender.await;
        }
    }

    /// Takes alerts over. Does not wait.
    pub(crate) fn send(&self, alerts: Vec<Alert>) {
        if alerts.is_empty() || self.inner.stopped.load(Relaxed) {
            return;
        }
        let destinations = self.read();
        let outgoing = alerts.into_iter().filter_map(|mut alert| {
            let mut labels = alert.labels.to_builder();
            for (name, value) in &destinations.external_labels {
                if labels.get(name).is_empty() {
                    labels.set(name, value);
                }
            }
            let kept = relabel(&destinations.relabel, &mut labels);
            alert.labels = labels.build();
            kept.then(|| Arc::new(alert))
        });
        let outgoing: Vec<Arc<Alert>> = outgoing.collect();
        for sender in &destinations.senders {
            sender.push(&outgoing);
        }
        if let Some(dispatcher) = &destinations.dispatcher {
            for alert in outgoing {
                dispatcher.put(alert);
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Destinations> {
        let destinations = &self.inner.destinations;
        destinations.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Destinations> {
        let destinations = &self.inner.destinations;
        destinations.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

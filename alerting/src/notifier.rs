//! Takes alerts to where they are wanted.

use std::sync::Arc;

use barograph_instrument::Registry;
use barograph_model::{Clock, Labels};

use crate::config::{AlertmanagerTarget, RoutingConfig};

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
    /// Why it failed; `None` after success.
    pub error: Option<String>,
}

/// Sends notifications. Cloning shares it. Needs a tokio runtime.
#[derive(Clone)]
pub struct Notifier;

impl Notifier {
    /// A notifier without destinations; registers its metrics.
    pub fn new(options: NotifierOptions, registry: &Registry, clock: Arc<dyn Clock>) -> Self {
        let _ = (options, registry, clock);
        Self
    }

    /// Makes these the destinations: external Alertmanagers, and our own routing where there is
    /// any. `relabel` and `external_labels` apply to alerts for Alertmanagers.
    pub async fn apply(
        &self,
        alertmanagers: Vec<AlertmanagerTarget>,
        routing: Option<RoutingConfig>,
        relabel: Vec<barograph_model::relabel::RelabelRule>,
        external_labels: Labels,
        external_url: String,
    ) {
        let _ = (
            alertmanagers,
            routing,
            relabel,
            external_labels,
            external_url,
        );
    }

    /// The URLs of the external Alertmanagers.
    pub fn alertmanagers(&self) -> Vec<String> {
        Vec::new()
    }

    /// The latest deliveries, newest first, failures included.
    pub fn deliveries(&self) -> Vec<DeliveryStatus> {
        Vec::new()
    }

    /// Sends what is queued, for at most a few seconds, and stops.
    pub async fn stop(&self) {}
}

//! Delivering one message to one webhook: again and again until it is taken or time is up.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use barograph_model::Labels;
use tokio::time::Instant;

use super::client::RequestError;
use super::metrics::{FailureLabels, IntegrationLabel};
use super::{DeliveryStatus, Shared};
use crate::config::{WebhookReceiver, redacted_url};
use crate::routing_file::check_url;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Largest file that holds a URL.
const URL_FILE_LIMIT_BYTES: u64 = 64 * 1024;

const WEBHOOK: IntegrationLabel = IntegrationLabel {
    integration: "webhook",
};

/// A message and where it goes.
pub(super) struct Delivery<'a> {
    pub shared: &'a Arc<Shared>,
    pub receiver: &'a str,
    pub webhook: &'a WebhookReceiver,
    pub group_labels: &'a Labels,
    pub alerts: usize,
    pub body: Vec<u8>,
    /// When to give up.
    pub deadline: Instant,
}

impl Delivery<'_> {
    /// Delivers. Returns whether the receiver took the message.
    pub(super) async fn run(self) -> bool {
        let metrics = &self.shared.metrics;
        metrics.notifications.with(&WEBHOOK).inc();
        let id = self.shared.history.begin();
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        let mut last_message = String::new();
        loop {
            attempts += 1;
            let result = self.attempt().await;
            let pause_now = jittered(pause);
            let final_try = match &result {
                Ok(()) => true,
                Err(error) => !error.may_retry || Instant::now() + pause_now >= self.deadline,
            };
            let status = DeliveryStatus {
                time_ms: self.shared.clock.now_ms(),
                receiver: self.receiver.to_owned(),
                integration: "webhook",
                group_labels: self.group_labels.clone(),
                alerts: self.alerts,
                attempts,
                finished: final_try,
                error: result.as_ref().err().map(|error| error.message.clone()),
            };
            self.shared.history.record(id, status);
            let Err(error) = result else {
                if attempts > 1 {
                    tracing::info!(receiver = self.receiver, attempts, "webhook notified");
                }
                return true;
            };
            if final_try {
                self.give_up(attempts, &error);
                return false;
            }
            if last_message != error.message {
                tracing::warn!(
                    receiver = self.receiver,
                    group = %self.group_labels,
                    url = redacted_url(&self.webhook.url),
                    attempts,
                    "notifying the webhook failed, will be tried again: {}",
                    error.message
                );
                last_message = error.message;
            }
            tokio::time::sleep(pause_now).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self) -> Result<(), RequestError> {
        let metrics = &self.shared.metrics;
        let started = Instant::now();
        let result = self.post().await;
        metrics.requests.with(&WEBHOOK).inc();
        let latency = metrics.notification_latency.with(&WEBHOOK);
        latency.observe(started.elapsed().as_secs_f64());
        if result.is_err() {
            metrics.requests_failed.with(&WEBHOOK).inc();
        }
        result
    }

    async fn post(&self) -> Result<(), RequestError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = match u64::try_from(self.webhook.timeout_ms) {
            Ok(limit_ms) if limit_ms > 0 => left.min(Duration::from_millis(limit_ms)),
            _ => left,
        };
        let timeout = timeout.max(Duration::from_millis(1));
        let url = self.url().await.map_err(|message| RequestError {
            message,
            may_retry: true,
            reason: "other",
        })?;
        self.shared
            .client
            .post(&url, self.body.clone(), timeout)
            .await
    }

    async fn url(&self) -> Result<String, String> {
        let Some(file) = &self.webhook.url_file else {
            return Ok(self.webhook.url.clone());
        };
        let fail = |what: String| format!("url_file {}: {what}", file.display());
        let metadata = tokio::fs::metadata(file).await;
        let size = metadata.map_err(|error| fail(error.to_string()))?.len();
        if size > URL_FILE_LIMIT_BYTES {
            return Err(fail(format!("larger than {URL_FILE_LIMIT_BYTES} bytes")));
        }
        let text = tokio::fs::read_to_string(file).await;
        let url = text
            .map_err(|error| fail(error.to_string()))?
            .trim()
            .to_owned();
        check_url(&url).map_err(fail)?;
        Ok(url)
    }

    fn give_up(&self, attempts: u32, error: &RequestError) {
        let labels = FailureLabels {
            integration: WEBHOOK.integration,
            reason: error.reason,
        };
        self.shared.metrics.notifications_failed.with(&labels).inc();
        tracing::error!(
            receiver = self.receiver,
            group = %self.group_labels,
            url = redacted_url(&self.webhook.url),
            attempts,
            alerts = self.alerts,
            "notifying the webhook failed, given up until the group interval passes: {}",
            error.message
        );
    }
}

/// Half to one and a half times `pause`, so that many senders do not come at once.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + random as f64 / u64::MAX as f64)
}

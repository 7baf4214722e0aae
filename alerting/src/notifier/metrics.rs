//! What notifying says about itself, under Prometheus's and Alertmanager's names.

use barograph_instrument::{Buckets, Counter, Family, Gauge, Histogram, Registry, labels};

labels! {
    /// An external Alertmanager, by URL.
    pub(crate) struct AlertmanagerLabel { alertmanager: String }
}

labels! {
    /// A kind of receiver.
    pub(crate) struct IntegrationLabel { integration: &'static str }
}

labels! {
    /// A kind of receiver, and why it failed.
    pub(crate) struct FailureLabels { integration: &'static str, reason: &'static str }
}

/// Metrics of all destinations.
pub(super) struct NotifierMetrics {
    pub latency: Family<AlertmanagerLabel, Histogram>,
    pub errors: Family<AlertmanagerLabel, Counter>,
    pub sent: Family<AlertmanagerLabel, Counter>,
    pub dropped: Family<AlertmanagerLabel, Counter>,
    pub queue_length: Family<AlertmanagerLabel, Gauge>,
    pub queue_capacity: Gauge,
    pub alertmanagers_discovered: Gauge,
    pub notifications: Family<IntegrationLabel, Counter>,
    pub notifications_failed: Family<FailureLabels, Counter>,
    pub requests: Family<IntegrationLabel, Counter>,
    pub requests_failed: Family<IntegrationLabel, Counter>,
    pub notification_latency: Family<IntegrationLabel, Histogram>,
    pub groups: Gauge,
    pub group_limit_reached: Counter,
    pub alerts_refused: Counter,
}

impl NotifierMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let metrics = Self {
            latency: registry.histogram_family(
                "prometheus_notifications_latency_histogram_seconds",
                "Latency histogram for sending alert notifications.",
                Buckets::new([0.01, 0.1, 1.0, 10.0]),
            ),
            errors: registry.counter_family(
                "prometheus_notifications_errors_total",
                "Total number of sent alerts affected by errors.",
            ),
            sent: registry.counter_family(
                "prometheus_notifications_sent_total",
                "Total number of alerts sent.",
            ),
            dropped: registry.counter_family(
                "prometheus_notifications_dropped_total",
                "Total number of alerts dropped due to errors when sending to Alertmanager.",
            ),
            queue_length: registry.gauge_family(
                "prometheus_notifications_queue_length",
                "The number of alert notifications in the queue.",
            ),
            queue_capacity: registry.gauge(
                "prometheus_notifications_queue_capacity",
                "The capacity of the alert notifications queue.",
            ),
            alertmanagers_discovered: registry.gauge(
                "prometheus_notifications_alertmanagers_discovered",
                "The number of alertmanagers discovered and active.",
            ),
            notifications: registry.counter_family(
                "alertmanager_notifications_total",
                "The total number of attempted notifications.",
            ),
            notifications_failed: registry.counter_family(
                "alertmanager_notifications_failed_total",
                "The total number of failed notifications.",
            ),
            requests: registry.counter_family(
                "alertmanager_notification_requests_total",
                "The total number of attempted notification requests.",
            ),
            requests_failed: registry.counter_family(
                "alertmanager_notification_requests_failed_total",
                "The total number of failed notification requests.",
            ),
            notification_latency: registry.histogram_family(
                "alertmanager_notification_latency_seconds",
                "The latency of notifications in seconds.",
                Buckets::new([1.0, 5.0, 10.0, 15.0, 20.0]),
            ),
            groups: registry.gauge(
                "alertmanager_dispatcher_aggregation_groups",
                "Number of active aggregation groups.",
            ),
            group_limit_reached: registry.counter(
                "alertmanager_dispatcher_aggregation_group_limit_reached_total",
                "Number of times when the dispatcher failed to create a new aggregation group due \
                 to the limit.",
            ),
            alerts_refused: registry.counter(
                "barograph_notifier_alerts_refused_total",
                "Number of alerts not taken into a full group.",
            ),
        };
        let webhook = IntegrationLabel {
            integration: "webhook",
        };
        metrics.notifications.with(&webhook);
        metrics.requests.with(&webhook);
        metrics.requests_failed.with(&webhook);
        metrics
    }
}

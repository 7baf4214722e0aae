//! Metrics about receiving remote write; Prometheus's names where they mean the same.

use barograph_instrument::{Counter, Family, Registry};

use super::{RemoteWriteError, Written};

barograph_instrument::labels! {
    /// Why a sample was refused.
    pub(super) struct Reason { reason: &'static str }
}

barograph_instrument::labels! {
    /// How a request ended.
    pub(super) struct Ended { outcome: &'static str }
}

/// The metrics of one receiver.
pub(super) struct RemoteWriteMetrics {
    pub(super) invalid_labels: Counter,
    samples: Counter,
    histograms: Counter,
    exemplars: Counter,
    refused: Family<Reason, Counter>,
    requests: Family<Ended, Counter>,
}

impl RemoteWriteMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            invalid_labels: registry.counter(
                "prometheus_api_remote_write_invalid_labels_samples_total",
                "Samples received by remote write and refused for their labels.",
            ),
            samples: registry.counter(
                "barograph_remote_write_samples_total",
                "Floats received by remote write and stored.",
            ),
            histograms: registry.counter(
                "barograph_remote_write_histograms_total",
                "Native histograms received by remote write and stored.",
            ),
            exemplars: registry.counter(
                "barograph_remote_write_exemplars_total",
                "Exemplars received by remote write and stored.",
            ),
            refused: registry.counter_family(
                "barograph_remote_write_refused_samples_total",
                "Samples received by remote write and not stored.",
            ),
            requests: registry.counter_family(
                "barograph_remote_write_requests_total",
                "Requests of remote write.",
            ),
        }
    }

    pub(super) fn refused(&self, reason: &'static str, count: u64) {
        self.refused.with(&Reason { reason }).inc_by(count);
    }

    pub(super) fn count(&self, written: &Written, outcome: &Result<(), RemoteWriteError>) {
        self.samples.inc_by(written.samples as u64);
        self.histograms.inc_by(written.histograms as u64);
        self.exemplars.inc_by(written.exemplars as u64);
        let outcome = match outcome {
            Ok(()) => "stored",
            Err(RemoteWriteError::Refused(_)) => "refused",
            Err(RemoteWriteError::Unavailable(_)) => "unavailable",
        };
        self.requests.with(&Ended { outcome }).inc();
    }
}

//! Metrics about scraping, under Prometheus's names.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use barograph_instrument::{Buckets, Counter, Family, Gauge, Histogram, MetricKind, Registry};
use barograph_model::duration::format_duration_ms;
use barograph_model::number::go_g;

/// Scrape intervals per configured interval that the quantiles are taken over.
const WINDOW: usize = 1024;
const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];

barograph_instrument::labels! {
    /// One job.
    pub(crate) struct Job { scrape_job: String }
}

barograph_instrument::labels! {
    /// One job of one kind of discovery.
    pub(crate) struct Discovery { name: &'static str, config: String }
}

barograph_instrument::labels! {
    /// One kind of discovery.
    pub(crate) struct Mechanism { name: &'static str }
}

/// The metrics of one scraper.
pub(crate) struct ScrapeMetrics {
    pub(crate) pools: Counter,
    pub(crate) pool_reloads: Counter,
    pub(crate) syncs: Family<Job, Counter>,
    pub(crate) sync_failures: Family<Job, Counter>,
    pub(crate) pool_targets: Family<Job, Gauge>,
    pub(crate) pool_target_limit: Family<Job, Gauge>,
    pub(crate) exceeded_target_limit: Counter,
    pub(crate) exceeded_body_size_limit: Counter,
    pub(crate) exceeded_sample_limit: Counter,
    pub(crate) exceeded_bucket_limit: Counter,
    pub(crate) exceeded_label_limits: Counter,
    pub(crate) cache_flushes: Counter,
    pub(crate) duplicate_timestamp: Counter,
    pub(crate) out_of_order: Counter,
    pub(crate) out_of_bounds: Counter,
    pub(crate) scrape_duration: Histogram,
    pub(crate) discovered: Family<Discovery, Gauge>,
    pub(crate) discovery_updates: Family<Mechanism, Counter>,
    pub(crate) file_read_errors: Counter,
    pub(crate) file_watcher_errors: Counter,
    pub(crate) appends_refused: Counter,
    pub(crate) series_refused: Counter,
    pub(crate) held_bytes: Gauge,
    pub(crate) held_back: Counter,
    pub(crate) intervals: Arc<Intervals>,
}

impl ScrapeMetrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Self {
        let intervals = Arc::<Intervals>::default();
        let shown = intervals.clone();
        registry.collector(
            "prometheus_target_interval_length_seconds",
            move |encoder| {
                let name = "prometheus_target_interval_length_seconds";
                encoder.family(
                    name,
                    MetricKind::Summary,
                    "Actual intervals between scrapes.",
                );
                shown.each(|interval, quantiles, sum, count| {
                    for (quantile, value) in quantiles {
                        let labels = [
                            ("interval", interval.to_owned()),
                            ("quantile", go_g(*quantile)),
                        ];
                        encoder.sample(name, labels, *value);
                    }
                    encoder.sample(&format!("{name}_sum"), [("interval", interval)], sum);
                    encoder.sample(
                        &format!("{name}_count"),
                        [("interval", interval)],
                        count as f64,
                    );
                });
            },
        );
        let counter = |name: &str, help: &str| registry.counter(name, help);
        Self {
            pools: counter(
                "prometheus_target_scrape_pools_total",
                "Jobs that were set up.",
            ),
            pool_reloads: counter(
                "prometheus_target_scrape_pool_reloads_total",
                "Jobs that got new settings.",
            ),
            syncs: registry.counter_family(
                "prometheus_target_scrape_pool_sync_total",
                "Times a job's targets were computed.",
            ),
            sync_failures: registry.counter_family(
                "prometheus_target_sync_failed_total",
                "Discovered targets that cannot be scraped.",
            ),
            pool_targets: registry.gauge_family(
                "prometheus_target_scrape_pool_targets",
                "Active targets of a job.",
            ),
            pool_target_limit: registry.gauge_family(
                "prometheus_target_scrape_pool_target_limit",
                "Most targets a job may have.",
            ),
            exceeded_target_limit: counter(
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Times a job had more targets than it may.",
            ),
            exceeded_body_size_limit: counter(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Scrapes that failed because the body was too large.",
            ),
            exceeded_sample_limit: counter(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Scrapes that failed because they had too many samples.",
            ),
            exceeded_bucket_limit: counter(
                "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
                "Scrapes that failed because a native histogram had too many buckets.",
            ),
            exceeded_label_limits: counter(
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Scrapes that failed because of a label limit.",
            ),
            cache_flushes: counter(
                "prometheus_target_scrapes_cache_flush_forced_total",
                "Times a target's cache was emptied because it grew while scrapes failed.",
            ),
            duplicate_timestamp: counter(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Samples dropped because their series has another value at that time.",
            ),
            out_of_order: counter(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Samples dropped because they are older than what their series has.",
            ),
            out_of_bounds: counter(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Samples dropped because they are too old or too far in the future.",
            ),
            scrape_duration: registry.histogram(
                "prometheus_target_scrape_duration_seconds",
                "From the start of a scrape to its samples being stored.",
                Buckets::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0]),
            ),
            discovered: registry.gauge_family(
                "prometheus_sd_discovered_targets",
                "Targets found by discovery, before relabelling.",
            ),
            discovery_updates: registry.counter_family(
                "prometheus_sd_updates_total",
                "Target lists that discovery handed over.",
            ),
            file_read_errors: counter(
                "prometheus_sd_file_read_errors_total",
                "Target files that could not be read or parsed.",
            ),
            file_watcher_errors: counter(
                "prometheus_sd_file_watcher_errors_total",
                "Failures to watch the directories of target files.",
            ),
            appends_refused: counter(
                "barograph_scrape_appends_refused_total",
                "Scrapes whose samples the store refused as a whole.",
            ),
            series_refused: counter(
                "barograph_scrape_series_refused_total",
                "Samples dropped because the store takes no more series.",
            ),
            held_bytes: registry.gauge(
                "barograph_scrape_held_bytes",
                "Bytes of scraped pages that wait for the store, which is being opened.",
            ),
            held_back: counter(
                "barograph_scrape_held_back_total",
                "Scrapes left out while the store was being opened, since as many pages waited as may.",
            ),
            intervals,
        }
    }
}

/// Actual scrape intervals, by configured interval.
#[derive(Default)]
pub(crate) struct Intervals {
    by_interval: Mutex<BTreeMap<i64, Window>>,
}

#[derive(Default)]
struct Window {
    recent: VecDeque<f64>,
    sum: f64,
    count: u64,
}

impl Intervals {
    /// Notes one interval.
    pub(crate) fn observe(&self, interval_ms: i64, actual_seconds: f64) {
        let mut windows = self
            .by_interval
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(interval_ms).or_default();
        if window.recent.len() == WINDOW {
            window.recent.pop_front();
        }
        window.recent.push_back(actual_seconds);
        window.sum += actual_seconds;
        window.count += 1;
    }

    fn each(&self, mut visit: impl FnMut(&str, &[(f64, f64)], f64, u64)) {
        let windows = self
            .by_interval
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (interval_ms, window) in windows.iter() {
            let mut sorted: Vec<f64> = window.recent.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            let rank = |q: f64| ((sorted.len() - 1) as f64 * q).round() as usize;
            let quantiles: Vec<_> = QUANTILES.iter().map(|q| (*q, sorted[rank(*q)])).collect();
            let interval = format_duration_ms(*interval_ms);
            visit(&interval, &quantiles, window.sum, window.count);
        }
    }
}

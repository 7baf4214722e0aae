//! What to scrape, resolved: every default filled in, every pattern compiled.

use std::path::PathBuf;
use std::sync::Arc;

use barograph_model::Labels;
use barograph_model::relabel::RelabelRule;

/// A collector that runs inside this process: appends exposition text (0.0.4) to the page.
pub type Collector = Arc<dyn Fn(&mut String) + Send + Sync>;

/// One job.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one field per setting of the configuration file"
)]
pub struct ScrapeConfig {
    /// Its name, unique; the default of the label `job`.
    pub job_name: String,
    /// Milliseconds between scrapes.
    pub interval_ms: i64,
    /// Milliseconds a scrape may take; at most the interval.
    pub timeout_ms: i64,
    /// Path on the target.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Query parameters, in order.
    pub params: Vec<(String, Vec<String>)>,
    /// Whether labels of the target's own win over those of the configuration.
    pub honor_labels: bool,
    /// Whether timestamps the target writes are used.
    pub honor_timestamps: bool,
    /// Whether series with timestamps of their own get staleness markers.
    pub track_timestamps_staleness: bool,
    /// Whether to ask for gzip.
    pub enable_compression: bool,
    /// Format to assume where the Content-Type says nothing usable.
    pub fallback_scrape_protocol: Option<String>,
    /// Formats offered, best first, by Prometheus's names for them.
    pub scrape_protocols: Vec<String>,
    /// Most bytes of a body, uncompressed; 0 is the built-in limit.
    pub body_size_limit_bytes: u64,
    /// Most samples after relabelling; 0 is no limit.
    pub sample_limit: u64,
    /// Most labels per sample; 0 is no limit.
    pub label_limit: u64,
    /// Most bytes of a label name; 0 is no limit.
    pub label_name_length_limit: u64,
    /// Most bytes of a label value; 0 is no limit.
    pub label_value_length_limit: u64,
    /// Most targets; 0 is no limit.
    pub target_limit: u64,
    /// Most dropped targets remembered; 0 is no limit.
    pub keep_dropped_targets: u64,
    /// Whether native histograms are stored as such, where the target offers them.
    pub scrape_native_histograms: bool,
    /// Whether classic histograms are stored beside native ones.
    pub always_scrape_classic_histograms: bool,
    /// Whether classic histograms become native ones of custom bounds.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Most buckets of a native histogram, beyond which neighbours are merged; 0 is no limit.
    pub native_histogram_bucket_limit: u64,
    /// Least growth from one bucket of a native histogram to the next, below which neighbours are
    /// merged; up to 1 is none.
    pub native_histogram_min_bucket_factor: f64,
    /// What becomes of start timestamps that targets send.
    pub start_timestamps: StartTimestamps,
    /// Whether the three extra `scrape_*` series are written.
    pub extra_scrape_metrics: bool,
    /// Whether names may only use the characters of before UTF-8.
    pub legacy_names: bool,
    /// Credentials, TLS, redirects.
    pub http: HttpSettings,
    /// Targets written in the configuration.
    pub static_targets: Vec<StaticTargets>,
    /// Targets in watched files.
    pub file_discovery: Vec<FileDiscovery>,
    /// Rules that turn discovered labels into target labels.
    pub relabel: Vec<RelabelRule>,
    /// Rules each sample passes.
    pub metric_relabel: Vec<RelabelRule>,
    /// In place of fetching over HTTP.
    pub collector: Option<Collector>,
}

impl ScrapeConfig {
    /// A job with Prometheus's defaults: every minute, 10 s, `/metrics` over HTTP.
    pub fn new(job_name: impl Into<String>) -> Self {
        Self {
            job_name: job_name.into(),
            interval_ms: 60_000,
            timeout_ms: 10_000,
            metrics_path: "/metrics".into(),
            scheme: "http".into(),
            params: Vec::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            enable_compression: true,
            fallback_scrape_protocol: None,
            scrape_protocols: [
                "OpenMetricsText1.0.0",
                "OpenMetricsText0.0.1",
                "PrometheusText1.0.0",
                "PrometheusText0.0.4",
            ]
            .map(str::to_owned)
            .into(),
            body_size_limit_bytes: 0,
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            target_limit: 0,
            keep_dropped_targets: 0,
            scrape_native_histograms: false,
            always_scrape_classic_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            start_timestamps: StartTimestamps::default(),
            extra_scrape_metrics: false,
            legacy_names: false,
            http: HttpSettings::default(),
            static_targets: Vec::new(),
            file_discovery: Vec::new(),
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            collector: None,
        }
    }
}

impl ScrapeConfig {
    /// Whether two jobs have the same settings, targets apart.
    pub(crate) fn same_settings(&self, other: &Self) -> bool {
        let collector = match (&self.collector, &other.collector) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        };
        collector
            && self.same_labelling(other)
            && self.job_name == other.job_name
            && self.interval_ms == other.interval_ms
            && self.timeout_ms == other.timeout_ms
            && self.metrics_path == other.metrics_path
            && self.scheme == other.scheme
            && self.params == other.params
            && self.honor_timestamps == other.honor_timestamps
            && self.track_timestamps_staleness == other.track_timestamps_staleness
            && self.enable_compression == other.enable_compression
            && self.fallback_scrape_protocol == other.fallback_scrape_protocol
            && self.scrape_protocols == other.scrape_protocols
            && self.body_size_limit_bytes == other.body_size_limit_bytes
            && self.sample_limit == other.sample_limit
            && self.target_limit == other.target_limit
            && self.keep_dropped_targets == other.keep_dropped_targets
            && self.scrape_native_histograms == other.scrape_native_histograms
            && self.always_scrape_classic_histograms == other.always_scrape_classic_histograms
            && self.convert_classic_histograms_to_nhcb == other.convert_classic_histograms_to_nhcb
            && self.native_histogram_bucket_limit == other.native_histogram_bucket_limit
            && self.native_histogram_min_bucket_factor.to_bits()
                == other.native_histogram_min_bucket_factor.to_bits()
            && self.start_timestamps == other.start_timestamps
            && self.extra_scrape_metrics == other.extra_scrape_metrics
            && self.http == other.http
            && self.relabel == other.relabel
    }

    /// Whether a line becomes the same series under both.
    pub(crate) fn same_labelling(&self, other: &Self) -> bool {
        self.honor_labels == other.honor_labels
            && self.label_limit == other.label_limit
            && self.label_name_length_limit == other.label_name_length_limit
            && self.label_value_length_limit == other.label_value_length_limit
            && self.legacy_names == other.legacy_names
            && self.metric_relabel == other.metric_relabel
    }
}

/// What becomes of start timestamps (`_created` in OpenMetrics, created timestamps in protocol
/// buffers): since when a counter counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartTimestamps {
    /// A sample of zero is stored at the start, where it is newer than what the series has
    /// (`created-timestamp-zero-ingestion`).
    pub zeros: bool,
    /// They are stored with each sample (`st-storage`).
    pub stored: bool,
}

impl StartTimestamps {
    /// Whether they are read at all. Where they are, `_created` lines are no series.
    pub fn is_read(self) -> bool {
        self.zeros || self.stored
    }
}

/// Addresses that share labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticTargets {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: Labels,
}

/// Files with target lists, watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiscovery {
    /// Paths; the last part may hold `*`. Absolute, or relative to the configuration file (resolved
    /// by then).
    pub files: Vec<PathBuf>,
    /// How often they are read even if no change was noticed.
    pub refresh_interval_ms: i64,
}

/// How targets are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// Type (`Bearer`) and credentials, or a file that holds them.
    pub authorization: Option<(String, Secret)>,
    /// TLS.
    pub tls: TlsSettings,
    /// Whether redirects are followed; credentials never go to another host.
    pub follow_redirects: bool,
    /// A proxy's URL.
    pub proxy_url: Option<String>,
    /// Additional headers.
    pub headers: Vec<(String, String)>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            tls: TlsSettings::default(),
            follow_redirects: true,
            proxy_url: None,
            headers: Vec::new(),
        }
    }
}

/// A secret: in the configuration, or in a file that is read at each use.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Written in the configuration.
    Inline(String),
    /// The file that holds it.
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    /// Never shows the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// HTTP basic authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// TLS towards targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The name to expect instead of the host's.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
}

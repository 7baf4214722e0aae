//! Why a scrape failed.

use crate::parse::ParseError;

/// Why a scrape failed. Shown at the target, so each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScrapeError {
    /// The job has too many targets.
    #[error(
        "target_limit exceeded (number of targets: {have}, limit: {limit}); no target of this job is scraped until the limit is raised or targets are dropped"
    )]
    TargetLimit {
        /// How many there are.
        have: usize,
        /// How many there may be.
        limit: u64,
    },
    /// The settings cannot be used (a certificate, a secret's file).
    #[error("{0}")]
    Settings(String),
    /// The name is not known.
    #[error(
        "cannot resolve host {host:?}: {reason}; is the name spelled right, and known to DNS here?"
    )]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No connection.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// The address.
        address: String,
        /// What the system said, and what it means.
        reason: String,
    },
    /// No TLS session.
    #[error("TLS with {address} failed: {reason}")]
    Tls {
        /// The address.
        address: String,
        /// What rustls said.
        reason: String,
    },
    /// The exchange broke.
    #[error("{url}: {reason}")]
    Http {
        /// What was asked.
        url: String,
        /// What broke.
        reason: String,
    },
    /// Time ran out.
    #[error("timed out after {timeout}: {phase} (context deadline exceeded)")]
    Timeout {
        /// The timeout.
        timeout: String,
        /// What was being waited for.
        phase: String,
    },
    /// An answer other than 200.
    #[error("server returned HTTP status {status}{hint}")]
    Status {
        /// Code and reason.
        status: String,
        /// What to do.
        hint: &'static str,
    },
    /// A page that cannot be read.
    #[error("{0}")]
    Page(String),
    /// A web page.
    #[error("the answer of {url} is HTML, not metrics: is the path right?")]
    Html {
        /// What was asked.
        url: String,
    },
    /// A Content-Type that names no known format.
    #[error(
        "{what} and no fallback_scrape_protocol is set for this job: let the target send text/plain; version=0.0.4, or set fallback_scrape_protocol: PrometheusText0.0.4"
    )]
    ContentType {
        /// What it was.
        what: String,
    },
    /// Too many bytes.
    #[error(
        "body size limit exceeded: the answer has {limit} bytes or more uncompressed ({setting})"
    )]
    BodyLimit {
        /// The limit.
        limit: u64,
        /// Where the limit comes from.
        setting: &'static str,
    },
    /// Bad gzip.
    #[error("the gzip stream of the answer is damaged or cut short: {0}")]
    Gzip(String),
    /// A malformed line.
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// A series without a name.
    #[error("a series has no metric name after relabelling: {labels}")]
    NoMetricName {
        /// The series.
        labels: String,
    },
    /// A name that is not allowed.
    #[error(
        "invalid metric name or label names: {labels} (metric_name_validation_scheme is legacy)"
    )]
    InvalidNames {
        /// The series.
        labels: String,
    },
    /// Too many samples.
    #[error("sample limit exceeded ({have} samples after relabelling, sample_limit: {limit})")]
    SampleLimit {
        /// How many there were.
        have: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Too many buckets.
    #[error("histogram bucket limit exceeded (native_histogram_bucket_limit: {limit})")]
    BucketLimit {
        /// How many there may be.
        limit: u64,
    },
    /// A label limit.
    #[error(
        "{limit_name} exceeded (metric: {metric}, label: {label:?}, have: {have}, limit: {limit})"
    )]
    LabelLimit {
        /// The setting.
        limit_name: &'static str,
        /// The metric.
        metric: String,
        /// The label, or empty.
        label: String,
        /// How many there were.
        have: usize,
        /// How many there may be.
        limit: u64,
    },
    /// The store does not take it.
    #[error("the store refused the samples: {0}")]
    Store(String),
    /// A collector inside the process.
    #[error("{0}")]
    Collector(String),
}

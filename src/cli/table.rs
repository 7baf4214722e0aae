//! The table of flags: it drives parsing, help, `/api/v1/status/flags` and the notices about what
//! is accepted but not built.

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Present or not; `--no-<name>` says no.
    Bool,
    /// Any text.
    Text,
    /// A text that may be given several times.
    List,
    /// A Prometheus duration.
    Duration,
    /// A size with a unit, powers of two.
    Size,
    /// A whole number; `5e7` is one too.
    Number,
    /// A number.
    Float,
}

/// How far a flag is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// Does what it says.
    Built,
    /// Accepted so that existing command lines work; using it is said at start-up.
    NotBuilt,
    /// Nothing here for it to act on (Go's runtime, agent storage); accepted and said.
    Moot,
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Its name, without dashes.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What it is when not given, as `/api/v1/status/flags` shows it.
    pub(crate) default: &'static str,
    /// How far it is served.
    pub(crate) support: Support,
    /// Whether `--help` leaves it out.
    pub(crate) hidden: bool,
    /// One line for `--help`.
    pub(crate) help: &'static str,
}

impl Flag {
    const fn hide(mut self) -> Self {
        self.hidden = true;
        self
    }
}

const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    support: Support,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        kind,
        default,
        support,
        hidden: false,
        help,
    }
}

const fn built(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    flag(name, kind, default, Support::Built, help)
}

const fn not_built(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Flag {
    flag(name, kind, default, Support::NotBuilt, help)
}

const fn moot(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    flag(
        name,
        kind,
        default,
        Support::Moot,
        "Accepted; nothing here to set.",
    )
    .hide()
}

/// The default of `--config.file`, used where such a file is present.
pub(crate) const CONFIG_FILE: &str = "prometheus.yml";

/// Every flag: Prometheus's, under its names, then our own.
pub(crate) const FLAGS: &[Flag] = &[
    built(
        "config.file",
        Kind::Text,
        CONFIG_FILE,
        "Configuration file. Without it, and without ./prometheus.yml, this server and this host are scraped.",
    ),
    built(
        "config.auto-reload",
        Kind::Bool,
        "false",
        "Reload when the configuration or a file it names changes.",
    ),
    built(
        "config.auto-reload-interval",
        Kind::Duration,
        "30s",
        "How often to look for changes; at least 1s.",
    ),
    built(
        "web.listen-address",
        Kind::List,
        "0.0.0.0:9090",
        "Address of UI, API and own metrics; may be repeated.",
    ),
    not_built(
        "web.config.file",
        Kind::Text,
        "",
        "File that enables TLS or authentication.",
    ),
    built(
        "web.read-timeout",
        Kind::Duration,
        "5m",
        "Longest time to read a request, and to keep an idle connection.",
    ),
    built(
        "web.max-connections",
        Kind::Number,
        "512",
        "Most connections at a time, over all listeners.",
    ),
    not_built(
        "web.max-notifications-subscribers",
        Kind::Number,
        "16",
        "Most subscribers to live notifications.",
    ),
    built(
        "web.external-url",
        Kind::Text,
        "",
        "URL under which people reach this server; its path prefixes every route.",
    ),
    built(
        "web.route-prefix",
        Kind::Text,
        "",
        "Prefix of every route; the path of --web.external-url where absent.",
    ),
    not_built(
        "web.user-assets",
        Kind::Text,
        "",
        "Directory served under /user.",
    ),
    built(
        "web.enable-lifecycle",
        Kind::Bool,
        "false",
        "Allow reload and shutdown over HTTP.",
    ),
    built(
        "web.enable-admin-api",
        Kind::Bool,
        "false",
        "Allow snapshots and deletion over HTTP.",
    ),
    built(
        "web.enable-remote-write-receiver",
        Kind::Bool,
        "false",
        "Accept remote write.",
    ),
    built(
        "web.remote-write-receiver.accepted-protobuf-messages",
        Kind::List,
        "prometheus.WriteRequest,io.prometheus.write.v2.Request",
        "Messages remote write accepts.",
    ),
    not_built(
        "web.enable-otlp-receiver",
        Kind::Bool,
        "false",
        "Accept OTLP metrics.",
    ),
    not_built(
        "web.console.templates",
        Kind::Text,
        "consoles",
        "Directory of console templates.",
    ),
    not_built(
        "web.console.libraries",
        Kind::Text,
        "console_libraries",
        "Directory of console libraries.",
    ),
    not_built(
        "web.search.max-limit",
        Kind::Number,
        "10000",
        "Most results of a search.",
    ),
    built(
        "web.page-title",
        Kind::Text,
        "Barograph",
        "Title of the web pages.",
    ),
    built(
        "web.cors.origin",
        Kind::Text,
        ".*",
        "Origins whose pages may read the API: a pattern, anchored.",
    ),
    built("storage.tsdb.path", Kind::Text, "data/", "Data directory."),
    built(
        "storage.tsdb.retention.time",
        Kind::Duration,
        "",
        "How long samples are kept (15d where neither this, nor a size, nor the configuration says otherwise).",
    ),
    built(
        "storage.tsdb.retention.size",
        Kind::Size,
        "0B",
        "Most bytes of the data directory: beyond it the oldest blocks go (0B: no limit).",
    ),
    not_built(
        "storage.tsdb.no-lockfile",
        Kind::Bool,
        "false",
        "Do not lock the data directory.",
    ),
    not_built(
        "storage.tsdb.delay-compact-file.path",
        Kind::Text,
        "",
        "Compact only blocks that this file lists as uploaded.",
    ),
    moot(
        "storage.tsdb.head-chunks-write-queue-size",
        Kind::Number,
        "0",
    ),
    moot("storage.tsdb.min-block-duration", Kind::Duration, "2h"),
    moot("storage.tsdb.max-block-duration", Kind::Duration, "1d12h"),
    moot(
        "storage.tsdb.max-block-chunk-segment-size",
        Kind::Size,
        "0B",
    ),
    built(
        "storage.tsdb.wal-sync",
        Kind::Text,
        "200ms",
        "When samples survive a power cut: always (before each is acknowledged), a duration (so often), off (when the system likes). The end of the process they survive in every case.",
    ),
    built(
        "storage.tsdb.block-access",
        Kind::Text,
        "mmap",
        "How blocks are read: mmap (through maps, without a copy), pread (with reads at offsets and a bounded cache of indexes, for disks on which a page fault may take long).",
    ),
    built(
        "storage.tsdb.compaction-rate",
        Kind::Size,
        "64MB",
        "Bytes a second that merging blocks may read and write; 0 sets no limit.",
    ),
    moot("storage.tsdb.wal-segment-size", Kind::Size, "0B"),
    moot(
        "storage.tsdb.allow-overlapping-compaction",
        Kind::Bool,
        "true",
    ),
    moot("storage.tsdb.wal-compression", Kind::Bool, "true"),
    moot("storage.tsdb.wal-compression-type", Kind::Text, "snappy"),
    moot("storage.tsdb.samples-per-chunk", Kind::Number, "120"),
    moot(
        "storage.tsdb.delayed-compaction.max-percent",
        Kind::Number,
        "10",
    ),
    moot("storage.tsdb.block-reload-interval", Kind::Duration, "1m"),
    not_built("agent", Kind::Bool, "false", "Only scrape and forward.").hide(),
    moot("storage.agent.path", Kind::Text, "data-agent/"),
    moot("storage.agent.wal-compression", Kind::Bool, "true"),
    moot("storage.agent.wal-compression-type", Kind::Text, "snappy"),
    moot("storage.agent.wal-segment-size", Kind::Size, "0B"),
    moot("storage.agent.wal-truncate-frequency", Kind::Duration, "0s"),
    moot("storage.agent.retention.min-time", Kind::Duration, "5m"),
    moot("storage.agent.retention.max-time", Kind::Duration, "4h"),
    moot(
        "storage.agent.checkpoint-from-in-memory-series",
        Kind::Bool,
        "false",
    ),
    moot("storage.agent.checkpoint-batch-size", Kind::Number, "1000"),
    moot("storage.agent.no-lockfile", Kind::Bool, "false"),
    not_built(
        "storage.remote.flush-deadline",
        Kind::Duration,
        "1m",
        "Longest time to flush remote write at shutdown.",
    ),
    not_built(
        "storage.remote.read-sample-limit",
        Kind::Number,
        "50000000",
        "Most samples of a remote read.",
    ),
    not_built(
        "storage.remote.read-concurrent-limit",
        Kind::Number,
        "10",
        "Most remote reads at a time.",
    ),
    not_built(
        "storage.remote.read-max-bytes-in-frame",
        Kind::Number,
        "1048576",
        "Most bytes of a remote read frame.",
    ),
    built(
        "rules.alert.for-outage-tolerance",
        Kind::Duration,
        "1h",
        "Longest outage after which `for` is restored.",
    ),
    built(
        "rules.alert.for-grace-period",
        Kind::Duration,
        "10m",
        "Least `for` that is restored.",
    ),
    built(
        "rules.alert.resend-delay",
        Kind::Duration,
        "1m",
        "Least time between two sendings of one alert.",
    ),
    moot("rules.max-concurrent-evals", Kind::Number, "4"),
    built(
        "alertmanager.notification-queue-capacity",
        Kind::Number,
        "10000",
        "Most alerts queued per destination.",
    ),
    built(
        "alertmanager.notification-batch-size",
        Kind::Number,
        "256",
        "Most alerts per request to an Alertmanager.",
    ),
    built(
        "alertmanager.drain-notification-queue-on-shutdown",
        Kind::Bool,
        "true",
        "Send what is queued before stopping.",
    ),
    built(
        "query.lookback-delta",
        Kind::Duration,
        "5m",
        "How far an instant selector looks back.",
    ),
    built(
        "query.timeout",
        Kind::Duration,
        "2m",
        "Longest time a query may take.",
    ),
    built(
        "query.max-concurrency",
        Kind::Number,
        "20",
        "Most queries at a time.",
    ),
    built(
        "query.max-samples",
        Kind::Number,
        "50000000",
        "Most samples a query may hold.",
    ),
    built(
        "query.max-memory",
        Kind::Size,
        "2GB",
        "Most memory a query may hold; 0 for no limit.",
    ),
    built(
        "query.max-total-memory",
        Kind::Size,
        "",
        "Most memory all running queries together may hold; 0 for no limit, by default half of what this process may have.",
    ),
    moot("scrape.adjust-timestamps", Kind::Bool, "true"),
    moot("scrape.timestamp-tolerance", Kind::Duration, "2ms"),
    moot("scrape.discovery-reload-interval", Kind::Duration, "5s"),
    moot("auto-gomaxprocs", Kind::Bool, "true"),
    moot("auto-gomemlimit", Kind::Bool, "true"),
    moot("auto-gomemlimit.ratio", Kind::Float, "0.9"),
    moot("auto-gomemlimit.refresh-interval", Kind::Duration, "0s"),
    built(
        "enable-feature",
        Kind::List,
        "",
        "Experimental features, separated by commas; may be repeated.",
    ),
    built(
        "log.level",
        Kind::Text,
        "info",
        "Least severity that is logged: debug, info, warn or error.",
    ),
    built(
        "log.format",
        Kind::Text,
        "logfmt",
        "Format of the log: logfmt or json.",
    ),
    built(
        "alerting.config.file",
        Kind::Text,
        "",
        "An alertmanager.yml: this server routes and sends notifications itself.",
    ),
    built(
        "alerting.webhook-url",
        Kind::Text,
        "",
        "Send every alert to this webhook, grouped by alertname.",
    ),
];

/// Experimental features that are built.
pub(crate) const FEATURES: &[&str] = &[
    "created-timestamp-zero-ingestion",
    "promql-binop-fill-modifiers",
    "promql-delayed-name-removal",
    "promql-experimental-functions",
    "promql-extended-range-selectors",
    "st-storage",
    "use-start-timestamps",
];

/// Experimental features Prometheus knows that are not built: each use is said at start-up.
pub(crate) const FEATURES_NOT_BUILT: &[&str] = &[
    "concurrent-rule-eval",
    "delayed-compaction",
    "fast-startup",
    "histograms-st-encoding",
    "memory-snapshot-on-shutdown",
    "metadata-wal-records",
    "old-ui",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "promql-per-step-stats",
    "search-api",
    "st-synthesis",
    "type-and-unit-labels",
    "use-uncached-io",
    "xor2-encoding",
];

/// Features that need no switch any more, accepted without a word.
pub(crate) const FEATURES_ALWAYS_ON: &[&str] = &[
    "auto-reload-config",
    "exemplar-storage",
    "extra-scrape-metrics",
    "native-histograms",
    "ooo-native-histograms",
    "promql-duration-expr",
];

/// The flag of that name.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// The known name closest to a mistyped one, where one is close.
pub(crate) fn closest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (typed.len() / 3).max(2);
    names
        .map(|name| (edits(typed, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions and substitutions between two texts (Wagner and Fischer, 1974).
fn edits(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

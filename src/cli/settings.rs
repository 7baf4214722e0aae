//! Settings: the command line with every default filled in and every value checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use barograph_model::Pattern;
use barograph_model::duration::{format_duration_ms, parse_duration_ms};
use barograph_query::ParseOptions;
use barograph_tsdb::{BlockAccess, Retention, WalSync};
use clap::ArgMatches;

use super::size::{format_size_bytes, parse_size_bytes};
use super::table::{
    self, FEATURES, FEATURES_ALWAYS_ON, FEATURES_NOT_BUILT, FLAGS, Flag, Kind, Support,
};

/// The messages of remote write this server understands.
const REMOTE_WRITE_MESSAGES: [&str; 2] =
    ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];
/// Longest interval between two syncs of the log: a minute of samples is much to lose.
const WAL_SYNC_LIMIT_MS: i64 = 60_000;
/// Prometheus's default retention, where nothing says otherwise.
const DEFAULT_RETENTION: &str = "15d";

/// What the command line says, checked.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags that people set")]
pub(crate) struct Settings {
    /// The configuration file, where one was named.
    pub(crate) config_file: Option<PathBuf>,
    /// How often to look for changed files; `None` does not look.
    pub(crate) auto_reload: Option<Duration>,
    /// Addresses to listen on.
    pub(crate) listen_addresses: Vec<String>,
    /// Time to read a request's head, and to keep an idle connection.
    pub(crate) read_timeout: Duration,
    /// Most connections at a time.
    pub(crate) max_connections: usize,
    /// The URL under which people reach this server, without a trailing slash; empty: not said.
    pub(crate) external_url: String,
    /// Prefix of every route: `/` or `/prefix/`.
    pub(crate) route_prefix: String,
    /// Title of the web pages.
    pub(crate) page_title: String,
    /// Whether reload and shutdown are allowed over HTTP.
    pub(crate) enable_lifecycle: bool,
    /// Whether snapshots and deletion are allowed over HTTP.
    pub(crate) enable_admin_api: bool,
    /// Whether remote write is received.
    pub(crate) remote_write_receiver: bool,
    /// The messages it may have, by name.
    pub(crate) remote_write_messages: Vec<String>,
    /// Origins whose pages may read the API.
    pub(crate) cors_origin: Pattern,
    /// The data directory.
    pub(crate) data_path: PathBuf,
    /// When the store's log is made durable.
    pub(crate) wal_sync: WalSync,
    pub(crate) block_access: BlockAccess,
    /// Bytes a second; 0 sets no limit.
    pub(crate) compaction_rate: u64,
    /// How long samples are kept, where the command line says.
    pub(crate) retention_ms: Option<i64>,
    /// Most bytes of the data directory; 0 sets no limit.
    pub(crate) retention_bytes: u64,
    /// Longest outage after which `for` is restored, milliseconds.
    pub(crate) outage_tolerance_ms: i64,
    /// Least `for` that is restored, milliseconds.
    pub(crate) for_grace_period_ms: i64,
    /// Least time between two sendings of one alert, milliseconds.
    pub(crate) resend_delay_ms: i64,
    /// Most alerts queued per destination.
    pub(crate) notification_queue_capacity: usize,
    /// Most alerts per request to an Alertmanager.
    pub(crate) notification_batch_size: usize,
    /// Whether queued notifications are sent before stopping.
    pub(crate) drain_notifications: bool,
    /// How far an instant selector looks back, milliseconds.
    pub(crate) lookback_ms: i64,
    /// Longest time a query may take.
    pub(crate) query_timeout: Duration,
    /// Most queries at a time.
    pub(crate) query_max_concurrency: usize,
    /// Most samples a query may hold.
    pub(crate) query_max_samples: u64,
    /// Most bytes a query may hold; 0 for no limit.
    pub(crate) query_max_memory_bytes: u64,
    /// Most bytes all running queries may hold; 0 for no limit, `None` to go by the machine.
    pub(crate) query_max_total_memory_bytes: Option<u64>,
    /// Least severity that is logged.
    pub(crate) log_level: tracing::Level,
    /// Whether the log is JSON.
    pub(crate) log_json: bool,
    /// An `alertmanager.yml` of our own routing.
    pub(crate) alerting_config_file: Option<PathBuf>,
    /// A webhook for every alert.
    pub(crate) alerting_webhook_url: Option<String>,
    /// Experimental features that are switched on.
    pub(crate) features: Vec<String>,
    /// Every flag's value as text, for `/api/v1/status/flags`.
    pub(crate) shown: BTreeMap<&'static str, String>,
    /// What was asked for and is not served: one sentence each.
    pub(crate) notices: Vec<String>,
}

impl Settings {
    /// Reads the values out of parsed arguments.
    ///
    /// # Errors
    /// The flag, its value, and what would fit.
    pub(super) fn resolve(matches: &ArgMatches) -> Result<Self, String> {
        let values = Values::read(matches)?;
        let external_url = values
            .text("web.external-url")
            .trim_end_matches('/')
            .to_owned();
        let settings = Self {
            config_file: values.given("config.file").map(PathBuf::from),
            auto_reload: values.is_set("config.auto-reload").then(|| {
                values
                    .duration("config.auto-reload-interval")
                    .max(Duration::from_secs(1))
            }),
            listen_addresses: values.list("web.listen-address"),
            read_timeout: values.duration("web.read-timeout"),
            max_connections: values.count("web.max-connections")?,
            route_prefix: route_prefix(values.text("web.route-prefix"), &external_url)?,
            external_url,
            page_title: values.text("web.page-title").to_owned(),
            enable_lifecycle: values.is_set("web.enable-lifecycle"),
            enable_admin_api: values.is_set("web.enable-admin-api"),
            remote_write_receiver: values.is_set("web.enable-remote-write-receiver"),
            remote_write_messages: remote_write_messages(
                &values.list("web.remote-write-receiver.accepted-protobuf-messages"),
            )?,
            cors_origin: Pattern::new(values.text("web.cors.origin"))
                .map_err(|error| format!("--web.cors.origin: {error}"))?,
            data_path: values.text("storage.tsdb.path").into(),
            wal_sync: wal_sync(values.text("storage.tsdb.wal-sync"))?,
            block_access: block_access(values.text("storage.tsdb.block-access"))?,
            compaction_rate: values.size_bytes("storage.tsdb.compaction-rate"),
            retention_ms: values
                .given("storage.tsdb.retention.time")
                .map(|_| values.duration_ms("storage.tsdb.retention.time")),
            retention_bytes: values.size_bytes("storage.tsdb.retention.size"),
            outage_tolerance_ms: values.duration_ms("rules.alert.for-outage-tolerance"),
            for_grace_period_ms: values.duration_ms("rules.alert.for-grace-period"),
            resend_delay_ms: values.duration_ms("rules.alert.resend-delay"),
            notification_queue_capacity: values
                .count("alertmanager.notification-queue-capacity")?,
            notification_batch_size: values.count("alertmanager.notification-batch-size")?,
            drain_notifications: values.is_set("alertmanager.drain-notification-queue-on-shutdown"),
            lookback_ms: values.duration_ms("query.lookback-delta"),
            query_timeout: values.duration("query.timeout"),
            query_max_concurrency: values.count("query.max-concurrency")?,
            query_max_samples: values.count("query.max-samples")? as u64,
            query_max_memory_bytes: values.size_bytes("query.max-memory"),
            query_max_total_memory_bytes: values
                .given("query.max-total-memory")
                .map(|_| values.size_bytes("query.max-total-memory")),
            log_level: log_level(values.text("log.level"))?,
            log_json: log_json(values.text("log.format"))?,
            alerting_config_file: values.given("alerting.config.file").map(PathBuf::from),
            alerting_webhook_url: values.given("alerting.webhook-url").map(str::to_owned),
            features: values.features().map(str::to_owned).collect(),
            notices: notices(&values)?,
            shown: values.shown(),
        };
        if settings.alerting_config_file.is_some() && settings.alerting_webhook_url.is_some() {
            return Err("--alerting.config.file and --alerting.webhook-url exclude each other: put the webhook into the file as a receiver".into());
        }
        if settings.lookback_ms <= 0 {
            return Err("--query.lookback-delta must be above 0".into());
        }
        Ok(settings)
    }

    /// Whether an experimental feature is switched on.
    pub(crate) fn has_feature(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature == name)
    }

    /// What PromQL may use beyond what is stable, in queries and in rules.
    pub(crate) fn language(&self) -> ParseOptions {
        ParseOptions {
            experimental_functions: self.has_feature("promql-experimental-functions"),
            extended_range_selectors: self.has_feature("promql-extended-range-selectors"),
            fill_modifiers: self.has_feature("promql-binop-fill-modifiers"),
        }
    }

    /// How much is kept: what the configuration says, else the flags, else 15 days.
    pub(crate) fn retention(&self, configured: Option<Retention>) -> Retention {
        let default_ms = match (self.retention_ms, self.retention_bytes) {
            (Some(time_ms), _) => time_ms,
            (None, 0) => parse_duration_ms(DEFAULT_RETENTION).unwrap_or_default(),
            (None, _) => 0,
        };
        configured.unwrap_or(Retention {
            time_ms: default_ms,
            size_bytes: self.retention_bytes,
            disk_percent: 0.0,
        })
    }
}

/// Every flag's text: as given, else its default.
struct Values {
    given: BTreeMap<&'static str, Vec<String>>,
}

impl Values {
    fn read(matches: &ArgMatches) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for flag in FLAGS {
            if let Some(texts) = matches.get_many::<String>(flag.name) {
                let texts: Vec<String> = texts.cloned().collect();
                for text in &texts {
                    check(flag, text)?;
                }
                given.insert(flag.name, texts);
            } else if flag.kind == Kind::Bool && matches.get_flag(&format!("no-{}", flag.name)) {
                given.insert(flag.name, vec!["false".to_owned()]);
            }
        }
        Ok(Self { given })
    }

    fn given(&self, name: &str) -> Option<&str> {
        let text = self.given.get(name)?.last()?;
        (!text.is_empty()).then_some(text)
    }

    fn text(&self, name: &str) -> &str {
        self.given
            .get(name)
            .and_then(|texts| texts.last())
            .map_or_else(|| default_of(name), String::as_str)
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.given.get(name) {
            Some(texts) => texts.clone(),
            None => vec![default_of(name).to_owned()],
        }
    }

    fn is_set(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The values of durations and numbers were checked when read.
    fn duration_ms(&self, name: &str) -> i64 {
        parse_duration_ms(self.text(name)).unwrap_or_default()
    }

    fn duration(&self, name: &str) -> Duration {
        Duration::from_millis(self.duration_ms(name).unsigned_abs())
    }

    fn size_bytes(&self, name: &str) -> u64 {
        parse_size_bytes(self.text(name)).unwrap_or_default()
    }

    fn count(&self, name: &str) -> Result<usize, String> {
        match parse_number(self.text(name)) {
            Some(number) if number >= 1 => Ok(number as usize),
            _ => Err(format!("--{name} must be at least 1")),
        }
    }

    fn features(&self) -> impl Iterator<Item = &str> {
        let texts = self.given.get("enable-feature").into_iter().flatten();
        texts
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
    }

    fn shown(&self) -> BTreeMap<&'static str, String> {
        let shown = |flag: &Flag| match (flag.kind, self.given.get(flag.name)) {
            (Kind::List, Some(texts)) => texts.join(","),
            (Kind::Duration, Some(_)) => format_duration_ms(self.duration_ms(flag.name)),
            (Kind::Size, Some(_)) => {
                format_size_bytes(parse_size_bytes(self.text(flag.name)).unwrap_or_default())
            }
            (_, Some(texts)) => texts.last().cloned().unwrap_or_default(),
            (_, None) => flag.default.to_owned(),
        };
        FLAGS.iter().map(|flag| (flag.name, shown(flag))).collect()
    }
}

/// How blocks are read: `mmap` or `pread`.
fn block_access(text: &str) -> Result<BlockAccess, String> {
    match text {
        "mmap" => Ok(BlockAccess::Mmap),
        "pread" => Ok(BlockAccess::Pread),
        _ => Err(format!(
            "--storage.tsdb.block-access must be mmap or pread, not {text:?}"
        )),
    }
}

/// The messages remote write may have.
fn remote_write_messages(given: &[String]) -> Result<Vec<String>, String> {
    let names: Vec<String> = given
        .iter()
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    match names
        .iter()
        .find(|name| !REMOTE_WRITE_MESSAGES.contains(&name.as_str()))
    {
        None => Ok(names),
        Some(name) => Err(format!(
            "--web.remote-write-receiver.accepted-protobuf-messages={name}: unknown message; supported are {}",
            REMOTE_WRITE_MESSAGES.join(" and ")
        )),
    }
}

/// When the store's log is made durable: `always`, `off`, or so often.
fn wal_sync(text: &str) -> Result<WalSync, String> {
    match text {
        "always" => Ok(WalSync::Always),
        "off" => Ok(WalSync::Never),
        _ => match parse_duration_ms(text) {
            Ok(every_ms @ 1..=WAL_SYNC_LIMIT_MS) => Ok(WalSync::Interval(Duration::from_millis(
                every_ms.unsigned_abs(),
            ))),
            _ => Err(format!(
                "--storage.tsdb.wal-sync must be always, off, or a duration of at most 1m, not {text:?}"
            )),
        },
    }
}

fn default_of(name: &str) -> &'static str {
    table::find(name).map_or("", |flag| flag.default)
}

fn check(flag: &Flag, text: &str) -> Result<(), String> {
    let name = flag.name;
    match flag.kind {
        Kind::Bool | Kind::Text | Kind::List => Ok(()),
        Kind::Duration => match parse_duration_ms(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("--{name}: {error}")),
        },
        Kind::Size => match parse_size_bytes(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("--{name}: {error}")),
        },
        Kind::Number if parse_number(text).is_some() => Ok(()),
        Kind::Float if text.parse::<f64>().is_ok() => Ok(()),
        Kind::Number | Kind::Float => Err(format!("--{name}: {text:?} is no number")),
    }
}

/// Whole numbers; the exponent form as well, since people write `5e7`.
fn parse_number(text: &str) -> Option<u64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
}

fn route_prefix(given: &str, external_url: &str) -> Result<String, String> {
    let path = match (given, external_url) {
        ("", "") => "",
        ("", url) => match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => {
                return Err(format!(
                    "--web.external-url: {url:?} is no URL: write for example https://example.org/metrics"
                ));
            }
        },
        (given, _) => given,
    };
    Ok(match path.trim_matches('/') {
        "" => "/".to_owned(),
        path => format!("/{path}/"),
    })
}

fn log_level(text: &str) -> Result<tracing::Level, String> {
    match text {
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warn" => Ok(tracing::Level::WARN),
        "error" => Ok(tracing::Level::ERROR),
        _ => Err(format!(
            "--log.level: {text:?} is none of debug, info, warn, error"
        )),
    }
}

fn log_json(text: &str) -> Result<bool, String> {
    match text {
        "logfmt" => Ok(false),
        "json" => Ok(true),
        _ => Err(format!("--log.format: {text:?} is none of logfmt, json")),
    }
}

fn notices(values: &Values) -> Result<Vec<String>, String> {
    if values.is_set("agent") {
        return Err("--agent: agent mode (scrape and forward, no local store) is not built".into());
    }
    let mut notices = Vec::new();
    for flag in FLAGS {
        let Some(texts) = values.given.get(flag.name) else {
            continue;
        };
        match flag.support {
            Support::Built => {}
            // Saying no to what is not there needs no notice.
            Support::NotBuilt
                if flag.kind == Kind::Bool && texts.last().is_some_and(|t| t == "false") => {}
            Support::NotBuilt => notices.push(format!(
                "--{} is accepted but not built: it has no effect",
                flag.name
            )),
            Support::Moot => notices.push(format!(
                "--{} sets nothing here: it is accepted and has no effect",
                flag.name
            )),
        }
    }
    for feature in values.features() {
        if FEATURES_NOT_BUILT.contains(&feature) {
            notices.push(format!(
                "--enable-feature={feature} is accepted but not built: it has no effect"
            ));
        } else if !FEATURES.contains(&feature) && !FEATURES_ALWAYS_ON.contains(&feature) {
            let known = [FEATURES, FEATURES_NOT_BUILT, FEATURES_ALWAYS_ON].concat();
            let advice = match table::closest(feature, known.into_iter()) {
                Some(name) => format!(" (did you mean {name}?)"),
                None => String::new(),
            };
            notices.push(format!(
                "--enable-feature={feature}: no such feature{advice}"
            ));
        }
    }
    Ok(notices)
}

//! As written → resolved: fills defaults in, checks what spans several fields, reads the files the
//! configuration names.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use barograph_model::Labels;
use barograph_scraper::{FileDiscovery, ScrapeConfig, StartTimestamps, StaticTargets};
use barograph_tsdb::Retention;
use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use super::error::ConfigError;
use super::file::{
    File, FileSdConfig, Global, JobsFile, ScrapeJob, StaticConfig, Storage, entries,
};
use super::scalar::{DurationMs, OneOf, Protocol, Scheme, Validation};
use super::{
    Collectors, Config, Notice, RuleReading, alerting, glob, http, read, read_rules, relabel, shown,
};

/// Prometheus's defaults.
const SCRAPE_INTERVAL: DurationMs = DurationMs(60_000);
const SCRAPE_TIMEOUT: DurationMs = DurationMs(10_000);
const EVALUATION_INTERVAL: DurationMs = DurationMs(60_000);
const FILE_REFRESH_INTERVAL_MS: i64 = 300_000;
/// How late a sample may come where the file says nothing.
const OUT_OF_ORDER_WINDOW_MS: i64 = 24 * 3_600_000;
/// Prometheus's default.
const EXEMPLARS_LIMIT: usize = 100_000;

/// A file being resolved: its text for excerpts, its directory for the paths in it.
pub(super) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// A file and its text.
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text }
    }

    /// Reads the text.
    pub(super) fn parse<T: DeserializeOwned + Default>(&self) -> Result<T, ConfigError> {
        let options = serde_saphyr::options! { with_snippet: false };
        // A file of nothing but comments is an empty configuration.
        let parsed: Result<Option<T>, _> = serde_saphyr::from_str_with_options(self.text, options);
        parsed
            .map(Option::unwrap_or_default)
            .map_err(|error| ConfigError::yaml(self.path, self.text, &error))
    }

    /// An error at a value of this file.
    pub(super) fn error<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> ConfigError {
        let position = (
            at.referenced.line() as usize,
            at.referenced.column() as usize,
        );
        if position.0 == 0 {
            return ConfigError::whole(self.path, message);
        }
        ConfigError::at(self.path, self.text, position, message)
    }

    /// A path of this file: absolute, or relative to its directory.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        let base = self.path.parent().unwrap_or(Path::new(""));
        base.join(path)
    }

    /// The files a pattern of this file names.
    fn files(&self, pattern: &str) -> Vec<PathBuf> {
        glob::files(&self.path(pattern))
    }
}

/// Resolves a configuration file's text.
///
/// # Errors
/// The first thing that does not fit, in this file or one it names.
pub(super) fn config(
    path: &Path,
    text: &str,
    collectors: &Collectors,
    reading: RuleReading,
) -> Result<Config, ConfigError> {
    let source = Source::new(path, text);
    let mut file: File = source.parse()?;
    let mut notices = Vec::new();
    let mut files = vec![path.to_owned()];
    let global = global(&source, file.global.get_or_insert_default(), &mut notices)?;
    let global_section = file.global.clone().unwrap_or_default();

    let mut jobs = Jobs::new(&global_section, collectors);
    for job in file.scrape_configs.iter_mut().flatten() {
        jobs.add(&source, job, &mut notices)?;
    }
    for pattern in entries(file.scrape_config_files.as_ref()) {
        check_pattern(&source, "scrape config", pattern)?;
        for path in source.files(&pattern.value) {
            let text = read(&path)?;
            let source = Source::new(&path, &text);
            let mut more: JobsFile = source.parse()?;
            for job in more.scrape_configs.iter_mut().flatten() {
                jobs.add(&source, job, &mut notices)?;
            }
            files.push(path.clone());
        }
    }

    let (mut rules, mut missing_rule_files) = (Vec::new(), Vec::new());
    for pattern in entries(file.rule_files.as_ref()) {
        check_pattern(&source, "rule", pattern)?;
        if reading.skipped {
            continue;
        }
        let found = source.files(&pattern.value);
        if found.is_empty() {
            notices.push(Notice {
                text: format!("rule_files: {:?} matches no file", pattern.value),
                loud: false,
            });
            if !pattern.value.contains(['*', '?', '[']) {
                missing_rule_files.push(source.path(&pattern.value));
            }
        }
        for path in found {
            if !files.contains(&path) {
                rules.push(read_rules(&path, reading)?);
                files.push(path);
            }
        }
    }

    let (alertmanagers, alert_relabel) =
        alerting::resolve(&source, file.alerting.as_mut(), &mut notices)?;
    let retention = storage(&source, file.storage.as_ref(), &mut notices)?;
    let tsdb = file.storage.as_ref().and_then(|s| s.tsdb.as_ref());
    let out_of_order_window = tsdb.and_then(|tsdb| tsdb.out_of_order_time_window);
    let exemplars = file.storage.as_ref().and_then(|s| s.exemplars.as_ref());
    let exemplars_limit = exemplars
        .and_then(|exemplars| exemplars.max_exemplars)
        .map_or(EXEMPLARS_LIMIT, |limit| limit.max(0) as usize);
    for (name, section) in [
        ("remote_write", &file.remote_write),
        ("remote_read", &file.remote_read),
        ("tracing", &file.tracing),
        ("otlp", &file.otlp),
        ("runtime", &file.runtime),
    ] {
        if section.as_ref().is_some_and(|section| section.len() > 0) {
            notices.push(Notice {
                text: format!("{name} is accepted but not built: it has no effect"),
                loud: name.starts_with("remote"),
            });
        }
    }
    Ok(Config {
        jobs: jobs.resolved,
        rules,
        evaluation_interval_ms: global.evaluation_interval_ms,
        rule_query_offset_ms: global.rule_query_offset_ms,
        external_labels: global.external_labels,
        alertmanagers,
        alert_relabel,
        routing: None,
        retention,
        exemplars_limit,
        out_of_order_window_ms: out_of_order_window.map_or(OUT_OF_ORDER_WINDOW_MS, |w| w.0),
        shown: shown::yaml(&file),
        notices,
        files,
        missing_rule_files,
    })
}

/// Only the last part of a path may hold a wildcard, as in Prometheus.
fn check_pattern(
    source: &Source<'_>,
    what: &str,
    pattern: &Spanned<String>,
) -> Result<(), ConfigError> {
    match pattern.value.split_once('*') {
        Some((_, rest)) if rest.contains('/') => {
            let path = &pattern.value;
            let message = format!(
                "invalid {what} file path {path:?}: only its last part may hold a wildcard"
            );
            Err(source.error(pattern, message))
        }
        _ => Ok(()),
    }
}

struct ResolvedGlobal {
    evaluation_interval_ms: i64,
    rule_query_offset_ms: i64,
    external_labels: Labels,
}

fn global(
    source: &Source<'_>,
    global: &mut Global,
    notices: &mut Vec<Notice>,
) -> Result<ResolvedGlobal, ConfigError> {
    let interval = *global.scrape_interval.get_or_insert(SCRAPE_INTERVAL);
    match &global.scrape_timeout {
        Some(timeout) if timeout.value > interval => {
            return Err(source.error(
                timeout,
                "global scrape timeout greater than scrape interval",
            ));
        }
        Some(_) => {}
        None => {
            let timeout = if SCRAPE_TIMEOUT > interval {
                interval
            } else {
                SCRAPE_TIMEOUT
            };
            global.scrape_timeout = Some(unplaced(timeout));
        }
    }
    protocols(source, global.scrape_protocols.as_ref())?;
    let legacy = global.metric_name_validation_scheme.as_ref();
    let escaping = global.metric_name_escaping_scheme.as_ref();
    if let (Some(scheme), Some(escaping)) = (legacy, escaping)
        && scheme.as_str() == "legacy"
        && escaping.as_str() == "allow-utf-8"
    {
        let message =
            "metric_name_escaping_scheme allow-utf-8 needs metric_name_validation_scheme utf8";
        return Err(ConfigError::whole(source.path, message));
    }
    let evaluation_interval = *global
        .evaluation_interval
        .get_or_insert(EVALUATION_INTERVAL);
    global
        .metric_name_validation_scheme
        .get_or_insert_with(|| OneOf::<Validation>::new("utf8"));
    global.scrape_native_histograms.get_or_insert(false);
    global.extra_scrape_metrics.get_or_insert(false);
    for (name, used) in [
        ("query_log_file", global.query_log_file.is_some()),
        (
            "scrape_failure_log_file",
            global.scrape_failure_log_file.is_some(),
        ),
        (
            "metric_name_escaping_scheme",
            is_escaping(
                global
                    .metric_name_escaping_scheme
                    .as_ref()
                    .map(OneOf::as_str),
            ),
        ),
    ] {
        if used {
            notices.push(not_built("global", name));
        }
    }
    let mut labels = BTreeMap::new();
    for (name, value) in global.external_labels.iter().flatten() {
        if name.is_empty() {
            return Err(ConfigError::whole(
                source.path,
                "external_labels: \"\" is not a valid label name",
            ));
        }
        labels.insert(name.clone(), expand(value, notices));
    }
    if !labels.is_empty() {
        global.external_labels = Some(labels.clone());
    }
    Ok(ResolvedGlobal {
        evaluation_interval_ms: evaluation_interval.0,
        rule_query_offset_ms: global.rule_query_offset.map_or(0, |offset| offset.0),
        external_labels: Labels::from_pairs(&labels),
    })
}

/// Fills `$name` and `${name}` from the environment; `$$` is a dollar sign.
fn expand(text: &str, notices: &mut Vec<Notice>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, used) = match rest.strip_prefix('{').and_then(|body| body.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None if rest.starts_with('$') => ("$", 1),
            None => {
                let length = rest
                    .bytes()
                    .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
                    .count();
                (&rest[..length], length)
            }
        };
        match (name, std::env::var(name)) {
            ("$" | "", _) => filled.push('$'),
            (_, Ok(value)) => filled.push_str(&value),
            (_, Err(_)) => notices.push(Notice {
                text: format!(
                    "external_labels: the environment has no {name}: it is filled with nothing"
                ),
                loud: false,
            }),
        }
        rest = &rest[used..];
    }
    filled.push_str(rest);
    filled
}

/// Jobs as they are added, and where each name was first used.
struct Jobs<'a> {
    global: &'a Global,
    collectors: &'a Collectors,
    names: HashMap<String, PathBuf>,
    resolved: Vec<ScrapeConfig>,
}

impl<'a> Jobs<'a> {
    fn new(global: &'a Global, collectors: &'a Collectors) -> Self {
        Self {
            global,
            collectors,
            names: HashMap::new(),
            resolved: Vec::new(),
        }
    }

    fn add(
        &mut self,
        source: &Source<'_>,
        written: &mut Spanned<ScrapeJob>,
        notices: &mut Vec<Notice>,
    ) -> Result<(), ConfigError> {
        let Some(name) = written
            .value
            .job_name
            .clone()
            .filter(|name| !name.value.is_empty())
        else {
            return Err(source.error(
                written,
                "job_name is empty: every scrape configuration needs one",
            ));
        };
        if let Some(first) = self
            .names
            .insert(name.value.clone(), source.path.to_owned())
        {
            let place = if first == source.path {
                String::new()
            } else {
                format!(", first found in {}", first.display())
            };
            return Err(source.error(
                &name,
                format!(
                    "found multiple scrape configs with job name {:?}{place}",
                    name.value
                ),
            ));
        }
        let starts = self.collectors.start_timestamps;
        fill(&mut written.value, self.global, starts);
        let job = &written.value;
        let interval = job.scrape_interval.unwrap_or(SCRAPE_INTERVAL);
        let timeout = job
            .scrape_timeout
            .as_ref()
            .map_or(SCRAPE_TIMEOUT, |timeout| timeout.value);
        if let Some(written) = &job.scrape_timeout
            && timeout > interval
        {
            return Err(source.error(written, format!("scrape timeout greater than scrape interval for scrape config with job name {:?}", name.value)));
        }
        if interval.0 == 0 {
            return Err(source.error(&name, "scrape_interval must be above 0"));
        }
        protocols(source, job.scrape_protocols.as_ref())?;
        let owner = format!("job {:?}", name.value);
        let http = http::settings(source, &job.http(), &owner, notices)
            .map_err(|message| source.error(written, message))?;
        let mut config = ScrapeConfig::new(name.value.clone());
        config.interval_ms = interval.0;
        config.timeout_ms = timeout.0;
        config.http = http;
        config.static_targets = static_targets(
            source,
            job.static_configs.as_ref(),
            job.relabel_configs
                .as_ref()
                .is_some_and(|rules| !rules.is_empty()),
        )?;
        config.file_discovery = file_discovery(source, job.file_sd_configs.as_ref())?;
        config.relabel = relabel::rules(source, job.relabel_configs.as_ref())?;
        config.metric_relabel = relabel::rules(source, job.metric_relabel_configs.as_ref())?;
        plain_fields(&mut config, job);
        config.start_timestamps = self.collectors.start_timestamps;
        self.collector(source, job, &mut config)?;
        say_what_is_missing(job, &owner, &config, notices);
        self.resolved.push(config);
        Ok(())
    }

    /// Jobs of scheme `barograph` name a collector of this process by their path.
    fn collector(
        &self,
        source: &Source<'_>,
        job: &ScrapeJob,
        config: &mut ScrapeConfig,
    ) -> Result<(), ConfigError> {
        if config.scheme != "barograph" {
            return Ok(());
        }
        config.collector = Some(match config.metrics_path.as_str() {
            "/host" => self.collectors.host.clone(),
            "/self" => self.collectors.own.clone(),
            path => {
                let message = format!(
                    "no collector {path:?} is built in: with scheme barograph, metrics_path is /host or /self"
                );
                return Err(match &job.metrics_path {
                    Some(path) => source.error(path, message),
                    None => ConfigError::whole(source.path, message),
                });
            }
        });
        Ok(())
    }
}

/// Fills what the job leaves out from the global section, then from Prometheus's defaults.
fn fill(job: &mut ScrapeJob, global: &Global, starts: StartTimestamps) {
    let interval = *job
        .scrape_interval
        .get_or_insert(global.scrape_interval.unwrap_or(SCRAPE_INTERVAL));
    if job.scrape_timeout.is_none() {
        let timeout = global
            .scrape_timeout
            .as_ref()
            .map_or(SCRAPE_TIMEOUT, |timeout| timeout.value);
        job.scrape_timeout = Some(unplaced(if timeout > interval {
            interval
        } else {
            timeout
        }));
    }
    if job.scrape_protocols.is_none() {
        let native = job.scrape_native_histograms;
        let native = native.or(global.scrape_native_histograms) == Some(true);
        // More of what is sent in protocol buffers has a start.
        let native = native || starts.is_read();
        let protocols = global.scrape_protocols.clone();
        job.scrape_protocols = Some(protocols.unwrap_or_else(|| default_protocols(native)));
    }
    job.honor_timestamps.get_or_insert(true);
    job.track_timestamps_staleness.get_or_insert(false);
    job.metrics_path
        .get_or_insert_with(|| unplaced("/metrics".into()));
    job.scheme
        .get_or_insert_with(|| OneOf::<Scheme>::new("http"));
    job.enable_compression.get_or_insert(true);
    job.follow_redirects.get_or_insert(true);
    job.enable_http2.get_or_insert(true);
    macro_rules! inherit {
        ($($field:ident)*) => { $(if job.$field.is_none() { job.$field.clone_from(&global.$field); })* };
    }
    inherit! {
        body_size_limit sample_limit target_limit label_limit label_name_length_limit
        label_value_length_limit keep_dropped_targets metric_name_validation_scheme
        metric_name_escaping_scheme scrape_native_histograms convert_classic_histograms_to_nhcb
        always_scrape_classic_histograms extra_scrape_metrics
    }
    for relabel in job
        .relabel_configs
        .iter_mut()
        .chain(job.metric_relabel_configs.iter_mut())
        .flatten()
    {
        shown::fill_relabel(&mut relabel.value);
    }
}

fn plain_fields(config: &mut ScrapeConfig, job: &ScrapeJob) {
    let text = |value: &Option<Spanned<String>>| value.as_ref().map(|text| text.value.clone());
    config.metrics_path = text(&job.metrics_path).unwrap_or_default();
    config.scheme = job
        .scheme
        .as_ref()
        .map_or_else(|| "http".into(), |scheme| scheme.as_str().to_owned());
    config.params = job.params.clone().into_iter().flatten().collect();
    config.honor_labels = job.honor_labels.unwrap_or(false);
    config.honor_timestamps = job.honor_timestamps.unwrap_or(true);
    config.track_timestamps_staleness = job.track_timestamps_staleness.unwrap_or(false);
    config.enable_compression = job.enable_compression.unwrap_or(true);
    config.fallback_scrape_protocol = job
        .fallback_scrape_protocol
        .as_ref()
        .map(|protocol| protocol.as_str().to_owned());
    config.scrape_protocols = job
        .scrape_protocols
        .iter()
        .flat_map(|protocols| &protocols.value)
        .map(|protocol| protocol.as_str().to_owned())
        .collect();
    config.body_size_limit_bytes = job.body_size_limit.map_or(0, |limit| limit.0);
    config.sample_limit = job.sample_limit.unwrap_or(0);
    config.label_limit = job.label_limit.unwrap_or(0);
    config.label_name_length_limit = job.label_name_length_limit.unwrap_or(0);
    config.label_value_length_limit = job.label_value_length_limit.unwrap_or(0);
    config.target_limit = job.target_limit.unwrap_or(0);
    config.keep_dropped_targets = job.keep_dropped_targets.unwrap_or(0);
    config.scrape_native_histograms = job.scrape_native_histograms.unwrap_or(false);
    config.always_scrape_classic_histograms = job.always_scrape_classic_histograms.unwrap_or(false);
    config.convert_classic_histograms_to_nhcb =
        job.convert_classic_histograms_to_nhcb.unwrap_or(false);
    config.native_histogram_bucket_limit = job.native_histogram_bucket_limit.unwrap_or(0);
    config.native_histogram_min_bucket_factor =
        job.native_histogram_min_bucket_factor.unwrap_or(0.0);
    config.extra_scrape_metrics = job.extra_scrape_metrics.unwrap_or(false);
    config.legacy_names = job
        .metric_name_validation_scheme
        .as_ref()
        .is_some_and(|scheme| scheme.as_str() == "legacy");
}

fn say_what_is_missing(
    job: &ScrapeJob,
    owner: &str,
    config: &ScrapeConfig,
    notices: &mut Vec<Notice>,
) {
    let discovery = job.discovery_not_built();
    let names: Vec<&str> = discovery.iter().map(|(name, _)| *name).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        let alone = config.static_targets.is_empty() && config.file_discovery.is_empty();
        let text = if alone {
            format!(
                "{owner} has NO targets: {names} is not built; list the targets with static_configs or file_sd_configs"
            )
        } else {
            format!("{owner}: {names} is not built: its targets are missing")
        };
        notices.push(Notice { text, loud: true });
    }
    for (name, used) in [
        (
            "scrape_failure_log_file",
            job.scrape_failure_log_file.is_some(),
        ),
        (
            "metric_name_escaping_scheme",
            is_escaping(job.metric_name_escaping_scheme.as_ref().map(OneOf::as_str)),
        ),
    ] {
        if used {
            notices.push(not_built(owner, name));
        }
    }
}

fn is_escaping(scheme: Option<&str>) -> bool {
    !matches!(scheme, None | Some("" | "allow-utf-8"))
}

fn not_built(owner: &str, name: &str) -> Notice {
    Notice {
        text: format!("{owner}: {name} is accepted but not built: it has no effect"),
        loud: false,
    }
}

fn protocols(
    source: &Source<'_>,
    list: Option<&Spanned<Vec<OneOf<Protocol>>>>,
) -> Result<(), ConfigError> {
    let Some(list) = list else {
        return Ok(());
    };
    if list.value.is_empty() {
        return Err(source.error(list, "scrape_protocols cannot be empty"));
    }
    for (index, protocol) in list.value.iter().enumerate() {
        if list.value[..index].contains(protocol) {
            return Err(source.error(
                list,
                format!(
                    "duplicated protocol in scrape_protocols: {}",
                    protocol.as_str()
                ),
            ));
        }
    }
    Ok(())
}

/// Prometheus's defaults: only one format has native histograms.
fn default_protocols(native_histograms: bool) -> Spanned<Vec<OneOf<Protocol>>> {
    let names = ScrapeConfig::new("").scrape_protocols;
    let first = native_histograms.then_some("PrometheusProto").into_iter();
    let names = first.chain(names.iter().map(String::as_str));
    unplaced(names.map(OneOf::new).collect())
}

/// Static targets, checked: an address is a host with or without a port, no URL, unless relabelling
/// may make one of it.
///
/// # Errors
/// An address with a slash; a label name that is none.
pub(super) fn static_targets(
    source: &Source<'_>,
    list: Option<&Vec<StaticConfig>>,
    relabelled: bool,
) -> Result<Vec<StaticTargets>, ConfigError> {
    let mut resolved = Vec::new();
    for group in entries(list) {
        for target in entries(group.targets.as_ref()) {
            if !relabelled && target.value.contains('/') {
                let message = format!(
                    "{:?} is not a valid hostname: write host:port; scheme and path have fields of their own",
                    target.value
                );
                return Err(source.error(target, message));
            }
        }
        let labels = group.labels.clone().unwrap_or_default();
        resolved.push(StaticTargets {
            targets: entries(group.targets.as_ref())
                .iter()
                .map(|target| target.value.clone())
                .collect(),
            labels: Labels::from_pairs(&labels),
        });
    }
    Ok(resolved)
}

fn file_discovery(
    source: &Source<'_>,
    list: Option<&Vec<FileSdConfig>>,
) -> Result<Vec<FileDiscovery>, ConfigError> {
    let mut resolved = Vec::new();
    for discovery in entries(list) {
        let mut files = Vec::new();
        for file in entries(discovery.files.as_ref()) {
            let name = file.value.rsplit('/').next().unwrap_or_default();
            let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"]
                .iter()
                .any(|end| name.ends_with(end));
            if !known || name.matches('*').count() > 1 {
                let message = format!(
                    "path name {:?} is not valid for file discovery: it must end in .json, .yml or .yaml, with at most one * in its last part",
                    file.value
                );
                return Err(source.error(file, message));
            }
            files.push(source.path(&file.value));
        }
        if files.is_empty() {
            return Err(ConfigError::whole(
                source.path,
                "file_sd_configs: `files` must name at least one file",
            ));
        }
        resolved.push(FileDiscovery {
            files,
            refresh_interval_ms: discovery
                .refresh_interval
                .map_or(FILE_REFRESH_INTERVAL_MS, |interval| interval.0),
        });
    }
    Ok(resolved)
}

fn storage(
    source: &Source<'_>,
    storage: Option<&Storage>,
    notices: &mut Vec<Notice>,
) -> Result<Option<Retention>, ConfigError> {
    let Some(storage) = storage else {
        return Ok(None);
    };
    let tsdb = storage.tsdb.clone().unwrap_or_default();
    for (name, used) in [
        (
            "tsdb.stale_series_compaction_threshold",
            tsdb.stale_series_compaction_threshold.is_some(),
        ),
        ("tsdb.chunk_encoding", tsdb.chunk_encoding.is_some()),
    ] {
        if used {
            notices.push(not_built("storage", name));
        }
    }
    // Where the section is there, it counts whole: what it leaves out sets no limit.
    let Some(retention) = &tsdb.retention else {
        return Ok(None);
    };
    if let Some(percentage) = &retention.percentage
        && !(0.0..=100.0).contains(&percentage.value)
    {
        let message = "storage.tsdb.retention.percentage must be between 0 and 100";
        return Err(source.error(percentage, message));
    }
    Ok(Some(Retention {
        time_ms: retention.time.map_or(0, |time| time.0),
        size_bytes: retention.size.map_or(0, |size| size.0),
        disk_percent: retention.percentage.as_ref().map_or(0.0, |p| p.value),
    }))
}

/// A value that stands nowhere in the text.
fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(
        value,
        serde_saphyr::Location::UNKNOWN,
        serde_saphyr::Location::UNKNOWN,
    )
}

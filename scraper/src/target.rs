//! Targets: from discovered labels to what is scraped.

use std::fmt::Write;

use barograph_model::duration::{format_duration_ms, parse_duration_ms};
use barograph_model::relabel::relabel;
use barograph_model::{Labels, LabelsBuilder};

use crate::config::ScrapeConfig;

/// Label with the address, `host:port`.
pub(crate) const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const CUSTOM_BUCKETS: &str = "__convert_classic_histograms_to_nhcb__";
const CLASSIC_HISTOGRAMS: &str = "__always_scrape_classic_histograms__";
const NATIVE_HISTOGRAMS: &str = "__scrape_native_histograms__";
const UNIX_SOCKET: &str = "__unix_socket__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
const RESERVED_PREFIX: &str = "__";
const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// What is scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Labels before relabelling.
    pub(crate) discovered: Labels,
    /// Labels its series get.
    pub(crate) labels: Labels,
    /// What is asked.
    pub(crate) endpoint: Endpoint,
    /// Milliseconds between scrapes.
    pub(crate) interval_ms: i64,
    /// Milliseconds a scrape may take.
    pub(crate) timeout_ms: i64,
    /// Which histograms are stored.
    pub(crate) histograms: Histograms,
}

/// Which histograms of a target are stored: as the job says, or relabelling for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Histograms {
    /// Native ones.
    pub(crate) native: bool,
    /// Classic ones, where there are native ones of the same name.
    pub(crate) classic_too: bool,
    /// Native ones of custom bounds, made of classic ones.
    pub(crate) custom: bool,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// The URL.
    pub(crate) url: String,
    /// The socket to connect to instead of the URL's host.
    pub(crate) unix_socket: Option<String>,
}

/// What identifies a target within a job: a change of anything else keeps its loop.
pub(crate) type TargetKey = (Labels, Endpoint);

impl Target {
    /// What identifies the target within its job.
    pub(crate) fn key(&self) -> TargetKey {
        (self.labels.clone(), self.endpoint.clone())
    }
}

/// What becomes of a discovered target.
pub(crate) enum Resolved {
    /// It is scraped.
    Active(Target),
    /// Relabelling dropped it; these are its labels before.
    Dropped(Labels),
    /// It cannot be scraped, and why.
    Invalid(String),
}

/// Fills in a job's defaults, relabels and checks one discovered label set.
pub(crate) fn resolve(config: &ScrapeConfig, discovered: &Labels) -> Resolved {
    let mut labels = discovered.to_builder();
    add_defaults(config, &mut labels);
    let discovered = labels.build();
    if !relabel(&config.relabel, &mut labels) {
        return Resolved::Dropped(discovered);
    }
    match check(config, &mut labels, &discovered) {
        Ok(target) => Resolved::Active(target),
        Err(reason) => Resolved::Invalid(format!("target {discovered}: {reason}")),
    }
}

fn add_defaults(config: &ScrapeConfig, labels: &mut LabelsBuilder) {
    let mut default = |name: &str, value: &str| {
        if labels.get(name).is_empty() {
            labels.set(name, value);
        }
    };
    default(JOB, &config.job_name);
    default(SCRAPE_INTERVAL, &format_duration_ms(config.interval_ms));
    default(SCRAPE_TIMEOUT, &format_duration_ms(config.timeout_ms));
    default(METRICS_PATH, &config.metrics_path);
    default(SCHEME, &config.scheme);
    for (name, value) in [
        (CUSTOM_BUCKETS, config.convert_classic_histograms_to_nhcb),
        (CLASSIC_HISTOGRAMS, config.always_scrape_classic_histograms),
        (NATIVE_HISTOGRAMS, config.scrape_native_histograms),
    ] {
        default(name, if value { "true" } else { "false" });
    }
    for (name, values) in &config.params {
        if let Some(value) = values.first() {
            default(&format!("{PARAM_PREFIX}{name}"), value);
        }
    }
}

fn check(
    config: &ScrapeConfig,
    labels: &mut LabelsBuilder,
    discovered: &Labels,
) -> Result<Target, String> {
    let address = labels.get(ADDRESS).to_owned();
    let unix_socket = match labels.get(UNIX_SOCKET) {
        "" => None,
        path => Some(path.to_owned()),
    };
    if address.is_empty() {
        return Err("no address: relabelling left __address__ empty".to_owned());
    }
    if address.contains('/') {
        return Err(format!(
            "{address:?} is not a valid hostname: write host:port, and the path as metrics_path"
        ));
    }
    let interval_ms = duration(labels, SCRAPE_INTERVAL, "scrape interval")?;
    let timeout_ms = duration(labels, SCRAPE_TIMEOUT, "scrape timeout")?;
    if timeout_ms > interval_ms {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({:?} > {:?})",
            labels.get(SCRAPE_TIMEOUT),
            labels.get(SCRAPE_INTERVAL)
        ));
    }
    let histograms = Histograms {
        custom: flag(
            labels.get(CUSTOM_BUCKETS),
            "convert classic histograms to nhcb",
            config.convert_classic_histograms_to_nhcb,
        )?,
        classic_too: flag(
            labels.get(CLASSIC_HISTOGRAMS),
            "always scrape classic histograms",
            config.always_scrape_classic_histograms,
        )?,
        native: flag(
            labels.get(NATIVE_HISTOGRAMS),
            "scrape native histograms",
            config.scrape_native_histograms,
        )?,
    };
    labels.retain(|name, _| !name.starts_with(META_PREFIX));
    if labels.get(INSTANCE).is_empty() {
        labels.set(INSTANCE, &address);
    }
    let url = url(config, labels, &address)?;
    labels.retain(|name, _| !name.starts_with(RESERVED_PREFIX));
    Ok(Target {
        discovered: discovered.clone(),
        labels: labels.build(),
        endpoint: Endpoint { url, unix_socket },
        interval_ms,
        timeout_ms,
        histograms,
    })
}

/// A truth value as Go reads it.
fn flag(text: &str, what: &str, default: bool) -> Result<bool, String> {
    match text {
        "" => Ok(default),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "error parsing {what}: {text:?} is neither true nor false"
        )),
    }
}

fn duration(labels: &LabelsBuilder, name: &str, what: &str) -> Result<i64, String> {
    match parse_duration_ms(labels.get(name)) {
        Ok(0) => Err(format!("{what} cannot be 0")),
        Ok(duration_ms) => Ok(duration_ms),
        Err(error) => Err(format!("error parsing {what}: {error}")),
    }
}

fn url(config: &ScrapeConfig, labels: &LabelsBuilder, address: &str) -> Result<String, String> {
    let scheme = labels.get(SCHEME);
    if config.collector.is_some() {
        // Asked within this process: the address only names the target.
        return Ok(format!("{scheme}://{address}{}", labels.get(METRICS_PATH)));
    }
    if !matches!(scheme, "http" | "https") {
        return Err(format!("unsupported scheme {scheme:?}: http and https are"));
    }
    let mut url = reqwest::Url::parse(&format!("{scheme}://{address}"))
        .map_err(|error| format!("{address:?} is not a valid address: {error}"))?;
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() {
        return Err(format!(
            "{address:?} is not a valid address: write host:port"
        ));
    }
    url.set_path(labels.get(METRICS_PATH));
    let query = query(config, labels);
    // Query and address stay as written: `url` would drop a default port.
    let path = url.path();
    let mark = if query.is_empty() { "" } else { "?" };
    Ok(format!("{scheme}://{address}{path}{mark}{query}"))
}

/// The parameters of the job, first values replaced by `__param_…` labels, sorted by name.
fn query(config: &ScrapeConfig, labels: &LabelsBuilder) -> String {
    let mut params = std::collections::BTreeMap::<String, Vec<String>>::new();
    for (name, values) in &config.params {
        params.insert(name.clone(), values.clone());
    }
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix(PARAM_PREFIX) {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
    }
    let mut query = String::new();
    for (name, values) in &params {
        for value in values {
            if !query.is_empty() {
                query.push('&');
            }
            push_escaped(&mut query, name);
            query.push('=');
            push_escaped(&mut query, value);
        }
    }
    query
}

/// Escapes for a query as Go's `url.QueryEscape` does.
fn push_escaped(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                query.push(byte as char);
            }
            b' ' => query.push('+'),
            _ => {
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use barograph_model::Pattern;
    use barograph_model::relabel::{RelabelAction, RelabelRule};

    use super::*;

    fn config() -> ScrapeConfig {
        ScrapeConfig {
            params: vec![("module".into(), vec!["a b".into(), "c&d".into()])],
            ..ScrapeConfig::new("job1")
        }
    }

    fn replace(from: &str, to: &str, replacement: &str) -> RelabelRule {
        RelabelRule {
            source_labels: vec![from.into()],
            target_label: to.into(),
            replacement: replacement.into(),
            ..RelabelRule::default()
        }
    }

    fn active(config: &ScrapeConfig, pairs: &[(&str, &str)]) -> Target {
        match resolve(config, &Labels::from_pairs(pairs.iter().copied())) {
            Resolved::Active(target) => target,
            Resolved::Dropped(labels) => panic!("dropped: {labels}"),
            Resolved::Invalid(reason) => panic!("invalid: {reason}"),
        }
    }

    fn invalid(config: &ScrapeConfig, pairs: &[(&str, &str)]) -> String {
        match resolve(config, &Labels::from_pairs(pairs.iter().copied())) {
            Resolved::Invalid(reason) => reason,
            _ => panic!("{pairs:?} is accepted"),
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let target = active(
            &config(),
            &[(ADDRESS, "h:1"), ("__meta_x", "1"), ("env", "t")],
        );
        assert_eq!(
            target.labels.to_string(),
            r#"{env="t", instance="h:1", job="job1"}"#
        );
        assert_eq!(
            target.endpoint.url,
            "http://h:1/metrics?module=a+b&module=c%26d"
        );
        assert_eq!(
            target.discovered.to_string(),
            r#"{__address__="h:1", __always_scrape_classic_histograms__="false", __convert_classic_histograms_to_nhcb__="false", __meta_x="1", __metrics_path__="/metrics", __param_module="a b", __scheme__="http", __scrape_interval__="1m", __scrape_native_histograms__="false", __scrape_timeout__="10s", env="t", job="job1"}"#
        );
        assert_eq!((target.interval_ms, target.timeout_ms), (60_000, 10_000));
    }

    #[test]
    fn a_collector_may_have_a_scheme_of_its_own() {
        let mut config = ScrapeConfig::new("node");
        config.scheme = "barograph".into();
        config.metrics_path = "/host".into();
        assert!(invalid(&config, &[(ADDRESS, "my_host")]).contains("unsupported scheme"));
        config.collector = Some(std::sync::Arc::new(|_: &mut String| {}));
        let target = active(&config, &[(ADDRESS, "my_host")]);
        assert_eq!(target.endpoint.url, "barograph://my_host/host");
        assert_eq!(target.labels.get(INSTANCE), "my_host");
    }

    #[test]
    fn relabelling_steers_the_scrape() {
        let mut config = config();
        config.relabel = vec![
            replace(ADDRESS, "__param_target", "$1"),
            replace("__param_target", INSTANCE, "$1"),
            replace(ADDRESS, ADDRESS, "blackbox:9115"),
            replace(ADDRESS, SCHEME, "https"),
            replace(ADDRESS, METRICS_PATH, "/probe"),
            replace(ADDRESS, SCRAPE_INTERVAL, "5s"),
            replace(ADDRESS, SCRAPE_TIMEOUT, "2s"),
            replace(ADDRESS, CUSTOM_BUCKETS, "T"),
            replace(ADDRESS, CLASSIC_HISTOGRAMS, "0"),
        ];
        config.always_scrape_classic_histograms = true;
        config.scrape_native_histograms = true;
        let target = active(&config, &[(ADDRESS, "shop.example")]);
        assert_eq!(
            target.labels.to_string(),
            r#"{instance="shop.example", job="job1"}"#
        );
        assert_eq!(
            target.endpoint.url,
            "https://blackbox:9115/probe?module=a+b&module=c%26d&target=shop.example"
        );
        assert_eq!((target.interval_ms, target.timeout_ms), (5_000, 2_000));
        let histograms = Histograms {
            native: true,
            classic_too: false,
            custom: true,
        };
        assert_eq!(target.histograms, histograms);
    }

    #[test]
    fn what_cannot_be_scraped_says_why() {
        let plain = config();
        for (pairs, want) in [
            (&[("a", "b")][..], "no address"),
            (
                &[(ADDRESS, "http://h:1/metrics")],
                "is not a valid hostname",
            ),
            (&[(ADDRESS, "h:99999")], "is not a valid address"),
            (&[(ADDRESS, "h"), (SCHEME, "ftp")], "unsupported scheme"),
            (
                &[(ADDRESS, "h"), (SCRAPE_INTERVAL, "x")],
                "error parsing scrape interval",
            ),
            (&[(ADDRESS, "h"), (SCRAPE_INTERVAL, "0s")], "cannot be 0"),
            (
                &[(ADDRESS, "h"), (NATIVE_HISTOGRAMS, "yes")],
                "error parsing scrape native histograms",
            ),
            (
                &[(ADDRESS, "h"), (SCRAPE_INTERVAL, "1s")],
                "cannot be greater",
            ),
        ] {
            let reason = invalid(&plain, pairs);
            assert!(reason.contains(want), "{pairs:?}: {reason}");
        }
        let mut dropping = config();
        dropping.relabel = vec![RelabelRule {
            action: RelabelAction::Drop,
            source_labels: vec![ADDRESS.into()],
            regex: Pattern::new("h").expect("valid"),
            ..RelabelRule::default()
        }];
        let dropped = resolve(&dropping, &Labels::from_pairs([(ADDRESS, "h")]));
        assert!(matches!(dropped, Resolved::Dropped(labels) if labels.get("job") == "job1"));
    }
}

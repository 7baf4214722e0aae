//! Reading `alertmanager.yml`: the part that is built, and the names of what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use barograph_model::Matcher;
use barograph_model::duration::parse_duration_ms;
use barograph_model::labels::is_legacy_label_name;
use barograph_model::matcher::MatchOp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use crate::config::{Receiver, Route, RoutingConfig, WebhookReceiver};
use crate::matcher_text;
use crate::yaml::{self, Pairs, Position};

/// Deepest nesting of routes accepted.
const ROUTE_DEPTH_LIMIT: usize = 100;
/// Alertmanager's `resolve_timeout`.
const DEFAULT_RESOLVE_TIMEOUT_MS: i64 = 300_000;

/// Why a routing file does not load. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingFileError {
    /// The file.
    pub path: PathBuf,
    /// Where in it, if known.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for RoutingFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for RoutingFileError {}

impl RoutingConfig {
    /// Reads an `alertmanager.yml`. Built are the route tree and webhook receivers; everything else
    /// Alertmanager accepts is named in [`RoutingConfig::warnings`]. Relative `url_file`s are
    /// relative to the file.
    ///
    /// # Errors
    /// The first thing that does not fit, with its position.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RoutingFileError> {
        let error = |(position, message)| RoutingFileError {
            path: path.to_owned(),
            position,
            message,
        };
        let raw: Option<RawConfig> = yaml::read(text).map_err(error)?;
        let Some(raw) = raw else {
            return Err(error((None, "no route provided in config".to_owned())));
        };
        let mut reader = Reader {
            directory: path.parent().unwrap_or(Path::new("")),
            warnings: Vec::new(),
        };
        reader.config(raw).map_err(error)
    }
}

type Fault = (Option<Position>, String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    global: Option<BTreeMap<String, Spanned<RawGlobalValue>>>,
    route: Option<Spanned<RawRoute>>,
    receivers: Option<Vec<Spanned<RawReceiver>>>,
    inhibit_rules: Option<Vec<IgnoredAny>>,
    templates: Option<Vec<String>>,
    time_intervals: Option<Vec<RawTimeInterval>>,
    mute_time_intervals: Option<Vec<RawTimeInterval>>,
    tracing: Option<IgnoredAny>,
    event_recorder: Option<IgnoredAny>,
}

/// A value of `global`: only durations are read.
#[derive(Debug)]
struct RawGlobalValue(Option<String>);

impl<'de> Deserialize<'de> for RawGlobalValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> serde::de::Visitor<'de> for Any {
            type Value = RawGlobalValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RawGlobalValue(Some(text.to_owned())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(RawGlobalValue(None))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(RawGlobalValue(Some(value.to_string())))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(RawGlobalValue(Some(value.to_string())))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(RawGlobalValue(None))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(RawGlobalValue(None))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawGlobalValue(None))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(RawGlobalValue(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Debug, Deserialize)]
struct RawTimeInterval {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    receiver: Option<Spanned<String>>,
    group_by: Option<Vec<Spanned<String>>>,
    #[serde(rename = "match")]
    equal: Option<Pairs<Spanned<String>>>,
    match_re: Option<Pairs<Spanned<String>>>,
    matchers: Option<Vec<Spanned<String>>>,
    mute_time_intervals: Option<Vec<Spanned<String>>>,
    active_time_intervals: Option<Vec<Spanned<String>>>,
    #[serde(rename = "continue")]
    continue_matching: Option<bool>,
    routes: Option<Vec<Spanned<RawRoute>>>,
    group_wait: Option<Spanned<String>>,
    group_interval: Option<Spanned<String>>,
    repeat_interval: Option<Spanned<String>>,
    labels: Option<Pairs<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReceiver {
    name: Option<Spanned<String>>,
    labels: Option<Pairs<Spanned<String>>>,
    webhook_configs: Option<Vec<Spanned<RawWebhook>>>,
    discord_configs: Option<Vec<IgnoredAny>>,
    email_configs: Option<Vec<IgnoredAny>>,
    incidentio_configs: Option<Vec<IgnoredAny>>,
    pagerduty_configs: Option<Vec<IgnoredAny>>,
    slack_configs: Option<Vec<IgnoredAny>>,
    opsgenie_configs: Option<Vec<IgnoredAny>>,
    wechat_configs: Option<Vec<IgnoredAny>>,
    pushover_configs: Option<Vec<IgnoredAny>>,
    victorops_configs: Option<Vec<IgnoredAny>>,
    sns_configs: Option<Vec<IgnoredAny>>,
    telegram_configs: Option<Vec<IgnoredAny>>,
    webex_configs: Option<Vec<IgnoredAny>>,
    msteams_configs: Option<Vec<IgnoredAny>>,
    msteamsv2_configs: Option<Vec<IgnoredAny>>,
    jira_configs: Option<Vec<IgnoredAny>>,
    rocketchat_configs: Option<Vec<IgnoredAny>>,
    mattermost_configs: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWebhook {
    url: Option<Spanned<String>>,
    url_file: Option<Spanned<String>>,
    send_resolved: Option<bool>,
    max_alerts: Option<u64>,
    timeout: Option<Spanned<String>>,
    http_config: Option<IgnoredAny>,
    payload: Option<IgnoredAny>,
}

/// Fields of `global` that matter only to receivers or clients that are not built.
#[rustfmt::skip]
const GLOBAL_UNBUILT: &[&str] = &[
    "http_config", "jira_api_url", "mattermost_webhook_url", "mattermost_webhook_url_file",
    "opsgenie_api_key", "opsgenie_api_key_file", "opsgenie_api_url", "pagerduty_url",
    "rocketchat_api_url", "rocketchat_token", "rocketchat_token_file", "rocketchat_token_id",
    "rocketchat_token_id_file", "slack_api_url", "slack_api_url_file", "slack_app_token",
    "slack_app_token_file", "slack_app_url", "smtp_auth_identity", "smtp_auth_password",
    "smtp_auth_password_file", "smtp_auth_secret", "smtp_auth_secret_file", "smtp_auth_username",
    "smtp_force_implicit_tls", "smtp_from", "smtp_hello", "smtp_require_tls", "smtp_smarthost",
    "smtp_tls_config", "telegram_api_url", "telegram_bot_token", "telegram_bot_token_file",
    "victorops_api_key", "victorops_api_key_file", "victorops_api_url", "webex_api_url",
    "wechat_api_corp_id", "wechat_api_secret", "wechat_api_secret_file", "wechat_api_url",
];

struct Reader<'a> {
    directory: &'a Path,
    warnings: Vec<String>,
}

/// What a route inherits.
#[derive(Clone)]
struct Inherited {
    receiver: String,
    group_by: Option<Vec<String>>,
    group_wait_ms: i64,
    group_interval_ms: i64,
    repeat_interval_ms: i64,
}

struct Names {
    receivers: BTreeSet<String>,
    time_intervals: BTreeSet<String>,
}

impl Reader<'_> {
    fn config(&mut self, raw: RawConfig) -> Result<RoutingConfig, Fault> {
        let resolve_timeout_ms = self.global(raw.global.unwrap_or_default())?;
        self.unbuilt(
            raw.inhibit_rules.is_some_and(|rules| !rules.is_empty()),
            "inhibit_rules",
        );
        self.unbuilt(
            raw.templates.is_some_and(|list| !list.is_empty()),
            "templates",
        );
        self.unbuilt(raw.tracing.is_some(), "tracing");
        self.unbuilt(raw.event_recorder.is_some(), "event_recorder");
        let intervals = raw
            .time_intervals
            .into_iter()
            .chain(raw.mute_time_intervals);
        let time_intervals: BTreeSet<String> = intervals
            .flatten()
            .filter_map(|interval| interval.name)
            .collect();
        self.unbuilt(!time_intervals.is_empty(), "time_intervals");
        let mut names = Names {
            receivers: BTreeSet::new(),
            time_intervals,
        };
        let mut receivers = Vec::new();
        for raw in raw.receivers.unwrap_or_default() {
            let receiver = self.receiver(raw)?;
            if !names.receivers.insert(receiver.0.name.clone()) {
                let text = format!("the receiver name {:?} is used twice", receiver.0.name);
                return Err((receiver.1, text));
            }
            receivers.push(receiver.0);
        }
        let Some(root) = raw.route else {
            return Err((None, "no route provided in config".to_owned()));
        };
        let route = self.root(root, &names)?;
        Ok(RoutingConfig {
            route,
            receivers,
            resolve_timeout_ms,
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    fn unbuilt(&mut self, used: bool, what: &str) {
        if used {
            self.warnings.push(format!(
                "{what} is accepted but not built yet: it has no effect"
            ));
        }
    }

    fn global(&mut self, global: BTreeMap<String, Spanned<RawGlobalValue>>) -> Result<i64, Fault> {
        let mut resolve_timeout_ms = DEFAULT_RESOLVE_TIMEOUT_MS;
        for (name, value) in global {
            if name == "resolve_timeout" {
                let at = yaml::position(value.referenced);
                let text = value.value.0.unwrap_or_default();
                resolve_timeout_ms = parse_duration_ms(&text)
                    .map_err(|error| (at, format!("global.resolve_timeout: {error}")))?;
            } else if GLOBAL_UNBUILT.contains(&name.as_str()) {
                self.unbuilt(true, &format!("global.{name}"));
            } else {
                let at = yaml::position(value.referenced);
                return Err((at, format!("unknown field `{name}` in global")));
            }
        }
        Ok(resolve_timeout_ms)
    }

    fn root(&mut self, spanned: Spanned<RawRoute>, names: &Names) -> Result<Route, Fault> {
        let here = yaml::position(spanned.referenced);
        let raw = &spanned.value;
        let filled = |pairs: &Option<Pairs<Spanned<String>>>| {
            pairs.as_ref().is_some_and(|pairs| !pairs.0.is_empty())
        };
        let fail = |text: &str| Err((here, text.to_owned()));
        if raw
            .receiver
            .as_ref()
            .is_none_or(|receiver| receiver.value.is_empty())
        {
            return fail("root route must specify a default receiver");
        }
        if filled(&raw.equal)
            || filled(&raw.match_re)
            || raw.matchers.as_ref().is_some_and(|list| !list.is_empty())
        {
            return fail("root route must not have any matchers");
        }
        if raw.continue_matching == Some(true) {
            return fail("cannot have continue in root route");
        }
        if raw
            .mute_time_intervals
            .as_ref()
            .is_some_and(|list| !list.is_empty())
            || raw
                .active_time_intervals
                .as_ref()
                .is_some_and(|list| !list.is_empty())
        {
            return fail("root route must not have any time intervals");
        }
        let defaults = Inherited {
            receiver: String::new(),
            group_by: Some(Vec::new()),
            group_wait_ms: 30_000,
            group_interval_ms: 300_000,
            repeat_interval_ms: 4 * 3_600_000,
        };
        self.route(spanned, &defaults, names, 0)
    }

    fn route(
        &mut self,
        spanned: Spanned<RawRoute>,
        parent: &Inherited,
        names: &Names,
        depth: usize,
    ) -> Result<Route, Fault> {
        let here = yaml::position(spanned.referenced);
        if depth > ROUTE_DEPTH_LIMIT {
            return Err((here, format!("routes nest deeper than {ROUTE_DEPTH_LIMIT}")));
        }
        let raw = spanned.value;
        let mut own = parent.clone();
        if let Some(receiver) = raw.receiver.filter(|receiver| !receiver.value.is_empty()) {
            if !names.receivers.contains(&receiver.value) {
                let text = format!("undefined receiver {:?} used in route", receiver.value);
                return Err((yaml::position(receiver.referenced), text));
            }
            own.receiver = receiver.value;
        }
        if let Some(group_by) = raw.group_by {
            own.group_by = group_by_labels(&group_by)?;
        }
        for (field, name, slot, zero_allowed) in [
            (&raw.group_wait, "group_wait", &mut own.group_wait_ms, true),
            (
                &raw.group_interval,
                "group_interval",
                &mut own.group_interval_ms,
                false,
            ),
            (
                &raw.repeat_interval,
                "repeat_interval",
                &mut own.repeat_interval_ms,
                false,
            ),
        ] {
            let Some(field) = field else { continue };
            let at = yaml::position(field.referenced);
            *slot = parse_duration_ms(&field.value)
                .map_err(|error| (at, format!("{name}: {error}")))?;
            if *slot == 0 && !zero_allowed {
                return Err((at, format!("{name} cannot be zero")));
            }
        }
        let lists = [&raw.mute_time_intervals, &raw.active_time_intervals];
        for interval in lists.into_iter().flatten().flatten() {
            if !names.time_intervals.contains(&interval.value) {
                let text = format!("undefined time interval {:?} used in route", interval.value);
                return Err((yaml::position(interval.referenced), text));
            }
        }
        self.unbuilt(
            raw.labels.is_some_and(|labels| !labels.0.is_empty()),
            &format!("labels of the route to {:?}", own.receiver),
        );
        let matchers = matchers(raw.equal, raw.match_re, raw.matchers)?;
        let mut routes = Vec::new();
        for child in raw.routes.unwrap_or_default() {
            routes.push(self.route(child, &own, names, depth + 1)?);
        }
        Ok(Route {
            receiver: own.receiver,
            group_by: own.group_by,
            matchers,
            continue_matching: raw.continue_matching.unwrap_or(false),
            group_wait_ms: own.group_wait_ms,
            group_interval_ms: own.group_interval_ms,
            repeat_interval_ms: own.repeat_interval_ms,
            routes,
        })
    }

    fn receiver(
        &mut self,
        spanned: Spanned<RawReceiver>,
    ) -> Result<(Receiver, Option<Position>), Fault> {
        let here = yaml::position(spanned.referenced);
        let raw = spanned.value;
        let Some(name) = raw.name.filter(|name| !name.value.is_empty()) else {
            return Err((here, "missing name in receiver".to_owned()));
        };
        let at = yaml::position(name.referenced);
        let name = name.value;
        // Receiver labels only serve queries of Alertmanager's API.
        self.unbuilt(
            raw.labels.is_some_and(|labels| !labels.0.is_empty()),
            &format!("labels of receiver {name:?}"),
        );
        for (kind, configs) in [
            ("discord_configs", raw.discord_configs),
            ("email_configs", raw.email_configs),
            ("incidentio_configs", raw.incidentio_configs),
            ("jira_configs", raw.jira_configs),
            ("mattermost_configs", raw.mattermost_configs),
            ("msteams_configs", raw.msteams_configs),
            ("msteamsv2_configs", raw.msteamsv2_configs),
            ("opsgenie_configs", raw.opsgenie_configs),
            ("pagerduty_configs", raw.pagerduty_configs),
            ("pushover_configs", raw.pushover_configs),
            ("rocketchat_configs", raw.rocketchat_configs),
            ("slack_configs", raw.slack_configs),
            ("sns_configs", raw.sns_configs),
            ("telegram_configs", raw.telegram_configs),
            ("victorops_configs", raw.victorops_configs),
            ("webex_configs", raw.webex_configs),
            ("wechat_configs", raw.wechat_configs),
        ] {
            if configs.is_some_and(|configs| !configs.is_empty()) {
                self.warnings.push(format!(
                    "{kind} of receiver {name:?} is accepted but not built yet: NOTHING IS SENT there"
                ));
            }
        }
        let mut webhooks = Vec::new();
        for webhook in raw.webhook_configs.unwrap_or_default() {
            webhooks.push(self.webhook(webhook, &name)?);
        }
        Ok((Receiver { name, webhooks }, at))
    }

    fn webhook(
        &mut self,
        spanned: Spanned<RawWebhook>,
        receiver: &str,
    ) -> Result<WebhookReceiver, Fault> {
        let here = yaml::position(spanned.referenced);
        let raw = spanned.value;
        self.unbuilt(
            raw.http_config.is_some(),
            &format!("http_config of a webhook of receiver {receiver:?}"),
        );
        self.unbuilt(
            raw.payload.is_some(),
            &format!("payload of a webhook of receiver {receiver:?}"),
        );
        let url = raw.url.filter(|url| !url.value.is_empty());
        let url_file = raw.url_file.filter(|file| !file.value.is_empty());
        match (&url, &url_file) {
            (None, None) => {
                let text = "one of url or url_file must be configured".to_owned();
                return Err((here, text));
            }
            (Some(_), Some(file)) => {
                let text = "at most one of url & url_file must be configured".to_owned();
                return Err((yaml::position(file.referenced), text));
            }
            (Some(url), None) => {
                let at = yaml::position(url.referenced);
                if url.value.contains("{{") {
                    let text = "templates in a webhook's url are not built yet".to_owned();
                    return Err((at, text));
                }
                check_url(&url.value).map_err(|text| (at, text))?;
            }
            (None, Some(_)) => {}
        }
        let timeout_ms = match raw.timeout {
            None => 0,
            Some(timeout) => parse_duration_ms(&timeout.value).map_err(|error| {
                (
                    yaml::position(timeout.referenced),
                    format!("timeout: {error}"),
                )
            })?,
        };
        Ok(WebhookReceiver {
            url: url.map(|url| url.value).unwrap_or_default(),
            url_file: url_file.map(|file| self.directory.join(file.value)),
            send_resolved: raw.send_resolved.unwrap_or(true),
            max_alerts: raw.max_alerts.unwrap_or(0),
            timeout_ms,
        })
    }
}

/// Whether something can be posted there. The error does not show the URL: it may be a secret.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let parsed =
        reqwest::Url::parse(url).map_err(|error| format!("the URL is invalid: {error}"))?;
    match parsed.scheme() {
        "http" | "https" => Ok(()),
        scheme => Err(format!("unsupported scheme {scheme:?} for URL")),
    }
}

fn group_by_labels(group_by: &[Spanned<String>]) -> Result<Option<Vec<String>>, Fault> {
    let mut labels: Vec<String> = Vec::with_capacity(group_by.len());
    let mut all = false;
    for label in group_by {
        let fail = |text: String| Err((yaml::position(label.referenced), text));
        if label.value == "..." {
            all = true;
        } else if label.value.is_empty() {
            return fail(format!(
                "invalid label name {:?} in group_by list",
                label.value
            ));
        } else if labels.contains(&label.value) {
            return fail(format!("duplicated label {:?} in group_by", label.value));
        } else {
            labels.push(label.value.clone());
        }
    }
    match (all, group_by.first()) {
        (true, Some(first)) if !labels.is_empty() => Err((
            yaml::position(first.referenced),
            "cannot have wildcard group_by (`...`) and other labels at the same time".to_owned(),
        )),
        (true, _) => Ok(None),
        _ => Ok(Some(labels)),
    }
}

fn matchers(
    equal: Option<Pairs<Spanned<String>>>,
    match_re: Option<Pairs<Spanned<String>>>,
    texts: Option<Vec<Spanned<String>>>,
) -> Result<Vec<Matcher>, Fault> {
    let mut matchers = Vec::new();
    let deprecated = [(equal, MatchOp::Equal), (match_re, MatchOp::Regex)];
    for (pairs, op) in deprecated {
        for (name, value) in pairs.unwrap_or_default().0 {
            if !is_legacy_label_name(&name.value) {
                let text = format!("invalid label name {:?}", name.value);
                return Err((yaml::position(name.referenced), text));
            }
            let matcher = Matcher::new(&name.value, op, &value.value)
                .map_err(|error| (yaml::position(value.referenced), error.to_string()))?;
            matchers.push(matcher);
        }
    }
    for text in texts.unwrap_or_default() {
        let parsed = matcher_text::parse(&text.value)
            .map_err(|error| (yaml::position(text.referenced), error))?;
        matchers.extend(parsed);
    }
    matchers.sort_by(|a, b| {
        (a.name(), a.value(), a.op() as u8).cmp(&(b.name(), b.value(), b.op() as u8))
    });
    Ok(matchers)
}

#[cfg(test)]
#[path = "routing_file_tests.rs"]
mod tests;

//! `alertmanager.yml` for our own routing: routes and webhook receivers, as written → resolved.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use barograph_alerting::{Receiver, Route, RoutingConfig, WebhookReceiver};
use barograph_model::{MatchOp, Matcher};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Notice;
use super::error::ConfigError;
use super::file::entries;
use super::opaque::Opaque;
use super::resolve::Source;
use super::scalar::{DurationMs, SecretText};

const GROUP_WAIT_MS: i64 = 30_000;
const GROUP_INTERVAL_MS: i64 = 300_000;
const REPEAT_INTERVAL_MS: i64 = 4 * 3_600_000;
/// After this long an alert that names no end counts as over.
const RESOLVE_TIMEOUT_MS: i64 = 300_000;
/// An attempt to reach a webhook that names no timeout.
const WEBHOOK_TIMEOUT_MS: i64 = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    global: Option<Opaque>,
    templates: Option<Opaque>,
    route: Option<Spanned<RouteText>>,
    receivers: Option<Vec<Spanned<ReceiverText>>>,
    inhibit_rules: Option<Opaque>,
    time_intervals: Option<Opaque>,
    mute_time_intervals: Option<Opaque>,
    tracing: Option<Opaque>,
    event_recorder: Option<Opaque>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RouteText {
    receiver: Option<Spanned<String>>,
    group_by: Option<Vec<String>>,
    r#continue: Option<bool>,
    r#match: Option<BTreeMap<String, String>>,
    match_re: Option<BTreeMap<String, String>>,
    matchers: Option<Vec<Spanned<String>>>,
    group_wait: Option<DurationMs>,
    group_interval: Option<DurationMs>,
    repeat_interval: Option<DurationMs>,
    mute_time_intervals: Option<Opaque>,
    active_time_intervals: Option<Opaque>,
    labels: Option<Opaque>,
    routes: Option<Vec<Spanned<RouteText>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReceiverText {
    name: Option<String>,
    labels: Option<Opaque>,
    webhook_configs: Option<Vec<Spanned<WebhookText>>>,
    discord_configs: Option<Opaque>,
    email_configs: Option<Opaque>,
    incidentio_configs: Option<Opaque>,
    jira_configs: Option<Opaque>,
    mattermost_configs: Option<Opaque>,
    msteams_configs: Option<Opaque>,
    msteamsv2_configs: Option<Opaque>,
    opsgenie_configs: Option<Opaque>,
    pagerduty_configs: Option<Opaque>,
    pushover_configs: Option<Opaque>,
    rocketchat_configs: Option<Opaque>,
    slack_configs: Option<Opaque>,
    sns_configs: Option<Opaque>,
    telegram_configs: Option<Opaque>,
    victorops_configs: Option<Opaque>,
    webex_configs: Option<Opaque>,
    wechat_configs: Option<Opaque>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebhookText {
    send_resolved: Option<bool>,
    url: Option<SecretText>,
    url_file: Option<String>,
    max_alerts: Option<u64>,
    timeout: Option<DurationMs>,
    http_config: Option<Opaque>,
    payload: Option<Opaque>,
}

/// Reads the routing of an `alertmanager.yml`, and what in it is not served.
///
/// # Errors
/// The first thing that does not fit.
pub(super) fn read(path: &Path, text: &str) -> Result<(RoutingConfig, Vec<Notice>), ConfigError> {
    let source = Source::new(path, text);
    let file: File = source.parse()?;
    let mut notices = Vec::new();
    let mut say = |used: bool, text: &str| {
        if used {
            notices.push(Notice {
                text: format!("{}: {text}", path.display()),
                loud: true,
            });
        }
    };
    for (name, section) in [
        ("global", &file.global),
        ("templates", &file.templates),
        ("tracing", &file.tracing),
        ("event_recorder", &file.event_recorder),
    ] {
        say(
            section.is_some(),
            &format!("{name} is accepted but not built: it has no effect"),
        );
    }
    say(
        file.inhibit_rules.is_some(),
        "inhibit_rules is accepted but not built: no notification is inhibited",
    );
    say(
        file.time_intervals.is_some() || file.mute_time_intervals.is_some(),
        "time intervals are accepted but not built: no notification is muted",
    );

    let Some(root) = &file.route else {
        return Err(ConfigError::whole(
            path,
            "no route: an alertmanager.yml needs one, with a receiver",
        ));
    };
    let receivers = receivers(&source, &file, &mut notices)?;
    let defaults = Route {
        receiver: String::new(),
        group_by: Some(Vec::new()),
        matchers: Vec::new(),
        continue_matching: false,
        group_wait_ms: GROUP_WAIT_MS,
        group_interval_ms: GROUP_INTERVAL_MS,
        repeat_interval_ms: REPEAT_INTERVAL_MS,
        routes: Vec::new(),
    };
    let names: HashSet<&str> = receivers
        .iter()
        .map(|receiver| receiver.name.as_str())
        .collect();
    let route = route(&source, root, &defaults, &names, &mut notices)?;
    if route.receiver.is_empty() {
        return Err(source.error(root, "the root route needs a receiver"));
    }
    if !route.matchers.is_empty() {
        return Err(source.error(
            root,
            "the root route must match every alert: it takes no matchers",
        ));
    }
    let routing = RoutingConfig {
        route,
        receivers,
        resolve_timeout_ms: RESOLVE_TIMEOUT_MS,
        warnings: Vec::new(),
    };
    Ok((routing, notices))
}

fn route(
    source: &Source<'_>,
    written: &Spanned<RouteText>,
    parent: &Route,
    receivers: &HashSet<&str>,
    notices: &mut Vec<Notice>,
) -> Result<Route, ConfigError> {
    let text = &written.value;
    if let Some(receiver) = &text.receiver
        && !receivers.contains(receiver.value.as_str())
    {
        return Err(source.error(
            receiver,
            format!("undefined receiver {:?} used in route", receiver.value),
        ));
    }
    for (name, used) in [
        ("mute_time_intervals", text.mute_time_intervals.is_some()),
        (
            "active_time_intervals",
            text.active_time_intervals.is_some(),
        ),
        ("labels", text.labels.is_some()),
    ] {
        if used {
            notices.push(Notice {
                text: format!("route: {name} is accepted but not built: it has no effect"),
                loud: true,
            });
        }
    }
    let positive = |value: Option<DurationMs>, inherited: i64| match value {
        Some(DurationMs(0)) => Err(source.error(
            written,
            "group_interval and repeat_interval must be above 0",
        )),
        value => Ok(value.map_or(inherited, |value| value.0)),
    };
    let mut route = Route {
        receiver: text.receiver.as_ref().map_or_else(
            || parent.receiver.clone(),
            |receiver| receiver.value.clone(),
        ),
        group_by: match &text.group_by {
            Some(names) if names.iter().any(|name| name == "...") => None,
            Some(names) => Some(names.clone()),
            None => parent.group_by.clone(),
        },
        matchers: matchers(source, written)?,
        continue_matching: text.r#continue.unwrap_or(false),
        group_wait_ms: text.group_wait.map_or(parent.group_wait_ms, |wait| wait.0),
        group_interval_ms: positive(text.group_interval, parent.group_interval_ms)?,
        repeat_interval_ms: positive(text.repeat_interval, parent.repeat_interval_ms)?,
        routes: Vec::new(),
    };
    let children: Result<Vec<_>, _> = entries(text.routes.as_ref())
        .iter()
        .map(|child| self::route(source, child, &route, receivers, notices))
        .collect();
    route.routes = children?;
    Ok(route)
}

fn matchers(
    source: &Source<'_>,
    written: &Spanned<RouteText>,
) -> Result<Vec<Matcher>, ConfigError> {
    let text = &written.value;
    let mut matchers = Vec::new();
    for (name, value) in text.r#match.iter().flatten() {
        matchers.push(Matcher::equal(name, value));
    }
    for (name, value) in text.match_re.iter().flatten() {
        let matcher = Matcher::new(name, MatchOp::Regex, value);
        matchers.push(matcher.map_err(|error| source.error(written, error.to_string()))?);
    }
    for line in entries(text.matchers.as_ref()) {
        let parsed = parse_matchers(&line.value);
        matchers.extend(parsed.map_err(|message| source.error(line, message))?);
    }
    Ok(matchers)
}

/// Reads `a="b"`, `a=b`, `a=~"b.*"`, or several between braces separated by commas.
fn parse_matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let body = text.trim();
    let body = body
        .strip_prefix('{')
        .and_then(|body| body.strip_suffix('}'))
        .unwrap_or(body);
    let mut matchers = Vec::new();
    for part in split_outside_quotes(body) {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let bad = || format!("bad matcher {part:?}: write name=\"value\" with =, !=, =~ or !~");
        let at = part.find(['=', '!']).ok_or_else(bad)?;
        let (name, rest) = part.split_at(at);
        let (op, value) = [
            ("=~", MatchOp::Regex),
            ("!~", MatchOp::NotRegex),
            ("!=", MatchOp::NotEqual),
            ("=", MatchOp::Equal),
        ]
        .into_iter()
        .find_map(|(sign, op)| rest.strip_prefix(sign).map(|value| (op, value)))
        .ok_or_else(bad)?;
        let name = unquote(name.trim()).ok_or_else(bad)?;
        let value = unquote(value.trim()).ok_or_else(bad)?;
        if name.is_empty() {
            return Err(bad());
        }
        matchers.push(Matcher::new(&name, op, &value).map_err(|error| error.to_string())?);
    }
    Ok(matchers)
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, ch) in text.char_indices() {
        match ch {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The text without its quotes and escapes; as it is where it has none. `None` where a quote is
/// missing.
fn unquote(text: &str) -> Option<String> {
    let Some(body) = text.strip_prefix('"') else {
        return (!text.contains('"')).then(|| text.to_owned());
    };
    let body = body.strip_suffix('"')?;
    let mut plain = String::new();
    let mut chars = body.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => match chars.next()? {
                'n' => plain.push('\n'),
                ch @ ('"' | '\\') => plain.push(ch),
                other => plain.extend(['\\', other]),
            },
            '"' => return None,
            ch => plain.push(ch),
        }
    }
    Some(plain)
}

fn receivers(
    source: &Source<'_>,
    file: &File,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Receiver>, ConfigError> {
    let mut names = HashSet::new();
    let mut receivers = Vec::new();
    for written in entries(file.receivers.as_ref()) {
        let text = &written.value;
        let Some(name) = text.name.clone().filter(|name| !name.is_empty()) else {
            return Err(source.error(written, "a receiver needs a name"));
        };
        if !names.insert(name.clone()) {
            return Err(source.error(
                written,
                format!("notification config name {name:?} is not unique"),
            ));
        }
        for integration in not_built(text) {
            notices.push(Notice {
                text: format!("receiver {name:?}: {integration} is accepted but not built: NOTHING is sent through it"),
                loud: true,
            });
        }
        let webhooks: Result<Vec<_>, _> = entries(text.webhook_configs.as_ref())
            .iter()
            .map(|webhook| self::webhook(source, webhook, &name, notices))
            .collect();
        receivers.push(Receiver {
            webhooks: webhooks?,
            name,
        });
    }
    Ok(receivers)
}

fn webhook(
    source: &Source<'_>,
    written: &Spanned<WebhookText>,
    receiver: &str,
    notices: &mut Vec<Notice>,
) -> Result<WebhookReceiver, ConfigError> {
    let text = &written.value;
    let url = match (&text.url, &text.url_file) {
        (Some(url), None) => url.reveal().to_owned(),
        (None, Some(file)) => super::read(&source.path(file))?.trim().to_owned(),
        _ => return Err(source.error(written, "a webhook needs exactly one of url and url_file")),
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(source.error(
            written,
            "the webhook's url must begin with http:// or https://",
        ));
    }
    for (name, used) in [
        ("http_config", text.http_config.is_some()),
        ("payload", text.payload.is_some()),
    ] {
        if used {
            notices.push(Notice {
                text: format!("receiver {receiver:?}: webhook {name} is accepted but not built: it has no effect"),
                loud: true,
            });
        }
    }
    Ok(WebhookReceiver {
        url,
        url_file: None,
        send_resolved: text.send_resolved.unwrap_or(true),
        max_alerts: text.max_alerts.unwrap_or(0),
        timeout_ms: text
            .timeout
            .map_or(WEBHOOK_TIMEOUT_MS, |timeout| timeout.0)
            .max(1),
    })
}

fn not_built(receiver: &ReceiverText) -> Vec<&'static str> {
    [
        ("labels", &receiver.labels),
        ("discord_configs", &receiver.discord_configs),
        ("email_configs", &receiver.email_configs),
        ("incidentio_configs", &receiver.incidentio_configs),
        ("jira_configs", &receiver.jira_configs),
        ("mattermost_configs", &receiver.mattermost_configs),
        ("msteams_configs", &receiver.msteams_configs),
        ("msteamsv2_configs", &receiver.msteamsv2_configs),
        ("opsgenie_configs", &receiver.opsgenie_configs),
        ("pagerduty_configs", &receiver.pagerduty_configs),
        ("pushover_configs", &receiver.pushover_configs),
        ("rocketchat_configs", &receiver.rocketchat_configs),
        ("slack_configs", &receiver.slack_configs),
        ("sns_configs", &receiver.sns_configs),
        ("telegram_configs", &receiver.telegram_configs),
        ("victorops_configs", &receiver.victorops_configs),
        ("webex_configs", &receiver.webex_configs),
        ("wechat_configs", &receiver.wechat_configs),
    ]
    .into_iter()
    .filter(|(_, section)| section.as_ref().is_some_and(|section| section.len() > 0))
    .map(|(name, _)| name)
    .collect()
}

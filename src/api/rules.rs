//! `/rules`, `/alerts`, `/notifications`.

use std::fmt::Write as _;

use barograph_alerting::{AlertStatus, GroupStatus, RuleHealth, RuleKind, RuleStatus};
use barograph_model::{Matcher, number};

use super::error::ApiError;
use super::json::{Reply, push_labels, push_list, push_number, push_string};
use super::params::Params;
use super::series::{selectors, unnamed};
use super::time::{NEVER, rfc3339};
use crate::app::Core;

/// `/rules`: groups, their rules, and the alerts of these.
pub(super) async fn rules(core: Core, params: Params) -> Result<Reply, ApiError> {
    let filter = Filter::read(&params)?;
    let mut groups = core.rules.groups();
    groups.retain_mut(|group| filter.keeps(group));
    let next = page(&mut groups, &params)?;
    let mut text = String::from("{\"groups\":");
    push_list(&mut text, &groups, |out, group| {
        push_group(out, group, filter.alerts);
    });
    if let Some(token) = next {
        text.push_str(",\"groupNextToken\":");
        push_string(&mut text, &token);
    }
    text.push('}');
    Ok(Reply::text(text))
}

/// `/alerts`: every pending and firing alert.
pub(super) async fn alerts(core: Core) -> Reply {
    let groups = core.rules.groups();
    let alerts = groups
        .iter()
        .flat_map(|group| &group.rules)
        .flat_map(|rule| &rule.alerts);
    let mut text = String::from("{\"alerts\":");
    push_list(&mut text, alerts, push_alert);
    text.push('}');
    Reply::text(text)
}

/// `/notifications`: messages for people who look at the web pages. A failed reload is one.
pub(super) async fn notifications(core: Core) -> Reply {
    let mut text = String::from("[");
    if !core
        .active
        .last_reload_ok
        .load(std::sync::atomic::Ordering::Relaxed)
    {
        let since = rfc3339(
            core.active
                .loaded_ms
                .load(std::sync::atomic::Ordering::Relaxed),
        );
        text.push_str("{\"text\":\"Configuration reload has failed.\",\"date\":");
        push_string(&mut text, &since);
        text.push_str(",\"active\":true}");
    }
    text.push(']');
    Reply::text(text)
}

/// `/notifications/deliveries`, our own: what was sent where, and what came of it, newest first.
pub(super) async fn deliveries(core: Core) -> Reply {
    let mut text = String::from("{\"deliveries\":");
    push_list(&mut text, core.notifier.deliveries(), |out, delivery| {
        out.push_str("{\"time\":");
        push_string(out, &rfc3339(delivery.time_ms));
        out.push_str(",\"receiver\":");
        push_string(out, &delivery.receiver);
        out.push_str(",\"integration\":");
        push_string(out, delivery.integration);
        out.push_str(",\"groupLabels\":");
        push_labels(out, &delivery.group_labels);
        let _ = write!(
            out,
            ",\"alerts\":{},\"attempts\":{},\"error\":",
            delivery.alerts, delivery.attempts
        );
        match &delivery.error {
            Some(error) => push_string(out, error),
            None => out.push_str("null"),
        }
        out.push('}');
    });
    text.push('}');
    Reply::text(text)
}

/// Which rules are asked for.
struct Filter {
    alerting: bool,
    recording: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Vec<Matcher>>,
    /// Whether alerting rules list their alerts.
    alerts: bool,
}

impl Filter {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let (alerting, recording) = match params.get("type").map(str::to_lowercase).as_deref() {
            None => (true, true),
            Some("alert") => (true, false),
            Some("record") => (false, true),
            Some(other) => {
                return Err(ApiError::parameter(
                    "type",
                    format!("not supported value {other:?}"),
                ));
            }
        };
        let list = |name| params.all(name).map(str::to_owned).collect();
        let exclude = match params.get("exclude_alerts") {
            None => false,
            Some(text) => match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => {
                    return Err(ApiError::parameter(
                        "exclude_alerts",
                        format!(
                            "error converting exclude_alerts: strconv.ParseBool: parsing {text:?}: \
                             invalid syntax"
                        ),
                    ));
                }
            },
        };
        Ok(Self {
            alerting,
            recording,
            names: list("rule_name[]"),
            groups: list("rule_group[]"),
            files: list("file[]"),
            selectors: selectors(params).map_err(unnamed)?,
            alerts: !exclude,
        })
    }

    /// Leaves in a group the rules asked for; whether any is left, or none was filtered.
    fn keeps(&self, group: &mut GroupStatus) -> bool {
        let file = group.file.display().to_string();
        let named =
            |list: &[String], name: &str| list.is_empty() || list.iter().any(|want| want == name);
        if !named(&self.groups, &group.name) || !named(&self.files, &file) {
            return false;
        }
        let before = group.rules.len();
        group.rules.retain(|rule| {
            let (name, kind) = match &rule.rule.kind {
                RuleKind::Recording { record } => (record, self.recording),
                RuleKind::Alerting { alert, .. } => (alert, self.alerting),
            };
            let fits = |matchers: &Vec<Matcher>| {
                matchers
                    .iter()
                    .all(|m| m.matches(rule.rule.labels.get(m.name())))
            };
            kind && named(&self.names, name)
                && (self.selectors.is_empty() || self.selectors.iter().any(fits))
        });
        !group.rules.is_empty() || before == 0
    }
}

/// Cuts the groups down to the page asked for; returns the token of the next.
fn page(groups: &mut Vec<GroupStatus>, params: &Params) -> Result<Option<String>, ApiError> {
    let limit = match params.get("group_limit") {
        None if params.get("group_next_token").is_some() => {
            return Err(ApiError::parameter(
                "group_next_token",
                "group_limit needs to be present in order to paginate over the groups",
            ));
        }
        None => return Ok(None),
        Some(text) => {
            group_limit(text).map_err(|problem| ApiError::parameter("group_limit", problem))?
        }
    };
    if let Some(token) = params.get("group_next_token") {
        let Some(at) = groups.iter().position(|group| token_of(group) == token) else {
            return Err(ApiError::parameter(
                "group_next_token",
                format!("invalid group_next_token '{token}'. were rule groups changed?"),
            ));
        };
        groups.drain(..at);
    }
    if groups.len() <= limit {
        return Ok(None);
    }
    let next = token_of(&groups[limit]);
    groups.truncate(limit);
    Ok(Some(next))
}

/// Most groups on a page.
fn group_limit(text: &str) -> Result<usize, String> {
    match text.parse::<i64>() {
        Ok(limit) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        Ok(_) => Err("group_limit needs to be greater than 0".into()),
        Err(_) => Err(format!(
            "group_limit needs to be a valid number: strconv.ParseInt: parsing {text:?}: invalid \
             syntax"
        )),
    }
}

/// What names a group across requests, of no meaning to clients.
fn token_of(group: &GroupStatus) -> String {
    let name = format!("{};{}", group.file.display(), group.name);
    let mut token = String::with_capacity(2 * name.len());
    for byte in name.bytes() {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn push_group(out: &mut String, group: &GroupStatus, alerts: bool) {
    out.push_str("{\"name\":");
    push_string(out, &group.name);
    out.push_str(",\"file\":");
    push_string(out, &group.file.display().to_string());
    out.push_str(",\"rules\":");
    push_list(out, &group.rules, |out, rule| push_rule(out, rule, alerts));
    out.push_str(",\"interval\":");
    push_number(out, group.interval_ms as f64 / 1000.0);
    let _ = write!(out, ",\"limit\":{}", group.limit);
    push_evaluation(out, group.evaluation_seconds, group.last_evaluation_ms);
    out.push('}');
}

fn push_rule(out: &mut String, status: &RuleStatus, alerts: bool) {
    let rule = &status.rule;
    let kind = match &rule.kind {
        RuleKind::Recording { record } => {
            out.push_str("{\"name\":");
            push_string(out, record);
            out.push_str(",\"query\":");
            push_string(out, &rule.expr_text);
            out.push_str(",\"labels\":");
            push_labels(out, &rule.labels);
            "recording"
        }
        RuleKind::Alerting {
            alert,
            for_ms,
            keep_firing_for_ms,
            annotations,
        } => {
            out.push_str("{\"state\":");
            push_string(out, status.state.as_str());
            out.push_str(",\"name\":");
            push_string(out, alert);
            out.push_str(",\"query\":");
            push_string(out, &rule.expr_text);
            out.push_str(",\"duration\":");
            push_number(out, *for_ms as f64 / 1000.0);
            out.push_str(",\"keepFiringFor\":");
            push_number(out, *keep_firing_for_ms as f64 / 1000.0);
            out.push_str(",\"labels\":");
            push_labels(out, &rule.labels);
            out.push_str(",\"annotations\":");
            push_labels(out, annotations);
            out.push_str(",\"alerts\":");
            if alerts {
                push_list(out, &status.alerts, push_alert);
            } else {
                out.push_str("null");
            }
            "alerting"
        }
    };
    let health = match status.health {
        RuleHealth::Unknown => "unknown",
        RuleHealth::Ok => "ok",
        RuleHealth::Err => "err",
    };
    out.push_str(",\"health\":");
    push_string(out, health);
    if !status.last_error.is_empty() {
        out.push_str(",\"lastError\":");
        push_string(out, &status.last_error);
    }
    push_evaluation(out, status.evaluation_seconds, status.last_evaluation_ms);
    out.push_str(",\"type\":");
    push_string(out, kind);
    out.push('}');
}

fn push_evaluation(out: &mut String, seconds: f64, last_ms: Option<i64>) {
    out.push_str(",\"evaluationTime\":");
    push_number(out, seconds);
    out.push_str(",\"lastEvaluation\":");
    push_string(out, &last_ms.map_or_else(|| NEVER.to_owned(), rfc3339));
}

fn push_alert(out: &mut String, alert: &AlertStatus) {
    out.push_str("{\"labels\":");
    push_labels(out, &alert.labels);
    out.push_str(",\"annotations\":");
    push_labels(out, &alert.annotations);
    out.push_str(",\"state\":");
    push_string(out, alert.state.as_str());
    out.push_str(",\"activeAt\":");
    push_string(out, &rfc3339(alert.active_at_ms));
    if let Some(since_ms) = alert.keep_firing_since_ms {
        out.push_str(",\"keepFiringSince\":");
        push_string(out, &rfc3339(since_ms));
    }
    out.push_str(",\"value\":");
    push_string(out, &exponential(alert.value));
    out.push('}');
}

/// Go's `%e` with the shortest digits, which this one field has: `1e+00`, `1.25e-01`.
fn exponential(value: f64) -> String {
    if !value.is_finite() {
        return number::go_g(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, magnitude) = match exponent.strip_prefix('-') {
        Some(magnitude) => ('-', magnitude),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{magnitude:0>2}")
}

#[cfg(test)]
mod tests {
    use super::{exponential, group_limit};

    #[test]
    fn pages_have_a_group_at_least() {
        for (text, want) in [
            ("1", Ok(1)),
            ("0", Err("group_limit needs to be greater than 0")),
            ("-1", Err("group_limit needs to be greater than 0")),
            (
                "x",
                Err(
                    "group_limit needs to be a valid number: strconv.ParseInt: parsing \"x\": \
                     invalid syntax",
                ),
            ),
        ] {
            assert_eq!(group_limit(text), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn alert_values_are_exponential() {
        for (value, want) in [
            (1.0, "1e+00"),
            (0.125, "1.25e-01"),
            (-1234.5, "-1.2345e+03"),
            (0.0, "0e+00"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(exponential(value), want);
        }
    }
}

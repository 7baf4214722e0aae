//! `alerting`: external Alertmanagers, as written → resolved.

use barograph_alerting::AlertmanagerTarget;
use barograph_model::LabelsBuilder;
use barograph_model::relabel::{RelabelRule, relabel};
use serde_saphyr::Spanned;

use super::error::ConfigError;
use super::file::{Alerting, Alertmanager};
use super::resolve::{Source, static_targets};
use super::scalar::{ApiVersion, DurationMs, OneOf, WebScheme};
use super::{Notice, http, relabel as rules, shown};

/// Where alerts are posted, behind the prefix.
const ALERTS_PATH: &str = "/api/v2/alerts";
const TIMEOUT: DurationMs = DurationMs(10_000);

/// The Alertmanagers and the rules alerts pass before they are sent to them.
type Resolved = (Vec<AlertmanagerTarget>, Vec<RelabelRule>);

/// Resolves the section.
///
/// # Errors
/// The first thing that does not fit.
pub(super) fn resolve(
    source: &Source<'_>,
    section: Option<&mut Alerting>,
    notices: &mut Vec<Notice>,
) -> Result<Resolved, ConfigError> {
    let Some(section) = section else {
        return Ok((Vec::new(), Vec::new()));
    };
    let alert_relabel = rules::rules(source, section.alert_relabel_configs.as_ref())?;
    let mut targets = Vec::new();
    for written in section.alertmanagers.iter_mut().flatten() {
        targets.extend(alertmanagers(source, written, notices)?);
        fill(&mut written.value);
    }
    for rule in section.alert_relabel_configs.iter_mut().flatten() {
        shown::fill_relabel(&mut rule.value);
    }
    Ok((targets, alert_relabel))
}

fn alertmanagers(
    source: &Source<'_>,
    written: &Spanned<Alertmanager>,
    notices: &mut Vec<Notice>,
) -> Result<Vec<AlertmanagerTarget>, ConfigError> {
    let section = &written.value;
    let settings = http::settings(source, &section.http(), "alertmanagers", notices)
        .map_err(|message| source.error(written, message))?;
    let discovery = section.discovery_not_built();
    let absent = discovery
        .iter()
        .map(|(name, _)| *name)
        .chain(section.file_sd_configs.as_ref().map(|_| "file_sd_configs"));
    for name in absent {
        notices.push(Notice {
            text: format!("alertmanagers: {name} is not built: alerts are NOT sent to the Alertmanagers it would find; list them with static_configs"),
            loud: true,
        });
    }
    let plain = barograph_scraper::HttpSettings::default();
    if settings.basic_auth.is_some()
        || settings.authorization.is_some()
        || settings.tls != plain.tls
        || settings.proxy_url.is_some()
        || !settings.headers.is_empty()
        || section.sigv4.is_some()
    {
        notices.push(Notice {
            text: "alertmanagers: credentials, TLS settings, proxies and headers are accepted but not built: alerts are sent without them".into(),
            loud: true,
        });
    }
    let scheme = section.scheme.as_ref().map_or("http", OneOf::as_str);
    let prefix = section
        .path_prefix
        .as_deref()
        .unwrap_or("/")
        .trim_matches('/');
    let path = if prefix.is_empty() {
        ALERTS_PATH.to_owned()
    } else {
        format!("/{prefix}{ALERTS_PATH}")
    };
    let target_rules = rules::rules(source, section.relabel_configs.as_ref())?;
    let alert_rules = rules::rules(source, section.alert_relabel_configs.as_ref())?;
    let mut targets = Vec::new();
    let relabelled = !target_rules.is_empty();
    for group in static_targets(source, section.static_configs.as_ref(), relabelled)? {
        for address in &group.targets {
            let mut labels: LabelsBuilder = group.labels.to_builder();
            labels
                .set("__address__", address)
                .set("__scheme__", scheme)
                .set("__alerts_path__", &path);
            if !relabel(&target_rules, &mut labels) {
                continue;
            }
            if labels.get("__address__").contains('/') {
                notices.push(Notice {
                    text: format!("alertmanagers: {:?} is not a valid hostname: alerts are NOT sent there; let relabelling make host:port of it", labels.get("__address__")),
                    loud: true,
                });
                continue;
            }
            let path = labels.get("__alerts_path__");
            let base = path.strip_suffix(ALERTS_PATH).unwrap_or(path);
            targets.push(AlertmanagerTarget {
                url: format!(
                    "{}://{}{base}",
                    labels.get("__scheme__"),
                    labels.get("__address__")
                ),
                timeout_ms: section.timeout.unwrap_or(TIMEOUT).0,
                relabel: alert_rules.clone(),
            });
        }
    }
    Ok(targets)
}

fn fill(section: &mut Alertmanager) {
    section
        .scheme
        .get_or_insert_with(|| OneOf::<WebScheme>::new("http"));
    section.timeout.get_or_insert(TIMEOUT);
    section
        .api_version
        .get_or_insert_with(|| OneOf::<ApiVersion>::new("v2"));
    section.follow_redirects.get_or_insert(true);
    section.enable_http2.get_or_insert(true);
    let rules = section
        .relabel_configs
        .iter_mut()
        .chain(section.alert_relabel_configs.iter_mut());
    for rule in rules.flatten() {
        shown::fill_relabel(&mut rule.value);
    }
}

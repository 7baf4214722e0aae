//! `/targets`, `/scrape_pools`, `/alertmanagers`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use barograph_model::duration::format_duration_ms;
use barograph_scraper::{DroppedTarget, Health, TargetStatus};

use super::error::ApiError;
use super::json::{Reply, push_labels, push_list, push_number, push_object, push_string};
use super::params::Params;
use super::time::{NEVER, rfc3339};
use crate::app::{App, Core};
use crate::server::hostname;

/// `/targets`: what is scraped, how that goes, and what is not.
pub(super) async fn targets(
    State(app): State<Arc<App>>,
    core: Core,
    params: Params,
) -> Result<Reply, ApiError> {
    let pool = params.get("scrapePool");
    let state = params.get("state").map(str::to_lowercase);
    let (active, dropped) = match state.as_deref() {
        None | Some("any") => (true, true),
        Some("active") => (true, false),
        Some("dropped") => (false, true),
        Some(_) => (false, false),
    };
    let in_pool = |job: &str| pool.is_none_or(|pool| pool == job);
    let mut text = String::from("{\"activeTargets\":");
    let mut targets = if active {
        core.scraper.targets()
    } else {
        Vec::new()
    };
    targets.retain(|target| in_pool(&target.job_name));
    let here = Here::new(&app);
    push_list(&mut text, &targets, |out, target| {
        push_target(out, target, &here);
    });
    text.push_str(",\"droppedTargets\":");
    let (mut targets, mut counts) = core.scraper.dropped_targets();
    targets.retain(|target| dropped && in_pool(&target.job_name));
    push_list(&mut text, &targets, push_dropped);
    text.push_str(",\"droppedTargetCounts\":");
    if dropped {
        counts.sort();
        let counts = counts.iter().map(|(job, count)| (job.as_str(), count));
        push_object(&mut text, counts, |out, count| {
            let _ = write!(out, "{count}");
        });
    } else {
        text.push_str("null");
    }
    text.push('}');
    Ok(Reply::text(text))
}

/// `/scrape_pools`: the names of the jobs.
pub(super) async fn scrape_pools(core: Core) -> Reply {
    let config = core.active.config();
    let mut names: Vec<&str> = config
        .jobs
        .iter()
        .map(|job| job.job_name.as_str())
        .collect();
    names.sort_unstable();
    Reply::of(&BTreeMap::from([("scrapePools", names)]))
}

/// `/alertmanagers`: where alerts are sent.
pub(super) async fn alertmanagers(core: Core) -> Reply {
    let active: Vec<_> = core
        .notifier
        .alertmanagers()
        .iter()
        .map(|url| BTreeMap::from([("url", format!("{url}/api/v2/alerts"))]))
        .collect();
    Reply::of(&BTreeMap::from([
        ("activeAlertmanagers", active),
        ("droppedAlertmanagers", Vec::new()),
    ]))
}

/// How this host is called from elsewhere, for links to targets on it.
struct Here {
    hostname: String,
}

impl Here {
    fn new(app: &App) -> Self {
        let external = app
            .settings
            .external_url
            .split_once("://")
            .map(|(_, rest)| rest.split(['/', ':']).next().unwrap_or(rest).to_owned());
        Self {
            hostname: external.unwrap_or_else(hostname),
        }
    }

    /// The URL with a local host name replaced by ours.
    fn global_url(&self, url: &str) -> String {
        for local in ["://localhost", "://127.0.0.1", "://[::1]"] {
            if let Some((scheme, rest)) = url.split_once(local)
                && rest.starts_with([':', '/'])
            {
                return format!("{scheme}://{}{rest}", self.hostname);
            }
        }
        url.to_owned()
    }
}

fn push_target(out: &mut String, target: &TargetStatus, here: &Here) {
    out.push_str("{\"discoveredLabels\":");
    push_labels(out, &target.discovered_labels);
    out.push_str(",\"labels\":");
    push_labels(out, &target.labels);
    let health = match target.health {
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    };
    for (name, value) in [
        ("scrapePool", target.job_name.as_str()),
        ("scrapeUrl", &target.scrape_url),
        ("globalUrl", &here.global_url(&target.scrape_url)),
        ("lastError", &target.last_error),
        (
            "lastScrape",
            &target
                .last_scrape_ms
                .map_or_else(|| NEVER.to_owned(), rfc3339),
        ),
        ("health", health),
        ("scrapeInterval", &format_duration_ms(target.interval_ms)),
        ("scrapeTimeout", &format_duration_ms(target.timeout_ms)),
    ] {
        let _ = write!(out, ",\"{name}\":");
        push_string(out, value);
    }
    out.push_str(",\"lastScrapeDuration\":");
    push_number(out, target.last_scrape_seconds);
    out.push('}');
}

fn push_dropped(out: &mut String, target: &DroppedTarget) {
    out.push_str("{\"discoveredLabels\":");
    push_labels(out, &target.discovered_labels);
    out.push_str(",\"scrapePool\":");
    push_string(out, &target.job_name);
    out.push('}');
}

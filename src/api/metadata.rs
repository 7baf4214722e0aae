//! `/metadata`, `/targets/metadata`.

use std::collections::BTreeMap;

use barograph_model::{Matcher, Metadata};

use super::error::ApiError;
use super::json::{Reply, push_labels, push_list, push_object, push_string};
use super::params::Params;
use crate::app::Core;

/// `/metadata`: what families say of themselves, over all targets and senders.
pub(super) async fn metadata(core: Core, params: Params) -> Result<Reply, ApiError> {
    let limit = count(&params, "limit")?;
    let per_metric = count(&params, "limit_per_metric")?;
    let wanted = params.get("metric");
    let mut families: BTreeMap<String, Vec<Metadata>> = BTreeMap::new();
    let scraped = core.scraper.metadata().into_iter();
    let scraped = scraped.map(|family| (family.family, family.metadata));
    for (family, metadata) in scraped.chain(core.db.metadata()) {
        if wanted.is_some_and(|name| name != family) {
            continue;
        }
        let known = families.entry(family).or_default();
        if !known.contains(&metadata) && known.len() < per_metric {
            known.push(metadata);
        }
    }
    let mut text = String::new();
    let shown = families
        .iter()
        .take(limit)
        .map(|(name, known)| (name.as_str(), known));
    push_object(&mut text, shown, |out, known| {
        push_list(out, known, |out, metadata| {
            out.push('{');
            push_fields(out, metadata);
            out.push('}');
        });
    });
    Ok(Reply::text(text))
}

/// `/targets/metadata`: the same, target by target.
pub(super) async fn of_targets(core: Core, params: Params) -> Result<Reply, ApiError> {
    let limit = count(&params, "limit")?;
    let matchers = match params.get("match_target") {
        Some(text) => barograph_query::parse_selector(text)
            .map_err(|error| ApiError::parameter("match_target", error))?,
        None => Vec::new(),
    };
    let wanted = params.get("metric");
    let mut families = core.scraper.metadata();
    families.retain(|family| {
        let fits = |matcher: &Matcher| matcher.matches(family.target.get(matcher.name()));
        wanted.is_none_or(|name| name == family.family) && matchers.iter().all(fits)
    });
    families.truncate(limit);
    let mut text = String::new();
    push_list(&mut text, &families, |out, family| {
        out.push_str("{\"target\":");
        push_labels(out, &family.target);
        // Asked for one metric, its name would be the same everywhere: Prometheus leaves it out.
        if wanted.is_none() {
            out.push_str(",\"metric\":");
            push_string(out, &family.family);
        }
        out.push(',');
        push_fields(out, &family.metadata);
        out.push('}');
    });
    Ok(Reply::text(text))
}

fn push_fields(out: &mut String, metadata: &Metadata) {
    out.push_str("\"type\":");
    push_string(out, metadata.kind.as_str());
    out.push_str(",\"unit\":");
    push_string(out, &metadata.unit);
    out.push_str(",\"help\":");
    push_string(out, &metadata.help);
}

/// A count; absent and negative are no limit. Here, 0 is none at all.
fn count(params: &Params, name: &str) -> Result<usize, ApiError> {
    match params.get(name).map(str::parse::<i64>) {
        None => Ok(usize::MAX),
        Some(Ok(count)) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        Some(Err(_)) => Err(ApiError::bad_data(format!("{name} must be a number"))),
    }
}

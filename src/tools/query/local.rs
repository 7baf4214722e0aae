//! Questions to a data directory.

use std::fmt::Write as _;
use std::path::Path;

use barograph_instrument::Registry;
use barograph_model::{Clock, Matcher, SystemClock, TimeRange};
use barograph_query::{
    Engine, EngineOptions, ParseOptions, QueryOptions, RangeSteps, parse_selector, parse_with,
};
use barograph_tsdb::{Offline, Parts, Snapshot};

use super::{Question, range};
use crate::api::{ValueWriter, push_labels, push_list, push_profile, push_string};

/// The text of the reply that a server of this directory would give.
///
/// # Errors
/// The directory cannot be opened, or the question does not fit.
pub(super) fn ask(path: &Path, question: &Question, profile: bool) -> Result<String, String> {
    if !path.is_dir() {
        return Err(format!(
            "{}: no such directory: name a data directory, or a server as http://host:port",
            path.display()
        ));
    }
    let offline = Offline::open(path, Parts::Everything, &std::env::temp_dir());
    let offline = offline.map_err(|error| error.to_string())?;
    answer(offline.snapshot(), question, profile)
}

fn answer(snapshot: &Snapshot, question: &Question, profile: bool) -> Result<String, String> {
    let engine = Engine::new(EngineOptions::default(), &Registry::new());
    let options = QueryOptions {
        profile,
        ..QueryOptions::default()
    };
    let parsed = |text: &str| parse_with(text, ParseOptions::ALL).map_err(|e| e.to_string());
    let outcome = match question {
        Question::Instant { expr, time_ms } => {
            let time_ms = time_ms.unwrap_or_else(|| SystemClock.now_ms());
            engine.instant(snapshot, &parsed(expr)?, time_ms, &options)
        }
        Question::Range {
            expr,
            start_ms,
            end_ms,
            step_ms,
        } => {
            let (start_ms, end_ms, step_ms) = range(*start_ms, *end_ms, *step_ms);
            let steps = RangeSteps {
                start_ms,
                end_ms,
                step_ms,
            };
            engine.range(snapshot, &parsed(expr)?, steps, &options)
        }
        Question::Series {
            selectors,
            start_ms,
            end_ms,
        } => return series(snapshot, selectors, bounds(*start_ms, *end_ms)),
        Question::Labels {
            name,
            selectors,
            start_ms,
            end_ms,
        } => {
            return labels(
                snapshot,
                name.as_deref(),
                selectors,
                bounds(*start_ms, *end_ms),
            );
        }
    };
    let outcome = outcome.map_err(|error| error.to_string())?;
    let mut tail = String::new();
    if let Some(profile) = &outcome.profile {
        tail.push_str(",\"profile\":");
        push_list(&mut tail, profile, push_profile);
    }
    tail.push('}');
    for (name, texts) in [("warnings", &outcome.warnings), ("infos", &outcome.infos)] {
        if !texts.is_empty() {
            let _ = write!(tail, ",\"{name}\":");
            push_list(&mut tail, texts, |out, text| push_string(out, text));
        }
    }
    tail.push('}');
    let head = "{\"status\":\"success\",\"data\":";
    let mut writer = ValueWriter::new(outcome.value, head, tail);
    let mut text = String::new();
    while let Some(piece) = writer.next_piece() {
        text.push_str(&piece);
    }
    Ok(text)
}

fn bounds(start_ms: Option<i64>, end_ms: Option<i64>) -> TimeRange {
    TimeRange {
        start_ms: start_ms.unwrap_or(i64::MIN),
        end_ms: end_ms.unwrap_or(i64::MAX),
    }
}

/// The matchers of each selector; one list without any where there is no selector.
fn matchers(selectors: &[String]) -> Result<Vec<Vec<Matcher>>, String> {
    if selectors.is_empty() {
        return Ok(vec![Vec::new()]);
    }
    let each = selectors.iter().map(|text| parse_selector(text));
    each.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

fn success(data: &str) -> String {
    format!("{{\"status\":\"success\",\"data\":{data}}}")
}

fn series(snapshot: &Snapshot, selectors: &[String], range: TimeRange) -> Result<String, String> {
    let mut found = std::collections::BTreeSet::new();
    for matchers in matchers(selectors)? {
        let selection = snapshot
            .select(&matchers, range)
            .map_err(|error| error.to_string())?;
        found.extend((0..selection.len()).map(|index| selection.labels(index).clone()));
    }
    let mut data = String::new();
    push_list(&mut data, &found, push_labels);
    Ok(success(&data))
}

fn labels(
    snapshot: &Snapshot,
    name: Option<&str>,
    selectors: &[String],
    range: TimeRange,
) -> Result<String, String> {
    let mut found = std::collections::BTreeSet::new();
    for matchers in matchers(selectors)? {
        let texts = match name {
            Some(name) => snapshot.label_values(name, &matchers, range),
            None => snapshot.label_names(&matchers, range),
        };
        found.extend(texts.map_err(|error| error.to_string())?);
    }
    let mut data = String::new();
    push_list(&mut data, &found, |out, text| push_string(out, text));
    Ok(success(&data))
}

//! `/series`, `/labels`, `/label/<name>/values`.

use std::collections::BTreeSet;

use axum::extract::Path;
use barograph_model::{Labels, Matcher, TimeRange};
use barograph_query::{Cancel, parse_selector};

use super::error::{ApiError, ErrorKind};
use super::json::{Reply, push_labels, push_list};
use super::params::Params;
use super::query::on_pool;
use crate::app::Core;

/// The warning of a reply that `limit` cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// `/series`: label sets of series.
pub(super) async fn series(core: Core, params: Params) -> Result<Reply, ApiError> {
    let (selectors, range, limit) = asked(&params)?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let db = core.db.clone();
    let job = move || {
        let snapshot = db.snapshot();
        let mut found = BTreeSet::new();
        for matchers in &selectors {
            let selection = snapshot.select(matchers, range).map_err(storage)?;
            found.extend((0..selection.len()).map(|index| selection.labels(index).clone()));
        }
        let mut text = String::new();
        push_list(
            &mut text,
            found.iter().take(limit),
            |out: &mut String, labels: &Labels| {
                push_labels(out, labels);
            },
        );
        Ok(cut(Reply::text(text), found.len(), limit))
    };
    on_pool(&core, Cancel::default(), job).await
}

/// `/labels`: label names in use.
pub(super) async fn label_names(core: Core, params: Params) -> Result<Reply, ApiError> {
    let (selectors, range, limit) = asked_unnamed(&params)?;
    let db = core.db.clone();
    let job = move || {
        let snapshot = db.snapshot();
        let names = each(&selectors, |matchers| {
            snapshot.label_names(matchers, range).map_err(storage)
        })?;
        Ok(strings(&names, limit))
    };
    on_pool(&core, Cancel::default(), job).await
}

/// `/label/<name>/values`: values of a label.
pub(super) async fn label_values(
    core: Core,
    Path(name): Path<String>,
    params: Params,
) -> Result<Reply, ApiError> {
    let (selectors, range, limit) = asked_unnamed(&params)?;
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data(format!("invalid label name: {name:?}")));
    }
    let db = core.db.clone();
    let job = move || {
        let snapshot = db.snapshot();
        let values = each(&selectors, |matchers| {
            snapshot
                .label_values(&name, matchers, range)
                .map_err(storage)
        })?;
        Ok(strings(&values, limit))
    };
    on_pool(&core, Cancel::default(), job).await
}

/// What the three endpoints are asked with: selectors, time range, most results.
fn asked(params: &Params) -> Result<(Vec<Vec<Matcher>>, TimeRange, usize), ApiError> {
    let limit = params.limit()?;
    let range = TimeRange {
        start_ms: params.time_or("start", i64::MIN)?,
        end_ms: params.time_or("end", i64::MAX)?,
    };
    Ok((selectors(params)?, range, limit))
}

/// As [`asked`] where Prometheus does not name the parameter in the error: everywhere but at
/// `/series`.
fn asked_unnamed(params: &Params) -> Result<(Vec<Vec<Matcher>>, TimeRange, usize), ApiError> {
    asked(params).map_err(unnamed)
}

/// An error of `match[]` without the name of the parameter.
pub(super) fn unnamed(mut error: ApiError) -> ApiError {
    if let Some(plain) = error
        .message
        .strip_prefix("invalid parameter \"match[]\": ")
    {
        error.message = plain.to_owned();
    }
    error
}

/// The selectors of the `match[]` parameters.
pub(super) fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    params.all("match[]").map(selector).collect()
}

/// A selector, whatever it selects.
pub(super) fn any_selector(text: &str) -> Result<Vec<Matcher>, ApiError> {
    parse_selector(text).map_err(|error| ApiError::parameter("match[]", error))
}

fn selector(text: &str) -> Result<Vec<Matcher>, ApiError> {
    let fail = |message: String| ApiError::parameter("match[]", message);
    let matchers = any_selector(text)?;
    if matchers.iter().all(Matcher::matches_empty) {
        return Err(fail(
            "match[] must contain at least one non-empty matcher".into(),
        ));
    }
    Ok(matchers)
}

/// The union over the selectors; over everything where there is none.
fn each(
    selectors: &[Vec<Matcher>],
    mut find: impl FnMut(&[Matcher]) -> Result<Vec<String>, ApiError>,
) -> Result<Vec<String>, ApiError> {
    match selectors {
        [] => find(&[]),
        [only] => find(only),
        several => {
            let mut union = BTreeSet::new();
            for matchers in several {
                union.extend(find(matchers)?);
            }
            Ok(union.into_iter().collect())
        }
    }
}

fn strings(texts: &[String], limit: usize) -> Reply {
    let reply = Reply::strings(texts.iter().take(limit).map(String::as_str));
    cut(reply, texts.len(), limit)
}

fn cut(mut reply: Reply, found: usize, limit: usize) -> Reply {
    if found > limit {
        reply.warnings.push(TRUNCATED.into());
    }
    reply
}

fn storage(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::Internal, error.to_string())
}

/// Undoes the escaping of names that URLs of older clients cannot carry: `U__http_2e_status` is
/// `http.status`.
fn unescape(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    let mut plain = String::new();
    while let Some(at) = rest.find('_') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let decoded = rest.split_once('_').and_then(|(hex, after)| {
            let code = u32::from_str_radix(hex, 16).ok()?;
            Some((char::from_u32(code)?, after))
        });
        match decoded {
            Some((ch, after)) => {
                plain.push(ch);
                rest = after;
            }
            // Not an escaped name after all.
            None => return name.to_owned(),
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escaped_names_are_read() {
        for (name, want) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U__caf_e9_", "café"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__open_2e", "U__open_2e"),
        ] {
            assert_eq!(unescape(name), want, "{name}");
        }
    }
}

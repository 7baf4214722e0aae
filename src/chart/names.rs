//! Short names for series that stand beside each other.

use std::fmt::Write as _;

use barograph_model::labels::is_legacy_metric_name;
use barograph_model::{Labels, METRIC_NAME};

/// A series as PromQL selects it: `up{job="a"}`.
pub(crate) fn series_name(labels: &Labels) -> String {
    let name = labels.metric_name();
    if !is_legacy_metric_name(name) {
        return labels.to_string();
    }
    let rest = labels.without(|label| label == METRIC_NAME);
    if rest.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{rest}")
    }
}

/// Names of series that say only what tells them apart, and the labels that all of them share as
/// one text, which is empty where there are none.
pub(crate) fn short_names(series: &[Labels]) -> (Vec<String>, String) {
    let [first, others @ ..] = series else {
        return (Vec::new(), String::new());
    };
    if others.is_empty() {
        return (vec![series_name(first)], String::new());
    }
    let shared = |name: &str, value: &str| others.iter().all(|labels| labels.get(name) == value);
    let common: Vec<&str> = first
        .iter()
        .filter(|(name, value)| shared(name, value))
        .map(|(name, _)| name)
        .collect();
    let names = series.iter().map(|labels| {
        let own = labels.without(|name| common.contains(&name));
        // One label says it all: its value is enough, unless it is hard to see as one.
        let mut pairs = own.iter();
        match (pairs.next(), pairs.next()) {
            (Some((name, value)), None) if name != METRIC_NAME && !value.trim().is_empty() => {
                value.to_owned()
            }
            (None, _) => "{}".to_owned(),
            _ => series_name(&own),
        }
    });
    let names: Vec<String> = names.collect();
    // Values of different labels may look alike.
    let mut differing: Vec<&str> = series
        .iter()
        .flat_map(|labels| labels.iter().map(|(name, _)| name))
        .filter(|name| !common.contains(name))
        .collect();
    differing.sort_unstable();
    differing.dedup();
    let names = if differing.len() == 1 {
        names
    } else {
        let own = |labels: &Labels| series_name(&labels.without(|name| common.contains(&name)));
        series.iter().map(own).collect()
    };
    let kept = first.without(|name| !common.contains(&name));
    let mut text = String::new();
    if !kept.is_empty() {
        text.push_str(&series_name(&kept));
    }
    if let [label] = differing[..]
        && label != METRIC_NAME
    {
        let between = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{between}by {label}");
    }
    (names, text)
}

/// The text without characters that neither pictures nor XML can show.
pub(super) fn printable(text: &str) -> String {
    let shown = |ch: char| match ch {
        '\t' | '\n' | '\r' => ' ',
        ch if ch.is_control() || matches!(ch, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
        ch => ch,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn names_say_what_differs() {
        let up =
            |job, instance| labels(&[("__name__", "up"), ("instance", instance), ("job", job)]);
        let check = |series: &[Labels], names: &[&str], common: &str| {
            assert_eq!(
                short_names(series),
                (
                    names.iter().map(|&n| n.to_owned()).collect(),
                    common.to_owned()
                )
            );
        };
        check(&[], &[], "");
        check(&[up("a", "1")], &["up{instance=\"1\", job=\"a\"}"], "");
        check(
            &[up("a", "1"), up("a", "2")],
            &["1", "2"],
            "up{job=\"a\"} by instance",
        );
        check(
            &[up("a", "1"), up("b", "2")],
            &["{instance=\"1\", job=\"a\"}", "{instance=\"2\", job=\"b\"}"],
            "up",
        );
        check(
            &[labels(&[("__name__", "a")]), labels(&[("__name__", "b")])],
            &["a", "b"],
            "",
        );
        check(&[labels(&[]), labels(&[("x", "1")])], &["{}", "1"], "by x");
        check(
            &[labels(&[("y", "1")]), labels(&[("x", "1")])],
            &["{y=\"1\"}", "{x=\"1\"}"],
            "",
        );
    }
}

//! Relabelling rules: as written → compiled.

use barograph_model::relabel::{RelabelAction, RelabelRule};
use serde_saphyr::Spanned;

use super::error::ConfigError;
use super::file::{Relabel, entries};
use super::resolve::Source;

/// Compiles a list of rules.
///
/// # Errors
/// A rule lacks what its action needs, or has what its action cannot use.
pub(super) fn rules(
    source: &Source<'_>,
    list: Option<&Vec<Spanned<Relabel>>>,
) -> Result<Vec<RelabelRule>, ConfigError> {
    entries(list)
        .iter()
        .map(|written| rule(&written.value).map_err(|message| source.error(written, message)))
        .collect()
}

fn rule(written: &Relabel) -> Result<RelabelRule, String> {
    let defaults = RelabelRule::default();
    let rule = RelabelRule {
        source_labels: written.source_labels.clone().unwrap_or_default(),
        separator: written.separator.clone().unwrap_or(defaults.separator),
        target_label: written.target_label.clone().unwrap_or_default(),
        regex: written
            .regex
            .as_ref()
            .map_or(defaults.regex, |regex| regex.0.clone()),
        modulus: written.modulus.unwrap_or(0),
        replacement: written.replacement.clone().unwrap_or(defaults.replacement),
        action: written.action.map_or(defaults.action, |action| action.0),
    };
    let name = rule.action.as_str();
    // What equals the default counts as not written, as in Prometheus.
    let defaults = RelabelRule::default();
    let has_replacement = rule.replacement != defaults.replacement;
    let has_separator = rule.separator != defaults.separator;
    let has_regex = rule.regex.as_str() != defaults.regex.as_str();
    let has_modulus = rule.modulus != defaults.modulus;
    match rule.action {
        RelabelAction::HashMod if rule.modulus == 0 => {
            return Err("relabel action hashmod needs a `modulus` above 0".into());
        }
        RelabelAction::Replace
        | RelabelAction::HashMod
        | RelabelAction::Lowercase
        | RelabelAction::Uppercase
        | RelabelAction::KeepEqual
        | RelabelAction::DropEqual
            if rule.target_label.is_empty() =>
        {
            return Err(format!("relabel action {name} needs a `target_label`"));
        }
        RelabelAction::Lowercase | RelabelAction::Uppercase if has_replacement => {
            return Err(format!("relabel action {name} takes no `replacement`"));
        }
        RelabelAction::KeepEqual | RelabelAction::DropEqual
            if has_regex || has_modulus || has_separator || has_replacement =>
        {
            return Err(format!(
                "relabel action {name} takes only `source_labels` and `target_label`"
            ));
        }
        RelabelAction::LabelDrop | RelabelAction::LabelKeep
            if !rule.source_labels.is_empty()
                || !rule.target_label.is_empty()
                || has_modulus
                || has_separator
                || has_replacement =>
        {
            return Err(format!("relabel action {name} takes only `regex`"));
        }
        _ => {}
    }
    Ok(rule)
}

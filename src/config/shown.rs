//! The configuration as `/api/v1/status/config` shows it.

use super::file::{File, Relabel};

/// Fills in what a rule leaves out and its action uses, as Prometheus shows it.
pub(super) fn fill_relabel(rule: &mut Relabel) {
    rule.separator.get_or_insert_with(|| ";".into());
    rule.replacement.get_or_insert_with(|| "$1".into());
    rule.action.get_or_insert({
        super::scalar::ActionText(barograph_model::relabel::RelabelAction::Replace)
    });
}

/// The file as YAML: what was filled in included, secrets hidden.
pub(super) fn yaml(file: &File) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(file, options)
        .unwrap_or_else(|error| format!("# BUG: the configuration cannot be written: {error}\n"))
}

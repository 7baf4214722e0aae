//! `label_replace` and `label_join`.

use barograph_model::{METRIC_NAME, Pattern};

use super::vector::Vector;
use crate::error::QueryError;

/// What `label_replace` does.
pub(super) struct Replace<'a> {
    pub(super) target: &'a str,
    pub(super) replacement: &'a str,
    pub(super) source: &'a str,
    pub(super) pattern: &'a Pattern,
}

pub(super) fn replace(mut vector: Vector, rule: &Replace<'_>) -> Result<Vector, QueryError> {
    for index in 0..vector.len() {
        let meta = vector.meta_mut(index);
        let value = meta.labels().get(rule.source);
        if let Some(new) = rule.pattern.replace(value, rule.replacement) {
            let mut builder = meta.labels().to_builder();
            meta.set_labels(builder.set(rule.target, &new).build());
            // A name that is set on purpose stays.
            meta.drop_name &= rule.target != METRIC_NAME;
        }
    }
    vector.recount_labels();
    vector.merge_equal_labels()
}

pub(super) fn join(
    mut vector: Vector,
    target: &str,
    separator: &str,
    sources: &[String],
) -> Result<Vector, QueryError> {
    for index in 0..vector.len() {
        let meta = vector.meta_mut(index);
        let values: Vec<&str> = sources.iter().map(|name| meta.labels().get(name)).collect();
        let joined = values.join(separator);
        let mut builder = meta.labels().to_builder();
        meta.set_labels(builder.set(target, &joined).build());
        meta.drop_name &= target != METRIC_NAME;
    }
    vector.recount_labels();
    vector.merge_equal_labels()
}

//! Relabelling: ordered rules that rewrite, keep or drop a label set.

use md5::{Digest, Md5};

use crate::labels::LabelsBuilder;
use crate::pattern::Pattern;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RelabelAction {
    /// Sets `target_label` to the filled `replacement` where the pattern matches.
    #[default]
    Replace,
    /// Drops the set unless the pattern matches.
    Keep,
    /// Drops the set if the pattern matches.
    Drop,
    /// Drops the set unless `target_label` equals the joined source.
    KeepEqual,
    /// Drops the set if `target_label` equals the joined source.
    DropEqual,
    /// Sets `target_label` to a hash of the joined source, modulo `modulus`.
    HashMod,
    /// Copies each label whose name matches to the filled `replacement`.
    LabelMap,
    /// Removes each label whose name matches.
    LabelDrop,
    /// Removes each label whose name does not match.
    LabelKeep,
    /// Sets `target_label` to the joined source in lower case.
    Lowercase,
    /// Sets `target_label` to the joined source in upper case.
    Uppercase,
}

impl RelabelAction {
    /// All actions with the names configuration gives them.
    pub const NAMES: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];

    /// The name configuration gives the action.
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, action)| *action == self)
            .map_or("", |(name, _)| name)
    }
}

/// One rule. The defaults of the fields are Prometheus's: see [`RelabelRule::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelRule {
    /// Labels whose values are joined to the source.
    pub source_labels: Vec<String>,
    /// Stands between the joined values.
    pub separator: String,
    /// The label that is written; for `replace` it may refer to groups.
    pub target_label: String,
    /// Matched against the source, or against names for `labelmap`, `labeldrop`, `labelkeep`.
    pub regex: Pattern,
    /// For `hashmod`; at least 1 there.
    pub modulus: u64,
    /// What is written; may refer to groups.
    pub replacement: String,
    /// What the rule does.
    pub action: RelabelAction,
}

impl Default for RelabelRule {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            target_label: String::new(),
            regex: Pattern::new("(.*)").expect("BUG: the default pattern compiles"),
            modulus: 0,
            replacement: "$1".to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

/// Runs `rules` in order over `labels`. Returns whether the set is kept.
pub fn relabel(rules: &[RelabelRule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| apply(rule, labels))
}

fn apply(rule: &RelabelRule, labels: &mut LabelsBuilder) -> bool {
    let mut source = String::new();
    for (index, name) in rule.source_labels.iter().enumerate() {
        if index > 0 {
            source.push_str(&rule.separator);
        }
        source.push_str(labels.get(name));
    }
    match rule.action {
        RelabelAction::Keep => return rule.regex.is_match(&source),
        RelabelAction::Drop => return !rule.regex.is_match(&source),
        RelabelAction::KeepEqual => return labels.get(&rule.target_label) == source,
        RelabelAction::DropEqual => return labels.get(&rule.target_label) != source,
        RelabelAction::Replace => {
            let target = rule.regex.replace(&source, &rule.target_label);
            let value = rule.regex.replace(&source, &rule.replacement);
            if let (Some(target), Some(value)) = (target, value)
                && !target.is_empty()
            {
                labels.set(&target, &value);
            }
        }
        RelabelAction::Lowercase => {
            labels.set(&rule.target_label, &source.to_lowercase());
        }
        RelabelAction::Uppercase => {
            labels.set(&rule.target_label, &source.to_uppercase());
        }
        RelabelAction::HashMod => {
            let value = hash_mod(&source, rule.modulus);
            labels.set(&rule.target_label, &value.to_string());
        }
        RelabelAction::LabelMap => {
            let mapped: Vec<(String, String)> = labels
                .iter()
                .filter_map(|(name, value)| {
                    Some((
                        rule.regex.replace(name, &rule.replacement)?,
                        value.to_owned(),
                    ))
                })
                .collect();
            for (name, value) in mapped {
                if !name.is_empty() {
                    labels.set(&name, &value);
                }
            }
        }
        RelabelAction::LabelDrop => {
            labels.retain(|name, _| !rule.regex.is_match(name));
        }
        RelabelAction::LabelKeep => {
            labels.retain(|name, _| rule.regex.is_match(name));
        }
    }
    true
}

/// The last eight bytes of the MD5 of `source`, big-endian, modulo `modulus`: what Prometheus
/// computes, so that shards agree.
fn hash_mod(source: &str, modulus: u64) -> u64 {
    let digest = Md5::digest(source.as_bytes());
    let tail = digest[8..]
        .iter()
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    tail.checked_rem(modulus).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "the rows read better")]
    fn check(rule: RelabelRule, before: &[(&str, &str)], after: Option<&[(&str, &str)]>) {
        let mut labels = LabelsBuilder::new();
        for (name, value) in before {
            labels.set(name, value);
        }
        let kept = relabel(std::slice::from_ref(&rule), &mut labels);
        assert_eq!(kept, after.is_some(), "{rule:?}");
        if let Some(after) = after {
            assert_eq!(labels.iter().collect::<Vec<_>>(), after, "{rule:?}");
        }
    }

    fn rule(action: RelabelAction, source: &[&str], regex: &str) -> RelabelRule {
        RelabelRule {
            action,
            source_labels: source.iter().map(ToString::to_string).collect(),
            regex: Pattern::new(regex).expect("valid"),
            ..RelabelRule::default()
        }
    }

    #[test]
    fn every_action() {
        use RelabelAction::*;
        let to = |rule: RelabelRule, target: &str| RelabelRule {
            target_label: target.into(),
            ..rule
        };
        check(
            to(rule(Replace, &["a"], "f(.*)"), "d"),
            &[("a", "foo")],
            Some(&[("a", "foo"), ("d", "oo")]),
        );
        check(
            to(rule(Replace, &["a"], "nope"), "d"),
            &[("a", "foo")],
            Some(&[("a", "foo")]),
        );
        check(
            RelabelRule {
                replacement: String::new(),
                ..to(rule(Replace, &["a"], ".*"), "a")
            },
            &[("a", "foo")],
            Some(&[]),
        );
        check(
            to(rule(Replace, &["a", "b"], "(.*);(.*)"), "${2}x"),
            &[("a", "1"), ("b", "n")],
            Some(&[("a", "1"), ("b", "n"), ("nx", "1")]),
        );
        check(
            rule(Keep, &["a"], "f.*"),
            &[("a", "foo")],
            Some(&[("a", "foo")]),
        );
        check(rule(Keep, &["a"], "x"), &[("a", "foo")], None);
        check(rule(Drop, &["a"], "f.*"), &[("a", "foo")], None);
        check(
            to(rule(KeepEqual, &["a"], "(.*)"), "b"),
            &[("a", "1"), ("b", "2")],
            None,
        );
        check(
            to(rule(DropEqual, &["a"], "(.*)"), "b"),
            &[("a", "1"), ("b", "1")],
            None,
        );
        check(
            rule(LabelMap, &[], "meta_(.+)"),
            &[("meta_x", "1")],
            Some(&[("meta_x", "1"), ("x", "1")]),
        );
        check(
            rule(LabelDrop, &[], "a.*"),
            &[("ab", "1"), ("b", "2")],
            Some(&[("b", "2")]),
        );
        check(
            rule(LabelKeep, &[], "a.*"),
            &[("ab", "1"), ("b", "2")],
            Some(&[("ab", "1")]),
        );
        check(
            to(rule(Lowercase, &["a"], "(.*)"), "a"),
            &[("a", "FoO")],
            Some(&[("a", "foo")]),
        );
        check(
            to(rule(Uppercase, &["a"], "(.*)"), "b"),
            &[("a", "FoO")],
            Some(&[("a", "FoO"), ("b", "FOO")]),
        );
    }

    #[test]
    fn hash_mod_is_prometheus_s() {
        // What `printf bar | md5sum` prints.
        let digest = 0x37b5_1d19_4a75_13e4_5b56_f652_4f2d_51f2u128;
        assert_eq!(hash_mod("bar", 1_000), (digest as u64) % 1_000);
    }
}

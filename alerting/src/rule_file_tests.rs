use std::path::Path;

use super::*;

/// `line:column: message` of everything that is wrong.
fn problems(text: &str) -> Vec<String> {
    let errors = RuleFile::parse_all(Path::new("f.yml"), text).expect_err("something is wrong");
    errors
        .iter()
        .map(|error| {
            let (line, column) = error.position.unwrap_or_default();
            format!("{line}:{column}: {}", error.message)
        })
        .collect()
}

#[test]
fn what_is_no_rule_file_is_refused_with_its_position() {
    for (text, want) in [
        (
            "groups:\n- name: a\n  rules:\n  - alert: X\n    exprr: up\n",
            "5:5: unknown field `exprr`, expected one of record, alert, expr, for, \
             keep_firing_for, labels, annotations",
        ),
        ("groups:\n- name: a\n  limit: x\n", "3:10: invalid i64"),
        ("groups:\n- name: [a]\n", "2:9: expected string scalar"),
        (
            "groups:\n- name: a\n  name: b\n",
            "3:3: duplicate mapping key: name",
        ),
        ("groups: [\n", "1:9: unclosed bracket '['"),
        (
            "groups:\n- name: a\n---\nfoo: 1\n",
            "4:1: the file holds several YAML documents; only one is allowed",
        ),
        ("groups:\n- rules: []\n", "2:3: a group must have a name"),
        (
            "groups:\n- name: a\n- name: a\n",
            "3:9: the group name \"a\" is used twice in this file",
        ),
        (
            "groups:\n- name: a\n  limit: -1\n",
            "3:10: group \"a\": limit must not be negative",
        ),
        (
            "groups:\n- name: a\n  labels: {__name__: b}\n",
            "3:12: group \"a\": invalid label name: \"__name__\"",
        ),
    ] {
        assert_eq!(problems(text), [want], "{text}");
    }
}

#[test]
fn an_empty_file_has_no_groups() {
    for text in ["", "groups:\n", "groups: []\n", "# nothing\n"] {
        let file = RuleFile::parse(Path::new("f.yml"), text).expect(text);
        assert!(file.groups.is_empty(), "{text:?}");
    }
}

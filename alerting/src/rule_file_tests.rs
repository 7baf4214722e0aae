use std::path::Path;

use super::*;

/// `line:column: message` of everything that is wrong.
fn problems(text: &str) -> Vec<String> {
    let errors = RuleFile::parse_all(Path::new("f.yml"), text, ParseOptions::default())
        .expect_err("something is wrong");
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
        let file = RuleFile::parse(Path::new("f.yml"), text, ParseOptions::default()).expect(text);
        assert!(file.groups.is_empty(), "{text:?}");
    }
}

#[test]
fn syntax_behind_a_feature_needs_the_feature() {
    let text = "groups: [{name: a, rules: [{record: r, expr: 'sum(sort_by_label(x, \"y\"))'}]}]";
    let refused = problems(text);
    assert!(
        refused[0].ends_with("\"sort_by_label\" is not enabled"),
        "{refused:?}"
    );
    let language = ParseOptions {
        experimental_functions: true,
        ..ParseOptions::default()
    };
    RuleFile::parse(Path::new("f.yml"), text, language).expect("allowed");
}

#[test]
fn every_problem_is_found() {
    let text = "\
groups:
- name: a
  interval: 5x
  rules:
  - record: r
    expr: sum(
    for: 1m
    annotations: {a: b}
  - alert: A
    expr: |
      up
        == foo{
    labels:
      __name__: x
      ok: '{{ $labels.x }}'
      bad: '{{ nope }}'
    annotations:
      summary: \"{{ if }}\"
  - expr: up
  - record: a
    alert: b
    expr: up
  - record: 'a{b}'
    expr: \"up\"
  - alert: C
    keep_firing_for: 1
";
    let got = problems(text);
    let want = [
        "3:13: group \"a\": interval: not a valid duration string: \"5x\"",
        "6:15: group \"a\", rule 1, \"r\": could not parse expression: 1:5: parse error:",
        "7:10: group \"a\", rule 1, \"r\": invalid field 'for' in recording rule",
        "8:19: group \"a\", rule 1, \"r\": invalid field 'annotations' in recording rule",
        "12:16: group \"a\", rule 2, \"A\": could not parse expression: 3:1: parse error:",
        "16:12: group \"a\", rule 2, \"A\": label \"bad\": template: __alert_A:1: function \"nope\" not defined",
        "14:7: group \"a\", rule 2, \"A\": invalid label name: \"__name__\"",
        "18:16: group \"a\", rule 2, \"A\": annotation \"summary\": template: __alert_A:1: missing value for if",
        "19:5: group \"a\", rule 3, \"\": one of 'record' or 'alert' must be set",
        "21:12: group \"a\", rule 4, \"b\": only one of 'record' and 'alert' must be set",
        "23:13: group \"a\", rule 5, \"a{b}\": braces in the name of a recording rule",
        "25:5: group \"a\", rule 6, \"C\": field 'expr' must be set in rule",
        "26:22: group \"a\", rule 6, \"C\": keep_firing_for: not a valid duration string: \"1\"",
    ];
    for (got, want) in got.iter().zip(want) {
        assert!(got.starts_with(want), "want {want}\n got {got}");
    }
    assert_eq!(got.len(), want.len(), "{got:#?}");
}

#[test]
fn expressions_are_pointed_into_however_they_are_written() {
    for (expr, want) in [
        ("up + foo bar", "4:20"),
        ("'up + foo bar'", "4:21"),
        ("\"up + \\\"x\\\" foo bar\"", "4:23"),
        ("|\n      up\n      + foo bar", "6:13"),
        (">-\n      up\n      + foo bar\n", "6:13"),
        ("up\n      + foo bar", "5:13"),
    ] {
        let text = format!("groups:\n- name: a\n  rules:\n  - expr: {expr}\n    record: r\n");
        let got = problems(&text);
        assert!(
            got[0].starts_with(&format!("{want}: ")),
            "{expr:?}: want {want}, got {got:?}"
        );
    }
}

#[test]
fn everything_a_rule_file_may_say_is_read() {
    let text = "\
groups:
- name: a
  interval: 1m30s
  query_offset: 10s
  limit: 5
  labels: {team: x, severity: low, gone: y}
  rules:
  - record: a:b
    expr: &expr sum  by(a)( up )
    labels: {severity: 1, gone: ''}
  - alert: A
    expr: *expr
    for: 5m
    keep_firing_for: 1h
    labels:
    annotations: {summary: 'x {{ $value }}', url: true}
- name: b
";
    let file = RuleFile::parse(Path::new("f.yml"), text, ParseOptions::default()).expect("valid");
    assert_eq!(file.groups.len(), 2);
    let group = &file.groups[0];
    assert_eq!(group.interval_ms, Some(90_000));
    assert_eq!(group.query_offset_ms, Some(10_000));
    assert_eq!(group.limit, 5);
    let recording = &group.rules[0];
    assert_eq!(recording.name(), "a:b");
    assert_eq!(recording.labels.to_string(), "{severity=\"1\", team=\"x\"}");
    assert_eq!(recording.dropped_labels, ["gone"]);
    let alerting = &group.rules[1];
    assert_eq!(alerting.expr_text, "sum by (a) (up)");
    assert_eq!(
        alerting.labels.to_string(),
        "{gone=\"y\", severity=\"low\", team=\"x\"}"
    );
    let RuleKind::Alerting {
        alert,
        for_ms,
        keep_firing_for_ms,
        annotations,
    } = &alerting.kind
    else {
        panic!("{:?}", alerting.kind);
    };
    assert_eq!(
        (alert.as_str(), *for_ms, *keep_firing_for_ms),
        ("A", 300_000, 3_600_000)
    );
    assert_eq!(
        annotations.to_string(),
        "{summary=\"x {{ $value }}\", url=\"true\"}"
    );
    assert_eq!(file.groups[1].interval_ms, None);
}

#[test]
fn unknown_fields_can_be_passed_over() {
    let text = "groups:
- name: g
  owner: {team: a, members: [b, c]}
  rules:
  - record: a
    expr: b +
  - alert: A
    expr: b
    ownership: x
    labels: {severity: page, team: b}
more: 1
";
    let (path, language) = (Path::new("f.yml"), ParseOptions::default());
    let strict = RuleFile::parse_all(path, text, language).expect_err("unknown fields");
    assert!(strict[0].message.contains("unknown field"), "{strict:?}");
    // What is wrong with fields that are known is said with its place.
    let errors = RuleFile::parse_known(path, text, language).expect_err("no expression");
    assert_eq!(
        (errors.len(), errors[0].position),
        (1, Some((6, 14))),
        "{errors:?}"
    );
    let file = RuleFile::parse_known(path, &text.replace("b +", "b"), language).expect("valid");
    assert_eq!(file.groups[0].rules.len(), 2);
    assert_eq!(file.groups[0].rules[1].labels.get("team"), "b");
}

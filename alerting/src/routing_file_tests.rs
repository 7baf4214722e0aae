use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<RoutingConfig, RoutingFileError> {
    RoutingConfig::parse(Path::new("/etc/am/alertmanager.yml"), text)
}

const RECEIVERS: &str = "receivers:\n- name: a\n- name: b\n";

#[test]
fn a_tree_with_inheritance_is_read() {
    let text = format!(
        "\
global: {{resolve_timeout: 1m, smtp_from: x}}
route:
  receiver: a
  group_by: [alertname, job]
  group_wait: 10s
  routes:
  - matchers: ['severity=page', '{{team=~\"x|y\", env!=\"dev\"}}']
    receiver: b
    group_by: ['...']
    repeat_interval: 1h
    continue: true
    routes:
    - match: {{service: db}}
      match_re: {{host: 'db.*'}}
      group_by: []
      mute_time_intervals: [night]
time_intervals: [{{name: night}}]
inhibit_rules: [{{equal: [a]}}]
templates: [x.tmpl]
{RECEIVERS}  slack_configs: [{{channel: x}}]
  webhook_configs:
  - url: http://host/hook
    http_config: {{follow_redirects: true}}
  - url_file: hook-url
    send_resolved: false
    max_alerts: 3
    timeout: 5s
"
    );
    let config = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.resolve_timeout_ms, 60_000);
    let root = &config.route;
    assert_eq!(
        (root.group_wait_ms, root.group_interval_ms),
        (10_000, 300_000)
    );
    let page = &root.routes[0];
    assert_eq!((page.receiver.as_str(), &page.group_by), ("b", &None));
    assert_eq!(
        (page.group_wait_ms, page.repeat_interval_ms),
        (10_000, 3_600_000)
    );
    assert!(page.continue_matching);
    assert_eq!(
        matcher_text::format(&page.matchers),
        "{env!=\"dev\",severity=\"page\",team=~\"x|y\"}"
    );
    let db = &page.routes[0];
    assert_eq!(db.receiver, "b");
    assert_eq!(db.group_by, Some(Vec::new()));
    assert_eq!(
        matcher_text::format(&db.matchers),
        "{host=~\"db.*\",service=\"db\"}"
    );
    let webhooks = &config.receivers[1].webhooks;
    assert_eq!(webhooks[0].url, "http://host/hook");
    assert!(webhooks[0].send_resolved);
    assert_eq!(
        webhooks[1].url_file.as_deref(),
        Some(Path::new("/etc/am/hook-url"))
    );
    assert_eq!((webhooks[1].max_alerts, webhooks[1].timeout_ms), (3, 5_000));
    let warned: Vec<&str> = config
        .warnings
        .iter()
        .map(|warning| warning.split(" is accepted").next().unwrap_or_default())
        .collect();
    assert_eq!(
        warned,
        [
            "global.smtp_from",
            "inhibit_rules",
            "templates",
            "time_intervals",
            "slack_configs of receiver \"b\"",
            "http_config of a webhook of receiver \"b\"",
        ]
    );
}

#[test]
fn what_is_no_routing_is_refused_with_its_position() {
    let root = "route: {receiver: a}\n";
    for (text, want) in [
        (String::new(), "no route provided in config"),
        (RECEIVERS.to_owned(), "no route provided in config"),
        (
            format!("{root}{RECEIVERS}foo: 1\n"),
            "5:1: unknown field `foo`",
        ),
        (
            format!("route: {{receiver: a, foo: 1}}\n{RECEIVERS}"),
            "1:22: unknown field `foo`",
        ),
        (
            format!("global: {{foo: 1}}\n{root}{RECEIVERS}"),
            "1:15: unknown field `foo` in global",
        ),
        (
            format!("route: {{receiver: c}}\n{RECEIVERS}"),
            "1:19: undefined receiver \"c\" used in route",
        ),
        (
            format!("route: {{group_by: [x]}}\n{RECEIVERS}"),
            "1:8: root route must specify a default receiver",
        ),
        (
            format!("route: {{receiver: a, matchers: [x=y]}}\n{RECEIVERS}"),
            "1:8: root route must not have any matchers",
        ),
        (
            format!("route: {{receiver: a, continue: true}}\n{RECEIVERS}"),
            "1:8: cannot have continue in root route",
        ),
        (
            format!("route: {{receiver: a, group_interval: 0s}}\n{RECEIVERS}"),
            "1:38: group_interval cannot be zero",
        ),
        (
            format!("route: {{receiver: a, group_wait: 5}}\n{RECEIVERS}"),
            "1:34: group_wait: not a valid duration string: \"5\"",
        ),
        (
            format!("route: {{receiver: a, group_by: [x, x]}}\n{RECEIVERS}"),
            "1:36: duplicated label \"x\" in group_by",
        ),
        (
            format!("route: {{receiver: a, group_by: ['...', x]}}\n{RECEIVERS}"),
            "1:33: cannot have wildcard group_by",
        ),
        (
            format!("route:\n  receiver: a\n  routes:\n  - matchers: ['x']\n{RECEIVERS}"),
            "4:16: bad matcher format",
        ),
        (
            format!("route:\n  receiver: a\n  routes:\n  - match_re: {{x: '('}}\n{RECEIVERS}"),
            "4:19: error parsing regexp",
        ),
        (
            format!("route:\n  receiver: a\n  routes:\n  - mute_time_intervals: [x]\n{RECEIVERS}"),
            "4:27: undefined time interval \"x\" used in route",
        ),
        (
            format!("{root}{RECEIVERS}- name: a\n"),
            "5:9: the receiver name \"a\" is used twice",
        ),
        (
            format!("{root}{RECEIVERS}- webhook_configs: []\n"),
            "5:3: missing name in receiver",
        ),
        (
            format!("{root}{RECEIVERS}  webhook_configs: [{{}}]\n"),
            "5:21: one of url or url_file must be configured",
        ),
        (
            format!("{root}{RECEIVERS}  webhook_configs: [{{url: 'http://x', url_file: y}}]\n"),
            "5:49: at most one of url & url_file",
        ),
        (
            format!("{root}{RECEIVERS}  webhook_configs: [{{url: 'ftp://x'}}]\n"),
            "5:27: unsupported scheme \"ftp\"",
        ),
        (
            format!("{root}{RECEIVERS}  webhook_configs: [{{urls: x}}]\n"),
            "5:22: unknown field `urls`",
        ),
        (
            format!("{root}{RECEIVERS}  webhooks: []\n"),
            "5:3: unknown field `webhooks`",
        ),
    ] {
        let error = parse(&text).expect_err(&text);
        let position = error
            .position
            .map_or(String::new(), |(l, c)| format!("{l}:{c}: "));
        let got = format!("{position}{}", error.message);
        assert!(
            got.starts_with(want),
            "want {want}\n got {got}\n for {text}"
        );
    }
}

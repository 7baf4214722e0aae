use std::rc::Rc;

use barograph_model::{Labels, Sample};

use super::*;

fn expand(text: &str) -> Result<String, String> {
    let query = |expr: &str| {
        let sample = |instance: &str, value| VectorSample {
            labels: Labels::from_pairs([
                ("__name__", "metric"),
                ("instance", instance),
                ("__value__", "text"),
            ]),
            sample: Sample {
                timestamp_ms: 0,
                value,
            },
        };
        match expr {
            "metric" => Ok(vec![sample("b", 21.0), sample("a", 11.0)]),
            "empty" => Ok(Vec::new()),
            _ => Err(format!("no such metric: {expr}")),
        }
    };
    let environment = Environment {
        now_ms: 1_435_065_584_128,
        external_url: "http://testhost:9090/path/prefix",
        query: &query,
    };
    let labels = Labels::from_pairs([("instance", "host.example.com:9100"), ("job", "node")]);
    let external = Labels::from_pairs([("cluster", "eu")]);
    let data = Value::Alert(Rc::new(AlertData {
        labels: label_map(&labels),
        external_labels: label_map(&external),
        external_url: "http://testhost:9090/path/prefix".into(),
        value: 1_234_567.0,
    }));
    Template::parse("X", text)?.expand(&environment, &data)
}

/// Outputs checked against `promtool test rules` of Prometheus 3.14, or taken from the expectations
/// its documentation states.
#[test]
fn templates_yield_what_prometheus_s_do() {
    for (text, want) in [
        ("plain", "plain"),
        ("{{ 1 }}", "1"),
        ("{{ $value }}", "1.234567e+06"),
        ("{{ .Value }}", "1.234567e+06"),
        (
            "{{ $labels.instance }} {{ .Labels.job }}",
            "host.example.com:9100 node",
        ),
        ("[{{ $labels.missing }}]", "[]"),
        (
            "{{ $externalLabels.cluster }}{{ .ExternalLabels.cluster }}",
            "eueu",
        ),
        (
            "{{ $externalURL }} {{ externalURL }}",
            "http://testhost:9090/path/prefix http://testhost:9090/path/prefix",
        ),
        ("{{ pathPrefix }}", "/path/prefix"),
        (
            "{{ $labels }}",
            "map[instance:host.example.com:9100 job:node]",
        ),
        ("a {{- 1 -}} b", "a1b"),
        ("{{/* a comment */}}x{{- /* y */ -}}  z", "xz"),
        ("{{ \"a\\tb\" }}{{ `c\\d` }}", "a\tbc\\d"),
        ("{{ 'a' }}", "97"),
        ("{{ 1e3 }} {{ 0x10 }} {{ -5 }} {{ 1.50 }}", "1000 16 -5 1.5"),
        ("{{ true }} {{ false }}", "true false"),
        ("{{ with $x := 5 }}{{ $x }}{{ end }}", "5"),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}",
            "2",
        ),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}",
            "1",
        ),
        (
            "{{ if eq $labels.job \"node\" }}n{{ else if true }}m{{ else }}o{{ end }}",
            "n",
        ),
        (
            "{{ if .Labels.nope }}a{{ else if gt $value 10.0 }}b{{ else }}c{{ end }}",
            "b",
        ),
        (
            "{{ with .Labels.nope }}{{ . }}{{ else }}none{{ end }}",
            "none",
        ),
        (
            "{{ range $i, $s := query \"metric\" }}{{ $i }}={{ $s.Labels.instance }}:{{ .Value }} {{ end }}",
            "0=b:21 1=a:11 ",
        ),
        (
            "{{ range query \"metric\" | sortByLabel \"instance\" }}{{ .Labels.instance }}:{{ .Value }} {{ end }}",
            "a:11 b:21 ",
        ),
        (
            "{{ range query \"empty\" }}x{{ else }}none{{ end }}",
            "none",
        ),
        (
            "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
            "instance=host.example.com:9100;job=node;",
        ),
        (
            "{{ range $i, $s := query \"metric\" }}{{ if $i }}{{ break }}{{ end }}{{ $i }}{{ end }}",
            "0",
        ),
        (
            "{{ range $i, $s := query \"metric\" }}{{ if not $i }}{{ continue }}{{ end }}{{ $i }}{{ end }}",
            "1",
        ),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ query \"metric\" | first | value }}", "21"),
        ("{{ query \"metric\" | first | label \"instance\" }}", "b"),
        ("{{ query \"metric\" | first | strvalue }}", "text"),
        ("{{ (query \"metric\" | first).Labels.instance }}", "b"),
        (
            "{{ with query \"metric\" }}{{ . | first | value | humanize }}{{ end }}",
            "21",
        ),
        ("{{ len (query \"metric\") }}", "2"),
        ("{{ (index (query \"metric\") 1).Value }}", "11"),
        ("{{ index $labels \"job\" }}", "node"),
        ("{{ slice \"abcdef\" 1 3 }}", "bc"),
        ("{{ \"a\" | printf \"%s-%s\" \"b\" }}", "b-a"),
        ("{{ printf \"%.2f\" $value }}", "1234567.00"),
        ("{{ printf \"%d\" 5 }}", "5"),
        ("{{ print 1 2 \"a\" \"b\" 3 4 }}", "1 2ab3 4"),
        ("{{ println \"a\" 1 }}", "a 1\n"),
        (
            "{{ and 1 0 2 }} {{ or 0 \"\" \"x\" }} {{ not 0 }}",
            "0 x true",
        ),
        (
            "{{ eq 1 2 1 }} {{ ne \"a\" \"b\" }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1.5 1.0 }} {{ ge 1 2 }}",
            "true true true true true false",
        ),
        (
            "{{ humanize 0.0 }} {{ humanize 1.0 }} {{ humanize 1234567.0 }} {{ humanize .12 }} {{ humanize \"1000\" }}",
            "0 1 1.235M 120m 1k",
        ),
        (
            "{{ humanize1024 0.0 }} {{ humanize1024 1048576.0 }} {{ humanize1024 .12 }} {{ humanize1024 1500 }}",
            "0 1Mi 0.12 1.465ki",
        ),
        (
            "{{ humanizeDuration 0.0 }} {{ humanizeDuration 1.0 }} {{ humanizeDuration 61 }} {{ humanizeDuration 3600 }} {{ humanizeDuration 86400 }}",
            "0s 1s 1m 1s 1h 0m 0s 1d 0h 0m 0s",
        ),
        (
            "{{ humanizeDuration 899.99 }} {{ humanizeDuration 12.3456 }} {{ humanizeDuration -60.5 }} {{ humanizeDuration .0001 }}",
            "14m 59s 12.35s -1m 0s 100us",
        ),
        (
            "{{ humanizePercentage 0.1234567 }} {{ humanizePercentage 1 }}",
            "12.35% 100%",
        ),
        (
            "{{ 1435065584.128 | humanizeTimestamp }}",
            "2015-06-23 13:19:44.128 +0000 UTC",
        ),
        (
            "{{ (1435065584.128 | toTime).Year }} {{ (toTime 0).Format \"2006-01-02\" }}",
            "2015 1970-01-01",
        ),
        (
            "{{ 1899 | toDuration }} {{ (toDuration 90).Minutes }}",
            "31m39s 1.5",
        ),
        ("{{ now }}", "1.435065584128e+09"),
        (
            "{{ now | humanizeTimestamp }}",
            "2015-06-23 13:19:44.128 +0000 UTC",
        ),
        (
            "{{ \"foo bar-baz it's a_b x.y\" | title }}",
            "Foo Bar-Baz It's A_b X.y",
        ),
        ("{{ toUpper \"aé\" }}{{ toLower \"AÉ\" }}", "AÉaé"),
        (
            "{{ \"localhost:8080\" | stripPort }} {{ \"[::1]:80\" | stripPort }} {{ \"x\" | stripPort }}",
            "localhost ::1 x",
        ),
        (
            "{{ $labels.instance | stripDomain }} {{ \"192.0.2.1:80\" | stripDomain }}",
            "host:9100 192.0.2.1:80",
        ),
        (
            "{{ match \"a+\" \"aa\" }} {{ match \"a+\" \"b\" }}",
            "true false",
        ),
        (
            "{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }} {{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance }}",
            "xa host.example.com",
        ),
        (
            "{{ graphLink \"up == 0\" }}",
            "/graph?g0.expr=up+%3D%3D+0&g0.tab=0",
        ),
        ("{{ tableLink \"up\" }}", "/graph?g0.expr=up&g0.tab=1"),
        (
            "{{ parseDuration \"1h30m\" }} {{ parseDuration \"-1m\" }}",
            "5400 -60",
        ),
        (
            "{{ urlQueryEscape \"a b&c\" }} {{ urlquery \"a/b\" }}",
            "a+b%26c a%2Fb",
        ),
        (
            "{{ html \"<a&b>\" }} {{ js \"it's\" }}",
            "&lt;a&amp;b&gt; it\\'s",
        ),
        ("{{ safeHtml \"<b>\" }}", "<b>"),
        ("{{ (args 1 \"x\").arg1 }}", "x"),
        (
            "{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" $labels.job }}",
            "<node>",
        ),
    ] {
        assert_eq!(expand(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn what_is_no_template_is_refused() {
    for (text, want) in [
        (
            "{{ foo }}",
            "template: __alert_X:1: function \"foo\" not defined",
        ),
        (
            "a\nb {{ $x }}",
            "template: __alert_X:2: undefined variable \"$x\"",
        ),
        ("{{ if }}", "template: __alert_X:1: missing value for if"),
        ("{{ if true }}", "template: __alert_X:1: unexpected EOF"),
        ("{{ end }}", "template: __alert_X:1: unexpected {{end}}"),
        ("{{ $labels.x", "template: __alert_X:1: unclosed action"),
        (
            "{{ \"x }}",
            "template: __alert_X:1: unterminated quoted string",
        ),
        ("{{ }}", "template: __alert_X:1: missing value for command"),
        ("{{ (1 }}", "template: __alert_X:1: unclosed left paren"),
        (
            "{{ 1 | 2 }}",
            "template: __alert_X:1: non executable command in pipeline stage 2",
        ),
        (
            "{{ break }}",
            "template: __alert_X:1: {{break}} outside {{range}}",
        ),
        ("{{/* x", "template: __alert_X:1: unclosed comment"),
        (
            "{{ $x = 1 }}",
            "template: __alert_X:1: undefined variable \"$x\"",
        ),
    ] {
        assert_eq!(expand(text), Err(want.to_owned()), "{text}");
    }
}

#[test]
fn errors_of_execution_say_where() {
    let prefix = "error executing template __alert_X: template: __alert_X:1:";
    for (text, want) in [
        (
            "{{ query \"empty\" | first }}",
            "executing \"__alert_X\" at <first>: error calling first: first() called on vector with no elements",
        ),
        (
            "{{ if gt $value 1 }}{{ end }}",
            "executing \"__alert_X\" at <gt>: error calling gt: incompatible types for comparison",
        ),
        (
            "{{ .Foo }}",
            "at <.Foo>: can't evaluate field Foo in type struct",
        ),
        (
            "{{ query \"bad\" }}",
            "at <query>: error calling query: no such metric: bad",
        ),
        (
            "{{ toUpper 1 }}",
            "wrong type for value; expected string; got int",
        ),
        (
            "{{ humanize \"x\" }}",
            "error calling humanize: strconv.ParseFloat: parsing \"x\": invalid syntax",
        ),
        ("{{ range 2000000 }}{{ end }}", "more than 1000000 steps"),
        (
            "{{ first }}",
            "wrong number of args for first: want 1 got 0",
        ),
        ("{{ template \"x\" }}", "template \"x\" not defined"),
    ] {
        let error = expand(text).expect_err(text);
        assert!(error.starts_with(prefix), "{text}: {error}");
        assert!(error.contains(want), "{text}: {error}");
    }
}

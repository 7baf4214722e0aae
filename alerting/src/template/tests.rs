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
            histogram: None,
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
            "executing \"__alert_X\" at <gt $value 1>: error calling gt: incompatible types for comparison: float64 and int",
        ),
        (
            "{{ .Foo }}",
            "at <.Foo>: can't evaluate field Foo in type struct",
        ),
        (
            "{{ query \"bad\" }}",
            "at <query \"bad\">: error calling query: no such metric: bad",
        ),
        ("{{ toUpper 1 }}", "at <1>: expected string; found 1"),
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

/// What Prometheus 3.14 yields, recorded with `promtool test rules`: a text, or behind `!` the
/// column of an error, what it is at, and the error.
#[rustfmt::skip]
const RECORDED: &[(&str, &str)] = &[
    ("{{ query \"empty\" | first }}", "!131: <first>: error calling first: first() called on vector with no elements"),
    ("{{ .Foo }}", "!115: <.Foo>: can't evaluate field Foo in type struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }"),
    ("{{ toUpper 1 }}", "!123: <1>: expected string; found 1"),
    ("{{ humanize \"x\" }}", "!115: <humanize \"x\">: error calling humanize: strconv.ParseFloat: parsing \"x\": invalid syntax"),
    ("{{ first }}", "!115: <first>: wrong number of args for first: want 1 got 0"),
    ("{{ \"1foo bar2baz FOO o'neil a:b x/y e.g. ünder 3rd-party_a\" | title }}", "1Foo Bar2baz FOO O'neil A:b X/Y E.g. Ünder 3Rd-Party_a"),
    ("{{ humanize 1e25 }} {{ humanize 999.96 }} {{ humanize 0.0009999 }} {{ humanize -1500 }} {{ humanize true }}", "!203: <humanize true>: error calling humanize: can't convert bool to float"),
    ("{{ humanize -1500 }}|{{ humanize 1e25 }}|{{ humanize 999.96 }}|{{ humanize 0.0009999 }}|{{ humanize 1e-30 }}", "-1.5k|10Y|1000|999.9u|1e-06y"),
    ("{{ humanize1024 -2048 }}|{{ humanize1024 1e27 }}", "-2ki|827.2Yi"),
    ("{{ humanizeDuration 1e9 }}|{{ humanizeDuration 59.9996 }}|{{ humanizeDuration 0.9999999 }}|{{ humanizeDuration \"12\" }}|{{ humanizeDuration 1.5e-7 }}", "11574d 1h 46m 40s|60s|1000ms|12s|150ns"),
    ("{{ humanizePercentage 0.0000123 }}|{{ humanizePercentage 12345.678 }}", "0.00123%|1.235e+06%"),
    ("{{ humanizeTimestamp 1e12 }}|{{ humanizeTimestamp 1.5 }}", "!115: <humanizeTimestamp 1e12>: error calling humanizeTimestamp: 1e+12 cannot be represented as a nanoseconds timestamp since it overflows int64"),
    ("{{ toTime 1.5 }}|{{ (toTime 86399).Weekday }}|{{ (toTime 0).Month }}|{{ (toTime 0).Unix }}", "1970-01-01 00:00:01.5 +0000 UTC|Thursday|January|0"),
    ("{{ toTime \"x\" }}", "!115: <toTime \"x\">: error calling toTime: strconv.ParseFloat: parsing \"x\": invalid syntax"),
    ("{{ toDuration \"1.5\" }}|{{ toDuration -90 }}|{{ toDuration 0.0015 }}|{{ toDuration 3600 }}", "1.5s|-1m30s|1.5ms|1h0m0s"),
    ("{{ printf \"%5.2f|%-8s|%08.3f|%+d|%x|%q|%v|%t|%c|%U\" 3.14159 \"ab\" -3.5 5 255 \"q\\\"\" 1.0 true 65 65 }}", " 3.14|ab      |-003.500|+5|ff|\"q\\\"\"|1|true|A|U+0041"),
    ("{{ printf \"%s\" $value }}", "%!s(float64=1.234567e+06)"),
    ("{{ printf \"%d\" $value }}", "%!d(float64=1.234567e+06)"),
    ("{{ printf \"%v %v\" $labels 1e100 }}", "map[instance:host.example.com:9100 job:node] 1e+100"),
    ("{{ printf \"%s\" $labels }}", "map[instance:host.example.com:9100 job:node]"),
    ("{{ printf \"%6d|%-6d|%06d\" 42 42 42 }}", "    42|42    |000042"),
    ("{{ printf \"%.3g|%g|%e|%G\" 1234.5678 1234567.0 1234.5 1e-10 }}", "1.23e+03|1.234567e+06|1.234500e+03|1E-10"),
    ("{{ printf \"%.0f %.1f\" 2.5 0.05 }}", "2 0.1"),
    ("{{ printf \"%d %s\" 1 }}", "1 %!s(MISSING)"),
    ("{{ printf \"%d\" 1 2 }}", "1%!(EXTRA int=2)"),
    ("{{ printf \"%!\" }}", "%!!(MISSING)"),
    ("{{ printf \"%z\" 1 }}", "%!z(int=1)"),
    ("{{ printf \"%5t|%5v\" true nil }}", " true|<nil>"),
    ("{{ printf \"%.2f\" 3 }}", "%!f(int=03)"),
    ("{{ printf \"%x\" \"hi\" }}", "6869"),
    ("{{ eq 1 1.0 }}", "!115: <eq 1 1.0>: error calling eq: incompatible types for comparison: int and float64"),
    ("{{ eq \"a\" 1 }}", "!115: <eq \"a\" 1>: error calling eq: incompatible types for comparison: string and int"),
    ("{{ lt \"a\" \"b\" }}", "true"),
    ("{{ lt true false }}", "!115: <lt true false>: error calling lt: invalid type for comparison"),
    ("{{ ne 1 2 3 }}", "!115: <ne>: wrong number of args for ne: want 2 got 3"),
    ("{{ eq }}", "!115: <eq>: wrong number of args for eq: want at least 1 got 0"),
    ("{{ not }}", "!115: <not>: wrong number of args for not: want 1 got 0"),
    ("{{ and }}", "!115: <and>: wrong number of args for and: want at least 1 got 0"),
    ("{{ len 5 }}", "!115: <len 5>: error calling len: len of type int"),
    ("{{ len $labels }}", "2"),
    ("{{ index $labels \"x\" \"y\" }}", "!115: <index $labels \"x\" \"y\">: error calling index: cannot index slice/array with type string"),
    ("{{ index (query \"metric\") 5 }}", "!115: <index (query \"metric\") 5>: error calling index: index out of range: 5"),
    ("{{ index $labels 1 }}", "!115: <index $labels 1>: error calling index: value has type int; should be string"),
    ("{{ slice \"abc\" 2 1 }}", "!115: <slice \"abc\" 2 1>: error calling slice: invalid slice index: 2 > 1"),
    ("{{ slice \"abc\" 5 }}", "!115: <slice \"abc\" 5>: error calling slice: index out of range: 5"),
    ("{{ slice \"abc\" }}", "abc"),
    ("{{ $labels.instance.x }}", "!122: <$labels.instance.x>: can't evaluate field x in type string"),
    ("{{ .Labels.job | toUpper | printf \"%s!\" }}", "NODE!"),
    ("{{ $x := \"a\" }}{{ $x }}{{ with $x := \"b\" }}{{ $x }}{{ end }}{{ $x }}", "aba"),
    ("{{ 1 | toUpper }}", "!119: <toUpper>: wrong type for value; expected string; got int"),
    ("{{ \"x\" 1 }}", "!115: <\"x\">: can't give argument to non-function \"x\""),
    ("{{ nil }}", "!115: <nil>: nil is not a command"),
    ("{{ $value.x }}", "!121: <$value.x>: can't evaluate field x in type float64"),
    ("{{ true }}{{ false | not }}", "truetrue"),
    ("{{ if and true (gt $value 5.0) }}y{{ end }}", "y"),
    ("{{ or \"\" \"d\" }}|{{ and 1 \"\" 2 }}|{{ \"\" | or \"x\" }}", "d||x"),
    ("{{ range $i := query \"metric\" }}{{ $i.Value }},{{ end }}", "21,11,"),
    ("{{ range 1.5 }}{{ end }}", "!121: <1.5>: range can't iterate over 1.5"),
    ("{{ range nil }}{{ end }}", "!121: <nil>: nil is not a command"),
    ("{{ (args 1 2).arg5 }}|{{ args 1 \"x\" }}", "<no value>|map[arg0:1 arg1:x]"),
    ("{{ stripPort \"a:b:c\" }}|{{ stripPort \"[::1]\" }}|{{ stripDomain \"a.b.c\" }}|{{ stripDomain \"[fe80::1]:80\" }}|{{ stripDomain \"::1\" }}", "a:b:c|[::1]|a|[fe80::1]:80|::1"),
    ("{{ match \"^b\" \"ab\" }}|{{ match \"a.c\" \"a\\nc\" }}", "false|false"),
    ("{{ parseDuration \"1d\" }}|{{ parseDuration \"0\" }}", "86400|0"),
    ("{{ graphLink \"a + b{x=\\\"y\\\"}\" }}", "/graph?g0.expr=a+%2B+b%7Bx%3D%22y%22%7D&g0.tab=0"),
    ("{{ html \"a'b\\\"c\" }}|{{ js \"</script>\\n\\u00e9\" }}|{{ urlquery \"a b\" \"c\" }}", "a&#39;b&#34;c|\\u003C/script\\u003E\\u000Aé|a+bc"),
    ("{{ sortByLabel \"instance\" (query \"metric\") | first | label \"instance\" }}", "a"),
    ("{{ label \"x\" (query \"metric\" | first) }}", ""),
    ("{{ $externalURL }}|{{ .ExternalURL }}", "http://testhost:9090/path/prefix|http://testhost:9090/path/prefix"),
    ("{{ $.Value }}", "1.234567e+06"),
    ("{{ (query \"metric\" | first).Value | humanize }}", "21"),
    ("{{ (query \"metric\" | first).Foo }}", "!133: <first>: can't evaluate field Foo in type *template.sample"),
    ("{{ 0x1F }} {{ 1_000 }} {{ 017 }} {{ 0b11 }} {{ 1e2 }} {{ .5 }} {{ +3 }}", "31 1000 15 3 100 0.5 3"),
    ("{{ '\\n' }}", "10"),
    ("{{ \"\\x41\\u00e9\\101\" }}", "AéA"),
    ("{{ if $labels.x }}a{{ else if $labels.job }}b{{ end }}", "b"),
    ("{{ block \"b\" . }}{{ .Value }}{{ end }}", "1.234567e+06"),
    ("{{ $labels.job | }}", "node"),
    ("{{ (1).x }}", "!116: <1>: can't evaluate field x in type int"),
    ("{{ (printf \"%s\" \"a\").x }}", "!128: <\"a\">: can't evaluate field x in type string"),
    ("{{ toUpper \"a\" \"b\" }}", "!115: <toUpper>: wrong number of args for toUpper: want 1 got 2"),
    ("{{ print (1) }}", "1"),
    ("{{ $v := . }}{{ $v.Labels.job }}", "node"),
    ("{{ $value = 5.0 }}{{ $value }}", "5"),
    ("{{- /* c */ -}} x", "x"),
    ("{{\"a\"}}{{- \"b\"}}", "ab"),
    ("{{ if $x := 1 }}{{ $x }}{{ end }}", "1"),
    ("{{ strvalue (query \"metric\" | first) }}", "text"),
    ("{{ safeHtml \"<b>\" }}", "<b>"),
    ("{{ toLower $value }}", "!123: <$value>: wrong type for value; expected string; got float64"),
    ("{{ $labels | len }}", "2"),
    ("{{ humanize $labels }}", "!115: <humanize $labels>: error calling humanize: can't convert map[string]string to float"),
    ("{{ humanize nil }}", "!115: <humanize nil>: error calling humanize: can't convert <nil> to float"),
    ("{{ humanizeTimestamp 1e300 }}", "!115: <humanizeTimestamp 1e300>: error calling humanizeTimestamp: 1e+300 cannot be represented as a nanoseconds timestamp since it overflows int64"),
    ("{{ printf \"%s %s\" \"a\" nil }}", "a %!s(<nil>)"),
    ("{{ print nil }}", "<nil>"),
];

#[test]
fn templates_yield_what_was_recorded() {
    let frame = "error executing template __alert_X: template: __alert_X:1:";
    for (text, want) in RECORDED {
        let got = match expand(text) {
            Ok(got) => got,
            Err(error) => {
                let error = error.strip_prefix(frame).unwrap_or(&error);
                format!("!{}", error.replacen("executing \"__alert_X\" at ", "", 1))
            }
        };
        assert_eq!(got, *want, "{text}");
    }
}

//! Texts and what becomes of them.

use proptest::prelude::*;

use super::*;

/// The canonical form, or the error.
fn read(text: &str) -> String {
    match parse(text) {
        Ok(expr) => expr.to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn expressions_print_in_their_canonical_form() {
    for (text, want) in [
        ("sum(foo) by (a,b,)", "sum by (a, b) (foo)"),
        ("AVG without(x)(foo)", "avg without (x) (foo)"),
        ("foo{c!='d',a=~\"b\",}", "foo{a=~\"b\",c!=\"d\"}"),
        (
            "{\"foo.bar\", \"x.y\"=~'z'}",
            "{\"x.y\"=~\"z\",__name__=\"foo.bar\"}",
        ),
        (
            "foo[90s:1m] offset -1h @ 1.5",
            "foo[1m30s:1m] @ 1.500 offset -1h",
        ),
        ("foo @ start()", "foo @ start()"),
        ("-1^2", "-1 ^ 2"),
        ("2^3^2", "2 ^ 3 ^ 2"),
        ("- -1 + 0x1F", "1 + 31"),
        ("010 + 09 + 1_000", "8 + 9 + 1000"),
        ("a*on(x,y)group_left b", "a * on (x, y) group_left () b"),
        ("1h30m", "1h30m"),
        ("foo offset (5m+1m)", "foo offset (5m + 1m)"),
        ("foo[max_of(step(), 1m)]", "foo[max_of(step(), 1m)]"),
        ("foo # comment", "foo"),
        ("quantile(0.9, by)", "quantile(0.9, by)"),
        ("fill + fill", "fill + fill"),
        ("inf", "+Inf"),
    ] {
        assert_eq!(read(text), want, "{text}");
    }
}

#[test]
fn errors_point_and_name() {
    for (text, want) in [
        (
            "",
            "unknown position: parse error: no expression found in input",
        ),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("1 +", "1:4: parse error: unexpected end of input"),
        (
            "sum(\n  foo bar\n)",
            "2:7: parse error: unexpected identifier \"bar\" in aggregation",
        ),
        (
            "foo{a==b}",
            "1:7: parse error: unexpected \"=\" in label matching, expected string",
        ),
        (
            "foo{a}",
            "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator",
        ),
        (
            "sum by (1) (foo)",
            "1:9: parse error: unexpected number \"1\" in grouping opts, expected label",
        ),
        (
            "foo offset",
            "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        (
            "foo[0]",
            "1:5: parse error: duration must be greater than 0",
        ),
        ("(foo", "1:5: parse error: unclosed left parenthesis"),
        ("foo)", "1:5: parse error: unexpected right parenthesis ')'"),
        (
            "rate(foo)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "nope(foo)",
            "1:1: parse error: unknown function with name \"nope\"",
        ),
        (
            "mad_over_time(foo[5m])",
            "1:1: parse error: function \"mad_over_time\" is not enabled",
        ),
        (
            "1 == 1",
            "1:3: parse error: comparisons between scalars must use BOOL modifier",
        ),
        (
            "foo and 1",
            "1:1: parse error: set operator \"and\" not allowed in binary scalar expression",
        ),
        (
            "{a=\"\"}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "foo{__name__=\"bar\"}",
            "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\"",
        ),
        (
            "foo offset 5m offset 5m",
            "1:1: parse error: offset may not be set multiple times",
        ),
        (
            "foo anchored",
            "1:1: parse error: anchored modifier is experimental and not enabled",
        ),
        (
            "rate(foo[5m],)",
            "1:13: parse error: trailing commas not allowed in function call args",
        ),
        (
            "5m1h",
            "1:1: parse error: not a valid duration string: \"5m1h\"",
        ),
        (
            "foo @ start",
            "1:12: parse error: unexpected end of input in @, expected timestamp",
        ),
        ("$", "1:1: parse error: unexpected character: '$'"),
        ("\0", r"1:1: parse error: unexpected character: '\x00'"),
        (
            "0x",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0x\": invalid syntax",
        ),
        (
            "1_ + 1",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1_\": invalid syntax",
        ),
        (
            "abs(1e)",
            "1:5: parse error: error parsing number: strconv.ParseFloat: parsing \"1e\": invalid syntax",
        ),
        (
            "1e999",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range",
        ),
        (
            "g[1.5m]",
            "1:3: parse error: unknown unit \".\" in duration \"1.5m\"",
        ),
        (
            "g[step(]",
            "1:8: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        (
            "sum((sum) / (by(g)))",
            "1:16: parse error: unexpected \"(\" in aggregation",
        ),
        (
            "topk(x))",
            "1:9: parse error: unexpected right parenthesis ')'",
        ),
        (
            "a + bool b",
            "1:3: parse error: bool modifier can only be used on comparison operators",
        ),
    ] {
        assert_eq!(read(text), want, "{text}");
    }
}

#[test]
fn a_selector_alone_is_nothing_else() {
    for (text, want) in [
        ("sum(g)", "1:4: parse error: unexpected \"(\""),
        ("g or g", "1:3: parse error: unexpected <op:or>"),
        ("g[5m]", "1:2: parse error: unexpected \"[\""),
        ("g offset 5m", "1:3: parse error: unexpected <offset>"),
        ("(g)", "1:1: parse error: unexpected \"(\""),
        ("bool", "1:1: parse error: unexpected <bool>"),
        ("", "unknown position: parse error: unexpected end of input"),
    ] {
        let error = crate::parse_selector(text).expect_err("more than a selector");
        assert_eq!(error.to_string(), want, "{text}");
    }
    for text in ["g", "{}", "sum", "g{a=\"b\"} # so"] {
        assert!(crate::parse_selector(text).is_ok(), "{text}");
    }
}

#[test]
fn selectors_are_listed_from_left_to_right() {
    let expr = parse("sum(a) / on() rate(b[5m]) + c[1h:]").expect_err("a subquery is no operand");
    assert!(expr.message.contains("only scalar and instant vector"));
    let expr = parse("sum(a) / on() rate(b[5m]) + max_over_time(c[1h:])").expect("valid");
    let names: Vec<_> = expr.selectors().iter().map(|s| s.name.clone()).collect();
    assert_eq!(names, ["a", "b", "c"].map(|name| Some(name.to_owned())));
}

#[test]
fn depth_and_length_are_limited() {
    let deep = |open: &str, close: &str, times: usize| {
        format!("{}1{}", open.repeat(times), close.repeat(times))
    };
    let chain = |op: &str, times: usize| format!("1{}", format!("{op}1").repeat(times));
    for text in [
        deep("(", ")", 100_000),
        deep("-", "", 100_000),
        deep("abs(", ")", 100_000),
        chain("+", 100_000),
        chain("^", 100_000),
        format!("foo{}", "[1m:]".repeat(100_000)),
        format!("foo[{}1m]", "(".repeat(100_000)),
    ] {
        let error = parse(&text).expect_err("too deep");
        assert!(
            error.message.contains("nested deeper") || error.message.contains("chains"),
            "{}",
            error.message
        );
    }
    let most = deep("(", ")", NESTING_LIMIT - 1);
    assert_eq!(read(&most), most, "what is allowed works on a small stack");
    let chain = format!("1{}", " + 1".repeat(HEIGHT_LIMIT - 1));
    assert_eq!(read(&chain), chain, "so does the longest chain");
    let long = " ".repeat(QUERY_LIMIT_BYTES + 1);
    assert!(
        parse(&long)
            .expect_err("too long")
            .message
            .contains("longer")
    );
}

/// Words and signs that make up expressions.
fn token() -> impl Strategy<Value = String> {
    let fixed = [
        "sum",
        "by",
        "(",
        ")",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "foo",
        "bar",
        "=",
        "!=",
        "=~",
        "==",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "and",
        "or",
        "unless",
        "atan2",
        "on",
        "ignoring",
        "group_left",
        "bool",
        "offset",
        "@",
        "start",
        "end",
        "5m",
        "1",
        "0x1",
        "1e3",
        "\"a\"",
        "'b'",
        "`c`",
        ",",
        ":",
        "[5m]",
        "[5m:]",
        "rate",
        "topk",
        "abs",
        "step()",
        "{a=\"b\"}",
        "inf",
        "nan",
        "#x\n",
        "max_of",
        "fill(1)",
        "anchored",
        "smoothed",
        "</",
        "time()",
    ];
    proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned)
}

/// Expressions that parse.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("foo".to_owned()),
        Just("{a=\"b\",c!~\"d|e\"} offset -5m".to_owned()),
        Just("rate(foo[5m] @ 12.5)".to_owned()),
        Just("bar offset (step() * 2 - -1m)".to_owned()),
        Just("vector(1.5e-3)".to_owned()),
        Just("label_replace(foo, \"a\\n\", '$1', `b`, \"(.*)\")".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = proptest::sample::select(vec![
            "+",
            "- on (a)",
            "* ignoring (a, b) group_left (c)",
            "^",
            "== bool",
            "<",
            "atan2",
            "and",
            "or on ()",
            "unless",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner
                .clone()
                .prop_map(|a| format!("sum by (x, \"y.z\") ({a})")),
            inner
                .clone()
                .prop_map(|a| format!("topk without () (2, {a})")),
            inner
                .clone()
                .prop_map(|a| format!("max_over_time(({a})[10m:1m] @ end())")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}") {
        let _ = parse_with(&text, ParseOptions::ALL);
    }

    #[test]
    fn any_tokens_are_read_or_refused(tokens in prop::collection::vec(token(), 0..25)) {
        if let Ok(expr) = parse_with(&tokens.join(" "), ParseOptions::ALL) {
            let printed = expr.to_string();
            let again = parse_with(&printed, ParseOptions::ALL);
            prop_assert_eq!(again.map(|e| e.to_string()), Ok(printed));
        }
    }

    #[test]
    fn printing_and_reading_is_stable(text in expression()) {
        let expr = parse_with(&text, ParseOptions::ALL);
        prop_assert!(expr.is_ok(), "{}: {:?}", text, expr.err());
        let printed = expr.map(|e| e.to_string()).unwrap_or_default();
        let again = parse_with(&printed, ParseOptions::ALL).map(|e| e.to_string());
        prop_assert_eq!(again, Ok(printed));
    }
}

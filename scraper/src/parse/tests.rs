//! Both parsers against tables, each other's guesses and an oracle.

use barograph_model::{LabelsBuilder, MetricKind};

use super::*;

/// A guess made by a function.
struct Known<F>(F);

impl<F: FnMut(&[u8]) -> usize> Guess for Known<F> {
    fn series(&mut self, rest: &[u8]) -> usize {
        (self.0)(rest)
    }
}

/// What a body says, one line per item.
fn transcript<'a, P: Parser<'a>>(
    mut parser: P,
    dialect: Dialect,
    guess: impl FnMut(&[u8]) -> usize,
) -> Result<Vec<String>, String> {
    let mut guess = Known(guess);
    let mut lines = Vec::new();
    let mut labels = LabelsBuilder::new();
    loop {
        let item = parser.next(&mut guess).map_err(|error| error.to_string())?;
        match item {
            None => return Ok(lines),
            Some(Item::Sample(line)) => {
                read_labels(line.series, dialect, parser.kind(), &mut labels).map_err(|e| e.0)?;
                let bits = line.value.to_bits();
                let time = line
                    .timestamp_ms
                    .map_or(String::new(), |t| format!(" @{t}"));
                lines.push(format!("{} {} {bits:x}{time}", labels.build(), line.value));
            }
            Some(Item::Metadata(MetadataLine { family, field, .. })) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let said = match field {
                    MetadataField::Kind(kind) => format!("type {kind}"),
                    MetadataField::Help(help) => format!("help {:?}", text(help)),
                    MetadataField::Unit(unit) => format!("unit {:?}", text(unit)),
                };
                lines.push(format!("{}: {said}", text(family)));
            }
        }
    }
}

fn read(dialect: Dialect, body: &str) -> Result<Vec<String>, String> {
    match dialect {
        Dialect::Text => transcript(TextParser::new(body.as_bytes()), dialect, |_| 0),
        Dialect::OpenMetrics => transcript(OpenMetricsParser::new(body.as_bytes()), dialect, |_| 0),
    }
}

/// The samples of a body, values without their bits.
fn check(dialect: Dialect, body: &str, want: &[&str]) {
    let got = read(dialect, body).unwrap_or_else(|error| panic!("{body:?}: {error}"));
    let got: Vec<String> = got
        .iter()
        .map(|line| {
            let mut words: Vec<&str> = line.split(' ').collect();
            if line.starts_with('{') {
                let last = words.len() - 1;
                words.remove(if words[last].starts_with('@') {
                    last - 1
                } else {
                    last
                });
            }
            words.join(" ")
        })
        .collect();
    assert_eq!(got, want, "{body:?}");
}

fn check_error(dialect: Dialect, body: &str, line: usize, what: &str) {
    let error = read(dialect, body).expect_err(body);
    assert!(error.contains(what), "{body:?}: {error}");
    if line > 0 {
        assert!(
            error.starts_with(&format!("line {line}: ")),
            "{body:?}: {error}"
        );
    }
}

#[test]
fn text_lines() {
    let text = Dialect::Text;
    check(text, "", &[]);
    check(text, "\n \n\t\n", &[]);
    check(text, "a 1", &[r#"{__name__="a"} 1"#]);
    check(
        text,
        "a 1\nb 2\n",
        &[r#"{__name__="a"} 1"#, r#"{__name__="b"} 2"#],
    );
    check(text, " \ta\t 1 \t 123 \n", &[r#"{__name__="a"} 1 @123"#]);
    check(text, "a{} 1.5e3", &[r#"{__name__="a"} 1500"#]);
    check(text, "a{b=\"c\"}1", &[r#"{__name__="a", b="c"} 1"#]);
    check(text, "a {b=\"c\"} 1", &[r#"{__name__="a", b="c"} 1"#]);
    check(
        text,
        "a { b = \"c\" , d=\"e\" , } -0.25\n",
        &[r#"{__name__="a", b="c", d="e"} -0.25"#],
    );
    check(
        text,
        "a{b=\"c\" d=\"e\"} 1",
        &[r#"{__name__="a", b="c", d="e"} 1"#],
    );
    check(text, "a{b=\"\"} 1", &[r#"{__name__="a"} 1"#]);
    check(
        text,
        r#"a{b="\"\\\n\q"} 1"#,
        &["{__name__=\"a\", b=\"\\\"\\\\\\n\\\\q\"} 1"],
    );
    check(
        text,
        "a{b=\"x{y} z#\"} 1",
        &[r#"{__name__="a", b="x{y} z#"} 1"#],
    );
    check(
        text,
        "a{b=\"c\nd\"} 1\ne 2",
        &["{__name__=\"a\", b=\"c\\nd\"} 1", r#"{__name__="e"} 2"#],
    );
    check(text, "a:b:c_1 1", &[r#"{__name__="a:b:c_1"} 1"#]);
    check(
        text,
        r#"{"a.b", "c.d"="e"} 1"#,
        &[r#"{__name__="a.b", "c.d"="e"} 1"#],
    );
    check(
        text,
        r#"{c="d","a.b"} 1"#,
        &[r#"{__name__="a.b", c="d"} 1"#],
    );
    check(
        text,
        r#"a{"c.d"="e"} 1"#,
        &[r#"{__name__="a", "c.d"="e"} 1"#],
    );
    check(
        text,
        "a NaN\nb +Inf\nc -Inf",
        &[
            r#"{__name__="a"} NaN"#,
            r#"{__name__="b"} inf"#,
            r#"{__name__="c"} -inf"#,
        ],
    );
    check(
        text,
        "# a comment\n#\n#x\n# HELPX\n# HELP\n# TYPE\na 1",
        &[r#"{__name__="a"} 1"#],
    );
}

#[test]
fn text_metadata() {
    let text = Dialect::Text;
    check(
        text,
        "# HELP a \t some  text \\n\n",
        &[r#"a: help "some  text \\n""#],
    );
    check(
        text,
        "# HELP a\n# HELP b \n",
        &[r#"a: help """#, r#"b: help """#],
    );
    check(
        text,
        "#  TYPE   a   counter\n#\tTYPE b untyped",
        &["a: type counter", "b: type unknown"],
    );
    check(
        text,
        "# HELP \"a.b\" x\n# TYPE \"a.b\" gauge\n",
        &[r#"a.b: help "x""#, "a.b: type gauge"],
    );
    check(
        text,
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\n# TYPE s summary\ns{quantile=\"0\"} 1\n# TYPE g gauge\ng{le=\"1\"} 1\n",
        &[
            "h: type histogram",
            r#"{__name__="h_bucket", le="1.0"} 1"#,
            r#"{__name__="h_bucket", le="+Inf"} 1"#,
            "s: type summary",
            r#"{__name__="s", quantile="0.0"} 1"#,
            "g: type gauge",
            r#"{__name__="g", le="1"} 1"#,
        ],
    );
}

#[test]
fn text_errors() {
    let text = Dialect::Text;
    for (body, line, what) in [
        ("a\n", 1, "expected a value"),
        ("a 1\nb{c=\"d\"}\n", 2, "expected a value"),
        ("a{b='c'} 1\n", 1, "double quotes"),
        ("a{b=\"c} 1\n", 1, "not closed"),
        ("a{b=\"c\\\"} 1\n", 1, "not closed"),
        ("a{b} 1\n", 1, "expected `=`"),
        ("a{1b=\"c\"} 1\n", 1, "expected a label name"),
        ("a{,} 1\n", 1, "expected a label name"),
        ("a{b=\"c\"", 1, "expected a label name"),
        ("1a 1\n", 1, "expected a metric name"),
        ("a 1 2 3\n", 1, "after the timestamp"),
        ("a 1 -2\n", 1, "only a timestamp"),
        ("a 1 1.5\n", 1, "after the timestamp"),
        ("a 1 99999999999999999999\n", 1, "out of range"),
        ("a 1_000\n", 1, "is not a number"),
        ("a 0x1p-3\n", 1, "is not a number"),
        ("a 1e500\n", 1, "is not a number"),
        ("a b\n", 1, "is not a number"),
        ("a 1\r\nb 2\r\n", 1, "CR LF"),
        ("a 1 12\r\n", 1, "CR LF"),
        ("# TYPE a bogus\n", 1, "unknown metric type"),
        ("# TYPE 1a gauge\n", 1, "expected a metric name after TYPE"),
        ("# HELP \n", 1, "expected a metric name after HELP"),
        ("{b=\"c\"} 1\n", 1, "metric name is missing"),
        ("a{\"b\"} 1\n", 1, "given twice"),
        ("{\"a\",\"b\"} 1\n", 1, "given twice"),
        ("<!doctype html>\n", 1, "expected a metric name"),
        ("a{b=\"c\",b=\"d\"} 1\n", 0, "given twice"),
        ("a{__name__=\"d\"} 1\n", 0, "given twice"),
        ("a\0 1\n", 1, "is not a number"),
    ] {
        check_error(text, body, line, what);
    }
    let broken = b"a{b=\"\xff\"} 1\n";
    let mut parser = TextParser::new(broken);
    let Ok(Some(Item::Sample(line))) = parser.next(&mut Unknown) else {
        panic!("the line itself is well-formed");
    };
    let mut labels = LabelsBuilder::new();
    let error = read_labels(line.series, Dialect::Text, MetricKind::Unknown, &mut labels);
    assert!(error.is_err_and(|error| error.0.contains("UTF-8")));
}

#[test]
fn errors_quote_the_line() {
    let body = format!("ok 1\nbad{{x=\"{}\n", "y".repeat(500));
    let error = read(Dialect::Text, &body).expect_err("not closed");
    assert!(error.starts_with("line 2: "), "{error}");
    assert!(error.contains("bad{x="), "{error}");
    assert!(error.len() < 300, "{} bytes", error.len());
}

/// Recorded pages of real exporters, read by the parser and by the grammar.
#[test]
fn recorded_pages() {
    use std::path::PathBuf;
    use std::process::Command;

    let shared = std::env::var_os("BAROGRAPH_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    for (name, fewest) in [("node", 400), ("app", 100), ("alertmanager", 200)] {
        let archive = shared.join(format!("corpus/{name}.tar.zst"));
        if !archive.exists() {
            eprintln!(
                "ABSENT: {} (recorded pages are not checked)",
                archive.display()
            );
            continue;
        }
        // One page from the middle of the recording.
        let list = format!("zstd -dc --long=27 {archive:?} | tar -t | grep txt | sed -n 400p");
        let shell = |script: &str| {
            Command::new("sh")
                .arg("-c")
                .arg(script)
                .output()
                .expect("sh runs")
        };
        let file = String::from_utf8(shell(&list).stdout).expect("a file name");
        let script = format!("zstd -dc --long=27 {archive:?} | tar -xO '{}'", file.trim());
        let body = shell(&script).stdout;
        assert!(
            !body.is_empty(),
            "zstd and tar are needed to read {}",
            archive.display()
        );
        let dialect = Dialect::Text;
        let got = transcript(TextParser::new(&body), dialect, |_| 0).expect(name);
        assert_eq!(
            Some(&got),
            oracle::transcript(dialect, &body).as_ref(),
            "{name}"
        );
        let samples = got.iter().filter(|line| line.starts_with('{')).count();
        assert!(samples >= fewest, "{name}: {samples} samples");
    }
}

#[test]
fn open_metrics_lines() {
    let om = Dialect::OpenMetrics;
    check(om, "# EOF", &[]);
    check(om, "# EOF\n", &[]);
    check(
        om,
        "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds Some text.\na_seconds_total{b=\"c\"} 1.0 1520879607.789\na_seconds_created{b=\"c\"} 1520872607.123\n# EOF\n",
        &[
            "a_seconds: type counter",
            r#"a_seconds: unit "seconds""#,
            r#"a_seconds: help "Some text.""#,
            r#"{__name__="a_seconds_total", b="c"} 1 @1520879607789"#,
            r#"{__name__="a_seconds_created", b="c"} 1520872607.123"#,
        ],
    );
    check(
        om,
        "# TYPE h histogram\nh_bucket{le=\"1\"} 5 # {trace_id=\"x\",b=\"\"} 0.5 1520879607.789\nh_bucket{le=\"+Inf\"} 5 1.5 # {} 0.5\nh_count 5 # {\"a.b\"=\"c\"} 1\n# EOF\n",
        &[
            "h: type histogram",
            r#"{__name__="h_bucket", le="1.0"} 5"#,
            r#"{__name__="h_bucket", le="+Inf"} 5 @1500"#,
            r#"{__name__="h_count"} 5"#,
        ],
    );
    check(
        om,
        "{\"a.b\",\"c.d\"=\"e\"} 1 -1.5\n# EOF",
        &[r#"{__name__="a.b", "c.d"="e"} 1 @-1500"#],
    );
    check(
        om,
        "# TYPE a info\n# TYPE b stateset\n# TYPE c gaugehistogram\n# TYPE d unknown\n# HELP e \n# EOF\n",
        &[
            "a: type info",
            "b: type stateset",
            "c: type gaugehistogram",
            "d: type unknown",
            r#"e: help """#,
        ],
    );
}

#[test]
fn open_metrics_errors() {
    let om = Dialect::OpenMetrics;
    for (body, line, what) in [
        ("", 1, "does not end with # EOF"),
        ("a 1\n", 2, "does not end with # EOF"),
        ("a 1", 1, "does not end with # EOF"),
        ("# HELP x # EOF\n", 2, "does not end with # EOF"),
        ("# EOF\na 1\n", 2, "unexpected data after # EOF"),
        ("# EOF\n\n", 2, "unexpected data after # EOF"),
        ("# EOFx", 1, "unexpected data after # EOF"),
        ("\n# EOF\n", 1, "empty lines"),
        (" a 1\n# EOF\n", 1, "expected a metric name"),
        ("a  1\n# EOF\n", 1, "is not a number"),
        ("a\t1\n# EOF\n", 1, "expected one blank"),
        ("a {b=\"c\"} 1\n# EOF\n", 1, "is not a number"),
        ("a{b=\"c\" } 1\n# EOF\n", 1, "expected `,` or `}`"),
        ("a{ b=\"c\"} 1\n# EOF\n", 1, "expected a label name"),
        ("a{b=\"c\nd\"} 1\n# EOF\n", 1, "not closed"),
        ("a 1 \n# EOF\n", 1, "is not a number"),
        ("a 1 NaN\n# EOF\n", 1, "not finite"),
        ("a 1 2 3\n# EOF\n", 1, "end of the line"),
        ("a 1 # {b=\"c\"}\n# EOF\n", 1, "after the exemplar's labels"),
        ("a 1 # {b=\"c\"} x\n# EOF\n", 1, "exemplar's value"),
        ("a 1 # {b=\"c\"} 1 Inf\n# EOF\n", 1, "not finite"),
        ("a 1 # {\"b\"} 1\n# EOF\n", 1, "in the exemplar"),
        ("a 1 # b\n# EOF\n", 1, "is not a number"),
        ("# comment\n# EOF\n", 1, "expected # HELP"),
        ("#EOF\n", 1, "expected # HELP"),
        ("# TYPE a untyped\n# EOF\n", 1, "unknown metric type"),
        ("# TYPE a\n# EOF\n", 1, "expected text"),
        ("# UNIT a seconds\n# EOF\n", 1, "not the suffix"),
        ("# UNIT aseconds seconds\n# EOF\n", 1, "not the suffix"),
        ("# UNIT seconds seconds\n# EOF\n", 1, "not the suffix"),
        ("{b=\"c\"} 1\n# EOF\n", 1, "metric name is missing"),
    ] {
        check_error(om, body, line, what);
    }
}

/// Pieces of lines, right and wrong ones.
const FRAGMENTS: &[&str] = &[
    "a",
    "b1",
    ":c",
    "_",
    "le",
    "quantile",
    "1",
    "0",
    "-",
    "+",
    ".",
    "5",
    "e",
    "Inf",
    "NaN",
    "x",
    "{",
    "}",
    "\"",
    "\\",
    "\\\"",
    "\\n",
    ",",
    "=",
    " ",
    "\t",
    "\n",
    "\r",
    "#",
    "# ",
    "HELP ",
    "TYPE ",
    "UNIT ",
    "counter",
    "histogram",
    "gauge",
    "# EOF\n",
    "# EOF",
    "é",
    "\0",
    " # {",
    "a 1\n",
    "a{b=\"c\"} 1\n",
    "{\"a.b\",c=\"d\"} 2\n",
    "a{b=\"c\",d=\"e\"} 0.5 17\n",
    "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n",
    "a 1 # {t=\"u\"} 0.5 3.25\n",
    "\"a.b\"",
    "b=\"c\"",
    "seconds",
    "_seconds",
];

mod compared {
    use proptest::prelude::*;

    use super::*;

    /// How many cases: what `PROPTEST_CASES` says, else `usual`.
    fn cases(usual: u32) -> u32 {
        match std::env::var("PROPTEST_CASES") {
            Ok(text) => text.parse().expect("PROPTEST_CASES is a number"),
            Err(_) => usual,
        }
    }

    fn hand(
        dialect: Dialect,
        body: &[u8],
        guess: impl FnMut(&[u8]) -> usize,
    ) -> Result<Vec<String>, String> {
        match dialect {
            Dialect::Text => transcript(TextParser::new(body), dialect, guess),
            Dialect::OpenMetrics => transcript(OpenMetricsParser::new(body), dialect, guess),
        }
    }

    fn check_body(body: &[u8]) {
        for dialect in [Dialect::Text, Dialect::OpenMetrics] {
            let got = hand(dialect, body, |_| 0);
            let want = oracle::transcript(dialect, body);
            assert_eq!(
                got.clone().ok(),
                want,
                "{dialect:?} {:?}: {got:?}",
                String::from_utf8_lossy(body)
            );
            check_guesses(dialect, body, &got);
        }
    }

    /// Right guesses and stale ones change nothing: any text that was a series may be guessed
    /// wherever the rest begins with it.
    fn check_guesses(dialect: Dialect, body: &[u8], want: &Result<Vec<String>, String>) {
        let mut known: Vec<Vec<u8>> = vec![b"a".to_vec(), b"a{b=\"c\"}".to_vec()];
        let mut parse = |rest: &[u8]| {
            if let Ok(length) = series::scan_series(rest, dialect, |_| {}) {
                known.push(rest[..length].to_vec());
            }
            0
        };
        let _ = hand(dialect, body, &mut parse);
        known.sort();
        for longest in [false, true] {
            let fits = |rest: &[u8]| {
                let mut fitting = known.iter().filter(|text| rest.starts_with(text));
                let found = if longest {
                    fitting.next_back()
                } else {
                    fitting.next()
                };
                found.map_or(0, Vec::len)
            };
            assert_eq!(
                hand(dialect, body, fits),
                *want,
                "{:?}",
                String::from_utf8_lossy(body)
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(1_000), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_fragments(parts in prop::collection::vec(prop::sample::select(FRAGMENTS), 0..24)) {
            check_body(parts.concat().as_bytes());
            check_body([parts.concat().as_str(), "# EOF\n"].concat().as_bytes());
        }

        #[test]
        fn damaged_lines(
            lines in prop::collection::vec("[a-c:_]{1,3}(\\{([a-c]=\"[ -~é]{0,4}\",?){0,3}\\})? {1,2}-?[0-9]{1,20}(\\.[0-9]{0,9})?( [0-9]{1,14})?", 1..5),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut body = lines.join("\n").into_bytes();
            body.push(b'\n');
            check_body(&body);
            let at = at.index(body.len());
            body[at] = byte;
            check_body(&body);
        }
    }
}

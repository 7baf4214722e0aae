//! `barograph test` and `barograph query`: verdicts, answers, texts and exit codes.

use std::path::Path;
use std::process::Command;

use crate::harness::server::{Setup, binary};

const RULES: &str = "groups:
- name: g
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 2m
    labels: {severity: page}
    annotations: {summary: '{{ $labels.instance }} is down'}
";

const TESTS: &str = "rule_files: [rules.yml]
evaluation_interval: 1m
tests:
- name: passing
  interval: 1m
  input_series:
  - series: 'up{job=\"a\", instance=\"1\"}'
    values: 1 0x5
  - series: up{job='a', instance='2'}
    values: 1x6
  promql_expr_test:
  - expr: job:up:sum
    eval_time: 1m
    exp_samples:
    - labels: 'job:up:sum{job=\"a\"}'
      value: 1
  alert_rule_test:
  - eval_time: 2m
    alertname: Down
  - eval_time: 3m
    alertname: Down
    exp_alerts:
    - exp_labels: {job: a, instance: 1, severity: page}
      exp_annotations: {summary: 1 is down}
";

/// Exit code, standard output, standard error.
fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn directory(tests: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("rules.yml"), RULES).unwrap();
    std::fs::write(directory.path().join("tests.yml"), tests).unwrap();
    directory
}

#[test]
fn tests_of_rules_pass_and_fail_as_promtool_has_it() {
    let passing = directory(TESTS);
    let arguments = ["test", "rules", "tests.yml"];
    let (code, out, err) = run(passing.path(), &arguments);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "  SUCCESS\n\n", ""));

    let failing = directory(
        &TESTS
            .replace("value: 1\n", "value: 7\n")
            .replace("2m\n    alertname", "4m\n    alertname"),
    );
    let (code, out, err) = run(
        failing.path(),
        &["test", "rules", "--junit=results.xml", "tests.yml"],
    );
    assert_eq!((code, out.as_str()), (1, "\n\n\n"));
    assert_eq!(
        err,
        "  FAILED:
    name: passing,
    alertname: Down, time: 4m, 
        exp:[], 
        got:[
            0:
              Labels:{alertname=\"Down\", instance=\"1\", job=\"a\", severity=\"page\"}
              Annotations:{summary=\"1 is down\"}
            ]
    expr: \"job:up:sum\", time: 1m,
        exp: {__name__=\"job:up:sum\", job=\"a\"} 7E+00
        got: {__name__=\"job:up:sum\", job=\"a\"} 1E+00
"
    );
    let results = std::fs::read_to_string(failing.path().join("results.xml")).unwrap();
    assert!(
        results.contains("tests=\"1\" failures=\"2\" errors=\"0\""),
        "{results}"
    );

    let (code, out, err) = run(
        failing.path(),
        &["test", "rules", "--run=nothing", "tests.yml"],
    );
    assert_eq!((code, out.as_str(), err.as_str()), (0, "  SUCCESS\n\n", ""));
    let unknown = directory(&TESTS.replace("name: passing", "nome: passing"));
    let (code, _, err) = run(unknown.path(), &arguments);
    assert_eq!(code, 1);
    assert!(err.contains("unknown field `nome`"), "{err}");
}

#[test]
fn scripts_of_queries_pass_and_fail() {
    let directory = tempfile::tempdir().unwrap();
    let script = "load 1m\n  a 1 2 3\n\neval instant at 1m a\n  a 2\n";
    std::fs::write(directory.path().join("good.test"), script).unwrap();
    let bad = script.replace("a 2\n", "a 9\n");
    std::fs::write(directory.path().join("bad.test"), bad).unwrap();
    let (code, out, _) = run(directory.path(), &["test", "promql", "good.test"]);
    assert_eq!((code, out.as_str()), (0, "good.test: 1 queries passed\n"));
    let (code, out, _) = run(
        directory.path(),
        &["test", "promql", "good.test", "bad.test"],
    );
    assert_eq!(code, 1);
    assert!(out.contains("bad.test:4: a\n"), "{out}");
    assert!(out.contains("bad.test: 1 of 1 queries failed\n"), "{out}");
}

#[test]
fn a_server_and_its_directory_answer_alike() {
    let server = Setup::new().start();
    let url = server.url().to_owned();
    let ask = |source: &str, arguments: &[&str]| {
        let mut all = vec!["query", arguments[0], source];
        all.extend(&arguments[1..]);
        run(Path::new("."), &all)
    };
    let (code, out, err) = ask(&url, &["instant", "vector(1) + 1", "--time=5"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "{}  2\n", ""));
    let (code, out, _) = ask(&url, &["instant", "1 + 1", "--time=5", "-ojson"]);
    let want =
        "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[5,\"2\"]}}\n";
    assert_eq!((code, out.as_str()), (0, want));
    let (code, out, err) = ask(&url, &["instant", "sum("]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("bad_data") && err.contains("unclosed left parenthesis"),
        "{err}"
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let (code, out, _) = ask(path, &["instant", "1 + 1", "--time=5", "-ojson"]);
    assert_eq!((code, out.as_str()), (0, want));
    let range = ["range", "time()", "--start=0", "--end=20", "--step=10s"];
    let (_, of_server, _) = ask(&url, &range);
    let (_, of_directory, _) = ask(path, &range);
    assert_eq!(of_server, of_directory);
    assert_eq!(
        of_server,
        "{}\n  1970-01-01T00:00:00Z  0\n  1970-01-01T00:00:10Z  10\n  1970-01-01T00:00:20Z  20\n"
    );
    let (code, out, _) = ask(
        path,
        &["range", "time()", "--start=0", "--end=20", "--plot"],
    );
    assert_eq!(code, 0);
    assert!(out.contains("━━ {}"), "{out}");
    for source in [&url, path] {
        let (code, out, _) = ask(source, &["instant", "abs(vector(1))", "--profile"]);
        assert_eq!(code, 0);
        let parts: Vec<&str> = out
            .lines()
            .filter_map(|l| l.split_whitespace().next())
            .collect();
        assert_eq!(parts, ["{}", "part", "once", "abs", "vector"], "{out}");
    }
    let (code, _, err) = ask("no/such/directory", &["instant", "1"]);
    assert_eq!(code, 1);
    assert!(err.contains("no such directory"), "{err}");
}

#[test]
fn answers_are_drawn_into_files() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    let draw = |arguments: &[&str]| {
        let mut all = vec!["query", arguments[0], "data"];
        all.extend(&arguments[1..]);
        run(directory.path(), &all)
    };
    let expr = "label_replace(vector(time() % 20), \"a\", \"<b> & \\u0001\", \"\", \"\")";
    let range = ["range", expr, "--start=0", "--end=60", "--step=10s"];
    let files = [
        "--png=a.png",
        "--svg=a.svg",
        "--width=500",
        "--height=200",
        "--scale=2",
    ];
    let (code, out, err) = draw(&[&range[..], &files[..]].concat());
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let png = std::fs::read(directory.path().join("a.png")).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(
        (&png[16..20], &png[20..24]),
        (&1000u32.to_be_bytes()[..], &400u32.to_be_bytes()[..])
    );
    let svg = std::fs::read_to_string(directory.path().join("a.svg")).unwrap();
    assert!(
        svg.starts_with("<svg width=\"500\" height=\"200\" "),
        "{svg}"
    );
    assert!(svg.contains("<polyline") && svg.contains("UTC") && svg.ends_with("</svg>\n"));
    assert!(
        svg.contains("&lt;b&gt; &amp; ") && !svg.contains("<b>"),
        "{svg}"
    );

    let (code, out, _) = draw(&["instant", "vector(1536)", "--unit=bytes", "--svg=-"]);
    assert_eq!(code, 0);
    assert!(out.contains("1.5 KiB"), "{out}");
    let (code, _, err) = draw(&["instant", "vector(NaN) > 0", "--png=b.png"]);
    assert_eq!(
        (code, err.as_str()),
        (
            1,
            "barograph: nothing to draw: no series has finite values in this range\n"
        )
    );
    let (code, _, err) = draw(&["instant", "1", "--png=b.png", "--width=50"]);
    assert_eq!(code, 1);
    assert!(err.contains("50 points wide or high"), "{err}");
    let (code, _, err) = draw(&["instant", "1", "--theme=dark"]);
    assert_eq!(code, 2);
    assert!(err.contains("--png"), "{err}");
    assert!(!directory.path().join("b.png").exists());
}

/// As [`run`], with a text on standard input.
fn run_with_input(directory: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    std::fs::write(directory.join("input"), input).unwrap();
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .stdin(std::fs::File::open(directory.join("input")).unwrap())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn unknown_fields_are_passed_over_where_asked() {
    let tests = TESTS.replace("- name: passing", "- name: passing\n  owner: [x]");
    let directory = directory(&tests);
    let rules = RULES.replace("- name: g", "- name: g\n  team: {a: b}");
    std::fs::write(directory.path().join("rules.yml"), rules).unwrap();
    for (arguments, strict) in [
        (vec!["test", "rules", "tests.yml"], "unknown field"),
        (vec!["check", "rules", "rules.yml"], "unknown field"),
    ] {
        let (code, _, err) = run(directory.path(), &arguments);
        assert_eq!(code, 1);
        assert!(err.contains(strict), "{err}");
        let lenient = [&arguments[..], &["--ignore-unknown-fields"]].concat();
        let (code, _, err) = run(directory.path(), &lenient);
        assert_eq!((code, err.as_str()), (0, ""));
    }
}

#[test]
fn checks_say_what_is_wrong_and_what_could_be_better() {
    let directory = directory(TESTS);
    let at = directory.path();
    let twice = format!("{RULES}- name: h\n  rules:\n  - {{record: 'job:up:sum', expr: up}}\n");
    let (code, out, err) = run_with_input(at, &["check", "rules"], &twice);
    assert_eq!(code, 0);
    assert!(out.contains("valid: 3 rules in 2 groups"), "{out}");
    assert!(
        err.contains("rule job:up:sum stands there 2 times, in groups g, h"),
        "{err}"
    );
    let (code, ..) = run_with_input(at, &["check", "rules", "--lint-fatal"], &twice);
    assert_eq!(code, 3);
    let (code, _, err) = run_with_input(
        at,
        &["check", "rules", "--lint=none", "--lint-fatal"],
        &twice,
    );
    assert_eq!((code, err.as_str()), (0, ""));

    let config = "rule_files: [rules.yml, absent.yml]\nscrape_configs:\n- job_name: a\n  scrape_interval: 10m\n  authorization: {credentials_file: token}\n";
    std::fs::write(at.join("a.yml"), config).unwrap();
    let (code, _, err) = run(at, &["check", "config", "a.yml", "--lint=all"]);
    assert_eq!(code, 1);
    for part in [
        "rule file absent.yml does not exist",
        "credentials file token does not exist",
        "every 10m",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    let (code, ..) = run(at, &["check", "config", "a.yml", "--syntax-only"]);
    assert_eq!(code, 0);
    let relabelled = "scrape_configs:\n- job_name: a\n  relabel_configs: [{source_labels: [__address__], target_label: __param_target}]\n  static_configs: [{targets: ['http://x/y']}]\n";
    std::fs::write(at.join("b.yml"), relabelled).unwrap();
    let (code, _, err) = run(at, &["check", "config", "b.yml"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("\"http://x/y\" is not a valid hostname"),
        "{err}"
    );

    let (code, _, err) = run_with_input(at, &["check", "metrics"], "# TYPE a counter\na 1\n");
    let want = "a counter metrics should have \"_total\" suffix\na no help text\n";
    assert_eq!((code, err.as_str()), (3, want));
    let (code, ..) = run_with_input(at, &["check", "metrics"], "a{ 1\n");
    assert_eq!(code, 1);
    let extended = ["check", "metrics", "--extended", "--lint=none"];
    let (code, out, _) = run_with_input(at, &extended, "a 1\na{b=\"c\"} 1\n");
    assert_eq!(code, 0);
    assert!(out.contains("a         2              100.00%"), "{out}");

    let server = Setup::new().start();
    let url = format!("--url={}", server.url());
    for kind in ["healthy", "ready"] {
        let (code, out, err) = run(at, &["check", kind, &url]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("is "), "{out}");
    }
    let (code, _, err) = run(at, &["check", "ready", "--url=http://127.0.0.1:1"]);
    assert_eq!(code, 1);
    assert!(err.contains("http://127.0.0.1:1/-/ready"), "{err}");
}

#[test]
fn expressions_are_formatted_and_changed() {
    let at = Path::new(".");
    let (code, out, _) = run(at, &["promql", "format", "sum(a)by(b)"]);
    assert_eq!((code, out.as_str()), (0, "sum by (b) (a)\n"));
    let set = [
        "promql",
        "label-matchers",
        "set",
        "-t",
        "=~",
        "a{b=\"c\"}",
        "b",
        "d.*",
    ];
    let (code, out, _) = run(at, &set);
    assert_eq!((code, out.as_str()), (0, "a{b=~\"d.*\"}\n"));
    let (code, _, err) = run(at, &["promql", "format", "sum("]);
    assert_eq!(code, 1);
    assert!(err.contains("unclosed left parenthesis"), "{err}");
}

/// A pager that was left, and a file on a full disk (for which `/dev/full` stands in).
#[test]
fn output_that_nobody_takes_is_no_panic() {
    let shell = |line: &str| {
        let output = Command::new("bash")
            .args(["-c", line])
            .arg(binary())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    };
    for command in ["--help", "promql format 'sum(a)by(b)'"] {
        // `:` reads nothing, and is gone before anything is written.
        let line = format!("(sleep 0.2; exec \"$0\" {command}) | :; exit ${{PIPESTATUS[0]}}");
        assert_eq!(shell(&line), (0, String::new()), "{command}");
        let (code, text) = shell(&format!("\"$0\" {command} > /dev/full"));
        assert_eq!(code, 1, "{command}: {text}");
        assert!(
            text.contains("No space left on device"),
            "{command}: {text}"
        );
    }
    let (code, _) = shell("\"$0\" promql format 'sum(' 2> /dev/full");
    assert_eq!(code, 1);
}

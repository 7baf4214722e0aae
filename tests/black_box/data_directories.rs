//! `barograph tsdb` on directories of Prometheus, beside `promtool`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::harness::process::tool;
use crate::harness::server::{Setup, binary};
use crate::harness::target::Page;
use crate::harness::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(15);

fn barograph(arguments: &[&str], paths: &[&Path]) -> Output {
    Command::new(binary())
        .arg("tsdb")
        .args(arguments)
        .args(paths)
        .output()
        .expect("barograph starts")
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What promtool prints for the same.
fn promtool(arguments: &[&str], path: &Path) -> String {
    let mut command = Command::new(tool("promtool"));
    let run = command.arg("tsdb").args(arguments).arg(path).output();
    text(&run.expect("promtool starts"))
}

/// Samples every minute for 200 minutes from 22:13:20 on: two spans of two hours.
fn history() -> String {
    let mut lines = String::new();
    for id in 0..5 {
        for step in 0..200 {
            let (value, time) = (f64::from(step * id) / 3.0, 1_700_000_000 + step * 60);
            let _ = writeln!(lines, "m{{id=\"{id}\"}} {value} {time}");
        }
    }
    lines + "# EOF\n"
}

#[test]
fn blocks_are_created_listed_dumped_and_verified() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (input, blocks) = (
        directory.path().join("text"),
        directory.path().join("blocks"),
    );
    fs::write(&input, history()).expect("writes");
    let create = [
        "create-blocks-from",
        "openmetrics",
        "--label=from=text",
        "--format=prometheus",
    ];
    let created = text(&barograph(&create, &[&input, &blocks]));
    let list = text(&barograph(&["list"], &[&blocks]));
    assert_eq!(created, list);
    assert_eq!(list.lines().count(), 1 + 2, "{list}");
    let dump = text(&barograph(&["dump"], &[&blocks]));
    assert_eq!(dump.lines().count(), 5 * 200);
    let first = dump.lines().next().expect("a line");
    assert_eq!(
        first,
        r#"{__name__="m", from="text", id="0"} 0 1700000000000"#
    );
    assert_eq!(list, promtool(&["list"], &blocks));
    assert_eq!(dump, promtool(&["dump"], &blocks));
    let open_metrics = text(&barograph(&["dump-openmetrics"], &[&blocks]));
    assert!(open_metrics.starts_with("m{from=\"text\",id=\"0\"} 0 1700000000.000\n"));
    assert!(open_metrics.ends_with("# EOF\n"));
    let analysis = text(&barograph(&["analyze"], &[&blocks]));
    assert!(
        analysis.contains("Total Series: 5\nLabel names: 3\n"),
        "{analysis}"
    );
    let verified = text(&barograph(&["verify"], &[&blocks]));
    assert_eq!(verified.matches(": whole: ").count(), 2, "{verified}");

    // An export of the directory holds the same.
    let again = directory.path().join("again");
    text(&barograph(&["export"], &[&blocks, &again]));
    assert_eq!(text(&barograph(&["dump"], &[&again])), dump);

    let block = list.lines().nth(1).and_then(|line| line.split(' ').next());
    let chunks = blocks.join(block.expect("a block")).join("chunks/000001");
    let mut bytes = fs::read(&chunks).expect("the chunks");
    bytes[40] ^= 1;
    fs::write(&chunks, bytes).expect("writes");
    let damaged = barograph(&["verify"], &[&blocks]);
    assert!(!damaged.status.success());
    let said = String::from_utf8_lossy(&damaged.stdout);
    assert!(said.contains("chunks/000001: damaged at byte"), "{said}");
    // One that cannot be opened is named, and the rest not passed off as everything.
    let index = blocks.join(block.expect("a block")).join("index");
    fs::write(&index, "nothing").expect("writes");
    for command in ["list", "dump", "dump-openmetrics", "analyze", "verify"] {
        let output = barograph(&[command], &[&blocks]);
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!output.status.success(), "{command}: {said}");
        assert!(said.contains("index: damaged at byte"), "{command}: {said}");
    }
    let absent = barograph(&["list"], &[&directory.path().join("absent")]);
    assert!(!absent.status.success());
}

#[test]
fn a_directory_is_looked_into_beside_its_server() {
    let page = Page::metrics("value{a=\"b\"} 1\n");
    let server = Setup::with_config(&format!(
        "scrape_configs:\n  - job_name: a\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n    static_configs:\n      - targets: ['{}']\n",
        page.address()
    ))
    .start();
    server.wait_for_result("value", LIMIT);
    let before = server.query("value[1m]")[0].samples.len();
    let data = server.setup().path().join("data");
    let dump = text(&barograph(&["dump", "--match=value"], &[&data]));
    let lines = dump
        .lines()
        .filter(|line| line.contains("__name__=\"value\""));
    assert!(lines.count() >= before, "{dump}");
    let asked = Command::new(binary())
        .args(["query", "instant"])
        .arg(&data)
        .arg("sum by (a) (value)")
        .output();
    let answer = text(&asked.expect("barograph starts"));
    assert!(
        answer.contains("a=\"b\"") && answer.trim_end().ends_with('1'),
        "{answer}"
    );
    text(&barograph(&["list"], &[&data]));
    let verified = text(&barograph(&["verify"], &[&data]));
    assert!(verified.contains(".wal: whole: "), "{verified}");
    wait_until("further samples", LIMIT, || {
        server.query("value[1m]")[0].samples.len() > before + 2
    });
}

#[test]
fn history_and_what_rules_make_of_it_go_into_a_store() {
    let setup = Setup::with_config("scrape_configs: []\n")
        .file("text", &history())
        .file(
            "rules.yml",
            "groups:\n- name: g\n  interval: 2m\n  rules:\n  - {record: r, expr: sum(m), labels: {a: b}}\n  - {alert: x, expr: m > 1}\n",
        )
        .argument("--storage.tsdb.retention.time=100y");
    let (input, data) = (setup.path().join("text"), setup.path().join("data"));
    let create = ["create-blocks-from", "openmetrics"];
    let created = text(&barograph(&create, &[&input, &data]));
    assert_eq!(created.lines().count(), 1 + 2, "{created}");
    assert_eq!(created, text(&barograph(&["list"], &[&data])));
    // Again: nothing new.
    let again = text(&barograph(&create, &[&input, &data]));
    assert_eq!(again.lines().count(), 1, "{again}");
    let dump = text(&barograph(&["dump"], &[&data]));
    assert_eq!(dump.lines().count(), 5 * 200);

    let server = setup.start();
    let refused = barograph(&create, &[&input, &data]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("lock held"),
        "{said}"
    );
    let url = format!("--url={}", server.url());
    let rules = server.setup().path().join("rules.yml");
    for (format, name) in [("barograph", "own"), ("prometheus", "theirs")] {
        let out = server.setup().path().join(name);
        let evaluate = [
            "create-blocks-from",
            "rules",
            &url,
            "--start=1700000000",
            "--end=2023-11-14T23:53:20Z",
            &format!("--format={format}"),
            &format!("--output-dir={}", out.display()),
        ];
        let created = text(&barograph(&evaluate, &[&rules]));
        assert_eq!(created.lines().count(), 1 + 1, "{created}");
        let dump = text(&barograph(&["dump"], &[&out]));
        let mut lines = dump.lines();
        for time in (1_700_000_040..=1_700_006_000).step_by(120) {
            let step = (time - 1_700_000_000) / 60;
            let sum: f64 = (0..5).map(|id| f64::from(step * id) / 3.0).sum();
            let line = lines.next().expect("a line for every evaluation");
            let (labels, rest) = line.split_once("} ").expect("labels");
            assert_eq!(labels, r#"{__name__="r", a="b""#);
            let (value, at) = rest.split_once(' ').expect("a value and a time");
            let value: f64 = value.parse().expect("a number");
            assert!((value - sum).abs() < 1e-9, "{line}: {sum}");
            assert_eq!(at, format!("{time}000"));
        }
        assert_eq!(lines.next(), None);
    }
    // A directory of Prometheus is not taken over by the way.
    let theirs = server.setup().path().join("theirs");
    let refused = barograph(&create, &[&input, &theirs]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--format=prometheus"), "{said}");
}

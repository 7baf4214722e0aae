//! Coming from a real Prometheus and going back: the same answers at every step, bit for bit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::http::{form, get};
use crate::harness::process::{Process, tool};
use crate::harness::server::{Server, Setup, binary, now_ms};
use crate::harness::target::Page;
use crate::harness::wait::{wait_for, wait_until};

const LIMIT: Duration = Duration::from_mins(1);
/// Steps of the backfilled history, a minute each: two blocks of two hours and a bit.
const HISTORY_STEPS: i64 = 200;

/// Answered by version 2.42 as by 3, to the bit.
const TIMELESS: [&str; 16] = [
    "{job=\"page\"}",
    "{__name__=~\".+\"}",
    "old_total",
    "old_total[7m]",
    "old_level{id=~\"[1-4]\"}",
    "max_over_time(old_level[10m])",
    "min_over_time(old_level[3m:20s] offset 5m)",
    "last_over_time(old_level[6m])",
    "topk(2, old_level)",
    "count by (id) ({id!=\"\"})",
    "requests_total",
    "resets(requests_total[1m])",
    "changes(weather[1m])",
    "timestamp(weather)",
    "absent(gone)",
    "up",
];

/// Computed otherwise since: compared with the same program's answers only.
const OTHERS: [&str; 9] = [
    "rate(old_total[5m])",
    "sum by (odd) (increase(old_total{id!=\"3\"}[11m]))",
    "avg_over_time(old_level[10m])",
    "quantile_over_time(0.3, old_level[10m])",
    "stddev_over_time(old_level[10m])",
    "deriv(old_level[6m])",
    "rate(requests_total[5s])",
    "irate(requests_total[5s])",
    "histogram_quantile(0.9, sum by (le) (rate(took_seconds_bucket[5s])))",
];

/// A Prometheus on the directory `data` below `directory`.
fn prometheus(directory: &Path, data: &str, config: &str) -> (Process, SocketAddr) {
    let file = format!("{data}.yml");
    fs::write(directory.join(&file), config).expect("writes");
    let mut command = Command::new(tool("prometheus"));
    command
        .arg(format!("--config.file={file}"))
        .arg(format!("--storage.tsdb.path={data}"))
        .arg("--storage.tsdb.retention.time=100y")
        .arg("--web.listen-address=127.0.0.1:0")
        .current_dir(directory);
    let process = Process::start(data, command, directory);
    let address = wait_for("the port of Prometheus", LIMIT, || {
        let log = process.stderr();
        let line = log.lines().find(|line| line.contains("Listening on"));
        let address = line.and_then(|line| line.split_once("address="));
        let address = address.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        address.ok_or(log)
    });
    wait_until("Prometheus", LIMIT, || {
        get(address, "/-/ready").status == 200
    });
    (process, address)
}

fn stop(mut process: Process) {
    process.signal(Signal::TERM);
    assert!(process.wait(LIMIT).success());
}

fn run(command: &mut Command) -> String {
    let output: Output = command.output().expect("starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Counters and gauges long ago, with gaps and resets.
fn history(start_s: i64) -> String {
    let mut counters = String::from("# TYPE old counter\n");
    let mut gauges = String::from("# TYPE old_level gauge\n");
    for id in 0..5 {
        for step in 0..HISTORY_STEPS {
            let time = start_s + step * 60;
            if (step + id) % 17 == 0 {
                continue;
            }
            let count = (step % 70) * (id + 1);
            let odd = if id % 2 == 1 { "yes" } else { "no" };
            let _ = writeln!(
                counters,
                "old_total{{id=\"{id}\",odd=\"{odd}\"}} {count} {time}"
            );
            let level = ((step * 7 + id) as f64).sin() * 10f64.powi(id as i32 - 2);
            let _ = writeln!(gauges, "old_level{{id=\"{id}\"}} {level} {time}");
        }
    }
    format!("{counters}{gauges}# EOF\n")
}

fn page_text(step: u32) -> String {
    let mut text = String::from("# TYPE requests_total counter\n");
    for code in [200, 404, 500] {
        let count = (step * code) % 900;
        let _ = writeln!(text, "requests_total{{code=\"{code}\"}} {count}");
    }
    let _ = writeln!(
        text,
        "# TYPE weather gauge\nweather {}",
        f64::from(step).cos() / 3.0
    );
    if step % 5 != 2 {
        let _ = writeln!(text, "weather{{place=\"sea\"}} {}e-5", step * 7);
    }
    text.push_str("# TYPE took_seconds histogram\n");
    for (below, le) in [(1, "0.1"), (3, "0.5"), (4, "+Inf")] {
        let _ = writeln!(text, "took_seconds_bucket{{le=\"{le}\"}} {}", below * step);
    }
    let _ = writeln!(
        text,
        "took_seconds_sum {}\ntook_seconds_count {}",
        step,
        4 * step
    );
    text
}

/// An answer whose order does not count.
fn answer(address: SocketAddr, endpoint: &str, parameters: &[(&str, &str)]) -> Value {
    let mut json = get(address, &format!("/api/v1/{endpoint}?{}", form(parameters))).json();
    assert_eq!(json["status"], "success", "{parameters:?}: {json}");
    let result = json["data"].get_mut("result");
    if let Some(result) = result.and_then(Value::as_array_mut) {
        result.sort_by_key(|series| series["metric"].to_string());
    }
    json["data"].take()
}

type Answers = BTreeMap<String, Value>;

/// What a server answers to queries, at several times and over several ranges. None of the times is
/// that of a sample, nor a window's length from one: version 2 counts both ends of a window.
fn answers(address: SocketAddr, queries: &[&str], old_s: i64, new_ms: i64) -> Answers {
    let mut all = BTreeMap::new();
    let old_end_s = old_s + HISTORY_STEPS * 60;
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let new = seconds(new_ms);
    for query in queries {
        for time in [
            &new,
            &format!("{}.5", old_s + 3600),
            &format!("{old_end_s}.5"),
        ] {
            let parameters = [("query", *query), ("time", time)];
            all.insert(
                format!("{query} at {time}"),
                answer(address, "query", &parameters),
            );
        }
        if query.ends_with("[7m]") {
            continue;
        }
        let old = (
            format!("{}.5", old_s - 300),
            format!("{}.5", old_end_s + 300),
            "97",
        );
        for (start, end, step) in [old, (seconds(new_ms - 20_000), new.clone(), "0.5")] {
            let parameters = [
                ("query", *query),
                ("start", &start),
                ("end", &end),
                ("step", step),
            ];
            let name = format!("{query} from {start}");
            all.insert(name, answer(address, "query_range", &parameters));
        }
    }
    for endpoint in ["labels", "label/id/values", "label/__name__/values"] {
        let range = [("start", "0"), ("end", new.as_str())];
        all.insert(endpoint.to_owned(), answer(address, endpoint, &range));
    }
    all
}

/// A time shortly before `now_ms` whose distance to every sample has no whole tenth of a second.
fn quiet_ms(address: SocketAddr, now_ms: i64) -> i64 {
    let found = answer(address, "query", &[("query", "{__name__=~\".+\"}[5m]")]);
    let series = found["result"].as_array().expect("series");
    let points = series
        .iter()
        .flat_map(|one| one["values"].as_array().expect("points"));
    let taken: Vec<i64> = points
        .map(|point| (point[0].as_f64().expect("a time") * 1000.0).round() as i64 % 100)
        .collect();
    let base_ms = now_ms / 100 * 100 - 100;
    let free = (0..100).find(|ms| !taken.contains(ms));
    base_ms + free.expect("a millisecond without a sample")
}

fn assert_same(have: &Answers, want: &Answers, when: &str) {
    assert_eq!(have.len(), want.len());
    for (name, want) in want {
        assert_eq!(&have[name], want, "{when}: {name}");
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
    fs::remove_file(to.join("lock")).ok();
}

fn dump(program: &Path, directory: &Path) -> Vec<String> {
    let text = run(Command::new(program).args(["tsdb", "dump"]).arg(directory));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn has_foreign_blocks(data: &Path) -> bool {
    let entries = fs::read_dir(data).expect("the directory");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    paths.any(|path| path.join("meta.json").exists())
}

/// Our server on a directory, without anything to scrape.
fn ours(data: &Path) -> Server {
    let setup = Setup::with_config("scrape_configs: []\n")
        .argument("--storage.tsdb.retention.time=100y")
        .argument(format!("--storage.tsdb.path={}", data.display()));
    setup.start()
}

#[test]
fn a_real_prometheus_is_taken_over_and_given_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path();
    let promtool = tool("promtool");
    // Three days ago, in blocks of two hours.
    let old_s = (now_ms() / 1000 - 3 * 86_400) / 7200 * 7200 + 1800;
    fs::write(root.join("history"), history(old_s)).expect("writes");
    run(Command::new(&promtool)
        .args([
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            "history",
            "theirs",
        ])
        .current_dir(root));
    let page = Page::metrics(&page_text(1));
    let config = format!(
        "scrape_configs:
  - job_name: page
    scrape_interval: 200ms
    scrape_timeout: 200ms
    static_configs:
      - targets: ['{}']
",
        page.address()
    );
    let (process, address) = prometheus(root, "theirs", &config);
    for step in 2..30 {
        page.set_metrics(&page_text(step));
        std::thread::sleep(Duration::from_millis(150));
    }
    wait_until("scrapes", LIMIT, || {
        let counted = answer(
            address,
            "query",
            &[("query", "count_over_time(weather[1m])")],
        );
        counted["result"][0]["value"][1]
            .as_str()
            .is_some_and(|count| count.len() > 1)
    });
    let new_ms = quiet_ms(address, now_ms());
    stop(process);

    // What Prometheus answers when it scrapes no more, and what promtool finds.
    copy(&root.join("theirs"), &root.join("beside"));
    let (process, address) = prometheus(root, "beside", "scrape_configs: []\n");
    let all = [&TIMELESS[..], &OTHERS[..]].concat();
    let theirs = answers(address, &all, old_s, new_ms);
    let filled = theirs
        .values()
        .filter(|value| !value["result"][0].is_null());
    assert!(filled.count() > theirs.len() / 3);
    let timeless = answers(address, &TIMELESS, old_s, new_ms);
    stop(process);
    let dumped = dump(&promtool, &root.join("beside"));
    assert!(dumped.len() as i64 > 9 * HISTORY_STEPS, "{}", dumped.len());

    let data = root.join("theirs");
    assert_eq!(dump(&binary(), &data), dumped, "before it is taken over");
    let mut server = ours(&data);
    let have = answers(server.address(), &TIMELESS, old_s, new_ms);
    assert_same(&have, &timeless, "in place");
    let ours_before = answers(server.address(), &all, old_s, new_ms);
    assert!(has_foreign_blocks(&data));
    server.stop();

    // Prometheus can have it back; what was in its log is in blocks now, too.
    copy(&data, &root.join("back"));
    let (process, address) = prometheus(root, "back", "scrape_configs: []\n");
    assert_same(
        &answers(address, &all, old_s, new_ms),
        &theirs,
        "given back",
    );
    stop(process);

    // The day is over after which its blocks become ours.
    let marker = data.join("prometheus-log-imported");
    let mut lines: Vec<String> = fs::read_to_string(&marker)
        .expect("the marker")
        .lines()
        .map(str::to_owned)
        .collect();
    "0".clone_into(&mut lines[2]);
    fs::write(&marker, lines.join("\n") + "\n").expect("writes");
    server.restart();
    wait_until("blocks of ours", LIMIT, || !has_foreign_blocks(&data));
    let have = answers(server.address(), &all, old_s, new_ms);
    assert_same(&have, &ours_before, "compacted");
    server.stop();
    assert_eq!(dump(&binary(), &data), dumped, "compacted");
    run(Command::new(binary()).args(["tsdb", "verify"]).arg(&data));

    // And out again.
    let exported = root.join("exported");
    let list = run(Command::new(binary())
        .args(["tsdb", "export", "--format=prometheus"])
        .args([&data, &exported]));
    assert_eq!(
        list,
        run(Command::new(&promtool)
            .args(["tsdb", "list"])
            .arg(&exported))
    );
    assert_eq!(dump(&promtool, &exported), dumped, "exported");
    let (process, address) = prometheus(root, "exported", "scrape_configs: []\n");
    assert_same(&answers(address, &all, old_s, new_ms), &theirs, "exported");
    stop(process);
}

//! Ports and directories that cannot be had, and a disk that is full.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::process::{Process, tool};
use crate::harness::server::{Setup, binary, printed_urls};
use crate::harness::target::Page;
use crate::harness::wait::{wait_for, wait_until};

const LIMIT: Duration = Duration::from_secs(15);

fn refused(setup: &Setup, words: &[&str]) {
    let (code, output) = setup.refused();
    assert!(code != 0 && code != 101, "exit code {code}: {output}");
    for word in words {
        assert!(output.contains(word), "{output:?} does not say {word:?}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = Setup::new().argument(format!("--web.listen-address={address}"));
    refused(
        &setup,
        &[&address, "another process", "--web.listen-address"],
    );
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let setup = Setup::new()
        .file("occupied", "a file, not a directory")
        .argument("--storage.tsdb.path=occupied/data");
    refused(&setup, &["occupied/data", "--storage.tsdb.path"]);
    // Nothing can be created there, whoever asks.
    let setup = Setup::new().argument("--storage.tsdb.path=/proc/barograph");
    refused(&setup, &["/proc/barograph", "--storage.tsdb.path"]);
}

#[test]
fn a_second_process_on_one_directory_is_refused() {
    let page = Page::metrics("value 1\n");
    let server = Setup::with_config(&format!(
        "scrape_configs:\n  - job_name: a\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n    static_configs:\n      - targets: ['{}']\n",
        page.address()
    ))
    .start();
    server.wait_for_result("value", LIMIT);
    let data = server.setup().path().join("data");
    let second = Setup::new().argument(format!("--storage.tsdb.path={}", data.display()));
    refused(
        &second,
        &[
            &data.display().to_string(),
            "another process",
            "--storage.tsdb.path",
        ],
    );
    let before = server.query("value[1m]")[0].samples.len();
    wait_until("further samples of the first", LIMIT, || {
        server.query("value[1m]")[0].samples.len() > before + 2
    });
}

/// The limit on the length of files stands in for a full disk: writes fail, for any user.
#[test]
fn a_full_disk_stops_nothing_but_storing() {
    let page = Page::metrics("value 1\n");
    let setup = Setup::with_config(&format!(
        "scrape_configs:\n  - job_name: a\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n    static_configs:\n      - targets: ['{}']\n",
        page.address()
    ));
    // Its log goes through a pipe, which the limit does not reach.
    let mut command = Command::new(tool("bash"));
    let log = setup.path().join("log");
    command
        .args([
            "-c",
            "trap '' XFSZ; exec \"$0\" \"$@\" > >(exec cat > \"$LOG\") 2>&1",
        ])
        .arg(binary())
        .args([
            "--web.listen-address=127.0.0.1:0",
            "--config.file=prometheus.yml",
        ])
        .env("LOG", &log)
        .current_dir(setup.path());
    let mut process = Process::start("barograph", command, setup.path());
    let written = || fs::read_to_string(&log).unwrap_or_default();
    let url = wait_for("URL printed", LIMIT, || {
        printed_urls(&written()).pop().ok_or_else(written)
    });
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let address = address.replace("localhost", "127.0.0.1").parse().unwrap();
    wait_until("readiness", LIMIT, || {
        crate::harness::http::request(address, "GET", "/-/ready", &[], b"")
            .is_ok_and(|answer| answer.status == 200)
    });
    let samples = || {
        let answer = crate::harness::http::get(address, "/api/v1/query?query=value%5B10m%5D");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let result = answer.json()["data"]["result"][0]["values"].clone();
        result.as_array().cloned().unwrap_or_default()
    };
    wait_until("samples", LIMIT, || samples().len() > 3);

    limit_file_size(process.id(), Some(0));
    std::thread::sleep(Duration::from_millis(500));
    let before = samples();
    std::thread::sleep(Duration::from_secs(2));
    assert!(process.ended().is_none(), "it ended: {}", written());
    let during = samples();
    assert_eq!(during[..before.len()], before[..], "what was stored stays");
    let said = written();
    assert!(
        said.lines().any(|line| {
            (line.contains("ERROR") || line.contains("WARN"))
                && line.contains("data")
                && line.to_lowercase().contains("file too large")
        }),
        "the log says where and why: {said}"
    );
    assert!(
        said.lines().count() < 200,
        "it does not flood the log: {said}"
    );

    limit_file_size(process.id(), None);
    let stalled = samples().len();
    wait_until(
        "samples after the disk has room again",
        Duration::from_secs(30),
        || samples().len() > stalled + 3,
    );
    let after = samples();
    assert_eq!(after[..before.len()], before[..], "nothing was lost");
    // All of it is there for the next process, too.
    process.kill();
    let server = setup.start();
    let found = server.query("value[10m]");
    assert!(
        found[0].samples.len() >= after.len(),
        "{} of {} samples are left",
        found[0].samples.len(),
        after.len()
    );
}

/// `/dev/full` stands in for a log file on a full disk.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let page = Page::metrics("value 1\n");
    let setup = Setup::with_config(&format!(
        "scrape_configs:\n  - job_name: a\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n    static_configs:\n      - targets: ['{}', '127.0.0.1:1']\n",
        page.address()
    ));
    let mut command = Command::new(tool("bash"));
    command
        .args(["-c", "exec \"$0\" \"$@\" 2> /dev/full"])
        .arg(binary())
        .args([
            "--web.listen-address=127.0.0.1:0",
            "--config.file=prometheus.yml",
            "--log.level=debug",
        ])
        .current_dir(setup.path());
    let mut process = Process::start("barograph", command, setup.path());
    let url = wait_for("URL printed", LIMIT, || {
        let ended = process.ended();
        assert!(ended.is_none(), "it ended: {ended:?}");
        printed_urls(&process.stdout())
            .pop()
            .ok_or_else(|| process.stdout())
    });
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let address = address.replace("localhost", "127.0.0.1").parse().unwrap();
    wait_until("samples", LIMIT, || {
        let answer = crate::harness::http::get(address, "/api/v1/query?query=value%5B10m%5D");
        let result = answer.json()["data"]["result"][0]["values"].clone();
        result.as_array().is_some_and(|samples| samples.len() > 3)
    });
    process.signal(rustix::process::Signal::HUP);
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait(LIMIT).code(), Some(0));
}

/// `None` takes the limit off again.
fn limit_file_size(id: u32, bytes: Option<u64>) {
    let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(id), Resource::Fsize, limit).expect("the limit is set");
}

//! Scrape targets: pages a test writes, and real programs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::http::{HttpServer, Reply, Request};
use super::process::{Process, installed, tool};
use super::server::binary;
use super::wait::wait_for;

/// A page the test can change while it is scraped.
pub(crate) struct Page {
    server: HttpServer,
    reply: Arc<Mutex<Reply>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Page {
    pub(crate) fn serving(reply: Reply) -> Self {
        let reply = Arc::new(Mutex::new(reply));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::clone(&reply), Arc::clone(&requests));
        let server = HttpServer::start(move |request| {
            seen.lock().expect("the list").push(request.clone());
            answer.lock().expect("the reply").clone()
        });
        Self {
            server,
            reply,
            requests,
        }
    }

    pub(crate) fn metrics(text: &str) -> Self {
        Self::serving(Reply::metrics(text))
    }

    pub(crate) fn set(&self, reply: Reply) {
        *self.reply.lock().expect("the reply") = reply;
    }

    pub(crate) fn set_metrics(&self, text: &str) {
        self.set(Reply::metrics(text));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the list").clone()
    }
}

/// A real program that serves metrics.
pub(crate) struct Program {
    address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Program {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Debian's node_exporter, on a port of its own.
    pub(crate) fn node_exporter() -> Self {
        let mut command = Command::new(tool("prometheus-node-exporter"));
        command.args([
            "--web.listen-address=127.0.0.1:0",
            // The default of node_exporter itself: Debian's leaves out /mnt and /media too.
            "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
        ]);
        Self::start("node-exporter", command)
    }

    /// The Express service of `examples/node-app`.
    pub(crate) fn node_app() -> Self {
        installed("examples/node-app/node_modules/express/package.json");
        let mut command = Command::new(tool("node"));
        command
            .arg("server.js")
            .current_dir(installed("examples/node-app"))
            .env("PORT", "0")
            .env("ERROR_RATIO", "0.1");
        Self::start("node-app", command)
    }

    /// The axum service of `examples/axum-app`, built beside the binary under test.
    pub(crate) fn axum_app() -> Self {
        let built = Path::new(env!("CARGO_BIN_EXE_barograph")).with_file_name("axum-app");
        assert!(
            built.exists(),
            "{} is missing: tests/run installs it (cargo build --workspace --bins)",
            built.display()
        );
        let mut command = Command::new(built);
        command.env("PORT", "0");
        Self::start("axum-app", command)
    }

    fn start(name: &str, command: Command) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut process = Process::start(name, command, directory.path());
        let address = wait_for("address printed", Duration::from_secs(20), || {
            assert!(process.ended().is_none(), "{name} ended");
            let output = process.output();
            printed_address(&output).ok_or(output)
        });
        Self {
            address,
            _process: process,
            _directory: directory,
        }
    }
}

fn printed_address(output: &str) -> Option<SocketAddr> {
    let start = output.find("127.0.0.1:")?;
    let text = &output[start..];
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
    text[..end].parse().ok()
}

/// The binary under test must exist before anything else is tried.
#[test]
fn the_binary_exists() {
    assert!(binary().is_file(), "{} is missing", binary().display());
}

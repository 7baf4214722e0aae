//! The systems under test: how each is started and asked.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{http, measure};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Barograph,
    /// Prometheus, any version from 2.42.
    Prometheus,
    /// VictoriaMetrics, single node.
    VictoriaMetrics,
}

/// Which programs are compared.
#[derive(Clone, Debug, clap::Args)]
pub struct Programs {
    /// Our binary.
    #[arg(long, default_value = "target/release/barograph")]
    barograph: PathBuf,
    /// Prometheus; left out where it cannot be started. May be given more than once.
    #[arg(long, default_value = "prometheus")]
    prometheus: Vec<PathBuf>,
    /// VictoriaMetrics; left out where it cannot be started. May be given more than once.
    #[arg(long, default_value = "victoria-metrics")]
    victoria_metrics: Vec<PathBuf>,
    /// A directory of the control groups' file system (`…/memory/<name>`, with its limits set) that
    /// every system is put into.
    #[arg(long)]
    cgroup: Option<PathBuf>,
}

impl Programs {
    /// Those that can be started; says which cannot.
    pub fn find(&self) -> Vec<System> {
        let candidates = [(Kind::Barograph, std::slice::from_ref(&self.barograph))]
            .into_iter()
            .chain([(Kind::Prometheus, &self.prometheus[..])])
            .chain([(Kind::VictoriaMetrics, &self.victoria_metrics[..])]);
        let mut systems = Vec::new();
        for (kind, binaries) in candidates {
            for binary in binaries {
                match System::find(kind, binary) {
                    Some(system) => systems.push(System {
                        cgroup: self.cgroup.clone(),
                        ..system
                    }),
                    None => eprintln!("left out: {} cannot be started", binary.display()),
                }
            }
        }
        systems
    }
}

/// A program that can be started.
#[derive(Clone, Debug)]
pub struct System {
    /// What it is.
    pub kind: Kind,
    /// What the tables call it: name and version.
    pub label: String,
    /// The program.
    pub binary: PathBuf,
    /// The control group it runs in.
    cgroup: Option<PathBuf>,
}

impl System {
    /// The system, if its program is there and tells its version.
    pub fn find(kind: Kind, binary: &Path) -> Option<Self> {
        let flag = if kind == Kind::VictoriaMetrics {
            "-version"
        } else {
            "--version"
        };
        let output = Command::new(binary).arg(flag).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        // `version 2.42.0+ds`, `barograph 0.1.0`: the first run of digits and points. Debian's
        // VictoriaMetrics says nothing.
        let version = text
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
            .map_or_else(|| format!("in {}", binary.display()), str::to_owned);
        Some(Self {
            kind,
            label: format!("{kind:?} {version}"),
            binary: binary.to_owned(),
            cgroup: None,
        })
    }

    /// Starts it on an empty or existing `data` directory, scraping as `config` says, and waits
    /// until it answers.
    ///
    /// # Errors
    /// It does not start, or does not answer within 60 s.
    pub fn start(&self, config: &Path, data: &Path) -> io::Result<Running> {
        let begun = Instant::now();
        let mut running = self.spawn(config, data)?;
        while begun.elapsed() < Duration::from_mins(1) {
            if running.is_ready()? {
                return Ok(running);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other(format!(
            "{} did not become ready",
            self.label
        )))
    }

    /// [`Self::start`] without the wait.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(&self, config: &Path, data: &Path) -> io::Result<Running> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(&self.binary);
        match self.kind {
            Kind::Barograph | Kind::Prometheus => command
                .arg("--web.enable-remote-write-receiver")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg("--storage.tsdb.retention.time=1y")
                .arg(format!("--web.listen-address={address}")),
            Kind::VictoriaMetrics => command
                .arg(format!("-promscrape.config={}", config.display()))
                .arg(format!("-storageDataPath={}", data.display()))
                .arg(format!("-httpListenAddr={address}"))
                .arg("-retentionPeriod=1y")
                .arg("-search.disableCache"),
        };
        let log = fs::File::create(data.with_extension("log"))?;
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()?;
        if let Some(cgroup) = &self.cgroup {
            fs::write(cgroup.join("cgroup.procs"), child.id().to_string())?;
        }
        Ok(Running {
            child,
            kind: self.kind,
            address,
        })
    }
}

/// A started system; dropping it kills it.
pub struct Running {
    child: Child,
    kind: Kind,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it says that it answers.
    ///
    /// # Errors
    /// It ended.
    pub fn is_ready(&mut self) -> io::Result<bool> {
        if let Some(status) = self.child.try_wait()? {
            let text = format!("{:?} ended at once: {status}", self.kind);
            return Err(io::Error::other(text));
        }
        let path = if self.kind == Kind::VictoriaMetrics {
            "/health"
        } else {
            "/-/ready"
        };
        let answer = http::get(self.address, path, Duration::from_secs(2));
        Ok(answer.is_ok_and(|answer| answer.status == 200))
    }

    /// Bytes of log it has written on `data`: what ours counts, the length of Prometheus's files,
    /// which is the same while none was truncated. VictoriaMetrics has no log.
    pub fn log_bytes(&self, data: &Path) -> Option<f64> {
        match self.kind {
            Kind::VictoriaMetrics => None,
            Kind::Prometheus => Some(measure::disk_bytes(&data.join("wal")) as f64),
            Kind::Barograph => {
                let answer = http::get(self.address, "/metrics", Duration::from_secs(10)).ok()?;
                let page = String::from_utf8_lossy(&answer.body).into_owned();
                let name = "barograph_tsdb_wal_written_bytes_total ";
                page.lines()
                    .find_map(|line| line.strip_prefix(name)?.parse().ok())
            }
        }
    }

    /// Has it read its configuration again.
    pub fn reload(&self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::HUP);
        }
    }

    /// Ends it with SIGTERM and waits, at most 60 s.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn stop(mut self) -> io::Result<()> {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_mins(1) {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

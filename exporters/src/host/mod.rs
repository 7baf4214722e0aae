//! The host, under node_exporter's metric names.
//!
//! Each collector reads a few of the kernel's files and writes whole families. One that fails
//! leaves nothing on the page but `node_scrape_collector_success` 0; the others go on.

mod cpu;
mod disk;
mod files;
mod filesystem;
mod kernel;
mod memory;
mod network;
mod network_class;
mod sockets;
mod time;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use barograph_instrument::{Encoder, Format, MetricKind};

use files::{CollectError, Root};

/// Where the kernel's files are, and how long a file system may take to answer.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// `/proc`.
    pub procfs: PathBuf,
    /// `/sys`.
    pub sysfs: PathBuf,
    /// `/`: mount points and `/etc/os-release` are looked up below it.
    pub rootfs: PathBuf,
    /// `/run/udev/data`: model and serial numbers of disks.
    pub udev_data: PathBuf,
    /// How long all file systems together may take to say how full they are. One that does not
    /// answer counts as stuck: it is reported with `node_filesystem_device_error` and not asked
    /// again until it has answered.
    pub mount_timeout: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            udev_data: "/run/udev/data".into(),
            mount_timeout: Duration::from_secs(2),
        }
    }
}

/// Reads the host.
pub struct Host {
    state: Mutex<State>,
}

/// What the collectors share and keep from one collection to the next.
struct State {
    proc: Root,
    sys: Root,
    root: Root,
    udev: Root,
    /// Buffers for files; a collector may hold text in one while it reads into another.
    text: Vec<u8>,
    more: Vec<u8>,
    /// A relative path under construction.
    path: String,
    /// `/proc/stat`, which two collectors need; empty until one has read it in this collection.
    stat: Vec<u8>,
    cpus: cpu::Times,
    filesystems: filesystem::Prober,
    /// Whether each collector succeeded last time, to log a failure once and not per scrape.
    succeeded: Vec<bool>,
}

type Collect = fn(&mut State, &mut Encoder<'_>) -> Result<(), CollectError>;

/// Every collector, under the name node_exporter gives it.
const COLLECTORS: &[(&str, Collect)] = &[
    ("arp", sockets::arp),
    ("conntrack", sockets::conntrack),
    ("cpu", cpu::cpu),
    ("cpufreq", cpu::frequency),
    ("diskstats", disk::diskstats),
    ("entropy", kernel::entropy),
    ("filefd", kernel::filefd),
    ("filesystem", filesystem::filesystem),
    ("loadavg", kernel::loadavg),
    ("meminfo", memory::meminfo),
    ("netclass", network_class::netclass),
    ("netdev", network::netdev),
    ("netstat", sockets::netstat),
    ("os", kernel::os),
    ("pressure", memory::pressure),
    ("schedstat", cpu::schedstat),
    ("sockstat", sockets::sockstat),
    ("softnet", network::softnet),
    ("stat", kernel::stat),
    ("time", time::time),
    ("timex", time::timex),
    ("udp_queues", sockets::udp_queues),
    ("uname", kernel::uname),
    ("vmstat", memory::vmstat),
];

impl Host {
    /// A collector with all collectors that are on by default.
    pub fn new(options: HostOptions) -> Self {
        let state = State {
            proc: Root::open(&options.procfs),
            sys: Root::open(&options.sysfs),
            root: Root::open(&options.rootfs),
            udev: Root::open(&options.udev_data),
            text: Vec::new(),
            more: Vec::new(),
            path: String::new(),
            stat: Vec::new(),
            cpus: cpu::Times::default(),
            filesystems: filesystem::Prober::new(options.rootfs, options.mount_timeout),
            succeeded: vec![true; COLLECTORS.len()],
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Appends the state of the host as exposition text (0.0.4). What cannot be read is missing,
    /// and said so in `node_scrape_collector_success`.
    ///
    /// It blocks for the file reads (under a millisecond on an idle host), and for up to
    /// [`HostOptions::mount_timeout`] when a mounted file system hangs for the first time: call it
    /// where blocking is allowed.
    pub fn collect(&self, page: &mut String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stat.clear();
        let mut outcomes = Vec::with_capacity(COLLECTORS.len());
        for (index, (name, collect)) in COLLECTORS.iter().enumerate() {
            let mark = page.len();
            let start = Instant::now();
            let outcome = collect(&mut state, &mut Encoder::new(Format::Text004, page));
            outcomes.push((*name, start.elapsed().as_secs_f64(), outcome.is_ok()));
            if outcome.is_err() {
                page.truncate(mark);
            }
            let before = std::mem::replace(&mut state.succeeded[index], outcome.is_ok());
            match outcome {
                Err(error) if error.is_absent() && before => {
                    tracing::debug!(collector = name, %error, "no data about the host");
                }
                Err(error) if before => {
                    tracing::warn!(collector = name, %error, "cannot read the host");
                }
                Err(_) | Ok(()) => {}
            }
        }
        write_outcomes(&mut Encoder::new(Format::Text004, page), &outcomes);
    }
}

fn write_outcomes(page: &mut Encoder<'_>, outcomes: &[(&str, f64, bool)]) {
    let name = "node_scrape_collector_duration_seconds";
    page.family(
        name,
        MetricKind::Gauge,
        "node_exporter: Duration of a collector scrape.",
    );
    for (collector, seconds, _) in outcomes {
        page.sample(name, [("collector", *collector)], *seconds);
    }
    let name = "node_scrape_collector_success";
    page.family(
        name,
        MetricKind::Gauge,
        "node_exporter: Whether a collector succeeded.",
    );
    for (collector, _, success) in outcomes {
        page.sample(
            name,
            [("collector", *collector)],
            f64::from(u8::from(*success)),
        );
    }
    let name = "node_exporter_build_info";
    page.family(
        name,
        MetricKind::Gauge,
        "A metric with a constant '1' value labeled by version, revision, branch, goversion from \
         which node_exporter was built, and the goos and goarch for the build.",
    );
    let labels = [
        ("branch", "barograph"),
        ("goarch", go_arch()),
        ("goos", go_os()),
        ("goversion", ""),
        ("revision", ""),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    page.sample(name, labels, 1.0);
}

/// The architecture by the name Go gives it, as dashboards know it.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// The operating system by the name Go gives it.
fn go_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// No labels.
const NONE: [(&str, &str); 0] = [];

/// Writes a family of one sample without labels.
fn put(page: &mut Encoder<'_>, name: &str, kind: MetricKind, help: &str, value: f64) {
    page.family(name, kind, help);
    page.sample(name, NONE, value);
}

/// A whole number of the kernel's.
fn whole(text: &str) -> Option<u64> {
    text.parse().ok()
}

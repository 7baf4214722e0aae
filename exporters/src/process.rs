//! This process: `process_*`, under client_golang's names.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use barograph_instrument::{Encoder, MetricKind, MetricKind::Counter, MetricKind::Gauge, Registry};
use rustix::process::Resource;

use crate::system;

/// Registers the `process_*` metrics of this process. What the system does not tell is missing
/// from the page.
///
/// # Panics
/// When the registry has a collector named `process` already.
pub fn register_process_metrics(registry: &Registry) {
    let reader = Mutex::new(Reader::new(Path::new("/proc")));
    registry.collector("process", move |page| {
        reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(page);
    });
}

/// Reads `/proc/self`, keeping its buffer.
struct Reader {
    own: PathBuf,
    boot_time_seconds: Option<f64>,
    text: String,
}

impl Reader {
    fn new(procfs: &Path) -> Self {
        let boot_time_seconds =
            std::fs::read_to_string(procfs.join("stat"))
                .ok()
                .and_then(|stat| {
                    stat.lines()
                        .find_map(|l| l.strip_prefix("btime ")?.parse().ok())
                });
        Self {
            own: procfs.join("self"),
            boot_time_seconds,
            text: String::new(),
        }
    }

    fn write(&mut self, page: &mut Encoder<'_>) {
        let mut put = |name: &str, kind: MetricKind, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                page.family(name, kind, help);
                page.sample(name, std::iter::empty::<(&str, &str)>(), value);
            }
        };
        let boot_time_seconds = self.boot_time_seconds;
        let open_fds = self.open_fds();
        let network = self.read("net/netstat").and_then(network_bytes);
        let stat = self.read("stat").and_then(Stat::parse);
        let stat = stat.as_ref();
        put(
            "process_cpu_seconds_total",
            Counter,
            "Total user and system CPU time spent in seconds.",
            stat.map(|stat| stat.cpu_ticks as f64 / system::ticks_per_second()),
        );
        put(
            "process_max_fds",
            Gauge,
            "Maximum number of open file descriptors.",
            Some(limit(Resource::Nofile)),
        );
        put(
            "process_network_receive_bytes_total",
            Counter,
            "Number of bytes received by the process over the network.",
            network.map(|bytes| bytes.0),
        );
        put(
            "process_network_transmit_bytes_total",
            Counter,
            "Number of bytes sent by the process over the network.",
            network.map(|bytes| bytes.1),
        );
        put(
            "process_open_fds",
            Gauge,
            "Number of open file descriptors.",
            open_fds,
        );
        put(
            "process_resident_memory_bytes",
            Gauge,
            "Resident memory size in bytes.",
            stat.map(|stat| stat.resident_pages as f64 * system::page_size_bytes() as f64),
        );
        put(
            "process_start_time_seconds",
            Gauge,
            "Start time of the process since unix epoch in seconds.",
            stat.zip(boot_time_seconds)
                .map(|(stat, boot)| boot + stat.start_ticks as f64 / system::ticks_per_second()),
        );
        put(
            "process_threads",
            Gauge,
            "Number of OS threads in the process.",
            stat.map(|stat| stat.threads as f64),
        );
        put(
            "process_virtual_memory_bytes",
            Gauge,
            "Virtual memory size in bytes.",
            stat.map(|stat| stat.virtual_bytes as f64),
        );
        put(
            "process_virtual_memory_max_bytes",
            Gauge,
            "Maximum amount of virtual memory available in bytes.",
            Some(limit(Resource::As)),
        );
    }

    fn read(&mut self, file: &str) -> Option<&str> {
        self.text.clear();
        File::open(self.own.join(file))
            .ok()?
            .read_to_string(&mut self.text)
            .ok()?;
        Some(&self.text)
    }

    fn open_fds(&self) -> Option<f64> {
        let directory = self.own.join("fd");
        // Since Linux 6.2 the size of the directory is the number of open files.
        match std::fs::metadata(&directory).ok()?.len() {
            // The listing itself has one open.
            0 => Some((std::fs::read_dir(&directory).ok()?.count() as f64 - 1.0).max(0.0)),
            count => Some(count as f64),
        }
    }
}

/// A limit on a resource; as client_golang does, the greatest number where there is none.
fn limit(resource: Resource) -> f64 {
    rustix::process::getrlimit(resource)
        .current
        .unwrap_or(u64::MAX) as f64
}

/// The fields of `/proc/self/stat` that are exposed, see proc_pid_stat(5).
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the command stands in parentheses and may itself have blanks and
        // parentheses; the field after it is the third.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Bytes received and sent, of the network namespace the process is in.
fn network_bytes(text: &str) -> Option<(f64, f64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let index = names.split(' ').position(|name| name == wanted)?;
        values.split(' ').nth(index)?.parse::<f64>().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_may_have_parentheses() {
        let text =
            "7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 6 0 8888 1000000 250 0";
        let stat = Stat::parse(text).expect("a stat line");
        assert_eq!(stat.cpu_ticks, 175);
        assert_eq!(stat.threads, 6);
        assert_eq!(stat.start_ticks, 8888);
        assert_eq!(stat.virtual_bytes, 1_000_000);
        assert_eq!(stat.resident_pages, 250);
        assert!(Stat::parse("7 (a) S 1").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_told_with_plausible_values() {
        let registry = Registry::new();
        register_process_metrics(&registry);
        let mut page = String::new();
        registry.encode(barograph_instrument::Format::Text004, &mut page);
        let value = |name: &str| -> f64 {
            page.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
                .unwrap_or_else(|| panic!("no {name} in:\n{page}"))
        };
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock")
            .as_secs_f64();
        assert!((now - value("process_start_time_seconds")).abs() < 3600.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_network_receive_bytes_total") >= 0.0);
    }
}

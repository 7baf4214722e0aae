//! What a process takes, as the kernel counts it.

use std::fs;
use std::io;
use std::path::Path;

use barograph_instrument::{Format, Registry};

/// Figures of one process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds of processor time, user and system.
    pub cpu_seconds: f64,
    /// Anonymous resident memory, bytes.
    pub anonymous_bytes: u64,
    /// Resident pages of mapped files, bytes.
    pub file_bytes: u64,
    /// Highest resident size so far, bytes.
    pub peak_bytes: u64,
    /// Bytes it caused to be written to disk.
    pub written_bytes: u64,
}

/// Reads `/proc` for process `pid`.
///
/// # Errors
/// The process is gone or `/proc` is not there.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "an unexpected /proc line");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .ok_or_else(missing)?
        .1
        .split_whitespace()
        .collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok());
    let ticks = ticks(11).ok_or_else(missing)? + ticks(12).ok_or_else(missing)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    Ok(Usage {
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        anonymous_bytes: field(&status, "RssAnon:") * 1024,
        file_bytes: field(&status, "RssFile:") * 1024,
        peak_bytes: field(&status, "VmHWM:") * 1024,
        written_bytes: field(&io, "write_bytes:"),
    })
}

/// Nanoseconds this thread was on a processor.
pub fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The value of a metric without labels, of a registry in this process.
pub fn metric(registry: &Registry, name: &str) -> Option<f64> {
    let mut page = String::new();
    registry.encode(Format::Text004, &mut page);
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok())
}

/// Bytes of disk that `path` and everything below it occupies (blocks, not lengths).
pub fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    let mut stack = vec![path.to_owned()];
    while let Some(path) = stack.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        total += metadata.blocks() * 512;
        if metadata.is_dir() {
            stack.extend(
                fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|e| e.path()),
            );
        }
    }
    total
}

/// Bytes of disk that each file or directory in `path` occupies, by name.
///
/// # Errors
/// The directory cannot be read.
pub fn disk_split(path: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        parts.push((name, disk_bytes(&entry.path())));
    }
    parts.sort();
    Ok(parts)
}

/// Takes every file below `path` out of the page cache; returns their bytes.
///
/// # Errors
/// Those of reading directories and writing files out.
pub fn forget(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += forget(&entry.path())?;
            continue;
        }
        let file = fs::File::open(entry.path())?;
        file.sync_all()?;
        bytes += file.metadata()?.len();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(bytes)
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

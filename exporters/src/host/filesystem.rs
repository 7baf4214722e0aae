//! Mounted file systems: how big, how full, and whether they answer at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use barograph_instrument::{Encoder, MetricKind};

use super::State;
use super::files::CollectError;

/// Threads that hang on a file system that does not answer; beyond this many, file systems are
/// reported as failed without being asked.
const MAX_STUCK_THREADS: usize = 8;
/// More mounts than this are left out.
const MAX_MOUNTS: usize = 10_000;
/// What a file system still gets after another has used up the whole timeout: one that hangs often
/// comes with others of the same server.
const GRACE: Duration = Duration::from_millis(100);
/// Reported for a file system that does not answer.
const TIMEOUT: &str = "mountpoint timeout";

pub(super) fn filesystem(state: &mut State, page: &mut Encoder<'_>) -> Result<(), CollectError> {
    // Process 1 sees the mounts of the host, where it may be looked at.
    let text = match state.proc.read("1/mountinfo", &mut state.text) {
        Ok(text) => text,
        Err(_) => state.proc.read("self/mountinfo", &mut state.more)?,
    };
    let mut seen = BTreeSet::new();
    let mut mounts = Vec::new();
    for line in text.lines().take(MAX_MOUNTS) {
        let mount = parse_mount(line, &state.filesystems.rootfs).ok_or_else(|| {
            state
                .proc
                .malformed("1/mountinfo", format!("a line {line:?}"))
        })?;
        let key = (
            mount.device.clone(),
            mount.point.clone(),
            mount.fs_type.clone(),
        );
        if is_left_out_type(&mount.fs_type) || is_left_out_point(&mount.point) || !seen.insert(key)
        {
            continue;
        }
        mounts.push(mount);
    }
    let points: Vec<&str> = mounts.iter().map(|mount| mount.point.as_str()).collect();
    let answers = state.filesystems.ask(&points);
    write(&mounts, &answers, page);
    Ok(())
}

struct Mount {
    device: String,
    point: String,
    fs_type: String,
    major_minor: (String, String),
    read_only: bool,
}

/// A line of proc_pid_mountinfo(5). The mount point is returned without `rootfs` before it.
fn parse_mount(line: &str, rootfs: &std::path::Path) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (major, minor) = left.next()?.split_once(':')?;
    let (_root, point, options) = (left.next()?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (fs_type, device) = (right.next()?, right.next()?);
    let super_options = right.next().unwrap_or_default();
    let has = |options: &str, wanted: &str| options.split(',').any(|option| option == wanted);
    let point = unescape(point);
    let point = match rootfs.to_str() {
        Some("/") | None => point,
        Some(prefix) => match point.strip_prefix(prefix.trim_end_matches('/')) {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            _ => point,
        },
    };
    Some(Mount {
        device: unescape(device),
        point,
        fs_type: fs_type.to_owned(),
        major_minor: (major.to_owned(), minor.to_owned()),
        read_only: has(options, "ro")
            || has(super_options, "ro")
            || has(super_options, "emergency_ro"),
    })
}

/// Undoes the kernel's `\040` for a blank, and the like.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let code = (bytes[index] == b'\\')
            .then(|| text.get(index + 1..index + 4))
            .flatten()
            .and_then(|octal| u8::from_str_radix(octal, 8).ok());
        if let Some(code) = code {
            plain.push(code);
            index += 4;
        } else {
            plain.push(bytes[index]);
            index += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Types that hold no files of their own, as node_exporter's default says.
fn is_left_out_type(fs_type: &str) -> bool {
    matches!(
        fs_type,
        "autofs"
            | "binfmt_misc"
            | "bpf"
            | "cgroup"
            | "cgroup2"
            | "configfs"
            | "debugfs"
            | "devpts"
            | "devtmpfs"
            | "fusectl"
            | "hugetlbfs"
            | "iso9660"
            | "mqueue"
            | "nsfs"
            | "overlay"
            | "proc"
            | "procfs"
            | "pstore"
            | "rpc_pipefs"
            | "securityfs"
            | "selinuxfs"
            | "squashfs"
            | "erofs"
            | "sysfs"
            | "tracefs"
    )
}

/// Mount points of the system and of containers, as node_exporter's default says.
fn is_left_out_point(point: &str) -> bool {
    let is_below = |parent: &str| {
        point
            .strip_prefix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let has_child_of = |parent: &str| {
        point
            .strip_prefix(parent)
            .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
    };
    ["/dev", "/proc", "/sys"].into_iter().any(is_below)
        || [
            "/run/credentials",
            "/var/lib/docker",
            "/var/lib/containers/storage",
        ]
        .into_iter()
        .any(has_child_of)
}

/// Family, meaning, value.
type Column = (&'static str, &'static str, fn(&Usage) -> f64);

const COLUMNS: [Column; 5] = [
    (
        "node_filesystem_avail_bytes",
        "Filesystem space available to non-root users in bytes.",
        |usage| usage.available_bytes,
    ),
    (
        "node_filesystem_files",
        "Filesystem total file nodes.",
        |usage| usage.files,
    ),
    (
        "node_filesystem_files_free",
        "Filesystem total free file nodes.",
        |usage| usage.files_free,
    ),
    (
        "node_filesystem_free_bytes",
        "Filesystem free space in bytes.",
        |usage| usage.free_bytes,
    ),
    (
        "node_filesystem_size_bytes",
        "Filesystem size in bytes.",
        |usage| usage.size_bytes,
    ),
];

fn write(mounts: &[Mount], answers: &[Answer], page: &mut Encoder<'_>) {
    let labels = |mount: &'_ Mount, answer: &'_ Answer| {
        let error = answer.as_ref().err().cloned().unwrap_or_default();
        [
            ("device", mount.device.clone()),
            ("device_error", error),
            ("fstype", mount.fs_type.clone()),
            ("mountpoint", mount.point.clone()),
        ]
    };
    let rows = || mounts.iter().zip(answers);
    let flag = |value: bool| f64::from(u8::from(value));

    let name = "node_filesystem_device_error";
    let help = "Whether an error occurred while getting statistics for the given device.";
    page.family(name, MetricKind::Gauge, help);
    for (mount, answer) in rows() {
        page.sample(name, labels(mount, answer), flag(answer.is_err()));
    }
    let name = "node_filesystem_readonly";
    page.family(name, MetricKind::Gauge, "Filesystem read-only status.");
    for (mount, answer) in rows() {
        page.sample(name, labels(mount, answer), flag(mount.read_only));
    }
    for (name, help, read) in COLUMNS {
        page.family(name, MetricKind::Gauge, help);
        for (mount, answer) in rows() {
            if let Ok(usage) = answer {
                page.sample(name, labels(mount, answer), read(usage));
            }
        }
    }
    let name = "node_filesystem_mount_info";
    page.family(name, MetricKind::Gauge, "Filesystem mount information.");
    for (mount, answer) in rows() {
        if answer.is_ok() {
            let labels = [
                ("device", mount.device.as_str()),
                ("major", &mount.major_minor.0),
                ("minor", &mount.major_minor.1),
                ("mountpoint", &mount.point),
            ];
            page.sample(name, labels, 1.0);
        }
    }
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    size_bytes: f64,
    free_bytes: f64,
    available_bytes: f64,
    files: f64,
    files_free: f64,
}

/// What a file system said, or why it could not be asked.
type Answer = Result<Usage, String>;
/// Asks one file system; may hang for as long as the file system does.
type Ask = fn(&std::path::Path) -> Answer;

/// Asks file systems on a thread of its own, and leaves that thread behind when one hangs.
pub(super) struct Prober {
    rootfs: PathBuf,
    timeout: Duration,
    ask: Ask,
    worker: Option<Worker>,
    /// Mount points that have not answered, and whether their thread has come back since.
    stuck: BTreeMap<String, Arc<AtomicBool>>,
}

struct Worker {
    requests: Sender<Vec<PathBuf>>,
    answers: Receiver<Answer>,
    /// Set when the thread ends, which a hanging one does once the file system answers.
    ended: Arc<AtomicBool>,
}

impl Prober {
    pub(super) fn new(rootfs: PathBuf, timeout: Duration) -> Self {
        Self {
            rootfs,
            timeout,
            ask: usage_of,
            worker: None,
            stuck: BTreeMap::new(),
        }
    }

    /// Asks the file systems at `points`, in order. Waits for the timeout in all, and a little more
    /// for each further one that hangs.
    fn ask(&mut self, points: &[&str]) -> Vec<Answer> {
        self.stuck
            .retain(|_, recovered| !recovered.load(Ordering::Acquire));
        let asked: Vec<usize> = (0..points.len())
            .filter(|index| !self.stuck.contains_key(points[*index]))
            .collect();
        let mut answers = vec![Err(TIMEOUT.to_owned()); points.len()];
        let mut todo = &asked[..];
        let deadline = Instant::now() + self.timeout;
        while !todo.is_empty() && self.stuck.len() < MAX_STUCK_THREADS {
            let worker = match self.worker.take() {
                Some(worker) => worker,
                None => match Worker::start(self.ask) {
                    Ok(worker) => worker,
                    Err(error) => {
                        for index in todo {
                            answers[*index] = Err(format!("cannot start a thread: {error}"));
                        }
                        return answers;
                    }
                },
            };
            let paths = todo
                .iter()
                .map(|index| self.rootfs.join(points[*index].trim_start_matches('/')));
            if worker.requests.send(paths.collect()).is_err() {
                continue; // The thread has ended: start another.
            }
            let mut answered = 0;
            for index in todo {
                let left = deadline.saturating_duration_since(Instant::now());
                let wait = left.max(GRACE.min(self.timeout));
                let Ok(answer) = worker.answers.recv_timeout(wait) else {
                    break;
                };
                answers[*index] = answer;
                answered += 1;
            }
            todo = &todo[answered..];
            if let Some((hanging, rest)) = todo.split_first() {
                self.stuck
                    .insert(points[*hanging].to_owned(), worker.ended.clone());
                todo = rest;
            } else {
                self.worker = Some(worker);
            }
        }
        answers
    }
}

impl Worker {
    fn start(ask: Ask) -> std::io::Result<Self> {
        let (requests, inbox) = channel::<Vec<PathBuf>>();
        let (outbox, answers) = channel();
        let ended = Arc::new(AtomicBool::new(false));
        let guard = SetOnDrop(ended.clone());
        std::thread::Builder::new()
            .name("host-statfs".to_owned())
            .spawn(move || {
                let _guard = guard;
                for paths in inbox {
                    for path in paths {
                        if outbox.send(ask(&path)).is_err() {
                            return; // Given up on.
                        }
                    }
                }
            })?;
        Ok(Self {
            requests,
            answers,
            ended,
        })
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(target_os = "linux")]
fn usage_of(path: &std::path::Path) -> Answer {
    let stat = rustix::fs::statfs(path).map_err(describe)?;
    let block_bytes = stat.f_bsize as f64;
    Ok(Usage {
        size_bytes: stat.f_blocks as f64 * block_bytes,
        free_bytes: stat.f_bfree as f64 * block_bytes,
        available_bytes: stat.f_bavail as f64 * block_bytes,
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
    })
}

#[cfg(not(target_os = "linux"))]
fn usage_of(path: &std::path::Path) -> Answer {
    let stat = rustix::fs::statvfs(path).map_err(describe)?;
    let block_bytes = stat.f_frsize as f64;
    Ok(Usage {
        size_bytes: stat.f_blocks as f64 * block_bytes,
        free_bytes: stat.f_bfree as f64 * block_bytes,
        available_bytes: stat.f_bavail as f64 * block_bytes,
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
    })
}

/// The error in the words of the C library, without the number Rust appends.
fn describe(error: rustix::io::Errno) -> String {
    let mut text = std::io::Error::from(error).to_string().to_lowercase();
    if let Some(end) = text.find(" (os error") {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_is_taken_apart() {
        let root = std::path::Path::new("/");
        let line = "36 35 98:0 /mnt1 /mnt/a\\040b\\011c rw,noatime master:1 shared:2 - ext3 \
                    /dev/root rw,errors=continue";
        let mount = parse_mount(line, root).expect("a mount");
        assert_eq!(
            (
                mount.device.as_str(),
                mount.point.as_str(),
                mount.fs_type.as_str()
            ),
            ("/dev/root", "/mnt/a b\tc", "ext3")
        );
        assert_eq!(mount.major_minor, ("98".to_owned(), "0".to_owned()));
        assert!(!mount.read_only);
        for line in [
            "1 2 8:1 / /x ro - ext4 d rw",
            "1 2 8:1 / /x rw - ext4 d rw,emergency_ro",
        ] {
            assert!(
                parse_mount(line, root).expect("a mount").read_only,
                "{line}"
            );
        }
        assert!(parse_mount("36 35 98:0 / /x rw", root).is_none());
    }

    #[test]
    fn the_host_prefix_is_taken_off_mount_points() {
        let point = |point: &str| {
            let line = format!("1 2 8:1 / {point} rw - ext4 d rw");
            parse_mount(&line, std::path::Path::new("/host"))
                .expect("a mount")
                .point
        };
        assert_eq!(point("/host"), "/");
        assert_eq!(point("/host/var"), "/var");
        assert_eq!(point("/hostile"), "/hostile");
    }

    #[test]
    fn system_mounts_are_left_out() {
        for point in [
            "/proc",
            "/sys/fs/cgroup",
            "/dev/shm",
            "/var/lib/docker/x",
            "/run/credentials/y",
        ] {
            assert!(is_left_out_point(point), "{point}");
        }
        for point in ["/", "/process", "/var/lib/docker", "/run/user/0", "/home"] {
            assert!(!is_left_out_point(point), "{point}");
        }
    }

    #[test]
    fn a_file_system_that_hangs_is_reported_and_asked_again_when_it_is_back() {
        static RELEASED: AtomicBool = AtomicBool::new(false);
        const GOOD: Usage = Usage {
            size_bytes: 1.0,
            free_bytes: 2.0,
            available_bytes: 3.0,
            files: 4.0,
            files_free: 5.0,
        };
        #[expect(
            clippy::unnecessary_wraps,
            reason = "the signature of what it stands in for"
        )]
        fn ask(path: &std::path::Path) -> Answer {
            while path.ends_with("hung") && !RELEASED.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(GOOD)
        }
        let mut prober = Prober::new("/".into(), Duration::from_millis(50));
        prober.ask = ask;
        let points = ["/a", "/hung", "/b"];
        let want = [Ok(GOOD), Err(TIMEOUT.to_owned()), Ok(GOOD)];
        assert_eq!(prober.ask(&points), want);
        let start = Instant::now();
        assert_eq!(prober.ask(&points), want);
        assert!(
            start.elapsed() < Duration::from_millis(40),
            "it was waited for again"
        );

        RELEASED.store(true, Ordering::Release);
        let deadline = Instant::now() + Duration::from_secs(5);
        while prober.ask(&points)[1].is_err() {
            assert!(Instant::now() < deadline, "it is still given up on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

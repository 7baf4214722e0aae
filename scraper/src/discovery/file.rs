//! Target lists in JSON or YAML files, watched.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use barograph_model::LabelsBuilder;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::config::{FileDiscovery, StaticTargets};
use crate::job::Job;
use crate::metrics::{Mechanism, ScrapeMetrics};
use crate::scraper::Shared;
use crate::target::ADDRESS;

/// Label with the file a target comes from.
const META_FILEPATH: &str = "__meta_filepath";
/// Longest target file read, bytes.
const FILE_LIMIT_BYTES: u64 = 64 << 20;
/// How long after a change the files are read, so that a burst of changes is one reading.
const SETTLE: Duration = Duration::from_millis(100);

/// Reads the target files of one job until dropped.
pub(crate) struct FileDiscoverer {
    discovery: Vec<FileDiscovery>,
    task: tokio::task::AbortHandle,
}

impl Drop for FileDiscoverer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FileDiscoverer {
    /// Starts watching; returns what the files hold now.
    pub(crate) async fn start(
        shared: &Arc<Shared>,
        job: &Arc<Job>,
        discovery: &[FileDiscovery],
    ) -> (Self, Vec<StaticTargets>) {
        let (changed, changes) = mpsc::channel(1);
        let mut files = TargetFiles {
            discovery: discovery.to_vec(),
            last_good: BTreeMap::new(),
            watcher: watcher(changed, &shared.metrics),
            watched: BTreeSet::new(),
        };
        let metrics = shared.clone();
        let read = tokio::task::spawn_blocking(move || {
            let first = files.read(&metrics.metrics);
            (files, first)
        });
        let (files, first) = match read.await {
            Ok((files, first)) => (Some(files), first),
            Err(error) => {
                tracing::error!(%error, "BUG: reading target files panicked");
                (None, Vec::new())
            }
        };
        let task = tokio::spawn(follow(shared.clone(), Arc::downgrade(job), files, changes));
        let this = Self {
            discovery: discovery.to_vec(),
            task: task.abort_handle(),
        };
        (this, first)
    }

    /// Whether it reads exactly these.
    pub(crate) fn reads(&self, discovery: &[FileDiscovery]) -> bool {
        self.discovery == discovery
    }
}

/// Reads the files again whenever they change, and at the refresh interval.
async fn follow(
    shared: Arc<Shared>,
    job: Weak<Job>,
    mut files: Option<TargetFiles>,
    mut changes: mpsc::Receiver<()>,
) {
    while let Some(mut reading) = files.take() {
        let refresh_ms = reading.refresh_interval_ms();
        tokio::select! {
            () = shared.stopped() => return,
            Some(()) = changes.recv() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(Duration::from_millis(refresh_ms)) => {}
        }
        while changes.try_recv().is_ok() {}
        let metrics = shared.clone();
        let read = tokio::task::spawn_blocking(move || {
            let groups = reading.read(&metrics.metrics);
            (reading, groups)
        });
        match (read.await, job.upgrade()) {
            (Ok((reading, groups)), Some(job)) => {
                job.set_discovered(groups);
                files = Some(reading);
            }
            (Ok(_), None) => return,
            (Err(error), _) => tracing::error!(%error, "BUG: reading target files panicked"),
        }
    }
}

/// A watcher that says only *that* something changed.
fn watcher(changed: mpsc::Sender<()>, metrics: &ScrapeMetrics) -> Option<RecommendedWatcher> {
    let errors = metrics.file_watcher_errors.clone();
    let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        match event.map(|event| event.kind) {
            // Reading files is an event, too, and must not lead to reading them again.
            Ok(EventKind::Access(kind)) if kind != AccessKind::Close(AccessMode::Write) => {}
            Ok(_) => {
                // Full means that a reading is due anyway.
                let _ = changed.try_send(());
            }
            Err(_) => errors.inc(),
        }
    });
    made.map_err(|error| {
        metrics.file_watcher_errors.inc();
        tracing::warn!(%error, "target files are not watched, only read at the refresh interval");
    })
    .ok()
}

struct TargetFiles {
    discovery: Vec<FileDiscovery>,
    last_good: BTreeMap<PathBuf, Vec<StaticTargets>>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileGroup {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl TargetFiles {
    fn refresh_interval_ms(&self) -> u64 {
        let shortest = self.discovery.iter().map(|d| d.refresh_interval_ms).min();
        shortest.unwrap_or(300_000).max(100).unsigned_abs()
    }

    /// What all files hold. A file that cannot be read or parsed counts as it was when it last
    /// could.
    fn read(&mut self, metrics: &ScrapeMetrics) -> Vec<StaticTargets> {
        self.watch(metrics);
        let mut found = BTreeMap::new();
        let patterns: Vec<_> = self
            .discovery
            .iter()
            .flat_map(|d| d.files.clone())
            .collect();
        for pattern in patterns {
            let paths = match expand(&pattern) {
                Ok(paths) => paths,
                Err(error) => {
                    metrics.file_read_errors.inc();
                    tracing::error!(path = %pattern.display(), %error, "target files cannot be listed; their last content stays in force");
                    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
                    let known = self.last_good.keys().filter(|path| {
                        path.parent() == pattern.parent()
                            && matches(
                                &name,
                                &path.file_name().unwrap_or_default().to_string_lossy(),
                            )
                    });
                    known.cloned().collect()
                }
            };
            for path in paths {
                if found.contains_key(&path) {
                    continue;
                }
                let groups = match read_file(&path) {
                    Ok(groups) => groups,
                    Err(error) => {
                        metrics.file_read_errors.inc();
                        tracing::error!(path = %path.display(), error, "a target file is not usable; its last good content stays in force");
                        match self.last_good.remove(&path) {
                            Some(groups) => groups,
                            None => continue,
                        }
                    }
                };
                found.insert(path, groups);
            }
        }
        self.last_good = found;
        metrics
            .discovery_updates
            .with(&Mechanism { name: "file" })
            .inc();
        self.last_good.values().flatten().cloned().collect()
    }

    /// Watches the directories of all patterns; what does not exist yet is tried again at the next
    /// reading.
    fn watch(&mut self, metrics: &ScrapeMetrics) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for pattern in self.discovery.iter().flat_map(|d| &d.files) {
            let directory = match pattern.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            if self.watched.contains(directory) || !directory.is_dir() {
                continue;
            }
            match watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(directory.to_owned());
                }
                Err(error) => {
                    metrics.file_watcher_errors.inc();
                    tracing::warn!(path = %directory.display(), %error, "cannot watch a directory of target files");
                }
            }
        }
    }
}

/// The existing files that fit a pattern, in order.
fn expand(pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    if !name.contains('*') {
        return Ok(if pattern.try_exists()? {
            vec![pattern.to_owned()]
        } else {
            Vec::new()
        });
    }
    let directory = match pattern.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let listing = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut paths = Vec::new();
    for entry in listing {
        let entry = entry?;
        let file_name = entry.file_name();
        let text = file_name.to_string_lossy();
        if matches(&name, &text) {
            paths.push(pattern.with_file_name(&file_name));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether `name` fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn read_file(path: &Path) -> Result<Vec<StaticTargets>, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let read = file
        .take(FILE_LIMIT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if read as u64 > FILE_LIMIT_BYTES {
        return Err(format!("the file has more than {FILE_LIMIT_BYTES} bytes"));
    }
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let groups: Option<Vec<Option<FileGroup>>> = match extension.as_str() {
        "json" => serde_json::from_str(&text).map_err(|error| error.to_string())?,
        "yml" | "yaml" if text.trim().is_empty() => None,
        "yml" | "yaml" => serde_saphyr::from_str(&text).map_err(|error| error.to_string())?,
        _ => return Err("the name must end in .json, .yml or .yaml".to_owned()),
    };
    let mut targets = Vec::new();
    for group in groups.unwrap_or_default() {
        let group =
            group.ok_or("a group is empty (null): write targets and labels, or remove it")?;
        let mut labels = LabelsBuilder::new();
        for (name, value) in group.labels.unwrap_or_default() {
            if name.is_empty() {
                return Err("a label name is empty".to_owned());
            }
            if name != ADDRESS {
                labels.set(&name, &value);
            }
        }
        labels.set(META_FILEPATH, &path.to_string_lossy());
        targets.push(StaticTargets {
            targets: group.targets,
            labels: labels.build(),
        });
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.yml", false),
            ("a*b*.yml", "axxbyy.yml", true),
            ("a*b*.yml", "axx.yml", false),
            ("a.yml", "a.yml", true),
            ("ab*ab", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_strict() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let check = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("writable");
            read_file(&path)
        };
        let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "x"}}]"#;
        let yaml = "- targets: [a:1, 'b:2']\n  labels:\n    env: x\n    port: 80\n";
        for (name, text) in [("t.json", json), ("t.yml", yaml)] {
            let groups = check(name, text).expect(name);
            assert_eq!(groups.len(), 1);
            assert_eq!(groups[0].targets, ["a:1", "b:2"]);
            assert_eq!(groups[0].labels.get("env"), "x");
            assert!(groups[0].labels.get(META_FILEPATH).ends_with(name));
        }
        assert_eq!(check("n.yml", "").map(|g| g.len()), Ok(0));
        for (name, text) in [
            ("b.json", r#"[{"targets": ["a:1"], "lables": {}}]"#),
            ("b.json", "[null]"),
            ("b.json", "[{"),
            ("b.yml", "- targets: a:1\n"),
            ("b.txt", "[]"),
            ("b.yml", "- targets: [a]\n  labels: {'': x}\n"),
        ] {
            assert!(check(name, text).is_err(), "{text}");
        }
    }
}

//! Where temporary files of a command go, and what removes them when someone interrupts it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// What shells take for the end by SIGINT.
const INTERRUPTED: i32 = 130;
/// How Prometheus, and so our export, names a block that is being written.
const UNFINISHED: &str = ".tmp-for-creation";

/// A directory that is removed with what is in it, also when the command is interrupted.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one in `parent`. Unfinished blocks in `out`, where a command writes such, go with it at
    /// an interruption.
    pub(super) fn new(parent: &Path, out: Option<&Path>) -> Result<Self, String> {
        let path = parent.join(format!("barograph-tsdb-{}", std::process::id()));
        fs::create_dir_all(&path)
            .map_err(|error| format!("{}: cannot make a directory: {error}", path.display()))?;
        let (directory, out) = (path.clone(), out.map(Path::to_owned));
        let before = out.as_deref().map(unfinished).unwrap_or_default();
        std::thread::spawn(move || {
            if wait().is_none() {
                return;
            }
            let begun = out.as_deref().map(unfinished).unwrap_or_default();
            for path in begun.difference(&before) {
                fs::remove_dir_all(path).ok();
            }
            fs::remove_dir_all(directory).ok();
            exit(INTERRUPTED);
        });
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Waits for SIGINT or SIGTERM; `None` where that cannot be done.
fn wait() -> Option<()> {
    let runtime = Builder::new_current_thread().enable_io().build().ok()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).ok()?;
        let mut terminate = signal(SignalKind::terminate()).ok()?;
        tokio::select! {
            received = interrupt.recv() => received,
            received = terminate.recv() => received,
        }
    })
}

fn unfinished(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().ends_with(UNFINISHED))
        .collect()
}

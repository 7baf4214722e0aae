//! A data directory opened to look into, ours or Prometheus's. Nothing in it is changed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use barograph_instrument::Registry;
use barograph_model::SystemClock;

use crate::block::{Block, open_blocks};
use crate::checkpoint::checkpoint_number;
use crate::db::Db;
use crate::deletions;
use crate::disk::{Disk, SystemDisk};
use crate::error::OpenError;
use crate::head::Head;
use crate::options::{Options, WalSync};
use crate::overlay::Overlay;
use crate::prometheus;
use crate::prometheus::block::ForeignBlock;
use crate::prometheus::meta::Ulid;
use crate::snapshot::Snapshot;
use crate::verify::{self, FileReport};
use crate::view::{StoredBlock, View};

/// An opened directory.
pub struct Offline {
    root: PathBuf,
    snapshot: Snapshot,
    view: Arc<View>,
    unreadable: u64,
    // Keeps the head.
    _db: Option<Db>,
    // Keeps temporary files, too.
    disk: Arc<dyn Disk>,
}

/// How often opening is tried where a server changes the directory meanwhile.
const ATTEMPTS: usize = 10;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// What is opened of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Its blocks.
    Blocks,
    /// Its blocks and what is only in its logs.
    Everything,
}

/// A block of a directory.
#[derive(Clone, Debug)]
pub struct BlockInfo {
    /// The name of its directory.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// Whether Prometheus's format is its format.
    pub is_foreign: bool,
    /// The span it is about, milliseconds; the end is exclusive.
    pub start_ms: i64,
    /// See `start_ms`.
    pub end_ms: i64,
    /// How many samples it has.
    pub samples: u64,
    /// How many pieces they are stored in: chunks, or pages.
    pub chunks: u64,
    /// How many series it has.
    pub series: u64,
    /// Size of its files.
    pub size_bytes: u64,
    /// How often its samples were compacted.
    pub level: u64,
    /// How many deleted stretches it has.
    pub tombstones: u64,
}

impl Offline {
    /// Opens a directory, also one that a server is running on: what is read is what was there at
    /// one moment. `temporary` is where a directory for what has to be written is made; it is
    /// removed again.
    ///
    /// # Errors
    /// It cannot be read, or a server changed it again and again meanwhile.
    pub fn open(path: &Path, parts: Parts, temporary: &Path) -> Result<Self, OpenError> {
        let mut before = Names::of(path)?;
        for _ in 0..ATTEMPTS {
            let opened = Self::open_once(path, parts, temporary);
            let after = Names::of(path)?;
            if before.still_hold(&after) {
                return opened;
            }
            // A block or a part of the log came or went while others were read.
            std::thread::sleep(PAUSE);
            before = Names::of(path)?;
        }
        Err(OpenError::Changing {
            path: path.to_owned(),
        })
    }

    fn open_once(path: &Path, parts: Parts, temporary: &Path) -> Result<Self, OpenError> {
        let failure = |path: &Path, action, source| OpenError::Io {
            path: path.to_owned(),
            action,
            source,
        };
        let overlay = Overlay::new(path, temporary);
        let overlay = overlay.map_err(|e| failure(temporary, "make a directory in", e))?;
        let disk: Arc<dyn Disk> = Arc::new(overlay);
        if parts == Parts::Blocks {
            let own = path.join("blocks");
            let made = disk.create_dir_all(&own);
            made.map_err(|source| failure(&own, "create the directory", source))?;
            let (view, unreadable) = open_blocks(&disk, &own)?;
            let (view, unreadable_foreign) = prometheus::block::open_beside(view, &disk, path)?;
            let deletions = Arc::new(deletions::load(&disk, path)?);
            let view = Arc::new(View { deletions, ..view });
            let head = Arc::new(Head::new(0));
            return Ok(Self {
                root: path.to_owned(),
                snapshot: Snapshot::new(head, view.clone(), Vec::new()),
                view,
                unreadable: unreadable + unreadable_foreign,
                _db: None,
                disk,
            });
        }
        let options = Options {
            retention_ms: 0,
            wal_sync: WalSync::Never,
            maintenance_interval: Duration::ZERO,
            ..Options::new(path)
        };
        let db = Db::open_with(options, &Registry::new(), disk.clone(), SystemClock)?;
        Ok(Self {
            root: path.to_owned(),
            snapshot: db.snapshot(),
            view: db.view(),
            unreadable: db.unreadable_blocks(),
            _db: Some(db),
            disk,
        })
    }

    /// Everything in it.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How many blocks cannot be opened.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Its blocks, oldest first.
    pub fn blocks(&self) -> Vec<BlockInfo> {
        self.view.blocks.iter().map(BlockInfo::of).collect()
    }

    /// One block, by its index in [`Self::blocks`].
    pub fn block(&self, index: usize) -> Option<Snapshot> {
        let block = self.view.blocks.get(index)?.clone();
        let view = View {
            blocks: vec![block],
            head_start_ms: i64::MIN,
            deletions: self.view.deletions.clone(),
            matches: Arc::default(),
        };
        Some(Snapshot::new(
            Arc::new(Head::new(0)),
            Arc::new(view),
            Vec::new(),
        ))
    }

    /// Reads a block whole: every checksum, every page or chunk.
    ///
    /// # Errors
    /// The first damage that is found.
    pub fn verify(&self, index: usize) -> Result<(), OpenError> {
        match self.view.blocks.get(index) {
            Some(StoredBlock::Own(block)) => Block::verify(block),
            Some(StoredBlock::Foreign(block)) => {
                block.verify(|| {}).map_err(|damage| OpenError::Corrupt {
                    path: block.path.join(damage.file),
                    offset: damage.offset,
                    what: damage.what,
                })
            }
            None => Ok(()),
        }
    }
}

impl Offline {
    /// Reads the files beside the blocks whole: log, checkpoints, sealed chunks of the head, ours
    /// and Prometheus's. What was deleted was checked when the directory was opened.
    ///
    /// # Errors
    /// A file or a directory cannot be read.
    pub fn verify_files(&self, mut each: impl FnMut(FileReport)) -> Result<(), OpenError> {
        let own = verify::files(&self.disk, &self.root, &mut each);
        let all = own.and_then(|()| prometheus::verify::files(&self.disk, &self.root, &mut each));
        all.map_err(|(path, source)| OpenError::Io {
            path,
            action: "read",
            source,
        })
    }

    /// Why each block cannot be opened that cannot.
    pub fn unreadable_blocks(&self) -> Vec<OpenError> {
        if self.unreadable == 0 {
            return Vec::new();
        }
        let opened = self.view.blocks.iter().map(|block| block.path().to_owned());
        let opened: BTreeSet<PathBuf> = opened.collect();
        let own = self.root.join("blocks");
        let mut errors = Vec::new();
        for (directory, is_own) in [(&own, true), (&self.root, false)] {
            let names = self.disk.list(directory).unwrap_or_default().into_iter();
            let names = names.filter(|name| is_own || Ulid::parse(name).is_some());
            for path in names.map(|name| directory.join(name)) {
                if opened.contains(&path) {
                    continue;
                }
                let found = if is_own {
                    Block::open(&self.disk, &path).map(drop)
                } else {
                    ForeignBlock::open(&self.disk, &path).map(drop)
                };
                errors.extend(found.err());
            }
        }
        errors
    }
}

/// Names of files that tell whether a directory changed in a way that matters to its reader.
#[derive(Debug, PartialEq)]
struct Names {
    /// Blocks and checkpoints: another one says of what was read before that it is out of date.
    fixed: BTreeSet<PathBuf>,
    /// Files that may come, and are read where they are found.
    growing: BTreeSet<PathBuf>,
}

impl Names {
    fn of(root: &Path) -> Result<Self, OpenError> {
        let list = |directory: &Path| match SystemDisk.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory != root => {
                Ok(Vec::new())
            }
            listed => listed.map_err(|source| OpenError::Io {
                path: directory.to_owned(),
                action: "read",
                source,
            }),
        };
        let (mut fixed, mut growing) = (BTreeSet::new(), BTreeSet::new());
        let blocks = list(root)?.into_iter();
        fixed.extend(
            blocks
                .filter(|name| Ulid::parse(name).is_some())
                .map(PathBuf::from),
        );
        for part in ["blocks", "head", "wal", "wbl"] {
            for name in list(&root.join(part))? {
                let is_checkpoint =
                    name.starts_with("checkpoint.") || checkpoint_number(&name).is_some();
                let is_fixed = part == "blocks" || is_checkpoint;
                if name.starts_with("tmp-") || name.contains(".tmp") {
                    continue;
                }
                let names = if is_fixed { &mut fixed } else { &mut growing };
                names.insert(Path::new(part).join(name));
            }
        }
        Ok(Self { fixed, growing })
    }

    /// Whether what was read since then is of one moment.
    fn still_hold(&self, after: &Self) -> bool {
        self.fixed == after.fixed && self.growing.is_subset(&after.growing)
    }
}

impl BlockInfo {
    /// What there is to say of a block.
    pub(crate) fn of(block: &StoredBlock) -> Self {
        let name = block.path().file_name().unwrap_or_default();
        let (samples, chunks, series, tombstones) = match block {
            StoredBlock::Own(block) => (block.meta.samples, block.meta.pages, block.meta.series, 0),
            StoredBlock::Foreign(block) => (
                block.meta.samples,
                block.meta.chunks,
                block.meta.series,
                block.tombstones() as u64,
            ),
        };
        Self {
            name: name.to_string_lossy().into_owned(),
            path: block.path().to_owned(),
            is_foreign: block.own().is_none(),
            start_ms: block.span().0,
            end_ms: block.span().1,
            samples,
            chunks,
            series,
            size_bytes: block.size_bytes(),
            level: block.level(),
            tombstones,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_came_is_another_moment_and_a_segment_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let wal = directory.path().join("wal");
        std::fs::create_dir(&wal).expect("makes");
        let names = || Names::of(directory.path()).expect("lists");
        let holds_with = |name: &str| {
            let before = names();
            std::fs::write(wal.join(name), "").expect("writes");
            before.still_hold(&names())
        };
        assert!(holds_with("00000003.wal"));
        assert!(!holds_with("00000003.ckpt"));
        assert!(!holds_with("checkpoint.00000007"));
        assert!(holds_with("checkpoint.tmp"));
        assert!(holds_with("00000004.wal"));
    }
}

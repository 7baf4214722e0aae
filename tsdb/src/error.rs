//! One error type per operation.

use std::path::PathBuf;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the directory.
    #[error(
        "{path}: another process uses this data directory (lock held); stop it or choose another --storage.tsdb.path"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The disk said no.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server changed the directory while it was read.
    #[error("{path}: a server keeps changing this data directory while it is read: try again")]
    Changing {
        /// The directory.
        path: PathBuf,
    },
    /// A file is damaged.
    #[error("{path}: damaged at byte {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file is of a version this program does not know.
    #[error("{path}: format version {version} is newer than this program understands")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it declares.
        version: u32,
    },
}

/// Why a series cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The store has as many series in memory as it may.
    #[error("{limit} series are in memory, the most allowed: drop labels with many values")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// The labels are beyond what the index of the series in memory can address.
    #[error(
        "the labels, {size_bytes} bytes, do not fit: at most 65,535 labels per series and 4 GiB of label text in memory; drop labels with many or long values"
    )]
    TooMuchText {
        /// Their size.
        size_bytes: usize,
    },
    /// The group is not of this store, or was closed.
    #[error("BUG: the group is unknown")]
    UnknownGroup,
}

/// Why a whole batch was not stored. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The group is not of this store, or was closed.
    #[error("BUG: the group is unknown")]
    UnknownGroup,
    /// The log cannot be written: the disk is full, read-only or broken.
    #[error(
        "cannot write {path}: {source}; samples are refused until the disk accepts writes again"
    )]
    Log {
        /// The log file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why series cannot be selected.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The index of a block is damaged.
    #[error("{path}: damaged at byte {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
}

impl From<ReadError> for SelectError {
    fn from(error: ReadError) -> Self {
        let ReadError::Corrupt { path, offset, what } = error;
        Self::Corrupt { path, offset, what }
    }
}

/// Why samples cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A page is damaged.
    #[error("{path}: damaged at byte {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
}

/// Why closing failed; what was acknowledged is in the log nevertheless.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct CloseError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// Why samples cannot be deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The disk said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Too many deletions wait for compaction.
    #[error(
        "{limit} deletions wait to be carried out, the most allowed: clean the tombstones first"
    )]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// Why a snapshot cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct SnapshotError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

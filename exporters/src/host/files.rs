//! Reading the kernel's small files into kept buffers.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// More than any file read here holds on the largest hosts; a longer one is an error.
const MAX_FILE_BYTES: usize = 16 << 20;
/// A sysfs attribute is never longer than a page.
const ATTRIBUTE_BYTES: usize = 4096;
/// More entries than a directory read here has; the rest are left out.
const MAX_ENTRIES: usize = 100_000;
/// The first read asks for this much, which is the whole of nearly every file.
const FIRST_READ_BYTES: usize = 16 << 10;

/// Why a collector produced nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollectError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not as expected: {what}", path.display())]
    Malformed { path: PathBuf, what: String },
    #[error("this host does not offer {0}")]
    NoData(&'static str),
}

impl CollectError {
    /// The file does not exist, or the kernel does not support it.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Read { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
                    || source.raw_os_error() == Some(libc::EOPNOTSUPP)
            }
            Self::NoData(_) => true,
            Self::Malformed { .. } => false,
        }
    }
}

/// A directory under which files are read: `/proc`, `/sys` or the root.
pub(super) struct Root {
    path: PathBuf,
    directory: Option<OwnedFd>,
}

impl Root {
    /// Opens `path` once, so that reading a file below it walks only the rest of the way.
    pub(super) fn open(path: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self {
            path: path.to_owned(),
            directory: rustix::fs::openat(CWD, path, flags, Mode::empty()).ok(),
        }
    }

    /// The path of a file below this root.
    pub(super) fn path_of(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Reads the whole of `file` (relative, without a leading slash) into `buffer` and returns it
    /// as text; bytes that are no UTF-8 are replaced. After an error the buffer is empty.
    pub(super) fn read<'b>(
        &self,
        file: &str,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b str, CollectError> {
        self.read_bounded(file, MAX_FILE_BYTES, buffer)
    }

    fn read_bounded<'b>(
        &self,
        file: &str,
        most_bytes: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b str, CollectError> {
        if let Err(source) = self.fill(file, most_bytes, buffer) {
            buffer.clear();
            return Err(CollectError::Read {
                path: self.path_of(file),
                source,
            });
        }
        if std::str::from_utf8(buffer).is_err() {
            *buffer = String::from_utf8_lossy(buffer).into_owned().into_bytes();
        }
        Ok(std::str::from_utf8(buffer).unwrap_or_default())
    }

    /// [`Self::read`] of a file with one value, without the white space around it. `None` where it
    /// cannot be read: sysfs attributes come and go with drivers.
    pub(super) fn attribute<'b>(&self, file: &str, buffer: &'b mut Vec<u8>) -> Option<&'b str> {
        self.read_bounded(file, ATTRIBUTE_BYTES, buffer)
            .ok()
            .map(str::trim)
    }

    /// The names in the directory `file`, sorted.
    pub(super) fn entries(&self, file: &str) -> Result<Vec<String>, CollectError> {
        let path = self.path_of(file);
        let listing = std::fs::read_dir(&path).map_err(|source| CollectError::Read {
            path: path.clone(),
            source,
        })?;
        let mut names: Vec<String> = listing
            .take(MAX_ENTRIES)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// An error about the content of `file`.
    pub(super) fn malformed(&self, file: &str, what: impl Into<String>) -> CollectError {
        CollectError::Malformed {
            path: self.path_of(file),
            what: what.into(),
        }
    }

    fn fill(&self, file: &str, most_bytes: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let directory = self.directory.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, file, flags, Mode::empty())?;
        buffer.resize(buffer.len().max(FIRST_READ_BYTES.min(most_bytes)), 0);
        let mut filled = 0;
        loop {
            match rustix::io::read(&opened, &mut buffer[filled..]) {
                Ok(0) => break,
                // A sysfs attribute is one page and comes whole: no need to ask for its end.
                Ok(count) if most_bytes == ATTRIBUTE_BYTES => {
                    filled = count;
                    break;
                }
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if filled == buffer.len() {
                if filled >= most_bytes {
                    let what = format!("it is longer than {most_bytes} bytes");
                    return Err(io::Error::other(what));
                }
                buffer.resize(filled * 2, 0);
            }
        }
        buffer.truncate(filled);
        Ok(())
    }
}

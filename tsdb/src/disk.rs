//! The disk: the one file that names `std::fs`. A trait, so that tests can make it fail.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};

use crate::map::Region;

/// What the store asks of a file system.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Makes a directory and those above it.
    ///
    /// # Errors
    /// Those of the system; so for every method here.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the entries of a directory, sorted.
    ///
    /// # Errors
    /// Those of the system.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes a new file and reserves `size_bytes` for it.
    ///
    /// # Errors
    /// Those of the system; no file is left behind.
    fn create(&self, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// The content of a file.
    ///
    /// # Errors
    /// Those of the system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Size of a file.
    ///
    /// # Errors
    /// Those of the system.
    fn size_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Gives back the space of a file behind its first `size_bytes`.
    ///
    /// # Errors
    /// Those of the system.
    fn truncate(&self, path: &Path, size_bytes: u64) -> io::Result<()> {
        let _ = (path, size_bytes);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Maps the first `length` bytes of a file, which will not change any more.
    ///
    /// # Errors
    /// Those of the system, or a file shorter than that.
    fn map(&self, path: &Path, length: u64) -> io::Result<Mapping>;
    /// Opens a file for reading its first `length` bytes, which will not change any more, where
    /// nothing is to be mapped.
    ///
    /// # Errors
    /// Those of the system, or a file shorter than that.
    fn open(&self, path: &Path, length: u64) -> io::Result<Arc<dyn ReadAt>> {
        let _ = (path, length);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Gives a file or directory another name, replacing a file of that name.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; a copy where the file system cannot.
    ///
    /// # Errors
    /// Those of the system.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Removes a file.
    ///
    /// # Errors
    /// Those of the system.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and everything in it.
    ///
    /// # Errors
    /// Those of the system.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Space of the file system that a path is on.
    ///
    /// # Errors
    /// Those of the system.
    fn space(&self, path: &Path) -> io::Result<Space> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// Those of the system.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock of a file, made where absent, without waiting. `None` where someone holds
    /// it. Dropping the lock releases it.
    ///
    /// # Errors
    /// Those of the system.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
}

/// A file being written.
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Those of the system; some of the bytes may be written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// Those of the system.
    fn sync_data(&self) -> io::Result<()>;
}

/// A file that is read at offsets.
pub trait ReadAt: Send + Sync + Debug {
    /// Fills `bytes` with what is at `offset`.
    ///
    /// # Errors
    /// Those of the system, or too few bytes there.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// What tells the file from any other that is open; `None` where nothing does.
    fn identity(&self) -> Option<(u64, u64)> {
        None
    }
}

/// Space of a file system.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// What this process may still write.
    pub free_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
}

/// The immutable prefix of a file, in memory or read when it is asked for.
#[derive(Debug)]
pub struct Mapping(pub(crate) Region);

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Unlocks rather than only closing: a process being started at this moment may hold a copy of
    /// the descriptor until it runs its program.
    fn drop(&mut self) {
        rustix::fs::flock(&self.file, FlockOperation::Unlock).ok();
    }
}

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        if size_bytes > 0 {
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size_bytes) {
                // A file system without reservations: the space comes with each write.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => {
                    drop(file);
                    fs::remove_file(path)?;
                    return Err(error.into());
                }
            }
        }
        Ok(Arc::new(SystemFile(file)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn truncate(&self, path: &Path, size_bytes: u64) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(size_bytes)
    }

    fn map(&self, path: &Path, length: u64) -> io::Result<Mapping> {
        let file = open_checked(path, length)?;
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Region::map(&file, length).map(Mapping)
    }

    fn open(&self, path: &Path, length: u64) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(SystemFile(open_checked(path, length)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::hard_link(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                fs::copy(from, to)?;
                File::open(to)?.sync_all()
            }
            linked => linked,
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let figures = rustix::fs::statvfs(path)?;
        Ok(Space {
            free_bytes: figures.f_bavail.saturating_mul(figures.f_frsize),
            total_bytes: figures.f_blocks.saturating_mul(figures.f_frsize),
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = match opened {
            // Where nothing can be written, the file or else its directory can be locked as it is.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path)
                .or_else(|_| File::open(path.parent().unwrap_or_else(|| Path::new("."))))?,
            opened => opened?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a file that has at least `length` bytes.
fn open_checked(path: &Path, length: u64) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.len() < length {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file is shorter than what was written to it",
        ));
    }
    Ok(file)
}

#[derive(Debug)]
struct SystemFile(File);

impl ReadAt for SystemFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        let metadata = self.0.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

impl DiskFile for SystemFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

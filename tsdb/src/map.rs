//! The one module with `unsafe`: memory maps and bitmap views over them.
#![allow(
    unsafe_code,
    reason = "maps of files and views of mapped bytes exist only behind unsafe"
)]

use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

use croaring::{Bitmap, BitmapView, Portable};
use memmap2::{Mmap, MmapAsRawDesc, MmapOptions};

use crate::disk::ReadAt;
use crate::portable::is_portable;
use crate::positioned::ReadCache;
use crate::slot::Slot;

/// The immutable prefix of a file: mapped, or read at offsets.
#[derive(Debug)]
pub(crate) struct Region {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Empty,
    Mapped {
        guard: Option<Guard>,
        map: Mmap,
    },
    Positioned {
        file: Arc<dyn ReadAt>,
        length: usize,
        cache: Arc<ReadCache>,
        /// Its number in the cache.
        number: u64,
        /// All of it, where someone asked for that; nothing where it could not be read.
        whole: OnceLock<Vec<u8>>,
        lost: AtomicBool,
    },
}

/// Bytes of a region.
#[derive(Clone, Debug)]
pub(crate) enum Held<'a> {
    /// Of a map.
    Mapped(&'a [u8]),
    /// Read, and perhaps kept for others.
    Read(Arc<[u8]>),
}

impl Deref for Held<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

impl Region {
    /// Maps the first `length` bytes. The caller hands over a file of the data directory, of which
    /// these bytes are complete, were length-checked, and will not change any more.
    pub(crate) fn map(file: impl MmapAsRawDesc, length: usize) -> io::Result<Self> {
        if length == 0 {
            let source = Source::Empty;
            return Ok(Self { source });
        }
        // SAFETY: the bytes behind a map must not change or vanish while it lives. Files of the
        // data directory are written only by this process (it holds the directory's lock), are
        // never truncated, and never rewritten below a length once that length was mapped: they
        // are removed by unlinking, which leaves maps intact. Someone who alters them in spite of
        // the lock breaks this, as they could alter the process itself.
        let map = unsafe { MmapOptions::new().len(length).map(file)? };
        let guard = Guard::of(&map);
        let source = Source::Mapped { guard, map };
        Ok(Self { source })
    }

    /// Reads the first `length` bytes when they are asked for.
    pub(crate) fn positioned(file: Arc<dyn ReadAt>, length: usize, cache: Arc<ReadCache>) -> Self {
        let number = cache.region();
        let source = Source::Positioned {
            file,
            length,
            cache,
            number,
            whole: OnceLock::new(),
            lost: AtomicBool::new(false),
        };
        Self { source }
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> usize {
        match &self.source {
            Source::Empty => 0,
            Source::Mapped { map, .. } => map.len(),
            Source::Positioned { length, .. } => *length,
        }
    }

    /// Whether bytes of the file were gone when they were read: someone cut it short, or the disk
    /// failed. They were zeros since, or none, so that what was read is worth nothing.
    pub(crate) fn is_lost(&self) -> bool {
        match &self.source {
            Source::Empty => false,
            Source::Mapped { guard, .. } => guard.as_ref().is_some_and(Guard::is_lost),
            Source::Positioned { lost, .. } => lost.load(Ordering::Acquire),
        }
    }

    /// All bytes. Where nothing is mapped they are read at the first call and stay in memory for as
    /// long as the region.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.source {
            Source::Empty => &[],
            Source::Mapped { map, .. } => map,
            Source::Positioned { length, whole, .. } => whole.get_or_init(|| {
                let read = self.read(0, *length);
                read.map(|bytes| bytes.to_vec()).unwrap_or_default()
            }),
        }
    }

    /// Some of the bytes, read anew where nothing is mapped.
    ///
    /// # Errors
    /// They are outside the region, or cannot be read.
    pub(crate) fn read(&self, offset: usize, length: usize) -> io::Result<Held<'_>> {
        match &self.source {
            Source::Positioned { file, lost, .. } => {
                self.check(offset, length)?;
                read_at(&**file, offset, length, lost).map(Held::Read)
            }
            _ => self.mapped(offset, length),
        }
    }

    /// As [`Region::read`], for bytes that are needed again soon: they are kept for others.
    pub(crate) fn keep(&self, offset: usize, length: usize) -> io::Result<Held<'_>> {
        match &self.source {
            Source::Positioned {
                file,
                cache,
                number,
                lost,
                ..
            } => {
                self.check(offset, length)?;
                let read = || read_at(&**file, offset, length, lost);
                cache.get((*number, offset, length), read).map(Held::Read)
            }
            _ => self.mapped(offset, length),
        }
    }

    fn check(&self, offset: usize, length: usize) -> io::Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn mapped(&self, offset: usize, length: usize) -> io::Result<Held<'_>> {
        self.check(offset, length)?;
        Ok(Held::Mapped(&self.as_slice()[offset..offset + length]))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Source::Positioned { cache, number, .. } = &self.source {
            cache.forget(*number);
        }
    }
}

fn read_at(
    file: &dyn ReadAt,
    offset: usize,
    length: usize,
    lost: &AtomicBool,
) -> io::Result<Arc<[u8]>> {
    let mut bytes = vec![0; length];
    if let Err(error) = file.read_exact_at(&mut bytes, offset as u64) {
        lost.store(true, Ordering::Release);
        tracing::error!(offset, length, %error, "cannot read what was written");
        return Err(error);
    }
    Ok(bytes.into())
}

/// Most regions that are guarded; further ones are mapped without.
const GUARDS_LIMIT: usize = 16 * 1024;

static SLOTS: [Slot; GUARDS_LIMIT] = [const {
    Slot {
        version: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        lost: AtomicUsize::new(0),
    }
}; GUARDS_LIMIT];
/// Held while a slot is taken.
static TAKING: Mutex<()> = Mutex::new(());
static HANDLER: Once = Once::new();
/// Size of a page of memory; the handler must not ask for it.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

/// A slot that is taken. Declared before the map, so that it is given back before unmapping: nobody
/// reads from a region that is dropped.
#[derive(Debug)]
struct Guard {
    slot: usize,
    version: usize,
}

impl Guard {
    fn of(map: &Mmap) -> Option<Self> {
        HANDLER.call_once(install);
        let _taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = SLOTS.iter().position(Slot::is_free)?;
        let version = SLOTS[slot].take(map.as_ptr() as usize, map.len());
        Some(Self { slot, version })
    }

    fn is_lost(&self) -> bool {
        SLOTS[self.slot].is_lost(self.version)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SLOTS[self.slot].give_back(self.version);
    }
}

fn install() {
    PAGE_BYTES.store(rustix::param::page_size(), Ordering::Relaxed);
    // SAFETY: the structure is plain data for which zeros are valid, the handler has the signature
    // that SA_SIGINFO asks for and does only what a signal handler may: it reads and writes atomics
    // that live as long as the process, and makes system calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

/// A mapped page that has no file behind it any more becomes zeros, and its region is marked.
/// Anything else ends the process as it would have without us.
extern "C" fn on_bus_error(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the system passes a valid structure to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    let mut ours = false;
    for slot in &SLOTS {
        ours |= slot.mark(address);
    }
    if ours {
        let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
        let page = address & !(page_bytes - 1);
        // SAFETY: the page is one of a read-only map of ours, which the slot says is still mapped,
        // and stays so while the faulting thread reads from it. Zeros take its place.
        let zeros = unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                page_bytes,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    // SAFETY: a system call; the fault repeats and ends the process.
    unsafe {
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
    }
}

/// Runs `read` on a portable-format bitmap without copying it. `None` where the bytes are no
/// bitmap. The caller has verified the checksum of `bytes`.
pub(crate) fn with_bitmap<T>(bytes: &[u8], read: impl FnOnce(&Bitmap) -> T) -> Option<T> {
    if bytes.len() < SMALL_BITMAP_BYTES {
        // The checked, copying constructor: cheap at this size.
        let bitmap = Bitmap::try_deserialize::<Portable>(bytes)?;
        bitmap.internal_validate().ok()?;
        return Some(read(&bitmap));
    }
    if !is_portable(bytes) {
        return None;
    }
    // SAFETY: the view needs bytes that a bitmap was serialized to: it reads as many as they say. All
    // of their heads were checked to say what is there. The view's own consistency check looks at
    // what is in the containers before any set operation relies on it.
    let view = unsafe { BitmapView::deserialize::<Portable>(bytes) };
    view.internal_validate().ok()?;
    Some(read(&view))
}

/// Bitmaps shorter than this are copied rather than viewed.
const SMALL_BITMAP_BYTES: usize = 256;

//! The one module with `unsafe`: memory maps and bitmap views over them.
#![allow(
    unsafe_code,
    reason = "maps of files and views of mapped bytes exist only behind unsafe"
)]

use std::io;

use croaring::{Bitmap, BitmapView, Portable};
use memmap2::{Mmap, MmapAsRawDesc, MmapOptions};

/// A mapped, immutable prefix of a file.
#[derive(Debug)]
pub(crate) struct Region {
    map: Option<Mmap>,
}

impl Region {
    /// Maps the first `length` bytes. The caller hands over a file of the data directory, of which
    /// these bytes are complete, were length-checked, and will not change any more.
    pub(crate) fn map(file: impl MmapAsRawDesc, length: usize) -> io::Result<Self> {
        if length == 0 {
            return Ok(Self { map: None });
        }
        // SAFETY: the bytes behind a map must not change or vanish while it lives. Files of the
        // data directory are written only by this process (it holds the directory's lock), are
        // never truncated, and never rewritten below a length once that length was mapped: they
        // are removed by unlinking, which leaves maps intact. Someone who alters them in spite of
        // the lock breaks this, as they could alter the process itself.
        let map = unsafe { MmapOptions::new().len(length).map(file)? };
        Ok(Self { map: Some(map) })
    }

    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
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
    // SAFETY: the view needs bytes that a bitmap was serialized to. They carry a checksum that the
    // caller verified, so they are what our writer serialized; the view's own consistency check
    // guards against a writer's mistake before any set operation reads the containers.
    let view = unsafe { BitmapView::deserialize::<Portable>(bytes) };
    view.internal_validate().ok()?;
    Some(read(&view))
}

/// Bitmaps shorter than this are copied rather than viewed.
const SMALL_BITMAP_BYTES: usize = 256;

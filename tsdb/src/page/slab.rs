//! Memory for open pages: pieces of a few sizes cut from large chunks.
//!
//! A quarter of a million growing byte vectors would cost more in allocator headers and slack than
//! in content. Pieces here are named by four bytes and are handed on to other pages when freed.

const GRANULE_BYTES: usize = 16;
const CHUNK_BYTES: usize = 256 * 1024;
/// Piece sizes; a page moves to the next when it outgrows one.
const SIZES_BYTES: [usize; 14] = [
    16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048,
];
/// Largest page.
pub(crate) const PAGE_LIMIT_BYTES: usize = SIZES_BYTES[SIZES_BYTES.len() - 1];
/// "No piece".
pub(crate) const NOWHERE: u32 = u32::MAX;

const _: () = assert!(CHUNK_BYTES.is_multiple_of(GRANULE_BYTES));

/// A byte string that lives in a slab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    at: u32,
    length: u16,
    class: u8,
}

impl Piece {
    pub(crate) const NONE: Self = Self {
        at: NOWHERE,
        length: 0,
        class: 0,
    };

    pub(crate) fn is_none(self) -> bool {
        self.at == NOWHERE
    }

    pub(crate) fn len(self) -> usize {
        usize::from(self.length)
    }
}

/// Chunks of memory and the free pieces in them.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    chunks: Vec<Box<[u8]>>,
    /// Bytes of the last chunk that are handed out.
    used: usize,
    free: [Vec<u32>; SIZES_BYTES.len()],
}

impl Slab {
    /// Appends to a piece, moving it where it outgrows its size. `false` where it would outgrow
    /// the largest; nothing is written then.
    #[inline]
    pub(crate) fn append(&mut self, piece: &mut Piece, bytes: &[u8]) -> bool {
        let needed = piece.len() + bytes.len();
        if piece.is_none() || needed > SIZES_BYTES[usize::from(piece.class)] {
            if needed > PAGE_LIMIT_BYTES {
                return false;
            }
            self.grow(piece, needed);
        }
        let start = piece.len();
        self.bytes_mut(piece.at)[start..needed].copy_from_slice(bytes);
        piece.length = needed as u16;
        true
    }

    /// The content of a piece.
    pub(crate) fn get(&self, piece: Piece) -> &[u8] {
        if piece.is_none() {
            return &[];
        }
        let at = piece.at as usize * GRANULE_BYTES;
        &self.chunks[at / CHUNK_BYTES][at % CHUNK_BYTES..][..piece.len()]
    }

    /// Gives the memory of a piece back.
    pub(crate) fn free(&mut self, piece: &mut Piece) {
        if !piece.is_none() {
            self.free[usize::from(piece.class)].push(piece.at);
        }
        *piece = Piece::NONE;
    }

    /// Bytes held from the system.
    pub(crate) fn size_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
    }

    fn grow(&mut self, piece: &mut Piece, needed: usize) {
        let class = SIZES_BYTES.partition_point(|size| *size < needed);
        let at = self.allocate(class);
        if !piece.is_none() {
            let mut content = [0; PAGE_LIMIT_BYTES];
            let length = piece.len();
            content[..length].copy_from_slice(self.get(*piece));
            self.bytes_mut(at)[..length].copy_from_slice(&content[..length]);
            self.free[usize::from(piece.class)].push(piece.at);
        }
        piece.at = at;
        piece.class = class as u8;
    }

    fn allocate(&mut self, class: usize) -> u32 {
        if let Some(at) = self.free[class].pop() {
            return at;
        }
        let size = SIZES_BYTES[class];
        if self.chunks.is_empty() || self.used + size > CHUNK_BYTES {
            self.chunks.push(vec![0; CHUNK_BYTES].into_boxed_slice());
            self.used = 0;
        }
        let at = (self.chunks.len() - 1) * CHUNK_BYTES + self.used;
        self.used += size;
        (at / GRANULE_BYTES) as u32
    }

    fn bytes_mut(&mut self, at: u32) -> &mut [u8] {
        let at = at as usize * GRANULE_BYTES;
        &mut self.chunks[at / CHUNK_BYTES][at % CHUNK_BYTES..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_keep_their_content_and_are_reused() {
        let mut slab = Slab::default();
        let mut pieces = vec![Piece::NONE; 300];
        for round in 0..200u32 {
            for (index, piece) in pieces.iter_mut().enumerate() {
                assert!(slab.append(piece, &(round * 1000 + index as u32).to_le_bytes()));
            }
        }
        for (index, piece) in pieces.iter().enumerate() {
            let want: Vec<u8> = (0..200u32)
                .flat_map(|r| (r * 1000 + index as u32).to_le_bytes())
                .collect();
            assert_eq!(slab.get(*piece), want);
        }
        let size = slab.size_bytes();
        for piece in &mut pieces {
            slab.free(piece);
            assert!(slab.append(piece, &[7; 800]));
        }
        assert_eq!(slab.size_bytes(), size, "freed pieces are used again");
        assert!(!slab.append(&mut pieces[0], &[0; PAGE_LIMIT_BYTES]));
        assert_eq!(slab.get(pieces[0]), [7; 800]);
    }
}

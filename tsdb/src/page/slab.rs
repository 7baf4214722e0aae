//! Memory for open pages: rings of small granules.
//!
//! A quarter of a million growing byte vectors would cost more in allocator headers and slack than
//! in content. A page here is a ring of equal granules: growing copies nothing, and whatever one
//! page frees any other can use. A page is named by its last granule, whose link leads to its
//! first.

use crate::bytes::Malformed;

const GRANULE_BYTES: usize = 32;
/// The link to the next granule comes first.
const LINK_BYTES: usize = 4;
const CONTENT_BYTES: usize = GRANULE_BYTES - LINK_BYTES;
/// Granules are allocated by so many at once.
const CHUNK_GRANULES: usize = 1024;
/// "No granule".
const NOWHERE: u32 = u32::MAX;
/// Longest page.
pub(crate) const PAGE_LIMIT_BYTES: usize = u16::MAX as usize;

/// A byte string that lives in a slab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    last: u32,
    length: u16,
}

impl Piece {
    pub(crate) const NONE: Self = Self {
        last: NOWHERE,
        length: 0,
    };

    /// What it consists of, for those who keep it beside other small fields.
    pub(crate) const fn parts(self) -> (u32, u16) {
        (self.last, self.length)
    }

    /// The piece of these parts.
    pub(crate) const fn from_parts((last, length): (u32, u16)) -> Self {
        Self { last, length }
    }

    pub(crate) const fn is_none(self) -> bool {
        self.last == NOWHERE
    }

    pub(crate) fn len(self) -> usize {
        usize::from(self.length)
    }
}

type Granule = [u8; GRANULE_BYTES];

/// Chunks of granules and the free ones among them.
#[derive(Debug)]
pub(crate) struct Slab {
    chunks: Vec<Box<[Granule]>>,
    /// Granules of the last chunk that were never used.
    fresh: usize,
    /// First of the free granules, which are linked.
    free: u32,
    /// Memory for what is about to be appended.
    scratch: Vec<u8>,
}

impl Default for Slab {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            fresh: 0,
            free: NOWHERE,
            scratch: Vec::new(),
        }
    }
}

impl Slab {
    /// Appends to a piece. Fails where the piece would be longer than the limit; nothing is
    /// written then.
    #[inline]
    pub(crate) fn append(&mut self, piece: &mut Piece, mut bytes: &[u8]) -> Result<(), Malformed> {
        let length = piece.len() + bytes.len();
        if length > PAGE_LIMIT_BYTES {
            return Err(Malformed {
                offset: piece.len(),
                what: "a page beyond its limit",
            });
        }
        while !bytes.is_empty() {
            let used = piece.len() % CONTENT_BYTES;
            if used == 0 {
                self.grow(piece);
            }
            let count = bytes.len().min(CONTENT_BYTES - used);
            let start = LINK_BYTES + used;
            self.granule(piece.last)[start..start + count].copy_from_slice(&bytes[..count]);
            piece.length += count as u16;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// As [`Self::append`], for the first `length` bytes of a word. What is behind them in the granule
    /// may be overwritten: nothing is there yet.
    #[inline]
    pub(crate) fn append_word(
        &mut self,
        piece: &mut Piece,
        word: u64,
        length: usize,
    ) -> Result<(), Malformed> {
        let bytes = word.to_le_bytes();
        let used = piece.len() % CONTENT_BYTES;
        let room = used > 0 && used <= CONTENT_BYTES - bytes.len();
        if !room || piece.len() > PAGE_LIMIT_BYTES - bytes.len() {
            return self.append(piece, &bytes[..length]);
        }
        let start = LINK_BYTES + used;
        self.granule(piece.last)[start..start + bytes.len()].copy_from_slice(&bytes);
        piece.length += length as u16;
        Ok(())
    }

    /// Appends the content of a piece to `into`.
    pub(crate) fn copy(&self, piece: Piece, into: &mut Vec<u8>) {
        self.copy_start(piece, piece.len(), into);
    }

    /// Appends the first `length` bytes of a piece to `into`: what it was before it grew.
    pub(crate) fn copy_start(&self, piece: Piece, length: usize, into: &mut Vec<u8>) {
        debug_assert!(length <= piece.len(), "BUG: a piece that shrank");
        if piece.is_none() || length == 0 {
            return;
        }
        let mut left = length;
        let mut at = self.link(piece.last);
        while left > 0 {
            let count = left.min(CONTENT_BYTES);
            into.extend_from_slice(&self.get(at)[LINK_BYTES..LINK_BYTES + count]);
            left -= count;
            at = self.link(at);
        }
    }

    /// Gives the memory of a piece back.
    pub(crate) fn free(&mut self, piece: &mut Piece) {
        if !piece.is_none() {
            let first = self.link(piece.last);
            self.set_link(piece.last, self.free);
            self.free = first;
        }
        *piece = Piece::NONE;
    }

    /// Memory in which to make what is appended next; to be given back.
    pub(crate) fn take_scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    /// Takes the memory back.
    pub(crate) fn put_scratch(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }

    /// Bytes held from the system.
    pub(crate) fn size_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_GRANULES * GRANULE_BYTES
    }

    fn grow(&mut self, piece: &mut Piece) {
        let new = self.allocate();
        if piece.is_none() {
            self.set_link(new, new);
        } else {
            let first = self.link(piece.last);
            self.set_link(piece.last, new);
            self.set_link(new, first);
        }
        piece.last = new;
    }

    fn allocate(&mut self) -> u32 {
        if self.free != NOWHERE {
            let at = self.free;
            self.free = self.link(at);
            return at;
        }
        if self.fresh == 0 {
            self.chunks
                .push(vec![[0; GRANULE_BYTES]; CHUNK_GRANULES].into_boxed_slice());
            self.fresh = CHUNK_GRANULES;
        }
        self.fresh -= 1;
        (self.chunks.len() * CHUNK_GRANULES - 1 - self.fresh) as u32
    }

    #[inline]
    fn get(&self, at: u32) -> &Granule {
        &self.chunks[at as usize / CHUNK_GRANULES][at as usize % CHUNK_GRANULES]
    }

    #[inline]
    fn granule(&mut self, at: u32) -> &mut Granule {
        &mut self.chunks[at as usize / CHUNK_GRANULES][at as usize % CHUNK_GRANULES]
    }

    #[inline]
    fn link(&self, at: u32) -> u32 {
        let [a, b, c, d, ..] = *self.get(at);
        u32::from_le_bytes([a, b, c, d])
    }

    #[inline]
    fn set_link(&mut self, at: u32, to: u32) {
        self.granule(at)[..LINK_BYTES].copy_from_slice(&to.to_le_bytes());
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
                let bytes = (round * 1000 + index as u32).to_le_bytes();
                let length = 1 + round as usize % 4;
                if index % 2 == 0 {
                    slab.append(piece, &bytes[..length])
                } else {
                    let word = u64::from_le_bytes(std::array::from_fn(|at| bytes[at % 4]));
                    slab.append_word(piece, word, length)
                }
                .expect("fits");
            }
        }
        let mut content = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let want: Vec<u8> = (0..200u32)
                .flat_map(|r| {
                    let bytes = (r * 1000 + index as u32).to_le_bytes();
                    bytes.into_iter().take(1 + r as usize % 4)
                })
                .collect();
            content.clear();
            slab.copy(*piece, &mut content);
            assert_eq!(content, want);
        }
        let size = slab.size_bytes();
        for piece in &mut pieces {
            slab.free(piece);
            slab.append(piece, &[7; 450]).expect("fits");
        }
        assert_eq!(slab.size_bytes(), size, "freed granules are used again");
        let long = vec![0; PAGE_LIMIT_BYTES];
        assert!(slab.append(&mut pieces[0], &long).is_err());
        content.clear();
        slab.copy(pieces[0], &mut content);
        assert_eq!(content, [7; 450]);
    }
}

//! Memory that scrapes borrow: a few large buffers for all targets, not one set each.

use std::sync::{Mutex, PoisonError};

use barograph_tsdb::{Batch, GroupId};
use flate2::{Decompress, FlushDecompress, Status};

use crate::error::ScrapeError;

/// Most buffer sets kept between scrapes.
const KEPT: usize = 16;
/// A body buffer larger than this is not kept, bytes.
const KEPT_BODY_BYTES: usize = 8 << 20;
/// A row list longer than this is not kept.
const KEPT_ROWS: usize = 1 << 18;
/// How much an inflating buffer grows by at least, bytes.
const GROW_BYTES: usize = 64 << 10;

/// Buffers of one scrape.
pub(crate) struct Scratch {
    /// The decoded body, where it came compressed.
    pub(crate) body: Vec<u8>,
    /// Per sample of the batch, where it comes from.
    pub(crate) rows: Vec<Row>,
    /// The row that is appended.
    pub(crate) batch: Batch,
    inflate: Decompress,
}

/// Where a sample of the batch comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its cache entry.
    pub(crate) slot: u32,
    /// Where its line begins in the body.
    pub(crate) offset: u32,
}

/// Idle buffer sets.
#[derive(Default)]
pub(crate) struct ScratchPool {
    idle: Mutex<Vec<Scratch>>,
    bodies: Mutex<Vec<Vec<u8>>>,
}

impl ScratchPool {
    /// A set, used before or new.
    pub(crate) fn take(&self, group: GroupId) -> Scratch {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(mut scratch) => {
                scratch.batch.reset(group);
                scratch
            }
            None => Scratch {
                body: Vec::new(),
                rows: Vec::new(),
                batch: Batch::new(group),
                inflate: Decompress::new(false),
            },
        }
    }

    /// Gives a set back.
    pub(crate) fn give(&self, mut scratch: Scratch) {
        scratch.body.clear();
        scratch.rows.clear();
        if scratch.body.capacity() > KEPT_BODY_BYTES || scratch.rows.capacity() > KEPT_ROWS {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(scratch);
        }
    }
}

impl ScratchPool {
    /// Memory for a body that is fetched. Pages come and go many times a second: memory that went
    /// back to the system would have to be cleared again for each.
    pub(crate) fn take_body(&self) -> Vec<u8> {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.pop().unwrap_or_default()
    }

    /// Gives such memory back.
    pub(crate) fn give_body(&self, body: Vec<u8>) {
        if body.capacity() > KEPT_BODY_BYTES {
            return;
        }
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() < KEPT {
            bodies.push(body);
        }
    }
}

impl Scratch {
    /// Inflates `raw`, gzip members one after the other, into [`Self::body`].
    ///
    /// # Errors
    /// Damaged or cut short; or `limit` bytes or more.
    pub(crate) fn gunzip(
        &mut self,
        raw: &[u8],
        limit: u64,
        setting: &'static str,
    ) -> Result<(), ScrapeError> {
        let cut = || ScrapeError::Gzip("it ends early".to_owned());
        self.body.clear();
        let mut rest = raw;
        loop {
            rest = skip_gzip_header(rest)?;
            self.inflate.reset(false);
            let member = self.body.len();
            loop {
                if self.body.len() == self.body.capacity() {
                    self.body.reserve(GROW_BYTES.max(self.body.len()));
                }
                let (read, wrote) = (self.inflate.total_in(), self.inflate.total_out());
                let status = self
                    .inflate
                    .decompress_vec(rest, &mut self.body, FlushDecompress::None)
                    .map_err(|error| ScrapeError::Gzip(error.to_string()))?;
                rest = &rest[(self.inflate.total_in() - read) as usize..];
                if self.body.len() as u64 >= limit {
                    return Err(ScrapeError::BodyLimit { limit, setting });
                }
                match status {
                    Status::StreamEnd => break,
                    _ if self.inflate.total_in() == read
                        && self.inflate.total_out() == wrote
                        && self.body.len() < self.body.capacity() =>
                    {
                        return Err(cut());
                    }
                    _ => {}
                }
            }
            let (trailer, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
            let mut crc = flate2::Crc::new();
            crc.update(&self.body[member..]);
            let want = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]);
            if crc.sum() != want {
                return Err(ScrapeError::Gzip("its checksum does not match".to_owned()));
            }
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Skips a gzip member's header (RFC 1952).
fn skip_gzip_header(raw: &[u8]) -> Result<&[u8], ScrapeError> {
    let bad = |what: &str| ScrapeError::Gzip(what.to_owned());
    let cut = || bad("it ends inside the header");
    let (head, mut rest) = raw.split_first_chunk::<10>().ok_or_else(cut)?;
    let [magic1, magic2, method, flags, ..] = *head;
    if (magic1, magic2, method) != (0x1f, 0x8b, 8) {
        return Err(bad("Content-Encoding says gzip, but the body is none"));
    }
    if flags & 0x04 != 0 {
        let (length, after) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        rest = after
            .get(usize::from(u16::from_le_bytes(*length))..)
            .ok_or_else(cut)?;
    }
    for flag in [0x08, 0x10] {
        if flags & flag != 0 {
            let end = memchr::memchr(0, rest).ok_or_else(cut)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 0x02 != 0 {
        rest = rest.get(2..).ok_or_else(cut)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn scratch() -> Scratch {
        let directory = tempfile::tempdir().expect("a directory");
        let db = barograph_tsdb::Db::open(
            barograph_tsdb::Options::new(directory.path()),
            &barograph_instrument::Registry::new(),
        );
        ScratchPool::default().take(db.expect("opens").open_group())
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(text).expect("to memory");
        writer.finish().expect("to memory")
    }

    #[test]
    fn members_are_joined_and_limits_hold() {
        let mut scratch = scratch();
        let text = b"a 1\n".repeat(50_000);
        let two = [gzip(&text), gzip(b"b 2\n")].concat();
        scratch.gunzip(&two, 1 << 20, "built-in").expect("valid");
        assert_eq!(scratch.body, [&text[..], b"b 2\n"].concat());
        let error = scratch
            .gunzip(&two, 200_004, "body_size_limit")
            .expect_err("at the limit");
        assert!(
            matches!(error, ScrapeError::BodyLimit { limit: 200_004, .. }),
            "{error}"
        );
        scratch
            .gunzip(&two, 200_005, "body_size_limit")
            .expect("below the limit");
    }

    #[test]
    fn damage_is_found() {
        let mut scratch = scratch();
        let whole = gzip(&b"some_metric 1\n".repeat(1000));
        for cut in 0..whole.len() {
            assert!(
                scratch.gunzip(&whole[..cut], 1 << 20, "").is_err(),
                "cut at {cut}"
            );
        }
        let mut bad = whole.clone();
        let crc = bad.len() - 6;
        bad[crc] ^= 1;
        assert!(scratch.gunzip(&bad, 1 << 20, "").is_err());
        scratch
            .gunzip(&whole, 1 << 20, "")
            .expect("usable after damage");
    }
}

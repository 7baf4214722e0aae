//! A block's chunk files.

use std::path::Path;
use std::sync::Arc;

use super::floats::{self, FloatSamples};
use super::histograms::{self, HistogramSamples};
use super::{Damage, be32, strict};
use crate::bytes::{Malformed, Reader};
use crate::disk::Disk;
use crate::map::{Held, Region};

pub(super) const MAGIC: u32 = 0x85bd_40dd;
pub(super) const VERSION: u8 = 1;
pub(super) const HEADER_BYTES: usize = 8;
/// Most bytes of the length of a chunk.
const LENGTH_BYTES: usize = 10;
/// Size of its checksum.
const SUM_BYTES: usize = 4;

/// Encodings of a chunk.
pub(crate) mod encoding {
    pub(crate) const XOR: u8 = 1;
    pub(crate) const HISTOGRAM: u8 = 2;
    pub(crate) const FLOAT_HISTOGRAM: u8 = 3;
    pub(crate) const XOR2: u8 = 4;
    pub(crate) const HISTOGRAM_STARTS: u8 = 5;
    pub(crate) const FLOAT_HISTOGRAM_STARTS: u8 = 6;
}

/// What a chunk holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ChunkSamples {
    /// Floats.
    Floats(FloatSamples),
    /// Native histograms, all of one kind.
    Histograms(HistogramSamples),
}

impl ChunkSamples {
    pub(crate) fn timestamps_ms(&self) -> &[i64] {
        match self {
            Self::Floats(samples) => &samples.timestamps_ms,
            Self::Histograms(samples) => &samples.timestamps_ms,
        }
    }
}

/// The chunk files of a block, mapped.
#[derive(Debug)]
pub(super) struct ChunkFiles {
    files: Vec<(String, Region)>,
    size_bytes: u64,
}

/// A chunk as stored.
#[derive(Clone, Debug)]
pub(crate) struct RawChunk<'a> {
    pub(crate) encoding: u8,
    /// The chunk from its encoding on.
    bytes: Held<'a>,
    file: usize,
    offset: usize,
}

impl RawChunk<'_> {
    /// What its encoding says how to read.
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[1..self.bytes.len() - SUM_BYTES]
    }
}

impl ChunkFiles {
    /// Maps the files of the directory `chunks`.
    pub(super) fn open(disk: &Arc<dyn Disk>, block: &Path) -> Result<Self, OpenChunks> {
        let directory = block.join("chunks");
        let mut files = Vec::new();
        let mut size_bytes = 0;
        for name in disk.list(&directory).map_err(OpenChunks::Io)? {
            if name.parse::<u64>().is_err() {
                continue;
            }
            let path = directory.join(&name);
            let length = disk.size_bytes(&path).map_err(OpenChunks::Io)?;
            let region = disk.map(&path, length).map_err(OpenChunks::Io)?.0;
            let file = format!("chunks/{name}");
            let head = region.read(0, HEADER_BYTES.min(region.len()));
            let head = head.map_err(OpenChunks::Io)?;
            let mut reader = Reader::new(&head);
            let damaged = |error| OpenChunks::Damaged(Damage::at(&file, 0, error));
            if be32(&mut reader).map_err(damaged)? != MAGIC {
                let error = Damage::new(&file, 0, "not a chunk file of Prometheus");
                return Err(OpenChunks::Damaged(error));
            }
            if reader.u8().map_err(damaged)? != VERSION {
                let error = Damage::new(&file, 4, "a chunk file of an unknown version");
                return Err(OpenChunks::Damaged(error));
            }
            drop(head);
            size_bytes += length;
            files.push((file, region));
        }
        Ok(Self { files, size_bytes })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads the files whole; returns how many chunks there are.
    pub(super) fn verify(&self) -> Result<u64, Damage> {
        let mut count = 0;
        for (name, region) in &self.files {
            let unread = |error| Damage::new(name, 0, &format!("cannot be read: {error}"));
            let bytes = region.read(0, region.len()).map_err(unread)?;
            count += strict::chunks(&bytes).map_err(|error| Damage::at(name, 0, error))?;
        }
        Ok(count)
    }

    /// The chunk of a reference: number of the file above, offset in it below.
    pub(super) fn chunk(&self, reference: u64) -> Result<RawChunk<'_>, Damage> {
        let (file, offset) = ((reference >> 32) as usize, reference as u32 as usize);
        let Some((name, region)) = self.files.get(file) else {
            let what = format!("refers to chunk file {}, of {}", file + 1, self.files.len());
            return Err(Damage::new("index", 0, &what));
        };
        let damaged = |error| Damage::at(name, offset, error);
        let unread = |error| Damage::new(name, offset, &format!("cannot be read: {error}"));
        let room = region.len().saturating_sub(offset);
        let head = region.read(offset.min(region.len()), room.min(LENGTH_BYTES));
        let head = head.map_err(unread)?;
        let mut reader = Reader::new(&head);
        let length = reader.varint().map_err(damaged)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let encoding_at = offset + reader.offset();
        let end = length.checked_add(1 + SUM_BYTES);
        let end = end.and_then(|length| encoding_at.checked_add(length));
        let Some(end) = end.filter(|end| *end <= region.len()) else {
            return Err(damaged(reader.fail("ends too early")));
        };
        let bytes = region.read(encoding_at, end - encoding_at);
        let bytes = bytes.map_err(unread)?;
        let (covered, sum) = bytes.split_at(bytes.len() - SUM_BYTES);
        if be32(&mut Reader::new(sum)).map_err(damaged)? != crc32c::crc32c(covered) {
            return Err(damaged(reader.fail("a chunk whose checksum does not fit")));
        }
        Ok(RawChunk {
            encoding: bytes[0],
            bytes,
            file,
            offset: encoding_at + 1,
        })
    }

    /// Decodes a chunk.
    pub(super) fn decode(&self, chunk: &RawChunk<'_>) -> Result<ChunkSamples, Damage> {
        let name = || self.name(chunk);
        let Some(decoded) = decode(chunk.encoding, chunk.data()) else {
            let other = chunk.encoding;
            let what = format!("a chunk of encoding {other}, which this program does not know");
            return Err(Damage::new(name(), chunk.offset - 1, &what));
        };
        let samples = decoded.map_err(|error| Damage::at(name(), chunk.offset, error))?;
        if !samples.timestamps_ms().is_sorted_by(|a, b| a < b) {
            let what = "a chunk whose samples are not in order";
            return Err(Damage::new(name(), chunk.offset, what));
        }
        Ok(samples)
    }

    fn name(&self, chunk: &RawChunk<'_>) -> &str {
        self.files
            .get(chunk.file)
            .map_or("chunks", |(name, _)| name)
    }
}

/// Decodes the data of a chunk; `None` where the encoding is not known.
pub(super) fn decode(encoding: u8, data: &[u8]) -> Option<Result<ChunkSamples, Malformed>> {
    let histograms = |decoded: Result<_, _>| decoded.map(ChunkSamples::Histograms);
    Some(match encoding {
        encoding::XOR => floats::decode_xor(data).map(ChunkSamples::Floats),
        encoding::XOR2 => floats::decode_xor2(data).map(ChunkSamples::Floats),
        encoding::HISTOGRAM => histograms(histograms::decode_integer(data, false)),
        encoding::HISTOGRAM_STARTS => histograms(histograms::decode_integer(data, true)),
        encoding::FLOAT_HISTOGRAM => histograms(histograms::decode_float(data, false)),
        encoding::FLOAT_HISTOGRAM_STARTS => histograms(histograms::decode_float(data, true)),
        _ => return None,
    })
}

/// Why chunk files cannot be opened.
#[derive(Debug)]
pub(super) enum OpenChunks {
    Io(std::io::Error),
    Damaged(Damage),
}

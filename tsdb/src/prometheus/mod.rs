//! Prometheus's own files: its blocks are read in place and written for export, its log is taken
//! over when a directory changes hands.
//!
//! The formats are Prometheus's, as its documentation ("TSDB format") and version 3.14 have them.
//! Big-endian, unlike ours. Every read is checked and every checksum verified before its content is
//! believed: damage is an error that names file and offset.

mod beside;
mod bits;
pub(crate) mod block;
mod builder;
mod chunk;
pub(crate) mod chunk_builder;
mod export;
mod floats;
mod histogram_encoder;
mod histograms;
pub(crate) mod import;
mod index;
#[cfg(test)]
mod index_v1_tests;
pub(crate) mod input;
mod log;
pub(crate) mod meta;
mod record;
mod starts;
mod strict;
mod tombstones;
pub(crate) mod verify;
pub(crate) mod writer;

pub use builder::BlockBuilder;
pub use export::{ExportError, ExportedBlock};

use crate::bytes::{Malformed, Reader};

/// Something wrong in one of Prometheus's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The file, relative to the directory that was opened.
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) what: String,
}

impl Damage {
    fn new(file: &str, offset: usize, what: &str) -> Self {
        Self {
            file: file.to_owned(),
            offset: offset as u64,
            what: what.to_owned(),
        }
    }

    /// Something wrong in bytes that begin at `base`.
    fn at(file: &str, base: usize, error: Malformed) -> Self {
        Self::new(file, base + error.offset, error.what)
    }
}

fn be32(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(reader.take(4)?);
    Ok(u32::from_be_bytes(bytes))
}

fn be64(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(reader.take(8)?);
    Ok(u64::from_be_bytes(bytes))
}

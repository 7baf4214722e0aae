//! Files taken apart into what their checksums guard, and put together with checksums that fit: as
//! `docs/format/` says, in a second hand.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "a checksum covers a list of ranges, often of one"
)]

use std::ops::Range;

use crate::index;
use crate::mutate::put_varint;

/// A piece of a file behind its checksums.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// What kind of piece; its layout knows.
    pub(crate) tag: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A file whose checksums fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Built {
    pub(crate) bytes: Vec<u8>,
    /// Inner ones first.
    pub(crate) sums: Vec<Sum>,
}

/// Where a checksum stands, and of what.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    pub(crate) at: usize,
    pub(crate) begin: u32,
    pub(crate) covers: Vec<Range<usize>>,
    pub(crate) is_big_endian: bool,
}

impl Sum {
    pub(crate) fn little(at: usize, begin: u32, covers: Vec<Range<usize>>) -> Self {
        Self {
            at,
            begin,
            covers,
            is_big_endian: false,
        }
    }
}

impl Built {
    /// Computes every checksum.
    pub(crate) fn reseal(&mut self) {
        for sum in &self.sums {
            let of = |value, range: &Range<usize>| {
                crc32c::crc32c_append(value, &self.bytes[range.clone()])
            };
            let value = sum.covers.iter().fold(sum.begin, of);
            let bytes = if sum.is_big_endian {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            };
            self.bytes[sum.at..sum.at + 4].copy_from_slice(&bytes);
        }
    }
}

/// How a file is put together.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    /// A log segment or checkpoint; a unit is an operation, tag 1 where it begins a record.
    Log { header: Vec<u8> },
    /// A head file; units are a chunk's header (tag 0), its times (1), its series (2).
    Head { header: Vec<u8> },
    /// A block's index; a unit is a part of the section that the tag says.
    Index { header: Vec<u8> },
    /// A block's meta file: one unit.
    Meta,
    /// The file of deletions: a unit each, behind the header.
    Deletions { header: Vec<u8> },
    /// Pieces that keep their place and length.
    InPlace {
        base: Built,
        ranges: Vec<Range<usize>>,
    },
    /// Prometheus's log: a unit is a record.
    PrometheusLog,
    /// No checksums.
    Plain,
}

const LOG_HEADER_BYTES: usize = 4128;

impl Layout {
    pub(crate) fn build(&self, units: &[Unit]) -> Built {
        let mut built = match self {
            Self::Log { header } => build_log(header, units),
            Self::Head { header } => build_head(header, units),
            Self::Index { header } => index::build(header, units),
            Self::Meta => {
                let mut bytes: Vec<u8> = units.iter().flat_map(|u| u.bytes.clone()).collect();
                let end = bytes.len();
                bytes.extend([0; 4]);
                let sums = vec![Sum::little(end, 0, vec![0..end])];
                Built { bytes, sums }
            }
            Self::Deletions { header } => {
                let mut bytes = header.clone();
                bytes[12..16].copy_from_slice(&(units.len() as u32).to_le_bytes());
                bytes.extend(units.iter().flat_map(|u| u.bytes.clone()));
                let end = bytes.len();
                bytes.extend([0; 4]);
                let sums = vec![Sum::little(end, 0, vec![0..end])];
                Built { bytes, sums }
            }
            Self::InPlace { base, ranges } => {
                let mut built = base.clone();
                for (range, unit) in ranges.iter().zip(units) {
                    let mut bytes = unit.bytes.clone();
                    bytes.resize(range.len(), 0);
                    built.bytes[range.clone()].copy_from_slice(&bytes);
                }
                built
            }
            Self::PrometheusLog => build_prometheus_log(units),
            Self::Plain => Built {
                bytes: units.iter().flat_map(|u| u.bytes.clone()).collect(),
                sums: Vec::new(),
            },
        };
        built.reseal();
        built
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

pub(crate) fn unit(tag: u32, bytes: &[u8]) -> Unit {
    Unit {
        tag,
        bytes: bytes.to_vec(),
    }
}

/// Both copies of the header of a log or head file.
fn header_sums() -> Vec<Sum> {
    let copy = |at: usize| Sum::little(at + 24, 0, vec![at..at + 24]);
    vec![copy(0), copy(4096)]
}

pub(crate) fn split_log(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    let mut units = Vec::new();
    let mut at = LOG_HEADER_BYTES;
    while at + 8 <= bytes.len() && u32_at(bytes, at) > 0 {
        let length = u32_at(bytes, at) as usize;
        let payload = &bytes[at + 8..at + 8 + length];
        let mut inner = 0;
        let mut tag = 1;
        while inner < payload.len() {
            let kind = payload[inner];
            inner += 1;
            let size = varint(payload, &mut inner) as usize;
            let mut operation = vec![kind];
            operation.extend_from_slice(&payload[inner..inner + size]);
            units.push(unit(tag, &operation));
            (tag, inner) = (0, inner + size);
        }
        at += 8 + length;
    }
    let header = bytes[..LOG_HEADER_BYTES].to_vec();
    (Layout::Log { header }, units)
}

fn build_log(header: &[u8], units: &[Unit]) -> Built {
    let salt = u32_at(header, 12);
    let (mut bytes, mut sums) = (header.to_vec(), header_sums());
    let mut at = 0;
    while at < units.len() {
        let more = units[at + 1..].iter().take_while(|u| u.tag == 0).count();
        let start = bytes.len();
        bytes.extend([0; 8]);
        for unit in &units[at..=at + more] {
            let Some((kind, body)) = unit.bytes.split_first() else {
                continue;
            };
            bytes.push(*kind);
            put_varint(&mut bytes, body.len() as u64);
            bytes.extend_from_slice(body);
        }
        let length = (bytes.len() - start - 8) as u32;
        bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        let covers = vec![start..start + 4, start + 8..bytes.len()];
        sums.push(Sum::little(start + 4, salt, covers));
        at += more + 1;
    }
    Built { bytes, sums }
}

pub(crate) fn split_head(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    let mut units = Vec::new();
    let mut at = LOG_HEADER_BYTES;
    while at + 8 <= bytes.len() {
        let length = u32_at(bytes, at) as usize;
        let chunk = &bytes[at + 8..at + 8 + length];
        let (series, times) = (u32_at(chunk, 12) as usize, u32_at(chunk, 32) as usize);
        units.push(unit(0, &chunk[..32]));
        units.push(unit(1, &chunk[44..44 + times]));
        let pages = 44 + times + 24 * series;
        for entry in 0..series {
            let entry = &chunk[44 + times + 24 * entry..][..24];
            let from = pages + u32_at(entry, 8) as usize;
            let page = &chunk[from..from + u32_at(entry, 12) as usize];
            units.push(unit(2, &[&entry[..8], &entry[16..20], page].concat()));
        }
        at += 8 + length;
    }
    let header = bytes[..LOG_HEADER_BYTES].to_vec();
    (Layout::Head { header }, units)
}

fn build_head(header: &[u8], units: &[Unit]) -> Built {
    let salt = u32_at(header, 12);
    let (mut bytes, mut sums) = (header.to_vec(), header_sums());
    let mut left = units;
    while let Some(begin) = left.iter().position(|unit| unit.tag == 0) {
        left = &left[begin..];
        let end = left[1..].iter().position(|unit| unit.tag == 0);
        let (chunk, rest) = left.split_at(end.map_or(left.len(), |end| end + 1));
        left = rest;
        let times = chunk.iter().find(|unit| unit.tag == 1);
        let times: &[u8] = times.map_or(&[], |unit| &unit.bytes);
        let of_series = chunk
            .iter()
            .filter(|unit| unit.tag == 2 && unit.bytes.len() >= 12);
        let of_series: Vec<&[u8]> = of_series.map(|unit| unit.bytes.as_slice()).collect();
        let start = bytes.len() + 8;
        bytes.extend([0; 8 + 44]);
        let fields = chunk[0].bytes.len().min(32);
        bytes[start..start + fields].copy_from_slice(&chunk[0].bytes[..fields]);
        bytes.extend_from_slice(times);
        let directory = bytes.len();
        let pages = directory + 24 * of_series.len();
        bytes.resize(pages, 0);
        for (number, series) in of_series.iter().enumerate() {
            let (entry, page) = (directory + 24 * number, bytes.len());
            bytes.extend_from_slice(&series[12..]);
            bytes[entry..entry + 8].copy_from_slice(&series[..8]);
            let place = ((page - pages) as u32).to_le_bytes();
            bytes[entry + 8..entry + 12].copy_from_slice(&place);
            let length = (series.len() as u32 - 12).to_le_bytes();
            bytes[entry + 12..entry + 16].copy_from_slice(&length);
            bytes[entry + 16..entry + 20].copy_from_slice(&series[8..12]);
            let covers = vec![entry..entry + 20, page..bytes.len()];
            sums.push(Sum::little(entry + 20, 0, covers));
        }
        let whole = bytes.len();
        for (at, field) in [
            (start - 8, whole - start),
            (start + 12, of_series.len()),
            (start + 32, times.len()),
            (start + 36, whole - pages),
        ] {
            bytes[at..at + 4].copy_from_slice(&(field as u32).to_le_bytes());
        }
        sums.push(Sum::little(
            start + 40,
            0,
            vec![start..start + 40, start + 44..directory],
        ));
        let covers = vec![start - 8..start - 4, start..whole];
        sums.push(Sum::little(start - 4, salt, covers));
    }
    Built { bytes, sums }
}

pub(crate) fn in_place(
    bytes: &[u8],
    ranges: Vec<Range<usize>>,
    sums: Vec<Sum>,
) -> (Layout, Vec<Unit>) {
    let units = ranges.iter().map(|r| unit(0, &bytes[r.clone()])).collect();
    let base = Built {
        bytes: bytes.to_vec(),
        sums,
    };
    (Layout::InPlace { base, ranges }, units)
}

/// The parity of a log segment.
pub(crate) fn split_parity(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    const ENTRY_BYTES: usize = 4624;
    let salt = u32_at(bytes, 12);
    let (mut sums, mut ranges, mut units) = (header_sums(), Vec::new(), Vec::new());
    for at in (LOG_HEADER_BYTES..bytes.len()).step_by(ENTRY_BYTES) {
        let body = at + 4..at + ENTRY_BYTES;
        sums.push(Sum::little(at, salt, vec![body.clone()]));
        units.push(unit(0, &bytes[body.clone()]));
        ranges.push(body);
    }
    let base = Built {
        bytes: bytes.to_vec(),
        sums,
    };
    (Layout::InPlace { base, ranges }, units)
}

pub(crate) fn split_meta(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    (Layout::Meta, vec![unit(0, &bytes[..bytes.len() - 4])])
}

pub(crate) fn split_plain(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    (Layout::Plain, vec![unit(0, bytes)])
}

pub(crate) fn split_deletions(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    let mut units = Vec::new();
    let mut at = 16;
    for _ in 0..u32_at(bytes, 12) {
        let from = at;
        at += 32;
        at += varint(bytes, &mut at) as usize * 16;
        for _ in 0..varint(bytes, &mut at) {
            at += 1;
            for _ in 0..2 {
                let length = varint(bytes, &mut at) as usize;
                at += length;
            }
        }
        units.push(unit(0, &bytes[from..at]));
    }
    let header = bytes[..16].to_vec();
    (Layout::Deletions { header }, units)
}

/// Each record as one piece where it fits on the page, else cut.
fn build_prometheus_log(units: &[Unit]) -> Built {
    const PAGE_BYTES: usize = 32 * 1024;
    let mut built = Built::default();
    for unit in units {
        let mut left = unit.bytes.as_slice();
        let mut is_first = true;
        loop {
            let room = PAGE_BYTES - built.bytes.len() % PAGE_BYTES;
            if room < 8 {
                built.bytes.extend(std::iter::repeat_n(0, room));
                continue;
            }
            let (piece, rest) = left.split_at(left.len().min(room - 7));
            left = rest;
            let kind = match (is_first, rest.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            is_first = false;
            built.bytes.push(kind);
            built.bytes.extend((piece.len() as u16).to_be_bytes());
            let at = built.bytes.len();
            built.bytes.extend([0; 4]);
            built.bytes.extend_from_slice(piece);
            built.sums.push(Sum {
                at,
                begin: 0,
                covers: std::iter::once(at + 4..built.bytes.len()).collect(),
                is_big_endian: true,
            });
            if rest.is_empty() {
                break;
            }
        }
    }
    built
}

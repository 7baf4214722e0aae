//! Prometheus's files: where their checksums are, and a log of every type of record.

use std::ops::Range;

use crate::layout::{Layout, Sum, Unit, in_place, varint};
use crate::mutate::put_varint;

/// An index: symbols, series, postings and the two tables of offsets, each behind a checksum.
pub(crate) fn split_index(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    let toc = bytes.len() - 52;
    let section = |number: usize| u64_be(bytes, toc + 8 * number) as usize;
    let (mut sums, mut ranges) = (Vec::new(), Vec::new());
    let mut guarded = |from: usize, length: usize| {
        ranges.push(from..from + length);
        sums.push(big(from + length, from..from + length));
    };
    for at in [section(0), section(3), section(5)] {
        if at > 0 {
            guarded(at + 4, u32_be(bytes, at) as usize);
        }
    }
    let mut at = section(1);
    while at < section(4) {
        let from = at;
        let length = varint(bytes, &mut at) as usize;
        if length == 0 {
            at = from + 16;
            continue;
        }
        guarded(at, length);
        at = (at + length + 4).next_multiple_of(16);
    }
    at = section(4);
    while at + 4 < section(5) {
        let length = u32_be(bytes, at) as usize;
        guarded(at + 4, length);
        at = (at + 8 + length).next_multiple_of(4);
    }
    guarded(toc, 48);
    in_place(bytes, ranges, sums)
}

/// A file of chunks: each behind its length, before its checksum.
pub(crate) fn split_chunks(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    let (mut sums, mut ranges) = (Vec::new(), Vec::new());
    let mut at = 8;
    while at < bytes.len() {
        let length = varint(bytes, &mut at) as usize + 1;
        ranges.push(at..at + length);
        sums.push(big(at + length, at..at + length));
        at += length + 4;
    }
    in_place(bytes, ranges, sums)
}

/// Deleted stretches: reference, first and last instant of each.
pub(crate) fn tombstones(reference: u64, from_ms: i64, to_ms: i64) -> Vec<u8> {
    let mut bytes = 0x0130_ba30u32.to_be_bytes().to_vec();
    bytes.push(1);
    for step in 0..3 {
        put_varint(&mut bytes, reference);
        put_signed(&mut bytes, from_ms + step * 1000);
        put_signed(&mut bytes, to_ms + step * 1000);
    }
    let sum = crc32c::crc32c(&bytes[5..]);
    bytes.extend(sum.to_be_bytes());
    bytes
}

pub(crate) fn split_tombstones(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    let body = 5..bytes.len() - 4;
    in_place(
        bytes,
        std::iter::once(body.clone()).collect(),
        vec![big(body.end, body)],
    )
}

/// Every type of record, the newer ones too.
pub(crate) fn log(start_ms: i64) -> (Layout, Vec<Unit>) {
    let mut records = vec![series()];
    for row in 0..12 {
        let time = start_ms + row * 15_000;
        records.push(samples(2, time, |out| out.extend(1.5f64.to_be_bytes())));
        records.push(samples(7, time, integer_histogram));
        records.push(samples(8, time, float_histogram));
        records.push(samples_with_starts(11, time, |out| {
            out.extend(2.5f64.to_be_bytes());
        }));
        records.push(samples_with_starts(12, time, integer_histogram));
    }
    let mut deleted = vec![3];
    deleted.extend(1u64.to_be_bytes());
    put_signed(&mut deleted, start_ms);
    put_signed(&mut deleted, start_ms + 20_000);
    records.push(deleted);
    records.extend([4, 5, 6].map(|kind| vec![kind; 40]));
    let unit = |bytes| Unit { tag: 0, bytes };
    (
        Layout::PrometheusLog,
        records.into_iter().map(unit).collect(),
    )
}

const REFERENCES: u64 = 5;

fn series() -> Vec<u8> {
    let mut out = vec![1];
    for reference in 1..=REFERENCES {
        out.extend(reference.to_be_bytes());
        put_varint(&mut out, 2);
        for text in ["__name__", "logged", "id", &format!("{reference}")] {
            put_varint(&mut out, text.len() as u64);
            out.extend(text.as_bytes());
        }
    }
    out
}

fn samples(kind: u8, time_ms: i64, value: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![kind];
    let reference = u64::from(kind % REFERENCES as u8) + 1;
    out.extend(reference.to_be_bytes());
    out.extend(time_ms.to_be_bytes());
    for step in 0..2 {
        put_signed(&mut out, 0);
        put_signed(&mut out, step * 7_000);
        value(&mut out);
    }
    out
}

fn samples_with_starts(kind: u8, time_ms: i64, value: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![kind];
    put_signed(&mut out, i64::from(kind % REFERENCES as u8) + 1);
    put_signed(&mut out, time_ms + 1);
    put_signed(&mut out, 0);
    value(&mut out);
    for mark in [0, 1, 2] {
        put_signed(&mut out, 0);
        put_signed(&mut out, 1000 * i64::from(mark) + 1000);
        out.push(mark);
        if mark > 1 {
            put_signed(&mut out, 5);
        }
        value(&mut out);
    }
    out
}

fn spans(out: &mut Vec<u8>) {
    put_varint(out, 2);
    for (offset, length) in [(-2, 2), (3, 1)] {
        put_signed(out, offset);
        put_varint(out, length);
    }
    put_varint(out, 0);
}

fn integer_histogram(out: &mut Vec<u8>) {
    out.push(2);
    put_signed(out, 3);
    out.extend(1e-9f64.to_be_bytes());
    put_varint(out, 4);
    put_varint(out, 13);
    out.extend(7.25f64.to_be_bytes());
    spans(out);
    put_varint(out, 3);
    for step in [2, 1, 1] {
        put_signed(out, step);
    }
    put_varint(out, 0);
}

fn float_histogram(out: &mut Vec<u8>) {
    out.push(3);
    put_signed(out, 3);
    for field in [1e-9f64, 4.0, 13.0, 7.25] {
        out.extend(field.to_be_bytes());
    }
    spans(out);
    put_varint(out, 3);
    for bucket in [2.0f64, 3.0, 4.0] {
        out.extend(bucket.to_be_bytes());
    }
    put_varint(out, 0);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn big(at: usize, covers: Range<usize>) -> Sum {
    Sum {
        at,
        begin: 0,
        covers: std::iter::once(covers).collect(),
        is_big_endian: true,
    }
}

fn u32_be(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_be(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

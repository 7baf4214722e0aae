//! Indices of blocks taken apart and put together, and where their pages are: as
//! `docs/format/block.md` says, in a second hand.

#![expect(
    clippy::single_range_in_vec_init,
    reason = "a checksum covers a list of ranges, often of one"
)]

use std::ops::Range;

use crate::layout::{Built, Layout, Sum, Unit, in_place, u32_at, u64_at, unit, varint};
use crate::mutate::put_varint;

const COLUMNS: u32 = 5;
const LAYOUTS: u32 = 7;
const NAMES: u32 = 8;
const VALUES: u32 = 9;
const POSTINGS: u32 = 10;
const SERIES: u32 = 11;
const COMPONENTS: u32 = 12;
const SHARED: u32 = 13;
/// In the order in which they are written.
const ORDER: [u32; 8] = [
    NAMES, VALUES, POSTINGS, SERIES, COLUMNS, SHARED, COMPONENTS, LAYOUTS,
];
const OPTIONAL: [u32; 3] = [SHARED, COMPONENTS, LAYOUTS];
/// Added to the tag of the unit that says how many series there are.
const COUNT: u32 = 100;
const GROUP: usize = 16;

/// The sections of an index: number, where.
fn sections(bytes: &[u8]) -> Vec<(u32, Range<usize>)> {
    let footer = bytes.len() - 16;
    let count = u32_at(bytes, footer + 4) as usize;
    let rows = (0..count).map(|row| footer - 24 * (count - row));
    rows.map(|at| {
        let from = u64_at(bytes, at + 8) as usize;
        (
            u32_at(bytes, at),
            from..from + u64_at(bytes, at + 16) as usize,
        )
    })
    .collect()
}

fn items(section: &[u8]) -> Vec<&[u8]> {
    let count = u32_at(section, 0) as usize;
    let first = 4 + 4 * (count + 1);
    let offset = |number: usize| first + u32_at(section, 4 + 4 * number) as usize;
    (0..count)
        .map(|number| &section[offset(number)..offset(number + 1)])
        .collect()
}

/// The groups of a section of postings or series, and how many items each has.
fn groups(section: &[u8]) -> Vec<(&[u8], usize)> {
    let count = u32_at(section, 0) as usize;
    let table = section.len() - 4 * count.div_ceil(GROUP);
    let starts = (table..section.len()).step_by(4);
    let starts: Vec<usize> = starts.map(|at| 4 + u32_at(section, at) as usize).collect();
    let ends = starts.iter().skip(1).copied().chain([table]);
    let sizes = (0..count).step_by(GROUP).map(|at| GROUP.min(count - at));
    let groups = starts.iter().zip(ends).zip(sizes);
    groups
        .map(|((from, to), size)| (&section[*from..to], size))
        .collect()
}

pub(crate) fn split(bytes: &[u8]) -> (Layout, Vec<Unit>) {
    let mut units = Vec::new();
    for (id, range) in sections(bytes) {
        let section = &bytes[range];
        match id {
            NAMES | VALUES => units.push(unit(id, section)),
            COLUMNS => units.extend(section[4..].chunks(32).map(|column| unit(id, column))),
            SHARED => units.extend(section[4..].chunks(12).map(|page| unit(id, page))),
            SERIES => {
                units.push(unit(id + COUNT, &section[..4]));
                let groups = groups(section).into_iter();
                units.extend(groups.map(|(group, _)| unit(id, group)));
            }
            POSTINGS => {
                for (group, size) in groups(section) {
                    let mut at = 0;
                    for _ in 0..size {
                        let length = varint(group, &mut at) as usize;
                        units.push(unit(id, &group[at..at + length]));
                        at += length;
                    }
                    assert_eq!(at, group.len(), "lists of a group");
                }
            }
            _ => units.extend(items(section).into_iter().map(|item| unit(id, item))),
        }
    }
    let header = bytes[..16].to_vec();
    (Layout::Index { header }, units)
}

pub(crate) fn build(header: &[u8], units: &[Unit]) -> Built {
    let mut built = Built {
        bytes: header.to_vec(),
        sums: vec![Sum::little(12, 0, vec![0..12])],
    };
    let mut contents = Vec::new();
    for id in ORDER {
        let items: Vec<&[u8]> = units
            .iter()
            .filter(|unit| unit.tag == id)
            .map(|unit| unit.bytes.as_slice())
            .collect();
        if items.is_empty() && OPTIONAL.contains(&id) {
            continue;
        }
        let bytes = &mut built.bytes;
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let from = bytes.len();
        put_section(id, &items, units, bytes);
        contents.push((id, from..bytes.len()));
    }
    let table = built.bytes.len();
    for (id, range) in &contents {
        let row = built.bytes.len();
        built.bytes.extend(id.to_le_bytes());
        built.bytes.extend([0; 4]);
        built.bytes.extend((range.start as u64).to_le_bytes());
        built.bytes.extend((range.len() as u64).to_le_bytes());
        built
            .sums
            .push(Sum::little(row + 4, 0, vec![range.clone()]));
    }
    let footer = built.bytes.len();
    built.bytes.extend([0; 4]);
    built.bytes.extend((contents.len() as u32).to_le_bytes());
    built.bytes.extend(b"BAROIDX\n");
    built.sums.push(Sum::little(footer, 0, vec![table..footer]));
    built
}

fn put_section(id: u32, items: &[&[u8]], units: &[Unit], bytes: &mut Vec<u8>) {
    let mut offsets = Vec::new();
    match id {
        NAMES | VALUES => bytes.extend(items.concat()),
        SERIES => {
            let counts = units.iter().filter(|unit| unit.tag == id + COUNT);
            bytes.extend(counts.flat_map(|unit| &unit.bytes));
            let mut offset = 0u32;
            for group in items {
                offsets.extend(offset.to_le_bytes());
                offset += group.len() as u32;
                bytes.extend_from_slice(group);
            }
        }
        POSTINGS => {
            bytes.extend((items.len() as u32).to_le_bytes());
            let first = bytes.len();
            for group in items.chunks(GROUP) {
                offsets.extend(((bytes.len() - first) as u32).to_le_bytes());
                for item in group {
                    put_varint(bytes, item.len() as u64);
                    bytes.extend_from_slice(item);
                }
            }
        }
        COLUMNS | SHARED => {
            bytes.extend((items.len() as u32).to_le_bytes());
            bytes.extend(items.concat());
        }
        _ => {
            bytes.extend((items.len() as u32).to_le_bytes());
            let mut offset = 0u32;
            for item in items {
                bytes.extend(offset.to_le_bytes());
                offset += item.len() as u32;
            }
            bytes.extend(offset.to_le_bytes());
            bytes.extend(items.concat());
        }
    }
    bytes.extend(offsets);
}

/// The columns and pages of a data file, found by its index.
pub(crate) fn split_data(bytes: &[u8], index: &[u8]) -> (Layout, Vec<Unit>) {
    let mut places = Vec::new();
    for (id, range) in sections(index) {
        let section = &index[range];
        match id {
            COLUMNS => {
                for column in section[4..].chunks(32) {
                    places.push((u64_at(column, 0), u64::from(u32_at(column, 8))));
                }
            }
            // The first of each stands where it was written.
            SERIES => {
                for (group, size) in groups(section) {
                    let mut at = 0;
                    at += varint(group, &mut at) as usize;
                    let mut end = varint(group, &mut at);
                    for _ in 0..size {
                        pages(group, &mut at, &mut end, &mut places);
                    }
                    assert_eq!(at, group.len(), "a group's pages");
                }
            }
            COMPONENTS => {
                for parent in items(section) {
                    let mut at = 4;
                    let mut end = varint(parent, &mut at);
                    while at < parent.len() {
                        at += 1;
                        if matches!(parent[at - 1], 5 | 6) {
                            varint(parent, &mut at);
                        }
                        pages(parent, &mut at, &mut end, &mut places);
                    }
                    assert_eq!(at, parent.len(), "a component's pages");
                }
            }
            _ => {}
        }
    }
    places.sort_unstable();
    places.dedup();
    let mut sums = vec![Sum::little(12, 0, vec![0..12])];
    let mut ranges = Vec::new();
    for (offset, length) in places {
        let (from, end) = (offset as usize, (offset + length) as usize);
        sums.push(Sum::little(from, 0, vec![from + 4..end]));
        ranges.push(from + 4..end);
    }
    in_place(bytes, ranges, sums)
}

/// The pages of a series that are no shared ones; `end` is where the one before ends.
fn pages(bytes: &[u8], at: &mut usize, end: &mut u64, places: &mut Vec<(u64, u64)>) {
    for _ in 0..varint(bytes, at) {
        let head = varint(bytes, at);
        if head & 1 == 0 {
            varint(bytes, at);
        }
        let length = head >> 4;
        match head >> 2 & 3 {
            0 => {
                places.push((*end, length));
                *end += length;
            }
            1 => {
                let distance = varint(bytes, at);
                let distance = (distance >> 1) as i64 ^ -((distance & 1) as i64);
                let offset = end.wrapping_add_signed(distance);
                places.push((offset, length));
                if distance >= 0 {
                    *end = offset + length;
                }
            }
            _ => {}
        }
        if head & 2 == 0 {
            for _ in 0..varint(bytes, at) {
                varint(bytes, at);
                varint(bytes, at);
            }
        }
    }
}

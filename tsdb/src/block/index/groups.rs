//! Items in groups of 16: an offset for each group rather than for each item.
//!
//! Count u32; the groups, one after the other; where each begins, u32, counted from the first one.

use crate::bytes::{Malformed, Reader};

/// Items of a group; the last may have fewer.
pub(crate) const GROUP: u32 = 16;
const COUNT_BYTES: usize = 4;
const OFFSET_BYTES: usize = 4;

/// How many items a section says it has; it has offsets for as many groups.
pub(crate) fn count(section: &[u8]) -> Result<u32, Malformed> {
    let count = Reader::new(section).u32()?;
    offsets_at(section, count).map(|_| count)
}

/// The group of an item, and where it begins in the section.
pub(crate) fn group_of(section: &[u8], item: u32) -> Result<(&[u8], usize), Malformed> {
    let fail = |what| Malformed {
        offset: item as usize,
        what,
    };
    let count = Reader::new(section).u32()?;
    if item >= count {
        return Err(fail("an item beyond its section"));
    }
    let offsets_at = offsets_at(section, count)?;
    let number = (item / GROUP) as usize;
    let mut offsets = Reader::new(&section[offsets_at + number * OFFSET_BYTES..]);
    let from = COUNT_BYTES + offsets.u32()? as usize;
    let to = if offsets.is_at_end() {
        offsets_at
    } else {
        COUNT_BYTES + offsets.u32()? as usize
    };
    let group = section[..offsets_at].get(from..to);
    Ok((group.ok_or(fail("a group beyond its section"))?, from))
}

fn offsets_at(section: &[u8], count: u32) -> Result<usize, Malformed> {
    let length = count.div_ceil(GROUP) as usize * OFFSET_BYTES;
    let at = section.len().checked_sub(length);
    at.filter(|at| *at >= COUNT_BYTES).ok_or(Malformed {
        offset: 0,
        what: "more items than the section has bytes for",
    })
}

//! What all files are made of, as `docs/format/wal.md` says.

use std::collections::BTreeMap;

/// Bytes and where reading of them is. What is not as written ends the test.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N)
            .try_into()
            .expect("as many bytes as were taken")
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }

    pub(crate) fn varint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8();
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return value;
            }
        }
        panic!("a varint without an end");
    }

    pub(crate) fn count(&mut self) -> usize {
        self.varint() as usize
    }

    pub(crate) fn signed(&mut self) -> i64 {
        unzigzag(self.varint())
    }

    pub(crate) fn text(&mut self, length: usize) -> String {
        String::from_utf8(self.take(length).to_vec()).expect("UTF-8")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Numbers of `width` bits each, least significant bit first, and the bytes they take.
pub(crate) fn packed(bytes: &mut Bytes<'_>, width: u32, count: usize) -> Vec<u64> {
    let taken = bytes.take((width as usize * count).div_ceil(8));
    let bit = |at: usize| u64::from(taken[at / 8] >> (at % 8) & 1);
    let width = width as usize;
    let number = |n: usize| (0..width).fold(0, |value, at| value | bit(n * width + at) << at);
    (0..count).map(number).collect()
}

/// The items of a table.
pub(crate) fn table(section: &[u8]) -> Vec<&[u8]> {
    let mut bytes = Bytes(section);
    let count = bytes.u32() as usize;
    let offsets: Vec<usize> = (0..=count).map(|_| bytes.u32() as usize).collect();
    assert_eq!(
        offsets[count],
        bytes.0.len(),
        "a table ends with its last item"
    );
    offsets
        .windows(2)
        .map(|at| &bytes.0[at[0]..at[1]])
        .collect()
}

/// The groups of a section whose items are in groups, and how many items each has.
pub(crate) fn groups(section: &[u8], size: usize) -> Vec<(&[u8], usize)> {
    let mut bytes = Bytes(section);
    let count = bytes.u32() as usize;
    let number = count.div_ceil(size);
    let (groups, offsets) = bytes.0.split_at(bytes.0.len() - 4 * number);
    let mut offsets = Bytes(offsets);
    let mut starts: Vec<usize> = (0..number).map(|_| offsets.u32() as usize).collect();
    starts.push(groups.len());
    let items = |number: usize| (count - number * size).min(size);
    let group = |(number, at): (usize, &[usize])| (&groups[at[0]..at[1]], items(number));
    starts.windows(2).enumerate().map(group).collect()
}

/// The sections of an index by id, each of which has the checksum that the table of contents says.
pub(crate) fn sections(index: &[u8]) -> BTreeMap<u32, (usize, &[u8])> {
    let mut footer = Bytes(&index[index.len() - 16..]);
    let (sum, count) = (footer.u32(), footer.u32() as usize);
    assert_eq!(footer.0, b"BAROIDX\n");
    let end = index.len() - 16;
    let contents = &index[end - 24 * count..end];
    assert_eq!(crc32c::crc32c(contents), sum);
    let mut contents = Bytes(contents);
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let (id, sum) = (contents.u32(), contents.u32());
        let (offset, length) = (contents.u64() as usize, contents.u64() as usize);
        assert_eq!(offset % 8, 0);
        let section = &index[offset..offset + length];
        assert_eq!(crc32c::crc32c(section), sum, "section {id}");
        found.insert(id, (offset, section));
    }
    found
}

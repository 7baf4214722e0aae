//! Changes to what stands behind checksums: bits, integers as formats write them, pieces moved about.

use crate::layout::{Built, Unit};

/// A sequence of numbers that a seed determines.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Rounds next to each other are nothing alike.
    pub(crate) fn new(seed: u64, round: u64) -> Self {
        let mut mixed = seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..2 {
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
        }
        Self(mixed | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % limit.max(1)
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Integers at the edges of what fields hold.
const EDGES: [u64; 32] = [
    0,
    1,
    2,
    3,
    7,
    8,
    63,
    64,
    127,
    128,
    200,
    255,
    256,
    4095,
    4096,
    65_535,
    65_536,
    1 << 20,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 2,
    (1 << 32) - 1,
    1 << 32,
    1 << 50,
    1 << 53,
    (1 << 62) + 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    u64::MAX - 1,
    u64::MAX,
];

/// Changes one to four things among the units of a file.
pub(crate) fn change(units: &mut Vec<Unit>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        if units.is_empty() {
            return;
        }
        let at = random.below(units.len());
        match random.below(24) {
            0 => {
                units.remove(at);
            }
            1 => {
                let copy = units[at].clone();
                let to = random.below(units.len() + 1);
                units.insert(to, copy);
            }
            2 => {
                let other = random.below(units.len());
                units.swap(at, other);
            }
            3 | 4 => {
                // A piece of another unit.
                let other = units[random.below(units.len())].bytes.clone();
                let piece = stretch(&other, random).to_vec();
                let bytes = &mut units[at].bytes;
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            _ => change_bytes(&mut units[at].bytes, random),
        }
    }
}

/// Changes bytes in place in the finished file, and makes its checksums fit again.
pub(crate) fn change_in_place(built: &mut Built, random: &mut Random) {
    let whole = built.bytes.len();
    for _ in 0..=random.below(3) {
        if whole == 0 {
            return;
        }
        let at = random.below(whole);
        let bytes = &mut built.bytes;
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => put(bytes, at, &(random.pick(&EDGES) as u32).to_le_bytes()),
            _ => put(bytes, at, &random.pick(&EDGES).to_le_bytes()),
        }
    }
    built.reseal();
}

fn change_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(13) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        3 if at < bytes.len() => bytes[at] = random.pick(&EDGES) as u8,
        4 if at < bytes.len() => {
            let step = random.pick(&[1u8, 2, 255, 254, 16]);
            bytes[at] = bytes[at].wrapping_add(step);
        }
        // An integer of variable length, with the length it then has.
        5..=7 if at < bytes.len() => {
            let length = bytes[at..].iter().take_while(|b| **b >= 0x80).count() + 1;
            let end = bytes.len().min(at + length);
            let mut integer = Vec::new();
            put_varint(&mut integer, random.pick(&EDGES));
            bytes.splice(at..end, integer);
        }
        8 => put(bytes, at, &(random.pick(&EDGES) as u32).to_le_bytes()),
        9 => put(bytes, at, &random.pick(&EDGES).to_le_bytes()),
        10 => put(bytes, at, &random.pick(&EDGES).to_be_bytes()),
        11 => {
            let piece = stretch(bytes, random).to_vec();
            bytes.splice(at..at, piece);
        }
        12 => {
            let end = bytes.len().min(at + random.below(24));
            bytes.drain(at..end);
        }
        _ => bytes.push(random.below(256) as u8),
    }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    let end = bytes.len().min(at + field.len());
    bytes[at..end].copy_from_slice(&field[..end - at]);
}

fn stretch<'a>(bytes: &'a [u8], random: &mut Random) -> &'a [u8] {
    let from = random.below(bytes.len() + 1);
    let end = bytes.len().min(from + random.below(40));
    &bytes[from..end]
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

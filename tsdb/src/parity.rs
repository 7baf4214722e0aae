//! Parity of a file that grows: beside it, what restores a damaged place.
//!
//! The file is seen as stretches of sectors. Of each stretch the parity file has a checksum per
//! sector, which tells where damage is, and the exclusive or of all sectors, which gives back one of
//! them: a flipped bit, a sector that cannot be read, a record that another file's bytes fell on. Two
//! sectors are given back where the damage of one ends before that of the other begins, as where a
//! damaged place lies across their border.
//!
//! The entry of the stretch that is being written is replaced in place; it covers the stretch as far
//! as it was written then.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::{Malformed, Reader};
use crate::disk::{Disk, DiskFile};
use crate::wal::header::{self, HEADER_BYTES, HeaderError};

/// First bytes of a parity file.
pub(crate) const PARITY_MAGIC: [u8; 8] = *b"BAROPAR\n";
/// Version of parity files.
pub(crate) const PARITY_VERSION: u32 = 1;
/// What disks and page caches lose at once.
const SECTOR_BYTES: usize = 4096;
const SECTORS: usize = 128;
/// What one entry covers: the parity takes a hundredth of it.
const STRETCH_BYTES: usize = SECTORS * SECTOR_BYTES;
/// Checksum, length, offset, checksums of the sectors, their exclusive or.
pub(crate) const ENTRY_BYTES: usize = 4 + 4 + 8 + 4 * SECTORS + SECTOR_BYTES;

/// The parity of what was written to a file so far, in memory.
#[derive(Debug)]
pub(crate) struct Parity {
    salt: u32,
    /// Where the present stretch begins.
    start: u64,
    /// How much of it is covered.
    length: usize,
    sums: Vec<u32>,
    lanes: Vec<u8>,
    /// Whether the present stretch has grown since [`Self::take`].
    has_grown: bool,
    /// Entries of stretches that are complete, and where they belong.
    complete: Vec<(u64, Vec<u8>)>,
}

impl Parity {
    /// Of an empty file, whose checksums begin with `salt`.
    pub(crate) fn new(salt: u32) -> Self {
        Self {
            salt,
            start: 0,
            length: 0,
            sums: Vec::with_capacity(SECTORS),
            lanes: vec![0; SECTOR_BYTES],
            has_grown: false,
            complete: Vec::new(),
        }
    }

    /// Covers what was written behind all that was covered before.
    pub(crate) fn cover(&mut self, mut bytes: &[u8]) {
        self.has_grown |= !bytes.is_empty();
        while !bytes.is_empty() {
            let lane = self.length % SECTOR_BYTES;
            let (piece, rest) = bytes.split_at(bytes.len().min(SECTOR_BYTES - lane));
            if lane == 0 {
                self.sums.push(0);
            }
            if let Some(sum) = self.sums.last_mut() {
                *sum = crc32c::crc32c_append(*sum, piece);
            }
            exclusive_or(&mut self.lanes[lane..], piece);
            self.length += piece.len();
            bytes = rest;
            if self.length == STRETCH_BYTES {
                let entry = self.entry();
                self.complete.push(entry);
                self.start += STRETCH_BYTES as u64;
                self.length = 0;
                self.sums.clear();
                self.lanes.fill(0);
                self.has_grown = !bytes.is_empty();
            }
        }
    }

    /// What is to be written to the parity file, each at its offset.
    pub(crate) fn take(&mut self) -> Vec<(u64, Vec<u8>)> {
        let mut entries = std::mem::take(&mut self.complete);
        if std::mem::take(&mut self.has_grown) {
            entries.push(self.entry());
        }
        entries
    }

    fn entry(&self) -> (u64, Vec<u8>) {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(self.length as u32).to_le_bytes());
        bytes.extend_from_slice(&self.start.to_le_bytes());
        for at in 0..SECTORS {
            let sum = self.sums.get(at).copied().unwrap_or_default();
            bytes.extend_from_slice(&sum.to_le_bytes());
        }
        bytes.extend_from_slice(&self.lanes);
        let sum = crc32c::crc32c_append(self.salt, &bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        let number = self.start / STRETCH_BYTES as u64;
        (HEADER_BYTES as u64 + number * ENTRY_BYTES as u64, bytes)
    }
}

fn exclusive_or(into: &mut [u8], bytes: &[u8]) {
    for (into, byte) in into.iter_mut().zip(bytes) {
        *into ^= byte;
    }
}

/// The parity file beside a file. It is made with the first entries.
#[derive(Debug)]
pub(crate) struct ParityFile {
    path: PathBuf,
    salt: u32,
    number: u64,
    file: Mutex<Option<Arc<dyn DiskFile>>>,
}

impl ParityFile {
    /// Beside the file of that number, whose checksums begin with `salt`.
    pub(crate) fn new(path: PathBuf, salt: u32, number: u64) -> Self {
        Self {
            path,
            salt,
            number,
            file: Mutex::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes entries; durably where the file they cover is complete.
    pub(crate) fn write(
        &self,
        disk: &Arc<dyn Disk>,
        entries: &[(u64, Vec<u8>)],
        is_last: bool,
    ) -> io::Result<()> {
        let mut own = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_none() && entries.is_empty() {
            return Ok(());
        }
        if own.is_none() {
            if disk.size_bytes(&self.path).is_ok() {
                // Of a file of this number whose making failed.
                disk.remove_file(&self.path)?;
            }
            let file = disk.create(&self.path, 0)?;
            let header = header::write(PARITY_MAGIC, PARITY_VERSION, self.salt, self.number);
            file.write_at(&header, 0)?;
            *own = Some(file);
        }
        let Some(file) = own.as_ref() else {
            unreachable!("BUG: the parity file was just made");
        };
        for (offset, entry) in entries {
            file.write_at(entry, *offset)?;
        }
        if is_last {
            file.sync_data()?;
        }
        Ok(())
    }
}

/// What [`repair`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// Sectors that were restored, by offset, as they were found.
    pub(crate) places: Vec<(usize, Vec<u8>)>,
    /// Where what the parity covers ends.
    pub(crate) covered: usize,
}

/// Restores what can be restored of a file of the given magic and version. A parity file that
/// belongs to another file, or is damaged itself, restores nothing.
///
/// # Errors
/// The parity file is of a later version.
pub(crate) fn repair(
    bytes: &mut Vec<u8>,
    parity: &[u8],
    (magic, version): ([u8; 8], u32),
) -> Result<Repaired, u32> {
    let mut repaired = Repaired::default();
    let salt = match header::read(parity, PARITY_MAGIC, PARITY_VERSION) {
        Ok(salt) => salt,
        Err(HeaderError::Version(version)) => return Err(version),
        Err(HeaderError::Damaged) => return Ok(repaired),
    };
    let is_its_own = |bytes: &[u8]| header::read(bytes, magic, version) == Ok(salt);
    let was_readable = is_its_own(bytes);
    if !was_readable && header::read(bytes, magic, version) != Err(HeaderError::Damaged) {
        return Ok(repaired);
    }
    let size = bytes.len();
    let entries = parity.get(HEADER_BYTES..).unwrap_or_default();
    for (number, entry) in entries.chunks_exact(ENTRY_BYTES).enumerate() {
        let Some(entry) = Entry::read(entry, salt).unwrap_or_default() else {
            continue;
        };
        if entry.start != number as u64 * STRETCH_BYTES as u64 {
            continue;
        }
        let start = number * STRETCH_BYTES;
        repaired.covered = start + entry.length;
        if bytes.len() < repaired.covered {
            bytes.resize(repaired.covered, 0);
        }
        let stretch = &mut bytes[start..repaired.covered];
        for (sector, found) in entry.restore(stretch) {
            let at = start + sector * SECTOR_BYTES;
            repaired.places.push((at, found));
        }
        if number == 0 && !was_readable && !is_its_own(bytes) {
            // It cannot be told whose parity this is.
            for (at, found) in std::mem::take(&mut repaired.places) {
                bytes[at..at + found.len()].copy_from_slice(&found);
            }
            bytes.truncate(size);
            return Ok(Repaired::default());
        }
    }
    let end = repaired.places.iter().map(|(at, found)| at + found.len());
    // Zeros that stand for what could not be restored say nothing.
    bytes.truncate(end.max().unwrap_or_default().max(size));
    Ok(repaired)
}

/// Looks at every entry of a parity file whose checksums begin with `salt`; `damaged` is told the
/// offsets of those that are not whole. Returns how many are whole.
pub(crate) fn check(parity: &[u8], salt: u32, mut damaged: impl FnMut(usize)) -> u64 {
    let mut whole = 0;
    let entries = parity.get(HEADER_BYTES..).unwrap_or_default();
    for (number, entry) in entries.chunks(ENTRY_BYTES).enumerate() {
        let start = number as u64 * STRETCH_BYTES as u64;
        let read = Some(entry).filter(|entry| entry.len() == ENTRY_BYTES);
        let read = read.and_then(|entry| Entry::read(entry, salt).unwrap_or_default());
        if read.is_some_and(|entry| entry.start == start) {
            whole += 1;
        } else {
            damaged(HEADER_BYTES + number * ENTRY_BYTES);
        }
    }
    whole
}

/// What a parity file says of a stretch.
struct Entry<'a> {
    start: u64,
    length: usize,
    sums: &'a [u8],
    lanes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `None` where it is damaged or was never written.
    fn read(bytes: &'a [u8], salt: u32) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(bytes);
        let sum = reader.u32()?;
        if crc32c::crc32c_append(salt, &bytes[4..]) != sum {
            return Ok(None);
        }
        let length = reader.u32()? as usize;
        Ok(Some(Self {
            start: reader.u64()?,
            length: length.min(STRETCH_BYTES),
            sums: reader.take(4 * SECTORS)?,
            lanes: reader.rest(),
        }))
    }

    fn is_intact(&self, sector: usize, bytes: &[u8]) -> bool {
        self.sums[4 * sector..][..4] == crc32c::crc32c(bytes).to_le_bytes()
    }

    /// Restores the sectors of a stretch; returns those that were restored, as they were.
    fn restore(&self, stretch: &mut [u8]) -> Vec<(usize, Vec<u8>)> {
        let sectors = stretch.chunks(SECTOR_BYTES).enumerate();
        let damaged = sectors.filter(|(at, bytes)| !self.is_intact(*at, bytes));
        let damaged: Vec<usize> = damaged.map(|(at, _)| at).take(3).collect();
        if damaged.is_empty() || damaged.len() > 2 {
            return Vec::new();
        }
        // What the damage changed, by lane.
        let mut changed = self.lanes.to_vec();
        for sector in stretch.chunks(SECTOR_BYTES) {
            exclusive_or(&mut changed, sector);
        }
        let place = |sector: usize| {
            let start = sector * SECTOR_BYTES;
            start..self.length.min(start + SECTOR_BYTES)
        };
        let found = |sector: usize| (sector, stretch[place(sector)].to_vec());
        let fixed = match damaged[..] {
            [one] => self.fix(&found(one), &changed).map(|bytes| vec![bytes]),
            [one, other] => self.fix_both(&found(one), &found(other), &changed),
            _ => None,
        };
        let Some(fixed) = fixed else {
            return Vec::new();
        };
        let was = damaged.iter().map(|sector| found(*sector)).collect();
        for (sector, bytes) in damaged.iter().zip(fixed) {
            stretch[place(*sector)].copy_from_slice(&bytes);
        }
        was
    }

    fn fix(&self, (sector, found): &(usize, Vec<u8>), changed: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = found.clone();
        exclusive_or(&mut bytes, changed);
        self.is_intact(*sector, &bytes).then_some(bytes)
    }

    /// Two sectors, of which one is damaged in the first lanes only and the other in the last.
    fn fix_both(
        &self,
        one: &(usize, Vec<u8>),
        other: &(usize, Vec<u8>),
        changed: &[u8],
    ) -> Option<Vec<Vec<u8>>> {
        for one_is_last in [true, false] {
            // The first sector as restored by the lanes that are its own, of which there are one
            // fewer, or one more, with each step.
            let mut bytes = one.1.clone();
            if one_is_last {
                exclusive_or(&mut bytes, changed);
            }
            for border in 0..SECTOR_BYTES {
                if changed[border] != 0 && self.is_intact(one.0, &bytes) {
                    let mut of_other = changed.to_vec();
                    let (first, last) = of_other.split_at_mut(border);
                    if one_is_last { last } else { first }.fill(0);
                    if let Some(other) = self.fix(other, &of_other) {
                        return Some(vec![bytes, other]);
                    }
                }
                if let Some(byte) = bytes.get_mut(border) {
                    *byte ^= changed[border];
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: ([u8; 8], u32) = (*b"MAGICAL\n", 1);

    fn make(size: usize) -> (Vec<u8>, Vec<u8>) {
        let mut file = header::write(FILE.0, FILE.1, 7, 3);
        let mut parity_file = header::write(PARITY_MAGIC, PARITY_VERSION, 7, 3);
        let mut parity = Parity::new(7);
        parity.cover(&file);
        let mut number = 1u32;
        let mut put = |entries: Vec<(u64, Vec<u8>)>| {
            for (offset, entry) in entries {
                let end = offset as usize + entry.len();
                parity_file.resize(parity_file.len().max(end), 0);
                parity_file[offset as usize..end].copy_from_slice(&entry);
            }
        };
        while file.len() < size {
            number = number.wrapping_mul(0x9e37_79b1) ^ 0x55;
            let record = vec![(number >> 7) as u8; (number % 5000) as usize + 1];
            parity.cover(&record);
            file.extend_from_slice(&record);
            if number.is_multiple_of(5) {
                put(parity.take());
            }
        }
        put(parity.take());
        (file, parity_file)
    }

    #[test]
    fn a_damaged_place_of_a_sector_is_restored_wherever_it_is() {
        let (file, parity) = make(STRETCH_BYTES + 50_000);
        for at in (0..file.len() - 1).step_by(48_611) {
            let mut damaged = file.clone();
            let end = damaged.len().min(at + SECTOR_BYTES);
            for byte in &mut damaged[at..end] {
                *byte = byte.wrapping_mul(3) ^ 0x5a;
            }
            let repaired = repair(&mut damaged, &parity, FILE).expect("this version");
            assert!(damaged == file, "byte {at}");
            assert_eq!(repaired.covered, file.len());
            assert!((1..=2).contains(&repaired.places.len()));
        }
        let mut cut = file[..file.len() - 3000].to_vec();
        repair(&mut cut, &parity, FILE).expect("this version");
        assert!(cut == file);
    }

    #[test]
    fn what_is_not_its_own_restores_nothing() {
        let (file, parity) = make(9000);
        let mut other = header::write(FILE.0, FILE.1, 8, 3);
        other.resize(9000, 1);
        let before = other.clone();
        let repaired = repair(&mut other, &parity, FILE);
        assert_eq!(repaired, Ok(Repaired::default()));
        assert!(other == before);
        // Nor where more is gone than there is parity for.
        let mut gone = file.clone();
        gone[4000..13_000.min(file.len())].fill(9);
        let before = gone.clone();
        repair(&mut gone, &parity, FILE).expect("this version");
        assert!(gone == before);
        let later = header::write(PARITY_MAGIC, 9, 7, 3);
        assert_eq!(repair(&mut gone, &later, FILE), Err(9));
    }

    proptest! {
        #[test]
        fn damage_of_either_file_is_restored_or_left(
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 1u8..), 1..6),
        ) {
            let (file, parity) = make(20_000);
            let (mut damaged, mut other) = (file.clone(), parity.clone());
            for (at, of_parity, flip) in places {
                let bytes = if of_parity { &mut other } else { &mut damaged };
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            let before = damaged.clone();
            let repaired = repair(&mut damaged, &other, FILE).expect("this version");
            for (at, found) in &repaired.places {
                prop_assert!(before[*at..*at + found.len()] == found[..]);
                prop_assert!(damaged[*at..*at + found.len()] == file[*at..*at + found.len()]);
            }
            let sectors = damaged.chunks(SECTOR_BYTES).zip(file.chunks(SECTOR_BYTES));
            let wrong = sectors.filter(|(a, b)| a != b).count();
            prop_assert!(wrong == 0 || damaged == before);
        }
    }
}

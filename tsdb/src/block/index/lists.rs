//! Posting lists of an index of version 2: which series have a label pair.
//!
//! A list is its length, then four times the number of series plus its kind: gaps, a roaring bitmap
//! in the portable format, or the number of another pair whose list is the same. Gaps: how far each
//! series is from the one before (from −1 first); 0 and a number stand for so many that follow one
//! another.

use croaring::{Bitmap, Portable};

use crate::bytes::{Malformed, Reader, put_varint};

const GAPS: u64 = 0;
const BITMAP: u64 = 1;
const SAME: u64 = 2;
const KIND_BITS: u32 = 2;

/// Shorter lists are gaps: decoding takes less than looking at a bitmap does.
const BITMAP_LEAST_BYTES: usize = 256;
/// Longer ones are bitmaps, though these take twice as much: a view of one takes no decoding.
const GAPS_MOST_BYTES: usize = 8 * 1024;

/// Series at the end of a stretch that are not worth a range.
const RANGE_LEAST: u64 = 16;

/// A list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum List<'a> {
    /// How far each is from the one before.
    Gaps { count: u64, bytes: &'a [u8] },
    /// A portable bitmap.
    Bitmap { count: u64, bytes: &'a [u8] },
    /// The list of another pair.
    Same { count: u64, pair: u32 },
}

impl<'a> List<'a> {
    /// Reads what [`ListBuilder::write`] wrote.
    pub(crate) fn read(item: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(item);
        let head = reader.varint()?;
        let count = head >> KIND_BITS;
        match head & ((1 << KIND_BITS) - 1) {
            GAPS => {
                let bytes = reader.rest();
                Ok(Self::Gaps { count, bytes })
            }
            BITMAP => {
                let bytes = reader.rest();
                Ok(Self::Bitmap { count, bytes })
            }
            SAME => {
                let pair = reader.varint_u32()?;
                Ok(Self::Same { count, pair })
            }
            _ => Err(reader.fail("a posting list of no known kind")),
        }
    }

    /// How many series it says it has.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Gaps { count, .. } | Self::Bitmap { count, .. } | Self::Same { count, .. } => {
                *count
            }
        }
    }
}

/// Adds the series of a list of gaps to `set`; all are below `limit`.
pub(crate) fn add_gaps(
    bytes: &[u8],
    count: u64,
    limit: u32,
    set: &mut Bitmap,
) -> Result<(), Malformed> {
    let mut buffer = [0u32; 256];
    let mut filled = 0;
    each_stretch(bytes, count, limit, |first, length| {
        if length >= RANGE_LEAST {
            set.add_range(first..first + length as u32);
            return;
        }
        for series in first..first + length as u32 {
            buffer[filled] = series;
            filled += 1;
            if filled == buffer.len() {
                set.add_many(&buffer);
                filled = 0;
            }
        }
    })?;
    set.add_many(&buffer[..filled]);
    Ok(())
}

/// Calls `each` with the first and the number of series that follow one another.
fn each_stretch(
    bytes: &[u8],
    count: u64,
    limit: u32,
    mut each: impl FnMut(u32, u64),
) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    let (mut next, mut seen) = (0u64, 0u64);
    while !reader.is_at_end() {
        let gap = reader.varint()?;
        let (first, length) = match gap.checked_sub(1) {
            Some(passed) => (next.checked_add(passed), 1),
            None => (Some(next), reader.varint()?),
        };
        let end = first.and_then(|first| first.checked_add(length));
        let (Some(first), Some(end)) = (first, end.filter(|end| *end <= u64::from(limit))) else {
            return Err(reader.fail("postings of a series that is not there"));
        };
        each(first as u32, length);
        seen += length;
        next = end;
    }
    if seen == count {
        Ok(())
    } else {
        Err(reader.fail("a posting list of another length than it says"))
    }
}

/// A list under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListBuilder {
    gaps: Vec<u8>,
    /// Behind the newest series.
    next: u32,
    /// How many that follow one another are not in `gaps` yet.
    run: u32,
    count: u32,
}

impl ListBuilder {
    /// Adds a series; they ascend.
    #[inline]
    pub(crate) fn push(&mut self, series: u32) {
        debug_assert!(series >= self.next);
        if self.count == 0 && series > 0 {
            // Most lists have one: it takes no memory of its own before the end.
            self.next = series + 1;
            self.count = 1;
            return;
        }
        self.begin();
        if series == self.next {
            self.run += 1;
        } else {
            self.end_run();
            put_varint(&mut self.gaps, u64::from(series - self.next) + 1);
        }
        self.next = series + 1;
        self.count += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// No more come.
    pub(crate) fn complete(&mut self) {
        self.begin();
        self.end_run();
    }

    /// What is in it, once it is complete.
    pub(crate) fn gaps(&self) -> &[u8] {
        &self.gaps
    }

    /// Says where the first series is, which the second or the end makes known.
    #[inline]
    fn begin(&mut self) {
        if self.count == 1 && self.run == 0 && self.gaps.is_empty() {
            put_varint(&mut self.gaps, u64::from(self.next));
        }
    }

    fn end_run(&mut self) {
        match std::mem::take(&mut self.run) {
            0 => {}
            short @ 1..=2 => self.gaps.extend((0..short).map(|_| 1)),
            run => {
                self.gaps.push(0);
                put_varint(&mut self.gaps, u64::from(run));
            }
        }
    }

    /// Appends a list that is complete, or that it is the same as that of another pair.
    pub(crate) fn write(&self, same_as: Option<u32>, out: &mut Vec<u8>) {
        let head = |kind| u64::from(self.count) << KIND_BITS | kind;
        let mut item = Vec::with_capacity(self.gaps.len() + 5);
        if let Some(pair) = same_as {
            put_varint(&mut item, head(SAME));
            put_varint(&mut item, u64::from(pair));
        } else if let Some(bitmap) = self.bitmap() {
            put_varint(&mut item, head(BITMAP));
            item.extend_from_slice(&bitmap);
        } else {
            put_varint(&mut item, head(GAPS));
            item.extend_from_slice(&self.gaps);
        }
        put_varint(out, item.len() as u64);
        out.extend_from_slice(&item);
    }

    /// As a bitmap, where that is better.
    fn bitmap(&self) -> Option<Vec<u8>> {
        if self.gaps.len() < BITMAP_LEAST_BYTES {
            return None;
        }
        let mut bitmap = Bitmap::new();
        let added = add_gaps(&self.gaps, u64::from(self.count), self.next, &mut bitmap);
        if added.is_err() {
            unreachable!("BUG: a posting list that cannot be read again");
        }
        bitmap.run_optimize();
        let size = bitmap.get_serialized_size_in_bytes::<Portable>();
        let is_better = size <= self.gaps.len() || self.gaps.len() > GAPS_MOST_BYTES;
        is_better.then(|| bitmap.serialize::<Portable>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(series: &[u32]) -> usize {
        let mut list = ListBuilder::default();
        for number in series {
            list.push(*number);
        }
        list.complete();
        let mut out = Vec::new();
        list.write(None, &mut out);
        let mut reader = Reader::new(&out);
        let length = reader.count(1).expect("its length");
        let item = reader.rest();
        assert_eq!(item.len(), length);
        let read = List::read(item).expect("just written");
        assert_eq!(read.count(), series.len() as u64);
        let limit = series.last().map_or(0, |last| last + 1);
        let mut set = Bitmap::new();
        match read {
            List::Gaps { count, bytes } => {
                add_gaps(bytes, count, limit, &mut set).expect("just written");
                let below = limit.saturating_sub(1);
                assert!(
                    series.is_empty() || add_gaps(bytes, count, below, &mut Bitmap::new()).is_err()
                );
                assert!(add_gaps(bytes, count + 1, limit, &mut Bitmap::new()).is_err());
            }
            List::Bitmap { bytes, .. } => {
                set = Bitmap::try_deserialize::<Portable>(bytes).expect("just written");
            }
            List::Same { .. } => panic!("the same as none"),
        }
        assert_eq!(set.to_vec(), series);
        out.len()
    }

    #[test]
    fn lists_of_each_kind_come_back() {
        assert_eq!(check(&[]), 2);
        assert!(check(&(0..1_000_000).collect::<Vec<_>>()) <= 10);
        assert!(check(&(5..50_000).step_by(3).collect::<Vec<_>>()) < 12_000);
        assert!(check(&(0..3000).map(|n| n * 100).collect::<Vec<_>>()) < 3010);
        check(&[u32::MAX - 1]);
        assert_eq!((check(&[0]), check(&[1]), check(&[7, 8])), (3, 3, 4));
    }

    proptest! {
        #[test]
        fn any_list_comes_back(gaps in prop::collection::vec(prop_oneof![
            4 => Just(0u32), 2 => 0u32..5, 1 => 0u32..100_000
        ], 0..2000)) {
            let mut next = 0;
            let series: Vec<u32> = gaps.iter().map(|gap| {
                let series = next + gap;
                next = series + 1;
                series
            }).collect();
            check(&series);
        }
    }
}

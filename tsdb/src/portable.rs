//! Whether bytes are a roaring bitmap in the portable format, from beginning to end: a view of them
//! reads what they say without looking at how many there are. (github.com/RoaringBitmap/
//! RoaringFormatSpec.)

use crate::bytes::{Malformed, Reader};

/// The cookie without run containers, and the lower half of the one with.
const COOKIE: u32 = 12_346;
const COOKIE_WITH_RUNS: u32 = 12_347;
/// Containers from which on a bitmap with runs has offsets.
const OFFSETS_LEAST: usize = 4;
/// Values of the largest array container.
const ARRAY_MOST: usize = 4096;
const BITSET_BYTES: usize = 8192;
/// There is one container for each value of the upper 16 bits.
const CONTAINERS_MOST: usize = 1 << 16;

/// Whether a view of exactly these bytes reads nothing else. What is in the containers is left to
/// the view's own check.
pub(crate) fn is_portable(bytes: &[u8]) -> bool {
    check(bytes).is_ok()
}

fn check(bytes: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    let cookie = reader.u32()?;
    let (count, run_flags) = match (cookie, cookie & 0xffff) {
        (COOKIE, _) => (reader.u32()? as usize, None),
        (_, COOKIE_WITH_RUNS) => {
            let count = (cookie >> 16) as usize + 1;
            (count, Some(reader.take(count.div_ceil(8))?))
        }
        _ => return Err(reader.fail("no cookie of a bitmap")),
    };
    if count > CONTAINERS_MOST {
        return Err(reader.fail("more containers than there can be"));
    }
    let mut keys = Reader::new(reader.take(4 * count)?);
    let has_offsets = run_flags.is_none() || count >= OFFSETS_LEAST;
    let mut offsets = has_offsets
        .then(|| reader.take(4 * count).map(Reader::new))
        .transpose()?;
    let mut before = None;
    for number in 0..count {
        let (key, cardinality) = (keys.u16()?, usize::from(keys.u16()?) + 1);
        if before.is_some_and(|before| before >= key) {
            return Err(reader.fail("containers out of order"));
        }
        before = Some(key);
        if let Some(offsets) = &mut offsets
            && offsets.u32()? as usize != reader.offset()
        {
            return Err(reader.fail("a container at another place than it says"));
        }
        let is_run = run_flags.is_some_and(|flags| flags[number / 8] >> (number % 8) & 1 != 0);
        let length = if is_run {
            4 * usize::from(reader.u16()?)
        } else if cardinality > ARRAY_MOST {
            BITSET_BYTES
        } else {
            2 * cardinality
        };
        reader.take(length)?;
    }
    if reader.is_at_end() {
        Ok(())
    } else {
        Err(reader.fail("more bytes than the bitmap has"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use croaring::{Bitmap, Portable};

    use super::*;
    use crate::map::with_bitmap;

    /// Bitmaps of every kind of container, long enough for views.
    fn bitmaps() -> Vec<Vec<u8>> {
        let with_runs = |ranges: &[(u32, u32)], step: usize| {
            let mut bitmap = Bitmap::new();
            for (from, to) in ranges {
                for value in (*from..*to).step_by(step) {
                    bitmap.add(value);
                }
            }
            bitmap.run_optimize();
            bitmap.serialize::<Portable>()
        };
        let runs: Vec<_> = (0..200).map(|n| (n * 997, n * 997 + 400)).collect();
        let few: Vec<_> = (0..70).map(|n| (n * 900, n * 900 + 300)).collect();
        vec![
            with_runs(&[(0, 900)], 3),
            with_runs(&[(7, 400_000)], 5),
            with_runs(&[(7, 90_000)], 2),
            with_runs(&runs, 1),
            with_runs(&few, 1),
            with_runs(&[(0, 70_000), (200_000, 201_000), (262_144, 500_000)], 2),
        ]
    }

    #[test]
    fn whole_bitmaps_are_recognised_and_shorter_ones_are_not() {
        for bytes in bitmaps() {
            assert!(bytes.len() >= 256 && is_portable(&bytes));
            assert!(with_bitmap(&bytes, Bitmap::cardinality).is_some());
            for end in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
                assert!(!is_portable(&bytes[..end]));
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(!is_portable(&longer));
        }
    }

    /// Bytes behind a checksum that someone made fit: `BAROGRAPH_FUZZ_SECONDS` goes on for so long.
    #[test]
    fn a_view_of_changed_bytes_reads_nothing_else() {
        let seconds = std::env::var("BAROGRAPH_FUZZ_SECONDS");
        let seconds = seconds.map_or(1, |text| text.parse().expect("a number"));
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut below = |limit: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) as usize % limit.max(1)
        };
        let bitmaps = bitmaps();
        let (began, mut viewed, mut refused) = (Instant::now(), 0u64, 0u64);
        while began.elapsed() < Duration::from_secs(seconds) {
            // Of its own allocation, so that reading beyond it can be seen.
            let mut bytes = bitmaps[below(bitmaps.len())].clone();
            for _ in 0..=below(3) {
                // Mostly the heads, which say what follows.
                let length = bytes.len();
                let anywhere = below(3) == 0;
                let at = below(if anywhere { length } else { 64 });
                match below(4) {
                    0 => bytes[at] ^= 1 << below(8),
                    1 => bytes[at] = [0, 1, 0x7f, 0xff, 0x10][below(5)],
                    2 => bytes[at] = below(256) as u8,
                    _ if bytes.len() > 300 => bytes.truncate(length - below(40)),
                    _ => {}
                }
            }
            let bytes = bytes.into_boxed_slice();
            let whole = Bitmap::from_range(0..1_000_000);
            let read = with_bitmap(&bytes, |bitmap| {
                let values = bitmap.to_vec();
                assert!(values.is_sorted_by(|a, b| a < b));
                let mut other = whole.clone();
                other.and_inplace(bitmap);
                other.or_inplace(bitmap);
                (
                    values.len() as u64,
                    bitmap.cardinality(),
                    other.cardinality(),
                )
            });
            match read {
                Some((values, cardinality, other)) => {
                    assert_eq!((values, values), (cardinality, other));
                    viewed += 1;
                }
                None => refused += 1,
            }
        }
        assert!(
            viewed > 0 && refused > 0,
            "{viewed} viewed, {refused} refused"
        );
    }
}

//! Little-endian fields and variable-length integers, written to vectors and read with checks.

/// Longest variable-length integer that is made in a register.
const VARINT_WORD_BYTES: usize = 6;

/// The bytes ended, or do not mean anything, at this offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Where in the slice that was read.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) what: &'static str,
}

impl Malformed {
    /// The same, counted from what is so far before.
    pub(crate) fn behind(self, start: usize) -> Self {
        Self {
            offset: self.offset.saturating_add(start),
            ..self
        }
    }
}

/// What stands before the checksum at the end of a file that is read as a whole.
pub(crate) fn checked_body(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let fail = |what| Malformed { offset: 0, what };
    let (body, sum) = bytes.split_last_chunk().ok_or(fail("ends too early"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return Err(fail("a checksum that does not fit"));
    }
    Ok(body)
}

/// Appends an unsigned integer, seven bits a byte, least significant first.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// As [`put_varint`], for integers whose lengths vary without a pattern: no branch depends on the
/// length.
#[inline]
pub(crate) fn put_mixed_varint(out: &mut Vec<u8>, value: u64) {
    if let Some((word, length)) = varint_word(value) {
        let end = out.len() + length;
        out.extend_from_slice(&word.to_le_bytes());
        out.truncate(end);
    } else {
        put_varint(out, value);
    }
}

/// What [`put_varint`] appends, from the least significant byte of a word on, and how many bytes
/// that is; `None` where it is more than six.
#[inline]
pub(crate) fn varint_word(value: u64) -> Option<(u64, usize)> {
    if value >> (7 * VARINT_WORD_BYTES) != 0 {
        return None;
    }
    let length = varint_bytes(value);
    // Pairs of groups, then groups.
    let mut word = value & 0x3fff | (value & 0xfff_c000) << 2 | (value & 0x3ff_f000_0000) << 4;
    word = word & 0x007f_007f_007f | (word & 0x3f80_3f80_3f80) << 1;
    let continues = 0x0080_8080_8080_8080 & ((1 << (8 * (length - 1))) - 1);
    Some((word | continues, length))
}

/// How many bytes [`put_varint`] appends.
#[inline]
pub(crate) fn varint_bytes(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends a signed integer whose magnitude is likely small.
#[inline]
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a text behind its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Folds the sign into bit 0: 0, −1, 1, −2 … become 0, 1, 2, 3 …
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads fields one after the other; every read is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn fail(&self, what: &'static str) -> Malformed {
        Malformed {
            offset: self.at,
            what,
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..count)) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.fail("ends too early")),
        }
    }

    /// The next byte, which stays.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        match self.bytes.get(self.at) {
            Some(byte) => {
                self.at += 1;
                Ok(*byte)
            }
            None => Err(self.fail("ends too early")),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(self.fail("integer beyond 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, Malformed> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.fail("integer beyond 32 bits"))
    }

    /// A count of things that take at least `each` bytes: bounded by what is left, so that a
    /// damaged count cannot ask for memory.
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, Malformed> {
        let value = self.varint()?;
        let left = self.bytes.len() - self.at;
        match usize::try_from(value) {
            Ok(count) if count.saturating_mul(each) <= left => Ok(count),
            _ => Err(self.fail("count beyond the bytes left")),
        }
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.count(1)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.fail("text that is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_and_excess_is_refused() {
        let ends = (0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1, 0x5555_5555_5555_5555 >> bit]);
        for value in ends.chain([u64::MAX - 1, u64::MAX]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(varint_bytes(value), out.len());
            let mut mixed = vec![7];
            put_mixed_varint(&mut mixed, value);
            assert_eq!(mixed[1..], out);
            assert_eq!(Reader::new(&out).varint(), Ok(value));
            assert!(Reader::new(&out[..out.len() - 1]).varint().is_err());
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert!(Reader::new(&[0xff; 11]).varint().is_err());
        assert!(Reader::new(&[0xff, 0xff, 3, 0, 0]).count(4).is_err());
    }
}

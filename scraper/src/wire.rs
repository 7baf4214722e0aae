//! The wire format of protocol buffers, read field by field.

/// Something that is no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A field's content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Reads the fields of a message in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and content; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number =
            u32::try_from(key >> 3).map_err(|_| Malformed("a field number beyond 32 bits"))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.delimited()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed("a field of an unknown wire type")),
        };
        Ok(Some((number, value)))
    }

    /// A message behind its length; `None` at the end.
    pub(crate) fn message(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.delimited().map(Some)
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn delimited(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(Malformed("a message that ends too early"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            return Err(Malformed("a message that ends too early"));
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// A bare integer.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("an integer of more than 64 bits"))
    }
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a number where a message or text belongs")),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text that is not UTF-8"))
    }

    pub(crate) fn double(self) -> Result<f64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed("something else where a double belongs")),
        }
    }

    pub(crate) fn integer(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed("something else where an integer belongs")),
        }
    }

    /// An integer whose sign is folded into bit 0.
    pub(crate) fn signed(self) -> Result<i64, Malformed> {
        self.integer().map(unfold)
    }

    /// Appends signed integers, packed or not.
    pub(crate) fn signed_list(self, out: &mut Vec<i64>) -> Result<(), Malformed> {
        match self {
            Self::Bytes(bytes) => {
                let mut reader = Fields::new(bytes);
                while !reader.rest.is_empty() {
                    out.push(unfold(reader.varint()?));
                }
            }
            one => out.push(one.signed()?),
        }
        Ok(())
    }

    /// Appends doubles, packed or not.
    pub(crate) fn double_list(self, out: &mut Vec<f64>) -> Result<(), Malformed> {
        match self {
            Self::Bytes(bytes) => {
                let mut reader = Fields::new(bytes);
                while !reader.rest.is_empty() {
                    out.push(f64::from_bits(u64::from_le_bytes(reader.array()?)));
                }
            }
            one => out.push(one.double()?),
        }
        Ok(())
    }
}

fn unfold(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

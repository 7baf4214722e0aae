//! A block's `meta.json` and the identifiers that blocks are named by.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Crockford's base 32, which leaves out I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 26;
/// The version of `meta.json` there is.
const VERSION: i64 = 1;

/// An identifier of 128 bits: 48 of time in milliseconds, 80 of chance. Written, it sorts by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ulid(pub(crate) u128);

impl Ulid {
    /// An identifier made at a time, from some chance.
    pub(crate) fn new(time_ms: i64, chance: u128) -> Self {
        let time = u128::from(time_ms.max(0) as u64) & ((1 << 48) - 1);
        Self(time << 80 | chance & ((1 << 80) - 1))
    }

    /// When it was made.
    pub(crate) fn time_ms(self) -> i64 {
        (self.0 >> 80) as i64
    }

    /// Reads the written form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != LENGTH {
            return None;
        }
        let mut value = 0u128;
        for (index, byte) in text.bytes().enumerate() {
            let digit = ALPHABET
                .iter()
                .position(|have| *have == byte.to_ascii_uppercase())?;
            if index == 0 && digit > 7 {
                return None;
            }
            value = value << 5 | digit as u128;
        }
        Some(Self(value))
    }
}

impl std::fmt::Display for Ulid {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for index in (0..LENGTH).rev() {
            let digit = (self.0 >> (5 * index)) as usize & 31;
            out.write_char(ALPHABET[digit] as char)?;
        }
        Ok(())
    }
}

/// What a block says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) ulid: Ulid,
    /// Its oldest sample is not before this.
    pub(crate) min_ms: i64,
    /// Its newest sample is before this.
    pub(crate) max_ms: i64,
    pub(crate) samples: u64,
    pub(crate) float_samples: u64,
    pub(crate) histogram_samples: u64,
    pub(crate) series: u64,
    pub(crate) chunks: u64,
    /// How often its samples were compacted; 1 from the head.
    pub(crate) level: u64,
    /// Blocks it was made from and that it replaces.
    pub(crate) parents: Vec<Ulid>,
    /// It has no samples and may go.
    pub(crate) deletable: bool,
    /// Made of samples that came out of order.
    pub(crate) out_of_order: bool,
}

impl Meta {
    /// Reads `meta.json`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
        let int = |value: &Value, name: &str| value.get(name).and_then(Value::as_i64);
        let count = |value: &Value, name: &str| int(value, name).unwrap_or_default().max(0) as u64;
        match int(&value, "version") {
            Some(VERSION) => {}
            Some(version) => {
                return Err(format!(
                    "version {version} is newer than this program understands"
                ));
            }
            None => return Err("no version".to_owned()),
        }
        let ulid = |value: &Value| {
            let text = value.get("ulid").and_then(Value::as_str)?;
            Ulid::parse(text)
        };
        let time = |name| int(&value, name).ok_or_else(|| format!("no {name}"));
        let empty = Value::Object(Map::new());
        let stats = value.get("stats").unwrap_or(&empty);
        let compaction = value.get("compaction").unwrap_or(&empty);
        let list = |name: &str| {
            let list = compaction.get(name).and_then(Value::as_array);
            list.map_or(&[][..], Vec::as_slice)
        };
        let meta = Self {
            ulid: ulid(&value).ok_or("no ulid")?,
            min_ms: time("minTime")?,
            max_ms: time("maxTime")?,
            samples: count(stats, "numSamples"),
            float_samples: count(stats, "numFloatSamples"),
            histogram_samples: count(stats, "numHistogramSamples"),
            series: count(stats, "numSeries"),
            chunks: count(stats, "numChunks"),
            level: count(compaction, "level").max(1),
            parents: list("parents").iter().filter_map(ulid).collect(),
            deletable: compaction.get("deletable").and_then(Value::as_bool) == Some(true),
            out_of_order: list("hints").iter().any(|hint| hint == "from-out-of-order"),
        };
        if meta.min_ms > meta.max_ms {
            return Err("minTime is after maxTime".to_owned());
        }
        Ok(meta)
    }

    /// Writes `meta.json`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut stats = Map::new();
        for (name, count) in [
            ("numSamples", self.samples),
            ("numFloatSamples", self.float_samples),
            ("numHistogramSamples", self.histogram_samples),
            ("numSeries", self.series),
            ("numChunks", self.chunks),
        ] {
            if count > 0 {
                stats.insert(name.to_owned(), count.into());
            }
        }
        let mut compaction = Map::new();
        compaction.insert("level".to_owned(), self.level.into());
        let sources = vec![Value::from(self.ulid.to_string())];
        compaction.insert("sources".to_owned(), sources.into());
        if self.out_of_order {
            let hints = vec![Value::from("from-out-of-order")];
            compaction.insert("hints".to_owned(), hints.into());
        }
        let mut meta = Map::new();
        meta.insert("ulid".to_owned(), self.ulid.to_string().into());
        meta.insert("minTime".to_owned(), self.min_ms.into());
        meta.insert("maxTime".to_owned(), self.max_ms.into());
        meta.insert("stats".to_owned(), stats.into());
        meta.insert("compaction".to_owned(), compaction.into());
        meta.insert("version".to_owned(), VERSION.into());
        format!("{:#}", Value::from(meta)).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_written_as_crockford_base_32() {
        // The example of the ULID specification, and the least and the greatest.
        for text in [
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "00000000000000000000000000",
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        ] {
            assert_eq!(Ulid::parse(text).expect(text).to_string(), text);
        }
        for text in [
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "01ARZ3NDEKTSV4RRFFQ69G5FAU",
            "",
        ] {
            assert_eq!(Ulid::parse(text), None, "{text}");
        }
        assert_eq!(
            &Ulid::new(1_469_922_850_259, 0).to_string()[..10],
            "01ARZ3NDEK"
        );
    }

    #[test]
    fn a_meta_file_survives() {
        let meta = Meta {
            ulid: Ulid::new(1_700_000_000_000, 12345),
            min_ms: -7_200_000,
            max_ms: 0,
            samples: 7,
            float_samples: 5,
            histogram_samples: 2,
            series: 3,
            chunks: 4,
            level: 1,
            parents: Vec::new(),
            deletable: false,
            out_of_order: true,
        };
        assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
        assert!(Meta::decode(b"{}").is_err());
        assert!(Meta::decode(b"[").is_err());
    }
}

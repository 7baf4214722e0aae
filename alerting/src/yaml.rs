//! YAML with positions: what the files of this crate share.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// A line and a column, both from 1.
pub(crate) type Position = (usize, usize);

/// Where a value stands. `None` where the parser does not know.
pub(crate) fn position(location: Location) -> Option<Position> {
    (location.line() > 0).then(|| (location.line() as usize, location.column() as usize))
}

/// Reads a document.
///
/// # Errors
/// What does not fit, and where.
pub(crate) fn read<'de, T: Deserialize<'de>>(
    text: &'de str,
) -> Result<T, (Option<Position>, String)> {
    serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location();
        let error = error.without_snippet();
        let mut message = error.to_string();
        // The position has its own place.
        if let Some(location) = location {
            for suffix in [
                format!(" at line {}, column {}", location.line(), location.column()),
                format!("line {} column {}: ", location.line(), location.column()),
            ] {
                message = message.replace(&suffix, "");
            }
        }
        message = message.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
        if message.starts_with("multiple YAML documents") {
            "the file holds several YAML documents; only one is allowed".clone_into(&mut message);
        }
        (location.and_then(position), message)
    })
}

/// A mapping whose entries keep their order and positions. A value of null is the empty text.
#[derive(Debug)]
pub(crate) struct Pairs<V>(pub Vec<(Spanned<String>, V)>);

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Pairs(Vec::new()))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

/// The position of byte `offset` of a scalar's value. Folding, quoting and escapes move bytes, so
/// the value is walked along its source: both agree but for white space, quotes and backslashes.
pub(crate) fn position_inside(
    source: &str,
    scalar: &Spanned<String>,
    offset: usize,
) -> Option<Position> {
    let start = scalar.defined.span().byte_offset()? as usize;
    let written = source.get(start..)?;
    let mut at = start;
    if written.starts_with(['|', '>']) {
        at += written.find('\n')? + 1;
    }
    let before = scalar.value.get(..offset)?;
    let rest = source.as_bytes();
    for ch in before.chars().filter(|ch| !ch.is_whitespace()) {
        let mut bytes = [0; 4];
        let wanted = ch.encode_utf8(&mut bytes).as_bytes();
        // An escape such as \u00e9 is not found: the position then stays at its start.
        let ahead = rest.get(at..)?;
        let found = ahead
            .windows(wanted.len())
            .take_while(|window| {
                *window == wanted
                    || matches!(
                        window[0],
                        b'"' | b'\'' | b'\\' | b' ' | b'\t' | b'\n' | b'\r'
                    )
            })
            .position(|window| window == wanted)?;
        at += found + wanted.len();
    }
    // On to the next character of the value.
    if let Some(next) = scalar.value[offset..]
        .chars()
        .find(|ch| !ch.is_whitespace())
    {
        at += source.get(at..)?.find(next)?;
    }
    let line_start = source[..at].rfind('\n').map_or(0, |found| found + 1);
    let line = source[..at].matches('\n').count() + 1;
    Some((line, source[line_start..at].chars().count() + 1))
}

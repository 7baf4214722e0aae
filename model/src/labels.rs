//! Label sets: the identity of a series.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// An immutable set of label pairs, sorted by name, without empty values; cloning is one
/// reference count.
///
/// Held as one string: each name and value behind its length. A length is written in ASCII, six
/// bits a byte with bit 6 as "more follows", so that the whole stays valid UTF-8 and slices need no
/// `unsafe`. Equal sets have equal bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels {
    text: Arc<str>,
}

impl Labels {
    /// The set with no label.
    pub fn empty() -> Self {
        Self {
            text: Arc::from(""),
        }
    }

    /// Builds a set from pairs in any order. A later pair replaces an earlier one of the same
    /// name; an empty value means "label absent".
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Builds a set from pairs that are already in ascending order of name, without duplicates or
    /// empty values: one allocation, for stores that keep sets in this form. Pairs in another
    /// order are a mistake in the program.
    pub fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::with_capacity(256);
        let mut last: Option<&str> = None;
        for (name, value) in pairs {
            debug_assert!(last < Some(name) && !value.is_empty(), "BUG: not sorted");
            last = Some(name);
            push_part(&mut text, name);
            push_part(&mut text, value);
        }
        Self { text: text.into() }
    }

    /// Appends the encoded form of a pair to `out`, to be put together by [`Labels::from_encoded`].
    pub fn encode_pair(name: &str, value: &str, out: &mut String) {
        push_part(out, name);
        push_part(out, value);
    }

    /// Puts encoded pairs together, in ascending order of name: for stores that keep pairs encoded
    /// and build sets only when someone looks.
    pub fn from_encoded<'a>(pairs: impl Iterator<Item = &'a str> + Clone) -> Self {
        let mut text = String::with_capacity(pairs.clone().map(str::len).sum());
        pairs.for_each(|pair| text.push_str(pair));
        Self { text: text.into() }
    }

    /// Name and value of one encoded pair.
    pub fn decode_pair(mut encoded: &str) -> (&str, &str) {
        let name = take_part(&mut encoded);
        (name, take_part(&mut encoded))
    }

    /// The value of `name`, or `""` where the label is absent: PromQL does not tell the two apart.
    pub fn get(&self, name: &str) -> &str {
        for (have, value) in self {
            match have.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return value,
                Ordering::Greater => return "",
            }
        }
        ""
    }

    /// Whether the label is present (and so not empty).
    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// The metric name, or `""`.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// Pairs in ascending order of name (bytewise).
    pub fn iter(&self) -> Pairs<'_> {
        Pairs { rest: &self.text }
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// How many bytes the set occupies, its reference count apart.
    pub fn size_bytes(&self) -> usize {
        self.text.len()
    }

    /// The encoded form: equal for equal sets, of no meaning outside this process.
    pub fn as_encoded(&self) -> &str {
        &self.text
    }

    /// A builder that starts from this set.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder {
            pairs: self
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        }
    }

    /// This set without the labels that `drop` says yes to.
    #[must_use]
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Self {
        let mut text = String::with_capacity(self.text.len());
        for (name, value) in self {
            if !drop(name) {
                push_part(&mut text, name);
                push_part(&mut text, value);
            }
        }
        Self { text: text.into() }
    }

    /// The 64-bit xxHash that Prometheus computes over name, 0xff, value, 0xff of each pair (its
    /// slice-labels build). Stable across processes and machines.
    #[cfg(feature = "matching")]
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh64::Xxh64::new(0);
        for (name, value) in self {
            for part in [name, value] {
                hasher.update(part.as_bytes());
                hasher.update(&[0xff]);
            }
        }
        hasher.digest()
    }

    /// The 64-bit xxHash over each name and value behind its length: what a usual build of
    /// Prometheus decides by where it samples series (`limit_ratio`).
    #[cfg(feature = "matching")]
    pub fn sampling_hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh64::Xxh64::new(0);
        for (name, value) in self {
            for part in [name, value] {
                // One byte, or a mark and three more, lowest first.
                let length = part.len().to_le_bytes();
                match length {
                    [short, 0, ..] if short < u8::MAX => hasher.update(&[short]),
                    [a, b, c, ..] => hasher.update(&[u8::MAX, a, b, c]),
                }
                hasher.update(part.as_bytes());
            }
        }
        hasher.digest()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// Lets maps keyed by label sets be asked with [`Labels::as_encoded`].
impl Borrow<str> for Labels {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl Ord for Labels {
    /// Compares pair by pair, name before value; a set that is a prefix of another comes first.
    /// This is the order in which Prometheus lists series.
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// `{a="b", c="d"}` with Go's quoting; names that are not legacy-valid are quoted too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(name) {
                f.write_str(name)?;
            } else {
                write_quoted(f, name)?;
            }
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Pairs<'a>;
    fn into_iter(self) -> Pairs<'a> {
        self.iter()
    }
}

/// The pairs of a [`Labels`], in order of name.
#[derive(Clone)]
pub struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_part(&mut self.rest);
        let value = take_part(&mut self.rest);
        Some((name, value))
    }
}

/// A label set under construction: sorted, names unique, empty values dropped on [`build`].
///
/// [`build`]: LabelsBuilder::build
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// A builder with no label.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self
            .pairs
            .binary_search_by(|(have, _)| have.as_str().cmp(name))
        {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => {
                let slot = &mut self.pairs[at].1;
                slot.clear();
                slot.push_str(value);
            }
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label, where present.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value of `name`, or `""`.
    pub fn get(&self, name: &str) -> &str {
        match self
            .pairs
            .binary_search_by(|(have, _)| have.as_str().cmp(name))
        {
            Ok(at) => &self.pairs[at].1,
            Err(_) => "",
        }
    }

    /// Keeps the labels that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.pairs.retain(|(name, value)| keep(name, value));
        self
    }

    /// Pairs in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Empties the builder, keeping its memory.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        let size = self.pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
        let mut text = String::with_capacity(size);
        for (name, value) in &self.pairs {
            push_part(&mut text, name);
            push_part(&mut text, value);
        }
        Labels { text: text.into() }
    }
}

/// Whether `name` fits `[a-zA-Z_:][a-zA-Z0-9_:]*`, the metric names of before UTF-8.
pub fn is_legacy_metric_name(name: &str) -> bool {
    fits_legacy(name, true)
}

/// Whether `name` fits `[a-zA-Z_][a-zA-Z0-9_]*`, the label names of before UTF-8.
pub fn is_legacy_label_name(name: &str) -> bool {
    fits_legacy(name, false)
}

/// Writes `text` in double quotes with Go's escapes for the quote, the backslash and control
/// characters.
///
/// # Errors
/// Those of the writer.
pub fn write_quoted(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for ch in text.chars() {
        match ch {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\u{7}' => out.write_str("\\a")?,
            '\u{8}' => out.write_str("\\b")?,
            '\u{b}' => out.write_str("\\v")?,
            '\u{c}' => out.write_str("\\f")?,
            ch if (ch as u32) < 0x20 || ch as u32 == 0x7f => write!(out, "\\x{:02x}", ch as u32)?,
            ch => out.write_char(ch)?,
        }
    }
    out.write_char('"')
}

fn fits_legacy(name: &str, colon: bool) -> bool {
    let mut bytes = name.bytes();
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_' || (colon && b == b':');
    bytes.next().is_some_and(start) && bytes.all(|b| start(b) || b.is_ascii_digit())
}

fn push_part(text: &mut String, part: &str) {
    let mut length = part.len();
    loop {
        let low = (length & 0x3f) as u8;
        length >>= 6;
        let more = if length > 0 { 0x40 } else { 0 };
        text.push((low | more) as char);
        if length == 0 {
            break;
        }
    }
    text.push_str(part);
}

fn take_part<'a>(rest: &mut &'a str) -> &'a str {
    let mut length = 0usize;
    let mut used = 0usize;
    for byte in rest.bytes() {
        length |= usize::from(byte & 0x3f) << (6 * used);
        used += 1;
        if byte & 0x40 == 0 {
            break;
        }
    }
    let (part, after) = rest[used..].split_at(length);
    *rest = after;
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_put_together_from_encoded_pairs() {
        let long = "x".repeat(5000);
        let labels = Labels::from_pairs([("a", "1"), ("b", &long), ("é", "ü")]);
        let encode = |(name, value): (&str, &str)| {
            let mut out = String::new();
            Labels::encode_pair(name, value, &mut out);
            assert_eq!(Labels::decode_pair(&out), (name, value));
            out
        };
        let pairs: Vec<String> = labels.iter().map(encode).collect();
        let again = Labels::from_encoded(pairs.iter().map(String::as_str));
        assert_eq!(again, labels);
    }

    #[test]
    fn a_set_is_sorted_and_has_no_empty_values() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!(
            (labels.get("b"), labels.get("c"), labels.get("aa")),
            ("3", "", "")
        );
    }

    #[test]
    fn long_and_non_ascii_parts_survive() {
        for length in [0usize, 1, 63, 64, 65, 4095, 4096, 70_000] {
            let value = "ü".repeat(length);
            let labels = Labels::from_pairs([("näme", value.as_str()), ("z", "1")]);
            assert_eq!(labels.get("näme"), value);
            assert_eq!(labels.get("z"), "1");
        }
    }

    #[test]
    fn order_is_by_pair_and_not_by_encoded_bytes() {
        let short = Labels::from_pairs([("a", "b")]);
        let long = Labels::from_pairs([("a", "aa")]);
        assert!(
            long < short,
            "value \"aa\" sorts before \"b\" though its length byte is larger"
        );
        assert!(short < Labels::from_pairs([("a", "b"), ("c", "d")]));
    }

    #[test]
    fn quoting_follows_go() {
        let labels = Labels::from_pairs([("a.b", "q\"\\\n\u{1}é")]);
        assert_eq!(labels.to_string(), "{\"a.b\"=\"q\\\"\\\\\\n\\x01é\"}");
    }

    #[test]
    fn without_drops_by_name() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(
            labels.without(|n| n == "b").to_string(),
            r#"{a="1", c="3"}"#
        );
    }
}

//! From matchers to a set of series, the same way for the head and for blocks.

use barograph_model::{MatchOp, Matcher};

/// What selecting needs of an index.
pub(crate) trait Index {
    /// A set of series.
    type Set;
    /// Why the index cannot be read.
    type Error;

    /// Every series.
    fn everything(&self) -> Result<Self::Set, Self::Error>;
    /// How many series have the pair.
    fn count(&self, name: &str, value: &str) -> Result<u64, Self::Error>;
    /// Series with the pair.
    fn with_pair(&self, name: &str, value: &str) -> Result<Self::Set, Self::Error>;
    /// Keeps in `set` the series with the pair.
    fn keep_pair(&self, set: &mut Self::Set, name: &str, value: &str) -> Result<(), Self::Error>;
    /// Series whose value of the label begins with `prefix` and fits.
    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        fits: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Self::Set, Self::Error>;
    /// Keeps in `set` what is in `other`.
    fn intersect(set: &mut Self::Set, other: &Self::Set);
    /// Takes from `set` what is in `other`.
    fn subtract(set: &mut Self::Set, other: &Self::Set);
    /// Whether the set is empty.
    fn is_empty(set: &Self::Set) -> bool;
}

/// The first number in `range` whose value is not less than `least`; values ascend with the numbers.
pub(crate) fn first_from<'a, E>(
    range: std::ops::Range<usize>,
    least: &str,
    value: impl Fn(usize) -> Result<&'a str, E>,
) -> Result<usize, E> {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low.midpoint(high);
        if value(middle)? < least {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The series that fit every matcher.
///
/// Exact matches go first, rarest first; then patterns; conditions that hold for absent labels
/// take away the series that break them.
pub(crate) fn select<I: Index>(index: &I, matchers: &[Matcher]) -> Result<I::Set, I::Error> {
    let mut exact = Vec::new();
    for matcher in matchers {
        if let Some(value) = exact_value(matcher) {
            exact.push((index.count(matcher.name(), value)?, (matcher.name(), value)));
        }
    }
    exact.sort_by_key(|(count, _)| *count);
    let mut set: Option<I::Set> = None;
    for (_, (name, value)) in exact {
        match &mut set {
            None => set = Some(index.with_pair(name, value)?),
            Some(set) => index.keep_pair(set, name, value)?,
        }
        if set.as_ref().is_some_and(I::is_empty) {
            break;
        }
    }
    let rest = matchers.iter().filter(|m| exact_value(m).is_none());
    for matcher in rest.clone().filter(|m| !m.matches_empty()) {
        if set.as_ref().is_some_and(I::is_empty) {
            break;
        }
        let found = matching(index, matcher)?;
        match &mut set {
            None => set = Some(found),
            Some(set) => I::intersect(set, &found),
        }
    }
    let mut set = match set {
        Some(set) => set,
        None => index.everything()?,
    };
    for matcher in rest.filter(|m| m.matches_empty()) {
        if I::is_empty(&set) {
            break;
        }
        let excluded = breaking(index, matcher)?;
        I::subtract(&mut set, &excluded);
    }
    Ok(set)
}

/// The only value that fits, where it is one and not the empty one.
fn exact_value(matcher: &Matcher) -> Option<&str> {
    let value = match matcher.op() {
        MatchOp::Equal => matcher.value(),
        MatchOp::Regex => match matcher.pattern()?.literals()? {
            [only] => only,
            _ => return None,
        },
        MatchOp::NotEqual | MatchOp::NotRegex => return None,
    };
    (!value.is_empty()).then_some(value)
}

/// Series that have the label and fit.
fn matching<I: Index>(index: &I, matcher: &Matcher) -> Result<I::Set, I::Error> {
    let prefix = match matcher.op() {
        MatchOp::Regex => literal_prefix(matcher.value()),
        _ => "",
    };
    index.with_values(matcher.name(), prefix, &mut |value| matcher.matches(value))
}

/// Series that have the label and do not fit.
fn breaking<I: Index>(index: &I, matcher: &Matcher) -> Result<I::Set, I::Error> {
    if matcher.op() == MatchOp::NotEqual {
        return index.with_pair(matcher.name(), matcher.value());
    }
    let prefix = match matcher.op() {
        MatchOp::NotRegex => literal_prefix(matcher.value()),
        _ => "",
    };
    index.with_values(matcher.name(), prefix, &mut |value| !matcher.matches(value))
}

/// Plain text that every match of the pattern begins with; may be shorter than it could be.
pub(crate) fn literal_prefix(pattern: &str) -> &str {
    // An alternative may begin otherwise.
    if pattern.contains('|') {
        return "";
    }
    let plain = |ch: char| ch.is_alphanumeric() || matches!(ch, '_' | '-' | ':' | '/' | ' ');
    let end = pattern.find(|ch| !plain(ch)).unwrap_or(pattern.len());
    let prefix = &pattern[..end];
    if pattern[end..].starts_with(['*', '?', '{', '+']) {
        // The last character repeats, or may be absent.
        let last = prefix.char_indices().last().map_or(0, |(at, _)| at);
        return &prefix[..last];
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_never_too_long() {
        for (pattern, want) in [
            ("abc.*", "abc"),
            ("abc*", "ab"),
            ("abc?d", "ab"),
            ("abc{0,3}", "ab"),
            ("ab|cd", ""),
            ("a(b|c)", ""),
            ("(?i)abc", ""),
            ("a.c", "a"),
            ("a\\.c", "a"),
            ("", ""),
            ("é*", ""),
        ] {
            assert_eq!(literal_prefix(pattern), want, "{pattern}");
        }
    }
}

//! From matchers to a set of series, the same way for the head and for blocks.

use barograph_model::pattern::{Pattern, Scan, Scanned};
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
    /// Series that have the label with a value that is asked for.
    fn with_values(&self, name: &str, values: Values<'_>) -> Result<Self::Set, Self::Error>;
    /// Adds to `set` the series with the pair.
    fn add_pair(&self, set: &mut Self::Set, name: &str, value: &str) -> Result<(), Self::Error>;
    /// Keeps in `set` what is in `other`.
    fn intersect(set: &mut Self::Set, other: &Self::Set);
    /// Takes from `set` what is in `other`.
    fn subtract(set: &mut Self::Set, other: &Self::Set);
    /// Whether the set is empty.
    fn is_empty(set: &Self::Set) -> bool;
}

/// Values of a label that are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    /// Any value, where it is none.
    pub(crate) pattern: Option<&'a Pattern>,
    /// Whether the values that match the pattern are asked for, or the others.
    pub(crate) matching: bool,
}

impl<'a> Values<'a> {
    /// What all of them begin with.
    pub(crate) fn prefix(&self) -> &'a str {
        match self.pattern {
            Some(pattern) if self.matching => pattern.prefix(),
            _ => "",
        }
    }

    /// Whether a value is asked for.
    pub(crate) fn fits(&self, value: &str) -> bool {
        self.pattern
            .is_none_or(|pattern| pattern.is_match(value) == self.matching)
    }

    /// For values in ascending order.
    pub(crate) fn ascending(self) -> Ascending<'a> {
        Ascending {
            values: self,
            scan: self.pattern.and_then(Pattern::scan),
        }
    }
}

/// Judges values in ascending order.
pub(crate) struct Ascending<'a> {
    values: Values<'a>,
    scan: Option<Scan>,
}

/// Whether a value is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Fits,
    Not,
    /// It does not fit, and nothing does that begins with so many bytes of it.
    NoneWith(usize),
}

impl Ascending<'_> {
    pub(crate) fn judge(&mut self, value: &str) -> Judged {
        let scanned = self.scan.as_mut().and_then(|scan| scan.next(value));
        let fits = match scanned {
            Some(Scanned::NoneWith(length)) if self.values.matching => {
                return Judged::NoneWith(length);
            }
            Some(scanned) => (scanned == Scanned::Match) == self.values.matching,
            None => self.values.fits(value),
        };
        if fits { Judged::Fits } else { Judged::Not }
    }
}

/// The first number of `range` whose value does not begin with `prefix`, which the value before the
/// range does. Nearby ones are found in few steps.
pub(crate) fn first_without<E>(
    range: std::ops::Range<usize>,
    prefix: &[u8],
    has: impl Fn(usize, &[u8]) -> Result<bool, E>,
) -> Result<usize, E> {
    let (mut low, mut step) = (range.start, 1);
    while low < range.end && has((low + step - 1).min(range.end - 1), prefix)? {
        low = (low + step).min(range.end);
        step *= 2;
    }
    let mut high = (low + step - 1).min(range.end);
    while low < high {
        let middle = low.midpoint(high);
        if has(middle, prefix)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
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
    let pattern = matcher.pattern();
    let matching = matcher.op() == MatchOp::Regex;
    if matching && let Some(literals) = pattern.and_then(Pattern::literals) {
        return with_literals(index, matcher.name(), literals);
    }
    // Without a pattern: not the empty value.
    index.with_values(matcher.name(), Values { pattern, matching })
}

/// Series that have the label and do not fit.
fn breaking<I: Index>(index: &I, matcher: &Matcher) -> Result<I::Set, I::Error> {
    if matcher.op() == MatchOp::NotEqual {
        return index.with_pair(matcher.name(), matcher.value());
    }
    let pattern = matcher.pattern();
    let matching = matcher.op() == MatchOp::NotRegex;
    if matching && let Some(literals) = pattern.and_then(Pattern::literals) {
        return with_literals(index, matcher.name(), literals);
    }
    index.with_values(matcher.name(), Values { pattern, matching })
}

/// Series with one of the values.
fn with_literals<I: Index>(index: &I, name: &str, values: &[String]) -> Result<I::Set, I::Error> {
    let mut values = values.iter().filter(|value| !value.is_empty());
    // No series has a label with the empty value.
    let mut set = index.with_pair(name, values.next().map_or("", |value| value))?;
    for value in values {
        index.add_pair(&mut set, name, value)?;
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_judged_the_same_in_order_and_alone() {
        let values = ["a", "ab", "abc", "b", "host-1", "host-12", "host-2", "zz"];
        for text in ["a.*", "host-[12]+", ".*1", "[^h].*", "x.*"] {
            let pattern = Pattern::new(text).expect("valid");
            for matching in [true, false] {
                let asked = Values {
                    pattern: Some(&pattern),
                    matching,
                };
                let mut ascending = asked.ascending();
                for value in values {
                    let fits = ascending.judge(value) == Judged::Fits;
                    assert_eq!(fits, asked.fits(value), "{text} {value}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_has_a_prefix_is_passed_over(with in 0usize..40, without in 0usize..40, from in 0usize..40) {
            let from = from.min(with);
            let has = |at: usize, _: &[u8]| Ok::<_, ()>(at < with);
            prop_assert_eq!(first_without(from..with + without, b"", has), Ok(with));
        }
    }
}

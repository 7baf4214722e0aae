//! What is encoded, a plain parser reads back to the same samples, in both formats.

use std::collections::{BTreeMap, BTreeSet};

use barograph_instrument::{Buckets, Format, Registry, labels};
use proptest::prelude::*;

labels! {
    struct Pair<'a> { first: &'a str, second: &'a str }
}

/// Name and labels of a series, in order of the labels' names, without those that are empty.
type Series = (String, Vec<(String, String)>);

/// Reads a page by the grammar of its format and checks what the format asks of families: each
/// once, together, TYPE before samples, names that fit the type. Panics with the line at fault.
fn read(format: Format, page: &str) -> BTreeMap<Series, f64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family = (String::new(), String::new());
    let mut lines = page.lines().peekable();
    assert!(
        page.is_empty() || page.ends_with('\n'),
        "the last line is not ended"
    );
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert!(
                format == Format::OpenMetrics1 && lines.peek().is_none(),
                "an end inside"
            );
            return samples;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            unescape(help, format == Format::OpenMetrics1);
            let next = lines.next().expect("a TYPE after HELP");
            let rest = next
                .strip_prefix("# TYPE ")
                .unwrap_or_else(|| panic!("{next:?}"));
            let (type_name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(type_name, name);
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        let (series, value) = read_sample(line);
        let suffixes: &[&str] = match (family.1.as_str(), format) {
            ("counter", Format::OpenMetrics1) => &["_total"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(
            suffixes
                .iter()
                .any(|suffix| series.0 == format!("{}{suffix}", family.0)),
            "{line:?} does not belong to {family:?}"
        );
        assert!(
            samples.insert(series, value).is_none(),
            "{line:?} comes twice"
        );
    }
    assert_eq!(format, Format::Text004, "no end");
    samples
}

fn read_sample(line: &str) -> (Series, f64) {
    let is_name = |ch: char| ch.is_ascii_alphanumeric() || ch == '_' || ch == ':';
    let end = line
        .find(|ch| !is_name(ch))
        .expect("something after the name");
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(!label.is_empty() && label.chars().all(is_name), "{line:?}");
            let mut escaped = false;
            let close = after
                .find(|ch| {
                    let closes = ch == '"' && !escaped;
                    escaped = ch == '\\' && !escaped;
                    closes
                })
                .expect("a closing quote");
            let value = unescape(&after[..close], true);
            if !value.is_empty() {
                labels.push((label.to_owned(), value));
            }
            rest = &after[close + 1..];
            if let Some(next) = rest.strip_prefix(',') {
                rest = next;
            } else {
                rest = rest.strip_prefix('}').expect("a closing brace");
                break;
            }
        }
    }
    labels.sort();
    let value = rest.strip_prefix(' ').expect("a blank before the value");
    (
        (name.to_owned(), labels),
        value.parse().unwrap_or_else(|_| panic!("{line:?}")),
    )
}

fn unescape(text: &str, with_quotes: bool) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        plain.push(match ch {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('\\') => '\\',
                Some('"') if with_quotes => '"',
                other => panic!("\\{other:?} in {text:?}"),
            },
            '"' if with_quotes => panic!("a bare quote in {text:?}"),
            ch => ch,
        });
    }
    plain
}

fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    let mut labels: Vec<_> = labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    labels.sort();
    (name.to_owned(), labels)
}

fn same(have: &BTreeMap<Series, f64>, want: &BTreeMap<Series, f64>) {
    let bits = |samples: &BTreeMap<Series, f64>| -> BTreeMap<Series, u64> {
        let bits = |value: &f64| if value.is_nan() { 1 } else { value.to_bits() };
        samples
            .iter()
            .map(|(series, value)| (series.clone(), bits(value)))
            .collect()
    };
    assert_eq!(bits(have), bits(want));
}

/// Text as bad as it comes: quotes, backslashes, line ends, controls, other scripts, nothing.
fn nasty() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,2}",
        "[\\\\\"\n,={}# ]{0,4}",
        proptest::collection::vec(any::<char>(), 0..6)
            .prop_map(|chars| chars.into_iter().collect()),
    ]
}

/// How many cases: what `PROPTEST_CASES` says, else `usual`.
fn cases(usual: u32) -> u32 {
    match std::env::var("PROPTEST_CASES") {
        Ok(text) => text.parse().expect("PROPTEST_CASES is a number"),
        Err(_) => usual,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(200), ..ProptestConfig::default() })]

    #[test]
    fn gauges_and_counters(
        help in nasty(),
        gauges in proptest::collection::vec((nasty(), nasty(), any::<f64>()), 0..8),
        counts in proptest::collection::vec((nasty(), nasty(), 0u64..1 << 52, 0.0..1e9f64), 0..8),
    ) {
        let registry = Registry::new();
        let gauge = registry.gauge_family::<Pair<'_>>("level", &help);
        let counter = registry.counter_family::<Pair<'_>>("events_total", &help);
        let mut want = BTreeMap::new();
        for (first, second, value) in &gauges {
            gauge.with(&Pair { first, second }).set(*value);
            want.insert(series("level", &[("first", first), ("second", second)]), *value);
        }
        let mut totals = BTreeMap::<_, (u64, f64)>::new();
        for (first, second, whole, fraction) in &counts {
            let one = counter.with(&Pair { first, second });
            one.inc_by(*whole);
            one.add(*fraction);
            let total = totals.entry((first, second)).or_default();
            // As the counter keeps them: whole numbers apart from fractions.
            total.0 += whole;
            if fraction.fract() == 0.0 { total.0 += *fraction as u64 } else { total.1 += fraction }
        }
        for ((first, second), (whole, fraction)) in totals {
            let labels = [("first", first.as_str()), ("second", second.as_str())];
            want.insert(series("events_total", &labels), whole as f64 + fraction);
        }
        for format in [Format::Text004, Format::OpenMetrics1] {
            let mut page = String::new();
            registry.encode(format, &mut page);
            same(&read(format, &page), &want);
        }
    }

    #[test]
    fn histograms(
        bounds in proptest::collection::vec(prop_oneof![-10.0..10.0f64, any::<f64>()], 0..20),
        observed in proptest::collection::vec(prop_oneof![
            -12.0..12.0f64, Just(f64::INFINITY), Just(f64::NAN)], 0..50),
        label in nasty(),
    ) {
        let buckets = Buckets::new(bounds);
        let registry = Registry::new();
        let family =
            registry.histogram_family::<Pair<'_>>("time_seconds", "Time.", buckets.clone());
        let histogram = family.with(&Pair { first: &label, second: "x" });
        let mut sum = 0.0;
        for value in &observed {
            histogram.observe(*value);
            sum += value;
        }
        for format in [Format::Text004, Format::OpenMetrics1] {
            let mut page = String::new();
            registry.encode(format, &mut page);
            let have: BTreeMap<Series, f64> = read(format, &page)
                .into_iter()
                .map(|((name, labels), value)| {
                    // Bounds by value: the formats write them differently.
                    let labels = labels.into_iter().map(|(name, text)| match name.as_str() {
                        "le" => (name, text.parse::<f64>().expect("a bound").to_string()),
                        _ => (name, text),
                    });
                    ((name, labels.collect()), value)
                })
                .collect();
            let own = [("first", label.as_str()), ("second", "x")];
            let mut want = BTreeMap::from([
                (series("time_seconds_sum", &own), sum),
                (series("time_seconds_count", &own), observed.len() as f64),
            ]);
            for bound in buckets.bounds().iter().chain([&f64::INFINITY]) {
                let below = observed.iter().filter(|value| **value <= *bound).count();
                let count = if bound.is_infinite() { observed.len() } else { below };
                let le = bound.to_string();
                let labels = [own[0], ("le", le.as_str()), own[1]];
                want.insert(series("time_seconds_bucket", &labels), count as f64);
            }
            same(&have, &want);
        }
    }
}

#[test]
fn the_parser_of_this_test_refuses_what_is_wrong() {
    let refused = |format, page: &str| {
        let page = page.to_owned();
        std::panic::catch_unwind(move || read(format, &page)).is_err()
    };
    let head = "# HELP a h\n# TYPE a gauge\n";
    for bad in [
        "a 1",
        "b 1\n",
        "a{x=\"\"\"} 1\n",
        "a{x=\"\\q\"} 1\n",
        "a  1\n",
        "a 1\na 2\n",
        "a x\n",
    ] {
        assert!(refused(Format::Text004, &format!("{head}{bad}")), "{bad:?}");
    }
    assert!(
        refused(Format::OpenMetrics1, &format!("{head}a 1\n")),
        "no end"
    );
    assert!(!refused(
        Format::OpenMetrics1,
        &format!("{head}a 1\n# EOF\n")
    ));
}

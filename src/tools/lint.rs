//! `barograph check metrics`: what an exposition text could do better, and how large it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::process::ExitCode;

use barograph_model::{Labels, METRIC_NAME, MetricKind};
use barograph_scraper::{TextLine, read_text};

/// Exit code where something could be better but nothing is wrong.
pub(crate) const LINT_CODE: u8 = 3;
/// Longest text read, bytes.
const TEXT_LIMIT_BYTES: u64 = 1 << 30;

/// What to do with the text on standard input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricsCheck {
    /// Say what could be better.
    pub(crate) lint: bool,
    /// Say how many series each family has.
    pub(crate) extended: bool,
}

/// Reads standard input: success where nothing could be better.
pub(crate) fn run(check: MetricsCheck) -> ExitCode {
    if !check.lint && !check.extended {
        complain!("barograph: nothing to check: drop --lint=none, or add --extended");
        return ExitCode::FAILURE;
    }
    let mut text = Vec::new();
    let read = std::io::stdin()
        .take(TEXT_LIMIT_BYTES + 1)
        .read_to_end(&mut text);
    let families = match read {
        Err(error) => Err(format!("standard input cannot be read: {error}")),
        Ok(length) if length as u64 > TEXT_LIMIT_BYTES => Err(format!(
            "standard input is longer than {TEXT_LIMIT_BYTES} bytes"
        )),
        Ok(_) => Families::read(&text),
    };
    let families = match families {
        Ok(families) => families,
        Err(error) => {
            complain!("barograph: {error}");
            return ExitCode::FAILURE;
        }
    };
    let problems = if check.lint {
        families.problems()
    } else {
        Vec::new()
    };
    for (name, problem) in &problems {
        complain!("{name} {problem}");
    }
    if check.extended {
        say!("{}", families.sizes());
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(LINT_CODE)
    }
}

/// A family of metrics.
#[derive(Debug, Default)]
struct Family {
    kind: MetricKind,
    has_help: bool,
    /// Label sets of its metrics, without bounds of buckets and quantiles, each with how many
    /// series it has.
    metrics: BTreeMap<Labels, usize>,
    /// The same label set twice.
    repeated: bool,
    series: BTreeSet<Labels>,
}

struct Families(BTreeMap<String, Family>);

impl Families {
    fn read(text: &[u8]) -> Result<Self, String> {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        read_text(text, |line| match line {
            TextLine::Kind(name, kind) => families.entry(name.to_owned()).or_default().kind = kind,
            TextLine::Help(name) => families.entry(name.to_owned()).or_default().has_help = true,
            TextLine::Sample(labels) => {
                let name = family_of(labels.metric_name(), &families).to_owned();
                families.entry(name).or_default().add(labels);
            }
        })?;
        // Families without samples are none.
        families.retain(|_, family| !family.metrics.is_empty());
        Ok(Self(families))
    }

    /// Names of families, and what each could do better, in their order.
    fn problems(&self) -> Vec<(&str, String)> {
        let mut problems: Vec<(&str, String)> = Vec::new();
        for (name, family) in &self.0 {
            problems.extend(
                family
                    .problems(name)
                    .into_iter()
                    .map(|text| (name.as_str(), text)),
            );
        }
        problems.sort();
        problems
    }

    fn sizes(&self) -> String {
        let mut rows: Vec<(&str, usize)> = self
            .0
            .iter()
            .map(|(name, family)| (name.as_str(), family.series.len()))
            .collect();
        rows.sort_by_key(|(_, series)| std::cmp::Reverse(*series));
        let total: usize = rows.iter().map(|(_, series)| series).sum();
        let width = rows
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0)
            .max(6);
        let mut out = format!("{:width$}    Cardinality    Percentage\n", "Metric");
        for (name, series) in rows {
            let share = series as f64 / total.max(1) as f64 * 100.0;
            let _ = writeln!(out, "{name:width$}    {series:<11}    {share:.2}%");
        }
        let _ = writeln!(out, "{:width$}    {total:<11}    100%", "Total");
        out
    }
}

/// The family of a series: histograms and summaries have several names.
fn family_of<'a>(name: &'a str, families: &BTreeMap<String, Family>) -> &'a str {
    for (suffix, kinds) in [
        ("_bucket", &[MetricKind::Histogram][..]),
        ("_sum", &[MetricKind::Histogram, MetricKind::Summary]),
        ("_count", &[MetricKind::Histogram, MetricKind::Summary]),
    ] {
        if let Some(base) = name.strip_suffix(suffix)
            && families
                .get(base)
                .is_some_and(|family| kinds.contains(&family.kind))
        {
            return base;
        }
    }
    name
}

impl Family {
    fn add(&mut self, labels: &Labels) {
        let inner = match self.kind {
            MetricKind::Histogram => "le",
            MetricKind::Summary => "quantile",
            _ => "",
        };
        self.repeated |= !self.series.insert(labels.clone());
        let metric = labels.without(|name| name == METRIC_NAME || name == inner);
        *self.metrics.entry(metric).or_default() += 1;
    }

    /// What is said of metrics in Prometheus's documentation of naming, in the words of promtool.
    fn problems(&self, name: &str) -> Vec<String> {
        let mut problems: Vec<String> = Vec::new();
        let mut say = |text: &str| problems.push(text.to_owned());
        if !self.has_help {
            say("no help text");
        }
        if let Some((unit, base)) = unit_of(name)
            && unit != base
        {
            say(&format!("use base unit \"{base}\" instead of \"{unit}\""));
        }
        let is = |kind: MetricKind| self.kind == kind;
        let typed = !is(MetricKind::Unknown);
        let is_total = name.ends_with("_total");
        if is(MetricKind::Counter) && !is_total {
            say("counter metrics should have \"_total\" suffix");
        } else if typed && !is(MetricKind::Counter) && is_total {
            say("non-counter metrics should not have \"_total\" suffix");
        }
        let lower = name.to_lowercase();
        let has_word = |word: &str| {
            lower.contains(&format!("_{word}_")) || lower.ends_with(&format!("_{word}"))
        };
        let kind = self.kind.as_str();
        if typed && has_word(kind) {
            say(&format!("metric name should not include type '{kind}'"));
        }
        if name.contains(':') {
            say("metric names should not contain ':'");
        }
        if is_camel_case(name) {
            say("metric names should be written in 'snake_case' not 'camelCase'");
        }
        for _ in ABBREVIATIONS.iter().filter(|unit| has_word(unit)) {
            say("metric names should not contain abbreviated units");
        }
        if self.repeated {
            say("metric not unique");
        }
        let (histogram, summary) = (is(MetricKind::Histogram), is(MetricKind::Summary));
        if typed && !histogram && name.ends_with("_bucket") {
            say("non-histogram metrics should not have \"_bucket\" suffix");
        }
        for suffix in ["_count", "_sum"] {
            if typed && !histogram && !summary && name.ends_with(suffix) {
                say(&format!(
                    "non-histogram and non-summary metrics should not have \"{suffix}\" suffix"
                ));
            }
        }
        for labels in self.metrics.keys() {
            for (label, _) in labels {
                if is_camel_case(label) {
                    say("label names should be written in 'snake_case' not 'camelCase'");
                }
                if typed && !histogram && label == "le" {
                    say("non-histogram metrics should not have \"le\" label");
                }
                if typed && !summary && label == "quantile" {
                    say("non-summary metrics should not have \"quantile\" label");
                }
            }
        }
        problems
    }
}

fn is_camel_case(name: &str) -> bool {
    let pairs = name.as_bytes().windows(2);
    pairs
        .into_iter()
        .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

/// Units that are better written out.
const ABBREVIATIONS: [&str; 14] = [
    "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d",
];

/// The first unit in a metric's name, and the base unit to use instead.
fn unit_of(name: &str) -> Option<(&str, &'static str)> {
    const BASES: [(&str, &[&str]); 11] = [
        ("amperes", &["amperes"]),
        ("bytes", &["bytes", "bits"]),
        ("celsius", &["celsius", "fahrenheit", "rankine"]),
        ("grams", &["grams", "pounds", "ounces"]),
        ("joules", &["joules", "calories"]),
        ("kelvin", &["kelvin", "kelvins"]),
        ("meters", &["meters", "inches", "yards", "miles"]),
        ("metres", &["metres"]),
        ("seconds", &["seconds", "minutes", "hours", "days", "weeks"]),
        ("volts", &["volts"]),
        // Nothing else has a base.
        ("", &[]),
    ];
    const PREFIXES: [&str; 18] = [
        "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega",
        "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
    ];
    let base_of = |unit: &str| {
        let mut bases = BASES.iter().filter(|(_, units)| units.contains(&unit));
        bases.next().map(|(base, _)| *base)
    };
    name.split('_').find_map(|word| {
        let bare = || {
            PREFIXES
                .iter()
                .filter_map(|prefix| word.strip_prefix(prefix))
        };
        let base = base_of(word).or_else(|| bare().find_map(base_of))?;
        Some((word, base))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let families = Families::read(text.as_bytes()).expect("well-formed");
        let problems = families.problems().into_iter();
        problems
            .map(|(name, text)| format!("{name} {text}"))
            .collect()
    }

    #[test]
    fn names_and_kinds_are_judged() {
        let good = "# HELP a_seconds A.\n# TYPE a_seconds histogram\na_seconds_bucket{le=\"1\"} 1\n\
                    a_seconds_bucket{le=\"+Inf\"} 1\na_seconds_sum 1\na_seconds_count 1\n";
        assert_eq!(problems(good), Vec::<String>::new());
        for (text, want) in [
            ("a 1\n", "a no help text"),
            (
                "# HELP a_milliseconds A.\na_milliseconds 1\n",
                "a_milliseconds use base unit \"seconds\" instead of \"milliseconds\"",
            ),
            (
                "# HELP a A.\n# TYPE a counter\na 1\n",
                "a counter metrics should have \"_total\" suffix",
            ),
            (
                "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
                "a_total non-counter metrics should not have \"_total\" suffix",
            ),
            (
                "# HELP a A.\na{fooBar=\"1\"} 1\n",
                "a label names should be written in 'snake_case' not 'camelCase'",
            ),
            (
                "# HELP a_ms A.\na_ms 1\n",
                "a_ms metric names should not contain abbreviated units",
            ),
        ] {
            assert_eq!(problems(text), [want], "{text}");
        }
    }

    #[test]
    fn series_are_counted_by_family() {
        let text = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\nup 1\n";
        let families = Families::read(text.as_bytes()).expect("well-formed");
        assert_eq!(
            families.sizes(),
            "Metric    Cardinality    Percentage\n\
             h         3              75.00%\n\
             up        1              25.00%\n\
             Total     4              100%\n"
        );
        assert!(Families::read(b"a{ 1\n").is_err());
    }
}

//! `barograph test rules`: unit tests of rules, as promtool runs them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use barograph_alerting::{
    AlertState, KnownFields, RuleBench, RuleGroup, RuleKind, RuleManagerOptions,
};
use barograph_instrument::Registry;
use barograph_model::duration::format_duration_ms;
use barograph_model::{Clock, Labels, LabelsBuilder, Pattern, SystemClock};
use barograph_query::script::{Feed, parse_histogram, parse_labels};
use barograph_query::{Engine, EngineOptions, QueryOptions, Value, parse_with};
use barograph_tsdb::Db;

use super::junit::{self, Case, Suite};
use super::test_file::{AlertTest, DurationMs, ExpectedAlert, ExprTest, TestFile, TestGroup};
use crate::config::{RuleReading, glob_files, read_rules};

/// Milliseconds between evaluations where a file does not say.
const DEFAULT_INTERVAL_MS: i64 = 60_000;

/// What to test, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct RulesTest {
    /// Files of tests.
    pub(crate) files: Vec<PathBuf>,
    /// Only tests whose name one of these patterns finds something in.
    pub(crate) run: Vec<Pattern>,
    /// Show what differs instead of both.
    pub(crate) diff: bool,
    /// Say how long each test took.
    pub(crate) debug: bool,
    /// Write results here as JUnit XML.
    pub(crate) junit: Option<PathBuf>,
    /// How rule files are read, and whether fields of tests that nobody knows are passed over.
    pub(crate) reading: RuleReading,
    /// Names are dropped when a query ends.
    pub(crate) delayed_name_removal: bool,
}

/// Runs the tests: success where all pass.
pub(crate) fn run(test: &RulesTest) -> ExitCode {
    let mut suites = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for file in &test.files {
        let (suite, faults) = run_file(test, file);
        suites.push(suite);
        if faults.is_empty() {
            say_line!("  SUCCESS");
        } else {
            complain!("  FAILED:");
            for fault in &faults {
                complain!("{fault}");
                say_line!();
            }
            code = ExitCode::FAILURE;
        }
        say_line!();
    }
    if let Some(path) = &test.junit
        && let Err(error) = std::fs::write(path, junit::document(&suites))
    {
        complain!("{}: cannot write the results: {error}", path.display());
        return ExitCode::FAILURE;
    }
    code
}

/// The results of a file, and everything that went wrong, in order.
fn run_file(test: &RulesTest, path: &Path) -> (Suite, Vec<String>) {
    let mut suite = Suite {
        name: path.display().to_string(),
        timestamp: crate::api::rfc3339(SystemClock.now_ms() / 1000 * 1000)
            .trim_end_matches('Z')
            .to_owned(),
        ..Suite::default()
    };
    let (file, rule_files) = match read(path, test.reading.known_fields) {
        Ok(read) => read,
        Err(error) => {
            suite.error = Some(error.clone());
            return (suite, vec![error]);
        }
    };
    let interval_ms = match file.evaluation_interval {
        DurationMs(0) => DEFAULT_INTERVAL_MS,
        DurationMs(interval_ms) => interval_ms,
    };
    let mut faults = Vec::new();
    for (index, group) in file.tests.iter().enumerate() {
        if !test.run.is_empty() && !test.run.iter().any(|p| p.is_match(&group.name)) {
            continue;
        }
        let name = match group.name.as_str() {
            "" => format!("unnamed#{index}"),
            name => name.to_owned(),
        };
        let began = Instant::now();
        let job = Job {
            test,
            file: &file,
            rule_files: &rule_files,
            group,
            interval_ms,
            start_ms: group.start_timestamp.0,
        };
        let failures = job.run().unwrap_or_else(|error| vec![error]);
        if test.debug {
            complain!("DEBUG: test {name} took {:?}", began.elapsed());
        }
        faults.extend(failures.iter().cloned());
        suite.cases.push(Case { name, failures });
    }
    (suite, faults)
}

/// A file of tests, and the rule files it names.
fn read(path: &Path, lenient: bool) -> Result<(TestFile, Vec<PathBuf>), String> {
    let place = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| place(&error))?;
    let file = if lenient {
        serde_saphyr::from_str(&text).map(|KnownFields(file)| file)
    } else {
        serde_saphyr::from_str(&text)
    };
    let mut file: TestFile = file.map_err(|error| place(&error))?;
    let mut seen = BTreeSet::new();
    for name in &file.group_eval_order {
        if !seen.insert(name) {
            return Err(format!("group name repeated in evaluation order: {name}"));
        }
    }
    let base = path.parent().unwrap_or(Path::new(""));
    let mut rule_files = Vec::new();
    for pattern in std::mem::take(&mut file.rule_files) {
        let pattern = base.join(pattern);
        let found = glob_files(&pattern);
        if found.is_empty() {
            complain!("  WARNING: no file match pattern {}", pattern.display());
        }
        rule_files.extend(found);
    }
    Ok((file, rule_files))
}

/// One group of tests.
struct Job<'a> {
    test: &'a RulesTest,
    file: &'a TestFile,
    rule_files: &'a [PathBuf],
    group: &'a TestGroup,
    interval_ms: i64,
    start_ms: i64,
}

impl Job<'_> {
    /// What failed; an error where the tests cannot be run at all.
    fn run(&self) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir()
            .map_err(|error| format!("cannot make a directory for samples: {error}"))?;
        let mut options = barograph_tsdb::Options::new(directory.path());
        options.retention_ms = 0;
        let db = Db::open(options, &Registry::new()).map_err(|error| error.to_string())?;
        let result = self.run_on(&db);
        let closed = db.close();
        closed.map_err(|error| format!("cannot close the store of the test: {error}"))?;
        result
    }

    fn run_on(&self, db: &Db) -> Result<Vec<String>, String> {
        let step_ms = match self.group.interval {
            DurationMs(0) => self.interval_ms,
            DurationMs(step_ms) => step_ms,
        };
        let mut feed = Feed::new(db, self.start_ms, step_ms);
        for series in &self.group.input_series {
            feed.add(db, &series.series, &series.values.0)
                .map_err(|error| error.to_string())?;
        }
        let engine = Engine::new(
            EngineOptions {
                default_step_ms: self.interval_ms,
                delayed_name_removal: self.test.delayed_name_removal,
                timeout: Duration::from_secs(100),
                ..EngineOptions::default()
            },
            &Registry::new(),
        );
        let options = RuleManagerOptions {
            default_interval_ms: step_ms,
            external_labels: labels_of(&self.group.external_labels),
            external_url: self.group.external_url.clone(),
            language: self.test.reading.language,
            ..RuleManagerOptions::default()
        };
        let bench = RuleBench::new(db.clone(), engine.clone(), options, self.rule_groups()?);
        let mut failures = Vec::new();
        let mut alert_tests: Vec<&AlertTest> = self.group.alert_rule_test.iter().collect();
        for alert in &alert_tests {
            if alert.alertname.is_empty() {
                let place = match self.group.name.as_str() {
                    "" => String::new(),
                    name => format!(" (in TestGroup {name})"),
                };
                return Err(format!(
                    "an item under alert_rule_test misses required attribute alertname at eval_time {}{place}",
                    format_duration_ms(alert.eval_time.0)
                ));
            }
        }
        alert_tests.sort_by_key(|alert| alert.eval_time);
        let mut alert_tests = alert_tests.into_iter().peekable();
        let last_ms = self.start_ms.saturating_add(self.longest_ms());
        let mut now_ms = self.start_ms;
        while now_ms <= last_ms {
            feed.run_until(db, now_ms)
                .map_err(|error| error.to_string())?;
            bench.evaluate(now_ms);
            let errors = rule_errors(&bench, now_ms);
            if !errors.is_empty() {
                failures.extend(errors);
                return Ok(failures);
            }
            let next_ms = now_ms.saturating_add(self.interval_ms);
            while let Some(alert) = alert_tests
                .next_if(|alert| self.start_ms.saturating_add(alert.eval_time.0) < next_ms)
            {
                failures.extend(self.check_alert(&bench, alert));
            }
            now_ms = next_ms;
        }
        for expression in &self.group.promql_expr_test {
            failures.extend(self.check_expression(&engine, db, expression).err());
        }
        Ok(failures)
    }

    fn longest_ms(&self) -> i64 {
        let alerts = self.group.alert_rule_test.iter().map(|t| t.eval_time.0);
        let expressions = self.group.promql_expr_test.iter().map(|t| t.eval_time.0);
        alerts.chain(expressions).max().unwrap_or(0)
    }

    /// The groups of all rule files: those the order does not name first, as promtool has it.
    fn rule_groups(&self) -> Result<Vec<(PathBuf, RuleGroup)>, String> {
        let mut groups = Vec::new();
        for path in self.rule_files {
            let file = read_rules(path, self.test.reading).map_err(|error| error.to_string())?;
            groups.extend(file.groups.into_iter().map(|group| (path.clone(), group)));
        }
        let order: HashMap<&str, usize> = self
            .file
            .group_eval_order
            .iter()
            .enumerate()
            .map(|(place, name)| (name.as_str(), place))
            .collect();
        groups.sort_by_key(|(_, group)| order.get(group.name.as_str()).copied().unwrap_or(0));
        Ok(groups)
    }

    fn check_alert(&self, bench: &RuleBench, alert: &AlertTest) -> Option<String> {
        let mut got: Vec<(Labels, Labels)> = Vec::new();
        for rule in bench.groups().into_iter().flat_map(|group| group.rules) {
            let is_alert = matches!(rule.rule.kind, RuleKind::Alerting { .. });
            if is_alert && rule.rule.name() == alert.alertname {
                let firing = rule.alerts.into_iter();
                let firing = firing.filter(|alert| alert.state == AlertState::Firing);
                got.extend(firing.map(|alert| (alert.labels, alert.annotations)));
            }
        }
        let mut want: Vec<(Labels, Labels)> = alert
            .exp_alerts
            .iter()
            .map(|expected| expected_alert(expected, &alert.alertname))
            .collect();
        got.sort();
        want.sort();
        if got == want {
            return None;
        }
        let mut text = String::new();
        if !self.group.name.is_empty() {
            let _ = writeln!(text, "    name: {},", self.group.name);
        }
        let _ = writeln!(
            text,
            "    alertname: {}, time: {}, ",
            alert.alertname,
            format_duration_ms(alert.eval_time.0)
        );
        let (want, got) = (alerts_text(&want), alerts_text(&got));
        if self.test.diff {
            text.push_str("        diff: ");
            text.push_str(&indented(&line_diff(&want, &got)));
        } else {
            let (want, got) = (indented(&want), indented(&got));
            let _ = write!(text, "        exp:{want}, \n        got:{got}");
        }
        Some(text)
    }

    /// # Errors
    /// What differs, or why the expression has no value.
    fn check_expression(&self, engine: &Engine, db: &Db, test: &ExprTest) -> Result<(), String> {
        let head = format!(
            "    expr: {:?}, time: {}",
            test.expr.0,
            format_duration_ms(test.eval_time.0)
        );
        let fail = |error: &dyn std::fmt::Display| format!("{head}, err: {error}");
        let at_ms = self.start_ms.saturating_add(test.eval_time.0);
        let expr =
            parse_with(&test.expr.0, self.test.reading.language).map_err(|error| fail(&error))?;
        let outcome = engine
            .instant(&db.snapshot(), &expr, at_ms, &QueryOptions::default())
            .map_err(|error| fail(&error))?;
        let mut got: Vec<(Labels, SampleValue)> = match outcome.value {
            Value::Vector(samples) => samples
                .into_iter()
                .map(|sample| {
                    let value = match &sample.histogram {
                        Some(histogram) => SampleValue::Histogram(histogram.test_expression()),
                        None => SampleValue::Float(sample.sample.value),
                    };
                    (sample.labels, value)
                })
                .collect(),
            Value::Scalar(sample) => {
                vec![(Labels::empty(), SampleValue::Float(sample.value))]
            }
            _ => return Err(fail(&"rule result is not a vector or scalar")),
        };
        let mut want = Vec::with_capacity(test.exp_samples.len());
        for expected in &test.exp_samples {
            let labels = match expected.labels.as_str() {
                "" => Labels::empty(),
                text => parse_labels(text)
                    .map_err(|error| fail(&format!("labels {text:?}: {error}")))?,
            };
            let value = match expected.histogram.as_str() {
                "" => SampleValue::Float(expected.value),
                text => {
                    let histogram = parse_histogram(text)
                        .map_err(|error| fail(&format!("histogram {text:?}: {error}")))?;
                    SampleValue::Histogram(histogram.test_expression())
                }
            };
            want.push((labels, value));
        }
        got.sort_by(|a, b| a.0.cmp(&b.0));
        want.sort_by(|a, b| a.0.cmp(&b.0));
        let same = got.len() == want.len()
            && got
                .iter()
                .zip(&want)
                .all(|(got, want)| got.0 == want.0 && self.same_value(&got.1, &want.1));
        if same {
            return Ok(());
        }
        if self.test.diff {
            let (want, got) = (samples_text(&want, "\n"), samples_text(&got, "\n"));
            let diff = indented(&line_diff(&want, &got));
            return Err(format!("{head},\n        diff: {diff}"));
        }
        Err(format!(
            "{head},\n        exp: {}\n        got: {}",
            samples_text(&want, ", "),
            samples_text(&got, ", ")
        ))
    }

    fn same_value(&self, a: &SampleValue, b: &SampleValue) -> bool {
        let (SampleValue::Float(a), SampleValue::Float(b)) = (a, b) else {
            return a == b;
        };
        let (a, b) = (*a, *b);
        a == b || (self.file.fuzzy_compare && (a.next_up() == b || a.next_down() == b))
    }
}

fn rule_errors(bench: &RuleBench, now_ms: i64) -> Vec<String> {
    let rules = bench.groups().into_iter().flat_map(|group| group.rules);
    rules
        .filter(|rule| !rule.last_error.is_empty())
        .map(|rule| {
            format!(
                "    rule: {}, time: {}, err: {}",
                rule.rule.name(),
                go_duration(now_ms),
                rule.last_error
            )
        })
        .collect()
}

fn labels_of(pairs: &std::collections::BTreeMap<String, super::test_file::Text>) -> Labels {
    Labels::from_pairs(pairs.iter().map(|(name, value)| (name, &value.0)))
}

fn expected_alert(expected: &ExpectedAlert, name: &str) -> (Labels, Labels) {
    let mut labels: LabelsBuilder = labels_of(&expected.exp_labels).to_builder();
    labels.set("alertname", name);
    (labels.build(), labels_of(&expected.exp_annotations))
}

fn alerts_text(alerts: &[(Labels, Labels)]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let each = alerts
        .iter()
        .enumerate()
        .map(|(index, (labels, annotations))| {
            format!("{index}:\n  Labels:{labels}\n  Annotations:{annotations}")
        });
    format!("[\n{}\n]", each.collect::<Vec<_>>().join(",\n"))
}

/// What a sample holds.
#[derive(PartialEq)]
enum SampleValue {
    Float(f64),
    /// In script notation.
    Histogram(String),
}

fn samples_text(samples: &[(Labels, SampleValue)], between: &str) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let each = samples.iter().map(|(labels, value)| match value {
        SampleValue::Float(value) => format!("{labels} {}", exponential(*value)),
        SampleValue::Histogram(text) => format!("{labels} {text}"),
    });
    each.collect::<Vec<_>>().join(between)
}

/// Lines behind the first moved in, as promtool indents.
fn indented(text: &str) -> String {
    text.replace('\n', "\n            ")
}

/// The lines of both texts, in order: those of one alone with `-` or `+` before them.
fn line_diff(want: &str, got: &str) -> String {
    let (want, got): (Vec<&str>, Vec<&str>) = (want.lines().collect(), got.lines().collect());
    // Longest common subsequence, from the end; results of tests are short.
    let mut longest = vec![vec![0usize; got.len() + 1]; want.len() + 1];
    for w in (0..want.len()).rev() {
        for g in (0..got.len()).rev() {
            longest[w][g] = if want[w] == got[g] {
                longest[w + 1][g + 1] + 1
            } else {
                longest[w + 1][g].max(longest[w][g + 1])
            };
        }
    }
    let (mut w, mut g) = (0, 0);
    let mut lines = Vec::new();
    while w < want.len() || g < got.len() {
        if w < want.len() && g < got.len() && want[w] == got[g] {
            lines.push(format!("  {}", want[w]));
            (w, g) = (w + 1, g + 1);
        } else if w < want.len() && (g == got.len() || longest[w + 1][g] >= longest[w][g + 1]) {
            lines.push(format!("- {}", want[w]));
            w += 1;
        } else {
            lines.push(format!("+ {}", got[g]));
            g += 1;
        }
    }
    format!("\n{}", lines.join("\n"))
}

/// Go's `%E` with the shortest digits: `1E+00`.
fn exponential(value: f64) -> String {
    if !value.is_finite() {
        return barograph_model::number::go_g(value);
    }
    let text = format!("{value:E}");
    let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}E{sign}{exponent:0>2}")
}

/// A duration as Go writes it: `1h5m0s`.
fn go_duration(ms: i64) -> String {
    let (seconds, rest_ms) = (ms / 1000, ms % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = format!(".{rest_ms:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_written_as_promtool_does() {
        for (value, want) in [
            (1.0, "1E+00"),
            (0.0, "0E+00"),
            (1234.5, "1.2345E+03"),
            (1e-7, "1E-07"),
        ] {
            assert_eq!(exponential(value), want);
        }
        for (ms, want) in [
            (0, "0s"),
            (300_000, "5m0s"),
            (3_600_000, "1h0m0s"),
            (1500, "1.5s"),
        ] {
            assert_eq!(go_duration(ms), want);
        }
    }

    #[test]
    fn a_diff_marks_lines_of_one_side() {
        assert_eq!(line_diff("a\nb\nc", "a\nc\nd"), "\n  a\n- b\n  c\n+ d");
    }
}

//! Rule files as Prometheus writes them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use barograph_model::duration::parse_duration_ms;
use barograph_model::labels::METRIC_NAME;
use barograph_model::{Labels, LabelsBuilder};
use barograph_query::{Expr, ParseOptions, parse_with};
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::lenient::KnownFields;
use crate::template::Template;
use crate::yaml::{self, Pairs, Position};

/// Largest rule file accepted, bytes.
pub const RULE_FILE_LIMIT_BYTES: usize = 64 << 20;
/// Most problems reported of one file.
const PROBLEM_LIMIT: usize = 100;

/// One file.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// Where it was read.
    pub path: PathBuf,
    /// Its groups, in order.
    pub groups: Vec<RuleGroup>,
}

/// Rules that are evaluated one after another, at one interval.
#[derive(Clone, Debug)]
pub struct RuleGroup {
    /// Its name, unique in the file.
    pub name: String,
    /// Milliseconds between evaluations; the global interval where absent.
    pub interval_ms: Option<i64>,
    /// How far back rules look, milliseconds; the global offset where absent.
    pub query_offset_ms: Option<i64>,
    /// Most series or alerts a rule may yield; 0 is no limit.
    pub limit: u64,
    /// Its rules, in order, with the group's labels added.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Recording or alerting.
    pub kind: RuleKind,
    /// The expression in its canonical form.
    pub expr_text: String,
    /// The expression.
    pub expr: Expr,
    /// Labels to add; templates for alerting rules. A recording rule's label with an empty value,
    /// which removes the label, is not among them but in `dropped_labels`.
    pub labels: Labels,
    /// Labels a recording rule removes from its result.
    pub dropped_labels: Vec<String>,
}

/// What a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Writes its result as a series.
    Recording {
        /// The metric name.
        record: String,
    },
    /// Fires where its expression yields something.
    Alerting {
        /// The alert's name.
        alert: String,
        /// How long it pends, milliseconds.
        for_ms: i64,
        /// How long it goes on firing, milliseconds.
        keep_firing_for_ms: i64,
        /// Annotations: templates.
        annotations: Labels,
    },
}

impl Rule {
    /// The metric or the alert's name.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Recording { record } => record,
            RuleKind::Alerting { alert, .. } => alert,
        }
    }

    /// Whether both say the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.expr_text == other.expr_text
            && self.labels == other.labels
            && self.dropped_labels == other.dropped_labels
    }
}

/// Why a rule file does not load. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFileError {
    /// The file.
    pub path: PathBuf,
    /// Where in it, if known.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for RuleFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for RuleFileError {}

impl RuleFile {
    /// Reads a rule file's text, whose expressions may use what `language` allows.
    ///
    /// # Errors
    /// The first thing that does not fit, with its position.
    pub fn parse(path: &Path, text: &str, language: ParseOptions) -> Result<Self, RuleFileError> {
        Self::parse_all(path, text, language).map_err(|mut errors| errors.swap_remove(0))
    }

    /// Reads a rule file's text and finds everything that is wrong with it.
    ///
    /// # Errors
    /// At least one error and at most a hundred, in the order of the file. Where the YAML itself or
    /// a field's name or type is wrong, that alone.
    pub fn parse_all(
        path: &Path,
        text: &str,
        language: ParseOptions,
    ) -> Result<Self, Vec<RuleFileError>> {
        Self::parse_as(path, text, language, |text| yaml::read(text))
    }

    /// The same, passing over fields that nobody knows, which others may have put there.
    ///
    /// # Errors
    /// As those of [`RuleFile::parse_all`].
    pub fn parse_known(
        path: &Path,
        text: &str,
        language: ParseOptions,
    ) -> Result<Self, Vec<RuleFileError>> {
        Self::parse_as(path, text, language, |text| {
            let read: Option<KnownFields<RawFile>> = yaml::read(text)?;
            Ok(read.map(|known| known.0))
        })
    }

    fn parse_as(
        path: &Path,
        text: &str,
        language: ParseOptions,
        read: impl Fn(&str) -> Result<Option<RawFile>, (Option<Position>, String)>,
    ) -> Result<Self, Vec<RuleFileError>> {
        let error = |position, message| RuleFileError {
            path: path.to_owned(),
            position,
            message,
        };
        if text.len() > RULE_FILE_LIMIT_BYTES {
            let message = format!("the file is larger than {RULE_FILE_LIMIT_BYTES} bytes");
            return Err(vec![error(None, message)]);
        }
        // An empty file is a file without groups.
        let raw = read(text).map_err(|(position, message)| vec![error(position, message)])?;
        let mut check = Check {
            text,
            language,
            problems: Vec::new(),
        };
        let groups = check.groups(raw.and_then(|raw| raw.groups).unwrap_or_default());
        if check.problems.is_empty() {
            let path = path.to_owned();
            return Ok(Self { path, groups });
        }
        Err(check
            .problems
            .into_iter()
            .map(|(position, message)| error(position, message))
            .collect())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    groups: Option<Vec<Spanned<RawGroup>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
    query_offset: Option<Spanned<String>>,
    limit: Option<Spanned<i64>>,
    labels: Option<Pairs<Option<Spanned<String>>>>,
    rules: Option<Vec<Spanned<RawRule>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    hold: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    labels: Option<Pairs<Option<Spanned<String>>>>,
    annotations: Option<Pairs<Option<Spanned<String>>>>,
}

struct Check<'a> {
    text: &'a str,
    language: ParseOptions,
    problems: Vec<(Option<Position>, String)>,
}

impl Check<'_> {
    fn problem(&mut self, position: Option<Position>, message: impl Into<String>) {
        if self.problems.len() < PROBLEM_LIMIT {
            self.problems.push((position, message.into()));
        }
    }

    fn groups(&mut self, raw: Vec<Spanned<RawGroup>>) -> Vec<RuleGroup> {
        let mut names = BTreeSet::new();
        let mut groups = Vec::with_capacity(raw.len());
        for spanned in raw {
            let here = yaml::position(spanned.referenced);
            let raw = spanned.value;
            let name = raw.name.as_ref().map_or("", |name| name.value.as_str());
            let name_at = raw
                .name
                .as_ref()
                .and_then(|name| yaml::position(name.referenced));
            if name.is_empty() {
                self.problem(here, "a group must have a name");
            } else if !names.insert(name.to_owned()) {
                let text = format!("the group name {name:?} is used twice in this file");
                self.problem(name_at, text);
            }
            groups.push(self.group(name.to_owned(), raw));
        }
        groups
    }

    fn group(&mut self, name: String, raw: RawGroup) -> RuleGroup {
        let context = format!("group {name:?}: ");
        let interval_ms = self.duration(raw.interval.as_ref(), &context, "interval");
        let query_offset_ms = self.duration(raw.query_offset.as_ref(), &context, "query_offset");
        let limit = raw.limit.as_ref().map_or(0, |limit| limit.value);
        if limit < 0 {
            let at = raw.limit.and_then(|limit| yaml::position(limit.referenced));
            self.problem(at, format!("{context}limit must not be negative"));
        }
        let group_labels = self.pairs(raw.labels.unwrap_or_default(), &context, Names::Labels);
        let rules = raw.rules.unwrap_or_default().into_iter().enumerate();
        let rules = rules
            .filter_map(|(index, rule)| self.rule(&name, index + 1, &group_labels, rule))
            .collect();
        RuleGroup {
            name,
            // Zero is what an absent interval is to Prometheus.
            interval_ms: interval_ms.filter(|interval_ms| *interval_ms > 0),
            query_offset_ms,
            limit: limit.unsigned_abs(),
            rules,
        }
    }

    /// `None` where the rule has problems.
    fn rule(
        &mut self,
        group: &str,
        number: usize,
        group_labels: &[(String, String)],
        spanned: Spanned<RawRule>,
    ) -> Option<Rule> {
        let problems_before = self.problems.len();
        let here = yaml::position(spanned.referenced);
        let raw = spanned.value;
        let text_of = |field: &Option<Spanned<String>>| {
            field
                .as_ref()
                .map_or(String::new(), |field| field.value.clone())
        };
        let (record, alert) = (text_of(&raw.record), text_of(&raw.alert));
        let name = if alert.is_empty() { &record } else { &alert };
        let context = format!("group {group:?}, rule {number}, {name:?}: ");
        match (record.is_empty(), alert.is_empty()) {
            (true, true) => {
                self.problem(
                    here,
                    format!("{context}one of 'record' or 'alert' must be set"),
                );
            }
            (false, false) => {
                let at = raw
                    .alert
                    .as_ref()
                    .and_then(|alert| yaml::position(alert.referenced));
                let text = format!("{context}only one of 'record' and 'alert' must be set");
                self.problem(at, text);
            }
            _ => {}
        }
        let expr = self.expression(raw.expr.as_ref(), here, &context);
        if alert.is_empty() {
            self.recording_only(&raw, &record, here, &context);
        }
        let for_ms = self
            .duration(raw.hold.as_ref(), &context, "for")
            .unwrap_or(0);
        let keep_firing_for_ms = self
            .duration(raw.keep_firing_for.as_ref(), &context, "keep_firing_for")
            .unwrap_or(0);
        let template_of = (!alert.is_empty()).then_some(alert.as_str());
        let own = raw.labels.unwrap_or_default();
        self.templates(&own, template_of, &context, "label");
        let own = self.pairs(own, &context, Names::Labels);
        let annotations = raw.annotations.unwrap_or_default();
        self.templates(&annotations, template_of, &context, "annotation");
        let annotations = self.pairs(annotations, &context, Names::Annotations);
        let expr = expr.filter(|_| self.problems.len() == problems_before)?;
        let mut labels = LabelsBuilder::new();
        let mut dropped_labels = Vec::new();
        for (name, value) in group_labels.iter().chain(&own) {
            labels.set(name, value);
            dropped_labels.retain(|dropped| dropped != name);
            if value.is_empty() {
                dropped_labels.push(name.clone());
            }
        }
        let kind = if alert.is_empty() {
            RuleKind::Recording { record }
        } else {
            RuleKind::Alerting {
                alert,
                for_ms,
                keep_firing_for_ms,
                annotations: Labels::from_pairs(annotations),
            }
        };
        Some(Rule {
            kind,
            expr_text: expr.to_string(),
            expr,
            labels: labels.build(),
            dropped_labels,
        })
    }

    fn recording_only(
        &mut self,
        raw: &RawRule,
        record: &str,
        here: Option<Position>,
        context: &str,
    ) {
        let fields = [
            ("for", &raw.hold),
            ("keep_firing_for", &raw.keep_firing_for),
        ];
        for (field, value) in fields {
            let Some(value) = value else { continue };
            let zero = parse_duration_ms(&value.value) == Ok(0);
            if !zero && !record.is_empty() {
                let at = yaml::position(value.referenced);
                let text = format!("{context}invalid field '{field}' in recording rule");
                self.problem(at, text);
            }
        }
        let annotated = raw.annotations.as_ref().and_then(|pairs| pairs.0.first());
        if let Some((first, _)) = annotated
            && !record.is_empty()
        {
            let at = yaml::position(first.referenced);
            let text = format!("{context}invalid field 'annotations' in recording rule");
            self.problem(at, text);
        }
        let at = raw
            .record
            .as_ref()
            .and_then(|record| yaml::position(record.referenced));
        if record.contains(['{', '}']) {
            let text = format!(
                "{context}braces in the name of a recording rule: did you mean to put this into expr?"
            );
            self.problem(at.or(here), text);
        }
    }

    fn expression(
        &mut self,
        expr: Option<&Spanned<String>>,
        here: Option<Position>,
        context: &str,
    ) -> Option<Expr> {
        let Some(expr) = expr.filter(|expr| !expr.value.is_empty()) else {
            self.problem(here, format!("{context}field 'expr' must be set in rule"));
            return None;
        };
        match parse_with(&expr.value, self.language) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let at = yaml::position_inside(self.text, expr, error.start)
                    .or_else(|| yaml::position(expr.defined));
                self.problem(at, format!("{context}could not parse expression: {error}"));
                None
            }
        }
    }

    fn duration(
        &mut self,
        field: Option<&Spanned<String>>,
        context: &str,
        name: &str,
    ) -> Option<i64> {
        let field = field?;
        match parse_duration_ms(&field.value) {
            Ok(duration_ms) => Some(duration_ms),
            Err(error) => {
                self.problem(
                    yaml::position(field.referenced),
                    format!("{context}{name}: {error}"),
                );
                None
            }
        }
    }

    /// Checks names; yields names with values.
    fn pairs(
        &mut self,
        pairs: Pairs<Option<Spanned<String>>>,
        context: &str,
        names: Names,
    ) -> Vec<(String, String)> {
        let mut checked = Vec::with_capacity(pairs.0.len());
        for (name, value) in pairs.0 {
            let reserved = names == Names::Labels && name.value == METRIC_NAME;
            if name.value.is_empty() || reserved {
                let what = match names {
                    Names::Labels => "label",
                    Names::Annotations => "annotation",
                };
                let at = yaml::position(name.referenced);
                let text = format!("{context}invalid {what} name: {:?}", name.value);
                self.problem(at, text);
            }
            let value = value.map_or(String::new(), |value| value.value);
            checked.push((name.value, value));
        }
        checked
    }

    fn templates(
        &mut self,
        pairs: &Pairs<Option<Spanned<String>>>,
        alert: Option<&str>,
        context: &str,
        what: &str,
    ) {
        let Some(alert) = alert else { return };
        for (name, value) in &pairs.0 {
            let Some(value) = value else { continue };
            if let Err(error) = Template::parse(alert, &value.value) {
                let at = yaml::position(value.referenced);
                let text = format!("{context}{what} {:?}: {error}", name.value);
                self.problem(at, text);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Labels,
    Annotations,
}

#[cfg(test)]
#[path = "rule_file_tests.rs"]
mod tests;

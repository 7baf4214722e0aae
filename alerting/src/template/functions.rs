//! The functions of templates: Go's own and Prometheus's.

use std::collections::BTreeMap;
use std::rc::Rc;

use barograph_model::duration::parse_duration_ms;
use regex_automata::meta::Regex;

use super::Environment;
use super::humanize;
use super::printf::sprintf;
use super::text;
use super::value::{Sample, Value, label_map};

/// Most memory one compiled pattern may take, bytes.
const PATTERN_LIMIT_BYTES: usize = 1 << 20;

type Run = fn(&Environment<'_>, &[Value]) -> Result<Value, CallError>;

/// Why a call fails.
#[derive(Debug)]
pub(super) enum CallError {
    /// There are too many or too few arguments.
    Count(String),
    /// An argument is of the wrong type.
    Type {
        index: usize,
        want: &'static str,
        got: &'static str,
    },
    /// The function itself says no.
    Failed(String),
}

struct Function {
    name: &'static str,
    least: usize,
    most: usize,
    run: Run,
}

const MANY: usize = usize::MAX;

/// `and` and `or` are the evaluator's, since they do not evaluate all their arguments.
const LAZY: [&str; 2] = ["and", "or"];

#[rustfmt::skip]
const FUNCTIONS: &[Function] = &[
    Function { name: "args", least: 0, most: MANY, run: args_map },
    Function { name: "eq", least: 1, most: MANY, run: equal },
    Function { name: "externalURL", least: 0, most: 0, run: |env, _| Ok(Value::text(env.external_url)) },
    Function { name: "first", least: 1, most: 1, run: first },
    Function { name: "ge", least: 2, most: 2, run: |_, a| Ok(Value::Bool(!less(&a[0], &a[1])?)) },
    Function { name: "graphLink", least: 1, most: 1, run: |_, a| Ok(Value::text(link(string(a, 0)?, 0))) },
    Function { name: "gt", least: 2, most: 2, run: |_, a| Ok(Value::Bool(!(less(&a[0], &a[1])? || same(&a[0], &a[1])?))) },
    Function { name: "html", least: 1, most: MANY, run: |_, a| Ok(Value::text(text::escape_html(&joined(a)))) },
    Function { name: "humanize", least: 1, most: 1, run: |_, a| float(a).map(|v| Value::text(humanize::si(v))) },
    Function { name: "humanize1024", least: 1, most: 1, run: |_, a| float(a).map(|v| Value::text(humanize::binary(v))) },
    Function { name: "humanizeDuration", least: 1, most: 1, run: |_, a| float(a).map(|v| Value::text(humanize::duration(v))) },
    Function { name: "humanizePercentage", least: 1, most: 1, run: |_, a| float(a).map(|v| Value::text(humanize::percentage(v))) },
    Function { name: "humanizeTimestamp", least: 1, most: 1, run: |_, a| fallible(humanize::timestamp(float(a)?)) },
    Function { name: "index", least: 1, most: MANY, run: index },
    Function { name: "js", least: 1, most: MANY, run: |_, a| Ok(Value::text(text::escape_js(&joined(a)))) },
    Function { name: "label", least: 2, most: 2, run: |_, a| Ok(label(&*sample(a, 1)?, string(a, 0)?)) },
    Function { name: "le", least: 2, most: 2, run: |_, a| Ok(Value::Bool(less(&a[0], &a[1])? || same(&a[0], &a[1])?)) },
    Function { name: "len", least: 1, most: 1, run: length },
    Function { name: "lt", least: 2, most: 2, run: |_, a| Ok(Value::Bool(less(&a[0], &a[1])?)) },
    Function { name: "match", least: 2, most: 2, run: matches },
    Function { name: "ne", least: 2, most: 2, run: |_, a| Ok(Value::Bool(!same(&a[0], &a[1])?)) },
    Function { name: "not", least: 1, most: 1, run: |_, a| Ok(Value::Bool(!a[0].is_true())) },
    Function { name: "now", least: 0, most: 0, run: |env, _| Ok(Value::Float(env.now_ms as f64 / 1_000.0)) },
    Function { name: "parseDuration", least: 1, most: 1, run: parse_duration },
    Function { name: "pathPrefix", least: 0, most: 0, run: |env, _| Ok(Value::text(url_path(env.external_url))) },
    Function { name: "print", least: 0, most: MANY, run: |_, a| Ok(Value::text(sprint(a))) },
    Function { name: "printf", least: 1, most: MANY, run: |_, a| Ok(Value::text(sprintf(string(a, 0)?, &a[1..]))) },
    Function { name: "println", least: 0, most: MANY, run: println },
    Function { name: "query", least: 1, most: 1, run: query },
    Function { name: "reReplaceAll", least: 3, most: 3, run: replace_all },
    Function { name: "safeHtml", least: 1, most: 1, run: |_, a| Ok(Value::text(string(a, 0)?)) },
    Function { name: "slice", least: 1, most: 4, run: slice },
    Function { name: "sortByLabel", least: 2, most: 2, run: sort_by_label },
    Function { name: "stripDomain", least: 1, most: 1, run: |_, a| Ok(Value::text(text::strip_domain(string(a, 0)?))) },
    Function { name: "stripPort", least: 1, most: 1, run: |_, a| Ok(Value::text(text::strip_port(string(a, 0)?))) },
    Function { name: "strvalue", least: 1, most: 1, run: |_, a| Ok(label(&*sample(a, 0)?, "__value__")) },
    Function { name: "tableLink", least: 1, most: 1, run: |_, a| Ok(Value::text(link(string(a, 0)?, 1))) },
    Function { name: "title", least: 1, most: 1, run: |_, a| Ok(Value::text(text::title(string(a, 0)?))) },
    Function { name: "toDuration", least: 1, most: 1, run: |_, a| float(a).map(|v| Value::Duration((v * 1e9) as i64)) },
    Function { name: "toLower", least: 1, most: 1, run: |_, a| Ok(Value::text(string(a, 0)?.to_lowercase())) },
    Function { name: "toTime", least: 1, most: 1, run: to_time },
    Function { name: "toUpper", least: 1, most: 1, run: |_, a| Ok(Value::text(string(a, 0)?.to_uppercase())) },
    Function { name: "urlQueryEscape", least: 1, most: 1, run: |_, a| Ok(Value::text(text::query_escape(string(a, 0)?))) },
    Function { name: "urlquery", least: 1, most: MANY, run: |_, a| Ok(Value::text(text::query_escape(&joined(a)))) },
    Function { name: "value", least: 1, most: 1, run: |_, a| Ok(Value::Float(sample(a, 0)?.value)) },
];

/// Whether templates may call `name`.
pub(super) fn exists(name: &str) -> bool {
    LAZY.contains(&name) || find(name).is_some()
}

/// Calls a function.
pub(super) fn call(
    environment: &Environment<'_>,
    name: &str,
    args: &[Value],
) -> Result<Value, CallError> {
    let Some(function) = find(name) else {
        return Err(CallError::Count(format!(
            "{name:?} is not a defined function"
        )));
    };
    if args.len() < function.least || args.len() > function.most {
        let want = if function.most == MANY {
            format!("at least {}", function.least)
        } else {
            function.least.to_string()
        };
        return Err(CallError::Count(format!(
            "wrong number of args for {name}: want {want} got {}",
            args.len()
        )));
    }
    (function.run)(environment, args)
}

/// The path under which the UI shows an expression: as a graph (tab 0) or a table (tab 1).
pub(crate) fn link(expression: &str, tab: u8) -> String {
    format!(
        "/graph?g0.expr={}&g0.tab={tab}",
        text::query_escape(expression)
    )
}

fn find(name: &str) -> Option<&'static Function> {
    let at = FUNCTIONS
        .binary_search_by(|function| function.name.cmp(name))
        .ok()?;
    Some(&FUNCTIONS[at])
}

fn failed(message: impl Into<String>) -> CallError {
    CallError::Failed(message.into())
}

fn fallible(result: Result<String, String>) -> Result<Value, CallError> {
    result.map(Value::text).map_err(CallError::Failed)
}

fn wrong_type(index: usize, want: &'static str, got: &Value) -> CallError {
    let got = got.type_name();
    CallError::Type { index, want, got }
}

fn string(args: &[Value], at: usize) -> Result<&str, CallError> {
    match &args[at] {
        Value::Text(text) => Ok(text),
        other => Err(wrong_type(at, "string", other)),
    }
}

fn sample(args: &[Value], at: usize) -> Result<Rc<Sample>, CallError> {
    match &args[at] {
        Value::Sample(sample) => Ok(sample.clone()),
        other => Err(wrong_type(at, "*template.sample", other)),
    }
}

fn vector(args: &[Value], at: usize) -> Result<&Rc<Vec<Rc<Sample>>>, CallError> {
    match &args[at] {
        Value::Vector(vector) => Ok(vector),
        other => Err(wrong_type(at, "template.queryResult", other)),
    }
}

fn label(sample: &Sample, name: &str) -> Value {
    Value::text(sample.labels.get(name).map_or("", String::as_str))
}

/// The argument as a number: a number, a text that reads as one, or a duration in seconds.
fn float(args: &[Value]) -> Result<f64, CallError> {
    match &args[0] {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Duration(nanos) => Ok(*nanos as f64 / 1e9),
        Value::Text(text) => humanize::parse_float(text).ok_or_else(|| {
            failed(format!(
                "strconv.ParseFloat: parsing {text:?}: invalid syntax"
            ))
        }),
        Value::Nil => Err(failed("can't convert <nil> to float")),
        other => Err(failed(format!(
            "can't convert {} to float",
            other.type_name()
        ))),
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "all functions of the table have one type"
)]
fn args_map(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let pairs = args.iter().enumerate();
    let map: BTreeMap<String, Value> = pairs
        .map(|(index, value)| (format!("arg{index}"), value.clone()))
        .collect();
    Ok(Value::Map(Rc::new(map)))
}

fn query(environment: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let vector = (environment.query)(string(args, 0)?).map_err(CallError::Failed)?;
    let samples = vector.iter().map(|sample| {
        Rc::new(Sample {
            labels: label_map(&sample.labels),
            value: sample.sample.value,
        })
    });
    Ok(Value::Vector(Rc::new(samples.collect())))
}

fn first(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    match vector(args, 0)?.first() {
        Some(sample) => Ok(Value::Sample(sample.clone())),
        None => Err(failed("first() called on vector with no elements")),
    }
}

fn sort_by_label(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let name = string(args, 0)?;
    let mut sorted = vector(args, 1)?.as_ref().clone();
    sorted.sort_by(|a, b| {
        let value = |sample: &Sample| sample.labels.get(name).cloned().unwrap_or_default();
        value(a).cmp(&value(b))
    });
    Ok(Value::Vector(Rc::new(sorted)))
}

fn to_time(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let seconds = float(args)?;
    humanize::time_ms(seconds)
        .map(Value::Time)
        .map_err(CallError::Failed)
}

fn parse_duration(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let text = string(args, 0)?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text),
    };
    let duration_ms = parse_duration_ms(digits).map_err(|error| failed(error.to_string()))?;
    Ok(Value::Float(sign * duration_ms as f64 / 1_000.0))
}

fn regex(pattern: &str) -> Result<Regex, CallError> {
    let built = Regex::builder()
        .configure(Regex::config().nfa_size_limit(Some(PATTERN_LIMIT_BYTES)))
        .build(pattern);
    built.map_err(|error| {
        let text = match error.syntax_error() {
            Some(syntax) => syntax.to_string(),
            None => error.to_string(),
        };
        // The verdict stands behind a drawing of the pattern.
        let verdict = text.lines().last().unwrap_or_default();
        let verdict = verdict.strip_prefix("error: ").unwrap_or(verdict);
        failed(format!("error parsing regexp: {verdict}: `{pattern}`"))
    })
}

fn matches(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let text = string(args, 1)?;
    Ok(Value::Bool(regex(string(args, 0)?)?.is_match(text)))
}

fn replace_all(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let (template, text) = (string(args, 1)?, string(args, 2)?);
    let regex = regex(string(args, 0)?)?;
    let mut out = String::new();
    let mut behind = 0;
    for captures in regex.captures_iter(text) {
        let Some(found) = captures.get_match() else {
            continue;
        };
        out.push_str(&text[behind..found.start()]);
        text::expand_groups(&mut out, template, |group| {
            let span = match group.parse::<usize>() {
                Ok(index) => captures.get_group(index),
                Err(_) => captures.get_group_by_name(group),
            };
            span.map(|span| &text[span.range()])
        });
        behind = found.end();
    }
    out.push_str(&text[behind..]);
    Ok(Value::text(out))
}

fn length(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let length = match &args[0] {
        Value::Text(text) => text.len(),
        Value::Vector(vector) => vector.len(),
        Value::Labels(map) => map.len(),
        Value::Map(map) => map.len(),
        Value::Nil => return Err(failed("len of nil pointer")),
        other => return Err(failed(format!("len of type {}", other.type_name()))),
    };
    Ok(Value::Int(length as i64))
}

fn index(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let mut value = args[0].clone();
    for key in &args[1..] {
        value = match (&value, key) {
            (Value::Labels(map), Value::Text(key)) => {
                Value::text(map.get(&**key).map_or("", String::as_str))
            }
            (Value::Map(map), Value::Text(key)) => map.get(&**key).cloned().unwrap_or(Value::Nil),
            (Value::Vector(vector), Value::Int(at)) => {
                let sample = usize::try_from(*at).ok().and_then(|at| vector.get(at));
                let sample = sample.ok_or_else(|| out_of_range(*at))?;
                Value::Sample(sample.clone())
            }
            (Value::Text(text), Value::Int(at)) => {
                let byte = usize::try_from(*at)
                    .ok()
                    .and_then(|at| text.as_bytes().get(at));
                Value::Int(i64::from(*byte.ok_or_else(|| out_of_range(*at))?))
            }
            (Value::Nil, _) => return Err(failed("index of untyped nil")),
            (Value::Labels(_) | Value::Map(_), key) => {
                let text = format!("value has type {}; should be string", key.type_name());
                return Err(failed(text));
            }
            (Value::Vector(_) | Value::Text(_), key) => {
                let text = format!("cannot index slice/array with type {}", key.type_name());
                return Err(failed(text));
            }
            (other, _) => {
                let text = format!("can't index item of type {}", other.type_name());
                return Err(failed(text));
            }
        };
    }
    Ok(value)
}

fn slice(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let length = match &args[0] {
        Value::Text(text) => text.len(),
        Value::Vector(vector) => vector.len(),
        other => {
            let text = format!("can't slice item of type {}", other.type_name());
            return Err(failed(text));
        }
    };
    let mut bounds = [0, length];
    for (bound, arg) in bounds.iter_mut().zip(&args[1..]) {
        let Value::Int(at) = arg else {
            let text = format!("cannot index slice/array with type {}", arg.type_name());
            return Err(failed(text));
        };
        *bound = usize::try_from(*at)
            .ok()
            .filter(|at| *at <= length)
            .ok_or_else(|| out_of_range(*at))?;
    }
    let [start, end] = bounds;
    if start > end {
        return Err(failed(format!("invalid slice index: {start} > {end}")));
    }
    Ok(match &args[0] {
        Value::Text(text) => Value::text(String::from_utf8_lossy(&text.as_bytes()[start..end])),
        Value::Vector(vector) => Value::Vector(Rc::new(vector[start..end].to_vec())),
        _ => Value::Nil,
    })
}

fn out_of_range(at: i64) -> CallError {
    failed(format!("index out of range: {at}"))
}

fn equal(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    if args.len() < 2 {
        return Err(failed("missing argument for comparison"));
    }
    for other in &args[1..] {
        if same(&args[0], other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// Go compares only like with like: an integer constant and a sample's value are not alike.
fn same(a: &Value, b: &Value) -> Result<bool, CallError> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        _ => Err(unlike(a, b)),
    }
}

fn unlike(a: &Value, b: &Value) -> CallError {
    let (a, b) = (a.type_name(), b.type_name());
    failed(format!("incompatible types for comparison: {a} and {b}"))
}

fn less(a: &Value, b: &Value) -> Result<bool, CallError> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => Ok(a < b),
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Text(a), Value::Text(b)) => Ok(a < b),
        (Value::Int(_) | Value::Float(_) | Value::Text(_), _) => Err(unlike(a, b)),
        _ => Err(failed("invalid type for comparison")),
    }
}

/// Go's `Sprint`: spaces between arguments neither of which is a text.
fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    for (index, arg) in args.iter().enumerate() {
        let texts = |arg: &Value| matches!(arg, Value::Text(_));
        if index > 0 && !texts(arg) && !texts(&args[index - 1]) {
            out.push(' ');
        }
        out.push_str(&arg.to_display());
    }
    out
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "all functions of the table have one type"
)]
fn println(_: &Environment<'_>, args: &[Value]) -> Result<Value, CallError> {
    let words: Vec<String> = args.iter().map(Value::to_display).collect();
    Ok(Value::text(words.join(" ") + "\n"))
}

/// The arguments of an escaper as one text.
fn joined(args: &[Value]) -> String {
    sprint(args)
}

/// The path of a URL, or nothing.
fn url_path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    path.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn paths_of_urls() {
        for (url, want) in [
            ("http://host:9090/prefix/x?q", "/prefix/x"),
            ("http://host:9090", ""),
            ("", ""),
        ] {
            assert_eq!(url_path(url), want);
        }
    }
}

//! Values of templates, and how Go prints them.

use std::collections::BTreeMap;
use std::rc::Rc;

use barograph_model::{Labels, number};

use super::time;

/// A value. The types are those Prometheus's templates meet.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Go's untyped nil, and what a map of any value yields for a missing key.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    /// `map[string]string`: labels. A missing key is the empty text.
    Labels(Rc<BTreeMap<String, String>>),
    /// `map[string]any`.
    Map(Rc<BTreeMap<String, Value>>),
    /// What `query` returns.
    Vector(Rc<Vec<Rc<Sample>>>),
    Sample(Rc<Sample>),
    /// `time.Time`, milliseconds since the epoch.
    Time(i64),
    /// `time.Duration`, nanoseconds.
    Duration(i64),
    /// What an alert's templates get as dot.
    Alert(Rc<AlertData>),
}

/// One element of a query's result.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub labels: Rc<BTreeMap<String, String>>,
    pub value: f64,
}

/// What an alert's templates are about.
#[derive(Clone, Debug)]
pub(crate) struct AlertData {
    pub labels: Rc<BTreeMap<String, String>>,
    pub external_labels: Rc<BTreeMap<String, String>>,
    pub external_url: Rc<str>,
    pub value: f64,
}

/// A label set as templates see it.
pub(crate) fn label_map(labels: &Labels) -> Rc<BTreeMap<String, String>> {
    Rc::new(
        labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

impl Value {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(Rc::from(text.as_ref()))
    }

    /// Go's name of the type, for error messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Labels(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Vector(_) => "template.queryResult",
            Self::Sample(_) => "*template.sample",
            Self::Time(_) => "*time.Time",
            Self::Duration(_) => "*time.Duration",
            Self::Alert(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; \
                 ExternalURL string; Value interface {} }"
            }
        }
    }

    /// Whether `if` takes the first branch: not zero, not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Labels(map) => !map.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Vector(list) => !list.is_empty(),
            Self::Sample(_) | Self::Time(_) | Self::Alert(_) => true,
        }
    }

    /// Appends what `{{ value }}` prints, which is Go's `%v`.
    pub(super) fn print(&self, out: &mut String) {
        match self {
            Self::Nil => out.push_str("<no value>"),
            other => other.print_inner(out),
        }
    }

    fn print_inner(&self, out: &mut String) {
        match self {
            Self::Nil => out.push_str("<nil>"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Float(value) => number::push_go_g(out, *value),
            Self::Text(text) => out.push_str(text),
            Self::Labels(map) => print_labels(map, out),
            Self::Map(map) => {
                out.push_str("map[");
                for (index, (name, value)) in map.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    out.push_str(name);
                    out.push(':');
                    value.print_inner(out);
                }
                out.push(']');
            }
            Self::Vector(list) => {
                out.push('[');
                for (index, sample) in list.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    print_sample(sample, out);
                }
                out.push(']');
            }
            Self::Sample(sample) => print_sample(sample, out),
            Self::Time(time_ms) => out.push_str(&time::display(*time_ms)),
            Self::Duration(nanos) => out.push_str(&time::display_duration(*nanos)),
            Self::Alert(data) => {
                out.push('{');
                print_labels(&data.labels, out);
                out.push(' ');
                print_labels(&data.external_labels, out);
                out.push(' ');
                out.push_str(&data.external_url);
                out.push(' ');
                number::push_go_g(out, data.value);
                out.push('}');
            }
        }
    }

    /// [`Self::print`] of an argument of `print` and its kin, where nil is `<nil>`.
    pub(super) fn to_display(&self) -> String {
        let mut out = String::new();
        if matches!(self, Self::Sample(_)) {
            // Go follows the pointer where it prints a result, but not where it prints arguments.
            out.push('&');
        }
        self.print_inner(&mut out);
        out
    }
}

fn print_labels(map: &BTreeMap<String, String>, out: &mut String) {
    out.push_str("map[");
    for (index, (name, value)) in map.iter().enumerate() {
        out.push_str(if index > 0 { " " } else { "" });
        out.push_str(name);
        out.push(':');
        out.push_str(value);
    }
    out.push(']');
}

fn print_sample(sample: &Sample, out: &mut String) {
    out.push('{');
    print_labels(&sample.labels, out);
    out.push(' ');
    number::push_go_g(out, sample.value);
    out.push('}');
}

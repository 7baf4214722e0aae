//! Running a tree.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::Environment;
use super::ast::{Arg, ArgKind, BranchKind, Command, Node, Pipe};
use super::functions::{self, CallError};
use super::parse::Parsed;
use super::time::{self, Civil};
use super::value::Value;

/// Longest text a template may yield.
const OUTPUT_LIMIT_BYTES: usize = 1 << 20;
/// Most statements a template may run.
const STEP_LIMIT: u64 = 1_000_000;
/// Deepest nesting of template calls.
const CALL_LIMIT: usize = 100;

/// What went wrong, and where in the source.
#[derive(Debug)]
pub(super) struct ExecError {
    /// The byte that is named.
    pub position: usize,
    /// The text that is shown.
    pub start: usize,
    pub end: usize,
    pub message: String,
    /// Whether the spot is repeated behind the message.
    pub quote: bool,
}

/// Runs a template on `data`.
pub(super) fn execute(
    parsed: &Parsed,
    environment: &Environment<'_>,
    data: &Value,
) -> Result<String, ExecError> {
    let run = Run {
        defined: &parsed.defined,
        environment,
        steps: Cell::new(0),
    };
    let mut state = State {
        out: String::new(),
        variables: vec![("$".to_owned(), data.clone())],
        calls: 0,
    };
    run.list(&parsed.root, data, &mut state)?;
    Ok(state.out)
}

struct Run<'a> {
    defined: &'a BTreeMap<String, Vec<Node>>,
    environment: &'a Environment<'a>,
    steps: Cell<u64>,
}

struct State {
    out: String,
    variables: Vec<(String, Value)>,
    calls: usize,
}

/// How a list of statements ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Outcome<T> = Result<T, ExecError>;

impl Run<'_> {
    fn list(&self, nodes: &[Node], dot: &Value, state: &mut State) -> Outcome<Flow> {
        for node in nodes {
            let flow = self.node(node, dot, state)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&self, node: &Node, dot: &Value, state: &mut State) -> Outcome<Flow> {
        self.step(state)?;
        match node {
            Node::Text(text) => state.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot, state)?;
                if pipe.variables.is_empty() {
                    value.print(&mut state.out);
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Call { name, pipe, at } => self.call(name, pipe.as_ref(), *at, dot, state)?,
            Node::Branch {
                kind,
                pipe,
                body,
                otherwise,
            } => {
                let scope = state.variables.len();
                let flow = if *kind == BranchKind::Range {
                    self.range(pipe, body, otherwise, dot, state)?
                } else {
                    let value = self.pipe(pipe, dot, state)?;
                    let inner = if *kind == BranchKind::With {
                        &value
                    } else {
                        dot
                    };
                    if value.is_true() {
                        self.list(body, inner, state)?
                    } else {
                        self.list(otherwise, dot, state)?
                    }
                };
                state.variables.truncate(scope);
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn step(&self, state: &State) -> Outcome<()> {
        self.steps.set(self.steps.get() + 1);
        let message = if self.steps.get() > STEP_LIMIT {
            format!("more than {STEP_LIMIT} steps")
        } else if state.out.len() > OUTPUT_LIMIT_BYTES {
            format!("the text exceeds {OUTPUT_LIMIT_BYTES} bytes")
        } else {
            return Ok(());
        };
        Err(ExecError {
            position: 0,
            start: 0,
            end: 0,
            message,
            quote: false,
        })
    }

    fn call(
        &self,
        name: &str,
        pipe: Option<&Pipe>,
        at: usize,
        dot: &Value,
        state: &mut State,
    ) -> Outcome<()> {
        let fail = |message: String| ExecError {
            position: at,
            start: at,
            end: at,
            message,
            quote: false,
        };
        let Some(nodes) = self.defined.get(name) else {
            return Err(fail(format!("template {name:?} not defined")));
        };
        if state.calls >= CALL_LIMIT {
            return Err(fail(format!(
                "exceeded maximum template depth ({CALL_LIMIT})"
            )));
        }
        let data = match pipe {
            Some(pipe) => self.pipe(pipe, dot, state)?,
            None => Value::Nil,
        };
        let outer = std::mem::replace(&mut state.variables, vec![("$".to_owned(), data.clone())]);
        state.calls += 1;
        self.list(nodes, &data, state)?;
        state.calls -= 1;
        state.variables = outer;
        Ok(())
    }

    fn range(
        &self,
        pipe: &Pipe,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
        state: &mut State,
    ) -> Outcome<Flow> {
        let value = self.commands(pipe, dot, state)?;
        let elements: Box<dyn Iterator<Item = (Value, Value)> + '_> = match &value {
            Value::Vector(vector) => {
                Box::new(vector.iter().enumerate().map(|(index, sample)| {
                    (Value::Int(index as i64), Value::Sample(sample.clone()))
                }))
            }
            Value::Labels(map) => Box::new(
                map.iter()
                    .map(|(name, value)| (Value::text(name), Value::text(value))),
            ),
            Value::Map(map) => Box::new(
                map.iter()
                    .map(|(name, value)| (Value::text(name), value.clone())),
            ),
            Value::Int(count) => {
                Box::new((0..*count).map(|index| (Value::Int(index), Value::Int(index))))
            }
            Value::Nil => Box::new(std::iter::empty()),
            other => {
                let text = format!("range can't iterate over {}", other.to_display());
                return Err(at(pipe.innermost(), text));
            }
        };
        let scope = state.variables.len();
        let mut empty = true;
        for (key, element) in elements {
            empty = false;
            self.step(state)?;
            let assigned: &[(&String, &Value)] = match pipe.variables.as_slice() {
                [] => &[],
                [one] => &[(one, &element)],
                [one, two, ..] => &[(one, &key), (two, &element)],
            };
            for (name, value) in assigned {
                set(&mut state.variables, name, (*value).clone(), pipe.assigns);
            }
            let flow = self.list(body, &element, state)?;
            state.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        if empty {
            return self.list(otherwise, dot, state);
        }
        Ok(Flow::Next)
    }

    fn pipe(&self, pipe: &Pipe, dot: &Value, state: &mut State) -> Outcome<Value> {
        let value = self.commands(pipe, dot, state)?;
        for name in &pipe.variables {
            set(&mut state.variables, name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn commands(&self, pipe: &Pipe, dot: &Value, state: &mut State) -> Outcome<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, state, value)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    /// `last` is the result of the command before, which becomes the last argument.
    fn command(
        &self,
        command: &Command,
        dot: &Value,
        state: &mut State,
        last: Option<Value>,
    ) -> Outcome<Value> {
        let (head, rest) = (&command.args[0], &command.args[1..]);
        match &head.kind {
            ArgKind::Function(name) => self.function(name, head, rest, dot, state, last),
            ArgKind::Field(names) => self.fields(dot.clone(), names, head, rest, dot, state, last),
            ArgKind::Variable(name, names) if !names.is_empty() => {
                let value = variable(state, name, head)?;
                self.fields(value, names, head, rest, dot, state, last)
            }
            ArgKind::Chain(inner, names) => {
                let value = self.arg(inner, dot, state)?;
                self.fields(value, names, head, rest, dot, state, last)
            }
            ArgKind::Nil => Err(at(head, "nil is not a command")),
            _ if !rest.is_empty() || last.is_some() => {
                let text = "can't give argument to non-function";
                Err(ExecError {
                    quote: true,
                    ..at(head, text)
                })
            }
            _ => self.arg(head, dot, state),
        }
    }

    fn arg(&self, arg: &Arg, dot: &Value, state: &mut State) -> Outcome<Value> {
        Ok(match &arg.kind {
            ArgKind::Dot => dot.clone(),
            ArgKind::Nil => Value::Nil,
            ArgKind::Bool(value) => Value::Bool(*value),
            ArgKind::Int(value) => Value::Int(*value),
            ArgKind::Float(value) => Value::Float(*value),
            ArgKind::TooLarge => return Err(at(arg, "the constant overflows int")),
            ArgKind::Text(text) => Value::text(text),
            ArgKind::Field(names) => self.fields(dot.clone(), names, arg, &[], dot, state, None)?,
            ArgKind::Variable(name, names) => {
                let value = variable(state, name, arg)?;
                self.fields(value, names, arg, &[], dot, state, None)?
            }
            ArgKind::Function(name) => self.function(name, arg, &[], dot, state, None)?,
            ArgKind::Pipe(pipe) => self.pipe(pipe, dot, state)?,
            ArgKind::Chain(inner, names) => {
                let value = self.arg(inner, dot, state)?;
                self.fields(value, names, arg, &[], dot, state, None)?
            }
        })
    }

    fn function(
        &self,
        name: &str,
        head: &Arg,
        rest: &[Arg],
        dot: &Value,
        state: &mut State,
        last: Option<Value>,
    ) -> Outcome<Value> {
        if name == "and" || name == "or" {
            return self.lazy(name == "or", head, rest, dot, state, last);
        }
        let mut args = Vec::with_capacity(rest.len() + 1);
        for arg in rest {
            args.push(self.arg(arg, dot, state)?);
        }
        args.extend(last);
        functions::call(self.environment, name, &args).map_err(|error| match error {
            CallError::Count(message) => at(head, message),
            CallError::Type { index, want, got } => wrong_type(head, rest.get(index), want, got),
            CallError::Failed(message) => ExecError {
                end: rest.last().map_or(head.end, |last| last.end),
                ..at(head, format!("error calling {name}: {message}"))
            },
        })
    }

    /// `and` and `or` stop at the first argument that decides.
    fn lazy(
        &self,
        stop_at: bool,
        head: &Arg,
        rest: &[Arg],
        dot: &Value,
        state: &mut State,
        last: Option<Value>,
    ) -> Outcome<Value> {
        let mut result = None;
        for arg in rest {
            let value = self.arg(arg, dot, state)?;
            if value.is_true() == stop_at {
                return Ok(value);
            }
            result = Some(value);
        }
        let name = if stop_at { "or" } else { "and" };
        last.or(result).ok_or_else(|| {
            let message = format!("wrong number of args for {name}: want at least 1 got 0");
            at(head, message)
        })
    }

    /// Follows `.a.b.c`; the last of them may be a method with arguments.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one evaluation step"
    )]
    fn fields(
        &self,
        mut value: Value,
        names: &[String],
        head: &Arg,
        rest: &[Arg],
        dot: &Value,
        state: &mut State,
        last: Option<Value>,
    ) -> Outcome<Value> {
        let Some((final_name, path)) = names.split_last() else {
            return Ok(value);
        };
        let spot = match &head.kind {
            ArgKind::Variable(name, _) => (head.start + name.len(), head),
            _ => (head.innermost().start, head.innermost()),
        };
        let fail = |message: String| ExecError {
            position: spot.0,
            ..at(spot.1, message)
        };
        for name in path {
            value = field(&value, name, &[]).map_err(fail)?;
        }
        let mut args = Vec::with_capacity(rest.len());
        for arg in rest {
            args.push(self.arg(arg, dot, state)?);
        }
        args.extend(last);
        field(&value, final_name, &args).map_err(fail)
    }
}

fn set(variables: &mut Vec<(String, Value)>, name: &str, value: Value, assigns: bool) {
    let existing = variables.iter_mut().rev().find(|(have, _)| have == name);
    match existing {
        Some(slot) if assigns => slot.1 = value,
        _ => variables.push((name.to_owned(), value)),
    }
}

fn variable(state: &State, name: &str, head: &Arg) -> Outcome<Value> {
    let found = state.variables.iter().rev().find(|(have, _)| have == name);
    match found {
        Some((_, value)) => Ok(value.clone()),
        None => Err(at(head, format!("undefined variable: {name}"))),
    }
}

fn at(arg: &Arg, message: impl Into<String>) -> ExecError {
    ExecError {
        position: arg.start,
        start: arg.start,
        end: arg.end,
        message: message.into(),
        quote: false,
    }
}

/// An argument of the wrong type; `arg` is absent where it came through the pipe.
fn wrong_type(head: &Arg, arg: Option<&Arg>, want: &str, got: &str) -> ExecError {
    let message = format!("wrong type for value; expected {want}; got {got}");
    let Some(arg) = arg else {
        return at(head, message);
    };
    let constant = matches!(
        arg.kind,
        ArgKind::Bool(_) | ArgKind::Int(_) | ArgKind::Float(_) | ArgKind::Text(_)
    );
    match (constant, want) {
        (false, _) => at(arg, message),
        (true, "string") => ExecError {
            quote: true,
            ..at(arg, "expected string; found")
        },
        (true, _) => at(arg, format!("can't handle it for arg of type {want}")),
    }
}

/// A field, a map's element or a method.
fn field(value: &Value, name: &str, args: &[Value]) -> Result<Value, String> {
    if let Some(result) = method(value, name, args) {
        return result;
    }
    let found = match (value, name) {
        (Value::Labels(map), _) => Value::text(map.get(name).map_or("", String::as_str)),
        (Value::Map(map), _) => map.get(name).cloned().unwrap_or(Value::Nil),
        (Value::Alert(data), "Labels") => Value::Labels(data.labels.clone()),
        (Value::Alert(data), "ExternalLabels") => Value::Labels(data.external_labels.clone()),
        (Value::Alert(data), "ExternalURL") => Value::Text(data.external_url.clone()),
        (Value::Alert(data), "Value") => Value::Float(data.value),
        (Value::Sample(sample), "Labels") => Value::Labels(sample.labels.clone()),
        (Value::Sample(sample), "Value") => Value::Float(sample.value),
        (Value::Nil, _) => return Err(format!("nil data; no entry for key {name:?}")),
        _ => {
            let type_name = value.type_name();
            return Err(format!("can't evaluate field {name} in type {type_name}"));
        }
    };
    if args.is_empty() {
        return Ok(found);
    }
    Err(match value {
        Value::Labels(_) | Value::Map(_) => {
            format!("{name} is not a method but has arguments")
        }
        _ => format!("{name} has arguments but cannot be invoked as function"),
    })
}

/// The methods of times and durations. `None` where there is no such method.
fn method(value: &Value, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let result = match value {
        Value::Time(time_ms) => {
            let civil = Civil::of(*time_ms);
            match (name, args) {
                ("Format", [Value::Text(layout)]) => Value::text(time::format(*time_ms, layout)),
                ("Add", [Value::Duration(nanos)]) => Value::Time(time_ms + nanos / 1_000_000),
                ("Sub", [Value::Time(other)]) => {
                    Value::Duration(time_ms.saturating_sub(*other).saturating_mul(1_000_000))
                }
                ("After", [Value::Time(other)]) => Value::Bool(time_ms > other),
                ("Before", [Value::Time(other)]) => Value::Bool(time_ms < other),
                ("UTC", []) => value.clone(),
                ("Unix", []) => Value::Int(time_ms.div_euclid(1_000)),
                ("UnixMilli", []) => Value::Int(*time_ms),
                ("UnixNano", []) => Value::Int(time_ms.saturating_mul(1_000_000)),
                ("Year", []) => Value::Int(civil.year),
                ("Month", []) => Value::text(civil.month_name()),
                ("Day", []) => Value::Int(civil.day.into()),
                ("Hour", []) => Value::Int(civil.hour.into()),
                ("Minute", []) => Value::Int(civil.minute.into()),
                ("Second", []) => Value::Int(civil.second.into()),
                ("Weekday", []) => Value::text(civil.weekday_name()),
                ("YearDay", []) => Value::Int(civil.day_of_year.into()),
                ("String", []) => Value::text(time::display(*time_ms)),
                ("Format" | "Add" | "Sub" | "After" | "Before", _) => {
                    return Some(Err(format!("wrong arguments for {name}")));
                }
                _ => return None,
            }
        }
        Value::Duration(nanos) => match (name, args) {
            ("Hours", []) => Value::Float(*nanos as f64 / 3_600e9),
            ("Minutes", []) => Value::Float(*nanos as f64 / 60e9),
            ("Seconds", []) => Value::Float(*nanos as f64 / 1e9),
            ("Milliseconds", []) => Value::Int(nanos / 1_000_000),
            ("Microseconds", []) => Value::Int(nanos / 1_000),
            ("Nanoseconds", []) => Value::Int(*nanos),
            ("String", []) => Value::text(time::display_duration(*nanos)),
            _ => return None,
        },
        _ => return None,
    };
    Some(Ok(result))
}

//! Lines to commands.

use barograph_model::Labels;
use barograph_model::duration::parse_duration_ms;

use super::ScriptError;
use super::expect::{Eval, Expected, Range, Text, When};
use super::series::{self, Point};
use super::starts;

/// A command of a script.
#[derive(Debug)]
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// Data to store.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) step_ms: i64,
    pub(super) series: Vec<LoadSeries>,
    /// Classic histograms are to be stored as native ones as well.
    pub(super) with_nhcb: bool,
}

#[derive(Debug)]
pub(super) struct LoadSeries {
    pub(super) labels: Labels,
    pub(super) points: Vec<Point>,
    /// Start timestamps relative to the times of the points, from a line before; none if empty.
    pub(super) starts: Vec<Option<i64>>,
}

pub(super) fn parse(text: &str) -> Result<Vec<Command>, ScriptError> {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| {
            let line = line.trim();
            if line.starts_with('#') { "" } else { line }
        })
        .collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let first = at;
        at += 1;
        if line.is_empty() {
            continue;
        }
        let word = line
            .split([' ', '\t'])
            .next()
            .unwrap_or_default()
            .to_lowercase();
        // A command goes on to the next empty line.
        let mut body = Vec::new();
        if word != "clear" {
            while at < lines.len() && !lines[at].is_empty() {
                body.push((at + 1, lines[at]));
                at += 1;
            }
        }
        let fail = |message: String| ScriptError {
            line: first + 1,
            message,
        };
        let command = if word == "clear" {
            Command::Clear
        } else if word.starts_with("load") {
            Command::Load(load(line, &body).map_err(|(at, m)| ScriptError {
                line: if at == 0 { first + 1 } else { at },
                message: m,
            })?)
        } else if word.starts_with("eval") {
            let mut eval = eval(line).map_err(fail)?;
            eval.line = first + 1;
            expectations(&mut eval, &body)?;
            Command::Eval(Box::new(eval))
        } else {
            return Err(fail(format!("invalid command {line:?}")));
        };
        commands.push(command);
    }
    Ok(commands)
}

fn load(line: &str, body: &[(usize, &str)]) -> Result<Load, (usize, String)> {
    let (word, step) = line
        .split_once([' ', '\t'])
        .ok_or_else(|| (0, "expected load <step>".to_owned()))?;
    let with_nhcb = match word {
        "load" => false,
        "load_with_nhcb" => true,
        _ => return Err((0, format!("invalid command {word:?}"))),
    };
    let step_ms = parse_duration_ms(step.trim()).map_err(|e| (0, e.to_string()))?;
    let mut series = Vec::new();
    let mut of_next: Option<Starts> = None;
    for (number, line) in body {
        if let Some(found) = start_timestamps(line).map_err(|m| (*number, m))? {
            of_next = Some(found);
            continue;
        }
        let (labels, points) = series::parse(line).map_err(|m| (*number, m))?;
        let starts = match of_next.take() {
            None => Vec::new(),
            Some((of, starts)) if of == labels && starts.len() == points.len() => starts,
            Some((of, starts)) => {
                let (starts, points) = (starts.len(), points.len());
                return Err((
                    *number,
                    format!("{starts} start timestamps of {of} before {points} values of {labels}"),
                ));
            }
        };
        // Of two lines for one series the later counts.
        series.retain(|have: &LoadSeries| have.labels != labels);
        series.push(LoadSeries {
            labels,
            points,
            starts,
        });
    }
    Ok(Load {
        step_ms,
        series,
        with_nhcb,
    })
}

/// A series and its start timestamps, relative to the times of its points.
type Starts = (Labels, Vec<Option<i64>>);

/// A line `series@st …`: start timestamps of the next line's samples.
fn start_timestamps(line: &str) -> Result<Option<Starts>, String> {
    let Ok((labels, used)) = series::labels(line) else {
        return Ok(None);
    };
    match line[used..].strip_prefix("@st") {
        Some(rest) => Ok(Some((labels, starts::parse(rest)?))),
        None => Ok(None),
    }
}

fn eval(line: &str) -> Result<Eval, String> {
    let usage = || {
        "expected eval instant at <time> <query> or eval range from <start> to <end> step <step> <query>"
            .to_owned()
    };
    let (word, rest) = line.split_once([' ', '\t']).ok_or_else(usage)?;
    let (kind, rest) = rest
        .trim_start()
        .split_once([' ', '\t'])
        .ok_or_else(usage)?;
    let mut rest = rest.trim_start();
    let when = match kind {
        "instant" => {
            let at_ms = if let Some(behind) = keyword(rest, "at") {
                let (time, behind) = behind.split_once([' ', '\t']).ok_or_else(usage)?;
                rest = behind;
                parse_duration_ms(time).map_err(|e| e.to_string())?
            } else {
                0
            };
            When::Instant { at_ms, range: None }
        }
        "range" => {
            let mut numbers = [0; 3];
            for (slot, word) in numbers.iter_mut().zip(["from", "to", "step"]) {
                let behind = keyword(rest, word).ok_or_else(usage)?;
                let (time, behind) = behind.split_once([' ', '\t']).ok_or_else(usage)?;
                *slot = parse_duration_ms(time).map_err(|e| e.to_string())?;
                rest = behind.trim_start();
            }
            When::Range(range(numbers)?)
        }
        _ => return Err(usage()),
    };
    let mut eval = Eval {
        line: 0,
        expr: rest.trim().to_owned(),
        when,
        expected: Vec::new(),
        scalar: None,
        string: None,
        ordered: false,
        fail: None,
        warn: Vec::new(),
        info: Vec::new(),
        no_warn: false,
        no_info: false,
    };
    match word {
        "eval" => {}
        "eval_fail" => eval.fail = Some(Text::Any),
        "eval_ordered" => eval.ordered = true,
        "eval_warn" => eval.warn.push(Text::Any),
        "eval_info" => eval.info.push(Text::Any),
        _ => return Err(usage()),
    }
    Ok(eval)
}

fn range([start_ms, end_ms, step_ms]: [i64; 3]) -> Result<Range, String> {
    if end_ms < start_ms {
        return Err("the end lies before the start".to_owned());
    }
    Ok(Range {
        start_ms,
        end_ms,
        step_ms,
    })
}

fn keyword<'a>(rest: &'a str, word: &str) -> Option<&'a str> {
    let behind = rest.strip_prefix(word)?;
    behind.starts_with([' ', '\t']).then(|| behind.trim_start())
}

fn expectations(eval: &mut Eval, body: &[(usize, &str)]) -> Result<(), ScriptError> {
    for (number, line) in body {
        expectation(eval, line).map_err(|message| ScriptError {
            line: *number,
            message,
        })?;
    }
    Ok(())
}

fn expectation(eval: &mut Eval, line: &str) -> Result<(), String> {
    if let Some(message) = line.strip_prefix("expected_fail_message") {
        eval.fail = Some(Text::Exactly(message.trim().to_owned()));
        return Ok(());
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
        eval.fail = Some(Text::pattern(pattern.trim())?);
        return Ok(());
    }
    if let Some(rest) = keyword(line, "expect") {
        return expect(eval, rest);
    }
    if let Ok(number) = line.parse::<f64>() {
        eval.scalar = Some(number);
        return Ok(());
    }
    let (labels, points) = series::parse(line)?;
    if points.is_empty() {
        return Err(format!("no points expected of {labels}"));
    }
    if points.len() > 1 && matches!(eval.when, When::Instant { range: None, .. }) {
        return Err("several points expected of an instant query".to_owned());
    }
    eval.expected.push(Expected { labels, points });
    Ok(())
}

fn expect(eval: &mut Eval, rest: &str) -> Result<(), String> {
    if let Some(range_text) = rest.strip_prefix("range vector") {
        let words: Vec<&str> = range_text.split_whitespace().collect();
        let ["from", from, "to", to, "step", step] = words.as_slice() else {
            return Err(format!("no range of time: {range_text:?}"));
        };
        let time = |text: &str| parse_duration_ms(text).map_err(|e| e.to_string());
        let wanted = range([time(from)?, time(to)?, time(step)?])?;
        if let When::Instant { range, .. } = &mut eval.when {
            *range = Some(wanted);
        }
        return Ok(());
    }
    if let Some(text) = keyword(rest, "string") {
        let bytes = crate::lex::unquote(text)?;
        eval.string = Some(String::from_utf8(bytes).map_err(|e| e.to_string())?);
        return Ok(());
    }
    let (word, text) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    match word {
        "ordered" => eval.ordered = true,
        "fail" => eval.fail = Some(Text::parse(text)?),
        "warn" => eval.warn.push(Text::parse(text)?),
        "info" => eval.info.push(Text::parse(text)?),
        "no_warn" => eval.no_warn = true,
        "no_info" => eval.no_info = true,
        _ => return Err(format!("invalid expectation {rest:?}")),
    }
    Ok(())
}

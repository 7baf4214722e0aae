//! Series notation: `name{label="value"} 1 2+3x4 _x2 stale`.

use std::sync::Arc;

use barograph_model::{FloatHistogram, Histogram, Labels, LabelsBuilder, METRIC_NAME, stale_nan};
use barograph_tsdb::{Batch, HistogramError, SeriesRef};
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_until};
use nom::character::complete::{char, digit1};
use nom::combinator::{eof, map, map_opt, map_res, opt, recognize, value};
use nom::multi::many0;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use super::histogram;
use crate::lex::{identifier, metric_identifier, quoted, raw_quoted, spaces, unquote};

/// Most points that one line may stand for.
const POINTS_LIMIT: usize = 1_000_000;

/// One step of a series.
#[derive(Clone, Debug)]
pub(super) enum Point {
    Missing,
    Float(f64),
    Histogram {
        histogram: Arc<FloatHistogram>,
        /// The notation says something of counter resets.
        has_hint: bool,
    },
}

impl Point {
    /// Puts what is there into a batch.
    pub(super) fn push_to(
        &self,
        batch: &mut Batch,
        series: SeriesRef,
        timestamp_ms: i64,
    ) -> Result<(), HistogramError> {
        match self {
            Self::Missing => Ok(()),
            Self::Float(value) => {
                batch.push(series, timestamp_ms, *value);
                Ok(())
            }
            Self::Histogram { histogram, .. } => {
                let histogram = Histogram::Float(FloatHistogram::clone(histogram));
                batch.push_histogram(series, timestamp_ms, &histogram)
            }
        }
    }
}

/// Labels and points of a line.
pub(super) fn parse(line: &str) -> Result<(Labels, Vec<Point>), String> {
    let line = line.trim();
    let (labels, used) = labels(line)?;
    let rest = &line[used..];
    if !rest.is_empty() && spaces(rest) == 0 {
        return Err(format!("unexpected text behind the labels: {rest:?}"));
    }
    let mut points = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (behind, item) = item(rest).map_err(|_| format!("no point of a series: {rest:?}"))?;
        if points.len().saturating_add(item.count) > POINTS_LIMIT {
            return Err(format!("more than {POINTS_LIMIT} points"));
        }
        item.extend(&mut points)?;
        rest = behind.trim_start();
    }
    Ok((labels, points))
}

/// The labels at the start of a line, and how many bytes they take.
pub(super) fn labels(line: &str) -> Result<(Labels, usize), String> {
    let mut builder = LabelsBuilder::new();
    let mut at = metric_identifier(line);
    if at > 0 {
        builder.set(METRIC_NAME, &line[..at]);
    }
    let brace = at + spaces(&line[at..]);
    if !line[brace..].starts_with('{') || line[brace..].starts_with("{{") {
        return if at > 0 {
            Ok((builder.build(), at))
        } else {
            Err(format!("no series: {line:?}"))
        };
    }
    at = brace + 1;
    loop {
        at += spaces(&line[at..]);
        if line[at..].starts_with('}') {
            return Ok((builder.build(), at + 1));
        }
        let (name, used) = name(&line[at..])?;
        at += used;
        at += spaces(&line[at..]);
        if let Some(rest) = line[at..].strip_prefix('=') {
            at += 1 + spaces(rest);
            let (text, used) = string(&line[at..])?;
            builder.set(&name, &text);
            at += used;
        } else {
            builder.set(METRIC_NAME, &name);
        }
        at += spaces(&line[at..]);
        if line[at..].starts_with(',') {
            at += 1;
        } else if !line[at..].starts_with('}') {
            return Err(format!("expected ',' or '}}' in labels: {:?}", &line[at..]));
        }
    }
}

fn name(rest: &str) -> Result<(String, usize), String> {
    match identifier(rest) {
        0 => string(rest),
        used => Ok((rest[..used].to_owned(), used)),
    }
}

fn string(rest: &str) -> Result<(String, usize), String> {
    let used = match rest.chars().next() {
        Some('`') => raw_quoted(rest)?,
        Some(quote @ ('"' | '\'')) => quoted(rest, quote)?,
        _ => return Err(format!("expected a string: {rest:?}")),
    };
    let bytes = unquote(&rest[..used])?;
    let text = String::from_utf8(bytes).map_err(|e| e.to_string())?;
    Ok((text, used))
}

/// Adding this leaves every float as it is, zero's sign included; a staleness marker is not added to.
const NO_INCREMENT: f64 = -0.0;

/// What one word of the notation stands for.
struct Item {
    first: Point,
    increment: Increment,
    count: usize,
}

/// What comes to each point from the one before.
enum Increment {
    Float(f64),
    Plus(FloatHistogram),
    Minus(FloatHistogram),
}

impl Item {
    fn floats(first: Point, increment: f64, count: usize) -> Self {
        Self {
            first,
            increment: Increment::Float(increment),
            count,
        }
    }

    fn extend(&self, points: &mut Vec<Point>) -> Result<(), String> {
        let mut point = self.first.clone();
        for place in 0..self.count {
            if place > 0 {
                self.increment.apply(&mut point)?;
            }
            points.push(point.clone());
        }
        Ok(())
    }
}

impl Increment {
    fn apply(&self, point: &mut Point) -> Result<(), String> {
        match (self, point) {
            (Self::Float(increment), Point::Float(value)) => *value += increment,
            (Self::Plus(more) | Self::Minus(more), Point::Histogram { histogram, .. }) => {
                if histogram.schema > more.schema {
                    return Err(format!(
                        "error combining histograms: cannot merge from schema {} to {}",
                        more.schema, histogram.schema
                    ));
                }
                let histogram = Arc::make_mut(histogram);
                match self {
                    Self::Minus(_) => histogram.subtract(more),
                    _ => histogram.add(more),
                }
                .map_err(|error| format!("error combining histograms: {error}"))?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn item(rest: &str) -> IResult<&str, Item> {
    let times = |i| preceded(char('x'), map_res(digit1, str::parse::<usize>)).parse(i);
    // A repetition stands for the value itself and so many more.
    let more = |count: Option<usize>| count.map_or(1, |count| count.saturating_add(1));
    let blank = map(preceded(char('_'), opt(times)), |count| {
        Item::floats(Point::Missing, NO_INCREMENT, count.unwrap_or(1))
    });
    let stale =
        value((), tag("stale")).map(|()| Item::floats(Point::Float(stale_nan()), NO_INCREMENT, 1));
    let histogram = |i| {
        map_res(
            delimited(tag("{{"), take_until("}}"), tag("}}")),
            histogram::parse,
        )
        .parse(i)
    };
    let histograms = map(
        (
            histogram,
            opt((alt((char('+'), char('-'))), histogram, times)),
            opt(times),
        ),
        move |((first, has_hint), series, count)| {
            let (increment, count, has_hint) = match series {
                Some(('-', (by, hinted), count)) => (Increment::Minus(by), Some(count), hinted),
                Some((_, (by, hinted), count)) => (Increment::Plus(by), Some(count), hinted),
                None => (Increment::Float(NO_INCREMENT), count, has_hint),
            };
            Item {
                first: Point::Histogram {
                    histogram: Arc::new(first),
                    has_hint,
                },
                increment,
                count: more(count),
            }
        },
    );
    let signed = |i| {
        map(
            (alt((value(1.0, char('+')), value(-1.0, char('-')))), number),
            |(sign, number): (f64, f64)| sign * number,
        )
        .parse(i)
    };
    let floats = map(
        (alt((signed, number)), opt((signed, times)), opt(times)),
        move |(first, series, count)| {
            let (increment, count) = match series {
                Some((increment, count)) => (increment, Some(count)),
                None => (NO_INCREMENT, count),
            };
            Item::floats(Point::Float(first), increment, more(count))
        },
    );
    let (behind, item) = alt((blank, stale, histograms, floats)).parse(rest)?;
    // Words are apart.
    alt((eof, recognize(char(' ')), recognize(char('\t')))).parse(behind)?;
    Ok((behind, item))
}

fn number(rest: &str) -> IResult<&str, f64> {
    let word = alt((
        value(f64::INFINITY, tag_no_case("inf")),
        value(f64::NAN, tag_no_case("nan")),
    ));
    let digits = |i| recognize((digit1, many0((char('_'), digit1)))).parse(i);
    let decimal = recognize((
        alt((
            recognize((digits, opt((char('.'), opt(digits))))),
            recognize((char('.'), digits)),
        )),
        opt((
            alt((char('e'), char('E'))),
            opt(alt((char('+'), char('-')))),
            digit1,
        )),
    ));
    alt((
        word,
        map_opt(decimal, |text: &str| text.replace('_', "").parse().ok()),
    ))
    .parse(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(line: &str) -> Vec<Option<f64>> {
        let (_, points) = parse(line).expect("valid");
        points
            .iter()
            .map(|point| match point {
                Point::Float(value) => Some(*value),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn words_expand() {
        assert_eq!(
            floats("a 1 2+3x2 -1-1x1 _x2 4x1 1e2"),
            [
                Some(1.0),
                Some(2.0),
                Some(5.0),
                Some(8.0),
                Some(-1.0),
                Some(-2.0),
                None,
                None,
                Some(4.0),
                Some(4.0),
                Some(100.0)
            ]
        );
        assert!(floats("a stale -Inf")[0].is_some_and(barograph_model::is_stale));
        let (_, points) =
            parse("a {{count:1 buckets:[1]}}+{{count:2 buckets:[2]}}x2").expect("valid");
        let counts: Vec<f64> = points
            .iter()
            .filter_map(|point| match point {
                Point::Histogram { histogram, .. } => Some(histogram.count),
                _ => None,
            })
            .collect();
        assert_eq!(counts, [1.0, 3.0, 5.0]);
        assert_eq!(floats("a {{schema:1 sum:3}}x2"), [None, None, None]);
    }

    #[test]
    fn labels_may_be_quoted() {
        let (labels, _) = parse(r#"{"a.b", x='1', "y z"="2",} 1"#).expect("valid");
        assert_eq!(labels.to_string(), r#"{__name__="a.b", x="1", "y z"="2"}"#);
        assert!(parse("a 1foo").is_err());
    }
}

//! Answers as charts in files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use barograph_model::Labels;
use serde_json::Value;

use super::show::{elements, labels_of};
use super::{Question, range};
use crate::chart::{
    BARS_LIMIT, Bar, Body, Bucket, Chart, Heatmap, Line, Lines, Look, SERIES_LIMIT, Unit,
    series_name, short_names,
};

/// Pictures to make of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pictures {
    /// A file for each kind; `-` is standard output.
    pub(crate) png: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) look: Look,
    /// The expression where absent.
    pub(crate) title: Option<String>,
    /// Told from the expression where absent.
    pub(crate) unit: Option<Unit>,
    /// Series are added up.
    pub(crate) stacked: bool,
}

impl Pictures {
    /// Whether none is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.png.is_none() && self.svg.is_none()
    }

    /// Draws an answer into the files.
    ///
    /// # Errors
    /// The answer cannot be drawn, or a file not be written.
    pub(super) fn write(&self, question: &Question, data: &Value) -> Result<(), String> {
        let chart = self.chart(question, data)?;
        if let Some(path) = &self.png {
            let file = chart.png(&self.look).map_err(|error| error.to_string())?;
            save(path, &file)?;
        }
        if let Some(path) = &self.svg {
            let file = chart.svg(&self.look).map_err(|error| error.to_string())?;
            save(path, file.as_bytes())?;
        }
        Ok(())
    }

    /// The chart of an answer.
    ///
    /// # Errors
    /// The answer cannot be drawn.
    pub(super) fn chart(&self, question: &Question, data: &Value) -> Result<Chart, String> {
        let expr = match question {
            Question::Instant { expr, .. } | Question::Range { expr, .. } => expr.as_str(),
            _ => "",
        };
        let (body, notes) = match (data["resultType"].as_str(), question) {
            (Some("matrix"), Question::Range { .. }) => self.over_time(question, data),
            (Some("vector" | "scalar"), _) => at_a_time(data),
            (kind, _) => {
                let kind = kind.unwrap_or("answer without values");
                return Err(format!("a {kind} cannot be drawn"));
            }
        };
        let title = self.title.clone().unwrap_or_else(|| expr.to_owned());
        let unit = self.unit.unwrap_or_else(|| match body {
            Body::Heatmap(_) | Body::Histogram(_) => Unit::of_observations(expr),
            _ => Unit::of_expression(expr),
        });
        Ok(Chart {
            notes: notes.into_iter().filter(|note| *note != title).collect(),
            title,
            unit,
            body,
        })
    }

    fn over_time(&self, question: &Question, data: &Value) -> (Body, Vec<String>) {
        let (start_ms, end_ms, step_ms) = match question {
            Question::Range {
                start_ms,
                end_ms,
                step_ms,
                ..
            } => range(*start_ms, *end_ms, *step_ms),
            _ => range(None, None, None),
        };
        let labels: Vec<Labels> = elements(&data["result"]).map(labels_of).collect();
        let (names, common) = short_names(&labels);
        let mut notes: Vec<String> = Vec::new();
        notes.extend((!common.is_empty()).then_some(common));
        let floats = elements(&data["result"]).any(|e| e.get("values").is_some());
        let histograms = elements(&data["result"]).any(|e| e.get("histograms").is_some());
        if histograms && !floats {
            let columns =
                columns(elements(&data["result"]).flat_map(|e| elements(&e["histograms"])));
            notes.extend(sum_note(&labels));
            let heatmap = Heatmap {
                start_ms,
                end_ms,
                step_ms,
                columns,
            };
            return (Body::Heatmap(heatmap), notes);
        }
        if histograms {
            notes.push("native histograms beside floats are not drawn".to_owned());
        }
        if labels.len() > SERIES_LIMIT {
            notes.push(format!(
                "the first {SERIES_LIMIT} of {} series",
                labels.len()
            ));
        }
        let steps = ((end_ms - start_ms) / step_ms.max(1)).max(0) as usize + 1;
        let series = elements(&data["result"]).zip(names).map(|(element, name)| {
            let mut values = vec![f64::NAN; steps];
            for pair in elements(&element["values"]) {
                let index = (time_ms(pair) - start_ms).div_euclid(step_ms.max(1));
                if let (Some(value), Ok(index)) = (number(pair), usize::try_from(index))
                    && let Some(place) = values.get_mut(index)
                {
                    *place = value;
                }
            }
            Line { name, values }
        });
        let lines = Lines {
            start_ms,
            step_ms,
            end_ms,
            series: series.collect(),
            stacked: self.stacked,
        };
        (Body::Lines(lines), notes)
    }
}

fn at_a_time(data: &Value) -> (Body, Vec<String>) {
    if data["resultType"] == "scalar" {
        let bar = number(&data["result"]).map(|value| Bar {
            name: String::new(),
            value,
        });
        return (Body::Bars(bar.into_iter().collect()), Vec::new());
    }
    let result = || elements(&data["result"]);
    let is_histogram = |element: &&Value| element.get("histogram").is_some();
    let time = result().next().map(|element| {
        let pair = element.get("value").unwrap_or(&element["histogram"]);
        format!("at {}", crate::api::rfc3339(time_ms(pair)))
    });
    let labels: Vec<Labels> = result().map(labels_of).collect();
    let (names, common) = short_names(&labels);
    let mut notes: Vec<String> = Vec::new();
    let common = (!common.is_empty()).then_some(common);
    notes.extend(
        common
            .into_iter()
            .chain(time)
            .reduce(|a, b| format!("{a} {b}")),
    );
    let all_histograms = result().count() > 0 && result().all(|e| is_histogram(&e));
    if all_histograms {
        let columns = columns(result().map(|element| &element["histogram"]));
        if let Some(sum) = sum_note(&labels) {
            notes = vec![
                notes
                    .iter()
                    .fold(sum, |text, note| format!("{text} {note}")),
            ];
        }
        let buckets = columns.into_iter().next().map(|(_, buckets)| buckets);
        return (Body::Histogram(buckets.unwrap_or_default()), notes);
    }
    if result().any(|element| is_histogram(&element)) {
        notes.push("native histograms beside floats are not drawn".to_owned());
    }
    if labels.len() > BARS_LIMIT {
        notes.push(format!("the first {BARS_LIMIT} of {} series", labels.len()));
    }
    let bars = result().zip(names).filter_map(|(element, name)| {
        let value = number(element.get("value")?)?;
        Some(Bar { name, value })
    });
    (Body::Bars(bars.collect()), notes)
}

/// Several histograms are drawn as one.
fn sum_note(labels: &[Labels]) -> Option<String> {
    match labels {
        [alone] => Some(series_name(alone)).filter(|name| name != "{}"),
        many => Some(format!("sum of {} series", many.len())),
    }
}

/// Buckets of each time, those of several histograms added.
fn columns<'a>(pairs: impl Iterator<Item = &'a Value>) -> Vec<(i64, Vec<Bucket>)> {
    let mut times: BTreeMap<i64, BTreeMap<(u64, u64), Bucket>> = BTreeMap::new();
    for pair in pairs {
        let column = times.entry(time_ms(pair)).or_default();
        for bucket in elements(&pair[1]["buckets"]) {
            let part = |index: usize| bucket[index].as_str().and_then(|text| text.parse().ok());
            if let (Some(low), Some(high), Some(count)) = (part(1), part(2), part(3)) {
                let (low, high, count): (f64, f64, f64) = (low, high, count);
                let empty = Bucket {
                    low,
                    high,
                    count: 0.0,
                };
                let key = (low.to_bits(), high.to_bits());
                column.entry(key).or_insert(empty).count += count;
            }
        }
    }
    let column =
        |(time_ms, buckets): (i64, BTreeMap<_, Bucket>)| (time_ms, buckets.into_values().collect());
    times.into_iter().map(column).collect()
}

fn time_ms(pair: &Value) -> i64 {
    (pair[0].as_f64().unwrap_or(0.0) * 1000.0).round() as i64
}

fn number(pair: &Value) -> Option<f64> {
    pair[1].as_str()?.parse().ok()
}

fn save(path: &Path, file: &[u8]) -> Result<(), String> {
    let written = if path == Path::new("-") {
        std::io::stdout().write_all(file)
    } else {
        std::fs::write(path, file)
    };
    written.map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range_question() -> Question {
        Question::Range {
            expr: "a_bytes".into(),
            start_ms: Some(0),
            end_ms: Some(30_000),
            step_ms: Some(10_000),
        }
    }

    #[test]
    fn floats_over_time_become_lines_with_gaps() {
        let data = serde_json::json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "a_bytes", "x": "1"}, "values": [[0, "1"], [20, "2"]]},
            {"metric": {"__name__": "a_bytes", "x": "2"}, "values": [[10, "NaN"]]},
        ]});
        let chart = Pictures::default()
            .chart(&range_question(), &data)
            .expect("a chart");
        assert_eq!((chart.unit, chart.title.as_str()), (Unit::Bytes, "a_bytes"));
        assert_eq!(chart.notes, ["a_bytes by x"]);
        let Body::Lines(lines) = chart.body else {
            panic!("{:?}", chart.body)
        };
        assert_eq!(lines.series[0].name, "1");
        let values = &lines.series[0].values;
        assert_eq!((values.len(), values[0], values[2]), (4, 1.0, 2.0));
        assert!(values[1].is_nan() && values[3].is_nan());
    }

    #[test]
    fn histograms_become_columns_of_their_sum() {
        let histogram = serde_json::json!({"count": "3", "sum": "9", "buckets": [
            [0, "1", "2", "3"], [1, "-Inf", "1", "0.5"],
        ]});
        let data = serde_json::json!({"resultType": "matrix", "result": [
            {"metric": {"x": "1"}, "histograms": [[10, histogram]]},
            {"metric": {"x": "2"}, "histograms": [[10, histogram], [20, histogram]]},
        ]});
        let chart = Pictures::default()
            .chart(&range_question(), &data)
            .expect("a chart");
        let Body::Heatmap(map) = chart.body else {
            panic!("{:?}", chart.body)
        };
        let counts: Vec<f64> = map.columns[0].1.iter().map(|bucket| bucket.count).collect();
        assert_eq!((map.columns.len(), counts), (2, vec![6.0, 1.0]));
        assert!(chart.notes.contains(&"sum of 2 series".to_owned()));
    }

    #[test]
    fn texts_cannot_be_drawn() {
        let data = serde_json::json!({"resultType": "string", "result": [0, "a"]});
        let question = Question::Instant {
            expr: "\"a\"".into(),
            time_ms: None,
        };
        let error = Pictures::default()
            .chart(&question, &data)
            .expect_err("a text");
        assert_eq!(error, "a string cannot be drawn");
    }
}

//! Answers as text for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use barograph_model::Labels;
use serde_json::Value;

/// The `data` of a reply as lines.
pub(super) fn table(data: &Value) -> String {
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("vector") => vector(result),
        Some("matrix") => matrix(result),
        Some("scalar") => format!("{}\n", text(&result[1])),
        Some("string") => format!("{:?}\n", text(&result[1])),
        // Lists of labels or of label sets.
        _ => list(data),
    }
}

/// The `data` of a reply as RFC 4180 has it: a column per label, then time and value, for every value
/// a line.
pub(super) fn csv(data: &Value) -> String {
    let result = &data["result"];
    let (sets, values): (Vec<&Value>, &[&str]) = match data["resultType"].as_str() {
        Some("vector" | "matrix") => {
            let sets = elements(result).map(|element| &element["metric"]);
            (sets.collect(), &["time", "value"])
        }
        Some(_) => (Vec::new(), &["time", "value"]),
        None if elements(data).any(Value::is_object) => (elements(data).collect(), &[]),
        None => (Vec::new(), &["name"]),
    };
    let names: BTreeSet<&str> = sets
        .iter()
        .filter_map(|labels| labels.as_object())
        .flat_map(|labels| labels.keys().map(String::as_str))
        .collect();
    let mut out = String::new();
    push_line(
        &mut out,
        names.iter().copied().chain(values.iter().copied()),
    );
    let mut push = |labels: &Value, more: &[String]| {
        let labels: Vec<String> = names.iter().map(|name| text(&labels[*name])).collect();
        push_line(&mut out, labels.iter().chain(more).map(String::as_str));
    };
    let point = |pair: &Value| {
        let value = match &pair[1] {
            Value::String(value) => value.clone(),
            histogram => histogram.to_string(),
        };
        [pair[0].to_string(), value]
    };
    match data["resultType"].as_str() {
        Some("vector" | "matrix") => {
            for element in elements(result) {
                for kind in ["value", "histogram"] {
                    if let Some(pair) = element.get(kind) {
                        push(&element["metric"], &point(pair));
                    }
                }
                for pair in elements(&element["values"]).chain(elements(&element["histograms"])) {
                    push(&element["metric"], &point(pair));
                }
            }
        }
        Some(_) => push(&Value::Null, &point(result)),
        None => {
            for element in elements(data) {
                match element {
                    Value::Object(_) => push(element, &[]),
                    _ => push(&Value::Null, &[text(element)]),
                }
            }
        }
    }
    out
}

fn push_line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>) {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            out.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) {
            let _ = write!(out, "\"{}\"", cell.replace('"', "\"\""));
        } else {
            out.push_str(cell);
        }
    }
    out.push_str("\r\n");
}

/// Where the time went, the parts of a query below each other; none where the reply does not say.
pub(super) fn profile(nodes: &Value) -> Option<String> {
    nodes.as_array()?;
    let mut rows = Vec::new();
    for node in elements(nodes) {
        push_rows(node, 0, &mut rows);
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0).max(4);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<width$}  {:>10}  {:>8}  {:>10}  {:>10}  {:>7}  {:>12}",
        "part", "time", "series", "points", "read", "pages", "peak bytes"
    );
    for (name, node) in rows {
        let count = |member: &str| node[member].as_u64().unwrap_or(0);
        let time = format!("{:.3} ms", node["seconds"].as_f64().unwrap_or(0.0) * 1000.0);
        let _ = writeln!(
            out,
            "{name:<width$}  {time:>10}  {:>8}  {:>10}  {:>10}  {:>7}  {:>12}",
            count("series"),
            count("points"),
            count("samplesRead"),
            count("pagesDecoded"),
            count("peakBytes"),
        );
    }
    Some(out)
}

fn push_rows<'a>(node: &'a Value, depth: usize, rows: &mut Vec<(String, &'a Value)>) {
    let name = format!(
        "{}{} {}",
        "  ".repeat(depth),
        text(&node["name"]),
        text(&node["detail"])
    );
    rows.push((name.trim_end().to_owned(), node));
    for child in elements(&node["children"]) {
        push_rows(child, depth + 1, rows);
    }
}

fn vector(result: &Value) -> String {
    let rows: Vec<(String, String)> = elements(result)
        .map(|element| {
            let value = match element.get("value") {
                Some(pair) => text(&pair[1]),
                None => element["histogram"][1].to_string(),
            };
            (metric(&element["metric"]), value)
        })
        .collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
    let mut out = String::new();
    for (name, value) in rows {
        let _ = writeln!(out, "{name:<width$}  {value}", width = width.unwrap_or(0));
    }
    out
}

fn matrix(result: &Value) -> String {
    let mut out = String::new();
    for element in elements(result) {
        let _ = writeln!(out, "{}", metric(&element["metric"]));
        for pair in elements(&element["values"]) {
            let time_ms = (pair[0].as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
            let _ = writeln!(
                out,
                "  {}  {}",
                crate::api::rfc3339(time_ms),
                text(&pair[1])
            );
        }
        for pair in elements(&element["histograms"]) {
            let time_ms = (pair[0].as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
            let _ = writeln!(out, "  {}  {}", crate::api::rfc3339(time_ms), pair[1]);
        }
    }
    out
}

fn list(data: &Value) -> String {
    let mut out = String::new();
    for element in elements(data) {
        let line = match element {
            Value::Object(_) => metric(element),
            _ => text(element),
        };
        let _ = writeln!(out, "{line}");
    }
    out
}

pub(super) fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The labels of an element of an answer.
pub(super) fn labels_of(element: &Value) -> Labels {
    let pairs = element["metric"].as_object().into_iter().flatten();
    Labels::from_pairs(pairs.map(|(name, value)| (name, text(value))))
}

/// A series as PromQL selects it: `up{job="a"}`.
pub(super) fn metric(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs = pairs.map(|(name, value)| (name, text(value)));
    crate::chart::series_name(&Labels::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_lined_up() {
        let data = serde_json::json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "value": [1, "1"]},
            {"metric": {}, "value": [1, "NaN"]},
        ]});
        assert_eq!(table(&data), "up{job=\"a\"}  1\n{}           NaN\n");
        let data = serde_json::json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "up"}, "values": [[0, "1"], [1.5, "2"]]},
        ]});
        assert_eq!(
            table(&data),
            "up\n  1970-01-01T00:00:00Z  1\n  1970-01-01T00:00:01.5Z  2\n"
        );
        assert_eq!(table(&serde_json::json!(["a", "b"])), "a\nb\n");
    }

    #[test]
    fn answers_are_rows_of_columns() {
        let data = serde_json::json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "up", "job": "a,b"}, "values": [[0, "1"], [1.5, "NaN"]]},
            {"metric": {"x": "\"q\""}, "histograms": [[2, {"count": "3"}]]},
        ]});
        assert_eq!(
            csv(&data),
            "__name__,job,x,time,value\r\n\
             up,\"a,b\",,0,1\r\n\
             up,\"a,b\",,1.5,NaN\r\n\
             ,,\"\"\"q\"\"\",2,\"{\"\"count\"\":\"\"3\"\"}\"\r\n"
        );
        let data = serde_json::json!({"resultType": "scalar", "result": [1, "2"]});
        assert_eq!(csv(&data), "time,value\r\n1,2\r\n");
        assert_eq!(csv(&serde_json::json!(["a"])), "name\r\na\r\n");
        assert_eq!(csv(&serde_json::json!([{"a": "1"}])), "a\r\n1\r\n");
    }
}

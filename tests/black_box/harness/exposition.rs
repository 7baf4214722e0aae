//! Exposition text as a test reads it: an independent, slow reader to compare with.

use std::collections::BTreeMap;

/// Labels, name included as `__name__`.
pub(crate) type LabelMap = BTreeMap<String, String>;

/// The selector of exactly these labels, as PromQL.
pub(crate) fn selector(labels: &LabelMap) -> String {
    let matchers: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    format!("{{{}}}", matchers.join(","))
}

/// Every sample of a page. Panics on what it does not understand.
pub(crate) fn read_samples(page: &str) -> Vec<(LabelMap, f64)> {
    page.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(read_line)
        .collect()
}

fn read_line(line: &str) -> (LabelMap, f64) {
    let name_end = line
        .find(['{', ' '])
        .unwrap_or_else(|| panic!("no sample: {line}"));
    let mut labels = LabelMap::from([("__name__".to_owned(), line[..name_end].to_owned())]);
    let mut rest = &line[name_end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (name, after) = rest.split_once("=\"").expect("a label");
            let (value, after) = read_value(after);
            let value = match name {
                "le" | "quantile" => canonical(&value),
                _ => value,
            };
            labels.insert(name.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let number = rest.split_whitespace().next().expect("a value");
    (labels, read_number(number))
}

/// Bounds are numbers: `1` and `1.0` are one bucket, and stored as `1.0`.
fn canonical(bound: &str) -> String {
    match bound.parse::<f64>() {
        Ok(number) if number.is_finite() => format!("{number:?}"),
        _ => bound.to_owned(),
    }
}

fn read_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().expect("an escape").1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    panic!("no end of a label's value: {text}");
}

/// A number as Prometheus writes it.
pub(crate) fn read_number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other
            .parse()
            .unwrap_or_else(|_| panic!("{other} is no number")),
    }
}

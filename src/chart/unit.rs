//! What numbers measure, as far as an expression tells, and how they are written.

use std::fmt::Write as _;

use barograph_query::ast::{AggregateOp, BinaryOp, Node, NodeKind};
use barograph_query::{ParseOptions, parse_with};

/// What numbers measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nothing known.
    #[default]
    Plain,
    Bytes,
    BytesPerSecond,
    Seconds,
    /// 1 is all of it.
    Ratio,
    /// 100 is all of it.
    Percent,
}

impl Unit {
    /// Names for the command line.
    pub(crate) const NAMES: [&str; 6] = ["none", "bytes", "bytes/s", "seconds", "ratio", "percent"];

    /// The unit of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::Plain,
            "bytes" => Self::Bytes,
            "bytes/s" => Self::BytesPerSecond,
            "seconds" => Self::Seconds,
            "ratio" => Self::Ratio,
            "percent" => Self::Percent,
            _ => return None,
        })
    }

    /// The unit of what an expression yields, by the suffixes of its metrics' names.
    pub(crate) fn of_expression(text: &str) -> Self {
        let Ok(expr) = parse_with(text, ParseOptions::ALL) else {
            return Self::Plain;
        };
        match measure(expr.root()) {
            Measure::Of(Base::Bytes, false) => Self::Bytes,
            Measure::Of(Base::Bytes, true) => Self::BytesPerSecond,
            Measure::Of(Base::Seconds, false) => Self::Seconds,
            Measure::Of(Base::Ratio, false) => Self::Ratio,
            _ => Self::Plain,
        }
    }

    /// The unit of the observations in the histograms that an expression yields.
    pub(crate) fn of_observations(text: &str) -> Self {
        let Ok(expr) = parse_with(text, ParseOptions::ALL) else {
            return Self::Plain;
        };
        match measure(expr.root()) {
            Measure::Of(Base::Bytes, _) => Self::Bytes,
            Measure::Of(Base::Seconds, _) => Self::Seconds,
            Measure::Of(Base::Ratio, _) => Self::Ratio,
            _ => Self::Plain,
        }
    }

    /// A value in about `digits` digits, scaled.
    pub(crate) fn format(self, value: f64, digits: usize) -> String {
        if value.is_nan() {
            return "NaN".to_owned();
        }
        if value.is_infinite() {
            return if value > 0.0 { "+Inf" } else { "−Inf" }.to_owned();
        }
        match self {
            Self::Plain => decimal(value, digits),
            Self::Bytes => format!("{}B", binary(value, digits)),
            Self::BytesPerSecond => format!("{}B/s", binary(value, digits)),
            Self::Seconds => seconds(value, digits),
            Self::Ratio => format!("{} %", rounded(value * 100.0, digits)),
            Self::Percent => format!("{} %", rounded(value, digits)),
        }
    }

    /// Whether scaled numbers go up by 1024.
    pub(super) fn is_binary(self) -> bool {
        matches!(self, Self::Bytes | Self::BytesPerSecond)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Bytes,
    Seconds,
    Ratio,
}

/// What a part of an expression measures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// Nothing known.
    Unknown,
    /// A number, which takes the unit of what it meets.
    Number,
    /// A base, and whether it is per second.
    Of(Base, bool),
}

fn measure(node: &Node) -> Measure {
    match &node.kind {
        NodeKind::Number { .. } => Measure::Number,
        NodeKind::Paren(inner) | NodeKind::Unary { operand: inner, .. } => measure(inner),
        NodeKind::Selector(selector) => of_name(selector.name.as_deref()),
        NodeKind::Range(range) => of_name(range.selector.name.as_deref()),
        NodeKind::Subquery(subquery) => measure(&subquery.operand),
        NodeKind::Aggregate(aggregate) => match aggregate.op {
            AggregateOp::Count
            | AggregateOp::Group
            | AggregateOp::CountValues
            | AggregateOp::Stdvar => Measure::Unknown,
            _ => measure(&aggregate.operand),
        },
        NodeKind::Binary(binary) => of_operation(binary.op, &binary.lhs, &binary.rhs),
        NodeKind::Call(call) => of_call(call.function.name, &call.args),
        NodeKind::String(_) => Measure::Unknown,
    }
}

fn of_operation(op: BinaryOp, lhs: &Node, rhs: &Node) -> Measure {
    let (left, right) = (measure(lhs), measure(rhs));
    match op {
        BinaryOp::Div => match (left, right) {
            (Measure::Of(a, x), Measure::Of(b, y)) if (a, x) == (b, y) => {
                Measure::Of(Base::Ratio, false)
            }
            // Seconds per second by calls per second: seconds per call.
            (Measure::Of(base, _), Measure::Unknown) => Measure::Of(base, false),
            _ => Measure::Unknown,
        },
        BinaryOp::And | BinaryOp::Unless | BinaryOp::TrimLower | BinaryOp::TrimUpper => left,
        _ if op.is_comparison() => left,
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mod | BinaryOp::Or => match (left, right) {
            (Measure::Number, other) | (other, Measure::Number) => other,
            _ if left == right => left,
            _ => Measure::Unknown,
        },
        _ => Measure::Unknown,
    }
}

fn of_call(name: &str, args: &[Node]) -> Measure {
    let of = |index: usize| args.get(index).map_or(Measure::Unknown, measure);
    match name {
        "rate" | "irate" | "deriv" => match of(0) {
            Measure::Of(base, false) => Measure::Of(base, true),
            _ => Measure::Unknown,
        },
        "histogram_quantile" => match of(1) {
            // The observations' unit: the rate is that of their number.
            Measure::Of(base, _) => Measure::Of(base, false),
            _ => args.get(1).map_or(Measure::Unknown, of_buckets),
        },
        "histogram_avg" | "histogram_stddev" => match of(0) {
            Measure::Of(base, _) => Measure::Of(base, false),
            other => other,
        },
        "quantile_over_time" => of(1),
        "abs"
        | "ceil"
        | "floor"
        | "round"
        | "clamp"
        | "clamp_min"
        | "clamp_max"
        | "delta"
        | "idelta"
        | "increase"
        | "sort"
        | "sort_desc"
        | "sort_by_label"
        | "sort_by_label_desc"
        | "avg_over_time"
        | "min_over_time"
        | "max_over_time"
        | "sum_over_time"
        | "last_over_time"
        | "first_over_time"
        | "stddev_over_time"
        | "mad_over_time"
        | "predict_linear"
        | "double_exponential_smoothing"
        | "label_replace"
        | "label_join"
        | "histogram_sum"
        | "info"
        | "scalar" => of(0),
        "histogram_fraction" => Measure::Of(Base::Ratio, false),
        _ => Measure::Unknown,
    }
}

/// What the bounds of the only metric of buckets below a node measure.
fn of_buckets(node: &Node) -> Measure {
    let mut found = Measure::Unknown;
    node.walk(&mut |node| {
        let name = match &node.kind {
            NodeKind::Selector(selector) => selector.name.as_deref(),
            NodeKind::Range(range) => range.selector.name.as_deref(),
            _ => None,
        };
        if let Some(name) = name.and_then(|name| name.strip_suffix("_bucket")) {
            found = of_name(Some(name));
        }
    });
    found
}

fn of_name(name: Option<&str>) -> Measure {
    let Some(name) = name else {
        return Measure::Unknown;
    };
    // A point in time is no duration.
    if name.ends_with("_time_seconds") || name.ends_with("_timestamp_seconds") {
        return Measure::Unknown;
    }
    let root = name.strip_suffix("_total").unwrap_or(name);
    let root = root.strip_suffix("_sum").unwrap_or(root);
    if root.ends_with("_bytes") {
        Measure::Of(Base::Bytes, false)
    } else if root.ends_with("_seconds") {
        Measure::Of(Base::Seconds, false)
    } else if root.ends_with("_ratio") {
        Measure::Of(Base::Ratio, false)
    } else {
        Measure::Unknown
    }
}

/// A value in `digits` significant digits, without zeros at the end.
fn rounded(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = (digits as i32 - 1 - magnitude).clamp(0, 12) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    match text.strip_prefix('-') {
        Some("0") => "0".to_owned(),
        Some(size) => format!("−{size}"),
        None => text.to_owned(),
    }
}

fn decimal(value: f64, digits: usize) -> String {
    const LARGE: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    const SMALL: [&str; 5] = ["", "m", "µ", "n", "p"];
    let size = value.abs();
    // Whole numbers up to 9,999 read better as they are.
    if size == 0.0 || (1e-3..1e4).contains(&size) {
        return rounded(value, digits);
    }
    if !(1e-12..1e21).contains(&size) {
        return format!("{value:.2e}").replace('-', "−");
    }
    let mut power = 0;
    let mut scaled = value;
    while scaled.abs() >= 1000.0 && power + 1 < LARGE.len() {
        scaled /= 1000.0;
        power += 1;
    }
    if power > 0 {
        return format!("{}{}", rounded(scaled, digits), LARGE[power]);
    }
    while scaled.abs() < 1.0 && power + 1 < SMALL.len() {
        scaled *= 1000.0;
        power += 1;
    }
    format!("{}{}", rounded(scaled, digits), SMALL[power])
}

fn binary(value: f64, digits: usize) -> String {
    const NAMES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut power = 0;
    let mut scaled = value;
    while scaled.abs() >= 1024.0 && power + 1 < NAMES.len() {
        scaled /= 1024.0;
        power += 1;
    }
    format!("{} {}", rounded(scaled, digits), NAMES[power])
}

fn seconds(value: f64, digits: usize) -> String {
    const LONG: [(f64, &str); 5] = [
        (31_536_000.0, "y"),
        (86_400.0, "d"),
        (3600.0, "h"),
        (60.0, "m"),
        (1.0, "s"),
    ];
    let size = value.abs();
    if size < 60.0 {
        return match size {
            0.0 => "0 s".to_owned(),
            _ if size < 1e-6 => format!("{} ns", rounded(value * 1e9, digits)),
            _ if size < 1e-3 => format!("{} µs", rounded(value * 1e6, digits)),
            _ if size < 1.0 => format!("{} ms", rounded(value * 1e3, digits)),
            _ => format!("{} s", rounded(value, digits)),
        };
    }
    // A hundred years and more: calendars end, numbers do not.
    if size >= 100.0 * LONG[0].0 {
        return format!("{} y", decimal(value / LONG[0].0, digits));
    }
    let sign = if value < 0.0 { "−" } else { "" };
    let first = LONG.iter().position(|(unit, _)| size >= *unit).unwrap_or(4);
    let (unit, name) = LONG[first];
    let whole = (size / unit).floor();
    let mut text = format!("{sign}{whole} {name}");
    if let Some((next, next_name)) = LONG.get(first + 1) {
        let more = ((size - whole * unit) / next).floor();
        if more > 0.0 {
            let _ = write!(text, " {more} {next_name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metrics_tell_units() {
        for (text, unit) in [
            ("go_memstats_heap_bytes", Unit::Bytes),
            (
                "sum by (job) (rate(node_network_receive_bytes_total[5m]))",
                Unit::BytesPerSecond,
            ),
            ("rate(process_cpu_seconds_total[5m])", Unit::Plain),
            ("a_bytes / b_bytes", Unit::Ratio),
            ("100 * a_bytes / b_bytes", Unit::Plain),
            (
                "rate(a_seconds_sum[5m]) / rate(a_seconds_count[5m])",
                Unit::Seconds,
            ),
            (
                "histogram_quantile(0.9, sum by (le) (rate(a_seconds_bucket[5m])))",
                Unit::Seconds,
            ),
            (
                "histogram_quantile(0.9, rate(a_seconds[5m]))",
                Unit::Seconds,
            ),
            ("time() - process_start_time_seconds", Unit::Plain),
            ("count(a_bytes)", Unit::Plain),
            ("a_bytes - b_bytes > 5", Unit::Bytes),
            ("a_bytes + b_seconds", Unit::Plain),
            ("not (", Unit::Plain),
        ] {
            assert_eq!(Unit::of_expression(text), unit, "{text}");
        }
    }

    #[test]
    fn rates_of_histograms_keep_the_unit_of_observations() {
        let expr = "sum(rate(a_seconds[5m]))";
        assert_eq!(Unit::of_observations(expr), Unit::Seconds);
        assert_eq!(Unit::of_expression(expr), Unit::Plain);
    }

    #[test]
    fn values_are_scaled() {
        for (unit, value, want) in [
            (Unit::Plain, 0.0, "0"),
            (Unit::Plain, 9999.0, "9999"),
            (Unit::Plain, -12_345.0, "−12.35k"),
            (Unit::Plain, 0.25, "0.25"),
            (Unit::Plain, 0.000_25, "250µ"),
            (Unit::Plain, 1e30, "1.00e30"),
            (Unit::Bytes, 1536.0, "1.5 KiB"),
            (Unit::BytesPerSecond, 100.0, "100 B/s"),
            (Unit::Seconds, 0.0025, "2.5 ms"),
            (Unit::Seconds, 5400.0, "1 h 30 m"),
            (Unit::Ratio, 0.125, "12.5 %"),
            (Unit::Percent, f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(unit.format(value, 4), want);
        }
        for name in Unit::NAMES {
            assert!(Unit::named(name).is_some());
        }
    }
}

//! A slow and obvious evaluator: the semantics of PromQL read off the tree, sample by sample, with
//! nothing shared, cached or streamed. Covers what the generator ([`random`]) writes.

pub(crate) mod compare;
mod estimate;
mod extended;
mod floats;
pub(crate) mod histogram;
mod info;
mod matching;
pub(crate) mod random;
mod trim;

use std::collections::BTreeSet;

use barograph_model::{Labels, METRIC_NAME, MatchOp};
use barograph_query::ast::{
    Aggregate, AggregateOp, At, BinaryOp, Call, DurationExpr, DurationKind, DurationOp,
    DurationSpec, Extension, Modifiers, Node, NodeKind, Selector,
};

use extended::Kinds;
use histogram::Plain;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    Float(f64),
    Histogram(Plain),
}

impl Val {
    fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    fn histogram(&self) -> Option<&Plain> {
        match self {
            Self::Float(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }
}

/// A stored series: labels, and samples in order of time; `None` is a staleness marker.
pub(crate) type Stored = (Labels, Vec<(i64, Option<Val>)>);
/// A result: labels, and a value or nothing per step.
pub(crate) type Row = (Labels, Vec<Option<Val>>);

/// What a query is evaluated over.
pub(crate) struct Reference<'a> {
    /// In the order in which the store gives series: sums depend on it in their last bits.
    pub(crate) series: &'a [Stored],
    pub(crate) lookback_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
}

/// Why there is no result; which words the engine finds for it is not compared.
pub(crate) type Result<T> = std::result::Result<T, &'static str>;

/// The answer depends on what the language leaves open: which of equals `topk` keeps.
pub(crate) const OPEN: &str = "open";

impl Reference<'_> {
    /// The value of an instant vector at every step.
    pub(crate) fn vector(&self, node: &Node, steps: &[i64]) -> Result<Vec<Row>> {
        match &node.kind {
            NodeKind::Paren(inner) => self.vector(inner, steps),
            NodeKind::Unary { negative, operand } => {
                let mut rows = self.vector(operand, steps)?;
                if *negative {
                    map(&mut rows, |value| {
                        Some(match value {
                            Val::Float(value) => Val::Float(-value),
                            Val::Histogram(h) => Val::Histogram(h.map(|value| -value)),
                        })
                    });
                    drop_names(&mut rows);
                }
                distinct(rows)
            }
            NodeKind::Selector(selector) if selector.extension.is_some() => {
                Ok(self.smoothed(selector, steps))
            }
            NodeKind::Selector(selector) => Ok(self.select(selector, steps)),
            NodeKind::Call(call) => self.call(call, steps),
            NodeKind::Aggregate(aggregate) => self.aggregate(aggregate, steps),
            NodeKind::Binary(binary) => self.binary(binary, steps),
            _ => Err("not a vector"),
        }
    }

    fn scalar(node: &Node) -> f64 {
        match &node.unwrap_parens().kind {
            NodeKind::Number { value, .. } => *value,
            NodeKind::Unary { operand, .. } => -Self::scalar(operand),
            _ => f64::NAN,
        }
    }

    fn looks_at(&self, modifiers: &Modifiers, step_ms: i64) -> i64 {
        let at_ms = match modifiers.at {
            None => step_ms,
            Some(At::Time(time_ms)) => time_ms,
            Some(At::Start) => self.start_ms,
            Some(At::End) => self.end_ms,
        };
        at_ms - self.duration_ms(&modifiers.offset)
    }

    fn duration_ms(&self, duration: &DurationSpec) -> i64 {
        match duration {
            DurationSpec::Fixed(ms) => *ms,
            DurationSpec::Expression(expr) => (self.seconds(expr) * 1000.0) as i64,
        }
    }

    fn seconds(&self, expr: &DurationExpr) -> f64 {
        match &expr.kind {
            DurationKind::Number { value, .. } => *value,
            DurationKind::Step => self.step_ms as f64 / 1000.0,
            DurationKind::Range => (self.end_ms - self.start_ms) as f64 / 1000.0,
            DurationKind::Sign { negative, operand } => {
                let sign = if *negative { -1.0 } else { 1.0 };
                sign * self.seconds(operand)
            }
            DurationKind::Binary { op, lhs, rhs } => {
                let (l, r) = (self.seconds(lhs), self.seconds(rhs));
                match op {
                    DurationOp::Add => l + r,
                    DurationOp::Sub => l - r,
                    DurationOp::Mul => l * r,
                    DurationOp::Div => l / r,
                    DurationOp::Mod => l % r,
                    DurationOp::Pow => l.powf(r),
                    DurationOp::MinOf => l.min(r),
                    DurationOp::MaxOf => l.max(r),
                }
            }
        }
    }

    fn matching(&self, selector: &Selector) -> impl Iterator<Item = &Stored> {
        self.series.iter().filter(|(labels, _)| {
            let fits = |m: &barograph_model::Matcher| m.matches(labels.get(m.name()));
            selector.matchers.iter().all(fits)
        })
    }

    /// The newest sample of a series that is not older than the lookback, with its time.
    fn newest<'s>(&self, series: &'s Stored, at_ms: i64) -> Option<(i64, &'s Val)> {
        let (time_ms, value) = series.1.iter().rfind(|(t, _)| *t <= at_ms)?;
        let fresh = *time_ms > at_ms - self.lookback_ms;
        value
            .as_ref()
            .filter(|_| fresh)
            .map(|value| (*time_ms, value))
    }

    fn select(&self, selector: &Selector, steps: &[i64]) -> Vec<Row> {
        let rows = self.matching(selector).map(|series| {
            let slots = steps.iter().map(|step_ms| {
                let at_ms = self.looks_at(&selector.modifiers, *step_ms);
                Some(self.newest(series, at_ms)?.1.clone())
            });
            (series.0.clone(), slots.collect())
        });
        rows.filter(has_any).collect()
    }

    /// Of a selector that draws lines between samples.
    fn smoothed(&self, selector: &Selector, steps: &[i64]) -> Vec<Row> {
        let mut rows = Vec::new();
        for (labels, samples) in self.matching(selector) {
            let mut slots = Vec::new();
            for step_ms in steps {
                let at_ms = self.looks_at(&selector.modifiers, *step_ms);
                let near = |t: i64| at_ms - self.lookback_ms < t && t <= at_ms + self.lookback_ms;
                let near = samples.iter().filter(|(t, _)| near(*t));
                let near: Vec<_> = near
                    .filter_map(|(t, value)| Some((*t, value.clone()?)))
                    .collect();
                slots.push(match extended::kinds(&near) {
                    Kinds::Floats(points) => extended::smoothed_at(&points, at_ms).map(Val::Float),
                    Kinds::Histograms(points) => {
                        extended::smoothed_histogram_at(&points, at_ms).map(Val::Histogram)
                    }
                    Kinds::Both => None,
                });
            }
            rows.push((labels.clone(), slots));
        }
        rows.retain(has_any);
        rows
    }

    /// The windows of a range vector: per series, per step, the samples and the window's end.
    fn windows(&self, node: &Node, steps: &[i64]) -> Result<(i64, Vec<Windows>)> {
        match &node.unwrap_parens().kind {
            NodeKind::Range(range) => {
                let range_ms = self.duration_ms(&range.range);
                // An extended window has what is beyond its range as well.
                let (before_ms, behind_ms) = match range.selector.extension {
                    None => (0, 0),
                    Some(Extension::Anchored) => (self.lookback_ms, 0),
                    Some(Extension::Smoothed) => (self.lookback_ms, self.lookback_ms),
                };
                let all = self.matching(&range.selector).map(|(labels, samples)| {
                    let each = steps.iter().map(|step_ms| {
                        let end_ms = self.looks_at(&range.selector.modifiers, *step_ms);
                        let begin_ms = end_ms - range_ms - before_ms;
                        let inside = |t: i64| begin_ms < t && t <= end_ms + behind_ms;
                        let window = samples.iter().filter(|(t, _)| inside(*t));
                        let window = window.filter_map(|(t, value)| Some((*t, value.clone()?)));
                        (end_ms, window.collect())
                    });
                    (labels.clone(), each.collect())
                });
                Ok((range_ms, all.collect()))
            }
            NodeKind::Subquery(subquery) => {
                let range_ms = self.duration_ms(&subquery.range);
                let step = subquery.step.as_ref().ok_or("a step was expected")?;
                let step_ms = self.duration_ms(step);
                let ends: Vec<i64> = steps
                    .iter()
                    .map(|t| self.looks_at(&subquery.modifiers, *t))
                    .collect();
                let (first, last) = (ends[0], ends[ends.len() - 1]);
                let begin = (first - range_ms).div_euclid(step_ms) * step_ms + step_ms;
                let mut inner = Vec::new();
                let mut time_ms = begin;
                while time_ms <= last {
                    inner.push(time_ms);
                    time_ms += step_ms;
                }
                let rows = if inner.is_empty() {
                    Vec::new()
                } else {
                    self.vector(&subquery.operand, &inner)?
                };
                let all = rows.into_iter().map(|(labels, slots)| {
                    let each = ends.iter().map(|end_ms| {
                        let inside = |t: i64| end_ms - range_ms < t && t <= *end_ms;
                        let window = inner.iter().zip(&slots).filter(|(t, _)| inside(**t));
                        let window = window.filter_map(|(t, slot)| Some((*t, slot.clone()?)));
                        (*end_ms, window.collect())
                    });
                    (labels, each.collect())
                });
                Ok((range_ms, all.collect()))
            }
            _ => Err("not a range vector"),
        }
    }

    fn call(&self, call: &Call, steps: &[i64]) -> Result<Vec<Row>> {
        let name = call.function.name;
        match name {
            "absent" => return self.absent(&call.args[0], steps),
            "info" => return self.info(call, steps),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                return self.estimate(call, steps);
            }
            _ => {}
        }
        if let Some(math) = floats::math(name) {
            let mut rows = self.vector(&call.args[0], steps)?;
            let parameter = call.args.get(1).map_or(0.0, Self::scalar);
            map(&mut rows, |value| {
                Some(Val::Float(math(value.float()?, parameter)))
            });
            drop_names(&mut rows);
            return distinct(rows);
        }
        if let Some(part) = part_of_histogram(name) {
            let mut rows = self.vector(&call.args[0], steps)?;
            map(&mut rows, |value| {
                Some(Val::Float(part(value.histogram()?)))
            });
            // Prometheus lets these keep type and unit.
            for (labels, _) in &mut rows {
                *labels = labels.without(|label| label == METRIC_NAME);
            }
            return distinct(rows);
        }
        let at = usize::from(name == "quantile_over_time");
        let parameter = if at == 1 {
            Self::scalar(&call.args[0])
        } else {
            0.0
        };
        let (range_ms, all) = self.windows(&call.args[at], steps)?;
        if let NodeKind::Range(range) = &call.args[at].unwrap_parens().kind
            && let Some(extension) = range.selector.extension
        {
            return extended_rows(name, extension, range_ms, &all);
        }
        let mut rows: Vec<Row> = all
            .into_iter()
            .map(|(labels, windows)| {
                let slots = windows.iter().map(|(end_ms, window)| {
                    if window.is_empty() {
                        return None;
                    }
                    over_window(name, window, *end_ms, range_ms, parameter)
                });
                (labels, slots.collect())
            })
            .filter(has_any)
            .collect();
        if !matches!(name, "last_over_time" | "first_over_time") {
            drop_names(&mut rows);
        }
        // Of windows, equal series are refused even where their samples do not meet.
        let count = rows.len();
        let rows = distinct(rows)?;
        if rows.len() < count {
            return Err("equal labels");
        }
        Ok(rows)
    }

    /// 1 where there is nothing, with the labels the selector asks for by equality.
    fn absent(&self, operand: &Node, steps: &[i64]) -> Result<Vec<Row>> {
        let rows = self.vector(operand, steps)?;
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        if let NodeKind::Selector(selector) = &operand.kind {
            let named = |name: &str| {
                selector
                    .matchers
                    .iter()
                    .filter(|m| m.name() == name)
                    .count()
            };
            for matcher in &selector.matchers {
                let once = named(matcher.name()) == 1 && matcher.name() != METRIC_NAME;
                if once && matcher.op() == MatchOp::Equal {
                    pairs.push((matcher.name(), matcher.value()));
                }
            }
        }
        let slots: Vec<Option<Val>> = (0..steps.len())
            .map(|step| {
                let there = rows.iter().any(|row| row.1[step].is_some());
                (!there).then_some(Val::Float(1.0))
            })
            .collect();
        let row = (Labels::from_pairs(pairs), slots);
        Ok([row].into_iter().filter(has_any).collect())
    }

    fn aggregate(&self, aggregate: &Aggregate, steps: &[i64]) -> Result<Vec<Row>> {
        let rows = self.vector(&aggregate.operand, steps)?;
        let parameter = aggregate.param.as_ref().map_or(0.0, Self::scalar);
        let group_of = |labels: &Labels| {
            labels.without(|label| {
                let listed = aggregate.grouping.iter().any(|name| name == label);
                listed == aggregate.without || (aggregate.without && label == METRIC_NAME)
            })
        };
        if aggregate.op == AggregateOp::LimitRatio {
            let kept = |row: &Row| {
                let position = row.0.sampling_hash() as f64 / u64::MAX as f64;
                if parameter >= 0.0 {
                    position < parameter
                } else {
                    position >= 1.0 + parameter
                }
            };
            return Ok(rows.into_iter().filter(kept).collect());
        }
        if matches!(
            aggregate.op,
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK
        ) {
            return some_of(aggregate.op, parameter, rows, group_of, steps.len());
        }
        let mut groups: Vec<(Labels, Vec<Vec<Val>>)> = Vec::new();
        for (labels, slots) in rows {
            let kept = group_of(&labels);
            let known = groups.iter().position(|(have, _)| *have == kept);
            let place = known.unwrap_or(groups.len());
            if known.is_none() {
                groups.push((kept, vec![Vec::new(); steps.len()]));
            }
            for (values, slot) in groups[place].1.iter_mut().zip(slots) {
                values.extend(slot);
            }
        }
        let rows = groups.into_iter().map(|(labels, steps)| {
            let slots = steps.iter().map(|values| {
                if values.is_empty() {
                    None
                } else {
                    of_group(aggregate.op, values, parameter)
                }
            });
            (labels, slots.collect())
        });
        Ok(rows.filter(has_any).collect())
    }
}

/// `topk`, `bottomk`, `limitk`: per group, some series with all their labels.
fn some_of(
    op: AggregateOp,
    parameter: f64,
    rows: Vec<Row>,
    group_of: impl Fn(&Labels) -> Labels,
    steps: usize,
) -> Result<Vec<Row>> {
    let count = parameter.max(0.0) as usize;
    let groups: Vec<Labels> = rows.iter().map(|row| group_of(&row.0)).collect();
    // Pairs of series and step.
    let mut kept: BTreeSet<(usize, usize)> = BTreeSet::new();
    for step in 0..steps {
        for (at, group) in groups.iter().enumerate() {
            if groups[..at].contains(group) {
                continue;
            }
            let members = (at..rows.len()).filter(|index| groups[*index] == *group);
            let there = members.filter_map(|index| Some((rows[index].1[step].as_ref()?, index)));
            let best = best_of(op, count, there.collect())?;
            kept.extend(best.into_iter().map(|index| (index, step)));
        }
    }
    let rows = rows.into_iter().enumerate();
    let rows = rows.map(|(index, (labels, slots))| {
        let slots = slots.into_iter().enumerate();
        let slots = slots.map(|(step, slot)| slot.filter(|_| kept.contains(&(index, step))));
        (labels, slots.collect())
    });
    Ok(rows.filter(has_any).collect())
}

/// The members of a group to keep at a step.
fn best_of(op: AggregateOp, count: usize, there: Vec<(&Val, usize)>) -> Result<Vec<usize>> {
    if op == AggregateOp::LimitK {
        return Ok(there.iter().take(count).map(|(_, index)| *index).collect());
    }
    let floats = there.into_iter();
    let mut all: Vec<(f64, usize)> = floats
        .filter_map(|(value, index)| Some((value.float()?, index)))
        .collect();
    // NaN is the worst either way.
    all.sort_by(|(a, _), (b, _)| {
        let order = if op == AggregateOp::TopK {
            b.partial_cmp(a)
        } else {
            a.partial_cmp(b)
        };
        order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    });
    if let [.., (last, _)] = all[..count.min(all.len())]
        && let Some((next, _)) = all.get(count)
        && (*next == last || (next.is_nan() && last.is_nan()))
    {
        return Err(OPEN);
    }
    Ok(all.iter().take(count).map(|(_, index)| *index).collect())
}

/// The value of a group at a step.
fn of_group(op: AggregateOp, values: &[Val], parameter: f64) -> Option<Val> {
    let numbers: Vec<f64> = values.iter().filter_map(Val::float).collect();
    let histograms: Vec<&Plain> = values.iter().filter_map(Val::histogram).collect();
    match op {
        AggregateOp::Count => return Some(Val::Float(values.len() as f64)),
        AggregateOp::Group => return Some(Val::Float(1.0)),
        AggregateOp::Sum | AggregateOp::Avg if !histograms.is_empty() => {
            if !numbers.is_empty() {
                return None;
            }
            let total = histogram::total(&histograms, op == AggregateOp::Avg)?;
            return Some(Val::Histogram(total.compact()));
        }
        _ => {}
    }
    (!numbers.is_empty()).then(|| Val::Float(floats::of_group(op, &numbers, parameter)))
}

/// A window function over floats, histograms, or both.
fn over_window(
    name: &str,
    window: &[(i64, Val)],
    end_ms: i64,
    range_ms: i64,
    parameter: f64,
) -> Option<Val> {
    let floats: Vec<(i64, f64)> = window
        .iter()
        .filter_map(|(t, value)| Some((*t, value.float()?)))
        .collect();
    let histograms: Vec<(i64, &Plain)> = window
        .iter()
        .filter_map(|(t, value)| Some((*t, value.histogram()?)))
        .collect();
    let only = |value| Some(Val::Float(value));
    match name {
        "count_over_time" => return only(window.len() as f64),
        "present_over_time" => return only(1.0),
        "last_over_time" => return Some(window[window.len() - 1].1.clone()),
        "first_over_time" => return Some(window[0].1.clone()),
        "changes" | "resets" if !histograms.is_empty() => {
            let differ = |pair: &&[(i64, Val)]| match (&pair[0].1, &pair[1].1) {
                (Val::Float(a), Val::Float(b)) if name == "resets" => b < a,
                (Val::Float(a), Val::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
                (Val::Histogram(a), Val::Histogram(b)) if name == "resets" => b.fell_since(a),
                (Val::Histogram(a), Val::Histogram(b)) => !a.equals(b),
                _ => true,
            };
            return only(window.windows(2).filter(differ).count() as f64);
        }
        "irate" | "idelta" if !histograms.is_empty() => {
            let [.., (t, before), (u, now)] = window else {
                return None;
            };
            let pair = (before.histogram(), now.histogram());
            if let (Some(before), Some(now)) = pair {
                let rise = histogram::instant(name, (*t, before), (*u, now))?;
                return Some(Val::Histogram(rise));
            }
            if pair.0.is_some() || pair.1.is_some() {
                return None;
            }
        }
        "rate" | "increase" | "delta" if !histograms.is_empty() => {
            if !floats.is_empty() {
                return None;
            }
            let rise = histogram::extrapolated(name, &histograms, end_ms, range_ms)?;
            return Some(Val::Histogram(rise));
        }
        "sum_over_time" | "avg_over_time" if !histograms.is_empty() => {
            if !floats.is_empty() {
                return None;
            }
            let all: Vec<&Plain> = histograms.iter().map(|(_, one)| *one).collect();
            return Some(Val::Histogram(histogram::total(
                &all,
                name == "avg_over_time",
            )?));
        }
        _ => {}
    }
    if floats.is_empty() {
        return None;
    }
    floats::over_window(name, &floats, end_ms, range_ms, parameter).map(Val::Float)
}

fn part_of_histogram(name: &str) -> Option<fn(&Plain) -> f64> {
    Some(match name {
        "histogram_count" => |h| h.count,
        "histogram_sum" => |h| h.sum,
        "histogram_avg" => |h| h.sum / h.count,
        "histogram_stdvar" => estimate::variance,
        "histogram_stddev" => |h| estimate::variance(h).sqrt(),
        _ => return None,
    })
}

/// A function over extended windows.
fn extended_rows(
    name: &str,
    extension: Extension,
    range_ms: i64,
    all: &[Windows],
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (labels, windows) in all {
        let slots = windows.iter().map(|(end_ms, window)| {
            let begin_ms = end_ms - range_ms;
            if matches!(name, "changes" | "resets") {
                let window = extended::anchored(window, begin_ms)?;
                return over_window(name, window, *end_ms, range_ms, 0.0);
            }
            match extended::kinds(window) {
                Kinds::Floats(points) => {
                    extended::over_window(name, extension, &points, *end_ms, range_ms)
                        .map(Val::Float)
                }
                Kinds::Histograms(points) => {
                    let smoothed = extension == Extension::Smoothed;
                    extended::over_histograms(name, smoothed, &points, *end_ms, range_ms)
                        .map(Val::Histogram)
                }
                Kinds::Both => None,
            }
        });
        rows.push((labels.clone(), slots.collect()));
    }
    rows.retain(has_any);
    drop_names(&mut rows);
    distinct(rows)
}

type Windows = (Labels, Vec<(i64, Vec<(i64, Val)>)>);

fn has_any(row: &Row) -> bool {
    row.1.iter().any(Option::is_some)
}

fn map(rows: &mut Vec<Row>, change: impl Fn(&Val) -> Option<Val>) {
    for (_, slots) in rows.iter_mut() {
        for slot in slots {
            *slot = slot.as_ref().and_then(&change);
        }
    }
    rows.retain(has_any);
}

fn drop_names(rows: &mut [Row]) {
    for (labels, _) in rows {
        *labels = labels.without(is_about_the_metric);
    }
}

/// Labels that say what the metric is: what is computed of it is no longer that.
fn is_about_the_metric(label: &str) -> bool {
    matches!(label, METRIC_NAME | "__type__" | "__unit__")
}

/// Series with equal labels become one, unless they meet.
fn distinct(rows: Vec<Row>) -> Result<Vec<Row>> {
    let mut merged: Vec<Row> = Vec::new();
    for (labels, slots) in rows {
        let Some((_, have)) = merged.iter_mut().find(|(have, _)| *have == labels) else {
            merged.push((labels, slots));
            continue;
        };
        for (have, slot) in have.iter_mut().zip(slots) {
            if have.is_some() && slot.is_some() {
                return Err("equal labels");
            }
            if slot.is_some() {
                *have = slot;
            }
        }
    }
    Ok(merged)
}

/// An operation on two values; `kept` is what a comparison lets through. `Err` where the two cannot
/// be operated on, which is remarked on and leaves no trace in the result.
fn operate(
    op: BinaryOp,
    is_bool: bool,
    pair: (&Val, &Val),
    kept: &Val,
) -> std::result::Result<Option<Val>, ()> {
    let truth = |holds: bool| {
        if is_bool {
            return Some(Val::Float(f64::from(u8::from(holds))));
        }
        holds.then(|| kept.clone())
    };
    let whole = |histogram: Option<Plain>| Ok(Some(Val::Histogram(histogram.ok_or(())?.compact())));
    let (l, r) = match pair {
        (Val::Float(l), Val::Float(r)) => (*l, *r),
        (Val::Histogram(l), Val::Histogram(r)) => {
            return match op {
                BinaryOp::Add => whole(l.combine(r, 1.0)),
                BinaryOp::Sub => whole(l.combine(r, -1.0)),
                BinaryOp::Equal => Ok(truth(l.equals(r))),
                BinaryOp::NotEqual => Ok(truth(!l.equals(r))),
                _ => Err(()),
            };
        }
        (Val::Histogram(h), Val::Float(x)) => {
            return match op {
                BinaryOp::Mul => whole(Some(h.map(|value| value * x))),
                BinaryOp::Div => whole(Some(h.divide(*x))),
                BinaryOp::TrimUpper => whole(Some(trim::trimmed(h, *x, true))),
                BinaryOp::TrimLower => whole(Some(trim::trimmed(h, *x, false))),
                _ => Err(()),
            };
        }
        (Val::Float(x), Val::Histogram(h)) => {
            return match op {
                BinaryOp::Mul => whole(Some(h.map(|value| value * x))),
                _ => Err(()),
            };
        }
    };
    let number = |value| Ok(Some(Val::Float(value)));
    let holds = match op {
        BinaryOp::TrimUpper | BinaryOp::TrimLower => return Err(()),
        BinaryOp::Add => return number(l + r),
        BinaryOp::Sub => return number(l - r),
        BinaryOp::Mul => return number(l * r),
        BinaryOp::Div => return number(l / r),
        BinaryOp::Mod => return number(l % r),
        BinaryOp::Equal => l == r,
        BinaryOp::NotEqual => l != r,
        BinaryOp::Greater => l > r,
        BinaryOp::Less => l < r,
        BinaryOp::GreaterOrEqual => l >= r,
        _ => l <= r,
    };
    Ok(truth(holds))
}

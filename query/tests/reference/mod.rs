//! A slow and obvious evaluator: the semantics of PromQL read off the tree, sample by sample, with
//! nothing shared, cached or streamed. Covers floats; what the generator of the differential test
//! writes.

use barograph_model::{Labels, METRIC_NAME, is_stale};
use barograph_query::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, DurationSpec, Modifiers, Node,
    NodeKind, Selector,
};

/// A stored series: labels, and samples in order of time.
pub(crate) type Stored = (Labels, Vec<(i64, f64)>);
/// A result: labels, and a value or nothing per step.
pub(crate) type Row = (Labels, Vec<Option<f64>>);

/// What a query is evaluated over.
pub(crate) struct Reference<'a> {
    /// In the order in which the store gives series: sums depend on it in their last bits.
    pub(crate) series: &'a [Stored],
    pub(crate) lookback_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

/// Why there is no result; which words the engine finds for it is not compared.
pub(crate) type Result<T> = std::result::Result<T, &'static str>;

impl Reference<'_> {
    /// The value of an instant vector at every step.
    pub(crate) fn vector(&self, node: &Node, steps: &[i64]) -> Result<Vec<Row>> {
        match &node.kind {
            NodeKind::Paren(inner) => self.vector(inner, steps),
            NodeKind::Unary { negative, operand } => {
                let mut rows = self.vector(operand, steps)?;
                if *negative {
                    map(&mut rows, |value, _| Some(-value));
                    drop_names(&mut rows);
                }
                distinct(rows)
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
        at_ms - fixed(&modifiers.offset)
    }

    fn matching(&self, selector: &Selector) -> impl Iterator<Item = &Stored> {
        self.series.iter().filter(|(labels, _)| {
            let fits = |m: &barograph_model::Matcher| m.matches(labels.get(m.name()));
            selector.matchers.iter().all(fits)
        })
    }

    fn select(&self, selector: &Selector, steps: &[i64]) -> Vec<Row> {
        let rows = self.matching(selector).map(|(labels, samples)| {
            let slots = steps.iter().map(|step_ms| {
                let at_ms = self.looks_at(&selector.modifiers, *step_ms);
                let newest = samples.iter().rfind(|(t, _)| *t <= at_ms)?;
                let fresh = newest.0 > at_ms - self.lookback_ms && !is_stale(newest.1);
                fresh.then_some(newest.1)
            });
            (labels.clone(), slots.collect())
        });
        rows.filter(has_any).collect()
    }

    /// The windows of a range vector: per series, per step, the samples and the window's end.
    fn windows(&self, node: &Node, steps: &[i64]) -> Result<(i64, Vec<Windows>)> {
        match &node.unwrap_parens().kind {
            NodeKind::Range(range) => {
                let range_ms = fixed(&range.range);
                let all = self.matching(&range.selector).map(|(labels, samples)| {
                    let each = steps.iter().map(|step_ms| {
                        let end_ms = self.looks_at(&range.selector.modifiers, *step_ms);
                        let inside = |t: i64| end_ms - range_ms < t && t <= end_ms;
                        let window = samples
                            .iter()
                            .copied()
                            .filter(|(t, value)| inside(*t) && !is_stale(*value));
                        (end_ms, window.collect())
                    });
                    (labels.clone(), each.collect())
                });
                Ok((range_ms, all.collect()))
            }
            NodeKind::Subquery(subquery) => {
                let range_ms = fixed(&subquery.range);
                let step_ms = fixed(subquery.step.as_ref().ok_or("a step was expected")?);
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
                        let window = inner
                            .iter()
                            .zip(&slots)
                            .filter(|(t, _)| inside(**t))
                            .filter_map(|(t, slot)| slot.map(|value| (*t, value)));
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
        if let Some(math) = math(name) {
            let mut rows = self.vector(&call.args[0], steps)?;
            let parameter = call.args.get(1).map_or(0.0, Self::scalar);
            map(&mut rows, |value, _| Some(math(value, parameter)));
            drop_names(&mut rows);
            return distinct(rows);
        }
        let at = usize::from(name == "quantile_over_time");
        let parameter = if at == 1 {
            Self::scalar(&call.args[0])
        } else {
            0.0
        };
        let (range_ms, all) = self.windows(&call.args[at], steps)?;
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
        distinct(rows)
    }

    fn aggregate(&self, aggregate: &Aggregate, steps: &[i64]) -> Result<Vec<Row>> {
        let rows = self.vector(&aggregate.operand, steps)?;
        let parameter = aggregate.param.as_ref().map_or(0.0, Self::scalar);
        let mut groups: Vec<(Labels, Vec<Vec<f64>>)> = Vec::new();
        for (labels, slots) in rows {
            let kept = labels.without(|label| {
                let listed = aggregate.grouping.iter().any(|name| name == label);
                listed == aggregate.without || (aggregate.without && label == METRIC_NAME)
            });
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
                (!values.is_empty()).then(|| of_group(aggregate.op, values, parameter))
            });
            (labels, slots.collect())
        });
        Ok(rows.filter(has_any).collect())
    }

    fn binary(&self, binary: &Binary, steps: &[i64]) -> Result<Vec<Row>> {
        use barograph_query::ast::ValueType::Scalar;
        let (op, is_bool) = (binary.op, binary.returns_bool);
        let left_is_number = binary.lhs.value_type() == Scalar;
        if left_is_number || binary.rhs.value_type() == Scalar {
            let (number, vector) = if left_is_number {
                (&binary.lhs, &binary.rhs)
            } else {
                (&binary.rhs, &binary.lhs)
            };
            let number = Self::scalar(number);
            let mut rows = self.vector(vector, steps)?;
            map(&mut rows, |value, _| {
                let (l, r) = if left_is_number {
                    (number, value)
                } else {
                    (value, number)
                };
                operate(op, is_bool, l, r, value)
            });
            if !op.is_comparison() || is_bool {
                drop_names(&mut rows);
            }
            return distinct(rows.into_iter().filter(has_any).collect());
        }
        let matching = binary.matching.as_ref().ok_or("no matching")?;
        let (lhs, rhs) = (
            self.vector(&binary.lhs, steps)?,
            self.vector(&binary.rhs, steps)?,
        );
        let key = |labels: &Labels| {
            labels.without(|label| {
                let listed = matching.labels.iter().any(|name| name == label);
                if matching.on {
                    !listed
                } else {
                    listed || label == METRIC_NAME
                }
            })
        };
        let present = |rows: &[Row], labels: &Labels, step: usize| {
            let wanted = key(labels);
            let same = rows.iter().filter(|row| row.1[step].is_some());
            same.filter(|row| key(&row.0) == wanted).count()
        };
        let mut rows: Vec<Row> = Vec::new();
        match op {
            BinaryOp::And | BinaryOp::Unless => {
                for (labels, slots) in &lhs {
                    let kept = slots.iter().enumerate().map(|(step, slot)| {
                        let there = present(&rhs, labels, step) > 0;
                        slot.filter(|_| there == (op == BinaryOp::And))
                    });
                    rows.push((labels.clone(), kept.collect()));
                }
            }
            BinaryOp::Or => {
                rows.extend(lhs.iter().cloned());
                for (labels, slots) in &rhs {
                    let kept = slots
                        .iter()
                        .enumerate()
                        .map(|(step, slot)| slot.filter(|_| present(&lhs, labels, step) == 0));
                    rows.push((labels.clone(), kept.collect()));
                }
            }
            _ if matching.cardinality != Cardinality::OneToOne => return Err("not covered"),
            _ => {
                for step in 0..steps.len() {
                    // A side without any sample decides before anything is ambiguous.
                    let any = |rows: &[Row]| rows.iter().any(|row| row.1[step].is_some());
                    if !any(&lhs) || !any(&rhs) {
                        continue;
                    }
                    for (labels, slots) in &rhs {
                        if slots[step].is_some() && present(&rhs, labels, step) > 1 {
                            return Err("many on the right");
                        }
                    }
                    for (labels, slots) in &lhs {
                        let partner = rhs
                            .iter()
                            .find(|row| row.1[step].is_some() && key(&row.0) == key(labels));
                        if slots[step].is_some()
                            && partner.is_some()
                            && present(&lhs, labels, step) > 1
                        {
                            return Err("many on the left");
                        }
                    }
                }
                for (labels, slots) in &lhs {
                    let mut out = vec![None; steps.len()];
                    for (step, slot) in slots.iter().enumerate() {
                        let partner = rhs
                            .iter()
                            .find(|row| row.1[step].is_some() && key(&row.0) == key(labels));
                        if let (Some(l), Some((_, theirs))) = (slot, partner) {
                            out[step] = theirs[step].and_then(|r| operate(op, is_bool, *l, r, *l));
                        }
                    }
                    let drops = !op.is_comparison() || is_bool;
                    let kept = labels.without(|label| {
                        let listed = matching.labels.iter().any(|name| name == label);
                        listed != matching.on || (drops && label == METRIC_NAME)
                    });
                    rows.push((kept, out));
                }
            }
        }
        distinct(rows.into_iter().filter(has_any).collect())
    }
}

type Windows = (Labels, Vec<(i64, Vec<(i64, f64)>)>);

fn fixed(duration: &DurationSpec) -> i64 {
    match duration {
        DurationSpec::Fixed(ms) => *ms,
        DurationSpec::Expression(_) => 0,
    }
}

fn has_any(row: &Row) -> bool {
    row.1.iter().any(Option::is_some)
}

fn map(rows: &mut [Row], change: impl Fn(f64, usize) -> Option<f64>) {
    for (_, slots) in rows {
        for (step, slot) in slots.iter_mut().enumerate() {
            *slot = slot.and_then(|value| change(value, step));
        }
    }
}

fn drop_names(rows: &mut [Row]) {
    for (labels, _) in rows {
        *labels = labels.without(|label| label == METRIC_NAME);
    }
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
            *have = have.or(slot);
        }
    }
    Ok(merged)
}

fn operate(op: BinaryOp, is_bool: bool, l: f64, r: f64, kept: f64) -> Option<f64> {
    let holds = match op {
        BinaryOp::Add => return Some(l + r),
        BinaryOp::Sub => return Some(l - r),
        BinaryOp::Mul => return Some(l * r),
        BinaryOp::Div => return Some(l / r),
        BinaryOp::Mod => return Some(l % r),
        BinaryOp::Equal => l == r,
        BinaryOp::NotEqual => l != r,
        BinaryOp::Greater => l > r,
        BinaryOp::Less => l < r,
        BinaryOp::GreaterOrEqual => l >= r,
        _ => l <= r,
    };
    if is_bool {
        return Some(f64::from(u8::from(holds)));
    }
    holds.then_some(kept)
}

fn math(name: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match name {
        "abs" => |v, _| v.abs(),
        "ceil" => |v, _| v.ceil(),
        "floor" => |v, _| v.floor(),
        "sqrt" => |v, _| v.sqrt(),
        "clamp_min" => |v, low| if v <= low { low } else { v },
        "clamp_max" => |v, high| if v > high { high } else { v },
        _ => return None,
    })
}

/// A sum that keeps what addition loses.
#[derive(Clone, Copy, Default)]
struct Exact {
    sum: f64,
    lost: f64,
}

impl Exact {
    fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }
}

fn total(values: &[f64]) -> Exact {
    let mut exact = Exact {
        sum: values[0],
        lost: 0.0,
    };
    for value in &values[1..] {
        exact.add(*value);
    }
    exact
}

/// The best value; NaN only where there is nothing else.
fn extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values[0];
    for value in values {
        if beats(*value, best) || best.is_nan() {
            best = *value;
        }
    }
    best
}

fn quantile(q: f64, values: &[f64]) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    // NaN first.
    sorted.sort_by(|a, b| {
        let order = a.partial_cmp(b);
        order.unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
    });
    let rank = q * (sorted.len() as f64 - 1.0);
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

fn over_window(
    name: &str,
    window: &[(i64, f64)],
    end_ms: i64,
    range_ms: i64,
    parameter: f64,
) -> Option<f64> {
    let values: Vec<f64> = window.iter().map(|(_, value)| *value).collect();
    let count = values.len() as f64;
    let last = values[values.len() - 1];
    Some(match name {
        "rate" => extrapolated(window, end_ms, range_ms, true)?,
        "increase" => extrapolated(window, end_ms, range_ms, false)?,
        "irate" => {
            let [.., (t1, before), (t2, after)] = window else {
                return None;
            };
            let rise = if after < before {
                *after
            } else {
                after - before
            };
            rise / ((t2 - t1) as f64 / 1000.0)
        }
        "resets" => values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64,
        "changes" => values
            .windows(2)
            .filter(|p| p[0] != p[1] && !(p[0].is_nan() && p[1].is_nan()))
            .count() as f64,
        "sum_over_time" => {
            let mut exact = Exact::default();
            for value in &values {
                exact.add(*value);
            }
            exact.sum + exact.lost
        }
        "avg_over_time" => {
            let exact = total(&values);
            exact.sum / count + exact.lost / count
        }
        "min_over_time" => extreme(&values, |new, best| new < best),
        "max_over_time" => extreme(&values, |new, best| new > best),
        "count_over_time" => count,
        "last_over_time" => last,
        "first_over_time" => values[0],
        "present_over_time" => 1.0,
        "quantile_over_time" => quantile(parameter, &values),
        _ => return None,
    })
}

/// `increase` or, per second, `rate`.
fn extrapolated(
    window: &[(i64, f64)],
    end_ms: i64,
    range_ms: i64,
    per_second: bool,
) -> Option<f64> {
    let [(first_ms, first), .., (last_ms, last)] = window else {
        return None;
    };
    let mut rise = last - first;
    for pair in window.windows(2) {
        if pair[1].1 < pair[0].1 {
            rise += pair[0].1;
        }
    }
    let mut to_start = (first_ms - (end_ms - range_ms)) as f64 / 1000.0;
    let mut to_end = (end_ms - last_ms) as f64 / 1000.0;
    let sampled = (last_ms - first_ms) as f64 / 1000.0;
    let average = sampled / (window.len() - 1) as f64;
    if to_start >= average * 1.1 {
        to_start = average / 2.0;
    }
    if rise > 0.0 && *first >= 0.0 {
        to_start = to_start.min(sampled * (first / rise));
    }
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= range_ms as f64 / 1000.0;
    }
    Some(rise * factor)
}

fn of_group(op: AggregateOp, values: &[f64], parameter: f64) -> f64 {
    let count = values.len() as f64;
    match op {
        AggregateOp::Sum => {
            let exact = total(values);
            exact.sum + exact.lost
        }
        AggregateOp::Avg => {
            let exact = total(values);
            exact.sum / count + exact.lost / count
        }
        AggregateOp::Min => extreme(values, |new, best| new < best),
        AggregateOp::Max => extreme(values, |new, best| new > best),
        AggregateOp::Count => count,
        AggregateOp::Quantile => quantile(parameter, values),
        AggregateOp::Stddev | AggregateOp::Stdvar => {
            let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
            for value in values {
                n += 1.0;
                let delta = value - mean;
                mean += delta / n;
                squares += delta * (value - mean);
            }
            let variance = squares / n;
            if op == AggregateOp::Stddev {
                variance.sqrt()
            } else {
                variance
            }
        }
        _ => 1.0,
    }
}

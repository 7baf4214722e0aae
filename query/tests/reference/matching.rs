//! Binary operators: who meets whom, step by step.

use barograph_model::{Labels, METRIC_NAME};
use barograph_query::ast::ValueType::Scalar;
use barograph_query::ast::{Binary, BinaryOp, Cardinality, Matching};

use super::{
    Reference, Result, Row, Val, distinct, drop_names, has_any, is_about_the_metric, operate,
};

impl Reference<'_> {
    pub(super) fn binary(&self, binary: &Binary, steps: &[i64]) -> Result<Vec<Row>> {
        let left_is_number = binary.lhs.value_type() == Scalar;
        if left_is_number || binary.rhs.value_type() == Scalar {
            return self.with_number(binary, left_is_number, steps);
        }
        let matching = binary.matching.as_ref().ok_or("no matching")?;
        let (lhs, rhs) = (
            self.vector(&binary.lhs, steps)?,
            self.vector(&binary.rhs, steps)?,
        );
        let rows = match binary.op {
            BinaryOp::And | BinaryOp::Unless | BinaryOp::Or => set(binary.op, matching, lhs, &rhs),
            _ => {
                let mut rows = Vec::new();
                for step in 0..steps.len() {
                    match_up(binary, matching, (&lhs, &rhs), step, steps.len(), &mut rows)?;
                }
                rows
            }
        };
        distinct(rows.into_iter().filter(has_any).collect())
    }

    fn with_number(&self, binary: &Binary, is_left: bool, steps: &[i64]) -> Result<Vec<Row>> {
        let (op, is_bool) = (binary.op, binary.returns_bool);
        let (number, vector) = if is_left {
            (&binary.lhs, &binary.rhs)
        } else {
            (&binary.rhs, &binary.lhs)
        };
        let number = Val::Float(Self::scalar(number));
        let mut rows = self.vector(vector, steps)?;
        super::map(&mut rows, |value| {
            let pair = if is_left {
                (&number, value)
            } else {
                (value, &number)
            };
            operate(op, is_bool, pair, value).ok().flatten()
        });
        if drops_names(op, is_bool) {
            drop_names(&mut rows);
        }
        distinct(rows)
    }
}

/// Whether what comes of an operation is another metric.
fn drops_names(op: BinaryOp, is_bool: bool) -> bool {
    is_bool || !(op.is_comparison() || op.is_trim())
}

/// The labels that decide who meets.
fn key(matching: &Matching, labels: &Labels) -> Labels {
    labels.without(|label| {
        let listed = matching.labels.iter().any(|name| name == label);
        if matching.on {
            !listed
        } else {
            listed || label == METRIC_NAME
        }
    })
}

fn set(op: BinaryOp, matching: &Matching, lhs: Vec<Row>, rhs: &[Row]) -> Vec<Row> {
    let there = |rows: &[Row], labels: &Labels, step: usize| {
        let wanted = key(matching, labels);
        let mut present = rows.iter().filter(|row| row.1[step].is_some());
        present.any(|row| key(matching, &row.0) == wanted)
    };
    let only = |rows: &[Row], others: &[Row], wanted: bool| -> Vec<Row> {
        let rows = rows.iter().map(|(labels, slots)| {
            let kept = slots.iter().enumerate().map(|(step, slot)| {
                slot.clone()
                    .filter(|_| there(others, labels, step) == wanted)
            });
            (labels.clone(), kept.collect())
        });
        rows.collect()
    };
    match op {
        BinaryOp::And => only(&lhs, rhs, true),
        BinaryOp::Unless => only(&lhs, rhs, false),
        _ => {
            let others = only(rhs, &lhs, false);
            lhs.into_iter().chain(others).collect()
        }
    }
}

/// Arithmetic and comparisons at one step: results go to rows of their labels.
fn match_up(
    binary: &Binary,
    matching: &Matching,
    (lhs, rhs): (&[Row], &[Row]),
    step: usize,
    steps: usize,
    out: &mut Vec<Row>,
) -> Result<()> {
    let at = |rows: &[Row]| -> Vec<(Labels, Val)> {
        let there = rows
            .iter()
            .filter_map(|row| Some((row.0.clone(), row.1[step].clone()?)));
        there.collect()
    };
    let (lhs, rhs) = (at(lhs), at(rhs));
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if (lhs.is_empty() || rhs.is_empty()) && !fills || lhs.is_empty() && rhs.is_empty() {
        return Ok(());
    }
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
    for (index, (labels, _)) in one.iter().enumerate() {
        let same = |(other, _): &(Labels, Val)| key(matching, other) == key(matching, labels);
        if one[..index].iter().any(same) {
            return Err("several on the one side");
        }
    }
    let mut meeting = Meeting {
        binary,
        matching,
        met: Vec::new(),
        step,
        steps,
        out,
    };
    for (labels, value) in &many {
        let wanted = key(matching, labels);
        let partner = one.iter().find(|(other, _)| key(matching, other) == wanted);
        match (partner, fill_one) {
            (Some((other, there)), _) => meeting.pair((labels, value), (other, there), &wanted)?,
            (None, Some(fill)) => {
                meeting.pair((labels, value), (&wanted, &Val::Float(fill)), &wanted)?;
            }
            (None, None) => {}
        }
    }
    let Some(fill) = fill_many else { return Ok(()) };
    for (labels, value) in &one {
        let wanted = key(matching, labels);
        if !meeting.met.iter().any(|(have, _)| *have == wanted) {
            meeting.pair((&wanted, &Val::Float(fill)), (labels, value), &wanted)?;
        }
    }
    Ok(())
}

struct Meeting<'a> {
    binary: &'a Binary,
    matching: &'a Matching,
    /// Pairs that were made: their key, and the labels of what came of them.
    met: Vec<(Labels, Labels)>,
    step: usize,
    steps: usize,
    out: &'a mut Vec<Row>,
}

impl Meeting<'_> {
    /// Operates on a sample of the side that may have many and one of the other.
    fn pair(&mut self, many: (&Labels, &Val), one: (&Labels, &Val), key: &Labels) -> Result<()> {
        let (op, is_bool) = (self.binary.op, self.binary.returns_bool);
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        let to_one = self.matching.cardinality == Cardinality::OneToOne;
        let (l, r) = if swapped {
            (one.1, many.1)
        } else {
            (many.1, one.1)
        };
        let Ok(value) = operate(op, is_bool, (l, r), l) else {
            return Ok(());
        };
        let drops = drops_names(op, is_bool);
        let mut labels = many.0.without(|label| {
            let listed = self.matching.labels.iter().any(|name| name == label);
            (drops && is_about_the_metric(label)) || (to_one && listed != self.matching.on)
        });
        for name in &self.matching.include {
            labels = labels.to_builder().set(name, one.0.get(name)).build();
        }
        let again = |(k, l): &(Labels, Labels)| k == key && (to_one || *l == labels);
        if self.met.iter().any(again) {
            return Err("several meet");
        }
        self.met.push((key.clone(), labels.clone()));
        let Some(value) = value else { return Ok(()) };
        let free = |row: &Row| row.0 == labels && row.1[self.step].is_none();
        let place = self.out.iter().position(free).unwrap_or(self.out.len());
        if place == self.out.len() {
            self.out.push((labels, vec![None; self.steps]));
        }
        self.out[place].1[self.step] = Some(value);
        Ok(())
    }
}

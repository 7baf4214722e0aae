//! Binary operations: columns with numbers, columns with columns, sets.

use std::cell::RefCell;
use std::collections::BTreeMap;

use barograph_model::Labels;

use super::arena::Arena;
use super::matching::{Signatures, matched_labels};
use super::mixed::MixedOp;
use super::vector::{ABSENT, FastMap, FastSet, Vector, describes_metric, is_absent, same_labels};
use super::{Evaluator, Limits, changes_meaning};
use crate::annotations::Notes;
use crate::ast::{BinaryOp, Cardinality, Matching};
use crate::error::QueryError;
use crate::gomath;
use crate::plan::{BinaryPlan, BinaryScalarPlan, Steps};

/// An operation between two numbers; comparisons give 0 or 1.
pub(super) fn scalar_op(op: BinaryOp, l: f64, r: f64) -> f64 {
    match compare(op, l, r) {
        Some(holds) => f64::from(u8::from(holds)),
        None => arithmetic(op, l, r),
    }
}

fn compare(op: BinaryOp, l: f64, r: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => l == r,
        BinaryOp::NotEqual => l != r,
        BinaryOp::Greater => l > r,
        BinaryOp::Less => l < r,
        BinaryOp::GreaterOrEqual => l >= r,
        BinaryOp::LessOrEqual => l <= r,
        _ => return None,
    })
}

fn arithmetic(op: BinaryOp, l: f64, r: f64) -> f64 {
    match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => gomath::pow(l, r),
        BinaryOp::Atan2 => gomath::atan2(l, r),
        _ => f64::NAN,
    }
}

/// An operation between two samples: what the result holds, or nothing where a comparison fails.
/// `kept` is the value that a comparison which holds passes on.
pub(super) fn sample_op(op: BinaryOp, returns_bool: bool, l: f64, r: f64, kept: f64) -> f64 {
    match compare(op, l, r) {
        None => arithmetic(op, l, r),
        Some(holds) if returns_bool => f64::from(u8::from(holds)),
        Some(true) => kept,
        Some(false) => ABSENT,
    }
}

/// Applies an operation with numbers to the values of a series.
pub(super) fn apply_scalar(plan: &BinaryScalarPlan, scalars: &[f64], values: &mut [f64]) {
    for (value, scalar) in values.iter_mut().zip(scalars) {
        if is_absent(*value) {
            continue;
        }
        let (l, r) = if plan.scalar_left {
            (*scalar, *value)
        } else {
            (*value, *scalar)
        };
        *value = sample_op(plan.op, plan.returns_bool, l, r, *value);
    }
}

/// The same where a value may be a histogram.
pub(super) fn apply_scalar_mixed(
    plan: &BinaryScalarPlan,
    scalars: &[f64],
    values: &mut [f64],
    arena: &Arena,
    notes: &mut Notes,
) -> Result<(), QueryError> {
    let mixed = MixedOp {
        op: plan.op,
        returns_bool: plan.returns_bool,
        span: plan.span,
        arena,
    };
    for (value, scalar) in values.iter_mut().zip(scalars) {
        if is_absent(*value) {
            continue;
        }
        let (l, r) = if plan.scalar_left {
            (*scalar, *value)
        } else {
            (*value, *scalar)
        };
        *value = mixed.compute(l, r, *value, notes)?.unwrap_or(ABSENT);
    }
    Ok(())
}

impl Evaluator<'_> {
    pub(super) fn binary(
        &mut self,
        plan: &BinaryPlan,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let lhs = self.vector(&plan.lhs, steps)?;
        let rhs = self.vector(&plan.rhs, steps)?;
        let held = lhs.held() + rhs.held();
        let mut signatures = Signatures::new(&plan.matching);
        let sides = Sides {
            lhs_signatures: signatures.of(&lhs),
            rhs_signatures: signatures.of(&rhs),
            signature_count: signatures.count(),
            lhs,
            rhs,
        };
        let mut memory = self.limits.held();
        memory.set(sides.size_bytes());
        self.limits.check()?;
        let result = match plan.op {
            BinaryOp::And => sides.intersect(true),
            BinaryOp::Unless => sides.intersect(false),
            BinaryOp::Or => sides.unite()?,
            _ => self.match_up(plan, sides)?,
        };
        self.limits.hold(result.held())?;
        self.limits.release(held);
        Ok(result.without_empty())
    }

    /// Arithmetic and comparisons: finds partners and computes.
    fn match_up(&mut self, plan: &BinaryPlan, sides: Sides) -> Result<Vector, QueryError> {
        let matching = &plan.matching;
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let sides = if swapped { sides.swap() } else { sides };
        let to_one = matching.cardinality == Cardinality::OneToOne;
        let partners = Partners::new(&sides, to_one);
        let job = MatchUp {
            plan,
            swapped,
            delayed_names: self.delayed_names,
            arena: &self.arena,
            limits: &self.limits,
            notes: RefCell::default(),
        };
        let result = match partners.filter(|_| !job.fills()) {
            Some(partners) => job.by_series(&sides, &partners),
            None => job.by_step(&sides),
        };
        for notes in job.notes.take().into_values() {
            self.annotations.merge(notes);
        }
        result
    }
}

/// Two vectors and the numbers of their series' matching labels. For arithmetic, the left is the
/// side that may have many.
struct Sides {
    lhs: Vector,
    rhs: Vector,
    lhs_signatures: Vec<usize>,
    rhs_signatures: Vec<usize>,
    signature_count: usize,
}

impl Sides {
    /// Bytes of what is known of the vectors, and of where one of them has samples.
    fn size_bytes(&self) -> usize {
        let series = self.lhs.len() + self.rhs.len();
        series * size_of::<usize>()
            + self.signature_count * (self.lhs.steps() + size_of::<Option<usize>>())
    }

    fn swap(self) -> Self {
        Self {
            lhs: self.rhs,
            rhs: self.lhs,
            lhs_signatures: self.rhs_signatures,
            rhs_signatures: self.lhs_signatures,
            signature_count: self.signature_count,
        }
    }

    /// Per signature and step, whether a series of the vector has a sample.
    fn presence(&self, vector: &Vector, signatures: &[usize]) -> Vec<bool> {
        let steps = vector.steps();
        let mut present = vec![false; self.signature_count * steps];
        for ((_, values), signature) in vector.rows().zip(signatures) {
            let slots = &mut present[signature * steps..(signature + 1) * steps];
            for (slot, value) in slots.iter_mut().zip(values) {
                *slot |= !is_absent(*value);
            }
        }
        present
    }

    /// `and` (`wanted`) or `unless`: the left samples with or without a partner.
    fn intersect(mut self, wanted: bool) -> Vector {
        let present = self.presence(&self.rhs, &self.rhs_signatures);
        let steps = self.lhs.steps();
        for index in 0..self.lhs.len() {
            let signature = self.lhs_signatures[index];
            let slots = &present[signature * steps..(signature + 1) * steps];
            for (value, present) in self.lhs.values_mut(index).iter_mut().zip(slots) {
                if *present != wanted {
                    *value = ABSENT;
                }
            }
        }
        self.lhs.without_empty()
    }

    /// `or`: the left samples, and the right ones without a partner.
    fn unite(self) -> Result<Vector, QueryError> {
        let present = self.presence(&self.lhs, &self.lhs_signatures);
        let steps = self.lhs.steps();
        let mut result = self.lhs;
        for ((meta, values), signature) in self.rhs.rows().zip(&self.rhs_signatures) {
            let slots = &present[signature * steps..(signature + 1) * steps];
            result.fill_as(meta.clone(), |out| {
                for ((out, value), present) in out.iter_mut().zip(values).zip(slots) {
                    if !present {
                        *out = *value;
                    }
                }
            });
        }
        result.without_empty().merge_equal_labels()
    }
}

/// Per signature, the only series of the one side: the case in which nothing can be ambiguous.
struct Partners {
    of_signature: Vec<Option<usize>>,
}

impl Partners {
    /// `None` where several series of a side share a signature that allows one.
    fn new(sides: &Sides, one_to_one: bool) -> Option<Self> {
        let only = |signatures: &[usize]| {
            let mut of_signature = vec![None; sides.signature_count];
            for (index, signature) in signatures.iter().enumerate() {
                if of_signature[*signature].replace(index).is_some() {
                    return None;
                }
            }
            Some(of_signature)
        };
        if one_to_one {
            only(&sides.lhs_signatures)?;
        }
        Some(Self {
            of_signature: only(&sides.rhs_signatures)?,
        })
    }
}

/// Series that meet; a fill value stands for the one that is missing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    many: Option<usize>,
    one: Option<usize>,
}

struct MatchUp<'a> {
    plan: &'a BinaryPlan,
    /// The many side was the right one.
    swapped: bool,
    delayed_names: bool,
    arena: &'a Arena,
    limits: &'a Limits,
    /// By step, what was said last: Prometheus keeps no more of a step.
    notes: RefCell<BTreeMap<usize, Notes>>,
}

impl MatchUp<'_> {
    /// Whole columns at a time.
    fn by_series(&self, sides: &Sides, partners: &Partners) -> Result<Vector, QueryError> {
        let mut result = Vector::new(sides.lhs.steps(), self.limits.held());
        // Results of one signature must differ where they have samples at the same step.
        let mut of_signature: FastMap<(usize, Labels), Vec<usize>> = FastMap::default();
        for (index, signature) in sides.lhs_signatures.iter().enumerate() {
            let Some(partner) = partners.of_signature[*signature] else {
                continue;
            };
            let (many, one) = (sides.lhs.values(index), sides.rhs.values(partner));
            let both = |step: usize| !is_absent(many[step]) && !is_absent(one[step]);
            if !(0..many.len()).any(both) {
                continue;
            }
            let labels = self.result_labels(sides.lhs.meta(index).labels(), || {
                sides.rhs.meta(partner).labels()
            });
            if self.plan.matching.cardinality != Cardinality::OneToOne {
                let others = of_signature
                    .entry((*signature, labels.clone()))
                    .or_default();
                for other in others.iter() {
                    let other = sides.lhs.values(*other);
                    let meet = |step: usize| both(step) && !is_absent(other[step]);
                    let counts = |step| {
                        self.operable(many[step], one[step])
                            && self.operable(other[step], one[step])
                    };
                    if (0..many.len()).any(|step| meet(step) && counts(step)) {
                        return Err(ambiguous_grouping());
                    }
                }
                others.push(index);
            }
            let mut computed = Ok(());
            result.push_with(labels, self.plan.returns_bool, |out| {
                for (step, ((out, many), one)) in out.iter_mut().zip(many).zip(one).enumerate() {
                    if !is_absent(*many) && !is_absent(*one) {
                        match self.compute(step, *many, *one) {
                            Ok(value) => *out = value.unwrap_or(ABSENT),
                            Err(error) => computed = Err(error),
                        }
                    }
                }
            });
            computed?;
        }
        let mut result = result.without_empty();
        if !self.delayed_names {
            result.drop_names();
        }
        result.merge_equal_labels()
    }

    /// Step by step, where series take turns in a signature or where matching is ambiguous.
    fn by_step(&self, sides: &Sides) -> Result<Vector, QueryError> {
        let matching = &self.plan.matching;
        let steps = sides.lhs.steps();
        let (lhs_any, rhs_any) = (sides.lhs.any_present(), sides.rhs.any_present());
        let mut result = Vector::new(steps, self.limits.held());
        let mut places: FastMap<Labels, usize> = FastMap::default();
        let mut pairs: FastMap<Pair, usize> = FastMap::default();
        let mut met: Vec<(Pair, usize)> = Vec::new();
        let mut seen: FastSet<(usize, usize)> = FastSet::default();
        for step in 0..steps {
            self.limits.check()?;
            let any = (lhs_any[step], rhs_any[step]);
            if any == (false, false) || (any != (true, true) && !self.fills()) {
                continue;
            }
            let mut partners: Vec<Option<usize>> = vec![None; sides.signature_count];
            for (index, signature) in sides.rhs_signatures.iter().enumerate() {
                if is_absent(sides.rhs.values(index)[step]) {
                    continue;
                }
                if let Some(other) = partners[*signature].replace(index) {
                    return Err(duplicates(
                        sides.rhs.meta(index).labels(),
                        sides.rhs.meta(other).labels(),
                        matching,
                    ));
                }
            }
            let mut matched = vec![false; sides.signature_count];
            seen.clear();
            for (index, signature) in sides.lhs_signatures.iter().enumerate() {
                let many = sides.lhs.values(index)[step];
                if is_absent(many) {
                    continue;
                }
                let pair = Pair {
                    many: Some(index),
                    one: partners[*signature],
                };
                met.push((pair, *signature));
            }
            if matching.fill_left.is_some() {
                met.extend(sides.rhs_signatures.iter().enumerate().filter_map(
                    |(index, signature)| {
                        let pair = Pair {
                            many: None,
                            one: Some(index),
                        };
                        let there = !is_absent(sides.rhs.values(index)[step]);
                        there.then_some((pair, *signature))
                    },
                ));
            }
            for (pair, signature) in met.drain(..) {
                let value_of = |vector: &Vector, index: Option<usize>, fill: Option<f64>| {
                    index.map(|index| vector.values(index)[step]).or(fill)
                };
                // A fill on the left stands for what nothing was matched with.
                if pair.many.is_none() && matched[signature] {
                    continue;
                }
                let (Some(many), Some(one)) = (
                    value_of(&sides.lhs, pair.many, matching.fill_left),
                    value_of(&sides.rhs, pair.one, matching.fill_right),
                ) else {
                    continue;
                };
                let place = *pairs.entry(pair).or_insert_with(|| {
                    let labels = self.pair_labels(sides, pair);
                    *places.entry(labels.clone()).or_insert_with(|| {
                        result.push_with(labels, self.plan.returns_bool, |_| {});
                        result.len() - 1
                    })
                });
                // What cannot be operated on has not met.
                let Some(value) = self.compute(step, many, one)? else {
                    continue;
                };
                let matched_before = std::mem::replace(&mut matched[signature], true);
                if matching.cardinality == Cardinality::OneToOne {
                    if matched_before {
                        return Err(QueryError::Execution(
                            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                                .to_owned(),
                        ));
                    }
                } else if !seen.insert((signature, place)) {
                    return Err(ambiguous_grouping());
                }
                if is_absent(value) {
                    continue;
                }
                let slot = &mut result.values_mut(place)[step];
                if !is_absent(*slot) {
                    return Err(same_labels());
                }
                *slot = value;
            }
        }
        let mut result = result.without_empty();
        if !self.delayed_names {
            result.drop_names();
        }
        result.merge_equal_labels()
    }

    /// Whether values stand in for series that are missing.
    fn fills(&self) -> bool {
        let matching = &self.plan.matching;
        matching.fill_left.is_some() || matching.fill_right.is_some()
    }

    /// The labels of a result; for a missing series stand those it would be matched on.
    fn pair_labels(&self, sides: &Sides, pair: Pair) -> Labels {
        let many = pair.many.map(|index| sides.lhs.meta(index).labels());
        let one = pair.one.map(|index| sides.rhs.meta(index).labels());
        let matched = |other: Option<&Labels>| match other {
            Some(labels) => matched_labels(labels, &self.plan.matching),
            None => Labels::empty(),
        };
        match (many, one) {
            (Some(many), Some(one)) => self.result_labels(many, || one),
            (many, one) => {
                let (of_one, of_many) = (matched(one), matched(many));
                self.result_labels(many.unwrap_or(&of_one), || one.unwrap_or(&of_many))
            }
        }
    }

    /// Whether anything can come of two samples that meet.
    fn operable(&self, many: f64, one: f64) -> bool {
        if !self.arena.any() && !self.plan.op.is_trim() {
            return true;
        }
        let (mark, notes) = (self.arena.mark(), self.notes.take());
        let computed = self.compute(0, many, one);
        self.arena.forget_since(mark);
        self.notes.replace(notes);
        !matches!(computed, Ok(None))
    }

    /// `None` where the two cannot be operated on.
    #[inline]
    fn compute(&self, step: usize, many: f64, one: f64) -> Result<Option<f64>, QueryError> {
        let (l, r) = if self.swapped {
            (one, many)
        } else {
            (many, one)
        };
        if !self.arena.any() && !self.plan.op.is_trim() {
            let value = sample_op(self.plan.op, self.plan.returns_bool, l, r, l);
            return Ok(Some(value));
        }
        let mixed = MixedOp {
            op: self.plan.op,
            returns_bool: self.plan.returns_bool,
            span: self.plan.span,
            arena: self.arena,
        };
        let mut notes = Notes::default();
        let computed = mixed.compute(l, r, l, &mut notes);
        if !notes.is_empty() {
            self.notes.borrow_mut().insert(step, notes);
        }
        computed
    }

    fn result_labels<'l>(&self, many: &Labels, one: impl FnOnce() -> &'l Labels) -> Labels {
        let matching = &self.plan.matching;
        let drops_name =
            changes_meaning(self.plan.op) || (self.plan.returns_bool && !self.delayed_names);
        let to_one = matching.cardinality == Cardinality::OneToOne;
        let kept = many.without(|name| {
            if describes_metric(name) && drops_name {
                return true;
            }
            to_one && matching.labels.iter().any(|have| have == name) != matching.on
        });
        if matching.include.is_empty() {
            return kept;
        }
        let (mut builder, one) = (kept.to_builder(), one());
        for name in &matching.include {
            builder.set(name, one.get(name));
        }
        builder.build()
    }
}

fn ambiguous_grouping() -> QueryError {
    QueryError::Execution(
        "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
    )
}

/// Two series of the one side have the same matching labels.
fn duplicates(one: &Labels, other: &Labels, matching: &Matching) -> QueryError {
    let side = if matching.cardinality == Cardinality::OneToMany {
        "left"
    } else {
        "right"
    };
    let group = matched_labels(one, matching);
    let mut both = [one.to_string(), other.to_string()];
    both.sort();
    let [first, second] = both;
    QueryError::Execution(format!(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}

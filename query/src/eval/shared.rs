//! Subexpressions that stand in several places: the first place evaluates, the others get what it
//! found. Remarks and counts are as if each had evaluated on its own.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use barograph_model::TimeRange;

use super::arena::is_histogram;
use super::counts::SampleCounts;
use super::key::Selected;
use super::vector::{ABSENT, Meta, Vector};
use super::{Evaluator, Sink};
use crate::annotations::Annotations;
use crate::error::QueryError;
use crate::memory::Held;
use crate::plan::{Family, SelectorPlan, SharedPlan, SharedUse, Steps, VectorPlan};

/// Most slots that are kept of one subexpression; one with more is evaluated where it stands.
const KEPT_LIMIT_SLOTS: usize = 1 << 21;

/// What stands in several places of the query, and what is known of it so far.
#[derive(Default)]
pub(crate) struct Sharing<'a> {
    plans: &'a [SharedPlan],
    families: &'a [Family],
    found: Vec<State>,
    /// What each family selected.
    selected: Vec<FamilySelected>,
}

/// What the selectors of a family found.
struct FamilySelected {
    /// The series selected last, and where in time.
    last: Option<(TimeRange, Arc<Selected>)>,
    /// Selectors still to come.
    left: usize,
}

#[derive(Default)]
enum State {
    #[default]
    New,
    /// It is too large to be kept, or its slots mean something only while they stream.
    NotKept,
    Kept(Rc<Found>),
    /// All places had it.
    Gone,
}

/// What the first place found.
struct Found {
    steps: Steps,
    rows: Rows,
    annotations: Annotations,
    counts: SampleCounts,
    /// Places that have not had it yet.
    left: Cell<usize>,
}

/// Series in the order in which they came.
struct Rows {
    metas: Vec<Meta>,
    values: Vec<f64>,
    memory: Held,
}

impl Rows {
    fn new(memory: Held) -> Self {
        Self {
            metas: Vec::new(),
            values: Vec::new(),
            memory,
        }
    }

    /// Keeps a series; `false` where there is no room for it.
    fn push(&mut self, meta: Meta, values: &[f64]) -> bool {
        let bytes = size_of::<Meta>() + size_of_val(values);
        if self.values.len() + values.len() > KEPT_LIMIT_SLOTS || !self.memory.has_room(bytes) {
            return false;
        }
        self.memory.grow(bytes);
        self.metas.push(meta);
        self.values.extend_from_slice(values);
        true
    }

    fn iter(&self, steps: &Steps) -> impl Iterator<Item = (&Meta, &[f64])> {
        let values = self.values.chunks_exact(steps.count.max(1));
        self.metas.iter().zip(values)
    }
}

impl<'a> Sharing<'a> {
    pub(crate) fn new(plans: &'a [SharedPlan], families: &'a [Family]) -> Self {
        Self {
            plans,
            families,
            found: plans.iter().map(|_| State::default()).collect(),
            selected: families
                .iter()
                .map(|family| FamilySelected {
                    last: None,
                    left: family.members.len(),
                })
                .collect(),
        }
    }

    /// The plan that stands behind one that is shared.
    pub(super) fn behind<'p>(&self, plan: &'p VectorPlan) -> &'p VectorPlan
    where
        'a: 'p,
    {
        let mut plan = plan;
        while let VectorPlan::Shared(place) = plan {
            let plans: &'a [SharedPlan] = self.plans;
            plan = &plans[place.number].plan;
        }
        plan
    }

    /// Whether what a place yields was found by another one.
    pub(super) fn is_found(&self, place: SharedUse) -> bool {
        matches!(self.found[place.number], State::Kept(_))
    }

    /// What was selected for another selector of the family and covers `range`; else the range to
    /// select, which may be wider for the sake of others.
    pub(super) fn selected(
        &mut self,
        plan: &SelectorPlan,
        range: TimeRange,
        lookback_ms: i64,
    ) -> Result<Arc<Selected>, TimeRange> {
        let Some(FamilySelected { last, left }) = self.selected.get_mut(plan.family) else {
            return Err(range);
        };
        *left = left.saturating_sub(1);
        let found = last
            .as_ref()
            .filter(|(have, _)| have.start_ms <= range.start_ms && range.end_ms <= have.end_ms);
        if let Some((_, selected)) = found {
            let selected = selected.clone();
            if *left == 0 {
                *last = None;
            }
            return Ok(selected);
        }
        if *left == 0 {
            *last = None;
            return Err(range);
        }
        let farther_ms = self.families[plan.family].farther_ms(plan, lookback_ms);
        Err(TimeRange {
            start_ms: range.start_ms.saturating_sub(farther_ms),
            ..range
        })
    }

    /// Notes what was selected, for the selectors of the family that are still to come.
    pub(super) fn note_selected(
        &mut self,
        plan: &SelectorPlan,
        range: TimeRange,
        selected: &Arc<Selected>,
    ) {
        if let Some(family) = self.selected.get_mut(plan.family)
            && family.left > 0
        {
            family.last = Some((range, selected.clone()));
        }
    }
}

impl<'a> Evaluator<'a> {
    fn shared_plan(&self, place: SharedUse) -> &'a SharedPlan {
        let plans: &'a [SharedPlan] = self.sharing.plans;
        &plans[place.number]
    }

    /// All series of a shared subexpression, of a kind that does not flow.
    pub(super) fn shared_vector(
        &mut self,
        place: SharedUse,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let SharedPlan { plan, .. } = self.shared_plan(place);
        if let Some(found) = self.recall(place, steps) {
            self.limits.hold(found.rows.values.len())?;
            let mut vector = Vector::new(steps.count, self.limits.held());
            for (meta, values) in found.rows.iter(steps) {
                vector.push_as(meta.clone(), values);
            }
            return Ok(vector);
        }
        if !self.keeps(place) {
            return self.evaluate(plan, steps);
        }
        let mut rows = Some(Rows::new(self.limits.held()));
        let (vector, annotations, counts) = self.apart(|evaluator| evaluator.evaluate(plan, steps));
        let vector = vector?;
        for (meta, values) in vector.rows() {
            keep_row(&mut rows, meta.clone(), values);
        }
        self.keep(place, steps, rows, annotations, counts);
        Ok(vector)
    }

    /// The series of a shared subexpression, one by one.
    pub(super) fn flow_shared(
        &mut self,
        place: SharedUse,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let SharedPlan { plan, .. } = self.shared_plan(place);
        if let Some(found) = self.recall(place, steps) {
            let mut out = vec![ABSENT; steps.count];
            for (meta, values) in found.rows.iter(steps) {
                self.limits.check()?;
                out.copy_from_slice(values);
                let mark = self.arena.mark();
                sink(meta.key(), meta.drop_name, &mut out)?;
                if self.transient {
                    self.arena.forget_since(mark);
                }
            }
            return Ok(());
        }
        if !self.keeps(place) {
            return self.flow(plan, steps, sink);
        }
        let mut rows = Some(Rows::new(self.limits.held()));
        let transient = self.transient;
        let (flowed, annotations, counts) = self.apart(|evaluator| {
            evaluator.flow(plan, steps, &mut |key, drop_name, values| {
                // Histograms of a stream are forgotten row by row.
                if transient && values.iter().any(|value| is_histogram(*value)) {
                    rows = None;
                }
                if rows.is_some() {
                    keep_row(&mut rows, Meta::new(key, drop_name), values);
                }
                sink(key, drop_name, values)
            })
        });
        self.keep(place, steps, rows, annotations, counts);
        flowed
    }

    /// Whether what a place finds is worth keeping.
    fn keeps(&self, place: SharedUse) -> bool {
        self.shared_plan(place).uses > 1 && matches!(self.sharing.found[place.number], State::New)
    }

    /// Evaluates, with remarks and counts of its own, which are added to those of the query.
    fn apart<T>(
        &mut self,
        evaluate: impl FnOnce(&mut Self) -> T,
    ) -> (T, Annotations, SampleCounts) {
        let none = self.counts.none();
        let counts = std::mem::replace(&mut self.counts, none);
        let annotations = std::mem::take(&mut self.annotations);
        let result = evaluate(self);
        let own_counts = std::mem::replace(&mut self.counts, counts);
        let own_annotations = std::mem::replace(&mut self.annotations, annotations);
        self.counts.add(&own_counts);
        self.counts.pages_decoded += own_counts.pages_decoded;
        self.annotations.merge(own_annotations.clone());
        (result, own_annotations, own_counts)
    }

    fn keep(
        &mut self,
        place: SharedUse,
        steps: &Steps,
        rows: Option<Rows>,
        annotations: Annotations,
        counts: SampleCounts,
    ) {
        let uses = self.shared_plan(place).uses;
        self.sharing.found[place.number] = match rows {
            None => State::NotKept,
            Some(rows) => State::Kept(Rc::new(Found {
                steps: *steps,
                rows,
                annotations,
                counts,
                left: Cell::new(uses - 1),
            })),
        };
    }

    /// What another place found.
    fn recall(&mut self, place: SharedUse, steps: &Steps) -> Option<Rc<Found>> {
        let state = &mut self.sharing.found[place.number];
        let found = match state {
            State::Kept(found) if found.steps == *steps => found.clone(),
            _ => return None,
        };
        let left = found.left.get().saturating_sub(1);
        found.left.set(left);
        if left == 0 {
            *state = State::Gone;
        }
        self.annotations
            .merge(found.annotations.moved(place.behind));
        self.counts.add(&found.counts);
        if let Some(profiler) = &self.profiler {
            profiler.borrow_mut().not_read(found.counts.read);
        }
        Some(found)
    }
}

/// Keeps a series for as long as there is room.
fn keep_row(rows: &mut Option<Rows>, meta: Meta, values: &[f64]) {
    if let Some(kept) = rows
        && !kept.push(meta, values)
    {
        *rows = None;
    }
}

//! Plans to values.
//!
//! A plan is evaluated over all its steps at once: a series is a column with a slot per step
//! ([`vector::Vector`]). Where nothing needs a whole vector at a time, series flow through one by
//! one ([`Evaluator::stream`]) and are never held together.

mod aggregate;
mod aggregate_histograms;
mod arena;
mod binary;
mod call;
mod counts;
mod date;
mod distinct;
mod extended;
mod hints;
mod histogram;
mod info;
mod key;
mod label;
mod ledger;
mod limits;
mod matching;
mod mixed;
mod native;
mod profile;
mod rows;
mod select;
mod shared;
mod topk;
pub(crate) mod vector;
mod window;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use barograph_model::Labels;
use barograph_tsdb::Snapshot;

use crate::annotations::{Annotations, Notes};
use crate::ast::BinaryOp;
use crate::error::QueryError;
use crate::gomath;
use crate::helpers::Helpers;
use crate::memory::Held;
use crate::plan::{ScalarPlan, Steps, VectorPlan, WindowSource};

pub(crate) use arena::{Arena, is_histogram};
pub(crate) use counts::SampleCounts;
pub(crate) use date::rfc3339;
use distinct::Distinct;
use key::Key;
use ledger::Counting;
pub(crate) use ledger::Ledger;
pub(crate) use limits::Limits;
pub(crate) use profile::Profiler;
pub(crate) use shared::Sharing;
use vector::{Meta, Vector, is_absent};

/// Takes a series of a stream: its labels, whether its name is to be dropped, its values.
type Sink<'s> = dyn FnMut(Key<'_>, bool, &mut [f64]) -> Result<(), QueryError> + 's;

/// Evaluates plans over a snapshot.
pub(crate) struct Evaluator<'a> {
    snapshot: &'a Snapshot,
    lookback_ms: i64,
    /// Names are dropped when the query ends instead of where they lose their meaning.
    delayed_names: bool,
    pub(crate) limits: Limits,
    pub(crate) annotations: Annotations,
    /// The histograms that slots of columns name.
    pub(crate) arena: Arena,
    /// Counters began when their start timestamps say so.
    pub(crate) use_start_timestamps: bool,
    /// Whoever takes the rows of a stream keeps none of their histograms.
    transient: bool,
    pub(crate) counts: SampleCounts,
    /// What stands in several places.
    pub(crate) sharing: Sharing<'a>,
    /// Threads that help, and how much work is worth asking them, in samples.
    pub(crate) helpers: Option<Arc<Helpers>>,
    pub(crate) parallel_samples: u64,
    /// What Prometheus would count in memory, where that is asked for.
    pub(crate) ledger: Option<Rc<RefCell<Ledger>>>,
    /// Where it is asked for.
    pub(crate) profiler: Option<Rc<RefCell<Profiler>>>,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        lookback_ms: i64,
        delayed_names: bool,
        limits: Limits,
    ) -> Self {
        Self {
            snapshot,
            lookback_ms,
            delayed_names,
            arena: Arena::new(limits.clone()),
            use_start_timestamps: false,
            transient: false,
            limits,
            annotations: Annotations::default(),
            counts: SampleCounts::default(),
            sharing: Sharing::default(),
            helpers: None,
            parallel_samples: u64::MAX,
            ledger: None,
            profiler: None,
        }
    }

    /// One number per step.
    pub(crate) fn scalar(
        &mut self,
        plan: &ScalarPlan,
        steps: &Steps,
    ) -> Result<Vec<f64>, QueryError> {
        self.limits.check()?;
        let Some(ledger) = self.ledger.clone() else {
            return self.numbers(plan, steps);
        };
        ledger
            .borrow_mut()
            .enter(Counting::of_scalar(plan), None, steps.count);
        let numbers = self.numbers(plan, steps);
        ledger.borrow_mut().leave_scalar();
        numbers
    }

    fn numbers(&mut self, plan: &ScalarPlan, steps: &Steps) -> Result<Vec<f64>, QueryError> {
        match plan {
            ScalarPlan::Constant(value) => Ok(vec![*value; steps.count]),
            ScalarPlan::Time => Ok((0..steps.count)
                .map(|step| steps.at(step) as f64 / 1000.0)
                .collect()),
            ScalarPlan::Only(operand) => {
                let vector = self.vector(operand, steps)?;
                Ok((0..steps.count).map(|step| vector.only_at(step)).collect())
            }
            ScalarPlan::Negate(operand) => {
                let mut values = self.scalar(operand, steps)?;
                for value in &mut values {
                    *value = -*value;
                }
                Ok(values)
            }
            ScalarPlan::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (self.scalar(lhs, steps)?, self.scalar(rhs, steps)?);
                Ok(lhs
                    .iter()
                    .zip(&rhs)
                    .map(|(l, r)| binary::scalar_op(*op, *l, *r))
                    .collect())
            }
            ScalarPlan::Extreme { largest, lhs, rhs } => {
                let (lhs, rhs) = (self.scalar(lhs, steps)?, self.scalar(rhs, steps)?);
                let pick = if *largest { gomath::max } else { gomath::min };
                Ok(lhs.iter().zip(&rhs).map(|(l, r)| pick(*l, *r)).collect())
            }
            ScalarPlan::Once(operand) => {
                if steps.count == 0 {
                    return Ok(Vec::new());
                }
                let counts = std::mem::take(&mut self.counts);
                let value = self.scalar(operand, &Steps::one(steps.start_ms));
                let part = std::mem::replace(&mut self.counts, counts);
                self.counts.once(&part, steps.count);
                let value = value?;
                let value = value.first().copied().unwrap_or(f64::NAN);
                Ok(vec![value; steps.count])
            }
        }
    }

    /// All series with their values at every step. Names that are to be dropped at once are.
    pub(crate) fn vector(
        &mut self,
        plan: &VectorPlan,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        self.limits.check()?;
        if steps.count == 0 {
            return Ok(Vector::new(0, self.limits.held()));
        }
        // What makes up a vector is kept, whoever asked for it.
        let transient = std::mem::replace(&mut self.transient, false);
        self.enter(plan, steps);
        let vector = self.evaluate(plan, steps);
        self.transient = transient;
        if let (Some(ledger), Ok(vector)) = (&self.ledger, &vector) {
            let mut ledger = ledger.borrow_mut();
            let node = ledger.current();
            // What flowed was counted row by row.
            if !ledger.has_rows() {
                for (_, values) in vector.rows() {
                    ledger.row(node, values, &self.arena);
                }
            }
        }
        if let (Some(profiler), Ok(vector)) = (&self.profiler, &vector) {
            let mut profiler = profiler.borrow_mut();
            for (_, values) in vector.rows() {
                profiler.series(values);
            }
        }
        self.leave();
        vector
    }

    fn evaluate(&mut self, plan: &VectorPlan, steps: &Steps) -> Result<Vector, QueryError> {
        if let VectorPlan::Shared(place) = plan {
            return if is_collected(self.sharing.behind(plan)) {
                self.collect(plan, steps)
            } else {
                self.shared_vector(*place, steps)
            };
        }
        match plan {
            VectorPlan::Selector(_)
            | VectorPlan::SampleTimes(_)
            | VectorPlan::StartTimes(_)
            | VectorPlan::Negate(_)
            | VectorPlan::Math { .. }
            | VectorPlan::BinaryScalar(_)
            | VectorPlan::Window(_)
            | VectorPlan::Shared(_) => self.collect(plan, steps),
            VectorPlan::FromScalar(scalar) => {
                let values = self.scalar(scalar, steps)?;
                let mut vector = Vector::new(steps.count, self.limits.held());
                self.limits.hold(steps.count)?;
                vector.push(Labels::empty(), false, &values);
                Ok(vector)
            }
            VectorPlan::Date { part, operand } => self.date(*part, operand.as_deref(), steps),
            VectorPlan::StepTimes(operand) => self.step_times(operand, steps),
            VectorPlan::Absent { operand, labels } => self.absent(operand, labels, steps),
            VectorPlan::AbsentOverTime { source, labels } => {
                self.absent_over_time(source, labels, steps)
            }
            VectorPlan::Sort {
                operand,
                descending,
                span,
            } => self.sort(operand, *descending, *span, steps),
            VectorPlan::SortByLabel {
                operand,
                labels,
                descending,
                span,
            } => self.sort_by_label(operand, labels, *descending, *span, steps),
            VectorPlan::LabelReplace {
                operand,
                target,
                replacement,
                source,
                pattern,
            } => {
                let vector = self.vector(operand, steps)?;
                let rule = label::Replace {
                    target,
                    replacement,
                    source,
                    pattern,
                };
                label::replace(vector, &rule)
            }
            VectorPlan::LabelJoin {
                operand,
                target,
                separator,
                sources,
            } => {
                let vector = self.vector(operand, steps)?;
                label::join(vector, target, separator, sources)
            }
            VectorPlan::HistogramQuantile {
                quantile,
                quantile_span,
                operand,
                operand_span,
            } => self.histogram_quantile(quantile, *quantile_span, operand, *operand_span, steps),
            VectorPlan::HistogramFraction {
                lower,
                upper,
                operand,
                operand_span,
            } => self.histogram_fraction(lower, upper, operand, *operand_span, steps),
            VectorPlan::HistogramQuantiles(plan) => self.histogram_quantiles(plan, steps),
            VectorPlan::Nothing(operand) => {
                let vector = self.vector(operand, steps)?;
                self.limits.release(vector.held());
                Ok(Vector::new(steps.count, self.limits.held()))
            }
            VectorPlan::Native { function, operand } => self.native(*function, operand, steps),
            VectorPlan::Aggregate(aggregate) => self.aggregate(aggregate, steps),
            VectorPlan::Info(info) => self.info(info, steps),
            VectorPlan::CountValues(count) => self.count_values(count, steps),
            VectorPlan::Binary(binary) => self.binary(binary, steps),
            VectorPlan::Once(operand) => self.once(operand, steps),
        }
    }

    /// What is the same at every step: computed at the first and repeated.
    fn once(&mut self, operand: &VectorPlan, steps: &Steps) -> Result<Vector, QueryError> {
        let counts = std::mem::take(&mut self.counts);
        let one = self.vector(operand, &Steps::one(steps.start_ms));
        let part = std::mem::replace(&mut self.counts, counts);
        self.counts.once(&part, steps.count);
        let one = one?;
        if steps.count == 1 {
            return Ok(one);
        }
        self.limits.hold(one.len() * (steps.count - 1))?;
        let mut vector = Vector::new(steps.count, self.limits.held());
        for (meta, values) in one.rows() {
            if let [value] = values {
                vector.fill_as(meta.clone(), |slots| slots.fill(*value));
            }
        }
        Ok(vector)
    }

    /// Whether the series of a plan can flow one by one: each is made from one series below it,
    /// and dropping names cannot make two of them equal, or that is refused as they come.
    fn flows(&self, plan: &VectorPlan) -> bool {
        let plan = self.sharing.behind(plan);
        let source_flows = |plan: &VectorPlan| match self.sharing.behind(plan) {
            VectorPlan::Selector(selector)
            | VectorPlan::SampleTimes(selector)
            | VectorPlan::StartTimes(selector) => selector.has_one_name(),
            // Where a window keeps the name, what is above it drops it.
            VectorPlan::Window(window) => {
                self.delayed_names || window::has_one_name(window, &self.sharing)
            }
            _ => self.flows(plan),
        };
        match plan {
            VectorPlan::Selector(_) => true,
            VectorPlan::SampleTimes(selector) | VectorPlan::StartTimes(selector) => {
                selector.has_one_name() || self.delayed_names
            }
            VectorPlan::Window(window) =>
            // Else they are told apart as they come.
            {
                self.window_flows(window) || matches!(window.source, WindowSource::Selector { .. })
            }
            VectorPlan::Negate(operand) | VectorPlan::Math { operand, .. } => source_flows(operand),
            VectorPlan::BinaryScalar(binary) => source_flows(&binary.vector),
            _ => false,
        }
    }

    /// Gives each series to `sink`. A name that is to be dropped is still in the labels.
    pub(crate) fn stream(
        &mut self,
        plan: &VectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if steps.count == 0 {
            return Ok(());
        }
        if !self.flows(plan) {
            let mut vector = self.vector(plan, steps)?;
            for index in 0..vector.len() {
                let meta = vector.meta(index).clone();
                sink(meta.key(), meta.drop_name, vector.values_mut(index))?;
            }
            self.limits.release(vector.held());
            return Ok(());
        }
        if let VectorPlan::Window(window) = self.sharing.behind(plan)
            && !self.window_flows(window)
        {
            let mut distinct = Distinct::new(self.limits.held());
            self.stream_as_is(plan, steps, &mut |key, drop_name, values| {
                if drop_name {
                    distinct.note(key);
                }
                sink(key, drop_name, values)
            })?;
            return if distinct.all_differ() {
                Ok(())
            } else {
                Err(vector::same_labels())
            };
        }
        self.stream_as_is(plan, steps, sink)
    }

    fn stream_as_is(
        &mut self,
        plan: &VectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let (profiler, ledger) = (self.profiler.clone(), self.ledger.clone());
        if profiler.is_none() && ledger.is_none() {
            return self.flow(plan, steps, sink);
        }
        let node = self.enter(plan, steps);
        let arena = self.arena.clone();
        let flowed = self.flow(plan, steps, &mut |key, drop_name, values| {
            if let Some(ledger) = &ledger {
                ledger.borrow_mut().row(node, values, &arena);
            }
            let Some(profiler) = &profiler else {
                return sink(key, drop_name, values);
            };
            profiler.borrow_mut().series(values);
            let began = Instant::now();
            let taken = sink(key, drop_name, values);
            profiler.borrow_mut().above(began.elapsed());
            taken
        });
        self.leave();
        flowed
    }

    /// Returns what the ledger knows the node by.
    fn enter(&self, plan: &VectorPlan, steps: &Steps) -> usize {
        if let Some(profiler) = &self.profiler {
            let mut profiler = profiler.borrow_mut();
            let shared = match plan {
                VectorPlan::Shared(place) => self.sharing.is_found(*place),
                _ => false,
            };
            let plan = self.sharing.behind(plan);
            profiler.enter(plan, shared, &self.counts, &self.limits.memory);
        }
        let ledger = self.ledger.as_ref();
        ledger.map_or(0, |ledger| {
            let shared = match plan {
                VectorPlan::Shared(place) => Some(place.number),
                _ => None,
            };
            let counting = Counting::of(self.sharing.behind(plan));
            ledger.borrow_mut().enter(counting, shared, steps.count)
        })
    }

    fn leave(&self) {
        if let Some(profiler) = &self.profiler {
            let mut profiler = profiler.borrow_mut();
            profiler.leave(&self.counts, &self.limits.memory);
        }
        if let Some(ledger) = &self.ledger {
            ledger.borrow_mut().leave();
        }
    }

    fn flow(
        &mut self,
        plan: &VectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        match plan {
            VectorPlan::Selector(selector) => self.stream_selector(selector, steps, sink),
            VectorPlan::SampleTimes(selector) => self.stream_sample_times(selector, steps, sink),
            VectorPlan::StartTimes(selector) => self.stream_start_times(selector, steps, sink),
            VectorPlan::Window(window) => self.stream_window(window, steps, sink),
            VectorPlan::Shared(place) => self.flow_shared(*place, steps, sink),
            VectorPlan::Negate(operand) => {
                let arena = self.arena.clone();
                self.stream(operand, steps, &mut |key, _, values| {
                    for value in values.iter_mut().filter(|value| !is_absent(**value)) {
                        *value = match arena.get(*value) {
                            None => -*value,
                            Some(mut histogram) => {
                                Arc::make_mut(&mut histogram).multiply(-1.0);
                                arena.put(histogram)?
                            }
                        };
                    }
                    sink(key, true, values)
                })
            }
            VectorPlan::Math {
                function,
                operand,
                params,
            } => {
                let params = params
                    .iter()
                    .map(|param| self.scalar(param, steps))
                    .collect::<Result<Vec<_>, _>>()?;
                let arena = self.arena.clone();
                self.stream(operand, steps, &mut |key, _, values| {
                    if arena.any() {
                        arena::drop_histograms(values);
                    }
                    call::apply_math(*function, &params, values);
                    sink(key, true, values)
                })
            }
            VectorPlan::BinaryScalar(binary) => {
                let scalars = self.scalar(&binary.scalar, steps)?;
                let changes = changes_meaning(binary.op) || binary.returns_bool;
                let arena = self.arena.clone();
                let mut notes = Notes::default();
                self.stream(&binary.vector, steps, &mut |key, drop_name, values| {
                    if arena.any() || binary.op.is_trim() {
                        binary::apply_scalar_mixed(binary, &scalars, values, &arena, &mut notes)?;
                    } else {
                        binary::apply_scalar(binary, &scalars, values);
                    }
                    sink(key, drop_name || changes, values)
                })?;
                self.annotations.merge(notes);
                Ok(())
            }
            _ => Err(QueryError::Execution(
                "BUG: a plan that does not flow was streamed".to_owned(),
            )),
        }
    }

    /// Collects what flows, or maps what does not, and drops names that are to be dropped now.
    fn collect(&mut self, plan: &VectorPlan, steps: &Steps) -> Result<Vector, QueryError> {
        let mut vector = Vector::new(steps.count, self.limits.held());
        let behind = self.sharing.behind(plan);
        let is_window = matches!(behind, VectorPlan::Window(_));
        let flows = match behind {
            VectorPlan::Window(window) => self.window_flows(window),
            _ => self.flows(plan),
        };
        let limits = self.limits.clone();
        let (ledger, arena) = (self.ledger.clone(), self.arena.clone());
        let node = ledger
            .as_ref()
            .map_or(0, |ledger| ledger.borrow().current());
        self.flow(plan, steps, &mut |key, drop_name, values| {
            if let Some(ledger) = &ledger {
                ledger.borrow_mut().row(node, values, &arena);
            }
            if values.iter().all(|value| is_absent(*value)) {
                return Ok(());
            }
            limits.hold(values.len())?;
            vector.push_as(Meta::new(key, drop_name), values);
            Ok(())
        })?;
        if self.delayed_names {
            return Ok(vector);
        }
        if !vector.drop_names() && flows {
            return Ok(vector);
        }
        if is_window {
            // Windows refuse equal series even where their samples do not meet.
            if vector.has_equal_labels() {
                return Err(vector::same_labels());
            }
            return Ok(vector);
        }
        vector.merge_equal_labels()
    }

    /// Holds bytes for a result of that size, beside the vector it is made of.
    pub(crate) fn result(&self, size_bytes: usize) -> Result<Held, QueryError> {
        let mut memory = self.limits.held();
        memory.set(size_bytes);
        self.limits.check()?;
        Ok(memory)
    }

    /// Drops names at the end of a query where that was put off.
    pub(crate) fn finish(&mut self, mut vector: Vector) -> Result<Vector, QueryError> {
        if !self.delayed_names {
            return Ok(vector);
        }
        vector.drop_names();
        vector.merge_equal_labels()
    }
}

/// Whether the series of a plan are collected from a stream.
fn is_collected(plan: &VectorPlan) -> bool {
    matches!(
        plan,
        VectorPlan::Selector(_)
            | VectorPlan::SampleTimes(_)
            | VectorPlan::StartTimes(_)
            | VectorPlan::Negate(_)
            | VectorPlan::Math { .. }
            | VectorPlan::BinaryScalar(_)
            | VectorPlan::Window(_)
    )
}

/// Whether an operator yields something else than its operands are, so that their name is wrong.
pub(crate) fn changes_meaning(op: BinaryOp) -> bool {
    !op.is_comparison() && !op.is_set() && !op.is_trim()
}

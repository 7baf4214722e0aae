//! The engine: evaluates expressions within limits.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use barograph_instrument::Registry;
use barograph_model::{Labels, Sample};
use barograph_tsdb::Snapshot;

use crate::ast::{Expr, ValueType};
use crate::error::QueryError;
use crate::eval::vector::{Vector, is_absent, same_labels};
use crate::eval::{Arena, Evaluator, Limits, SampleCounts, Sharing};
use crate::helpers::Helpers;
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::plan::{PlanContext, Root, Steps, WindowSource, plan};
use crate::pool::Lane;
use crate::running::{RunningQueries, RunningQuery};
use crate::value::{HistogramSample, Outcome, QueryStats, Series, Value, VectorSample};

/// Limits and defaults of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How far an instant selector looks back, milliseconds.
    pub lookback_ms: i64,
    /// How long a query may take.
    pub timeout: Duration,
    /// Most samples a query may hold.
    pub max_samples: u64,
    /// Most bytes a query may hold; 0 for no limit.
    pub max_memory_bytes: u64,
    /// Most bytes all running queries may hold together, of which users leave a quarter to rules;
    /// 0 for no limit.
    pub max_total_memory_bytes: u64,
    /// The step of a subquery that names none, milliseconds: the global evaluation interval.
    pub default_step_ms: i64,
    /// Drop metric names when a query ends instead of where they lose their meaning (feature flag
    /// `promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
    /// Counters began when their start timestamps say so (feature flag `use-start-timestamps`).
    pub use_start_timestamps: bool,
    /// Cores that queries may keep busy together. One query uses several where others leave them.
    pub cores: usize,
    /// Samples from which on a selector is worth more than one core.
    pub parallel_samples: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            timeout: Duration::from_mins(2),
            max_samples: 50_000_000,
            max_memory_bytes: 2 << 30,
            max_total_memory_bytes: 0,
            default_step_ms: 60_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            parallel_samples: 50_000,
        }
    }
}

/// The steps of a range query: `start_ms`, then every `step_ms` up to and including `end_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeSteps {
    /// First step.
    pub start_ms: i64,
    /// No step lies behind it.
    pub end_ms: i64,
    /// Distance of steps, above 0.
    pub step_ms: i64,
}

/// A switch that stops a running query.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the query at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether it is to stop.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// What one query may ask for.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// Instead of the engine's lookback.
    pub lookback_ms: Option<i64>,
    /// When it must be done; the engine's timeout from now where absent.
    pub deadline: Option<Instant>,
    /// Stops it from outside.
    pub cancel: Cancel,
    /// Count what Prometheus would hold: [`QueryStats::peak_samples`].
    pub peak_samples: bool,
    /// Count samples step by step as well.
    pub per_step: bool,
    /// Who asks: users leave memory to rules.
    pub lane: Lane,
    /// Note where the time goes.
    pub profile: bool,
}

/// Evaluates expressions. Cloning shares limits and metrics.
#[derive(Clone)]
pub struct Engine {
    options: Arc<EngineOptions>,
    metrics: Arc<Metrics>,
    running: Arc<RunningQueries>,
    budget: Arc<Budget>,
    helpers: Arc<Helpers>,
}

impl Engine {
    /// An engine; registers its metrics.
    pub fn new(options: EngineOptions, registry: &Registry) -> Self {
        let budget = Budget::new(
            options.max_memory_bytes,
            options.max_total_memory_bytes,
            registry,
        );
        Self {
            budget,
            helpers: Arc::new(Helpers::new(options.cores)),
            options: Arc::new(options),
            metrics: Arc::new(Metrics::new(registry)),
            running: Arc::new(RunningQueries::new(registry)),
        }
    }

    /// Its limits and defaults.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The queries that run now, the longest running first.
    pub fn running(&self) -> Vec<RunningQuery> {
        self.running.list()
    }

    /// Stops a running query; false where none has this number.
    pub fn cancel(&self, id: u64) -> bool {
        self.running.cancel(id)
    }

    /// The value at one time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        snapshot: &Snapshot,
        expr: &Expr,
        time_ms: i64,
        options: &QueryOptions,
    ) -> Result<Outcome, QueryError> {
        let context = PlanContext {
            start_ms: time_ms,
            end_ms: time_ms,
            step_ms: 0,
            default_step_ms: self.options.default_step_ms,
        };
        let steps = Steps::one(time_ms);
        self.run(snapshot, expr, context, options, |evaluator, root| {
            let sample = |value| Sample {
                timestamp_ms: time_ms,
                value,
            };
            Ok(match root {
                Root::Scalar(plan) => {
                    let values = evaluator.scalar(plan, &steps)?;
                    Value::Scalar(sample(values.first().copied().unwrap_or(f64::NAN)))
                }
                Root::Vector(plan) => {
                    let vector = evaluator.vector(plan, &steps)?;
                    let vector = evaluator.finish(vector)?;
                    if vector.has_equal_labels() {
                        return Err(same_labels());
                    }
                    let size = vector.len() * size_of::<VectorSample>();
                    let _result = evaluator.result(size)?;
                    let elements = vector.rows().filter_map(|(meta, values)| {
                        let value = values.first().filter(|value| !is_absent(**value))?;
                        let histogram = evaluator.arena.get(*value);
                        let float = histogram.as_ref().map_or(*value, |_| 0.0);
                        Some(VectorSample {
                            labels: meta.labels().clone(),
                            sample: sample(float),
                            histogram,
                        })
                    });
                    Value::Vector(elements.collect())
                }
                Root::String(text) => Value::String {
                    timestamp_ms: time_ms,
                    text: text.value.clone(),
                },
                Root::Matrix(source) => Value::Matrix(evaluator.matrix(source, &steps)?),
            })
        })
    }

    /// The values at many times, as a matrix.
    ///
    /// # Errors
    /// See [`QueryError`]; also an expression that is neither scalar nor instant vector.
    pub fn range(
        &self,
        snapshot: &Snapshot,
        expr: &Expr,
        steps: RangeSteps,
        options: &QueryOptions,
    ) -> Result<Outcome, QueryError> {
        let value_type = expr.value_type();
        if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return Err(QueryError::Type(format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                value_type.documented()
            )));
        }
        let context = PlanContext {
            start_ms: steps.start_ms,
            end_ms: steps.end_ms,
            step_ms: steps.step_ms,
            default_step_ms: self.options.default_step_ms,
        };
        let steps = Steps::until(steps.start_ms, steps.end_ms, steps.step_ms.max(1));
        self.run(snapshot, expr, context, options, |evaluator, root| {
            let vector = match root {
                Root::Scalar(plan) => {
                    let values = evaluator.scalar(plan, &steps)?;
                    let mut vector = Vector::new(steps.count, evaluator.limits.held());
                    if steps.count > 0 {
                        vector.push(Labels::empty(), false, &values);
                    }
                    vector
                }
                Root::Vector(plan) => {
                    let vector = evaluator.vector(plan, &steps)?;
                    evaluator.finish(vector)?
                }
                Root::String(_) | Root::Matrix(_) => {
                    return Err(QueryError::Execution(
                        "BUG: the type of a range query was not checked".to_owned(),
                    ));
                }
            };
            let _result = evaluator.result(vector.present() * size_of::<Sample>())?;
            Ok(Value::Matrix(matrix(&vector, &steps, &evaluator.arena)))
        })
    }

    /// Plans, evaluates and accounts for a query.
    fn run(
        &self,
        snapshot: &Snapshot,
        expr: &Expr,
        context: PlanContext,
        options: &QueryOptions,
        evaluate: impl FnOnce(&mut Evaluator<'_>, &Root) -> Result<Value, QueryError>,
    ) -> Result<Outcome, QueryError> {
        let began = Instant::now();
        let running = (self.metrics.running(), self.helpers.begin());
        let listed = RunningQuery {
            id: 0,
            text: expr.text().to_owned(),
            start_ms: context.start_ms,
            end_ms: context.end_ms,
            step_ms: context.step_ms,
            running_seconds: 0.0,
            memory_bytes: 0,
            peak_bytes: 0,
        };
        let memory = self.budget.open(options.lane);
        let cancel = options.cancel.clone();
        let listed = self.running.begin(listed, cancel.clone(), memory.clone());
        let deadline = options.deadline.unwrap_or(began + self.options.timeout);
        let limits = Limits::new(deadline, cancel, self.options.max_samples, memory);
        limits.check()?;
        let planned = plan(expr.root(), expr.text(), context)?;
        self.metrics.prepared(began.elapsed());
        let evaluating = Instant::now();
        let mut evaluator = Evaluator::new(
            snapshot,
            options.lookback_ms.unwrap_or(self.options.lookback_ms),
            self.options.delayed_name_removal,
            limits,
        );
        evaluator.sharing = Sharing::new(&planned.shared, &planned.families);
        evaluator.use_start_timestamps = self.options.use_start_timestamps;
        evaluator.helpers = Some(self.helpers.clone());
        evaluator.parallel_samples = self.options.parallel_samples;
        let steps = Steps::until(context.start_ms, context.end_ms, context.step_ms.max(1));
        evaluator.counts = SampleCounts::new(steps.count, options.per_step);
        evaluator.ledger = options.peak_samples.then(Rc::default);
        evaluator.profiler = options.profile.then(Rc::default);
        let value = evaluate(&mut evaluator, &planned.root);
        let counts = std::mem::take(&mut evaluator.counts);
        self.metrics.evaluated(evaluating.elapsed(), &counts);
        drop((running, listed));
        if let Some(limit) = value
            .as_ref()
            .err()
            .and_then(|e| evaluator.limits.passed(e))
        {
            self.budget.refuse(limit);
        }
        let value = value?;
        let (warnings, infos) = evaluator.annotations.render(expr.text());
        Ok(Outcome {
            value,
            warnings,
            infos,
            stats: QueryStats {
                eval_seconds: began.elapsed().as_secs_f64(),
                total_queryable_samples: counts.total,
                samples_read: counts.read,
                per_step: (0..)
                    .map(|index| steps.at(index))
                    .zip(counts.steps.unwrap_or_default())
                    .collect(),
                peak_samples: match (&evaluator.ledger, &planned.root) {
                    // A range vector is the result as it is read.
                    (Some(_), Root::Matrix(WindowSource::Selector { .. })) => counts.total,
                    (Some(ledger), _) => ledger.borrow().peak(),
                    (None, _) => evaluator.limits.peak(),
                },
                peak_bytes: evaluator.limits.memory.peak(),
                pages_decoded: counts.pages_decoded,
            },
            profile: evaluator.profiler.map(|profiler| profiler.take().finish()),
        })
    }
}

/// Series with their samples, in order of labels.
fn matrix(vector: &Vector, steps: &Steps, arena: &Arena) -> Vec<Series> {
    let mut all: Vec<Series> = vector
        .rows()
        .filter_map(|(meta, values)| {
            let mut histograms = Vec::new();
            let mut samples = Vec::new();
            for (step, value) in values.iter().enumerate() {
                let timestamp_ms = steps.at(step);
                match arena.get(*value) {
                    Some(histogram) => histograms.push(HistogramSample {
                        timestamp_ms,
                        histogram,
                    }),
                    None if is_absent(*value) => {}
                    None => samples.push(Sample {
                        timestamp_ms,
                        value: *value,
                    }),
                }
            }
            (!samples.is_empty() || !histograms.is_empty()).then(|| Series {
                labels: meta.labels().clone(),
                samples,
                histograms,
            })
        })
        .collect();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

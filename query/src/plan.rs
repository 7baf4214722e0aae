//! An expression made ready for a query: types are settled, times are resolved, durations are
//! computed, and what does not depend on the step is marked to run once.

mod build;
mod call;
mod shared;

use barograph_model::{Labels, Matcher, Pattern};

use crate::ast::{AggregateOp, BinaryOp, Extension, Matching, Span, StringLiteral};
use crate::functions::{Date, Math, Native, Window};

pub(crate) use build::{PlanContext, Root, plan};
pub(crate) use shared::{Family, SharedPlan, SharedUse};

/// Evenly spaced times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start_ms: i64,
    /// Above 0 where there is more than one step.
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
}

impl Steps {
    pub(crate) fn one(time_ms: i64) -> Self {
        Self {
            start_ms: time_ms,
            step_ms: 1,
            count: 1,
        }
    }

    /// From `start_ms` as long as `end_ms` is not passed; none where it lies before the start.
    pub(crate) fn until(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let count = if end_ms < start_ms {
            0
        } else {
            (end_ms.saturating_sub(start_ms) / step_ms) as usize + 1
        };
        Self {
            start_ms,
            step_ms,
            count,
        }
    }

    pub(crate) fn at(&self, index: usize) -> i64 {
        self.start_ms
            .saturating_add(self.step_ms.saturating_mul(index as i64))
    }
}

/// Something with one number per step.
#[derive(Debug)]
pub(crate) enum ScalarPlan {
    Constant(f64),
    /// The time of the step, in seconds.
    Time,
    /// The value of the only series.
    Only(Box<VectorPlan>),
    Negate(Box<ScalarPlan>),
    Binary {
        op: BinaryOp,
        lhs: Box<ScalarPlan>,
        rhs: Box<ScalarPlan>,
    },
    Extreme {
        largest: bool,
        lhs: Box<ScalarPlan>,
        rhs: Box<ScalarPlan>,
    },
    /// Runs at the first step only.
    Once(Box<ScalarPlan>),
}

/// Something with series that have a number at some steps.
#[derive(Debug)]
pub(crate) enum VectorPlan {
    Selector(SelectorPlan),
    FromScalar(ScalarPlan),
    Negate(Box<VectorPlan>),
    Math {
        function: Math,
        operand: Box<VectorPlan>,
        params: Vec<ScalarPlan>,
    },
    Date {
        part: Date,
        /// The steps' own times where absent.
        operand: Option<Box<VectorPlan>>,
    },
    /// Times of the samples themselves.
    SampleTimes(SelectorPlan),
    /// Since when the counters behind samples count.
    StartTimes(SelectorPlan),
    /// Evaluated, but nothing comes of it.
    Nothing(Box<VectorPlan>),
    /// Times of the steps at which there is a sample.
    StepTimes(Box<VectorPlan>),
    Window(Box<WindowPlan>),
    Absent {
        operand: Box<VectorPlan>,
        labels: Labels,
    },
    AbsentOverTime {
        source: Box<WindowSource>,
        labels: Labels,
    },
    Sort {
        operand: Box<VectorPlan>,
        descending: bool,
        span: Span,
    },
    SortByLabel {
        operand: Box<VectorPlan>,
        labels: Vec<String>,
        descending: bool,
        span: Span,
    },
    LabelReplace {
        operand: Box<VectorPlan>,
        target: String,
        replacement: String,
        source: String,
        pattern: Pattern,
    },
    LabelJoin {
        operand: Box<VectorPlan>,
        target: String,
        separator: String,
        sources: Vec<String>,
    },
    HistogramQuantile {
        quantile: ScalarPlan,
        quantile_span: Span,
        operand: Box<VectorPlan>,
        operand_span: Span,
    },
    HistogramFraction {
        lower: ScalarPlan,
        upper: ScalarPlan,
        operand: Box<VectorPlan>,
        operand_span: Span,
    },
    HistogramQuantiles(Box<HistogramQuantilesPlan>),
    /// A number of each native histogram.
    Native {
        function: Native,
        operand: Box<VectorPlan>,
    },
    Info(Box<InfoPlan>),
    Aggregate(Box<AggregatePlan>),
    CountValues(Box<CountValuesPlan>),
    Binary(Box<BinaryPlan>),
    BinaryScalar(Box<BinaryScalarPlan>),
    /// Runs at the first step only.
    Once(Box<VectorPlan>),
    /// What stands in several places and is evaluated once.
    Shared(SharedUse),
}

/// Series to read.
#[derive(Debug)]
pub(crate) struct SelectorPlan {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) times: Times,
    /// `anchored` or `smoothed`.
    pub(crate) extension: Option<Extension>,
    /// Where it stands.
    pub(crate) span: Span,
    /// Of histograms only count and sum are asked for.
    pub(crate) totals_only: bool,
    /// The number of the selectors of the same series, and its own among them.
    pub(crate) family: usize,
    pub(crate) member: usize,
}

impl SelectorPlan {
    /// Whether all its series have the same name, so that they stay distinct without it.
    pub(crate) fn has_one_name(&self) -> bool {
        self.matchers.iter().any(|m| {
            m.name() == barograph_model::METRIC_NAME && m.op() == barograph_model::MatchOp::Equal
        })
    }
}

/// When a selector or subquery looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) offset_ms: i64,
    /// The time to look at instead of the step's.
    pub(crate) at_ms: Option<i64>,
}

impl Times {
    /// The time it looks at in a step.
    pub(crate) fn at_step(&self, steps: &Steps, index: usize) -> i64 {
        self.at_ms
            .unwrap_or_else(|| steps.at(index))
            .saturating_sub(self.offset_ms)
    }

    /// First and last time it looks at.
    pub(crate) fn bounds(&self, steps: &Steps) -> (i64, i64) {
        (
            self.at_step(steps, 0),
            self.at_step(steps, steps.count.saturating_sub(1)),
        )
    }
}

/// A function over windows of samples.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    pub(crate) function: Window,
    pub(crate) source: WindowSource,
    pub(crate) params: Vec<ScalarPlan>,
    /// Where the range vector stands.
    pub(crate) source_span: Span,
    /// Where the first argument stands.
    pub(crate) first_span: Span,
}

/// Where windows get their samples from.
#[derive(Debug)]
pub(crate) enum WindowSource {
    Selector {
        selector: SelectorPlan,
        range_ms: i64,
    },
    Subquery(SubqueryPlan),
}

impl WindowSource {
    pub(crate) fn times(&self) -> Times {
        match self {
            Self::Selector { selector, .. } => selector.times,
            Self::Subquery(subquery) => subquery.times,
        }
    }

    pub(crate) fn extension(&self) -> Option<Extension> {
        match self {
            Self::Selector { selector, .. } => selector.extension,
            Self::Subquery(_) => None,
        }
    }

    pub(crate) fn range_ms(&self) -> i64 {
        match self {
            Self::Selector { range_ms, .. } => *range_ms,
            Self::Subquery(subquery) => subquery.range_ms,
        }
    }
}

/// An expression on steps of its own.
#[derive(Debug)]
pub(crate) struct SubqueryPlan {
    pub(crate) operand: VectorPlan,
    pub(crate) range_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) times: Times,
}

impl SubqueryPlan {
    /// Its steps: the multiples of its step that lie in the windows of the outer steps.
    pub(crate) fn steps(&self, outer: &Steps) -> Steps {
        let (first_ms, last_ms) = self.times.bounds(outer);
        let before_ms = first_ms.saturating_sub(self.range_ms);
        let start_ms = (before_ms.div_euclid(self.step_ms) + 1).saturating_mul(self.step_ms);
        Steps::until(start_ms, last_ms, self.step_ms)
    }
}

/// `info`: labels of info series added to others.
#[derive(Debug)]
pub(crate) struct InfoPlan {
    pub(crate) operand: VectorPlan,
    /// Which info series, by name and by what else is asked of them.
    pub(crate) selectors: Vec<Matcher>,
    /// When the first selector of the operand looks; the info series follow it.
    pub(crate) times: Times,
}

/// An aggregation.
#[derive(Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) op: AggregateOp,
    pub(crate) grouping: Grouping,
    pub(crate) param: Option<ScalarPlan>,
    pub(crate) param_span: Span,
    pub(crate) operand: VectorPlan,
    /// Where the operand stands.
    pub(crate) operand_span: Span,
    /// Where the whole stands.
    pub(crate) span: Span,
}

/// `histogram_quantiles`.
#[derive(Debug)]
pub(crate) struct HistogramQuantilesPlan {
    pub(crate) label: String,
    pub(crate) quantiles: Vec<(ScalarPlan, Span)>,
    pub(crate) operand: VectorPlan,
    pub(crate) operand_span: Span,
}

/// Which series belong together.
#[derive(Debug)]
pub(crate) struct Grouping {
    pub(crate) without: bool,
    /// Sorted.
    pub(crate) labels: Vec<String>,
}

/// `count_values`.
#[derive(Debug)]
pub(crate) struct CountValuesPlan {
    pub(crate) label: StringLiteral,
    pub(crate) grouping: Grouping,
    pub(crate) operand: VectorPlan,
}

/// An operation between two vectors.
#[derive(Debug)]
pub(crate) struct BinaryPlan {
    pub(crate) op: BinaryOp,
    pub(crate) returns_bool: bool,
    pub(crate) matching: Matching,
    /// Where it stands.
    pub(crate) span: Span,
    pub(crate) lhs: VectorPlan,
    pub(crate) rhs: VectorPlan,
}

/// An operation between a vector and a number.
#[derive(Debug)]
pub(crate) struct BinaryScalarPlan {
    pub(crate) op: BinaryOp,
    pub(crate) returns_bool: bool,
    pub(crate) vector: VectorPlan,
    pub(crate) scalar: ScalarPlan,
    /// Whether the number is the left operand.
    pub(crate) scalar_left: bool,
    /// Where it stands.
    pub(crate) span: Span,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subqueries_step_on_multiples_of_their_step() {
        let subquery = SubqueryPlan {
            operand: VectorPlan::FromScalar(ScalarPlan::Constant(1.0)),
            range_ms: 90_000,
            step_ms: 60_000,
            times: Times {
                offset_ms: 0,
                at_ms: None,
            },
        };
        // The window of the step at 60 s is (-30 s, 60 s].
        let steps = subquery.steps(&Steps::one(60_000));
        assert_eq!((steps.start_ms, steps.count), (0, 2));
        // A multiple on the open end is left out.
        let steps = subquery.steps(&Steps::one(90_000));
        assert_eq!((steps.start_ms, steps.count), (60_000, 1));
    }
}

//! The functions of PromQL: one table that the parser, the evaluator and the HTTP API share.

use crate::ast::ValueType;

use ValueType::{Matrix, Scalar, String, Vector};

/// A function.
#[derive(Debug)]
pub struct Function {
    /// As PromQL writes it.
    pub name: &'static str,
    /// The types of its arguments. Of a function that takes a varying number, the last may be
    /// missing or repeated, see `variadic`.
    pub args: &'static [ValueType],
    /// How many times the last argument may stand: exactly once (`0`), up to so many times (above
    /// 0), or any number of times (below 0).
    pub variadic: i8,
    /// The type of its value.
    pub returns: ValueType,
    /// Whether it is behind the feature flag `promql-experimental-functions`.
    pub experimental: bool,
    /// What it does, in one line.
    pub doc: &'static str,
    pub(crate) kind: Kind,
}

/// How a function is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sample by sample.
    Math(Math),
    /// Sample by sample, from a time in seconds.
    Date(Date),
    /// Over a window of samples.
    Window(Window),
    Absent,
    AbsentOverTime,
    Scalar,
    Vector,
    Time,
    Pi,
    Timestamp,
    Sort {
        descending: bool,
    },
    SortByLabel {
        descending: bool,
    },
    LabelReplace,
    LabelJoin,
    HistogramQuantile,
    HistogramFraction,
    HistogramQuantiles,
    /// Reads native histograms only: nothing comes of floats.
    Native(Native),
    /// `start()`, `end()`, `step()`, `range()`: fixed for a query.
    Context(Context),
    MaxOf,
    MinOf,
    Info,
    StartTimestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Math {
    Abs,
    Ceil,
    Floor,
    Exp,
    Sqrt,
    Ln,
    Log2,
    Log10,
    Sgn,
    Round,
    Clamp,
    ClampMin,
    ClampMax,
    Deg,
    Rad,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Date {
    Minute,
    Hour,
    DayOfWeek,
    DayOfMonth,
    DayOfYear,
    DaysInMonth,
    Month,
    Year,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Resets,
    Changes,
    Deriv,
    PredictLinear,
    Sum,
    Avg,
    Min,
    Max,
    Count,
    First,
    Last,
    Present,
    Stddev,
    Stdvar,
    Quantile,
    Mad,
    TsOfFirst,
    TsOfLast,
    TsOfMin,
    TsOfMax,
    DoubleExponentialSmoothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    Count,
    Sum,
    Avg,
    Stddev,
    Stdvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Start,
    End,
    Step,
    Range,
}

impl Function {
    /// The function of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FUNCTIONS
            .binary_search_by(|function| function.name.cmp(name))
            .ok()
            .map(|at| &FUNCTIONS[at])
    }

    /// Whether its value depends on the step it is evaluated at even where its arguments do not.
    pub(crate) fn depends_on_step(&self) -> bool {
        matches!(
            self.kind,
            Kind::Date(_)
                | Kind::Time
                | Kind::Timestamp
                | Kind::Context(_)
                | Kind::Window(Window::PredictLinear)
        )
    }
}

/// Every function, in order of name.
pub static FUNCTIONS: &[Function] = &[
    math("abs", Math::Abs, "Absolute value."),
    function(
        "absent",
        &[Vector],
        Kind::Absent,
        "1 where no series is there, with the labels the selector asks for.",
    ),
    function(
        "absent_over_time",
        &[Matrix],
        Kind::AbsentOverTime,
        "1 where no series has a sample in the window.",
    ),
    math("acos", Math::Acos, "Arc cosine, in radians."),
    math("acosh", Math::Acosh, "Inverse hyperbolic cosine."),
    math("asin", Math::Asin, "Arc sine, in radians."),
    math("asinh", Math::Asinh, "Inverse hyperbolic sine."),
    math("atan", Math::Atan, "Arc tangent, in radians."),
    math("atanh", Math::Atanh, "Inverse hyperbolic tangent."),
    window(
        "avg_over_time",
        Window::Avg,
        "Mean of the samples in the window.",
    ),
    math("ceil", Math::Ceil, "Rounds up to a whole number."),
    window(
        "changes",
        Window::Changes,
        "How often the value changed in the window.",
    ),
    Function {
        args: &[Vector, Scalar, Scalar],
        ..math(
            "clamp",
            Math::Clamp,
            "Limits values to at least min and at most max.",
        )
    },
    Function {
        args: &[Vector, Scalar],
        ..math("clamp_max", Math::ClampMax, "Limits values to at most max.")
    },
    Function {
        args: &[Vector, Scalar],
        ..math(
            "clamp_min",
            Math::ClampMin,
            "Limits values to at least min.",
        )
    },
    math("cos", Math::Cos, "Cosine of radians."),
    math("cosh", Math::Cosh, "Hyperbolic cosine."),
    window(
        "count_over_time",
        Window::Count,
        "How many samples are in the window.",
    ),
    date(
        "day_of_month",
        Date::DayOfMonth,
        "Day of the month of a time in UTC, from 1.",
    ),
    date(
        "day_of_week",
        Date::DayOfWeek,
        "Day of the week of a time in UTC, 0 is Sunday.",
    ),
    date(
        "day_of_year",
        Date::DayOfYear,
        "Day of the year of a time in UTC, from 1.",
    ),
    date(
        "days_in_month",
        Date::DaysInMonth,
        "How many days the month of a time in UTC has.",
    ),
    math("deg", Math::Deg, "Radians to degrees."),
    window(
        "delta",
        Window::Delta,
        "Difference between the ends of the window, extrapolated; for gauges.",
    ),
    window(
        "deriv",
        Window::Deriv,
        "Slope per second by linear regression; for gauges.",
    ),
    Function {
        args: &[Matrix, Scalar, Scalar],
        experimental: true,
        ..window(
            "double_exponential_smoothing",
            Window::DoubleExponentialSmoothing,
            "Smoothed value with trend.",
        )
    },
    context("end", Context::End, "Last step of the query, in seconds."),
    math("exp", Math::Exp, "e to the power of the value."),
    window(
        "first_over_time",
        Window::First,
        "Oldest sample in the window.",
    ),
    math("floor", Math::Floor, "Rounds down to a whole number."),
    function(
        "histogram_avg",
        &[Vector],
        Kind::Native(Native::Avg),
        "Mean of the observations of native histograms.",
    ),
    function(
        "histogram_count",
        &[Vector],
        Kind::Native(Native::Count),
        "Number of observations of native histograms.",
    ),
    function(
        "histogram_fraction",
        &[Scalar, Scalar, Vector],
        Kind::HistogramFraction,
        "Share of observations between two values.",
    ),
    function(
        "histogram_quantile",
        &[Scalar, Vector],
        Kind::HistogramQuantile,
        "Quantile estimated from the buckets of histograms.",
    ),
    Function {
        variadic: 9,
        experimental: true,
        ..function(
            "histogram_quantiles",
            &[Vector, String, Scalar, Scalar],
            Kind::HistogramQuantiles,
            "Several quantiles at once.",
        )
    },
    function(
        "histogram_stddev",
        &[Vector],
        Kind::Native(Native::Stddev),
        "Standard deviation of the observations of native histograms.",
    ),
    function(
        "histogram_stdvar",
        &[Vector],
        Kind::Native(Native::Stdvar),
        "Variance of the observations of native histograms.",
    ),
    function(
        "histogram_sum",
        &[Vector],
        Kind::Native(Native::Sum),
        "Sum of the observations of native histograms.",
    ),
    date("hour", Date::Hour, "Hour of the day of a time in UTC."),
    window(
        "idelta",
        Window::Idelta,
        "Difference between the last two samples.",
    ),
    window(
        "increase",
        Window::Increase,
        "Increase of a counter over the window, extrapolated.",
    ),
    Function {
        variadic: 1,
        experimental: true,
        ..function(
            "info",
            &[Vector, Vector],
            Kind::Info,
            "Adds the labels of info series.",
        )
    },
    window(
        "irate",
        Window::Irate,
        "Increase per second between the last two samples.",
    ),
    Function {
        variadic: -1,
        ..function(
            "label_join",
            &[Vector, String, String, String],
            Kind::LabelJoin,
            "Joins label values into a label.",
        )
    },
    function(
        "label_replace",
        &[Vector, String, String, String, String],
        Kind::LabelReplace,
        "Sets a label from a regular expression over another.",
    ),
    window(
        "last_over_time",
        Window::Last,
        "Newest sample in the window.",
    ),
    math("ln", Math::Ln, "Natural logarithm."),
    math("log10", Math::Log10, "Decimal logarithm."),
    math("log2", Math::Log2, "Binary logarithm."),
    Function {
        experimental: true,
        ..window(
            "mad_over_time",
            Window::Mad,
            "Median absolute deviation of the samples in the window.",
        )
    },
    Function {
        returns: Scalar,
        experimental: true,
        ..function(
            "max_of",
            &[Scalar, Scalar],
            Kind::MaxOf,
            "The larger of two numbers.",
        )
    },
    window(
        "max_over_time",
        Window::Max,
        "Largest sample in the window.",
    ),
    Function {
        returns: Scalar,
        experimental: true,
        ..function(
            "min_of",
            &[Scalar, Scalar],
            Kind::MinOf,
            "The smaller of two numbers.",
        )
    },
    window(
        "min_over_time",
        Window::Min,
        "Smallest sample in the window.",
    ),
    date(
        "minute",
        Date::Minute,
        "Minute of the hour of a time in UTC.",
    ),
    date("month", Date::Month, "Month of a time in UTC, from 1."),
    Function {
        returns: Scalar,
        ..function("pi", &[], Kind::Pi, "The number pi.")
    },
    Function {
        args: &[Matrix, Scalar],
        ..window(
            "predict_linear",
            Window::PredictLinear,
            "Value so many seconds from now by linear regression.",
        )
    },
    window(
        "present_over_time",
        Window::Present,
        "1 where the window has a sample.",
    ),
    Function {
        args: &[Scalar, Matrix],
        ..window(
            "quantile_over_time",
            Window::Quantile,
            "Quantile of the samples in the window.",
        )
    },
    math("rad", Math::Rad, "Degrees to radians."),
    context(
        "range",
        Context::Range,
        "Distance of first and last step of the query, in seconds.",
    ),
    window(
        "rate",
        Window::Rate,
        "Increase of a counter per second over the window, extrapolated.",
    ),
    window(
        "resets",
        Window::Resets,
        "How often a counter was reset in the window.",
    ),
    Function {
        args: &[Vector, Scalar],
        variadic: 1,
        ..math(
            "round",
            Math::Round,
            "Rounds to the nearest multiple, ties up.",
        )
    },
    Function {
        returns: Scalar,
        ..function(
            "scalar",
            &[Vector],
            Kind::Scalar,
            "The value of the only series, or NaN.",
        )
    },
    math("sgn", Math::Sgn, "Sign: -1, 0 or 1."),
    math("sin", Math::Sin, "Sine of radians."),
    math("sinh", Math::Sinh, "Hyperbolic sine."),
    function(
        "sort",
        &[Vector],
        Kind::Sort { descending: false },
        "Orders by value, smallest first.",
    ),
    Function {
        variadic: -1,
        experimental: true,
        ..function(
            "sort_by_label",
            &[Vector, String],
            Kind::SortByLabel { descending: false },
            "Orders by label values, in natural order.",
        )
    },
    Function {
        variadic: -1,
        experimental: true,
        ..function(
            "sort_by_label_desc",
            &[Vector, String],
            Kind::SortByLabel { descending: true },
            "Orders by label values, in reverse natural order.",
        )
    },
    function(
        "sort_desc",
        &[Vector],
        Kind::Sort { descending: true },
        "Orders by value, largest first.",
    ),
    math("sqrt", Math::Sqrt, "Square root."),
    context(
        "start",
        Context::Start,
        "First step of the query, in seconds.",
    ),
    Function {
        experimental: true,
        ..function(
            "start_timestamp",
            &[Vector],
            Kind::StartTimestamp,
            "When the counter behind a sample started, in seconds.",
        )
    },
    window(
        "stddev_over_time",
        Window::Stddev,
        "Standard deviation of the samples in the window.",
    ),
    window(
        "stdvar_over_time",
        Window::Stdvar,
        "Variance of the samples in the window.",
    ),
    context(
        "step",
        Context::Step,
        "Distance of the query's steps, in seconds.",
    ),
    window(
        "sum_over_time",
        Window::Sum,
        "Sum of the samples in the window.",
    ),
    math("tan", Math::Tan, "Tangent of radians."),
    math("tanh", Math::Tanh, "Hyperbolic tangent."),
    Function {
        returns: Scalar,
        ..function("time", &[], Kind::Time, "The time of the step, in seconds.")
    },
    function(
        "timestamp",
        &[Vector],
        Kind::Timestamp,
        "The time of each sample, in seconds.",
    ),
    Function {
        experimental: true,
        ..window(
            "ts_of_first_over_time",
            Window::TsOfFirst,
            "Time of the oldest sample in the window, in seconds.",
        )
    },
    Function {
        experimental: true,
        ..window(
            "ts_of_last_over_time",
            Window::TsOfLast,
            "Time of the newest sample in the window, in seconds.",
        )
    },
    Function {
        experimental: true,
        ..window(
            "ts_of_max_over_time",
            Window::TsOfMax,
            "Time of the last largest sample in the window, in seconds.",
        )
    },
    Function {
        experimental: true,
        ..window(
            "ts_of_min_over_time",
            Window::TsOfMin,
            "Time of the last smallest sample in the window, in seconds.",
        )
    },
    function(
        "vector",
        &[Scalar],
        Kind::Vector,
        "A series without labels.",
    ),
    date("year", Date::Year, "Year of a time in UTC."),
];

const fn function(
    name: &'static str,
    args: &'static [ValueType],
    kind: Kind,
    doc: &'static str,
) -> Function {
    Function {
        name,
        args,
        variadic: 0,
        returns: Vector,
        experimental: false,
        doc,
        kind,
    }
}

const fn math(name: &'static str, math: Math, doc: &'static str) -> Function {
    function(name, &[Vector], Kind::Math(math), doc)
}

const fn window(name: &'static str, window: Window, doc: &'static str) -> Function {
    function(name, &[Matrix], Kind::Window(window), doc)
}

const fn date(name: &'static str, date: Date, doc: &'static str) -> Function {
    Function {
        variadic: 1,
        ..function(name, &[Vector], Kind::Date(date), doc)
    }
}

const fn context(name: &'static str, context: Context, doc: &'static str) -> Function {
    Function {
        returns: Scalar,
        experimental: true,
        ..function(name, &[], Kind::Context(context), doc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_are_found() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        for function in FUNCTIONS {
            let found = Function::named(function.name).expect("in the table");
            assert_eq!(found.name, function.name);
        }
        assert!(Function::named("nope").is_none());
    }
}

//! Why a metric is not registered.

/// Why a metric is not registered. Each is a mistake in the program, not in what it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// The name is not `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    Name {
        /// The name.
        name: String,
    },
    /// A counter whose name does not end in `_total`: OpenMetrics would call its sample something
    /// else than text 0.0.4 does.
    CounterWithoutTotal {
        /// The name.
        name: String,
    },
    /// A label's name is not `[a-zA-Z_][a-zA-Z0-9_]*`, begins with `__`, or is taken by the type
    /// of metric (`le`).
    Label {
        /// The name of the metric.
        name: String,
        /// The name of the label.
        label: String,
    },
    /// Two labels have the same name.
    LabelTwice {
        /// The name of the metric.
        name: String,
        /// The name of the label.
        label: String,
    },
    /// The name, or one that its samples would have, belongs to another metric.
    Taken {
        /// The name that was to be registered.
        name: String,
        /// The metric that has it.
        by: String,
    },
}

impl std::fmt::Display for RegisterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name { name } => write!(
                f,
                "{name:?} cannot be the name of a metric: use letters, digits, '_' and ':'"
            ),
            Self::CounterWithoutTotal { name } => {
                write!(f, "the counter {name:?} must be named {name}_total")
            }
            Self::Label { name, label } => write!(
                f,
                "the metric {name:?} cannot have a label {label:?}: use letters, digits and '_', \
                 not '__' in front, and not what the type of metric uses itself"
            ),
            Self::LabelTwice { name, label } => {
                write!(f, "the metric {name:?} has the label {label:?} twice")
            }
            Self::Taken { name, by } if name == by => {
                write!(f, "the metric {name:?} is registered twice")
            }
            Self::Taken { name, by } => write!(
                f,
                "the metric {name:?} would have samples of the same name as the metric {by:?}"
            ),
        }
    }
}

impl std::error::Error for RegisterError {}

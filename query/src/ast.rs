//! The expression tree.
//!
//! [`Expr`] is a whole query: its text and its root [`Node`]. Every node knows where in the text it
//! stands, so that errors and annotations can point. Printing a node gives Prometheus's canonical
//! form, which parses back to the same tree.

mod duration;
mod pretty;
mod print;

use std::fmt;
use std::sync::Arc;

use barograph_model::Matcher;

use crate::functions::Function;

pub(crate) use duration::DurationContext;
pub use duration::{DurationExpr, DurationKind, DurationOp, DurationSpec};

/// An expression: the tree and the text it came from. Cloning is one reference count.
#[derive(Clone, Debug)]
pub struct Expr {
    text: Arc<str>,
    root: Arc<Node>,
}

impl Expr {
    pub(crate) fn new(text: &str, root: Node) -> Self {
        Self {
            text: text.into(),
            root: Arc::new(root),
        }
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tree.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The type of its value.
    pub fn value_type(&self) -> ValueType {
        self.root.value_type()
    }

    /// Every selector in it, from left to right.
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.root.walk(&mut |node| match &node.kind {
            NodeKind::Selector(selector) => found.push(selector),
            NodeKind::Range(range) => found.push(&range.selector),
            _ => {}
        });
        found
    }

    /// The same with every selector changed. The text becomes the canonical one.
    #[must_use]
    pub fn with_selectors(&self, mut change: impl FnMut(&mut Selector)) -> Self {
        let mut root = (*self.root).clone();
        change_selectors(&mut root, &mut change);
        let text = root.to_string();
        Self::new(&text, root)
    }
}

fn change_selectors(node: &mut Node, change: &mut impl FnMut(&mut Selector)) {
    match &mut node.kind {
        NodeKind::Number { .. } | NodeKind::String(_) => {}
        NodeKind::Selector(selector) => change(selector),
        NodeKind::Range(range) => change(&mut range.selector),
        NodeKind::Paren(inner) => change_selectors(inner, change),
        NodeKind::Unary { operand, .. } => change_selectors(operand, change),
        NodeKind::Binary(binary) => {
            change_selectors(&mut binary.lhs, change);
            change_selectors(&mut binary.rhs, change);
        }
        NodeKind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                change_selectors(param, change);
            }
            change_selectors(&mut aggregate.operand, change);
        }
        NodeKind::Call(call) => {
            for arg in &mut call.args {
                change_selectors(arg, change);
            }
        }
        NodeKind::Subquery(subquery) => change_selectors(&mut subquery.operand, change),
    }
}

impl fmt::Display for Expr {
    /// The canonical form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.root, f)
    }
}

/// A stretch of the text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

/// The four types of PromQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number.
    Scalar,
    /// A text.
    String,
    /// One sample per series and step.
    Vector,
    /// A window of samples per series and step.
    Matrix,
}

impl ValueType {
    /// The name in error messages: `instant vector`, `range vector`, …
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// The name in the HTTP API: `vector`, `matrix`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// A part of an expression.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A number, or a duration standing for its seconds.
    Number {
        /// The value.
        value: f64,
        /// Whether it was written as a duration.
        is_duration: bool,
    },
    /// A text.
    String(StringLiteral),
    /// Something in parentheses.
    Paren(Box<Node>),
    /// A sign before something that is no number literal.
    Unary {
        /// Whether the sign is `-`.
        negative: bool,
        /// What it stands before.
        operand: Box<Node>,
    },
    /// Two operands.
    Binary(Box<Binary>),
    /// An aggregation.
    Aggregate(Box<Aggregate>),
    /// A function call.
    Call(Call),
    /// An instant vector selector.
    Selector(Selector),
    /// A range vector selector.
    Range(RangeSelector),
    /// A subquery.
    Subquery(Box<Subquery>),
}

/// A text in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringLiteral {
    /// The text; bytes that are no UTF-8 are replaced.
    pub value: String,
    /// The bytes, where they are no UTF-8 (escapes like `\xff` can write such).
    pub bytes: Option<Vec<u8>>,
}

/// An operation on two operands.
#[derive(Clone, Debug)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Where it stands.
    pub op_span: Span,
    /// Whether a comparison yields 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// How series find each other; present exactly between two instant vectors.
    pub matching: Option<Matching>,
    /// Left operand.
    pub lhs: Node,
    /// Right operand.
    pub rhs: Node,
}

/// The binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterOrEqual,
    /// `<=`
    LessOrEqual,
    /// `</`: drops the part of a native histogram above a value.
    TrimUpper,
    /// `>/`: drops the part of a native histogram below a value.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// As PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterOrEqual => ">=",
            Self::LessOrEqual => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// `== != < <= > >=`.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::Less
                | Self::GreaterOrEqual
                | Self::LessOrEqual
        )
    }

    /// `and or unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// `</ >/`.
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// How tightly it binds; higher is tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            op if op.is_comparison() || op.is_trim() => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            _ => 6,
        }
    }
}

/// How many series of one side a series of the other may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// One on each side.
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How series of two vectors find each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// How many.
    pub cardinality: Cardinality,
    /// Whether `labels` are those to compare (`on`) or those to leave out (`ignoring`).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Labels of the one side that the result takes over.
    pub include: Vec<String>,
    /// What stands for a missing left sample.
    pub fill_left: Option<f64>,
    /// What stands for a missing right sample.
    pub fill_right: Option<f64>,
}

/// An aggregation over groups of series.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// Whether `grouping` are labels to leave out (`without`) or to keep (`by`).
    pub without: bool,
    /// The labels.
    pub grouping: Vec<String>,
    /// The parameter of those that take one.
    pub param: Option<Node>,
    /// What is aggregated.
    pub operand: Node,
}

/// The aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named as PromQL names it")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

impl AggregateOp {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::TopK,
        Self::BottomK,
        Self::CountValues,
        Self::Quantile,
        Self::LimitK,
        Self::LimitRatio,
    ];

    /// As PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether it takes a parameter before the vector.
    pub fn takes_param(self) -> bool {
        matches!(
            self,
            Self::TopK
                | Self::BottomK
                | Self::CountValues
                | Self::Quantile
                | Self::LimitK
                | Self::LimitRatio
        )
    }

    /// Whether it is behind the feature flag `promql-experimental-functions`.
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::LimitK | Self::LimitRatio)
    }
}

/// A function call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Node>,
}

/// An instant vector selector.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The metric name written before the braces; it is a matcher as well.
    pub name: Option<String>,
    /// All conditions, the one on the name last where it stands before the braces.
    pub matchers: Vec<Matcher>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
    /// `anchored` or `smoothed`.
    pub extension: Option<Extension>,
}

/// The experimental modifiers of selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    /// The window begins with a sample at its very start.
    Anchored,
    /// Values at the window's edges are interpolated.
    Smoothed,
}

impl Extension {
    /// As PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

/// When a selector or subquery looks, relative to the step.
#[derive(Clone, Debug, Default)]
pub struct Modifiers {
    /// How far back; negative looks ahead.
    pub offset: DurationSpec,
    /// The time to look at instead of the step's.
    pub at: Option<At>,
}

/// A fixed time to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Milliseconds since the Unix epoch.
    Time(i64),
    /// `start()`: the first step of the query.
    Start,
    /// `end()`: the last step of the query.
    End,
}

/// A range vector selector.
#[derive(Clone, Debug)]
pub struct RangeSelector {
    /// The series, with offset and `@`.
    pub selector: Selector,
    /// Where the selector without its range stands.
    pub selector_span: Span,
    /// How long the window is.
    pub range: DurationSpec,
}

/// An expression evaluated on steps of its own, feeding windows.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// The expression.
    pub operand: Node,
    /// How long the window is.
    pub range: DurationSpec,
    /// Distance of steps; the engine's default where absent.
    pub step: Option<DurationSpec>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
}

impl Node {
    /// The type of its value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            NodeKind::Number { .. } => ValueType::Scalar,
            NodeKind::String(_) => ValueType::String,
            NodeKind::Paren(inner) => inner.value_type(),
            NodeKind::Unary { operand, .. } => operand.value_type(),
            NodeKind::Binary(binary) => {
                let scalar = |node: &Self| node.value_type() == ValueType::Scalar;
                if scalar(&binary.lhs) && scalar(&binary.rhs) {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            NodeKind::Aggregate(_) | NodeKind::Selector(_) => ValueType::Vector,
            NodeKind::Call(call) => call.function.returns,
            NodeKind::Range(_) | NodeKind::Subquery(_) => ValueType::Matrix,
        }
    }

    /// Without parentheses around it.
    pub fn unwrap_parens(&self) -> &Self {
        let mut node = self;
        while let NodeKind::Paren(inner) = &node.kind {
            node = inner;
        }
        node
    }

    /// The parts directly below it, from left to right.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            NodeKind::Number { .. }
            | NodeKind::String(_)
            | NodeKind::Selector(_)
            | NodeKind::Range(_) => Vec::new(),
            NodeKind::Paren(inner) => vec![inner],
            NodeKind::Unary { operand, .. } => vec![operand],
            NodeKind::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            NodeKind::Aggregate(aggregate) => {
                let mut children: Vec<&Self> = aggregate.param.iter().collect();
                children.push(&aggregate.operand);
                children
            }
            NodeKind::Call(call) => call.args.iter().collect(),
            NodeKind::Subquery(subquery) => vec![&subquery.operand],
        }
    }

    /// Visits it and everything below it, parents first, from left to right.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }
}

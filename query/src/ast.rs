//! The expression tree.

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr;

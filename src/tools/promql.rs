//! `barograph promql`: expressions formatted, and matchers of their selectors changed.

use std::process::ExitCode;

use barograph_model::{MatchOp, Matcher};
use barograph_query::{Expr, ParseOptions, parse_with};

/// An expression, and what to do with it.
#[derive(Clone, Debug)]
pub(crate) struct Promql {
    pub(crate) expr: String,
    pub(crate) change: Change,
}

/// What to change before an expression is printed.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// Every selector has this matcher, and no other for its label.
    SetMatcher(Matcher),
    /// No selector has a matcher for this label.
    DeleteMatcher(String),
}

/// Prints the changed expression: success where it is one.
pub(crate) fn run(promql: &Promql) -> ExitCode {
    match changed(promql) {
        Ok(text) => {
            say_line!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("barograph: {error}");
            ExitCode::FAILURE
        }
    }
}

fn changed(promql: &Promql) -> Result<String, String> {
    let expr = parse_with(&promql.expr, ParseOptions::ALL).map_err(|error| error.to_string())?;
    Ok(match &promql.change {
        Change::Nothing => expr,
        Change::SetMatcher(matcher) => set(&expr, matcher),
        Change::DeleteMatcher(label) => expr.with_selectors(|selector| {
            selector.matchers.retain(|matcher| matcher.name() != label);
            if label == barograph_model::METRIC_NAME {
                selector.name = None;
            }
        }),
    }
    .pretty())
}

fn set(expr: &Expr, matcher: &Matcher) -> Expr {
    expr.with_selectors(|selector| {
        // A name before the braces is a matcher, too.
        if matcher.name() == barograph_model::METRIC_NAME {
            selector.name = (matcher.op() == MatchOp::Equal).then(|| matcher.value().to_owned());
        }
        let same = |have: &Matcher| have.name() == matcher.name();
        match selector.matchers.iter().position(same) {
            Some(place) => {
                selector.matchers.retain(|have| !same(have));
                selector.matchers.insert(place, matcher.clone());
            }
            None => selector.matchers.push(matcher.clone()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_set_and_deleted_in_every_selector() {
        let check = |expr: &str, change: Change, want: &str| {
            let promql = Promql {
                expr: expr.to_owned(),
                change,
            };
            assert_eq!(changed(&promql).as_deref(), Ok(want));
        };
        let matcher = |op| Matcher::new("b", op, "x.*").expect("a pattern");
        let expr = "sum(a{b=\"c\"} + rate({__name__=\"d\",b!=\"x\",c=\"d\"}[5m]))";
        check("a  +b", Change::Nothing, "a + b");
        check(
            expr,
            Change::SetMatcher(matcher(MatchOp::Regex)),
            "sum(a{b=~\"x.*\"} + rate({__name__=\"d\",b=~\"x.*\",c=\"d\"}[5m]))",
        );
        check(
            expr,
            Change::DeleteMatcher("b".to_owned()),
            "sum(a + rate({__name__=\"d\",c=\"d\"}[5m]))",
        );
        check(
            "a",
            Change::SetMatcher(matcher(MatchOp::Equal)),
            "a{b=\"x.*\"}",
        );
    }
}

//! Runs a script against a store.

use std::path::Path;
use std::sync::Arc;

use barograph_instrument::Registry;
use barograph_model::{FloatHistogram, Sample};
use barograph_tsdb::{Batch, Db, Options, SeriesRef};

use super::command::{Command, Load};
use super::expect::{Eval, Range, When};
use super::series::Point;
use super::{Script, compare, nhcb};
use crate::ast::{At, Expr, Node, NodeKind, Subquery};
use crate::engine::{Engine, EngineOptions, QueryOptions, RangeSteps};
use crate::error::{ParseError, QueryError};
use crate::parse::{ParseOptions, parse_with};
use crate::value::{Outcome, Value, VectorSample};

/// How a script is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Limits and defaults of the engine.
    pub engine: EngineOptions,
    /// Which features behind flags are accepted.
    pub parse: ParseOptions,
}

impl Default for RunOptions {
    /// As Prometheus runs its own scripts: everything on, names dropped at the end of a query.
    fn default() -> Self {
        Self {
            engine: EngineOptions {
                delayed_name_removal: true,
                use_start_timestamps: true,
                ..EngineOptions::default()
            },
            parse: ParseOptions::ALL,
        }
    }
}

/// What became of a query of a script.
#[derive(Clone, Debug)]
pub struct EvalReport {
    /// Its line, from 1.
    pub line: usize,
    /// The query.
    pub expr: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It yields what is expected.
    Passed,
    /// It does not; the text says what differs.
    Failed(String),
    /// It needs something that this version does not evaluate; the text names it.
    Unsupported(String),
}

/// Why a script could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store could not be opened.
    #[error("opening the store of the script: {0}")]
    Open(#[from] barograph_tsdb::OpenError),
    /// A series was refused.
    #[error("storing a series of the script: {0}")]
    Register(#[from] barograph_tsdb::RegisterError),
    /// Samples were refused.
    #[error("storing samples of the script: {0}")]
    Append(#[from] barograph_tsdb::AppendError),
    /// A histogram was refused.
    #[error("storing a histogram of the script: {0}")]
    Histogram(#[from] barograph_tsdb::HistogramError),
    /// The store refused some samples.
    #[error("storing samples of the script: {0} refused, the first because it is {1}")]
    Rejected(usize, &'static str),
}

/// Runs a script; its stores are made below `directory`. Reports every query, in order.
///
/// # Errors
/// The store refuses data.
pub fn run(
    script: &Script,
    directory: &Path,
    options: &RunOptions,
) -> Result<Vec<EvalReport>, RunError> {
    let mut bench = Bench {
        directory,
        stores: 0,
        db: None,
        engine: Engine::new(options.engine.clone(), &Registry::new()),
        parse: options.parse,
    };
    let mut reports = Vec::new();
    for command in &script.commands {
        match command {
            Command::Clear => bench.clear(),
            Command::Load(load) => bench.load(load)?,
            Command::Eval(eval) => reports.push(EvalReport {
                line: eval.line,
                expr: eval.expr.clone(),
                verdict: bench.eval(eval)?,
            }),
        }
    }
    bench.clear();
    Ok(reports)
}

/// Why a query is not fine.
enum Trouble {
    Differs(String),
    NotBuilt(String),
}

struct Bench<'a> {
    directory: &'a Path,
    stores: usize,
    db: Option<Db>,
    engine: Engine,
    parse: ParseOptions,
}

impl Bench<'_> {
    fn clear(&mut self) {
        if let Some(Err(error)) = self.db.take().map(|db| db.close()) {
            tracing::warn!(%error, "closing the store of a script");
        }
    }

    fn db(&mut self) -> Result<Db, RunError> {
        if let Some(db) = &self.db {
            return Ok(db.clone());
        }
        self.stores += 1;
        let mut options = Options::new(self.directory.join(format!("store-{}", self.stores)));
        options.retention_ms = 0;
        let db = Db::open(options, &Registry::new())?;
        self.db = Some(db.clone());
        Ok(db)
    }

    fn load(&mut self, load: &Load) -> Result<(), RunError> {
        let db = self.db()?;
        let group = db.open_group();
        let mut loaded = Vec::new();
        for series in &load.series {
            let reference = db.register(group, &series.labels)?;
            loaded.push((reference, &series.points, series.starts.as_slice()));
        }
        let native = if load.with_nhcb {
            nhcb::convert(&load.series)
        } else {
            Vec::new()
        };
        let native: Vec<(SeriesRef, Vec<Point>)> = native
            .into_iter()
            .map(|(labels, points)| {
                let point = |histogram: Option<FloatHistogram>| match histogram {
                    None => Point::Missing,
                    Some(histogram) => Point::Histogram {
                        histogram: Arc::new(histogram),
                        has_hint: false,
                    },
                };
                let points = points.into_iter().map(point).collect();
                Ok((db.register(group, &labels)?, points))
            })
            .collect::<Result<_, RunError>>()?;
        loaded.extend(
            native
                .iter()
                .map(|(series, points)| (*series, points, [].as_slice())),
        );
        let steps = loaded.iter().map(|(_, points, _)| points.len()).max();
        let mut batch = Batch::new(group);
        for step in 0..steps.unwrap_or(0) {
            batch.clear();
            let t = step as i64 * load.step_ms;
            for (series, points, starts) in &loaded {
                if let Some(point) = points.get(step) {
                    point.push_to(&mut batch, *series, t)?;
                    if let (Some(Some(start)), false) =
                        (starts.get(step), matches!(point, Point::Missing))
                    {
                        batch.set_start(t + start);
                    }
                }
            }
            if batch.is_empty() {
                continue;
            }
            let appended = db.append(&batch)?;
            if let Some(first) = appended.rejected.first() {
                let count = appended.rejected.len();
                return Err(RunError::Rejected(count, first.reason.as_str()));
            }
        }
        Ok(())
    }

    fn eval(&mut self, eval: &Eval) -> Result<Verdict, RunError> {
        let db = self.db()?;
        let checked = self
            .parsed(&eval.expr)
            .map_err(Trouble::Differs)
            .and_then(|expr| match eval.when {
                When::Range(range) => self.range(eval, range, &expr, &db),
                When::Instant { at_ms, range } => self.instant(eval, at_ms, range, &expr, &db),
            });
        Ok(match checked {
            Ok(()) => Verdict::Passed,
            Err(Trouble::Differs(how)) => Verdict::Failed(how),
            Err(Trouble::NotBuilt(what)) => Verdict::Unsupported(what),
        })
    }

    fn parsed(&self, text: &str) -> Result<Expr, String> {
        parse_with(text, self.parse).map_err(|error: ParseError| error.to_string())
    }

    fn range(&self, eval: &Eval, range: Range, expr: &Expr, db: &Db) -> Result<(), Trouble> {
        let outcome = self.ask_range(expr, range, db);
        judge(eval, Some(range), outcome)
    }

    fn ask_range(&self, expr: &Expr, range: Range, db: &Db) -> Result<Outcome, QueryError> {
        let steps = RangeSteps {
            start_ms: range.start_ms,
            end_ms: range.end_ms,
            step_ms: range.step_ms,
        };
        self.engine
            .range(&db.snapshot(), expr, steps, &QueryOptions::default())
    }

    /// The query itself, and the same fixed to its time and asked at others.
    fn instant(
        &self,
        eval: &Eval,
        at_ms: i64,
        range: Option<Range>,
        expr: &Expr,
        db: &Db,
    ) -> Result<(), Trouble> {
        self.instant_at(eval, at_ms, range, expr, db)?;
        let Some(fixed) = fixed_at(expr, at_ms) else {
            return Ok(());
        };
        let fixed = self
            .parsed(&fixed.to_string())
            .map_err(|e| Trouble::Differs(format!("{fixed} does not parse: {e}")))?;
        let others = if at_ms == 0 {
            vec![-1000, 0, 1000]
        } else {
            vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms]
        };
        for other_ms in others {
            self.instant_at(eval, other_ms, range, &fixed, db).map_err(
                |trouble| match trouble {
                    Trouble::Differs(how) => {
                        Trouble::Differs(format!("as {fixed} at {other_ms} ms: {how}"))
                    }
                    other @ Trouble::NotBuilt(_) => other,
                },
            )?;
        }
        Ok(())
    }

    fn instant_at(
        &self,
        eval: &Eval,
        at_ms: i64,
        range: Option<Range>,
        expr: &Expr,
        db: &Db,
    ) -> Result<(), Trouble> {
        let outcome = self
            .engine
            .instant(&db.snapshot(), expr, at_ms, &QueryOptions::default());
        let is_scalar = matches!(&outcome, Ok(o) if matches!(o.value, Value::Scalar(_)));
        let is_range = range.is_some() || eval.string.is_some() || outcome.is_err();
        judge(eval, range, outcome)?;
        if is_range || reads_context(expr) {
            return Ok(());
        }
        // The middle step of a range query is the same.
        let around = Range {
            start_ms: at_ms - 60_000,
            end_ms: at_ms + 60_000,
            step_ms: 60_000,
        };
        let as_range = |how: String| Trouble::Differs(format!("as a range query: {how}"));
        let outcome = match self.ask_range(expr, around, db) {
            Ok(outcome) => outcome,
            Err(QueryError::NotBuilt(what)) => return Err(Trouble::NotBuilt(what)),
            Err(error) => return Err(as_range(error.to_string())),
        };
        let Value::Matrix(series) = outcome.value else {
            return Err(as_range("the value is no matrix".to_owned()));
        };
        if eval.ordered {
            return Ok(());
        }
        let middle: Vec<VectorSample> = series
            .into_iter()
            .filter_map(|series| {
                let histogram = series
                    .histograms
                    .iter()
                    .find(|sample| sample.timestamp_ms == at_ms)
                    .map(|sample| sample.histogram.clone());
                let float = series.samples.iter().find(|s| s.timestamp_ms == at_ms);
                if float.is_none() && histogram.is_none() {
                    return None;
                }
                Some(VectorSample {
                    labels: series.labels.clone(),
                    sample: float.copied().unwrap_or(Sample {
                        timestamp_ms: at_ms,
                        value: 0.0,
                    }),
                    histogram,
                })
            })
            .collect();
        let compared = match middle.as_slice() {
            [only] if is_scalar => compare::scalar(eval, only.sample.value),
            _ => compare::vector(eval, &middle),
        };
        compared.map_err(as_range)
    }
}

/// Compares an answer with what is expected.
fn judge(
    eval: &Eval,
    range: Option<Range>,
    outcome: Result<Outcome, QueryError>,
) -> Result<(), Trouble> {
    let outcome = match (outcome, &eval.fail) {
        (Err(QueryError::NotBuilt(what)), _) => return Err(Trouble::NotBuilt(what)),
        (Err(error), Some(text)) if text.fits(&error.to_string()) => return Ok(()),
        (Err(error), Some(text)) => {
            return Err(Trouble::Differs(format!(
                "expected an error like {text:?}, got {error}"
            )));
        }
        (Err(error), None) => return Err(Trouble::Differs(error.to_string())),
        (Ok(_), Some(_)) => {
            return Err(Trouble::Differs("expected an error, got none".to_owned()));
        }
        (Ok(outcome), None) => outcome,
    };
    compare::annotations(eval, &outcome.warnings, &outcome.infos)
        .and_then(|()| compare::value(eval, range, &outcome.value))
        .map_err(Trouble::Differs)
}

/// The expression with every selector and subquery fixed to a time, unless it already is; `None`
/// where its value depends on the time of evaluation nevertheless.
fn fixed_at(expr: &Expr, at_ms: i64) -> Option<Node> {
    let mut varies = false;
    expr.root().walk(&mut |node| {
        if let NodeKind::Call(call) = &node.kind {
            varies |= call.function.depends_on_step();
        }
    });
    if varies {
        return None;
    }
    let mut root = expr.root().clone();
    fix(&mut root, At::Time(at_ms));
    Some(root)
}

fn fix(node: &mut Node, at: At) {
    match &mut node.kind {
        NodeKind::Selector(selector) => {
            selector.modifiers.at.get_or_insert(at);
        }
        NodeKind::Range(range) => {
            range.selector.modifiers.at.get_or_insert(at);
        }
        NodeKind::Subquery(subquery) => fix_subquery(subquery, at),
        NodeKind::Paren(inner) => fix(inner, at),
        NodeKind::Unary { operand, .. } => fix(operand, at),
        NodeKind::Binary(binary) => {
            fix(&mut binary.lhs, at);
            fix(&mut binary.rhs, at);
        }
        NodeKind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                fix(param, at);
            }
            fix(&mut aggregate.operand, at);
        }
        NodeKind::Call(call) => {
            for arg in &mut call.args {
                fix(arg, at);
            }
        }
        NodeKind::Number { .. } | NodeKind::String(_) => {}
    }
}

/// What a fixed subquery contains stays as it is.
fn fix_subquery(subquery: &mut Subquery, at: At) {
    subquery.modifiers.at.get_or_insert(at);
}

/// Whether `start()`, `end()`, `step()` or `range()` is in it: they differ between queries.
fn reads_context(expr: &Expr) -> bool {
    let text = expr.text();
    ["start()", "end()", "step()", "range()"]
        .iter()
        .any(|word| text.contains(word))
}

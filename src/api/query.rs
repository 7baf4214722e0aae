//! `/query`, `/query_range`, `/format_query`.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use barograph_model::{Clock, SystemClock};
use barograph_query::ast::ValueType;
use barograph_query::{
    Cancel, Expr, Lane, Outcome, ProfileNode, QueryOptions, RangeSteps, StepSamples, Value,
};
use tokio::sync::oneshot;

use super::error::{ApiError, ErrorKind};
use super::json::{Reply, push_list, push_number, push_string, push_timestamp};
use super::params::Params;
use crate::app::{App, Core};

/// Most steps of a range query.
const STEPS_LIMIT: i64 = 11_000;
/// Most warnings, and most infos, in a reply.
const ANNOTATIONS_LIMIT: usize = 10;

/// `/query`: the value of an expression at one time.
pub(super) async fn instant(
    State(app): State<Arc<App>>,
    core: Core,
    params: Params,
) -> Result<Reply, ApiError> {
    let limit = params.limit()?;
    let time_ms = params.time_or("time", SystemClock.now_ms())?;
    let options = options(&core, &params)?;
    let expr = parse(&app, &params)?;
    let began = Instant::now();
    let (engine, db) = (core.engine.clone(), core.db.clone());
    let cancel = options.cancel.clone();
    let evaluated = on_pool(&core, cancel, move || {
        let queued = began.elapsed();
        let outcome = engine.instant(&db.snapshot(), &expr, time_ms, &options)?;
        Ok((outcome, queued))
    });
    Ok(reply(evaluated.await?, limit, began, &params))
}

/// `/query_range`: the values of an expression at many times.
pub(super) async fn range(
    State(app): State<Arc<App>>,
    core: Core,
    params: Params,
) -> Result<Reply, ApiError> {
    let limit = params.limit()?;
    let steps = steps(&params)?;
    let options = options(&core, &params)?;
    let expr = parse(&app, &params)?;
    check_range_type(&expr)?;
    let began = Instant::now();
    let (engine, db) = (core.engine.clone(), core.db.clone());
    let cancel = options.cancel.clone();
    let evaluated = on_pool(&core, cancel, move || {
        let queued = began.elapsed();
        let outcome = engine.range(&db.snapshot(), &expr, steps, &options)?;
        Ok((outcome, queued))
    });
    Ok(reply(evaluated.await?, limit, began, &params))
}

/// `/format_query`: an expression in its canonical form, over several lines where it is long.
pub(super) async fn format(State(app): State<Arc<App>>, params: Params) -> Result<Reply, ApiError> {
    let expr = parse(&app, &params)?;
    Ok(Reply::of(&expr.pretty()))
}

/// `/parse_query`: an expression as a tree.
pub(super) async fn tree(State(app): State<Arc<App>>, params: Params) -> Result<Reply, ApiError> {
    let expr = parse(&app, &params)?;
    Ok(Reply::of(&super::ast::tree(expr.root())))
}

/// Runs `job` on the query pool; stops it when the caller goes away. What panics in it becomes an
/// error of this one request.
pub(super) async fn on_pool<T: Send + 'static>(
    core: &Core,
    cancel: Cancel,
    job: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let _stop_when_dropped = CancelOnDrop(cancel);
    let (sender, receiver) = oneshot::channel();
    core.pool.spawn(Lane::User, move || {
        let result = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|payload| {
            let error = ApiError::panic(&*payload);
            tracing::error!(error = %error.message, "a query panicked");
            Err(error)
        });
        // The receiver is gone where the client is.
        let _ = sender.send(result);
    })?;
    receiver.await.unwrap_or_else(|_| {
        let message = "BUG: the query pool dropped a query";
        Err(ApiError::new(ErrorKind::Internal, message))
    })
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn parse(app: &App, params: &Params) -> Result<Expr, ApiError> {
    barograph_query::parse_with(params.query()?, app.parse_options())
        .map_err(|error| ApiError::parameter("query", error))
}

/// A range query has a number or a vector at each step; other types have none.
fn check_range_type(expr: &Expr) -> Result<(), ApiError> {
    match expr.value_type() {
        ValueType::Scalar | ValueType::Vector => Ok(()),
        other => Err(ApiError::parameter(
            "query",
            format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                other.documented()
            ),
        )),
    }
}

fn steps(params: &Params) -> Result<RangeSteps, ApiError> {
    let (start_ms, end_ms) = (params.time("start")?, params.time("end")?);
    if end_ms < start_ms {
        return Err(ApiError::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step_ms = params.duration("step")?;
    if step_ms <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > STEPS_LIMIT {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    Ok(RangeSteps {
        start_ms,
        end_ms,
        step_ms,
    })
}

fn options(core: &Core, params: &Params) -> Result<QueryOptions, ApiError> {
    let longest = core.engine.options().timeout;
    let timeout = match params.duration_opt("timeout")? {
        Some(timeout_ms) => longest.min(Duration::from_millis(timeout_ms.max(0).unsigned_abs())),
        None => longest,
    };
    let lookback_ms = params.duration_opt("lookback_delta").map_err(|error| {
        let reason = error
            .message
            .rsplit_once("\": ")
            .map_or("", |(_, reason)| reason);
        ApiError::bad_data(format!("error parsing lookback delta duration: {reason}"))
    })?;
    Ok(QueryOptions {
        peak_samples: params.get("stats").is_some_and(|stats| !stats.is_empty()),
        per_step: params.get("stats") == Some("all"),
        profile: params.get("profile") == Some("true"),
        lookback_ms: lookback_ms.filter(|lookback_ms| *lookback_ms > 0),
        deadline: Some(Instant::now() + timeout),
        cancel: Cancel::default(),
        lane: Lane::User,
    })
}

fn reply(
    (outcome, queued): (Outcome, Duration),
    limit: usize,
    began: Instant,
    params: &Params,
) -> Reply {
    let mut members = match params.get("stats") {
        Some(_) => format!(",\"stats\":{}", stats(&outcome, queued, began)),
        None => String::new(),
    };
    if let Some(profile) = &outcome.profile {
        members.push_str(",\"profile\":");
        push_list(&mut members, profile, push_profile);
    }
    let mut value = outcome.value;
    let cut = match &mut value {
        Value::Vector(elements) if elements.len() > limit => {
            elements.truncate(limit);
            true
        }
        Value::Matrix(series) if series.len() > limit => {
            series.truncate(limit);
            true
        }
        _ => false,
    };
    let mut reply = Reply::value(value, &members);
    reply.warnings = capped(outcome.warnings, "warning");
    reply.infos = capped(outcome.infos, "info");
    if let Some(text) = params
        .get("stats")
        .filter(|text| !matches!(*text, "true" | "all"))
    {
        reply.warnings.push(format!(
            "value {text:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""
        ));
    }
    if cut {
        reply.warnings.push(super::series::TRUNCATED.into());
    }
    reply
}

fn capped(mut texts: Vec<String>, kind: &str) -> Vec<String> {
    if texts.len() > ANNOTATIONS_LIMIT {
        let more = texts.len() - ANNOTATIONS_LIMIT;
        texts.truncate(ANNOTATIONS_LIMIT);
        texts.push(format!("{more} more {kind} annotations omitted"));
    }
    texts
}

fn stats(outcome: &Outcome, queued: Duration, began: Instant) -> String {
    let stats = &outcome.stats;
    let total = began.elapsed().as_secs_f64();
    let mut text = String::from("{\"timings\":{");
    for (index, (name, seconds)) in [
        ("evalTotalTime", stats.eval_seconds),
        ("resultSortTime", 0.0),
        ("queryPreparationTime", 0.0),
        ("innerEvalTime", stats.eval_seconds),
        ("execQueueTime", queued.as_secs_f64()),
        ("execTotalTime", total),
    ]
    .into_iter()
    .enumerate()
    {
        text.push_str(if index > 0 { ",\"" } else { "\"" });
        text.push_str(name);
        text.push_str("\":");
        push_number(&mut text, seconds);
    }
    text.push_str("},\"samples\":{");
    let per_step = |text: &mut String, name: &str, pick: fn(&StepSamples) -> u64| {
        if stats.per_step.is_empty() {
            return;
        }
        let _ = write!(text, "\"{name}PerStep\":");
        push_list(text, &stats.per_step, |text, (time_ms, samples)| {
            text.push('[');
            push_timestamp(text, *time_ms);
            let _ = write!(text, ",{}]", pick(samples));
        });
        text.push(',');
    };
    per_step(&mut text, "totalQueryableSamples", |samples| samples.total);
    let total = stats.total_queryable_samples;
    let _ = write!(text, "\"totalQueryableSamples\":{total},");
    per_step(&mut text, "samplesRead", |samples| samples.read);
    let _ = write!(
        text,
        "\"samplesRead\":{},\"peakSamples\":{}}},\"memory\":{{\"peakBytes\":{},\"pagesDecoded\":{}}}}}",
        stats.samples_read, stats.peak_samples, stats.peak_bytes, stats.pages_decoded
    );
    text
}

/// A part of a query with the parts below it.
pub(crate) fn push_profile(out: &mut String, node: &ProfileNode) {
    out.push_str("{\"name\":");
    push_string(out, &node.name);
    out.push_str(",\"detail\":");
    push_string(out, &node.detail);
    out.push_str(",\"seconds\":");
    push_number(out, node.seconds);
    let _ = write!(
        out,
        ",\"series\":{},\"points\":{},\"samplesRead\":{},\"pagesDecoded\":{},\"peakBytes\":{},\"children\":",
        node.series, node.points, node.samples_read, node.pages_decoded, node.peak_bytes
    );
    push_list(out, &node.children, push_profile);
    out.push('}');
}

/// `/queries`: the queries that run now.
pub(super) async fn running(core: Core) -> Reply {
    let mut text = String::new();
    push_list(&mut text, core.engine.running(), |out, query| {
        let _ = write!(out, "{{\"id\":{},\"query\":", query.id);
        push_string(out, &query.text);
        for (name, time_ms) in [("start", query.start_ms), ("end", query.end_ms)] {
            let _ = write!(out, ",\"{name}\":");
            push_timestamp(out, time_ms);
        }
        out.push_str(",\"step\":");
        push_number(out, query.step_ms as f64 / 1000.0);
        out.push_str(",\"seconds\":");
        push_number(out, query.running_seconds);
        let _ = write!(
            out,
            ",\"memoryBytes\":{},\"peakBytes\":{}}}",
            query.memory_bytes, query.peak_bytes
        );
    });
    Reply::text(text)
}

/// `DELETE /queries/{id}`: stops a running query.
pub(super) async fn cancel(core: Core, Path(id): Path<u64>) -> Result<Reply, ApiError> {
    if core.engine.cancel(id) {
        return Ok(Reply::text("{}".to_owned()));
    }
    let message = format!("no query {id} is running: it may have ended");
    Err(ApiError::new(ErrorKind::NotFound, message))
}

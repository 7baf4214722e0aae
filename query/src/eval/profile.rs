//! Where the time of one query goes.

use std::time::{Duration, Instant};

use super::counts::SampleCounts;
use super::vector::is_absent;
use crate::functions::{FUNCTIONS, Kind, Math, Window};
use crate::memory::Account;
use crate::plan::{SelectorPlan, VectorPlan, WindowSource};
use crate::value::ProfileNode;

/// Gathers nodes while a query runs.
#[derive(Debug, Default)]
pub(crate) struct Profiler {
    /// The nodes under way, outermost first.
    open: Vec<Open>,
    done: Vec<ProfileNode>,
}

#[derive(Debug)]
struct Open {
    node: ProfileNode,
    began: Instant,
    /// Spent above this node while it ran.
    above: Duration,
    read_before: u64,
    pages_before: u64,
    /// The peak of what holds this node.
    peak_before: u64,
}

impl Profiler {
    /// `shared` where what the node yields was found in another place.
    pub(super) fn enter(
        &mut self,
        plan: &VectorPlan,
        shared: bool,
        counts: &SampleCounts,
        memory: &Account,
    ) {
        let (name, mut detail) = describe(plan);
        if shared {
            if !detail.is_empty() {
                detail.push(' ');
            }
            detail.push_str("(shared with the first)");
        }
        self.open.push(Open {
            node: ProfileNode {
                name,
                detail,
                ..ProfileNode::default()
            },
            began: Instant::now(),
            above: Duration::ZERO,
            read_before: counts.read,
            pages_before: counts.pages_decoded,
            peak_before: memory.begin_stretch(),
        });
    }

    /// A series leaves the node under way; what takes it works from now on.
    pub(super) fn series(&mut self, slots: &[f64]) {
        if let Some(open) = self.open.last_mut() {
            open.node.series += 1;
            let points = slots.iter().filter(|value| !is_absent(**value)).count();
            open.node.points += points as u64;
        }
    }

    /// So many samples count as read without having been read.
    pub(super) fn not_read(&mut self, samples: u64) {
        for open in &mut self.open {
            open.read_before += samples;
        }
    }

    /// What took the series was busy for so long.
    pub(super) fn above(&mut self, took: Duration) {
        if let Some(open) = self.open.last_mut() {
            open.above += took;
        }
    }

    pub(super) fn leave(&mut self, counts: &SampleCounts, memory: &Account) {
        let Some(open) = self.open.pop() else { return };
        let mut node = open.node;
        node.seconds = open
            .began
            .elapsed()
            .saturating_sub(open.above)
            .as_secs_f64();
        // Inside of a subquery counts start anew.
        node.samples_read = counts.read.saturating_sub(open.read_before);
        node.pages_decoded = counts.pages_decoded.saturating_sub(open.pages_before);
        node.peak_bytes = memory.end_stretch(open.peak_before);
        match self.open.last_mut() {
            Some(parent) => parent.node.children.push(node),
            None => self.done.push(node),
        }
    }

    /// The nodes no other contains.
    pub(crate) fn finish(self) -> Vec<ProfileNode> {
        self.done
    }
}

/// What a node does, and on what.
fn describe(plan: &VectorPlan) -> (String, String) {
    let plain = |name: &str| (name.to_owned(), String::new());
    match plan {
        VectorPlan::Selector(selector) => ("select".to_owned(), matchers(selector)),
        VectorPlan::SampleTimes(selector) => ("timestamp".to_owned(), matchers(selector)),
        VectorPlan::Window(window) => {
            let detail = match &window.source {
                WindowSource::Selector { selector, range_ms } => {
                    format!("{}[{} s]", matchers(selector), *range_ms as f64 / 1000.0)
                }
                WindowSource::Subquery(subquery) => {
                    format!("subquery of {} s", subquery.range_ms as f64 / 1000.0)
                }
            };
            (of_window(window.function).to_owned(), detail)
        }
        VectorPlan::Math { function, .. } => plain(of_math(*function)),
        VectorPlan::Aggregate(aggregate) => {
            let kind = if aggregate.grouping.without {
                "without"
            } else {
                "by"
            };
            let labels = aggregate.grouping.labels.join(", ");
            (
                aggregate.op.as_str().to_owned(),
                format!("{kind} ({labels})"),
            )
        }
        VectorPlan::CountValues(_) => plain("count_values"),
        VectorPlan::Binary(binary) => plain(binary.op.as_str()),
        VectorPlan::BinaryScalar(binary) => plain(binary.op.as_str()),
        VectorPlan::Negate(_) => plain("-"),
        VectorPlan::Absent { .. } => plain("absent"),
        VectorPlan::AbsentOverTime { .. } => plain("absent_over_time"),
        VectorPlan::Sort { .. } | VectorPlan::SortByLabel { .. } => plain("sort"),
        VectorPlan::LabelReplace { .. } => plain("label_replace"),
        VectorPlan::LabelJoin { .. } => plain("label_join"),
        VectorPlan::Info(_) => plain("info"),
        VectorPlan::Once(_) => plain("once for all steps"),
        VectorPlan::FromScalar(_) => plain("vector"),
        VectorPlan::Date { .. } => plain("date"),
        VectorPlan::StepTimes(_) => plain("timestamp"),
        _ => plain("histogram function"),
    }
}

fn matchers(selector: &SelectorPlan) -> String {
    let each = selector.matchers.iter().map(ToString::to_string);
    format!("{{{}}}", each.collect::<Vec<_>>().join(","))
}

fn of_window(window: Window) -> &'static str {
    let found = FUNCTIONS.iter().find(|f| f.kind == Kind::Window(window));
    found.map_or("window", |function| function.name)
}

fn of_math(math: Math) -> &'static str {
    let found = FUNCTIONS.iter().find(|f| f.kind == Kind::Math(math));
    found.map_or("math", |function| function.name)
}

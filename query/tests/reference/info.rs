//! `info`: labels of info series on others of the same `instance` and `job`.

use barograph_model::{Labels, METRIC_NAME};
use barograph_query::ast::{Call, NodeKind, Selector};

use super::{Reference, Result, Row, Stored, Val, distinct, has_any};

/// The only metric with such labels that the generator knows.
const INFO_NAME: &str = "target_info";

impl Reference<'_> {
    /// The operand has no modifiers.
    pub(super) fn info(&self, call: &Call, steps: &[i64]) -> Result<Vec<Row>> {
        let base = self.vector(&call.args[0], steps)?;
        let selector = match call.args.get(1).map(|node| &node.kind) {
            Some(NodeKind::Selector(selector)) => Some(selector),
            _ => None,
        };
        let mut out: Vec<Row> = Vec::new();
        for (step, step_ms) in steps.iter().enumerate() {
            for (labels, slots) in &base {
                let Some(value) = &slots[step] else { continue };
                if labels.get(METRIC_NAME) == INFO_NAME {
                    push(&mut out, labels.clone(), (step, steps.len()), value)?;
                    continue;
                }
                let newest = self.newest_info(labels, selector, *step_ms)?;
                let Some(info) = newest else {
                    let optional = |s: &Selector| s.matchers.iter().all(|m| m.matches(""));
                    if selector.is_none_or(optional) {
                        push(&mut out, labels.clone(), (step, steps.len()), value)?;
                    }
                    continue;
                };
                let mut builder = labels.to_builder();
                for (name, text) in info {
                    let asked = |s: &Selector| s.matchers.iter().any(|m| m.name() == name);
                    let wanted = selector.is_none_or(|s| s.matchers.is_empty() || asked(s));
                    if wanted && name != METRIC_NAME && !labels.has(name) {
                        builder.set(name, text);
                    }
                }
                push(&mut out, builder.build(), (step, steps.len()), value)?;
            }
        }
        distinct(out.into_iter().filter(has_any).collect())
    }

    /// The labels of the info series that belongs to a series: of several, that with the newest
    /// sample.
    fn newest_info(
        &self,
        labels: &Labels,
        selector: Option<&Selector>,
        at_ms: i64,
    ) -> Result<Option<&Labels>> {
        let mut newest: Option<(i64, &Labels)> = None;
        let fits = |(info, _): &&Stored| {
            let same = |name| info.get(name) == labels.get(name);
            let asked = |s: &Selector| s.matchers.iter().all(|m| m.matches(info.get(m.name())));
            info.get(METRIC_NAME) == INFO_NAME
                && same("instance")
                && same("job")
                && selector.is_none_or(asked)
        };
        for series in self.series.iter().filter(fits) {
            let Some((time_ms, _)) = self.newest(series, at_ms) else {
                continue;
            };
            match newest {
                Some((have, _)) if have == time_ms => return Err("two infos of one time"),
                Some((have, _)) if have > time_ms => {}
                _ => newest = Some((time_ms, &series.0)),
            }
        }
        Ok(newest.map(|(_, labels)| labels))
    }
}

fn push(out: &mut Vec<Row>, labels: Labels, at: (usize, usize), value: &Val) -> Result<()> {
    let (step, steps) = at;
    let known = out.iter().position(|row| row.0 == labels);
    let place = known.unwrap_or(out.len());
    if known.is_none() {
        out.push((labels, vec![None; steps]));
    }
    if out[place].1[step].replace(value.clone()).is_some() {
        return Err("equal labels");
    }
    Ok(())
}

//! Classic histograms as native ones with custom buckets (`load_with_nhcb`).

use std::collections::BTreeMap;

use barograph_model::histogram::{CUSTOM_BOUNDS_SCHEMA, Span};
use barograph_model::{FloatHistogram, Labels, METRIC_NAME};

use super::command::LoadSeries;
use super::series::Point;

/// What is known of a classic histogram at a time.
#[derive(Default)]
struct Classic {
    /// Cumulative counts by bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms of classic series: labels, and a point for each step.
pub(super) fn convert(series: &[LoadSeries]) -> Vec<(Labels, Vec<Option<FloatHistogram>>)> {
    let mut found: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for one in series {
        let name = one.labels.metric_name();
        let suffix = ["_bucket", "_count", "_sum"]
            .into_iter()
            .find(|suffix| name.ends_with(suffix));
        let Some(suffix) = suffix else { continue };
        let bound: Option<f64> = one.labels.get("le").parse().ok();
        let bound = bound.filter(|bound| !bound.is_nan());
        if suffix == "_bucket" && bound.is_none() {
            continue;
        }
        let mut base = one.labels.to_builder();
        base.set(METRIC_NAME, &name[..name.len() - suffix.len()]);
        base.remove("le");
        let steps = found.entry(base.build()).or_default();
        for (step, point) in one.points.iter().enumerate() {
            let Point::Float(value) = point else { continue };
            let classic = steps.entry(step).or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, *value)),
                ("_count", _) => classic.count = Some(*value),
                _ => classic.sum = *value,
            }
        }
    }
    found
        .into_iter()
        .map(|(labels, steps)| {
            let length = steps.keys().next_back().map_or(0, |last| last + 1);
            let mut points = vec![None; length];
            for (step, classic) in steps {
                points[step] = Some(classic.into_native());
            }
            (labels, points)
        })
        .collect()
}

impl Classic {
    fn into_native(mut self) -> FloatHistogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let highest = self.buckets.last().map_or(0.0, |(_, count)| *count);
        let count = self.count.unwrap_or(highest);
        if self
            .buckets
            .last()
            .is_none_or(|(bound, _)| *bound != f64::INFINITY)
        {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let counts: Vec<f64> = self
            .buckets
            .iter()
            .map(|(_, count)| count - std::mem::replace(&mut below, *count))
            .collect();
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        let mut native = FloatHistogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span {
                offset: 0,
                length: counts.len() as u32,
            }],
            positive_buckets: counts,
            custom_bounds: bounds.filter(|bound| *bound < f64::INFINITY).collect(),
            ..FloatHistogram::default()
        };
        native.compact();
        native
    }
}

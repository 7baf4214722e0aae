//! Histograms as text.

use std::fmt;

use super::layout::{indexed, spans_of};
use super::{Bucket, CounterResetHint, FloatHistogram, Span};
use crate::number::{go_g, push_go_g};

impl fmt::Display for FloatHistogram {
    /// Count, sum and populated buckets, as `count_values` names histograms:
    /// `{count:3, sum:4.5, (1,2]:3}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from("{count:");
        push_go_g(&mut text, self.count);
        text.push_str(", sum:");
        push_go_g(&mut text, self.sum);
        let negative: Vec<Bucket> = self.negative().collect();
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let all = negative
            .into_iter()
            .rev()
            .chain(zero)
            .chain(self.positive());
        for bucket in all.filter(|bucket| bucket.count != 0.0) {
            text.push_str(", ");
            bucket.push_text(&mut text);
        }
        text.push('}');
        f.write_str(&text)
    }
}

impl FloatHistogram {
    /// The notation of test scripts: `{{schema:1 count:3 sum:4.5 buckets:[1 2]}}`.
    pub fn test_expression(&self) -> String {
        let mut parts = Vec::new();
        if self.schema != 0 {
            parts.push(format!("schema:{}", self.schema));
        }
        for (name, value) in [
            ("count", self.count),
            ("sum", self.sum),
            ("z_bucket", self.zero_count),
            ("z_bucket_w", self.zero_threshold),
        ] {
            if value != 0.0 {
                parts.push(format!("{name}:{}", go_g(value)));
            }
        }
        if self.has_custom_bounds() {
            parts.push(format!("custom_values:{}", list(&self.custom_bounds)));
        }
        match self.counter_reset_hint {
            CounterResetHint::Unknown => {}
            CounterResetHint::CounterReset => parts.push("counter_reset_hint:reset".to_owned()),
            CounterResetHint::NotCounterReset => {
                parts.push("counter_reset_hint:not_reset".to_owned());
            }
            CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
        }
        push_side(
            &mut parts,
            ["offset", "buckets"],
            &self.positive_spans,
            &self.positive_buckets,
        );
        push_side(
            &mut parts,
            ["n_offset", "n_buckets"],
            &self.negative_spans,
            &self.negative_buckets,
        );
        format!("{{{{{}}}}}", parts.join(" "))
    }
}

/// The populated buckets in one run, gaps filled with zeros.
fn push_side(
    parts: &mut Vec<String>,
    [offset, buckets]: [&str; 2],
    spans: &[Span],
    counts: &[f64],
) {
    /// Longest run that is written out.
    const RUN_LIMIT: usize = 100_000;
    let populated: Vec<(i32, f64)> = indexed(spans, counts)
        .filter(|(_, count)| *count != 0.0)
        .collect();
    let Some(first) = spans_of(populated.iter().map(|(index, _)| *index))
        .first()
        .copied()
    else {
        return;
    };
    if first.offset != 0 {
        parts.push(format!("{offset}:{}", first.offset));
    }
    let mut run: Vec<f64> = Vec::new();
    for (index, count) in populated {
        let place = i64::from(index) - i64::from(first.offset);
        let place = usize::try_from(place).unwrap_or(RUN_LIMIT).min(RUN_LIMIT);
        run.resize(place, 0.0);
        run.push(count);
    }
    parts.push(format!("{buckets}:{}", list(&run)));
}

fn list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(|value| go_g(*value)).collect();
    format!("[{}]", values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::CUSTOM_BOUNDS_SCHEMA;
    use super::*;

    #[test]
    fn texts_follow_prometheus() {
        let histogram = FloatHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            zero_threshold: 0.5,
            zero_count: 1.0,
            count: 9.5,
            sum: -3.0,
            positive_spans: vec![
                Span {
                    offset: 0,
                    length: 3,
                },
                Span {
                    offset: 1,
                    length: 1,
                },
            ],
            positive_buckets: vec![0.0, 2.0, 0.0, 3.5],
            negative_spans: vec![Span {
                offset: 1,
                length: 2,
            }],
            negative_buckets: vec![1.0, 2.0],
            ..FloatHistogram::default()
        };
        assert_eq!(
            histogram.to_string(),
            "{count:9.5, sum:-3, [-4,-2):2, [-2,-1):1, [-0.5,0.5]:1, (1,2]:2, (8,16]:3.5}"
        );
        assert_eq!(
            histogram.test_expression(),
            "{{count:9.5 sum:-3 z_bucket:1 z_bucket_w:0.5 counter_reset_hint:gauge offset:1 buckets:[2 0 0 3.5] n_offset:1 n_buckets:[1 2]}}"
        );
        let custom = FloatHistogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            count: 1.0,
            sum: 1.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            positive_buckets: vec![1.0],
            custom_bounds: [2.0, 3.0].into(),
            ..FloatHistogram::default()
        };
        assert_eq!(custom.to_string(), "{count:1, sum:1, [-Inf,2]:1}");
        assert_eq!(
            custom.test_expression(),
            "{{schema:-53 count:1 sum:1 custom_values:[2 3] buckets:[1]}}"
        );
    }
}

//! How fine native histograms are stored: limits of the configuration, kept by merging buckets.

use barograph_model::Histogram;
use barograph_model::histogram::{
    GREATEST_EXPONENTIAL_SCHEMA, LEAST_EXPONENTIAL_SCHEMA, is_exponential,
};

/// The finest schema whose buckets grow by at least a factor. A factor up to 1 is none.
pub(crate) fn finest_schema(factor: f64) -> i32 {
    if factor.is_nan() || factor <= 1.0 {
        return GREATEST_EXPONENTIAL_SCHEMA;
    }
    let schema = (-factor.log2().log2()).floor();
    let (least, greatest) = (LEAST_EXPONENTIAL_SCHEMA, GREATEST_EXPONENTIAL_SCHEMA);
    schema.clamp(f64::from(least), f64::from(greatest)) as i32
}

/// Merges buckets until the schema is no finer than `finest` and there are at most `limit` buckets,
/// 0 being no limit. `false` where merging cannot do it.
pub(crate) fn limit(histogram: &mut Histogram, finest: i32, limit: u64) -> bool {
    let (_, schema) = size(histogram);
    if is_exponential(schema) && schema > finest {
        reduce(histogram, finest);
    }
    loop {
        let (buckets, schema) = size(histogram);
        if limit == 0 || buckets as u64 <= limit {
            return true;
        }
        if !is_exponential(schema) || schema <= LEAST_EXPONENTIAL_SCHEMA {
            return false;
        }
        reduce(histogram, schema - 1);
    }
}

fn size(histogram: &Histogram) -> (usize, i32) {
    match histogram {
        Histogram::Integer(h) => (
            h.positive_buckets.len() + h.negative_buckets.len(),
            h.schema,
        ),
        Histogram::Float(h) => (
            h.positive_buckets.len() + h.negative_buckets.len(),
            h.schema,
        ),
    }
}

fn reduce(histogram: &mut Histogram, schema: i32) {
    match histogram {
        Histogram::Integer(histogram) => histogram.reduce_resolution(schema),
        Histogram::Float(histogram) => histogram.reduce_resolution(schema),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barograph_model::IntegerHistogram;
    use barograph_model::histogram::{CUSTOM_BOUNDS_SCHEMA, Span};

    #[test]
    fn factors_name_schemas() {
        for (factor, schema) in [
            (f64::NAN, 8),
            (0.0, 8),
            (1.0, 8),
            (1.001, 8),
            (1.00271, 8),
            (1.1, 2),
            (1.5, 0),
            (2.0, 0),
            (3.0, -1),
            (65_536.0, -4),
            (1e300, -4),
            (f64::INFINITY, -4),
        ] {
            assert_eq!(finest_schema(factor), schema, "{factor}");
        }
    }

    fn histogram(schema: i32, buckets: u64) -> Histogram {
        Histogram::Integer(IntegerHistogram {
            schema,
            positive_spans: vec![Span {
                offset: 1,
                length: buckets as u32,
            }],
            positive_buckets: (1..=buckets).collect(),
            ..IntegerHistogram::default()
        })
    }

    #[test]
    fn buckets_are_merged_until_they_fit() {
        for (schema, buckets, finest, most, want) in [
            (3, 16, 8, 0, Some((16, 3))),
            (3, 16, 8, 16, Some((16, 3))),
            (3, 16, 8, 15, Some((8, 2))),
            (3, 16, 8, 3, Some((2, 0))),
            (3, 16, 1, 0, Some((4, 1))),
            (3, 16, 1, 8, Some((4, 1))),
            (3, 16, 2, 3, Some((2, 0))),
            (-4, 2, 8, 1, None),
            (
                CUSTOM_BOUNDS_SCHEMA,
                3,
                -4,
                3,
                Some((3, CUSTOM_BOUNDS_SCHEMA)),
            ),
            (CUSTOM_BOUNDS_SCHEMA, 3, 8, 2, None),
        ] {
            let mut histogram = histogram(schema, buckets);
            let fits = limit(&mut histogram, finest, most);
            assert_eq!(
                fits.then(|| size(&histogram)),
                want,
                "{schema} {buckets} {finest} {most}"
            );
        }
    }
}

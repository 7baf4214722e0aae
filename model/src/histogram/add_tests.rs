use super::super::CUSTOM_BOUNDS_SCHEMA;
use super::*;

fn span(offset: i32, length: u32) -> Span {
    Span { offset, length }
}

fn exponential(schema: i32, spans: &[Span], counts: &[f64]) -> FloatHistogram {
    FloatHistogram {
        schema,
        count: counts.iter().fold(0.0, |sum, count| sum + count),
        sum: 10.0,
        positive_spans: spans.to_vec(),
        positive_buckets: counts.to_vec(),
        ..FloatHistogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
    FloatHistogram {
        custom_bounds: bounds.into(),
        ..exponential(
            CUSTOM_BOUNDS_SCHEMA,
            &[span(0, counts.len() as u32)],
            counts,
        )
    }
}

#[test]
fn buckets_of_both_are_there() {
    let mut sum = exponential(0, &[span(0, 1), span(2, 1)], &[1.0, 2.0]);
    let other = exponential(0, &[span(-2, 1), span(1, 3)], &[4.0, 8.0, 16.0, 32.0]);
    assert_eq!(sum.add(&other), Ok(Combined::default()));
    assert_eq!(sum.positive_spans, [span(-2, 1), span(1, 4)]);
    assert_eq!(sum.positive_buckets, [4.0, 9.0, 16.0, 32.0, 2.0]);
}

#[test]
fn a_difference_undoes_a_sum() {
    let one = exponential(0, &[span(0, 1), span(2, 1)], &[1.0, 2.0]);
    let other = exponential(0, &[span(-2, 1), span(1, 3)], &[4.0, 8.0, 16.0, 32.0]);
    let mut sum = one.clone();
    sum.add(&other).expect("same kind");
    sum.subtract(&other).expect("same kind");
    sum.sum = one.sum;
    sum.compact();
    assert!(sum.same_data(&one), "{sum:?}");
}

#[test]
fn the_coarser_schema_wins() {
    let fine = exponential(1, &[span(1, 2)], &[1.0, 2.0]);
    let coarse = exponential(0, &[span(1, 1)], &[5.0]);
    for (mut one, other) in [(fine.clone(), &coarse), (coarse.clone(), &fine)] {
        one.add(other).expect("same kind");
        assert_eq!((one.schema, one.positive_buckets), (0, vec![8.0]));
    }
}

#[test]
fn the_wider_zero_bucket_wins() {
    let mut narrow = exponential(0, &[span(0, 3)], &[1.0, 2.0, 4.0]);
    narrow.zero_count = 8.0;
    let mut wide = exponential(0, &[span(2, 1)], &[1.0]);
    wide.zero_threshold = 1.5;
    wide.zero_count = 16.0;
    for (mut one, other) in [(narrow.clone(), &wide), (wide.clone(), &narrow)] {
        one.add(other).expect("same kind");
        // 1.5 lies within (1, 2], which is populated: the zero bucket reaches up to 2.
        assert_eq!((one.zero_threshold, one.zero_count), (2.0, 27.0));
        one.compact();
        assert_eq!(one.positive_spans, [span(2, 1)]);
        assert_eq!(one.positive_buckets, [5.0]);
    }
}

#[test]
fn custom_bounds_are_reconciled() {
    let mut one = custom(&[1.0, 2.0, 5.0], &[1.0, 2.0, 4.0, 8.0]);
    let other = custom(&[2.0, 3.0, 5.0], &[16.0, 32.0, 64.0, 128.0]);
    let combined = one.add(&other).expect("same kind");
    assert!(combined.bounds_reconciled);
    assert_eq!(one.custom_bounds[..], [2.0, 5.0]);
    assert_eq!(one.positive_buckets, [19.0, 100.0, 136.0]);
    let mut apart = custom(&[1.0], &[1.0, 2.0]);
    apart.add(&custom(&[3.0], &[4.0, 8.0])).expect("same kind");
    assert!(apart.custom_bounds.is_empty());
    assert_eq!(apart.positive_buckets, [15.0]);
}

#[test]
fn kinds_do_not_mix() {
    let mut one = exponential(0, &[span(0, 1)], &[1.0]);
    let before = one.clone();
    assert_eq!(one.add(&custom(&[1.0], &[1.0])), Err(IncompatibleSchemas));
    assert_eq!(one, before);
}

#[test]
fn hints_combine() {
    use CounterResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
    for (ours, theirs, want, collides) in [
        (Unknown, Unknown, Unknown, false),
        (CounterReset, CounterReset, CounterReset, false),
        (CounterReset, Unknown, Unknown, false),
        (Gauge, CounterReset, Gauge, false),
        (NotCounterReset, Gauge, Gauge, false),
        (CounterReset, NotCounterReset, Unknown, true),
    ] {
        let hinted = |hint| FloatHistogram {
            counter_reset_hint: hint,
            ..exponential(0, &[span(0, 1)], &[1.0])
        };
        for (ours, theirs) in [(ours, theirs), (theirs, ours)] {
            let mut one = hinted(ours);
            let combined = one.add(&hinted(theirs)).expect("same kind");
            assert_eq!(one.counter_reset_hint, want);
            assert_eq!(combined.counter_reset_collision, collides);
        }
    }
}

#[test]
fn factors_scale_everything() {
    let mut one = exponential(0, &[span(0, 2)], &[1.0, 2.0]);
    one.multiply(-2.0);
    assert_eq!((one.count, one.sum), (-6.0, -20.0));
    assert_eq!(one.counter_reset_hint, CounterResetHint::Gauge);
    one.divide(0.0);
    assert!(one.positive_buckets.is_empty() && one.count == f64::NEG_INFINITY);
    assert!(one.has_overflow());
}

/// The slow way: one bucket at a time, by index.
fn by_index(spans: &[Span], counts: &[f64]) -> std::collections::BTreeMap<i32, f64> {
    let mut all = std::collections::BTreeMap::new();
    for (index, count) in super::super::layout::indexed(spans, counts) {
        *all.entry(index).or_insert(0.0) += count;
    }
    all
}

#[test]
fn sums_agree_with_the_slow_way() {
    let mut state = 42u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    for _ in 0..500 {
        let mut random = || {
            let spans: Vec<Span> = (0..next(4))
                .map(|place| {
                    let offset = next(5) as i32 - if place == 0 { 3 } else { 0 };
                    span(offset, next(4) as u32)
                })
                .collect();
            let total: u32 = spans.iter().map(|span| span.length).sum();
            let counts: Vec<f64> = (0..total).map(|_| next(10) as f64).collect();
            exponential(0, &spans, &counts)
        };
        let (one, other) = (random(), random());
        let mut sum = one.clone();
        sum.add(&other).expect("same kind");
        let mut want = by_index(&one.positive_spans, &one.positive_buckets);
        for (index, count) in by_index(&other.positive_spans, &other.positive_buckets) {
            *want.entry(index).or_insert(0.0) += count;
        }
        assert_eq!(by_index(&sum.positive_spans, &sum.positive_buckets), want);
        let mut compensated = super::super::HistogramSum::new(one.clone());
        compensated.add(&other).expect("same kind");
        let mut compensated = compensated.finish();
        compensated.compact();
        sum.compact();
        assert!(compensated.same_data(&sum), "{compensated:?} {sum:?}");
    }
}

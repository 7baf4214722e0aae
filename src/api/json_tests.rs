use std::sync::Arc;

use super::*;
use barograph_model::histogram::Span;
use barograph_model::stale_nan;
use barograph_query::HistogramSample;

fn written(value: Value) -> String {
    let mut writer = ValueWriter::new(value, "", "}".into());
    std::iter::from_fn(|| writer.next_piece()).collect()
}

fn sample(timestamp_ms: i64, value: f64) -> Sample {
    Sample {
        timestamp_ms,
        value,
    }
}

#[test]
fn strings_are_escaped() {
    for (text, want) in [
        ("", r#""""#),
        ("a\"b\\c", r#""a\"b\\c""#),
        ("line\nbreak\ttab\r", r#""line\nbreak\ttab\r""#),
        ("\u{1}\u{1f}", "\"\\u0001\\u001f\""),
        ("ü\u{1F600}<&>", "\"ü\u{1F600}<&>\""),
    ] {
        let mut out = String::new();
        push_string(&mut out, text);
        assert_eq!(out, want);
        let back: String = serde_json::from_str(&out).expect("valid JSON");
        assert_eq!(back, text);
    }
}

#[test]
fn timestamps_are_seconds() {
    for (timestamp_ms, want) in [
        (0, "0"),
        (1, "0.001"),
        (-1, "-0.001"),
        (-1500, "-1.500"),
        (1_795_253_405_610, "1795253405.610"),
        (1_795_253_405_000, "1795253405"),
        (i64::MIN, "-9223372036854775.808"),
    ] {
        let mut out = String::new();
        push_timestamp(&mut out, timestamp_ms);
        assert_eq!(out, want);
    }
}

#[test]
fn values_are_written_as_prometheus_does() {
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]);
    for (value, want) in [
        (
            Value::Scalar(sample(1_000, 1.5)),
            r#"{"resultType":"scalar","result":[1,"1.5"]}"#,
        ),
        (
            Value::String {
                timestamp_ms: 1_500,
                text: "x".into(),
            },
            r#"{"resultType":"string","result":[1.500,"x"]}"#,
        ),
        (
            Value::Vector(Vec::new()),
            r#"{"resultType":"vector","result":[]}"#,
        ),
        (
            Value::Vector(vec![
                VectorSample {
                    labels: labels.clone(),
                    sample: sample(1, f64::INFINITY),
                    histogram: None,
                },
                VectorSample {
                    labels: Labels::empty(),
                    sample: sample(2, f64::NAN),
                    histogram: None,
                },
            ]),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"value":[0.001,"+Inf"]},{"metric":{},"value":[0.002,"NaN"]}]}"#,
        ),
        (
            Value::Matrix(Vec::new()),
            r#"{"resultType":"matrix","result":[]}"#,
        ),
        (
            Value::Matrix(vec![
                Series {
                    labels: Labels::empty(),
                    samples: vec![sample(0, 0.0), sample(1_000, -0.0)],
                    histograms: Vec::new(),
                },
                Series {
                    labels: Labels::empty(),
                    samples: vec![sample(0, 1e21), sample(1, stale_nan())],
                    histograms: Vec::new(),
                },
            ]),
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"0"],[1,"-0"]]},{"metric":{},"values":[[0,"1e+21"],[0.001,"NaN"]]}]}"#,
        ),
    ] {
        assert_eq!(written(value), want);
    }
}

#[test]
fn histograms_have_their_own_key() {
    let histogram = Arc::new(FloatHistogram {
        schema: 0,
        zero_threshold: 0.5,
        zero_count: 1.0,
        count: 4.0,
        sum: 3.5,
        positive_spans: vec![Span {
            offset: 1,
            length: 2,
        }],
        positive_buckets: vec![3.0, 0.0],
        ..FloatHistogram::default()
    });
    let text = r#"{"count":"4","sum":"3.5","buckets":[[3,"-0.5","0.5","1"],[0,"1","2","3"]]}"#;
    let vector = Value::Vector(vec![VectorSample {
        labels: Labels::empty(),
        sample: sample(2, f64::NAN),
        histogram: Some(histogram.clone()),
    }]);
    let want = format!(
        r#"{{"resultType":"vector","result":[{{"metric":{{}},"histogram":[0.002,{text}]}}]}}"#
    );
    assert_eq!(written(vector), want);
    let at = |timestamp_ms| HistogramSample {
        timestamp_ms,
        histogram: histogram.clone(),
    };
    let series = |samples, histograms| Series {
        labels: Labels::empty(),
        samples,
        histograms,
    };
    let matrix = Value::Matrix(vec![
        series(vec![sample(0, 1.0)], vec![at(1000), at(2000)]),
        series(vec![], vec![at(1000)]),
    ]);
    let want = format!(
        r#"{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[0,"1"]],"histograms":[[1,{text}],[2,{text}]]}},{{"metric":{{}},"histograms":[[1,{text}]]}}]}}"#
    );
    assert_eq!(written(matrix), want);
    let empty = FloatHistogram::default();
    let mut out = String::new();
    push_histogram_sample(&mut out, 0, &empty);
    assert_eq!(out, r#"[0,{"count":"0","sum":"0"}]"#);
}

#[test]
fn large_results_come_in_pieces_that_join_to_valid_json() {
    let series = |number: usize| Series {
        labels: Labels::from_pairs([("n", number.to_string())]),
        samples: (0..10_000)
            .map(|i| sample(i * 1000, i as f64 * 0.1))
            .collect(),
        histograms: Vec::new(),
    };
    let value = Value::Matrix((0..5).map(series).collect());
    let mut writer = ValueWriter::new(value, "", "}".into());
    let pieces: Vec<String> = std::iter::from_fn(|| writer.next_piece()).collect();
    assert!(pieces.len() > 5, "{} pieces", pieces.len());
    assert!(pieces.iter().all(|piece| piece.len() < 3 * PIECE_BYTES));
    let parsed: serde_json::Value = serde_json::from_str(&pieces.concat()).expect("valid JSON");
    let result = parsed["result"].as_array().expect("a list");
    assert_eq!(result.len(), 5);
    for series in result {
        assert_eq!(series["values"].as_array().map(Vec::len), Some(10_000));
        assert_eq!(
            series["values"][3],
            serde_json::json!([3, "0.30000000000000004"])
        );
    }
}

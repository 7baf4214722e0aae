//! What replies to queries look like, over real sockets.

use barograph_model::histogram::Span;
use barograph_model::{Clock, Exemplar, Histogram, IntegerHistogram, Labels, SystemClock};
use barograph_tsdb::Batch;
use serde_json::{Value, json};

use super::test_server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_answered_in_prometheus_s_shape() {
    let server = Server::new().await;
    let now_ms = server.store(&[
        (&[("__name__", "up"), ("job", "a")], 1.0),
        (&[("__name__", "up"), ("job", "b")], 0.0),
    ]);
    let at = now_ms as f64 / 1000.0;
    let series = |job: &str| json!({"__name__": "up", "job": job});
    for (path, want) in [
        (
            "query?query=up&".to_owned(),
            json!({"resultType": "vector", "result": [
                {"metric": series("a"), "value": [at, "1"]},
                {"metric": series("b"), "value": [at, "0"]},
            ]}),
        ),
        (
            "query?query=1/0&".into(),
            json!({"resultType": "scalar", "result": [at, "+Inf"]}),
        ),
        (
            "query?query=%22x%22&".into(),
            json!({"resultType": "string", "result": [at, "x"]}),
        ),
        (
            "query?query=up{job=%22a%22}[1m]&".into(),
            json!({"resultType": "matrix", "result": [
                {"metric": series("a"), "values": [[at, "1"]]},
            ]}),
        ),
        (
            format!("query_range?query=sum(up)&start={at}&end={at}&step=15&"),
            json!({"resultType": "matrix", "result": [
                {"metric": {}, "values": [[at, "1"]]},
            ]}),
        ),
    ] {
        assert_eq!(
            server.data(&format!("/api/v1/{path}time={at}")).await,
            want,
            "{path}"
        );
    }
    let (_, value) = server
        .json(&format!("/api/v1/query?query=up&limit=1&stats=x&time={at}"))
        .await;
    assert_eq!(value["data"]["result"].as_array().map(Vec::len), Some(1));
    assert_eq!(value["warnings"][1], "results truncated due to limit");
    assert!(value["data"]["stats"]["samples"]["totalQueryableSamples"].is_number());
    for (path, want) in [
        (
            "query_range?query=up[5m]&start=0&end=1&step=1",
            "invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        (
            "query?query=rate(up)",
            "invalid parameter \"query\": 1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "series?match[]={}",
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        ),
    ] {
        let (status, value) = server.json(&format!("/api/v1/{path}")).await;
        assert_eq!(
            (status, value["error"].as_str()),
            (400, Some(want)),
            "{path}"
        );
    }
    let (status, value) = server.json("/api/v1/query?query=up&timeout=0").await;
    assert_eq!(
        (status, &value["errorType"]),
        (503, &json!("timeout")),
        "{value}"
    );
    assert_eq!(
        server
            .data("/api/v1/series?match[]=up&match[]={job=%22a%22}")
            .await,
        json!([series("a"), series("b")])
    );
    assert_eq!(
        server
            .data("/api/v1/label/job/values?match[]=up{job!=%22a%22}")
            .await,
        json!(["b"])
    );
    assert_eq!(
        server
            .data("/api/v1/format_query?query=sum(up)by(job)")
            .await,
        "sum by (job) (up)"
    );
    let name = "a".repeat(60);
    assert_eq!(
        server
            .data(&format!("/api/v1/format_query?query={name}-{name}"))
            .await,
        format!("  {name}\n-\n  {name}")
    );
    let tree = server
        .data("/api/v1/parse_query?query=sum by(job)(rate(up{a!='b'}[5m] offset 1m))>bool 1")
        .await;
    assert_eq!(tree["op"], ">");
    assert_eq!(tree["bool"], true);
    assert_eq!(tree["matching"], Value::Null);
    assert_eq!(tree["rhs"], json!({"type": "numberLiteral", "val": "1"}));
    assert_eq!(tree["lhs"]["grouping"], json!(["job"]));
    let call = &tree["lhs"]["expr"];
    assert_eq!(call["func"]["argTypes"], json!(["matrix"]));
    assert_eq!(
        call["args"][0],
        json!({
            "type": "matrixSelector", "name": "up", "range": 300_000, "rangeExpr": null,
            "offset": 60_000, "offsetExpr": null, "anchored": false, "smoothed": false,
            "startOrEnd": null, "timestamp": null,
            "matchers": [
                {"name": "a", "value": "b", "type": "!="},
                {"name": "__name__", "value": "up", "type": "="},
            ],
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn federation_writes_the_latest_samples() {
    let server = Server::with("global: {external_labels: {site: s1, job: never}}\n", &[]).await;
    let now_ms = server.store(&[
        (
            &[("__name__", "up"), ("job", "a"), ("instance", "x:1")],
            1.0,
        ),
        (&[("__name__", "up"), ("job", "b"), ("quote", "a\"b")], 0.25),
        (
            &[("__name__", "gone"), ("job", "b")],
            barograph_model::stale_nan(),
        ),
    ]);
    let (status, page) = server
        .get("/federate?match[]=up&match[]=gone&match[]={job=%22a%22}")
        .await;
    assert_eq!(status, 200);
    let want = format!(
        "# TYPE up untyped\nup{{instance=\"x:1\",job=\"a\",site=\"s1\"}} 1 {now_ms}\n\
         up{{job=\"b\",quote=\"a\\\"b\",site=\"s1\",instance=\"\"}} 0.25 {now_ms}\n"
    );
    assert_eq!(page, want);
    // Of native histograms, the text format has a form for those with custom bounds. One that came
    // after a float is the latest, written or not.
    let db = &server.core().db;
    let group = db.open_group();
    let mut batch = Batch::new(group);
    for (name, text) in [
        (
            "lat",
            "schema:-53 count:6 sum:9.5 custom_values:[0.5 1] buckets:[1 2 3]",
        ),
        ("exponential", "schema:0 count:1 sum:1 buckets:[1]"),
    ] {
        let labels = Labels::from_pairs([("__name__", name), ("job", "c"), ("instance", "i")]);
        let series = db.register(group, &labels).expect("room");
        let histogram = barograph_query::script::parse_histogram(&format!("{{{{{text}}}}}"));
        batch.push(series, now_ms - 1000, 1.0);
        let histogram = Histogram::Float(histogram.expect("well formed"));
        batch
            .push_histogram(series, now_ms, &histogram)
            .expect("fits");
    }
    assert_eq!(db.append(&batch).expect("stored").rejected, []);
    let (_, page) = server.get("/federate?match[]={job=%22c%22}").await;
    let labels = "instance=\"i\",job=\"c\",site=\"s1\"";
    let want = format!(
        "# TYPE lat histogram\n\
         lat_bucket{{{labels},le=\"0.5\"}} 1 {now_ms}\n\
         lat_bucket{{{labels},le=\"1\"}} 3 {now_ms}\n\
         lat_bucket{{{labels},le=\"+Inf\"}} 6 {now_ms}\n\
         lat_sum{{{labels}}} 9.5 {now_ms}\n\
         lat_count{{{labels}}} 6 {now_ms}\n"
    );
    assert_eq!(page, want);
    assert_eq!(server.get("/federate?match[]=x{").await.0, 400);
    assert_eq!(server.get("/federate").await.1, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn exemplars_and_histograms_are_replied() {
    let server = Server::new().await;
    let db = &server.core().db;
    let group = db.open_group();
    let labels = Labels::from_pairs([("__name__", "latency"), ("job", "a")]);
    let series = db.register(group, &labels).expect("registered");
    let mut batch = Batch::new(group);
    let now_ms = SystemClock.now_ms();
    let histogram = Histogram::Integer(IntegerHistogram {
        count: 2,
        sum: 3.0,
        positive_spans: vec![Span {
            offset: 1,
            length: 1,
        }],
        positive_buckets: vec![2],
        ..IntegerHistogram::default()
    });
    batch
        .push_histogram(series, now_ms, &histogram)
        .expect("valid");
    let exemplar = Exemplar {
        labels: Labels::from_pairs([("trace_id", "x")]),
        value: 1.5,
        timestamp_ms: 1_600_096_945_479,
    };
    batch.push_exemplar(series, exemplar);
    db.append(&batch).expect("appended");
    assert_eq!(
        server
            .data("/api/v1/query_exemplars?query=rate(latency[5m])")
            .await,
        json!([{
            "seriesLabels": {"__name__": "latency", "job": "a"},
            "exemplars": [{"labels": {"trace_id": "x"}, "value": "1.5", "timestamp": 1_600_096_945.479}]
        }])
    );
    let none = "/api/v1/query_exemplars?query=latency&start=1&end=2";
    assert_eq!(server.data(none).await, json!([]));
    let (status, error) = server
        .json("/api/v1/query_exemplars?query=latency&start=2&end=1")
        .await;
    assert_eq!((status, &error["errorType"]), (400, &json!("bad_data")));
    let result = server.data("/api/v1/query?query=latency").await;
    assert_eq!(
        result["result"][0]["histogram"][1],
        json!({"count": "2", "sum": "3", "buckets": [[0, "1", "2", "2"]]})
    );
}

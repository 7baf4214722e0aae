use std::fmt::Write as _;

use super::*;

fn page(body: &str, dialect: Dialect) -> Page<'_> {
    Page {
        body: body.as_bytes(),
        dialect,
        histograms: &[],
        starts: &[],
    }
}

fn converted(body: &str, dialect: Dialect, conversion: Conversion) -> Rewritten {
    let page = page(body, dialect);
    assert!(conversion.concerns(page));
    convert(page, conversion).expect("the page is well-formed")
}

/// What the page says, each native histogram as its layout and counts.
fn told(rewritten: &Rewritten) -> Vec<String> {
    let mut at = 0;
    let mut told = Vec::new();
    for line in rewritten.text.split_inclusive('\n') {
        let native = rewritten.histograms.iter().find(|h| h.offset == at);
        let start = rewritten.starts.iter().find(|(offset, _)| *offset == at);
        let mut text = line.trim_end().to_owned();
        if let Some(native) = native {
            let done = match &native.histogram {
                Histogram::Integer(h) => write!(
                    text,
                    " = {} {} {:?} {:?}",
                    h.count, h.sum, h.custom_bounds, h.positive_buckets
                ),
                Histogram::Float(h) => write!(
                    text,
                    " = {:?} {} {:?} {:?}",
                    h.count, h.sum, h.custom_bounds, h.positive_buckets
                ),
            };
            done.expect("a string takes anything");
        }
        if let Some((_, start_ms)) = start {
            write!(text, " since {start_ms}").expect("a string takes anything");
        }
        told.push(text);
        at += line.len();
    }
    told
}

const HISTOGRAMS: Conversion = Conversion {
    histograms: true,
    keep_classic: false,
    starts: false,
};

#[test]
fn classic_histograms_become_native_ones() {
    let body = "# HELP took Seconds.\n\
                # TYPE took histogram\n\
                took_bucket{path=\"/a\",le=\"0.1\"} 2\n\
                took_bucket{path=\"/a\",le=\"1\"} 5\n\
                took_bucket{path=\"/a\",le=\"+Inf\"} 6\n\
                took_sum{path=\"/a\"} 3.5\n\
                took_count{path=\"/a\"} 6\n\
                took_bucket{path=\"/b\",le=\"1\"} 1.5\n\
                took_bucket{path=\"/b\",le=\"0.1\"} 0.5\n\
                took_count{path=\"/b\"} 2\n\
                # TYPE hits counter\n\
                hits 1\n\
                # TYPE bare histogram\n\
                bare_count 3\n";
    let native = [
        "took{path=\"/a\"} 0 = 6 3.5 [0.1, 1.0] [2, 3, 1]",
        "took{path=\"/b\"} 0 = 2.0 0 [0.1, 1.0] [0.5, 1.0, 0.5]",
        "bare 0 = 3 0 [] [3]",
    ];
    let rewritten = converted(body, Dialect::Text, HISTOGRAMS);
    assert_eq!(
        told(&rewritten),
        [
            "# HELP took Seconds.",
            "# TYPE took histogram",
            native[0],
            native[1],
            "# TYPE hits counter",
            "hits 1",
            "# TYPE bare histogram",
            native[2],
        ]
    );
    let keep_classic = true;
    let both = converted(
        body,
        Dialect::Text,
        Conversion {
            keep_classic,
            ..HISTOGRAMS
        },
    );
    let told = told(&both);
    let classic: Vec<&str> = told
        .iter()
        .map(String::as_str)
        .filter(|line| !native.contains(line))
        .collect();
    assert_eq!(classic, body.lines().collect::<Vec<_>>());
    assert_eq!(told.len(), classic.len() + native.len());
}

#[test]
fn times_and_exemplars_go_with_the_histogram() {
    let body = "# TYPE took histogram\n\
                took_bucket{le=\"1\"} 2 7.5 # {trace_id=\"b\"} 0.5 6.5\n\
                took_bucket{le=\"+Inf\"} 2 7.5 # {trace_id=\"a\"} 1.5 5.5\n\
                took_count 2 7.5\n\
                took_sum 1 7.5\n\
                # EOF\n";
    let rewritten = converted(body, Dialect::OpenMetrics, HISTOGRAMS);
    assert_eq!(
        told(&rewritten),
        [
            "# TYPE took histogram",
            "took 0 7.5005 = 2 1 [1.0] [2, 0]",
            "# EOF"
        ]
    );
    let exemplars = &rewritten.histograms[0].exemplars;
    let times: Vec<i64> = exemplars.iter().map(|e| e.timestamp_ms).collect();
    assert_eq!(times, [5500, 6500]);
    let body = "# TYPE took histogram\ntook_count 2 1234\n";
    let rewritten = converted(body, Dialect::Text, HISTOGRAMS);
    assert_eq!(told(&rewritten)[1], "took 0 1234 = 2 0 [] [2]");
}

#[test]
fn what_is_no_histogram_stays_and_what_contradicts_itself_goes() {
    let body = "# TYPE a histogram\n\
                a_bucket{le=\"1\"} 5\n\
                a_bucket{le=\"2\"} 4\n\
                a_count 5\n\
                # TYPE b histogram\n\
                b_bucket{le=\"x\"} 1\n\
                b_bucket 1\n\
                b 1\n\
                other_count 1\n\
                # TYPE c gauge\n\
                c_bucket{le=\"1\"} 1\n\
                # TYPE d histogram\n\
                d_bucket{le=\"+Inf\"} 2\n\
                d_count 3\n\
                # TYPE e histogram\n\
                e_count -1\n";
    assert_eq!(
        told(&converted(body, Dialect::Text, HISTOGRAMS)),
        [
            "# TYPE a histogram",
            "# TYPE b histogram",
            "b_bucket{le=\"x\"} 1",
            "b_bucket 1",
            "b 1",
            "other_count 1",
            "# TYPE c gauge",
            "c_bucket{le=\"1\"} 1",
            "# TYPE d histogram",
            "# TYPE e histogram",
        ]
    );
}

#[test]
fn a_native_histogram_is_not_made_again() {
    let body = "# TYPE took histogram\n\
                took{path=\"/a\"} 0\n\
                took_count{path=\"/a\"} 2\n\
                took_count{path=\"/b\"} 3\n\
                # EOF\n";
    let native = NativeHistogram {
        offset: body.find("took{").expect("there"),
        histogram: Histogram::Integer(IntegerHistogram {
            count: 2,
            ..IntegerHistogram::default()
        }),
        exemplars: Vec::new(),
    };
    let page = Page {
        histograms: &[native],
        ..page(body, Dialect::OpenMetrics)
    };
    let rewritten = convert(page, HISTOGRAMS).expect("well-formed");
    assert_eq!(
        told(&rewritten),
        [
            "# TYPE took histogram",
            "took{path=\"/a\"} 0 = 2 0 [] []",
            "took_count{path=\"/a\"} 2",
            "took{path=\"/b\"} 0 = 3 0 [] [3]",
            "# EOF",
        ]
    );
}

#[test]
fn created_lines_become_starts() {
    let body = "# TYPE hits counter\n\
                hits_total{a=\"1\"} 5\n\
                hits_created{a=\"1\"} 1700000000.25\n\
                hits_total{a=\"2\"} 6\n\
                # TYPE took histogram\n\
                took_bucket{le=\"1.0\"} 1\n\
                took_bucket{le=\"+Inf\"} 2\n\
                took_sum 3\n\
                took_count 2\n\
                took_created 1.5\n\
                # TYPE s summary\n\
                s{quantile=\"0.5\"} 1\n\
                s_count 1\n\
                s_created 2\n\
                # TYPE g gauge\n\
                g_created 3\n\
                # EOF\n";
    let conversion = Conversion {
        starts: true,
        ..Conversion::default()
    };
    let rewritten = converted(body, Dialect::OpenMetrics, conversion);
    assert_eq!(
        told(&rewritten),
        [
            "# TYPE hits counter",
            "hits_total{a=\"1\"} 5 since 1700000000250",
            "hits_total{a=\"2\"} 6",
            "# TYPE took histogram",
            "took_bucket{le=\"1.0\"} 1 since 1500",
            "took_bucket{le=\"+Inf\"} 2 since 1500",
            "took_sum 3 since 1500",
            "took_count 2 since 1500",
            "# TYPE s summary",
            "s{quantile=\"0.5\"} 1 since 2000",
            "s_count 1 since 2000",
            "# TYPE g gauge",
            "g_created 3",
            "# EOF",
        ]
    );
    let native = converted(
        body,
        Dialect::OpenMetrics,
        Conversion {
            starts: true,
            ..HISTOGRAMS
        },
    );
    let native = told(&native);
    assert_eq!(native[4], "took 0 = 2 3 [1.0] [1, 1] since 1500");
    assert_eq!(native[5], "# TYPE s summary");
    let plain = page("# TYPE a counter\na_total 1\n# EOF\n", Dialect::OpenMetrics);
    assert!(!conversion.concerns(plain), "nothing to rewrite");
}

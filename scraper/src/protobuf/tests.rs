use barograph_model::histogram::Span;
use barograph_model::{CounterResetHint, IntegerHistogram};

use super::*;
use crate::parse::{Item, OpenMetricsParser, Parser, Unknown};

/// Builds messages.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(mut self, number: u64, value: u64) -> Self {
        self.varint(number << 3);
        self.varint(value);
        self
    }

    fn signed(self, number: u64, value: i64) -> Self {
        self.integer(number, ((value << 1) ^ (value >> 63)) as u64)
    }

    fn double(mut self, number: u64, value: f64) -> Self {
        self.varint(number << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(mut self, number: u64, value: &[u8]) -> Self {
        self.varint(number << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "messages are built inside out"
    )]
    fn message(self, number: u64, value: Self) -> Self {
        self.bytes(number, &value.0)
    }

    fn label(self, name: &str, value: &str) -> Self {
        let label = Self::default();
        let label = label.bytes(1, name.as_bytes()).bytes(2, value.as_bytes());
        self.message(1, label)
    }

    fn delimited(self) -> Vec<u8> {
        let mut out = Self::default();
        out.varint(self.0.len() as u64);
        out.0.extend_from_slice(&self.0);
        out.0
    }
}

fn family(name: &str, kind: u64) -> Message {
    let message = Message::default().bytes(1, name.as_bytes());
    message.bytes(2, b"Says \"it\".").integer(3, kind)
}

/// A counter with an exemplar, and a summary.
fn simple_page() -> Vec<u8> {
    let exemplar = Message::default().label("trace_id", "x").double(2, 0.5);
    let exemplar = exemplar.message(3, Message::default().integer(1, 12).integer(2, 345_000_000));
    let counter = Message::default().double(1, 7.0).message(2, exemplar);
    let metric = Message::default()
        .label("code", "2\"00")
        .message(3, counter);
    let mut page = family("hits_total", kind::COUNTER)
        .message(4, metric.integer(6, 1_700_000_000_123))
        .delimited();
    let quantile = Message::default().double(1, 0.5).double(2, 3.25);
    let summary = Message::default()
        .integer(1, 4)
        .double(2, 10.0)
        .message(3, quantile);
    let metric = Message::default().message(4, summary);
    page.extend(
        family("took.time", kind::SUMMARY)
            .message(4, metric)
            .delimited(),
    );
    page
}

#[test]
fn simple_kinds_become_text() {
    let page = simple_page();
    let rewritten = rewrite(&page, Wanted::default()).expect("reads");
    assert_eq!(
        rewritten.text,
        "# TYPE hits_total counter\n\
         # HELP hits_total Says \\\"it\\\".\n\
         hits_total{code=\"2\\\"00\"} 7 1700000000.1235 # {trace_id=\"x\"} 0.5 12.3455\n\
         # TYPE \"took.time\" summary\n\
         # HELP \"took.time\" Says \\\"it\\\".\n\
         {\"took.time\",quantile=\"0.5\"} 3.25\n\
         {\"took.time_sum\"} 10\n\
         {\"took.time_count\"} 4\n\
         # EOF\n"
    );
    for cut in 1..page.len() {
        // No cut is a panic; most are errors.
        rewrite(&page[..cut], Wanted::default()).ok();
    }
}

fn histogram_page() -> Vec<u8> {
    let bucket = Message::default().integer(1, 3).double(2, 1.0);
    let exemplar = Message::default().label("trace_id", "y").double(2, 1.5);
    let timed = Message::default().label("trace_id", "z").double(2, 1.25);
    let timed = timed.message(3, Message::default().integer(1, 5));
    let span = Message::default().signed(1, -2).integer(2, 3);
    let histogram = Message::default()
        .integer(1, 9)
        .double(2, 4.5)
        .message(3, bucket)
        .signed(5, 2)
        .double(6, 0.001)
        .integer(7, 1)
        .message(12, span)
        // Packed: 1, 4, 3 as differences 1, 3, -1.
        .bytes(13, &[2, 6, 1])
        .message(16, exemplar)
        .message(16, timed);
    let metric = Message::default().label("a", "b").message(7, histogram);
    family("took", kind::HISTOGRAM)
        .message(4, metric)
        .delimited()
}

#[test]
fn native_histograms_are_kept_beside_the_text() {
    let wanted = Wanted {
        native: true,
        ..Wanted::default()
    };
    let rewritten = rewrite(&histogram_page(), wanted).expect("reads");
    let line = "took{a=\"b\"} 0\n";
    assert!(rewritten.text.ends_with(&format!("{line}# EOF\n")));
    let [native] = &rewritten.histograms[..] else {
        panic!("{:?}", rewritten.histograms);
    };
    assert!(rewritten.text[native.offset..].starts_with(line));
    let want = IntegerHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 2,
        zero_threshold: 0.001,
        zero_count: 1,
        count: 9,
        sum: 4.5,
        positive_spans: vec![Span {
            offset: -2,
            length: 3,
        }],
        positive_buckets: vec![1, 4, 3],
        ..IntegerHistogram::default()
    };
    assert_eq!(native.histogram, Histogram::Integer(want));
    let times: Vec<i64> = native.exemplars.iter().map(|e| e.timestamp_ms).collect();
    assert_eq!(times, [5000], "one without a time is left out");
}

#[test]
fn classic_buckets_come_where_they_are_wanted() {
    let classic = "took_bucket{a=\"b\",le=\"1.0\"} 3\n\
                   took_bucket{a=\"b\",le=\"+Inf\"} 9\n\
                   took_sum{a=\"b\"} 4.5\n\
                   took_count{a=\"b\"} 9\n";
    for (native, classic_too, natives, has_classic) in [
        (false, false, 0, true),
        (true, false, 1, false),
        (true, true, 1, true),
    ] {
        let wanted = Wanted {
            native,
            classic_too,
            starts: false,
        };
        let rewritten = rewrite(&histogram_page(), wanted).expect("reads");
        assert_eq!(rewritten.histograms.len(), natives);
        assert_eq!(rewritten.text.contains(classic), has_classic);
    }
}

/// Everything that counts, with the moment it began.
fn created_page() -> Vec<u8> {
    let created = |message: Message, number| {
        let moment = Message::default().integer(1, 1_700_000_000);
        message.message(number, moment.integer(2, 5_000_000))
    };
    let counter = created(Message::default().double(1, 7.0), 3);
    let mut page = family("hits_total", kind::COUNTER)
        .message(4, Message::default().message(3, counter))
        .delimited();
    let quantile = Message::default().double(1, 0.5).double(2, 3.25);
    let summary = created(Message::default().integer(1, 4).message(3, quantile), 4);
    let summary = Message::default().message(4, summary);
    page.extend(family("s", kind::SUMMARY).message(4, summary).delimited());
    let bucket = Message::default().integer(1, 3).double(2, 1.0);
    let histogram = Message::default()
        .integer(1, 3)
        .message(3, bucket)
        .integer(7, 3);
    let histogram = Message::default().message(7, created(histogram, 15));
    page.extend(
        family("h", kind::HISTOGRAM)
            .message(4, histogram)
            .delimited(),
    );
    page
}

#[test]
fn lines_know_since_when_they_count() {
    let page = created_page();
    let wanted = Wanted {
        native: true,
        classic_too: true,
        starts: true,
    };
    let rewritten = rewrite(&page, wanted).expect("reads");
    let lines = rewritten.starts.iter().map(|(offset, start_ms)| {
        assert_eq!(*start_ms, 1_700_000_000_005);
        rewritten.text[*offset..].lines().next().unwrap_or_default()
    });
    let lines: Vec<&str> = lines.collect();
    let samples = rewritten.text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines, samples.collect::<Vec<_>>());
    assert_eq!(lines.len(), 1 + 3 + 5);
    let without = rewrite(&page, Wanted::default()).expect("reads");
    assert!(without.starts.is_empty());
}

/// A float histogram with both signs, and one with bounds of its own.
fn other_histograms() -> Vec<u8> {
    let span = Message::default().signed(1, 0).integer(2, 2);
    let doubles = |values: [f64; 2]| values.map(f64::to_le_bytes).concat();
    let float = Message::default()
        .double(4, 7.5)
        .double(2, 1.0)
        .signed(5, 0)
        .double(8, 0.5)
        .message(9, Message::default().signed(1, 1).integer(2, 2))
        .bytes(11, &doubles([1.0, 2.0]))
        .message(12, span)
        .bytes(14, &doubles([3.0, 1.0]));
    let metric = |histogram| Message::default().message(7, histogram);
    let mut page = family("float", kind::GAUGE_HISTOGRAM)
        .message(4, metric(float).label("a", "b"))
        .delimited();
    let gauge = Message::default().message(2, Message::default().double(1, -0.0));
    page.extend(family("g", kind::GAUGE).message(4, gauge).delimited());
    page
}

#[test]
fn changed_pages_are_refused_or_become_text_that_reads() {
    let mut all = histogram_page();
    all.extend(simple_page());
    let seeds = [
        simple_page(),
        histogram_page(),
        created_page(),
        other_histograms(),
        all,
    ];
    crate::fuzz::run("protocol buffers page", &seeds, |page, random| {
        let wanted = Wanted {
            native: random.below(2) == 0,
            classic_too: random.below(2) == 0,
            starts: random.below(2) == 0,
        };
        let Ok(rewritten) = rewrite(page, wanted) else {
            return;
        };
        let text = rewritten.text.as_bytes();
        let mut parser = OpenMetricsParser::new(text);
        let mut lines = Vec::new();
        loop {
            match parser.next(&mut Unknown) {
                Ok(None) => break,
                Ok(Some(Item::Sample(line))) => lines.push(line.offset),
                Ok(Some(Item::Metadata(_))) => {}
                Err(error) => panic!("{error}: {}", rewritten.text),
            }
        }
        let offsets = rewritten.histograms.iter().map(|native| native.offset);
        let starts = rewritten.starts.iter().map(|(offset, _)| *offset);
        assert!(offsets.chain(starts).all(|at| lines.contains(&at)));
        for native in &rewritten.histograms {
            match &native.histogram {
                Histogram::Integer(histogram) => assert_eq!(histogram.validate(), Ok(())),
                Histogram::Float(histogram) => assert_eq!(histogram.validate(), Ok(())),
            }
        }
    });
}

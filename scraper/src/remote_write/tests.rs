use barograph_model::{MatchOp, Matcher, SystemClock, TimeRange};
use barograph_tsdb::{Column, Options};

use super::*;

const START_MS: i64 = 1_700_000_000_000;

/// Writes protocol buffers.
#[derive(Clone, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn number(self, field: u64, value: i64) -> Self {
        self.varint(field << 3).varint(value as u64)
    }

    fn double(self, field: u64, value: f64) -> Self {
        let mut out = self.varint(field << 3 | 1);
        out.0.extend_from_slice(&value.to_bits().to_le_bytes());
        out
    }

    fn bytes(self, field: u64, value: &[u8]) -> Self {
        let mut out = self.varint(field << 3 | 2).varint(value.len() as u64);
        out.0.extend_from_slice(value);
        out
    }

    fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }
}

/// Labels in the form `name value name value`.
fn series_v1(labels: &str, samples: &[(i64, f64)]) -> Writer {
    let words: Vec<&str> = labels.split(' ').collect();
    let mut series = Writer::default();
    for pair in words.chunks(2) {
        let label = Writer::default()
            .bytes(1, pair[0].as_bytes())
            .bytes(2, pair[1].as_bytes());
        series = series.message(1, &label);
    }
    for (time_ms, value) in samples {
        let sample = Writer::default().double(1, *value).number(2, *time_ms);
        series = series.message(2, &sample);
    }
    series
}

fn v1(series: &[Writer]) -> Vec<u8> {
    let request = series
        .iter()
        .fold(Writer::default(), |out, one| out.message(1, one));
    compress(&request)
}

fn compress(message: &Writer) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(&message.0)
        .expect("fits")
}

/// Gathers symbols for a version 2 message.
struct Symbols(Vec<String>);

impl Symbols {
    fn number(&mut self, text: &str) -> u64 {
        let at = self.0.iter().position(|have| have == text);
        at.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        }) as u64
    }

    fn labels(&mut self, labels: &str) -> Writer {
        let words = labels.split(' ');
        words.fold(Writer::default(), |out, word| out.varint(self.number(word)))
    }

    fn request(&self, series: &[Writer]) -> Vec<u8> {
        let request = self
            .0
            .iter()
            .fold(Writer::default(), |out, text| out.bytes(4, text.as_bytes()));
        compress(&series.iter().fold(request, |out, one| out.message(5, one)))
    }
}

struct Bench {
    directory: tempfile::TempDir,
    registry: Registry,
    db: Db,
    receiver: RemoteWrite,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = Registry::new();
        let mut options = Options::new(directory.path());
        options.wal_segment_bytes = 1 << 20;
        options.retention_ms = 0;
        let db = Db::open(options, &registry).expect("opens");
        let options = RemoteWriteOptions {
            start_timestamps: true,
        };
        let receiver = RemoteWrite::new(db.clone(), &registry, Arc::new(SystemClock), options);
        Self {
            directory,
            registry,
            db,
            receiver,
        }
    }

    fn send(&self, message: Message, body: &[u8]) -> (Written, Result<(), String>) {
        let (written, outcome) = self.receiver.receive(message, body);
        (written, outcome.map_err(|error| error.to_string()))
    }

    /// Series with their labels and samples.
    fn all(&self) -> Vec<(String, Column)> {
        let named = Matcher::new("__name__", MatchOp::NotEqual, "").expect("no pattern");
        let selection = self
            .db
            .snapshot()
            .select(&[named], TimeRange::ALL)
            .expect("selects");
        (0..selection.len())
            .map(|index| {
                let mut column = Column::default();
                selection
                    .read(index, TimeRange::ALL, &mut column)
                    .expect("reads");
                (selection.labels(index).to_string(), column)
            })
            .collect()
    }

    fn metric(&self, line: &str) -> f64 {
        let (_, page) = self.registry.scrape("text/plain");
        let found = page
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found
            .and_then(|value| value.parse().ok())
            .unwrap_or(f64::NAN)
    }
}

fn floats(column: &Column) -> Vec<(i64, f64)> {
    let times = column.timestamps_ms.iter().copied();
    times.zip(column.values.iter().copied()).collect()
}

const A: &str = "__name__ a instance x job j";
const B: &str = "__name__ b instance y job j";

#[test]
fn version_1_is_stored_and_known_again() {
    let bench = Bench::new();
    for step in 0..5 {
        let at_ms = START_MS + step * 15_000;
        let body = v1(&[
            series_v1(A, &[(at_ms, step as f64)]),
            series_v1(B, &[(at_ms, 0.5), (at_ms + 1, f64::NAN)]),
        ]);
        let (written, outcome) = bench.send(Message::V1, &body);
        assert_eq!((written.samples, outcome), (3, Ok(())));
        // The same again, as senders do that did not get the reply.
        let again = bench.send(Message::V1, &body);
        assert_eq!((again.0.samples, again.1), (3, Ok(())));
    }
    let all = bench.all();
    assert_eq!(all.len(), 2);
    let expected: Vec<_> = (0..5).map(|s| (START_MS + s * 15_000, s as f64)).collect();
    assert_eq!(floats(&all[0].1), expected);
    assert_eq!(all[1].1.values.len(), 10);
    assert_eq!(bench.metric("barograph_remote_write_known_series"), 2.0);
    assert_eq!(bench.metric("barograph_remote_write_samples_total"), 30.0);
}

#[test]
fn version_2_brings_everything() {
    let bench = Bench::new();
    let mut symbols = Symbols(vec![String::new()]);
    // Other texts before ours: numbers differ from request to request.
    for round in 0..2 {
        symbols.number(&format!("filler {round}"));
        let at_ms = START_MS + round * 15_000;
        let metadata = Writer::default()
            .number(1, 1)
            .number(3, symbols.number("counts things") as i64)
            .number(4, symbols.number("things") as i64);
        let exemplar = Writer::default()
            .message(1, &symbols.labels("trace_id 4bf9"))
            .double(2, 0.25)
            .number(3, at_ms);
        let sample = Writer::default()
            .double(1, 7.0)
            .number(2, at_ms)
            .number(3, START_MS - 5);
        let float = Writer::default()
            .message(1, &symbols.labels(A))
            .message(2, &sample)
            .message(4, &exemplar)
            .message(5, &metadata);
        let span = Writer::default().number(1, 0).number(2, 2);
        // Two buckets with 3 and 1 observations, as differences, signs folded.
        let deltas = Writer::default().varint(6).varint(3);
        let histogram = Writer::default()
            .number(1, 4)
            .double(3, 2.5)
            .message(11, &span)
            .message(12, &deltas)
            .number(15, at_ms);
        let histogram = Writer::default()
            .message(1, &symbols.labels(B))
            .message(3, &histogram);
        let body = symbols.request(&[float, histogram]);
        let (written, outcome) = bench.send(Message::V2, &body);
        assert_eq!(outcome, Ok(()));
        let (samples, histograms, exemplars) = (1, 1, 1);
        assert_eq!(
            written,
            Written {
                samples,
                histograms,
                exemplars
            }
        );
    }
    let all = bench.all();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].1.starts_ms, [START_MS - 5; 2]);
    let histogram = &all[1].1.histograms.values[0];
    assert_eq!(histogram.positive_buckets, [3.0, 1.0]);
    let metadata = bench.db.metadata();
    assert_eq!(metadata[0].0, "a");
    assert_eq!(metadata[0].1.help, "counts things");
    assert_eq!(bench.metric("barograph_remote_write_known_series"), 2.0);
}

#[test]
fn what_does_not_fit_is_named_and_the_rest_is_stored() {
    let bench = Bench::new();
    let symbols = |series: &dyn Fn(&mut Symbols) -> Vec<Writer>| {
        let mut symbols = Symbols(vec![String::new()]);
        let series = series(&mut symbols);
        symbols.request(&series)
    };
    let sample = |at_ms, value| Writer::default().double(1, value).number(2, at_ms);
    let body = symbols(&|symbols| {
        vec![
            Writer::default()
                .message(1, &symbols.labels(A))
                .message(2, &sample(START_MS, 1.0)),
            Writer::default()
                .message(1, &symbols.labels("job only"))
                .message(2, &sample(START_MS, 1.0)),
            Writer::default()
                .message(1, &symbols.labels("__name__ c x 1 x 2"))
                .message(2, &sample(START_MS, 1.0)),
            Writer::default().message(1, &symbols.labels("__name__ empty")),
            Writer::default()
                .message(1, &symbols.labels(B))
                .message(2, &sample(i64::MAX / 2, 1.0)),
        ]
    });
    let (written, outcome) = bench.send(Message::V2, &body);
    assert_eq!(written.samples, 1);
    let text = outcome.expect_err("four of five are wrong");
    let lines: Vec<&str> = text.lines().collect();
    for (line, want) in lines.iter().zip([
        "invalid metric name or labels: {job=\"only\"}",
        "invalid labels for series, duplicated label x: {__name__=\"c\", x=\"1\", x=\"2\"}",
        "TimeSeries must contain at least one sample or histogram for series {__name__=\"empty\"}",
        "out of bounds: timestamp is too far in the future for series {__name__=\"b\", instance=\"y\", job=\"j\"}",
    ]) {
        assert_eq!(*line, want);
    }
    assert_eq!(lines.len(), 4);
    // Another value at the same time.
    let (written, outcome) = bench.send(Message::V1, &v1(&[series_v1(A, &[(START_MS, 2.0)])]));
    assert_eq!(written.samples, 0);
    assert_eq!(
        outcome,
        Err(
            "duplicate sample for timestamp for series {__name__=\"a\", instance=\"x\", job=\"j\"}"
                .to_owned()
        )
    );
    // Version 1 is silent about labels.
    let nameless = v1(&[series_v1("job only", &[(START_MS, 2.0)])]);
    assert_eq!(
        bench.send(Message::V1, &nameless),
        (Written::default(), Ok(()))
    );
    assert_eq!(
        bench.metric("prometheus_api_remote_write_invalid_labels_samples_total"),
        3.0
    );
    assert_eq!(bench.all().len(), 1);
}

#[test]
fn finer_resolutions_than_are_stored_become_coarser() {
    let bench = Bench::new();
    let mut symbols = Symbols(vec![String::new()]);
    // Schema 9: two buckets of it are one of schema 8.
    let span = Writer::default().number(1, 2).number(2, 2);
    let deltas = Writer::default().varint(6).varint(3);
    let histogram = Writer::default()
        .number(1, 4)
        .double(3, 4.0)
        .number(4, 18)
        .message(11, &span)
        .message(12, &deltas)
        .number(15, START_MS);
    let series = Writer::default()
        .message(1, &symbols.labels(A))
        .message(3, &histogram);
    let (written, outcome) = bench.send(Message::V2, &symbols.request(&[series]));
    assert_eq!((written.histograms, outcome), (1, Ok(())));
    let stored = &bench.all()[0].1.histograms.values[0];
    assert_eq!(
        (stored.schema, &stored.positive_buckets[..]),
        (8, &[4.0][..])
    );
}

#[test]
fn what_is_no_message_is_refused() {
    let bench = Bench::new();
    let whole = v1(&[series_v1(A, &[(START_MS, 1.0)])]);
    let plain = snap::raw::Decoder::new()
        .decompress_vec(&whole)
        .expect("ours");
    for length in 1..plain.len() {
        let cut = compress(&Writer(plain[..length].to_vec()));
        for message in [Message::V1, Message::V2] {
            let (written, outcome) = bench.send(message, &cut);
            assert_eq!(written, Written::default(), "{length}");
            // A message of unknown fields is an empty one.
            assert!(outcome.is_err() || message == Message::V2, "{length}");
        }
        assert!(
            bench
                .send(Message::V1, &whole[..length.min(whole.len() - 1)])
                .1
                .is_err()
        );
    }
    let mut huge = Writer::default().varint(1 << 31).0;
    huge.push(0);
    let error = bench.send(Message::V1, &huge).1.expect_err("too large");
    assert!(error.contains("33554432 bytes limit"), "{error}");
    assert!(bench.all().is_empty());
}

#[test]
fn rows_cut_anywhere_are_stored_whole() {
    let bench = Bench::new();
    let labels: Vec<String> = (0..60)
        .map(|n| format!("__name__ m instance {} job j n {n}", n / 20))
        .collect();
    let mut queue = Vec::new();
    for step in 0..40 {
        for (number, labels) in labels.iter().enumerate() {
            let value = f64::from(step * 100 + number as i32);
            queue.push(series_v1(
                labels,
                &[(START_MS + i64::from(step) * 15_000, value)],
            ));
        }
    }
    // As a sender's queue does it: so many at a time, wherever that cuts a scrape.
    for part in queue.chunks(47) {
        assert_eq!(bench.send(Message::V1, &v1(part)).1, Ok(()));
    }
    let all = bench.all();
    assert_eq!(all.len(), 60);
    for (labels, column) in all {
        assert_eq!(column.values.len(), 40, "{labels}");
    }
    drop(bench.directory);
}

/// As a sender's request looks before it is compressed.
fn message(compressed: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new()
        .decompress_vec(compressed)
        .expect("a message")
}

/// A request of version 2 with everything there is.
fn rich(at_ms: i64) -> Vec<u8> {
    let mut symbols = Symbols(vec![String::new()]);
    let metadata = Writer::default()
        .number(1, 1)
        .number(3, symbols.number("counts") as i64)
        .number(4, symbols.number("things") as i64);
    let exemplar = Writer::default()
        .message(1, &symbols.labels("trace_id 4bf9"))
        .double(2, 0.25)
        .number(3, at_ms);
    let sample = Writer::default().double(1, 7.0).number(2, at_ms);
    let float = Writer::default()
        .message(1, &symbols.labels(A))
        .message(2, &sample.clone().number(3, START_MS - 5))
        .message(2, &Writer::default().double(1, 8.0).number(2, at_ms + 5))
        .message(4, &exemplar)
        .message(5, &metadata);
    let span = Writer::default().number(1, 0).number(2, 2);
    let histogram = Writer::default()
        .number(1, 4)
        .double(3, 2.5)
        .message(11, &span)
        .message(12, &Writer::default().varint(6).varint(3))
        .number(15, at_ms);
    let doubles = [1.5f64, 2.5].map(f64::to_le_bytes).concat();
    let floats = Writer::default()
        .double(2, 4.0)
        .double(3, 2.5)
        .message(11, &span)
        .bytes(13, &doubles)
        .number(15, at_ms + 5);
    let histogram = Writer::default()
        .message(1, &symbols.labels(B))
        .message(3, &histogram)
        .message(3, &floats);
    message(&symbols.request(&[float, histogram]))
}

#[test]
fn changed_requests_are_refused_or_stored() {
    let bench = Bench::new();
    let first = [
        series_v1(A, &[(START_MS, 1.0), (START_MS + 1, -0.0)]),
        series_v1(B, &[(START_MS, f64::NAN)]),
    ];
    let seeds = [
        message(&v1(&first)),
        rich(START_MS),
        rich(START_MS + 20_000),
    ];
    let mut stored = 0;
    crate::fuzz::run("remote write", &seeds, |body, random| {
        let kind = [Message::V1, Message::V2][random.below(2)];
        let mut body = compress(&Writer(body.to_vec()));
        if random.below(10) == 0 {
            let at = random.below(body.len());
            body[at] = random.below(256) as u8;
        }
        let (written, outcome) = bench.send(kind, &body);
        stored += written.samples + written.histograms;
        assert!(outcome.is_ok() || !outcome.expect_err("an error").is_empty());
        // The same request again must meet the same fate.
        let (again, _) = bench.send(kind, &body);
        assert!(again.samples <= written.samples || written.samples == 0);
    });
    assert!(stored > 0, "some are whole");
    let series = bench.all().len();
    drop(bench.receiver);
    drop(bench.db);
    let db = Db::open(Options::new(bench.directory.path()), &Registry::new());
    let snapshot = db.expect("opens again").snapshot();
    let found = snapshot.select(&[], TimeRange::ALL).expect("selects");
    assert_eq!(found.len(), series, "as many series as before");
}

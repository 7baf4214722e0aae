//! Prometheus's own directories: read in place, taken over, written.
//!
//! Blocks with histograms are made by our own export; where Debian's `promtool` is at hand (as
//! `tests/run` unpacks it), it makes blocks to read and judges those that were written.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use barograph_instrument::{Format, Registry};
use barograph_model::histogram::Span;
use barograph_model::{
    CounterResetHint, FloatHistogram, Histogram, IntegerHistogram, Labels, MatchOp, Matcher,
    TimeRange, stale_nan,
};
use barograph_tsdb::{Batch, Column, Db, Options, ReadError};

const SPAN_MS: i64 = 2 * 3_600_000;
const START_MS: i64 = 1_700_000_000_000;
/// Far behind, in a block of its own.
const BESIDE_MS: i64 = START_MS + 10 * SPAN_MS;

/// Samples by series: time, and a text that tells floats and histograms apart to the bit.
type Content = BTreeMap<String, Vec<(i64, String)>>;

fn options(path: &Path) -> Options {
    Options {
        maintenance_interval: Duration::ZERO,
        retention_ms: 0,
        block_access: support::block_access(),
        ..Options::new(path)
    }
}

fn open(path: &Path) -> Db {
    Db::open(options(path), &Registry::new()).expect("the directory opens")
}

fn content(db: &Db, matchers: &[Matcher], range: TimeRange) -> Content {
    let selection = db.snapshot().select(matchers, range).expect("selects");
    let mut content = Content::new();
    let mut column = Column::default();
    for index in 0..selection.len() {
        selection.read(index, range, &mut column).expect("reads");
        let floats = column.timestamps_ms.iter().zip(&column.values);
        let mut samples: Vec<(i64, String)> = floats
            .map(|(t, value)| (*t, format!("{:016x}", value.to_bits())))
            .collect();
        let histograms = selection.read_histograms(index, range).expect("reads");
        assert_eq!(histograms.len(), column.histograms.len());
        for ((t, histogram), float) in histograms.iter().zip(&column.histograms.values) {
            assert_eq!(format!("{:?}", histogram.to_float()), format!("{float:?}"));
            samples.push((*t, format!("{histogram:?}")));
        }
        samples.sort();
        if !samples.is_empty() {
            content.insert(selection.labels(index).to_string(), samples);
        }
    }
    content
}

fn integer(count: u64, hint: CounterResetHint) -> IntegerHistogram {
    IntegerHistogram {
        counter_reset_hint: hint,
        schema: 2,
        zero_threshold: 1e-9,
        zero_count: count / 3,
        count: 5 * count,
        sum: 0.25 * count as f64,
        positive_spans: vec![
            Span {
                offset: -2,
                length: 2,
            },
            Span {
                offset: 3,
                length: 1,
            },
        ],
        positive_buckets: vec![count, 2 * count, count / 2],
        negative_spans: vec![Span {
            offset: 0,
            length: 1,
        }],
        negative_buckets: vec![count],
        custom_bounds: [].into(),
    }
}

/// A store with every kind of value over a bit more than two spans.
fn fill(db: &Db) {
    let group = db.open_group();
    let register = |name: &str, id: usize| {
        let labels = Labels::from_pairs([
            ("__name__", name.to_owned()),
            ("id", format!("{id:02}")),
            ("text", "quoted \"ä\"\n".to_owned()),
        ]);
        db.register(group, &labels).expect("registers")
    };
    let floats: Vec<_> = (0..20).map(|id| register("floats", id)).collect();
    let (whole, float, mixed) = (
        register("whole", 0),
        register("float", 0),
        register("mixed", 0),
    );
    let mut hint = CounterResetHint::Unknown;
    for step in 0..600 {
        let timestamp_ms = START_MS + 30_000 * step;
        let mut batch = Batch::new(group);
        for (id, series) in floats.iter().enumerate() {
            let value = match step % 50 {
                7 => stale_nan(),
                8 => -0.0,
                9 => f64::NAN,
                _ => (step * step) as f64 / (id + 1) as f64,
            };
            if id % 7 != 3 || step % 3 > 0 {
                batch.push(*series, timestamp_ms, value);
            }
        }
        // A reset every 250 steps.
        let counted = integer(step as u64 % 250 + 1, hint);
        hint = CounterResetHint::NotCounterReset;
        let gauge = FloatHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            sum: (step as f64).sin(),
            ..counted.to_float()
        };
        if step % 40 < 20 {
            batch.push(mixed, timestamp_ms, step as f64);
        } else {
            let sample = Histogram::Float(gauge.clone());
            batch
                .push_histogram(mixed, timestamp_ms, &sample)
                .expect("a histogram");
        }
        let counted = Histogram::Integer(IntegerHistogram {
            counter_reset_hint: CounterResetHint::Unknown,
            ..counted
        });
        batch
            .push_histogram(whole, timestamp_ms, &counted)
            .expect("a histogram");
        let gauge = Histogram::Float(gauge);
        batch
            .push_histogram(float, timestamp_ms, &gauge)
            .expect("a histogram");
        let appended = db.append(&batch).expect("appends");
        assert_eq!(appended.rejected, []);
    }
}

/// A directory, and in it a filled store.
fn filled() -> (tempfile::TempDir, Db) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let db = open(&directory.path().join("own"));
    fill(&db);
    (directory, db)
}

/// The same without hints: chunks say of each sample but the first that it is no reset, whatever its
/// writer knew.
fn without_hints(content: &Content) -> Content {
    let strip = |text: &String| {
        let (mut text, names) = (text.clone(), ["Unknown", "NotCounterReset", "CounterReset"]);
        for name in names {
            text = text.replace(&format!("counter_reset_hint: {name},"), "");
        }
        text
    };
    content
        .iter()
        .map(|(labels, samples)| {
            let samples = samples.iter().map(|(t, text)| (*t, strip(text)));
            (labels.clone(), samples.collect())
        })
        .collect()
}

fn export(db: &Db, directory: &Path) -> u64 {
    let blocks = db
        .snapshot()
        .export_prometheus(directory, &[], TimeRange::ALL, |_, _| {})
        .expect("exports");
    blocks.iter().map(|block| block.samples).sum()
}

#[test]
fn what_is_exported_is_read_in_place() {
    let (directory, db) = filled();
    let foreign = directory.path().join("prometheus");
    let want = content(&db, &[], TimeRange::ALL);
    let samples: usize = want.values().map(Vec::len).sum();
    assert_eq!(export(&db, &foreign), samples as u64);
    let blocks = fs::read_dir(&foreign).expect("the directory").count();
    assert_eq!(blocks, 3 + 1, "one block per two hours, and a log");

    let reader = open(&foreign);
    let have = content(&reader, &[], TimeRange::ALL);
    assert_eq!(without_hints(&have), without_hints(&want));
    let reset = &have[&want
        .keys()
        .find(|k| k.contains("whole"))
        .expect("whole")
        .clone()];
    let unknown = reset.iter().filter(|(_, text)| text.contains("Unknown"));
    // Chunks of at most 120 samples, cut at two hours and at resets: their first says nothing.
    assert!((6..=10).contains(&unknown.count()));

    let some = |op, name, value| Matcher::new(name, op, value).expect("a matcher");
    for matchers in [
        vec![
            some(MatchOp::Equal, "__name__", "floats"),
            some(MatchOp::Regex, "id", "0[1-5]"),
        ],
        vec![some(MatchOp::NotRegex, "id", "0.*|1[0-3]")],
        vec![some(MatchOp::NotEqual, "id", "00")],
        vec![some(MatchOp::Regex, "__name__", "mi.*|whole")],
        vec![
            some(MatchOp::Equal, "absent", ""),
            some(MatchOp::Equal, "id", "07"),
        ],
        vec![some(MatchOp::Equal, "id", "absent")],
    ] {
        let range = TimeRange {
            start_ms: START_MS + 1_234_567,
            end_ms: START_MS + SPAN_MS + 77_777,
        };
        assert_eq!(
            without_hints(&content(&reader, &matchers, range)),
            without_hints(&content(&db, &matchers, range)),
            "{matchers:?}"
        );
        let (ours, theirs) = (db.snapshot(), reader.snapshot());
        let all = TimeRange::ALL;
        assert_eq!(
            theirs.label_names(&matchers, all).expect("names"),
            ours.label_names(&matchers, all).expect("names")
        );
        for name in ["__name__", "id", "none"] {
            assert_eq!(
                theirs.label_values(name, &matchers, all).expect("values"),
                ours.label_values(name, &matchers, all).expect("values")
            );
        }
    }
}

#[test]
fn compaction_makes_blocks_ours() {
    let (directory, db) = filled();
    let foreign = directory.path().join("prometheus");
    let samples = export(&db, &foreign);
    let is_foreign = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        path.join("meta.json").exists()
    };
    let count = || {
        let entries = fs::read_dir(&foreign).expect("the directory");
        entries.map(is_foreign).filter(|foreign| *foreign).count()
    };
    let reader = open(&foreign);
    let want = content(&reader, &[], TimeRange::ALL);
    assert_eq!(count(), 3);
    assert!(reader.compact() > 0);
    assert_eq!(count(), 0, "all are ours now");
    assert_eq!(content(&reader, &[], TimeRange::ALL), want);
    // And back: nothing was lost on the way.
    let again = directory.path().join("again");
    assert_eq!(export(&reader, &again), samples);
    drop(reader);
    assert_eq!(content(&open(&foreign), &[], TimeRange::ALL), want);
    let back = without_hints(&content(&open(&again), &[], TimeRange::ALL));
    assert_eq!(back, without_hints(&want));
}

/// Of two samples of one instant the same counts while one is in a block of Prometheus, and when
/// all is in a block of ours.
#[test]
fn ties_with_foreign_blocks_are_decided_as_compaction_does() {
    let (directory, db) = filled();
    let foreign = directory.path().join("prometheus");
    export(&db, &foreign);
    let reader = open(&foreign);
    let plain = content(&reader, &[], TimeRange::ALL);
    let mut batch = Batch::new(reader.open_group());
    for name in ["whole", "mixed"] {
        let labels = Labels::from_pairs([
            ("__name__", name.to_owned()),
            ("id", "00".to_owned()),
            ("text", "quoted \"ä\"\n".to_owned()),
        ]);
        let series = reader.register(batch.group(), &labels).expect("registers");
        for step in 0..300 {
            let timestamp_ms = START_MS + 30_000 * step;
            // More observations than what is there, fewer, and floats.
            let count = [1_000, 1][step as usize % 2];
            let histogram = integer(count, CounterResetHint::Unknown);
            match step % 6 {
                0 | 1 => batch
                    .push_histogram(series, timestamp_ms, &Histogram::Integer(histogram))
                    .expect("a histogram"),
                2 => batch.push(series, timestamp_ms, 1e9),
                3 => batch.push(series, timestamp_ms, f64::NAN),
                4 => batch.push(series, timestamp_ms, stale_nan()),
                _ => {}
            }
        }
    }
    let appended = reader.append(&batch).expect("appends");
    assert_eq!(appended.rejected, []);
    let want = content(&reader, &[], TimeRange::ALL);
    assert_ne!(want, plain);
    while reader.compact() > 0 {}
    let have = content(&reader, &[], TimeRange::ALL);
    assert_eq!(without_hints(&have), without_hints(&want));
}

/// Damages every byte of a file, and ends the file at every byte.
fn damage_every_byte(block: &Path, file: &str, db_directory: &Path, want: &Content) {
    let path = block.join(file);
    let bytes = fs::read(&path).expect("the file");
    let mut noticed = 0;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        for (damaged, is_cut) in [(&flipped[..], false), (&bytes[..at], true)] {
            // A new file: the old one may be mapped.
            fs::remove_file(&path).expect("removes");
            fs::write(&path, damaged).expect("writes");
            let place = format!("{file} byte {at}, cut: {is_cut}");
            noticed += usize::from(is_noticed(file, db_directory, want, &place) && !is_cut);
        }
    }
    fs::remove_file(&path).expect("removes");
    fs::write(&path, &bytes).expect("writes");
    // The others are padding, and lists that this query does not read; JSON has no checksum.
    assert!(
        noticed * 2 > bytes.len() || file == "meta.json",
        "{file}: {noticed} of {}",
        bytes.len()
    );
}

/// Whether reading says that something is damaged; if not, the answer must be right. What is in the
/// block beside is there in any case.
fn is_noticed(file: &str, db_directory: &Path, want: &Content, place: &str) -> bool {
    let registry = Registry::new();
    let db = Db::open(options(db_directory), &registry).expect("the directory opens");
    let beside = TimeRange {
        start_ms: BESIDE_MS,
        end_ms: i64::MAX,
    };
    let mut neighbour = want.clone();
    neighbour.retain(|_, samples| {
        samples.retain(|(t, _)| *t >= BESIDE_MS);
        !samples.is_empty()
    });
    assert_eq!(content(&db, &[], beside), neighbour, "{place}");
    let mut text = String::new();
    registry.encode(Format::Text004, &mut text);
    let unreadable = text.contains("\nbarograph_tsdb_blocks_unreadable 1\n");
    let mut samples = 0;
    let read = db.snapshot().select(&[], TimeRange::ALL).map(|selection| {
        let mut column = Column::default();
        (0..selection.len()).try_for_each(|index| {
            selection.read(index, TimeRange::ALL, &mut column)?;
            samples += column.values.len() + column.histograms.len();
            Ok::<_, ReadError>(())
        })
    });
    let error = match read {
        Err(error) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(())) if unreadable => {
            assert_eq!(content(&db, &[], TimeRange::ALL), neighbour, "{place}");
            return true;
        }
        Ok(Ok(())) if file == "meta.json" => return false,
        Ok(Ok(())) => {
            assert_eq!(&content(&db, &[], TimeRange::ALL), want, "{place}");
            return false;
        }
    };
    // The index says where chunks are; either may be named.
    let named = ["index", "chunks/000001", file];
    assert!(
        named.iter().any(|name| error.contains(name)) && error.contains("at byte"),
        "{place}: {error}"
    );
    true
}

#[test]
fn damage_is_an_error_and_never_a_wrong_answer() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (own, foreign) = (
        directory.path().join("own"),
        directory.path().join("prometheus"),
    );
    let db = open(&own);
    let group = db.open_group();
    let mut batch = Batch::new(group);
    for id in 0..3 {
        let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("id", id.to_string())]);
        let series = db.register(group, &labels).expect("registers");
        for step in 0..5 {
            let timestamp_ms = START_MS + step * 1000;
            if id == 2 {
                let histogram = integer(step as u64, CounterResetHint::Unknown).into();
                batch
                    .push_histogram(series, timestamp_ms, &histogram)
                    .expect("a histogram");
            } else {
                batch.push(series, timestamp_ms, step as f64 / 3.0);
            }
        }
    }
    let labels = Labels::from_pairs([("__name__", "m"), ("id", "beside")]);
    let series = db.register(group, &labels).expect("registers");
    batch.push(series, BESIDE_MS, 7.0);
    db.append(&batch).expect("appends");
    export(&db, &foreign);
    let want = content(&open(&foreign), &[], TimeRange::ALL);
    let samples: usize = want.values().map(Vec::len).sum();
    assert_eq!(samples, 16);
    let entries = fs::read_dir(&foreign).expect("the directory");
    let blocks = entries.map(|entry| entry.expect("an entry").path());
    let block = blocks
        .filter(|path| path.join("meta.json").exists())
        .find(|path| {
            !fs::read_to_string(path.join("meta.json"))
                .expect("text")
                .contains("\"numSamples\": 1,")
        })
        .expect("a block");
    for file in ["index", "chunks/000001", "tombstones", "meta.json"] {
        damage_every_byte(&block, file, &foreign, &want);
    }
}

/// Debian's promtool: a comparison that cannot run fails instead of passing.
fn promtool() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/usr/bin/promtool");
    let starts = |path: &PathBuf| {
        let output = Command::new(path).arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = [PathBuf::from("promtool"), unpacked]
        .into_iter()
        .find(starts);
    found.expect("promtool is missing: tests/run unpacks it")
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("promtool starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}

#[test]
fn blocks_that_promtool_makes_are_read() {
    let promtool = promtool();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (text, blocks) = (
        directory.path().join("text"),
        directory.path().join("blocks"),
    );
    let mut lines = String::new();
    let mut want = Content::new();
    for id in 0..40 {
        let series = format!("{{__name__=\"m\", id=\"{id}\"}}");
        for step in 0..500 {
            let timestamp_ms = START_MS + step * 60_000;
            let value = (step * id) as f64 / 7.0;
            let time = timestamp_ms / 1000;
            let _ = writeln!(lines, "m{{id=\"{id}\"}} {value} {time}");
            let bits = format!("{:016x}", value.to_bits());
            want.entry(series.clone())
                .or_default()
                .push((timestamp_ms, bits));
        }
    }
    lines.push_str("# EOF\n");
    fs::write(&text, lines).expect("writes");
    run(Command::new(&promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&text, &blocks]));
    let db = open(&blocks);
    assert_eq!(content(&db, &[], TimeRange::ALL), want);
}

#[test]
fn promtool_reads_what_is_exported() {
    let promtool = promtool();
    let (directory, db) = filled();
    let foreign = directory.path().join("prometheus");
    export(&db, &foreign);
    let list = run(Command::new(&promtool).args(["tsdb", "list"]).arg(&foreign));
    assert_eq!(list.lines().count(), 4, "{list}");
    run(Command::new(&promtool)
        .args(["tsdb", "analyze"])
        .arg(&foreign));
    let dump = run(Command::new(&promtool)
        .args(["tsdb", "dump", "--match={__name__=\"floats\"}"])
        .arg(&foreign));
    let name = Matcher::new("__name__", MatchOp::Equal, "floats").expect("a matcher");
    let content = content(&db, &[name], TimeRange::ALL);
    let mut lines = dump.lines().filter(|line| line.starts_with('{'));
    for (labels, samples) in &content {
        for (timestamp_ms, bits) in samples {
            let line = lines.next().expect("a line for every sample");
            let (have, rest) = line.rsplit_once("} ").expect("labels");
            assert_eq!(&format!("{have}}}"), labels);
            let (value, time) = rest.split_once(' ').expect("a value and a time");
            assert_eq!(time, timestamp_ms.to_string());
            let want = f64::from_bits(u64::from_str_radix(bits, 16).expect("bits"));
            let value: f64 = value.parse().expect("a number");
            assert!(value.to_bits() == want.to_bits() || value.is_nan() && want.is_nan());
        }
    }
    assert_eq!(lines.next(), None);
}

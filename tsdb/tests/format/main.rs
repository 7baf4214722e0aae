//! A reader of blocks that knows nothing but `docs/format/`: what it finds in the frozen fixture is
//! what the store answers, byte for byte of what the document says.

mod bytes;
mod index;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use barograph_model::histogram::Span;
use barograph_model::{Labels, MatchOp, Matcher, TimeRange};
use barograph_tsdb::{Column, Offline, Parts};

use crate::bytes::Bytes;
use crate::index::{Block, Series};

/// What the fixture has beside every section: codecs, kinds of posting lists, places of pages, kinds of
/// components.
const KINDS: [(&str, u32); 4] = [("codec", 9), ("list", 3), ("place", 3), ("component", 7)];

/// A sample that is a histogram.
#[derive(Debug, PartialEq)]
struct Histogram {
    flags: u8,
    schema: i64,
    threshold: u64,
    count: u64,
    sum: u64,
    zero: u64,
    positive: Vec<(i64, u64)>,
    negative: Vec<(i64, u64)>,
    bounds: Vec<u64>,
}

/// The samples of a series: start and value by instant, and histograms.
type Answer = (BTreeMap<i64, (i64, u64)>, BTreeMap<i64, (i64, Histogram)>);

#[test]
fn blocks_are_what_the_document_says() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/compat/store-3");
    let temporary = tempfile::tempdir().expect("a temporary directory");
    // What is deleted is in the blocks nevertheless.
    let copied = temporary.path().join("store");
    std::fs::create_dir_all(copied.join("blocks")).expect("makes");
    let mut seen = BTreeSet::new();
    let (mut blocks, mut series) = (0, 0);
    for entry in std::fs::read_dir(fixture.join("blocks")).expect("the fixture's blocks") {
        let entry = entry.expect("an entry");
        let block = index::read(&entry.path());
        let target = copied.join("blocks").join(entry.file_name());
        std::fs::create_dir(&target).expect("makes");
        for file in ["meta", "data", "index"] {
            std::fs::copy(entry.path().join(file), target.join(file)).expect("copies");
        }
        let store = Offline::open(&copied, Parts::Blocks, temporary.path()).expect("opens");
        let snapshot = store.block(0).expect("the block");
        let every = Matcher::new("__name__", MatchOp::Regex, ".*").expect("a pattern");
        let selection = snapshot.select(&[every], TimeRange::ALL).expect("selects");
        assert_eq!(selection.len(), block.series.len());
        let mut column = Column::default();
        for (number, found) in block.series.iter().enumerate() {
            let labels = found.labels.iter().map(|(name, value)| (&**name, &**value));
            assert_eq!(*selection.labels(number), Labels::from_pairs(labels));
            selection
                .read(number, TimeRange::ALL, &mut column)
                .expect("reads");
            assert_eq!(
                assembled(&block, found),
                answered(&column),
                "{:?}",
                found.labels
            );
            series += 1;
        }
        seen.extend(block.seen);
        blocks += 1;
        std::fs::remove_dir_all(&target).expect("removes");
    }
    assert!(
        blocks > 3 && series > 500,
        "{blocks} blocks, {series} series"
    );
    for section in [5, 7, 8, 9, 10, 11, 12, 13] {
        assert!(seen.contains(&("section", section)), "no section {section}");
    }
    for (what, count) in KINDS {
        let missing: Vec<u32> = (0..count)
            .filter(|kind| !seen.contains(&(what, *kind)))
            .collect();
        assert!(missing.is_empty(), "no {what} {missing:?}");
    }
}

/// What the columns of a series say.
fn assembled(block: &Block, series: &Series) -> Answer {
    let mut answer = Answer::default();
    let part = |kind: u8, bucket: i64, time: i64| {
        let component = series.components.get(&(kind, bucket))?;
        component.get(&time).copied()
    };
    for (time, bits) in &series.samples {
        let start = part(0, 0, *time).map_or(0, |bits| integer(bits) as i64);
        if bits >> 50 != 0b11_1111_1111_1101 {
            answer.0.insert(*time, (start, *bits));
        } else if bits << 14 == 0 {
            let bits = part(1, 0, *time).expect("a float");
            answer.0.insert(*time, (start, bits));
        } else {
            let layout = &block.layouts[&(bits & ((1 << 50) - 1))];
            let histogram = histogram(layout, |kind, bucket| part(kind, bucket, *time));
            answer.1.insert(*time, (start, histogram));
        }
    }
    answer
}

/// The integer that a value stands for.
fn integer(bits: u64) -> u64 {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    let value = f64::from_bits(bits);
    if (0.0..=LIMIT).contains(&value) && value.fract() == 0.0 && bits != (-0.0f64).to_bits() {
        let small = value as u64;
        let other = f64::from_bits(small);
        // The bits of an integer float change places with the integer.
        return if small > 1 << 53 && other.fract() == 0.0 {
            other as u64
        } else {
            small
        };
    }
    bits
}

fn histogram(layout: &[u8], part: impl Fn(u8, i64) -> Option<u64>) -> Histogram {
    let mut reader = Bytes(layout);
    let (flags, schema, threshold) = (reader.u8(), reader.signed(), reader.u64());
    let mut spans = || {
        let (mut at, mut buckets) = (0, Vec::new());
        for _ in 0..reader.varint() {
            at += reader.signed();
            for _ in 0..reader.varint() {
                buckets.push(at);
                at += 1;
            }
        }
        buckets
    };
    let (positive, negative) = (spans(), spans());
    let bounds = (0..reader.varint()).map(|_| reader.u64()).collect();
    assert!(reader.is_empty());
    // Counts of floats are themselves.
    let number = |kind, bucket| {
        let bits = part(kind, bucket).expect("a part of a histogram");
        let is_float = flags & 1 != 0;
        if is_float {
            bits
        } else {
            (integer(bits) as f64).to_bits()
        }
    };
    let counts = |kind, buckets: Vec<i64>| {
        buckets
            .into_iter()
            .map(|bucket| (bucket, number(kind, bucket)))
            .collect()
    };
    Histogram {
        flags: flags & 0b1100,
        schema,
        threshold,
        count: number(2, 0),
        sum: part(3, 0).expect("a sum"),
        zero: if flags & 2 == 0 { 0 } else { number(4, 0) },
        positive: counts(5, positive),
        negative: counts(6, negative),
        bounds,
    }
}

/// What the store answers.
fn answered(column: &Column) -> Answer {
    let mut answer = Answer::default();
    let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
    let floats = column.timestamps_ms.iter().zip(&column.values).enumerate();
    for (at, (time, value)) in floats {
        answer
            .0
            .insert(*time, (start(&column.starts_ms, at), value.to_bits()));
    }
    let histograms = &column.histograms;
    let values = histograms
        .timestamps_ms
        .iter()
        .zip(&histograms.values)
        .enumerate();
    for (at, (time, h)) in values {
        let histogram = Histogram {
            flags: (h.counter_reset_hint as u8) << 2,
            schema: i64::from(h.schema),
            threshold: h.zero_threshold.to_bits(),
            count: h.count.to_bits(),
            sum: h.sum.to_bits(),
            zero: h.zero_count.to_bits(),
            positive: buckets(&h.positive_spans, &h.positive_buckets),
            negative: buckets(&h.negative_spans, &h.negative_buckets),
            bounds: h
                .custom_bounds
                .iter()
                .map(|bound| bound.to_bits())
                .collect(),
        };
        answer
            .1
            .insert(*time, (start(&histograms.starts_ms, at), histogram));
    }
    answer
}

fn buckets(spans: &[Span], counts: &[f64]) -> Vec<(i64, u64)> {
    let mut at = 0;
    let mut indices = Vec::new();
    for span in spans {
        at += i64::from(span.offset);
        indices.extend((0..i64::from(span.length)).map(|next| at + next));
        at += i64::from(span.length);
    }
    let counts = counts.iter().map(|count| count.to_bits());
    indices.into_iter().zip(counts).collect()
}

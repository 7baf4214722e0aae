//! Blocks with an index of version 1, as Prometheus before 2.0's last betas wrote them: symbols are
//! named by their place in the file, series are not aligned and named by theirs, and the table of
//! postings has no order. Written here after the format's description.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::{Labels, MatchOp, Matcher, TimeRange};

use super::block::ForeignBlock;
use super::builder::BlockBuilder;
use super::chunk::ChunkSamples;
use super::index::{CONTENTS_BYTES, ChunkMeta, HEADER_BYTES, Index, MAGIC, Series};
use super::writer::put_chunk_metas;
use crate::bytes::{put_text, put_varint};
use crate::disk::{Disk, SystemDisk};
use crate::select::Index as _;

const START_MS: i64 = 1_700_000_000_000;

/// A section: length, content, checksum; where it begins.
fn section(out: &mut Vec<u8>, content: &[u8]) -> u64 {
    let at = out.len() as u64;
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(&crc32c::crc32c(content).to_be_bytes());
    at
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The index of series in order of their labels.
fn index_v1(all: &[(Labels, Vec<ChunkMeta>)]) -> Vec<u8> {
    let mut out = MAGIC.to_be_bytes().to_vec();
    out.push(1);
    let mut texts: BTreeMap<&str, u32> = BTreeMap::new();
    for (name, value) in all.iter().flat_map(|(labels, _)| labels.iter()) {
        texts.insert(name, 0);
        texts.insert(value, 0);
    }
    let mut content = (texts.len() as u32).to_be_bytes().to_vec();
    for (text, place) in &mut texts {
        *place = (HEADER_BYTES + 4 + content.len()) as u32;
        put_text(&mut content, text);
    }
    let symbols_at = section(&mut out, &content);
    let series_at = out.len() as u64;
    let mut postings: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    for (labels, chunks) in all {
        let reference = out.len() as u32;
        let mut entry = Vec::new();
        put_varint(&mut entry, labels.iter().count() as u64);
        postings.entry(("", "")).or_default().push(reference);
        for (name, value) in labels {
            put_varint(&mut entry, u64::from(texts[name]));
            put_varint(&mut entry, u64::from(texts[value]));
            postings.entry((name, value)).or_default().push(reference);
        }
        put_chunk_metas(&mut entry, chunks);
        put_varint(&mut out, entry.len() as u64);
        out.extend_from_slice(&entry);
        out.extend_from_slice(&crc32c::crc32c(&entry).to_be_bytes());
    }
    // What values a label has: no longer used, but there, with the table of it.
    pad(&mut out);
    let mut label_table = 1u32.to_be_bytes().to_vec();
    let values = [
        1u32.to_be_bytes(),
        1u32.to_be_bytes(),
        texts["id"].to_be_bytes(),
    ];
    let label_indices_at = section(&mut out, &values.concat());
    put_varint(&mut label_table, 1);
    put_text(&mut label_table, "id");
    put_varint(&mut label_table, label_indices_at);
    pad(&mut out);
    let postings_at = out.len() as u64;
    let mut table = (postings.len() as u32).to_be_bytes().to_vec();
    // In no order.
    for ((name, value), references) in postings.iter().rev() {
        let mut content = (references.len() as u32).to_be_bytes().to_vec();
        content.extend(
            references
                .iter()
                .flat_map(|reference| reference.to_be_bytes()),
        );
        pad(&mut out);
        let at = section(&mut out, &content);
        put_varint(&mut table, 2);
        put_text(&mut table, name);
        put_text(&mut table, value);
        put_varint(&mut table, at);
    }
    let label_table_at = section(&mut out, &label_table);
    let table_at = section(&mut out, &table);
    let mut contents = Vec::with_capacity(CONTENTS_BYTES);
    for place in [
        symbols_at,
        series_at,
        label_indices_at,
        label_table_at,
        postings_at,
        table_at,
    ] {
        contents.extend_from_slice(&place.to_be_bytes());
    }
    out.extend_from_slice(&contents);
    out.extend_from_slice(&crc32c::crc32c(&contents).to_be_bytes());
    out
}

/// A block with an index of version 2, and the same series with one of version 1.
fn block(directory: &Path) -> (PathBuf, Vec<u8>) {
    let mut builder = BlockBuilder::new(0);
    for id in 0..30 {
        let pairs = [
            ("__name__", "m".to_owned()),
            ("id", format!("{id:02}")),
            (
                "odd",
                if id % 2 == 1 {
                    "yes".to_owned()
                } else {
                    String::new()
                },
            ),
        ];
        let series = builder.series(&Labels::from_pairs(pairs.map(|(n, v)| (n, v))));
        for step in 0..300 {
            builder.push(series, START_MS + step * 1000, (step * id) as f64 / 3.0);
        }
    }
    let written = builder.write(directory, |_, _| {}).expect("writes");
    let path = written[0].path.clone();
    let disk = SystemDisk;
    let length = disk.size_bytes(&path.join("index")).expect("the index");
    let region = disk.map(&path.join("index"), length).expect("maps").0;
    let index = Index::open(region).expect("opens");
    let mut all = Vec::new();
    for reference in index.everything().expect("series").iter() {
        let mut series = Series::default();
        index.series(reference, &mut series).expect("a series");
        all.push((index.labels(&series).expect("labels"), series.chunks));
    }
    assert_eq!(all.len(), 30);
    (path, index_v1(&all))
}

type Content = Vec<(String, Vec<i64>, Vec<u64>)>;

fn content(disk: &Arc<dyn Disk>, path: &Path, matchers: &[Matcher]) -> Content {
    let block = ForeignBlock::open(disk, path).expect("opens");
    let mut found = Content::new();
    for (labels, at) in block.select(0, matchers, TimeRange::ALL).expect("selects") {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let read = block.each_chunk(
            at.series,
            TimeRange::ALL,
            |_| true,
            |chunk, _| {
                let ChunkSamples::Floats(chunk) = chunk else {
                    panic!("floats only");
                };
                times.extend(chunk.timestamps_ms);
                values.extend(chunk.values.iter().map(|value| value.to_bits()));
            },
        );
        read.expect("reads");
        found.push((labels.to_string(), times, values));
    }
    found
}

#[test]
fn version_1_answers_as_version_2() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let (path, v1) = block(directory.path());
    let some = |name, op, value| Matcher::new(name, op, value).expect("a matcher");
    let asked = [
        vec![],
        vec![some("id", MatchOp::Equal, "07")],
        vec![some("id", MatchOp::Regex, "0[3-6]|2.")],
        vec![
            some("odd", MatchOp::Equal, ""),
            some("id", MatchOp::NotEqual, "02"),
        ],
        vec![some("odd", MatchOp::NotRegex, "no|")],
        vec![some("id", MatchOp::Equal, "none")],
    ];
    let all = |path: &Path| {
        asked
            .each_ref()
            .map(|matchers| content(&disk, path, matchers))
    };
    let want = all(&path);
    assert_eq!(want.each_ref().map(Vec::len), [30, 1, 14, 14, 15, 0]);
    fs::write(path.join("index"), &v1).expect("writes");
    assert_eq!(all(&path), want);
    let block = ForeignBlock::open(&disk, &path).expect("opens");
    block.verify(|| {}).expect("is whole");
    let (mut names, mut values) = (BTreeSet::new(), BTreeSet::new());
    block.label_names(&[], &mut names).expect("names");
    assert_eq!(Vec::from_iter(names), ["__name__", "id", "odd"]);
    block.label_values("odd", &[], &mut values).expect("values");
    assert_eq!(Vec::from_iter(values), ["yes"]);
}

#[test]
fn every_damaged_byte_of_an_index_is_found() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let (path, v1) = block(directory.path());
    let v2 = fs::read(path.join("index")).expect("the index");
    let chunks = fs::read(path.join("chunks/000001")).expect("the chunks");
    let is_whole = || {
        let opened = ForeignBlock::open(&disk, &path);
        opened.is_ok_and(|block| block.verify(|| {}).is_ok())
    };
    for (file, bytes, step) in [
        ("index", v1, 1),
        ("index", v2, 1),
        ("chunks/000001", chunks, 11),
    ] {
        let path = path.join(file);
        let put = |bytes: &[u8]| {
            // A new file: the old one may be mapped.
            fs::remove_file(&path).expect("removes");
            fs::write(&path, bytes).expect("writes");
        };
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            put(&damaged);
            assert!(!is_whole(), "{file}: byte {at} of {}", bytes.len());
        }
        put(&bytes);
        assert!(is_whole(), "{file}");
    }
}

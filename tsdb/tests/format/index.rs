//! Index and series of a block, as `docs/format/block.md` says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use roaring::RoaringBitmap;

use crate::bytes::{Bytes, groups, sections, table};
use crate::page;

/// Items of a group.
const GROUP: usize = 16;
/// Values from one that is whole to the next.
const WHOLE: usize = 8;

/// A component: its kind, and the index of its bucket.
pub(crate) type Key = (u8, i64);

/// Values by instant, as bits.
pub(crate) type Samples = BTreeMap<i64, u64>;

/// A series.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) samples: Samples,
    pub(crate) components: BTreeMap<Key, Samples>,
}

/// A block, read whole.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) series: Vec<Series>,
    /// Layouts of histograms by number.
    pub(crate) layouts: BTreeMap<u64, Vec<u8>>,
    /// What occurs in it: sections, codecs, kinds of posting lists.
    pub(crate) seen: BTreeSet<(&'static str, u32)>,
}

/// Reads `meta`, `data` and `index` of a directory.
pub(crate) fn read(directory: &Path) -> Block {
    let file = |name: &str| std::fs::read(directory.join(name)).expect("a file of a block");
    let (meta, data, index) = (file("meta"), file("data"), file("index"));
    let mut fields = meta_fields(&meta).into_iter();
    for (bytes, magic, version) in [(&data, b"BARODAT\n", 1), (&index, b"BAROIDX\n", 2)] {
        let mut header = Bytes(bytes);
        assert_eq!(header.take(8), magic);
        assert_eq!(
            (header.u32(), header.u32()),
            (version, crc32c::crc32c(&bytes[..12]))
        );
    }
    let sections = sections(&index);
    let mut reader = Reader {
        data: &data,
        columns: Vec::new(),
        shared: Vec::new(),
        block: Block::default(),
        pages: 0,
    };
    reader.block.seen = sections.keys().map(|id| ("section", *id)).collect();
    let section = |id: u32| sections.get(&id).map(|(_, section)| *section);
    reader.read_tables(section(5).expect("columns"), section(13));
    let pairs = pairs(section(8).expect("names"), section(9).expect("values"));
    let lists = reader.read_series(section(11).expect("series"), &pairs);
    let postings = postings(section(10).expect("postings"), &mut reader.block.seen);
    assert_eq!(postings, lists, "postings say what the series say");
    reader.read_components(section(12));
    if let Some(layouts) = section(7) {
        for item in table(layouts) {
            let number = Bytes(item).u64();
            reader.block.layouts.insert(number, item[8..].to_vec());
        }
        assert!(reader.block.layouts.keys().is_sorted());
    }
    let samples = || {
        reader
            .block
            .series
            .iter()
            .flat_map(|series| series.samples.keys())
    };
    let (uid, start) = (fields.next(), fields.next().map(|field| field as i64));
    assert!(uid.is_some() && start <= samples().min().copied());
    assert!(samples().max().copied() < fields.next().map(|field| field as i64));
    assert_eq!(
        samples().min().copied(),
        fields.next().map(|field| field as i64)
    );
    assert_eq!(
        samples().max().copied(),
        fields.next().map(|field| field as i64)
    );
    assert_eq!(fields.next(), Some(samples().count() as u64));
    assert_eq!(fields.next(), Some(reader.block.series.len() as u64));
    assert_eq!(fields.next(), Some(reader.pages));
    assert_eq!(fields.next(), Some(data.len() as u64));
    assert_eq!(fields.next(), Some(index.len() as u64));
    reader.block
}

/// The thirteen fields and the parents.
fn meta_fields(meta: &[u8]) -> Vec<u64> {
    let (checked, mut sum) = (&meta[..meta.len() - 4], Bytes(&meta[meta.len() - 4..]));
    assert_eq!(crc32c::crc32c(checked), sum.u32());
    let mut reader = Bytes(checked);
    assert_eq!(reader.take(8), b"BAROMET\n");
    assert_eq!((reader.u32(), reader.u32()), (1, 0));
    let mut fields: Vec<u64> = (0..13).map(|_| reader.u64()).collect();
    for _ in 0..reader.u32() {
        fields.push(reader.u64());
    }
    assert!(reader.is_empty());
    fields
}

/// Names and values, in order.
fn pairs(names: &[u8], values: &[u8]) -> Vec<(String, String)> {
    let mut rows = Bytes(names);
    let count = rows.u32() as usize;
    let row = |_| {
        (
            rows.u32() as usize,
            rows.u32() as usize,
            rows.u32() as usize,
        )
    };
    let all: Vec<_> = (0..=count).map(row).collect();
    let texts = rows.0;
    let mut pairs = Vec::new();
    for row in all.windows(2) {
        let name = Bytes(&texts[row[0].0..row[1].0]).text(row[1].0 - row[0].0);
        assert_eq!(pairs.len(), row[0].1);
        let number = row[1].1 - row[0].1;
        let mut own = Bytes(&values[row[0].2..row[1].2]);
        let offsets: Vec<_> = (0..number.div_ceil(WHOLE))
            .map(|_| own.u32() as usize)
            .collect();
        let first = own.0.len();
        let mut value = Vec::new();
        for at in 0..number {
            if at % WHOLE == 0 {
                assert_eq!(offsets[at / WHOLE], first - own.0.len());
                value.clear();
            } else {
                let common = own.count();
                value.truncate(common);
            }
            let length = own.count();
            value.extend_from_slice(own.take(length));
            pairs.push((
                name.clone(),
                String::from_utf8(value.clone()).expect("UTF-8"),
            ));
        }
        assert!(own.is_empty());
    }
    assert!(pairs.is_sorted_by(|a, b| a < b) && pairs.len() == all[count].1);
    pairs
}

/// Per pair, the series that have it.
fn postings(section: &[u8], seen: &mut BTreeSet<(&'static str, u32)>) -> Vec<Vec<u32>> {
    let mut lists: Vec<Vec<u32>> = Vec::new();
    let mut same = Vec::new();
    for (group, items) in groups(section, GROUP) {
        let mut group = Bytes(group);
        for _ in 0..items {
            let length = group.count();
            let mut list = Bytes(group.take(length));
            let head = list.varint();
            let mut series = Vec::new();
            seen.insert(("list", (head & 3) as u32));
            match head & 3 {
                0 => {
                    let mut next = 0;
                    while !list.is_empty() {
                        let (first, count) = match list.varint() {
                            0 => (next, list.varint() as u32),
                            gap => (next + gap as u32 - 1, 1),
                        };
                        next = first + count;
                        series.extend(first..next);
                    }
                }
                1 => {
                    let bitmap = RoaringBitmap::deserialize_from(list.0);
                    series.extend(bitmap.expect("a portable bitmap"));
                }
                2 => same.push((lists.len(), list.count())),
                kind => panic!("a list of kind {kind}"),
            }
            assert!(head & 3 == 2 || series.len() as u64 == head >> 2);
            lists.push(series);
        }
        assert!(group.is_empty());
    }
    for (list, other) in same {
        let same = lists[other].clone();
        lists[list] = same;
    }
    lists
}

struct Reader<'a> {
    data: &'a [u8],
    columns: Vec<Vec<i64>>,
    /// Offset and length of each shared page.
    shared: Vec<(usize, usize)>,
    block: Block,
    /// Pages of series and components.
    pages: u64,
}

/// What references to pages are relative to.
#[derive(Clone, Copy)]
struct Origin {
    end: usize,
    /// The column of the first page of the series before.
    column: i64,
}

impl Reader<'_> {
    fn read_tables(&mut self, columns: &[u8], shared: Option<&[u8]>) {
        let mut reader = Bytes(columns);
        for _ in 0..reader.u32() {
            let (offset, length) = (reader.u64() as usize, reader.u32() as usize);
            let rows = reader.u32() as usize;
            let times = page::column(&self.data[offset..offset + length], rows);
            assert_eq!((reader.i64(), reader.i64()), (times[0], times[rows - 1]));
            self.columns.push(times);
        }
        assert!(reader.is_empty());
        let mut reader = Bytes(shared.unwrap_or(&[0; 4]));
        for _ in 0..reader.u32() {
            self.shared
                .push((reader.u64() as usize, reader.u32() as usize));
        }
        assert!(reader.is_empty());
    }

    /// Reads the series; returns per pair which of them have it.
    fn read_series(&mut self, section: &[u8], pairs: &[(String, String)]) -> Vec<Vec<u32>> {
        let mut lists = vec![Vec::new(); pairs.len()];
        for (group, items) in groups(section, GROUP) {
            let mut group = Bytes(group);
            let length = group.count();
            let mut numbers = Bytes(group.take(length));
            let mut own: Vec<usize> = Vec::new();
            let end = group.count();
            let mut origin = Origin { end, column: 0 };
            for _ in 0..items {
                let changed = numbers.varint();
                if changed == 0 {
                    let mut last = 0;
                    own.clear();
                    for _ in 0..numbers.count() {
                        last += numbers.count();
                        own.push(last);
                    }
                }
                for (at, pair) in own.iter_mut().enumerate() {
                    if at < 64 && changed >> at & 1 == 1 {
                        *pair = pair.strict_add_signed(numbers.signed() as isize);
                    }
                }
                let number = self.block.series.len() as u32;
                for pair in &own {
                    lists[*pair].push(number);
                }
                let samples = self.read_pages(&mut group, &mut origin);
                self.block.series.push(Series {
                    labels: own.iter().map(|pair| pairs[*pair].clone()).collect(),
                    samples,
                    components: BTreeMap::new(),
                });
            }
            assert!(numbers.is_empty() && group.is_empty());
        }
        let labels = self.block.series.iter().map(|series| &series.labels);
        assert!(labels.is_sorted_by(|a, b| a < b));
        lists
    }

    fn read_components(&mut self, section: Option<&[u8]>) {
        for item in table(section.unwrap_or(&[0; 8])) {
            let mut item = Bytes(item);
            let series = item.u32() as usize;
            let end = item.count();
            let mut origin = Origin { end, column: 0 };
            while !item.is_empty() {
                let kind = item.u8();
                let key = (kind, if kind >= 5 { item.signed() } else { 0 });
                self.block.seen.insert(("component", u32::from(kind)));
                let samples = self.read_pages(&mut item, &mut origin);
                let parent = &mut self.block.series[series];
                assert!(samples.keys().all(|time| parent.samples.contains_key(time)));
                let last = parent.components.last_key_value();
                assert!(last.is_none_or(|(last, _)| *last < key));
                parent.components.insert(key, samples);
            }
        }
    }

    fn read_pages(&mut self, reader: &mut Bytes<'_>, origin: &mut Origin) -> Samples {
        let mut samples = Samples::new();
        let mut expected = origin.column;
        for number in 0..reader.count() {
            let head = reader.varint();
            let (flags, length) = (head & 15, (head >> 4) as usize);
            if flags & 1 == 0 {
                expected += reader.signed();
            }
            let column = expected;
            let place = (flags >> 2) as u32;
            self.block.seen.insert(("place", place));
            let (offset, length) = match place {
                0 | 1 => {
                    let distance = if place == 1 { reader.signed() } else { 0 };
                    let offset = origin.end.strict_add_signed(distance as isize);
                    if distance >= 0 {
                        origin.end = offset + length;
                    }
                    (offset, length)
                }
                2 => self.shared[length],
                place => panic!("a page of place {place}"),
            };
            let times = &self.columns[column as usize];
            let mut rows = Vec::new();
            if flags & 2 != 0 {
                rows.extend(0..times.len());
            } else {
                let mut at = 0;
                for _ in 0..reader.count() {
                    let first = at + reader.count();
                    at = first + reader.count();
                    rows.extend(first..at);
                }
            }
            let (codec, values) = page::page(&self.data[offset..offset + length]);
            self.block.seen.insert(("codec", u32::from(codec)));
            assert_eq!(rows.len(), values.len());
            let read = rows.into_iter().map(|row| times[row]).zip(values);
            for (time, value) in read {
                let last = samples.last_key_value();
                assert!(last.is_none_or(|(last, _)| *last < time));
                samples.insert(time, value);
            }
            if number == 0 {
                origin.column = column;
            }
            expected = column + 1;
            self.pages += 1;
        }
        samples
    }
}

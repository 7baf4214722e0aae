//! Taking over what a stopped Prometheus had only in its log: up to three hours of samples.
//!
//! Prometheus's write-ahead log, its last checkpoint and the log of samples that came out of order
//! are read into chunks in memory, as Prometheus itself would at its start, and written as blocks
//! of its format beside the others. Nothing of Prometheus's is changed: it can be started again on
//! the directory, and finds these blocks where it would have made its own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::{Exemplar, Labels, Metadata, MetricKind};

use super::builder::{BLOCK_SPAN_MS, BlockBuilder, Owned};
use super::log::read_segment;
use super::meta::{Meta, Ulid};
use super::record::{self, At, Entry};
use super::writer::Failure;
use crate::bytes::Malformed;
use crate::disk::Disk;

/// Says how far the log was taken over, so that the next start does not do it again.
const MARKER: &str = "prometheus-log-imported";
/// Damaged places of a log that are reported one by one.
const DAMAGE_REPORTED_LIMIT: u64 = 100;

/// So long after a directory was taken over its blocks are read but not compacted into ours, so that
/// Prometheus can have it back.
const TRIAL_MS: i64 = 24 * 3_600_000;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Imported {
    pub(crate) blocks: u64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    /// Records that were read.
    pub(crate) records: u64,
    /// Places of the log that cannot be read.
    pub(crate) damaged: u64,
    /// Samples and exemplars of series whose labels the log no longer has.
    pub(crate) dropped: u64,
    pub(crate) seconds: f64,
    /// The newest, in the order of the log: they have no place in blocks.
    pub(crate) exemplars: VecDeque<(Labels, Exemplar)>,
    /// What families said of themselves last; no place in blocks either.
    pub(crate) metadata: BTreeMap<String, Metadata>,
}

/// Takes over the log of a Prometheus in the data directory, where there is one that was not taken
/// over yet, with at most so many exemplars. `now_ms` names the blocks.
///
/// # Errors
/// The disk refuses; what was written so far is whole, and the next start goes on.
pub(crate) fn import_log(
    disk: &Arc<dyn Disk>,
    root: &Path,
    now_ms: i64,
    exemplars_limit: usize,
) -> Result<Option<Imported>, Failure> {
    let logs = Logs::find(disk, root)?;
    let Some(state) = logs.state(disk)? else {
        return Ok(None);
    };
    let marker = Marker::read(disk, root);
    if marker.as_ref().is_some_and(|marker| marker.log == state) {
        return Ok(None);
    }
    let began = std::time::Instant::now();
    tracing::info!(path = %root.display(), segments = logs.segments.len(),
        out_of_order_segments = logs.late_segments.len(), checkpoint = logs.checkpoint.is_some(),
        "this is a data directory of Prometheus: taking over what is only in its log");
    let blocks_end_ms = prepare(disk, root)?;
    let until_ms = marker.map_or(i64::MIN, |marker| marker.until_ms);
    let mut head = Head::new(blocks_end_ms.max(until_ms), exemplars_limit);
    head.read(disk, &logs)?;
    let mut imported = Imported {
        series: head.builder.len() as u64,
        ..head.imported
    };
    let (blocks, end_ms) = head.builder.write_to(disk, root, now_ms, |_, _| {})?;
    let until_ms = until_ms.max(end_ms);
    imported.blocks = blocks.len() as u64;
    imported.samples = blocks.iter().map(|block| block.samples).sum();
    Marker {
        log: state,
        until_ms,
        taken_over_ms: now_ms,
    }
    .write(disk, root)?;
    imported.seconds = began.elapsed().as_secs_f64();
    tracing::info!(
        blocks = imported.blocks,
        series = imported.series,
        samples = imported.samples,
        exemplars = imported.exemplars.len(),
        metadata = imported.metadata.len(),
        damaged = imported.damaged,
        dropped = imported.dropped,
        milliseconds = began.elapsed().as_millis() as u64,
        "the log of Prometheus is taken over"
    );
    Ok(Some(imported))
}

/// Before this instant compaction leaves the blocks of a directory alone.
pub(super) fn untouched_until_ms(disk: &Arc<dyn Disk>, root: &Path) -> i64 {
    let marker = Marker::read(disk, root);
    marker.map_or(i64::MIN, |marker| {
        marker.taken_over_ms.saturating_add(TRIAL_MS)
    })
}

/// Files of Prometheus's logs.
#[derive(Debug, Default)]
struct Logs {
    checkpoint: Option<PathBuf>,
    /// Oldest first.
    segments: Vec<PathBuf>,
    late_segments: Vec<PathBuf>,
}

impl Logs {
    fn find(disk: &Arc<dyn Disk>, root: &Path) -> Result<Self, Failure> {
        let wal = root.join("wal");
        let names = list(disk, &wal)?;
        let number = |name: &str| name.strip_prefix("checkpoint.")?.parse::<u64>().ok();
        let checkpoint = names
            .iter()
            .filter_map(|name| Some((number(name)?, name)))
            .max();
        let from = checkpoint.map_or(0, |(number, _)| number + 1);
        Ok(Self {
            checkpoint: checkpoint.map(|(_, name)| wal.join(name)),
            segments: segments(disk, &wal, from)?,
            late_segments: segments(disk, &root.join("wbl"), 0)?,
        })
    }

    /// What tells whether Prometheus wrote since: names and sizes of the newest files. `None` where
    /// there is no log.
    fn state(&self, disk: &Arc<dyn Disk>) -> Result<Option<String>, Failure> {
        let mut state = String::new();
        for last in [self.segments.last(), self.late_segments.last()]
            .into_iter()
            .flatten()
        {
            let size_bytes = disk.size_bytes(last).map_err(|e| (last.clone(), e))?;
            let directory = last.parent().and_then(Path::file_name).unwrap_or_default();
            let name = last.file_name().unwrap_or_default();
            let (directory, name) = (directory.to_string_lossy(), name.to_string_lossy());
            let _ = write!(state, "{directory}/{name}:{size_bytes} ");
        }
        Ok((!state.is_empty()).then_some(state))
    }
}

fn list(disk: &Arc<dyn Disk>, directory: &Path) -> Result<Vec<String>, Failure> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|e| (directory.to_owned(), e)),
    }
}

/// Log segments from a number on.
fn segments(disk: &Arc<dyn Disk>, directory: &Path, from: u64) -> Result<Vec<PathBuf>, Failure> {
    let names = list(disk, directory)?;
    let mut numbered: Vec<(u64, &String)> = names
        .iter()
        .filter_map(|name| Some((name.parse().ok()?, name)))
        .filter(|(number, _)| *number >= from)
        .collect();
    numbered.sort_unstable();
    Ok(numbered
        .into_iter()
        .map(|(_, name)| directory.join(name))
        .collect())
}

/// The end of Prometheus's blocks, before which its log has nothing new. Removes blocks that were
/// never finished, as Prometheus does at its start.
fn prepare(disk: &Arc<dyn Disk>, root: &Path) -> Result<i64, Failure> {
    let mut end_ms = i64::MIN;
    for name in list(disk, root)? {
        let path = root.join(&name);
        let unfinished = name.strip_suffix(".tmp-for-creation");
        if unfinished.is_some_and(|ulid| Ulid::parse(ulid).is_some()) {
            disk.remove_dir_all(&path).map_err(|e| (path, e))?;
        } else if Ulid::parse(&name).is_some()
            && let Ok(bytes) = disk.read(&path.join("meta.json"))
            && let Ok(meta) = Meta::decode(&bytes)
            && !meta.out_of_order
        {
            end_ms = end_ms.max(meta.max_ms);
        }
    }
    Ok(end_ms)
}

/// The file that remembers an import.
#[derive(Debug)]
struct Marker {
    log: String,
    until_ms: i64,
    taken_over_ms: i64,
}

impl Marker {
    fn read(disk: &Arc<dyn Disk>, root: &Path) -> Option<Self> {
        let bytes = disk.read(&root.join(MARKER)).ok()?;
        let mut lines = std::str::from_utf8(&bytes).ok()?.lines();
        Some(Self {
            log: lines.next()?.to_owned(),
            until_ms: lines.next()?.parse().ok()?,
            taken_over_ms: lines.next()?.parse().ok()?,
        })
    }

    fn write(&self, disk: &Arc<dyn Disk>, root: &Path) -> Result<(), Failure> {
        let text = format!("{}\n{}\n{}\n", self.log, self.until_ms, self.taken_over_ms);
        let (path, temporary) = (root.join(MARKER), root.join(format!("{MARKER}.tmp")));
        match disk.remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err((temporary, error));
            }
            _ => {}
        }
        disk.create(&temporary, 0)
            .and_then(|file| {
                file.write_at(text.as_bytes(), 0)
                    .and_then(|()| file.sync_data())
            })
            .and_then(|()| disk.rename(&temporary, &path))
            .and_then(|()| disk.sync_dir(root))
            .map_err(|e| (path, e))
    }
}

/// What a log holds, as chunks.
struct Head {
    /// Samples before this are in blocks.
    from_ms: i64,
    by_reference: HashMap<u64, u32>,
    builder: BlockBuilder,
    exemplars_limit: usize,
    imported: Imported,
}

impl Head {
    fn new(from_ms: i64, exemplars_limit: usize) -> Self {
        Self {
            from_ms,
            by_reference: HashMap::new(),
            builder: BlockBuilder::new(BLOCK_SPAN_MS),
            exemplars_limit,
            imported: Imported::default(),
        }
    }

    fn read(&mut self, disk: &Arc<dyn Disk>, logs: &Logs) -> Result<(), Failure> {
        if let Some(checkpoint) = &logs.checkpoint {
            for path in segments(disk, checkpoint, 0)? {
                self.read_file(disk, &path, false)?;
            }
        }
        let last = logs.segments.last();
        for path in &logs.segments {
            self.read_file(disk, path, Some(path) == last)?;
        }
        // What came out of order may be older than the blocks.
        self.from_ms = i64::MIN;
        let last = logs.late_segments.last();
        for path in &logs.late_segments {
            self.read_file(disk, path, Some(path) == last)?;
        }
        Ok(())
    }

    fn read_file(&mut self, disk: &Arc<dyn Disk>, path: &Path, last: bool) -> Result<(), Failure> {
        let bytes = disk.read(path).map_err(|e| (path.to_owned(), e))?;
        let mut damaged = 0;
        read_segment(
            &bytes,
            last,
            |bytes| self.read_record(bytes),
            |offset, what| {
                damaged += 1;
                if damaged <= DAMAGE_REPORTED_LIMIT {
                    tracing::error!(path = %path.display(), offset, what,
                        "a place in the log of Prometheus cannot be read; what follows is");
                }
            },
        );
        self.imported.damaged += damaged;
        Ok(())
    }

    fn read_record(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.imported.records += 1;
        record::decode(bytes, |entry| match entry {
            Entry::Series(reference, labels) => {
                let number = self.builder.series(&labels);
                self.by_reference.insert(reference, number);
            }
            Entry::Float(at, value) => self.push(at, Owned::Float(value)),
            Entry::Histogram(at, mut histogram) => {
                if record::is_consistent(&histogram) {
                    histogram.reduce_reserved_schema();
                    self.push(at, Owned::Histogram(histogram));
                } else {
                    self.imported.damaged += 1;
                }
            }
            Entry::Tombstone(reference, from_ms, to_ms) => {
                if let Some(number) = self.by_reference.get(&reference) {
                    self.builder.delete(*number, from_ms, to_ms);
                }
            }
            Entry::Exemplar(reference, exemplar) => self.exemplar(reference, exemplar),
            Entry::Metadata(reference, metadata) => {
                if let Some(number) = self.by_reference.get(&reference) {
                    let name = self.builder.labels(*number).metric_name();
                    let family = family(name, metadata.kind).to_owned();
                    self.imported.metadata.insert(family, metadata);
                }
            }
            Entry::Other => {}
        })
    }

    fn exemplar(&mut self, reference: u64, exemplar: Exemplar) {
        let Some(number) = self.by_reference.get(&reference) else {
            self.imported.dropped += 1;
            return;
        };
        if self.exemplars_limit == 0 {
            return;
        }
        let exemplars = &mut self.imported.exemplars;
        if exemplars.len() >= self.exemplars_limit {
            exemplars.pop_front();
        }
        exemplars.push_back((self.builder.labels(*number).clone(), exemplar));
    }

    fn push(&mut self, at: At, value: Owned) {
        match self.by_reference.get(&at.reference) {
            Some(number) if at.timestamp_ms >= self.from_ms => {
                self.builder
                    .put(*number, at.timestamp_ms, value, at.start_ms);
            }
            Some(_) => {}
            // The series was forgotten before the checkpoint, which has no labels of it any more.
            None => self.imported.dropped += u64::from(at.timestamp_ms >= self.from_ms),
        }
    }
}

/// The family of a metric: several make up a histogram or a summary.
fn family(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    let mut stripped = suffixes.iter().filter_map(|s| name.strip_suffix(s));
    stripped.next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use barograph_model::TimeRange;

    use super::super::block::ForeignBlock;
    use super::super::chunk::ChunkSamples;
    use super::*;
    use crate::bytes::{put_signed, put_text, put_varint};
    use crate::disk::SystemDisk;

    const PAGE_BYTES: usize = 32 * 1024;
    const SNAPPY: u8 = 1 << 3;
    const NOW_MS: i64 = 1_700_000_000_000;

    /// A segment under construction, as Prometheus writes it.
    #[derive(Default)]
    struct Segment(Vec<u8>);

    impl Segment {
        fn record(&mut self, mut payload: &[u8], flags: u8) {
            let mut first = true;
            loop {
                let left = PAGE_BYTES - self.0.len() % PAGE_BYTES;
                if left < 7 {
                    self.0.resize(self.0.len() + left, 0);
                    continue;
                }
                let (piece, rest) = payload.split_at(payload.len().min(left - 7));
                let kind = match (first, rest.is_empty()) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                self.0.push(kind | flags);
                self.0
                    .extend_from_slice(&(piece.len() as u16).to_be_bytes());
                self.0
                    .extend_from_slice(&crc32c::crc32c(piece).to_be_bytes());
                self.0.extend_from_slice(piece);
                (payload, first) = (rest, false);
                if rest.is_empty() {
                    return;
                }
            }
        }

        fn write(&self, path: &Path) {
            fs::create_dir_all(path.parent().expect("a directory")).expect("creates");
            fs::write(path, &self.0).expect("writes");
        }
    }

    fn series(list: &[(u64, &str)]) -> Vec<u8> {
        let mut out = vec![1];
        for (reference, id) in list {
            out.extend_from_slice(&reference.to_be_bytes());
            put_varint(&mut out, 2);
            for text in ["__name__", "m", "id", id] {
                put_text(&mut out, text);
            }
        }
        out
    }

    fn samples(list: &[(u64, i64, f64)]) -> Vec<u8> {
        let mut out = vec![2];
        let (first, first_ms, _) = list[0];
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&first_ms.to_be_bytes());
        for (reference, timestamp_ms, value) in list {
            put_signed(&mut out, reference.wrapping_sub(first) as i64);
            put_signed(&mut out, timestamp_ms - first_ms);
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        out
    }

    /// Samples with start timestamps: every way in which a record says one, and every kind.
    fn samples_with_starts(
        kind: u8,
        list: &[(u64, i64, i64)],
        value: impl Fn(&mut Vec<u8>),
    ) -> Vec<u8> {
        let mut out = vec![kind];
        let (first, first_ms, first_start_ms) = list[0];
        let mut last: Option<(u64, i64)> = None;
        for (reference, timestamp_ms, start_ms) in list {
            if let Some((last, last_start_ms)) = last {
                put_signed(&mut out, reference.wrapping_sub(last) as i64);
                put_signed(&mut out, timestamp_ms - first_ms);
                match *start_ms {
                    0 => out.push(0),
                    start_ms if start_ms == last_start_ms => out.push(1),
                    start_ms => {
                        out.push(2);
                        put_signed(&mut out, start_ms - first_start_ms);
                    }
                }
            } else {
                put_signed(&mut out, first as i64);
                put_signed(&mut out, first_ms);
                put_signed(&mut out, first_start_ms);
            }
            last = Some((*reference, *start_ms));
            value(&mut out);
        }
        out
    }

    fn exemplars_of(list: &[(u64, i64, &str)]) -> Vec<u8> {
        let mut out = vec![4];
        let (first, first_ms, _) = list[0];
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&first_ms.to_be_bytes());
        for (reference, timestamp_ms, id) in list {
            put_signed(&mut out, reference.wrapping_sub(first) as i64);
            put_signed(&mut out, timestamp_ms - first_ms);
            out.extend_from_slice(&0.5f64.to_bits().to_be_bytes());
            put_varint(&mut out, 1);
            put_text(&mut out, "id");
            put_text(&mut out, id);
        }
        out
    }

    fn metadata(reference: u64, kind: u8, help: &str) -> Vec<u8> {
        let mut out = vec![6];
        put_varint(&mut out, reference);
        out.push(kind);
        put_varint(&mut out, 2);
        for text in ["UNIT", "", "HELP", help] {
            put_text(&mut out, text);
        }
        out
    }

    fn content(root: &Path) -> Vec<(String, i64, f64)> {
        let mut all = Vec::new();
        each_chunk(root, |id, chunk| {
            let ChunkSamples::Floats(chunk) = chunk else {
                panic!("floats only");
            };
            let samples = chunk.timestamps_ms.into_iter().zip(chunk.values);
            all.extend(samples.map(|(t, value)| (id.to_owned(), t, value)));
        });
        all.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        all
    }

    /// Calls `each` with the chunks of every series of every block.
    fn each_chunk(root: &Path, mut each: impl FnMut(&str, ChunkSamples)) {
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        for name in disk.list(root).expect("lists") {
            if Ulid::parse(&name).is_none() {
                continue;
            }
            let block = ForeignBlock::open(&disk, &root.join(name)).expect("opens");
            block.verify(|| {}).expect("is whole");
            for (labels, at) in block.select(0, &[], TimeRange::ALL).expect("selects") {
                let id = labels.get("id").to_owned();
                let range = TimeRange::ALL;
                let read =
                    block.each_chunk(at.series, range, |_| true, |chunk, _| each(&id, chunk));
                read.expect("reads");
            }
        }
    }

    #[test]
    fn start_timestamps_are_taken_over() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        let ids = [(1, "a"), (2, "b"), (3, "c")];
        // Without one, with the same, with others; the last comes out of order.
        let floats = [
            (1, 5000, 0),
            (1, 6000, 900),
            (2, 6000, 900),
            (2, 7000, 0),
            (2, 8000, 7500),
            (1, 8000, 7500),
        ];
        let late = [(1, 5500, 800)];
        let histograms = [(3, 5000, 4000), (3, 6000, 4000), (3, 7000, 6500)];
        let float = |out: &mut Vec<u8>| out.extend_from_slice(&1.5f64.to_bits().to_be_bytes());
        let histogram = |out: &mut Vec<u8>| {
            // No hint, schema 0, no zero threshold, one count in one bucket.
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&0f64.to_bits().to_be_bytes());
            out.extend_from_slice(&[0, 1]);
            out.extend_from_slice(&2f64.to_bits().to_be_bytes());
            out.extend_from_slice(&[1, 0, 1, 0, 1, 2, 0]);
        };
        let mut segment = Segment::default();
        segment.record(&series(&ids), 0);
        segment.record(&samples_with_starts(11, &floats, float), 0);
        segment.record(&samples_with_starts(12, &histograms, histogram), 0);
        segment.write(&root.join("wal/00000000"));
        let mut wbl = Segment::default();
        wbl.record(&samples_with_starts(11, &late, float), 0);
        wbl.write(&root.join("wbl/00000000"));
        let imported = import_log(&disk, root, NOW_MS, 10).expect("imports");
        let imported = imported.expect("a log");
        assert_eq!((imported.samples, imported.damaged), (10, 0));
        let mut have = Vec::new();
        each_chunk(root, |id, chunk| {
            let (timestamps_ms, starts_ms) = match chunk {
                ChunkSamples::Floats(chunk) => (chunk.timestamps_ms, chunk.starts_ms),
                ChunkSamples::Histograms(chunk) => (chunk.timestamps_ms, chunk.starts_ms),
            };
            for (row, t) in timestamps_ms.iter().enumerate() {
                let start_ms = starts_ms.get(row).copied().unwrap_or_default();
                have.push((id.to_owned(), *t, start_ms));
            }
        });
        have.sort();
        let name = |reference: u64| ids[reference as usize - 1].1.to_owned();
        let all = floats.iter().chain(&late).chain(&histograms);
        let mut want: Vec<_> = all
            .map(|(r, t, start_ms)| (name(*r), *t, *start_ms))
            .collect();
        want.sort();
        assert_eq!(have, want);
    }

    #[test]
    fn a_log_is_taken_over_once_and_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        assert_eq!(import_log(&disk, root, NOW_MS, 10).expect("imports"), None);

        let mut checkpoint = Segment::default();
        checkpoint.record(&series(&[(1, "a"), (2, "b")]), 0);
        checkpoint.record(&samples(&[(1, 1000, 1.0), (2, 1000, 2.0)]), 0);
        checkpoint.write(&root.join("wal/checkpoint.00000004/00000000"));
        // Older than the checkpoint: not read.
        let mut old = Segment::default();
        old.record(&samples(&[(1, 500, 9.0)]), 0);
        old.write(&root.join("wal/00000004"));
        let mut segment = Segment::default();
        // Far more than a page, in one record; half of it in a later block.
        let many: Vec<_> = (0..5000i64)
            .map(|step| (1, 2000 + step * 2000, step as f64 / 3.0))
            .collect();
        segment.record(&samples(&many), 0);
        let text = snap::raw::Encoder::new()
            .compress_vec(&series(&[(7, "c")]))
            .expect("compresses");
        segment.record(&text, SNAPPY);
        segment.record(&samples(&[(7, 3000, 7.0), (7, 5000, 8.0)]), 0);
        // Out of order, and a duplicate.
        segment.record(&samples(&[(7, 4000, 7.5), (7, 5000, 9.0)]), 0);
        let lost_at = segment.0.len();
        segment.record(&samples(&[(2, 2000, 3.0)]), 0);
        segment.0[lost_at + 20] ^= 1;
        let page_end = segment.0.len().next_multiple_of(PAGE_BYTES);
        segment.0.resize(page_end, 0);
        segment.record(&samples(&[(2, 3000, 4.0), (2, 4000, 5.0)]), 0);
        let mut tombstone = vec![3];
        tombstone.extend_from_slice(&2u64.to_be_bytes());
        put_signed(&mut tombstone, 3500);
        put_signed(&mut tombstone, 9000);
        segment.record(&tombstone, 0);
        segment.write(&root.join("wal/00000005"));
        let mut last = Segment::default();
        last.record(&samples(&[(2, 10_000, 6.0)]), 0);
        let torn_at = last.0.len() + 9;
        last.record(&samples(&[(2, 11_000, 6.0)]), 0);
        last.0.truncate(torn_at);
        let mut late = Segment::default();
        late.record(&samples(&[(2, 10, 0.5)]), 0);
        late.write(&root.join("wbl/00000000"));
        let exemplars: Vec<_> = (0..12).map(|n| (7, 3000 + n, "trace")).collect();
        let mut beside = Segment::default();
        beside.record(&exemplars_of(&exemplars), 0);
        beside.record(&exemplars_of(&[(99, 1, "nobody's")]), 0);
        beside.record(&metadata(7, 1, "what it counts"), 0);
        beside.record(&samples(&[(99, 4000, 1.0)]), 0);
        beside.write(&root.join("wal/00000006"));
        last.write(&root.join("wal/00000007"));

        let mut want: Vec<(String, i64, f64)> = many
            .iter()
            .map(|(_, t, value)| ("a".to_owned(), *t, *value))
            .collect();
        want.insert(0, ("a".to_owned(), 1000, 1.0));
        for (id, timestamp_ms, value) in [
            ("b", 10, 0.5),
            ("b", 1000, 2.0),
            ("b", 3000, 4.0),
            ("b", 10_000, 6.0),
            ("c", 3000, 7.0),
            ("c", 4000, 7.5),
            ("c", 5000, 8.0),
        ] {
            want.push((id.to_owned(), timestamp_ms, value));
        }
        let imported = import_log(&disk, root, NOW_MS, 10)
            .expect("imports")
            .expect("a log");
        assert_eq!(
            (imported.blocks, imported.series, imported.damaged),
            (2, 3, 1)
        );
        assert_eq!(imported.samples, want.len() as u64);
        // The newest that there is room for; a sample and an exemplar of a series without labels.
        let (labels, exemplar) = &imported.exemplars[0];
        assert_eq!((labels.get("id"), exemplar.timestamp_ms), ("c", 3002));
        assert_eq!(exemplar.labels.get("id"), "trace");
        assert_eq!((imported.exemplars.len(), imported.dropped), (10, 2));
        let said = &imported.metadata["m"];
        assert_eq!(
            (said.kind, &*said.help),
            (MetricKind::Counter, "what it counts")
        );
        assert_eq!(content(root), want);
        assert_eq!(import_log(&disk, root, NOW_MS, 10).expect("imports"), None);

        // Prometheus went on for a while.
        let last_ms = 20_000_000;
        last.0.truncate(torn_at - 9);
        last.record(&samples(&[(2, last_ms, 6.5)]), 0);
        last.write(&root.join("wal/00000007"));
        let again = import_log(&disk, root, NOW_MS, 10)
            .expect("imports")
            .expect("a log");
        want.insert(want.len() - 3, ("b".to_owned(), last_ms, 6.5));
        let mut have = content(root);
        have.dedup();
        assert_eq!(have, want);
        assert!(
            again.samples < 10,
            "only what is new, and what came late: {again:?}"
        );
    }

    /// Every file of a log, by its place below the directory.
    fn small_log() -> Vec<(&'static str, Vec<u8>)> {
        let segment = |records: &[Vec<u8>]| {
            let mut segment = Segment::default();
            for record in records {
                segment.record(record, 0);
            }
            segment.0
        };
        vec![
            (
                "wal/checkpoint.00000001/00000000",
                segment(&[series(&[(1, "a")]), samples(&[(1, 1000, 1.0)])]),
            ),
            (
                "wal/00000002",
                segment(&[series(&[(2, "b")]), samples(&[(2, 2000, 2.0)])]),
            ),
            (
                "wal/00000003",
                segment(&[series(&[(3, "c")]), samples(&[(3, 3000, 3.0)])]),
            ),
            ("wbl/00000000", segment(&[samples(&[(3, 500, 4.0)])])),
            ("chunks_head/000001", b"not read at all".to_vec()),
        ]
    }

    #[test]
    fn a_damaged_log_is_counted_and_loses_no_neighbour() {
        let log = small_log();
        let owners = ["a", "b", "c"];
        let want: Vec<(String, i64, f64)> = [
            ("a", 1000, 1.0),
            ("b", 2000, 2.0),
            ("c", 500, 4.0),
            ("c", 3000, 3.0),
        ]
        .map(|(id, t, value)| (id.to_owned(), t, value))
        .into();
        for (number, (name, bytes)) in log.iter().enumerate() {
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                for (damaged, is_cut) in [(&flipped[..], false), (&bytes[..at], true)] {
                    let directory = tempfile::tempdir().expect("a temporary directory");
                    let root = directory.path();
                    for (name, bytes) in &log {
                        Segment(bytes.clone()).write(&root.join(name));
                    }
                    fs::write(root.join(name), damaged).expect("writes");
                    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
                    let place = format!("{name} byte {at}, cut: {is_cut}");
                    let imported = import_log(&disk, root, NOW_MS, 10).expect(&place);
                    let imported = imported.expect("a log");
                    let have = content(root);
                    let lost: Vec<_> = want.iter().filter(|one| !have.contains(one)).collect();
                    assert_eq!(have.len() + lost.len(), want.len(), "{place}: {have:?}");
                    // A file that ends early at the end of a record cannot be told from a whole one,
                    // nor damage on the last page of a log from a write that was cut short.
                    let is_counted = imported.damaged + imported.dropped > 0;
                    let may_be_torn = is_cut || ["wal/00000003", "wbl/00000000"].contains(name);
                    assert!(
                        lost.is_empty() || is_counted || may_be_torn,
                        "{place}: {lost:?}"
                    );
                    let may_lose = owners.get(number).copied().unwrap_or("c");
                    assert!(
                        lost.iter().all(|one| one.0 == may_lose),
                        "{place}: {lost:?}"
                    );
                    let is_read = !name.starts_with("chunks_head");
                    assert!(is_read || lost.is_empty(), "{place}");
                }
            }
        }
    }
}

//! Samples in any order become blocks of Prometheus.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use barograph_model::{Clock, Histogram, Labels, SystemClock};

use super::chunk::{self, ChunkSamples};
use super::chunk_builder::{BuiltChunk, ChunkBuilder, Value};
use super::export::{ExportError, ExportedBlock};
use super::meta::Ulid;
use super::writer::{BlockWriter, Failure};
use crate::disk::{Disk, SystemDisk};
use crate::wal::header::new_salt;

/// Span of Prometheus's youngest blocks.
pub(crate) const BLOCK_SPAN_MS: i64 = 2 * 3_600_000;

/// Collects samples, packed, and writes them as blocks of Prometheus: one per span that has any.
#[derive(Debug)]
pub struct BlockBuilder {
    span_ms: i64,
    by_labels: HashMap<Labels, u32>,
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    chunks: ChunkBuilder,
    /// Samples that came out of order.
    late: Vec<Late>,
    deleted: Vec<(i64, i64)>,
}

#[derive(Debug)]
struct Late {
    timestamp_ms: i64,
    value: Owned,
    start_ms: i64,
}

/// A sample's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Owned {
    Float(f64),
    Histogram(Histogram),
}

impl BlockBuilder {
    /// Without samples. `span_ms` is the span of a block; 0 is that of Prometheus, two hours.
    pub fn new(span_ms: i64) -> Self {
        Self {
            span_ms: if span_ms > 0 { span_ms } else { BLOCK_SPAN_MS },
            by_labels: HashMap::new(),
            series: Vec::new(),
        }
    }

    /// The number of a series.
    pub fn series(&mut self, labels: &Labels) -> u32 {
        if let Some(number) = self.by_labels.get(labels) {
            return *number;
        }
        let number = self.series.len() as u32;
        self.by_labels.insert(labels.clone(), number);
        self.series.push(Series {
            labels: labels.clone(),
            chunks: ChunkBuilder::new(self.span_ms),
            late: Vec::new(),
            deleted: Vec::new(),
        });
        number
    }

    /// Adds a float. Of several samples of one series and instant the first counts.
    pub fn push(&mut self, series: u32, timestamp_ms: i64, value: f64) {
        self.put(series, timestamp_ms, Owned::Float(value), 0);
    }

    /// The same for any value, and a start timestamp, 0 where it is not known.
    pub(super) fn put(&mut self, series: u32, timestamp_ms: i64, value: Owned, start_ms: i64) {
        let series = &mut self.series[series as usize];
        if series
            .chunks
            .last_ms()
            .is_none_or(|last| timestamp_ms > last)
        {
            series.chunks.push(timestamp_ms, value.value(), start_ms);
        } else {
            series.late.push(Late {
                timestamp_ms,
                value,
                start_ms,
            });
        }
    }

    /// Leaves out what a series has from one instant to another.
    pub(super) fn delete(&mut self, series: u32, from_ms: i64, to_ms: i64) {
        self.series[series as usize].deleted.push((from_ms, to_ms));
    }

    /// The labels of a series.
    pub(super) fn labels(&self, series: u32) -> &Labels {
        &self.series[series as usize].labels
    }

    /// How many series were named.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Writes the blocks below `directory`; `progress` is told how many of how many are done.
    ///
    /// # Errors
    /// The disk refuses; blocks written so far are whole.
    pub fn write(
        self,
        directory: &Path,
        progress: impl FnMut(u64, u64),
    ) -> Result<Vec<ExportedBlock>, ExportError> {
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        let log = directory.join("wal");
        let created = disk.create_dir_all(&log);
        created.map_err(|source| ExportError::from((log, source)))?;
        let (blocks, _) = self.write_to(&disk, directory, SystemClock.now_ms(), progress)?;
        Ok(blocks)
    }

    /// Writes the blocks; returns the end of the last too.
    pub(super) fn write_to(
        mut self,
        disk: &Arc<dyn Disk>,
        directory: &Path,
        now_ms: i64,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(Vec<ExportedBlock>, i64), Failure> {
        let mut spans = BTreeSet::new();
        for series in &mut self.series {
            series.settle(self.span_ms);
        }
        for series in &self.series {
            let chunks = series.chunks.done.iter();
            spans.extend(chunks.map(|chunk| self.span_of(chunk)));
        }
        self.series.retain(|series| !series.chunks.done.is_empty());
        self.series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        let mut written = Vec::new();
        let mut until_ms = i64::MIN;
        let total = spans.len() as u64;
        for (done, span) in (0..).zip(spans) {
            progress(done, total);
            let mut writer = BlockWriter::begin(disk.clone(), directory, new_ulid(now_ms))?;
            let mut samples = 0;
            if let Err(error) = self.write_span(span, &mut writer, &mut samples, &mut until_ms) {
                writer.abandon();
                return Err(error);
            }
            let series = writer.len() as u64;
            written.push(ExportedBlock {
                path: writer.finish(None)?,
                series,
                samples,
            });
        }
        progress(total, total);
        Ok((written, until_ms))
    }

    fn write_span(
        &self,
        span: i64,
        writer: &mut BlockWriter,
        samples: &mut u64,
        until_ms: &mut i64,
    ) -> Result<(), Failure> {
        for series in &self.series {
            let chunks = &series.chunks.done;
            let start = chunks.partition_point(|chunk| self.span_of(chunk) < span);
            let end = chunks.partition_point(|chunk| self.span_of(chunk) <= span);
            let chunks = &chunks[start..end];
            writer.series(&series.labels, chunks)?;
            *samples += chunks.iter().map(|chunk| chunk.samples).sum::<u64>();
            if let Some(last) = chunks.last() {
                *until_ms = (*until_ms).max(last.max_ms.saturating_add(1));
            }
        }
        Ok(())
    }

    fn span_of(&self, chunk: &BuiltChunk) -> i64 {
        chunk.min_ms.div_euclid(self.span_ms)
    }
}

impl Owned {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Float(value) => Value::Float(*value),
            Self::Histogram(histogram) => Value::Histogram(histogram),
        }
    }
}

impl Series {
    /// Ends its chunks; puts late samples where they belong and leaves out deleted ones.
    fn settle(&mut self, span_ms: i64) {
        self.chunks.cut();
        if self.late.is_empty() && self.deleted.is_empty() {
            return;
        }
        let mut samples: Vec<Late> = Vec::new();
        for built in std::mem::take(&mut self.chunks.done) {
            let (timestamps_ms, values, starts_ms): (_, Vec<Owned>, _) =
                match chunk::decode(built.encoding, &built.data) {
                    Some(Ok(ChunkSamples::Floats(chunk))) => {
                        let values = chunk.values.into_iter().map(Owned::Float);
                        (chunk.timestamps_ms, values.collect(), chunk.starts_ms)
                    }
                    Some(Ok(ChunkSamples::Histograms(chunk))) => {
                        let values = chunk.histograms.into_iter().map(Owned::Histogram);
                        (chunk.timestamps_ms, values.collect(), chunk.starts_ms)
                    }
                    _ => panic!("BUG: a chunk that was just written cannot be read"),
                };
            let rows = timestamps_ms.into_iter().zip(values).enumerate();
            samples.extend(rows.map(|(row, (timestamp_ms, value))| Late {
                timestamp_ms,
                value,
                start_ms: starts_ms.get(row).copied().unwrap_or_default(),
            }));
        }
        samples.append(&mut self.late);
        // What came in order counts.
        samples.sort_by_key(|sample| sample.timestamp_ms);
        samples.dedup_by_key(|sample| sample.timestamp_ms);
        let deleted = |t: i64| {
            let mut ranges = self.deleted.iter();
            ranges.any(|(from, to)| (*from..=*to).contains(&t))
        };
        let mut chunks = ChunkBuilder::new(span_ms);
        for sample in &samples {
            if !deleted(sample.timestamp_ms) {
                chunks.push(sample.timestamp_ms, sample.value.value(), sample.start_ms);
            }
        }
        chunks.cut();
        self.chunks = chunks;
    }
}

/// An identifier nobody else makes.
pub(crate) fn new_ulid(now_ms: i64) -> Ulid {
    let chance = (0..3).fold(0u128, |chance, _| chance << 32 | u128::from(new_salt()));
    Ulid::new(now_ms, chance)
}

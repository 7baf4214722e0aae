//! What a snapshot holds, written as blocks of Prometheus.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::{Clock, Matcher, SystemClock, TimeRange};

use super::builder::{BLOCK_SPAN_MS, new_ulid};
use super::chunk_builder::{ChunkBuilder, Value};
use super::writer::{BlockWriter, Failure};
use crate::disk::{Disk, SystemDisk};
use crate::error::{ReadError, SelectError};
use crate::snapshot::{Column, Selection, Snapshot};

/// Most spans an export looks through: three centuries of two hours.
const SPANS_LIMIT: i64 = 1_300_000;

/// A block that was written.
#[derive(Clone, Debug)]
pub struct ExportedBlock {
    /// Its directory.
    pub path: PathBuf,
    /// How many series it has.
    pub series: u64,
    /// How many samples.
    pub samples: u64,
}

/// Why an export ended early; blocks written so far are whole.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An index is damaged.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A page is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk refuses.
    #[error("{path}: cannot write: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Samples are spread over more time than anyone keeps.
    #[error(
        "samples are spread over more than 300 years: name a range with --min-time and --max-time"
    )]
    Range,
}

impl From<Failure> for ExportError {
    fn from((path, source): Failure) -> Self {
        Self::Write { path, source }
    }
}

impl Snapshot {
    /// Writes the samples inside `range` of series that fit any of `selectors` (of all series, where
    /// there is none) as blocks of Prometheus: two hours each, aligned, index version 2. `progress`
    /// is told how many of how many spans are done. Start timestamps are left out: blocks of older
    /// versions cannot hold them.
    ///
    /// # Errors
    /// The disk refuses, or what is read is damaged.
    pub fn export_prometheus(
        &self,
        directory: &Path,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Vec<ExportedBlock>, ExportError> {
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        // Prometheus's own tools want a log beside blocks, be it empty.
        let log = directory.join("wal");
        let created = disk.create_dir_all(&log);
        created.map_err(|source| ExportError::from((log, source)))?;
        let mut spans = BTreeSet::new();
        for part in self.ranges() {
            let first = part.start_ms.max(range.start_ms).div_euclid(BLOCK_SPAN_MS);
            let last = part.end_ms.min(range.end_ms).div_euclid(BLOCK_SPAN_MS);
            if last.saturating_sub(first) > SPANS_LIMIT {
                return Err(ExportError::Range);
            }
            spans.extend(first..=last);
        }
        let all = [Vec::new()];
        let selectors = if selectors.is_empty() {
            &all
        } else {
            selectors
        };
        let mut written = Vec::new();
        let total = spans.len() as u64;
        for (done, span) in (0..).zip(spans) {
            progress(done, total);
            let start_ms = span.saturating_mul(BLOCK_SPAN_MS);
            let end_ms = start_ms.saturating_add(BLOCK_SPAN_MS);
            let range = TimeRange {
                start_ms: start_ms.max(range.start_ms),
                end_ms: (end_ms - 1).min(range.end_ms),
            };
            let selections = selectors
                .iter()
                .map(|matchers| self.select(matchers, range));
            let selections = selections.collect::<Result<Vec<_>, _>>()?;
            if selections.iter().any(|selection| !selection.is_empty()) {
                let ulid = new_ulid(SystemClock.now_ms());
                let writer = BlockWriter::begin(disk.clone(), directory, ulid)?;
                written.extend(export_span(writer, &selections, range, (start_ms, end_ms))?);
            }
        }
        progress(total, total);
        Ok(written)
    }
}

fn export_span(
    mut writer: BlockWriter,
    selections: &[Selection],
    range: TimeRange,
    span: (i64, i64),
) -> Result<Option<ExportedBlock>, ExportError> {
    let mut samples = 0;
    if let Err(error) = put_series(&mut writer, selections, range, &mut samples) {
        writer.abandon();
        return Err(error);
    }
    if writer.len() == 0 {
        writer.abandon();
        return Ok(None);
    }
    let series = writer.len() as u64;
    Ok(Some(ExportedBlock {
        path: writer.finish(Some(span))?,
        series,
        samples,
    }))
}

/// Series of several selections, each once, in order of their labels.
fn put_series(
    writer: &mut BlockWriter,
    selections: &[Selection],
    range: TimeRange,
    samples: &mut u64,
) -> Result<(), ExportError> {
    let mut next = vec![0; selections.len()];
    let mut column = Column::default();
    loop {
        let heads = selections.iter().zip(&next).enumerate();
        let least = heads
            .filter(|(_, (selection, at))| **at < selection.len())
            .map(|(number, (selection, at))| (selection.labels(*at), number))
            .min();
        let Some((labels, number)) = least else {
            return Ok(());
        };
        let (selection, at) = (&selections[number], next[number]);
        selection.read(at, range, &mut column)?;
        let mut histograms = Vec::new();
        if !column.histograms.is_empty() {
            histograms = selection.read_histograms(at, range)?;
        }
        let mut chunks = ChunkBuilder::new(BLOCK_SPAN_MS);
        let mut histograms = histograms.iter().peekable();
        let floats = column.timestamps_ms.iter().zip(&column.values);
        for (timestamp_ms, value) in floats {
            while let Some((t, histogram)) = histograms.next_if(|(t, _)| t < timestamp_ms) {
                chunks.push(*t, Value::Histogram(histogram), 0);
            }
            chunks.push(*timestamp_ms, Value::Float(*value), 0);
        }
        for (t, histogram) in histograms {
            chunks.push(*t, Value::Histogram(histogram), 0);
        }
        chunks.cut();
        *samples += chunks.done.iter().map(|chunk| chunk.samples).sum::<u64>();
        writer.series(labels, &chunks.done)?;
        for (selection, at) in selections.iter().zip(&mut next) {
            if *at < selection.len() && selection.labels(*at) == labels {
                *at += 1;
            }
        }
    }
}

//! Importing history: samples of any age become parts, beside the head and its log.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use barograph_model::Labels;

use crate::db::Inner;
use crate::out_of_order::SPILL_SAMPLES;
use crate::out_of_order::buffers::{Buffers, Orphan};
use crate::out_of_order::new_uid;
use crate::out_of_order::spill::{Numbering, grouped};

/// Bytes of samples collected before they are written.
const BUFFER_BYTES: usize = 64 << 20;

/// An import of history, from [`Db::backfill`](crate::Db::backfill). Samples come in any order and
/// of any age, in bounded memory. What was written becomes readable as it is written; [`finish`]
/// writes the rest. An import that ended early, or was made before, is repeated in the same way: a
/// block that is there already is not written again, and samples that are stored already change
/// nothing.
///
/// Samples past the retention are removed like any others.
///
/// [`finish`]: Backfill::finish
pub struct Backfill {
    inner: Arc<Inner>,
    buffers: Buffers,
    entries: HashMap<Labels, u32>,
    bytes: usize,
    done: Backfilled,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backfilled {
    /// Samples taken in.
    pub samples: u64,
    /// Blocks written; fewer where they were there already.
    pub blocks: u64,
}

/// Why an import failed. Blocks written before stay, and it can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The disk said no.
    #[error("cannot write {path}: {source}; the import can be repeated as it was")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Backfill {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            buffers: Buffers::new(new_uid()),
            entries: HashMap::new(),
            bytes: 0,
            done: Backfilled::default(),
        }
    }

    /// Takes in samples of a series: milliseconds since the Unix epoch and values, staleness markers
    /// included.
    ///
    /// # Errors
    /// The collected samples cannot be written, or the store was closed.
    pub fn push(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) -> Result<(), BackfillError> {
        let mut samples = samples.into_iter().peekable();
        while samples.peek().is_some() {
            let entry = self.entry(labels);
            // Some at a time, so that one series cannot take all the memory there is.
            let some = samples.by_ref().take(SAMPLES_AT_ONCE);
            let mut count = 0;
            let bits = some.map(|(timestamp_ms, value)| (timestamp_ms, value.to_bits()));
            self.bytes += self.buffers.extend(entry, bits.inspect(|_| count += 1));
            self.done.samples += count;
            if self.bytes >= BUFFER_BYTES || self.buffers.read().samples() >= SPILL_SAMPLES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// As [`Backfill::push`].
    pub fn finish(mut self) -> Result<Backfilled, BackfillError> {
        self.flush()?;
        Ok(self.done)
    }

    fn entry(&mut self, labels: &Labels) -> u32 {
        if let Some(entry) = self.entries.get(labels) {
            return *entry;
        }
        let orphan = Orphan {
            labels: labels.clone(),
            key: None,
        };
        let before = self.buffers.read().size_bytes();
        let entry = self.buffers.name(orphan);
        self.bytes += self.buffers.read().size_bytes() - before;
        self.entries.insert(labels.clone(), entry);
        entry
    }

    fn flush(&mut self) -> Result<(), BackfillError> {
        let inner = self.inner.clone();
        let _open = inner.hold_open().ok_or(BackfillError::Closed)?;
        let buffers = std::mem::replace(&mut self.buffers, Buffers::new(new_uid()));
        self.bytes = 0;
        let entries = self.entries.drain().map(|(labels, entry)| {
            let key = None;
            (Orphan { labels, key }, entry)
        });
        let names = grouped(entries.collect());
        let parts = self
            .inner
            .write_parts(&buffers, &names, Numbering::OfContent)
            .map_err(|(path, source)| BackfillError::Io { path, source })?;
        let figures = &self.inner.head.late.figures;
        let samples = buffers.read().samples();
        figures.backfilled.fetch_add(samples, Ordering::Relaxed);
        self.done.blocks += parts.len() as u64;
        let ranges: Vec<_> = parts.iter().map(|part| part.range()).collect();
        self.inner.add_parts(parts);
        for range in ranges {
            self.inner.head.late.changed_in(range);
        }
        Ok(())
    }
}

/// Samples taken in between two looks at the memory.
const SAMPLES_AT_ONCE: usize = 16 * 1024;

//! What the bytes of a block are spent on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::block::index::section;
use crate::block::{Block, Damaged};
use crate::disk::{Disk, SystemDisk};
use crate::error::OpenError;
use crate::page::codec;

/// What the bytes of a block are spent on.
#[derive(Clone, Debug, Default)]
pub struct BlockReport {
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Pages of each codec that occurs.
    pub codecs: Vec<CodecShare>,
    /// Series of each name, those of the most bytes first.
    pub metrics: Vec<MetricShare>,
    /// Pages that several series share, each time but the first.
    pub shared_pages: u64,
    /// Timestamp columns, and their bytes.
    pub columns: u64,
    /// Bytes of timestamp columns.
    pub column_bytes: u64,
    /// Bytes of the data file.
    pub data_bytes: u64,
    /// Bytes of the index file.
    pub index_bytes: u64,
    /// Bytes of the sections of the index.
    pub sections: Vec<(&'static str, u64)>,
}

/// What pages of one codec take.
#[derive(Clone, Debug)]
pub struct CodecShare {
    /// Its name.
    pub codec: &'static str,
    /// References to pages.
    pub pages: u64,
    /// Samples of these.
    pub samples: u64,
    /// Bytes of the pages, each counted once.
    pub bytes: u64,
}

/// What series of one name take.
#[derive(Clone, Debug, Default)]
pub struct MetricShare {
    /// The value of `__name__`.
    pub name: String,
    /// Series.
    pub series: u64,
    /// Samples of these.
    pub samples: u64,
    /// Bytes of their pages, each counted once.
    pub bytes: u64,
}

/// Reads a block's directory, verifies its checksums and says what its bytes are spent on.
///
/// # Errors
/// The block cannot be read or is damaged.
pub fn inspect_block(path: &Path) -> Result<BlockReport, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let block = Block::open(&disk, path)?;
    block.verify()?;
    block.report()
}

impl Block {
    /// What its bytes are spent on.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn report(&self) -> Result<BlockReport, OpenError> {
        let mut report = BlockReport {
            series: self.meta.series,
            samples: self.meta.samples,
            data_bytes: self.meta.data_bytes,
            index_bytes: self.meta.index_bytes,
            ..BlockReport::default()
        };
        let mut seen = HashSet::new();
        let mut shares = vec![(0u64, 0u64, 0u64); codec::NAMES.len()];
        let mut metrics: BTreeMap<String, MetricShare> = BTreeMap::new();
        let mut last = None;
        self.each_page(|series, page, bytes| {
            let summary = codec::summary(bytes)?;
            let share = &mut shares[usize::from(summary.codec).min(codec::NAMES.len() - 1)];
            share.0 += 1;
            // What pages say of themselves may be anything.
            let samples = summary.count as u64;
            share.1 = share.1.saturating_add(samples);
            let name = self.name_of(series).unwrap_or_default();
            let metric = metrics.entry(name).or_default();
            metric.series += u64::from(last.replace(series) != Some(series));
            metric.samples = metric.samples.saturating_add(samples);
            if seen.insert(page.offset) {
                share.2 += page.length;
                metric.bytes += page.length;
            } else {
                report.shared_pages += 1;
            }
            Ok(())
        })?;
        let named = metrics
            .into_iter()
            .map(|(name, share)| MetricShare { name, ..share });
        report.metrics = named.collect();
        report.metrics.sort_by_key(|metric| Reverse(metric.bytes));
        let named = codec::NAMES.iter().zip(shares);
        report.codecs = named
            .filter(|(_, share)| share.0 > 0)
            .map(|(codec, (pages, samples, bytes))| CodecShare {
                codec,
                pages,
                samples,
                bytes,
            })
            .collect();
        let columns = || {
            let index = self.index.view();
            let count = index.column_count()?;
            let lengths = (0..count).map(|n| index.column(n).map(|c| u64::from(c.length)));
            Ok((u64::from(count), lengths.sum::<Result<u64, _>>()?))
        };
        (report.columns, report.column_bytes) = columns().map_err(|e| self.open_error(e))?;
        for (id, name) in section::TITLES {
            let bytes = self.index.section_bytes(id);
            if bytes > 0 {
                report.sections.push((name, bytes));
            }
        }
        Ok(report)
    }

    /// The metric that a series is of.
    fn name_of(&self, series: u32) -> Result<String, Damaged> {
        let index = self.index.view();
        let (names, mut pairs) = (index.pairs_of("__name__")?, Vec::new());
        index.pairs_of_series(series, &mut pairs)?;
        match pairs.iter().find(|pair| names.contains(pair)) {
            Some(pair) => index.pair(*pair, |_, value| value.to_owned()),
            None => Ok(String::new()),
        }
    }
}

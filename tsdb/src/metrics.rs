//! The store's metrics about itself, under Prometheus's names where the meaning matches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use barograph_instrument::MetricKind::{Counter, Gauge, Histogram};
use barograph_instrument::{Encoder, MetricKind, Registry};

use crate::compact;
use crate::db::Inner;
use crate::matches::MatchCache;
use crate::positioned::ReadCache;
use crate::prometheus::import::Imported;
use crate::stats::head_stats;
use crate::view::StoredBlock;

/// Counts that no other part keeps.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) wal_corruptions: AtomicU64,
    pub(crate) wal_rows_lost: AtomicU64,
    pub(crate) wal_torn_ends: AtomicU64,
    pub(crate) wal_repairs: AtomicU64,
    pub(crate) rows_missing: AtomicU64,
    pub(crate) wal_truncations: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) checkpoints_failed: AtomicU64,
    pub(crate) checkpoint_bytes: AtomicU64,
    pub(crate) blocks_cut: AtomicU64,
    pub(crate) blocks_failed: AtomicU64,
    pub(crate) blocks_unreadable: AtomicU64,
    pub(crate) retention_deletions: AtomicU64,
    pub(crate) size_retentions: AtomicU64,
    pub(crate) head_file_failures: AtomicU64,
    pub(crate) head_file_corruptions: AtomicU64,
    /// What is kept of files that are not mapped.
    pub(crate) read_cache: Option<Arc<ReadCache>>,
    pub(crate) takeover: Takeover,
}

/// What was taken over of a log of Prometheus when the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Takeover {
    records: AtomicU64,
    samples: AtomicU64,
    exemplars: AtomicU64,
    damaged: AtomicU64,
    dropped: AtomicU64,
    microseconds: AtomicU64,
}

impl Takeover {
    pub(crate) fn set(&self, imported: &Imported) {
        let set = |figure: &AtomicU64, value| figure.store(value, Ordering::Relaxed);
        set(&self.records, imported.records);
        set(&self.samples, imported.samples);
        set(&self.exemplars, imported.exemplars.len() as u64);
        set(&self.damaged, imported.damaged);
        set(&self.dropped, imported.dropped);
        set(&self.microseconds, (imported.seconds * 1e6) as u64);
    }

    /// Name, help and value of each figure.
    fn all(&self) -> [(&'static str, &'static str, f64); 6] {
        let value = |figure: &AtomicU64| figure.load(Ordering::Relaxed) as f64;
        [
            (
                "barograph_tsdb_takeover_records",
                "Records read of the log of a Prometheus when the store was opened.",
                value(&self.records),
            ),
            (
                "barograph_tsdb_takeover_samples",
                "Samples taken over from that log.",
                value(&self.samples),
            ),
            (
                "barograph_tsdb_takeover_exemplars",
                "Exemplars taken over from that log.",
                value(&self.exemplars),
            ),
            (
                "barograph_tsdb_takeover_damaged",
                "Places of that log that could not be read.",
                value(&self.damaged),
            ),
            (
                "barograph_tsdb_takeover_dropped",
                "Samples and exemplars of that log whose series it no longer names.",
                value(&self.dropped),
            ),
            (
                "barograph_tsdb_takeover_seconds",
                "How long taking that log over lasted.",
                value(&self.microseconds) / 1e6,
            ),
        ]
    }
}

/// Registers everything. The registry may outlive the store; it then reads zeros.
pub(crate) fn register(registry: &Registry, inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    registry.collector("prometheus_tsdb", move |encoder| {
        if let Some(inner) = Weak::upgrade(&weak) {
            write(&inner, encoder);
        }
    });
}

fn write(inner: &Inner, encoder: &mut Encoder<'_>) {
    let head = head_stats(&inner.head);
    let view = inner.view.load_full();
    let own = &inner.figures;
    let retention = inner.retention();
    let compaction = &inner.compaction_figures;
    let wal = &inner.wal.figures;
    let samples = &inner.head.figures;
    let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
    let block_bytes: u64 = view.blocks.iter().map(StoredBlock::size_bytes).sum();
    let lowest_ms = view
        .blocks
        .iter()
        .map(|block| block.range().start_ms)
        .chain(head.min_time_ms)
        .min();
    let mut one = |name: &str, kind, help: &str, value: f64| {
        encoder.family(name, kind, help);
        encoder.sample(name, std::iter::empty::<(&str, &str)>(), value);
    };
    for (name, help, value) in own.takeover.all() {
        one(name, Gauge, help, value);
    }
    one(
        "prometheus_tsdb_blocks_loaded",
        Gauge,
        "Blocks that are open.",
        view.blocks.len() as f64,
    );
    one(
        "barograph_tsdb_blocks_unreadable",
        Gauge,
        "Blocks that could not be opened: their time is missing from answers.",
        count(&own.blocks_unreadable),
    );
    one(
        "prometheus_tsdb_compactions_total",
        Counter,
        "Blocks written, from the head and from other blocks.",
        count(&own.blocks_cut) + count(&compaction.merged),
    );
    one(
        "prometheus_tsdb_compactions_failed_total",
        Counter,
        "Blocks that could not be written.",
        count(&own.blocks_failed) + count(&compaction.failed),
    );
    one(
        "prometheus_tsdb_compactions_triggered_total",
        Counter,
        "Times blocks were to be merged.",
        count(&compaction.triggered),
    );
    one(
        "prometheus_tsdb_compactions_skipped_total",
        Counter,
        "Merges put off because the disk is too full.",
        count(&compaction.skipped),
    );
    one(
        "prometheus_tsdb_vertical_compactions_total",
        Counter,
        "Merges of blocks whose times overlap.",
        count(&compaction.overlapping),
    );
    one(
        "prometheus_tsdb_compaction_populating_block",
        Gauge,
        "1 while a merged block is written.",
        count(&compaction.running),
    );
    one(
        "barograph_tsdb_compaction_running",
        Gauge,
        "1 while blocks are merged.",
        count(&compaction.running),
    );
    one(
        "barograph_tsdb_compaction_read_bytes_total",
        Counter,
        "Bytes of blocks that were merged.",
        count(&compaction.read_bytes),
    );
    one(
        "barograph_tsdb_compaction_written_bytes_total",
        Counter,
        "Bytes of blocks that merging wrote.",
        count(&compaction.written_bytes),
    );
    one(
        "barograph_tsdb_compaction_samples_total",
        Counter,
        "Samples that merging wrote.",
        count(&compaction.samples),
    );
    one(
        "barograph_tsdb_compaction_duplicates_total",
        Counter,
        "Samples left out because another has their instant.",
        count(&compaction.duplicates),
    );
    one(
        "barograph_tsdb_compaction_seconds_total",
        Counter,
        "Time spent merging blocks.",
        count(&compaction.microseconds) / 1e6,
    );
    one(
        "prometheus_tsdb_head_chunks",
        Gauge,
        "Pages in memory and head files.",
        head.pages as f64,
    );
    one(
        "prometheus_tsdb_head_max_time",
        Gauge,
        "Newest instant in the head, milliseconds.",
        head.max_time_ms.unwrap_or(i64::MIN) as f64,
    );
    one(
        "prometheus_tsdb_head_min_time",
        Gauge,
        "Oldest instant in the head, milliseconds.",
        head.min_time_ms.unwrap_or(i64::MAX) as f64,
    );
    one(
        "prometheus_tsdb_head_max_time_seconds",
        Gauge,
        "Newest instant in the head, seconds.",
        head.max_time_ms.unwrap_or(0) as f64 / 1e3,
    );
    one(
        "prometheus_tsdb_head_min_time_seconds",
        Gauge,
        "Oldest instant in the head, seconds.",
        head.min_time_ms.unwrap_or(0) as f64 / 1e3,
    );
    one(
        "prometheus_tsdb_head_series",
        Gauge,
        "Series in memory.",
        head.series as f64,
    );
    one(
        "prometheus_tsdb_head_series_created_total",
        Counter,
        "Series made.",
        count(&samples.series_created),
    );
    one(
        "prometheus_tsdb_head_series_removed_total",
        Counter,
        "Series that left memory.",
        count(&samples.series_removed),
    );
    one(
        "prometheus_tsdb_lowest_timestamp",
        Gauge,
        "Oldest instant stored, milliseconds.",
        lowest_ms.unwrap_or(0) as f64,
    );
    one(
        "prometheus_tsdb_lowest_timestamp_seconds",
        Gauge,
        "Oldest instant stored, seconds.",
        lowest_ms.unwrap_or(0) as f64 / 1e3,
    );
    one(
        "prometheus_tsdb_storage_blocks_bytes",
        Gauge,
        "Bytes of all blocks.",
        block_bytes as f64,
    );
    one(
        "prometheus_tsdb_symbol_table_size_bytes",
        Gauge,
        "Bytes of label texts in memory.",
        inner.head.catalog().symbol_bytes() as f64,
    );
    one(
        "prometheus_tsdb_time_retentions_total",
        Counter,
        "Blocks removed because of their age.",
        count(&own.retention_deletions),
    );
    one(
        "prometheus_tsdb_size_retentions_total",
        Counter,
        "Blocks removed because the data directory was too large.",
        count(&own.size_retentions),
    );
    one(
        "prometheus_tsdb_retention_limit_seconds",
        Gauge,
        "How long samples are kept; 0 is for ever.",
        retention.time_ms as f64 / 1e3,
    );
    one(
        "prometheus_tsdb_retention_limit_bytes",
        Gauge,
        "Most bytes of the data directory; 0 is no limit.",
        retention.size_bytes as f64,
    );
    one(
        "prometheus_tsdb_retention_limit_percentage",
        Gauge,
        "Most bytes of the data directory as a share of the file system; 0 is no limit.",
        retention.disk_percent,
    );
    one(
        "prometheus_tsdb_wal_corruptions_total",
        Counter,
        "Damaged places met in the log.",
        count(&own.wal_corruptions),
    );
    one(
        "prometheus_tsdb_wal_fsync_failed_total",
        Counter,
        "Times the log could not be made durable.",
        count(&wal.syncs_failed),
    );
    one(
        "prometheus_tsdb_wal_segment_current",
        Gauge,
        "Number of the log segment being written.",
        count(&wal.segment),
    );
    one(
        "prometheus_tsdb_wal_truncations_total",
        Counter,
        "Times covered log segments were removed.",
        count(&own.wal_truncations),
    );
    one(
        "prometheus_tsdb_wal_writes_failed_total",
        Counter,
        "Records that could not be written.",
        count(&wal.writes_failed),
    );
    one(
        "prometheus_tsdb_checkpoint_creations_total",
        Counter,
        "Checkpoints written.",
        count(&own.checkpoints),
    );
    one(
        "prometheus_tsdb_checkpoint_creations_failed_total",
        Counter,
        "Checkpoints that could not be written.",
        count(&own.checkpoints_failed),
    );
    one(
        "barograph_tsdb_checkpoint_written_bytes_total",
        Counter,
        "Bytes of checkpoints written.",
        count(&own.checkpoint_bytes),
    );
    one(
        "barograph_tsdb_ingestion_stopped",
        Gauge,
        "1 while the log cannot be written and samples are refused.",
        f64::from(u8::from(wal.failing.load(Ordering::Relaxed))),
    );
    one(
        "barograph_tsdb_wal_written_bytes_total",
        Counter,
        "Bytes of log records written.",
        count(&wal.written_bytes),
    );
    one(
        "barograph_tsdb_wal_syncs_total",
        Counter,
        "Times the log was made durable.",
        count(&wal.syncs),
    );
    one(
        "barograph_tsdb_wal_rows_lost_total",
        Counter,
        "Logged rows that depended on a damaged record.",
        count(&own.wal_rows_lost),
    );
    one(
        "barograph_tsdb_head_file_failures_total",
        Counter,
        "Times sealed pages could not be written to a head file.",
        count(&own.head_file_failures),
    );
    one(
        "prometheus_tsdb_mmap_chunk_corruptions_total",
        Counter,
        "Damaged places met in head files.",
        count(&own.head_file_corruptions),
    );
    one(
        "barograph_tsdb_head_rows_missing",
        Gauge,
        "Sealed rows that were in no head file and no log when the store was opened.",
        count(&own.rows_missing),
    );
    one(
        "barograph_tsdb_wal_torn_ends_total",
        Counter,
        "Unfinished, never acknowledged records met at the end of the log.",
        count(&own.wal_torn_ends),
    );
    one(
        "barograph_tsdb_wal_repairs_total",
        Counter,
        "Damaged sectors of the log that were restored from its parity.",
        count(&own.wal_repairs),
    );
    one(
        "barograph_tsdb_wal_parity_failures_total",
        Counter,
        "Times the parity that protects the log from damage could not be written.",
        count(&wal.parity_failed),
    );
    one(
        "barograph_tsdb_quarantined_pieces_total",
        Counter,
        "Damaged pieces of files copied to quarantine/.",
        count(&inner.quarantine.kept),
    );
    one(
        "barograph_tsdb_open_page_bytes",
        Gauge,
        "Bytes of open pages in memory.",
        inner.head.slab_bytes() as f64,
    );
    write_exemplars(inner, &mut one);
    write_matches(&view.matches, &mut one);
    if let Some(cache) = &own.read_cache {
        write_read_cache(cache, &mut one);
    }
    one(
        "barograph_tsdb_head_component_columns",
        Gauge,
        "Columns of series in memory beside their own: histogram buckets, start timestamps.",
        inner.head.catalog().components().len() as f64,
    );
    one(
        "barograph_tsdb_layouts",
        Gauge,
        "Layouts of histograms in memory.",
        inner.head.layouts.len() as f64,
    );
    let labelled: [(&str, &str, &str, &str, &AtomicU64); 4] = [
        (
            "prometheus_tsdb_out_of_order_samples_total",
            "Samples older than their series' newest.",
            "type",
            "float",
            &samples.out_of_order,
        ),
        (
            "barograph_tsdb_duplicate_samples_total",
            "Samples that differ from the stored one of their instant.",
            "type",
            "float",
            &samples.duplicates,
        ),
        (
            "barograph_tsdb_retired_references_total",
            "Samples of series that had left memory; their writers register them again.",
            "type",
            "float",
            &samples.retired,
        ),
        (
            "barograph_tsdb_bucket_limit_exceeded_total",
            "Samples refused because too many histogram buckets are in memory.",
            "type",
            "histogram",
            &samples.too_many_buckets,
        ),
    ];
    crate::out_of_order::metrics::write(&inner.head, encoder);
    write_durations(compaction, encoder);
    let histograms = count(&samples.histograms);
    let appended = "prometheus_tsdb_head_samples_appended_total";
    encoder.family(appended, Counter, "Samples stored.");
    let floats = (count(&samples.samples) - histograms).max(0.0);
    encoder.sample(appended, [("type", "float")], floats);
    encoder.sample(appended, [("type", "histogram")], histograms);
    for (name, help, label, value, counter) in labelled {
        encoder.family(name, Counter, help);
        encoder.sample(name, [(label, value)], count(counter));
    }
}

fn write_durations(compaction: &compact::Figures, encoder: &mut Encoder<'_>) {
    let name = "prometheus_tsdb_compaction_duration_seconds";
    encoder.family(name, Histogram, "How long merges of blocks took.");
    let all = compaction.durations.count.load(Ordering::Relaxed);
    let mut within = 0;
    let bucket = format!("{name}_bucket");
    for (bound, more) in compaction.durations.bounded() {
        within += more;
        encoder.sample(&bucket, [("le", bound.to_string())], within as f64);
    }
    encoder.sample(&bucket, [("le", "+Inf")], all as f64);
    let seconds = compaction.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
    let none = std::iter::empty::<(&str, &str)>;
    encoder.sample(&format!("{name}_sum"), none(), seconds);
    encoder.sample(&format!("{name}_count"), none(), all as f64);
}

fn write_matches(matches: &MatchCache, one: &mut impl FnMut(&str, MetricKind, &str, f64)) {
    let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
    one(
        "barograph_tsdb_matches_cache_bytes",
        Gauge,
        "Bytes of what blocks answered about patterns.",
        matches.size_bytes() as f64,
    );
    one(
        "barograph_tsdb_matches_cache_hits_total",
        Counter,
        "Times a block was asked about a pattern again.",
        count(&matches.hits),
    );
    one(
        "barograph_tsdb_matches_cache_misses_total",
        Counter,
        "Times a block's values were run through a pattern.",
        count(&matches.misses),
    );
    one(
        "barograph_tsdb_matches_cache_evictions_total",
        Counter,
        "Answers that left the cache for others.",
        count(&matches.evictions),
    );
}

fn write_read_cache(cache: &ReadCache, one: &mut impl FnMut(&str, MetricKind, &str, f64)) {
    let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
    one(
        "barograph_tsdb_read_cache_bytes",
        Gauge,
        "Bytes of indexes and head files kept where nothing is mapped.",
        cache.size_bytes() as f64,
    );
    one(
        "barograph_tsdb_read_cache_hits_total",
        Counter,
        "Reads that the cache answered.",
        count(&cache.hits),
    );
    one(
        "barograph_tsdb_read_cache_misses_total",
        Counter,
        "Reads that it did not.",
        count(&cache.misses),
    );
    one(
        "barograph_tsdb_read_cache_evictions_total",
        Counter,
        "Pieces that left it for others.",
        count(&cache.evictions),
    );
}

fn write_exemplars(inner: &Inner, one: &mut impl FnMut(&str, MetricKind, &str, f64)) {
    let exemplars = &inner.head.exemplars;
    let ring = exemplars.figures();
    one(
        "prometheus_tsdb_exemplar_exemplars_appended_total",
        Counter,
        "Exemplars stored.",
        exemplars.appended.load(Ordering::Relaxed) as f64,
    );
    one(
        "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
        Counter,
        "Exemplars refused because they are older than their series' newest.",
        exemplars.out_of_order.load(Ordering::Relaxed) as f64,
    );
    one(
        "prometheus_tsdb_exemplar_exemplars_in_storage",
        Gauge,
        "Exemplars in memory.",
        ring.exemplars as f64,
    );
    one(
        "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
        Gauge,
        "Series with exemplars in memory.",
        ring.series as f64,
    );
    one(
        "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds",
        Gauge,
        "Time of the exemplar that came last.",
        ring.newest_ms.unwrap_or_default() as f64 / 1000.0,
    );
    one(
        "prometheus_tsdb_exemplar_max_exemplars",
        Gauge,
        "Most exemplars kept.",
        ring.limit as f64,
    );
}

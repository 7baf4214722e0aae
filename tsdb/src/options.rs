//! How a store is opened.

use std::path::PathBuf;
use std::time::Duration;

pub use crate::wal::writer::WalSync;

/// How files that do not change any more are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockAccess {
    /// Through maps: what is in the system's cache is read without a copy. A query that needs what is
    /// not waits in a page fault.
    #[default]
    Mmap,
    /// With reads at offsets: a copy each, a bounded cache for indexes and head files, and a disk that
    /// fails is an error of the read.
    Pread,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; made where absent.
    pub path: PathBuf,
    /// How long samples are kept, milliseconds; 0 keeps them for ever.
    pub retention_ms: i64,
    /// Most bytes of the data directory; 0 sets no limit.
    pub retention_bytes: u64,
    /// Most bytes of the data directory as a share of the file system, 0 to 100; 0 sets no limit.
    pub retention_percent: f64,
    /// Most series in memory.
    pub series_limit: usize,
    /// Most exemplars kept, the newest of all series; 0 keeps none.
    /// [`Db::set_exemplars_limit`](crate::Db::set_exemplars_limit) changes it.
    pub exemplars_limit: usize,
    /// So many series must have been silent for a quarter of an hour, and one in sixteen of those in
    /// memory, for them to leave memory before the block of their time is cut.
    pub retire_series: usize,
    /// When the log is made to survive a power cut.
    pub wal_sync: WalSync,
    /// Greatest size of a log segment, bytes, reserved when it is begun. The first reserve 4 MiB, the
    /// next ones twice as much while they are filled.
    pub wal_segment_bytes: u64,
    /// Space set aside for tidying up when the disk is full, bytes; 0 sets none aside. Where a
    /// hundredth of the file system is less, it is that, but not less than 4 MiB.
    pub reserve_bytes: u64,
    /// Span of a block cut from the head, milliseconds.
    pub block_span_ms: i64,
    /// How often the background thread looks for work; zero starts none, and
    /// [`Db::maintain`](crate::Db::maintain) is the caller's to call.
    pub maintenance_interval: Duration,
    /// How often a checkpoint of the head is written at most, beside those after a block is cut. It
    /// waits, up to six times as long, for a log that is worth it.
    pub checkpoint_interval: Duration,
    /// Bytes that compaction may read and write per second; 0 sets no limit.
    pub compaction_bytes_per_second: u64,
    /// How blocks and head files are read.
    pub block_access: BlockAccess,
    /// Most bytes of indexes and head files kept in memory with [`BlockAccess::Pread`]. What running
    /// queries and merges use comes on top.
    pub read_cache_bytes: usize,
    /// How much older than the newest sample of the store a sample may be that is older than its
    /// series' newest, milliseconds; 0 takes none.
    /// [`Db::set_out_of_order_window`](crate::Db::set_out_of_order_window) changes it.
    pub out_of_order_window_ms: i64,
    /// Most bytes of samples out of order in memory. Half of it is written to blocks meanwhile; what
    /// comes while both halves are full is rejected.
    pub out_of_order_buffer_bytes: usize,
    /// How long samples out of order stay in memory before they are written to blocks.
    pub out_of_order_spill_interval: Duration,
}

impl Options {
    /// The defaults: 15 days, ten million series, the log durable every 200 ms, blocks of 2 h.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention_ms: 15 * 24 * 3_600_000,
            retention_bytes: 0,
            retention_percent: 0.0,
            series_limit: 10_000_000,
            exemplars_limit: 100_000,
            retire_series: 1000,
            wal_sync: WalSync::Interval(Duration::from_millis(200)),
            wal_segment_bytes: 64 << 20,
            reserve_bytes: 64 << 20,
            block_span_ms: 2 * 3_600_000,
            maintenance_interval: Duration::from_secs(5),
            checkpoint_interval: Duration::from_mins(5),
            compaction_bytes_per_second: 64 << 20,
            block_access: BlockAccess::default(),
            read_cache_bytes: 256 << 20,
            out_of_order_window_ms: 24 * 3_600_000,
            out_of_order_buffer_bytes: 64 << 20,
            out_of_order_spill_interval: Duration::from_hours(1),
        }
    }
}

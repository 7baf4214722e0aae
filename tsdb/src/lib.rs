//! The time-series store: rows in, columns out.
//!
//! * [`Db`] opens a directory, registers series, appends batches and hands out snapshots.
//! * [`Batch`] is one row of one group: what a scrape, a rule group's evaluation or a sender's
//!   request brings. It is acknowledged as a whole, after its log record is written.
//! * [`Snapshot`] is an immutable view: a query reads from it and cannot disturb ingestion.
//!
//! The formats on disk are specified byte by byte in `docs/format/`.

mod append;
mod archive;
mod assemble;
mod batch;
mod block;
mod bytes;
mod catalog;
mod checkpoint;
mod chunk;
mod compact;
mod component;
mod contest;
mod cut;
mod db;
mod deletions;
mod digest;
pub mod disk;
mod error;
mod exemplars;
mod expand;
mod families;
mod head;
mod head_file;
mod head_index;
mod head_select;
mod histogram;
mod instants;
mod layout;
mod layouts;
mod maintain;
mod map;
mod matches;
mod merge;
mod metrics;
mod offline;
mod open;
mod options;
mod out_of_order;
mod overlay;
mod page;
mod pairs;
mod parity;
mod portable;
mod positioned;
mod postings;
mod progress;
mod prometheus;
mod quarantine;
mod reader;
mod replay;
mod reserve;
mod retention;
mod retire;
mod row;
mod scatter;
mod select;
mod slot;
mod snapshot;
mod sort_out;
mod stats;
mod symbols;
/// What [`slot`] is made of: `tests/loom.rs` has another.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicUsize, Ordering, fence};
}
mod track;
mod verify;
mod view;
mod wal;
mod workspace;

pub use batch::{Appended, Batch, Entry, GroupId, RejectReason, Rejected, SeriesRef};
pub use block::report::{BlockReport, CodecShare, MetricShare, inspect_block};
pub use db::{Db, Opening};
pub use digest::{Digest, Extremes, Stretch, Wanted};
pub use error::{
    AppendError, CloseError, DeleteError, OpenError, ReadError, RegisterError, SelectError,
    SnapshotError,
};
pub use exemplars::{ExemplarsAppended, SeriesExemplars};
pub use histogram::HistogramColumn;
pub use layout::HistogramError;
pub use offline::{BlockInfo, Offline, Parts};
pub use options::{BlockAccess, Options, WalSync};
pub use out_of_order::{Backfill, BackfillError, Backfilled};
pub use progress::{OpeningProgress, OpeningStep};
pub use prometheus::{BlockBuilder, ExportError, ExportedBlock};
pub use reader::Reader;
pub use retention::Retention;
pub use snapshot::{Column, Selection, Snapshot};
pub use stats::{HeadStats, LateStats, Stats};
pub use verify::FileReport;

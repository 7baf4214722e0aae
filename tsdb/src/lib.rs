//! The time-series store: rows in, columns out.
//!
//! * [`Db`] opens a directory, registers series, appends batches and hands out snapshots.
//! * [`Batch`] is one row of one group: what a scrape, a rule group's evaluation or a sender's
//!   request brings. It is acknowledged as a whole, after its log record is written.
//! * [`Snapshot`] is an immutable view: a query reads from it and cannot disturb ingestion.

mod batch;
mod db;
mod error;
mod snapshot;

pub use batch::{Appended, Batch, Entry, GroupId, RejectReason, Rejected, SeriesRef};
pub use db::{Db, HeadStats, Options, Stats};
pub use error::{AppendError, CloseError, OpenError, ReadError, RegisterError, SelectError};
pub use snapshot::{Column, Selection, Snapshot};

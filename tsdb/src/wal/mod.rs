//! The write-ahead log: one record per append, written before the append is acknowledged.

pub(crate) mod header;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod writer;

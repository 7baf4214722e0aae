//! Finding targets in files.

mod file;

pub(crate) use file::FileDiscoverer;

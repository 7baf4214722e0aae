//! What the benchmark programs share: a deterministic workload, the processes under test, and how
//! they are measured.
//!
//! * `load` serves the workload as scrape targets.
//! * `compare` runs Barograph and whichever peers are installed under that load, one at a time, and
//!   prints what each took.
//! * `push` sends them remote write.
//! * `head`, `histograms`, `blocks`, `index`, `restart` and `wal` measure the store alone.
//! * `disk` measures what days of history take on disk, against the peers.
//! * `queries` measures queries without HTTP.
//! * `kill` and `full` do what must lose nothing: sudden death, and a disk that fills.

pub mod generator;
pub mod heap;
pub mod history;
pub mod http;
pub mod measure;
pub mod remote_write;
pub mod simulated;
pub mod systems;
pub mod table;
pub mod workload;

/// A directory for a run, gone when dropped; its name says whose it is.
///
/// # Errors
/// It cannot be made.
pub fn directory() -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("barograph-bench-")
        .tempdir()
}

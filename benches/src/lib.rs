//! What the benchmark programs share: a deterministic workload, the processes under test, and how
//! they are measured.
//!
//! * `load` serves the workload as scrape targets.
//! * `compare` runs Barograph and whichever peers are installed under that load, one at a time, and
//!   prints what each took.
//! * `push` sends them remote write.
//! * `head`, `histograms`, `blocks`, `restart` and `wal` measure the store alone.
//! * `queries` measures queries without HTTP.
//! * `kill` and `full` do what must lose nothing: sudden death, and a disk that fills.

pub mod heap;
pub mod http;
pub mod measure;
pub mod simulated;
pub mod systems;
pub mod workload;

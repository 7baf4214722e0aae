//! Collectors that run in this process. Each appends exposition text to a page.

mod host;
mod process;
mod system;

pub use host::{Host, HostOptions};
pub use process::register_process_metrics;

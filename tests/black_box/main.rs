//! The shipped binary, as its users meet it: real targets, a real receiver, a real browser, bad
//! input and sudden death. One module per subject; `harness` starts and asks.
//!
//! Every server listens on a loopback port the system chooses and keeps its data in a temporary
//! directory. `BAROGRAPH_BINARY` names another binary to test in place of the one just built.
#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::format_collect,
    missing_docs,
    reason = "a test fails by panicking, and need not save an allocation"
)]

mod alerts;
mod api;
mod axum_app;
mod bad_config;
mod bad_storage;
mod bad_targets;
mod browser;
mod crash;
mod data_directories;
mod harness;
mod node_app;
mod node_exporter;
mod reload;
mod remote_write;
mod scraping;
mod takeover;
mod tools;
mod zero_configuration;

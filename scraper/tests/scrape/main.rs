//! The scraper against real sockets, read back through the store.

mod discovery;
mod in_process;
mod over_http;
mod secured;
mod support;

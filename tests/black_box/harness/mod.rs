//! What the tests start and ask.

pub(crate) mod exposition;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod receiver;
pub(crate) mod server;
pub(crate) mod target;
pub(crate) mod wait;

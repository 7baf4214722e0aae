//! Pages: the values of one series over consecutive rows, and the timestamps they share.

pub(crate) mod bits;
pub(crate) mod codec;
pub(crate) mod decimals;
pub(crate) mod integers;
pub(crate) mod slab;
pub(crate) mod timestamps;
pub(crate) mod token;
pub(crate) mod xor;

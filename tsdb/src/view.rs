//! Which blocks there are, and from where on the head counts: exchanged as one.

use std::sync::Arc;

use crate::block::Block;

/// The blocks, oldest first, and the beginning of what only the head has.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Samples of the head before this instant are in blocks of this view.
    pub(crate) head_start_ms: i64,
}

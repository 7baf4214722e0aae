//! Opening the blocks of a directory.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::block::Block;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::view::{StoredBlock, View};

/// Opens every block of a directory, and removes unfinished ones. A damaged block is left alone and
/// not read; the others are.
pub(crate) fn open_blocks(
    disk: &Arc<dyn Disk>,
    directory: &Path,
) -> Result<(View, u64), OpenError> {
    let names = disk.list(directory).map_err(|source| OpenError::Io {
        path: directory.to_owned(),
        action: "list",
        source,
    })?;
    let (mut blocks, mut unreadable) = (Vec::new(), 0);
    for name in names {
        let path = directory.join(&name);
        if name.starts_with("tmp-") {
            if let Err(error) = disk.remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished block");
            }
            continue;
        }
        match Block::open(disk, &path) {
            Ok(block) => blocks.push(Arc::new(block)),
            Err(error @ OpenError::Version { .. }) => return Err(error),
            Err(error) => {
                unreadable += 1;
                tracing::error!(%error, "a block cannot be opened; its time is missing from answers");
            }
        }
    }
    remove_superseded(disk, directory, &mut blocks);
    let blocks = blocks.into_iter().map(StoredBlock::Own).collect();
    Ok((view_of(blocks), unreadable))
}

/// Leaves out blocks that another one was made of, and removes them: a crash came before that.
fn remove_superseded(disk: &Arc<dyn Disk>, directory: &Path, blocks: &mut Vec<Arc<Block>>) {
    let parents = blocks.iter().flat_map(|block| &block.meta.parents);
    let parents: HashSet<u64> = parents.copied().collect();
    blocks.retain(|block| {
        let uid = block.meta.uid;
        if !parents.contains(&uid) {
            return true;
        }
        let grave = directory.join(format!("tmp-{uid:016x}"));
        let removed = disk
            .rename(&block.path, &grave)
            .and_then(|()| disk.remove_dir_all(&grave));
        if let Err(error) = removed {
            tracing::warn!(path = %block.path.display(), %error, "cannot remove a block that was compacted");
        }
        false
    });
}

/// A view of these blocks.
pub(crate) fn view_of(mut blocks: Vec<StoredBlock>) -> View {
    blocks.sort_by_key(|block| (block.range().start_ms, block.uid()));
    let own = blocks.iter().filter_map(StoredBlock::own);
    let whole = own.filter(|block| !block.meta.part);
    View {
        head_start_ms: whole.map(|b| b.meta.end_ms).max().unwrap_or(i64::MIN),
        deletions: Arc::default(),
        matches: Arc::default(),
        blocks,
    }
}

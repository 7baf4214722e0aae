//! Memory in which appends put rows and records together. It belongs to no group: thousands of
//! groups that are written now and then share what a few writers need at one time.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::row::Row;
use crate::scatter::Scatter;
use crate::wal::record::RecordBuilder;

/// Most that are kept for later.
const KEPT_LIMIT: usize = 8;

/// What one append needs.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) row: Row,
    pub(crate) scatter: Scatter,
    pub(crate) record: RecordBuilder,
}

/// Those that nobody uses.
#[derive(Debug, Default)]
pub(crate) struct Workspaces(Mutex<Vec<Workspace>>);

/// One in use.
pub(crate) struct Borrowed<'a> {
    owner: &'a Workspaces,
    space: Option<Workspace>,
}

impl Workspaces {
    /// Takes one.
    pub(crate) fn take(&self) -> Borrowed<'_> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Borrowed {
            owner: self,
            space: Some(kept.unwrap_or_default()),
        }
    }
}

impl Deref for Borrowed<'_> {
    type Target = Workspace;

    fn deref(&self) -> &Workspace {
        match &self.space {
            Some(space) => space,
            None => unreachable!("BUG: a workspace is there until it is given back"),
        }
    }
}

impl DerefMut for Borrowed<'_> {
    fn deref_mut(&mut self) -> &mut Workspace {
        match &mut self.space {
            Some(space) => space,
            None => unreachable!("BUG: a workspace is there until it is given back"),
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut kept = self.owner.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_LIMIT {
            kept.extend(self.space.take());
        }
    }
}

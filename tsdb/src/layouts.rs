//! The layouts in use, by number.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use crate::bytes::Malformed;
use crate::layout::{self, Layout};

/// The layouts that samples in memory have.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    by_id: RwLock<HashMap<u64, Arc<Layout>>>,
}

impl Layouts {
    /// The layout of these bytes.
    pub(crate) fn intern(&self, bytes: &[u8]) -> Result<Arc<Layout>, Malformed> {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let mut id = layout::hash(bytes);
        loop {
            match by_id.get(&id) {
                Some(layout) if *layout.bytes == *bytes => return Ok(layout.clone()),
                Some(_) => id = layout::next_id(id),
                None => {
                    let layout = Arc::new(Layout::new(id, bytes)?);
                    by_id.insert(id, layout.clone());
                    return Ok(layout);
                }
            }
        }
    }

    /// The layout of these bytes, where it is there.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<Arc<Layout>> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        let mut id = layout::hash(bytes);
        loop {
            let layout = by_id.get(&id)?;
            if *layout.bytes == *bytes {
                return Some(layout.clone());
            }
            id = layout::next_id(id);
        }
    }

    /// Ends a restart: samples up to this instant may have any of them.
    pub(crate) fn restored(&self, newest_ms: i64) {
        for layout in self.all() {
            layout.touch(newest_ms);
        }
    }

    /// A layout that the log or a checkpoint names.
    pub(crate) fn restore(&self, id: u64, bytes: &[u8]) -> Result<(), Malformed> {
        let layout = Layout::new(id, bytes)?;
        layout.logged.store(true, Ordering::Relaxed);
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.entry(id).or_insert_with(|| Arc::new(layout));
        Ok(())
    }

    /// A layout by number.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Layout>> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.get(&id).cloned()
    }

    /// All, by number.
    pub(crate) fn all(&self) -> Vec<Arc<Layout>> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = by_id.values().cloned().collect();
        all.sort_unstable_by_key(|layout| layout.id);
        all
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.len()
    }

    /// Forgets those that only samples before the instant have, and that were not used since the
    /// last call.
    pub(crate) fn forget_before(&self, until_ms: i64) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.retain(|_, layout| {
            let used = layout.used.swap(false, Ordering::Relaxed);
            // Someone may be about to append with it.
            let held = Arc::strong_count(layout) > 1;
            used || held || layout.newest_ms.load(Ordering::Relaxed) >= until_ms
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barograph_model::{Histogram, IntegerHistogram};

    fn bytes(schema: i32) -> Vec<u8> {
        let histogram = IntegerHistogram {
            schema,
            ..IntegerHistogram::default()
        };
        let mut bytes = Vec::new();
        layout::put_histogram(&Histogram::Integer(histogram), &mut bytes, &mut Vec::new())
            .expect("valid");
        bytes
    }

    #[test]
    fn layouts_of_one_number_are_kept_apart() {
        let layouts = Layouts::default();
        let (a, b) = (bytes(1), bytes(2));
        // As if the hash of `a` were that of `b`.
        layouts.restore(layout::hash(&a), &b).expect("reads");
        let first = layouts.intern(&a).expect("reads");
        assert_eq!(first.id, layout::next_id(layout::hash(&a)));
        assert_eq!(layouts.intern(&a).expect("reads").id, first.id);
        assert_ne!(layouts.intern(&b).expect("reads").id, first.id);
    }

    #[test]
    fn only_unused_layouts_are_forgotten() {
        let layouts = Layouts::default();
        let layout = layouts.intern(&bytes(1)).expect("reads");
        layout.touch(1000);
        drop(layout);
        layouts.forget_before(2000);
        assert_eq!(layouts.len(), 1, "used since the last call");
        layouts.forget_before(1000);
        assert_eq!(layouts.len(), 1, "a sample of that time may be in memory");
        layouts.forget_before(1001);
        assert_eq!(layouts.len(), 0);
    }
}

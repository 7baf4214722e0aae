//! Which series of a block have a value that matches a pattern: remembered, since blocks do not
//! change and dashboards ask the same again and again.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use croaring::{Bitmap, Portable};

use crate::select::Values;

/// Most bytes of what is remembered.
const MATCHES_LIMIT_BYTES: usize = 32 << 20;
/// What one entry costs beside its texts and its bitmap.
const OVERHEAD_BYTES: usize = 256;

/// What was asked of a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MatchKey {
    block: u64,
    name: Box<str>,
    /// The pattern; none asks for any value.
    pattern: Option<Box<str>>,
    matching: bool,
}

impl MatchKey {
    pub(crate) fn new(block: u64, name: &str, values: &Values<'_>) -> Self {
        Self {
            block,
            name: name.into(),
            pattern: values.pattern.map(|pattern| pattern.as_str().into()),
            matching: values.matching,
        }
    }

    fn size_bytes(&self) -> usize {
        OVERHEAD_BYTES + 2 * (self.name.len() + self.pattern.as_ref().map_or(0, |p| p.len()))
    }
}

/// Answers of blocks; what was used longest ago goes first.
#[derive(Debug, Default)]
pub(crate) struct MatchCache {
    state: Mutex<State>,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) evictions: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<MatchKey, Entry>,
    by_use: BTreeMap<u64, MatchKey>,
    uses: u64,
    size_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    set: Arc<Bitmap>,
    size_bytes: usize,
    used: u64,
}

impl MatchCache {
    /// How much is remembered, bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.lock().size_bytes
    }

    /// What was answered before.
    pub(crate) fn get(&self, key: &MatchKey) -> Option<Arc<Bitmap>> {
        let found = self.lock().get(key);
        let counted = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counted.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Remembers an answer, unless it takes more than a share of all there may be.
    pub(crate) fn insert(&self, key: MatchKey, set: &Bitmap) {
        let size_bytes = key.size_bytes() + set.get_serialized_size_in_bytes::<Portable>();
        if size_bytes > MATCHES_LIMIT_BYTES / 4 {
            return;
        }
        let set = Arc::new(set.clone());
        let evicted = self.lock().insert(key, set, size_bytes);
        self.evictions.fetch_add(evicted, Ordering::Relaxed);
    }

    /// Forgets what is of a block that is gone.
    pub(crate) fn forget(&self, is_gone: impl Fn(u64) -> bool) {
        let mut state = self.lock();
        let State {
            entries,
            by_use,
            size_bytes,
            ..
        } = &mut *state;
        entries.retain(|key, entry| {
            if is_gone(key.block) {
                by_use.remove(&entry.used);
                *size_bytes -= entry.size_bytes;
                return false;
            }
            true
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn get(&mut self, key: &MatchKey) -> Option<Arc<Bitmap>> {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        let moved = self.by_use.remove(&entry.used)?;
        entry.used = self.uses;
        self.by_use.insert(self.uses, moved);
        Some(entry.set.clone())
    }

    fn insert(&mut self, key: MatchKey, set: Arc<Bitmap>, size_bytes: usize) -> u64 {
        if self.entries.contains_key(&key) {
            return 0;
        }
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        let used = self.uses;
        let entry = Entry {
            set,
            size_bytes,
            used,
        };
        self.entries.insert(key, entry);
        self.size_bytes += size_bytes;
        let mut evicted = 0;
        while self.size_bytes > MATCHES_LIMIT_BYTES
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            if let Some(entry) = self.entries.remove(&oldest) {
                self.size_bytes -= entry.size_bytes;
                evicted += 1;
            }
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(block: u64, name: &str) -> MatchKey {
        let any = Values {
            pattern: None,
            matching: true,
        };
        MatchKey::new(block, name, &any)
    }

    #[test]
    fn answers_are_remembered_within_bounds_until_their_block_goes() {
        let cache = MatchCache::default();
        let scattered: Bitmap = (0..3_000_000).step_by(2).collect();
        for number in 0..200 {
            cache.insert(key(number % 2, &format!("label{number}")), &scattered);
        }
        assert!(cache.size_bytes() <= MATCHES_LIMIT_BYTES);
        assert!(cache.evictions.load(Ordering::Relaxed) > 0);
        assert!(cache.get(&key(0, "label0")).is_none());
        assert_eq!(cache.get(&key(1, "label199")).as_deref(), Some(&scattered));
        assert!(cache.get(&key(0, "label199")).is_none(), "another block");
        cache.forget(|block| block == 1);
        assert!(cache.get(&key(1, "label199")).is_none());
        assert!(cache.get(&key(0, "label198")).is_some());
        cache.forget(|_| true);
        assert_eq!(cache.size_bytes(), 0);
    }
}

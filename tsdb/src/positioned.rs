//! Reading files at offsets rather than through maps, for disks on which a fault of a page would make
//! a query wait where nothing can be done about it.
//!
//! Pages of blocks and chunks of Prometheus are read when they are needed; the system keeps what it
//! likes of them. Sections of an index and chunks of head files, of which many small parts are needed
//! one after the other, are kept in a cache of bounded size.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::disk::{Disk, DiskFile, Lock, Mapping, ReadAt, Space};
use crate::map::Region;

/// A disk on which nothing is mapped.
#[derive(Debug)]
pub(crate) struct PositionedDisk {
    inner: Arc<dyn Disk>,
    cache: Arc<ReadCache>,
    /// Files that are open, so that each is open once however many regions of it there are.
    files: Mutex<HashMap<(u64, u64), Weak<dyn ReadAt>>>,
}

impl PositionedDisk {
    /// Reads what is on `inner`.
    pub(crate) fn new(inner: Arc<dyn Disk>, cache: Arc<ReadCache>) -> Self {
        Self {
            inner,
            cache,
            files: Mutex::default(),
        }
    }

    /// The file that is open already, where it is the same.
    fn shared(&self, file: Arc<dyn ReadAt>) -> Arc<dyn ReadAt> {
        let Some(identity) = file.identity() else {
            return file;
        };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = files.get(&identity).and_then(Weak::upgrade) {
            return open;
        }
        files.retain(|_, file| file.strong_count() > 0);
        files.insert(identity, Arc::downgrade(&file));
        file
    }
}

impl Disk for PositionedDisk {
    fn map(&self, path: &Path, length: u64) -> io::Result<Mapping> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let file = self.shared(self.inner.open(path, length as u64)?);
        let region = Region::positioned(file, length, self.cache.clone());
        Ok(Mapping(region))
    }

    fn open(&self, path: &Path, length: u64) -> io::Result<Arc<dyn ReadAt>> {
        self.inner.open(path, length)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn create(&self, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.create(path, size_bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }

    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.size_bytes(path)
    }

    fn truncate(&self, path: &Path, size_bytes: u64) -> io::Result<()> {
        self.inner.truncate(path, size_bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.inner.space(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.inner.lock(path)
    }
}

/// Number of a region, offset, length.
type Key = (u64, usize, usize);

/// What was read and may be needed again. What was used longest ago goes first; what someone still
/// holds is found all the same.
#[derive(Debug)]
pub(crate) struct ReadCache {
    limit_bytes: usize,
    state: Mutex<State>,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) evictions: AtomicU64,
    regions: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// What is kept, and when it was used.
    kept: HashMap<Key, (Arc<[u8]>, u64)>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    size_bytes: usize,
    /// What was let go of while it was in use.
    held: HashMap<Key, Weak<[u8]>>,
}

impl ReadCache {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            state: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            regions: AtomicU64::new(0),
        }
    }

    /// A number that no other region has.
    pub(crate) fn region(&self) -> u64 {
        self.regions.fetch_add(1, Ordering::Relaxed)
    }

    /// How much is kept, bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.lock().size_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes under a key, by `read` where they are not kept; others may use the cache meanwhile.
    pub(crate) fn get(
        &self,
        key: Key,
        read: impl FnOnce() -> io::Result<Arc<[u8]>>,
    ) -> io::Result<Arc<[u8]>> {
        if let Some(bytes) = self.lock().find(key) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(bytes);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let bytes = read()?;
        let evicted = self.lock().insert(key, &bytes, self.limit_bytes);
        self.evictions.fetch_add(evicted, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Forgets what is of a region.
    pub(crate) fn forget(&self, region: u64) {
        let mut state = self.lock();
        let State {
            kept,
            by_use,
            size_bytes,
            held,
            ..
        } = &mut *state;
        kept.retain(|key, (bytes, used)| {
            if key.0 == region {
                *size_bytes -= bytes.len();
                by_use.remove(used);
            }
            key.0 != region
        });
        held.retain(|key, _| key.0 != region);
    }
}

impl State {
    fn find(&mut self, key: Key) -> Option<Arc<[u8]>> {
        if let Some((bytes, used)) = self.kept.get_mut(&key) {
            self.by_use.remove(used);
            self.uses += 1;
            *used = self.uses;
            self.by_use.insert(self.uses, key);
            return Some(bytes.clone());
        }
        self.held.get(&key)?.upgrade()
    }

    /// Keeps bytes where there is room or can be made; returns how many others went.
    fn insert(&mut self, key: Key, bytes: &Arc<[u8]>, limit_bytes: usize) -> u64 {
        if bytes.len() > limit_bytes {
            self.hold(key, bytes);
            return 0;
        }
        if self.kept.contains_key(&key) {
            return 0;
        }
        self.uses += 1;
        self.by_use.insert(self.uses, key);
        self.kept.insert(key, (bytes.clone(), self.uses));
        self.size_bytes += bytes.len();
        let mut evicted = 0;
        while self.size_bytes > limit_bytes
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            if let Some((bytes, _)) = self.kept.remove(&oldest) {
                self.size_bytes -= bytes.len();
                self.hold(oldest, &bytes);
                evicted += 1;
            }
        }
        evicted
    }

    fn hold(&mut self, key: Key, bytes: &Arc<[u8]>) {
        if self.held.len() > 2 * self.kept.len() + 16 {
            self.held.retain(|_, bytes| bytes.strong_count() > 0);
        }
        self.held.insert(key, Arc::downgrade(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(cache: &ReadCache, at: usize, length: usize) -> (Arc<[u8]>, bool) {
        let mut read = false;
        let bytes = cache.get((0, at, length), || {
            read = true;
            Ok(vec![at as u8; length].into())
        });
        (bytes.expect("reads"), read)
    }

    #[test]
    fn it_stays_within_its_bounds_and_lets_go_of_what_is_least_used() {
        let cache = ReadCache::new(100);
        assert!(get(&cache, 1, 40).1 && get(&cache, 2, 40).1);
        assert!(!get(&cache, 1, 40).1);
        assert!(get(&cache, 3, 40).1, "room is made for it");
        assert_eq!(
            (cache.size_bytes(), cache.evictions.load(Ordering::Relaxed)),
            (80, 1)
        );
        assert!(!get(&cache, 1, 40).1, "it was used since");
        let (second, read) = get(&cache, 2, 40);
        assert!(read);
        let large = get(&cache, 4, 101);
        assert!(large.1 && !get(&cache, 4, 101).1, "someone holds it");
        drop(large);
        assert!(get(&cache, 4, 101).1);
        cache.forget(0);
        assert_eq!(cache.size_bytes(), 0);
        assert!(get(&cache, 2, 40).1, "its region is another one now");
        assert_eq!(second.len(), 40);
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let cache = ReadCache::new(100);
        let failed = cache.get((0, 0, 10), || Err(io::ErrorKind::Other.into()));
        assert!(failed.is_err());
        assert!(get(&cache, 0, 10).1);
    }
}

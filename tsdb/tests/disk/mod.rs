//! A disk that fails, fills up, and loses what was not made durable when the power goes.
//!
//! It writes to a real directory and keeps books beside: what of each file and directory is durable,
//! and which changes came since. [`FaultyDisk::lose_power`] makes another directory of what a power
//! cut could leave: of every file's changes since its last sync a prefix, the last of them torn; of
//! every directory's changes a prefix.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use barograph_tsdb::disk::{Disk, DiskFile, Lock, Mapping, ReadAt, Space, SystemDisk};

/// A sequence of numbers that a seed determines.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit.max(1)
    }

    /// Once in so many.
    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        many > 0 && self.below(many) == 0
    }
}

/// The disk. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct FaultyDisk {
    root: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: Random,
    operations: u64,
    /// From this operation on nothing works any more.
    dies_at: u64,
    /// One operation in so many fails; 0: none.
    fault_one_in: u64,
    /// Bytes that fit; reservations count.
    capacity_bytes: u64,
    dirs: Vec<Dir>,
    files: Vec<Content>,
}

#[derive(Clone, Copy, Debug)]
enum Node {
    File(usize),
    Dir(usize),
}

#[derive(Debug, Default)]
struct Dir {
    current: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// Each a set of names that change together.
    pending: Vec<Vec<(String, Option<Node>)>>,
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Change>,
    size: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Size(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Size(size) => bytes.resize(*size as usize, 0),
            Self::Write(offset, content) => {
                let end = *offset as usize + content.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(content);
            }
        }
    }
}

impl FaultyDisk {
    /// A disk of what is in a directory, all of it durable.
    pub(crate) fn new(root: &Path, seed: u64) -> Self {
        let mut state = State {
            random: Random::new(seed),
            operations: 0,
            dies_at: u64::MAX,
            fault_one_in: 0,
            capacity_bytes: u64::MAX,
            dirs: Vec::new(),
            files: Vec::new(),
        };
        state.load(root);
        Self {
            root: root.to_owned(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Nothing works from the given operation on.
    pub(crate) fn die_at(&self, operation: u64) {
        self.lock().dies_at = operation;
    }

    /// One operation in so many fails from now on; 0: none.
    pub(crate) fn fail_one_in(&self, many: u64) {
        self.lock().fault_one_in = many;
    }

    /// How much fits from now on.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// Bytes of all files, reservations included.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// Writes to a directory what a power cut at this moment could leave.
    pub(crate) fn lose_power(&self, to: &Path) {
        let mut state = self.lock();
        state.leave(0, to);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn parts(&self, path: &Path) -> Vec<String> {
        let relative = path.strip_prefix(&self.root).expect("below the root");
        let parts = relative.components();
        parts
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect()
    }

    /// Directory and name of a path.
    fn place(&self, state: &State, path: &Path) -> io::Result<(usize, String)> {
        let mut parts = self.parts(path);
        let name = parts.pop().unwrap_or_default();
        let mut at = 0;
        for part in parts {
            match state.dirs[at].current.get(&part) {
                Some(Node::Dir(dir)) => at = *dir,
                _ => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok((at, name))
    }

    fn node(&self, state: &State, path: &Path) -> io::Result<Node> {
        let (dir, name) = self.place(state, path)?;
        if name.is_empty() {
            return Ok(Node::Dir(0));
        }
        let found = state.dirs[dir].current.get(&name).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl State {
    fn load(&mut self, path: &Path) -> usize {
        let at = self.dirs.len();
        self.dirs.push(Dir::default());
        let mut names: Vec<_> = std::fs::read_dir(path).expect("lists").collect();
        names.sort_by_key(|entry| entry.as_ref().expect("an entry").file_name());
        for entry in names {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let node = if entry.file_type().expect("a type").is_dir() {
                Node::Dir(self.load(&entry.path()))
            } else {
                let durable = std::fs::read(entry.path()).expect("reads");
                let size = durable.len() as u64;
                self.files.push(Content {
                    durable,
                    pending: Vec::new(),
                    size,
                });
                Node::File(self.files.len() - 1)
            };
            self.dirs[at].current.insert(name.clone(), node);
            self.dirs[at].durable.insert(name, node);
        }
        at
    }

    fn leave(&mut self, dir: usize, to: &Path) {
        std::fs::create_dir_all(to).expect("makes");
        let mut entries = self.dirs[dir].durable.clone();
        let count = self.random.below(self.dirs[dir].pending.len() as u64 + 1) as usize;
        for (name, node) in self.dirs[dir].pending[..count].iter().flatten() {
            match node {
                Some(node) => entries.insert(name.clone(), *node),
                None => entries.remove(name),
            };
        }
        for (name, node) in entries {
            match node {
                Node::Dir(dir) => self.leave(dir, &to.join(name)),
                Node::File(file) => {
                    let pending = self.files[file].pending.len() as u64;
                    let count = self.random.below(pending + 1) as usize;
                    let content = &self.files[file];
                    let mut bytes = content.durable.clone();
                    for change in &content.pending[..count] {
                        change.apply(&mut bytes);
                    }
                    if let Some(Change::Write(offset, torn)) = content.pending.get(count) {
                        let kept = self.random.below(torn.len() as u64 + 1) as usize;
                        Change::Write(*offset, torn[..kept].to_vec()).apply(&mut bytes);
                    }
                    std::fs::write(to.join(name), bytes).expect("writes");
                }
            }
        }
    }

    fn used_bytes(&self) -> u64 {
        let mut left = vec![0];
        let mut used = 0;
        while let Some(dir) = left.pop() {
            for node in self.dirs[dir].current.values() {
                match node {
                    Node::Dir(dir) => left.push(*dir),
                    Node::File(file) => used += self.files[*file].size,
                }
            }
        }
        used
    }

    /// Counts an operation; an error where it is to fail.
    fn begin(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.operations >= self.dies_at {
            return Err(io::Error::other("the power is gone"));
        }
        let many = self.fault_one_in;
        if self.random.one_in(many) {
            return Err(match self.random.below(2) {
                0 => io::Error::other("an input/output error"),
                _ => io::ErrorKind::StorageFull.into(),
            });
        }
        Ok(())
    }

    fn check_room(&self, more_bytes: u64) -> io::Result<()> {
        if more_bytes > 0 && self.used_bytes().saturating_add(more_bytes) > self.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn change(&mut self, dir: usize, names: Vec<(String, Option<Node>)>) {
        for (name, node) in &names {
            match node {
                Some(node) => self.dirs[dir].current.insert(name.clone(), *node),
                None => self.dirs[dir].current.remove(name),
            };
        }
        self.dirs[dir].pending.push(names);
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    disk: FaultyDisk,
    number: usize,
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let was_alive = state.operations + 1 < state.dies_at;
        let end = offset + bytes.len() as u64;
        let more = end.saturating_sub(state.files[self.number].size);
        let failed = state.begin().and_then(|()| state.check_room(more));
        let kept = match &failed {
            Ok(()) => bytes.len(),
            // A part may be written.
            Err(_) if was_alive => state.random.below(bytes.len() as u64 + 1) as usize,
            Err(_) => 0,
        };
        if kept > 0 && (more == 0 || failed.is_ok()) {
            self.file.write_at(&bytes[..kept], offset)?;
            let file = &mut state.files[self.number];
            file.size = file.size.max(offset + kept as u64);
            file.pending
                .push(Change::Write(offset, bytes[..kept].to_vec()));
        }
        failed
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let failed = state.begin();
        let file = &mut state.files[self.number];
        let pending = std::mem::take(&mut file.pending);
        if failed.is_ok() {
            for change in pending {
                change.apply(&mut file.durable);
            }
        }
        // After a failed sync the system forgets that there was something to write: the next one
        // succeeds, and makes nothing of this durable.
        failed
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        SystemDisk.create_dir_all(path)?;
        let mut at = 0;
        for part in self.parts(path) {
            at = if let Some(Node::Dir(dir)) = state.dirs[at].current.get(&part) {
                *dir
            } else {
                state.dirs.push(Dir::default());
                let new = state.dirs.len() - 1;
                state.change(at, vec![(part, Some(Node::Dir(new)))]);
                new
            };
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        SystemDisk.list(path)
    }

    fn create(&self, path: &Path, size_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.begin()?;
        state.check_room(size_bytes)?;
        let file = SystemDisk.create(path, size_bytes)?;
        let (dir, name) = self.place(&state, path)?;
        state.files.push(Content {
            durable: Vec::new(),
            pending: vec![Change::Size(size_bytes)],
            size: size_bytes,
        });
        let number = state.files.len() - 1;
        state.change(dir, vec![(name, Some(Node::File(number)))]);
        Ok(Arc::new(FaultyFile {
            file,
            disk: self.clone(),
            number,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemDisk.read(path)
    }

    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        SystemDisk.size_bytes(path)
    }

    fn truncate(&self, path: &Path, size_bytes: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        SystemDisk.truncate(path, size_bytes)?;
        if let Node::File(file) = self.node(&state, path)? {
            state.files[file].size = size_bytes;
            state.files[file].pending.push(Change::Size(size_bytes));
        }
        Ok(())
    }

    fn map(&self, path: &Path, length: u64) -> io::Result<Mapping> {
        SystemDisk.map(path, length)
    }

    fn open(&self, path: &Path, length: u64) -> io::Result<Arc<dyn ReadAt>> {
        SystemDisk.open(path, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        let node = self.node(&state, from)?;
        let (from_dir, from_name) = self.place(&state, from)?;
        let (to_dir, to_name) = self.place(&state, to)?;
        SystemDisk.rename(from, to)?;
        if from_dir == to_dir {
            state.change(from_dir, vec![(from_name, None), (to_name, Some(node))]);
        } else {
            state.change(to_dir, vec![(to_name, Some(node))]);
            state.change(from_dir, vec![(from_name, None)]);
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        let node = self.node(&state, from)?;
        let (dir, name) = self.place(&state, to)?;
        SystemDisk.link(from, to)?;
        state.change(dir, vec![(name, Some(node))]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        SystemDisk.remove_file(path)?;
        let (dir, name) = self.place(&state, path)?;
        state.change(dir, vec![(name, None)]);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        SystemDisk.remove_dir_all(path)?;
        let (dir, name) = self.place(&state, path)?;
        if let Some(Node::Dir(gone)) = state.dirs[dir].current.get(&name).copied() {
            let names: Vec<String> = state.dirs[gone].current.keys().cloned().collect();
            for name in names {
                state.change(gone, vec![(name, None)]);
            }
        }
        state.change(dir, vec![(name, None)]);
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.lock();
        Ok(Space {
            free_bytes: state.capacity_bytes.saturating_sub(state.used_bytes()),
            total_bytes: state.capacity_bytes,
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        if let Node::Dir(dir) = self.node(&state, path)? {
            state.dirs[dir].pending.clear();
            state.dirs[dir].durable = state.dirs[dir].current.clone();
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        SystemDisk.lock(path)
    }
}

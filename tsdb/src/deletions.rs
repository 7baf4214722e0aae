//! Deleted samples: matchers and a range, applied on reading until compaction has erased them.
//!
//! A deletion counts for the blocks there were when it was made, by `uid`, and for the head up to
//! its newest sample then: what is written afterwards is not deleted. Late samples are spilled first. A block cut from the head
//! inherits the deletions of the head. One that is made of others does not: its samples were left
//! out while it was written. The file `deletions` has them all, and is replaced as a whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use barograph_model::{Labels, MatchOp, Matcher, TimeRange};

use crate::bytes::{Malformed, Reader, checked_body, put_text, put_varint};
use crate::db::Inner;
use crate::disk::Disk;
use crate::error::{DeleteError, OpenError};
use crate::view::StoredBlock;

/// The file in the data directory.
pub(crate) const FILE: &str = "deletions";
const MAGIC: [u8; 8] = *b"BARODEL\n";
const VERSION: u32 = 1;
/// Most deletions kept.
const DELETIONS_LIMIT: usize = 10_000;

/// One deletion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deletion {
    /// Rises from one to the next.
    number: u64,
    matchers: Vec<Matcher>,
    range: TimeRange,
    /// The blocks it counts for, and up to when in each.
    blocks: BTreeMap<u64, i64>,
    /// Up to when it counts for the head; before its beginning where it does not.
    head_end_ms: i64,
}

/// Where samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Head,
    /// The block of that `uid`.
    Block(u64),
}

/// All deletions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletions {
    list: Vec<Arc<Deletion>>,
}

impl Deletion {
    /// Tells it from the others.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What it deletes in a place.
    pub(crate) fn range_in(&self, place: Place) -> Option<TimeRange> {
        let end_ms = match place {
            Place::Head => self.range.end_ms.min(self.head_end_ms),
            Place::Block(uid) => self.range.end_ms.min(*self.blocks.get(&uid)?),
        };
        (self.range.start_ms <= end_ms).then_some(TimeRange {
            end_ms,
            ..self.range
        })
    }

    /// Whether it is about a series of these labels.
    pub(crate) fn fits<'a>(&self, value_of: impl Fn(&str) -> &'a str) -> bool {
        self.matchers.iter().all(|m| m.matches(value_of(m.name())))
    }
}

impl Deletions {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Those about a series, inside a range.
    pub(crate) fn of(&self, labels: &Labels, range: TimeRange) -> Vec<Arc<Deletion>> {
        let about =
            |d: &&Arc<Deletion>| d.range.overlaps(&range) && d.fits(|name| labels.get(name));
        self.list.iter().filter(about).cloned().collect()
    }

    /// Whether any is about samples of the range.
    pub(crate) fn overlap(&self, range: TimeRange) -> bool {
        self.list.iter().any(|d| d.range.overlaps(&range))
    }

    /// Those that count for a block.
    pub(crate) fn of_block(&self, uid: u64) -> Vec<Arc<Deletion>> {
        let counts = |d: &&Arc<Deletion>| d.blocks.contains_key(&uid);
        self.list.iter().filter(counts).cloned().collect()
    }

    /// Every block that some count for.
    pub(crate) fn blocks(&self) -> BTreeSet<u64> {
        self.list
            .iter()
            .flat_map(|d| d.blocks.keys())
            .copied()
            .collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.list.len() as u32).to_le_bytes());
        for deletion in &self.list {
            for field in [
                deletion.number,
                deletion.range.start_ms as u64,
                deletion.range.end_ms as u64,
                deletion.head_end_ms as u64,
            ] {
                out.extend_from_slice(&field.to_le_bytes());
            }
            put_varint(&mut out, deletion.blocks.len() as u64);
            for (uid, end_ms) in &deletion.blocks {
                out.extend_from_slice(&uid.to_le_bytes());
                out.extend_from_slice(&end_ms.to_le_bytes());
            }
            put_varint(&mut out, deletion.matchers.len() as u64);
            for matcher in &deletion.matchers {
                out.push(match matcher.op() {
                    MatchOp::Equal => 0,
                    MatchOp::NotEqual => 1,
                    MatchOp::Regex => 2,
                    MatchOp::NotRegex => 3,
                });
                put_text(&mut out, matcher.name());
                put_text(&mut out, matcher.value());
            }
        }
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Result<Self, u32>, Malformed> {
        let mut reader = Reader::new(checked_body(bytes)?);
        if reader.take(8)? != MAGIC {
            return Err(Malformed {
                offset: 0,
                what: "not a file of deletions",
            });
        }
        let version = reader.u32()?;
        if version != VERSION {
            return Ok(Err(version));
        }
        let mut deletions = Self::default();
        for _ in 0..reader.u32()? {
            deletions.list.push(Arc::new(read_deletion(&mut reader)?));
        }
        Ok(Ok(deletions))
    }
}

fn read_deletion(reader: &mut Reader<'_>) -> Result<Deletion, Malformed> {
    let number = reader.u64()?;
    let range = TimeRange {
        start_ms: reader.i64()?,
        end_ms: reader.i64()?,
    };
    let head_end_ms = reader.i64()?;
    let blocks = (0..reader.count(16)?)
        .map(|_| Ok((reader.u64()?, reader.i64()?)))
        .collect::<Result<_, _>>()?;
    let mut matchers = Vec::new();
    for _ in 0..reader.count(3)? {
        let op = match reader.u8()? {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            _ => return Err(reader.fail("an unknown kind of matcher")),
        };
        let (name, value) = (reader.text()?, reader.text()?);
        let matcher = Matcher::new(name, op, value);
        matchers.push(matcher.map_err(|_| reader.fail("a pattern that is none"))?);
    }
    Ok(Deletion {
        number,
        matchers,
        range,
        blocks,
        head_end_ms,
    })
}

/// What is left of a range without some others.
pub(crate) fn without(
    range: TimeRange,
    taken: impl IntoIterator<Item = TimeRange>,
) -> Vec<TimeRange> {
    let mut taken: Vec<TimeRange> = taken.into_iter().collect();
    taken.sort_unstable_by_key(|t| t.start_ms);
    let (mut left, mut start_ms) = (Vec::new(), Some(range.start_ms));
    for gone in taken.iter().filter(|t| t.overlaps(&range)) {
        let Some(from_ms) = start_ms else { break };
        if gone.start_ms > from_ms {
            left.push(TimeRange {
                start_ms: from_ms,
                end_ms: gone.start_ms - 1,
            });
        }
        // After the end of time there is nothing left.
        start_ms = gone.end_ms.checked_add(1).map(|next| next.max(from_ms));
    }
    if let Some(start_ms) = start_ms.filter(|start_ms| *start_ms <= range.end_ms) {
        left.push(TimeRange { start_ms, ..range });
    }
    left
}

/// Reads the deletions of a data directory.
pub(crate) fn load(disk: &Arc<dyn Disk>, root: &Path) -> Result<Deletions, OpenError> {
    let path = root.join(FILE);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Deletions::default()),
        Err(source) => {
            return Err(OpenError::Io {
                path,
                action: "read the deletions",
                source,
            });
        }
    };
    match Deletions::decode(&bytes) {
        Ok(Ok(deletions)) => Ok(deletions),
        Ok(Err(version)) => Err(OpenError::Version { path, version }),
        // To go on would bring back what was deleted.
        Err(error) => Err(OpenError::Corrupt {
            path,
            offset: error.offset as u64,
            what: format!(
                "{}; remove the file to see deleted samples again",
                error.what
            ),
        }),
    }
}

impl Inner {
    /// Held while deletions change, and while a block that leaves deleted samples out takes the
    /// place of those that have them.
    pub(crate) fn deletes(&self) -> MutexGuard<'_, ()> {
        self.deletes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what fits in a range, durably.
    pub(crate) fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), DeleteError> {
        // Late samples are in blocks then, and those that come afterwards are told from them.
        self.spill_older(Duration::ZERO)
            .map_err(|(path, source)| DeleteError::Io { path, source })?;
        let _deletes = self.deletes();
        let view = self.view.load_full();
        let on_disk = self
            .uids_on_disk()
            .map_err(|(path, source)| DeleteError::Io { path, source })?;
        let mut next = self.still_needed(&view.deletions, &on_disk);
        if next.list.len() >= DELETIONS_LIMIT {
            return Err(DeleteError::TooMany {
                limit: DELETIONS_LIMIT,
            });
        }
        let blocks = view.blocks.iter().filter(|b| b.range().overlaps(&range));
        let blocks = blocks.map(StoredBlock::uid);
        // Those that got their name though their writing failed are opened by the next start.
        let known: BTreeSet<u64> = view.blocks.iter().map(StoredBlock::uid).collect();
        let blocks = blocks.chain(on_disk.difference(&known).copied());
        let number = next.list.last().map_or(0, |last| last.number) + 1;
        next.list.push(Arc::new(Deletion {
            number,
            matchers: matchers.to_vec(),
            range,
            blocks: blocks.map(|uid| (uid, i64::MAX)).collect(),
            head_end_ms: self.head.max_ms.load(Ordering::Acquire),
        }));
        self.put_deletions(next)
            .map_err(|(path, source)| DeleteError::Io { path, source })
    }

    /// Makes the deletions of the head count for a block that is about to be cut from it. The
    /// caller holds [`Inner::deletes`] until the block is in the view.
    pub(crate) fn inherit_deletions(
        &self,
        uid: u64,
        range: TimeRange,
    ) -> Result<(), (PathBuf, io::Error)> {
        let view = self.view.load_full();
        let counts = |d: &Arc<Deletion>| {
            let gone = d.range_in(Place::Head);
            gone.is_some_and(|gone| gone.overlaps(&range))
        };
        if !view.deletions.list.iter().any(counts) {
            return Ok(());
        }
        let mut next = Deletions::clone(&view.deletions);
        for deletion in next.list.iter_mut().filter(|d| counts(d)) {
            let deletion = Arc::make_mut(deletion);
            deletion.blocks.insert(uid, deletion.head_end_ms);
        }
        self.put_deletions(next)
    }

    /// Makes deletions count for all of a block. The caller holds [`Inner::deletes`] until the block
    /// is in the view.
    pub(crate) fn count_deletions_for(
        &self,
        uid: u64,
        numbers: &HashSet<u64>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let mut next = Deletions::clone(&self.view.load().deletions);
        for deletion in next.list.iter_mut().filter(|d| numbers.contains(&d.number)) {
            Arc::make_mut(deletion).blocks.insert(uid, i64::MAX);
        }
        self.put_deletions(next)
    }

    /// Forgets deletions that count for nothing any more. The caller holds [`Inner::deletes`].
    pub(crate) fn forget_deletions(&self) {
        let view = self.view.load_full();
        if view.deletions.is_empty() {
            return;
        }
        let Ok(on_disk) = self.uids_on_disk() else {
            // Too many of them do no harm, and the next time is soon.
            return;
        };
        let next = self.still_needed(&view.deletions, &on_disk);
        if next.list != view.deletions.list
            && let Err((path, error)) = self.put_deletions(next)
        {
            tracing::warn!(path = %path.display(), %error, "cannot forget deletions that were carried out");
        }
    }

    /// The blocks whose directories are there, by `uid`, also those that are on their way out. No
    /// power cut brings others back.
    pub(crate) fn uids_on_disk(&self) -> Result<BTreeSet<u64>, (PathBuf, io::Error)> {
        let path = self.options.path.join("blocks");
        let names = self.disk.sync_dir(&path);
        let names = names.and_then(|()| self.disk.list(&path));
        let names = names.map_err(|error| (path, error))?;
        let uid = |name: &String| u64::from_str_radix(name.rsplit('-').next()?, 16).ok();
        Ok(names.iter().filter_map(uid).collect())
    }

    /// The deletions that count for samples there are, or that the next start may find on disk.
    fn still_needed(&self, deletions: &Deletions, on_disk: &BTreeSet<u64>) -> Deletions {
        let view = self.view.load_full();
        let known = view.blocks.iter().map(StoredBlock::uid);
        let uids: BTreeSet<u64> = known.chain(on_disk.iter().copied()).collect();
        let mut next = deletions.clone();
        for deletion in &mut next.list {
            let gone = deletion.blocks.keys().any(|uid| !uids.contains(uid));
            if gone {
                Arc::make_mut(deletion)
                    .blocks
                    .retain(|uid, _| uids.contains(uid));
            }
        }
        // Where a block cannot be opened, the head's files may bring back what it has, and what was
        // deleted before it was written.
        let reach_ms = self.head_reach_ms.load(Ordering::Relaxed);
        let reach_ms = reach_ms.min(view.head_start_ms);
        next.list.retain(|d| {
            let in_head = d.range_in(Place::Head);
            !d.blocks.is_empty() || in_head.is_some_and(|gone| gone.end_ms >= reach_ms)
        });
        next
    }

    fn put_deletions(&self, deletions: Deletions) -> Result<(), (PathBuf, io::Error)> {
        let root = &self.options.path;
        let (path, temporary) = (root.join(FILE), root.join("deletions.tmp"));
        let disk = &self.disk;
        if disk.size_bytes(&temporary).is_ok() {
            disk.remove_file(&temporary)
                .map_err(|error| (temporary.clone(), error))?;
        }
        disk.create(&temporary, 0)
            .and_then(|file| {
                file.write_at(&deletions.encode(), 0)?;
                file.sync_data()
            })
            .and_then(|()| disk.rename(&temporary, &path))
            .and_then(|()| disk.sync_dir(root))
            .map_err(|error| (path, error))?;
        self.exchange_deletions(Arc::new(deletions));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start_ms: i64, end_ms: i64) -> TimeRange {
        TimeRange { start_ms, end_ms }
    }

    #[test]
    fn what_is_left_is_exact_at_the_edges() {
        let whole = range(10, 20);
        let left = |taken: &[(i64, i64)]| {
            let taken = taken.iter().map(|(a, b)| range(*a, *b));
            let left = without(whole, taken);
            left.iter()
                .map(|r| (r.start_ms, r.end_ms))
                .collect::<Vec<_>>()
        };
        assert_eq!(left(&[]), [(10, 20)]);
        assert_eq!(left(&[(0, 9), (21, 30)]), [(10, 20)]);
        assert_eq!(left(&[(10, 10), (20, 20)]), [(11, 19)]);
        assert_eq!(left(&[(14, 15), (12, 13), (13, 17)]), [(10, 11), (18, 20)]);
        assert_eq!(left(&[(i64::MIN, i64::MAX)]), []);
        assert_eq!(left(&[(15, i64::MAX), (16, 17)]), [(10, 14)]);
    }

    #[test]
    fn the_file_survives_and_notices_damage() {
        let deletion = Deletion {
            number: 3,
            matchers: vec![
                Matcher::equal("a", "b"),
                Matcher::new("c", MatchOp::NotRegex, "d.*").expect("valid"),
            ],
            range: range(-5, i64::MAX),
            blocks: [(7, i64::MAX), (u64::MAX, 5)].into(),
            head_end_ms: 99,
        };
        let deletions = Deletions {
            list: vec![Arc::new(deletion)],
        };
        let bytes = deletions.encode();
        let back = Deletions::decode(&bytes).expect("just written");
        assert_eq!(back.expect("this version").list, deletions.list);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(Deletions::decode(&damaged).is_err());
            assert!(Deletions::decode(&bytes[..at]).is_err());
        }
    }
}

//! Postings of the head: which series have a label pair.

use roaring::RoaringBitmap;

/// Series in memory, by slot.
#[derive(Clone, Debug, Default)]
pub(crate) enum Postings {
    /// None.
    #[default]
    Empty,
    /// `count` slots in a row from `first`: a target's own labels look like this.
    Range { first: u32, count: u32 },
    /// A few, ascending.
    Few(Box<[u32]>),
    /// Many.
    Many(Box<RoaringBitmap>),
}

/// Longest list kept as an array. Beyond it a bitmap is smaller.
const FEW_LIMIT: usize = 32;

impl Postings {
    /// Adds a slot.
    pub(crate) fn insert(&mut self, slot: u32) {
        match self {
            Self::Empty => {
                *self = Self::Range {
                    first: slot,
                    count: 1,
                }
            }
            Self::Range { first, count } => {
                let end = *first + *count;
                if slot == end {
                    *count += 1;
                } else if slot < *first || slot > end {
                    let mut bitmap = RoaringBitmap::new();
                    bitmap.insert_range(*first..end);
                    bitmap.insert(slot);
                    *self = Self::from_bitmap(bitmap);
                }
            }
            Self::Few(slots) => {
                let Err(at) = slots.binary_search(&slot) else {
                    return;
                };
                let mut list = std::mem::take(slots).into_vec();
                list.insert(at, slot);
                *self = if list.len() > FEW_LIMIT {
                    Self::Many(Box::new(list.into_iter().collect()))
                } else {
                    Self::Few(list.into_boxed_slice())
                };
            }
            Self::Many(bitmap) => {
                bitmap.insert(slot);
            }
        }
    }

    /// Adds ascending slots, all above those that are there.
    pub(crate) fn extend(&mut self, sorted: &[u32]) {
        let [first, .., last] = *sorted else {
            if let [slot] = *sorted {
                self.insert(slot);
            }
            return;
        };
        let is_run = (last - first) as usize + 1 == sorted.len();
        match self {
            Self::Empty if is_run => {
                let count = sorted.len() as u32;
                *self = Self::Range { first, count };
            }
            Self::Empty if sorted.len() <= FEW_LIMIT => *self = Self::Few(sorted.into()),
            Self::Range {
                first: start,
                count,
            } if is_run && first == *start + *count => {
                *count += sorted.len() as u32;
            }
            Self::Many(bitmap) => add_sorted(bitmap, sorted),
            _ => {
                let mut bitmap = self.to_bitmap();
                add_sorted(&mut bitmap, sorted);
                *self = Self::from_bitmap(bitmap);
            }
        }
    }

    /// Removes every slot of `gone`.
    pub(crate) fn remove(&mut self, gone: &RoaringBitmap) {
        let mut bitmap = self.to_bitmap();
        bitmap -= gone;
        bitmap.optimize();
        *self = Self::from_bitmap(bitmap);
    }

    /// How many.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Range { count, .. } => u64::from(*count),
            Self::Few(slots) => slots.len() as u64,
            Self::Many(bitmap) => bitmap.len(),
        }
    }

    /// As a bitmap.
    pub(crate) fn to_bitmap(&self) -> RoaringBitmap {
        let mut bitmap = RoaringBitmap::new();
        self.add_to(&mut bitmap);
        bitmap
    }

    /// Adds all of these to `set`.
    pub(crate) fn add_to(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Empty => {}
            Self::Range { first, count } => {
                set.insert_range(*first..*first + *count);
            }
            Self::Few(slots) => set.extend(slots.iter().copied()),
            Self::Many(bitmap) => *set |= &**bitmap,
        }
    }

    /// Keeps in `set` what is also here.
    pub(crate) fn intersect(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Many(bitmap) => *set &= &**bitmap,
            other => *set &= other.to_bitmap(),
        }
    }

    /// Whether any of these is in `set`.
    pub(crate) fn intersects(&self, set: &RoaringBitmap) -> bool {
        match self {
            Self::Empty => false,
            Self::Range { first, count } => set.range(*first..*first + *count).next().is_some(),
            Self::Few(slots) => slots.iter().any(|slot| set.contains(*slot)),
            Self::Many(bitmap) => !bitmap.is_disjoint(set),
        }
    }

    fn from_bitmap(bitmap: RoaringBitmap) -> Self {
        let count = bitmap.len();
        match (bitmap.min(), bitmap.max()) {
            (Some(first), Some(last)) if u64::from(last - first) + 1 == count => Self::Range {
                first,
                count: count as u32,
            },
            (None, _) => Self::Empty,
            _ if count as usize <= FEW_LIMIT => Self::Few(bitmap.into_iter().collect()),
            _ => Self::Many(Box::new(bitmap)),
        }
    }
}

/// Adds ascending numbers, all above those in the set.
pub(crate) fn add_sorted(set: &mut RoaringBitmap, sorted: &[u32]) {
    /// What is longer than this is added as a range.
    const RUN: usize = 16;
    for run in sorted.chunk_by(|a, b| a + 1 == *b) {
        if run.len() > RUN {
            set.insert_range(run[0]..=run[run.len() - 1]);
        } else {
            // They ascend: nothing is refused.
            set.append(run.iter().copied()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn like_a_set(
            added in prop::collection::vec(0u32..200, 0..120),
            gone in prop::collection::vec(0u32..200, 0..120),
        ) {
            let (mut postings, mut model) = (Postings::default(), BTreeSet::new());
            for slot in added {
                postings.insert(slot);
                model.insert(slot);
                prop_assert_eq!(postings.len(), model.len() as u64);
            }
            postings.remove(&gone.iter().copied().collect());
            model.retain(|slot| !gone.contains(slot));
            prop_assert!(postings.to_bitmap().iter().eq(model.iter().copied()));
            let mut set: RoaringBitmap = (50..100).collect();
            prop_assert_eq!(postings.intersects(&set), model.range(50..100).next().is_some());
            set.insert_range(0..50);
            postings.intersect(&mut set);
            prop_assert!(set.iter().eq(model.iter().copied().filter(|s| *s < 100)));
        }

        #[test]
        fn extended_like_a_set(
            gaps in prop::collection::vec(prop_oneof![4 => Just(1u32), 1 => 1u32..5], 0..200),
            parts in prop::collection::vec(0usize..90, 0..6),
        ) {
            let slots: Vec<u32> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let (mut postings, mut rest) = (Postings::default(), &slots[..]);
            for part in parts {
                let (now, later) = rest.split_at(part.min(rest.len()));
                postings.extend(now);
                rest = later;
            }
            postings.extend(rest);
            prop_assert_eq!(postings.len(), slots.len() as u64);
            prop_assert!(postings.to_bitmap().iter().eq(slots));
        }
    }
}

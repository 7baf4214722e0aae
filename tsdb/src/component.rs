//! Components: the columns of a series beside its own.
//!
//! A component is a series without labels: it has a slot, a generation and a place on a track, but
//! no postings, so nothing selects it. It is found from its parent, the series it belongs to. The
//! parent's own column says for each sample what it is (see [`crate::layout`]).

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader, put_varint};
use crate::layout::Layout;
use crate::sort_out::FastHash;

/// Which column of its parent a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ComponentKey {
    kind: u8,
    /// Index of the bucket, its sign bit flipped so that keys sort by index.
    index: u32,
}

const POSITIVE: u8 = 5;
const NEGATIVE: u8 = 6;
const SIGN: u32 = 1 << 31;

impl ComponentKey {
    /// Start timestamps.
    pub(crate) const START: Self = Self::single(0);
    /// Floats whose bits are those of a marker.
    pub(crate) const RAW: Self = Self::single(1);
    /// Count of a histogram's observations.
    pub(crate) const COUNT: Self = Self::single(2);
    /// Sum of a histogram's observations.
    pub(crate) const SUM: Self = Self::single(3);
    /// Count of a histogram's zero bucket.
    pub(crate) const ZERO: Self = Self::single(4);

    const fn single(kind: u8) -> Self {
        Self { kind, index: 0 }
    }

    /// A bucket above zero, or of custom bounds.
    pub(crate) fn positive(index: i32) -> Self {
        Self {
            kind: POSITIVE,
            index: index as u32 ^ SIGN,
        }
    }

    /// A bucket below zero.
    pub(crate) fn negative(index: i32) -> Self {
        Self {
            kind: NEGATIVE,
            index: index as u32 ^ SIGN,
        }
    }

    /// Appends its kind, and for a bucket its index.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.push(self.kind);
        if self.kind >= POSITIVE {
            crate::bytes::put_signed(out, i64::from((self.index ^ SIGN) as i32));
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            kind @ 0..POSITIVE => Ok(Self::single(kind)),
            kind @ (POSITIVE | NEGATIVE) => match i32::try_from(reader.signed()?) {
                Ok(index) => Ok(Self {
                    kind,
                    index: index as u32 ^ SIGN,
                }),
                Err(_) => Err(reader.fail("the index of a bucket is beyond 32 bits")),
            },
            _ => Err(reader.fail("an unknown kind of component")),
        }
    }
}

/// What a component belongs to, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Belongs {
    pub(crate) parent: SeriesRef,
    pub(crate) key: ComponentKey,
}

impl Belongs {
    /// For a component whose series is gone.
    pub(crate) const NOTHING: Self = Self {
        parent: crate::track::DEAD,
        key: ComponentKey::START,
    };

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.parent.slot));
        put_varint(out, u64::from(self.parent.generation));
        self.key.write(out);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            parent: SeriesRef {
                slot: reader.varint_u32()?,
                generation: reader.varint_u32()?,
            },
            key: ComponentKey::read(reader)?,
        })
    }
}

/// The components of the series in memory: part of the catalog. What a component is, its parent
/// knows; the component knows by a number where its parent is kept.
#[derive(Debug, Default)]
pub(crate) struct Components {
    parents: Vec<Option<Box<Parent>>>,
    free: Vec<u32>,
    /// Numbers of parents, by their slot.
    by_slot: HashMap<u32, u32, FastHash>,
    count: usize,
}

/// A series that has components.
#[derive(Debug)]
struct Parent {
    series: SeriesRef,
    /// In order of key.
    children: Vec<(ComponentKey, SeriesRef)>,
    /// The layout of its newest histogram, and where that layout's components are.
    current: Option<(Arc<Layout>, Places)>,
}

/// Places of components in the list of all.
#[derive(Debug)]
enum Places {
    /// One after the other, as nearly always.
    From(usize),
    Each(Box<[u32]>),
}

/// The components of a layout, in the order of its values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    children: &'a [(ComponentKey, SeriesRef)],
    places: &'a Places,
}

impl Parts<'_> {
    /// The component of a value, by its number.
    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<SeriesRef> {
        let at = match self.places {
            Places::From(first) => first + number,
            Places::Each(places) => *places.get(number)? as usize,
        };
        self.children.get(at).map(|(_, series)| *series)
    }
}

impl Components {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The number of a parent, which has none yet where it is new.
    pub(crate) fn parent(&mut self, series: SeriesRef) -> u32 {
        let known = self.by_slot.get(&series.slot);
        if let Some(number) = known.filter(|number| self.get(**number).series == series) {
            return *number;
        }
        let parent = Some(Box::new(Parent {
            series,
            children: Vec::new(),
            current: None,
        }));
        let number = if let Some(number) = self.free.pop() {
            self.parents[number as usize] = parent;
            number
        } else {
            self.parents.push(parent);
            self.parents.len() as u32 - 1
        };
        self.by_slot.insert(series.slot, number);
        number
    }

    /// Makes room for components of a parent.
    pub(crate) fn reserve(&mut self, parent: u32, count: usize) {
        self.get_mut(parent).children.reserve_exact(count);
    }

    /// Adds a component. Of two that are the same, the younger counts.
    pub(crate) fn insert(&mut self, parent: u32, key: ComponentKey, component: SeriesRef) {
        let parent = self.get_mut(parent);
        let rank = |(key, series): &(ComponentKey, SeriesRef)| {
            (*key, std::cmp::Reverse(series.generation))
        };
        let new = (key, component);
        let children = &mut parent.children;
        let at = children.partition_point(|have| rank(have) < rank(&new));
        children.insert(at, new);
        parent.current = None;
        self.count += 1;
    }

    /// Forgets a component that leaves memory.
    pub(crate) fn remove(&mut self, parent: u32, slot: u32) {
        self.count -= 1;
        let kept = self.get_mut(parent);
        kept.current = None;
        kept.children.retain(|(_, series)| series.slot != slot);
        let series = kept.series;
        if kept.children.is_empty() {
            if self.by_slot.get(&series.slot) == Some(&parent) {
                self.by_slot.remove(&series.slot);
            }
            self.parents[parent as usize] = None;
            self.free.push(parent);
        }
    }

    /// Notes that a series leaves memory. Components of it that stay are of no use any more.
    pub(crate) fn orphan(&mut self, slot: u32) {
        if let Some(parent) = self.by_slot.remove(&slot)
            && self.get(parent).children.is_empty()
        {
            self.parents[parent as usize] = None;
            self.free.push(parent);
        }
    }

    /// What a component belongs to.
    pub(crate) fn belongs(&self, parent: u32, component: SeriesRef) -> Option<Belongs> {
        let parent = self.parents.get(parent as usize)?.as_ref()?;
        let mut children = parent.children.iter();
        let (key, _) = children.find(|(_, series)| *series == component)?;
        Some(Belongs {
            parent: parent.series,
            key: *key,
        })
    }

    /// The components of a series, by key; of several with the same key the first counts.
    #[inline]
    pub(crate) fn of(&self, slot: u32) -> &[(ComponentKey, SeriesRef)] {
        if self.by_slot.is_empty() {
            return &[];
        }
        let number = self.by_slot.get(&slot);
        number.map_or(&[], |number| &self.get(*number).children)
    }

    /// A component of a series.
    pub(crate) fn find(&self, slot: u32, key: ComponentKey) -> Option<SeriesRef> {
        let children = self.of(slot);
        let at = children.partition_point(|(have, _)| *have < key);
        let (have, series) = children.get(at)?;
        (*have == key).then_some(*series)
    }

    /// The layout of a series' newest histogram, where it is this one, and its components.
    #[inline]
    pub(crate) fn current(&self, slot: u32, layout: &[u8]) -> Option<(&Arc<Layout>, Parts<'_>)> {
        let parent = self.get(*self.by_slot.get(&slot)?);
        let (have, places) = parent.current.as_ref()?;
        let parts = Parts {
            children: &parent.children,
            places,
        };
        (*have.bytes == *layout).then_some((have, parts))
    }

    /// Notes the layout of a series' newest histogram, where all its components are there.
    pub(crate) fn set_current(&mut self, slot: u32, layout: Arc<Layout>) {
        let Some(number) = self.by_slot.get(&slot).copied() else {
            return;
        };
        let children = &self.get(number).children;
        let place = |key: ComponentKey| {
            let at = children.partition_point(|(have, _)| *have < key);
            let here = children.get(at).is_some_and(|(have, _)| *have == key);
            here.then_some(at as u32)
        };
        let places: Option<Box<[u32]>> = layout.shape.keys().into_iter().map(place).collect();
        let Some(places) = places else { return };
        let first = places.first().copied().unwrap_or(0);
        let places = if places
            .iter()
            .copied()
            .eq(first..first + places.len() as u32)
        {
            Places::From(first as usize)
        } else {
            Places::Each(places)
        };
        self.get_mut(number).current = Some((layout, places));
    }

    /// Ends restoring: parents that are not there, or no longer, have no components.
    pub(crate) fn relink(&mut self, is_live: impl Fn(SeriesRef) -> bool) {
        self.by_slot.clear();
        for (number, parent) in (0..).zip(&mut self.parents) {
            if let Some(parent) = parent
                && is_live(parent.series)
            {
                self.by_slot.insert(parent.series.slot, number);
            }
        }
    }

    fn get(&self, number: u32) -> &Parent {
        match self.parents.get(number as usize) {
            Some(Some(parent)) => parent,
            _ => unreachable!("BUG: a component of no parent"),
        }
    }

    fn get_mut(&mut self, number: u32) -> &mut Parent {
        match self.parents.get_mut(number as usize) {
            Some(Some(parent)) => parent,
            _ => unreachable!("BUG: a component of no parent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_index_and_survive() {
        let keys = [
            ComponentKey::START,
            ComponentKey::ZERO,
            ComponentKey::positive(i32::MIN),
            ComponentKey::positive(-1),
            ComponentKey::positive(0),
            ComponentKey::positive(i32::MAX),
            ComponentKey::negative(-7),
            ComponentKey::negative(7),
        ];
        assert!(keys.is_sorted());
        for key in keys {
            let mut out = Vec::new();
            key.write(&mut out);
            assert_eq!(ComponentKey::read(&mut Reader::new(&out)), Ok(key));
        }
    }
}

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

/// The components of the series in memory: part of the catalog.
#[derive(Debug, Default)]
pub(crate) struct Components {
    /// By the slot of the component.
    belongs: HashMap<u32, Belongs>,
    /// By the slot of the parent.
    parents: HashMap<u32, Box<Parent>>,
}

/// A series that has components.
#[derive(Debug, Default)]
struct Parent {
    /// In order of key.
    children: Vec<(ComponentKey, SeriesRef)>,
    /// The layout of its newest histogram, and that layout's components.
    current: Option<(Arc<Layout>, Box<[SeriesRef]>)>,
}

impl Components {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.belongs.len()
    }

    /// Adds a component. Its parent's list is left alone where another series has its slot by now.
    pub(crate) fn insert(&mut self, component: SeriesRef, belongs: Belongs) {
        self.belongs.insert(component.slot, belongs);
        let parent = self.parents.entry(belongs.parent.slot).or_default();
        match parent
            .children
            .binary_search_by_key(&belongs.key, |(key, _)| *key)
        {
            Ok(at) => parent.children[at].1 = component,
            Err(at) => parent.children.insert(at, (belongs.key, component)),
        }
        parent.current = None;
    }

    /// Forgets a series that leaves memory, be it component or parent.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.parents.remove(&slot);
        let Some(belongs) = self.belongs.remove(&slot) else {
            return;
        };
        if let Some(parent) = self.parents.get_mut(&belongs.parent.slot) {
            parent.current = None;
            parent.children.retain(|(_, series)| series.slot != slot);
            if parent.children.is_empty() {
                self.parents.remove(&belongs.parent.slot);
            }
        }
    }

    /// What a component belongs to; `None` for a series with labels.
    pub(crate) fn belongs(&self, slot: u32) -> Option<Belongs> {
        self.belongs.get(&slot).copied()
    }

    /// Slots of all components.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.belongs.keys().copied()
    }

    /// The components of a series, by key.
    #[inline]
    pub(crate) fn of(&self, parent: u32) -> &[(ComponentKey, SeriesRef)] {
        if self.parents.is_empty() {
            return &[];
        }
        self.parents.get(&parent).map_or(&[], |p| &p.children)
    }

    /// A component of a series.
    pub(crate) fn find(&self, parent: u32, key: ComponentKey) -> Option<SeriesRef> {
        let children = self.of(parent);
        let at = children.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(children[at].1)
    }

    /// The layout of a series' newest histogram, where it is this one, and its components.
    #[inline]
    pub(crate) fn current(
        &self,
        parent: u32,
        layout: &[u8],
    ) -> Option<(&Arc<Layout>, &[SeriesRef])> {
        let (have, components) = self.parents.get(&parent)?.current.as_ref()?;
        (*have.bytes == *layout).then_some((have, &**components))
    }

    /// Notes the layout of a series' newest histogram. All its components are there.
    pub(crate) fn set_current(&mut self, parent: u32, layout: Arc<Layout>) {
        let keys = layout.shape.keys();
        let components: Option<Box<[SeriesRef]>> =
            keys.iter().map(|key| self.find(parent, *key)).collect();
        if let (Some(components), Some(parent)) = (components, self.parents.get_mut(&parent)) {
            parent.current = Some((layout, components));
        }
    }

    /// Links components and parents anew, after a restart: those whose parents are there.
    pub(crate) fn relink(
        &mut self,
        is_live: impl Fn(SeriesRef) -> bool,
        reference: impl Fn(u32) -> SeriesRef,
    ) {
        self.parents.clear();
        for (slot, belongs) in &self.belongs {
            if is_live(belongs.parent) {
                let parent = self.parents.entry(belongs.parent.slot).or_default();
                parent.children.push((belongs.key, reference(*slot)));
            }
        }
        for parent in self.parents.values_mut() {
            // Of two components that are the same, the younger counts; the other is orphaned.
            let children = &mut parent.children;
            children.sort_unstable_by_key(|(key, s)| (*key, std::cmp::Reverse(s.generation)));
            children.dedup_by_key(|(key, _)| *key);
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

//! The catalog as an index to select from.
//!
//! A selection looks at the catalog in short turns, so that registering a series never waits for a
//! pattern to be matched or a label set to be built. What changes in between is told by
//! generations: what came into use after the selection began is left out, what left is gone.

use std::convert::Infallible;

use roaring::RoaringBitmap;

use crate::catalog::PairId;
use crate::head::Head;
use crate::select::{Index, Values};

/// Most label values looked at in one turn.
const VALUES_PER_TURN: usize = 1024;

/// Selects series of the head, by slot.
#[derive(Clone, Copy)]
pub(crate) struct HeadIndex<'a> {
    pub(crate) head: &'a Head,
    /// Generation of the catalog when the selection began.
    pub(crate) since: u32,
}

impl<'a> HeadIndex<'a> {
    pub(crate) fn new(head: &'a Head) -> Self {
        let since = head.catalog().generation();
        Self { head, since }
    }

    /// Label names in use with their pairs, in no order.
    pub(crate) fn names(&self) -> Vec<(String, Vec<PairId>)> {
        let catalog = self.head.catalog();
        let names = catalog.names();
        names
            .map(|(name, pairs)| (name.to_owned(), pairs.to_vec()))
            .collect()
    }

    /// The pairs of a label name, in no order.
    pub(crate) fn pairs_of(&self, name: &str) -> Vec<PairId> {
        self.head.catalog().pairs_of(name).to_vec()
    }

    /// Whether one of the pairs is in use by a series of the set; any series where there is none.
    pub(crate) fn any_in_use(&self, pairs: &[PairId], among: Option<&RoaringBitmap>) -> bool {
        pairs.chunks(VALUES_PER_TURN).any(|part| {
            let catalog = self.head.catalog();
            let since = |pair: &&PairId| catalog.is_pair_since(**pair, self.since);
            part.iter().filter(since).any(|pair| match among {
                Some(among) => catalog.postings(*pair).intersects(among),
                None => catalog.postings(*pair).len() > 0,
            })
        })
    }

    /// Gives the values of a label that series of the set have; those of any series where there is
    /// none.
    pub(crate) fn values_in_use(
        &self,
        name: &str,
        among: Option<&RoaringBitmap>,
        mut take: impl FnMut(&str),
    ) {
        for part in self.pairs_of(name).chunks(VALUES_PER_TURN) {
            let catalog = self.head.catalog();
            let since = |pair: &&PairId| catalog.is_pair_since(**pair, self.since);
            for pair in part.iter().filter(since) {
                let postings = catalog.postings(*pair);
                if among.map_or(postings.len() > 0, |among| postings.intersects(among)) {
                    take(catalog.texts(*pair).1);
                }
            }
        }
    }

    /// Adds the pairs that `fits` says yes to, by their values; the catalog is not locked while it
    /// thinks.
    pub(crate) fn filter(
        &self,
        pairs: &[PairId],
        mut fits: impl FnMut(&str) -> bool,
        mut take: impl FnMut(&crate::catalog::Catalog, PairId),
    ) {
        let (mut texts, mut ends) = (String::new(), Vec::new());
        for part in pairs.chunks(VALUES_PER_TURN) {
            texts.clear();
            ends.clear();
            {
                let catalog = self.head.catalog();
                for pair in part {
                    if catalog.is_pair_since(*pair, self.since) {
                        texts.push_str(catalog.texts(*pair).1);
                        ends.push((*pair, texts.len()));
                    }
                }
            }
            let mut start = 0;
            ends.retain(|(_, end)| {
                let text = &texts[start..*end];
                start = *end;
                fits(text)
            });
            let catalog = self.head.catalog();
            for (pair, _) in &ends {
                if catalog.is_pair_since(*pair, self.since) {
                    take(&catalog, *pair);
                }
            }
        }
    }
}

impl Index for HeadIndex<'_> {
    type Set = RoaringBitmap;
    type Error = Infallible;

    fn everything(&self) -> Result<RoaringBitmap, Infallible> {
        Ok(self.head.catalog().everything().clone())
    }

    fn count(&self, name: &str, value: &str) -> Result<u64, Infallible> {
        let catalog = self.head.catalog();
        let pair = catalog.find_pair(name, value);
        Ok(pair.map_or(0, |pair| catalog.postings(pair).len()))
    }

    fn with_pair(&self, name: &str, value: &str) -> Result<RoaringBitmap, Infallible> {
        let catalog = self.head.catalog();
        let pair = catalog.find_pair(name, value);
        Ok(pair.map_or_else(RoaringBitmap::new, |pair| {
            catalog.postings(pair).to_bitmap()
        }))
    }

    fn keep_pair(
        &self,
        set: &mut RoaringBitmap,
        name: &str,
        value: &str,
    ) -> Result<(), Infallible> {
        let catalog = self.head.catalog();
        match catalog.find_pair(name, value) {
            Some(pair) => catalog.postings(pair).intersect(set),
            None => set.clear(),
        }
        Ok(())
    }

    fn with_values(&self, name: &str, values: Values<'_>) -> Result<RoaringBitmap, Infallible> {
        let mut set = RoaringBitmap::new();
        let prefix = values.prefix();
        self.filter(
            &self.pairs_of(name),
            |value| value.starts_with(prefix) && values.fits(value),
            |catalog, pair| catalog.postings(pair).add_to(&mut set),
        );
        Ok(set)
    }

    fn add_pair(&self, set: &mut RoaringBitmap, name: &str, value: &str) -> Result<(), Infallible> {
        let catalog = self.head.catalog();
        if let Some(pair) = catalog.find_pair(name, value) {
            catalog.postings(pair).add_to(set);
        }
        Ok(())
    }

    fn intersect(set: &mut RoaringBitmap, other: &RoaringBitmap) {
        *set &= other;
    }

    fn subtract(set: &mut RoaringBitmap, other: &RoaringBitmap) {
        *set -= other;
    }

    fn is_empty(set: &RoaringBitmap) -> bool {
        set.is_empty()
    }
}

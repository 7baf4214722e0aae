//! The catalog as an index to select from.

use std::convert::Infallible;

use roaring::RoaringBitmap;

use crate::catalog::Catalog;
use crate::select::Index;

/// Selects series of the head, by slot.
pub(crate) struct HeadIndex<'a>(pub(crate) &'a Catalog);

impl Index for HeadIndex<'_> {
    type Set = RoaringBitmap;
    type Error = Infallible;

    fn everything(&self) -> Result<RoaringBitmap, Infallible> {
        Ok(self.0.everything().clone())
    }

    fn count(&self, name: &str, value: &str) -> Result<u64, Infallible> {
        let pair = self.0.find_pair(name, value);
        Ok(pair.map_or(0, |pair| self.0.postings(pair).len()))
    }

    fn with_pair(&self, name: &str, value: &str) -> Result<RoaringBitmap, Infallible> {
        let pair = self.0.find_pair(name, value);
        Ok(pair.map_or_else(RoaringBitmap::new, |pair| self.0.postings(pair).to_bitmap()))
    }

    fn keep_pair(
        &self,
        set: &mut RoaringBitmap,
        name: &str,
        value: &str,
    ) -> Result<(), Infallible> {
        match self.0.find_pair(name, value) {
            Some(pair) => self.0.postings(pair).intersect(set),
            None => set.clear(),
        }
        Ok(())
    }

    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        fits: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, Infallible> {
        let mut set = RoaringBitmap::new();
        for pair in self.0.pairs_of(name) {
            let value = self.0.texts(*pair).1;
            if value.starts_with(prefix) && fits(value) {
                self.0.postings(*pair).add_to(&mut set);
            }
        }
        Ok(set)
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

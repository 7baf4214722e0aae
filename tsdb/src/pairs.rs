//! The label pairs of a selection: one space of numbers for all places its series come from, so that
//! equal label sets are equal lists of numbers, whoever had them.

use std::collections::HashMap;
use std::hash::BuildHasher;

use barograph_model::Labels;
use hashbrown::HashTable;

use crate::sort_out::FastHash;

/// Pairs by number, and the lists of pairs of series.
#[derive(Default)]
pub(crate) struct Pairs {
    /// Encoded pairs, one after the other.
    encoded: String,
    /// Where each ends.
    ends: Vec<usize>,
    /// The pairs of all series.
    lists: Vec<u32>,
    /// Numbers by text, from the second source on: the first has each pair once.
    lookup: HashTable<u32>,
    indexed: bool,
}

/// The pairs of a series, in order of label name: a stretch of all lists.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {
    at: u32,
    count: u32,
}

/// Lists in an order of their own, to replace those there are.
#[derive(Default)]
pub(crate) struct Arranged(Vec<u32>);

impl Arranged {
    /// Adds a list at the end.
    pub(crate) fn push(&mut self, pairs: &[u32]) -> List {
        let (at, count) = (self.0.len() as u32, pairs.len() as u32);
        self.0.extend_from_slice(pairs);
        List { at, count }
    }

    /// The numbers of a list.
    pub(crate) fn list(&self, list: List) -> &[u32] {
        stretch(&self.0, list)
    }
}

/// Translates the numbers that one source has for its pairs.
#[derive(Default)]
pub(crate) struct SourcePairs {
    known: HashMap<u32, u32, FastHash>,
    /// Neighbours mostly have the same pair in the same place.
    before: Vec<Option<(u32, u32)>>,
}

impl SourcePairs {
    /// Adds the list of a series whose pairs have the numbers `ids` in this source; `add` gives
    /// [`Pairs::add`] the text of one that is new.
    pub(crate) fn add<E>(
        &mut self,
        pairs: &mut Pairs,
        ids: &[u32],
        add: impl Fn(u32, &mut Pairs) -> Result<u32, E>,
    ) -> Result<List, E> {
        let at = pairs.lists.len() as u32;
        self.before.resize(ids.len(), None);
        for (before, id) in self.before.iter_mut().zip(ids) {
            let number = match *before {
                Some((same, number)) if same == *id => number,
                _ => {
                    let number = if let Some(number) = self.known.get(id) {
                        *number
                    } else {
                        let number = add(*id, pairs)?;
                        self.known.insert(*id, number);
                        number
                    };
                    *before = Some((*id, number));
                    number
                }
            };
            pairs.lists.push(number);
        }
        let count = ids.len() as u32;
        Ok(List { at, count })
    }
}

impl Pairs {
    /// Begins with the pairs of another source; those it shares with others get the same numbers.
    pub(crate) fn begin_source(&mut self) -> SourcePairs {
        if !self.ends.is_empty() {
            self.index();
        }
        SourcePairs::default()
    }

    /// Adds the list of a series whose labels are known as text.
    pub(crate) fn add_labels(&mut self, labels: &Labels) -> List {
        self.index();
        let at = self.lists.len() as u32;
        for (name, value) in labels {
            let number = self.add(name, value);
            self.lists.push(number);
        }
        let count = self.lists.len() as u32 - at;
        List { at, count }
    }

    /// The numbers of the pairs of a series, in order of label name.
    pub(crate) fn list(&self, list: List) -> &[u32] {
        stretch(&self.lists, list)
    }

    /// Makes room for so many lists like the last.
    pub(crate) fn reserve(&mut self, lists: usize, last: List) {
        self.lists.reserve(lists * last.count as usize);
    }

    /// For all lists in another order: room for as many.
    pub(crate) fn arrangement(&self) -> Arranged {
        Arranged(Vec::with_capacity(self.lists.len()))
    }

    /// Replaces the lists.
    pub(crate) fn arrange(&mut self, arranged: Arranged) {
        self.lists = arranged.0;
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, list: List) -> Labels {
        Labels::from_encoded(self.list(list).iter().map(|pair| self.encoded(*pair)))
    }

    /// Bytes of the texts and lists.
    pub(crate) fn size_bytes(&self) -> usize {
        self.encoded.len()
            + self.ends.len() * size_of::<usize>()
            + (self.lists.len() + self.lookup.len()) * size_of::<u32>()
    }

    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Name and value of a pair.
    pub(crate) fn texts(&self, pair: u32) -> (&str, &str) {
        Labels::decode_pair(self.encoded(pair))
    }

    /// The indices of lists in order of the labels they stand for; equal ones stay in their order.
    /// Pairs are ranked once, series then compare as lists of numbers. As many ranks as fit are
    /// packed into one number, behind those that all have in common.
    pub(crate) fn order(&self, lists: &[List]) -> Vec<u32> {
        let Some(first) = lists.first() else {
            return Vec::new();
        };
        let pairs = (0..self.ends.len() as u32).map(|pair| (self.texts(pair), pair));
        let mut by_text: Vec<_> = pairs.collect();
        by_text.sort_unstable();
        let mut ranks = vec![0; by_text.len()];
        for (rank, (_, pair)) in (1u32..).zip(&by_text) {
            ranks[*pair as usize] = rank;
        }
        let first = self.list(*first);
        let common = lists.iter().fold(first.len(), |common, list| {
            let pairs = first[..common].iter().zip(self.list(*list));
            pairs.take_while(|(a, b)| a == b).count()
        });
        let bits = u32::BITS - (by_text.len() as u32).leading_zeros();
        let packed = ((u128::BITS - u32::BITS) / bits.max(1)) as usize;
        let key = |list: &List| {
            let mut own = self.list(*list)[common..].iter();
            (0..packed).fold(0u128, |key, _| {
                key << bits | u128::from(own.next().map_or(0, |pair| ranks[*pair as usize]))
            })
        };
        if lists.iter().all(|l| l.count as usize <= common + packed) {
            let keys = lists.iter().map(key).zip(0..);
            let mut order: Vec<u128> = keys.map(|(key, at)| key << 32 | at).collect();
            #[expect(
                clippy::stable_sort_primitive,
                reason = "places that are in order each, one after the other, are merged"
            )]
            order.sort();
            return order.into_iter().map(|key| key as u32).collect();
        }
        let mut order: Vec<(u128, u32)> = lists.iter().map(key).zip(0..).collect();
        let rest = |at: u32| {
            let pairs = self.list(lists[at as usize]);
            let rest = pairs.get(common + packed..).unwrap_or_default();
            rest.iter().map(|pair| ranks[*pair as usize])
        };
        order.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(rest(b.1))));
        order.into_iter().map(|(_, at)| at).collect()
    }

    /// The number of a pair.
    pub(crate) fn add(&mut self, name: &str, value: &str) -> u32 {
        let start = self.encoded.len();
        Labels::encode_pair(name, value, &mut self.encoded);
        if self.indexed {
            let hash = hash(&self.encoded[start..]);
            let (own, before) = (&self.encoded[start..], &self.encoded[..start]);
            let same = |pair: &u32| span(&self.ends, *pair).is_some_and(|at| &before[at] == own);
            if let Some(pair) = self.lookup.find(hash, same) {
                let pair = *pair;
                self.encoded.truncate(start);
                return pair;
            }
            let number = self.ends.len() as u32;
            let (ends, encoded) = (&self.ends, &self.encoded);
            self.lookup.insert_unique(hash, number, |pair| {
                span(ends, *pair).map_or(0, |at| self::hash(&encoded[at]))
            });
        }
        self.ends.push(self.encoded.len());
        self.ends.len() as u32 - 1
    }

    /// Makes pairs be found by their texts from now on.
    fn index(&mut self) {
        if std::mem::replace(&mut self.indexed, true) {
            return;
        }
        let (ends, encoded) = (&self.ends, &self.encoded);
        let hash_of = |pair: &u32| span(ends, *pair).map_or(0, |at| hash(&encoded[at]));
        self.lookup.reserve(ends.len(), hash_of);
        for pair in 0..ends.len() as u32 {
            self.lookup.insert_unique(hash_of(&pair), pair, hash_of);
        }
    }

    fn encoded(&self, pair: u32) -> &str {
        span(&self.ends, pair).map_or("", |at| &self.encoded[at])
    }
}

fn stretch(lists: &[u32], list: List) -> &[u32] {
    &lists[list.at as usize..][..list.count as usize]
}

/// Where the text of a pair is.
fn span(ends: &[usize], pair: u32) -> Option<std::ops::Range<usize>> {
    let pair = pair as usize;
    let start = pair.checked_sub(1).map_or(0, |before| ends[before]);
    Some(start..*ends.get(pair)?)
}

fn hash(text: &str) -> u64 {
    FastHash::default().hash_one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_share_numbers_and_series_are_ordered_by_text() {
        let texts = [("a", "2"), ("b", "1"), ("a", "1"), ("b", "10")];
        let text = |id: u32, pairs: &mut Pairs| {
            let (name, value) = texts[id as usize];
            Ok::<_, ()>(pairs.add(name, value))
        };
        let mut pairs = Pairs::default();
        let mut source = pairs.begin_source();
        let mut lists = Vec::new();
        for ids in [&[0, 1][..], &[2, 3], &[2]] {
            lists.push(source.add(&mut pairs, ids, text).expect("no error"));
        }
        let mut other = pairs.begin_source();
        // Another order of numbers, and one pair more.
        let reversed = |id: u32, pairs: &mut Pairs| match texts.get(3 - id as usize) {
            Some((name, value)) if id < 4 => Ok::<_, ()>(pairs.add(name, value)),
            _ => Err(()),
        };
        let same = other.add(&mut pairs, &[1, 0], reversed).expect("no error");
        assert_eq!(pairs.list(same), pairs.list(lists[1]));
        lists.push(same);
        lists.push(pairs.add_labels(&Labels::from_pairs([("a", "1"), ("c", "0")])));
        assert_eq!(pairs.len(), 5);
        let sorted: Vec<String> = pairs
            .order(&lists)
            .into_iter()
            .map(|at| format!("{at} {:?}", pairs.labels(lists[at as usize]).to_string()))
            .collect();
        assert_eq!(
            sorted,
            [
                r#"2 "{a=\"1\"}""#,
                r#"1 "{a=\"1\", b=\"10\"}""#,
                r#"3 "{a=\"1\", b=\"10\"}""#,
                r#"4 "{a=\"1\", c=\"0\"}""#,
                r#"0 "{a=\"2\", b=\"1\"}""#,
            ]
        );
    }
}

//! Which samples of a batch are in order, which are late, and which have to wait.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::atomic::Ordering;

use rapidhash::fast::RapidHasher;

use crate::batch::{Batch, Entry, RejectReason, Rejected, SeriesRef};
use crate::catalog::{Catalog, Location};
use crate::component::ComponentKey;
use crate::contest;
use crate::expand::Rows;
use crate::head::{Group, GroupState, Head};
use crate::out_of_order::Arrival;
use crate::row::Row;

pub(crate) type FastHash = BuildHasherDefault<RapidHasher<'static>>;

/// Rows by the index of their track.
pub(crate) type Claims = HashMap<u32, Row, FastHash>;

/// The samples of one series in a batch that are not stored yet, in the batch's order.
#[derive(Clone, Copy)]
pub(crate) struct Queue {
    pub(crate) series: SeriesRef,
    /// Where the next one is among the batch's rows; those after it are found from there.
    pub(crate) next: u32,
    /// Whether it is one component, whose sample another group took.
    pub(crate) lone: bool,
}

/// The rows of a batch, and per sample the next one of its series.
pub(crate) struct Queued<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) rows: &'a Rows<'a>,
    pub(crate) after: Vec<u32>,
}

/// "No further sample".
pub(crate) const NO_MORE: u32 = u32::MAX;

/// What a round of an append has sorted out so far.
#[derive(Default)]
pub(crate) struct Sorted {
    pub(crate) claims: Claims,
    pub(crate) movers: BTreeMap<i64, Vec<Mover>>,
    /// For series that are on no track.
    pub(crate) fresh: Vec<(i64, Mover)>,
    pub(crate) late: Vec<Arrival>,
    /// For the next round.
    pub(crate) later: Vec<Queue>,
    pub(crate) rejected: Vec<Rejected>,
}

/// A series that needs another track.
pub(crate) struct Mover {
    pub(crate) series: SeriesRef,
    pub(crate) bits: u64,
    pub(crate) from: Option<(u32, usize)>,
}

impl Head {
    /// Decides about samples: which are in order, late, to wait, or not to be stored.
    pub(crate) fn sort_out(
        &self,
        group: &Group,
        state: &GroupState,
        catalog: &Catalog,
        queued: &Queued<'_>,
        queues: Vec<Queue>,
    ) -> Sorted {
        let mut sorted = Sorted::default();
        for mut queue in queues {
            let location = match catalog.locate(queue.series) {
                None => {
                    queued.retired(queue, &mut sorted.rejected);
                    continue;
                }
                Some(at) if at.group != group.number => {
                    sorted.later.push(queue);
                    continue;
                }
                Some(at) => at,
            };
            let entries = &queued.rows.entries;
            if queue.lone {
                let at = queue.next as usize;
                sorted.component(state, location, at, &entries[at]);
                continue;
            }
            let at = self.sort_series(state, catalog, location, queued, &mut queue, &mut sorted);
            if queue.next != NO_MORE {
                sorted.later.push(queue);
            }
            let Some(at) = at else { continue };
            sorted.in_order(state, location, &entries[at]);
            for next in queued.components(at) {
                let entry = &entries[next];
                match catalog.locate(entry.series) {
                    Some(location) if location.group == group.number => {
                        sorted.component(state, location, next, entry);
                    }
                    _ => sorted.later.push(Queue {
                        series: entry.series,
                        next: next as u32,
                        lone: true,
                    }),
                }
            }
        }
        sorted
            .late
            .sort_by_key(|late| (late.series, late.timestamp_ms));
        sorted
    }

    /// Takes samples of one series from its queue until a second one is in order: that one waits
    /// for the next round. Returns where the one in order is.
    fn sort_series(
        &self,
        state: &GroupState,
        catalog: &Catalog,
        location: Location,
        queued: &Queued<'_>,
        queue: &mut Queue,
        sorted: &mut Sorted,
    ) -> Option<usize> {
        let floor_ms = self.floor_ms.load(Ordering::Acquire);
        let last = newest(state, location);
        let mut next: Option<usize> = None;
        let mut late = Vec::new();
        while queue.next != NO_MORE {
            let at = queue.next as usize;
            let entries = &queued.rows.entries;
            let (timestamp_ms, bits) = (entries[at].timestamp_ms, entries[at].value.to_bits());
            let pending_ms = next.map(|at| entries[at].timestamp_ms);
            if pending_ms.is_some_and(|pending_ms| timestamp_ms >= pending_ms) {
                break;
            }
            let index = queued.rows.owner(at);
            let is_newest = pending_ms.is_none() && last.is_none_or(|(t, _)| timestamp_ms > t);
            let outcome = if timestamp_ms == i64::MIN {
                // What a track without rows has as its newest.
                Err(RejectReason::TooOld)
            } else if is_newest && timestamp_ms >= floor_ms {
                next = Some(at);
                Ok(())
            } else if pending_ms.is_none() && last.is_some_and(|(t, _)| timestamp_ms == t) {
                let is_stored = |at: usize| {
                    let entry = &entries[at];
                    let location = catalog.locate(entry.series);
                    let stored = location.and_then(|location| newest(state, location));
                    stored == Some((timestamp_ms, entry.value.to_bits()))
                };
                let same = last == Some((timestamp_ms, bits));
                if same && queued.components(at).all(is_stored) {
                    Ok(())
                } else {
                    Err(RejectReason::DuplicateTimestamp)
                }
            } else {
                let newest_ms = self.max_ms.load(Ordering::Relaxed).max(floor_ms);
                let only = queued.batch.is_in_order_only(index);
                let admitted = self.late.verdict(newest_ms, timestamp_ms, is_newest, only);
                admitted.map(|()| late.push(at))
            };
            if let Err(reason) = outcome {
                sorted.rejected.push(Rejected { index, reason });
            }
            queue.next = queued.after[at];
        }
        sorted.late(&mut late, catalog, queued);
        next
    }
}

impl Sorted {
    /// A sample that is the newest of its series.
    fn in_order(&mut self, state: &GroupState, location: Location, entry: &Entry) {
        let (series, bits) = (entry.series, entry.value.to_bits());
        let timestamp_ms = entry.timestamp_ms;
        let position = location.position as usize;
        let Some(track) = state.track(location.track) else {
            let from = None;
            let mover = Mover { series, bits, from };
            self.fresh.push((timestamp_ms, mover));
            return;
        };
        if timestamp_ms > track.last_ms {
            let claim = self.claims.entry(location.track).or_insert_with(|| {
                let mut row = Row::default();
                row.reset(timestamp_ms, track.ids.len());
                row
            });
            if claim.timestamp_ms == timestamp_ms {
                claim.set(position, bits);
                return;
            }
        }
        let from = Some((location.track, position));
        let mover = Mover { series, bits, from };
        self.movers.entry(timestamp_ms).or_default().push(mover);
    }

    /// A component of a sample that was in order.
    fn component(&mut self, state: &GroupState, location: Location, at: usize, entry: &Entry) {
        match newest(state, location) {
            Some((t, bits)) if t == entry.timestamp_ms && bits == entry.value.to_bits() => {}
            Some((t, _)) if t >= entry.timestamp_ms => self.late.push(arrival(at, entry)),
            _ => self.in_order(state, location, entry),
        }
    }

    /// Samples of a series out of order, with their components. Of several of one instant one is kept:
    /// an append brings one at most, so that it tells which components belong together.
    fn late(&mut self, late: &mut [usize], catalog: &Catalog, queued: &Queued<'_>) {
        let entries = &queued.rows.entries;
        late.sort_by_key(|at| entries[*at].timestamp_ms);
        for same in late.chunk_by(|a, b| entries[*a].timestamp_ms == entries[*b].timestamp_ms) {
            let better = |a: usize, b: usize| {
                let (x, y) = (queued.parts(a, catalog), queued.parts(b, catalog));
                let (a, b) = (entries[a].value.to_bits(), entries[b].value.to_bits());
                contest::prefers((a, &x), (b, &y))
            };
            let best = same.iter().copied();
            let Some(at) = best.reduce(|a, b| if better(a, b) { b } else { a }) else {
                continue;
            };
            let all = std::iter::once(at).chain(queued.components(at));
            let arrivals = all.map(|part| Arrival {
                sample: at as u32,
                is_component: part != at,
                ..arrival(part, &entries[part])
            });
            self.late.extend(arrivals);
        }
    }
}

/// A sample, or a component without one, that stands at a place among the rows.
fn arrival(at: usize, entry: &Entry) -> Arrival {
    Arrival {
        series: entry.series,
        timestamp_ms: entry.timestamp_ms,
        bits: entry.value.to_bits(),
        sample: at as u32,
        is_component: false,
    }
}

/// The newest sample in order of a series.
fn newest(state: &GroupState, location: Location) -> Option<(i64, u64)> {
    let track = state.track(location.track)?;
    let position = location.position as usize;
    Some((track.last_sample_ms(position)?, track.last_bits(position)))
}

impl<'a> Queued<'a> {
    /// The queues of a batch, in order of their first samples.
    pub(crate) fn new(batch: &'a Batch, rows: &'a Rows<'a>) -> (Self, Vec<Queue>) {
        let entries = &rows.entries;
        let mut after = vec![NO_MORE; entries.len()];
        let mut newest: HashMap<SeriesRef, u32, _> =
            HashMap::with_capacity_and_hasher(entries.len(), FastHash::default());
        let mut queues = Vec::with_capacity(entries.len());
        for (at, entry) in (0..).zip(entries.iter()) {
            if rows.is_component(at as usize) {
                continue;
            }
            match newest.insert(entry.series, at) {
                Some(before) => after[before as usize] = at,
                None => queues.push(Queue {
                    series: entry.series,
                    next: at,
                    lone: false,
                }),
            }
        }
        (Self { batch, rows, after }, queues)
    }

    /// Where the components of a sample are.
    pub(crate) fn components(&self, at: usize) -> impl Iterator<Item = usize> {
        (at + 1..self.rows.entries.len()).take_while(|next| self.rows.is_component(*next))
    }

    /// The components of a sample, and their values.
    fn parts(&self, at: usize, catalog: &Catalog) -> Vec<(ComponentKey, u64)> {
        let part = |at: usize| {
            let entry = &self.rows.entries[at];
            let belongs = catalog.belongs(entry.series.slot)?;
            Some((belongs.key, entry.value.to_bits()))
        };
        self.components(at).filter_map(part).collect()
    }

    /// Rejects what is left of a queue.
    pub(crate) fn retired(&self, queue: Queue, rejected: &mut Vec<Rejected>) {
        let mut at = queue.next;
        while at != NO_MORE {
            rejected.push(Rejected {
                index: self.rows.owner(at as usize),
                reason: RejectReason::RetiredSeries,
            });
            at = self.after[at as usize];
        }
    }
}

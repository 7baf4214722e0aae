//! Late samples in the log and in checkpoints.

use std::collections::{HashMap, HashSet};

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::catalog::{Catalog, UNPLACED};
use crate::component::{Belongs, ComponentKey};
use crate::head::Head;
use crate::out_of_order::buffers::Orphan;
use crate::out_of_order::run::{self, Late, Sequences};
use crate::out_of_order::{Admission, Arrival, OutOfOrder};
use crate::track::DEAD;
use crate::wal::record::{Name, Texts, put_labels, read_labels};

/// Samples per operation of a checkpoint, about.
const SAMPLES_PER_OPERATION: usize = 64 << 10;

/// How an operation names a series; the number is written.
const KNOWN: u64 = 0;
/// With its labels, since the log has not named it.
const NAMED: u64 = 1;
/// A component, with what it belongs to.
const COMPONENT: u64 = 2;
/// By its labels alone, since it left memory.
const ORPHAN: u64 = 3;
/// A component, by its key and the labels of its series, since it left memory.
const ORPHAN_COMPONENT: u64 = 4;
const FORMS: u64 = 8;

/// How a series is told.
enum Told<'a> {
    Known(SeriesRef),
    Named(SeriesRef, Name),
    Orphan(&'a Orphan),
}

/// Writes the series of one operation.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    texts: Texts,
    base_ms: i64,
    last: SeriesRef,
}

impl<'a> Writer<'a> {
    fn begin(out: &'a mut Vec<u8>, uid: u64, group: u32, base_ms: i64) -> Self {
        out.extend_from_slice(&uid.to_le_bytes());
        put_varint(out, u64::from(group));
        put_signed(out, base_ms);
        Self {
            out,
            texts: Texts::default(),
            base_ms,
            last: SeriesRef {
                slot: 0,
                generation: 0,
            },
        }
    }

    fn series(&mut self, told: &Told<'_>, samples: &[Late], sequences: Sequences) {
        let (form, reference) = match told {
            Told::Known(reference) => (KNOWN, Some(*reference)),
            Told::Named(reference, Name::Labels(_)) => (NAMED, Some(*reference)),
            Told::Named(reference, Name::Component(_)) => (COMPONENT, Some(*reference)),
            Told::Orphan(Orphan { key: None, .. }) => (ORPHAN, None),
            Told::Orphan(Orphan { key: Some(_), .. }) => (ORPHAN_COMPONENT, None),
        };
        put_varint(self.out, samples.len() as u64 * FORMS + form);
        if let Some(reference) = reference {
            let difference = |a: u32, b: u32| i64::from(a) - i64::from(b);
            let last = std::mem::replace(&mut self.last, reference);
            put_signed(self.out, difference(reference.slot, last.slot));
            put_signed(self.out, difference(reference.generation, last.generation));
        }
        match told {
            Told::Known(_) => {}
            Told::Named(_, Name::Labels(labels)) => {
                put_labels(self.out, &mut self.texts, labels);
            }
            Told::Named(_, Name::Component(belongs)) => belongs.write(self.out),
            Told::Orphan(orphan) => {
                put_labels(self.out, &mut self.texts, &orphan.labels);
                if let Some(key) = orphan.key {
                    key.write(self.out);
                }
            }
        }
        run::encode(samples, self.base_ms, sequences, self.out);
    }
}

impl Admission<'_> {
    /// Appends the body of the operation for samples of one group's series. They are sorted by
    /// series and time. Returns whether it names series that later operations only refer to.
    pub(crate) fn encode(
        &self,
        catalog: &Catalog,
        group: u32,
        arrivals: &[Arrival],
        out: &mut Vec<u8>,
    ) -> bool {
        let mut names = false;
        let base_ms = arrivals.first().map_or(0, |first| first.timestamp_ms);
        let mut writer = Writer::begin(out, self.buffers.uid, group, base_ms);
        let known = self.buffers.read();
        let mut samples = Vec::new();
        for of_series in arrivals.chunk_by(|a, b| a.series == b.series) {
            let series = of_series[0].series;
            samples.clear();
            samples.extend(of_series.iter().map(|arrival| Late {
                timestamp_ms: arrival.timestamp_ms,
                bits: arrival.bits,
                sequence: 0,
            }));
            // A series on a track was named when it joined; others when these buffers took in
            // their first sample.
            let placed = catalog
                .locate(series)
                .is_some_and(|at| at.track != UNPLACED);
            let named = placed || known.find(series).is_some();
            let told = if named {
                Told::Known(series)
            } else {
                Told::Named(series, catalog.name_of(series.slot))
            };
            writer.series(&told, &samples, Sequences::Dropped);
            names |= !named;
        }
        names
    }
}

impl OutOfOrder {
    /// Writes all buffers as operations of a checkpoint.
    pub(crate) fn checkpoint<E>(
        &self,
        head: &Head,
        mut operation: impl FnMut(&dyn Fn(&mut Vec<u8>)) -> Result<(), E>,
    ) -> Result<(), E> {
        for view in self.views() {
            let mut entries = 0..view.buffers.read().series().len() as u32;
            while !entries.is_empty() {
                // Copied under the locks, written without them.
                let mut part: Vec<(u32, Told<'_>, Vec<Late>)> = Vec::new();
                let mut orphans = Vec::new();
                let mut count = 0;
                {
                    let catalog = head.catalog();
                    let state = view.buffers.read();
                    for entry in entries.by_ref() {
                        let mut samples = Vec::new();
                        if let Err(error) = state.dump(entry, &mut samples) {
                            let what = error.what;
                            tracing::error!(what, "BUG: late samples cannot be read back");
                        }
                        count += samples.len();
                        match state.series_at(entry) {
                            (_, Some(orphan)) => orphans.push((orphan.clone(), samples)),
                            (reference, None) => {
                                if let Some(at) = catalog.locate(reference) {
                                    let name = catalog.name_of(reference.slot);
                                    part.push((at.group, Told::Named(reference, name), samples));
                                }
                            }
                        }
                        if count >= SAMPLES_PER_OPERATION {
                            break;
                        }
                    }
                }
                // A component is restored to a series that is there.
                part.sort_by_key(|(group, told, _)| {
                    (*group, matches!(told, Told::Named(_, Name::Component(_))))
                });
                let orphans = orphans
                    .iter()
                    .map(|(o, samples)| (0, Told::Orphan(o), samples));
                let orphans: Vec<_> = orphans.map(|(g, t, s)| (g, t, s.clone())).collect();
                let parts = part.chunk_by(|a, b| a.0 == b.0);
                let all = parts.chain((!orphans.is_empty()).then_some(orphans.as_slice()));
                for of_group in all {
                    let (group, _, first) = &of_group[0];
                    let base_ms = first.first().map_or(0, |late| late.timestamp_ms);
                    operation(&|out| {
                        let mut writer = Writer::begin(out, view.buffers.uid, *group, base_ms);
                        for (_, told, samples) in of_group {
                            writer.series(told, samples, Sequences::Kept);
                        }
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// What restoring an operation did.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) samples: u64,
    /// Samples of series that a lost record named.
    pub(crate) lost: u64,
}

/// Applies an operation: a logged one, whose samples are one append of their buffers, or one of a
/// checkpoint, which says of each sample which append brought it. `done` are the buffers whose
/// samples parts have.
pub(crate) fn restore(
    head: &Head,
    done: &HashSet<u64>,
    sequences: Sequences,
    reader: &mut Reader<'_>,
) -> Result<Restored, Malformed> {
    let uid = reader.u64()?;
    let group = reader.varint_u32()?;
    let base_ms = reader.signed()?;
    let mut restored = Restored::default();
    let Some(buffers) = head.late.restored(uid, done) else {
        return Ok(restored);
    };
    let mut append = Append::default();
    let mut texts = Vec::new();
    let mut last = SeriesRef {
        slot: 0,
        generation: 0,
    };
    let mut samples = Vec::new();
    while !reader.is_at_end() {
        let head_number = reader.varint()?;
        let (count, form) = (head_number / FORMS, head_number % FORMS);
        if form < ORPHAN {
            let mut field = |last: u32| {
                let sum = i64::from(last).checked_add(reader.signed()?);
                let field = sum.and_then(|sum| u32::try_from(sum).ok());
                field.ok_or_else(|| reader.fail("the number of a series is out of range"))
            };
            last = SeriesRef {
                slot: field(last.slot)?,
                generation: field(last.generation)?,
            };
        }
        let (mut name, mut orphan) = (None, None);
        match form {
            KNOWN => {}
            NAMED => name = Some(Name::Labels(read_labels(reader, &mut texts)?)),
            COMPONENT => name = Some(Name::Component(Belongs::read(reader)?)),
            ORPHAN | ORPHAN_COMPONENT => {
                let labels = read_labels(reader, &mut texts)?;
                let key = (form == ORPHAN_COMPONENT).then(|| ComponentKey::read(reader));
                let key = key.transpose()?;
                orphan = Some(Orphan { labels, key });
            }
            _ => return Err(reader.fail("an unknown form of series among late samples")),
        }
        // Each sample takes two bytes at least.
        if count > (reader.left() / 2) as u64 {
            return Err(reader.fail("more late samples than bytes"));
        }
        samples.clear();
        run::decode(reader, count as usize, base_ms, sequences, &mut samples)?;
        if sequences == Sequences::Dropped {
            let now = buffers.read().sequence();
            for late in &mut samples {
                late.sequence = now;
            }
        }
        if let Some(orphan) = orphan {
            buffers.restore_named(orphan, &samples, &head.layouts);
            restored.samples += count;
            continue;
        }
        let series = {
            head.group_or_new(group);
            let mut catalog = head.catalog_mut();
            let naming = name.as_ref().map(Into::into);
            crate::replay::known_series(head, &mut catalog, last, naming, group)
        };
        if series == DEAD {
            restored.lost += count;
            continue;
        }
        restored.samples += count;
        match sequences {
            Sequences::Kept => buffers.restore(series, &samples, &head.layouts),
            Sequences::Dropped => {
                let belongs = head.catalog().belongs(series.slot);
                append.add(series, belongs, &samples);
            }
        }
    }
    buffers.insert(&append.arrivals, &head.layouts);
    Ok(restored)
}

/// The samples of a logged operation.
#[derive(Default)]
struct Append {
    arrivals: Vec<Arrival>,
    /// Numbers of samples by series and instant.
    numbers: HashMap<(SeriesRef, i64), u32>,
}

impl Append {
    /// Adds samples of a series or component.
    fn add(&mut self, series: SeriesRef, belongs: Option<Belongs>, samples: &[Late]) {
        let own = belongs.map_or(series, |belongs| belongs.parent);
        for late in samples {
            let next = self.numbers.len() as u32;
            let number = self.numbers.entry((own, late.timestamp_ms)).or_insert(next);
            self.arrivals.push(Arrival {
                series,
                timestamp_ms: late.timestamp_ms,
                bits: late.bits,
                sample: *number,
                is_component: belongs.is_some(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use barograph_model::Labels;
    use proptest::prelude::*;

    use super::*;

    /// A checkpoint's operations of a head with late samples of every form.
    fn operations(samples: &[(u8, i64, u64)]) -> Vec<(Sequences, Vec<u8>)> {
        let head = Head::new(100);
        let labels =
            |id: u8| Labels::from_pairs([("__name__", "m".to_owned()), ("id", id.to_string())]);
        let series: Vec<SeriesRef> = (0..3)
            .map(|id| head.catalog_mut().insert(&labels(id), 1, None))
            .collect();
        let arrivals = samples.iter().map(|(id, timestamp_ms, bits)| Arrival {
            series: series[usize::from(*id % 3)],
            timestamp_ms: *timestamp_ms,
            bits: *bits,
            sample: 0,
            is_component: false,
        });
        let mut arrivals: Vec<_> = arrivals.collect();
        arrivals.sort_by_key(|a| (a.series, a.timestamp_ms));
        let mut logged = Vec::new();
        let admission = head.late.admit();
        admission.encode(&head.catalog(), 1, &arrivals, &mut logged);
        admission.insert(&arrivals, &head.layouts);
        let gone = [series[2].slot].into_iter().collect();
        head.retire(&mut head.catalog_mut(), &gone);
        let mut all = vec![(Sequences::Dropped, logged)];
        let dumped = head.late.checkpoint(&head, |write| {
            let mut out = Vec::new();
            write(&mut out);
            all.push((Sequences::Kept, out));
            Ok::<_, ()>(())
        });
        assert_eq!(dumped, Ok(()));
        all
    }

    fn restored(operations: &[(Sequences, Vec<u8>)]) -> (u64, Head) {
        let head = Head::new(100);
        let mut samples = 0;
        for (sequences, operation) in operations {
            let done = HashSet::new();
            let restored = restore(&head, &done, *sequences, &mut Reader::new(operation));
            samples += restored.expect("reads").samples;
        }
        head.late.finish_restore();
        (samples, head)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_restored_and_damage_is_noticed_or_harmless(
            samples in prop::collection::btree_map((0u8..3, 0i64..1000), any::<u64>(), 1..60),
            flip in any::<(u16, u8)>(),
        ) {
            let samples: Vec<_> = samples.into_iter().map(|((id, t), bits)| (id, t, bits)).collect();
            let operations = operations(&samples);
            let (logged, checkpoint) = operations.split_at(1);
            for part in [logged, checkpoint] {
                let (count, head) = restored(part);
                prop_assert_eq!(count, samples.len() as u64);
                prop_assert_eq!(head.late.stats().samples, samples.len() as u64);
            }
            // Both, as when the log overlaps the checkpoint.
            restored(&operations);
            for (sequences, operation) in &operations {
                let mut damaged = operation.clone();
                let at = usize::from(flip.0) % damaged.len();
                damaged[at] ^= flip.1;
                let done = HashSet::new();
                // No panic, whatever it says.
                restore(&Head::new(100), &done, *sequences, &mut Reader::new(&damaged)).ok();
                restore(&Head::new(100), &done, *sequences, &mut Reader::new(&operation[..at])).ok();
            }
        }
    }
}

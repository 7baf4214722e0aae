//! The newest exemplars: a ring of bounded size, logged and kept in checkpoints.
//!
//! They are kept by labels, not by reference: an exemplar outlives its series' place in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use barograph_model::{Exemplar, Labels, Matcher, TimeRange};

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader, put_signed, put_text, put_varint};
use crate::catalog::{Catalog, UNPLACED};

/// Most characters of an exemplar's labels, names and values together (OpenMetrics).
const LABELS_LIMIT_CHARS: usize = 128;
/// Exemplars per log record of a checkpoint, or of a log that is taken over.
pub(crate) const EXEMPLARS_PER_RECORD: usize = 1024;

/// What became of the exemplars of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExemplarsAppended {
    /// Stored.
    pub stored: usize,
    /// The same as the series' newest, or at the time of another one: as scrapes repeat them.
    pub duplicates: usize,
    /// Older than the series' newest.
    pub out_of_order: usize,
    /// Their labels have more than 128 characters.
    pub too_long: usize,
    /// Of a series that left memory.
    pub retired: usize,
}

/// The exemplars of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// Labels of the series.
    pub labels: Labels,
    /// In order of time.
    pub exemplars: Vec<Exemplar>,
}

/// The ring, and what its metrics say.
#[derive(Debug)]
pub(crate) struct Exemplars {
    ring: Mutex<Ring>,
    pub(crate) appended: AtomicU64,
    pub(crate) out_of_order: AtomicU64,
}

/// What the metrics say of the ring.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RingFigures {
    pub(crate) exemplars: usize,
    pub(crate) series: usize,
    pub(crate) limit: usize,
    pub(crate) newest_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Ring {
    limit: usize,
    /// In the order in which they came.
    held: VecDeque<Held>,
    /// Number of the first of these; each has the next number.
    first: u64,
    series: Vec<Option<Series>>,
    by_labels: HashMap<Labels, u32>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Held {
    series: u32,
    exemplar: Exemplar,
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    /// Numbers of its exemplars in order of time.
    numbers: VecDeque<u64>,
}

/// Why an exemplar is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Duplicate,
    OutOfOrder,
    TooLong,
}

impl Exemplars {
    pub(crate) fn new(limit: usize) -> Self {
        let ring = Ring {
            limit,
            ..Ring::default()
        };
        Self {
            ring: Mutex::new(ring),
            appended: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
        }
    }

    /// Changes how many are kept; the oldest go.
    pub(crate) fn set_limit(&self, limit: usize) {
        let mut ring = self.ring();
        ring.limit = limit;
        ring.make_room(0);
    }

    /// Whether none are kept.
    pub(crate) fn is_off(&self) -> bool {
        self.ring().limit == 0
    }

    /// Stores exemplars. `log` is called with what is to be logged, before anything is stored.
    ///
    /// # Errors
    /// What `log` returns.
    pub(crate) fn append<E>(
        &self,
        exemplars: &[(Labels, &Exemplar)],
        mut log: impl FnMut(&[usize]) -> Result<(), E>,
    ) -> Result<ExemplarsAppended, E> {
        let mut outcome = ExemplarsAppended::default();
        let mut ring = self.ring();
        // Those that a scrape repeats are not logged again: nearly all.
        let mut wanted = Vec::new();
        for (index, (labels, exemplar)) in exemplars.iter().enumerate() {
            match ring.check(labels, exemplar) {
                Ok(()) => wanted.push(index),
                Err(refusal) => outcome.count(refusal),
            }
        }
        if wanted.is_empty() {
            self.count(&outcome);
            return Ok(outcome);
        }
        log(&wanted)?;
        for index in wanted {
            let (labels, exemplar) = &exemplars[index];
            // One that came in the same batch may stand in its way.
            match ring.insert(labels, exemplar) {
                Ok(()) => outcome.stored += 1,
                Err(refusal) => outcome.count(refusal),
            }
        }
        self.count(&outcome);
        Ok(outcome)
    }

    /// Exemplars inside the range of the series that fit all matchers of one of the sets, in order
    /// of labels.
    pub(crate) fn select(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Vec<SeriesExemplars> {
        let ring = self.ring();
        let mut found: Vec<SeriesExemplars> = ring
            .series
            .iter()
            .flatten()
            .filter(|series| {
                let fits = |m: &Matcher| m.matches(series.labels.get(m.name()));
                sets.iter().any(|set| set.iter().all(fits))
            })
            .filter_map(|series| {
                let exemplars = series.numbers.iter().map(|number| ring.exemplar(*number));
                let inside = exemplars.filter(|e| range.contains(e.timestamp_ms));
                let exemplars: Vec<Exemplar> = inside.cloned().collect();
                (!exemplars.is_empty()).then(|| SeriesExemplars {
                    labels: series.labels.clone(),
                    exemplars,
                })
            })
            .collect();
        drop(ring);
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// Calls `record` with the bodies of log operations that hold everything.
    pub(crate) fn dump(&self, mut record: impl FnMut(&[u8])) {
        let ring = self.ring();
        let held: Vec<&Held> = ring.held.iter().collect();
        for part in held.chunks(EXEMPLARS_PER_RECORD) {
            let mut out = Vec::new();
            put_varint(&mut out, part.len() as u64);
            for held in part {
                let labels = ring.series[held.series as usize].as_ref();
                let labels = labels.map_or_else(Labels::empty, |series| series.labels.clone());
                put_series(&mut out, &Named::Labels(&labels));
                put_exemplar(&mut out, &held.exemplar);
            }
            record(&out);
        }
    }

    /// Applies a log operation. Series are named by reference where the log named them before.
    pub(crate) fn replay(
        &self,
        reader: &mut Reader<'_>,
        catalog: &Catalog,
    ) -> Result<(), Malformed> {
        let count = reader.count(4)?;
        let mut ring = self.ring();
        for _ in 0..count {
            let labels = match reader.u8()? {
                1 => {
                    let series = SeriesRef {
                        slot: reader.varint_u32()?,
                        generation: reader.varint_u32()?,
                    };
                    let known = catalog.locate(series).is_some();
                    known.then(|| catalog.labels(series.slot))
                }
                2 => Some(read_labels(reader)?),
                _ => return Err(reader.fail("an unknown form of series")),
            };
            let exemplar = Exemplar {
                timestamp_ms: reader.signed()?,
                value: f64::from_bits(reader.u64()?),
                labels: read_labels(reader)?,
            };
            if let Some(labels) = labels {
                // A checkpoint and the log after it may both have it.
                ring.insert(&labels, &exemplar).ok();
            }
        }
        Ok(())
    }

    pub(crate) fn figures(&self) -> RingFigures {
        let ring = self.ring();
        RingFigures {
            exemplars: ring.held.len(),
            series: ring.by_labels.len(),
            limit: ring.limit,
            newest_ms: ring.held.back().map(|held| held.exemplar.timestamp_ms),
        }
    }

    fn count(&self, outcome: &ExemplarsAppended) {
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        };
        add(&self.appended, outcome.stored);
        add(&self.out_of_order, outcome.out_of_order);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExemplarsAppended {
    fn count(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Duplicate => self.duplicates += 1,
            Refusal::OutOfOrder => self.out_of_order += 1,
            Refusal::TooLong => self.too_long += 1,
        }
    }
}

impl Ring {
    fn exemplar(&self, number: u64) -> &Exemplar {
        &self.held[(number - self.first) as usize].exemplar
    }

    /// Whether an exemplar may come. The rules are those of Prometheus: of several at one time, a
    /// greater value comes later, so that what a scrape repeats is recognised.
    fn check(&self, labels: &Labels, exemplar: &Exemplar) -> Result<(), Refusal> {
        let texts = exemplar.labels.iter();
        let chars: usize = texts
            .map(|(name, value)| name.chars().count() + value.chars().count())
            .sum();
        if chars > LABELS_LIMIT_CHARS {
            return Err(Refusal::TooLong);
        }
        let series = self.by_labels.get(labels).copied();
        let series = series.and_then(|at| self.series[at as usize].as_ref());
        let Some(newest) = series.and_then(|series| series.numbers.back()) else {
            return Ok(());
        };
        let newest = self.exemplar(*newest);
        if newest == exemplar {
            return Err(Refusal::Duplicate);
        }
        let order = exemplar
            .timestamp_ms
            .cmp(&newest.timestamp_ms)
            .then_with(|| exemplar.value.total_cmp(&newest.value))
            .then_with(|| exemplar.labels.cmp(&newest.labels));
        if order.is_lt() {
            return Err(Refusal::OutOfOrder);
        }
        Ok(())
    }

    fn insert(&mut self, labels: &Labels, exemplar: &Exemplar) -> Result<(), Refusal> {
        if self.limit == 0 {
            return Ok(());
        }
        self.check(labels, exemplar)?;
        self.make_room(1);
        let series = self.series_of(labels);
        let number = self.first + self.held.len() as u64;
        self.held.push_back(Held {
            series,
            exemplar: exemplar.clone(),
        });
        if let Some(series) = &mut self.series[series as usize] {
            series.numbers.push_back(number);
        }
        Ok(())
    }

    /// Lets the oldest go until so many more fit.
    fn make_room(&mut self, more: usize) {
        while self.held.len() + more > self.limit
            && let Some(gone) = self.held.pop_front()
        {
            let number = self.first;
            self.first += 1;
            let Some(series) = &mut self.series[gone.series as usize] else {
                continue;
            };
            series.numbers.retain(|have| *have != number);
            if series.numbers.is_empty() {
                self.by_labels.remove(&series.labels);
                self.series[gone.series as usize] = None;
                self.free.push(gone.series);
            }
        }
    }

    fn series_of(&mut self, labels: &Labels) -> u32 {
        if let Some(series) = self.by_labels.get(labels) {
            return *series;
        }
        let series = Some(Series {
            labels: labels.clone(),
            numbers: VecDeque::new(),
        });
        let at = if let Some(at) = self.free.pop() {
            self.series[at as usize] = series;
            at
        } else {
            self.series.push(series);
            self.series.len() as u32 - 1
        };
        self.by_labels.insert(labels.clone(), at);
        at
    }
}

/// How the log names a series.
enum Named<'a> {
    Reference(SeriesRef),
    Labels(&'a Labels),
}

/// The body of a log operation: exemplars of a batch, by series.
pub(crate) fn put_exemplars<'a>(
    out: &mut Vec<u8>,
    catalog: &Catalog,
    exemplars: impl ExactSizeIterator<Item = (SeriesRef, &'a Labels, &'a Exemplar)>,
) {
    put_varint(out, exemplars.len() as u64);
    for (series, labels, exemplar) in exemplars {
        // The log has named a series that has samples.
        let placed = catalog
            .locate(series)
            .is_some_and(|at| at.track != UNPLACED);
        let named = if placed {
            Named::Reference(series)
        } else {
            Named::Labels(labels)
        };
        put_series(out, &named);
        put_exemplar(out, exemplar);
    }
}

/// The body of a log operation: exemplars of series that the log need not know.
pub(crate) fn put_named_exemplars<'a>(
    out: &mut Vec<u8>,
    exemplars: impl ExactSizeIterator<Item = &'a (Labels, &'a Exemplar)>,
) {
    put_varint(out, exemplars.len() as u64);
    for (labels, exemplar) in exemplars {
        put_series(out, &Named::Labels(labels));
        put_exemplar(out, exemplar);
    }
}

fn put_series(out: &mut Vec<u8>, named: &Named<'_>) {
    match named {
        Named::Reference(series) => {
            out.push(1);
            put_varint(out, u64::from(series.slot));
            put_varint(out, u64::from(series.generation));
        }
        Named::Labels(labels) => {
            out.push(2);
            put_labels(out, labels);
        }
    }
}

fn put_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    put_signed(out, exemplar.timestamp_ms);
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    put_labels(out, &exemplar.labels);
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_varint(out, labels.len() as u64);
    for (name, value) in labels {
        put_text(out, name);
        put_text(out, value);
    }
}

fn read_labels(reader: &mut Reader<'_>) -> Result<Labels, Malformed> {
    let count = reader.count(2)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        pairs.push((reader.text()?, reader.text()?));
    }
    Ok(Labels::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn labels(id: &str) -> Labels {
        Labels::from_pairs([("__name__", "hits"), ("id", id)])
    }

    fn exemplar(timestamp_ms: i64, value: f64) -> Exemplar {
        Exemplar {
            labels: Labels::from_pairs([("trace_id", value.to_string())]),
            value,
            timestamp_ms,
        }
    }

    fn append(exemplars: &Exemplars, id: &str, exemplar: &Exemplar) -> ExemplarsAppended {
        let log = |_: &[usize]| Ok::<_, Infallible>(());
        match exemplars.append(&[(labels(id), exemplar)], log) {
            Ok(outcome) => outcome,
            Err(never) => match never {},
        }
    }

    #[test]
    fn the_oldest_go_and_repeated_ones_do_not_count() {
        let ring = Exemplars::new(3);
        assert_eq!(append(&ring, "a", &exemplar(1, 1.0)).stored, 1);
        assert_eq!(append(&ring, "a", &exemplar(1, 1.0)).duplicates, 1);
        assert_eq!(append(&ring, "a", &exemplar(0, 1.0)).out_of_order, 1);
        assert_eq!(
            append(&ring, "a", &exemplar(1, 2.0)).stored,
            1,
            "another bucket"
        );
        assert_eq!(append(&ring, "a", &exemplar(1, 1.0)).out_of_order, 1);
        append(&ring, "b", &exemplar(5, 1.0));
        append(&ring, "b", &exemplar(6, 1.0));
        let all = ring.select(&[vec![Matcher::equal("__name__", "hits")]], TimeRange::ALL);
        let times: Vec<Vec<i64>> = all
            .iter()
            .map(|s| s.exemplars.iter().map(|e| e.timestamp_ms).collect())
            .collect();
        assert_eq!(times, [vec![1], vec![5, 6]]);
        ring.set_limit(2);
        let figures = ring.figures();
        assert_eq!((figures.exemplars, figures.series), (2, 1));
        append(&ring, "c", &exemplar(7, 1.0));
        assert_eq!(ring.figures().series, 2);
        let none = ring.select(&[vec![Matcher::equal("id", "a")]], TimeRange::ALL);
        assert!(none.is_empty());
    }

    #[test]
    fn long_labels_are_refused() {
        let ring = Exemplars::new(3);
        let long = Exemplar {
            labels: Labels::from_pairs([("id", "é".repeat(127))]),
            ..Exemplar::default()
        };
        assert_eq!(append(&ring, "a", &long).too_long, 1);
        let fits = Exemplar {
            labels: Labels::from_pairs([("id", "é".repeat(126))]),
            ..Exemplar::default()
        };
        assert_eq!(append(&ring, "a", &fits).stored, 1);
    }

    #[test]
    fn a_dump_restores_the_ring() {
        let ring = Exemplars::new(3000);
        for number in 0..2500 {
            append(&ring, &(number % 7).to_string(), &exemplar(number, 0.5));
        }
        let again = Exemplars::new(3000);
        ring.dump(|body| {
            for cut in [1, body.len() / 2, body.len() - 1] {
                let torn = Exemplars::new(3000);
                let torn = torn.replay(&mut Reader::new(&body[..cut]), &Catalog::default());
                assert!(torn.is_err());
            }
            let replayed = again.replay(&mut Reader::new(body), &Catalog::default());
            replayed.expect("reads");
        });
        let everything = [Vec::new()];
        assert_eq!(
            again.select(&everything, TimeRange::ALL),
            ring.select(&everything, TimeRange::ALL)
        );
    }
}

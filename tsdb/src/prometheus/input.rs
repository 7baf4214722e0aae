//! A block of Prometheus as compaction reads it: what a block of ours would hold of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barograph_model::{STALE_NAN_BITS, TimeRange, is_stale};

use super::Damage;
use super::block::ForeignBlock;
use super::chunk::ChunkSamples;
use crate::block::Damaged;
use crate::compact::merge::InputPiece;
use crate::component::ComponentKey;
use crate::layout::{self, Layout, RAW_FLOAT, is_marker, marker};
use crate::layouts::Layouts;

/// Timestamp columns remembered, so that series with the same ones share them.
const COLUMNS_LIMIT: usize = 16 * 1024;

/// A block and what was read of it.
#[derive(Debug)]
pub(crate) struct ForeignInput {
    pub(crate) block: Arc<ForeignBlock>,
    /// References of its series, in order of their labels.
    series: Vec<u32>,
    layouts: Layouts,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers of pairs by their symbols.
    pairs: HashMap<(u32, u32), u32>,
    columns: HashMap<Arc<[i64]>, u32>,
    column_count: u32,
    /// The series that was decoded last: a merge asks for its columns one after the other.
    last: Option<(u32, Decoded)>,
}

/// The columns of a series.
#[derive(Debug, Default)]
struct Decoded {
    own: Vec<InputPiece>,
    components: BTreeMap<ComponentKey, (Vec<i64>, Vec<u64>)>,
    bytes: u64,
}

impl ForeignInput {
    /// Reads what merging needs to know beforehand.
    pub(crate) fn open(block: Arc<ForeignBlock>) -> Result<Self, Damaged> {
        let input = Self {
            series: block.references().map_err(|damage| damaged(&damage))?,
            layouts: Layouts::default(),
            state: Mutex::default(),
            block,
        };
        if input.block.may_have_histograms() {
            for reference in &input.series {
                input.gather_layouts(*reference)?;
            }
        }
        Ok(input)
    }

    /// How many label pairs it has; they are numbered in order of (name, value).
    pub(crate) fn pair_count(&self) -> Result<u32, Damaged> {
        self.block.pair_count().map_err(|damage| damaged(&damage))
    }

    pub(crate) fn pair(&self, number: u32) -> Result<(String, String), Damaged> {
        let pair = self.block.pair(number).map_err(|damage| damaged(&damage))?;
        Ok((pair.0.to_owned(), pair.1.to_owned()))
    }

    /// How many series it has, numbered in order of their labels.
    pub(crate) fn series_count(&self) -> u32 {
        self.series.len() as u32
    }

    /// The pairs of a series, ascending.
    pub(crate) fn pairs_of(&self, series: u32) -> Result<Vec<u32>, Damaged> {
        let known = &mut self.state().pairs;
        let pairs = self.block.pairs_of(self.reference(series), known);
        pairs.map_err(|damage| damaged(&damage))
    }

    /// The layouts that its histograms have.
    pub(crate) fn layouts(&self) -> Result<Vec<Layout>, Damaged> {
        let all = self.layouts.all().into_iter();
        let copy = |layout: Arc<Layout>| {
            Layout::new(layout.id, &layout.bytes).map_err(|error| Damaged {
                file: "chunks",
                offset: 0,
                what: error.what.to_owned(),
            })
        };
        all.map(copy).collect()
    }

    /// The components of a series, in order.
    pub(crate) fn component_keys(&self, series: u32) -> Result<Vec<ComponentKey>, Damaged> {
        let mut state = self.state();
        let decoded = self.decoded(&mut state, series)?;
        Ok(decoded.components.keys().copied().collect())
    }

    /// The samples of a series, or of one of its components, oldest first. Returns how many bytes
    /// were read.
    pub(crate) fn read(
        &self,
        series: u32,
        component: Option<ComponentKey>,
        pieces: &mut Vec<InputPiece>,
    ) -> Result<u64, Damaged> {
        let mut state = self.state();
        let decoded = self.decoded(&mut state, series)?;
        match component {
            None => {
                pieces.append(&mut decoded.own);
                Ok(decoded.bytes)
            }
            Some(key) => {
                // Not taken: which sample counts may be asked of it before it is read.
                if let Some((timestamps_ms, values)) = decoded.components.get(&key).cloned() {
                    let piece = state.piece(&timestamps_ms, values);
                    pieces.push(piece);
                }
                Ok(0)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reference(&self, series: u32) -> u32 {
        self.series
            .get(series as usize)
            .copied()
            .unwrap_or_default()
    }

    fn gather_layouts(&self, reference: u32) -> Result<(), Damaged> {
        let mut failure = None;
        let wanted = |encoding| !super::block::is_float(encoding);
        let read = self
            .block
            .each_chunk(reference, TimeRange::ALL, wanted, |samples, _| {
                if let ChunkSamples::Histograms(samples) = samples {
                    let (mut bytes, mut values) = (Vec::new(), Vec::new());
                    let live = samples.histograms.iter().filter(|h| !is_stale(h.sum()));
                    for histogram in live {
                        bytes.clear();
                        values.clear();
                        if layout::put_histogram(histogram, &mut bytes, &mut values).is_err()
                            || self.layouts.intern(&bytes).is_err()
                        {
                            failure = Some(unusable());
                        }
                    }
                }
            });
        read.map_err(|damage| damaged(&damage))?;
        failure.map_or(Ok(()), Err)
    }

    /// The columns of a series; its own is gone where it was taken since they were decoded.
    fn decoded<'a>(&self, state: &'a mut State, series: u32) -> Result<&'a mut Decoded, Damaged> {
        if state.last.as_ref().is_none_or(|(last, _)| *last != series) {
            state.last = None;
            let decoded = self.decode(state, series)?;
            state.last = Some((series, decoded));
        }
        match &mut state.last {
            Some((_, decoded)) => Ok(decoded),
            None => Err(unusable()),
        }
    }

    fn decode(&self, state: &mut State, series: u32) -> Result<Decoded, Damaged> {
        let mut decoded = Decoded::default();
        let mut failed = false;
        let (mut layout, mut values) = (Vec::new(), Vec::new());
        let all = |_| true;
        let reference = self.reference(series);
        let read = self
            .block
            .each_chunk(reference, TimeRange::ALL, all, |samples, keep| {
                let rows = keep
                    .iter()
                    .flat_map(|(first, count)| *first..*first + *count);
                let mut own: Vec<(i64, u64)> = Vec::new();
                let starts_ms = match samples {
                    ChunkSamples::Floats(samples) => {
                        for row in rows.clone().map(|row| row as usize) {
                            let (t, bits) =
                                (samples.timestamps_ms[row], samples.values[row].to_bits());
                            if is_marker(bits) {
                                decoded.put(ComponentKey::RAW, t, bits);
                                own.push((t, marker(RAW_FLOAT)));
                            } else {
                                own.push((t, bits));
                            }
                        }
                        samples.starts_ms
                    }
                    ChunkSamples::Histograms(samples) => {
                        for row in rows.clone().map(|row| row as usize) {
                            let (t, histogram) =
                                (samples.timestamps_ms[row], &samples.histograms[row]);
                            if is_stale(histogram.sum()) {
                                own.push((t, STALE_NAN_BITS));
                                continue;
                            }
                            layout.clear();
                            values.clear();
                            let put = layout::put_histogram(histogram, &mut layout, &mut values);
                            let Some(known) = self.layouts.find(&layout).filter(|_| put.is_ok())
                            else {
                                failed = true;
                                return;
                            };
                            own.push((t, marker(known.id)));
                            for (key, bits) in known.shape.keys().into_iter().zip(&values) {
                                decoded.put(key, t, *bits);
                            }
                        }
                        samples.starts_ms
                    }
                };
                if !starts_ms.is_empty() {
                    for ((t, _), row) in own.iter().zip(rows) {
                        if let Some(start) = starts_ms.get(row as usize).filter(|s| **s != 0) {
                            let bits = layout::encode_integer(*start as u64);
                            decoded.put(ComponentKey::START, *t, bits);
                        }
                    }
                }
                let timestamps_ms: Vec<i64> = own.iter().map(|(t, _)| *t).collect();
                let values: Vec<u64> = own.into_iter().map(|(_, bits)| bits).collect();
                decoded.bytes += 2 * values.len() as u64;
                decoded.own.push(state.piece(&timestamps_ms, values));
            });
        read.map_err(|damage| damaged(&damage))?;
        if failed {
            return Err(unusable());
        }
        Ok(decoded)
    }
}

impl Decoded {
    fn put(&mut self, key: ComponentKey, timestamp_ms: i64, bits: u64) {
        let (timestamps_ms, values) = self.components.entry(key).or_default();
        timestamps_ms.push(timestamp_ms);
        values.push(bits);
    }
}

impl State {
    /// All rows of a column, which has a number by its content.
    fn piece(&mut self, timestamps_ms: &[i64], values: Vec<u64>) -> InputPiece {
        let runs = vec![(0, timestamps_ms.len() as u32)];
        if let Some((column, number)) = self.columns.get_key_value(timestamps_ms) {
            return InputPiece {
                column: Some(*number),
                timestamps_ms: column.clone(),
                runs,
                values,
            };
        }
        if self.columns.len() >= COLUMNS_LIMIT {
            self.columns.clear();
        }
        let column: Arc<[i64]> = timestamps_ms.into();
        let number = self.column_count;
        self.column_count += 1;
        self.columns.insert(column.clone(), number);
        InputPiece {
            column: Some(number),
            timestamps_ms: column,
            runs,
            values,
        }
    }
}

fn unusable() -> Damaged {
    Damaged {
        file: "chunks",
        offset: 0,
        what: "a histogram that cannot be stored".to_owned(),
    }
}

fn damaged(damage: &Damage) -> Damaged {
    Damaged {
        file: "",
        offset: damage.offset,
        what: format!("{}: {}", damage.file, damage.what),
    }
}

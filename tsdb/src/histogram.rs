//! Reading what series have beside floats: histograms and start timestamps.

use std::collections::HashMap;
use std::sync::Arc;

use barograph_model::{FloatHistogram, Histogram, TimeRange};

use crate::assemble::Recent;
use crate::component::ComponentKey;
use crate::error::ReadError;
use crate::layout::{self, Layout, RAW_FLOAT};
use crate::snapshot::{Column, Selection};
use crate::sort_out::FastHash;

/// Histograms of one series, oldest first.
#[derive(Clone, Debug, Default)]
pub struct HistogramColumn {
    /// Milliseconds since the Unix epoch, ascending. Series of one group share this.
    pub timestamps_ms: Arc<[i64]>,
    /// A histogram per timestamp.
    pub values: Vec<Arc<FloatHistogram>>,
    /// A start timestamp per histogram, 0 where it has none; empty where none has one.
    pub starts_ms: Vec<i64>,
}

/// What a component column holds.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) timestamps_ms: Arc<[i64]>,
    pub(crate) values: Vec<f64>,
    pub(crate) pages_decoded: u32,
}

/// A layout, and where its components are.
type Known = (Arc<Layout>, Vec<usize>);

/// The histograms of a series, not yet put together.
struct Marked {
    timestamps_ms: Arc<[i64]>,
    /// Number of the layout per timestamp.
    ids: Vec<u64>,
}

impl HistogramColumn {
    /// How many histograms.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.starts_ms.clear();
        if !self.timestamps_ms.is_empty() {
            self.timestamps_ms = Arc::default();
        }
    }
}

impl Selection {
    /// Reads the histograms of series `index` inside `range` in the form in which they came, oldest
    /// first.
    ///
    /// # Errors
    /// A damaged page.
    pub fn read_histograms(
        &self,
        index: usize,
        range: TimeRange,
    ) -> Result<Vec<(i64, Histogram)>, ReadError> {
        let mut column = Column::default();
        let mut recent = Recent::default();
        self.read_own(index, range, &mut column, &mut recent)?;
        let mut histograms = Vec::new();
        if let Some(marked) = self.split(index, range, &mut column, &mut recent)? {
            self.assemble(index, range, &marked, &mut recent, |at, layout, values| {
                histograms.push((marked.timestamps_ms[at], layout.shape.histogram(values)));
            })?;
        }
        self.read_foreign_histograms(index, range, &column, &mut histograms)?;
        Ok(histograms)
    }

    /// Replaces what a series' own column says of components with what they hold.
    pub(crate) fn read_components(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
        recent: &mut Recent,
    ) -> Result<(), ReadError> {
        let marked = self.split(index, range, column, recent)?;
        let histograms = &mut column.histograms;
        let mut kept: Vec<i64> = Vec::new();
        if let Some(marked) = marked {
            kept.reserve(marked.ids.len());
            histograms.values.reserve(marked.ids.len());
            let assembled = self.assemble(index, range, &marked, recent, |at, layout, values| {
                kept.push(marked.timestamps_ms[at]);
                let histogram = layout.shape.float_histogram(values);
                histograms.values.push(Arc::new(histogram));
            });
            column.pages_decoded += assembled?;
            histograms.timestamps_ms = if kept.len() == marked.timestamps_ms.len() {
                marked.timestamps_ms
            } else {
                kept.into()
            };
        }
        let starts = self.read_part(index, ComponentKey::START, range, recent)?;
        column.pages_decoded += starts.pages_decoded;
        if !starts.values.is_empty() {
            starts_of(&starts, &column.timestamps_ms, &mut column.starts_ms);
            starts_of(
                &starts,
                &histograms.timestamps_ms,
                &mut histograms.starts_ms,
            );
        }
        Ok(())
    }

    /// Leaves floats only in the column; returns the others, where there are any.
    fn split(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
        recent: &mut Recent,
    ) -> Result<Option<Marked>, ReadError> {
        let id_of = |value: f64| {
            let bits = value.to_bits();
            layout::is_marker(bits).then(|| layout::marker_id(bits))
        };
        let ids: Vec<u64> = column.values.iter().filter_map(|v| id_of(*v)).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        if ids.len() == column.values.len() && !ids.contains(&RAW_FLOAT) {
            // Histograms only, as nearly always.
            column.values.clear();
            let timestamps_ms = std::mem::take(&mut column.timestamps_ms);
            return Ok(Some(Marked { timestamps_ms, ids }));
        }
        let raw = self.read_part(index, ComponentKey::RAW, range, recent)?;
        column.pages_decoded += raw.pages_decoded;
        let mut raw = raw.timestamps_ms.iter().zip(&raw.values).peekable();
        let (mut floats, mut values) = (Vec::new(), Vec::new());
        let (mut marked, mut ids) = (Vec::new(), Vec::new());
        for (t, value) in column.timestamps_ms.iter().zip(&column.values) {
            match id_of(*value) {
                None => {
                    floats.push(*t);
                    values.push(*value);
                }
                Some(RAW_FLOAT) => {
                    while raw.next_if(|(at, _)| *at < t).is_some() {}
                    if let Some((_, value)) = raw.next_if(|(at, _)| *at == t) {
                        floats.push(*t);
                        values.push(*value);
                    }
                }
                Some(id) => {
                    marked.push(*t);
                    ids.push(id);
                }
            }
        }
        column.timestamps_ms = floats.into();
        column.values = values;
        let timestamps_ms = marked.into();
        Ok((!ids.is_empty()).then_some(Marked { timestamps_ms, ids }))
    }

    /// Calls `each` with every histogram that is complete: its place, its layout and its values. One
    /// is not where the log lost a part of it. Returns how many pages were decoded.
    fn assemble(
        &self,
        index: usize,
        range: TimeRange,
        marked: &Marked,
        recent: &mut Recent,
        mut each: impl FnMut(usize, &Layout, &[u64]),
    ) -> Result<u32, ReadError> {
        let mut pages_decoded = 0;
        let mut parts: HashMap<ComponentKey, usize, FastHash> = HashMap::default();
        let mut aligned: Vec<Aligned> = Vec::new();
        let mut layouts: HashMap<u64, Option<Known>, FastHash> = HashMap::default();
        // Neighbours mostly have the same.
        for id in marked.ids.chunk_by(|a, b| a == b).map(|same| &same[0]) {
            if layouts.contains_key(id) {
                continue;
            }
            let Some(layout) = self.layout(index, *id)? else {
                layouts.insert(*id, None);
                continue;
            };
            let mut columns = Vec::new();
            for key in layout.shape.keys() {
                if let Some(known) = parts.get(&key) {
                    columns.push(*known);
                    continue;
                }
                let part = self.read_part(index, key, range, recent)?;
                pages_decoded += part.pages_decoded;
                aligned.push(Aligned::new(part, &marked.timestamps_ms));
                parts.insert(key, aligned.len() - 1);
                columns.push(aligned.len() - 1);
            }
            layouts.insert(*id, Some((layout, columns)));
        }
        let mut values = Vec::new();
        let mut next = 0;
        for same in marked.ids.chunk_by(|a, b| a == b) {
            let rows = next..next + same.len();
            next = rows.end;
            let Some(Some((layout, columns))) = layouts.get(&same[0]) else {
                continue;
            };
            for at in rows {
                values.clear();
                values.extend(columns.iter().map_while(|column| aligned[*column].get(at)));
                if values.len() == columns.len() {
                    each(at, layout, &values);
                }
            }
        }
        Ok(pages_decoded)
    }
}

/// The values of a component, by the place of a timestamp.
enum Aligned {
    /// One at each.
    All(Vec<f64>),
    Some(Vec<Option<u64>>),
}

impl Aligned {
    fn new(part: Part, timestamps_ms: &Arc<[i64]>) -> Self {
        if Arc::ptr_eq(&part.timestamps_ms, timestamps_ms) {
            return Self::All(part.values);
        }
        Self::Some(align(&part, timestamps_ms))
    }

    #[inline]
    fn get(&self, at: usize) -> Option<u64> {
        match self {
            Self::All(values) => values.get(at).map(|value| value.to_bits()),
            Self::Some(values) => values[at],
        }
    }
}

/// A component's value at each of the timestamps, where it has one.
fn align(part: &Part, timestamps_ms: &Arc<[i64]>) -> Vec<Option<u64>> {
    if Arc::ptr_eq(&part.timestamps_ms, timestamps_ms) {
        return part.values.iter().map(|v| Some(v.to_bits())).collect();
    }
    let mut values = part.timestamps_ms.iter().zip(&part.values).peekable();
    let at = |t: &i64| {
        while values.next_if(|(at, _)| *at < t).is_some() {}
        values.next_if(|(at, _)| *at == t).map(|(_, v)| v.to_bits())
    };
    timestamps_ms.iter().map(at).collect()
}

/// The start timestamps at each of the timestamps; nothing where there is none.
fn starts_of(part: &Part, timestamps_ms: &Arc<[i64]>, out: &mut Vec<i64>) {
    let starts = align(part, timestamps_ms);
    if starts.iter().any(Option::is_some) {
        let start = |bits: Option<u64>| bits.map_or(0, |bits| layout::decode_integer(bits) as i64);
        out.extend(starts.into_iter().map(start));
    }
}

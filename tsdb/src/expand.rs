//! From a batch to columns: histograms, start timestamps and the like become samples of components.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::batch::{Batch, Entry, Extra, ExtraKind, RejectReason, Rejected};
use crate::catalog::Catalog;
use crate::component::{Belongs, ComponentKey};
use crate::head::Head;
use crate::layout::{self, Layout, RAW_FLOAT};
use crate::wal::record::{RecordBuilder, kind};

/// Components per series that may be in memory, on average.
const COMPONENTS_PER_SERIES: usize = 64;

/// The samples of a batch as columns take them.
#[derive(Debug, Default)]
pub(crate) struct Rows<'a> {
    /// A sample, then its components' samples.
    pub(crate) entries: std::borrow::Cow<'a, [Entry]>,
    /// Per entry, the index of its sample in the batch; empty where that is its own.
    owners: Vec<u32>,
    /// Layouts that the log does not name yet.
    layouts: Vec<Arc<Layout>>,
    /// How many samples of the batch are in it.
    pub(crate) samples: usize,
}

impl<'a> Rows<'a> {
    fn plain(entries: &'a [Entry]) -> Self {
        Self {
            entries: entries.into(),
            owners: Vec::new(),
            layouts: Vec::new(),
            samples: entries.len(),
        }
    }

    /// The index in the batch of the sample that an entry is, or is a component of.
    pub(crate) fn owner(&self, index: usize) -> usize {
        self.owners
            .get(index)
            .map_or(index, |owner| *owner as usize)
    }

    /// Whether an entry is a component.
    pub(crate) fn is_component(&self, index: usize) -> bool {
        index > 0 && !self.owners.is_empty() && self.owners[index - 1] == self.owners[index]
    }

    /// Adds to a record the layouts that the log must name.
    pub(crate) fn log_layouts(&self, record: &mut RecordBuilder) {
        for layout in &self.layouts {
            record.operation(kind::LAYOUT, |out| layout.write(out));
        }
    }

    /// Notes that a record that names them was written.
    pub(crate) fn layouts_logged(&self) {
        for layout in &self.layouts {
            layout.logged.store(true, Ordering::Release);
        }
    }
}

impl Head {
    /// What is to be stored for a batch.
    pub(crate) fn expand<'a>(&self, batch: &'a Batch, rejected: &mut Vec<Rejected>) -> Rows<'a> {
        if batch.extras.list.is_empty() {
            return Rows::plain(batch.entries());
        }
        let rows = self.expand_known(batch, None);
        if let Some(rows) = rows {
            return rows;
        }
        self.add_components(batch);
        // What could not be added is rejected now.
        match self.expand_known(batch, Some(rejected)) {
            Some(rows) => rows,
            None => unreachable!("BUG: what is missing was to be rejected"),
        }
    }

    /// Puts samples and those of their components together; `None` where a component is missing or
    /// a series changes its layout, unless these samples are to be rejected.
    fn expand_known<'a>(
        &self,
        batch: &'a Batch,
        mut rejected: Option<&mut Vec<Rejected>>,
    ) -> Option<Rows<'a>> {
        let catalog = self.catalog();
        let entries = batch.entries();
        let mut rows = Rows::default();
        let mut out = Vec::with_capacity(entries.len() + batch.extras.list.len() * 16);
        let mut extras = batch.extras.list.iter().peekable();
        for (index, entry) in entries.iter().enumerate() {
            let first = out.len();
            out.push(*entry);
            let is_live = catalog.locate(entry.series).is_some();
            let mut complete = true;
            while let Some(extra) = extras.next_if(|extra| extra.entry as usize == index) {
                // A retired series is rejected when its place is sought.
                if is_live {
                    let sure = rejected.is_some();
                    complete &= self.expand_one(&catalog, batch, extra, sure, &mut out, &mut rows);
                }
            }
            if complete {
                rows.samples += 1;
            } else {
                out.truncate(first);
                rejected.as_mut()?.push(Rejected {
                    index,
                    reason: RejectReason::TooManyBuckets,
                });
            }
            rows.owners.resize(out.len(), index as u32);
        }
        rows.entries = out.into();
        Some(rows)
    }

    /// Adds the components of one sample, which is the newest that has none yet. `false` where one
    /// is missing, or, unless `search`, where the layout is not that of its series' newest histogram.
    fn expand_one(
        &self,
        catalog: &Catalog,
        batch: &Batch,
        extra: &Extra,
        search: bool,
        out: &mut Vec<Entry>,
        rows: &mut Rows<'_>,
    ) -> bool {
        let components = catalog.components();
        let entry = batch.entries()[extra.entry as usize];
        let parent = entry.series.slot;
        let component = |series, bits| Entry {
            series,
            timestamp_ms: entry.timestamp_ms,
            value: f64::from_bits(bits),
        };
        let own = |out: &mut Vec<Entry>, id| {
            let own = out.iter_mut().rev().find(|e| e.series == entry.series);
            if let Some(own) = own {
                own.value = f64::from_bits(layout::marker(id));
            }
        };
        match &extra.kind {
            ExtraKind::Start(start_ms) => match components.find(parent, ComponentKey::START) {
                Some(at) => out.push(component(at, layout::encode_integer(*start_ms as u64))),
                None => return false,
            },
            ExtraKind::RawFloat => match components.find(parent, ComponentKey::RAW) {
                Some(at) => {
                    own(out, RAW_FLOAT);
                    out.push(component(at, entry.value.to_bits()));
                }
                None => return false,
            },
            ExtraKind::Histogram { layout, values } => {
                let bytes = batch.extras.layout(layout);
                let values = batch.extras.values(values);
                let layout = if let Some((layout, parts)) = components.current(parent, bytes) {
                    own(out, layout.id);
                    for (number, bits) in values.iter().enumerate() {
                        match parts.get(number) {
                            Some(at) => out.push(component(at, *bits)),
                            None => return false,
                        }
                    }
                    layout.clone()
                } else {
                    let found = search.then(|| self.layouts.find(bytes)).flatten();
                    let Some(layout) = found else {
                        return false;
                    };
                    own(out, layout.id);
                    for (key, bits) in layout.shape.keys().into_iter().zip(values) {
                        match components.find(parent, key) {
                            Some(at) => out.push(component(at, *bits)),
                            None => return false,
                        }
                    }
                    layout
                };
                layout.touch(entry.timestamp_ms);
                if !layout.logged.load(Ordering::Acquire) {
                    rows.layouts.push(layout);
                }
            }
        }
        true
    }

    /// Adds the components that a batch needs, as far as there is room.
    fn add_components(&self, batch: &Batch) {
        let limit = self.series_limit.saturating_mul(COMPONENTS_PER_SERIES);
        let mut catalog = self.catalog_mut();
        for extra in &batch.extras.list {
            let series = batch.entries()[extra.entry as usize].series;
            if catalog.locate(series).is_none() {
                continue;
            }
            let (keys, layout) = match &extra.kind {
                ExtraKind::Start(_) => (vec![ComponentKey::START], None),
                ExtraKind::RawFloat => (vec![ComponentKey::RAW], None),
                ExtraKind::Histogram { layout, .. } => {
                    let bytes = batch.extras.layout(layout);
                    if catalog.components().current(series.slot, bytes).is_some() {
                        continue;
                    }
                    match self.layouts.intern(bytes) {
                        Ok(layout) => (layout.shape.keys(), Some(layout)),
                        Err(_) => unreachable!("BUG: a layout that was written cannot be read"),
                    }
                }
            };
            catalog.reserve_components(series, &keys);
            for key in keys {
                if catalog.components().find(series.slot, key).is_none()
                    && catalog.components().len() < limit
                {
                    let belongs = Belongs {
                        parent: series,
                        key,
                    };
                    catalog.insert_component(belongs, None);
                }
            }
            if let Some(layout) = layout {
                catalog.components_mut().set_current(series.slot, layout);
            }
        }
    }
}

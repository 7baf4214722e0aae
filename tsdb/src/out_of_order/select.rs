//! Reading late samples: which series have some, and what they are.

use std::sync::Arc;

use barograph_model::{Labels, Matcher, TimeRange};
use roaring::RoaringBitmap;

use crate::assemble::Assembly;
use crate::batch::SeriesRef;
use crate::bytes::Malformed;
use crate::catalog::Catalog;
use crate::component::ComponentKey;
use crate::error::ReadError;
use crate::head::Head;
use crate::head_index::HeadIndex;
use crate::head_select;
use crate::merge::Samples;
use crate::out_of_order::buffers::Buffers;

/// Buffers as of one instant.
#[derive(Clone, Debug)]
pub(crate) struct LateView {
    pub(crate) buffers: Arc<Buffers>,
    /// Later appends are not seen.
    pub(crate) sequence: u32,
}

/// Where late samples of a series, or of a component of it, are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LateColumn {
    pub(crate) key: Option<ComponentKey>,
    /// Number of the buffers among the views: older ones come first.
    view: u32,
    entry: u32,
}

/// Series that fit and have late samples inside the range, in order of their labels; a series
/// comes as often as it has columns.
pub(crate) fn select(
    head: &Head,
    views: &[LateView],
    matchers: &[Matcher],
    range: TimeRange,
) -> Vec<(Labels, LateColumn)> {
    let in_range = |view: &LateView| view.buffers.read().overlaps(range);
    if !views.iter().any(in_range) {
        return Vec::new();
    }
    let fitting = head_select::slots(&HeadIndex::new(head), matchers);
    let mut found = Vec::new();
    for (number, view) in (0..).zip(views) {
        let catalog = head.catalog();
        let state = view.buffers.read();
        if !state.overlaps(range) {
            continue;
        }
        for (entry, (reference, orphan)) in (0..).zip(state.series()) {
            let column = |key| LateColumn {
                key,
                view: number,
                entry,
            };
            match orphan {
                Some(orphan) => {
                    if fits(&orphan.labels, matchers) && state.has_samples(entry, range) {
                        found.push((orphan.labels.clone(), column(orphan.key)));
                    }
                }
                None => {
                    if let Some((slot, key)) = labelled(&catalog, reference, &fitting)
                        && state.has_samples(entry, range)
                    {
                        found.push((catalog.labels(slot), column(key)));
                    }
                }
            }
        }
    }
    found.sort_unstable();
    found
}

/// The slot with the labels of a series or component, where it is one of these.
fn labelled(
    catalog: &Catalog,
    reference: SeriesRef,
    fitting: &RoaringBitmap,
) -> Option<(u32, Option<ComponentKey>)> {
    catalog.locate(reference)?;
    let belongs = catalog.belongs(reference.slot);
    let series = belongs.map_or(reference, |belongs| belongs.parent);
    catalog.locate(series)?;
    let fits = fitting.contains(series.slot);
    fits.then(|| (series.slot, belongs.map(|belongs| belongs.key)))
}

/// Reads late samples inside `range`: of a series' own column, or of a component. Their places, where
/// they are noted, are from `first_place` on: an append of some buffers is one.
pub(crate) fn read(
    views: &[LateView],
    columns: &[LateColumn],
    key: Option<ComponentKey>,
    range: TimeRange,
    first_place: u64,
    assembly: &mut Assembly<'_>,
) -> Result<(), ReadError> {
    let mut samples = Samples::default();
    let mut placed = Vec::new();
    for column in columns.iter().filter(|column| column.key == key) {
        let Some(view) = views.get(column.view as usize) else {
            continue;
        };
        samples.timestamps_ms.clear();
        samples.values.clear();
        let damaged = |error: Malformed| ReadError::Corrupt {
            path: "head (late samples)".into(),
            offset: error.offset as u64,
            what: error.what.to_owned(),
        };
        let (entry, sequence) = (column.entry, view.sequence);
        if assembly.notes_places() {
            placed.clear();
            let state = view.buffers.read();
            let read = state.read_placed(entry, sequence, range, &mut placed);
            drop(state);
            read.map_err(damaged)?;
            let first_place = first_place + (u64::from(column.view) << 32);
            assembly.extend_late(&placed, |late| first_place + u64::from(late.sequence));
            continue;
        }
        let tie = assembly.tie();
        let state = view.buffers.read();
        let read = state.read(entry, sequence, range, tie, &mut samples);
        drop(state);
        read.map_err(damaged)?;
        assembly.extend(&samples);
    }
    Ok(())
}

fn fits(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers
        .iter()
        .all(|matcher| matcher.matches(labels.get(matcher.name())))
}

//! Figures about the store, for `/api/v1/status/tsdb`.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use barograph_model::TimeRange;

use crate::head::Head;

/// Figures about the store, for `/api/v1/status/tsdb`.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// The part in memory.
    pub head: HeadStats,
    /// Samples out of order.
    pub late: LateStats,
    /// Series per metric name, largest first.
    pub series_by_metric: Vec<(String, u64)>,
    /// Distinct values per label name, largest first.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of label values per label name, largest first.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series per `name=value`, largest first.
    pub series_by_pair: Vec<(String, u64)>,
}

/// Figures about the part in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadStats {
    /// Series in memory.
    pub series: u64,
    /// Distinct label pairs.
    pub label_pairs: u64,
    /// Sealed and open pages.
    pub pages: u64,
    /// Oldest sample, or `None` while empty.
    pub min_time_ms: Option<i64>,
    /// Newest sample, or `None` while empty.
    pub max_time_ms: Option<i64>,
}

/// Figures about samples out of order that are in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct LateStats {
    /// How many series have some.
    pub series: u64,
    /// How many samples there are.
    pub samples: u64,
    /// How much memory they take.
    pub bytes: u64,
    /// From the oldest to the newest, or `None` where there are none.
    pub range: Option<TimeRange>,
    /// How much older than the newest sample of the store they may be, milliseconds; 0 takes none.
    pub window_ms: i64,
}

/// Collects the figures; at most `top` rows per list.
pub(crate) fn collect(head: &Head, top: usize) -> Stats {
    let mut stats = Stats {
        head: head_stats(head),
        late: head.late.stats(),
        ..Stats::default()
    };
    let catalog = head.catalog();
    let mut by_pair: BTreeSet<(Reverse<u64>, u32)> = BTreeSet::new();
    for (name, pairs) in catalog.names() {
        let bytes = pairs
            .iter()
            .map(|pair| catalog.texts(*pair).1.len() as u64 * catalog.postings(*pair).len())
            .sum();
        stats
            .values_by_label
            .push((name.to_owned(), pairs.len() as u64));
        stats.bytes_by_label.push((name.to_owned(), bytes));
        for pair in pairs {
            let count = catalog.postings(*pair).len();
            if name == barograph_model::METRIC_NAME {
                let value = catalog.texts(*pair).1.to_owned();
                stats.series_by_metric.push((value, count));
            }
            by_pair.insert((Reverse(count), *pair));
            if by_pair.len() > top {
                by_pair.pop_last();
            }
        }
    }
    for (count, pair) in by_pair {
        let (name, value) = catalog.texts(pair);
        stats
            .series_by_pair
            .push((format!("{name}={value}"), count.0));
    }
    for list in [
        &mut stats.series_by_metric,
        &mut stats.values_by_label,
        &mut stats.bytes_by_label,
        &mut stats.series_by_pair,
    ] {
        list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        list.truncate(top);
    }
    stats
}

/// The figures about the head alone.
pub(crate) fn head_stats(head: &Head) -> HeadStats {
    let (series, label_pairs) = {
        let catalog = head.catalog();
        (catalog.len() as u64, catalog.pair_count() as u64)
    };
    let mut pages = 0;
    for group in head.all_groups() {
        let state = group.read();
        for track in state.tracks.iter().flatten() {
            pages += track.open_pages() + track.chunks.len() * track.live as usize;
        }
    }
    let (min_ms, max_ms) = (
        head.min_ms.load(Ordering::Relaxed),
        head.max_ms.load(Ordering::Relaxed),
    );
    let some = min_ms <= max_ms;
    HeadStats {
        series,
        label_pairs,
        pages: pages as u64,
        min_time_ms: some.then_some(min_ms),
        max_time_ms: some.then_some(max_ms),
    }
}

//! Churn and cardinality of a block, as promtool lists them.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use barograph_model::{METRIC_NAME, Matcher, TimeRange};
use barograph_tsdb::{Column, Offline};

use super::list::duration;
use super::{Failure, other};
use crate::tools::progress::Progress;

/// What is asked.
pub(super) struct Analysis<'a> {
    pub(super) block: Option<&'a str>,
    pub(super) limit: usize,
    pub(super) extended: bool,
    pub(super) selector: Option<&'a str>,
    pub(super) matchers: &'a [Matcher],
}

/// Writes the analysis of a block.
pub(super) fn write(
    out: &mut impl Write,
    offline: &Offline,
    asked: &Analysis<'_>,
) -> Result<(), Failure> {
    let blocks = offline.blocks();
    let found = match asked.block {
        Some(name) => blocks.iter().position(|block| block.name == name),
        // The last by time.
        None => (0..blocks.len()).max_by_key(|at| (blocks[*at].end_ms, *at)),
    };
    let Some(number) = found else {
        return Err(Failure::Other(match asked.block {
            Some(name) => format!("there is no block {name}: see barograph tsdb list"),
            None => "there are no blocks yet".to_owned(),
        }));
    };
    let block = &blocks[number];
    let Some(snapshot) = offline.block(number) else {
        return Ok(());
    };
    let length_ms = block.end_ms.saturating_sub(block.start_ms).max(1);
    writeln!(out, "Block ID: {}", block.name)?;
    writeln!(out, "Duration: {}", duration(length_ms))?;
    writeln!(out, "Total Series: {}", block.series)?;
    if let Some(selector) = asked.selector {
        writeln!(out, "Matcher: {selector}")?;
    }
    let all = TimeRange::ALL;
    let names = snapshot.label_names(asked.matchers, all).map_err(other)?;
    writeln!(out, "Label names: {}", names.len())?;
    let selection = snapshot.select(asked.matchers, all).map_err(other)?;
    if asked.selector.is_some() {
        writeln!(out, "Matched series: {}", selection.len())?;
    }
    let mut found = Found::default();
    let mut column = Column::default();
    let mut progress = Progress::new("series");
    for index in 0..selection.len() {
        progress.set(index as u64, selection.len() as u64);
        selection.read(index, all, &mut column).map_err(other)?;
        let times = [&column.timestamps_ms, &column.histograms.timestamps_ms];
        let first = times.iter().filter_map(|t| t.first()).min();
        let last = times.iter().filter_map(|t| t.last()).max();
        let covered_ms = match (first, last) {
            (Some(first), Some(last)) => last - first,
            _ => 0,
        };
        let samples = column.timestamps_ms.len() + column.histograms.len();
        found.samples.push(samples as u64);
        let uncovered_ms = length_ms.saturating_sub(covered_ms).max(0) as u64;
        for (name, value) in selection.labels(index) {
            found.add(name, value, uncovered_ms);
        }
    }
    drop(progress);
    let pairs = found.pairs.len();
    writeln!(out, "Postings (unique label pairs): {pairs}")?;
    writeln!(
        out,
        "Postings entries (total label pairs): {}",
        found.entries
    )?;
    let share = |uncovered_ms: u64| (uncovered_ms as f64 / length_ms as f64) as u64;
    let pairs = || {
        found
            .pairs
            .iter()
            .map(|((n, v), pair)| (format!("{n}={v}"), pair))
    };
    let churning_pairs = pairs().map(|(key, pair)| (key, share(pair.uncovered_ms)));
    let churning_names = found.names.iter().map(|(n, ms)| (n.clone(), share(*ms)));
    let common = pairs().map(|(key, pair)| (key, pair.count));
    let mut lengths: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (name, value) in found.pairs.keys() {
        let (length, count) = lengths.entry(name).or_default();
        *length += value.len() as u64;
        *count += 1;
    }
    let each = lengths.iter();
    let long = each
        .clone()
        .map(|(n, (length, _))| ((*n).to_owned(), *length));
    let cardinal = each.map(|(n, (_, count))| ((*n).to_owned(), *count));
    let metrics = found
        .pairs
        .iter()
        .filter(|((name, _), _)| name == METRIC_NAME);
    let metrics = metrics.map(|((_, value), pair)| (value.clone(), pair.count));
    let limit = asked.limit;
    list(
        out,
        "Label pairs most involved in churning",
        churning_pairs,
        limit,
    )?;
    list(
        out,
        "Label names most involved in churning",
        churning_names,
        limit,
    )?;
    list(out, "Most common label pairs", common, limit)?;
    let title = "Label names with highest cumulative label value length";
    list(out, title, long, limit)?;
    list(out, "Highest cardinality labels", cardinal, limit)?;
    list(out, "Highest cardinality metric names", metrics, limit)?;
    if asked.extended {
        extended(out, &found.samples, block.chunks, block.size_bytes)?;
    }
    Ok(())
}

/// How samples spread over series and pieces.
fn extended(out: &mut impl Write, samples: &[u64], chunks: u64, bytes: u64) -> Result<(), Failure> {
    let total: u64 = samples.iter().sum();
    let share = |of: u64| total as f64 / of.max(1) as f64;
    writeln!(out, "\nCompaction analysis:")?;
    writeln!(out, "Samples per chunk: {:.1}", share(chunks))?;
    writeln!(
        out,
        "Samples per series: {:.1}",
        share(samples.len() as u64)
    )?;
    let per_sample = bytes as f64 / total.max(1) as f64;
    writeln!(out, "Bytes per sample: {per_sample:.3}")?;
    writeln!(out, "Series by number of samples:")?;
    let mut ranges: BTreeMap<u32, u64> = BTreeMap::new();
    for count in samples {
        *ranges.entry(count.max(&1).ilog2()).or_default() += 1;
    }
    for (power, count) in ranges {
        let (from, to) = (1u64 << power, (2u64 << power) - 1);
        writeln!(out, "{count} {from}-{to}")?;
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    pairs: HashMap<(String, String), Pair>,
    /// Per label name, how long its series had no samples.
    names: HashMap<String, u64>,
    entries: u64,
    /// Of each series.
    samples: Vec<u64>,
}

#[derive(Default)]
struct Pair {
    count: u64,
    uncovered_ms: u64,
}

impl Found {
    fn add(&mut self, name: &str, value: &str, uncovered_ms: u64) {
        let pair = self.pairs.entry((name.to_owned(), value.to_owned()));
        let pair = pair.or_default();
        pair.count += 1;
        pair.uncovered_ms += uncovered_ms;
        *self.names.entry(name.to_owned()).or_default() += uncovered_ms;
        self.entries += 1;
    }
}

/// The largest first; equal ones by name.
fn list(
    out: &mut impl Write,
    title: &str,
    items: impl Iterator<Item = (String, u64)>,
    limit: usize,
) -> Result<(), Failure> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
    writeln!(out, "\n{title}:")?;
    for (key, count) in items.into_iter().take(limit) {
        writeln!(out, "{count} {key}")?;
    }
    Ok(())
}

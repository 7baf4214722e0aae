//! What a store must hold after so many steps, and whether it does.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;

use barograph_model::{Labels, Matcher, TimeRange};
use barograph_tsdb::{Column, Db};

use crate::script::{self, ROW_MS, START_MS, Step, Value};

/// What of a store is known without its values, which rows determine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Rows with a sample, by series.
    rows: BTreeMap<Labels, BTreeSet<i64>>,
    exemplars: BTreeSet<i64>,
    /// The row whose help text counts.
    metadata: Option<i64>,
}

impl Expected {
    /// Notes that a step was done.
    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Append {
                samples, exemplar, ..
            } => {
                for (series, row) in samples {
                    let labels = script::labels(*series, *row);
                    self.rows.entry(labels).or_default().insert(*row);
                }
                self.exemplars.extend(exemplar);
            }
            Step::Delete {
                series,
                first,
                last,
                ..
            } => {
                let ids: BTreeSet<String> = series.iter().map(ToString::to_string).collect();
                for (_, rows) in self
                    .rows
                    .iter_mut()
                    .filter(|(l, _)| ids.contains(l.get("id")))
                {
                    rows.retain(|row| !(first..=last).contains(&row));
                }
                self.rows.retain(|_, rows| !rows.is_empty());
            }
            Step::Metadata(row) => self.metadata = Some(*row),
            Step::CleanTombstones | Step::Compact | Step::Snapshot | Step::Nothing => {}
        }
    }

    /// How many samples.
    pub(crate) fn samples(&self) -> u64 {
        self.rows.values().map(|rows| rows.len() as u64).sum()
    }

    /// What a store holds; an error where a value is wrong.
    pub(crate) fn found(db: &Db) -> Result<Self, Box<dyn Error>> {
        let mut found = Self::default();
        let snapshot = db.snapshot();
        let everything = [Matcher::equal("__name__", "x")];
        let selection = snapshot.select(&everything, TimeRange::ALL)?;
        let mut column = Column::default();
        for index in 0..selection.len() {
            let labels = selection.labels(index);
            let series: usize = labels.get("id").parse()?;
            selection.read(index, TimeRange::ALL, &mut column)?;
            let rows = read(series, labels, &column)?;
            if !rows.is_empty() && found.rows.insert(labels.clone(), rows).is_some() {
                return Err(format!("{labels} twice").into());
            }
        }
        for series in snapshot.exemplars(&[everything.to_vec()], TimeRange::ALL) {
            for exemplar in &series.exemplars {
                let row = (exemplar.timestamp_ms - START_MS) / ROW_MS;
                if *exemplar != script::exemplar(row) || !found.exemplars.insert(row) {
                    return Err(format!("exemplar {exemplar:?}").into());
                }
            }
        }
        for (family, metadata) in db.metadata() {
            let row = metadata.help.strip_prefix("As of row ");
            let row = row.and_then(|rest| rest.strip_suffix('.'));
            let row: i64 = row.ok_or("another help text")?.parse()?;
            if family != "x" || metadata != script::metadata(row) {
                return Err(format!("metadata of {family}: {metadata:?}").into());
            }
            found.metadata = Some(row);
        }
        Ok(found)
    }

    /// Whether it has all that `less` has, and nothing that `more` has not.
    pub(crate) fn is_between(&self, less: &Self, more: &Self) -> bool {
        let none = BTreeSet::new();
        let has = |all: &Self, some: &Self| {
            some.exemplars.is_subset(&all.exemplars)
                && some
                    .rows
                    .iter()
                    .all(|(labels, rows)| rows.is_subset(all.rows.get(labels).unwrap_or(&none)))
        };
        has(self, less) && has(more, self) && self.metadata == less.metadata
    }

    /// The first things in which two differ.
    pub(crate) fn difference(&self, found: &Self) -> String {
        let mut text = String::new();
        let none = BTreeSet::new();
        let keys: BTreeSet<_> = self.rows.keys().chain(found.rows.keys()).collect();
        for labels in keys {
            let want = self.rows.get(labels).unwrap_or(&none);
            let have = found.rows.get(labels).unwrap_or(&none);
            let some = |a: &BTreeSet<i64>, b: &BTreeSet<i64>| {
                a.difference(b).take(10).copied().collect::<Vec<_>>()
            };
            if want != have {
                write!(
                    text,
                    "\n{labels}: {} of {} rows; missing {:?}, too many {:?}",
                    have.len(),
                    want.len(),
                    some(want, have),
                    some(have, want)
                )
                .ok();
            }
        }
        if self.exemplars != found.exemplars {
            write!(
                text,
                "\nexemplars: {} of {}",
                found.exemplars.len(),
                self.exemplars.len()
            )
            .ok();
        }
        if self.metadata != found.metadata {
            write!(
                text,
                "\nmetadata: {:?} of {:?}",
                found.metadata, self.metadata
            )
            .ok();
        }
        text
    }
}

/// The rows of a column, whose values are those of the series.
fn read(series: usize, labels: &Labels, column: &Column) -> Result<BTreeSet<i64>, Box<dyn Error>> {
    let mut rows = BTreeSet::new();
    let mut note = |time_ms: i64, is_right: &dyn Fn(i64) -> bool| {
        let row = (time_ms - START_MS) / ROW_MS;
        if script::time_ms(row) != time_ms || !is_right(row) || !rows.insert(row) {
            return Err(format!("{labels}, row {row}: a wrong sample"));
        }
        Ok(())
    };
    for (at, (time, have)) in column.timestamps_ms.iter().zip(&column.values).enumerate() {
        let start_ms = column.starts_ms.get(at).copied().unwrap_or_default();
        note(*time, &|row| {
            matches!(script::value(series, row), Value::Float(want) if want.to_bits() == have.to_bits())
                && script::start_ms(series, row) == start_ms
        })?;
    }
    let histograms = &column.histograms;
    for (time, have) in histograms.timestamps_ms.iter().zip(&histograms.values) {
        note(
            *time,
            &|row| matches!(script::value(series, row), Value::Histogram(want) if want.to_float() == **have),
        )?;
    }
    Ok(rows)
}

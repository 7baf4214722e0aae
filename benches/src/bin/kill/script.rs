//! What the writing process does. Each step is determined by its number alone, so that whoever knows
//! how many were acknowledged knows what the store must hold.

use std::error::Error;
use std::path::Path;

use barograph_model::histogram::{CounterResetHint, Span};
use barograph_model::{
    Exemplar, Histogram, IntegerHistogram, Labels, MatchOp, Matcher, Metadata, MetricKind,
    STALE_NAN_BITS, TimeRange,
};
use barograph_tsdb::{Batch, Db, GroupId};

pub(crate) const START_MS: i64 = 1_700_006_400_000;
pub(crate) const ROW_MS: i64 = 5_000;
/// Each row is a scrape, two parts of what is pushed, and perhaps something else.
pub(crate) const STEPS_PER_ROW: u64 = 4;
/// Series that are there at one time.
pub(crate) const SERIES: usize = 24;
/// How many rows late a sample is at most.
pub(crate) const LATE_ROWS: i64 = 45;
/// Rows after which a series that comes and goes is another one.
const GENERATION_ROWS: i64 = 150;
const SNAPSHOTS: &str = "snapshots";

/// How a series behaves, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Float,
    IntegerHistogram,
    GaugeHistogram,
    CustomHistogram,
    /// Some of its samples come some rows later.
    Late,
    LateHistogram,
    /// Has other labels after a while.
    Churning,
    /// In the first or the second part of a pushed row.
    Pushed(u64),
}

fn role(series: usize) -> Role {
    match series {
        0..=6 => Role::Float,
        7 => Role::IntegerHistogram,
        8 => Role::GaugeHistogram,
        9 => Role::CustomHistogram,
        10..=13 => Role::Late,
        14 => Role::LateHistogram,
        15..=18 => Role::Churning,
        _ => Role::Pushed(series as u64 % 2),
    }
}

/// Something of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// One batch of the scraped group, or of the pushed one: series and rows.
    Append {
        pushed: bool,
        samples: Vec<(usize, i64)>,
        exemplar: Option<i64>,
    },
    /// These series lose these rows.
    Delete {
        pattern: &'static str,
        series: Vec<usize>,
        first: i64,
        last: i64,
    },
    /// The help text becomes that of the row.
    Metadata(i64),
    CleanTombstones,
    Compact,
    Snapshot,
    Nothing,
}

/// Bits that two numbers determine (splitmix64's finalizer).
fn hash(a: u64, b: u64) -> u64 {
    let mut mixed = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd134_2543_de82_ef95);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Bits of a sample; `purpose` makes them independent.
fn noise(series: usize, row: i64, purpose: u64) -> u64 {
    hash(series as u64 ^ (purpose << 32), row as u64)
}

fn is_missing(series: usize, row: i64) -> bool {
    noise(series, row, 1).is_multiple_of(9)
}

/// How many rows late a sample comes; 0 is in time.
fn delay(series: usize, row: i64) -> i64 {
    let is_late = matches!(role(series), Role::Late | Role::LateHistogram);
    if is_late && noise(series, row, 2).is_multiple_of(3) {
        1 + (noise(series, row, 3) % LATE_ROWS as u64) as i64
    } else {
        0
    }
}

/// What a step does.
pub(crate) fn step(number: u64) -> Step {
    let row = (number / STEPS_PER_ROW) as i64;
    match number % STEPS_PER_ROW {
        0 => {
            let mut samples = Vec::new();
            for series in 0..SERIES {
                if matches!(role(series), Role::Pushed(_)) {
                    continue;
                }
                let comes = |at: &i64| !is_missing(series, *at) && at + delay(series, *at) == row;
                let oldest = (row - LATE_ROWS).max(0);
                samples.extend((oldest..=row).filter(comes).map(|at| (series, at)));
            }
            Step::Append {
                pushed: false,
                samples,
                exemplar: noise(1, row, 4).is_multiple_of(8).then_some(row),
            }
        }
        part @ 1..=2 => {
            let is_in = |series: &usize| {
                role(*series) == Role::Pushed(part - 1) && !is_missing(*series, row)
            };
            Step::Append {
                pushed: true,
                samples: (0..SERIES).filter(is_in).map(|s| (s, row)).collect(),
                exemplar: None,
            }
        }
        _ => other(row),
    }
}

fn other(row: i64) -> Step {
    let bits = noise(0, row, 5);
    match bits % 240 {
        0..=2 => {
            let first = (row - (bits >> 8) as i64 % 150).max(0);
            let last = (first + (bits >> 16) as i64 % 40).min(row);
            let (pattern, series) = match (bits >> 24) % 3 {
                0 => ("[0-2]|7", vec![0, 1, 2, 7]),
                1 => ("1[5-6]", vec![15, 16]),
                _ => ("8|2.", vec![8, 20, 21, 22, 23]),
            };
            Step::Delete {
                pattern,
                series,
                first,
                last,
            }
        }
        // Only rows of which nothing can come any more.
        3 if row > 200 => Step::Delete {
            pattern: "1[0-4]",
            series: vec![10, 11, 12, 13, 14],
            first: row - 200,
            last: row - LATE_ROWS - 5 - (bits >> 8) as i64 % 100,
        },
        4..=6 => Step::Metadata(row),
        7 => Step::CleanTombstones,
        8 | 9 => Step::Compact,
        10 => Step::Snapshot,
        _ => Step::Nothing,
    }
}

/// Since when the counter of a sample counts; 0 where that is not said.
pub(crate) fn start_ms(series: usize, row: i64) -> i64 {
    let is_told = matches!(series, 1 | 11 | 20) && !is_stale(series, row);
    if is_told {
        START_MS - 5_000 + row / 100 * 1_000
    } else {
        0
    }
}

fn is_stale(series: usize, row: i64) -> bool {
    noise(series, row, 6).is_multiple_of(31)
}

/// A sample as it is written.
pub(crate) enum Value {
    Float(f64),
    Histogram(Histogram),
}

/// The sample of a row.
pub(crate) fn value(series: usize, row: i64) -> Value {
    if is_stale(series, row) {
        return Value::Float(f64::from_bits(STALE_NAN_BITS));
    }
    let count = row as u64 + 1;
    let spans = vec![Span {
        offset: if role(series) == Role::CustomHistogram {
            0
        } else {
            -1
        },
        length: 3,
    }];
    let plain = IntegerHistogram {
        schema: if row % 60 > 45 { 2 } else { 3 },
        zero_threshold: 1e-128,
        zero_count: count,
        count: count * 3 + 3,
        sum: row as f64 * 0.37,
        positive_spans: spans,
        positive_buckets: vec![count, count, 3],
        ..IntegerHistogram::default()
    };
    let float = match role(series) {
        Role::IntegerHistogram | Role::LateHistogram => {
            return Value::Histogram(Histogram::Integer(plain));
        }
        Role::GaugeHistogram => {
            let mut gauge = plain.to_float();
            gauge.counter_reset_hint = CounterResetHint::Gauge;
            gauge.sum = (row as f64).sqrt();
            return Value::Histogram(Histogram::Float(gauge));
        }
        Role::CustomHistogram => {
            return Value::Histogram(Histogram::Integer(IntegerHistogram {
                schema: -53,
                zero_threshold: 0.0,
                zero_count: 0,
                count: count * 2 + 3,
                custom_bounds: vec![0.1, 1.0, (row / 200) as f64 + 2.0].into(),
                ..plain
            }));
        }
        _ => match series % 6 {
            0 => 42.0,
            1 => row as f64 * 17.0,
            2 => (row % 7) as f64 / 10.0,
            3 => (row as f64).sqrt(),
            4 if row % 11 == 0 => f64::from_bits(0x7ff8_dead_beef_0001),
            4 if row % 11 == 1 => -0.0,
            _ => (row / 50) as f64,
        },
    };
    Value::Float(float)
}

/// Labels of a series at a row.
pub(crate) fn labels(series: usize, row: i64) -> Labels {
    let generation = if role(series) == Role::Churning {
        row / GENERATION_ROWS
    } else {
        0
    };
    Labels::from_pairs([
        ("__name__", "x".to_owned()),
        ("generation", generation.to_string()),
        ("id", series.to_string()),
    ])
}

pub(crate) fn exemplar(row: i64) -> Exemplar {
    Exemplar {
        labels: Labels::from_pairs([("trace_id", row.to_string())]),
        value: row as f64 / 3.0,
        timestamp_ms: time_ms(row),
    }
}

pub(crate) fn metadata(row: i64) -> Metadata {
    Metadata {
        kind: MetricKind::Gauge,
        unit: String::new(),
        help: format!("As of row {row}."),
    }
}

pub(crate) fn time_ms(row: i64) -> i64 {
    START_MS + row * ROW_MS
}

/// Where the snapshot of a step is, below the data directory.
pub(crate) fn snapshot_path(directory: &Path, number: u64) -> std::path::PathBuf {
    directory.join(SNAPSHOTS).join(number.to_string())
}

/// Does the steps of a store, one after the other.
pub(crate) struct Actor<'a> {
    pub(crate) db: &'a Db,
    pub(crate) directory: &'a Path,
    scraped: GroupId,
    pushed: GroupId,
}

impl<'a> Actor<'a> {
    pub(crate) fn new(db: &'a Db, directory: &'a Path) -> Self {
        let (scraped, pushed) = (db.open_group(), db.open_group());
        Self {
            db,
            directory,
            scraped,
            pushed,
        }
    }

    /// Does one step. One that is repeated, because it is not known whether it was done before,
    /// finds its samples there.
    pub(crate) fn act(&self, number: u64, is_repeated: bool) -> Result<(), Box<dyn Error>> {
        match step(number) {
            Step::Append {
                pushed,
                samples,
                exemplar,
            } => self.append(pushed, &samples, exemplar, is_repeated)?,
            Step::Delete {
                pattern,
                first,
                last,
                ..
            } => {
                let matchers = [
                    Matcher::equal("__name__", "x"),
                    Matcher::new("id", MatchOp::Regex, pattern)?,
                ];
                let range = TimeRange {
                    start_ms: time_ms(first),
                    end_ms: time_ms(last),
                };
                self.db.delete_series(&matchers, range)?;
            }
            Step::Metadata(row) => {
                self.db.set_metadata("x", &metadata(row))?;
            }
            Step::CleanTombstones => self.db.clean_tombstones()?,
            Step::Compact => {
                self.db.compact();
            }
            Step::Snapshot => {
                let below = snapshot_path(self.directory, number);
                if is_repeated && below.exists() {
                    std::fs::remove_dir_all(&below)?;
                }
                self.db.write_snapshot(&below, false)?;
            }
            Step::Nothing => {}
        }
        Ok(())
    }

    fn append(
        &self,
        pushed: bool,
        samples: &[(usize, i64)],
        with_exemplar: Option<i64>,
        is_repeated: bool,
    ) -> Result<(), Box<dyn Error>> {
        let group = if pushed { self.pushed } else { self.scraped };
        let mut batch = Batch::new(group);
        for (series, row) in samples {
            let reference = self.db.register(group, &labels(*series, *row))?;
            match value(*series, *row) {
                Value::Float(value) => batch.push(reference, time_ms(*row), value),
                Value::Histogram(histogram) => {
                    batch.push_histogram(reference, time_ms(*row), &histogram)?;
                }
            }
            batch.set_start(start_ms(*series, *row));
        }
        if let Some(row) = with_exemplar {
            let reference = self.db.register(group, &labels(1, row))?;
            batch.push_exemplar(reference, exemplar(row));
        }
        let appended = self.db.append(&batch)?;
        if appended.accepted != samples.len() && !is_repeated {
            return Err(format!("refused: {:?} of {samples:?}", appended.rejected).into());
        }
        Ok(())
    }
}

//! What pages say of themselves, so that a query need not decode them: how many samples, between
//! which values, whether they only rise.

use barograph_model::{TimeRange, is_stale};

use crate::error::ReadError;
use crate::snapshot::{Column, Selection};

/// Consecutive samples of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// No sample is before this instant …
    pub start_ms: i64,
    /// … nor after this one. Where the extremes are known, both are instants of samples.
    pub end_ms: i64,
    /// What is known of the samples; where it is nothing, [`Selection::read`] has them.
    pub known: Option<Extremes>,
}

/// What is known of consecutive samples, all of which are numbers and none a staleness marker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    /// How many samples there are.
    pub count: u64,
    /// The least value. No value is the negative zero unless all are.
    pub least: f64,
    /// The greatest value.
    pub greatest: f64,
    /// Whether no value is less than the one before: the first is the least, the last the greatest.
    pub rising: bool,
}

/// What a query asks of a range beside the number of samples and its extremes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Extremes,
    /// First and last value, and where the values fell: what the increase of a counter is made of.
    Counter,
}

/// The samples of a range, in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Digest {
    /// How many samples there are, staleness markers aside. Where it is 0, the rest means nothing.
    pub count: u64,
    /// When the oldest is.
    pub first_ms: i64,
    /// When the newest is.
    pub last_ms: i64,
    /// The least value.
    pub least: f64,
    /// The greatest value.
    pub greatest: f64,
    /// The first value; with [`Wanted::Counter`] only.
    pub first: f64,
    /// The last value; with [`Wanted::Counter`] only.
    pub last: f64,
    /// The values after which a smaller one came, oldest first; with [`Wanted::Counter`] only.
    pub before_falls: Vec<f64>,
}

impl Digest {
    /// Whether all values are the same.
    pub fn is_constant(&self) -> bool {
        self.least.to_bits() == self.greatest.to_bits()
    }

    fn add(&mut self, start_ms: i64, end_ms: i64, known: Extremes, values: Option<(f64, f64)>) {
        if self.count == 0 {
            self.first_ms = start_ms;
            (self.least, self.greatest) = (known.least, known.greatest);
        }
        self.least = self.least.min(known.least);
        self.greatest = self.greatest.max(known.greatest);
        if let Some((first, last)) = values {
            if self.count == 0 {
                self.first = first;
            } else if first < self.last {
                self.before_falls.push(self.last);
            }
            self.last = last;
        }
        self.last_ms = end_ms;
        self.count += known.count;
    }
}

impl Selection {
    /// Lists what is known of the samples of series `index` inside `range`, oldest first, replacing
    /// what `stretches` holds. Only pages of blocks that are wholly inside the range are known.
    /// Returns whether it could: `false` where there are samples that are not floats, start
    /// timestamps, deletions, or places that overlap, so that only reading tells.
    ///
    /// # Errors
    /// A damaged page.
    pub fn stretches(
        &self,
        index: usize,
        range: TimeRange,
        stretches: &mut Vec<Stretch>,
    ) -> Result<bool, ReadError> {
        stretches.clear();
        if !self.is_plain(index, range) || !self.block_stretches(index, range, stretches)? {
            return Ok(false);
        }
        stretches.extend(self.head_range(index, range).map(|range| Stretch {
            start_ms: range.start_ms,
            end_ms: range.end_ms,
            known: None,
        }));
        // Neighbours of which nothing is known are read together.
        stretches.dedup_by(|later, earlier| {
            let unknown = later.known.is_none() && earlier.known.is_none();
            if unknown && later.start_ms > earlier.end_ms {
                earlier.end_ms = later.end_ms;
                return true;
            }
            false
        });
        Ok(stretches.is_sorted_by(|a, b| a.end_ms < b.start_ms))
    }

    /// The samples of series `index` inside `range` in short, of pages where they suffice. `None`
    /// where only the samples tell: where [`Selection::stretches`] could not, and where a value that
    /// was read is a NaN or the negative zero. `column` is room to read into; it counts the pages that
    /// were decoded.
    ///
    /// # Errors
    /// A damaged page.
    pub fn digest(
        &self,
        index: usize,
        range: TimeRange,
        wanted: Wanted,
        column: &mut Column,
    ) -> Result<Option<Digest>, ReadError> {
        let mut stretches = Vec::new();
        if !self.stretches(index, range, &mut stretches)? {
            return Ok(None);
        }
        let mut digest = Digest::default();
        let mut pages_decoded = 0;
        for Stretch {
            start_ms,
            end_ms,
            known,
        } in stretches
        {
            match known {
                Some(known) if wanted == Wanted::Extremes => {
                    digest.add(start_ms, end_ms, known, None);
                }
                Some(known) if known.rising => {
                    let values = Some((known.least, known.greatest));
                    digest.add(start_ms, end_ms, known, values);
                }
                _ => {
                    let range = TimeRange { start_ms, end_ms };
                    self.read(index, range, column)?;
                    pages_decoded += column.pages_decoded;
                    for (at_ms, value) in column.timestamps_ms.iter().zip(&column.values) {
                        if is_stale(*value) {
                            continue;
                        }
                        if value.is_nan() || value.to_bits() == (-0.0f64).to_bits() {
                            return Ok(None);
                        }
                        let one = Extremes {
                            count: 1,
                            least: *value,
                            greatest: *value,
                            rising: true,
                        };
                        let values = (wanted == Wanted::Counter).then_some((*value, *value));
                        digest.add(*at_ms, *at_ms, one, values);
                    }
                }
            }
        }
        column.pages_decoded = pages_decoded;
        Ok(Some(digest))
    }
}

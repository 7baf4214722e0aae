//! Exemplars of a target's lines: read only where they are news.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use barograph_model::{Exemplar, LabelsBuilder, METRIC_NAME, MetricKind};
use barograph_tsdb::{Batch, SeriesRef};

use crate::parse::{Dialect, parse_float, read_labels};

/// Series whose newest exemplar is remembered.
const SERIES_LIMIT: usize = 1 << 16;

/// What the target's lines had as exemplars, since each scrape repeats them.
#[derive(Debug, Default)]
pub(crate) struct ExemplarMemory {
    /// Hash of the text, by series.
    newest: HashMap<SeriesRef, u64>,
    hasher: RandomState,
}

impl ExemplarMemory {
    /// Forgets everything: what was read was not stored.
    pub(crate) fn forget(&mut self) {
        self.newest.clear();
    }

    /// Adds the exemplar of a line to the batch, unless the last scrape had it. `text` was checked
    /// when the line was parsed.
    #[cold]
    pub(crate) fn add(
        &mut self,
        batch: &mut Batch,
        series: SeriesRef,
        text: &[u8],
        timestamp_ms: i64,
    ) {
        let hash = self.hasher.hash_one(text);
        if self.newest.get(&series) == Some(&hash) {
            return;
        }
        if self.newest.len() >= SERIES_LIMIT {
            self.newest.clear();
        }
        self.newest.insert(series, hash);
        if let Some(exemplar) = read_exemplar(text, timestamp_ms) {
            batch.push_exemplar(series, exemplar);
        }
    }
}

/// Reads `{labels} value [seconds]`. One without a time of its own has the sample's.
pub(crate) fn read_exemplar(text: &[u8], timestamp_ms: i64) -> Option<Exemplar> {
    // Behind the last brace are only numbers.
    let end = memchr::memrchr(b'}', text)? + 1;
    // Its labels are those of a series, whose name is left out.
    let mut series = b"x".to_vec();
    series.extend_from_slice(&text[..end]);
    let mut builder = LabelsBuilder::new();
    let kind = MetricKind::Unknown;
    read_labels(&series, Dialect::OpenMetrics, kind, &mut builder).ok()?;
    builder.remove(METRIC_NAME);
    let mut numbers = text[end..].split(|byte| *byte == b' ');
    let value = parse_float(numbers.nth(1)?)?;
    let seconds = numbers.next().map(parse_float);
    Some(Exemplar {
        labels: builder.build(),
        value,
        timestamp_ms: match seconds {
            Some(seconds) => (seconds? * 1000.0) as i64,
            None => timestamp_ms,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use barograph_model::Labels;

    #[test]
    fn exemplars_are_read() {
        let exemplar = |text: &str| read_exemplar(text.as_bytes(), 7);
        let want = Exemplar {
            labels: Labels::from_pairs([("trace_id", "a}\"b")]),
            value: 0.25,
            timestamp_ms: 1500,
        };
        assert_eq!(
            exemplar(r#"{trace_id="a}\"b"} 0.25 1.5"#),
            Some(want.clone())
        );
        let untimed = Exemplar {
            timestamp_ms: 7,
            ..want
        };
        assert_eq!(exemplar(r#"{trace_id="a}\"b"} 0.25"#), Some(untimed));
        let bare = exemplar("{} +Inf").expect("reads");
        assert!(bare.labels.is_empty() && bare.value.is_infinite());
    }
}

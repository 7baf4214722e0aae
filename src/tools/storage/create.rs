//! Blocks from an OpenMetrics text.

use std::path::Path;

use barograph_model::Labels;
use barograph_scraper::read_open_metrics;
use barograph_tsdb::{BlockBuilder, ExportedBlock};

use super::{Failure, other};
use crate::tools::progress::Progress;

/// Span of a block, and by how much the next longer one is longer.
const SPAN_MS: i64 = 2 * 3_600_000;
const STEP: i64 = 3;
/// How often a span grows at most.
const STEPS: u32 = 9;
/// Samples between two looks at the progress.
const SAMPLES_PER_LOOK: u64 = 16 * 1024;

/// Writes the samples of a text as blocks, with these labels added.
pub(super) fn from_open_metrics(
    input: &Path,
    out: &Path,
    labels: &[(String, String)],
    longest_ms: i64,
) -> Result<Vec<ExportedBlock>, Failure> {
    let failure = |error: &dyn std::fmt::Display| other(format!("{}: {error}", input.display()));
    let text = std::fs::read(input).map_err(|error| failure(&error))?;
    let spans = (0..=STEPS).map(|step| SPAN_MS * STEP.pow(step));
    let span_ms = spans.filter(|span| *span <= longest_ms).max();
    let mut builder = BlockBuilder::new(span_ms.unwrap_or(SPAN_MS));
    let mut progress = Progress::new("samples");
    let (mut count, mut last) = (0u64, None::<(Labels, u32)>);
    let read = read_open_metrics(&text, |series, timestamp_ms, value| {
        let Some(timestamp_ms) = timestamp_ms else {
            return Err(format!("expected timestamp for series {series}, got none"));
        };
        let number = match &last {
            Some((known, number)) if known == series => *number,
            _ => {
                let mut all = series.to_builder();
                for (name, value) in labels {
                    all.set(name, value);
                }
                let number = builder.series(&all.build());
                last = Some((series.clone(), number));
                number
            }
        };
        builder.push(number, timestamp_ms, value);
        count += 1;
        if count.is_multiple_of(SAMPLES_PER_LOOK) {
            progress.set(count, count.max(text.len() as u64 / 64));
        }
        Ok(())
    });
    read.map_err(|error| failure(&error))?;
    drop(progress);
    let mut progress = Progress::new("blocks");
    let written = builder.write(out, |done, total| progress.set(done, total));
    written.map_err(other)
}

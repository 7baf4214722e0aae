//! Blocks from an OpenMetrics text.

use std::path::{Path, PathBuf};

use barograph_model::Labels;
use barograph_scraper::read_open_metrics;

use super::sink::{Sink, Target};
use super::{Failure, other};
use crate::tools::progress::Progress;

/// Samples between two looks at the progress.
const SAMPLES_PER_LOOK: u64 = 16 * 1024;

/// Writes the samples of a text as blocks, with these labels added. Returns the blocks.
pub(super) fn from_open_metrics(
    input: &Path,
    target: &Target,
    labels: &[(String, String)],
) -> Result<Vec<PathBuf>, Failure> {
    let failure = |error: &dyn std::fmt::Display| other(format!("{}: {error}", input.display()));
    let text = std::fs::read(input).map_err(|error| failure(&error))?;
    let mut sink = Sink::open(target)?;
    let mut progress = Progress::new("samples");
    let (mut count, mut last) = (0u64, None::<(Labels, Labels)>);
    let read = read_open_metrics(&text, |series, timestamp_ms, value| {
        let Some(timestamp_ms) = timestamp_ms else {
            return Err(format!("expected timestamp for series {series}, got none"));
        };
        let labels = match &mut last {
            Some((known, all)) if known == series => all,
            last => {
                let mut all = series.to_builder();
                for (name, value) in labels {
                    all.set(name, value);
                }
                &mut last.insert((series.clone(), all.build())).1
            }
        };
        sink.push(labels, timestamp_ms, value)?;
        count += 1;
        if count.is_multiple_of(SAMPLES_PER_LOOK) {
            progress.set(count, count.max(text.len() as u64 / 64));
        }
        Ok(())
    });
    read.map_err(|error| failure(&error))?;
    drop(progress);
    sink.finish()
}

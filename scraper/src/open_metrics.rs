//! A whole OpenMetrics text at once, for importing.

use barograph_model::{Labels, LabelsBuilder};

use crate::parse::{Dialect, Item, OpenMetricsParser, Parser, Unknown, read_labels};

/// Calls `each` with every sample of an OpenMetrics text: labels, timestamp where there is one,
/// value.
///
/// # Errors
/// The text is malformed, with the place; or `each` refuses.
pub fn read_open_metrics(
    text: &[u8],
    mut each: impl FnMut(&Labels, Option<i64>, f64) -> Result<(), String>,
) -> Result<(), String> {
    let mut parser = OpenMetricsParser::new(text);
    let mut builder = LabelsBuilder::new();
    let mut last: (&[u8], Labels) = (&[], Labels::empty());
    while let Some(item) = parser.next(&mut Unknown).map_err(|e| e.to_string())? {
        let Item::Sample(line) = item else {
            continue;
        };
        if line.series != last.0 {
            let read = read_labels(
                line.series,
                Dialect::OpenMetrics,
                parser.kind(),
                &mut builder,
            );
            read.map_err(|e| format!("{}: {}", String::from_utf8_lossy(line.series), e.0))?;
            last = (line.series, builder.build());
        }
        each(&last.1, line.timestamp_ms, line.value)?;
    }
    Ok(())
}

//! Blocks as a table, with promtool's columns.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use barograph_model::date::date_of_days;
use barograph_tsdb::{BlockInfo, Offline, Parts};

use super::{Failure, open};

const HEADER: [&str; 8] = [
    "BLOCK ULID",
    "MIN TIME",
    "MAX TIME",
    "DURATION",
    "NUM SAMPLES",
    "NUM CHUNKS",
    "NUM SERIES",
    "SIZE",
];
/// Least width of a column, and what stands between columns.
const WIDTH: usize = 13;
const GAP: usize = 2;

/// Writes the table.
pub(super) fn write(out: &mut impl Write, blocks: &[BlockInfo], human: bool) -> io::Result<()> {
    let mut rows: Vec<[String; 8]> = vec![HEADER.map(str::to_owned)];
    for block in blocks {
        rows.push([
            block.name.clone(),
            time(block.start_ms, human),
            time(block.end_ms, human),
            duration(block.end_ms.saturating_sub(block.start_ms)),
            block.samples.to_string(),
            block.chunks.to_string(),
            block.series.to_string(),
            size(block.size_bytes, human),
        ]);
    }
    let widest = |column: usize| {
        let widths = rows.iter().map(|row| row[column].len() + GAP);
        widths.max().unwrap_or_default().max(WIDTH)
    };
    let widths: Vec<usize> = (0..HEADER.len()).map(widest).collect();
    for row in &rows {
        let (last, others) = row.split_last().unwrap_or((&row[0], &[]));
        for (text, width) in others.iter().zip(&widths) {
            write!(out, "{text:width$}")?;
        }
        writeln!(out, "{last}")?;
    }
    Ok(())
}

/// Writes the table of blocks that were just made in a directory.
pub(super) fn write_new(
    out: &mut impl Write,
    directory: &Path,
    made: &[PathBuf],
    human: bool,
) -> Result<(), Failure> {
    let offline: Offline = open(directory, Parts::Blocks, &std::env::temp_dir())?;
    let mut blocks = offline.blocks();
    blocks.retain(|block| made.contains(&block.path));
    write(out, &blocks, human)?;
    Ok(())
}

fn time(time_ms: i64, human: bool) -> String {
    if !human {
        return time_ms.to_string();
    }
    let seconds = time_ms.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date_of_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// As Go writes durations: `2h0m0s`, `59.535s`, `1ms`.
pub(super) fn duration(duration_ms: i64) -> String {
    if duration_ms == 0 {
        return "0s".to_owned();
    }
    let magnitude = duration_ms.unsigned_abs();
    let mut text = String::new();
    if duration_ms < 0 {
        text.push('-');
    }
    if magnitude < 1000 {
        let _ = write!(text, "{magnitude}ms");
        return text;
    }
    let (hours, minutes) = (magnitude / 3_600_000, magnitude / 60_000 % 60);
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let (seconds, rest) = (magnitude / 1000 % 60, magnitude % 1000);
    let _ = write!(text, "{seconds}");
    if rest > 0 {
        let fraction = format!(".{rest:03}");
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('s');
    text
}

/// `197KiB799B`: every unit that is not zero.
fn size(bytes: u64, human: bool) -> String {
    if !human {
        return bytes.to_string();
    }
    if bytes == 0 {
        return "0B".to_owned();
    }
    let mut text = String::new();
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B")] {
        let count = if shift == 40 {
            bytes >> shift
        } else {
            bytes >> shift & 1023
        };
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_promtool_writes_them() {
        assert_eq!(
            time(1_795_264_522_465, true),
            "2026-11-21 12:35:22 +0000 UTC"
        );
        assert_eq!(time(951_782_400_000, true), "2000-02-29 00:00:00 +0000 UTC");
        assert_eq!(time(-1, true), "1969-12-31 23:59:59 +0000 UTC");
        for (ms, text) in [
            (37_535, "37.535s"),
            (59_500, "59.5s"),
            (7_200_000, "2h0m0s"),
            (61_001, "1m1.001s"),
            (0, "0s"),
            (12, "12ms"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(size(202_527, true), "197KiB799B");
        assert_eq!(size(1 << 20, true), "1MiB");
    }
}

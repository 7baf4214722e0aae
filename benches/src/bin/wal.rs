//! Bytes of log per sample on recorded scrapes: `wal <directory>…`, each with files
//! `<unix_ms>.txt` of exposition text. In-process; what a line's value costs is all that counts.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use barograph_benches::workload;
use barograph_instrument::Registry;
use barograph_model::Labels;
use barograph_tsdb::{Batch, Db, Options, SeriesRef, WalSync};
use clap::Parser;

/// Measures the log.
#[derive(Parser)]
struct Arguments {
    /// Directories of scrapes.
    #[arg(required = true)]
    directories: Vec<PathBuf>,
    /// Takes one scrape in so many.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Prints the lines whose values take the most bytes raw.
    #[arg(long)]
    raw: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    for directory in &arguments.directories {
        let files = workload::recorded_files(directory)?;
        let data = tempfile::tempdir()?;
        let mut options = Options::new(data.path());
        options.maintenance_interval = Duration::ZERO;
        options.wal_sync = WalSync::Never;
        let registry = Registry::new();
        let db = Db::open(options, &registry)?;
        let group = db.open_group();
        let mut known: HashMap<String, SeriesRef> = HashMap::new();
        let mut last: HashMap<String, f64> = HashMap::new();
        let mut raw: HashMap<String, (u64, f64, f64)> = HashMap::new();
        let mut batch = Batch::new(group);
        let mut samples = 0;
        for (time, path) in files.iter().step_by(arguments.every) {
            batch.clear();
            for line in std::fs::read_to_string(path)?.lines() {
                let Some((series, value)) = line.rsplit_once(' ') else {
                    continue;
                };
                if line.starts_with('#') {
                    continue;
                }
                let Ok(value) = value.parse::<f64>() else {
                    continue;
                };
                if arguments.raw {
                    let is_decimal = (0..10).any(|s| {
                        let scaled = (value * 10f64.powi(s)).round();
                        scaled.abs() < 9e15 && scaled / 10f64.powi(s) == value
                    });
                    let before = last.insert(series.to_owned(), value);
                    if !is_decimal && before.is_some_and(|before| before != value) {
                        let entry = raw.entry(series.to_owned()).or_default();
                        *entry = (entry.0 + 1, before.unwrap_or_default(), value);
                    }
                }
                let reference = if let Some(reference) = known.get(series) {
                    *reference
                } else {
                    let labels = Labels::from_pairs([("__name__", series)]);
                    let reference = db.register(group, &labels)?;
                    known.insert(series.to_owned(), reference);
                    reference
                };
                batch.push(reference, *time, value);
            }
            samples += db.append(&batch)?.accepted;
        }
        let mut page = String::new();
        registry.encode(barograph_instrument::Format::Text004, &mut page);
        let written = page
            .lines()
            .find_map(|line| line.strip_prefix("barograph_tsdb_wal_written_bytes_total "))
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or_default();
        println!(
            "{}: {} series, {samples} samples, {:.3} B/sample of log",
            directory.display(),
            known.len(),
            written / samples as f64
        );
        let mut raw: Vec<_> = raw.into_iter().collect();
        raw.sort_unstable_by_key(|(_, (count, ..))| std::cmp::Reverse(*count));
        let all: u64 = raw.iter().map(|(_, (count, ..))| count).sum();
        if arguments.raw {
            println!("  {all} values are no decimals of nine digits");
        }
        for (series, (count, before, value)) in raw.into_iter().take(12) {
            println!("  {count:6} {series}: {before} → {value}");
        }
    }
    Ok(())
}

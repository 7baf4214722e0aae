//! `barograph tsdb`: what is in a data directory, ours or Prometheus's.

mod analyze;
mod create;
mod dump;
mod list;
mod rules;
mod sink;

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use barograph_model::{Matcher, TimeRange};
use barograph_tsdb::{Offline, Parts};

use super::progress::Progress;
pub(crate) use rules::Backfill;
pub(crate) use sink::Target;

/// What is asked of a directory.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// Its blocks.
    List {
        /// The directory.
        path: PathBuf,
        /// Dates and units.
        human: bool,
    },
    /// Churn and cardinality of a block.
    Analyze {
        /// The directory.
        path: PathBuf,
        /// The block; the last one without it.
        block: Option<String>,
        /// Most items of a list.
        limit: usize,
        /// How full chunks are, too.
        extended: bool,
        /// Only these series, as written.
        selector: Option<String>,
        /// The same, read.
        matchers: Vec<Matcher>,
    },
    /// Every sample as text.
    Dump {
        /// The directory.
        path: PathBuf,
        /// Where temporary files go.
        temporary: PathBuf,
        /// Only samples of this time.
        range: TimeRange,
        /// Only series that fit one of them; all without.
        selectors: Vec<Vec<Matcher>>,
        /// The labels of series only.
        series_only: bool,
    },
    /// Every float as OpenMetrics.
    DumpOpenMetrics {
        /// The directory.
        path: PathBuf,
        /// Where temporary files go.
        temporary: PathBuf,
        /// Only samples of this time.
        range: TimeRange,
        /// Only series that fit one of them; all without.
        selectors: Vec<Vec<Matcher>>,
    },
    /// Reads every block whole.
    Verify {
        /// The directory.
        path: PathBuf,
    },
    /// Writes blocks of Prometheus.
    Export {
        /// The directory.
        path: PathBuf,
        /// Where the blocks go.
        out: PathBuf,
        /// Where temporary files go.
        temporary: PathBuf,
        /// Only samples of this time.
        range: TimeRange,
        /// Only series that fit one of them; all without.
        selectors: Vec<Vec<Matcher>>,
        /// Dates and units.
        human: bool,
    },
    /// Writes blocks from an OpenMetrics text.
    CreateFromOpenMetrics {
        /// The text.
        input: PathBuf,
        /// Where the blocks go.
        target: Target,
        /// Labels for every series.
        labels: Vec<(String, String)>,
        /// Dates and units.
        human: bool,
        /// No list of the blocks.
        quiet: bool,
    },
    /// Writes blocks of what recording rules yield.
    CreateFromRules {
        /// The rules, and where and when they are evaluated.
        asked: Backfill,
        /// Where the blocks go.
        target: Target,
        /// Dates and units.
        human: bool,
        /// No list of the blocks.
        quiet: bool,
    },
}

/// Does it.
pub(crate) fn run(command: &Storage) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = execute(command, &mut out).and_then(|()| out.flush().map_err(Failure::Output));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read has enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::Output(error)) => fail(&format!("cannot write: {error}")),
        Err(Failure::Other(text)) => {
            out.flush().ok();
            fail(&text)
        }
    }
}

/// Why a command ended early.
enum Failure {
    /// Standard output cannot be written.
    Output(io::Error),
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

type Out<'a> = BufWriter<io::StdoutLock<'a>>;

fn execute(command: &Storage, out: &mut Out<'_>) -> Result<(), Failure> {
    match command {
        Storage::List { path, human } => {
            let offline = open(path, Parts::Blocks, &std::env::temp_dir())?;
            list::write(out, &offline.blocks(), *human)?;
            Ok(())
        }
        Storage::Analyze {
            path,
            block,
            limit,
            extended,
            selector,
            matchers,
        } => {
            let offline = open(path, Parts::Blocks, &std::env::temp_dir())?;
            let asked = analyze::Analysis {
                block: block.as_deref(),
                limit: *limit,
                extended: *extended,
                selector: selector.as_deref(),
                matchers,
            };
            analyze::write(out, &offline, &asked)
        }
        Storage::Dump {
            path,
            temporary,
            range,
            selectors,
            series_only,
        } => {
            let offline = open(path, Parts::Everything, temporary)?;
            let format = if *series_only {
                dump::Format::SeriesJson
            } else {
                dump::Format::Samples
            };
            dump::write(out, offline.snapshot(), selectors, *range, format)
        }
        Storage::DumpOpenMetrics {
            path,
            temporary,
            range,
            selectors,
        } => {
            let offline = open(path, Parts::Everything, temporary)?;
            let format = dump::Format::OpenMetrics;
            dump::write(out, offline.snapshot(), selectors, *range, format)
        }
        Storage::Verify { path } => verify(out, path),
        Storage::Export {
            path,
            out: target,
            temporary,
            range,
            selectors,
            human,
        } => {
            let offline = open(path, Parts::Everything, temporary)?;
            let mut progress = Progress::new("spans of two hours");
            let exported = offline
                .snapshot()
                .export_prometheus(target, selectors, *range, |done, total| {
                    progress.set(done, total);
                })
                .map_err(other)?;
            drop(progress);
            let exported: Vec<PathBuf> = exported.into_iter().map(|block| block.path).collect();
            list::write_new(out, target, &exported, *human)
        }
        Storage::CreateFromOpenMetrics {
            input,
            target,
            labels,
            human,
            quiet,
        } => {
            let created = create::from_open_metrics(input, target, labels)?;
            list_created(out, target, &created, *human, *quiet)
        }
        Storage::CreateFromRules {
            asked,
            target,
            human,
            quiet,
        } => {
            let created = rules::from_rules(asked, target)?;
            list_created(out, target, &created, *human, *quiet)
        }
    }
}

fn list_created(
    out: &mut Out<'_>,
    target: &Target,
    created: &[PathBuf],
    human: bool,
    quiet: bool,
) -> Result<(), Failure> {
    if quiet {
        return Ok(());
    }
    list::write_new(out, &target.path, created, human)
}

/// One line per block; fails where any is damaged.
fn verify(out: &mut Out<'_>, path: &Path) -> Result<(), Failure> {
    let offline = open(path, Parts::Blocks, &std::env::temp_dir())?;
    let blocks = offline.blocks();
    let mut damaged = 0;
    let mut progress = Progress::beside_output("blocks");
    for (number, block) in blocks.iter().enumerate() {
        progress.set(number as u64, blocks.len() as u64);
        match offline.verify(number) {
            Ok(()) => writeln!(
                out,
                "{}: whole: {} samples of {} series",
                block.name, block.samples, block.series
            )?,
            Err(error) => {
                damaged += 1;
                writeln!(out, "{}: {error}", block.name)?;
            }
        }
    }
    drop(progress);
    let unreadable = offline.unreadable();
    if damaged + unreadable > 0 {
        return Err(Failure::Other(format!(
            "{damaged} of {} blocks are damaged, {unreadable} more cannot be opened",
            blocks.len()
        )));
    }
    Ok(())
}

fn open(path: &Path, parts: Parts, temporary: &Path) -> Result<Offline, Failure> {
    Offline::open(path, parts, temporary).map_err(other)
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

fn fail(text: &str) -> ExitCode {
    eprintln!("barograph: {text}");
    ExitCode::FAILURE
}

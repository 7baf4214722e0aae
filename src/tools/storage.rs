//! `barograph tsdb`: what is in a data directory, ours or Prometheus's.

mod analyze;
mod create;
mod dump;
mod list;
mod rules;
mod scratch;
mod sink;

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use barograph_model::{Matcher, TimeRange};
use barograph_tsdb::{FileReport, Offline, Parts};

use super::progress::Progress;
pub(crate) use rules::Backfill;
use scratch::Scratch;
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
    let parent = match command {
        Storage::Dump { temporary, .. }
        | Storage::DumpOpenMetrics { temporary, .. }
        | Storage::Export { temporary, .. } => temporary.clone(),
        _ => std::env::temp_dir(),
    };
    let target = match command {
        Storage::Export { out, .. } => Some(out.as_path()),
        Storage::CreateFromOpenMetrics { target, .. } | Storage::CreateFromRules { target, .. } => {
            Some(target.path.as_path())
        }
        _ => None,
    };
    let scratch = Scratch::new(&parent, target).map_err(Failure::Other)?;
    let temporary = scratch.path();
    match command {
        Storage::List { path, human } => {
            let offline = open(path, Parts::Blocks, temporary)?;
            list::write(out, &offline.blocks(), *human)?;
            complete(&offline)
        }
        Storage::Analyze {
            path,
            block,
            limit,
            extended,
            selector,
            matchers,
        } => {
            let offline = open(path, Parts::Blocks, temporary)?;
            let asked = analyze::Analysis {
                block: block.as_deref(),
                limit: *limit,
                extended: *extended,
                selector: selector.as_deref(),
                matchers,
            };
            analyze::write(out, &offline, &asked)?;
            complete(&offline)
        }
        Storage::Dump {
            path,
            range,
            selectors,
            series_only,
            ..
        } => {
            let offline = open(path, Parts::Everything, temporary)?;
            let format = if *series_only {
                dump::Format::SeriesJson
            } else {
                dump::Format::Samples
            };
            dump::write(out, offline.snapshot(), selectors, *range, format)?;
            complete(&offline)
        }
        Storage::DumpOpenMetrics {
            path,
            range,
            selectors,
            ..
        } => {
            let offline = open(path, Parts::Everything, temporary)?;
            let format = dump::Format::OpenMetrics;
            dump::write(out, offline.snapshot(), selectors, *range, format)?;
            complete(&offline)
        }
        Storage::Verify { path } => verify(out, path, temporary),
        Storage::Export {
            path,
            out: target,
            range,
            selectors,
            human,
            ..
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
            list::write_new(out, target, &exported, *human)?;
            complete(&offline)
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

/// One line per block and file; fails where anything is damaged.
fn verify(out: &mut Out<'_>, path: &Path, temporary: &Path) -> Result<(), Failure> {
    let offline = Offline::open(path, Parts::Blocks, temporary).map_err(other)?;
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
    let unreadable = offline.unreadable_blocks();
    for error in &unreadable {
        writeln!(out, "{error}")?;
    }
    let mut files = 0;
    let mut written = Ok(());
    offline
        .verify_files(|report| {
            files += u64::from(!report.damage.is_empty());
            written = std::mem::replace(&mut written, Ok(())).and_then(|()| describe(out, &report));
        })
        .map_err(other)?;
    written?;
    drop(progress);
    if damaged + unreadable.len() as u64 + files > 0 {
        return Err(Failure::Other(format!(
            "{damaged} of {} blocks are damaged, {} more cannot be opened, {files} other files are damaged",
            blocks.len(),
            unreadable.len()
        )));
    }
    Ok(())
}

fn describe(out: &mut Out<'_>, report: &FileReport) -> io::Result<()> {
    let path = report.path.display();
    if report.damage.is_empty() {
        return writeln!(out, "{path}: whole: {} pieces", report.pieces);
    }
    for (offset, what) in &report.damage {
        writeln!(out, "{path}: damaged at byte {offset}: {what}")?;
    }
    if report.may_be_unfinished {
        writeln!(
            out,
            "{path}: the last of it may be a write that a crash cut short; starting a server on the directory sorts that out"
        )?;
    }
    Ok(())
}

/// Fails where a block was left out of what was shown.
fn complete(offline: &Offline) -> Result<(), Failure> {
    match offline.unreadable() {
        0 => Ok(()),
        count => Err(Failure::Other(format!(
            "{count} blocks cannot be opened: what they hold is not in the output"
        ))),
    }
}

/// Opens a directory and says which of its blocks cannot be read.
fn open(path: &Path, parts: Parts, temporary: &Path) -> Result<Offline, Failure> {
    let offline = Offline::open(path, parts, temporary).map_err(other)?;
    for error in offline.unreadable_blocks() {
        complain!("barograph: {error}");
    }
    Ok(offline)
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

fn fail(text: &str) -> ExitCode {
    complain!("barograph: {text}");
    ExitCode::FAILURE
}

//! Where new samples go: blocks of ours in a data directory, or blocks of Prometheus.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use barograph_instrument::Registry;
use barograph_model::Labels;
use barograph_tsdb::{Backfill, BlockBuilder, Db, Offline, Options, Parts};

use super::{Failure, open, other};
use crate::tools::progress::Progress;

/// Span of a block of Prometheus, and by how much the next longer one is longer.
const SPAN_MS: i64 = 2 * 3_600_000;
const STEP: i64 = 3;
/// How often a span grows at most.
const STEPS: u32 = 9;
/// Samples of one series handed on together.
const RUN_LIMIT: usize = 4096;

/// Where samples go, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The directory; made where absent.
    pub(crate) path: PathBuf,
    /// Blocks of Prometheus instead of ours.
    pub(crate) prometheus: bool,
    /// Longest span of a block of Prometheus; 0 is the usual.
    pub(crate) longest_ms: i64,
}

/// Takes samples in, and makes blocks of them.
pub(super) enum Sink {
    Own(Box<Own>),
    Prometheus(Box<BlockBuilder>, PathBuf),
}

/// An import into a store.
pub(super) struct Own {
    path: PathBuf,
    db: Db,
    backfill: Backfill,
    /// Blocks that were there before.
    before: BTreeSet<PathBuf>,
    /// Samples of one series that were not handed on yet.
    labels: Labels,
    run: Vec<(i64, f64)>,
}

impl Sink {
    pub(super) fn open(target: &Target) -> Result<Self, Failure> {
        if target.prometheus {
            let spans = (0..=STEPS).map(|step| SPAN_MS * STEP.pow(step));
            let span_ms = spans.filter(|span| *span <= target.longest_ms).max();
            let builder = BlockBuilder::new(span_ms.unwrap_or(SPAN_MS));
            return Ok(Self::Prometheus(Box::new(builder), target.path.clone()));
        }
        let path = &target.path;
        refuse_prometheus(path)?;
        let options = Options {
            retention_ms: 0,
            maintenance_interval: std::time::Duration::ZERO,
            ..Options::new(path)
        };
        let db = Db::open(options, &Registry::new()).map_err(other)?;
        let before = db.blocks().into_iter().map(|block| block.path).collect();
        let backfill = db.backfill();
        Ok(Self::Own(Box::new(Own {
            path: path.clone(),
            db,
            backfill,
            before,
            labels: Labels::empty(),
            run: Vec::new(),
        })))
    }

    /// Takes in a sample. Of several of one series and instant the first counts.
    ///
    /// # Errors
    /// What was collected cannot be written.
    pub(super) fn push(
        &mut self,
        labels: &Labels,
        timestamp_ms: i64,
        value: f64,
    ) -> Result<(), String> {
        match self {
            Self::Prometheus(builder, _) => {
                let series = builder.series(labels);
                builder.push(series, timestamp_ms, value);
            }
            Self::Own(own) => {
                if own.labels != *labels || own.run.len() >= RUN_LIMIT {
                    own.flush()?;
                    own.labels = labels.clone();
                }
                own.run.push((timestamp_ms, value));
            }
        }
        Ok(())
    }

    /// Writes what is left; returns the new blocks.
    pub(super) fn finish(self) -> Result<Vec<PathBuf>, Failure> {
        match self {
            Self::Prometheus(builder, path) => {
                let mut progress = Progress::new("blocks");
                let written = builder.write(&path, |done, total| progress.set(done, total));
                let written = written.map_err(other)?;
                Ok(written.into_iter().map(|block| block.path).collect())
            }
            Self::Own(mut own) => {
                own.flush().map_err(other)?;
                own.backfill.finish().map_err(other)?;
                own.db.close().map_err(other)?;
                drop(own.db);
                let offline: Offline = open(&own.path, Parts::Blocks, &std::env::temp_dir())?;
                let blocks = offline.blocks().into_iter().map(|block| block.path);
                Ok(blocks.filter(|path| !own.before.contains(path)).collect())
            }
        }
    }
}

impl Own {
    fn flush(&mut self) -> Result<(), String> {
        let run = self.run.drain(..);
        let pushed = self.backfill.push(&self.labels, run);
        pushed.map_err(|error| error.to_string())
    }
}

/// Opening such a directory would take it over, which nobody asked for.
fn refuse_prometheus(path: &Path) -> Result<(), Failure> {
    if !path.is_dir() || path.join("blocks").is_dir() {
        return Ok(());
    }
    let offline = open(path, Parts::Blocks, &std::env::temp_dir())?;
    if path.join("wal").is_dir() || offline.blocks().iter().any(|block| block.is_foreign) {
        return Err(Failure::Other(format!(
            "{}: this is a data directory of Prometheus: --format=prometheus writes blocks for it; or start barograph on it once, which takes it over",
            path.display()
        )));
    }
    Ok(())
}

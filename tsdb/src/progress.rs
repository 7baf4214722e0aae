//! How far opening a store is: what `/-/ready` tells while one waits.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// What opening is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpeningStep {
    /// Nothing yet.
    #[default]
    Waiting,
    /// Opening blocks.
    Blocks,
    /// Reading the sealed chunks of the head.
    HeadFiles,
    /// Reading the checkpoint.
    Checkpoint,
    /// Reading the log since the checkpoint.
    Log,
    /// It is done.
    Done,
}

impl OpeningStep {
    const ALL: [Self; 6] = [
        Self::Waiting,
        Self::Blocks,
        Self::HeadFiles,
        Self::Checkpoint,
        Self::Log,
        Self::Done,
    ];
}

/// How far opening a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpeningProgress {
    /// What it is doing.
    pub step: OpeningStep,
    /// Of the checkpoint or the log, bytes that were read.
    pub read_bytes: u64,
    /// Of how many; 0 where the step does not tell.
    pub total_bytes: u64,
    /// Number of the first segment of the log that is read, 0 before that is known.
    pub first_segment: u64,
    /// Number of the last one.
    pub last_segment: u64,
    /// Number of the one that is being read.
    pub segment: u64,
}

impl fmt::Display for OpeningProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            OpeningStep::Waiting => f.write_str("the store is about to be opened")?,
            OpeningStep::Blocks => f.write_str("blocks are opened")?,
            OpeningStep::HeadFiles => f.write_str("sealed chunks are read")?,
            OpeningStep::Checkpoint => f.write_str("the checkpoint is read")?,
            OpeningStep::Log => write!(
                f,
                "the log is read: segment {} of {} to {}",
                self.segment, self.first_segment, self.last_segment
            )?,
            OpeningStep::Done => f.write_str("the store is open")?,
        }
        if self.total_bytes > 0 {
            let share = self.read_bytes as f64 * 100.0 / self.total_bytes as f64;
            write!(f, ", {share:.0} % of {} MiB", self.total_bytes >> 20)?;
        }
        Ok(())
    }
}

/// Where opening notes how far it is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    step: AtomicU8,
    read_bytes: AtomicU64,
    total_bytes: AtomicU64,
    first_segment: AtomicU64,
    last_segment: AtomicU64,
    segment: AtomicU64,
}

impl Progress {
    /// Begins a step that reads so many bytes.
    pub(crate) fn begin(&self, step: OpeningStep, total_bytes: u64) {
        self.read_bytes.store(0, Relaxed);
        self.total_bytes.store(total_bytes, Relaxed);
        self.step.store(step as u8, Relaxed);
    }

    /// Notes bytes that were read.
    pub(crate) fn read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Names the segments to be read.
    pub(crate) fn segments(&self, first: u64, last: u64) {
        self.first_segment.store(first, Relaxed);
        self.last_segment.store(last, Relaxed);
    }

    /// Names the segment that is read now.
    pub(crate) fn segment(&self, number: u64) {
        self.segment.store(number, Relaxed);
    }

    /// How far it is. Figures of neighbouring moments may be mixed.
    pub(crate) fn now(&self) -> OpeningProgress {
        let step = OpeningStep::ALL.get(usize::from(self.step.load(Relaxed)));
        OpeningProgress {
            step: step.copied().unwrap_or_default(),
            read_bytes: self.read_bytes.load(Relaxed),
            total_bytes: self.total_bytes.load(Relaxed),
            first_segment: self.first_segment.load(Relaxed),
            last_segment: self.last_segment.load(Relaxed),
            segment: self.segment.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_words() {
        let progress = Progress::default();
        assert_eq!(
            progress.now().to_string(),
            "the store is about to be opened"
        );
        for step in OpeningStep::ALL {
            progress.begin(step, 0);
            assert_eq!(progress.now().step, step);
        }
        progress.begin(OpeningStep::Log, 8 << 20);
        progress.segments(3, 5);
        progress.segment(4);
        progress.read(2 << 20);
        assert_eq!(
            progress.now().to_string(),
            "the log is read: segment 4 of 3 to 5, 25 % of 8 MiB"
        );
    }
}

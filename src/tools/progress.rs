//! A bar that tells how far a command is, where someone looks at it.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::time::{Duration, Instant};

const WIDTH: u64 = 30;
/// How often the bar is drawn at most.
const INTERVAL: Duration = Duration::from_millis(100);

/// Progress on standard error, where that is a terminal.
pub(crate) struct Progress {
    what: &'static str,
    shown: bool,
    drawn: Option<Instant>,
}

impl Progress {
    /// Of things named `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            shown: stderr().is_terminal(),
            drawn: None,
        }
    }

    /// The same for a command that writes much to standard output: lines and a bar do not mix.
    pub(crate) fn beside_output(what: &'static str) -> Self {
        let mut progress = Self::new(what);
        progress.shown &= !stdout().is_terminal();
        progress
    }

    /// Says that `done` of `total` are done.
    pub(crate) fn set(&mut self, done: u64, total: u64) {
        let late = self.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL);
        if !self.shown || !(late || done == total) {
            return;
        }
        self.drawn = Some(Instant::now());
        let share = done
            .saturating_mul(WIDTH)
            .checked_div(total)
            .unwrap_or(WIDTH) as usize;
        let bar = format!(
            "{}{}",
            "#".repeat(share),
            ".".repeat(WIDTH as usize - share)
        );
        let _ = write!(stderr(), "\r[{bar}] {done}/{total} {}\x1b[K", self.what);
    }
}

impl Drop for Progress {
    /// Wipes the bar.
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

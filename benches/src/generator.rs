//! The load generator as a process of its own: what it is told, and what it tells.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::http;
use crate::workload::{Churn, Layout, Page, Recording, Rollout, Shape, Source};

/// What is served.
#[derive(Clone, Debug, clap::Args)]
pub struct Workload {
    /// How many targets.
    #[arg(long, default_value_t = 100)]
    pub targets: usize,
    /// Series per target.
    #[arg(long, default_value_t = 1000)]
    pub series: usize,
    /// Every series is a counter of one family, and moves.
    #[arg(long)]
    pub one_counter: bool,
    /// Replace one series of so many each time; 0 replaces none.
    #[arg(long, default_value_t = 0)]
    pub churn_one_of: usize,
    /// Replace after so many scrapes.
    #[arg(long, default_value_t = 40)]
    pub churn_scrapes: usize,
    /// After the churn, replace all series of all targets so often, one target after another.
    #[arg(long, default_value_t = 0)]
    pub rollouts: usize,
    /// Rollouts begin after so many scrapes.
    #[arg(long, default_value_t = 960)]
    pub rollout_after: usize,
    /// Rollouts take so many scrapes together.
    #[arg(long, default_value_t = 240)]
    pub rollout_scrapes: usize,
    /// Serve recorded bodies, `<unix_ms>.txt` in this directory, instead of generated ones. May be
    /// given more than once: targets take turns.
    #[arg(long)]
    pub recorded: Vec<PathBuf>,
    /// Compress pages for those who accept gzip.
    #[arg(long)]
    pub gzip: bool,
}

impl Workload {
    /// The shape of the generated pages.
    pub fn shape(&self, seed: u64) -> Shape {
        Shape {
            targets: self.targets,
            series: self.series,
            seed,
            layout: if self.one_counter {
                Layout::OneCounter
            } else {
                Layout::Families
            },
            churn: (self.churn_one_of > 0).then_some(Churn {
                one_of: self.churn_one_of,
                scrapes: self.churn_scrapes,
            }),
            rollout: (self.rollouts > 0).then_some(Rollout {
                times: self.rollouts,
                after: self.rollout_after,
                scrapes: self.rollout_scrapes,
            }),
        }
    }

    /// What the targets say, target by target.
    ///
    /// # Errors
    /// A recording cannot be read.
    pub fn sources(&self, seed: u64) -> io::Result<Vec<Source>> {
        let shape = self.shape(seed);
        let recordings = self.recorded.iter().map(|path| Recording::read(path));
        let recordings = recordings.collect::<Result<Vec<_>, _>>()?;
        let source = |target: usize| match recordings.get(target % recordings.len().max(1)) {
            Some(recording) => {
                let share = target as f64 / shape.targets as f64;
                Source::Recorded(recording.starting_at(share))
            }
            None => Source::Generated(Box::new(Page::new(shape, target))),
        };
        Ok((0..self.targets).map(source).collect())
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (name, number) in [
            ("--targets", self.targets),
            ("--series", self.series),
            ("--churn-one-of", self.churn_one_of),
            ("--churn-scrapes", self.churn_scrapes),
            ("--rollouts", self.rollouts),
            ("--rollout-after", self.rollout_after),
            ("--rollout-scrapes", self.rollout_scrapes),
        ] {
            arguments.extend([name.to_owned(), number.to_string()]);
        }
        for directory in &self.recorded {
            arguments.extend(["--recorded".to_owned(), directory.display().to_string()]);
        }
        for (name, set) in [("--one-counter", self.one_counter), ("--gzip", self.gzip)] {
            if set {
                arguments.push(name.to_owned());
            }
        }
        arguments
    }
}

/// A running load generator; dropping it ends it.
pub struct Load {
    child: Child,
    /// Where its targets are.
    pub address: SocketAddr,
}

impl Load {
    /// Starts `load`, which stands beside this program.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(workload: &Workload) -> io::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("load");
        let mut command = Command::new(&binary);
        command.args(workload.arguments());
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", binary.display())))?;
        let mut line = String::new();
        let output = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no output"))?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self { child, address })
    }

    /// Samples served so far.
    ///
    /// # Errors
    /// It does not answer.
    pub fn served(&self) -> io::Result<u64> {
        self.number("/served")
    }

    /// Scrapes served so far.
    ///
    /// # Errors
    /// It does not answer.
    pub fn scrapes(&self) -> io::Result<u64> {
        self.number("/scrapes")
    }

    fn number(&self, path: &str) -> io::Result<u64> {
        let answer = http::get(self.address, path, Duration::from_secs(30))?;
        String::from_utf8_lossy(&answer.body)
            .trim()
            .parse()
            .map_err(io::Error::other)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

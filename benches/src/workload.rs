//! A deterministic workload: what each series of each target says at each scrape.
//!
//! The mix follows recorded exporters (node_exporter, an Express service with prom-client,
//! Alertmanager): most series stand still, a quarter are whole numbers or short decimals that move,
//! a few are true floats. Labels have the length and number that a cluster's pods have.
//!
//! A page can also replace some of its series from time to time ([`Churn`]), or repeat what a real
//! exporter said ([`Recording`]).

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::history::Unpacked;

/// How much is served.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many targets.
    pub targets: usize,
    /// Series per target.
    pub series: usize,
    /// Changes every value; the same seed serves the same bytes.
    pub seed: u64,
    /// What the series are called, and how they move.
    pub layout: Layout,
    /// Which series are replaced, and when.
    pub churn: Option<Churn>,
    /// When whole targets are replaced.
    pub rollout: Option<Rollout>,
}

/// What a page consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Families of ten series, mixed as exporters mix them.
    Families,
    /// One family of counters that all move: what range queries have most work with.
    OneCounter,
}

/// Replacing every series of every target, one target after another, some times over.
#[derive(Clone, Copy, Debug)]
pub struct Rollout {
    /// How often.
    pub times: usize,
    /// Begins after so many scrapes.
    pub after: usize,
    /// Ends after so many more.
    pub scrapes: usize,
}

impl Rollout {
    /// Which rollout reaches a target at a scrape.
    fn at(self, target: usize, targets: usize, scrape: usize) -> Option<usize> {
        let place = |time: usize| {
            let share = (time * targets + target) as f64 / (self.times * targets) as f64;
            self.after + (share * self.scrapes as f64) as usize
        };
        (0..self.times).find(|time| place(*time) == scrape)
    }
}

/// Replacing series, as deployments do.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// One series of so many is replaced each time.
    pub one_of: usize,
    /// After so many scrapes.
    pub scrapes: usize,
}

/// What kind of value a series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Never changes.
    Constant,
    /// Rises by whole numbers at each scrape.
    Counter,
    /// Rises by one now and then.
    RareCounter,
    /// A decimal with one digit behind the point, wandering.
    Decimal,
    /// A float of full precision.
    Float,
}

/// Of 100 series, how many are of which kind.
const MIX: [(usize, Kind); 5] = [
    (62, Kind::Constant),
    (14, Kind::Counter),
    (12, Kind::RareCounter),
    (9, Kind::Decimal),
    (3, Kind::Float),
];

/// What churn does not reach: the first generation of rollouts.
const ROLLOUT_GENERATION: usize = 1_000_000;

/// One target's page, ready to be written again and again.
pub struct Page {
    /// The text up to and including the space before each value.
    lines: Vec<String>,
    kinds: Vec<Kind>,
    state: Vec<f64>,
    random: Random,
    shape: Shape,
    target: usize,
    rendered: usize,
}

impl Page {
    /// The page of target number `target`.
    pub fn new(shape: Shape, target: usize) -> Self {
        let mut random =
            Random(shape.seed ^ (target as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut lines = Vec::with_capacity(shape.series);
        let mut kinds = Vec::with_capacity(shape.series);
        for series in 0..shape.series {
            lines.push(line_of(shape.layout, series, 0));
            kinds.push(kind_of(shape.layout, series));
        }
        let state = (0..shape.series)
            .map(|_| (random.next() % 10_000) as f64)
            .collect();
        Self {
            lines,
            kinds,
            state,
            random,
            shape,
            target,
            rendered: 0,
        }
    }

    /// Moves every series on by one scrape and writes the page, text 0.0.4, over `out`.
    pub fn render(&mut self, out: &mut String) {
        out.clear();
        self.replace_series();
        self.rendered += 1;
        for ((line, kind), value) in self.lines.iter().zip(&self.kinds).zip(&mut self.state) {
            let random = self.random.next();
            match kind {
                Kind::Constant => {}
                Kind::Counter => *value += (random % 100) as f64,
                Kind::RareCounter => *value += f64::from(u8::from(random.is_multiple_of(10))),
                Kind::Decimal => *value = (random % 1_000) as f64 / 10.0,
                Kind::Float => *value += (random % 1_000_003) as f64 / 1_000_003.0,
            }
            out.push_str(line);
            if value.fract() == 0.0 {
                out.push_str(itoa::Buffer::new().format(*value as i64));
            } else {
                let _ = write!(out, "{value}");
            }
            out.push('\n');
        }
    }

    /// Where it is time, gives a part of the series new labels and values: another part each time.
    fn replace_series(&mut self) {
        let rollout = self.shape.rollout;
        let rollout = rollout.and_then(|r| r.at(self.target, self.shape.targets, self.rendered));
        if let Some(number) = rollout {
            let generation = ROLLOUT_GENERATION + number;
            return self.replace(generation, 0..self.lines.len());
        }
        let Some(churn) = self.shape.churn else {
            return;
        };
        let (one_of, scrapes) = (churn.one_of.max(1), churn.scrapes.max(1));
        if self.rendered == 0 || !self.rendered.is_multiple_of(scrapes) {
            return;
        }
        let generation = self.rendered / scrapes;
        self.replace(
            generation,
            (generation % one_of..self.lines.len()).step_by(one_of),
        );
    }

    fn replace(&mut self, generation: usize, series: impl Iterator<Item = usize>) {
        for series in series {
            self.lines[series] = line_of(self.shape.layout, series, generation);
            self.state[series] = 0.0;
        }
    }
}

/// The scrapes of a recording, `<unix_ms>.txt` in a directory: when, and which file; oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn recorded_files(directory: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        if let Some(time_ms) = name.and_then(|name| name.parse().ok()) {
            files.push((time_ms, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// What an exporter said, scrape after scrape.
#[derive(Clone, Debug)]
pub struct Recording {
    bodies: Arc<[String]>,
    next: usize,
}

impl Recording {
    /// Reads a directory of bodies named `<unix_ms>.txt`, or an archive of one.
    ///
    /// # Errors
    /// It cannot be read, or has none.
    pub fn read(path: &Path) -> io::Result<Self> {
        let unpacked = Unpacked::at(path)?;
        let directory = unpacked.path();
        let files = recorded_files(directory)?;
        let bodies: io::Result<Vec<String>> = files
            .into_iter()
            .map(|(_, path)| fs::read_to_string(path))
            .collect();
        let bodies = bodies?;
        if bodies.is_empty() {
            let text = format!("{}: no <unix_ms>.txt files", directory.display());
            return Err(io::Error::other(text));
        }
        Ok(Self {
            bodies: bodies.into(),
            next: 0,
        })
    }

    /// The same recording, begun elsewhere: targets should not all say the same.
    #[must_use]
    pub fn starting_at(&self, share: f64) -> Self {
        Self {
            bodies: self.bodies.clone(),
            next: (self.bodies.len() as f64 * share.fract()) as usize,
        }
    }

    /// Writes the next body over `out`; after the last one comes the first.
    pub fn render(&mut self, out: &mut String) {
        out.clear();
        out.push_str(self.advance());
    }

    fn advance(&mut self) -> &str {
        let at = self.next % self.bodies.len();
        self.next = at + 1;
        &self.bodies[at]
    }
}

/// Where a target's samples come from.
pub enum Source {
    /// They are made up.
    Generated(Box<Page>),
    /// An exporter said them.
    Recorded(Recording),
}

impl Source {
    /// The next page, written over `out`, and its number of samples.
    pub fn render(&mut self, out: &mut String) -> u64 {
        match self {
            Self::Generated(page) => {
                page.render(out);
                page.lines.len() as u64
            }
            Self::Recorded(recording) => {
                recording.render(out);
                out.lines().filter(|line| is_sample(line)).count() as u64
            }
        }
    }
}

/// Whether a line of a page is a sample.
pub fn is_sample(line: &str) -> bool {
    !line.starts_with('#') && !line.is_empty()
}

/// A line up to the value. Later generations of a series differ in one label.
fn line_of(layout: Layout, series: usize, generation: usize) -> String {
    let mut line = String::new();
    if layout == Layout::OneCounter {
        let code = ["200", "201", "404", "500", "503"][series % 5];
        let _ = write!(line, "x_total{{code=\"{code}\",path=\"/{}\"", series / 5);
        if generation > 0 {
            let _ = write!(line, ",container=\"{generation}\"");
        }
        line.push_str("} ");
        return line;
    }
    let family = series / 10;
    if series.is_multiple_of(10) && generation == 0 {
        let _ = writeln!(
            line,
            "# TYPE http_server_requests_family_{family}_total counter"
        );
    }
    let _ = write!(
        line,
        "http_server_requests_family_{family}_total{{method=\"{}\",code=\"{}\",path=\"/api/v1/resource/{}\",handler=\"request-handler-{}\",container=\"container-{}-{generation}\"}} ",
        ["GET", "POST"][series % 2],
        200 + series % 5,
        series % 10,
        family,
        series % 50,
    );
    line
}

fn kind_of(layout: Layout, series: usize) -> Kind {
    if layout == Layout::OneCounter {
        return Kind::Counter;
    }
    // Neighbours get unlike kinds, whatever the number of series.
    let mut place = series * 37 % 100;
    for (share, kind) in MIX {
        if place < share {
            return kind;
        }
        place -= share;
    }
    Kind::Constant
}

/// xorshift64*: fast, seeded, good enough for values.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_serves_the_same_bytes() {
        let shape = Shape {
            targets: 2,
            series: 200,
            seed: 7,
            layout: Layout::Families,
            churn: None,
            rollout: None,
        };
        let render = |target| {
            let (mut page, mut out) = (Page::new(shape, target), String::new());
            page.render(&mut out);
            let first = out.clone();
            page.render(&mut out);
            (first, out)
        };
        assert_eq!(render(0), render(0));
        assert_ne!(render(0).0, render(1).0, "targets differ");
        let (first, second) = render(0);
        let moved = first
            .lines()
            .zip(second.lines())
            .filter(|(a, b)| a != b)
            .count();
        assert!((30..90).contains(&moved), "{moved} of 200 series moved");
    }

    #[test]
    fn a_third_of_the_series_is_replaced_at_a_time() {
        let churn = Churn {
            one_of: 3,
            scrapes: 2,
        };
        let shape = Shape {
            targets: 1,
            series: 300,
            seed: 7,
            layout: Layout::Families,
            churn: Some(churn),
            rollout: None,
        };
        let (mut page, mut out) = (Page::new(shape, 0), String::new());
        let mut names = || -> std::collections::HashSet<String> {
            page.render(&mut out);
            let series = out.lines().filter(|line| !line.starts_with('#'));
            series
                .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
                .collect()
        };
        let (first, second, third) = (names(), names(), names());
        assert_eq!(first, second);
        assert_eq!(second.difference(&third).count(), 100);
        assert_eq!(third.len(), 300);
    }

    #[test]
    fn a_rollout_reaches_every_target_as_often_as_it_says() {
        let rollout = Rollout {
            times: 3,
            after: 10,
            scrapes: 60,
        };
        for target in 0..7 {
            let scrapes: Vec<usize> = (0..100)
                .filter(|scrape| rollout.at(target, 7, *scrape).is_some())
                .collect();
            assert_eq!(scrapes.len(), 3, "target {target}");
            assert!(scrapes.iter().all(|scrape| (10..70).contains(scrape)));
        }
    }
}

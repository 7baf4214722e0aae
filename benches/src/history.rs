//! Rows of values over any span: recordings end to end, counters going on where they stopped, and
//! made-up series of known entropy.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use barograph_model::Labels;

use crate::measure;
use crate::simulated::Noise;

/// Bytes that one archive may unpack to.
const ARCHIVE_LIMIT_BYTES: u64 = 2 << 30;

/// A directory of scrapes, `<unix_ms>.txt`, wherever they came from.
#[derive(Debug)]
pub enum Unpacked {
    /// It was one.
    Directory(PathBuf),
    /// It was an archive (`.tar.zst`).
    Archive(tempfile::TempDir),
}

impl Unpacked {
    /// Unpacks `path` if it is an archive.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub fn at(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let broken = |what: &str| io::Error::other(format!("{}: {what}", path.display()));
        let directory = tempfile::tempdir()?;
        let mut unpacking = Command::new("zstd")
            .args(["-dc", "--long=27"])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()?;
        let from = unpacking.stdout.take();
        let from = from.ok_or_else(|| broken("zstd gives nothing"))?;
        let mut untarring = Command::new("tar");
        untarring.arg("-x").current_dir(directory.path());
        let status = untarring.stdin(from).status()?;
        if !status.success() || !unpacking.wait()?.success() {
            return Err(broken("cannot be unpacked"));
        }
        if measure::disk_bytes(directory.path()) > ARCHIVE_LIMIT_BYTES {
            return Err(broken("is too large"));
        }
        Ok(Self::Archive(directory))
    }

    /// Where the scrapes are.
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
            Self::Archive(directory) => directory.path(),
        }
    }
}

/// Rows of one target: per row a value for each of its series, or none.
pub trait Rows {
    /// Labels of its series.
    fn labels(&self) -> Vec<Labels>;
    /// Writes the values of a row over `values`.
    fn row(&mut self, number: usize, values: &mut Vec<Option<f64>>);
}

/// A recording, again and again.
pub struct Recorded {
    series: Vec<Labels>,
    rows: Vec<Vec<Option<f64>>>,
    /// By how much a counter is ahead after each repetition; nothing for what is no counter.
    ahead: Vec<f64>,
}

impl Recorded {
    /// Reads an archive of scrapes, or a directory of them.
    ///
    /// # Errors
    /// It cannot be read or unpacked, or a value in it is no number.
    pub fn read(path: &Path) -> io::Result<Self> {
        let unpacked = Unpacked::at(path)?;
        let mut files: Vec<_> = fs::read_dir(unpacked.path())?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()?;
        files.sort();
        let mut recorded = Self {
            series: Vec::new(),
            rows: Vec::new(),
            ahead: Vec::new(),
        };
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for file in files {
            let mut row = vec![None; recorded.series.len()];
            for line in fs::read_to_string(file)?.lines() {
                let Some((series, value)) = line.rsplit_once(' ') else {
                    continue;
                };
                if line.starts_with('#') {
                    continue;
                }
                let number = *numbers.entry(series.to_owned()).or_insert_with(|| {
                    recorded.series.push(labels_of(series));
                    row.push(None);
                    recorded.series.len() - 1
                });
                row[number] = Some(value.parse().map_err(io::Error::other)?);
            }
            recorded.rows.push(row);
        }
        recorded.ahead = (0..recorded.series.len())
            .map(|number| recorded.gain(number))
            .collect();
        Ok(recorded)
    }

    fn gain(&self, number: usize) -> f64 {
        let value = |row: &Vec<Option<f64>>| row.get(number).copied().flatten();
        let values: Vec<f64> = self.rows.iter().filter_map(value).collect();
        match (values.first(), values.last()) {
            (Some(first), Some(last)) if values.is_sorted() => last - first,
            _ => 0.0,
        }
    }
}

/// Labels of a line of the text format; what is escaped stays so.
fn labels_of(series: &str) -> Labels {
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    let mut pairs = vec![
        ("__name__".to_owned(), name.to_owned()),
        ("instance".to_owned(), "localhost:9100".to_owned()),
        ("job".to_owned(), "recorded".to_owned()),
    ];
    let mut rest = rest.trim_end_matches('}');
    while let Some((label, value)) = rest.split_once("=\"") {
        let Some((value, after)) = value.split_once('"') else {
            break;
        };
        pairs.push((label.trim_matches(',').to_owned(), value.to_owned()));
        rest = after;
    }
    Labels::from_pairs(pairs)
}

impl Rows for Recorded {
    fn labels(&self) -> Vec<Labels> {
        self.series.clone()
    }

    fn row(&mut self, number: usize, values: &mut Vec<Option<f64>>) {
        let (round, at) = (number / self.rows.len(), number % self.rows.len());
        let row = &self.rows[at];
        values.clear();
        values.extend((0..self.series.len()).map(|series| {
            let value = row.get(series).copied().flatten()?;
            Some(value + self.ahead[series] * round as f64)
        }));
    }
}

/// Series of one target, each of the kind that its number gives.
pub struct Made {
    target: usize,
    values: Vec<f64>,
    noise: Noise,
}

impl Made {
    /// So many series of target number `target`.
    pub fn new(target: usize, series: usize) -> Self {
        Self {
            target,
            values: (0..series).map(|series| series as f64).collect(),
            noise: Noise(0x9e37_79b9_7f4a_7c15 ^ target as u64),
        }
    }

    /// Information in a sample, bytes: three tenths count by one of 200 numbers, a tenth is one of
    /// 10,000 decimals, a tenth a float of 40 random bits.
    pub fn entropy_bytes() -> f64 {
        (0.3 * 200_f64.log2() + 0.1 * 10_000_f64.log2() + 0.1 * 40.0) / 8.0
    }
}

impl Rows for Made {
    fn labels(&self) -> Vec<Labels> {
        let labels = |series: usize| {
            Labels::from_pairs([
                ("__name__", format!("some_metric_name_{}_total", series / 8)),
                ("cluster", "production".to_owned()),
                ("code", format!("{}", 200 + series % 4)),
                ("handler", format!("/api/v1/resource_{}", series % 50)),
                (
                    "instance",
                    format!("10.0.{}.{}:9100", self.target / 256, self.target % 256),
                ),
                ("job", "service".to_owned()),
                ("method", ["GET", "POST"][series / 4 % 2].to_owned()),
                ("namespace", format!("team-{}", self.target % 20)),
                ("node", format!("node-{:04}", self.target / 10)),
                ("pod", format!("service-7d4b9c-{:05x}", self.target * 7919)),
                ("region", "eu-west-1".to_owned()),
            ])
        };
        (0..self.values.len()).map(labels).collect()
    }

    fn row(&mut self, _number: usize, values: &mut Vec<Option<f64>>) {
        values.clear();
        for (series, value) in self.values.iter_mut().enumerate() {
            match series % 10 {
                0..5 => {}
                5..8 => *value += self.noise.below(200) as f64,
                8 => *value = self.noise.below(10_000) as f64 / 100.0,
                _ => *value = (self.noise.below(1 << 40) as f64).sqrt(),
            }
            values.push(Some(*value));
        }
    }
}

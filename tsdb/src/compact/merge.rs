//! Several blocks become one: a merge in label order, one series in memory at a time.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::TimeRange;

use crate::block::index::Pin;
use crate::block::writer::{BlockWriter, Piece};
use crate::block::{Block, Damaged};
use crate::component::ComponentKey;
use crate::contest::{self, Candidate, Winners};
use crate::deletions::Deletion;
use crate::layout::Layout;
use crate::merge::{Samples, Tie};
use crate::page::codec::PAGE_SAMPLES;
use crate::prometheus::input::ForeignInput;
use crate::view::StoredBlock;

type Failure = (PathBuf, io::Error);

/// Decoded timestamp columns kept while merging.
const COLUMNS_LIMIT_BYTES: usize = 32 << 20;
/// Joined columns remembered, so that series with the same rows share them.
const JOINED_LIMIT: usize = 16 * 1024;

/// A block to read from.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// One of ours.
    Own(Arc<Block>),
    /// One of Prometheus.
    Foreign(Arc<ForeignInput>),
}

/// Samples of a series that share a timestamp column.
#[derive(Clone, Debug)]
pub(crate) struct InputPiece {
    /// Number of the column in its block, where the block shares columns.
    pub(crate) column: Option<u32>,
    pub(crate) timestamps_ms: Arc<[i64]>,
    /// First row and count of stretches without gaps, ascending.
    pub(crate) runs: Vec<(u32, u32)>,
    pub(crate) values: Vec<u64>,
}

impl InputPiece {
    /// Leaves out the samples of a range.
    fn erase(&mut self, gone: TimeRange) {
        let start = self.timestamps_ms.partition_point(|t| *t < gone.start_ms) as u32;
        let end = self.timestamps_ms.partition_point(|t| *t <= gone.end_ms) as u32;
        if start == end {
            return;
        }
        let (mut runs, mut values) = (Vec::new(), Vec::new());
        let mut at = 0;
        for (first, count) in &self.runs {
            let (first, last) = (*first, first + count);
            for (from, to) in [(first, last.min(start)), (first.max(end), last)] {
                if from < to {
                    let from_value = at + (from - first) as usize;
                    runs.push((from, to - from));
                    values.extend(&self.values[from_value..from_value + (to - from) as usize]);
                }
            }
            at += *count as usize;
        }
        (self.runs, self.values) = (runs, values);
    }
}

/// Columns of one input that were decoded lately.
#[derive(Debug, Default)]
pub(crate) struct InputColumns {
    decoded: HashMap<u32, Arc<[i64]>>,
    bytes: usize,
}

impl InputColumns {
    /// The column, by `decode` where it is not kept.
    pub(crate) fn get(
        &mut self,
        number: u32,
        decode: impl FnOnce() -> Result<Arc<[i64]>, Damaged>,
    ) -> Result<Arc<[i64]>, Damaged> {
        if let Some(column) = self.decoded.get(&number) {
            return Ok(column.clone());
        }
        let column = decode()?;
        if self.bytes > COLUMNS_LIMIT_BYTES {
            self.decoded.clear();
            self.bytes = 0;
        }
        self.bytes += column.len() * 8;
        self.decoded.insert(number, column.clone());
        Ok(column)
    }
}

impl Input {
    /// Prepares reading a block.
    pub(crate) fn of(block: &StoredBlock) -> Result<Self, Failure> {
        match block {
            StoredBlock::Own(block) => Ok(Self::Own(block.clone())),
            StoredBlock::Foreign(block) => match ForeignInput::open(block.clone()) {
                Ok(input) => Ok(Self::Foreign(Arc::new(input))),
                Err(error) => Err(damage(&block.path, &error)),
            },
        }
    }

    fn pin(&self) -> Pin {
        match self {
            Self::Own(block) => block.pin(),
            Self::Foreign(_) => Pin::default(),
        }
    }

    fn failure(&self, error: &Damaged) -> Failure {
        match self {
            Self::Own(block) => damage(&block.path, error),
            Self::Foreign(input) => damage(&input.block.path, error),
        }
    }

    /// How many label pairs it has; they are numbered in order of (name, value).
    fn pair_count(&self) -> Result<u32, Damaged> {
        match self {
            Self::Own(block) => block.pair_count(),
            Self::Foreign(input) => input.pair_count(),
        }
    }

    fn pair(&self, number: u32) -> Result<(String, String), Damaged> {
        match self {
            Self::Own(block) => block.pair_texts(number),
            Self::Foreign(input) => input.pair(number),
        }
    }

    /// How many series it has, numbered in order of their labels.
    fn series_count(&self) -> Result<u32, Damaged> {
        match self {
            Self::Own(block) => block.series_count(),
            Self::Foreign(input) => Ok(input.series_count()),
        }
    }

    /// The pairs of a series, ascending.
    fn pairs_of(&self, series: u32) -> Result<Vec<u32>, Damaged> {
        match self {
            Self::Own(block) => block.pairs_of(series),
            Self::Foreign(input) => input.pairs_of(series),
        }
    }

    /// The samples of a series, oldest first. Returns how many bytes were read.
    fn read(
        &self,
        series: u32,
        component: Option<ComponentKey>,
        columns: &mut InputColumns,
        pieces: &mut Vec<InputPiece>,
    ) -> Result<u64, Damaged> {
        match self {
            Self::Own(block) => block.read_pieces(series, component, columns, pieces),
            Self::Foreign(input) => input.read(series, component, pieces),
        }
    }

    /// The components of a series, in order.
    fn component_keys(&self, series: u32) -> Result<Vec<ComponentKey>, Damaged> {
        match self {
            Self::Own(block) => block.component_keys(series),
            Self::Foreign(input) => input.component_keys(series),
        }
    }

    /// The layouts that its histograms have.
    fn layouts(&self) -> Result<Vec<Layout>, Damaged> {
        match self {
            Self::Own(block) => block.layouts(),
            Self::Foreign(input) => input.layouts(),
        }
    }
}

fn damage(path: &Path, error: &Damaged) -> Failure {
    let what = format!("damaged at byte {}: {}", error.offset, error.what);
    let error = io::Error::new(io::ErrorKind::InvalidData, what);
    (path.to_owned(), error)
}
/// A deletion, and what it deletes in an input.
pub(crate) type TimedDeletion = (TimeRange, Arc<Deletion>);

/// One input and where the merge is in it.
struct Cursor {
    input: Input,
    /// Its index, where that is not mapped.
    #[expect(
        dead_code,
        reason = "it is held, so that each series does not read it anew"
    )]
    pin: Pin,
    deletions: Vec<TimedDeletion>,
    /// What is deleted of the next series.
    deleted: Vec<TimeRange>,
    /// Numbers of its pairs in the result.
    ranks: Vec<u32>,
    columns: InputColumns,
    next: u32,
    count: u32,
    /// Pairs of the next series, as numbered in the result.
    pairs: Vec<u32>,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Merged {
    pub(crate) series: u64,
    pub(crate) samples: u64,
    /// Samples of an instant that another sample of the same series has.
    pub(crate) duplicates: u64,
}

/// A merge under way.
pub(crate) struct Merge {
    cursors: Vec<Cursor>,
    /// Label pairs of the result, sorted.
    pub(crate) pairs: MergedPairs,
    joined: HashMap<Vec<(u32, u32)>, Vec<Joined>>,
}

/// A column of the result: how many of the joined input columns it covers, and its number.
#[derive(Clone, Copy, Debug)]
struct Joined {
    covers: usize,
    number: u32,
}

impl Merge {
    /// Prepares the merge of `inputs`; where several have a sample of one series and instant, the
    /// rule is that of reading.
    ///
    /// # Errors
    /// An index cannot be read.
    pub(crate) fn begin(inputs: Vec<(Input, Vec<TimedDeletion>)>) -> Result<Self, Failure> {
        let (inputs, deletions): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
        let (pairs, ranks) = merge_pairs(&inputs)?;
        let mut cursors = Vec::with_capacity(inputs.len());
        for ((input, ranks), deletions) in inputs.into_iter().zip(ranks).zip(deletions) {
            let count = input.series_count().map_err(|e| input.failure(&e))?;
            let mut cursor = Cursor {
                pin: input.pin(),
                input,
                deletions,
                deleted: Vec::new(),
                ranks,
                columns: InputColumns::default(),
                next: 0,
                count,
                pairs: Vec::new(),
            };
            cursor.load(&pairs)?;
            cursors.push(cursor);
        }
        Ok(Self {
            cursors,
            pairs,
            joined: HashMap::new(),
        })
    }

    /// Merges everything into `writer`; `spend` is told of bytes read.
    ///
    /// # Errors
    /// An input is damaged, the disk refuses, or it is time to stop.
    pub(crate) fn run(
        mut self,
        writer: &mut BlockWriter,
        spend: impl Fn(u64) -> io::Result<()>,
    ) -> Result<(MergedPairs, Merged), Failure> {
        let mut merged = Merged::default();
        for cursor in &self.cursors {
            let layouts = cursor.input.layouts();
            for layout in layouts.map_err(|e| cursor.input.failure(&e))? {
                writer.layout(layout.id, &layout.bytes)?;
            }
        }
        while let Some(pairs) = self.least() {
            let keys = self.component_keys(&pairs)?;
            let own = self.read_column(&pairs, None, &spend)?;
            let given: u64 = own.iter().map(|(_, p)| p.values.len() as u64).sum();
            let (pieces, winners) = if in_order(&own) {
                (self.join(&own, writer)?, Winners::default())
            } else if keys.is_empty() {
                (pieces_of(&sorted(&own), writer)?, Winners::default())
            } else {
                let mut own = candidates(&own, TimeRange::ALL);
                let keys = || Ok(keys.clone());
                let winners = Winners::choose(&mut own, keys, |key, range| {
                    let pieces = self.read_column(&pairs, Some(key), &spend)?;
                    Ok::<_, Failure>(candidates(&pieces, range))
                })?;
                (pieces_of(&contest::samples(&own), writer)?, winners)
            };
            let kept: u64 = pieces.iter().map(|p| p.values.len() as u64).sum();
            merged.duplicates += given - kept;
            merged.samples += kept;
            if kept > 0 {
                merged.series += 1;
                writer.series(&pairs, &pieces)?;
                for key in keys {
                    let values = self.read_column(&pairs, Some(key), &spend)?;
                    let pieces = if winners.is_empty() && in_order(&values) {
                        self.join(&values, writer)?
                    } else {
                        let mut values = candidates(&values, TimeRange::ALL);
                        winners.keep(&mut values);
                        pieces_of(&contest::samples(&values), writer)?
                    };
                    if !pieces.is_empty() {
                        writer.component(key, &pieces)?;
                    }
                }
            }
            for cursor in &mut self.cursors {
                if cursor.is_at(&pairs) {
                    cursor.next += 1;
                    cursor.load(&self.pairs)?;
                }
            }
        }
        Ok((self.pairs, merged))
    }

    /// The components that the series has in any input, in order.
    fn component_keys(&self, pairs: &[u32]) -> Result<BTreeSet<ComponentKey>, Failure> {
        let mut keys = BTreeSet::new();
        for cursor in self.cursors.iter().filter(|cursor| cursor.is_at(pairs)) {
            let found = cursor.input.component_keys(cursor.next);
            keys.extend(found.map_err(|e| cursor.input.failure(&e))?);
        }
        Ok(keys)
    }

    /// Reads the next series' own column, or a component's, of every input that has it.
    fn read_column(
        &mut self,
        pairs: &[u32],
        component: Option<ComponentKey>,
        spend: &impl Fn(u64) -> io::Result<()>,
    ) -> Result<Vec<(u32, InputPiece)>, Failure> {
        let mut pieces: Vec<(u32, InputPiece)> = Vec::new();
        let mut read = Vec::new();
        for (number, cursor) in (0..).zip(&mut self.cursors) {
            if !cursor.is_at(pairs) {
                continue;
            }
            let input = &cursor.input;
            let bytes = input.read(cursor.next, component, &mut cursor.columns, &mut read);
            let bytes = bytes.map_err(|e| input.failure(&e))?;
            spend(bytes).map_err(|e| (PathBuf::from("compaction"), e))?;
            for gone in &cursor.deleted {
                for piece in &mut read {
                    piece.erase(*gone);
                }
            }
            let left = read.drain(..).filter(|piece| !piece.runs.is_empty());
            pieces.extend(left.map(|piece| (number, piece)));
        }
        Ok(pieces)
    }

    /// The labels that come next.
    fn least(&self) -> Option<Vec<u32>> {
        let left = self.cursors.iter().filter(|c| c.next < c.count);
        left.map(|c| &c.pairs).min().cloned()
    }

    /// Pieces one after the other: their columns are joined whole, a few at a time, so that every
    /// series of a group keeps sharing them, whatever rows it has.
    fn join(
        &mut self,
        pieces: &[(u32, InputPiece)],
        writer: &mut BlockWriter,
    ) -> Result<Vec<Piece>, Failure> {
        let key: Option<Vec<(u32, u32)>> = pieces
            .iter()
            .map(|(input, piece)| Some((*input, piece.column?)))
            .collect();
        let known = key.as_ref().and_then(|key| self.joined.get(key)).cloned();
        let columns = if let Some(columns) = known {
            columns
        } else {
            let columns = join_columns(pieces, writer)?;
            if let Some(key) = key {
                if self.joined.len() >= JOINED_LIMIT {
                    self.joined.clear();
                }
                self.joined.insert(key, columns.clone());
            }
            columns
        };
        let mut rest = pieces;
        let mut out = Vec::with_capacity(columns.len());
        for column in columns {
            let (these, others) = rest.split_at(column.covers);
            rest = others;
            out.push(joined_piece(these, column.number));
        }
        Ok(out)
    }
}

impl Cursor {
    /// Whether its next series has these labels.
    fn is_at(&self, pairs: &[u32]) -> bool {
        self.next < self.count && self.pairs == pairs
    }

    fn load(&mut self, texts: &MergedPairs) -> Result<(), Failure> {
        self.pairs.clear();
        self.deleted.clear();
        if self.next < self.count {
            let pairs = self.input.pairs_of(self.next);
            let pairs = pairs.map_err(|e| self.input.failure(&e))?;
            for pair in pairs {
                let Some(rank) = self.ranks.get(pair as usize) else {
                    return Err(self.input.failure(&Damaged {
                        file: "index",
                        offset: 0,
                        what: "a series has a label pair that is not there".to_owned(),
                    }));
                };
                let name = |rank: &u32| texts.name_number(*rank);
                if self
                    .pairs
                    .last()
                    .is_some_and(|last| name(last) >= name(rank))
                {
                    return Err(self.input.failure(&Damaged {
                        file: "index",
                        offset: 0,
                        what: "a series whose labels are not in order".to_owned(),
                    }));
                }
                self.pairs.push(*rank);
            }
            let value_of = |name: &str| {
                let mut pairs = self.pairs.iter().map(|pair| texts.get(*pair as usize));
                pairs.find(|(have, _)| *have == name).map_or("", |(_, v)| v)
            };
            let about = self.deletions.iter().filter(|(_, d)| d.fits(value_of));
            self.deleted.extend(about.map(|(range, _)| *range));
        }
        Ok(())
    }
}

/// Label pairs, sorted: each value once, each name once for all of its values.
#[derive(Debug, Default)]
pub(crate) struct MergedPairs {
    /// Each name, and the number of its first pair.
    names: Vec<(String, u32)>,
    values: String,
    /// Where each value ends.
    ends: Vec<usize>,
}

impl MergedPairs {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Name and value of a pair.
    pub(crate) fn get(&self, pair: usize) -> (&str, &str) {
        let start = pair.checked_sub(1).map_or(0, |before| self.ends[before]);
        let (name, _) = &self.names[self.name_number(pair as u32)];
        (name, &self.values[start..self.ends[pair]])
    }

    /// The number of the name of a pair.
    fn name_number(&self, pair: u32) -> usize {
        self.names.partition_point(|(_, first)| *first <= pair) - 1
    }

    fn push(&mut self, name: String, value: &str) {
        if self.names.last().is_none_or(|(last, _)| *last != name) {
            self.names.push((name, self.len() as u32));
        }
        self.values.push_str(value);
        self.ends.push(self.values.len());
    }
}

/// Every pair of the inputs, and per input the numbers of its pairs among them.
type Ranked = (MergedPairs, Vec<Vec<u32>>);

fn merge_pairs(inputs: &[Input]) -> Result<Ranked, Failure> {
    let mut all = MergedPairs::default();
    let mut ranks: Vec<Vec<u32>> = Vec::with_capacity(inputs.len());
    let mut heads = Vec::with_capacity(inputs.len());
    let mut counts = Vec::with_capacity(inputs.len());
    let next = |input: &Input, at: u32, count: u32| {
        let pair = (at < count).then(|| input.pair(at)).transpose();
        pair.map_err(|e| input.failure(&e))
    };
    for input in inputs {
        let count = input.pair_count().map_err(|e| input.failure(&e))?;
        heads.push(next(input, 0, count)?);
        counts.push(count);
        // What is said of a damaged index is not to be believed.
        ranks.push(Vec::with_capacity(count.min(1 << 16) as usize));
    }
    while let Some(least) = heads.iter().flatten().min().cloned() {
        let rank = all.len() as u32;
        for (number, input) in inputs.iter().enumerate() {
            if heads[number].as_ref() == Some(&least) {
                ranks[number].push(rank);
                heads[number] = next(input, ranks[number].len() as u32, counts[number])?;
            }
        }
        all.push(least.0, &least.1);
    }
    Ok((all, ranks))
}

/// Whether every piece, with its whole column, is later than the one before.
fn in_order(pieces: &[(u32, InputPiece)]) -> bool {
    pieces.windows(2).all(|pair| {
        let (before, after) = (&pair[0].1.timestamps_ms, &pair[1].1.timestamps_ms);
        matches!((before.last(), after.first()), (Some(a), Some(b)) if a < b)
    })
}

fn join_columns(
    pieces: &[(u32, InputPiece)],
    writer: &mut BlockWriter,
) -> Result<Vec<Joined>, Failure> {
    let mut columns = Vec::new();
    let mut rest = pieces;
    while !rest.is_empty() {
        let (mut rows, mut covers) = (0, 0);
        for (_, piece) in rest {
            rows += piece.timestamps_ms.len();
            if covers > 0 && rows > PAGE_SAMPLES {
                break;
            }
            covers += 1;
        }
        let (these, others) = rest.split_at(covers);
        rest = others;
        let number = if let [(_, only)] = these {
            writer.column(&only.timestamps_ms)?
        } else {
            let all = these.iter().flat_map(|(_, p)| p.timestamps_ms.iter());
            writer.column(&all.copied().collect::<Vec<_>>())?
        };
        columns.push(Joined { covers, number });
    }
    Ok(columns)
}

fn joined_piece(pieces: &[(u32, InputPiece)], column: u32) -> Piece {
    let mut joined = Piece {
        column,
        ..Piece::default()
    };
    let (mut offset, mut times) = (0, None);
    for (_, piece) in pieces {
        for (first, count) in &piece.runs {
            let first = offset + first;
            match joined.runs.last_mut() {
                Some((start, length)) if *start + *length == first => *length += count,
                _ => joined.runs.push((first, *count)),
            }
        }
        joined.values.extend_from_slice(&piece.values);
        offset += piece.timestamps_ms.len() as u32;
        if let (Some((first, _)), Some((last, count))) = (piece.runs.first(), piece.runs.last()) {
            let column = &piece.timestamps_ms;
            let (from, to) = (column[*first as usize], column[(last + count - 1) as usize]);
            times = Some((times.map_or(from, |(start, _)| start), to));
        }
    }
    (joined.start_ms, joined.end_ms) = times.unwrap_or((i64::MAX, i64::MIN));
    joined
}

/// The samples of pieces whose times overlap, where no series has components.
fn sorted(pieces: &[(u32, InputPiece)]) -> Samples<u64> {
    let mut samples = Samples::default();
    for (_, piece) in pieces {
        samples.timestamps_ms.extend(times(piece));
        samples.values.extend_from_slice(&piece.values);
    }
    samples.into_order(Tie::Value)
}

/// The values of pieces inside a range, with the inputs they are of.
fn candidates(pieces: &[(u32, InputPiece)], range: TimeRange) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (input, piece) in pieces {
        let values = times(piece).zip(&piece.values);
        let inside = values.filter(|(timestamp_ms, _)| range.contains(*timestamp_ms));
        candidates.extend(inside.map(|(timestamp_ms, bits)| Candidate {
            timestamp_ms,
            place: u64::from(*input),
            bits: *bits,
        }));
    }
    candidates
}

fn times(piece: &InputPiece) -> impl Iterator<Item = i64> {
    let rows = piece.runs.iter();
    let rows = rows.flat_map(|(first, count)| *first..*first + *count);
    rows.map(|row| piece.timestamps_ms[row as usize])
}

/// Samples in order, as a block takes them.
fn pieces_of(samples: &Samples<u64>, writer: &mut BlockWriter) -> Result<Vec<Piece>, Failure> {
    let mut out = Vec::new();
    let columns = samples.timestamps_ms.chunks(PAGE_SAMPLES);
    for (column, values) in columns.zip(samples.values.chunks(PAGE_SAMPLES)) {
        out.push(Piece {
            column: writer.column(column)?,
            runs: vec![(0, column.len() as u32)],
            values: values.to_vec(),
            start_ms: column[0],
            end_ms: column[column.len() - 1],
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::meta::Meta;
    use crate::block::writer::text_of;
    use crate::disk::{Disk, SystemDisk};

    type Samples = Vec<(i64, u64)>;

    fn write(directory: &Path, uid: u64, series: &[(&str, Samples)]) -> Arc<Block> {
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        let pairs: Vec<_> = series
            .iter()
            .map(|(id, _)| ("id".to_owned(), (*id).to_owned()))
            .collect();
        let begun = BlockWriter::begin(disk.clone(), directory, uid, pairs.len(), None);
        let mut writer = begun.expect("begins");
        for (number, (_, samples)) in series.iter().enumerate() {
            let times: Vec<i64> = samples.iter().map(|(t, _)| *t).collect();
            let piece = Piece {
                column: writer.column(&times).expect("writes"),
                runs: vec![(0, times.len() as u32)],
                values: samples.iter().map(|(_, v)| *v).collect(),
                start_ms: times[0],
                end_ms: times[times.len() - 1],
            };
            writer.series(&[number as u32], &[piece]).expect("writes");
        }
        let path = writer
            .finish(|pair| text_of(&pairs, pair), meta(uid))
            .expect("finishes");
        Arc::new(Block::open(&disk, &path).expect("opens"))
    }

    fn meta(uid: u64) -> Meta {
        Meta {
            part: true,
            ..Meta::begun(uid, 0, 1 << 20)
        }
    }

    fn read(block: &Arc<Block>) -> Vec<(String, Samples)> {
        let mut all = Vec::new();
        for series in 0..block.series_count().expect("reads") {
            let pairs = block.pairs_of(series).expect("reads");
            let (_, id) = block.pair_texts(pairs[0]).expect("reads");
            let (mut pieces, mut samples) = (Vec::new(), Vec::new());
            let mut columns = InputColumns::default();
            let done = block.read_pieces(series, None, &mut columns, &mut pieces);
            done.expect("reads");
            for piece in pieces {
                let rows = piece.runs.iter().flat_map(|(first, n)| *first..first + n);
                let times = rows.map(|row| piece.timestamps_ms[row as usize]);
                samples.extend(times.zip(piece.values));
            }
            all.push((id, samples));
        }
        all
    }

    #[test]
    fn overlapping_blocks_interleave() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let range = |from: i64, to: i64, step: usize, v: u64| -> Samples {
            (from..to).step_by(step).map(|t| (t, v)).collect()
        };
        let (a, b) = (
            [("a", range(0, 6000, 2, 1)), ("c", range(0, 10, 1, 1))],
            [("a", range(3, 6000, 3, 2)), ("b", range(5, 9, 1, 2))],
        );
        let blocks = vec![
            write(directory.path(), 1, &a),
            write(directory.path(), 2, &b),
        ];
        let inputs = blocks
            .into_iter()
            .map(|block| (Input::Own(block), Vec::new()));
        let merge = Merge::begin(inputs.collect()).expect("begins");
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        let begun = BlockWriter::begin(disk.clone(), directory.path(), 3, merge.pairs.len(), None);
        let mut writer = begun.expect("begins");
        let (pairs, merged) = merge.run(&mut writer, |_| Ok(())).expect("merges");
        let path = writer
            .finish(|pair| pairs.get(pair), meta(3))
            .expect("finishes");
        let block = Arc::new(Block::open(&disk, &path).expect("opens"));
        let want: Samples = (0..6000)
            .filter(|t| t % 2 == 0 || t % 3 == 0)
            .map(|t| (t, if t % 3 == 0 && t > 0 { 2 } else { 1 }))
            .collect();
        let got = read(&block);
        assert_eq!(got[0], ("a".to_owned(), want));
        assert_eq!(got[1], ("b".to_owned(), range(5, 9, 1, 2)));
        assert_eq!(got[2], ("c".to_owned(), range(0, 10, 1, 1)));
        assert_eq!((merged.series, merged.duplicates), (3, 999));
        assert_eq!(merged.samples, block.meta.samples);
        block.verify().expect("is whole");
    }
}

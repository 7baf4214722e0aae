//! A track: series that get their samples at the same instants, row by row.
//!
//! A row is one instant; a member that has no sample in it costs nothing until it appears again.
//! Values go to open pages; every hundred-odd rows the pages of all members are sealed into one
//! chunk. What a row changes is decided by its content alone, so replaying the log rebuilds the
//! same state.

use std::sync::Arc;

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::chunk::{self, Chunk, ChunkEntry};
use crate::page::slab::{Piece, Slab};
use crate::page::token::{self, State, Step, VALUE_LIMIT_BYTES};

/// Rows after which the open pages are sealed.
pub(crate) const SEAL_ROWS: u32 = 120;
/// Most open rows, reached only where the log lost a seal.
pub(crate) const ROWS_LIMIT: u32 = 140;
/// A row in so many is logged with whole values, so that a lost record spoils few others.
const KEY_INTERVAL_ROWS: u8 = 32;
/// Dead positions that a track may have without being worth leaving.
const SPARSE_LIMIT: usize = 32;
/// Tracks with so many newest rows of the same instants become one.
const ALIKE_ROWS: usize = 8;
/// Members from which on a track keeps the memory of its timestamps.
const WIDE_LIMIT: usize = 32;
/// A position whose series moved away or left memory.
pub(crate) const DEAD: SeriesRef = SeriesRef {
    slot: u32::MAX,
    generation: u32::MAX,
};
/// Most members of one track: a damaged count must not ask for more memory.
const MEMBERS_LIMIT: usize = 1 << 26;
/// "No sample in the open rows".
const NOT_STARTED: u16 = u16::MAX;

// An open page of the most rows fits a piece of a slab.
const _: () =
    assert!(ROWS_LIMIT as usize * VALUE_LIMIT_BYTES <= crate::page::slab::PAGE_LIMIT_BYTES);

#[derive(Clone, Copy, Debug)]
struct OpenPage {
    piece: Piece,
    /// Row of the newest sample, ever.
    last_row: u32,
    /// First row with a sample, counted from the first open row.
    start: u16,
    /// Repeats of the last value that are not in the stream yet.
    pending: u16,
    scale: u8,
}

/// Rows and the series that share them.
#[derive(Debug)]
pub(crate) struct Track {
    /// Number, unique for the life of the data directory.
    pub(crate) id: u32,
    /// Where its count of committed rows is published.
    pub(crate) mark: u32,
    /// Row number of the first open row.
    pub(crate) first_row: u32,
    /// Instants of the open rows.
    pub(crate) timestamps_ms: Vec<i64>,
    /// Instant of the newest row, `i64::MIN` before the first.
    pub(crate) last_ms: i64,
    /// Series by position.
    pub(crate) ids: Vec<SeriesRef>,
    /// Positions that are not dead.
    pub(crate) live: u32,
    /// Sealed chunks, oldest first.
    pub(crate) chunks: Arc<Vec<Arc<Chunk>>>,
    /// Open rows at which to seal.
    pub(crate) seal_at: u32,
    /// Its next row when silent members were looked for before.
    pub(crate) asked_row: u32,
    /// Whether a series moved away to another track.
    pub(crate) had_leavers: bool,
    /// Whether a lost log record makes the next differences meaningless (only while replaying).
    broken: bool,
    /// First row of the chunks there should be (only while replaying).
    sealed_from: u32,
    /// Members whose state a checkpoint still owes (only while replaying).
    owed: usize,
    rows_since_key: u8,
    /// Positions it had when its last member left; 0 before.
    closed_positions: u32,
    last: Vec<u64>,
    wal_scales: Vec<u8>,
    pages: Vec<OpenPage>,
}

/// One row on its way in: values by position.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) timestamp_ms: i64,
    /// How many positions it speaks of.
    pub(crate) positions: usize,
    /// Bit per position.
    present: Vec<u64>,
    bits: Vec<u64>,
    /// Scale of the log's differences after this row, where the value changed.
    scales: Vec<u8>,
    key: bool,
    count: usize,
}

impl Row {
    /// Empties the row and sets its size.
    pub(crate) fn reset(&mut self, timestamp_ms: i64, positions: usize) {
        self.timestamp_ms = timestamp_ms;
        self.positions = positions;
        self.present.clear();
        self.present.resize(positions.div_ceil(64), 0);
        self.bits.resize(positions, 0);
        self.scales.resize(positions, 0);
        self.count = 0;
        self.key = false;
    }

    /// Sets a value; `false` where the position has one already.
    #[inline]
    pub(crate) fn set(&mut self, position: usize, bits: u64) -> bool {
        let word = &mut self.present[position / 64];
        let bit = 1 << (position % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.bits[position] = bits;
        self.count += 1;
        true
    }

    /// Positions and bits of its values.
    pub(crate) fn values(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        ones(&self.present).map(|position| (position, self.bits[position]))
    }

    /// How many values.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds positions at the end, absent so far.
    pub(crate) fn grow(&mut self, positions: usize) {
        self.positions = positions;
        self.present.resize(positions.div_ceil(64), 0);
        self.bits.resize(positions, 0);
        self.scales.resize(positions, 0);
    }
}

/// Positions of the bits that are set.
fn ones(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(index, word)| {
        let mut word = *word;
        std::iter::from_fn(move || {
            if word == 0 {
                return None;
            }
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            Some(index * 64 + bit)
        })
    })
}

const FLAG_KEY: u8 = 1;
const FLAG_ABSENT: u8 = 2;

impl Track {
    /// A track without members whose rows count from `first_row`.
    pub(crate) fn new(id: u32, mark: u32, first_row: u32) -> Self {
        Self {
            id,
            mark,
            first_row,
            timestamps_ms: Vec::new(),
            last_ms: i64::MIN,
            ids: Vec::new(),
            live: 0,
            chunks: Arc::default(),
            // The first chunk is shorter by a different amount per track, so that tracks that
            // begin together do not seal together for ever.
            seal_at: SEAL_ROWS / 2 + id.wrapping_mul(0x9e37_79b9) % (SEAL_ROWS / 2),
            asked_row: 0,
            had_leavers: false,
            broken: false,
            sealed_from: first_row,
            owed: 0,
            rows_since_key: KEY_INTERVAL_ROWS,
            closed_positions: 0,
            last: Vec::new(),
            wal_scales: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// One past the newest row.
    pub(crate) fn next_row(&self) -> u32 {
        self.first_row + self.timestamps_ms.len() as u32
    }

    /// Adds members at the end.
    pub(crate) fn join(&mut self, series: impl Iterator<Item = SeriesRef>) {
        let more = series.size_hint().0;
        // Many come once; few come again and again, and must not be copied each time.
        if more > self.ids.len() / 8 {
            self.ids.reserve_exact(more);
            self.last.reserve_exact(more);
            self.wal_scales.reserve_exact(more);
            self.pages.reserve_exact(more);
        }
        for id in series {
            self.ids.push(id);
            self.last.push(0);
            self.wal_scales.push(0);
            self.pages.push(OpenPage {
                piece: Piece::NONE,
                last_row: u32::MAX,
                start: NOT_STARTED,
                pending: 0,
                scale: 0,
            });
            self.live += u32::from(id != DEAD);
        }
    }

    /// Ends a membership. The open rows are sealed before, or the page is lost.
    pub(crate) fn leave(&mut self, position: usize) {
        if self.ids[position] != DEAD {
            self.ids[position] = DEAD;
            self.live -= 1;
        }
    }

    /// Positions there are or were.
    pub(crate) fn positions(&self) -> usize {
        self.ids.len().max(self.closed_positions as usize)
    }

    /// Series by position, those that left as [`DEAD`].
    pub(crate) fn members(&self) -> Vec<SeriesRef> {
        let mut members = self.ids.clone();
        members.resize(self.positions(), DEAD);
        members
    }

    /// Whether it is worth leaving, since most of what its rows speak of is dead.
    pub(crate) fn is_sparse(&self) -> bool {
        let dead = self.ids.len() - self.live as usize;
        dead >= SPARSE_LIMIT && dead > self.live as usize / 2
    }

    /// Whether the newest rows of two tracks are of the same instants.
    pub(crate) fn shares_instants(&self, other: &Self) -> bool {
        let tail = |track: &Self| track.timestamps_ms.len().checked_sub(ALIKE_ROWS);
        match (tail(self), tail(other)) {
            (Some(a), Some(b)) => self.timestamps_ms[a..] == other.timestamps_ms[b..],
            _ => false,
        }
    }

    /// Whether nobody will write it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed_positions > 0
    }

    /// Gives back the memory of positions once the last member left. Its chunks stay as long as
    /// someone reads them.
    pub(crate) fn close_if_dead(&mut self) {
        if self.live == 0 && self.timestamps_ms.is_empty() && !self.ids.is_empty() {
            self.closed_positions = self.ids.len() as u32;
            self.ids = Vec::new();
            self.last = Vec::new();
            self.wal_scales = Vec::new();
            self.pages = Vec::new();
            self.timestamps_ms = Vec::new();
        }
    }

    /// Bits of the newest value of a member.
    pub(crate) fn last_bits(&self, position: usize) -> u64 {
        self.last[position]
    }

    /// When a member got its newest sample, or `None` before its first one here.
    pub(crate) fn last_sample_ms(&self, position: usize) -> Option<i64> {
        let row = self.pages[position].last_row;
        if row == u32::MAX {
            return None;
        }
        if row + 1 == self.next_row() {
            return Some(self.last_ms);
        }
        if row >= self.first_row {
            return Some(self.timestamps_ms[(row - self.first_row) as usize]);
        }
        let chunk = self.chunks.iter().find(|c| row < c.end_row())?;
        if row + 1 == chunk.end_row() {
            return Some(chunk.max_ms);
        }
        let column = chunk::timestamps_of(chunk.bytes().as_slice()).ok()?;
        row.checked_sub(chunk.first_row)
            .and_then(|at| column.get(at as usize).copied())
    }

    /// Row of a member's newest sample.
    pub(crate) fn last_row(&self, position: usize) -> Option<u32> {
        let row = self.pages[position].last_row;
        (row != u32::MAX).then_some(row)
    }

    /// Rows of a member's first and last sample among the open rows.
    pub(crate) fn open_rows(&self, position: usize) -> Option<(u32, u32)> {
        let page = self.pages.get(position)?;
        let started = page.start != NOT_STARTED;
        started.then(|| (self.first_row + u32::from(page.start), page.last_row))
    }

    /// Encodes the log record's body for a row and notes in the row what applying it needs.
    pub(crate) fn encode_row(&self, row: &mut Row, out: &mut Vec<u8>) {
        row.key = self.rows_since_key >= KEY_INTERVAL_ROWS;
        put_varint(out, u64::from(self.id));
        put_varint(out, u64::from(self.next_row()));
        put_signed(
            out,
            if row.key || self.last_ms == i64::MIN {
                row.timestamp_ms
            } else {
                row.timestamp_ms.wrapping_sub(self.last_ms)
            },
        );
        put_varint(out, row.positions as u64);
        let all = row.count == row.positions;
        let key = row.key || self.last_ms == i64::MIN;
        out.push(if key { FLAG_KEY } else { 0 } | if all { 0 } else { FLAG_ABSENT });
        row.key = key;
        let bitmap_bytes = row.positions.div_ceil(8);
        if !all {
            put_bitmap(out, &row.present, bitmap_bytes);
        }
        let changed_at = out.len();
        out.resize(changed_at + bitmap_bytes, 0);
        for position in ones(&row.present) {
            let bits = row.bits[position];
            let mut state = if key || position >= self.last.len() {
                State::default()
            } else {
                State {
                    last: self.last[position],
                    scale: self.wal_scales[position],
                }
            };
            if bits != state.last {
                out[changed_at + position / 8] |= 1 << (position % 8);
                token::put_value(out, &mut state, bits);
            }
            row.scales[position] = state.scale;
        }
    }

    /// Decodes a logged row into `row`. `Ok(false)` where it is to be skipped: it is known
    /// already, or a record before it was lost.
    pub(crate) fn decode_row(
        &mut self,
        reader: &mut Reader<'_>,
        row: &mut Row,
    ) -> Result<Logged, Malformed> {
        let number = reader.varint_u32()?;
        let time = reader.signed()?;
        let positions = reader.varint_u32()? as usize;
        let flags = reader.u8()?;
        let key = flags & FLAG_KEY != 0;
        if number < self.next_row() {
            return Ok(Logged::Known);
        }
        self.broken |= number > self.next_row();
        if self.broken && !key {
            return Ok(Logged::Lost);
        }
        let timestamp_ms = if key {
            time
        } else {
            self.last_ms.wrapping_add(time)
        };
        let bitmap_bytes = positions.div_ceil(8);
        let present = if flags & FLAG_ABSENT != 0 {
            Some(reader.take(bitmap_bytes)?)
        } else {
            None
        };
        let changed = reader.take(bitmap_bytes)?;
        row.reset(timestamp_ms, positions);
        let bit = |bitmap: &[u8], at: usize| bitmap[at / 8] >> (at % 8) & 1 != 0;
        for position in 0..positions {
            if present.is_some_and(|present| !bit(present, position)) {
                continue;
            }
            let mut state = if key || position >= self.last.len() {
                State::default()
            } else {
                State {
                    last: self.last[position],
                    scale: self.wal_scales[position],
                }
            };
            if bit(changed, position) && token::next(reader, &mut state)? != Step::Value {
                return Err(reader.fail("a step that is no value in a logged row"));
            }
            row.set(position, state.last);
            row.scales[position] = state.scale;
        }
        row.key = key;
        self.broken = false;
        Ok(Logged::Row { number })
    }

    /// Appends a row. Its instant is later than the newest.
    pub(crate) fn apply(&mut self, slab: &mut Slab, row: &Row) {
        let number = self.next_row();
        let start = self.timestamps_ms.len() as u16;
        self.timestamps_ms.push(row.timestamp_ms);
        self.last_ms = row.timestamp_ms;
        self.rows_since_key = if row.key { 1 } else { self.rows_since_key + 1 };
        if self.ids.len() < row.positions {
            let missing = row.positions - self.ids.len();
            self.join(std::iter::repeat_n(DEAD, missing));
        }
        let mut scratch = Vec::with_capacity(64);
        for position in ones(&row.present) {
            let bits = row.bits[position];
            let page = &mut self.pages[position];
            let last = &mut self.last[position];
            self.wal_scales[position] = row.scales[position];
            if page.last_row.wrapping_add(1) == number && page.start != NOT_STARTED && *last == bits
            {
                page.pending += 1;
                page.last_row = number;
                continue;
            }
            if page.start == NOT_STARTED {
                page.start = start;
            } else {
                scratch.clear();
                page.extend(&mut scratch, *last, bits, number);
                let fits = slab.append(&mut page.piece, &scratch);
                assert!(
                    fits.is_ok(),
                    "BUG: a page of {ROWS_LIMIT} rows outgrew its limit"
                );
            }
            page.last_row = number;
            *last = bits;
        }
    }

    /// Seals the open rows into a chunk, and begins anew.
    pub(crate) fn seal(&mut self, slab: &mut Slab) -> Option<Arc<Chunk>> {
        if self.timestamps_ms.is_empty() {
            return None;
        }
        let mut order: Vec<u32> = (0..self.ids.len() as u32)
            .filter(|at| {
                self.pages[*at as usize].start != NOT_STARTED && self.ids[*at as usize] != DEAD
            })
            .collect();
        if !order.is_sorted_by_key(|at| self.ids[*at as usize]) {
            order.sort_unstable_by_key(|at| self.ids[*at as usize]);
        }
        let first_row = self.first_row;
        let mut pages = Vec::new();
        let mut ends = Vec::with_capacity(order.len());
        for at in &order {
            slab.copy(self.pages[*at as usize].piece, &mut pages);
            ends.push(pages.len());
        }
        let page = |index: usize| {
            let start = index.checked_sub(1).map_or(0, |before| ends[before]);
            &pages[start..ends[index]]
        };
        let chunk = (!order.is_empty()).then(|| {
            let entries = order.iter().enumerate().map(|(index, at)| {
                let at = *at as usize;
                let open = &self.pages[at];
                ChunkEntry {
                    series: self.ids[at],
                    start: open.start,
                    end: (open.last_row - first_row + 1) as u16,
                    page: page(index),
                    constant: self.last[at],
                }
            });
            Arc::new(chunk::write(
                self.id,
                first_row,
                &self.timestamps_ms,
                entries,
            ))
        });
        self.first_row = self.next_row();
        self.timestamps_ms.clear();
        // A column for one series is dear: it is half as long on average when it grows anew.
        let keep = if self.ids.len() < WIDE_LIMIT {
            0
        } else {
            SEAL_ROWS as usize
        };
        self.timestamps_ms.shrink_to(keep);
        self.seal_at = SEAL_ROWS;
        for page in &mut self.pages {
            slab.free(&mut page.piece);
            page.start = NOT_STARTED;
            page.pending = 0;
            page.scale = 0;
        }
        if let Some(chunk) = &chunk {
            Arc::make_mut(&mut self.chunks).push(chunk.clone());
        }
        chunk
    }

    /// Continues at a later row number: rows in between were lost with their records.
    pub(crate) fn skip_to(&mut self, row: u32) {
        debug_assert!(self.timestamps_ms.is_empty() && row >= self.first_row);
        self.first_row = row;
    }

    /// The next row is logged with whole values.
    pub(crate) fn force_key(&mut self) {
        self.rows_since_key = KEY_INTERVAL_ROWS;
        self.broken = false;
    }

    /// A copy of a member's open page for reading: first row, end row (both counted from the
    /// first open row) and the stream.
    pub(crate) fn open_page(&self, slab: &Slab, position: usize) -> Option<(u32, u32, Vec<u8>)> {
        let page = self.pages.get(position)?;
        if page.start == NOT_STARTED {
            return None;
        }
        let mut stream = Vec::with_capacity(page.piece.len().max(VALUE_LIMIT_BYTES));
        slab.copy(page.piece, &mut stream);
        if stream.is_empty() {
            token::put_value_or_zero(&mut stream, self.last[position]);
        }
        let end = page.last_row - self.first_row + 1;
        Some((u32::from(page.start), end, stream))
    }

    /// Releases the memory of all open pages.
    pub(crate) fn free_pages(&mut self, slab: &mut Slab) {
        for page in &mut self.pages {
            slab.free(&mut page.piece);
        }
    }

    /// Number of open pages.
    pub(crate) fn open_pages(&self) -> usize {
        let started = |page: &&OpenPage| page.start != NOT_STARTED;
        self.pages.iter().filter(started).count()
    }

    /// The next row has to be a whole one: what it could be a difference from is not known. So for
    /// a track that a join made, until its state is restored.
    pub(crate) fn expect_key(&mut self) {
        self.broken = true;
    }

    /// Writes what a checkpoint needs beside the members' names and [`Self::dump_members`].
    pub(crate) fn dump(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.first_row));
        let oldest = self.chunks.first().map_or(self.first_row, |c| c.first_row);
        put_varint(out, u64::from(self.first_row.saturating_sub(oldest)));
        put_signed(out, self.last_ms);
        out.push(u8::from(self.had_leavers));
        put_varint(out, u64::from(self.seal_at));
        put_varint(out, self.timestamps_ms.len() as u64);
        crate::page::timestamps::encode(&self.timestamps_ms, out);
        put_varint(out, self.ids.len() as u64);
    }

    /// Writes the state of the members at some positions.
    pub(crate) fn dump_members(
        &self,
        slab: &Slab,
        positions: std::ops::Range<usize>,
        out: &mut Vec<u8>,
    ) {
        put_varint(out, positions.start as u64);
        put_varint(out, positions.len() as u64);
        for at in positions {
            let page = &self.pages[at];
            out.extend_from_slice(&self.last[at].to_le_bytes());
            out.push(self.wal_scales[at]);
            out.extend_from_slice(&page.last_row.to_le_bytes());
            out.extend_from_slice(&page.start.to_le_bytes());
            if page.start != NOT_STARTED {
                put_varint(out, u64::from(page.pending));
                out.push(page.scale);
                put_varint(out, page.piece.len() as u64);
                slab.copy(page.piece, out);
            }
        }
    }

    /// Restores what [`Self::dump`] wrote. The members joined before; their state is owed.
    pub(crate) fn restore(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        self.broken = true;
        self.first_row = reader.varint_u32()?;
        self.sealed_from = self.first_row.saturating_sub(reader.varint_u32()?);
        self.last_ms = reader.signed()?;
        self.had_leavers = reader.u8()? != 0;
        self.seal_at = reader.varint_u32()?;
        let rows = reader.varint_u32()?;
        if rows > ROWS_LIMIT || self.seal_at > SEAL_ROWS {
            return Err(reader.fail("more open rows than there can be"));
        }
        if self.first_row.checked_add(rows).is_none() {
            return Err(reader.fail("more rows than there can be"));
        }
        self.timestamps_ms.clear();
        crate::page::timestamps::decode(reader, rows as usize, &mut self.timestamps_ms)?;
        let members = reader.varint_u32()? as usize;
        if members > MEMBERS_LIMIT {
            return Err(reader.fail("more members than there can be"));
        }
        if self.ids.len() < members {
            let missing = members - self.ids.len();
            self.join(std::iter::repeat_n(DEAD, missing));
        }
        self.owed = members;
        self.broken = members > 0;
        Ok(())
    }

    /// Sealed rows that a checkpoint or the log speaks of and that are in no chunk.
    pub(crate) fn missing_rows(&self) -> u32 {
        let mut at = self.sealed_from;
        let mut missing = 0;
        for chunk in self.chunks.iter() {
            missing += chunk.first_row.saturating_sub(at);
            at = at.max(chunk.end_row());
        }
        missing + self.first_row.saturating_sub(at)
    }

    /// Restores what [`Self::dump_members`] wrote.
    pub(crate) fn restore_members(
        &mut self,
        slab: &mut Slab,
        reader: &mut Reader<'_>,
    ) -> Result<(), Malformed> {
        let rows = self.timestamps_ms.len() as u32;
        let first = reader.varint_u32()? as usize;
        let members = reader.count(15)?;
        if self.owed < members || first + members > self.ids.len() {
            return Err(reader.fail("members that the track does not have"));
        }
        for at in first..first + members {
            self.last[at] = reader.u64()?;
            self.wal_scales[at] = reader.u8()?.min(token::SCALE_LIMIT);
            let last_row = reader.u32()?;
            let start = reader.u16()?;
            if start == NOT_STARTED {
                if last_row != u32::MAX && last_row >= self.first_row {
                    return Err(reader.fail("a newest sample outside the sealed rows"));
                }
                self.pages[at].last_row = last_row;
                continue;
            }
            let pending = reader.varint_u32()? as u16;
            let scale = reader.u8()?.min(token::SCALE_LIMIT);
            let length = reader.count(1)?;
            let stream = reader.take(length)?;
            let inside = last_row >= self.first_row
                && last_row - self.first_row < rows
                && u32::from(start) < rows;
            if !inside {
                return Err(reader.fail("an open page outside the open rows"));
            }
            let page = &mut self.pages[at];
            slab.append(&mut page.piece, stream)?;
            page.last_row = last_row;
            page.start = start;
            page.pending = pending;
            page.scale = scale;
        }
        self.owed -= members;
        self.broken = self.owed > 0;
        self.rows_since_key = KEY_INTERVAL_ROWS - 1;
        Ok(())
    }
}

/// What a logged row turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logged {
    /// To be applied; this is its number.
    Row {
        /// Row number.
        number: u32,
    },
    /// In the checkpoint already.
    Known,
    /// A record it depends on is lost.
    Lost,
}

impl OpenPage {
    /// Appends to `out` what the stream needs to go from `last` to `bits` in row `number`.
    #[inline]
    fn extend(&mut self, out: &mut Vec<u8>, last: u64, bits: u64, number: u32) {
        let mut state = State {
            last,
            scale: self.scale,
        };
        if self.piece.is_none() {
            // Constant until now: the stream begins here.
            state = State::default();
            token::put_value(out, &mut state, last);
        }
        if self.pending > 0 {
            token::put_run(out, u32::from(self.pending));
            self.pending = 0;
        }
        let absent = number - self.last_row - 1;
        if absent > 0 {
            token::put_gap(out, absent);
        }
        if bits == last {
            token::put_run(out, 1);
        } else {
            token::put_value(out, &mut state, bits);
        }
        self.scale = state.scale;
    }
}

fn put_bitmap(out: &mut Vec<u8>, words: &[u64], bytes: usize) {
    let start = out.len();
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.truncate(start + bytes);
}

//! A track: series that get their samples at the same instants, row by row.
//!
//! A row is one instant; a member that has no sample in it costs nothing until it appears again.
//! Values go to open pages; every hundred-odd rows the pages of all members are sealed into one
//! chunk. What a row changes is decided by its content alone, so replaying the log rebuilds the
//! same state.

mod row;

use std::sync::Arc;

pub(crate) use row::Logged;

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::catalog::NUMBERS_LIMIT;
use crate::chunk::{self, Chunk, ChunkEntry};
use crate::instants::Instants;
use crate::page::slab::{Piece, Slab};
use crate::page::token::{self, State, VALUE_LIMIT_BYTES};
use crate::row::Row;

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
/// The same for a track of mostly components: the counts of a histogram's buckets change in nearly
/// every row, and an open page costs more memory than it saves bytes.
const SEAL_ROWS_COMPONENTS: u32 = 60;
/// A position whose series moved away or left memory.
pub(crate) const DEAD: SeriesRef = SeriesRef {
    slot: u32::MAX,
    generation: u32::MAX,
};
/// Most members of one track: a damaged count must not ask for more memory.
const MEMBERS_LIMIT: usize = 1 << 26;
/// "No sample in the open rows".
const NOT_STARTED: u16 = u16::MAX;

// Memory per series.
const _: () = assert!(size_of::<Member>() == 24);
// An open page of the most rows fits a piece of a slab.
const _: () =
    assert!(ROWS_LIMIT as usize * VALUE_LIMIT_BYTES <= crate::page::slab::PAGE_LIMIT_BYTES);

/// What is known of a member's newest value, and its open page: all of it in one place, since
/// samples of few series touch little of a track.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Bits of the newest value.
    last: u64,
    /// Row of the newest sample, ever.
    last_row: u32,
    /// The open page: the parts of a [`Piece`], which would take room for alignment.
    piece_last: u32,
    piece_length: u16,
    /// First row with a sample, counted from the first open row.
    start: u16,
    /// Repeats of the last value that are not in the stream yet.
    pending: u16,
    /// Scale of the stream's differences.
    scale: u8,
    /// Scale of the log's differences.
    wal_scale: u8,
}

/// The members of a track as of an instant, but for the content of their open pages.
#[derive(Debug)]
pub(crate) struct MembersThen {
    /// The first open row.
    first_row: u32,
    members: Vec<Member>,
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
    pub(crate) timestamps_ms: Instants,
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
    /// How many of the members that joined are components.
    pub(crate) components: u32,
    /// Whether a lost log record makes the next differences meaningless (only while replaying).
    broken: bool,
    /// First row of the chunks there should be (only while replaying).
    sealed_from: u32,
    /// Members whose state a checkpoint still owes (only while replaying).
    owed: usize,
    rows_since_key: u8,
    /// Number of the newest row that was logged whole. A member without a sample since then is
    /// logged whole too, so that what was lost before that row cannot spoil it.
    key_row: u32,
    /// How often the newest row was added to.
    amendments: u32,
    /// Positions whose values the newest row changed, where it is a wide one and no key row.
    changed: Vec<u64>,
    /// Positions it had when its last member left; 0 before.
    closed_positions: u32,
    members: Vec<Member>,
}

impl Track {
    /// A track without members whose rows count from `first_row`.
    pub(crate) fn new(id: u32, mark: u32, first_row: u32) -> Self {
        Self {
            id,
            mark,
            first_row,
            timestamps_ms: Instants::default(),
            last_ms: i64::MIN,
            ids: Vec::new(),
            live: 0,
            chunks: Arc::default(),
            seal_at: first_seal(id, SEAL_ROWS),
            asked_row: 0,
            had_leavers: false,
            components: 0,
            broken: false,
            sealed_from: first_row,
            owed: 0,
            rows_since_key: KEY_INTERVAL_ROWS,
            key_row: first_row,
            amendments: 0,
            changed: Vec::new(),
            closed_positions: 0,
            members: Vec::new(),
        }
    }

    /// One past the newest row.
    pub(crate) fn next_row(&self) -> u32 {
        self.first_row + self.timestamps_ms.len() as u32
    }

    /// Makes room for members.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.ids.reserve_exact(more);
        self.members.reserve_exact(more);
    }

    /// Adds members at the end.
    pub(crate) fn join(&mut self, series: impl Iterator<Item = SeriesRef>) {
        let more = series.size_hint().0;
        // Many come once; few come again and again, and must not be copied each time.
        if more > self.ids.len() / 8 {
            self.reserve(more);
        }
        for id in series {
            self.ids.push(id);
            self.members.push(Member::NEW);
            self.live += u32::from(id != DEAD);
        }
    }

    /// Notes how many of those that joined are components.
    pub(crate) fn add_components(&mut self, count: u32) {
        self.components += count;
        let rows = self.seal_rows();
        if self.seal_at > rows {
            self.seal_at = first_seal(self.id, rows);
        }
    }

    fn seal_rows(&self) -> u32 {
        if self.components as usize > self.ids.len() / 2 {
            SEAL_ROWS_COMPONENTS
        } else {
            SEAL_ROWS
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
        let (ours, theirs) = (&self.timestamps_ms, &other.timestamps_ms);
        ours.end_alike(theirs, ALIKE_ROWS)
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
            self.members = Vec::new();
            self.timestamps_ms.clear();
            self.changed = Vec::new();
        }
    }

    /// Bits of the newest value of a member.
    pub(crate) fn last_bits(&self, position: usize) -> u64 {
        self.members[position].last
    }

    /// Whether this is the newest sample of a member, in the newest row.
    pub(crate) fn is_newest(&self, position: usize, timestamp_ms: i64, bits: u64) -> bool {
        let member = &self.members[position];
        timestamp_ms == self.last_ms
            && member.last_row.wrapping_add(1) == self.next_row()
            && member.last == bits
    }

    /// Whether the newest row can still take a sample of a member.
    pub(crate) fn can_amend(&self, position: usize) -> bool {
        !self.timestamps_ms.is_empty() && self.members[position].last_row != self.next_row() - 1
    }

    /// When a member got its newest sample, or `None` before its first one here.
    pub(crate) fn last_sample_ms(&self, position: usize) -> Option<i64> {
        let row = self.members[position].last_row;
        if row == u32::MAX {
            return None;
        }
        if row + 1 == self.next_row() {
            return Some(self.last_ms);
        }
        if row >= self.first_row {
            return self.timestamps_ms.get((row - self.first_row) as usize);
        }
        let chunk = self.chunks.iter().find(|c| row < c.end_row())?;
        if row + 1 == chunk.end_row() {
            return Some(chunk.max_ms);
        }
        let column = chunk.bytes().read(chunk::timestamps_of).ok()?;
        row.checked_sub(chunk.first_row)
            .and_then(|at| column.get(at as usize).copied())
    }

    /// Row of a member's newest sample; none where the track has closed since.
    pub(crate) fn last_row(&self, position: usize) -> Option<u32> {
        let row = self.members.get(position)?.last_row;
        (row != u32::MAX).then_some(row)
    }

    /// Rows of a member's first and last sample among the open rows.
    pub(crate) fn open_rows(&self, position: usize) -> Option<(u32, u32)> {
        let member = self.members.get(position)?;
        let first = self.first_row + u32::from(member.start);
        member.has_page().then_some((first, member.last_row))
    }

    /// Appends a row, whose instant is later than the newest; or adds to the newest.
    pub(crate) fn apply(&mut self, slab: &mut Slab, row: &Row) {
        if row.amends {
            self.amendments += 1;
        } else {
            self.amendments = 0;
            self.timestamps_ms.push(row.timestamp_ms);
            self.last_ms = row.timestamp_ms;
            self.rows_since_key = if row.key { 1 } else { self.rows_since_key + 1 };
            if row.key {
                self.key_row = self.next_row() - 1;
            }
        }
        let number = self.next_row() - 1;
        let start = self.timestamps_ms.len() as u16 - 1;
        row::note_changes(row, &mut self.changed);
        if self.ids.len() < row.positions {
            let missing = row.positions - self.ids.len();
            self.join(std::iter::repeat_n(DEAD, missing));
        }
        let mut scratch = slab.take_scratch();
        for (index, word) in row.present.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                let position = index * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                let bits = row.bits[position];
                let member = &mut self.members[position];
                member.wal_scale = row.scales[position];
                let is_next = member.last_row.wrapping_add(1) == number;
                if !member.has_page() {
                    member.start = start;
                } else if is_next && member.last == bits {
                    member.pending += 1;
                } else {
                    member.extend(slab, &mut scratch, bits, number);
                }
                member.last_row = number;
                member.last = bits;
            }
        }
        slab.put_scratch(scratch);
    }

    /// Seals the open rows into a chunk, and begins anew.
    pub(crate) fn seal(&mut self, slab: &mut Slab) -> Option<Arc<Chunk>> {
        if self.timestamps_ms.is_empty() {
            return None;
        }
        let mut order: Vec<u32> = (0..self.ids.len() as u32)
            .filter(|at| self.members[*at as usize].has_page() && self.ids[*at as usize] != DEAD)
            .collect();
        if !order.is_sorted_by_key(|at| self.ids[*at as usize]) {
            order.sort_unstable_by_key(|at| self.ids[*at as usize]);
        }
        let first_row = self.first_row;
        let mut pages = Vec::new();
        let mut ends = Vec::with_capacity(order.len());
        for at in &order {
            slab.copy(self.members[*at as usize].piece(), &mut pages);
            ends.push(pages.len());
        }
        let page = |index: usize| {
            let start = index.checked_sub(1).map_or(0, |before| ends[before]);
            &pages[start..ends[index]]
        };
        let chunk = (!order.is_empty()).then(|| {
            let entries = order.iter().enumerate().map(|(index, at)| {
                let at = *at as usize;
                let open = &self.members[at];
                ChunkEntry {
                    series: self.ids[at],
                    start: open.start,
                    end: (open.last_row - first_row + 1) as u16,
                    page: page(index),
                    constant: open.last,
                }
            });
            Arc::new(chunk::write(
                self.id,
                first_row,
                &self.timestamps_ms.iter().collect::<Vec<_>>(),
                entries,
            ))
        });
        self.first_row = self.next_row();
        self.timestamps_ms.clear();
        self.seal_at = self.seal_rows();
        for member in &mut self.members {
            slab.free(&mut member.piece());
            member.set_piece(Piece::NONE);
            member.start = NOT_STARTED;
            member.pending = 0;
            member.scale = 0;
        }
        if let Some(chunk) = &chunk {
            let chunks = Arc::make_mut(&mut self.chunks);
            // A handful, of every track: no room is kept for more.
            chunks.reserve_exact(1);
            chunks.push(chunk.clone());
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

    /// A member's open page for reading: first row and end row, both counted from the first open row.
    /// `stream` is replaced with its bytes.
    pub(crate) fn open_page(
        &self,
        slab: &Slab,
        position: usize,
        stream: &mut Vec<u8>,
    ) -> Option<(u32, u32)> {
        let member = self.members.get(position)?;
        if !member.has_page() {
            return None;
        }
        let piece = member.piece();
        stream.clear();
        slab.copy(piece, stream);
        if stream.is_empty() {
            token::put_value_or_zero(stream, member.last);
        }
        let end = member.last_row - self.first_row + 1;
        Some((u32::from(member.start), end))
    }

    /// Releases the memory of all open pages.
    pub(crate) fn free_pages(&mut self, slab: &mut Slab) {
        for member in &mut self.members {
            slab.free(&mut member.piece());
            member.set_piece(Piece::NONE);
        }
    }

    /// Number of open pages.
    pub(crate) fn open_pages(&self) -> usize {
        self.members.iter().filter(|m| m.has_page()).count()
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
        let timestamps_ms: Vec<i64> = self.timestamps_ms.iter().collect();
        crate::page::timestamps::encode(&timestamps_ms, out);
        put_varint(out, self.ids.len() as u64);
        put_varint(out, self.changed.len() as u64);
        row::put_sparse(out, &self.changed);
        put_varint(out, u64::from(self.key_row));
        put_varint(out, u64::from(self.amendments));
    }

    /// The members as they are now.
    pub(crate) fn members_now(&self) -> MembersThen {
        MembersThen {
            first_row: self.first_row,
            members: self.members.clone(),
        }
    }

    /// Writes the state that the members at some positions had then. Open pages only grow until they
    /// are sealed: what they held then is how they begin now. `false` where they were sealed since,
    /// and half of it may be written.
    pub(crate) fn dump_members(
        &self,
        slab: &Slab,
        then: &MembersThen,
        positions: std::ops::Range<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.first_row != then.first_row {
            return false;
        }
        put_varint(out, positions.start as u64);
        put_varint(out, positions.len() as u64);
        for at in positions {
            let member = &then.members[at];
            out.extend_from_slice(&member.last.to_le_bytes());
            out.push(member.wal_scale);
            out.extend_from_slice(&member.last_row.to_le_bytes());
            out.extend_from_slice(&member.start.to_le_bytes());
            if member.has_page() {
                put_varint(out, u64::from(member.pending));
                out.push(member.scale);
                let length = member.piece().len();
                put_varint(out, length as u64);
                let Some(now) = self.members.get(at) else {
                    return false;
                };
                slab.copy_start(now.piece(), length, out);
            }
        }
        true
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
        if self.first_row >= NUMBERS_LIMIT {
            return Err(reader.fail("more rows than there can be"));
        }
        self.timestamps_ms.clear();
        let mut timestamps_ms = Vec::with_capacity(rows as usize);
        crate::page::timestamps::decode(reader, rows as usize, &mut timestamps_ms)?;
        for timestamp_ms in timestamps_ms {
            self.timestamps_ms.push(timestamp_ms);
        }
        let members = reader.varint_u32()? as usize;
        if members > MEMBERS_LIMIT {
            return Err(reader.fail("more members than there can be"));
        }
        if self.ids.len() < members {
            let missing = members - self.ids.len();
            self.join(std::iter::repeat_n(DEAD, missing));
        }
        // Checkpoints of before there were such rows end here.
        if !reader.is_at_end() {
            let words = reader.count(1)?;
            self.changed.clear();
            row::read_sparse(reader, words, &mut self.changed)?;
        }
        (self.key_row, self.amendments) = (0, 0);
        if !reader.is_at_end() {
            self.key_row = reader.varint_u32()?;
            self.amendments = reader.varint_u32()?;
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
            let member = &mut self.members[at];
            member.last = reader.u64()?;
            member.wal_scale = reader.u8()?.min(token::ORDER);
            let last_row = reader.u32()?;
            let start = reader.u16()?;
            if start == NOT_STARTED {
                if last_row != u32::MAX && last_row >= self.first_row {
                    return Err(reader.fail("a newest sample outside the sealed rows"));
                }
                member.last_row = last_row;
                continue;
            }
            let pending = reader.varint_u32()? as u16;
            let scale = reader.u8()?.min(token::ORDER);
            let length = reader.count(1)?;
            let stream = reader.take(length)?;
            let inside = last_row >= self.first_row
                && last_row - self.first_row < rows
                && u32::from(start) < rows;
            if !inside {
                return Err(reader.fail("an open page outside the open rows"));
            }
            let mut piece = member.piece();
            slab.append(&mut piece, stream)?;
            member.set_piece(piece);
            member.last_row = last_row;
            member.start = start;
            member.pending = pending;
            member.scale = scale;
        }
        self.owed -= members;
        self.broken = self.owed > 0;
        self.rows_since_key = KEY_INTERVAL_ROWS - 1;
        Ok(())
    }
}

impl Member {
    const NEW: Self = Self {
        last: 0,
        last_row: u32::MAX,
        piece_last: Piece::NONE.parts().0,
        piece_length: Piece::NONE.parts().1,
        start: NOT_STARTED,
        pending: 0,
        scale: 0,
        wal_scale: 0,
    };

    /// Whether it has a sample in the open rows.
    #[inline]
    fn has_page(&self) -> bool {
        self.start != NOT_STARTED
    }

    fn piece(&self) -> Piece {
        Piece::from_parts((self.piece_last, self.piece_length))
    }

    fn set_piece(&mut self, piece: Piece) {
        (self.piece_last, self.piece_length) = piece.parts();
    }

    /// What differences in the log refer to.
    #[inline]
    fn wal_state(&self) -> State {
        State {
            last: self.last,
            scale: self.wal_scale,
        }
    }

    /// Appends to the open page what leads from the last value to `bits` in row `number`.
    #[inline]
    fn extend(&mut self, slab: &mut Slab, scratch: &mut Vec<u8>, bits: u64, number: u32) {
        let mut piece = self.piece();
        let fits = if let Some((word, length)) = self.short_step(bits, number) {
            self.pending = 0;
            slab.append_word(&mut piece, word, length)
        } else {
            scratch.clear();
            self.put_steps(scratch, bits, number);
            slab.append(&mut piece, scratch)
        };
        assert!(
            fits.is_ok(),
            "BUG: a page of {ROWS_LIMIT} rows outgrew its limit"
        );
        self.set_piece(piece);
    }

    /// What [`Self::put_steps`] would append, where it is of the kind that most are.
    #[inline]
    fn short_step(&self, bits: u64, number: u32) -> Option<(u64, usize)> {
        if self.piece().is_none() || number != self.last_row + 1 {
            return None;
        }
        let state = State {
            last: self.last,
            scale: self.scale,
        };
        token::short_step(state, self.pending, bits)
    }

    /// Appends to `out` what the stream needs to go from the last value to `bits` in row `number`.
    fn put_steps(&mut self, out: &mut Vec<u8>, bits: u64, number: u32) {
        let last = self.last;
        let mut state = State {
            last,
            scale: self.scale,
        };
        if self.piece().is_none() {
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

/// Rows of a track's first chunk: fewer by a different amount per track, so that tracks that begin
/// together do not seal together for ever.
fn first_seal(track: u32, rows: u32) -> u32 {
    rows / 2 + track.wrapping_mul(0x9e37_79b9) % (rows / 2)
}

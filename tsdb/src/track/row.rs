//! Rows as the log has them.
//!
//! Most positions repeat their value or change as those beside them do: a histogram's buckets all
//! count the same observation. So bitmaps say which change, compared with the row before, and which
//! do so by the difference that the position before them had.

use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::catalog::NUMBERS_LIMIT;
use crate::page::token::{self, Repeated, State, Step};
use crate::row::Row;
use crate::track::{KEY_INTERVAL_ROWS, MEMBERS_LIMIT, Track};

const FLAG_KEY: u8 = 1;
const FLAG_ABSENT: u8 = 2;
const FLAG_REPEATS: u8 = 4;
const FLAG_AMENDS: u8 = 8;
const FLAG_COUNT: u8 = 16;
/// Rows of more positions say what changed by what differs from the row before.
const NARROW_POSITIONS: usize = 64;

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

/// Tells a track what the next row's changes are compared with.
pub(super) fn note_changes(row: &Row, changed: &mut Vec<u64>) {
    let compares = !row.key && row.positions > NARROW_POSITIONS;
    if row.amends {
        // Where there are none, the row itself was logged whole.
        if compares && !changed.is_empty() {
            changed.resize(changed.len().max(row.changed.len()), 0);
            for (all, more) in changed.iter_mut().zip(&row.changed) {
                *all |= more;
            }
        }
        return;
    }
    changed.clear();
    if compares {
        changed.extend_from_slice(&row.changed);
    }
}

impl Track {
    /// Encodes the log record's body for a row and notes in the row what applying it needs.
    pub(crate) fn encode_row(&self, row: &mut Row, out: &mut Vec<u8>) {
        row.key = self.rows_since_key >= KEY_INTERVAL_ROWS || self.last_ms == i64::MIN;
        // What is added to a whole row is whole.
        row.key |= row.amends && self.rows_since_key == 1;
        self.encode_steps(row);
        put_varint(out, u64::from(self.id));
        put_varint(out, u64::from(self.next_row() - u32::from(row.amends)));
        let is_whole = row.count == row.positions;
        let flags = [
            (row.key, FLAG_KEY),
            (!is_whole, FLAG_ABSENT),
            (!row.repeats.is_empty(), FLAG_REPEATS),
            (row.amends, FLAG_AMENDS),
            (self.amendments > 0, FLAG_COUNT),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set);
        out.push(flags.map(|(_, flag)| flag).sum());
        if self.amendments > 0 {
            put_varint(out, u64::from(self.amendments));
        }
        let time = row.timestamp_ms;
        put_signed(
            out,
            if row.key {
                time
            } else {
                time.wrapping_sub(self.last_ms)
            },
        );
        put_varint(out, row.positions as u64);
        if !is_whole {
            for (index, present) in row.present.iter().enumerate() {
                put_sparse_word(out, whole_word(index, row.positions) & !present);
            }
        }
        for (index, changed) in row.changed.iter().enumerate() {
            put_sparse_word(out, changed ^ self.compared(row, index));
        }
        put_sparse(out, &row.repeats);
        out.extend_from_slice(&row.steps);
    }

    /// Notes which positions change, and the steps that lead there.
    fn encode_steps(&self, row: &mut Row) {
        let words = row.present.len();
        row.changed.clear();
        row.changed.resize(words, 0);
        row.repeats.clear();
        row.steps.clear();
        let (mut repeated, mut count, mut repeats, mut any) = (Repeated::default(), 0, 0u64, 0);
        for index in 0..words {
            let mut left = row.present[index];
            let mut changed = 0;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                left ^= bit;
                let position = index * 64 + bit.trailing_zeros() as usize;
                let bits = row.bits[position];
                let mut state = self.state_of(row.key, self.key_row, position);
                if bits != state.last {
                    changed |= bit;
                    let repeat =
                        token::put_or_repeat(&mut row.steps, &mut state, &mut repeated, bits);
                    repeats |= u64::from(repeat) << (count % 64);
                    count += 1;
                    if count % 64 == 0 {
                        row.repeats.push(repeats);
                        any |= repeats;
                        repeats = 0;
                    }
                }
                row.scales[position] = state.scale;
            }
            row.changed[index] = changed;
        }
        if count % 64 != 0 {
            row.repeats.push(repeats);
            any |= repeats;
        }
        if any == 0 {
            row.repeats.clear();
        }
    }

    /// Decodes a logged row into `row`.
    pub(crate) fn decode_row(
        &mut self,
        reader: &mut Reader<'_>,
        row: &mut Row,
    ) -> Result<Logged, Malformed> {
        let number = reader.varint_u32()?;
        let flags = reader.u8()?;
        let key = flags & FLAG_KEY != 0;
        let mut amendments = 0;
        if flags & FLAG_COUNT != 0 {
            amendments = reader.varint_u32()?;
        }
        let time = reader.signed()?;
        let positions = reader.varint_u32()? as usize;
        if number >= NUMBERS_LIMIT {
            return Err(reader.fail("a row beyond those there can be"));
        }
        let amends = flags & FLAG_AMENDS != 0;
        let passed = if amends {
            self.pass_over_amendment(number, amendments)
        } else {
            self.broken |= number == self.next_row() && amendments != self.amendments;
            self.pass_over(number, key)
        };
        if let Some(passed) = passed {
            return Ok(passed);
        }
        let words = positions.div_ceil(64);
        if positions > MEMBERS_LIMIT || words > reader.left() {
            return Err(reader.fail("more positions than there can be"));
        }
        row.reset(self.time_of(key, time), positions);
        (row.key, row.amends) = (key, amends);
        if flags & FLAG_ABSENT != 0 {
            row.present.clear();
            read_sparse(reader, words, &mut row.present)?;
        }
        for (index, word) in row.present.iter_mut().enumerate() {
            *word = whole_word(index, positions) & !*word;
        }
        read_sparse(reader, words, &mut row.changed)?;
        let mut changes = 0;
        for index in 0..words {
            let compared = self.compared(row, index);
            row.changed[index] ^= compared;
            if row.changed[index] & !row.present[index] != 0 {
                return Err(reader.fail("a change of a value that is absent"));
            }
            changes += row.changed[index].count_ones() as usize;
        }
        row.repeats.clear();
        if flags & FLAG_REPEATS != 0 {
            read_sparse(reader, changes.div_ceil(64), &mut row.repeats)?;
        }
        self.decode_steps(reader, row, key)?;
        if !amends {
            self.broken = false;
        }
        Ok(Logged::Row { number })
    }

    fn decode_steps(
        &self,
        reader: &mut Reader<'_>,
        row: &mut Row,
        key: bool,
    ) -> Result<(), Malformed> {
        let (mut repeated, mut at) = (Repeated::default(), 0);
        row.count = 0;
        for index in 0..row.present.len() {
            let mut left = row.present[index];
            row.count += left.count_ones() as usize;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                left ^= bit;
                let position = index * 64 + bit.trailing_zeros() as usize;
                let mut state = self.state_of(key, self.key_row, position);
                if row.changed[index] & bit != 0 {
                    let repeats = row.repeats.get(at / 64).copied().unwrap_or_default();
                    let repeat = repeats >> (at % 64) & 1 != 0;
                    at += 1;
                    let step = token::next_or_repeat(reader, &mut state, &mut repeated, repeat)?;
                    if step != Step::Value {
                        return Err(reader.fail("a step that is no value in a logged row"));
                    }
                }
                row.bits[position] = state.last;
                row.scales[position] = state.scale;
            }
        }
        Ok(())
    }

    /// Decodes a row with plain bitmaps, as logs had them first.
    pub(crate) fn decode_plain_row(
        &mut self,
        reader: &mut Reader<'_>,
        row: &mut Row,
    ) -> Result<Logged, Malformed> {
        let number = reader.varint_u32()?;
        let time = reader.signed()?;
        let positions = reader.varint_u32()? as usize;
        let flags = reader.u8()?;
        let key = flags & FLAG_KEY != 0;
        if number >= NUMBERS_LIMIT {
            return Err(reader.fail("a row beyond those there can be"));
        }
        if let Some(passed) = self.pass_over(number, key) {
            return Ok(passed);
        }
        let bitmap_bytes = positions.div_ceil(8);
        let present = if flags & FLAG_ABSENT != 0 {
            Some(reader.take(bitmap_bytes)?)
        } else {
            None
        };
        let changed = reader.take(bitmap_bytes)?;
        row.reset(self.time_of(key, time), positions);
        let bit = |bitmap: &[u8], at: usize| bitmap[at / 8] >> (at % 8) & 1 != 0;
        for position in 0..positions {
            if present.is_some_and(|present| !bit(present, position)) {
                continue;
            }
            // These logs did not know of members that a whole row left out.
            let mut state = self.state_of(key, 0, position);
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

    /// Whether a row is known already, or a record before it was lost.
    fn pass_over(&mut self, number: u32, key: bool) -> Option<Logged> {
        if number < self.next_row() {
            return Some(Logged::Known);
        }
        self.broken |= number > self.next_row();
        (self.broken && !key).then_some(Logged::Lost)
    }

    /// The same of what is added to a row, of which so much was added before.
    fn pass_over_amendment(&mut self, number: u32, amendments: u32) -> Option<Logged> {
        let newest = number.saturating_add(1);
        let have = (self.next_row(), self.amendments);
        if (newest, amendments) < have {
            return Some(Logged::Known);
        }
        // Without the row, or beside a row that is sealed, there is nothing to add to.
        self.broken |= (newest, amendments) != have || self.timestamps_ms.is_empty();
        self.broken.then_some(Logged::Lost)
    }

    fn time_of(&self, key: bool, time: i64) -> i64 {
        if key {
            time
        } else {
            self.last_ms.wrapping_add(time)
        }
    }

    /// What a position's next step refers to, if it has a sample in the row `since` or later.
    #[inline]
    fn state_of(&self, key: bool, since: u32, position: usize) -> State {
        match self.members.get(position) {
            Some(member) if !key && member.last_row >= since => member.wal_state(),
            _ => State::default(),
        }
    }

    /// What the changes of 64 positions are compared with.
    fn compared(&self, row: &Row, index: usize) -> u64 {
        if row.key || row.amends || row.positions <= NARROW_POSITIONS {
            return 0;
        }
        self.changed.get(index).copied().unwrap_or_default()
    }
}

/// The bits of 64 positions that there are.
fn whole_word(index: usize, positions: usize) -> u64 {
    match positions.saturating_sub(index * 64) {
        left @ 0..64 => (1 << left) - 1,
        _ => u64::MAX,
    }
}

/// Appends a bitmap most of whose bytes are zero: per eight of them a byte that says which are not,
/// and these.
pub(super) fn put_sparse(out: &mut Vec<u8>, words: &[u64]) {
    for word in words {
        put_sparse_word(out, *word);
    }
}

fn put_sparse_word(out: &mut Vec<u8>, word: u64) {
    let mask_at = out.len();
    out.push(0);
    if word == 0 {
        return;
    }
    let mut mask = 0;
    for (index, byte) in word.to_le_bytes().into_iter().enumerate() {
        if byte != 0 {
            mask |= 1 << index;
            out.push(byte);
        }
    }
    out[mask_at] = mask;
}

/// Appends the words of a bitmap that [`put_sparse`] wrote.
pub(super) fn read_sparse(
    reader: &mut Reader<'_>,
    words: usize,
    into: &mut Vec<u64>,
) -> Result<(), Malformed> {
    for _ in 0..words {
        let mask = reader.u8()?;
        let mut word = [0; 8];
        for (index, byte) in word.iter_mut().enumerate() {
            if mask >> index & 1 != 0 {
                *byte = reader.u8()?;
            }
        }
        into.push(u64::from_le_bytes(word));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sparse_bitmaps_survive(words in prop::collection::vec(
            prop_oneof![any::<u64>(), Just(0), (0u32..64).prop_map(|bit| 1 << bit)], 0..20,
        )) {
            let mut out = Vec::new();
            put_sparse(&mut out, &words);
            let (mut reader, mut back) = (Reader::new(&out), Vec::new());
            prop_assert_eq!(read_sparse(&mut reader, words.len(), &mut back), Ok(()));
            prop_assert!(reader.is_at_end());
            prop_assert_eq!(back, words);
        }
    }
}

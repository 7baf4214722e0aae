//! A row: the values that series of one track have at one instant, by position.

/// One row on its way in.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) timestamp_ms: i64,
    /// How many positions it speaks of.
    pub(crate) positions: usize,
    /// Bit per position.
    pub(crate) present: Vec<u64>,
    pub(crate) bits: Vec<u64>,
    /// Scale of the log's differences after this row, where the value changed.
    pub(crate) scales: Vec<u8>,
    /// Whether it is logged with whole values.
    pub(crate) key: bool,
    /// Bit per position: its value differs from the last, or in a key row from +0.0.
    pub(crate) changed: Vec<u64>,
    /// Bit per change: the difference is that of the change before.
    pub(crate) repeats: Vec<u64>,
    /// The steps of the changes.
    pub(crate) steps: Vec<u8>,
    pub(crate) count: usize,
    /// Whether it adds to the track's newest row, which has the same instant.
    pub(crate) amends: bool,
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
        self.amends = false;
        self.changed.clear();
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
pub(crate) fn ones(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
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

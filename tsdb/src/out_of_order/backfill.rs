//! Import of history.
/// x
pub struct Backfill;
/// x
pub struct BackfillError;
/// x
pub struct Backfilled;

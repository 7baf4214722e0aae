//! The latest deliveries.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DeliveryStatus;

/// Most deliveries remembered.
const HISTORY_LIMIT: usize = 1_000;

/// Names a delivery that is still being tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeliveryId(u64);

/// A bounded list of deliveries.
#[derive(Default)]
pub(super) struct History {
    inner: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next_id: u64,
    entries: VecDeque<(DeliveryId, DeliveryStatus)>,
}

impl History {
    /// A new delivery's name. Nothing is recorded before [`Self::record`].
    pub(super) fn begin(&self) -> DeliveryId {
        let mut inner = self.lock();
        inner.next_id += 1;
        DeliveryId(inner.next_id)
    }

    /// Records how a delivery stands; replaces what was recorded of it before.
    pub(super) fn record(&self, id: DeliveryId, status: DeliveryStatus) {
        let mut inner = self.lock();
        if let Some(at) = inner.entries.iter().position(|(have, _)| *have == id) {
            inner.entries.remove(at);
        }
        inner.entries.push_front((id, status));
        inner.entries.truncate(HISTORY_LIMIT);
    }

    pub(super) fn newest_first(&self) -> Vec<DeliveryStatus> {
        self.lock()
            .entries
            .iter()
            .map(|(_, status)| status.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

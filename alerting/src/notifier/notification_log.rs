//! What receivers were told last, so that they are told again only when there is news.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most entries kept; the oldest make room.
const ENTRY_LIMIT: usize = 100_000;

/// Whom an entry is about: a receiver's n-th webhook, and an alert group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LogKey {
    pub receiver: String,
    pub index: usize,
    pub group_key: String,
}

/// The last notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogEntry {
    /// When its flush began, milliseconds since the epoch.
    pub time_ms: i64,
    /// When it no longer matters.
    pub expires_at_ms: i64,
    /// Fingerprints of the alerts that fired.
    pub firing: BTreeSet<u64>,
    /// Fingerprints of those that were resolved.
    pub resolved: BTreeSet<u64>,
}

/// All entries.
#[derive(Default)]
pub(super) struct NotificationLog {
    entries: Mutex<HashMap<LogKey, LogEntry>>,
}

impl NotificationLog {
    pub(super) fn get(&self, key: &LogKey, now_ms: i64) -> Option<LogEntry> {
        let entries = self.lock();
        let entry = entries.get(key)?;
        (entry.expires_at_ms > now_ms).then(|| entry.clone())
    }

    pub(super) fn set(&self, key: LogKey, entry: LogEntry) {
        let mut entries = self.lock();
        if entries.len() >= ENTRY_LIMIT && !entries.contains_key(&key) {
            let now_ms = entry.time_ms;
            entries.retain(|_, have| have.expires_at_ms > now_ms);
            if entries.len() >= ENTRY_LIMIT
                && let Some(oldest) = entries
                    .iter()
                    .min_by_key(|(_, have)| have.time_ms)
                    .map(|(key, _)| key.clone())
            {
                entries.remove(&oldest);
            }
        }
        entries.insert(key, entry);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LogKey, LogEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a receiver is told, in Alertmanager's words; `None` where there is nothing to tell.
pub(super) fn reason(
    entry: Option<&LogEntry>,
    now: &LogEntry,
    send_resolved: bool,
    repeat_interval_ms: i64,
) -> Option<&'static str> {
    let Some(entry) = entry else {
        return (!now.firing.is_empty()).then_some("first notification");
    };
    if !now.firing.is_subset(&entry.firing) {
        return Some(if entry.firing.is_empty() {
            "first notification"
        } else {
            "new alerts added"
        });
    }
    if now.firing.is_empty() {
        // What fired and ended since the last message was never told.
        return (!entry.firing.is_empty()).then_some("all alerts resolved");
    }
    if send_resolved && !now.resolved.is_subset(&entry.resolved) {
        return Some("some alerts resolved");
    }
    let due = entry.time_ms.saturating_add(repeat_interval_ms) <= now.time_ms;
    due.then_some("repeat interval elapsed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_told_when_there_is_news() {
        let entry = |time_ms, firing: &[u64], resolved: &[u64]| LogEntry {
            time_ms,
            expires_at_ms: 1_000,
            firing: firing.iter().copied().collect(),
            resolved: resolved.iter().copied().collect(),
        };
        let none = None::<LogEntry>;
        for (before, now, send_resolved, want) in [
            (
                none.clone(),
                entry(0, &[1], &[]),
                true,
                Some("first notification"),
            ),
            (none, entry(0, &[], &[1]), true, None),
            (Some(entry(0, &[1], &[])), entry(5, &[1], &[]), true, None),
            (
                Some(entry(0, &[1], &[])),
                entry(10, &[1], &[]),
                true,
                Some("repeat interval elapsed"),
            ),
            (
                Some(entry(0, &[1], &[])),
                entry(5, &[1, 2], &[]),
                true,
                Some("new alerts added"),
            ),
            (
                Some(entry(0, &[1, 2], &[])),
                entry(5, &[1], &[2]),
                true,
                Some("some alerts resolved"),
            ),
            (
                Some(entry(0, &[1, 2], &[])),
                entry(5, &[1], &[2]),
                false,
                None,
            ),
            (
                Some(entry(0, &[1], &[])),
                entry(5, &[], &[1]),
                true,
                Some("all alerts resolved"),
            ),
            (
                Some(entry(0, &[1], &[])),
                entry(5, &[], &[1]),
                false,
                Some("all alerts resolved"),
            ),
            (
                Some(entry(0, &[], &[1])),
                entry(5, &[], &[1, 2]),
                true,
                None,
            ),
            (
                Some(entry(0, &[], &[1])),
                entry(5, &[1], &[]),
                true,
                Some("first notification"),
            ),
        ] {
            assert_eq!(
                reason(before.as_ref(), &now, send_resolved, 10),
                want,
                "{before:?} {now:?}"
            );
        }
    }

    #[test]
    fn entries_expire() {
        let log = NotificationLog::default();
        let key = LogKey {
            receiver: "r".into(),
            index: 0,
            group_key: "g".into(),
        };
        let entry = LogEntry {
            expires_at_ms: 10,
            ..LogEntry::default()
        };
        log.set(key.clone(), entry.clone());
        assert_eq!(log.get(&key, 9), Some(entry));
        assert_eq!(log.get(&key, 10), None);
    }
}

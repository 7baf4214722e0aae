//! The bytes queries hold: each its own, and all of them together.
//!
//! What takes memory says so through a [`Held`], which gives back what it took when it goes. Taking
//! never fails by itself: it is noted that a limit is passed, and the query ends at its next check,
//! which comes at least once per series. What is counted are the samples that are read, columns and
//! groups of evaluation, histograms, labels, and the result. Labels that a vector shares with the
//! series they come from count for both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use barograph_instrument::{Buckets, Counter, Family, Histogram, Registry, labels};

use crate::error::QueryError;
use crate::pool::Lane;

/// Of the total that queries may hold, one part in so many is kept for rules.
const RULES_SHARE: u64 = 4;
/// Smallest amount a [`Held`] that grows bit by bit takes at a time, bytes.
const STRIDE_BYTES: u64 = 16 << 10;

labels! {
    /// The limit a query was refused for.
    pub(crate) struct Refused { limit: &'static str }
}

/// The bytes of all queries of an engine.
pub(crate) struct Budget {
    max_query: u64,
    max_total: u64,
    used: AtomicU64,
    peak: AtomicU64,
    refused: Family<Refused, Counter>,
    peaks: Histogram,
}

impl Budget {
    /// A budget with limits in bytes, 0 for none; registers its metrics.
    pub(crate) fn new(max_query: u64, max_total: u64, registry: &Registry) -> Arc<Self> {
        let unlimited = |limit: u64| if limit == 0 { u64::MAX } else { limit };
        let budget = Arc::new(Self {
            max_query: unlimited(max_query),
            max_total: unlimited(max_total),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            refused: registry.counter_family(
                "barograph_engine_queries_refused_total",
                "Queries that were ended because they passed a limit.",
            ),
            peaks: registry.histogram(
                "barograph_engine_query_peak_memory_bytes",
                "Most bytes a query held at a time.",
                Buckets::new([1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10]),
            ),
        });
        for limit in ["samples", "memory", "total_memory", "time"] {
            budget.refused.with(&Refused { limit });
        }
        let read = budget.clone();
        registry.gauge_fn(
            "barograph_engine_queries_memory_bytes",
            "Bytes held by all running queries.",
            move || read.used.load(Relaxed) as f64,
        );
        let read = budget.clone();
        registry.gauge_fn(
            "barograph_engine_queries_memory_peak_bytes",
            "Most bytes held by all running queries since the start.",
            move || read.peak.load(Relaxed) as f64,
        );
        if max_total > 0 {
            registry.gauge_fn(
                "barograph_engine_queries_memory_limit_bytes",
                "Bytes that all running queries together may hold.",
                move || max_total as f64,
            );
        }
        budget
    }

    /// An account for one query.
    pub(crate) fn open(self: &Arc<Self>, lane: Lane) -> Arc<Account> {
        let max_total = match lane {
            Lane::Rules => self.max_total,
            Lane::User => self.max_total - self.max_total / RULES_SHARE,
        };
        Arc::new(Account {
            budget: self.clone(),
            max_total,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            stretch: AtomicU64::new(0),
            passed: AtomicU8::new(NONE),
        })
    }

    /// Counts a refusal.
    pub(crate) fn refuse(&self, limit: &'static str) {
        self.refused.with(&Refused { limit }).inc();
    }
}

/// No limit is passed.
const NONE: u8 = 0;
/// The limit of the query is.
const OWN: u8 = 1;
/// The limit of all queries is.
const TOTAL: u8 = 2;

/// The bytes of one query.
pub(crate) struct Account {
    budget: Arc<Budget>,
    max_total: u64,
    used: AtomicU64,
    peak: AtomicU64,
    /// The peak of a part of the evaluation.
    stretch: AtomicU64,
    passed: AtomicU8,
}

impl Account {
    /// Whether to go on.
    ///
    /// # Errors
    /// A limit was passed.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        let (holder, max, used, flag) = match self.passed.load(Relaxed) {
            NONE => return Ok(()),
            OWN => (
                "the query",
                self.budget.max_query,
                self.peak.load(Relaxed),
                "--query.max-memory",
            ),
            _ => (
                "all running queries together",
                self.max_total,
                self.budget.used.load(Relaxed).max(self.max_total),
                "--query.max-total-memory",
            ),
        };
        Err(QueryError::Execution(format!(
            "query processing would take too much memory in query execution: {holder} would hold {used} bytes, {max} are allowed; ask for fewer series or a shorter time, or raise {flag}"
        )))
    }

    /// Which limit was passed, as metrics name it.
    pub(crate) fn passed(&self) -> Option<&'static str> {
        match self.passed.load(Relaxed) {
            NONE => None,
            OWN => Some("memory"),
            _ => Some("total_memory"),
        }
    }

    /// Bytes held now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Most bytes held at a time.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// Begins a part whose own peak is asked for; returns what [`Account::end_stretch`] wants.
    pub(crate) fn begin_stretch(&self) -> u64 {
        self.stretch.swap(self.used(), Relaxed)
    }

    /// Ends a part: most bytes the query held in it.
    pub(crate) fn end_stretch(&self, before: u64) -> u64 {
        self.stretch.fetch_max(before, Relaxed)
    }

    fn take(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Relaxed) + bytes;
        let total = self.budget.used.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(used, Relaxed);
        self.stretch.fetch_max(used, Relaxed);
        self.budget.peak.fetch_max(total, Relaxed);
        if used > self.budget.max_query {
            self.passed.store(OWN, Relaxed);
        } else if total > self.max_total {
            self.passed.store(TOTAL, Relaxed);
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
        self.budget.used.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.peaks.observe(self.peak() as f64);
    }
}

/// Bytes that somebody holds, given back when this goes.
pub(crate) struct Held {
    account: Arc<Account>,
    /// What is held.
    bytes: u64,
    /// What the account knows of, no less.
    taken: u64,
}

impl Held {
    pub(crate) fn new(account: &Arc<Account>) -> Self {
        Self {
            account: account.clone(),
            bytes: 0,
            taken: 0,
        }
    }

    /// Another that holds nothing yet, of the same query.
    pub(crate) fn another(&self) -> Self {
        Self::new(&self.account)
    }

    /// This many are held from now on.
    pub(crate) fn set(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.bytes = bytes;
        if bytes > self.taken {
            self.account.take(bytes - self.taken);
        } else {
            self.account.give_back(self.taken - bytes);
        }
        self.taken = bytes;
    }

    /// Whether so many more would leave the query half of what it may take.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let max = self.account.budget.max_query;
        max == 0 || self.account.used() + bytes as u64 <= max / 2
    }

    /// So many more are held, a few at a time: the account is told of them in strides.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes > self.taken {
            let more = (self.bytes - self.taken).max(STRIDE_BYTES.min(self.bytes));
            self.account.take(more);
            self.taken += more;
        }
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        let mut held = self.another();
        held.set(self.bytes as usize);
        held
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_and_the_peak_stays() {
        let budget = Budget::new(1000, 0, &Registry::new());
        let account = budget.open(Lane::User);
        let mut held = Held::new(&account);
        held.set(600);
        let copy = held.clone();
        assert_eq!((account.used(), account.passed()), (1200, Some("memory")));
        drop((held, copy));
        assert_eq!((account.used(), account.peak()), (0, 1200));
        let error = account.check().expect_err("too much").to_string();
        assert!(error.contains("1200 bytes, 1000 are allowed"), "{error}");
        assert!(error.contains("--query.max-memory"), "{error}");
        assert_eq!(budget.used.load(Relaxed), 0);
    }

    #[test]
    fn small_growth_is_told_in_strides() {
        let budget = Budget::new(0, 0, &Registry::new());
        let account = budget.open(Lane::User);
        let mut held = Held::new(&account);
        for _ in 0..10_000 {
            held.grow(10);
        }
        let slack = account.used() - 100_000;
        assert!(slack <= STRIDE_BYTES, "{slack}");
        assert_eq!(account.passed(), None);
    }

    #[test]
    fn users_leave_a_share_of_the_total_to_rules() {
        let budget = Budget::new(0, 1000, &Registry::new());
        let (user, rule) = (budget.open(Lane::User), budget.open(Lane::Rules));
        let mut of_user = Held::new(&user);
        of_user.set(751);
        assert_eq!(user.passed(), Some("total_memory"));
        let mut of_rule = Held::new(&rule);
        of_rule.set(249);
        assert_eq!(rule.passed(), None);
        of_rule.set(250);
        assert_eq!(rule.passed(), Some("total_memory"));
        let error = rule.check().expect_err("too much").to_string();
        assert!(error.contains("--query.max-total-memory"), "{error}");
    }

    #[test]
    fn parts_have_peaks_of_their_own() {
        let account = Budget::new(0, 0, &Registry::new()).open(Lane::User);
        let mut held = Held::new(&account);
        let outer = account.begin_stretch();
        held.set(500);
        held.set(100);
        let inner = account.begin_stretch();
        held.set(300);
        assert_eq!(account.end_stretch(inner), 300);
        assert_eq!(account.end_stretch(outer), 500);
    }
}

//! The registry: every family of an application, in order of name.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barograph_model::MetricKind;
use barograph_model::labels::{is_legacy_label_name, is_legacy_metric_name};

use crate::encode::{Encoder, open_metrics_family};
use crate::error::RegisterError;
use crate::family::{Family, Metric};
use crate::format::Format;
use crate::histogram::{Buckets, Histogram};
use crate::labels::LabelSet;
use crate::{Counter, Gauge};

/// How often label sets beyond a family's limit were looked up.
const OVERFLOWS: &str = "metrics_series_overflow_total";
/// How often a collector failed, or wrote what had to be left out.
const FAILURES: &str = "metrics_collector_failures_total";

/// A set of metrics that are exposed together. Cloning shares it.
///
/// # Mistakes
/// A name that is none, a name twice, a counter that does not end in `_total`: these are mistakes
/// in the program that the first run shows. The plain methods panic on them, with a text that says
/// what is wrong with which metric; the `try_` methods return them.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Mutex<Entries>,
    /// The size of the last page: the next is likely as long.
    last_page_bytes: AtomicUsize,
    /// How often each collector failed.
    failures: Mutex<BTreeMap<String, u64>>,
}

#[derive(Default)]
struct Entries {
    by_name: BTreeMap<String, Arc<Entry>>,
    /// Every name of a sample or a family, and whose it is.
    taken: HashMap<String, String>,
}

struct Entry {
    name: String,
    write: Box<dyn Fn(&mut Encoder<'_>) + Send + Sync>,
    /// How often the family overflowed; `None` where it cannot.
    overflows: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    /// Writes families of its own choice.
    is_collector: bool,
}

impl Registry {
    /// A registry with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a counter. `name` ends in `_total`.
    ///
    /// # Panics
    /// On a mistake, see [`Registry`]. So do all that follow.
    #[track_caller]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        must(self.try_counter(name, help))
    }

    /// Registers a counter per label set.
    #[track_caller]
    pub fn counter_family<L>(&self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: LabelSet + 'static,
    {
        must(self.try_counter_family(name, help))
    }

    /// Registers a gauge.
    #[track_caller]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        must(self.try_gauge(name, help))
    }

    /// Registers a gauge per label set.
    #[track_caller]
    pub fn gauge_family<L>(&self, name: &str, help: &str) -> Family<L, Gauge>
    where
        L: LabelSet + 'static,
    {
        must(self.try_gauge_family(name, help))
    }

    /// Registers a histogram.
    #[track_caller]
    pub fn histogram(&self, name: &str, help: &str, buckets: Buckets) -> Histogram {
        must(self.try_histogram(name, help, buckets))
    }

    /// Registers a histogram per label set.
    #[track_caller]
    pub fn histogram_family<L>(
        &self,
        name: &str,
        help: &str,
        buckets: Buckets,
    ) -> Family<L, Histogram>
    where
        L: LabelSet + 'static,
    {
        must(self.try_histogram_family(name, help, buckets))
    }

    /// Registers a gauge that is computed at each scrape.
    #[track_caller]
    pub fn gauge_fn(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        must(self.function(name, help, MetricKind::Gauge, read));
    }

    /// Registers a counter that is computed at each scrape.
    #[track_caller]
    pub fn counter_fn(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        must(self.function(name, help, MetricKind::Counter, read));
    }

    /// Registers a function that writes whole families at each scrape. `name` orders it among the
    /// families and says which collector failed; it is no metric.
    ///
    /// A collector that panics leaves nothing on the page, and the rest of the page is as ever.
    /// A family it writes that another has written already is left out.
    #[track_caller]
    pub fn collector(&self, name: &str, write: impl Fn(&mut Encoder<'_>) + Send + Sync + 'static) {
        must(self.try_collector(name, write));
    }

    /// [`Self::counter`], with a mistake as an error.
    ///
    /// # Errors
    /// [`RegisterError`]. So for all that follow.
    pub fn try_counter(&self, name: &str, help: &str) -> Result<Counter, RegisterError> {
        Ok(self.try_counter_family::<()>(name, help)?.with(&()))
    }

    /// [`Self::counter_family`], with a mistake as an error.
    #[expect(clippy::missing_errors_doc, reason = "said once, at `try_counter`")]
    pub fn try_counter_family<L>(
        &self,
        name: &str,
        help: &str,
    ) -> Result<Family<L, Counter>, RegisterError>
    where
        L: LabelSet + 'static,
    {
        self.family(name, help, Family::new(Counter::default))
    }

    /// [`Self::gauge`], with a mistake as an error.
    #[expect(clippy::missing_errors_doc, reason = "said once, at `try_counter`")]
    pub fn try_gauge(&self, name: &str, help: &str) -> Result<Gauge, RegisterError> {
        Ok(self.try_gauge_family::<()>(name, help)?.with(&()))
    }

    /// [`Self::gauge_family`], with a mistake as an error.
    #[expect(clippy::missing_errors_doc, reason = "said once, at `try_counter`")]
    pub fn try_gauge_family<L>(
        &self,
        name: &str,
        help: &str,
    ) -> Result<Family<L, Gauge>, RegisterError>
    where
        L: LabelSet + 'static,
    {
        self.family(name, help, Family::new(Gauge::default))
    }

    /// [`Self::histogram`], with a mistake as an error.
    #[expect(clippy::missing_errors_doc, reason = "said once, at `try_counter`")]
    pub fn try_histogram(
        &self,
        name: &str,
        help: &str,
        buckets: Buckets,
    ) -> Result<Histogram, RegisterError> {
        Ok(self
            .try_histogram_family::<()>(name, help, buckets)?
            .with(&()))
    }

    /// [`Self::histogram_family`], with a mistake as an error.
    #[expect(clippy::missing_errors_doc, reason = "said once, at `try_counter`")]
    pub fn try_histogram_family<L>(
        &self,
        name: &str,
        help: &str,
        buckets: Buckets,
    ) -> Result<Family<L, Histogram>, RegisterError>
    where
        L: LabelSet + 'static,
    {
        self.family(name, help, Family::new(move || Histogram::new(&buckets)))
    }

    /// [`Self::collector`], with a mistake as an error.
    #[expect(clippy::missing_errors_doc, reason = "said once, at `try_counter`")]
    pub fn try_collector(
        &self,
        name: &str,
        write: impl Fn(&mut Encoder<'_>) + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        let entry = Entry {
            name: name.to_owned(),
            write: Box::new(write),
            overflows: None,
            is_collector: true,
        };
        self.insert(name, &[], entry)
    }

    /// Takes a metric or a collector off the page, by the name it was registered under. Returns
    /// whether there was one. Handles to it go on counting, unseen.
    pub fn unregister(&self, name: &str) -> bool {
        let mut entries = lock(&self.inner.entries);
        entries.taken.retain(|_, by| by != name);
        entries.by_name.remove(name).is_some()
    }

    /// Appends every family to `out`.
    pub fn encode(&self, format: Format, out: &mut String) {
        // Not under the lock: a collector may register metrics.
        let entries: Vec<Arc<Entry>> = lock(&self.inner.entries)
            .by_name
            .values()
            .cloned()
            .collect();
        let own = entries.iter().filter(|entry| !entry.is_collector);
        let mut families: BTreeSet<Cow<'_, str>> = own
            .map(|entry| Cow::Borrowed(entry.name.as_str()))
            .collect();
        let mut encoder = Encoder::new(format, out);
        let mut overflows = Vec::new();
        for entry in &entries {
            let mark = encoder.mark();
            let outcome = catch_unwind(AssertUnwindSafe(|| (entry.write)(&mut encoder)));
            if outcome.is_err() {
                encoder.rewind(mark);
            }
            let mut failures = encoder.take_left_out() + u64::from(outcome.is_err());
            if entry.is_collector && outcome.is_ok() {
                failures += leave_out_repeated(&mut encoder, mark, &mut families);
            }
            if failures > 0 {
                *lock(&self.inner.failures)
                    .entry(entry.name.clone())
                    .or_default() += failures;
            }
            if let Some(count) = entry
                .overflows
                .as_ref()
                .map(|read| read())
                .filter(|n| *n > 0)
            {
                overflows.push((entry.name.as_str(), count));
            }
        }
        self.write_own(&mut encoder, &overflows);
        encoder.finish();
    }

    /// The page for a request with this Accept header (empty where it has none): the Content-Type
    /// and the body of the reply.
    ///
    /// ```
    /// let registry = barograph_instrument::Registry::new();
    /// registry.gauge("room_temperature_celsius", "How warm it is.").set(21.5);
    /// let (content_type, body) = registry.scrape("application/openmetrics-text; version=1.0.0");
    /// assert!(content_type.starts_with("application/openmetrics-text"));
    /// assert!(body.ends_with("room_temperature_celsius 21.5\n# EOF\n"));
    /// ```
    pub fn scrape(&self, accept: &str) -> (&'static str, String) {
        let format = Format::negotiate(accept);
        let last = self.inner.last_page_bytes.load(Ordering::Relaxed);
        let mut page = String::with_capacity(last + last / 8 + 256);
        self.encode(format, &mut page);
        self.inner
            .last_page_bytes
            .store(page.len(), Ordering::Relaxed);
        (format.content_type(), page)
    }

    /// What the registry says of itself, when there is something to say.
    fn write_own(&self, encoder: &mut Encoder<'_>, overflows: &[(&str, u64)]) {
        let help = "Updates of label sets beyond a family's limit, counted in its series \
                    overflow=\"true\".";
        encoder.family(OVERFLOWS, MetricKind::Counter, help);
        for (name, count) in overflows {
            encoder.sample(OVERFLOWS, [("family", name)], *count as f64);
        }
        let help = "Panics of a collector, and families and samples of it that had to be left out.";
        encoder.family(FAILURES, MetricKind::Counter, help);
        for (name, count) in lock(&self.inner.failures).iter() {
            encoder.sample(FAILURES, [("collector", name)], *count as f64);
        }
    }

    fn function(
        &self,
        name: &str,
        help: &str,
        kind: MetricKind,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        check_name(name, kind)?;
        let (own, help) = (name.to_owned(), help.to_owned());
        let write = move |encoder: &mut Encoder<'_>| {
            encoder.family(&own, kind, &help);
            encoder.sample(&own, std::iter::empty::<(&str, &str)>(), read());
        };
        let entry = Entry {
            name: name.to_owned(),
            write: Box::new(write),
            overflows: None,
            is_collector: false,
        };
        self.insert(name, &names_of(name, kind), entry)
    }

    fn family<L: LabelSet + 'static, M: Metric>(
        &self,
        name: &str,
        help: &str,
        family: Family<L, M>,
    ) -> Result<Family<L, M>, RegisterError> {
        check_name(name, M::KIND)?;
        check_labels(name, L::NAMES, M::KIND)?;
        let (own, help, written) = (name.to_owned(), help.to_owned(), family.clone());
        let write = move |encoder: &mut Encoder<'_>| {
            encoder.family(&own, M::KIND, &help);
            written.write(&own, encoder);
        };
        let counted = family.clone();
        let entry = Entry {
            name: name.to_owned(),
            write: Box::new(write),
            overflows: Some(Box::new(move || counted.overflows())),
            is_collector: false,
        };
        self.insert(name, &names_of(name, M::KIND), entry)?;
        Ok(family)
    }

    fn insert(&self, name: &str, names: &[String], entry: Entry) -> Result<(), RegisterError> {
        let mut entries = lock(&self.inner.entries);
        let taken = |by: &str| RegisterError::Taken {
            name: name.to_owned(),
            by: by.to_owned(),
        };
        if entries.by_name.contains_key(name) {
            return Err(taken(name));
        }
        for own in names {
            if let Some(by) = entries.taken.get(own) {
                return Err(taken(by));
            }
            if [OVERFLOWS, FAILURES].contains(&own.as_str()) {
                return Err(taken("of the registry itself"));
            }
        }
        for own in names {
            entries.taken.insert(own.clone(), name.to_owned());
        }
        entries.by_name.insert(name.to_owned(), Arc::new(entry));
        Ok(())
    }
}

/// Takes families out of what a collector wrote from `mark` on that are on the page already, and
/// says how many. `families` has the names of those, and gets those of the others.
fn leave_out_repeated(
    encoder: &mut Encoder<'_>,
    mark: usize,
    families: &mut BTreeSet<Cow<'_, str>>,
) -> u64 {
    let name_of = |line: &str| {
        let rest = line.strip_prefix("# HELP ")?;
        rest.split(' ')
            .next()
            .map(|name| Cow::Owned(name.to_owned()))
    };
    let written = &encoder.written()[mark..];
    // Where families begin, and whether each is new.
    let mut found = Vec::new();
    let mut at = 0;
    for line in written.split_inclusive('\n') {
        if let Some(name) = name_of(line) {
            found.push((at, families.insert(name)));
        }
        at += line.len();
    }
    let repeated = found.iter().filter(|(_, is_new)| !is_new).count() as u64;
    if repeated > 0 {
        let ends = found.iter().skip(1).map(|(start, _)| *start).chain([at]);
        let kept: String = found
            .iter()
            .zip(ends)
            .filter(|((_, is_new), _)| *is_new)
            .map(|((start, _), end)| &written[*start..end])
            .collect();
        encoder.rewind(mark);
        encoder.append(&kept);
    }
    repeated
}

fn must<T>(outcome: Result<T, RegisterError>) -> T {
    match outcome {
        Ok(registered) => registered,
        Err(error) => panic!("BUG: {error}"),
    }
}

fn check_name(name: &str, kind: MetricKind) -> Result<(), RegisterError> {
    if !is_legacy_metric_name(name) {
        return Err(RegisterError::Name {
            name: name.to_owned(),
        });
    }
    if kind == MetricKind::Counter && name.strip_suffix("_total").is_none_or(str::is_empty) {
        return Err(RegisterError::CounterWithoutTotal {
            name: name.to_owned(),
        });
    }
    Ok(())
}

fn check_labels(name: &str, labels: &[&str], kind: MetricKind) -> Result<(), RegisterError> {
    for (index, label) in labels.iter().enumerate() {
        let is_reserved = *label == "le" && kind == MetricKind::Histogram;
        if !is_legacy_label_name(label) || label.starts_with("__") || is_reserved {
            let (name, label) = (name.to_owned(), (*label).to_owned());
            return Err(RegisterError::Label { name, label });
        }
        if labels[..index].contains(label) {
            let (name, label) = (name.to_owned(), (*label).to_owned());
            return Err(RegisterError::LabelTwice { name, label });
        }
    }
    Ok(())
}

/// The names a metric uses: its own, its samples', and its family's in OpenMetrics.
fn names_of(name: &str, kind: MetricKind) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let family = open_metrics_family(name, kind);
    if family != name {
        names.push(family.to_owned());
    }
    if kind == MetricKind::Histogram {
        names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
    }
    names
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;

    labels! { struct Le { le: &'static str } }
    labels! { struct Internal { __name: &'static str } }

    fn page(registry: &Registry) -> String {
        registry.scrape("").1
    }

    #[test]
    fn mistakes_are_told_apart() {
        let registry = Registry::new();
        registry.histogram("a", "", Buckets::web());
        registry.counter("b_total", "");
        let name = |name: &str| name.to_owned();
        let taken = |own: &str, by: &str| RegisterError::Taken {
            name: name(own),
            by: name(by),
        };
        let error = |own: &str| registry.try_gauge(own, "").err();
        assert_eq!(
            error("a b"),
            Some(RegisterError::Name { name: name("a b") })
        );
        assert_eq!(error(""), Some(RegisterError::Name { name: name("") }));
        assert_eq!(error("a_count"), Some(taken("a_count", "a")));
        assert_eq!(error("a"), Some(taken("a", "a")));
        assert_eq!(error("b"), Some(taken("b", "b_total")));
        for counter in ["c", "_total"] {
            let error = registry.try_counter(counter, "").err();
            assert_eq!(
                error,
                Some(RegisterError::CounterWithoutTotal {
                    name: name(counter)
                })
            );
        }
        assert!(matches!(
            registry.try_histogram_family::<Le>("d", "", Buckets::web()),
            Err(RegisterError::Label { .. })
        ));
        assert!(registry.try_gauge_family::<Le>("d", "").is_ok());
        assert!(matches!(
            registry.try_gauge_family::<Internal>("e", ""),
            Err(RegisterError::Label { .. })
        ));
    }

    #[test]
    #[should_panic(expected = "BUG: the metric \"a_total\" is registered twice")]
    fn a_name_twice_is_a_bug() {
        let registry = Registry::new();
        registry.counter("a_total", "");
        registry.counter("a_total", "");
    }

    #[test]
    fn what_is_unregistered_leaves_the_page_and_its_names() {
        let registry = Registry::new();
        registry.histogram("a", "", Buckets::web());
        assert!(registry.unregister("a"));
        assert!(!registry.unregister("a"));
        assert_eq!(page(&registry), "");
        registry.gauge("a_sum", "").set(1.0);
        assert!(page(&registry).contains("a_sum 1\n"));
    }

    #[test]
    fn a_collector_that_panics_or_writes_nonsense_leaves_the_rest_of_the_page() {
        let registry = Registry::new();
        registry.gauge("a", "").set(1.0);
        registry.gauge("z", "").set(2.0);
        registry.collector("bad", |encoder| {
            encoder.family("half", MetricKind::Gauge, "");
            encoder.sample("half", [("x", "y")], 1.0);
            panic!("the collector's own");
        });
        registry.collector("sloppy", |encoder| {
            for family in ["z", "no name", "good"] {
                encoder.family(family, MetricKind::Gauge, "");
                encoder.sample(family, [("x", "y")], 3.0);
            }
        });
        registry.gauge_fn("fails", "", || panic!("a function's own"));
        let page = page(&registry);
        let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "a 1",
                "good{x=\"y\"} 3",
                "z 2",
                "metrics_collector_failures_total{collector=\"bad\"} 1",
                "metrics_collector_failures_total{collector=\"fails\"} 1",
                "metrics_collector_failures_total{collector=\"sloppy\"} 3",
            ]
        );
    }

    #[test]
    fn a_collector_may_register_metrics() {
        let registry = Registry::new();
        let inside = registry.clone();
        registry.collector("late", move |_| {
            let _ = inside.try_gauge("later", "");
        });
        page(&registry);
        assert!(page(&registry).contains("later 0\n"));
    }
}

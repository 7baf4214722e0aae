//! The registry: every family of an application, in order of name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use barograph_model::{MetricKind, number};

use crate::encode::{Encoder, Format};
use crate::family::{Family, LabelSet};
use crate::metric::{Buckets, Counter, Gauge, Histogram};

type Write = Box<dyn Fn(&mut Encoder<'_>) + Send + Sync>;

/// A set of metrics that are exposed together. Cloning shares it.
///
/// Registering a name twice, or a name that is no metric name, is a mistake in the program and
/// panics at start-up, with the name.
#[derive(Clone, Default)]
pub struct Registry {
    families: Arc<RwLock<BTreeMap<String, Write>>>,
}

impl Registry {
    /// A registry with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a counter. `name` ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.counter_family::<()>(name, help).with(&())
    }

    /// Registers a counter per label set.
    pub fn counter_family<L: LabelSet + 'static>(
        &self,
        name: &str,
        help: &str,
    ) -> Family<L, Counter> {
        let family = Family::<L, Counter>::new(Counter::default);
        self.family(
            name,
            help,
            MetricKind::Counter,
            family.clone(),
            |e, n, l, v| {
                e.sample(n, pairs::<L>(l), v.get());
            },
        );
        family
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.gauge_family::<()>(name, help).with(&())
    }

    /// Registers a gauge per label set.
    pub fn gauge_family<L: LabelSet + 'static>(&self, name: &str, help: &str) -> Family<L, Gauge> {
        let family = Family::<L, Gauge>::new(Gauge::default);
        self.family(
            name,
            help,
            MetricKind::Gauge,
            family.clone(),
            |e, n, l, v| {
                e.sample(n, pairs::<L>(l), v.get());
            },
        );
        family
    }

    /// Registers a histogram.
    pub fn histogram(&self, name: &str, help: &str, buckets: Buckets) -> Histogram {
        self.histogram_family::<()>(name, help, buckets).with(&())
    }

    /// Registers a histogram per label set.
    pub fn histogram_family<L: LabelSet + 'static>(
        &self,
        name: &str,
        help: &str,
        buckets: Buckets,
    ) -> Family<L, Histogram> {
        let family = Family::<L, Histogram>::new(move || Histogram::new(&buckets));
        self.family(
            name,
            help,
            MetricKind::Histogram,
            family.clone(),
            |e, n, l, h| {
                let (bounds, counts, sum) = h.read();
                let mut total = 0;
                for (index, count) in counts.iter().enumerate() {
                    total += count;
                    let bound = bounds.get(index).copied().unwrap_or(f64::INFINITY);
                    let le = ("le".to_owned(), number::go_g(bound));
                    let labels = pairs::<L>(l).map(|(n, v)| (n.to_owned(), v.to_owned()));
                    e.sample(&format!("{n}_bucket"), labels.chain([le]), total as f64);
                }
                e.sample(&format!("{n}_sum"), pairs::<L>(l), sum);
                e.sample(&format!("{n}_count"), pairs::<L>(l), total as f64);
            },
        );
        family
    }

    /// Registers a gauge that is computed at each scrape.
    pub fn gauge_fn(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.function(name, help, MetricKind::Gauge, read);
    }

    /// Registers a counter that is computed at each scrape.
    pub fn counter_fn(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.function(name, help, MetricKind::Counter, read);
    }

    /// Registers a function that writes whole families at each scrape. `name` only orders it.
    pub fn collector(&self, name: &str, write: impl Fn(&mut Encoder<'_>) + Send + Sync + 'static) {
        self.insert(name, Box::new(write));
    }

    /// Appends every family to `out`.
    pub fn encode(&self, format: Format, out: &mut String) {
        let mut encoder = Encoder::new(format, out);
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        for write in families.values() {
            write(&mut encoder);
        }
        encoder.finish();
    }

    fn function(
        &self,
        name: &str,
        help: &str,
        kind: MetricKind,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let (own, help) = (name.to_owned(), help.to_owned());
        self.insert(
            name,
            Box::new(move |encoder| {
                encoder.family(&own, kind, &help);
                encoder.sample(&own, std::iter::empty::<(&str, &str)>(), read());
            }),
        );
    }

    fn family<L: LabelSet + 'static, M: Clone + Send + Sync + 'static>(
        &self,
        name: &str,
        help: &str,
        kind: MetricKind,
        family: Family<L, M>,
        write: impl Fn(&mut Encoder<'_>, &str, &[String], &M) + Send + Sync + 'static,
    ) {
        let (own, help) = (name.to_owned(), help.to_owned());
        self.insert(
            name,
            Box::new(move |encoder| {
                encoder.family(&own, kind, &help);
                family.for_each(|labels, metric| write(encoder, &own, labels, metric));
            }),
        );
    }

    fn insert(&self, name: &str, write: Write) {
        assert!(
            barograph_model::labels::is_legacy_metric_name(name),
            "BUG: {name:?} is no metric name"
        );
        let mut families = self
            .families
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let old = families.insert(name.to_owned(), write);
        assert!(
            old.is_none(),
            "BUG: the metric {name:?} is registered twice"
        );
    }
}

fn pairs<'a, L: LabelSet>(values: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    L::NAMES
        .iter()
        .copied()
        .zip(values.iter().map(String::as_str))
}

//! Metrics of samples out of order, under Prometheus's names where it has them.

use std::sync::atomic::{AtomicU64, Ordering};

use barograph_instrument::Encoder;
use barograph_instrument::MetricKind::{Counter, Gauge, Histogram};

use crate::head::Head;
use crate::out_of_order::DELAY_BOUNDS_SECONDS;

/// Writes them.
pub(crate) fn write(head: &Head, encoder: &mut Encoder<'_>) {
    let figures = &head.late.figures;
    let stats = head.late.stats();
    let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
    for (name, help, value) in [
        (
            "prometheus_tsdb_head_out_of_order_samples_appended_total",
            "Samples out of order that were stored.",
            &figures.appended,
        ),
        (
            "prometheus_tsdb_too_old_samples_total",
            "Samples older than the window for samples out of order.",
            &head.figures.too_old,
        ),
        (
            "prometheus_tsdb_out_of_bound_samples_total",
            "Samples older than what is still accepted, with no window for samples out of order.",
            &figures.out_of_bound,
        ),
    ] {
        encoder.family(name, Counter, help);
        encoder.sample(name, [("type", "float")], count(value));
    }
    let mut one = |name: &str, kind, help: &str, value: f64| {
        encoder.family(name, kind, help);
        encoder.sample(name, std::iter::empty::<(&str, &str)>(), value);
    };
    for (name, help, value) in [
        (
            "barograph_tsdb_out_of_order_refused_total",
            "Samples out of order that were refused because the memory for them was full.",
            &figures.refused_full,
        ),
        (
            "barograph_tsdb_out_of_order_spills_total",
            "Times samples out of order were written to blocks.",
            &figures.spills,
        ),
        (
            "barograph_tsdb_out_of_order_spills_failed_total",
            "Times samples out of order could not be written to blocks.",
            &figures.spills_failed,
        ),
        (
            "barograph_tsdb_parts_written_total",
            "Blocks made of samples out of order or imported.",
            &figures.parts,
        ),
        (
            "barograph_tsdb_backfilled_samples_total",
            "Samples imported into blocks.",
            &figures.backfilled,
        ),
    ] {
        one(name, Counter, help, count(value));
    }
    one(
        "barograph_tsdb_out_of_order_buffer_bytes",
        Gauge,
        "Bytes of samples out of order in memory.",
        stats.bytes as f64,
    );
    one(
        "barograph_tsdb_out_of_order_buffer_samples",
        Gauge,
        "Samples out of order in memory.",
        stats.samples as f64,
    );
    write_delays(head, encoder);
}

fn write_delays(head: &Head, encoder: &mut Encoder<'_>) {
    const NAME: &str = "prometheus_tsdb_sample_ooo_delta";
    let figures = &head.late.figures;
    encoder.family(
        NAME,
        Histogram,
        "How many seconds older than the newest sample of the store samples out of order are, stored or not.",
    );
    let mut total = 0;
    let bounds = DELAY_BOUNDS_SECONDS.iter().map(i64::to_string);
    let bounds = bounds.chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(&figures.delays) {
        total += count.load(Ordering::Relaxed);
        let name = format!("{NAME}_bucket");
        encoder.sample(&name, [("le", bound.as_str())], total as f64);
    }
    let none = std::iter::empty::<(&str, &str)>;
    let sum_ms = figures.delay_sum_ms.load(Ordering::Relaxed);
    encoder.sample(&format!("{NAME}_sum"), none(), sum_ms as f64 / 1e3);
    encoder.sample(&format!("{NAME}_count"), none(), total as f64);
}

//! Rows, without sockets: references that leave memory, and what a scrape costs.

use std::fmt::Write;

use barograph_instrument::Registry;
use barograph_model::{Clock, Exemplar, Histogram, IntegerHistogram, SystemClock, TimeRange};
use barograph_tsdb::{Column, Options};

use super::*;
use crate::config::StartTimestamps;
use crate::scratch::ScratchPool;

struct Bench {
    db: Db,
    config: ScrapeConfig,
    target: Labels,
    metrics: ScrapeMetrics,
    memory: TargetMemory,
    pool: ScratchPool,
    dialect: Dialect,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let registry = Registry::new();
        let db = Db::open(Options::new(directory.path()), &registry).expect("opens");
        let group = db.open_group();
        Self {
            memory: TargetMemory::new(group, Arc::default()),
            db,
            config: ScrapeConfig::new("job"),
            target: Labels::from_pairs([("instance", "host:1"), ("job", "job")]),
            metrics: ScrapeMetrics::new(&registry),
            pool: ScratchPool::default(),
            dialect: Dialect::Text,
            _directory: directory,
        }
    }

    fn ingest(db: &Db, bench: &mut Self, body: &str, timestamp_ms: i64) -> Outcome {
        let page = Page {
            body: body.as_bytes(),
            dialect: bench.dialect,
            histograms: &[],
            starts: &[],
        };
        Self::ingest_page(db, bench, page, timestamp_ms)
    }

    fn ingest_page(db: &Db, bench: &mut Self, page: Page<'_>, timestamp_ms: i64) -> Outcome {
        let ingest = Ingest {
            db,
            config: &bench.config,
            target: &bench.target,
            timeout_ms: 10_000,
            timestamp_ms,
            now_ms: timestamp_ms,
            started: Instant::now(),
            metrics: &bench.metrics,
        };
        let mut scratch = bench.pool.take(bench.memory.group);
        let outcome = ingest.run(&mut bench.memory, &mut scratch, Ok(page), 0);
        bench.pool.give(scratch);
        outcome
    }

    fn run(&mut self, body: &str, timestamp_ms: i64) -> Outcome {
        let db = self.db.clone();
        Self::ingest(&db, self, body, timestamp_ms)
    }
}

fn count_samples(db: &Db) -> usize {
    let snapshot = db.snapshot();
    let selection = snapshot.select(&[], TimeRange::ALL).expect("readable");
    let mut column = barograph_tsdb::Column::default();
    (0..selection.len())
        .map(|index| {
            selection
                .read(index, TimeRange::ALL, &mut column)
                .expect("readable");
            column.values.len()
        })
        .sum()
}

/// A page like those of real services: 1,000 lines of about 144 bytes.
fn thousand_lines(scrape: u64) -> String {
    let mut page = String::new();
    for family in 0..100u64 {
        let _ = write!(
            page,
            "# HELP http_requests_{family}_total Requests that were served, by code.\n# TYPE http_requests_{family}_total counter\n"
        );
        for series in 0..10u64 {
            let value = family * 1000 + series * 7 + scrape * (series + 1);
            let _ = writeln!(
                page,
                "http_requests_{family}_total{{method=\"GET\",code=\"20{series}\",handler=\"/api/v1/orders/{series}\",zone=\"eu-central-1a\",pod=\"orders-7d9f8b6c5-x{family}\"}} {value}.5"
            );
        }
    }
    page
}

#[test]
fn exemplars_are_stored_once() {
    let now_ms = SystemClock.now_ms();
    let mut bench = Bench::new();
    bench.dialect = Dialect::OpenMetrics;
    let page = |trace: &str| {
        format!(
            "# TYPE h histogram\nh_bucket{{le=\"1.0\"}} 1 # {{trace_id=\"{trace}\"}} 0.5\nh_bucket{{le=\"+Inf\"}} 2\nh_sum 1\nh_count 2\n# EOF\n"
        )
    };
    for (scrape, trace) in ["a", "a", "b"].iter().enumerate() {
        let outcome = bench.run(&page(trace), now_ms + scrape as i64);
        assert_eq!(outcome.error, None);
    }
    let sets = [vec![barograph_model::Matcher::equal("le", "1.0")]];
    let found = bench.db.snapshot().exemplars(&sets, TimeRange::ALL);
    assert_eq!(found.len(), 1);
    let got: Vec<_> = found[0]
        .exemplars
        .iter()
        .map(|e| (e.labels.get("trace_id"), e.timestamp_ms - now_ms))
        .collect();
    assert_eq!(got, [("a", 0), ("b", 2)]);
}

#[test]
fn series_that_left_memory_are_registered_again() {
    let now_ms = SystemClock.now_ms();
    let mut bench = Bench::new();
    let page = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nb 3\n";
    assert_eq!(bench.run(page, now_ms).error, None);
    // Another store knows none of the references, as if all series had left memory.
    let other = Bench::new();
    let group = other.db.open_group();
    bench.memory.group = group;
    let outcome = Bench::ingest(&other.db, &mut bench, page, now_ms + 1000);
    assert_eq!(
        (outcome.error, outcome.warning.as_str(), outcome.added),
        (None, "", 0)
    );
    assert_eq!(count_samples(&other.db), 3 + REPORT.len());
    let again = Bench::ingest(&other.db, &mut bench, page, now_ms + 2000);
    assert_eq!(again.error, None);
    assert_eq!(count_samples(&other.db), 2 * (3 + REPORT.len()));
}

#[test]
fn what_the_store_refuses_is_reported_and_the_next_scrape_goes_on() {
    let now_ms = SystemClock.now_ms();
    let mut bench = Bench::new();
    assert_eq!(bench.run("a 1\nb 1\n", now_ms).error, None);
    let closed = Bench::new();
    closed.db.close().expect("closes");
    let group = std::mem::replace(&mut bench.memory.group, closed.db.open_group());
    let outcome = Bench::ingest(&closed.db, &mut bench, "a 2\n", now_ms + 1000);
    let error = outcome
        .error
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(error.contains("the store refused the samples"), "{error}");
    assert_eq!(bench.metrics.appends_refused.get(), 1.0);
    bench.memory.group = group;
    let before = count_samples(&bench.db);
    assert_eq!(bench.run("a 3\n", now_ms + 2000).error, None);
    // The marker of `b` was refused with the rest, and is written now.
    assert_eq!(count_samples(&bench.db), before + 2 + REPORT.len());
}

/// Measures; run it in release mode with `--ignored --nocapture`. Each figure is the best of many
/// single pages, which is what the code costs when nothing else runs.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_per_sample() {
    const ROUNDS: usize = 50;
    let mut bench = Bench::new();
    let pages: Vec<String> = (0..64).map(thousand_lines).collect();
    let mut now_ms = SystemClock.now_ms();
    let (mut rows, mut whole, mut cold) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    let timed = |best: &mut f64, run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        *best = best.min(start.elapsed().as_nanos() as f64 / 1000.0);
    };
    for page in pages.iter().cycle().take(ROUNDS * pages.len()) {
        now_ms += 1000;
        timed(&mut whole, &mut || {
            assert_eq!(bench.run(page, now_ms).kept, 1000);
        });
        timed(&mut cold, &mut || {
            let mut parser = TextParser::new(page.as_bytes());
            while let Ok(Some(_)) = parser.next(&mut Unknown) {}
        });
    }
    let Bench {
        db,
        config,
        target,
        metrics,
        memory,
        pool,
        ..
    } = &mut bench;
    let ingest = Ingest {
        db,
        config,
        target,
        timeout_ms: 10_000,
        timestamp_ms: now_ms,
        now_ms,
        started: Instant::now(),
        metrics,
    };
    let mut scratch = pool.take(memory.group);
    for page in pages.iter().cycle().take(ROUNDS * pages.len()) {
        timed(&mut rows, &mut || {
            scratch.batch.reset(memory.group);
            scratch.rows.clear();
            memory.cache.begin();
            let families = memory.families.clone();
            let mut families = families.lock().expect("not poisoned");
            families.begin();
            let mut outcome = Outcome::default();
            let (body, dialect) = (page.as_bytes(), Dialect::Text);
            let parser = TextParser::new(body);
            let page = Page {
                body,
                dialect,
                histograms: &[],
                starts: &[],
            };
            ingest
                .rows(
                    memory,
                    &mut families,
                    &mut scratch,
                    parser,
                    page,
                    &mut outcome,
                )
                .expect("valid");
            memory.cache.finish(|_| {});
            assert_eq!(scratch.batch.len(), 1000);
        });
    }
    println!(
        "{} bytes, 1000 samples: parse + cache + push {rows:.1} ns/sample; with append {whole:.1}; scanning labels without a cache {cold:.1}",
        pages[0].len()
    );
}

#[test]
fn native_histograms_are_stored_as_such() {
    let now_ms = SystemClock.now_ms();
    let mut bench = Bench::new();
    let text = "# TYPE took histogram\ntook{a=\"b\"} 0\nup 1\n# EOF\n";
    let histogram = |count| NativeHistogram {
        offset: 22,
        histogram: Histogram::Integer(IntegerHistogram {
            count,
            sum: 0.5,
            ..IntegerHistogram::default()
        }),
        exemplars: vec![Exemplar {
            timestamp_ms: now_ms,
            ..Exemplar::default()
        }],
    };
    let scrape = |bench: &mut Bench, count, timestamp_ms| {
        let page = Page {
            body: text.as_bytes(),
            dialect: Dialect::OpenMetrics,
            histograms: &[histogram(count)],
            starts: &[],
        };
        let db = bench.db.clone();
        Bench::ingest_page(&db, bench, page, timestamp_ms)
    };
    for scraped in 0..2 {
        let outcome = scrape(&mut bench, 3 + scraped as u64, now_ms + scraped);
        assert_eq!(outcome.error, None);
    }
    // As if the series had left memory.
    let other = Bench::new();
    bench.memory.group = other.db.open_group();
    bench.db = other.db.clone();
    let outcome = scrape(&mut bench, 5, now_ms + 2);
    assert_eq!((outcome.error, outcome.added), (None, 0));
    let took = [barograph_model::Matcher::equal("__name__", "took")];
    let snapshot = bench.db.snapshot();
    let selection = snapshot.select(&took, TimeRange::ALL).expect("selects");
    assert_eq!(selection.len(), 1);
    let stored = selection.read_histograms(0, TimeRange::ALL).expect("reads");
    assert_eq!(stored, [(now_ms + 2, histogram(5).histogram)]);
}

fn read_all(db: &Db, name: &str) -> Column {
    let matcher = [barograph_model::Matcher::equal("__name__", name)];
    let snapshot = db.snapshot();
    let selection = snapshot.select(&matcher, TimeRange::ALL).expect("selects");
    assert_eq!(selection.len(), 1);
    let mut column = Column::default();
    selection
        .read(0, TimeRange::ALL, &mut column)
        .expect("reads");
    column
}

#[test]
fn starts_become_zeros_or_are_stored() {
    let now_ms = SystemClock.now_ms();
    let text = "# TYPE hits counter\nhits_total 5\n# EOF\n";
    for (zeros, stored) in [(true, false), (false, true), (true, true)] {
        let mut bench = Bench::new();
        bench.config.start_timestamps = StartTimestamps { zeros, stored };
        let scrape = |bench: &mut Bench, start_ms, timestamp_ms| {
            let page = Page {
                body: text.as_bytes(),
                dialect: Dialect::OpenMetrics,
                histograms: &[],
                starts: &[(20, start_ms)],
            };
            let db = bench.db.clone();
            let outcome = Bench::ingest_page(&db, bench, page, timestamp_ms);
            assert_eq!((outcome.error, outcome.warning.as_str()), (None, ""));
        };
        let (first, second) = (now_ms - 60_000, now_ms + 1_500);
        scrape(&mut bench, first, now_ms);
        scrape(&mut bench, first, now_ms + 1_000);
        scrape(&mut bench, second, now_ms + 2_000);
        // As after a restart: a start that is no news gets no zero.
        bench.memory = TargetMemory::new(bench.memory.group, Arc::default());
        scrape(&mut bench, second - 100, now_ms + 3_000);
        bench.memory = TargetMemory::new(bench.memory.group, Arc::default());
        let old = now_ms - 2 * 3_600_000;
        scrape(&mut bench, old, now_ms + 4_000);
        let column = read_all(&bench.db, "hits_total");
        let mut want = vec![
            (now_ms, 5.0, first),
            (now_ms + 1_000, 5.0, first),
            (now_ms + 2_000, 5.0, second),
            (now_ms + 3_000, 5.0, second - 100),
            (now_ms + 4_000, 5.0, old),
        ];
        if zeros {
            want.insert(0, (first, 0.0, 0));
            want.insert(3, (second, 0.0, 0));
        }
        let times = want.iter().map(|(t, _, _)| *t);
        assert_eq!(column.timestamps_ms.to_vec(), times.collect::<Vec<_>>());
        let values = want.iter().map(|(_, value, _)| *value);
        assert_eq!(column.values, values.collect::<Vec<_>>());
        let starts = want.iter().map(|(_, _, start_ms)| *start_ms);
        let starts = starts.filter(|_| stored);
        assert_eq!(column.starts_ms, starts.collect::<Vec<_>>());
    }
}

#[test]
fn histograms_of_too_many_buckets_are_merged_or_fail_the_scrape() {
    let now_ms = SystemClock.now_ms();
    let text = "# TYPE took histogram\ntook 0\n# EOF\n";
    let scrape = |schema, limit, factor| {
        let mut bench = Bench::new();
        bench.config.native_histogram_bucket_limit = limit;
        bench.config.native_histogram_min_bucket_factor = factor;
        let histogram = Histogram::Integer(IntegerHistogram {
            schema,
            count: 8,
            positive_spans: vec![barograph_model::histogram::Span {
                offset: 1,
                length: 8,
            }],
            positive_buckets: vec![1; 8],
            custom_bounds: (0..if schema < -4 { 9 } else { 0 })
                .map(f64::from)
                .collect(),
            ..IntegerHistogram::default()
        });
        let page = Page {
            body: text.as_bytes(),
            dialect: Dialect::OpenMetrics,
            histograms: &[NativeHistogram {
                offset: 22,
                histogram,
                exemplars: Vec::new(),
            }],
            starts: &[],
        };
        let db = bench.db.clone();
        let outcome = Bench::ingest_page(&db, &mut bench, page, now_ms);
        if let Some(error) = outcome.error {
            assert_eq!(error, ScrapeError::BucketLimit { limit });
            assert_eq!(bench.metrics.exceeded_bucket_limit.get() as u64, 1);
            return None;
        }
        let histogram = read_all(&db, "took").histograms.values[0].clone();
        Some((histogram.schema, histogram.positive_buckets.len()))
    };
    assert_eq!(scrape(2, 0, 0.0), Some((2, 8)));
    assert_eq!(scrape(2, 4, 0.0), Some((1, 4)));
    assert_eq!(scrape(2, 0, 2.0), Some((0, 2)));
    let custom = barograph_model::histogram::CUSTOM_BOUNDS_SCHEMA;
    assert_eq!(scrape(custom, 8, 2.0), Some((custom, 8)));
    assert_eq!(scrape(custom, 7, 0.0), None);
}

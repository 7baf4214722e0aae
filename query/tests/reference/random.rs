//! Random series in a store, and random queries of them.

use std::sync::Arc;

use barograph_instrument::Registry;
use barograph_model::histogram::{CUSTOM_BOUNDS_SCHEMA, Span};
use barograph_model::{CounterResetHint, FloatHistogram, Histogram, Labels, TimeRange, stale_nan};
use barograph_tsdb::{Batch, Db, Options};

use super::histogram::Plain;
use super::{Stored, Val};

/// How long the samples of a store span.
const SPAN_MS: i64 = 600_000;
/// Where blocks end.
const BLOCK_MS: i64 = 7_200_000;
/// A sample so far behind the others makes the store put them into a block.
const LATER_MS: i64 = 4 * 3_600_000;
/// Distance of buckets beyond which none is made.
const BUCKETS: i32 = 6;

/// Numbers that take care: what is no number with and without something to tell, what has no bound,
/// the smallest and the largest.
const ODD: [f64; 12] = [
    f64::NAN,
    f64::from_bits(0x7ff8_0000_0000_beef),
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.0,
    -0.0,
    5e-324,
    1.5e308,
    -1e16,
    1e16,
    1.0,
    -2.5,
];

/// Numbers that follow from a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    pub(crate) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    fn selector(&mut self) -> String {
        let name = self.one(&[
            "c_total", "g", "g", "c_total", "h", "h", "n", "mix", "gh", "odd",
        ]);
        let matchers = self.one(&[
            "",
            "",
            "{i=\"1\"}",
            "{j!=\"0\"}",
            "{i=~\"[0-2]\"}",
            "{i!~\"3|4\"}",
        ]);
        format!("{name}{matchers}")
    }

    pub(crate) fn modifiers(&mut self) -> &'static str {
        self.one(&[
            "",
            "",
            "",
            "",
            " offset 30s",
            " offset -45s",
            " @ 600",
            " @ start()",
            " @ end() offset 1m",
            " @ 7200",
            " offset (step() * 2)",
            " offset -min_of(20s, step() + 5s)",
        ])
    }

    /// How long a window is: mostly fixed.
    fn range(&mut self) -> &'static str {
        self.one(&[
            "20s",
            "35s",
            "1m",
            "2m30s",
            "10m",
            "35s",
            "1m",
            "2m30s",
            "15s + 20s",
            "(step() + 10s) * 2",
            "max_of(2 * step(), 30s)",
            "min_of(range(), 1m) + 30s",
            "7m % 150s",
            "2 ^ 6",
        ])
    }

    pub(crate) fn window(&mut self, depth: u64) -> String {
        let range = self.range();
        if depth == 0 || self.below(4) > 0 {
            return format!("{}[{range}]{}", self.selector(), self.modifiers());
        }
        let step = self.one(&["7s", "15s", "1m", "max_of(step(), 7s)"]);
        let operand = self.vector(depth - 1);
        format!("({operand})[{range}:{step}]{}", self.modifiers())
    }

    /// Something with histograms whose buckets hold no less than nothing.
    fn histograms(&mut self) -> String {
        let name = self.one(&["h", "h", "n", "mix", "b_bucket", "b_bucket"]);
        let modifiers = self.modifiers();
        let plain = match self.below(4) {
            0 => format!("{name}{modifiers}"),
            1 => format!("increase({name}[2m]{modifiers})"),
            2 => format!("sum_over_time({name}[1m]{modifiers})"),
            _ => format!("rate({name}[90s]{modifiers})"),
        };
        match self.below(4) {
            3 => {
                let op = self.one(&["</", ">/"]);
                let at = self.one(&["-1.3", "0", "0.0003", "0.7", "2.2", "6"]);
                format!("({plain}) {op} {at}")
            }
            0 => plain,
            1 => format!("sum by (j, le) ({plain})"),
            _ => format!("avg without (i) ({plain})"),
        }
    }

    /// A query.
    pub(crate) fn query(&mut self) -> String {
        match self.below(12) {
            0 | 1 => self.estimated(),
            _ => self.vector(3),
        }
    }

    /// Estimates, alone and in what does not make much of a last bit: they are not exact, so
    /// comparing and ranking them is left out.
    fn estimated(&mut self) -> String {
        let estimate = self.estimate();
        match self.below(4) {
            0 => estimate,
            1 => format!("sum by (j) ({estimate})"),
            2 => {
                let function = self.one(&["max_over_time", "avg_over_time", "last_over_time"]);
                let step = self.one(&["7s", "15s", "1m"]);
                format!("{function}(({estimate})[90s:{step}]{})", self.modifiers())
            }
            _ => format!("2 * ({estimate})"),
        }
    }

    fn estimate(&mut self) -> String {
        let operand = self.histograms();
        match self.below(5) {
            4 => {
                let qs = self.one(&["0.0371", "0.4127, 0.9137", "-1, 0.5393, 1.1"]);
                format!("histogram_quantiles({operand}, \"q\", {qs})")
            }
            0 | 1 => {
                let q = self.one(&[
                    "0.0371", "0.4127", "0.5393", "0.9137", "0.9913", "-1", "1.1",
                ]);
                format!("histogram_quantile({q}, {operand})")
            }
            2 => {
                let lower = self.one(&["-Inf", "-2.3", "0", "0.4"]);
                let upper = self.one(&["0.3", "1.7", "7.1", "Inf"]);
                format!("histogram_fraction({lower}, {upper}, {operand})")
            }
            _ => {
                let part = self.one(&["histogram_stddev", "histogram_stdvar"]);
                format!("{part}({operand})")
            }
        }
    }

    /// What looks beyond its range.
    fn extended(&mut self) -> String {
        let name = self.one(&["c_total", "c_total", "g", "h", "n", "gh", "mix"]);
        let modifiers = self.modifiers();
        let range = self.range();
        match self.below(5) {
            0 => format!("{name} smoothed{modifiers}"),
            1 | 2 => {
                let function = self.one(&["rate", "increase", "delta", "changes", "resets"]);
                format!("{function}({name}[{range}] anchored{modifiers})")
            }
            _ => {
                let function = self.one(&["rate", "increase", "delta"]);
                format!("{function}({name}[{range}] smoothed{modifiers})")
            }
        }
    }

    /// Two parts of a vector that are the whole of it.
    fn split(&mut self, depth: u64) -> String {
        let operand = self.plain(depth);
        let (one, other) = match self.below(3) {
            0 => ("0.25", "-0.75"),
            1 => ("-0.5", "0.5"),
            _ => ("0", "-1"),
        };
        // By all labels: without `on`, series that differ in their names alone would be one.
        let by = "on (__name__, __type__, __unit__, i, j, le, job, instance, version, zone, data)";
        format!("limit_ratio({one}, {operand}) or {by} limit_ratio({other}, {operand})")
    }

    /// Series of which each comes from one series below: their order is that of the store.
    pub(crate) fn plain(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 3 } else { 8 }) {
            7 => self.extended(),
            0 => format!("{}{}", self.selector(), self.modifiers()),
            1 | 2 => {
                let function = self.one(&[
                    "rate",
                    "increase",
                    "irate",
                    "idelta",
                    "delta",
                    "rate",
                    "resets",
                    "changes",
                    "sum_over_time",
                    "avg_over_time",
                    "min_over_time",
                    "max_over_time",
                    "count_over_time",
                    "last_over_time",
                    "first_over_time",
                    "present_over_time",
                    "stddev_over_time",
                    "stdvar_over_time",
                ]);
                if self.below(8) == 0 {
                    let q = self.one(&["0", "0.3", "0.5", "1", "1.5", "-1"]);
                    return format!("quantile_over_time({q}, {})", self.window(depth));
                }
                format!("{function}({})", self.window(depth))
            }
            3 => {
                let function = self.one(&["abs", "ceil", "floor", "sqrt", "-"]);
                format!("{function}({})", self.plain(depth - 1))
            }
            4 => {
                let part = self.one(&["histogram_count", "histogram_sum", "histogram_avg"]);
                // Of these, Prometheus reads count and sum alone. Of gauges, resets of buckets are not
                // seen then; of counters, hints tell.
                let mut operand = self.plain(depth - 1);
                for end in ["{", "[", " ", ")"] {
                    operand = operand.replace(&format!("gh{end}"), &format!("h{end}"));
                }
                if operand.ends_with("gh") {
                    operand.replace_range(operand.len() - 2.., "h");
                }
                format!("{part}({operand})")
            }
            5 => {
                let operand = self.plain(depth - 1);
                let number = self.one(&["0", "1.5", "-3", "100"]);
                let function = self.one(&["clamp_min", "clamp_max"]);
                format!("{function}({operand}, {number})")
            }
            _ => {
                let op = self.one(&[
                    "+", "-", "*", "/", "%", ">", "<=", "== bool", "!=", ">= bool", "</", ">/",
                ]);
                let number = self.one(&["0", "1", "2.5", "-7", "40", "0.3"]);
                let operand = self.plain(depth - 1);
                if self.below(3) == 0 {
                    format!("{number} {op} ({operand})")
                } else {
                    format!("({operand}) {op} {number}")
                }
            }
        }
    }

    fn aggregate(&mut self, depth: u64) -> String {
        let grouping = self.one(&[
            "",
            "by (j)",
            "by (i)",
            "without (i)",
            "without (j)",
            "by (nope)",
        ]);
        let operand = self.plain(depth.saturating_sub(1));
        match self.below(9) {
            8 => {
                let ratio = self.one(&["0.5", "-0.3", "1", "-1", "0"]);
                format!("limit_ratio {grouping} ({ratio}, {operand})")
            }
            0 => format!("quantile {grouping} (0.4, {operand})"),
            1 | 2 => {
                let op = self.one(&["topk", "bottomk", "limitk"]);
                let count = self.one(&["0", "1", "2", "3", "100"]);
                format!("{op} {grouping} ({count}, {operand})")
            }
            _ => {
                let op = self.one(&[
                    "sum", "sum", "avg", "avg", "min", "max", "count", "group", "stddev", "stdvar",
                ]);
                format!("{op} {grouping} ({operand})")
            }
        }
    }

    /// How two vectors meet, and what stands for a sample that is missing.
    fn matching(&mut self) -> String {
        let on = self.one(&[
            "",
            "on (i)",
            "on (j)",
            "ignoring (j)",
            "on ()",
            "ignoring (i, j)",
        ]);
        let group = match self.below(6) {
            0 if !on.is_empty() => self.one(&["group_left ()", "group_right ()"]),
            1 if !on.is_empty() => {
                self.one(&["group_left (i)", "group_right (j)", "group_left (nope)"])
            }
            _ => "",
        };
        // A label is either compared or taken over.
        let clash = on.starts_with("on")
            && ["i", "j"].iter().any(|label| {
                on.contains(&format!("({label})")) && group.contains(&format!("({label})"))
            });
        let group = if clash { "" } else { group };
        let fill = self.one(&["", "", "", "fill (0)", "fill_left (2)", "fill_right (-1)"]);
        format!("{on} {group} {fill}")
    }

    pub(crate) fn vector(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 1 } else { 13 }) {
            12 => self.split(depth - 1),
            0..=4 => self.plain(depth),
            5..=7 => self.aggregate(depth),
            8 => format!("absent({})", self.vector(depth - 1)),
            9 => {
                let matchers = self.one(&[
                    "",
                    ", {version=~\".+\"}",
                    ", {version=\"1\"}",
                    ", {version!=\"1\", zone=~\".*\"}",
                ]);
                let name = self.one(&["up", "{__name__=~\"up|target_info\"}"]);
                format!("info({name}{matchers})")
            }
            _ => {
                let l = self.vector(depth - 1);
                // Queries often have the same part in several places.
                let r = match self.below(6) {
                    0 => l.clone(),
                    1 => format!("({}) + on (i, j) ({l})", self.plain(depth - 1)),
                    _ => self.vector(depth - 1),
                };
                if self.below(3) == 0 {
                    let op = self.one(&["and", "or", "unless"]);
                    let matching = self.one(&["", "on (i)", "on (j)", "ignoring (j)", "on ()"]);
                    return format!("({l}) {op} {matching} ({r})");
                }
                let op = self.one(&[
                    "+", "-", "/", "*", ">", "==", "!=", "< bool", "== bool", "</", ">/",
                ]);
                let matching = self.matching();
                format!("({l}) {op} {matching} ({r})")
            }
        }
    }
}

/// A store, what is in it, and since when.
pub(crate) struct Store {
    pub(crate) db: Db,
    /// In the order in which the store gives series.
    pub(crate) series: Vec<Stored>,
    /// The first sample is not before.
    pub(crate) base_ms: i64,
    _directory: tempfile::TempDir,
}

impl Store {
    /// Counters that fall, gauges, histograms of both kinds, with gaps and staleness markers; ten
    /// minutes of them. In one of two stores, the first half of them is in a block; a part of them
    /// came out of order.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut options = Options::new(directory.path());
        options.retention_ms = 0;
        let db = Db::open(options, &Registry::new()).expect("a store");
        let in_blocks = dice.below(2) == 0;
        let base_ms = if in_blocks { BLOCK_MS - SPAN_MS / 2 } else { 0 };
        let mut series = Vec::new();
        let has_types = dice.below(3) == 0;
        for (name, count) in [
            ("c_total", 5),
            ("g", 5),
            ("h", 5),
            ("n", 4),
            ("mix", 3),
            ("gh", 3),
            ("odd", 4),
        ] {
            for i in 0..count {
                let (i, j) = (i.to_string(), (i % 2).to_string());
                let mut pairs = vec![("__name__", name), ("i", &i), ("j", &j)];
                if has_types {
                    pairs.push(("__type__", ["counter", "gauge"][usize::from(name == "g")]));
                    pairs.push(("__unit__", ["bytes", "seconds"][dice.below(2) as usize]));
                }
                let labels = Labels::from_pairs(pairs);
                series.push((labels, samples(dice, name, base_ms)));
            }
        }
        series.extend(classics(dice, base_ms));
        series.extend(infos(dice, base_ms));
        for (labels, samples) in &series {
            append(dice, &db, labels, samples);
        }
        if in_blocks {
            let labels = Labels::from_pairs([("__name__", "later")]);
            let far = (BLOCK_MS + LATER_MS, Some(Val::Float(1.0)));
            append(dice, &db, &labels, &[far]);
            db.maintain();
            assert!(!db.blocks().is_empty(), "no block was made");
        }
        let everything = TimeRange {
            start_ms: i64::MIN,
            end_ms: i64::MAX,
        };
        let selection = db.snapshot().select(&[], everything).expect("readable");
        let place =
            |labels: &Labels| (0..selection.len()).position(|at| selection.labels(at) == labels);
        series.sort_by_key(|(labels, _)| place(labels));
        Self {
            db,
            series,
            base_ms,
            _directory: directory,
        }
    }

    /// Whether a query selects a metric that has histograms.
    pub(crate) fn reads_histograms(text: &str) -> bool {
        let names = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        names
            .into_iter()
            .any(|word| matches!(word, "h" | "n" | "mix" | "gh" | "b_bucket"))
    }
}

/// Classic histograms: counters of what is not above a bound, scraped at one time.
fn classics(dice: &mut Dice, base_ms: i64) -> Vec<Stored> {
    const BOUNDS: [&str; 5] = ["-1", "0.5", "1", "5", "+Inf"];
    let mut all = Vec::new();
    for i in 0..3u32 {
        let (i, j) = (i.to_string(), (i % 2).to_string());
        let mut buckets = vec![Vec::new(); BOUNDS.len()];
        let mut counts = [0.0; BOUNDS.len()];
        for (time_ms, value) in samples(dice, "one", base_ms) {
            let observed = dice.below(BOUNDS.len() as u64 + 2) as usize;
            if dice.below(30) == 0 {
                counts = [0.0; BOUNDS.len()];
            }
            for (at, count) in counts.iter_mut().enumerate() {
                *count += if at >= observed { 3.0 } else { 0.0 };
                // Now and then one is missing.
                if dice.below(25) > 0 {
                    buckets[at].push((time_ms, value.as_ref().map(|_| Val::Float(*count))));
                }
            }
        }
        for (bound, samples) in BOUNDS.iter().zip(buckets) {
            let labels = Labels::from_pairs([
                ("__name__", "b_bucket"),
                ("i", &i),
                ("j", &j),
                ("le", bound),
            ]);
            all.push((labels, samples));
        }
    }
    all
}

/// `up` of three targets, and what is known of them: it changes, and may be missing.
fn infos(dice: &mut Dice, base_ms: i64) -> Vec<Stored> {
    let mut all = Vec::new();
    for instance in ["0", "1", "2"] {
        let of = |name: &str| {
            [
                ("__name__", name.to_owned()),
                ("instance", instance.to_owned()),
                ("job", "a".to_owned()),
            ]
        };
        let up = Labels::from_pairs(of("up"));
        all.push((up, samples(dice, "g", base_ms)));
        for version in 0..dice.below(3) {
            let mut pairs = of("target_info").to_vec();
            pairs.push(("version", version.to_string()));
            if dice.below(2) == 0 {
                pairs.push(("zone", "z".to_owned()));
            }
            // Times that differ by the version: of two at one time, none would be the newer.
            let shift = version as i64;
            let mut own = samples(dice, "one", base_ms);
            for (time_ms, _) in &mut own {
                *time_ms = *time_ms / 10 * 10 + shift;
            }
            all.push((Labels::from_pairs(pairs), own));
        }
    }
    all
}

fn samples(dice: &mut Dice, name: &str, base_ms: i64) -> Vec<(i64, Option<Val>)> {
    let mut time_ms = base_ms + dice.below(20_000) as i64;
    let mut value = 0.0;
    let mut histogram = Growing::new(dice, name == "n");
    let mut samples = Vec::new();
    while time_ms < base_ms + SPAN_MS {
        let sample = match name {
            "one" => Val::Float(1.0),
            "h" | "n" => Val::Histogram(histogram.next(dice)),
            "gh" => {
                // Gauges fall as well.
                if dice.below(4) == 0 {
                    histogram.begin(dice);
                }
                let mut next = histogram.next(dice);
                next.is_gauge = true;
                Val::Histogram(next)
            }
            "odd" => Val::Float(ODD[dice.below(ODD.len() as u64) as usize]),
            "mix" if dice.below(4) > 0 => Val::Histogram(histogram.next(dice)),
            "c_total" if dice.below(20) == 0 => {
                value = dice.below(3) as f64;
                Val::Float(value)
            }
            "c_total" => {
                value += dice.below(50) as f64 / 4.0;
                Val::Float(value)
            }
            _ => Val::Float(dice.below(2000) as f64 / 10.0 - 100.0),
        };
        match dice.below(40) {
            0 => time_ms += 90_000,
            1 => samples.push((time_ms, None)),
            _ => samples.push((time_ms, Some(sample))),
        }
        time_ms += 10_000 + dice.below(3) as i64 * 1_000;
    }
    samples
}

/// A histogram that grows, and now and then begins anew or changes its layout.
struct Growing {
    now: Plain,
    is_custom: bool,
}

impl Growing {
    fn new(dice: &mut Dice, is_custom: bool) -> Self {
        let mut growing = Self {
            now: Plain::default(),
            is_custom,
        };
        growing.begin(dice);
        growing
    }

    /// Empty, with a layout.
    fn begin(&mut self, dice: &mut Dice) {
        self.now = Plain::default();
        if self.is_custom {
            self.now.schema = CUSTOM_BOUNDS_SCHEMA;
            self.now.bounds = match dice.below(3) {
                0 => vec![0.5, 1.0, 5.0],
                1 => vec![0.5, 1.0, 2.0, 5.0],
                _ => vec![1.0, 5.0, 10.0],
            };
        } else {
            self.now.schema = dice.below(3) as i32;
            self.now.zero_threshold = 0.001;
        }
    }

    fn next(&mut self, dice: &mut Dice) -> Plain {
        if dice.below(15) == 0 {
            self.begin(dice);
        }
        for _ in 0..=dice.below(3) {
            let more = dice.below(8) as f64;
            let now = &mut self.now;
            if self.is_custom {
                let at = dice.below(now.bounds.len() as u64 + 1) as i32;
                *now.positive.entry(at).or_insert(0.0) += more;
            } else {
                let at = dice.below(BUCKETS as u64) as i32 - BUCKETS / 2;
                match dice.below(5) {
                    0 => now.zero_count += more,
                    1 => *now.negative.entry(at).or_insert(0.0) += more,
                    _ => *now.positive.entry(at).or_insert(0.0) += more,
                }
            }
            now.count += more;
            now.sum += more * dice.below(20) as f64 / 4.0;
        }
        self.now = std::mem::take(&mut self.now).compact();
        self.now.clone()
    }
}

/// Since when the counters behind samples count, 0 where nobody says: now and then they begin anew
/// between two samples, at the one before, or before it.
pub(crate) fn starts_of(samples: &[(i64, Option<Val>)]) -> Vec<i64> {
    let (mut start_ms, mut before_ms) = (0, 0);
    let mut starts = Vec::new();
    for (time_ms, value) in samples {
        if time_ms / 1000 % 7 == 0 {
            start_ms = before_ms + [3_000, 0, 5_000, -4_000][(time_ms / 1000 % 4) as usize];
        }
        before_ms = *time_ms;
        starts.push(if value.is_some() { start_ms } else { 0 });
    }
    starts
}

/// Stores a series; one of three has samples out of order.
fn append(dice: &mut Dice, db: &Db, labels: &Labels, samples: &[(i64, Option<Val>)]) {
    let group = db.open_group();
    let series = db.register(group, labels).expect("room");
    let starts = starts_of(samples);
    let mut order: Vec<(&(i64, Option<Val>), i64)> = samples.iter().zip(starts).collect();
    if dice.below(3) == 0 {
        for _ in 0..3 {
            let at = dice.below(order.len() as u64) as usize;
            let to = (at + 1 + dice.below(4) as usize).min(order.len() - 1);
            order.swap(at, to);
        }
    }
    let mut batch = Batch::new(group);
    for ((time_ms, value), start_ms) in order {
        batch.clear();
        match value {
            None => batch.push(series, *time_ms, stale_nan()),
            Some(Val::Float(value)) => batch.push(series, *time_ms, *value),
            Some(Val::Histogram(plain)) => batch
                .push_histogram(series, *time_ms, &Histogram::Float(stored(plain)))
                .expect("well formed"),
        }
        batch.set_start(start_ms);
        assert_eq!(db.append(&batch).expect("stored").rejected, []);
    }
}

/// As writers send it.
fn stored(plain: &Plain) -> FloatHistogram {
    let spans = |buckets: &std::collections::BTreeMap<i32, f64>| {
        let (mut spans, mut behind): (Vec<Span>, i32) = (Vec::new(), 0);
        for index in buckets.keys() {
            match spans.last_mut() {
                Some(span) if behind == *index => span.length += 1,
                _ => spans.push(Span {
                    offset: index - behind,
                    length: 1,
                }),
            }
            behind = index + 1;
        }
        spans
    };
    FloatHistogram {
        schema: plain.schema,
        zero_threshold: plain.zero_threshold,
        zero_count: plain.zero_count,
        count: plain.count,
        sum: plain.sum,
        positive_spans: spans(&plain.positive),
        positive_buckets: plain.positive.values().copied().collect(),
        negative_spans: spans(&plain.negative),
        negative_buckets: plain.negative.values().copied().collect(),
        custom_bounds: Arc::from(&plain.bounds[..]),
        counter_reset_hint: if plain.is_gauge {
            CounterResetHint::Gauge
        } else {
            CounterResetHint::Unknown
        },
    }
}

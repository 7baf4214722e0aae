//! A deterministic workload: what each series of each target says at each scrape.
//!
//! The mix follows recorded exporters (node_exporter, an Express service with prom-client,
//! Alertmanager): most series stand still, a quarter are whole numbers or short decimals that move,
//! a few are true floats. Labels have the length and number that a cluster's pods have.

use std::fmt::Write as _;

/// How much is served.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many targets.
    pub targets: usize,
    /// Series per target.
    pub series: usize,
    /// Changes every value; the same seed serves the same bytes.
    pub seed: u64,
}

/// What kind of value a series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Never changes.
    Constant,
    /// Rises by whole numbers at each scrape.
    Counter,
    /// Rises by one now and then.
    RareCounter,
    /// A decimal with one digit behind the point, wandering.
    Decimal,
    /// A float of full precision.
    Float,
}

/// Of 100 series, how many are of which kind.
const MIX: [(usize, Kind); 5] = [
    (62, Kind::Constant),
    (14, Kind::Counter),
    (12, Kind::RareCounter),
    (9, Kind::Decimal),
    (3, Kind::Float),
];

/// One target's page, ready to be written again and again.
pub struct Page {
    /// The text up to and including the space before each value.
    lines: Vec<String>,
    kinds: Vec<Kind>,
    state: Vec<f64>,
    random: Random,
}

impl Page {
    /// The page of target number `target`.
    pub fn new(shape: Shape, target: usize) -> Self {
        let mut random =
            Random(shape.seed ^ (target as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut lines = Vec::with_capacity(shape.series);
        let mut kinds = Vec::with_capacity(shape.series);
        for series in 0..shape.series {
            let kind = kind_of(series);
            let mut line = String::new();
            let family = series / 10;
            if series.is_multiple_of(10) {
                let _ = writeln!(
                    line,
                    "# TYPE http_server_requests_family_{family}_total counter"
                );
            }
            let _ = write!(
                line,
                "http_server_requests_family_{family}_total{{method=\"{}\",code=\"{}\",path=\"/api/v1/resource/{}\",handler=\"request-handler-{}\",container=\"container-{}\"}} ",
                ["GET", "POST"][series % 2],
                200 + series % 5,
                series % 10,
                family,
                series % 50,
            );
            lines.push(line);
            kinds.push(kind);
        }
        let state = (0..shape.series)
            .map(|_| (random.next() % 10_000) as f64)
            .collect();
        Self {
            lines,
            kinds,
            state,
            random,
        }
    }

    /// Moves every series on by one scrape and writes the page, text 0.0.4, over `out`.
    pub fn render(&mut self, out: &mut String) {
        out.clear();
        for ((line, kind), value) in self.lines.iter().zip(&self.kinds).zip(&mut self.state) {
            let random = self.random.next();
            match kind {
                Kind::Constant => {}
                Kind::Counter => *value += (random % 100) as f64,
                Kind::RareCounter => *value += f64::from(u8::from(random.is_multiple_of(10))),
                Kind::Decimal => *value = (random % 1_000) as f64 / 10.0,
                Kind::Float => *value += (random % 1_000_003) as f64 / 1_000_003.0,
            }
            out.push_str(line);
            if value.fract() == 0.0 {
                out.push_str(itoa::Buffer::new().format(*value as i64));
            } else {
                let _ = write!(out, "{value}");
            }
            out.push('\n');
        }
    }
}

fn kind_of(series: usize) -> Kind {
    // Neighbours get unlike kinds, whatever the number of series.
    let mut place = series * 37 % 100;
    for (share, kind) in MIX {
        if place < share {
            return kind;
        }
        place -= share;
    }
    Kind::Constant
}

/// xorshift64*: fast, seeded, good enough for values.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_serves_the_same_bytes() {
        let shape = Shape {
            targets: 2,
            series: 200,
            seed: 7,
        };
        let render = |target| {
            let (mut page, mut out) = (Page::new(shape, target), String::new());
            page.render(&mut out);
            let first = out.clone();
            page.render(&mut out);
            (first, out)
        };
        assert_eq!(render(0), render(0));
        assert_ne!(render(0).0, render(1).0, "targets differ");
        let (first, second) = render(0);
        let moved = first
            .lines()
            .zip(second.lines())
            .filter(|(a, b)| a != b)
            .count();
        assert!((30..90).contains(&moved), "{moved} of 200 series moved");
    }
}

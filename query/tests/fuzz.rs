//! What people and programs may send: texts cut, doubled and mixed at random. Nothing panics,
//! nothing overflows the stack, nothing takes long, and what parses prints as something that parses
//! to the same.
//!
//! Runs a bounded number of cases from a fixed seed; `FUZZ_CASES` and `FUZZ_SEED` ask for more and
//! for others, `BAROGRAPH_FUZZ_SECONDS` goes on for so long with each test.

use std::time::{Duration, Instant};

use barograph_model::Pattern;
use barograph_query::script::Script;
use barograph_query::{ParseOptions, parse_selector, parse_with};

/// Cases per test where nothing else is asked for.
const CASES: u64 = 3_000;
/// Longest time that a processor may spend on one text, in an unoptimized build.
const CASE_LIMIT: Duration = Duration::from_secs(2);

const QUERIES: &[&str] = &[
    "sum by (job) (rate(http_requests_total{code=~\"5..\", path!=\"/\"}[5m] offset 1h @ 100))",
    "histogram_quantile(0.9, sum without (instance) (rate(latency_bucket[5m]))) > bool 0.5",
    "a + on (x, \"y z\") group_left (b) fill (0) c or -d ^ 2 ^ 3 unless e and {\"utf.8\", f='g'}",
    "max_over_time(deriv(rate(q[1m])[5m:1m])[10m:] @ end() offset -5m)",
    "label_replace(up, \"a\", \"$1\", `b`, \"(.*)\\\\d\\x41\\u00e9\") atan2 1e-3 # comment\n",
    "topk(3, m[step() + max_of(1m, 2 * range()):min_of(30s, 1.5)] anchored)",
    "limit_ratio(-0.5, info(x, {data=~\".+\"})) </ 0x1F >/ 08.5 % 1_000 * inf / NaN",
    "count_values(\"v\", abs(n offset (5m - 1s) smoothed)) == 1h30m",
];
const PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "'",
    "`",
    "\\",
    "\0",
    "é",
    "\u{10ffff}",
    "#",
    "\n",
    "0x",
    "1e",
    "1.5m",
    "5y1hs",
    "9999999999999999999999",
    "by",
    "on",
    "offset",
    "@",
    "start()",
    "bool",
    "sum(",
    "rate(",
    "a{",
    "b[1m]",
    "[5m:",
    "==",
    "=~",
    "</",
    "^",
    "-",
    "fill(",
    "group_left",
    "anchored",
    "__name__",
    "inf",
    "_",
    "ms",
];
const PATTERNS: &[&str] = &[
    "(?i:foo|bar)(?P<name>[a-z0-9_]+)\\d*?$",
    "^(a|b|c|[^x-z&&[:alpha:]])+\\pL\\P{Greek}{2,5}",
    "\\Qliteral.*\\E(?s-m:.)\\x{10FFFF}\\123\\b\\B\\A\\z",
    "prod-[0-9]{1,3}\\.example\\.com|.+|",
];
const PATTERN_PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "*",
    "+",
    "?",
    "|",
    "\\",
    "^",
    "$",
    ".",
    "-",
    "(?",
    "(?i",
    "\\p",
    "\\x{",
    "{1000}",
    "{2,1}",
    "[[:",
    ":]]",
    "\\Q",
    "\\E",
    "&&",
    "é",
    "\0",
    "(?P<",
    "\\1",
    "a{1000}{1000}",
];

const SCRIPTS: &[&str] = &[
    "load 5m\n  m{a=\"1\", \"b.c\"='d'} 0+10x100 _x3 stale 1-2x4\n\neval instant at 50m sum(m)\n  {} 100\n",
    "load_with_nhcb 1m30s\n  h_bucket{le=\"+Inf\"} 1+1x3\n  h {{schema:1 count:3 sum:4 buckets:[1 2]}}x3\nclear\n",
    "load 1m\n  h {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{sum:2.4 count:1 buckets:[1] offset:1}}x10\n",
    "load 1m\n  n {{schema:-53 count:3 sum:-Inf custom_values:[1 2.5] counter_reset_hint:gauge offset:-1 n_buckets:[1 2] z_bucket:1 z_bucket_w:1e-3 n_offset:2}} @st 5m\n",
    "eval range from 0 to 10m step 1m rate(m[5m])\n  expect warn msg: PromQL warning: x\n  expect no_info\n  {a=\"1\"} 1 2 _ NaN Inf {{count:1}}\n",
    "eval instant at 1m x\n  expect fail regex: .*\n# a comment\neval_fail instant at 1m y\neval_ordered instant at 1m z\n  a 1\n  b 2\n  expect ordered\n",
];
const SCRIPT_PIECES: &[&str] = &[
    "{{",
    "}}",
    "[",
    "]",
    ":",
    "x",
    "x999999999999",
    "x1000000",
    "+",
    "-",
    "_",
    "stale",
    "load",
    "load 1m\n",
    "\n",
    "\n  ",
    "  ",
    "eval",
    "eval instant at ",
    "range from ",
    "clear",
    "expect ",
    "@st",
    "1e999",
    "-0",
    "NaN",
    "schema:",
    "schema:99999999999",
    "buckets:[",
    "offset:2147483647",
    "n_offset:-2147483648",
    "count:",
    "custom_values:[",
    "counter_reset_hint:",
    "é",
    "\0",
    "\"",
    "{",
    "}",
    "#",
    "y",
    "9999999y",
];

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    /// A place between two characters.
    fn place(&mut self, text: &str) -> usize {
        let mut at = self.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// One of the texts, changed in a few places.
    fn text(&mut self, seeds: &[&str], pieces: &[&str]) -> String {
        let mut text = seeds[self.below(seeds.len())].to_owned();
        for _ in 0..=self.below(6) {
            let (a, b) = (self.place(&text), self.place(&text));
            let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 12));
            let to = (from..=to)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(from);
            match self.below(5) {
                0 => text.replace_range(from..to, ""),
                1 => text.insert_str(from, pieces[self.below(pieces.len())]),
                2 => text.replace_range(from..to, pieces[self.below(pieces.len())]),
                3 => {
                    let again = text[from..to].to_owned();
                    text.insert_str(to, &again);
                }
                _ => {
                    let other = seeds[self.below(seeds.len())];
                    let (a, b) = (self.place(other), self.place(other));
                    text.insert_str(from, &other[a.min(b)..a.max(b)]);
                }
            }
        }
        text
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Time of this thread on a processor: what else the machine does is not in it.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn each_case(name: &str, mut check: impl FnMut(&mut Dice)) {
    let seed = setting("FUZZ_SEED", 20_261_121);
    let cases = setting("FUZZ_CASES", CASES);
    let seconds = setting("BAROGRAPH_FUZZ_SECONDS", 0);
    let (began, mut case, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while match seconds {
        0 => case < cases,
        seconds => began.elapsed().as_secs() < seconds,
    } {
        let before = processor_time();
        check(&mut Dice(seed.wrapping_mul(1_000_003).wrapping_add(case)));
        let took = processor_time().saturating_sub(before);
        assert!(
            took < CASE_LIMIT,
            "{name}: case {case} of seed {seed} took {took:?}"
        );
        longest = longest.max(took);
        case += 1;
    }
    println!(
        "{name}: {case} cases of seed {seed} in {:.0?}, the longest {longest:.1?}",
        began.elapsed()
    );
}

#[test]
fn queries_never_panic_and_print_as_what_they_are() {
    let (mut parsed, mut refused) = (0u64, 0u64);
    each_case("queries", |dice| {
        let text = dice.text(QUERIES, PIECES);
        let _ = parse_selector(&text);
        let _ = parse_with(&text, ParseOptions::default());
        match parse_with(&text, ParseOptions::ALL) {
            Ok(expr) => {
                parsed += 1;
                let printed = expr.to_string();
                let again = parse_with(&printed, ParseOptions::ALL)
                    .unwrap_or_else(|error| panic!("{text:?} prints as {printed:?}: {error}"));
                assert_eq!(again.to_string(), printed, "{text:?}");
                let pretty = expr.pretty();
                let again = parse_with(&pretty, ParseOptions::ALL)
                    .unwrap_or_else(|error| panic!("{text:?} formats as {pretty:?}: {error}"));
                assert_eq!(again.to_string(), printed, "{text:?}");
            }
            Err(error) => {
                refused += 1;
                assert!(
                    error.start <= error.end && error.end <= text.len() + 1,
                    "{text:?}"
                );
                assert!(!error.to_string().is_empty());
            }
        }
    });
    // Otherwise the changes are too small or too large to find anything.
    assert!(
        parsed > refused / 50 && refused > parsed / 50,
        "{parsed} parsed, {refused} refused"
    );
}

#[test]
fn deep_and_long_queries_end_at_once() {
    // The stack of the thread that parses is no larger than that of a server's.
    let worst = || {
        for (piece, behind) in [
            ("(", ""),
            ("-", "a"),
            ("sum(", ""),
            ("a[1m:", ""),
            ("a + ", "a"),
            ("a ^ ", "a"),
            ("a[", ""),
            ("rate(", "a[5m]"),
            ("a or -(", "b"),
            ("{", ""),
            ("a offset -", "1m"),
            ("a[(", "1m"),
            ("a[-", "1m]"),
            ("a[1m + ", "1m]"),
            ("a[max_of(", "1m"),
            ("a @ ", "1"),
            ("sum by (x) ", "(a)"),
            ("a == bool ", "1"),
            ("[", "]"),
            ("\"", ""),
            ("a,", ""),
        ] {
            for count in [150, 5_000, 100_000] {
                let text = format!("{}{behind}", piece.repeat(count));
                let before = processor_time();
                let parsed = parse_with(&text, ParseOptions::ALL);
                assert!(
                    parsed.is_err() || count == 150,
                    "{count} times {piece:?} is too much"
                );
                drop(parsed);
                let took = processor_time().saturating_sub(before);
                assert!(
                    took < 5 * CASE_LIMIT,
                    "{count} times {piece:?} took {took:?}"
                );
            }
        }
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(worst)
        .expect("a thread")
        .join()
        .expect("no text is too deep");
}

#[test]
fn patterns_never_panic_and_compile_in_time() {
    let (mut compiled, mut refused) = (0u64, 0u64);
    each_case("patterns", |dice| {
        let text = dice.text(PATTERNS, PATTERN_PIECES);
        match Pattern::new(&text) {
            Ok(pattern) => {
                compiled += 1;
                for value in ["", "foo", "prod-12.example.com", "é\0\u{10ffff}"] {
                    let _ = pattern.is_match(value);
                }
            }
            Err(_) => refused += 1,
        }
    });
    assert!(
        compiled > refused / 50 && refused > compiled / 50,
        "{compiled} compiled, {refused} refused"
    );
}

#[test]
fn scripts_never_panic_and_are_read_in_time() {
    let (mut read, mut refused) = (0u64, 0u64);
    each_case("scripts", |dice| {
        match Script::parse(&dice.text(SCRIPTS, SCRIPT_PIECES)) {
            Ok(_) => read += 1,
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    });
    assert!(
        read > refused / 50 && refused > read / 50,
        "{read} read, {refused} refused"
    );
}

#[test]
fn deep_and_long_scripts_end_at_once() {
    for (head, piece, behind) in [
        ("load 1m\n  h ", "{{", ""),
        ("load 1m\n  h ", "{{schema:1 buckets:[", "]}}"),
        ("load 1m\n  h {{buckets:[", "1 ", "]}}"),
        ("load 1m\n  h {{custom_values:[", "1 ", "]}}x1000000"),
        ("load 1m\n  h ", "{{count:1}}+", "{{count:1}}x5"),
        ("load 1m\n  h {{", "count:1 ", "}}"),
        ("load 1m\n  m ", "1 ", ""),
        ("load 1m\n  m ", "1x1000000 ", ""),
        ("load 1m\n  m", "{a=\"b\"}", " 1"),
        ("load 1m\n  m{", "a=\"b\",", "} 1"),
        ("", "load 1m\n  m 1\n", ""),
        ("eval instant at 1m ", "(", ""),
        ("eval instant at 1m x\n", "  expect warn\n", ""),
        ("", "eval instant at 1m x\n", ""),
        ("", "clear\n", ""),
    ] {
        for count in [100, 10_000] {
            let text = format!("{head}{}{behind}", piece.repeat(count));
            let before = processor_time();
            let parsed = Script::parse(&text);
            drop(parsed);
            let took = processor_time().saturating_sub(before);
            assert!(
                took < 5 * CASE_LIMIT,
                "{count} times {piece:?} behind {head:?} took {took:?}"
            );
        }
    }
}

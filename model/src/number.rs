//! Numbers as text, in the three layouts Prometheus's formats use.
//!
//! All take the shortest digits that read back to the same bits (from `zmij`) and lay them out as
//! Go's `strconv.FormatFloat(v, fmt, -1, 64)` would.

/// Appends `value` as Go's `%g` with the shortest digits: `1.234567e+06`, `0.0001`, `+Inf`.
/// Exposition text and PromQL's own printing use this.
pub fn push_go_g(out: &mut String, value: f64) {
    if push_special(out, value) {
        return;
    }
    let digits = Digits::of(value);
    if (-4..6).contains(&(digits.point - 1)) {
        digits.push_positional(out);
    } else {
        digits.push_exponential(out);
    }
}

/// Appends `value` as OpenMetrics wants it: [`push_go_g`], with `.0` behind what would otherwise
/// read as an integer.
pub fn push_open_metrics(out: &mut String, value: f64) {
    let start = out.len();
    push_go_g(out, value);
    if value.is_finite() && !out[start..].contains(['.', 'e']) {
        out.push_str(".0");
    }
}

/// Appends `value` as the HTTP API's JSON shows it: positional, but exponential below 1e-6 and
/// from 1e21.
pub fn push_json(out: &mut String, value: f64) {
    if push_special(out, value) {
        return;
    }
    let magnitude = value.abs();
    let digits = Digits::of(value);
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        digits.push_exponential(out);
    } else {
        digits.push_positional(out);
    }
}

/// [`push_go_g`] into a new string.
pub fn go_g(value: f64) -> String {
    let mut text = String::new();
    push_go_g(&mut text, value);
    text
}

/// [`push_json`] into a new string.
pub fn json(value: f64) -> String {
    let mut text = String::new();
    push_json(&mut text, value);
    text
}

fn push_special(out: &mut String, value: f64) -> bool {
    let text = if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "+Inf"
    } else if value == f64::NEG_INFINITY {
        "-Inf"
    } else {
        return false;
    };
    out.push_str(text);
    true
}

/// A finite number as 0.DDDD × 10^point.
struct Digits {
    negative: bool,
    /// ASCII digits without leading or trailing zeros; one `0` for zero.
    ascii: [u8; 20],
    count: usize,
    point: i32,
}

impl Digits {
    fn of(value: f64) -> Self {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value.abs());
        let (mantissa, exponent) = match text.split_once('e') {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or(0)),
            None => (text, 0),
        };
        let whole = mantissa.find('.').unwrap_or(mantissa.len());
        let mut this = Self {
            negative: value.is_sign_negative(),
            ascii: [0; 20],
            count: 0,
            point: whole as i32 + exponent,
        };
        // Up to 17 significant digits, but leading or trailing zeros may stand around them.
        let mut zeros = 0;
        for byte in mantissa.bytes().filter(u8::is_ascii_digit) {
            if byte == b'0' {
                if this.count == 0 {
                    this.point -= 1;
                } else {
                    zeros += 1;
                }
                continue;
            }
            for _ in 0..std::mem::take(&mut zeros) {
                this.push(b'0');
            }
            this.push(byte);
        }
        if this.count == 0 {
            this.push(b'0');
            this.point = 1;
        }
        this
    }

    fn push(&mut self, digit: u8) {
        self.ascii[self.count] = digit;
        self.count += 1;
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.ascii[..self.count]).unwrap_or_default()
    }

    fn push_positional(&self, out: &mut String) {
        if self.negative {
            out.push('-');
        }
        let digits = self.as_str();
        if self.point <= 0 {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', self.point.unsigned_abs() as usize));
            out.push_str(digits);
        } else if (self.point as usize) < digits.len() {
            let (whole, fraction) = digits.split_at(self.point as usize);
            out.push_str(whole);
            out.push('.');
            out.push_str(fraction);
        } else {
            out.push_str(digits);
            out.extend(std::iter::repeat_n('0', self.point as usize - digits.len()));
        }
    }

    fn push_exponential(&self, out: &mut String) {
        if self.negative {
            out.push('-');
        }
        let (first, rest) = self.as_str().split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        let exponent = self.point - 1;
        out.push_str(if exponent < 0 { "e-" } else { "e+" });
        let magnitude = exponent.unsigned_abs();
        if magnitude < 10 {
            out.push('0');
        }
        out.push_str(itoa::Buffer::new().format(magnitude));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value, Go's 'g', the API's JSON.
    const TABLE: &[(f64, &str, &str)] = &[
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (1.0, "1", "1"),
        (100_000.0, "100000", "100000"),
        (999_999.0, "999999", "999999"),
        (1_000_000.0, "1e+06", "1000000"),
        (1_234_567.0, "1.234567e+06", "1234567"),
        (12_345_678.5, "1.23456785e+07", "12345678.5"),
        (1e20, "1e+20", "100000000000000000000"),
        (1e21, "1e+21", "1e+21"),
        (0.0001, "0.0001", "0.0001"),
        (0.00001, "1e-05", "0.00001"),
        (1.5e-7, "1.5e-07", "1.5e-07"),
        (123.456, "123.456", "123.456"),
        (1.000_000_5e6, "1.0000005e+06", "1000000.5"),
        (5e-324, "5e-324", "5e-324"),
        (
            -f64::MAX,
            "-1.7976931348623157e+308",
            "-1.7976931348623157e+308",
        ),
        (f64::INFINITY, "+Inf", "+Inf"),
        (f64::NEG_INFINITY, "-Inf", "-Inf"),
        (f64::NAN, "NaN", "NaN"),
        (10_203.040_5, "10203.0405", "10203.0405"),
    ];

    #[test]
    fn numbers_are_laid_out_as_go_does() {
        for &(value, want_g, want_json) in TABLE {
            assert_eq!(go_g(value), want_g);
            assert_eq!(json(value), want_json);
        }
    }

    #[test]
    fn what_is_written_reads_back_to_the_same_bits() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = f64::from_bits(state);
            if value.is_finite() {
                for text in [go_g(value), json(value)] {
                    let back: f64 = text.parse().expect("a number");
                    assert_eq!(back.to_bits(), value.to_bits(), "{text}");
                }
            }
        }
    }

    #[test]
    fn open_metrics_marks_floats() {
        for (value, want) in [
            (1.0, "1.0"),
            (1e6, "1e+06"),
            (0.5, "0.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            let mut text = String::new();
            push_open_metrics(&mut text, value);
            assert_eq!(text, want);
        }
    }
}

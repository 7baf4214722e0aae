//! Go's `fmt.Sprintf` for the values templates have.

use std::fmt::Write;

use barograph_model::number;

use super::value::Value;

/// Widest field and longest precision accepted.
const WIDTH_LIMIT: usize = 1_000;

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag of the format")]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Fills `format` with `args`.
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut chars = format.chars().peekable();
    while let Some(ch) = chars.next() {
        if ch != '%' {
            out.push(ch);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        spec.width = count(&mut chars, args, &mut used);
        if chars.peek() == Some(&'.') {
            chars.next();
            spec.precision = Some(count(&mut chars, args, &mut used).unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.get(used) else {
            put(&mut out, format_args!("%!{verb}(MISSING)"));
            continue;
        };
        used += 1;
        let text = verb_text(verb, &spec, arg);
        pad(&mut out, &spec, &text, arg);
    }
    if used < args.len() {
        out.push_str("%!(EXTRA ");
        for (index, arg) in args[used..].iter().enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            put(
                &mut out,
                format_args!("{}={}", arg.type_name(), arg.to_display()),
            );
        }
        out.push(')');
    }
    out
}

/// Writing into a string cannot fail.
pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn count(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    args: &[Value],
    used: &mut usize,
) -> Option<usize> {
    if chars.peek() == Some(&'*') {
        chars.next();
        let value = match args.get(*used) {
            Some(Value::Int(value)) => usize::try_from(*value).ok(),
            _ => None,
        };
        *used += 1;
        return value.map(|value| value.min(WIDTH_LIMIT));
    }
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|ch| ch.to_digit(10)) {
        value = Some((value.unwrap_or(0) * 10 + digit as usize).min(WIDTH_LIMIT));
        chars.next();
    }
    value
}

fn verb_text(verb: char, spec: &Spec, arg: &Value) -> String {
    let text = match (verb, arg) {
        ('T', _) => Some(arg.type_name().to_owned()),
        ('t', Value::Bool(value)) => Some(value.to_string()),
        ('d' | 'v', Value::Int(value)) | ('d', Value::Duration(value)) => {
            Some(signed(spec, *value, 10))
        }
        ('b', Value::Int(value)) => Some(signed(spec, *value, 2)),
        ('o', Value::Int(value)) => Some(signed(spec, *value, 8)),
        ('x' | 'X', Value::Int(value)) => Some(signed(spec, *value, 16)),
        ('c', Value::Int(value)) => {
            let ch = u32::try_from(*value).ok().and_then(char::from_u32);
            Some(ch.unwrap_or('\u{fffd}').to_string())
        }
        ('U', Value::Int(value)) => Some(format!("U+{value:04X}")),
        ('q', Value::Text(text)) => Some(quoted(&truncated(spec, text))),
        ('x' | 'X', Value::Text(text)) => {
            let mut digits = String::new();
            for byte in text.bytes() {
                put(&mut digits, format_args!("{byte:02x}"));
            }
            Some(digits)
        }
        ('s' | 'v', Value::Text(text)) => Some(truncated(spec, text)),
        ('v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(value)) => {
            Some(float(verb, spec, *value))
        }
        ('s', Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Nil) => None,
        // %s of a composite is that of its elements, which are texts.
        ('s' | 'v', _) => Some(arg.to_display()),
        _ => None,
    };
    match text {
        Some(text) if matches!(verb, 'X' | 'E' | 'G') => text.to_uppercase(),
        Some(text) => text,
        None if matches!(arg, Value::Nil) => format!("%!{verb}(<nil>)"),
        None => {
            let value = verb_text('v', spec, arg);
            format!("%!{verb}({}={value})", arg.type_name())
        }
    }
}

fn pad(out: &mut String, spec: &Spec, text: &str, arg: &Value) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
        return;
    }
    let finite = !text.ends_with("Inf") && !text.ends_with("NaN");
    let numeric = matches!(arg, Value::Int(_) | Value::Float(_)) && finite;
    if spec.zero && numeric {
        let sign = usize::from(text.starts_with(['-', '+', ' ']));
        out.push_str(&text[..sign]);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(&text[sign..]);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}

fn truncated(spec: &Spec, text: &str) -> String {
    match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = barograph_model::labels::write_quoted(&mut out, text);
    out
}

fn signed(spec: &Spec, value: i64, radix: u32) -> String {
    let magnitude = value.unsigned_abs();
    let digits = match radix {
        2 => format!("{magnitude:b}"),
        8 => format!("{magnitude:o}"),
        16 if spec.sharp => format!("0x{magnitude:x}"),
        16 => format!("{magnitude:x}"),
        _ => magnitude.to_string(),
    };
    let digits = match spec.precision {
        Some(precision) if digits.len() < precision => {
            format!("{}{digits}", "0".repeat(precision - digits.len()))
        }
        _ => digits,
    };
    format!("{}{digits}", sign(spec, value < 0))
}

fn sign(spec: &Spec, negative: bool) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn float(verb: char, spec: &Spec, value: f64) -> String {
    let precision = match verb.to_ascii_lowercase() {
        'v' | 'g' => spec.precision,
        _ => Some(spec.precision.unwrap_or(6)),
    };
    let plus = if value.is_nan() {
        if spec.plus { "+" } else { "" }
    } else {
        sign(spec, value.is_sign_negative())
    };
    let magnitude = value.abs();
    let digits = if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        // An infinity always shows its sign.
        let plus = if plus.is_empty() { "+" } else { plus };
        return format!("{plus}Inf");
    } else {
        match (verb.to_ascii_lowercase(), precision) {
            ('f', Some(precision)) => format!("{magnitude:.precision$}"),
            ('e', Some(precision)) => exponential(magnitude, precision),
            (_, Some(precision)) => general(magnitude, precision),
            (_, None) => number::go_g(magnitude),
        }
    };
    format!("{plus}{digits}")
}

/// Go's `%e`: at least two digits of exponent.
fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Go's `%.Ng`: N significant digits, trailing zeros dropped.
pub(super) fn general(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let precision = precision.max(1);
    let text = format!("{:.*e}", precision - 1, value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    let significant = mantissa.bytes().filter(u8::is_ascii_digit).count() as i64;
    let mut threshold = precision as i64;
    // Go widens the positional form where the digits end before the point does not.
    if threshold > significant && significant > exponent {
        threshold = significant;
    }
    if exponent < -4 || exponent >= threshold.max(1) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    let decimals = (significant - 1 - exponent).max(0) as usize;
    // The rounded digits read back exactly, so that no second rounding happens.
    let rounded: f64 = text.parse().unwrap_or(value);
    format!("{rounded:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_numbers_have_significant_digits() {
        for (value, want) in [
            (0.0, "0"),
            (1.0, "1"),
            (1234.5, "1234"),
            (1235.5, "1236"),
            (123.45, "123.5"),
            (12345.0, "1.234e+04"),
            (99999.0, "1e+05"),
            (0.000_123_45, "0.0001234"),
            (0.000_012_345, "1.234e-05"),
            (-2.5, "-2.5"),
            (1000.0, "1000"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(general(value, 4), want, "{value}");
        }
    }

    #[test]
    fn formats_are_filled_as_go_does() {
        let text = |text: &str| Value::text(text);
        for (format, args, want) in [
            ("%d%%", vec![Value::Int(5)], "5%"),
            ("%.2f", vec![Value::Float(1.005)], "1.00"),
            ("%5.1f|", vec![Value::Float(2.25)], "  2.2|"),
            ("%-6s|", vec![text("ab")], "ab    |"),
            ("%06.2f", vec![Value::Float(-1.5)], "-01.50"),
            ("%+d", vec![Value::Int(3)], "+3"),
            ("%q", vec![text("a\"b")], "\"a\\\"b\""),
            ("%x", vec![Value::Int(255)], "ff"),
            ("%v", vec![Value::Float(1_234_567.0)], "1.234567e+06"),
            ("%s", vec![Value::Float(1.5)], "%!s(float64=1.5)"),
            ("%d", vec![Value::Float(1.5)], "%!d(float64=1.5)"),
            ("%d", vec![], "%!d(MISSING)"),
            ("x", vec![Value::Int(1)], "x%!(EXTRA int=1)"),
            ("%.3e", vec![Value::Float(12345.678)], "1.235e+04"),
            ("%g", vec![Value::Float(1e21)], "1e+21"),
            ("%f", vec![Value::Float(f64::INFINITY)], "+Inf"),
            ("%", vec![], "%!(NOVERB)"),
            ("%t", vec![Value::Bool(true)], "true"),
            ("%*d", vec![Value::Int(4), Value::Int(7)], "   7"),
        ] {
            assert_eq!(sprintf(format, &args), want, "{format}");
        }
    }
}

//! Alertmanager's matchers as text: `{a="b",c=~"d"}`, `a=b`, `"any name"!="x"`.

use barograph_model::Matcher;
use barograph_model::labels::write_quoted;
use barograph_model::matcher::MatchOp;

use crate::template::unquote;

/// Reads matchers. Accepts both of Alertmanager's syntaxes: quoted names and values, and unquoted
/// values up to the next comma.
///
/// # Errors
/// What does not fit, with the text quoted.
pub(crate) fn parse(text: &str) -> Result<Vec<Matcher>, String> {
    let fail = |what: &str| format!("bad matcher format: {what} in {text:?}");
    let trimmed = text.trim();
    let inner = match trimmed.strip_prefix('{') {
        Some(open) => open
            .strip_suffix('}')
            .ok_or_else(|| fail("missing closing brace"))?,
        None => trimmed,
    };
    let mut matchers = Vec::new();
    let mut rest = inner.trim_start();
    while !rest.is_empty() {
        let (name, after) = name(rest).map_err(fail)?;
        let (op, after) = operator(after.trim_start())
            .ok_or_else(|| fail("expected one of '=', '!=', '=~', '!~'"))?;
        let (value, after) = value(after.trim_start()).map_err(fail)?;
        matchers.push(Matcher::new(&name, op, &value).map_err(|error| error.to_string())?);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(fail("expected a comma")),
        };
    }
    if matchers.is_empty() && !trimmed.starts_with('{') {
        return Err(fail("no matcher"));
    }
    Ok(matchers)
}

/// Matchers as Alertmanager writes them, which is part of the key of an alert group.
pub(crate) fn format(matchers: &[Matcher]) -> String {
    let mut out = String::from("{");
    for (index, matcher) in matchers.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let quoted = matcher.name().contains(is_reserved);
        if quoted {
            push_quoted(&mut out, matcher.name());
        } else {
            out.push_str(matcher.name());
        }
        out.push_str(matcher.op().as_str());
        if quoted {
            push_quoted(&mut out, matcher.value());
            continue;
        }
        out.push('"');
        for ch in matcher.value().chars() {
            match ch {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '"' => out.push_str("\\\""),
                _ => out.push(ch),
            }
        }
        out.push('"');
    }
    out.push('}');
    out
}

fn push_quoted(out: &mut String, text: &str) {
    // Writing into a string cannot fail.
    let _ = write_quoted(out, text);
}

fn is_reserved(ch: char) -> bool {
    ch.is_whitespace() || "{}!=~,\\\"'`".contains(ch)
}

fn name(text: &str) -> Result<(String, &str), &'static str> {
    if text.starts_with('"') {
        return quoted(text);
    }
    let length = text.find(is_reserved).unwrap_or(text.len());
    if length == 0 {
        return Err("expected a label name");
    }
    Ok((text[..length].to_owned(), &text[length..]))
}

fn operator(text: &str) -> Option<(MatchOp, &str)> {
    let operators = [
        ("=~", MatchOp::Regex),
        ("!~", MatchOp::NotRegex),
        ("!=", MatchOp::NotEqual),
        ("=", MatchOp::Equal),
    ];
    operators
        .iter()
        .find_map(|(written, op)| Some((*op, text.strip_prefix(written)?)))
}

fn value(text: &str) -> Result<(String, &str), &'static str> {
    if text.starts_with('"') {
        return quoted(text);
    }
    let length = text.find(',').unwrap_or(text.len());
    let value = text[..length].trim_end();
    if value.contains('"') {
        return Err("unescaped double quote");
    }
    Ok((value.to_owned(), &text[length..]))
}

/// A quoted text. An escape that Go does not know stands for itself, as in the older syntax.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut escaped = false;
    for (at, ch) in text.char_indices().skip(1) {
        match ch {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let inner = &text[1..at];
                let value = unquote(inner).unwrap_or_else(|| inner.to_owned());
                return Ok((value, &text[at + 1..]));
            }
            _ => {}
        }
    }
    Err("missing closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_in_both_syntaxes() {
        for (text, want) in [
            ("{a=\"b\",c=~\"d\"}", "{a=\"b\",c=~\"d\"}"),
            ("a=b", "{a=\"b\"}"),
            (
                " { foo = \"bar\", dings != \"bums\", } ",
                "{foo=\"bar\",dings!=\"bums\"}",
            ),
            ("foo=bar,dings!=bums", "{foo=\"bar\",dings!=\"bums\"}"),
            ("statuscode=~\"5..\"", "{statuscode=~\"5..\"}"),
            ("a!~b|c", "{a!~\"b|c\"}"),
            ("a=\"x, y\"", "{a=\"x, y\"}"),
            ("a=\"say \\\"hi\\\"\\n\"", "{a=\"say \\\"hi\\\"\\n\"}"),
            ("a=", "{a=\"\"}"),
            ("\"my name\"=\"x\"", "{\"my name\"=\"x\"}"),
            ("service.name=x", "{service.name=\"x\"}"),
            ("{}", "{}"),
            ("a=b c", "{a=\"b c\"}"),
            ("a=~\"\\d+\"", "{a=~\"\\\\d+\"}"),
        ] {
            let parsed = parse(text).expect(text);
            assert_eq!(format(&parsed), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for text in [
            "",
            "a",
            "=b",
            "{a=b",
            "a=\"b",
            "a=b\"c",
            "a=\"b\" c=\"d\"",
            "a=~\"(\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

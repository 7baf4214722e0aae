//! Texts: escaping, title case, hosts and ports.

use std::net::IpAddr;

use super::printf::put;

/// Escapes for the query part of a URL, as Go's `url.QueryEscape`.
pub(crate) fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            b' ' => out.push('+'),
            _ => put(&mut out, format_args!("%{byte:02X}")),
        }
    }
    out
}

/// Escapes for HTML, as Go's `template.HTMLEscapeString`.
pub(super) fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(ch),
        }
    }
    out
}

/// Escapes for a JavaScript string, as Go's `template.JSEscapeString`.
pub(super) fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\0'..='\u{1f}' => {
                put(&mut out, format_args!("\\u{:04X}", ch as u32));
            }
            _ => out.push(ch),
        }
    }
    out
}

/// Makes the first letter of every word a capital and leaves the others alone. A word goes on
/// across an apostrophe, a point or a colon between letters, and across an underscore.
pub(super) fn title(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut raised = false;
    for (at, &ch) in chars.iter().enumerate() {
        let joins = |ch: char| matches!(ch, '\'' | '.' | ':' | '\u{2019}' | '\u{b7}');
        let letter = |at: Option<usize>| {
            at.and_then(|at| chars.get(at))
                .is_some_and(|ch| ch.is_alphabetic())
        };
        if ch.is_alphanumeric() {
            if ch.is_alphabetic() && !raised {
                out.extend(ch.to_uppercase());
                raised = true;
            } else {
                out.push(ch);
            }
        } else {
            let inside = joins(ch) && letter(at.checked_sub(1)) && letter(Some(at + 1));
            if ch != '_' && !inside {
                raised = false;
            }
            out.push(ch);
        }
    }
    out
}

/// The host of `host:port`; the text as it is where it is none.
pub(super) fn strip_port(text: &str) -> &str {
    split_host_port(text).map_or(text, |(host, _)| host)
}

/// The first label of a host name, with its port where there is one. Addresses stay.
pub(super) fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    match port {
        "" => host.to_owned(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}

/// Go's `net.SplitHostPort`.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(bracketed) = host.strip_prefix('[') {
        let host = bracketed.strip_suffix(']')?;
        return (!host.contains(['[', ']']) && !port.contains(['[', ']'])).then_some((host, port));
    }
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// Appends `template` with `$1`, `${1}`, `$name` and `$$` filled, by Go's rules.
pub(super) fn expand_groups<'t>(
    out: &mut String,
    template: &str,
    group: impl Fn(&str) -> Option<&'t str>,
) {
    let is_word = |ch: char| ch == '_' || ch.is_alphanumeric();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (name, after) = match rest.strip_prefix('{') {
            Some(braced) => match braced.find('}') {
                Some(close) => (&braced[..close], &braced[close + 1..]),
                None => ("", rest),
            },
            None => rest.split_at(rest.find(|ch| !is_word(ch)).unwrap_or(rest.len())),
        };
        if name.is_empty() || !name.chars().all(is_word) {
            out.push('$');
            continue;
        }
        out.push_str(group(name).unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
}

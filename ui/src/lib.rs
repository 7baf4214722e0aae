//! The web UI, built from TypeScript by this crate's build script and embedded.
//!
//! A server answers a page's route with [`index`], under a policy such as [`content_security_policy`], and every
//! other path under its mount with [`asset`].

use std::borrow::Cow;
use std::fmt::Write as _;

use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/embedded"]
struct Files;

/// The page that a build without the UI serves.
const API_ONLY: &str = include_str!("api_only.html");

/// The paths (no leading slash) that [`index`] answers; the empty one and `graph` lead on to `query`.
pub const PAGES: [&str; 6] = ["", "query", "graph", "targets", "alerts", "status"];

/// A file of the UI.
pub struct Asset {
    /// Its bytes, encoded as [`Asset::encoding`] says.
    pub bytes: Cow<'static, [u8]>,
    /// The value of the Content-Type header.
    pub content_type: &'static str,
    /// The value of the Content-Encoding header, if any.
    pub encoding: Option<&'static str>,
    /// A strong validator, quoted.
    pub etag: String,
    /// Whether the name holds a hash of the content, so that it may be cached for ever.
    pub immutable: bool,
}

/// The file at `path` (no leading slash), in the best encoding that `accept_encoding` allows.
/// A reply should carry `Vary: Accept-Encoding`, since the encoding depends on it.
pub fn asset(path: &str, accept_encoding: &str) -> Option<Asset> {
    // The page itself needs its nonce and base, and the packed forms are not files of their own.
    if path == "index.html" || has_extension(path, "gz") || has_extension(path, "br") {
        return None;
    }
    let content_type = content_type(path)?;
    let found = [("br", "br"), ("gzip", "gz")]
        .into_iter()
        .filter(|(coding, _)| accepts(accept_encoding, coding))
        .find_map(|(coding, extension)| {
            Some((Files::get(&format!("{path}.{extension}"))?, Some(coding)))
        });
    let (file, encoding) = match found {
        Some(found) => found,
        None => (Files::get(path)?, None),
    };
    Some(Asset {
        etag: etag(&file),
        bytes: file.data,
        content_type,
        encoding,
        // The list of licences is the one file there without a hash in its name.
        immutable: path.starts_with("assets/") && !has_extension(path, "md"),
    })
}

/// The page of every route, with `nonce` for its styles and `base` (`/` or `/prefix/`) filled in.
/// Where the UI was not built, a page that says so and how to build it.
pub fn index(base: &str, nonce: &str) -> String {
    let page = Files::get("index.html");
    let page = page
        .as_ref()
        .and_then(|file| std::str::from_utf8(&file.data).ok())
        .unwrap_or(API_ONLY);
    let mut filled = String::with_capacity(page.len() + base.len() + nonce.len());
    let mut rest = page;
    // One pass, so that what is filled in is never searched for a mark itself.
    while let Some((at, mark)) = MARKS
        .iter()
        .filter_map(|mark| Some((rest.find(mark)?, *mark)))
        .min()
    {
        filled.push_str(&rest[..at]);
        push_escaped(&mut filled, if mark == BASE_MARK { base } else { nonce });
        rest = &rest[at + mark.len()..];
    }
    filled.push_str(rest);
    filled
}

/// The Content-Security-Policy for a page with this `nonce`: own scripts only, no markup from data.
pub fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; style-src-attr 'none'; \
         img-src 'self' data:; connect-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// Whether the UI was built in; without npm at build time it is not.
pub fn is_built() -> bool {
    cfg!(ui_built)
}

const BASE_MARK: &str = "__BASE__";
const NONCE_MARK: &str = "__NONCE__";
const MARKS: [&str; 2] = [BASE_MARK, NONCE_MARK];

fn push_escaped(text: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            _ => text.push(char),
        }
    }
}

fn etag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let mut text = String::with_capacity(34);
    text.push('"');
    for byte in &hash[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    text
}

fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, found)| found == extension)
}

fn content_type(path: &str) -> Option<&'static str> {
    let (_, extension) = path.rsplit_once('.')?;
    Some(match extension {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "md" => "text/markdown; charset=utf-8",
        _ => return None,
    })
}

/// Whether an Accept-Encoding header allows `coding`: named without `q=0`, or covered by `*`.
fn accepts(header: &str, coding: &str) -> bool {
    let mut star = false;
    for part in header.split(',') {
        let mut fields = part.split(';').map(str::trim);
        let name = fields.next().unwrap_or("");
        let refused = fields.any(|field| {
            field.strip_prefix("q=").is_some_and(|weight| {
                weight
                    .trim()
                    .parse::<f32>()
                    .is_ok_and(|weight| weight <= 0.0)
            })
        });
        if name.eq_ignore_ascii_case(coding) {
            return !refused;
        }
        star |= name == "*" && !refused;
    }
    star
}

#[cfg(test)]
mod tests;

//! The web UI, built from TypeScript by this crate's build script and embedded.

/// A file of the UI.
pub struct Asset {
    /// Its bytes, encoded as [`Asset::encoding`] says.
    pub bytes: std::borrow::Cow<'static, [u8]>,
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
pub fn asset(path: &str, accept_encoding: &str) -> Option<Asset> {
    let _ = (path, accept_encoding);
    None
}

/// The page of every route, with `nonce` for its styles and `base` (`/` or `/prefix/`) filled in.
/// Where the UI was not built, a page that says so and how to build it.
pub fn index(base: &str, nonce: &str) -> String {
    let _ = nonce;
    format!("<!doctype html><title>Barograph</title><p>API only, at {base}api/v1/")
}

/// Whether the UI was built in; without npm at build time it is not.
pub fn is_built() -> bool {
    false
}

//! Redirects: where they lead, and who may see the credentials.

use reqwest::Url;

/// Most redirects followed.
pub(super) const REDIRECTS_LIMIT: usize = 10;

/// The place a redirect leads to, if the answer is one that is followed.
pub(super) fn target(
    status: http::StatusCode,
    headers: &http::HeaderMap,
    from: &Url,
) -> Option<Url> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(http::header::LOCATION)?.to_str().ok()?;
    let url = from.join(location).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Whether a request to `url` may carry what was configured for `first`: the same host, and no
/// step from TLS to plain text.
pub(super) fn keeps_credentials(first: &Url, url: &Url) -> bool {
    let downgraded = first.scheme() == "https" && url.scheme() == "http";
    first.host_str() == url.host_str() && !downgraded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_the_host() {
        let url = |text: &str| Url::parse(text).expect("valid");
        for (first, then, want) in [
            ("http://a/metrics", "http://a/other", true),
            ("http://a/metrics", "https://a/metrics", true),
            ("http://a:1/metrics", "http://a:2/metrics", true),
            ("https://a/metrics", "http://a/metrics", false),
            ("http://a/metrics", "http://b/metrics", false),
            (
                "http://a.example/metrics",
                "http://b.a.example/metrics",
                false,
            ),
        ] {
            assert_eq!(
                keeps_credentials(&url(first), &url(then)),
                want,
                "{first} → {then}"
            );
        }
    }
}

//! The formats, and which of them a scraper asks for.

/// The text formats a scraper can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`.
    Text004,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics1,
}

impl Format {
    /// The value of the Content-Type header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text004 => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics1 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format an Accept header likes best: of those it names, the one with the highest
    /// quality; text 0.0.4 where it names none of ours, or is empty.
    pub fn negotiate(accept: &str) -> Self {
        let mut best = (Self::Text004, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let (mut version, mut quality) = (None, 1.0);
            for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match name.trim() {
                    "version" => version = Some(value),
                    "q" => quality = value.parse().unwrap_or(0.0),
                    _ => {}
                }
            }
            let format = match (media_type, version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => Self::OpenMetrics1,
                ("text/plain", None | Some("0.0.4")) => Self::Text004,
                _ => continue,
            };
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_liked_best_is_taken() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, want) in [
            ("", Format::Text004),
            ("*/*", Format::Text004),
            ("text/html", Format::Text004),
            (prometheus_3, Format::OpenMetrics1),
            ("application/openmetrics-text", Format::OpenMetrics1),
            (
                "application/openmetrics-text; version=\"1.0.0\"",
                Format::OpenMetrics1,
            ),
            (
                "application/openmetrics-text;version=2.0.0,text/plain;q=0.5",
                Format::Text004,
            ),
            (
                "application/openmetrics-text;q=0.1, text/plain;version=0.0.4",
                Format::Text004,
            ),
            ("application/openmetrics-text;q=0", Format::Text004),
            ("application/openmetrics-text;q=x", Format::Text004),
        ] {
            assert_eq!(Format::negotiate(accept), want, "{accept:?}");
        }
    }
}

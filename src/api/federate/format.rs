//! What a client that asks for `/federate` understands.

use std::borrow::Cow;
use std::fmt::Write as _;

use barograph_model::labels::is_legacy_metric_name;

/// Media type, version and escaping of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) kind: Kind,
    pub(super) escaping: Escaping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `text/plain; version=0.0.4`.
    Text004,
    /// Delimited messages: the only format that has exponential histograms.
    Protobuf,
}

/// What becomes of names with characters that were not allowed before UTF-8 names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    /// They are quoted.
    Utf8,
    /// They lose these characters.
    Underscores,
    /// Dots can be found again.
    Dots,
    /// Every character can.
    Values,
}

impl Format {
    /// The first format of the Accept header, in order of quality, that is one of these; text 0.0.4
    /// where there is none.
    pub(super) fn negotiate(accept: &str) -> Self {
        let mut ranges: Vec<(f64, &str)> = accept
            .split(',')
            .map(|range| (parameter(range, "q").map_or(1.0, quality), range))
            .collect();
        ranges.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut format = Self {
            kind: Kind::Text004,
            escaping: Escaping::Underscores,
        };
        for (_, range) in ranges {
            // A range that says how to escape counts for those behind it, too.
            format.escaping = match parameter(range, "escaping") {
                Some("allow-utf-8") => Escaping::Utf8,
                Some("underscores") => Escaping::Underscores,
                Some("dots") => Escaping::Dots,
                Some("values") => Escaping::Values,
                _ => format.escaping,
            };
            let media_type = range.split(';').next().unwrap_or_default().trim();
            let kind = match (media_type, parameter(range, "version")) {
                ("text/plain", None | Some("0.0.4")) => Kind::Text004,
                ("application/vnd.google.protobuf", _)
                    if parameter(range, "proto") == Some("io.prometheus.client.MetricFamily")
                        && parameter(range, "encoding") == Some("delimited") =>
                {
                    Kind::Protobuf
                }
                _ => continue,
            };
            return Self { kind, ..format };
        }
        format
    }

    /// The value of the Content-Type header.
    pub(super) fn content_type(self) -> String {
        let kind = match self.kind {
            Kind::Text004 => "text/plain; version=0.0.4; charset=utf-8",
            Kind::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        };
        let escaping = match self.escaping {
            Escaping::Utf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        };
        format!("{kind}; escaping={escaping}")
    }
}

impl Escaping {
    /// A name of a metric or a label as the page has it.
    pub(super) fn name(self, name: &str) -> Cow<'_, str> {
        if self == Self::Utf8 || is_legacy_metric_name(name) {
            return name.into();
        }
        let mut text = String::new();
        if self == Self::Values {
            text.push_str("U__");
        }
        for (at, ch) in name.char_indices() {
            let digit = ch.is_ascii_digit() && at > 0;
            let plain = ch.is_ascii_alphabetic() || ch == '_' || ch == ':' || digit;
            match (self, ch) {
                (Self::Dots | Self::Values, '_') => text.push_str("__"),
                (Self::Dots, '.') => text.push_str("_dot_"),
                _ if plain => text.push(ch),
                (Self::Dots, _) => text.push_str("__"),
                (Self::Values, _) => {
                    let _ = write!(text, "_{:x}_", u32::from(ch));
                }
                _ => text.push('_'),
            }
        }
        text.into()
    }
}

/// The value of a parameter of a media range.
fn parameter<'a>(range: &'a str, name: &str) -> Option<&'a str> {
    let pairs = range.split(';').skip(1);
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(have, _)| have.trim() == name);
    found.map(|(_, value)| value.trim().trim_matches('"'))
}

fn quality(text: &str) -> f64 {
    text.parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    #[test]
    fn the_first_format_of_ours_is_taken() {
        let prometheus_3 = format!(
            "{PROTOBUF};escaping=allow-utf-8;q=0.7,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        let text_first = format!("{PROTOBUF};q=0.3,text/plain;version=1.0.0;escaping=values");
        for (accept, kind, escaping) in [
            ("", Kind::Text004, Escaping::Underscores),
            ("*/*", Kind::Text004, Escaping::Underscores),
            (&prometheus_3, Kind::Protobuf, Escaping::Utf8),
            (PROTOBUF, Kind::Protobuf, Escaping::Underscores),
            (&text_first, Kind::Protobuf, Escaping::Values),
            (
                "application/vnd.google.protobuf;proto=other;encoding=delimited",
                Kind::Text004,
                Escaping::Underscores,
            ),
            (
                "application/openmetrics-text;escaping=dots,text/plain;q=0.1",
                Kind::Text004,
                Escaping::Dots,
            ),
        ] {
            let want = Format { kind, escaping };
            assert_eq!(Format::negotiate(accept), want, "{accept}");
        }
    }

    #[test]
    fn names_are_escaped() {
        let names = ["http_requests", "http.status_é", "1st", "a:b"];
        for (escaping, want) in [
            (Escaping::Utf8, names),
            (
                Escaping::Underscores,
                ["http_requests", "http_status__", "_st", "a:b"],
            ),
            (
                Escaping::Dots,
                ["http_requests", "http_dot_status____", "__st", "a:b"],
            ),
            (
                Escaping::Values,
                [
                    "http_requests",
                    "U__http_2e_status___e9_",
                    "U___31_st",
                    "a:b",
                ],
            ),
        ] {
            assert_eq!(names.map(|name| escaping.name(name)), want);
        }
    }
}

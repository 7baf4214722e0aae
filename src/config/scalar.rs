//! Scalars of the configuration: each reads its text, checks it on the spot (so that errors have a
//! position) and writes itself back.

use barograph_model::Pattern;
use barograph_model::duration::{format_duration_ms, parse_duration_ms};
use barograph_model::relabel::RelabelAction;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::cli::{format_size_bytes, parse_size_bytes};

/// A Prometheus duration, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) struct DurationMs(pub(crate) i64);

/// A size, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeBytes(pub(crate) u64);

/// A text that is shown as `<secret>`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct SecretText(pub(crate) String);

/// A pattern, compiled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RegexText(pub(crate) Pattern);

/// A relabelling action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActionText(pub(crate) RelabelAction);

/// One of a fixed set of words, named by the type parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OneOf<W>(pub(crate) String, std::marker::PhantomData<W>);

/// A fixed set of words.
pub(crate) trait Words {
    /// What the words are, for messages.
    const WHAT: &'static str;
    /// The words.
    const WORDS: &'static [&'static str];
}

/// Declares a set of words.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident = $what:literal $words:expr;)*) => {
        $($(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name;
        impl Words for $name {
            const WHAT: &'static str = $what;
            const WORDS: &'static [&'static str] = &$words;
        })*
    };
}

words! {
    /// How targets are reached; `barograph` asks a collector of this process.
    Scheme = "scheme" ["http", "https", "barograph"];
    /// How Alertmanagers are reached.
    WebScheme = "scheme" ["http", "https"];
    /// Exposition formats, by Prometheus's names.
    Protocol = "scrape protocol" [
        "PrometheusProto", "PrometheusText0.0.4", "PrometheusText1.0.0",
        "OpenMetricsText0.0.1", "OpenMetricsText1.0.0"];
    /// Which metric names are valid.
    Validation = "metric_name_validation_scheme" ["utf8", "legacy", ""];
    /// How names are escaped for those who cannot read them.
    Escaping = "metric_name_escaping_scheme" ["allow-utf-8", "underscores", "dots", "values", ""];
    /// Versions of Alertmanager's API.
    ApiVersion = "Alertmanager api version" ["v2"];
    /// TLS versions.
    TlsVersion = "TLS version" ["TLS10", "TLS11", "TLS12", "TLS13", ""];
}

impl<W: Words> OneOf<W> {
    /// The word, which must be one of the set.
    pub(crate) fn new(word: &str) -> Self {
        debug_assert!(W::WORDS.contains(&word), "BUG: {word} is not of the set");
        Self(word.to_owned(), std::marker::PhantomData)
    }

    /// The word.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl SecretText {
    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    /// Never shows the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl<'de, W: Words> Deserialize<'de> for OneOf<W> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if W::WORDS.contains(&text.as_str()) {
            return Ok(Self::new(&text));
        }
        let known: Vec<_> = W::WORDS
            .iter()
            .filter(|word| !word.is_empty())
            .copied()
            .collect();
        Err(D::Error::custom(format!(
            "unknown {} {text:?}: use one of {}",
            W::WHAT,
            known.join(", ")
        )))
    }
}

impl<W> Serialize for OneOf<W> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DurationMs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_duration_ms(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for DurationMs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration_ms(self.0))
    }
}

impl<'de> Deserialize<'de> for SizeBytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_size_bytes(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for SizeBytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_size_bytes(self.0))
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(if self.0.is_empty() { "" } else { "<secret>" })
    }
}

impl<'de> Deserialize<'de> for RegexText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Pattern::new(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for RegexText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for ActionText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let lower = text.to_lowercase();
        RelabelAction::NAMES
            .iter()
            .find(|(name, _)| *name == lower)
            .map(|(_, action)| Self(*action))
            .ok_or_else(|| D::Error::custom(format!("unknown relabel action {text:?}")))
    }
}

impl Serialize for ActionText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_str())
    }
}

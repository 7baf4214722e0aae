//! Sections that are accepted and kept for display, but not read further.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Deepest nesting accepted.
const NESTING_LIMIT: usize = 64;

/// Parts of key names whose values are not shown.
const SECRET_KEYS: [&str; 7] = [
    "password",
    "secret",
    "token",
    "credentials",
    "access_key",
    "connection_string",
    "private_key",
];

/// Any YAML value. Values of keys that name secrets are written as `<secret>`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Opaque {
    /// `null`, or nothing.
    Null,
    /// A switch.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Opaque>),
    /// Keys with values, in order.
    Map(Vec<(String, Opaque)>),
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OpaqueVisitor)
    }
}

struct OpaqueVisitor;

impl<'de> Visitor<'de> for OpaqueVisitor {
    type Value = Opaque;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Opaque, E> {
        Ok(Opaque::Null)
    }

    fn visit_none<E>(self) -> Result<Opaque, E> {
        Ok(Opaque::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Opaque, D::Error> {
        Opaque::deserialize(from)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Opaque, E> {
        Ok(Opaque::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Opaque, E> {
        Ok(Opaque::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Opaque, E> {
        Ok(i64::try_from(value).map_or(Opaque::Float(value as f64), Opaque::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Opaque, E> {
        Ok(Opaque::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Opaque, E> {
        Ok(Opaque::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Opaque, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = from.next_element()? {
            list.push(item);
        }
        Ok(Opaque::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Opaque, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = from.next_entry()? {
            map.push(entry);
        }
        Ok(Opaque::Map(map))
    }
}

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.redacted(NESTING_LIMIT).write(to)
    }
}

impl Opaque {
    /// How many entries a list has; other values count as one, nothing as none.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::List(list) => list.len(),
            _ => 1,
        }
    }

    fn redacted(&self, depth: usize) -> Self {
        let Some(depth) = depth.checked_sub(1) else {
            return Self::Text("<nested too deeply to show>".into());
        };
        match self {
            Self::List(list) => Self::List(list.iter().map(|item| item.redacted(depth)).collect()),
            Self::Map(map) => {
                let entry = |(key, value): &(String, Self)| {
                    let secret = !key.ends_with("_file")
                        && SECRET_KEYS.iter().any(|part| key.contains(part));
                    let value = match value {
                        Self::Text(text) if secret && !text.is_empty() => {
                            Self::Text("<secret>".into())
                        }
                        value => value.redacted(depth),
                    };
                    (key.clone(), value)
                };
                Self::Map(map.iter().map(entry).collect())
            }
            plain => plain.clone(),
        }
    }

    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) => to.serialize_i64(*value),
            Self::Float(value) => to.serialize_f64(*value),
            Self::Text(value) => to.serialize_str(value),
            Self::List(list) => to.collect_seq(list.iter().map(Plain)),
            Self::Map(map) => {
                let mut to = to.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    to.serialize_entry(key, &Plain(value))?;
                }
                to.end()
            }
        }
    }
}

/// A value that is redacted already.
struct Plain<'a>(&'a Opaque);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.write(to)
    }
}

//! What metric families say of themselves, as senders tell it: logged and kept in checkpoints.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use barograph_model::{Metadata, MetricKind};

use crate::bytes::{Malformed, Reader, put_text, put_varint};

/// Most families remembered; what comes later is not.
const FAMILIES_LIMIT: usize = 100_000;
/// Longest text remembered of one, its name included.
const TEXT_LIMIT_BYTES: usize = 8 * 1024;

/// The newest metadata of each family.
#[derive(Debug, Default)]
pub(crate) struct Families {
    by_name: Mutex<BTreeMap<String, Metadata>>,
}

impl Families {
    /// Remembers what a family says. `log` is called before, where that is new; it is not where
    /// there is no room.
    ///
    /// # Errors
    /// What `log` returns.
    pub(crate) fn set<E>(
        &self,
        name: &str,
        metadata: &Metadata,
        log: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut families = self.lock();
        if families.get(name) == Some(metadata) {
            return Ok(true);
        }
        if !fits(&families, name, metadata) {
            return Ok(false);
        }
        log(&encode([(name, metadata)].into_iter()))?;
        families.insert(name.to_owned(), metadata.clone());
        Ok(true)
    }

    /// Everything, by name.
    pub(crate) fn all(&self) -> Vec<(String, Metadata)> {
        let families = self.lock();
        let all = families.iter().map(|(n, m)| (n.clone(), m.clone()));
        all.collect()
    }

    /// The body of a log operation that holds everything; nothing where there is nothing.
    pub(crate) fn dump(&self) -> Option<Vec<u8>> {
        let families = self.lock();
        let all = families.iter().map(|(name, m)| (name.as_str(), m));
        (!families.is_empty()).then(|| encode(all))
    }

    /// Applies a log operation.
    pub(crate) fn replay(&self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let count = reader.count(4)?;
        let mut families = self.lock();
        for _ in 0..count {
            let name = reader.text()?;
            let kind = MetricKind::parse(reader.text()?);
            let metadata = Metadata {
                kind: kind.unwrap_or_default(),
                unit: reader.text()?.to_owned(),
                help: reader.text()?.to_owned(),
            };
            if fits(&families, name, &metadata) {
                families.insert(name.to_owned(), metadata);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Metadata>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fits(families: &BTreeMap<String, Metadata>, name: &str, metadata: &Metadata) -> bool {
    let room = families.len() < FAMILIES_LIMIT || families.contains_key(name);
    room && name.len() + metadata.unit.len() + metadata.help.len() <= TEXT_LIMIT_BYTES
}

fn encode<'a>(families: impl ExactSizeIterator<Item = (&'a str, &'a Metadata)>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, families.len() as u64);
    for (name, metadata) in families {
        for text in [name, metadata.kind.as_str(), &metadata.unit, &metadata.help] {
            put_text(&mut out, text);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn only_news_are_logged_and_a_dump_restores() {
        let families = Families::default();
        let metadata = Metadata {
            kind: MetricKind::Histogram,
            unit: "seconds".to_owned(),
            help: "How long.".to_owned(),
        };
        let mut logged = 0;
        for _ in 0..2 {
            let log = |_: &[u8]| {
                logged += 1;
                Ok::<_, Infallible>(())
            };
            assert_eq!(families.set("latency", &metadata, log), Ok(true));
        }
        assert_eq!(logged, 1);
        let again = Families::default();
        let dump = families.dump().expect("something");
        again.replay(&mut Reader::new(&dump)).expect("reads");
        assert_eq!(again.all(), [("latency".to_owned(), metadata)]);
        assert!(again.replay(&mut Reader::new(&dump[..9])).is_err());
    }
}

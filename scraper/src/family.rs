//! Metadata of one target's families, as its last scrapes declared it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use barograph_model::{Metadata, MetricKind};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::parse::{MetadataField, MetadataLine, unescape};

/// Scrapes a family's metadata is kept after it was last seen.
const KEPT_SCRAPES: u32 = 10;
/// Most families remembered of one target.
const FAMILIES_LIMIT: usize = 100_000;
/// Most lines remembered by place.
const LINES_LIMIT: usize = 3 * FAMILIES_LIMIT;

/// The families of one target. A line that stood at the same place in the last scrape is recognised
/// by its hash.
#[derive(Default)]
pub(crate) struct FamilyCache {
    lines: Vec<KnownLine>,
    next_line: usize,
    families: Vec<Family>,
    by_name: HashMap<Box<[u8]>, u32>,
    cursor: usize,
    scrape: u32,
}

#[derive(Clone, Copy)]
struct KnownLine {
    hash: u64,
    length: u32,
    family: u32,
    /// The kind it declares, if it is a `# TYPE` line.
    kind: Option<MetricKind>,
}

struct Family {
    name: Box<[u8]>,
    kind: MetricKind,
    help: Box<[u8]>,
    unit: Box<[u8]>,
    seen: u32,
}

impl FamilyCache {
    /// Begins a scrape.
    pub(crate) fn begin(&mut self) {
        self.cursor = 0;
        self.next_line = 0;
        self.scrape += 1;
    }

    /// If `rest` begins with the line that is expected next, takes note of it; returns its length
    /// without the newline, and the kind it declares.
    #[inline]
    pub(crate) fn expect(&mut self, rest: &[u8]) -> Option<(usize, Option<MetricKind>)> {
        let line = self.lines.get(self.next_line)?;
        let length = line.length as usize;
        if rest.get(length) != Some(&b'\n') || hash(&rest[..length]) != line.hash {
            return None;
        }
        self.next_line += 1;
        self.cursor = line.family as usize;
        self.families[self.cursor].seen = self.scrape;
        Some((length, line.kind))
    }

    /// Takes in one line.
    pub(crate) fn note(&mut self, line: MetadataLine<'_>) {
        let expected = |index: usize| {
            self.families
                .get(index)
                .is_some_and(|family| *family.name == *line.family)
        };
        // HELP and TYPE of one family follow each other, families follow in order.
        let index = if expected(self.cursor) {
            self.cursor
        } else if expected(self.cursor + 1) {
            self.cursor + 1
        } else if let Some(index) = self.by_name.get(line.family) {
            *index as usize
        } else if self.families.len() < FAMILIES_LIMIT {
            self.by_name
                .insert(line.family.into(), self.families.len() as u32);
            self.families.push(Family {
                name: line.family.into(),
                kind: MetricKind::Unknown,
                help: Box::default(),
                unit: Box::default(),
                seen: 0,
            });
            self.families.len() - 1
        } else {
            return;
        };
        self.cursor = index;
        let known = KnownLine {
            hash: hash(line.text),
            length: line.text.len() as u32,
            family: index as u32,
            kind: match line.field {
                MetadataField::Kind(kind) => Some(kind),
                MetadataField::Help(_) | MetadataField::Unit(_) => None,
            },
        };
        if let Some(slot) = self.lines.get_mut(self.next_line) {
            *slot = known;
        } else if self.lines.len() < LINES_LIMIT {
            self.lines.push(known);
        }
        self.next_line += 1;
        let family = &mut self.families[index];
        family.seen = self.scrape;
        match line.field {
            MetadataField::Kind(kind) => family.kind = kind,
            MetadataField::Help(help) if *family.help != *help => family.help = help.into(),
            MetadataField::Unit(unit) if *family.unit != *unit => family.unit = unit.into(),
            MetadataField::Help(_) | MetadataField::Unit(_) => {}
        }
    }

    /// Ends a scrape: forgets families long unseen.
    pub(crate) fn finish(&mut self) {
        let oldest = self.scrape.saturating_sub(KEPT_SCRAPES);
        if self.families.iter().all(|family| family.seen >= oldest) {
            return;
        }
        self.lines.clear();
        self.families.retain(|family| family.seen >= oldest);
        self.by_name = self
            .families
            .iter()
            .enumerate()
            .map(|(index, family)| (family.name.clone(), index as u32))
            .collect();
    }

    /// Every family with its metadata.
    pub(crate) fn list(&self) -> Vec<(String, Metadata)> {
        let text = |bytes: &[u8]| unescape(&String::from_utf8_lossy(bytes));
        self.families
            .iter()
            .map(|family| {
                let metadata = Metadata {
                    kind: family.kind,
                    unit: text(&family.unit),
                    help: text(&family.help),
                };
                (text(&family.name), metadata)
            })
            .collect()
    }
}

/// The seed hides from targets which lines collide; a collision would cost one metadata update.
fn hash(line: &[u8]) -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0u8));
    xxh3_64_with_seed(line, *SEED)
}

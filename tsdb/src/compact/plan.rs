//! Which blocks are merged next.

use std::collections::HashSet;

/// What planning needs to know of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) uid: u64,
    /// Its span; the end is exclusive.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) bytes: u64,
    pub(crate) made_ms: i64,
    /// Whether it holds only some series of its span.
    pub(crate) part: bool,
    /// Whether it was not made by us: it becomes ours by being written anew.
    pub(crate) foreign: bool,
}

/// The rules.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit comes last")]
pub(crate) struct Rules {
    /// Span of a block from the head.
    pub(crate) span_ms: i64,
    /// Longest span of a block.
    pub(crate) longest_ms: i64,
    /// Before this instant nothing comes from the head any more.
    pub(crate) head_start_ms: i64,
    /// What the head has begins here. Something older may still come, as a block of its own.
    pub(crate) oldest_in_head_ms: i64,
    pub(crate) now_ms: i64,
}

/// A week has this many spans of 2 h, a day 12, and 4 make the first step.
const STEPS: [i64; 3] = [84, 12, 4];
/// Parts wait so long for others of their time.
const SETTLE_MS: i64 = 10 * 60_000;
/// So many overlapping parts are merged at once, settled or not.
const PARTS_LIMIT: usize = 8;
/// Parts are merged into a block once they have this share of its bytes …
const PARTS_SHARE: u64 = 8;
/// … or are this old.
const PARTS_AGE_MS: i64 = 26 * 3_600_000;
/// Most blocks merged at once.
pub(crate) const INPUTS_LIMIT: usize = 128;

/// The blocks to merge next, oldest first; fewer than two where nothing is to be done, except that
/// a foreign block is rewritten alone. Sets in `avoid` failed lately.
pub(crate) fn plan(
    blocks: &[Candidate],
    rules: Rules,
    avoid: impl Fn(&[Candidate]) -> bool,
) -> Option<Vec<Candidate>> {
    let mut blocks = blocks.to_vec();
    blocks.sort_by_key(|b| (b.start_ms, b.end_ms, b.uid));
    let sets = overlapping(&blocks);
    let mixed: HashSet<u64> = sets.iter().flatten().map(|b| b.uid).collect();
    let merged = sets.iter().filter_map(|set| overlap_step(set, rules));
    let windows = STEPS
        .iter()
        .map(|step| step.saturating_mul(rules.span_ms))
        .filter(|span| *span <= rules.longest_ms)
        .flat_map(|span| windows(&blocks, span, rules, &mixed));
    let foreign = blocks
        .iter()
        .filter(|b| b.foreign && !mixed.contains(&b.uid))
        .map(|b| vec![*b]);
    merged
        .chain(windows)
        .chain(foreign)
        .map(|mut set| {
            set.truncate(INPUTS_LIMIT);
            set
        })
        .find(|set| !avoid(set))
}

/// Sets of blocks whose spans overlap, directly or by way of others.
fn overlapping(blocks: &[Candidate]) -> Vec<Vec<Candidate>> {
    let mut sets: Vec<Vec<Candidate>> = Vec::new();
    let mut end_ms = i64::MIN;
    for block in blocks {
        match sets.last_mut() {
            Some(set) if block.start_ms < end_ms => set.push(*block),
            _ => sets.push(vec![*block]),
        }
        end_ms = end_ms.max(block.end_ms);
    }
    sets.retain(|set| set.len() > 1);
    sets
}

/// What to merge of a set of overlapping blocks. Small late parts wait, and are merged among each
/// other, until rewriting the large block they belong to is worth it.
fn overlap_step(set: &[Candidate], rules: Rules) -> Option<Vec<Candidate>> {
    let head_has_more = |b: &&Candidate| b.part && b.end_ms > rules.head_start_ms;
    let wholes: Vec<Candidate> = set.iter().filter(|b| !b.part).copied().collect();
    let parts: Vec<Candidate> = set.iter().filter(|b| b.part).copied().collect();
    if parts.is_empty() {
        // Whole blocks overlap after an import; there is nothing to wait for.
        return Some(wholes);
    }
    let bytes = |list: &[Candidate]| list.iter().map(|b| b.bytes).sum::<u64>();
    let newest_ms = parts.iter().map(|b| b.made_ms).max().unwrap_or(i64::MIN);
    let oldest_ms = parts.iter().map(|b| b.made_ms).min().unwrap_or(i64::MIN);
    let settled = rules.now_ms.saturating_sub(newest_ms) >= SETTLE_MS;
    let age_ms = rules.now_ms.saturating_sub(oldest_ms);
    let large = bytes(&parts) >= bytes(&wholes) / PARTS_SHARE;
    let ready = settled && (large || age_ms >= PARTS_AGE_MS);
    if !wholes.is_empty() && ready && !parts.iter().any(|b| head_has_more(&b)) {
        return Some(set.to_vec());
    }
    let many = parts.len() >= PARTS_LIMIT || (wholes.is_empty() && settled);
    (many && parts.len() > 1).then_some(parts)
}

/// Windows of the span that hold at least two blocks and will get no more from the head. Parts
/// alone, such as imported history, need not wait for the head's first cut: what is made of them
/// is a part again, and whatever comes later lies beside it.
fn windows(
    blocks: &[Candidate],
    span_ms: i64,
    rules: Rules,
    mixed: &HashSet<u64>,
) -> Vec<Vec<Candidate>> {
    let mut found: Vec<(i64, Vec<Candidate>)> = Vec::new();
    for block in blocks {
        let number = block.start_ms.div_euclid(span_ms);
        let Some(end_ms) = number.checked_add(1).and_then(|n| n.checked_mul(span_ms)) else {
            continue;
        };
        if block.end_ms > end_ms || mixed.contains(&block.uid) {
            continue;
        }
        match found.last_mut() {
            Some((last, set)) if *last == number => set.push(*block),
            _ => found.push((number, vec![*block])),
        }
    }
    found.retain(|(number, set)| {
        let end_ms = (number + 1) * span_ms;
        let parts_only = set.iter().all(|block| block.part);
        let complete =
            end_ms <= rules.head_start_ms || (parts_only && end_ms <= rules.oldest_in_head_ms);
        complete && set.len() > 1
    });
    found.into_iter().map(|(_, set)| set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn block(uid: u64, from_hour: i64, hours: i64) -> Candidate {
        Candidate {
            uid,
            start_ms: from_hour * HOUR_MS,
            end_ms: (from_hour + hours) * HOUR_MS,
            bytes: 1000,
            made_ms: 0,
            part: false,
            foreign: false,
        }
    }

    fn rules(head_hour: i64, longest_hours: i64) -> Rules {
        Rules {
            span_ms: 2 * HOUR_MS,
            longest_ms: longest_hours * HOUR_MS,
            head_start_ms: head_hour * HOUR_MS,
            oldest_in_head_ms: head_hour * HOUR_MS,
            now_ms: head_hour * HOUR_MS,
        }
    }

    fn uids(blocks: &[Candidate], rules: Rules) -> Vec<u64> {
        let plan = plan(blocks, rules, |_| false).unwrap_or_default();
        plan.iter().map(|b| b.uid).collect()
    }

    #[test]
    fn windows_fill_before_they_merge() {
        let mut blocks: Vec<_> = (0..3).map(|n| block(n, n as i64 * 2, 2)).collect();
        assert_eq!(uids(&blocks, rules(6, 168)), [0; 0]);
        blocks.push(block(3, 6, 2));
        assert_eq!(uids(&blocks, rules(8, 168)), [0, 1, 2, 3]);
        assert_eq!(uids(&blocks, rules(8, 7)), [0; 0], "the cap forbids it");
        assert_eq!(uids(&blocks[1..2], rules(8, 168)), [0; 0], "alone");
        assert_eq!(uids(&blocks[..2], rules(8, 168)), [0, 1], "a gap in time");
    }

    #[test]
    fn the_longest_full_window_goes_first() {
        let day: Vec<_> = (0..12).map(|n| block(n, n as i64 * 2, 2)).collect();
        assert_eq!(uids(&day, rules(24, 168)).len(), 12);
        assert_eq!(uids(&day, rules(24, 20)), [0, 1, 2, 3]);
        let week: Vec<_> = (0..7).map(|n| block(n, n as i64 * 24, 24)).collect();
        assert_eq!(uids(&week, rules(168, 168)).len(), 7);
        assert_eq!(uids(&week, rules(168, 167)), [0; 0]);
    }

    #[test]
    fn parts_wait_for_company() {
        let part = |uid, made_hour: i64| Candidate {
            part: true,
            bytes: 10,
            made_ms: made_hour * HOUR_MS,
            ..block(uid, 2, 2)
        };
        let blocks = [block(0, 0, 24), part(1, 23), part(2, 24)];
        assert_eq!(uids(&blocks, rules(24, 168)), [0; 0], "small and young");
        assert_eq!(uids(&blocks, rules(50, 168)), [0, 1, 2], "old");
        let mut large = blocks;
        large[1].bytes = 200;
        assert_eq!(uids(&large, rules(25, 168)), [0, 1, 2], "large");
        let many: Vec<_> = std::iter::once(block(0, 0, 24))
            .chain((1..9).map(|n| part(n, 24)))
            .collect();
        assert_eq!(uids(&many, rules(24, 168)), [1, 2, 3, 4, 5, 6, 7, 8]);
        let alone = [part(1, 3), part(2, 3)];
        assert_eq!(uids(&alone, rules(3, 168)), [0; 0]);
        assert_eq!(uids(&alone, rules(4, 168)), [1, 2]);
    }

    #[test]
    fn imported_history_need_not_wait_for_the_first_cut() {
        let uncut = Rules {
            head_start_ms: i64::MIN,
            ..rules(25, 168)
        };
        let mut history: Vec<_> = (0..12).map(|n| block(n, n as i64 * 2, 2)).collect();
        assert_eq!(
            uids(&history, uncut),
            [0; 0],
            "the head may have more of them"
        );
        for block in &mut history {
            block.part = true;
        }
        assert_eq!(uids(&history, uncut).len(), 12);
        let begun = Rules {
            oldest_in_head_ms: 9 * HOUR_MS,
            ..uncut
        };
        assert_eq!(uids(&history, begun), [0, 1, 2, 3]);
    }

    #[test]
    fn what_failed_is_avoided_and_foreign_blocks_are_taken_in() {
        let blocks: Vec<_> = (0..8).map(|n| block(n, n as i64 * 2, 2)).collect();
        let plan = plan(&blocks, rules(16, 168), |set| set[0].uid == 0);
        assert_eq!(plan.map(|p| p[0].uid), Some(4));
        let foreign = Candidate {
            foreign: true,
            ..block(5, 1, 3)
        };
        assert_eq!(uids(&[foreign], rules(16, 168)), [5]);
    }
}

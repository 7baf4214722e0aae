//! Subexpressions that stand more than once in an expression: they are planned once, and evaluated
//! once. The same goes for the series that several selectors ask for.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use barograph_model::Matcher;

use super::{SelectorPlan, Times, VectorPlan};
use crate::ast::{Node, NodeKind, Span, ValueType};

/// Most bytes of subexpressions that are compared: the text of one is part of what is around it.
const COMPARED_LIMIT_BYTES: usize = 1 << 20;

/// A subexpression that stands in several places.
#[derive(Debug)]
pub(crate) struct SharedPlan {
    pub(crate) plan: VectorPlan,
    /// How many places.
    pub(crate) uses: usize,
}

/// One of the places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedUse {
    /// Which of the shared plans.
    pub(crate) number: usize,
    /// How many bytes it stands behind the first.
    pub(crate) behind: usize,
}

/// Selectors of the same series.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) members: Vec<Member>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) times: Times,
    /// Whose steps it looks at.
    pub(crate) domain: usize,
    /// How far back it looks; as far as every instant selector where it is none.
    pub(crate) range_ms: Option<i64>,
}

/// What of an expression stands where it stood before.
pub(super) struct Sharing<'a> {
    text: &'a str,
    /// Those that stand more than once, in canonical form.
    repeated: HashSet<String>,
    known: RefCell<HashMap<Key, Known>>,
    plans: RefCell<Vec<SharedPlan>>,
    families: RefCell<Vec<Family>>,
    by_matchers: RefCell<HashMap<String, usize>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    text: String,
    totals_only: bool,
    domain: usize,
}

struct Known {
    number: usize,
    span: Span,
    invariant: bool,
}

/// What is made of a node.
pub(super) enum Place {
    /// It stands here alone.
    Only,
    /// It may stand elsewhere, later.
    First(String),
    /// It stood before; whether it is the same at every step.
    Again(SharedUse, bool),
}

impl<'a> Sharing<'a> {
    pub(super) fn new(root: &Node, text: &'a str) -> Self {
        let mut selectors = 0;
        root.walk(&mut |node| {
            selectors += usize::from(matches!(
                node.kind,
                NodeKind::Selector(_) | NodeKind::Range(_)
            ));
        });
        let mut repeats = Repeats::default();
        if selectors > 1 {
            repeats.visit(root);
        }
        Self {
            text,
            repeated: repeats.repeated,
            known: RefCell::default(),
            plans: RefCell::default(),
            families: RefCell::default(),
            by_matchers: RefCell::default(),
        }
    }

    /// Whether a node stood before on the steps of `domain`.
    pub(super) fn place(&self, node: &Node, totals_only: bool, domain: usize) -> Place {
        if self.repeated.is_empty() || !is_worth(node) {
            return Place::Only;
        }
        let text = node.to_string();
        if !self.repeated.contains(&text) {
            return Place::Only;
        }
        let key = Key {
            text,
            totals_only,
            domain,
        };
        let known = self.known.borrow();
        let Some(known) = known.get(&key) else {
            return Place::First(key.text);
        };
        // Remarks point into the text: what is written in another way has its own.
        let written = |span: Span| self.text.get(span.start..span.end);
        if written(known.span).is_none() || written(known.span) != written(node.span) {
            return Place::Only;
        }
        let Some(behind) = node.span.start.checked_sub(known.span.start) else {
            return Place::Only;
        };
        self.plans.borrow_mut()[known.number].uses += 1;
        let place = SharedUse {
            number: known.number,
            behind,
        };
        Place::Again(place, known.invariant)
    }

    /// Notes the plan of a node that may stand elsewhere.
    pub(super) fn add(
        &self,
        node: &Node,
        text: String,
        (totals_only, domain): (bool, usize),
        (plan, invariant): (VectorPlan, bool),
    ) -> SharedUse {
        let mut plans = self.plans.borrow_mut();
        let number = plans.len();
        plans.push(SharedPlan { plan, uses: 1 });
        let key = Key {
            text,
            totals_only,
            domain,
        };
        let known = Known {
            number,
            span: node.span,
            invariant,
        };
        self.known.borrow_mut().insert(key, known);
        SharedUse { number, behind: 0 }
    }

    /// The number of the family of a selector, which it joins, and its own in it.
    pub(super) fn join(&self, matchers: &[Matcher], member: Member) -> (usize, usize) {
        let mut text = String::new();
        for matcher in matchers {
            text.push_str(&matcher.to_string());
            text.push(',');
        }
        let mut families = self.families.borrow_mut();
        let mut numbers = self.by_matchers.borrow_mut();
        let number = *numbers.entry(text).or_insert_with(|| {
            families.push(Family::default());
            families.len() - 1
        });
        let members = &mut families[number].members;
        members.push(member);
        (number, members.len() - 1)
    }

    pub(super) fn finish(self) -> (Vec<SharedPlan>, Vec<Family>) {
        (self.plans.into_inner(), self.families.into_inner())
    }
}

impl Family {
    /// How much farther back than `plan` another selector looks at the same steps.
    pub(crate) fn farther_ms(&self, plan: &SelectorPlan, lookback_ms: i64) -> i64 {
        let Some(own) = self.members.get(plan.member) else {
            return 0;
        };
        let reach = |member: &Member| member.range_ms.unwrap_or(lookback_ms);
        let alike = |member: &&Member| member.times == own.times && member.domain == own.domain;
        let farthest = self.members.iter().filter(alike).map(reach).max();
        farthest.unwrap_or(0).saturating_sub(reach(own)).max(0)
    }
}

/// Subexpressions as they are met, outer ones first. What stands inside of a repeated one is not met
/// again with it.
#[derive(Default)]
struct Repeats {
    seen: HashSet<String>,
    repeated: HashSet<String>,
    compared_bytes: usize,
}

impl Repeats {
    fn visit(&mut self, node: &Node) {
        if is_worth(node) {
            let text = node.to_string();
            self.compared_bytes += text.len();
            if self.compared_bytes > COMPARED_LIMIT_BYTES {
                return;
            }
            if self.seen.contains(&text) {
                self.repeated.insert(text);
                return;
            }
            self.seen.insert(text);
        }
        for child in node.children() {
            self.visit(child);
        }
    }
}

/// Whether evaluating a node takes more than looking up what was evaluated.
fn is_worth(node: &Node) -> bool {
    let is_wrapper = matches!(
        node.kind,
        NodeKind::Paren(_)
            | NodeKind::Unary {
                negative: false,
                ..
            }
    );
    !is_wrapper && node.value_type() == ValueType::Vector && reads(node)
}

/// Whether there is a selector in it.
fn reads(node: &Node) -> bool {
    match node.kind {
        NodeKind::Selector(_) | NodeKind::Range(_) => true,
        _ => node.children().into_iter().any(reads),
    }
}

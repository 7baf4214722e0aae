//! Running a pattern over texts in ascending order, as a dictionary has them: what is known of the
//! beginning that a text shares with the one before is not found out again, and where no text with a
//! beginning can match, the caller is told to pass over all of them.

use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::Compiler;
use regex_automata::util::start;
use regex_syntax::hir::Hir;

/// A pattern on its way through ascending texts.
#[derive(Debug)]
pub struct Scan {
    automaton: DFA,
    cache: Cache,
    /// The state before each byte of `text`, and behind the last one that was read.
    states: Vec<LazyStateID>,
    text: Vec<u8>,
    clears: usize,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// It matches.
    Match,
    /// It does not.
    NoMatch,
    /// It does not, and neither does any text that begins with as many bytes of it.
    NoneWith(usize),
}

impl Scan {
    pub(super) fn new(anchored: &Hir) -> Option<Self> {
        let program = Compiler::new().build_from_hir(anchored).ok()?;
        let automaton = DFA::builder().build_from_nfa(program).ok()?;
        let cache = automaton.create_cache();
        Some(Self {
            automaton,
            cache,
            states: Vec::new(),
            text: Vec::new(),
            clears: 0,
        })
    }

    /// Judges a text; `None` where the automaton cannot, and [`Pattern::is_match`](super::Pattern)
    /// must.
    pub fn next(&mut self, text: &str) -> Option<Scanned> {
        let text = text.as_bytes();
        let shared = self.text.iter().zip(text).take_while(|(a, b)| a == b);
        let mut at = shared.count().min(self.states.len().saturating_sub(1));
        if self.states.is_empty() || self.clears != self.cache.clear_count() {
            at = 0;
            self.states.clear();
            self.clears = self.cache.clear_count();
            let config = start::Config::new().anchored(Anchored::Yes);
            let start = self.automaton.start_state(&mut self.cache, &config).ok()?;
            self.states.push(start);
        }
        self.states.truncate(at + 1);
        self.text.truncate(at);
        let mut state = self.states[at];
        while !state.is_dead() && at < text.len() {
            state = self
                .automaton
                .next_state(&mut self.cache, state, text[at])
                .ok()?;
            if state.is_quit() {
                return None;
            }
            self.text.push(text[at]);
            self.states.push(state);
            at += 1;
        }
        if state.is_dead() {
            return Some(Scanned::NoneWith(at));
        }
        let end = self.automaton.next_eoi_state(&mut self.cache, state).ok()?;
        Some(if end.is_match() {
            Scanned::Match
        } else {
            Scanned::NoMatch
        })
    }
}

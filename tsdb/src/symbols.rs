//! Interned texts: every label name and value of the head is stored once.

use hashbrown::HashTable;

/// An interned text.
pub(crate) type Symbol = u32;

/// Most text, unused included: what an offset can tell.
pub(crate) const TEXT_LIMIT_BYTES: usize = u32::MAX as usize;

/// Texts in one byte arena, found by content or by number, counted by reference.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    text: String,
    spans: Vec<(u32, u32)>,
    references: Vec<u32>,
    lookup: HashTable<Symbol>,
    free: Vec<Symbol>,
    /// Bytes of `text` that no symbol uses any more.
    garbage_bytes: usize,
}

impl Symbols {
    /// The symbol of a text that is interned.
    pub(crate) fn find(&self, text: &str) -> Option<Symbol> {
        self.lookup
            .find(hash(text), |symbol| self.get(*symbol) == text)
            .copied()
    }

    /// The symbol of a text, interned where it is new, with one more reference.
    pub(crate) fn acquire(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.find(text) {
            self.references[symbol as usize] += 1;
            return symbol;
        }
        assert!(self.has_room(text.len()), "BUG: nobody asked for room");
        let span = (self.text.len() as u32, text.len() as u32);
        self.text.push_str(text);
        let symbol = if let Some(symbol) = self.free.pop() {
            self.spans[symbol as usize] = span;
            self.references[symbol as usize] = 1;
            symbol
        } else {
            self.spans.push(span);
            self.references.push(1);
            self.spans.len() as u32 - 1
        };
        let (texts, spans) = (&self.text, &self.spans);
        self.lookup.insert_unique(hash(text), symbol, |symbol| {
            hash(slice(texts, spans[*symbol as usize]))
        });
        symbol
    }

    /// Drops one reference; the last one frees the symbol for reuse.
    pub(crate) fn release(&mut self, symbol: Symbol) {
        let count = &mut self.references[symbol as usize];
        *count -= 1;
        if *count > 0 {
            return;
        }
        let hash = hash(self.get(symbol));
        if let Ok(entry) = self.lookup.find_entry(hash, |have| *have == symbol) {
            entry.remove();
        }
        self.garbage_bytes += self.spans[symbol as usize].1 as usize;
        self.spans[symbol as usize] = (0, 0);
        self.free.push(symbol);
        if self.garbage_bytes > self.text.len() / 2 && self.garbage_bytes > 1 << 20 {
            self.compact();
        }
    }

    /// The text of a symbol.
    pub(crate) fn get(&self, symbol: Symbol) -> &str {
        slice(&self.text, self.spans[symbol as usize])
    }

    /// Whether so much more text can be held, were all of it new.
    pub(crate) fn has_room(&self, more_bytes: usize) -> bool {
        self.text.len() + more_bytes <= TEXT_LIMIT_BYTES
    }

    /// Bytes of text held, unused ones included.
    pub(crate) fn size_bytes(&self) -> usize {
        self.text.len()
    }

    fn compact(&mut self) {
        let mut text = String::with_capacity(self.text.len() - self.garbage_bytes);
        for span in &mut self.spans {
            let start = text.len() as u32;
            text.push_str(slice(&self.text, *span));
            span.0 = start;
        }
        self.text = text;
        self.garbage_bytes = 0;
    }
}

fn slice(text: &str, (start, length): (u32, u32)) -> &str {
    &text[start as usize..start as usize + length as usize]
}

fn hash(text: &str) -> u64 {
    rapidhash::v3::rapidhash_v3(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_stored_once_and_freed_by_the_last_user() {
        let mut symbols = Symbols::default();
        let a = symbols.acquire("a");
        let b = symbols.acquire("b");
        assert_eq!(symbols.acquire("a"), a);
        symbols.release(a);
        assert_eq!(symbols.find("a"), Some(a));
        symbols.release(a);
        assert_eq!(symbols.find("a"), None);
        assert_eq!(symbols.acquire("c"), a, "the number is used again");
        assert_eq!((symbols.get(a), symbols.get(b)), ("c", "b"));
    }

    #[test]
    fn the_arena_is_compacted() {
        let mut symbols = Symbols::default();
        let keep = symbols.acquire("keep");
        let long = "x".repeat(100_000);
        for index in 0..100 {
            let symbol = symbols.acquire(&format!("{long}{index}"));
            symbols.release(symbol);
        }
        assert!(symbols.size_bytes() < 3 << 20, "{}", symbols.size_bytes());
        assert_eq!(symbols.get(keep), "keep");
    }
}

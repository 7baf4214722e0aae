//! Character classes: `[…]`, `\d`, `[:alpha:]`, `\p{Greek}`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::syntax::{Parser, fail, upto};

/// A set of characters under construction.
pub(super) struct Set {
    chars: ClassUnicode,
    negated: bool,
}

impl Set {
    fn of(ranges: &[(char, char)], negated: bool) -> Self {
        let ranges = ranges.iter().map(|&(a, b)| ClassUnicodeRange::new(a, b));
        Self {
            chars: ClassUnicode::new(ranges),
            negated,
        }
    }

    /// With the other cases of its characters, if `fold`. Folding comes before negation.
    pub(super) fn folded(mut self, fold: bool) -> Self {
        if fold {
            self.chars.case_fold_simple();
        }
        self
    }

    pub(super) fn finish(mut self) -> ClassUnicode {
        if self.negated {
            self.chars.negate();
        }
        self.chars
    }
}

/// `\d`, `\W`, `\pL`, `\P{Greek}` …, if that is what stands next.
pub(super) fn escape(parser: &mut Parser<'_>) -> Result<Option<Set>, String> {
    let Some(letter) = parser
        .rest
        .strip_prefix('\\')
        .and_then(|rest| rest.chars().next())
    else {
        return Ok(None);
    };
    let ranges: &[(char, char)] = match letter.to_ascii_lowercase() {
        'd' => &[('0', '9')],
        's' => &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')],
        'w' => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        'p' => return unicode(parser, letter == 'P').map(Some),
        _ => return Ok(None),
    };
    parser.rest = &parser.rest[2..];
    Ok(Some(Set::of(ranges, letter.is_ascii_uppercase())))
}

/// A bracketed class; `parser` stands at its `[`.
pub(super) fn bracketed(parser: &mut Parser<'_>) -> Result<Set, String> {
    let whole = parser.rest;
    let missing = || fail("missing closing ]", whole);
    parser.rest = &parser.rest[1..];
    let mut set = Set::of(&[], false);
    if let Some(rest) = parser.rest.strip_prefix('^') {
        parser.rest = rest;
        set.negated = true;
    }
    let mut first = true;
    while first || !parser.rest.starts_with(']') {
        first = false;
        if parser.rest.starts_with("[:")
            && let Some(end) = parser.rest[2..].find(":]")
        {
            let name = &parser.rest[..end + 4];
            let named = posix(name).ok_or_else(|| fail("invalid character class range", name))?;
            set.chars.union(&named.folded(parser.folds_case()).finish());
            parser.rest = &parser.rest[end + 4..];
            continue;
        }
        if let Some(inner) = escape(parser)? {
            set.chars.union(&inner.folded(parser.folds_case()).finish());
            continue;
        }
        let start = parser.rest;
        let low = one(parser).ok_or_else(missing)??;
        let mut high = low;
        if let Some(rest) = parser.rest.strip_prefix('-')
            && !rest.is_empty()
            && !rest.starts_with(']')
        {
            parser.rest = rest;
            high = one(parser).ok_or_else(missing)??;
            if high < low {
                return Err(fail(
                    "invalid character class range",
                    upto(start, parser.rest),
                ));
            }
        }
        // Surrogates' numbers are in no text: a range over them shrinks to what is.
        let low = char::from_u32(low).unwrap_or('\u{e000}');
        let high = char::from_u32(high).unwrap_or('\u{d7ff}');
        if low <= high {
            let range = Set::of(&[(low, high)], false).folded(parser.folds_case());
            set.chars.union(&range.chars);
        }
    }
    parser.rest = &parser.rest[1..];
    Ok(set)
}

/// One character of a class, as its number; `None` at the end of the pattern.
fn one(parser: &mut Parser<'_>) -> Option<Result<u32, String>> {
    let ch = parser.rest.chars().next()?;
    if ch == '\\' {
        let number = |ch: Option<char>| ch.map_or(0xd800, u32::from);
        return Some(parser.escaped_char().map(number));
    }
    parser.rest = &parser.rest[ch.len_utf8()..];
    Some(Ok(ch.into()))
}

/// `[:name:]` or `[:^name:]`, all of ASCII.
fn posix(text: &str) -> Option<Set> {
    let name = text.strip_prefix("[:")?.strip_suffix(":]")?;
    let (name, negated) = name
        .strip_prefix('^')
        .map_or((name, false), |name| (name, true));
    let ranges: &[(char, char)] = match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\u{7f}')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    };
    Some(Set::of(ranges, negated))
}

/// `\pN`, `\p{Name}`, `\p{^Name}`; `parser` stands at the backslash.
fn unicode(parser: &mut Parser<'_>, capital: bool) -> Result<Set, String> {
    let start = parser.rest;
    let behind = &start[2..];
    let (name, rest) = match behind.strip_prefix('{') {
        Some(open) => {
            let invalid = || fail("invalid character class range", start);
            open.split_once('}').ok_or_else(invalid)?
        }
        None => match behind.chars().next() {
            Some(ch) => behind.split_at(ch.len_utf8()),
            None => return Err(fail("invalid escape sequence", start)),
        },
    };
    let (name, negated) = name
        .strip_prefix('^')
        .map_or((name, capital), |name| (name, !capital));
    let chars =
        table(name).ok_or_else(|| fail("invalid character class range", upto(start, rest)))?;
    parser.rest = rest;
    Ok(Set { chars, negated })
}

/// Categories and scripts as the library that Prometheus matches with knows them, by exactly these
/// names. (Go's own takes aliases since 1.25, and does not look at case.)
const CATEGORIES: &str = "C Cc Cf Cn Co Cs L LC Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc \
    Sk Sm So Z Zl Zp Zs";
const SCRIPTS: &str = "Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak \
    Bengali Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian \
    Caucasian_Albanian Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot \
    Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs \
    Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi \
    Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic \
    Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana \
    Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha \
    Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean \
    Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive \
    Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari \
    Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki \
    Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian \
    Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene \
    Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra \
    Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese \
    Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut \
    Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho \
    Warang_Citi Yezidi Yi Zanabazar_Square";

/// The characters of a general category or a script.
fn table(name: &str) -> Option<ClassUnicode> {
    if name == "Any" {
        return Some(ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)]));
    }
    if name == "Cs" {
        // Surrogates are no characters.
        return Some(ClassUnicode::empty());
    }
    let known = |names: &str| names.split(' ').any(|known| known == name);
    let property = match (known(CATEGORIES), known(SCRIPTS)) {
        (true, _) => "gc",
        (false, true) => "sc",
        (false, false) => return None,
    };
    // `regex-syntax` has the tables; it is asked for exactly one of them.
    let hir = regex_syntax::parse(&format!("\\p{{{property}={name}}}")).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A class of one character becomes a literal.
        HirKind::Literal(literal) => {
            let ch = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(ch, ch)]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_table_and_no_other_has() {
        for name in CATEGORIES.split(' ').chain(SCRIPTS.split(' ')) {
            assert!(table(name).is_some(), "{name}");
        }
        for name in [
            "", "greek", "Grek", "Letter", "l", "ASCII", "Assigned", "Lu Ll", "any",
        ] {
            assert!(table(name).is_none(), "{name}");
        }
    }
}

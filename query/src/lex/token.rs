//! What tokens there are, and how error messages name them.

use crate::ast::{AggregateOp, BinaryOp};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    /// As written.
    pub(crate) text: &'a str,
    /// Its first byte in the input.
    pub(crate) start: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Eof,
    /// No token; the message says why.
    Error(String),
    Identifier,
    /// An identifier with a colon.
    MetricIdentifier,
    Number,
    Duration,
    String,
    Keyword(Keyword),
    /// A binary operator that is neither `+` nor `-`, `!=` nor a word.
    Operator(BinaryOp),
    /// `and`, `or`, `unless`, `atan2`.
    WordOperator(BinaryOp),
    Plus,
    Minus,
    /// `=`
    Assign,
    NotEqual,
    EqualRegex,
    NotEqualRegex,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
}

/// The words with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Aggregate(AggregateOp),
    By,
    Without,
    Bool,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Offset,
    Anchored,
    Smoothed,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("by", Keyword::By),
    ("without", Keyword::Without),
    ("bool", Keyword::Bool),
    ("on", Keyword::On),
    ("ignoring", Keyword::Ignoring),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("offset", Keyword::Offset),
    ("anchored", Keyword::Anchored),
    ("smoothed", Keyword::Smoothed),
    ("start", Keyword::Start),
    ("end", Keyword::End),
    ("step", Keyword::Step),
    ("range", Keyword::Range),
    ("max_of", Keyword::MaxOf),
    ("min_of", Keyword::MinOf),
];

impl Keyword {
    /// In whatever case it is written.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        let aggregate = AggregateOp::ALL
            .into_iter()
            .find(|op| op.as_str().eq_ignore_ascii_case(word))
            .map(Self::Aggregate);
        aggregate.or_else(|| {
            KEYWORDS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(word))
                .map(|(_, keyword)| *keyword)
        })
    }

    pub(crate) fn is_fill(self) -> bool {
        matches!(self, Self::Fill | Self::FillLeft | Self::FillRight)
    }

    pub(crate) fn is_duration_function(self) -> bool {
        matches!(self, Self::Step | Self::Range | Self::MaxOf | Self::MinOf)
    }

    /// Whether it is also a function's name.
    pub(crate) fn is_function(self) -> bool {
        self.is_duration_function() || matches!(self, Self::Start | Self::End)
    }

    /// Whether a metric may be called so without quotes.
    pub(crate) fn may_be_metric(self) -> bool {
        !matches!(
            self,
            Self::Bool | Self::On | Self::Ignoring | Self::GroupLeft | Self::GroupRight
        )
    }
}

impl Token<'_> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// How messages name it.
    pub(crate) fn describe(&self) -> String {
        let text = self.text;
        match &self.kind {
            TokenKind::Eof => "end of input".to_owned(),
            TokenKind::Error(_) => "error".to_owned(),
            TokenKind::Identifier => format!("identifier {text:?}"),
            TokenKind::MetricIdentifier => format!("metric identifier {text:?}"),
            TokenKind::Number => format!("number {}", shortened(text)),
            TokenKind::Duration => format!("duration {}", shortened(text)),
            TokenKind::String => format!("string {}", shortened(text)),
            TokenKind::Keyword(Keyword::Aggregate(_)) => format!("<aggr:{text}>"),
            TokenKind::Keyword(keyword) if keyword.is_function() => format!("{text:?}"),
            TokenKind::Keyword(_) => format!("<{text}>"),
            TokenKind::Operator(_)
            | TokenKind::WordOperator(_)
            | TokenKind::Plus
            | TokenKind::Minus
            | TokenKind::NotEqual
            | TokenKind::EqualRegex
            | TokenKind::NotEqualRegex
            | TokenKind::At => format!("<op:{text}>"),
            _ => format!("{text:?}"),
        }
    }

    /// The binary operator it is.
    pub(crate) fn binary_op(&self) -> Option<BinaryOp> {
        match self.kind {
            TokenKind::Operator(op) | TokenKind::WordOperator(op) => Some(op),
            TokenKind::Plus => Some(BinaryOp::Add),
            TokenKind::Minus => Some(BinaryOp::Sub),
            TokenKind::NotEqual => Some(BinaryOp::NotEqual),
            _ => None,
        }
    }
}

/// The operator or punctuation at the start, and its length.
pub(super) fn operator(rest: &str) -> Option<(TokenKind, usize)> {
    use BinaryOp::{
        Div, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Mod, Mul, Pow, TrimLower, TrimUpper,
    };
    const TABLE: &[(&str, TokenKind)] = &[
        ("==", TokenKind::Operator(Equal)),
        ("!=", TokenKind::NotEqual),
        ("<=", TokenKind::Operator(LessOrEqual)),
        ("</", TokenKind::Operator(TrimUpper)),
        (">=", TokenKind::Operator(GreaterOrEqual)),
        (">/", TokenKind::Operator(TrimLower)),
        ("<", TokenKind::Operator(Less)),
        (">", TokenKind::Operator(Greater)),
        ("*", TokenKind::Operator(Mul)),
        ("/", TokenKind::Operator(Div)),
        ("%", TokenKind::Operator(Mod)),
        ("^", TokenKind::Operator(Pow)),
        ("+", TokenKind::Plus),
        ("-", TokenKind::Minus),
        ("=", TokenKind::Assign),
        (",", TokenKind::Comma),
        ("@", TokenKind::At),
    ];
    TABLE
        .iter()
        .find(|(text, _)| rest.starts_with(text))
        .map(|(text, kind)| (kind.clone(), text.len()))
}

pub(super) fn word_operator(word: &str) -> Option<TokenKind> {
    [
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Unless,
        BinaryOp::Atan2,
    ]
    .into_iter()
    .find(|op| op.as_str().eq_ignore_ascii_case(word))
    .map(TokenKind::WordOperator)
}

/// Quoted, and cut behind ten characters.
fn shortened(text: &str) -> String {
    if text.len() <= 10 {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(10).collect();
    format!("{cut:?}...")
}

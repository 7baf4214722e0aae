//! The tree of a template.

/// A statement.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Printed as it is.
    Text(String),
    /// Evaluated and, unless it declares or assigns, printed.
    Action(Pipe),
    /// `if`, `with` or `range` with its two branches.
    Branch {
        kind: BranchKind,
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// `template "name" pipe`
    Call {
        name: String,
        pipe: Option<Pipe>,
        at: usize,
    },
    Break,
    Continue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BranchKind {
    If,
    With,
    Range,
}

impl BranchKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

/// Commands, each fed with the result of the one before.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    /// Variables it sets, the dollar included.
    pub variables: Vec<String>,
    /// Whether they exist already (`=`), rather than being declared (`:=`).
    pub assigns: bool,
    /// At least one.
    pub commands: Vec<Command>,
}

/// An operand, or a function with its arguments.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// At least one.
    pub args: Vec<Arg>,
}

#[derive(Clone, Debug)]
pub(super) struct Arg {
    pub kind: ArgKind,
    pub start: usize,
    pub end: usize,
}

impl Arg {
    /// Where Go says an error was that came up behind this operand: its last part.
    pub(super) fn innermost(&self) -> &Self {
        match &self.kind {
            ArgKind::Pipe(pipe) => pipe.innermost(),
            ArgKind::Chain(inner, _) => inner.innermost(),
            _ => self,
        }
    }
}

impl Pipe {
    /// See [`Arg::innermost`].
    pub(super) fn innermost(&self) -> &Arg {
        let command = &self.commands[self.commands.len() - 1];
        command.args[command.args.len() - 1].innermost()
    }
}

#[derive(Clone, Debug)]
pub(super) enum ArgKind {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// An integer constant that fits no integer.
    TooLarge,
    Text(String),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>),
    /// `(pipe).a.b`
    Chain(Box<Arg>, Vec<String>),
}

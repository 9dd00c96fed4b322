//! The tree of a compiled condition.

use compact_str::CompactString;

use crate::value::Value;

/// A part of a condition.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A number or a text.
    Literal(Literal),
    /// `TRUE`, `FALSE`, and `NULL`, which is `None`.
    Truth(Option<bool>),
    Property(CompactString),
    Negate(Box<Node>),
    Not(Box<Node>),
    /// A property where a truth is wanted.
    Cast(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Equal(Box<Node>, Box<Node>),
    Order(Order, Box<Node>, Box<Node>),
    Search {
        how: Search,
        not: bool,
        within: Box<Node>,
        text: CompactString,
    },
    In {
        not: bool,
        property: CompactString,
        list: Vec<CompactString>,
    },
}

/// A number or a text, as written.
#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Int(i32),
    Long(i64),
    Double(f64),
    Text(CompactString),
}

impl Literal {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Int(number) => Value::Int(*number),
            Self::Long(number) => Value::Long(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Text(text) => Value::Text(text),
        }
    }
}

/// An ordering operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    Anywhere,
    AtStart,
    AtEnd,
}

impl Node {
    /// Whether the part says true or false by its form.
    pub(crate) fn is_truth(&self) -> bool {
        !matches!(self, Self::Literal(_) | Self::Property(_) | Self::Negate(_))
    }
}

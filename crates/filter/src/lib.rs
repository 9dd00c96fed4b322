//! SQL92 conditions over message properties: compile, limit, evaluate. Pure.
//!
//! The language and its corners (three-valued logic, text read as the number that it is compared
//! with, what follows a complete condition is ignored) are those of Apache RocketMQ 5.5, package
//! `filter`; `tests/original.rs` holds thousands of cases that its classes have answered.
//!
//! ```
//! let condition = rmq_filter::Condition::compile("color = 'blue' AND size BETWEEN 3 AND 5")?;
//! let admits = condition.admits(|name| match name {
//!     "color" => Some("blue"),
//!     "size" => Some("4"),
//!     _ => None,
//! });
//! assert!(admits);
//! # Ok::<(), rmq_filter::CompileError>(())
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `token` | text to tokens |
//! | `parse` | tokens to a tree, and every reason to refuse one |
//! | `tree` | the tree |
//! | `evaluate` | what a tree says of a message |
//! | `value` | values, and how unlike ones are compared |

mod evaluate;
mod parse;
mod token;
mod tree;
mod value;

use thiserror::Error;

/// Most bytes of a condition.
pub const LEN_MAX: usize = 4096;
/// Deepest nesting of a condition.
pub const DEPTH_MAX: usize = 64;
/// Most parts of a condition: literals, properties, operators, members of lists.
pub const NODES_MAX: usize = 1024;

/// A compiled condition.
#[derive(Clone, Debug)]
#[doc(alias = "BooleanExpression")]
pub struct Condition {
    root: tree::Node,
}

impl Condition {
    /// Compiles a condition. Linear in its length; nothing beyond a complete condition is looked at
    /// but the token that ends it.
    #[doc(alias = "SelectorParser")]
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        Ok(Self { root: parse::condition(text)? })
    }

    /// Whether the condition is true of a message with these properties; unknown and in error are
    /// not true.
    pub fn admits<'a>(&'a self, property: impl Fn(&str) -> Option<&'a str>) -> bool {
        evaluate::is_true(&self.root, &property)
    }
}

/// Why a condition does not compile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// More than [`LEN_MAX`] bytes.
    #[error("the condition has {len} bytes, at most {LEN_MAX} are allowed")]
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// Deeper than [`DEPTH_MAX`].
    #[error("the condition is nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// More than [`NODES_MAX`] parts.
    #[error("the condition has more than {NODES_MAX} parts")]
    TooWide,
    /// A character that begins no token, or a text without its end.
    #[error("lexical error at byte {at}: {found:?} begins no token")]
    Token {
        /// Where, from 0.
        at: usize,
        /// What stands there.
        found: char,
    },
    /// A token that does not belong there.
    #[error("at byte {at}: encountered {found}, expected {expected}")]
    Syntax {
        /// Where, from 0.
        at: usize,
        /// What stands there.
        found: String,
        /// What could.
        expected: &'static str,
    },
    /// A number that its type cannot hold.
    #[error("at byte {at}: the number {text} is out of range")]
    Number {
        /// Where, from 0.
        at: usize,
        /// The number as written.
        text: String,
    },
    /// Operands that never fit their operator.
    #[error("at byte {at}: {why}")]
    Operand {
        /// Where the operator stands, from 0.
        at: usize,
        /// What does not fit.
        why: &'static str,
    },
}

//! Tokens to a tree, by recursive descent, and every reason to refuse one.
//!
//! ```text
//! or         = and { OR and }                          and   = equality { AND equality }
//! equality   = comparison { ("=" | "<>") comparison | IS [NOT] NULL }
//! comparison = unary { (">" | ">=" | "<" | "<=") unary
//!                    | [NOT] (CONTAINS | STARTSWITH | ENDSWITH) text
//!                    | [NOT] BETWEEN unary AND unary | [NOT] IN "(" text { "," text } ")" }
//! unary      = ("+" | "-" | NOT) unary | literal | property | "(" or ")"
//! ```

use compact_str::CompactString;

use crate::token::{Token, Tokens};
use crate::tree::{Literal, Node, Order, Search};
use crate::{CompileError, DEPTH_MAX, LEN_MAX, NODES_MAX};

type Parsed<T = Node> = Result<T, CompileError>;

/// Compiles a condition.
pub(crate) fn condition(text: &str) -> Parsed {
    if text.len() > LEN_MAX {
        return Err(CompileError::TooLong { len: text.len() });
    }
    let mut tokens = Tokens::new(text);
    let next = tokens.take()?;
    let mut parser = Parser { tokens, next, depth: 0, nodes: 0 };
    let root = parser.or()?;
    parser.truth(root)
}

struct Parser<'t> {
    tokens: Tokens<'t>,
    next: (usize, Token<'t>),
    depth: usize,
    nodes: usize,
}

impl<'t> Parser<'t> {
    fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        while self.eat(Token::Or)? {
            let right = self.and()?;
            left = Node::Or(Box::new(self.truth(left)?), Box::new(self.truth(right)?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.equality()?;
        while self.eat(Token::And)? {
            let right = self.equality()?;
            left = Node::And(Box::new(self.truth(left)?), Box::new(self.truth(right)?));
        }
        Ok(left)
    }

    fn equality(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        loop {
            let at = self.next.0;
            match self.next.1 {
                Token::Equal | Token::Unequal => {
                    let (_, operator) = self.advance()?;
                    let right = self.comparison()?;
                    if is_null(&left) || is_null(&right) {
                        let why = "= and <> do not compare with NULL, use IS NULL";
                        return Err(CompileError::Operand { at, why });
                    }
                    if matches!(left, Node::Truth(_)) && matches!(right, Node::Literal(_)) {
                        let why = "TRUE and FALSE do not compare with a literal on their right";
                        return Err(CompileError::Operand { at, why });
                    }
                    left = self.negated_if(
                        operator == Token::Unequal,
                        Node::Equal(Box::new(left), Box::new(right)),
                    );
                }
                Token::Is => {
                    self.advance()?;
                    let not = self.eat(Token::Not)?;
                    self.expect(Token::Null, "NULL")?;
                    let null = Box::new(Node::Truth(None));
                    left = self.negated_if(not, Node::Equal(Box::new(left), null));
                }
                _ => return Ok(left),
            }
            self.count()?;
        }
    }

    fn comparison(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            self.count()?;
            let at = self.next.0;
            let order = match self.next.1 {
                Token::Greater => Order::Greater,
                Token::GreaterOrEqual => Order::GreaterOrEqual,
                Token::Less => Order::Less,
                Token::LessOrEqual => Order::LessOrEqual,
                Token::Not => {
                    self.advance()?;
                    left = self.range_or_search(left, true)?;
                    continue;
                }
                Token::Contains
                | Token::StartsWith
                | Token::EndsWith
                | Token::Between
                | Token::In => {
                    left = self.range_or_search(left, false)?;
                    continue;
                }
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.unary()?;
            left = order_of(order, left, right, at)?;
        }
    }

    /// What may stand behind `NOT` in the middle of a comparison.
    fn range_or_search(&mut self, left: Node, not: bool) -> Parsed {
        let (at, operator) = self.advance()?;
        let how = match operator {
            Token::Contains => Search::Anywhere,
            Token::StartsWith => Search::AtStart,
            Token::EndsWith => Search::AtEnd,
            Token::Between => return self.between(left, not, at),
            Token::In => return self.list(left, not, at),
            found => {
                let expected = "CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN";
                return Err(CompileError::Syntax { at, found: found.shown(), expected });
            }
        };
        Ok(Node::Search { how, not, within: Box::new(left), text: self.text()? })
    }

    fn between(&mut self, left: Node, not: bool, at: usize) -> Parsed {
        let low = self.unary()?;
        self.expect(Token::And, "AND")?;
        let high = self.unary()?;
        if !not && let (Some(low), Some(high)) = (constant(&low), constant(&high)) {
            let (Some(low), Some(high)) = (low, high) else {
                let why = "the bounds of BETWEEN must not be NULL";
                return Err(CompileError::Operand { at, why });
            };
            if !high.compare(low).is_ok_and(std::cmp::Ordering::is_ge) {
                let why = "the lower bound of BETWEEN must not exceed the upper one";
                return Err(CompileError::Operand { at, why });
            }
        }
        self.count()?;
        let (above, below) = if not {
            (Order::Less, Order::Greater)
        } else {
            (Order::GreaterOrEqual, Order::LessOrEqual)
        };
        let low = Box::new(order_of(above, left.clone(), low, at)?);
        let high = Box::new(order_of(below, left, high, at)?);
        Ok(if not { Node::Or(low, high) } else { Node::And(low, high) })
    }

    fn list(&mut self, left: Node, not: bool, at: usize) -> Parsed {
        self.expect(Token::Open, "(")?;
        let mut list = vec![self.text()?];
        while self.eat(Token::Comma)? {
            self.count()?;
            list.push(self.text()?);
        }
        self.expect(Token::Close, ", or )")?;
        match left {
            Node::Property(property) => Ok(Node::In { not, property, list }),
            _ => Err(CompileError::Operand { at, why: "IN wants a property on its left" }),
        }
    }

    fn unary(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(CompileError::TooDeep);
        }
        self.count()?;
        let (at, token) = self.advance()?;
        let node = match token {
            Token::Plus => self.unary()?,
            Token::Minus => Node::Negate(Box::new(self.unary()?)),
            Token::Not => {
                let inner = self.unary()?;
                Node::Not(Box::new(self.truth(inner)?))
            }
            Token::Open => {
                let inner = self.or()?;
                self.expect(Token::Close, ")")?;
                inner
            }
            Token::True => Node::Truth(Some(true)),
            Token::False => Node::Truth(Some(false)),
            Token::Null => Node::Truth(None),
            Token::Name(name) => Node::Property(CompactString::new(name)),
            Token::Text(text) => Node::Literal(Literal::Text(unquoted(text))),
            Token::Integer(text) => Node::Literal(integer(text, at)?),
            Token::Decimal(text) => Node::Literal(decimal(text, at)?),
            found => {
                let expected = "a literal, a property or (";
                return Err(CompileError::Syntax { at, found: found.shown(), expected });
            }
        };
        self.depth -= 1;
        Ok(node)
    }

    /// The node where a truth is wanted.
    fn truth(&self, node: Node) -> Parsed {
        match node {
            node if node.is_truth() => Ok(node),
            Node::Property(_) => Ok(Node::Cast(Box::new(node))),
            _ => {
                let why = "Expression will not result in a boolean value";
                Err(CompileError::Operand { at: self.next.0, why })
            }
        }
    }

    fn negated_if(&self, not: bool, node: Node) -> Node {
        if not { Node::Not(Box::new(node)) } else { node }
    }

    fn text(&mut self) -> Parsed<CompactString> {
        match self.advance()? {
            (_, Token::Text(text)) => Ok(unquoted(text)),
            (at, found) => {
                Err(CompileError::Syntax { at, found: found.shown(), expected: "a text in quotes" })
            }
        }
    }

    fn count(&mut self) -> Parsed<()> {
        self.nodes += 1;
        if self.nodes > NODES_MAX { Err(CompileError::TooWide) } else { Ok(()) }
    }

    fn advance(&mut self) -> Parsed<(usize, Token<'t>)> {
        let next = self.tokens.take()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn eat(&mut self, token: Token<'_>) -> Parsed<bool> {
        let is_next = self.next.1 == token;
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn expect(&mut self, token: Token<'_>, expected: &'static str) -> Parsed<()> {
        if self.eat(token)? {
            return Ok(());
        }
        let (at, found) = self.next;
        Err(CompileError::Syntax { at, found: found.shown(), expected })
    }
}

fn order_of(order: Order, left: Node, right: Node, at: usize) -> Parsed {
    let fits = |node: &Node| match node {
        Node::Literal(literal) => !matches!(literal, Literal::Text(_)),
        node => !node.is_truth(),
    };
    if fits(&left) && fits(&right) {
        return Ok(Node::Order(order, Box::new(left), Box::new(right)));
    }
    Err(CompileError::Operand { at, why: "texts and truths are not ordered" })
}

fn is_null(node: &Node) -> bool {
    matches!(node, Node::Truth(None))
}

/// The value of a literal, `None` inside for `NULL`.
fn constant(node: &Node) -> Option<Option<crate::value::Value<'_>>> {
    match node {
        Node::Literal(literal) => Some(Some(literal.value())),
        Node::Truth(truth) => Some(truth.map(crate::value::Value::Truth)),
        _ => None,
    }
}

fn unquoted(text: &str) -> CompactString {
    CompactString::from(text.replace("''", "'"))
}

fn integer(text: &str, at: usize) -> Parsed<Literal> {
    let digits = text.trim_end_matches(['l', 'L']);
    let number: i64 =
        digits.parse().map_err(|_| CompileError::Number { at, text: text.to_owned() })?;
    Ok(i32::try_from(number).map_or(Literal::Long(number), Literal::Int))
}

fn decimal(text: &str, at: usize) -> Parsed<Literal> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    let number = number.ok_or_else(|| CompileError::Number { at, text: text.to_owned() })?;
    Ok(Literal::Double(number))
}

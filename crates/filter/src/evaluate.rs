//! What a tree says of a message: true, false, unknown (`None`), or nothing at all.

use std::cmp::Ordering;

use crate::tree::{Node, Order, Search};
use crate::value::{Incomparable, Value, double};

type Answer<T> = Result<Option<T>, Incomparable>;

/// Whether the condition holds.
pub(crate) fn is_true<'a>(root: &'a Node, property: &dyn Fn(&str) -> Option<&'a str>) -> bool {
    matches!(value(root, property), Ok(Some(Value::Truth(true))))
}

fn value<'a>(node: &'a Node, property: &dyn Fn(&str) -> Option<&'a str>) -> Answer<Value<'a>> {
    let answer = match node {
        Node::Literal(literal) => return Ok(Some(literal.value())),
        Node::Property(name) => return Ok(property(name).map(Value::Text)),
        Node::Negate(inner) => return Ok(value(inner, property)?.and_then(Value::negated)),
        Node::Truth(truth) => *truth,
        Node::Not(inner) => truth(inner, property)?.map(|truth| !truth),
        Node::Cast(inner) => {
            value(inner, property)?.map(|value| matches!(value, Value::Truth(true)))
        }
        Node::And(left, right) => joined(left, right, false, property)?,
        Node::Or(left, right) => joined(left, right, true, property)?,
        Node::Equal(left, right) => equal(value(left, property)?, value(right, property)?)?,
        Node::Order(order, left, right) => match value(left, property)? {
            None => None,
            Some(left) => match value(right, property)? {
                None => None,
                Some(right) => Some(ordered(*order, left, right)?),
            },
        },
        // Nothing is ever found by an empty text, whatever it is looked for in.
        Node::Search { text, .. } if text.is_empty() => Some(false),
        Node::Search { how, not, within, text } => {
            Some(found(*how, *not, value(within, property)?, text))
        }
        Node::In { not, property: name, list } => {
            property(name).map(|value| list.iter().any(|member| member == value) != *not)
        }
    };
    Ok(answer.map(Value::Truth))
}

fn truth<'a>(node: &'a Node, property: &dyn Fn(&str) -> Option<&'a str>) -> Answer<bool> {
    Ok(value(node, property)?.map(|value| matches!(value, Value::Truth(true))))
}

/// `AND` (decided by a false) and `OR` (decided by a true).
fn joined<'a>(
    left: &'a Node,
    right: &'a Node,
    decisive: bool,
    property: &dyn Fn(&str) -> Option<&'a str>,
) -> Answer<bool> {
    let left = truth(left, property)?;
    if left == Some(decisive) {
        return Ok(left);
    }
    let right = truth(right, property)?;
    if right == Some(decisive) {
        return Ok(right);
    }
    Ok(left.and(right))
}

fn equal(left: Option<Value<'_>>, right: Option<Value<'_>>) -> Answer<bool> {
    match (left, right) {
        (None, None) => Ok(Some(true)),
        (None, Some(_)) => Ok(None),
        (Some(_), None) => Ok(Some(false)),
        (Some(left), Some(right)) => Ok(Some(left.compare(right)? == Ordering::Equal)),
    }
}

fn ordered(order: Order, left: Value<'_>, right: Value<'_>) -> Result<bool, Incomparable> {
    let found = match (left, right) {
        (Value::Text(left), Value::Text(right)) => double(left)?.total_cmp(&double(right)?),
        (left, right) => left.compare(right)?,
    };
    Ok(match order {
        Order::Greater => found.is_gt(),
        Order::GreaterOrEqual => found.is_ge(),
        Order::Less => found.is_lt(),
        Order::LessOrEqual => found.is_le(),
    })
}

/// Nothing is found in what is absent or no text, and nothing is missing there either.
fn found(how: Search, not: bool, within: Option<Value<'_>>, text: &str) -> bool {
    let Some(Value::Text(within)) = within else { return false };
    not != match how {
        Search::Anywhere => within.contains(text),
        Search::AtStart => within.starts_with(text),
        Search::AtEnd => within.ends_with(text),
    }
}

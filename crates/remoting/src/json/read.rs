//! From a tree to a type, with the conversions that peers are used to.

use std::cell::Cell;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::tree::Node;
use super::{DEPTH_MAX, Error};

/// Most `$ref` followed in one document: they may multiply each other.
const REFERENCES_MAX: u32 = 10_000;

/// Most `$ref` followed within each other: they may go round.
const REFERENCES_DEEP: u8 = 8;

pub(super) fn from_node<T: DeserializeOwned>(root: &Node<'_>) -> Result<T, Error> {
    let references = Cell::new(REFERENCES_MAX);
    let document = Document { root, references: &references, deeper: REFERENCES_DEEP };
    T::deserialize(Reader { node: root, document })
}

#[derive(Clone, Copy)]
struct Document<'n> {
    root: &'n Node<'n>,
    /// References that may still be followed.
    references: &'n Cell<u32>,
    /// References that may still be followed from here inwards.
    deeper: u8,
}

impl<'n> Document<'n> {
    fn reader(self, node: &'n Node<'n>) -> Result<Reader<'n>, Error> {
        let reader = Reader { node, document: self };
        let Some(path) = reference(node) else { return Ok(reader) };
        let too_many = || wrong("too many $ref");
        let left = self.references.get().checked_sub(1).ok_or_else(too_many)?;
        let deeper = self.deeper.checked_sub(1).ok_or_else(too_many)?;
        self.references.set(left);
        let target = follow(self.root, path).ok_or_else(|| wrong("a $ref that leads nowhere"))?;
        if reference(target).is_some() {
            return Err(wrong("a $ref to a $ref"));
        }
        Ok(Reader { node: target, document: Self { deeper, ..self } })
    }
}

/// The path of `{"$ref":"$.path"}`.
fn reference<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    let Node::Object(members) = node else { return None };
    match members.as_slice() {
        [(Node::Text(key), Node::Text(path))] if key == "$ref" => Some(path),
        _ => None,
    }
}

/// The value at `$.name[index].name`.
fn follow<'n>(root: &'n Node<'n>, path: &str) -> Option<&'n Node<'n>> {
    let mut node = root;
    for step in path.strip_prefix('$')?.split(['.', '[']).filter(|step| !step.is_empty()) {
        node = match step.strip_suffix(']') {
            Some(index) => match node {
                Node::Array(items) => items.get(index.parse::<usize>().ok()?)?,
                _ => node.member(index.trim_matches(['"', '\'']))?,
            },
            None => node.member(step)?,
        };
    }
    Some(node)
}

fn wrong(reason: impl Into<String>) -> Error {
    Error::Type { reason: reason.into() }
}

/// One value. Lends nothing, so that it can also be made of a text within the document.
#[derive(Clone, Copy)]
struct Reader<'n> {
    node: &'n Node<'n>,
    document: Document<'n>,
}

impl<'n> Reader<'n> {
    fn int(self) -> Result<i128, Error> {
        match self.node {
            Node::Null => Ok(0),
            Node::Bool(value) => Ok(i128::from(*value)),
            Node::Number(digits) => parse_int(digits),
            Node::Text(text) if text.trim().is_empty() => Ok(0),
            Node::Text(text) => parse_int(text.trim()),
            Node::Array(_) | Node::Object(_) => Err(self.unexpected("a number")),
        }
    }

    fn float(self) -> Result<f64, Error> {
        match self.node {
            Node::Null => Ok(0.0),
            Node::Number(digits) => digits.parse().map_err(|_| self.unexpected("a number")),
            Node::Text(text) => text.trim().parse().map_err(|_| self.unexpected("a number")),
            _ => Err(self.unexpected("a number")),
        }
    }

    fn bool(self) -> Result<bool, Error> {
        match self.node {
            Node::Null => Ok(false),
            Node::Bool(value) => Ok(*value),
            Node::Number(digits) => Ok(parse_int(digits)? != 0),
            Node::Text(text) => Ok(text.eq_ignore_ascii_case("true") || text == "1"),
            Node::Array(_) | Node::Object(_) => Err(self.unexpected("true or false")),
        }
    }

    fn members(self) -> Result<&'n [(Node<'n>, Node<'n>)], Error> {
        match self.node {
            Node::Null => Ok(&[]),
            Node::Object(members) => Ok(members),
            _ => Err(self.unexpected("an object")),
        }
    }

    fn unexpected(self, expected: &str) -> Error {
        let found = match self.node {
            Node::Null => "null",
            Node::Bool(_) => "true or false",
            Node::Number(_) => "a number",
            Node::Text(_) => "a text",
            Node::Array(_) => "an array",
            Node::Object(_) => "an object",
        };
        wrong(format!("{found} where {expected} belongs"))
    }
}

/// Whole numbers, also written as `06` or `1.0`.
fn parse_int(digits: &str) -> Result<i128, Error> {
    let whole = digits.trim_end_matches('0').strip_suffix('.').unwrap_or(digits);
    whole.parse().map_err(|_| wrong(format!("`{digits}` where a whole number belongs")))
}

macro_rules! ints {
    ($($method:ident $visit:ident $int:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let value = self.int()?;
            match <$int>::try_from(value) {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(wrong(format!("{value} is too large"))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    ints! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Number(_) => match self.int().ok().and_then(|int| i64::try_from(int).ok()) {
                Some(int) => visitor.visit_i64(int),
                None => visitor.visit_f64(self.float()?),
            },
            Node::Text(text) => visitor.visit_str(text),
            Node::Array(_) => self.deserialize_seq(visitor),
            Node::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.bool()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.node.as_text().unwrap_or_default())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = match self.node {
            Node::Null => &[],
            Node::Array(items) => items.as_slice(),
            _ => return Err(self.unexpected("an array")),
        };
        visitor.visit_seq(Items { items: items.iter(), document: self.document })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let members = self.members()?.iter();
        visitor.visit_map(Members { members, value: None, document: self.document })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A key that holds an object, written as the text of the object.
        if let Node::Text(text) = self.node {
            let node = Node::parse(text, DEPTH_MAX)?;
            let inner = Document { root: &node, ..self.document };
            return match node {
                Node::Object(_) => {
                    Reader { node: &node, document: inner }.deserialize_struct(name, names, visitor)
                }
                _ => Err(self.unexpected("an object")),
            };
        }
        // Of members that are repeated the last counts; unknown ones are passed over.
        let mut known = vec![None; names.len()];
        for (key, value) in self.members()? {
            let place = key.as_text().and_then(|key| names.iter().position(|name| *name == key));
            if let Some(place) = place.and_then(|place| known.get_mut(place)) {
                *place = Some(value);
            }
        }
        visitor.visit_map(Known {
            members: names.iter().zip(known),
            value: None,
            document: self.document,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(StrDeserializer::new(&self.node.as_text().unwrap_or_default()))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

struct Items<'n> {
    items: std::slice::Iter<'n, Node<'n>>,
    document: Document<'n>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.document.reader(node)?).map(Some)
    }
}

/// Members of a map.
struct Members<'n> {
    members: std::slice::Iter<'n, (Node<'n>, Node<'n>)>,
    value: Option<&'n Node<'n>>,
    document: Document<'n>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.members.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(self.document.reader(key)?).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let value = self.value.take().unwrap_or(&Node::Null);
        seed.deserialize(self.document.reader(value)?)
    }
}

/// Known members of a struct.
struct Known<'n, I> {
    members: I,
    value: Option<&'n Node<'n>>,
    document: Document<'n>,
}

impl<'de, 'n, I> MapAccess<'de> for Known<'n, I>
where
    I: Iterator<Item = (&'static &'static str, Option<&'n Node<'n>>)>,
{
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let next = self.members.find_map(|(name, value)| value.map(|value| (name, value)));
        let Some((name, value)) = next else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let value = self.value.take().unwrap_or(&Node::Null);
        seed.deserialize(self.document.reader(value)?)
    }
}

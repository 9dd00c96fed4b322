//! Settings as serde reads them: a struct whose field names are the keys, and values that are texts.

use std::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::Settings;

/// What a deserializer says, with the key.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) key: String,
    pub(super) problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { key: String::new(), problem: message.to_string() }
    }
}

/// Settings as serde sees them.
pub(super) struct Source<'de>(pub(super) &'de Settings);

impl<'de> Deserializer<'de> for Source<'de> {
    type Error = Problem;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.0.known.borrow_mut().extend(fields);
        let mut left = fields.iter();
        let rest = std::iter::from_fn(move || {
            left.find_map(|field| {
                self.0.entries.get(*field).map(|(value, _)| (*field, value.as_str()))
            })
        });
        visitor.visit_map(Fields { rest, current: None })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Problem> {
        Err(de::Error::custom("settings are read into structs only"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<'de, I> {
    rest: I,
    current: Option<(&'static str, &'de str)>,
}

impl<'de, I: Iterator<Item = (&'static str, &'de str)>> MapAccess<'de> for Fields<'de, I> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (key, text) = self.current.unwrap_or_default();
        seed.deserialize(Text(text))
            .map_err(|Problem { problem, .. }| Problem { key: key.to_owned(), problem })
    }
}

/// One value.
struct Text<'de>(&'de str);

impl Text<'_> {
    fn parse<T: std::str::FromStr>(&self, wanted: &str) -> Result<T, Problem> {
        let shown: String = self.0.chars().take(64).collect();
        self.0.parse().map_err(|_| de::Error::custom(format!("`{shown}` is not {wanted}")))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $number:ty => $wanted:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            visitor.$visit(self.parse::<$number>($wanted)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Problem;

    numbers! {
        deserialize_i8 visit_i8 i8 => "a whole number from -128 to 127";
        deserialize_i16 visit_i16 i16 => "a whole number from -32768 to 32767";
        deserialize_i32 visit_i32 i32 => "a whole number below 2^31";
        deserialize_i64 visit_i64 i64 => "a whole number";
        deserialize_u8 visit_u8 u8 => "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16 => "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32 => "a whole number from 0 below 2^32";
        deserialize_u64 visit_u64 u64 => "a whole number from 0";
        deserialize_f32 visit_f32 f32 => "a number";
        deserialize_f64 visit_f64 f64 => "a number";
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let lower = self.0.to_ascii_lowercase();
        visitor.visit_bool(Text(&lower).parse::<bool>("`true` or `false`")?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    /// Lists are written with `;` or `,` between their items.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let items = self.0.split([';', ',']).map(str::trim).filter(|item| !item.is_empty());
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let known = variants.iter().find(|variant| variant.eq_ignore_ascii_case(self.0));
        let Some(variant) = known else {
            let shown: String = self.0.chars().take(64).collect();
            let problem = format!("`{shown}` is not one of {}", variants.join(", "));
            return Err(de::Error::custom(problem));
        };
        let variant: StrDeserializer<'_, Problem> = (*variant).into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_borrowed_str(self.0)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

//! The writer: a serde serializer that writes keys, numbers and absent members as RocketMQ's other
//! peers do.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::{Error, scan};

/// How the integer keys of maps are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntegerKeys {
    /// `{"0":…}`: standard JSON.
    #[default]
    Quoted,
    /// `{0:…}`: what old clients read.
    Bare,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Compact,
    Lines,
}

pub(super) fn to_vec<T: Serialize + ?Sized>(
    value: &T,
    keys: IntegerKeys,
    layout: Layout,
) -> Vec<u8> {
    let mut writer =
        Writer { out: Vec::with_capacity(256), keys, layout, indent: 0, key: false, absent: false };
    value.serialize(&mut writer).expect("the writer refuses nothing, and our types neither");
    writer.out
}

struct Writer {
    out: Vec<u8>,
    keys: IntegerKeys,
    layout: Layout,
    indent: usize,
    /// The next value is a key.
    key: bool,
    /// The last value was none at all.
    absent: bool,
}

impl Writer {
    fn bare(&mut self, text: &str) {
        let quoted = std::mem::take(&mut self.key) && self.keys == IntegerKeys::Quoted;
        if quoted {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(text.as_bytes());
        if quoted {
            self.out.push(b'"');
        }
    }

    fn int(&mut self, value: impl itoa::Integer) {
        self.bare(itoa::Buffer::new().format(value));
    }

    fn text(&mut self, text: &str) {
        self.key = false;
        self.out.push(b'"');
        scan::push_escaped(text, &mut self.out);
        self.out.push(b'"');
    }

    fn open(&mut self, open: u8, close: u8) -> Nested<'_> {
        self.key = false;
        self.out.push(open);
        self.indent += 1;
        Nested { writer: self, close, empty: true, in_line: false }
    }

    fn new_line(&mut self) {
        if self.layout == Layout::Lines {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + self.indent, b'\t');
        }
    }
}

/// As Java writes a double: always with a fraction, with an exponent below 10⁻³ and from 10⁷.
fn java_double(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_owned();
    }
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

/// An array or object that is being written.
struct Nested<'a> {
    writer: &'a mut Writer,
    close: u8,
    empty: bool,
    /// An array of numbers stands on one line.
    in_line: bool,
}

impl Nested<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if self.empty {
            let start = self.writer.out.len();
            value.serialize(&mut *self.writer)?;
            let first = self.writer.out.get(start);
            self.in_line = first.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
            if !self.in_line {
                let written = self.writer.out.split_off(start);
                self.writer.new_line();
                self.writer.out.extend(written);
            }
        } else {
            self.writer.out.push(b',');
            if !self.in_line {
                self.writer.new_line();
            }
            value.serialize(&mut *self.writer)?;
        }
        self.empty = false;
        self.writer.absent = false;
        Ok(())
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        if !self.empty {
            self.writer.out.push(b',');
        }
        self.empty = false;
        self.writer.new_line();
        self.writer.key = true;
        key.serialize(&mut *self.writer)
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    /// A member, left out when it is none.
    fn member<K, T>(&mut self, key: &K, value: &T) -> Result<(), Error>
    where
        K: Serialize + ?Sized,
        T: Serialize + ?Sized,
    {
        let (before, was_empty) = (self.writer.out.len(), self.empty);
        self.key(key)?;
        self.value(value)?;
        if std::mem::take(&mut self.writer.absent) {
            self.writer.out.truncate(before);
            self.empty = was_empty;
        }
        Ok(())
    }

    fn close(self) {
        self.writer.indent -= 1;
        if !self.empty && !self.in_line {
            self.writer.new_line();
        }
        self.writer.out.push(self.close);
    }
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Nested<'a>;
    type SerializeTuple = Nested<'a>;
    type SerializeTupleStruct = Nested<'a>;
    type SerializeTupleVariant = Nested<'a>;
    type SerializeMap = Nested<'a>;
    type SerializeStruct = Nested<'a>;
    type SerializeStructVariant = Nested<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.bare(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.int(value);
        Ok(())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.int(value);
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.int(value);
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.int(value);
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.int(value);
        Ok(())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.int(value);
        Ok(())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.int(value);
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.int(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.bare(&java_double(value));
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.absent = true;
        self.key = false;
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut object = self.open(b'{', b'}');
        object.member(variant, value)?;
        object.close();
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Nested<'a>, Error> {
        Ok(self.open(b'[', b']'))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Nested<'a>, Error> {
        Ok(self.open(b'[', b']'))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Nested<'a>, Error> {
        Ok(self.open(b'[', b']'))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Nested<'a>, Error> {
        Ok(self.open(b'[', b']'))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Nested<'a>, Error> {
        Ok(self.open(b'{', b'}'))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Nested<'a>, Error> {
        Ok(self.open(b'{', b'}'))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Nested<'a>, Error> {
        Ok(self.open(b'{', b'}'))
    }
}

macro_rules! items {
    ($($shape:ident::$method:ident),*) => {$(
        impl $shape for Nested<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}
items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! members {
    ($($shape:ident),*) => {$(
        impl $shape for Nested<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.member(key, value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}
members!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Nested<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)?;
        self.writer.absent = false;
        Ok(())
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), Error> {
        self.member(key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

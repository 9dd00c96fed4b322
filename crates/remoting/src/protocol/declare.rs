//! How the conversations are declared: headers, bodies, enums, and which answer belongs to which
//! request.

use crate::fields::{FieldError, FieldValue, Fields};

/// Declares header structs: one Rust field for each extension field.
///
/// `name: T = "wire"` is required; `name: Option<T> = "wire"` is left out when `None`, and reads as
/// `None` when absent or unreadable (as other servers do);
/// `name: T = "wire" or default` reads as the default then, and is always written.
macro_rules! header {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $ty:ty = $wire:literal $(or $default:expr)?,
            )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl $crate::typed::Payload for $name {
            fn write(&self, fields: &mut $crate::fields::Fields, _body: &mut bytes::Bytes) {
                use $crate::protocol::declare::HeaderField;
                $(HeaderField::push(&self.$field, $wire, fields);)*
            }

            fn read(
                fields: &$crate::fields::Fields,
                _body: &bytes::Bytes,
            ) -> Result<Self, $crate::typed::PayloadError> {
                use $crate::protocol::declare::header;
                Ok(Self { $($field: header!(@read fields $wire $ty $(, $default)?),)* })
            }
        }
    )*};
    (@read $fields:ident $wire:literal $ty:ty) => {
        <$ty as $crate::protocol::declare::HeaderField>::read($fields, $wire)?
    };
    (@read $fields:ident $wire:literal $ty:ty, $default:expr) => {
        $fields.parse::<$ty>($wire).ok().flatten().unwrap_or_else(|| $default.into())
    };
}
pub(crate) use header;

/// A field of a header struct: a value that must be there, or an option.
pub(crate) trait HeaderField: Sized {
    fn push(&self, name: &'static str, fields: &mut Fields);
    fn read(fields: &Fields, name: &'static str) -> Result<Self, FieldError>;
}

impl<T: FieldValue> HeaderField for T {
    fn push(&self, name: &'static str, fields: &mut Fields) {
        T::push(self, name, fields);
    }

    fn read(fields: &Fields, name: &'static str) -> Result<Self, FieldError> {
        fields.require(name)
    }
}

impl<T: FieldValue> HeaderField for Option<T> {
    fn push(&self, name: &'static str, fields: &mut Fields) {
        if let Some(value) = self {
            value.push(name, fields);
        }
    }

    fn read(fields: &Fields, name: &'static str) -> Result<Self, FieldError> {
        Ok(fields.parse(name).ok().flatten())
    }
}

/// Makes serde types payloads that travel as a JSON body. An empty body reads as
/// `PayloadError::NoBody`.
macro_rules! json_body {
    ($($name:ident),* $(,)?) => {$(
        impl $crate::typed::Payload for $name {
            fn write(&self, _fields: &mut $crate::fields::Fields, body: &mut bytes::Bytes) {
                *body = $crate::json::to_bytes(self);
            }

            fn read(
                _fields: &$crate::fields::Fields,
                body: &bytes::Bytes,
            ) -> Result<Self, $crate::typed::PayloadError> {
                if body.is_empty() {
                    return Err($crate::typed::PayloadError::NoBody);
                }
                Ok($crate::json::from_slice(body)?)
            }
        }
    )*};
}
pub(crate) use json_body;

/// Ties requests to their codes and answers: `Request = CODE => Response;`
macro_rules! conversation {
    ($($(#[$meta:meta])* $request:ty = $code:ident => $response:ty;)*) => {$(
        $(#[$meta])*
        impl $crate::typed::TypedRequest for $request {
            const CODE: i32 = $crate::request_code::$code;
            type Response = $response;
        }
    )*};
}
pub(crate) use conversation;

/// An enum that travels by its Java name, in bodies and header fields. Variants stand in the order of
/// their ordinals, which are read too. Unknown names and absence read as the default.
macro_rules! wire_enum {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $wire:literal,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $wire,)* }
            }

            /// The value of a name, in any letter case.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name().eq_ignore_ascii_case(name))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::fields::FieldValue for $name {
            fn parse(text: &str) -> Option<Self> {
                Self::from_name(text)
            }
            fn push(&self, name: &'static str, fields: &mut $crate::fields::Fields) {
                fields.push(name, self.name());
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = Option::<compact_str::CompactString>::deserialize(deserializer)?;
                let name = name.unwrap_or_default();
                let value = match name.parse::<usize>() {
                    Ok(ordinal) => Self::ALL.get(ordinal).copied(),
                    Err(_) => Self::from_name(&name),
                };
                Ok(value.unwrap_or_default())
            }
        }
    )*};
}
pub(crate) use wire_enum;

/// Requests that carry nothing.
macro_rules! no_payload {
    ($($name:ident),*) => {$(
        impl $crate::typed::Payload for $name {
            fn write(&self, _fields: &mut $crate::fields::Fields, _body: &mut bytes::Bytes) {}

            fn read(
                _fields: &$crate::fields::Fields,
                _body: &bytes::Bytes,
            ) -> Result<Self, $crate::typed::PayloadError> {
                Ok(Self)
            }
        }
    )*};
}
pub(crate) use no_payload;

/// Requests whose body is text or bytes as they are.
macro_rules! raw_body {
    ($($name:ident),*) => {$(
        impl $crate::typed::Payload for $name {
            fn write(&self, _fields: &mut $crate::fields::Fields, body: &mut bytes::Bytes) {
                body.clone_from(&self.0);
            }

            fn read(
                _fields: &$crate::fields::Fields,
                body: &bytes::Bytes,
            ) -> Result<Self, $crate::typed::PayloadError> {
                Ok(Self(body.clone()))
            }
        }
    )*};
}
pub(crate) use raw_body;

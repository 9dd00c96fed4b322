//! Typed conversations: a request type knows its code and what its answer looks like.

use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;

use crate::command::{RemotingCommand, Response};
use crate::fields::{FieldError, Fields};
use crate::invoker::{Endpoint, InvokeError, Invoker};
use crate::json;
use crate::response_code;

/// What a request or an answer carries: header fields, a body, or both.
///
/// Header structs, body structs, `()` for nothing, [`Bytes`] for a raw body and pairs `(header,
/// body)` are payloads.
pub trait Payload: Sized {
    /// Appends the fields and sets the body.
    fn write(&self, fields: &mut Fields, body: &mut Bytes);

    /// Reads what came. Unknown fields are ignored.
    fn read(fields: &Fields, body: &Bytes) -> Result<Self, PayloadError>;
}

impl Payload for () {
    fn write(&self, _fields: &mut Fields, _body: &mut Bytes) {}

    fn read(_fields: &Fields, _body: &Bytes) -> Result<Self, PayloadError> {
        Ok(())
    }
}

impl Payload for Bytes {
    fn write(&self, _fields: &mut Fields, body: &mut Bytes) {
        *body = self.clone();
    }

    fn read(_fields: &Fields, body: &Bytes) -> Result<Self, PayloadError> {
        Ok(body.clone())
    }
}

impl<H: Payload, B: Payload> Payload for (H, B) {
    fn write(&self, fields: &mut Fields, body: &mut Bytes) {
        self.0.write(fields, body);
        self.1.write(fields, body);
    }

    fn read(fields: &Fields, body: &Bytes) -> Result<Self, PayloadError> {
        Ok((H::read(fields, body)?, B::read(fields, body)?))
    }
}

/// Absent when there is no body.
impl<B: Payload> Payload for Option<B> {
    fn write(&self, fields: &mut Fields, body: &mut Bytes) {
        if let Some(payload) = self {
            payload.write(fields, body);
        }
    }

    fn read(fields: &Fields, body: &Bytes) -> Result<Self, PayloadError> {
        if body.is_empty() { Ok(None) } else { B::read(fields, body).map(Some) }
    }
}

/// A request that knows its code and the payload of its answer.
pub trait TypedRequest: Payload {
    /// Request code.
    const CODE: i32;
    /// What a successful answer carries.
    type Response: Payload;

    /// The command that asks this.
    fn to_command(&self) -> RemotingCommand {
        let mut command = RemotingCommand::request(Self::CODE);
        self.write(&mut command.fields, &mut command.body);
        command
    }

    /// Reads the request on the serving side.
    fn from_command(command: &RemotingCommand) -> Result<Self, PayloadError> {
        Self::read(&command.fields, &command.body)
    }
}

impl RemotingCommand {
    /// Reads fields and body as `P`.
    pub fn payload<P: Payload>(&self) -> Result<P, PayloadError> {
        P::read(&self.fields, &self.body)
    }
}

impl Response {
    /// Success with this payload.
    pub fn of(payload: &impl Payload) -> Self {
        Self::ok().with(payload)
    }

    /// Adds a payload.
    #[must_use]
    pub fn with(mut self, payload: &impl Payload) -> Self {
        let mut body = Bytes::new();
        payload.write(&mut self.fields, &mut body);
        self.body.push(body);
        self
    }
}

/// Asks and reads the answer; any code but success is [`CallError::Refused`].
///
/// # Errors
/// [`CallError`].
pub async fn call<R: TypedRequest>(
    invoker: &dyn Invoker,
    to: &Endpoint,
    request: &R,
    timeout: Duration,
) -> Result<R::Response, CallError> {
    let answer = invoker.invoke(to, request.to_command(), timeout).await?;
    read_answer(answer)
}

/// Reads an answer; any code but success is [`CallError::Refused`].
///
/// # Errors
/// [`CallError::Refused`], [`CallError::Malformed`].
pub fn read_answer<P: Payload>(answer: RemotingCommand) -> Result<P, CallError> {
    if answer.code == response_code::SUCCESS {
        Ok(answer.payload()?)
    } else {
        Err(CallError::Refused { code: answer.code, remark: answer.remark.unwrap_or_default() })
    }
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No answer.
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    /// The peer answered with an error.
    #[error("refused with code {code}: {remark}")]
    Refused {
        /// Response code.
        code: i32,
        /// Reason for people.
        remark: CompactString,
    },
    /// The answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Malformed(#[from] PayloadError),
}

/// Why a payload cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// A header field is missing or malformed.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The body is no such document.
    #[error("the body cannot be read: {0}")]
    Body(#[from] json::Error),
    /// There is no body.
    #[error("the body is missing")]
    NoBody,
}

/// Declares header structs: one Rust field for each extension field.
///
/// `name: T = "wire"` is required; `name: Option<T> = "wire"` is left out when `None`, and reads as
/// `None` when absent or unreadable (as other servers do);
/// `name: T = "wire" or default` reads as the default then, and is always written.
macro_rules! header {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty = $wire:literal $(or $default:expr)?,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl $crate::typed::Payload for $name {
            fn write(&self, fields: &mut $crate::fields::Fields, _body: &mut bytes::Bytes) {
                $($crate::typed::HeaderField::push(&self.$field, $wire, fields);)*
            }

            fn read(fields: &$crate::fields::Fields, _body: &bytes::Bytes) -> Result<Self, $crate::typed::PayloadError> {
                Ok(Self { $($field: $crate::typed::header!(@read fields $wire $ty $(, $default)?),)* })
            }
        }
    )*};
    (@read $fields:ident $wire:literal $ty:ty) => { <$ty as $crate::typed::HeaderField>::read($fields, $wire)? };
    (@read $fields:ident $wire:literal $ty:ty, $default:expr) => { $fields.parse::<$ty>($wire).ok().flatten().unwrap_or_else(|| $default.into()) };
}
pub(crate) use header;

/// A field of a header struct: a value that must be there, or an option.
pub(crate) trait HeaderField: Sized {
    fn push(&self, name: &'static str, fields: &mut Fields);
    fn read(fields: &Fields, name: &'static str) -> Result<Self, FieldError>;
}

impl<T: crate::fields::FieldValue> HeaderField for T {
    fn push(&self, name: &'static str, fields: &mut Fields) {
        T::push(self, name, fields);
    }

    fn read(fields: &Fields, name: &'static str) -> Result<Self, FieldError> {
        fields.require(name)
    }
}

impl<T: crate::fields::FieldValue> HeaderField for Option<T> {
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
/// [`PayloadError::NoBody`].
macro_rules! json_body {
    ($($name:ident),* $(,)?) => {$(
        impl $crate::typed::Payload for $name {
            fn write(&self, _fields: &mut $crate::fields::Fields, body: &mut bytes::Bytes) {
                *body = $crate::json::to_bytes(self);
            }

            fn read(_fields: &$crate::fields::Fields, body: &bytes::Bytes) -> Result<Self, $crate::typed::PayloadError> {
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

/// An enum that travels by its Java name, in bodies and header fields. Unknown names and absence
/// read as the first variant; ordinals are taken too.
macro_rules! wire_enum {
    ($($(#[$meta:meta])* pub enum $name:ident { $(#[$first_meta:meta])* $first:ident = $first_wire:literal, $($(#[$variant_meta:meta])* $variant:ident = $wire:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name {
            $(#[$first_meta])* #[default] $first,
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            const ALL: &[Self] = &[Self::$first, $(Self::$variant,)*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { Self::$first => $first_wire, $(Self::$variant => $wire,)* }
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
                let name = Option::<compact_str::CompactString>::deserialize(deserializer)?.unwrap_or_default();
                let ordinal = name.parse().ok().and_then(|ordinal: usize| Self::ALL.get(ordinal).copied());
                Ok(ordinal.or_else(|| Self::from_name(&name)).unwrap_or_default())
            }
        }
    )*};
}
pub(crate) use wire_enum;

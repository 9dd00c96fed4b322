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

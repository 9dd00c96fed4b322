//! One frame as the program sees it: header and body, in either direction.

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use crate::fields::Fields;
use crate::language::Language;
use crate::response_code;

/// The protocol version that we speak: 5.5.0.
pub const VERSION: i32 = 513;

const RESPONSE: i32 = 1;
const ONEWAY: i32 = 1 << 1;

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HeaderEncoding {
    /// A JSON object; every peer reads it.
    #[default]
    Json,
    /// RocketMQ's own layout; codes above 32,767 do not fit into it.
    #[doc(alias = "ROCKETMQ")]
    Binary,
}

/// A request or a response as it came, or as it is to go out.
#[derive(Debug, Clone)]
pub struct RemotingCommand {
    /// Request code, or response code.
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Release of the sender, see [`VERSION`].
    pub version: i32,
    /// Number that ties a response to its request. Set by the connection when it sends.
    pub opaque: i32,
    /// Bit 0: response, bit 1: one-way.
    pub flag: i32,
    /// Text for people; mostly the reason of an error.
    pub remark: Option<CompactString>,
    /// Extension fields.
    pub fields: Fields,
    /// Body; empty when there is none. A received one is a slice of the read buffer (up to
    /// 256 KiB), see [`RemotingCommand::detached`].
    pub body: Bytes,
    /// How the header was, or is to be, written.
    pub encoding: HeaderEncoding,
}

impl RemotingCommand {
    /// A request of this program.
    pub fn request(code: i32) -> Self {
        Self {
            code,
            language: Language::Rust,
            version: VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            fields: Fields::new(),
            body: Bytes::new(),
            encoding: HeaderEncoding::Json,
        }
    }

    /// A command of which only the encoding is known yet.
    pub(crate) fn received(encoding: HeaderEncoding) -> Self {
        Self { language: Language::Unknown, version: 0, encoding, ..Self::request(0) }
    }

    /// A response of this program.
    pub fn response(code: i32) -> Self {
        Self { flag: RESPONSE, ..Self::request(code) }
    }

    /// Whether this answers a request of the receiver.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE != 0
    }

    /// Whether the sender wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.flag & ONEWAY != 0
    }

    /// Whether this is an answer that says success.
    pub fn is_success(&self) -> bool {
        self.code == response_code::SUCCESS
    }

    /// Marks the request as one that wants no answer.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= ONEWAY;
        self
    }

    /// Sets the remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<CompactString>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Appends a field.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push(name, value);
        self
    }

    /// The value of an extension field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// The remark, or an empty text.
    pub fn remark(&self) -> &str {
        self.remark.as_deref().unwrap_or_default()
    }

    /// The same command without any hold on the read buffer of its connection. For requests that
    /// are kept longer than their turn.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { body: Bytes::copy_from_slice(&self.body), ..self }
    }
}

/// What a processor answers. Opaque, flag, language, version and header encoding are the
/// connection's business.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Response code.
    pub code: i32,
    /// Text for people.
    pub remark: Option<CompactString>,
    /// Extension fields.
    pub fields: Fields,
    /// Body, possibly of many pieces.
    pub body: Body,
}

impl Response {
    /// Success, nothing more.
    pub fn ok() -> Self {
        Self::default()
    }

    /// An answer with a code and the reason for people.
    pub fn error(code: i32, remark: impl Into<CompactString>) -> Self {
        Self { code, remark: Some(remark.into()), ..Self::default() }
    }

    /// The answer to a request that nobody here serves.
    pub fn not_supported(code: i32) -> Self {
        Self::error(
            response_code::REQUEST_CODE_NOT_SUPPORTED,
            compact_str::format_compact!(" request type {code} not supported"),
        )
    }

    /// Sets the remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<CompactString>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Appends a field.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push(name, value);
        self
    }
}

/// A relayed answer: code, remark, fields and body pass on.
impl From<RemotingCommand> for Response {
    fn from(command: RemotingCommand) -> Self {
        Self {
            code: command.code,
            remark: command.remark,
            fields: command.fields,
            body: command.body.into(),
        }
    }
}

/// The body of a response: pieces that go out one behind the other. Large pieces reach the socket
/// without a copy.
#[derive(Debug, Clone, Default)]
pub struct Body {
    parts: SmallVec<[Bytes; 2]>,
}

impl Body {
    /// Appends a piece.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.parts.push(part);
        }
    }

    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The pieces in order.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// All pieces as one; copies if there is more than one.
    pub fn to_bytes(&self) -> Bytes {
        match self.parts.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(part: T) -> Self {
        [part.into()].into_iter().collect()
    }
}

impl FromIterator<Bytes> for Body {
    fn from_iter<I: IntoIterator<Item = Bytes>>(iter: I) -> Self {
        let mut body = Self::default();
        for part in iter {
            body.push(part);
        }
        body
    }
}

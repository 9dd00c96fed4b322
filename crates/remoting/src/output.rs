//! What is to be written to a connection: small things in one buffer, large ones as they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::command::{HeaderEncoding, RemotingCommand, Response};
use crate::frame::{self, EncodeError};
use crate::response_code;

/// From here on a piece of a body is not copied into the buffer.
const SHARED_MIN: usize = 16 << 10;

/// A buffer larger than this is given back when it is empty.
const BUFFER_KEPT: usize = 256 << 10;

/// Most pieces of one system call.
const SLICES: usize = 32;

/// Bytes in the order in which they go out.
#[derive(Default)]
pub(crate) struct Output {
    /// Whole pieces before the buffer.
    pieces: VecDeque<Bytes>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been written; only while there are no pieces.
    written: usize,
    len: usize,
}

impl Output {
    /// Bytes that are not yet written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a request, or a response that is one command.
    pub(crate) fn push_command(&mut self, command: &RemotingCommand) -> Result<(), EncodeError> {
        let before = self.buffer.len();
        frame::encode_command(command, &mut self.buffer)?;
        self.len += self.buffer.len() - before;
        self.push_body(&command.body);
        Ok(())
    }

    /// Appends a response. One that cannot be written is answered as an error instead.
    pub(crate) fn push_response(
        &mut self,
        response: &Response,
        opaque: i32,
        encoding: HeaderEncoding,
    ) {
        let before = self.buffer.len();
        match frame::encode_response(response, opaque, encoding, &mut self.buffer) {
            Ok(()) => {
                self.len += self.buffer.len() - before;
                for part in response.body.parts() {
                    self.push_body(part);
                }
            }
            Err(error) => {
                let error = Response::error(
                    response_code::SYSTEM_ERROR,
                    compact_str::format_compact!("the answer cannot be written: {error}"),
                );
                frame::encode_response(&error, opaque, HeaderEncoding::Json, &mut self.buffer)
                    .expect("a short text fits into a frame");
                self.len += self.buffer.len() - before;
            }
        }
    }

    fn push_body(&mut self, body: &Bytes) {
        self.len += body.len();
        if body.len() < SHARED_MIN {
            self.buffer.extend_from_slice(body);
        } else {
            self.close_buffer();
            self.pieces.push_back(body.clone());
        }
    }

    /// Everything that is not yet written, in one piece.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        self.close_buffer();
        Vec::from(self.pieces).concat()
    }

    /// Appends all of another one, which is empty then.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        self.len += std::mem::take(&mut other.len);
        if !other.pieces.is_empty() {
            self.close_buffer();
            self.pieces.append(&mut other.pieces);
        }
        self.buffer.extend_from_slice(&other.buffer);
        other.buffer.clear();
    }

    /// Makes the buffer a piece.
    fn close_buffer(&mut self) {
        if !self.buffer.is_empty() {
            let mut piece = Bytes::from(std::mem::take(&mut self.buffer));
            piece.advance(std::mem::take(&mut self.written));
            self.pieces.push_back(piece);
        }
    }

    /// Writes as much as the connection takes; ready when everything is written. Cancel-safe.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while self.len > 0 {
            let written = if self.pieces.is_empty() {
                let rest = self.buffer.get(self.written..).unwrap_or_default();
                ready!(Pin::new(&mut *to).poll_write(cx, rest))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let all = self.pieces.iter().map(|piece| piece.as_ref());
                let count = slices
                    .iter_mut()
                    .zip(all.chain([self.buffer.as_slice()]))
                    .map(|(slice, piece)| *slice = IoSlice::new(piece))
                    .count();
                let slices = slices.get(..count).unwrap_or_default();
                ready!(Pin::new(&mut *to).poll_write_vectored(cx, slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while count > 0 {
            match self.pieces.front_mut() {
                Some(piece) if piece.len() > count => {
                    piece.advance(count);
                    return;
                }
                Some(piece) => {
                    count -= piece.len();
                    self.pieces.pop_front();
                }
                None => {
                    self.written += count;
                    count = 0;
                }
            }
        }
        if self.len == 0 {
            self.written = 0;
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_KEPT);
        }
    }
}

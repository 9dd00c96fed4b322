//! A connection that writes whatever bytes a test wants, true to the protocol or not.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use rmq_runtime::{ClockExt, Stream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wait::{PATIENCE, WORLD};

/// A connection.
pub struct Wire {
    stream: Box<dyn Stream>,
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The JSON header.
    pub header: Value,
    /// The body.
    pub body: Vec<u8>,
}

impl Frame {
    /// The code of the header.
    pub fn code(&self) -> i64 {
        self.header.get("code").and_then(Value::as_i64).unwrap_or(i64::MIN)
    }

    /// A field of the header.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.header.get("extFields")?.get(name)?.as_str()
    }
}

/// The header of a request.
pub fn header(code: i32, opaque: i32, fields: &[(&str, String)]) -> Vec<u8> {
    let mut text = format!(
        r#"{{"code":{code},"flag":0,"language":"JAVA","opaque":{opaque},"version":513,"extFields":{{"#
    );
    for (at, (name, value)) in fields.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        text.push_str(&format!(r#"{comma}"{name}":{}"#, json!(value)));
    }
    text.push_str("}}");
    text.into_bytes()
}

/// A frame with a JSON header.
pub fn frame(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + header.len() + body.len());
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    bytes.extend(len(4 + header.len() + body.len()));
    bytes.extend(len(header.len()));
    bytes.extend(header);
    bytes.extend(body);
    bytes
}

impl Wire {
    /// Dials.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn connect(to: SocketAddr) -> Result<Self> {
        let stream = WORLD.clock.timeout(PATIENCE, WORLD.net.connect(to)).await??;
        Ok(Self { stream })
    }

    /// Writes. An error means that the other side has closed, which it may.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        let write = async {
            self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
        };
        WORLD.clock.timeout(PATIENCE, write).await.unwrap_or(false)
    }

    /// Says that nothing more will come.
    pub async fn finish(&mut self) {
        // The other side may have closed already.
        let _closed = self.stream.shutdown().await;
    }

    /// The next frame; none when the other side has closed.
    ///
    /// # Errors
    /// Neither a frame nor the end came in time, or the frame is malformed.
    pub async fn read(&mut self) -> Result<Option<Frame>> {
        let read = WORLD.clock.timeout(PATIENCE, self.read_frame()).await;
        read.context("neither an answer nor the end of the connection")?
    }

    async fn read_frame(&mut self) -> Result<Option<Frame>> {
        let Ok(len) = self.stream.read_u32().await else { return Ok(None) };
        let mut bytes = vec![0; usize::try_from(len)?];
        if self.stream.read_exact(&mut bytes).await.is_err() {
            return Ok(None);
        }
        let (marked, rest) = bytes.split_first_chunk::<4>().context("a frame without a header")?;
        let marked = u32::from_be_bytes(*marked);
        ensure!(marked >> 24 == 0, "not a JSON header");
        let (header, body) = rest
            .split_at_checked(usize::try_from(marked & 0xFF_FFFF)?)
            .context("a header longer than its frame")?;
        Ok(Some(Frame { header: serde_json::from_slice(header)?, body: body.to_vec() }))
    }

    /// Reads until the other side closes.
    ///
    /// # Errors
    /// It does not, or sends what is no frame.
    pub async fn read_to_end(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.read().await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Asks and waits for the answer; none when the other side closes instead.
    ///
    /// # Errors
    /// Neither comes in time.
    pub async fn ask(
        &mut self,
        code: i32,
        fields: &[(&str, String)],
        body: &[u8],
    ) -> Result<Option<Frame>> {
        if !self.write(&frame(&header(code, 7, fields), body)).await {
            return Ok(None);
        }
        let answer = self.read().await?;
        if let Some(answer) = &answer {
            ensure!(
                answer.header.get("opaque") == Some(&json!(7)),
                "{answer:?} answers something else"
            );
        }
        Ok(answer)
    }
}

//! The least remoting client that can ask a server something: one connection, one request at a time, no dependency.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

const GET_BROKER_CLUSTER_INFO: i32 = 106;
const FRAME_MAX: u32 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
const IS_ANSWER: i64 = 1;

/// Addresses of the brokers that a name server knows, by broker name; brokers without an address are left out.
pub(crate) fn brokers(name_server: SocketAddr) -> Result<BTreeMap<String, String>> {
    let answer = Connection::open(name_server)?.ask(GET_BROKER_CLUSTER_INFO, &[], b"")?;
    if answer.code != 0 {
        bail!("{name_server} answered {} {}", answer.code, answer.remark);
    }
    Ok(masters(&answer.document()?))
}

/// A connection to a server.
pub(crate) struct Connection(TcpStream);

/// What a server answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) code: i64,
    pub(crate) remark: String,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when there is none.
    pub(crate) fn document(&self) -> Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&with_quoted_keys(&String::from_utf8_lossy(&self.body)))
            .context("the answer's body is no JSON")
    }
}

impl Connection {
    pub(crate) fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    pub(crate) fn ask(
        &mut self,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let fields: BTreeMap<_, _> = fields.iter().copied().collect();
        let header = json!({"code": code, "language": "OTHER", "version": 513, "opaque": 1, "flag": 0,
            "extFields": fields, "serializeTypeCurrentRPC": "JSON"});
        let header = header.to_string();
        let header_len = u32::try_from(header.len())?;
        let frame_len = header_len + 4 + u32::try_from(body.len())?;
        self.0.write_all(
            &[&frame_len.to_be_bytes(), &header_len.to_be_bytes(), header.as_bytes(), body]
                .concat(),
        )?;
        loop {
            let (header, body) = self.read()?;
            if header["flag"].as_i64().unwrap_or_default() & IS_ANSWER != 0 {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let fields = header["extFields"].as_object().into_iter().flatten();
                return Ok(Answer {
                    code: header["code"].as_i64().unwrap_or(i64::MIN),
                    remark: text(&header["remark"]),
                    fields: fields.map(|(name, value)| (name.clone(), text(value))).collect(),
                    body,
                });
            }
        }
    }

    fn read(&mut self) -> Result<(Value, Vec<u8>)> {
        let frame_len = read_u32(&mut self.0)?;
        // The highest byte of the header length tells the serialization; it is zero for JSON.
        let header_len = read_u32(&mut self.0)?;
        if !(4..=FRAME_MAX).contains(&frame_len) || header_len > frame_len - 4 {
            bail!("{:?} does not speak remoting", self.0.peer_addr());
        }
        let mut frame = vec![0; usize::try_from(frame_len - 4)?];
        self.0.read_exact(&mut frame)?;
        let (header, body) = frame.split_at(usize::try_from(header_len)?);
        let header = serde_json::from_slice(header).context("the answer's header is no JSON")?;
        Ok((header, body.to_vec()))
    }
}

fn read_u32(stream: &mut TcpStream) -> Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn masters(body: &Value) -> BTreeMap<String, String> {
    let table = body["brokerAddrTable"].as_object().into_iter().flatten();
    table
        .filter_map(|(name, broker)| {
            Some((name.clone(), broker["brokerAddrs"]["0"].as_str()?.to_owned()))
        })
        .collect()
}

/// Java writes maps of numbers with bare keys (`{0:"a"}`); here they get their quotes.
fn with_quoted_keys(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 16);
    let mut in_string = false;
    let mut escaped = false;
    let mut before = ' ';
    let mut in_key = false;
    for c in text.chars() {
        if !in_string
            && !in_key
            && matches!(before, '{' | ',')
            && c.is_ascii_digit()
            && !within_list(&quoted)
        {
            in_key = true;
            quoted.push('"');
        } else if in_key && !c.is_ascii_digit() {
            in_key = false;
            quoted.push('"');
        }
        quoted.push(c);
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
        if !c.is_whitespace() {
            before = c;
        }
    }
    quoted
}

/// True if the text ends inside `[...]`; good enough here, where lists hold only names.
fn within_list(text: &str) -> bool {
    text.rfind('[').is_some_and(|open| !text[open..].contains([']', '{']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_bare_keys_is_read() {
        let text = r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:10911",1:"127.0.0.1:7"},"brokerName":"broker-a"},"none":{"brokerAddrs":{}}},
            "clusterAddrTable":{"C":["1", "x{0:1"]}}"#;
        let body = serde_json::from_str(&with_quoted_keys(text)).unwrap();
        assert_eq!(
            masters(&body),
            BTreeMap::from([("broker-a".to_owned(), "127.0.0.1:10911".to_owned())])
        );
    }
}

//! A record as a line of JSON.

use std::fmt::Write as _;

use rmq_message::property;
use rmq_message::record::RecordView;
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line<'a> {
    offset: u64,
    topic: &'a str,
    queue_id: i32,
    queue_offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_key: Option<&'a str>,
    born_timestamp: i64,
    store_timestamp: i64,
    size: usize,
    sys_flag: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

impl<'a> Line<'a> {
    pub(super) fn of(record: &RecordView<'a>, with_body: bool) -> Self {
        let text = std::str::from_utf8(record.body).ok().filter(|_| with_body);
        Self {
            offset: record.physical_offset.0,
            topic: record.topic,
            queue_id: record.queue_id,
            queue_offset: record.queue_offset.0,
            keys: record.property(property::KEYS),
            tags: record.property(property::TAGS),
            unique_key: record.property(property::UNIQ_KEY),
            born_timestamp: record.born_timestamp.0,
            store_timestamp: record.store_timestamp.0,
            size: record.total_len,
            sys_flag: record.sys_flag,
            body: text,
            body_hex: (with_body && text.is_none()).then(|| hex(record.body)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string does not fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

//! The body of a registration: a JSON document, or one zlib stream of it in pieces:
//!
//! | size | content |
//! |---|---|
//! | 4 + n | data version, JSON |
//! | 4 | how many topics |
//! | 4 + n each | `name readQueues writeQueues perm filterType {attributes}`, one blank between them |
//! | the rest | filter servers and static topics, which are left alone |

use std::io::Read as _;

use bytes::{Buf as _, Bytes};
use flate2::read::ZlibDecoder;
use rmq_remoting::json;
use rmq_remoting::protocol::register::RegisterBody;
use rmq_remoting::protocol::topic::{TopicConfig, TopicConfigs};
use thiserror::Error;

/// Bytes that a compressed body may have when it is unpacked.
const UNPACKED_MAX: u64 = 32 << 20;
/// First byte of every zlib stream with the usual window.
const ZLIB: u8 = 0x78;
/// First release whose brokers send the document with filter servers around the topics.
const VERSION_WITH_FILTER_SERVERS: i32 = 37;

/// Why the body cannot be read.
#[derive(Debug, Error)]
pub(crate) enum BodyError {
    #[error("crc32 not match")]
    Checksum,
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Json(#[from] json::Error),
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Unpack(#[from] std::io::Error),
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Layout(&'static str),
}

/// The topics of a body. Its first byte tells whether it is compressed, since brokers that compress
/// say that they do not.
pub(crate) fn decode(body: &Bytes, checksum: i32, version: i32) -> Result<TopicConfigs, BodyError> {
    if checksum != 0 && i64::from(checksum) != i64::from(crc32fast::hash(body) & 0x7FFF_FFFF) {
        return Err(BodyError::Checksum);
    }
    match body.first() {
        None => Ok(TopicConfigs::default()),
        Some(&ZLIB) => unpack(body),
        Some(_) if version < VERSION_WITH_FILTER_SERVERS => Ok(json::from_slice(body)?),
        Some(_) => Ok(json::from_slice::<RegisterBody>(body)?.topic_config_serialize_wrapper),
    }
}

fn unpack(body: &Bytes) -> Result<TopicConfigs, BodyError> {
    let mut plain = Vec::new();
    ZlibDecoder::new(body.as_ref()).take(UNPACKED_MAX + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > UNPACKED_MAX {
        return Err(BodyError::Layout("too large when unpacked"));
    }
    let mut plain = Bytes::from(plain);
    let mut configs =
        TopicConfigs { data_version: json::from_slice(&piece(&mut plain)?)?, ..Default::default() };
    for _ in 0..plain.try_get_i32().map_err(|_| SHORT)? {
        let line = piece(&mut plain)?;
        let config = std::str::from_utf8(&line).ok().and_then(topic);
        let config = config.ok_or(BodyError::Layout("a topic is malformed"))?;
        configs.topic_config_table.insert(config.topic_name.clone(), config);
    }
    Ok(configs)
}

const SHORT: BodyError = BodyError::Layout("it ends early");

fn piece(plain: &mut Bytes) -> Result<Bytes, BodyError> {
    let len = plain.try_get_i32().ok().and_then(|len| usize::try_from(len).ok());
    len.filter(|len| *len <= plain.remaining()).map(|len| plain.split_to(len)).ok_or(SHORT)
}

fn topic(line: &str) -> Option<TopicConfig> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    Some(TopicConfig {
        topic_name: next()?.into(),
        read_queue_nums: next()?.parse().ok()?,
        write_queue_nums: next()?.parse().ok()?,
        perm: next()?.parse().ok()?,
        topic_filter_type: next()?.into(),
        ..TopicConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn packed(topics: &[&str], count: i32) -> Bytes {
        let mut zip = ZlibEncoder::new(Vec::new(), Compression::best());
        let mut put = |text: &str| {
            zip.write_all(&i32::try_from(text.len()).unwrap().to_be_bytes()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        };
        put(r#"{"counter":3,"stateVersion":0,"timestamp":7}"#);
        zip.write_all(&count.to_be_bytes()).unwrap();
        let mut put = |text: &str| {
            zip.write_all(&i32::try_from(text.len()).unwrap().to_be_bytes()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        };
        topics.iter().for_each(|line| put(line));
        put("[]");
        zip.write_all(&0_i32.to_be_bytes()).unwrap();
        zip.finish().unwrap().into()
    }

    #[test]
    fn compressed_body_is_known_by_its_first_byte() {
        let body = packed(&["T1 4 8 6 SINGLE_TAG {}", "T2 1 1 4 SINGLE_TAG"], 2);
        let crc = i32::try_from(crc32fast::hash(&body) & 0x7FFF_FFFF).unwrap();
        let configs = decode(&body, crc, 513).unwrap();
        assert_eq!(configs.data_version.counter, 3);
        let topic = &configs.topic_config_table["T1"];
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (4, 8, 6));
        assert_eq!(configs.topic_config_table.len(), 2);
    }

    #[test]
    fn lying_bodies_are_refused() {
        let cases: [(Bytes, i32, &str); 5] = [
            (Bytes::from_static(b"{}"), 5, "crc32 not match"),
            (Bytes::from_static(b"nonsense"), 0, "Failed to decode RegisterBrokerBody"),
            (packed(&["T1 4 8 6 SINGLE_TAG"], i32::MAX), 0, "malformed"),
            (packed(&["T1 four 8 6 SINGLE_TAG"], 1), 0, "malformed"),
            (Bytes::from_static(&[0x78, 0x9c, 1, 2]), 0, "Failed to decode"),
        ];
        for (body, crc, problem) in cases {
            let error = decode(&body, crc, 513).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 40 << 20]).unwrap();
        let error = decode(&bomb.finish().unwrap().into(), 0, 513).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }

    #[test]
    fn body_of_an_old_broker_has_the_topics_at_its_root() {
        let body = Bytes::from_static(br#"{"dataVersion":{"counter":9},"topicConfigTable":{}}"#);
        assert_eq!(decode(&body, 0, 36).unwrap().data_version.counter, 9);
        assert_eq!(decode(&body, 0, 513).unwrap().data_version.counter, 0);
        assert_eq!(decode(&Bytes::new(), 0, 513).unwrap(), TopicConfigs::default());
    }
}

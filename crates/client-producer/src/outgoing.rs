//! A message made ready for the wire: checked, given its id, compressed, its properties rendered.
//! Done once for all tries of a send, so that every copy has the same id.

use bytes::Bytes;
use rmq_message::batch::{self, BatchItem};
use rmq_message::id::UniqueIds;
use rmq_message::{CompactString, Message, Properties, Timestamp, name, property};

use crate::config::ProducerConfig;
use crate::error::MessageError;
use crate::request::is_reply;

/// What one send carries.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: CompactString,
    pub(crate) body: Bytes,
    pub(crate) properties: String,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) born: Timestamp,
    pub(crate) reconsume_times: i32,
    pub(crate) max_reconsume_times: Option<i32>,
    pub(crate) batch: bool,
    /// It answers a request.
    pub(crate) reply: bool,
    /// Unique id; of a batch, all ids joined by commas.
    pub(crate) id: String,
}

impl Outgoing {
    /// One message.
    pub(crate) fn single(
        mut message: Message,
        config: &ProducerConfig,
        ids: &UniqueIds,
        now: Timestamp,
    ) -> Result<Self, MessageError> {
        check(&message, config)?;
        let id = identify(&mut message.properties, ids, now);
        let (mut reconsume_times, mut max_reconsume_times) = (0, None);
        if name::is_retry(&message.topic) {
            // Attempt counts of retried messages travel in the header.
            let mut take = |name| message.properties.remove(name)?.parse().ok();
            reconsume_times = take(property::RECONSUME_TIME).unwrap_or(0);
            max_reconsume_times = take(property::MAX_RECONSUME_TIMES);
        }
        Ok(Self {
            reply: is_reply(&message),
            properties: message.properties.render(),
            topic: message.topic,
            body: message.body,
            flag: message.flag,
            sys_flag: 0,
            born: now,
            reconsume_times,
            max_reconsume_times,
            batch: false,
            id,
        })
    }

    /// Several messages in one body.
    pub(crate) fn batch(
        mut messages: Vec<Message>,
        config: &ProducerConfig,
        ids: &UniqueIds,
        now: Timestamp,
    ) -> Result<Self, MessageError> {
        let first = messages.first().ok_or(MessageError::EmptyBatch)?;
        let (topic, wait) = (first.topic.clone(), wait(first).map(CompactString::new));
        let mut body = Vec::with_capacity(messages.iter().map(|m| m.body.len() + 128).sum());
        let mut joined = String::with_capacity(messages.len() * 33);
        for message in &mut messages {
            check_part(message, &topic, wait.as_deref())?;
            check(message, config)?;
            let id = identify(&mut message.properties, ids, now);
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(&id);
            let properties = message.properties.render();
            let item = BatchItem {
                flag: message.flag,
                body: &message.body,
                properties: properties.as_bytes(),
            };
            batch::encode(&mut body, item).map_err(|_| MessageError::PartTooLong)?;
        }
        if body.len() > config.body_len_max {
            return Err(MessageError::TooLong { max: config.body_len_max });
        }
        let properties: Properties = wait.iter().map(|value| (property::WAIT, value)).collect();
        Ok(Self {
            topic,
            body: body.into(),
            properties: properties.render(),
            flag: 0,
            sys_flag: 0,
            born: now,
            reconsume_times: 0,
            max_reconsume_times: None,
            batch: true,
            reply: false,
            id: joined,
        })
    }

    /// Whether the settings want the body compressed.
    pub(crate) fn is_compressible(&self, config: &ProducerConfig) -> bool {
        !self.batch && self.body.len() >= config.compress_from
    }

    /// The same with the body compressed, unless that would make it longer or the codec is not
    /// built in.
    pub(crate) fn compressed(mut self, config: &ProducerConfig) -> Self {
        match config.codec.compress(&self.body, config.compress_level) {
            Ok(packed) if packed.len() < self.body.len() => {
                self.body = packed.into();
                self.sys_flag |= config.codec.flags();
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the body is sent as it is"),
        }
        self
    }
}

fn identify(properties: &mut Properties, ids: &UniqueIds, now: Timestamp) -> String {
    if let Some(id) = properties.get(property::UNIQ_KEY) {
        return id.to_owned();
    }
    let id = ids.next(now);
    properties.set(property::UNIQ_KEY, &id);
    id
}

fn wait(message: &Message) -> Option<&str> {
    message.properties.get(property::WAIT)
}

fn check(message: &Message, config: &ProducerConfig) -> Result<(), MessageError> {
    name::validate_topic(&message.topic)?;
    if !name::is_sendable(&message.topic) {
        return Err(MessageError::Forbidden { topic: message.topic.clone() });
    }
    if message.body.is_empty() {
        return Err(MessageError::EmptyBody);
    }
    if message.body.len() > config.body_len_max {
        return Err(MessageError::TooLong { max: config.body_len_max });
    }
    for (name, value) in message.properties.iter() {
        if [name, value].into_iter().any(|text| text.contains(['\u{1}', '\u{2}'])) {
            return Err(MessageError::Separator { name: CompactString::new(name) });
        }
    }
    match message.properties.get(property::INNER_MULTI_DISPATCH) {
        Some(queues) if queues.contains('/') => {
            Err(MessageError::DispatchPath { queues: queues.to_owned() })
        }
        _ => Ok(()),
    }
}

fn check_part(message: &Message, topic: &str, first: Option<&str>) -> Result<(), MessageError> {
    let waits = |text: Option<&str>| text.is_none_or(|text| text.eq_ignore_ascii_case("true"));
    if message.delay_level() > 0 {
        Err(MessageError::DelayInBatch)
    } else if name::is_retry(&message.topic) {
        Err(MessageError::RetryInBatch)
    } else if message.topic != topic {
        Err(MessageError::TopicsInBatch)
    } else if waits(wait(message)) != waits(first) {
        Err(MessageError::WaitInBatch)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> UniqueIds {
        UniqueIds::new([10, 0, 0, 1].into(), 1, 2, 0)
    }

    fn single(message: Message) -> Result<Outgoing, MessageError> {
        Outgoing::single(message, &ProducerConfig::default(), &ids(), Timestamp(1))
    }

    fn batch(messages: Vec<Message>) -> Result<Outgoing, MessageError> {
        Outgoing::batch(messages, &ProducerConfig::default(), &ids(), Timestamp(1))
    }

    fn text<T: std::fmt::Debug>(result: Result<T, MessageError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn illegal_messages_are_refused_in_the_words_of_java() {
        assert_eq!(text(single(Message::new("T", ""))), "the message body length is zero");
        assert_eq!(
            text(single(Message::new("T", vec![0; (4 << 20) + 1]))),
            "the message body size over max value, MAX: 4194304"
        );
        assert_eq!(
            text(single(Message::new("SCHEDULE_TOPIC_XXXX", "b"))),
            "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden."
        );
        assert_eq!(
            text(single(Message::new("T", "b").with_property("INNER_MULTI_DISPATCH", "a/b"))),
            "INNER_MULTI_DISPATCH a/b can not contains / character"
        );
        assert!(text(single(Message::new("a b", "b"))).contains("illegal characters"));
    }

    #[test]
    fn a_value_cannot_smuggle_in_a_property() {
        let message = Message::new("T", "b").with_property("A", "1\u{2}DELAY\u{1}18");
        assert!(matches!(single(message), Err(MessageError::Separator { .. })));
    }

    #[test]
    fn a_message_gets_an_id_unless_it_has_one() {
        let fresh = single(Message::new("T", "b")).unwrap();
        assert_eq!(fresh.id.len(), 32);
        assert_eq!(fresh.properties, format!("UNIQ_KEY\u{1}{}\u{2}", fresh.id));
        let given = single(Message::new("T", "b").with_property(property::UNIQ_KEY, "mine"));
        assert_eq!(given.unwrap().id, "mine");
    }

    #[test]
    fn attempts_of_a_retried_message_move_into_the_header() {
        let message = Message::new("%RETRY%g", "b")
            .with_property(property::RECONSUME_TIME, "3")
            .with_property(property::MAX_RECONSUME_TIMES, "16");
        let outgoing = single(message).unwrap();
        assert_eq!((outgoing.reconsume_times, outgoing.max_reconsume_times), (3, Some(16)));
        assert!(!outgoing.properties.contains("RECONSUME"));
    }

    #[test]
    fn a_batch_is_of_one_kind() {
        let message = || Message::new("T", "b");
        assert!(matches!(batch(vec![]), Err(MessageError::EmptyBatch)));
        for (other, error) in [
            (Message::new("U", "b"), MessageError::TopicsInBatch),
            (message().with_delay_level(1), MessageError::DelayInBatch),
            (message().with_property(property::WAIT, "false"), MessageError::WaitInBatch),
        ] {
            assert_eq!(text(batch(vec![message(), other])), error.to_string());
        }
        assert!(matches!(
            batch(vec![Message::new("%RETRY%g", "b")]),
            Err(MessageError::RetryInBatch)
        ));
        assert!(matches!(
            batch(vec![message(), Message::new("T", "")]),
            Err(MessageError::EmptyBody)
        ));
        let large = || Message::new("T", vec![0; 3 << 20]);
        assert!(matches!(batch(vec![large(), large()]), Err(MessageError::TooLong { .. })));
    }

    #[test]
    fn parts_of_a_batch_have_ids_of_their_own() {
        let parts = vec![Message::new("T", "one").with_tag("a"), Message::new("T", "two")];
        let outgoing = batch(parts).unwrap();
        let items = batch::decode(&outgoing.body).unwrap();
        let found: Vec<_> = items
            .iter()
            .map(|item| rmq_message::properties::find(item.properties, property::UNIQ_KEY).unwrap())
            .collect();
        assert_eq!(found.join(","), outgoing.id);
        assert_eq!(items[0].body, b"one");
        assert!(outgoing.batch && outgoing.properties.is_empty());
    }

    #[test]
    fn only_what_shrinks_is_compressed() {
        let config = ProducerConfig { compress_from: 8, ..ProducerConfig::default() };
        let repeated = single(Message::new("T", vec![7; 1000])).unwrap();
        assert!(repeated.is_compressible(&config));
        let packed = repeated.compressed(&config);
        assert_eq!(packed.sys_flag, config.codec.flags());
        assert_eq!(config.codec.decompress(&packed.body, 1000).unwrap(), [7; 1000]);
        let dense = single(Message::new("T", "abcdefgh")).unwrap().compressed(&config);
        assert_eq!((dense.sys_flag, &dense.body[..]), (0, &b"abcdefgh"[..]));
        assert!(!single(Message::new("T", "abcdefg")).unwrap().is_compressible(&config));
    }
}

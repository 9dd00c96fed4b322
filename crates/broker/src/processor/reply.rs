//! Replies of request-reply exchanges: 324, 325. The reply is brought to the client that asked (326)
//! over its producer's connection; a copy is stored in the cluster's reply topic if so configured.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmq_message::record::NewRecord;
use rmq_message::{Properties, Timestamp, id, property};
use rmq_remoting::protocol::send::{MSG_REGION, PushReply, SendMessage, TRACE_ON};
use rmq_remoting::{Peer, RemotingCommand, Reply, Response, TypedRequest, response_code};
use rmq_store::QueueKey;

use super::send::{SendRequests, born_host};
use crate::producer_registry::ProducerRegistry;
use crate::reply;

/// Longest wait for the client that asked.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves replies.
pub(crate) struct ReplyRequests {
    pub(crate) send: Arc<SendRequests>,
    pub(crate) producers: Arc<ProducerRegistry>,
    /// Whether a copy is kept.
    pub(crate) store: bool,
}

impl ReplyRequests {
    /// Serves one. It waits for the client that asked.
    pub(crate) fn process(self: &Arc<Self>, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let (this, peer) = (Arc::clone(self), Arc::clone(peer));
        Reply::Later(Box::pin(async move {
            let mut response = this.bring(&peer, &request).await.unwrap_or_else(|refused| refused);
            this.send.mark(&mut response.fields);
            response
        }))
    }

    async fn bring(
        &self,
        peer: &Arc<Peer>,
        request: &RemotingCommand,
    ) -> Result<Response, Response> {
        let header = SendMessage::from_fields(&request.fields).map_err(reply::failed)?;
        let now = Timestamp::from(self.send.clock.wall());
        let target = self.send.target(peer, &header, now)?;
        let mut properties = Properties::parse(header.properties);
        properties.set(MSG_REGION, &self.send.identity.region);
        properties.set(TRACE_ON, self.send.identity.trace_text());
        let pushed = self.push(peer, &header, properties.clone(), request.body.clone()).await;
        let properties = properties.render();
        let mut response = match pushed {
            Ok(()) => Response::ok(),
            Err(why) => Response::error(response_code::SYSTEM_ERROR, why),
        };
        let (mut msg_id, mut offset) = ("0".to_owned(), 0);
        if self.store {
            let queue = QueueKey { topic: target.topic, queue_id: target.queue_id };
            let appender = &self.send.appender;
            let record = record(peer, &header, &properties, &queue, &self.send, &request.body);
            let receipt = appender
                .stage(&queue, std::slice::from_ref(&record))
                .map_err(|error| reply::append_failed(&error, appender.body_max()))?;
            msg_id = id::offset_id(self.send.identity.address(), receipt.physical_offset);
            offset = receipt.queue_offset.0;
            let stored = appender.answer(receipt.end, target.before, Response::ok());
            if let Reply::Later(stored) = stored {
                let stored = stored.await;
                if response.code == response_code::SUCCESS {
                    response = stored;
                }
            } else {
                // Outside of a turn of the connection nobody else makes it visible.
                let settled = appender.settled(receipt.end).await;
                settled.map_err(|error| reply::append_failed(&error, appender.body_max()))?;
            }
        }
        response.fields.push("msgId", &msg_id);
        response.fields.push_int("queueId", target.queue_id);
        response.fields.push_int("queueOffset", offset);
        Ok(response)
    }

    /// Brings the reply to its asker; why not, if not.
    async fn push(
        &self,
        peer: &Arc<Peer>,
        header: &SendMessage<'_>,
        mut properties: Properties,
        body: Bytes,
    ) -> Result<(), String> {
        let now = Timestamp::from(self.send.clock.wall());
        let asker = properties.get(property::REPLY_TO_CLIENT).map(str::to_owned);
        let Some(asker) = asker else {
            return Err("reply message properties[REPLY_TO_CLIENT] is null".to_owned());
        };
        let Some(client) = self.producers.client(&asker) else {
            let asker = crate::limits::echo(&asker);
            return Err(format!("push reply message fail, channel of <{asker}> not found."));
        };
        properties.set(property::PUSH_REPLY_TIME, now.to_string());
        let push = PushReply {
            producer_group: header.producer_group.into(),
            topic: header.topic.into(),
            default_topic: header.default_topic.into(),
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: header.queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            properties: Some(properties.render().into()),
            reconsume_times: Some(header.reconsume_times),
            unit_mode: header.unit_mode,
            born_host: born_host(peer).to_string().into(),
            store_host: self.send.identity.address().to_string().into(),
            store_timestamp: now.0,
        };
        let pushed = client.invoke((push, body).to_command(), PUSH_TIMEOUT).await;
        match pushed {
            Ok(answer) if answer.code == response_code::SUCCESS => Ok(()),
            Ok(answer) => {
                tracing::warn!(asker, code = answer.code, "a reply was not taken");
                Err(format!("push reply message to {asker}fail."))
            }
            Err(error) => {
                tracing::warn!(asker, %error, "a reply was not brought");
                Err(format!("push reply message to {asker}fail."))
            }
        }
    }
}

fn record<'a>(
    peer: &Peer,
    header: &SendMessage<'a>,
    properties: &'a str,
    queue: &'a QueueKey,
    send: &SendRequests,
    body: &'a [u8],
) -> NewRecord<'a> {
    let tags = rmq_message::properties::find(properties.as_bytes(), property::TAGS);
    NewRecord {
        topic: &queue.topic,
        queue_id: queue.queue_id,
        flag: header.flag,
        sys_flag: header.sys_flag & !super::send::NOT_SENDERS,
        born_timestamp: Timestamp(header.born_timestamp),
        born_host: born_host(peer),
        store_host: send.identity.address(),
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
        body,
        properties: properties.as_bytes(),
        tags_code: tags.map_or(0, |tag| rmq_message::java::hash(tag).into()),
    }
}

//! Failed messages go back to the broker: by reference when it still has them, else as messages of
//! their own to the group's retry topic. Success means that the broker has a copy.

use std::borrow::Cow;
use std::time::Duration;

use rmq_client_core::{ClientError, SendBackCall, SendCall};
use rmq_message::{Message, MessageView, name, property, sys_flag};

use crate::engine::Engine;

/// Time limit of a copy that is sent as a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(3);
/// Delay level of a first retry.
const FIRST_LEVEL: i32 = 3;

/// Gives one message back. `delay_level`: 0 lets the broker choose, −1 is the dead-letter topic.
pub(crate) async fn send_back(
    engine: &Engine,
    message: &MessageView,
    delay_level: i32,
) -> Result<(), ClientError> {
    let wrapped = wrapped(engine, message);
    let call = SendBackCall {
        group: &engine.group,
        message: &wrapped,
        delay_level,
        max_reconsume_times: engine.attempts_max(),
        unit_mode: engine.settings.unit_mode,
    };
    match engine.brokers().send_back(&call).await {
        Ok(()) => Ok(()),
        // A message of its own would be delivered again: it is no way to the dead letters.
        Err(error) if delay_level < 0 => Err(error),
        Err(error) => {
            tracing::debug!(queue = %message.queue(), %error, "cannot send back by reference, trying a copy");
            send_retry(engine, message).await
        }
    }
}

/// Sends a copy to the retry topic with one more attempt behind it; the broker passes it on to the
/// dead letters when there were too many.
pub(crate) async fn send_retry(engine: &Engine, message: &MessageView) -> Result<(), ClientError> {
    let topic = name::retry_topic(&engine.group);
    let route = engine.instance.publish_queues(&topic, None).await?;
    let queue = route.any(engine.instance.world().entropy.as_ref())?;
    let copy = copy(&wrapped(engine, message), engine.attempts_max());
    let mut call = SendCall::new(name::CLIENT_INNER_PRODUCER, queue, &copy, engine.wall());
    call.sys_flag = message.sys_flag & (sys_flag::COMPRESSED | sys_flag::COMPRESSION_MASK);
    call.unit_mode = engine.settings.unit_mode;
    engine.brokers().send(&call, SEND_TIMEOUT).await?;
    Ok(())
}

/// The message with its topic as brokers know it.
fn wrapped<'a>(engine: &Engine, message: &'a MessageView) -> Cow<'a, MessageView> {
    if engine.namespace().is_none() {
        return Cow::Borrowed(message);
    }
    let mut wrapped = message.clone();
    wrapped.topic = engine.namespace().wrap(&message.topic);
    Cow::Owned(wrapped)
}

/// The message as its retry.
fn copy(message: &MessageView, attempts_max: i32) -> Message {
    let mut properties = message.properties.clone();
    for own in [property::TRANSACTION_PREPARED, property::MIN_OFFSET, property::MAX_OFFSET] {
        properties.remove(own);
    }
    if properties.get(property::ORIGIN_MESSAGE_ID).is_none() {
        properties.set(property::ORIGIN_MESSAGE_ID, message.id());
    }
    let times = message.reconsume_times;
    for (name, number) in [
        (property::RECONSUME_TIME, times.saturating_add(1)),
        (property::MAX_RECONSUME_TIMES, attempts_max),
        (property::DELAY, times.saturating_add(FIRST_LEVEL)),
    ] {
        properties.set(name, number.to_string());
    }
    properties.set(property::RETRY_TOPIC, &message.topic);
    Message {
        topic: message.topic.clone(),
        body: message.body.clone(),
        flag: message.flag,
        properties,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_counts_one_attempt_more_and_remembers_where_it_came_from() {
        let mut message = crate::testing::message("Orders", 7, b"body");
        message.reconsume_times = 2;
        message.properties.set(property::TRANSACTION_PREPARED, "true");
        message.properties.set(property::MAX_OFFSET, "9");
        message.properties.set("color", "red");
        let copy = copy(&message, 16);
        let seen: Vec<_> = copy.properties.iter().collect();
        let id = message.id();
        assert_eq!(
            seen,
            [
                ("color", "red"),
                ("ORIGIN_MESSAGE_ID", id.as_str()),
                ("RECONSUME_TIME", "3"),
                ("MAX_RECONSUME_TIMES", "16"),
                ("DELAY", "5"),
                ("RETRY_TOPIC", "Orders"),
            ]
        );
        assert_eq!(copy.body, message.body);
    }
}

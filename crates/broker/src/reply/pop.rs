//! Pops and acks.

use std::fmt::Display;

use rmq_remoting::protocol::pop::PopResponse;
use rmq_remoting::{Payload, Response, response_code as code};

use super::{HELP, failed, invalid};
use crate::limits::echo;

/// Every refusal of a pop carries the fields of its answer, all zero.
pub(crate) fn pop_refused(refusal: Response) -> Response {
    pop_nothing(refusal, 0)
}

/// The fields of the answer to a pop when nothing was taken and so many messages are there.
pub(crate) fn pop_nothing(mut refusal: Response, rest_num: i64) -> Response {
    let nothing = PopResponse {
        pop_time: 0,
        invisible_time: 0,
        revive_queue_id: 0,
        rest_num,
        start_offset_info: None,
        msg_offset_info: None,
        order_count_info: None,
    };
    nothing.write(&mut refusal.fields, &mut bytes::Bytes::new());
    refusal
}

pub(crate) fn pop_late(address: impl Display) -> Response {
    let text = format!("the broker[{address}] pop message is timeout too much");
    Response::error(code::POLLING_TIMEOUT, text)
}

pub(crate) fn pop_forbidden_here(address: impl Display) -> Response {
    let text = format!("the broker[{address}] pop message is forbidden");
    Response::error(code::NO_PERMISSION, text)
}

pub(crate) fn peek_forbidden_here(address: impl Display) -> Response {
    let text = format!("the broker[{address}] peeking message is forbidden");
    Response::error(code::NO_PERMISSION, text)
}

pub(crate) fn pop_too_many(address: impl Display) -> Response {
    invalid(format_args!("the broker[{address}] pop message's num is greater than 32"))
}

pub(crate) fn pop_topic_missing(topic: &str) -> Response {
    let text = format!("topic[{}] not exist, apply first please! {HELP}", echo(topic));
    Response::error(code::TOPIC_NOT_EXIST, text)
}

pub(crate) fn pop_topic_forbidden(topic: &str) -> Response {
    let text = format!("the topic[{topic}] peeking message is forbidden");
    Response::error(code::NO_PERMISSION, text)
}

pub(crate) fn pop_group_forbidden(group: &str) -> Response {
    let text = format!("subscription group no permission, {}", echo(group));
    Response::error(code::NO_PERMISSION, text)
}

pub(crate) fn too_much_in_flight() -> Response {
    Response::error(
        code::SYSTEM_BUSY,
        "[OVERLOAD]system busy, start flow control for a while: too many popped messages are not \
         acknowledged",
    )
}

pub(crate) fn flush_late() -> Response {
    failed("what is in flight could not be flushed in time; the messages come again")
}

pub(crate) fn bad_receipt(receipt: &str) -> Response {
    failed(format_args!("{:?} is no receipt of a pop of this broker", echo(receipt)))
}

pub(crate) fn no_acks() -> Response {
    Response { code: code::NO_MESSAGE, ..Response::default() }
}

pub(crate) fn ack_queue(
    queue_id: i32,
    topic: &str,
    read_queues: i32,
    consumer: impl Display,
) -> Response {
    let refusal = super::queue_out_of_range(queue_id, topic, read_queues, consumer);
    Response { code: code::MESSAGE_ILLEGAL, ..refusal }
}

pub(crate) fn ack_out_of_range(topic: &str, queue_id: i32, at: [i64; 3]) -> Response {
    let [offset, min, max] = at;
    let text =
        format!("offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}");
    Response::error(code::NO_MESSAGE, text)
}

pub(crate) fn ack_unknown(topic: &str, group: &str, queue_id: i32, offset: i64) -> Response {
    let group = echo(group);
    let text = format!("offset is illegal, key:{topic}@{group}@{queue_id}, commit:{offset}");
    Response::error(code::MESSAGE_ILLEGAL, text)
}

pub(crate) fn retry_mode() -> Response {
    Response::error(code::NO_PERMISSION, "retry topic is not allowed to set mode")
}

pub(crate) fn mode_topic_missing(topic: &str) -> Response {
    Response::error(code::TOPIC_NOT_EXIST, format!("topic[{}] not exist", echo(topic)))
}

pub(crate) fn mode_group_missing() -> Response {
    Response::error(code::SUBSCRIPTION_GROUP_NOT_EXIST, "subscription group does not exist")
}

pub(crate) fn too_many_modes() -> Response {
    failed("this broker keeps no more request modes; delete groups that are not used")
}

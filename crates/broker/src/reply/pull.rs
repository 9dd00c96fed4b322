//! Pulls and reads.

use std::fmt::Display;

use rmq_filter::CompileError;
use rmq_remoting::{Response, response_code as code};
use rmq_store::{ReadError, ReadStatus};

use super::{HELP, failed, invalid};
use crate::limits::echo;

/// Why reading is forbidden, as the field `forbiddenType` says it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forbidden {
    Broker = 1,
    Group = 2,
    Topic = 3,
    Broadcast = 4,
    Subscription = 5,
}

fn pull_forbidden(why: Forbidden, text: String) -> Response {
    let mut response = Response::error(code::NO_PERMISSION, text);
    response.fields.push_int("forbiddenType", why as i32);
    response
}

pub(crate) fn pull_forbidden_here(address: impl Display) -> Response {
    let text = format!("the broker[{address}] pulling message is forbidden");
    pull_forbidden(Forbidden::Broker, text)
}

pub(crate) fn pull_group_missing(group: &str) -> Response {
    Response::error(
        code::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("subscription group [{}] does not exist, {HELP}", echo(group)),
    )
}

pub(crate) fn pull_group_forbidden(group: &str) -> Response {
    pull_forbidden(Forbidden::Group, format!("subscription group no permission, {group}"))
}

pub(crate) fn pull_topic_missing(topic: &str) -> Response {
    Response::error(
        code::TOPIC_NOT_EXIST,
        format!("topic[{}] not exist, apply first please! {HELP}", echo(topic)),
    )
}

pub(crate) fn pull_topic_forbidden(topic: &str) -> Response {
    pull_forbidden(Forbidden::Topic, format!("the topic[{topic}] pulling message is forbidden"))
}

pub(crate) fn queue_out_of_range(
    queue_id: i32,
    topic: &str,
    read_queues: i32,
    consumer: impl Display,
) -> Response {
    invalid(format_args!(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:\
         [{read_queues}] consumer:[/{consumer}]"
    ))
}

pub(crate) fn broadcast_forbidden(group: &str) -> Response {
    let text = format!("the consumer group[{group}] can not consume by broadcast way");
    pull_forbidden(Forbidden::Broadcast, text)
}

pub(crate) fn subscription_forbidden(group: &str, topic: &str) -> Response {
    let text = format!("the consumer group[{group}] is forbidden for topic[{topic}]");
    pull_forbidden(Forbidden::Subscription, text)
}

pub(crate) fn group_not_registered() -> Response {
    Response::error(
        code::SUBSCRIPTION_NOT_EXIST,
        format!("the consumer's group info not exist{HELP}"),
    )
}

pub(crate) fn subscription_missing() -> Response {
    Response::error(
        code::SUBSCRIPTION_NOT_EXIST,
        format!("the consumer's subscription not exist{HELP}"),
    )
}

pub(crate) fn subscription_not_latest() -> Response {
    Response::error(code::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest")
}

pub(crate) fn subscription_unparsable() -> Response {
    Response::error(code::SUBSCRIPTION_PARSE_FAILED, "parse the consumer's subscription failed")
}

pub(crate) fn filter_unserved(kind: &str) -> Response {
    failed(format_args!("The broker does not support consumer to filter message by {}", echo(kind)))
}

pub(crate) fn filter_missing() -> Response {
    Response::error(
        code::FILTER_DATA_NOT_EXIST,
        "The broker's consumer filter data is not exist!Your expression may be wrong!",
    )
}

/// The answer to the question whether a condition compiles.
pub(crate) fn filter_uncompilable(why: &CompileError) -> Response {
    Response::error(code::SUBSCRIPTION_PARSE_FAILED, format!("Invalid MessageSelector. {why}"))
}

pub(crate) fn too_many_holds() -> Response {
    Response::error(
        code::SYSTEM_BUSY,
        "[OVERLOAD]system busy, start flow control for a while: too many pulls are held",
    )
}

/// Apache's name of how a read ended.
pub(crate) fn read_status(status: ReadStatus) -> &'static str {
    match status {
        ReadStatus::Found => "FOUND",
        ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        ReadStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
        ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
    }
}

/// The code of a pull that ended so, when it asked for that offset.
pub(crate) fn read_code(status: ReadStatus, offset: i64) -> i32 {
    match status {
        ReadStatus::Found => code::SUCCESS,
        ReadStatus::NoMatchedMessage | ReadStatus::MessageWasRemoving => {
            code::PULL_RETRY_IMMEDIATELY
        }
        ReadStatus::NoMessageInQueue if offset != 0 => code::PULL_OFFSET_MOVED,
        ReadStatus::NoMessageInQueue
        | ReadStatus::OffsetFoundNull
        | ReadStatus::OffsetOverflowOne => code::PULL_NOT_FOUND,
        ReadStatus::OffsetOverflowBadly | ReadStatus::OffsetTooSmall => code::PULL_OFFSET_MOVED,
    }
}

pub(crate) fn read_failed(error: &ReadError) -> Response {
    failed(format_args!("store getMessage failed: {error}"))
}

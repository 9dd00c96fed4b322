//! What is answered when something is refused or fails: response codes and texts, in one place.
//!
//! Codes and texts are those of Apache RocketMQ 5.5.0, except where it answers with the trace of an
//! exception; there the code is the same and the text says what is wrong.

use std::fmt::Display;

use rmq_message::name::NameError;
use rmq_remoting::protocol::topic::{TopicConfig, perm};
use rmq_remoting::{Response, response_code as code};
use rmq_store::{AppendError, ReadError, ReadStatus};

use crate::limits::echo;

const HELP: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// Why reading is forbidden, as the field `forbiddenType` says it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forbidden {
    Broker = 1,
    Group = 2,
    Topic = 3,
    Broadcast = 4,
    Subscription = 5,
}

/// A success that says nothing more. Apache forgets to clear this remark on some requests.
pub(crate) fn unset() -> Response {
    Response::ok().with_remark("not set any response code")
}

/// Something failed here.
pub(crate) fn failed(why: impl Display) -> Response {
    Response::error(code::SYSTEM_ERROR, format!("{why}"))
}

/// The request makes no sense.
pub(crate) fn invalid(why: impl Display) -> Response {
    Response::error(code::INVALID_PARAMETER, format!("{why}"))
}

/// A table is in use as changed, but could not be saved in time.
pub(crate) fn unsaved() -> Response {
    failed("the change is in effect but could not be saved; check the disk of the broker")
}

// Names.

pub(crate) fn bad_topic_name(topic: &str, error: &NameError) -> Response {
    let topic = echo(topic);
    invalid(match error {
        NameError::Blank { .. } => "The specified topic is blank.".to_owned(),
        NameError::TooLong { max, .. } => {
            format!("The specified topic: {topic}, is longer than topic max length: {max}")
        }
        NameError::Illegal { .. } => format!(
            "The specified topic: {topic}, contains illegal characters, allowing only \
             ^[%|a-zA-Z0-9_-]+$"
        ),
    })
}

pub(crate) fn bad_group_name(group: &str, error: &NameError) -> Response {
    let group = echo(group);
    invalid(match error {
        NameError::Blank { .. } => "The specified group is blank.".to_owned(),
        NameError::TooLong { max, .. } => {
            format!("The specified group: {group}, is longer than group max length: {max}")
        }
        NameError::Illegal { .. } => format!(
            "The specified group: {group}, contains illegal characters, allowing only \
             ^[%|a-zA-Z0-9_-]+$"
        ),
    })
}

pub(crate) fn system_topic(topic: &str) -> Response {
    invalid(format_args!("The topic[{}] is conflict with system topic.", echo(topic)))
}

pub(crate) fn mixed_message_type() -> Response {
    invalid("MIXED message type is not supported.")
}

// Sending.

pub(crate) fn not_yet_accepting(until: i64) -> Response {
    failed(format_args!("broker unable to service, until {until}"))
}

pub(crate) fn send_forbidden_here(address: impl Display) -> Response {
    Response::error(
        code::NO_PERMISSION,
        format!("the broker[{address}] sending message is forbidden"),
    )
}

pub(crate) fn send_back_forbidden_here(address: impl Display) -> Response {
    Response::error(
        code::NO_PERMISSION,
        format!("the broker[{address}-{address}] sending message is forbidden"),
    )
}

pub(crate) fn topic_not_sendable(topic: &str) -> Response {
    Response::error(code::NO_PERMISSION, format!("Sending message to topic[{topic}] is forbidden."))
}

pub(crate) fn topic_not_writable(topic: &str) -> Response {
    Response::error(code::NO_PERMISSION, format!("the topic[{topic}] sending message is forbidden"))
}

pub(crate) fn send_topic_missing(topic: &str) -> Response {
    Response::error(
        code::TOPIC_NOT_EXIST,
        format!("topic[{topic}] not exist, apply first please!{HELP}"),
    )
}

pub(crate) fn topic_unmade(topic: &str) -> Response {
    failed(format_args!("topic[{topic}] not exist"))
}

pub(crate) fn send_queue(queue_id: i32, topic: &TopicConfig, producer: impl Display) -> Response {
    let attributes: Vec<_> =
        topic.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    invalid(format_args!(
        "request queueId[{queue_id}] is illegal, TopicConfig [topicName={}, readQueueNums={}, \
         writeQueueNums={}, perm={}, topicFilterType={}, topicSysFlag={}, order={}, \
         attributes={{{}}}] Producer: {producer}",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        perm_text(topic.perm),
        topic.topic_filter_type,
        topic.topic_sys_flag,
        topic.order,
        attributes.join(", ")
    ))
}

fn perm_text(bits: i32) -> String {
    [(perm::READ, 'R'), (perm::WRITE, 'W'), (perm::INHERIT, 'X')]
        .map(|(bit, letter)| if bits & bit != 0 { letter } else { '-' })
        .iter()
        .collect()
}

pub(crate) fn send_group_missing(group: &str) -> Response {
    Response::error(
        code::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("subscription group not exist, {} {HELP}", echo(group)),
    )
}

pub(crate) fn batch_to_retry(topic: &str) -> Response {
    illegal_message(format_args!("batch request does not support retry group {topic}"))
}

pub(crate) fn batch_topic_too_long(len: usize) -> Response {
    illegal_message(format_args!("message topic length too long {len}"))
}

pub(crate) fn illegal_message(why: impl Display) -> Response {
    Response::error(code::MESSAGE_ILLEGAL, format!("{why}"))
}

pub(crate) fn message_unfit(body_max: usize) -> Response {
    illegal_message(format_args!(
        "the message is illegal, maybe msg body or properties length not matched. msg body \
         length limit {body_max}B, msg properties length limit 32KB."
    ))
}

pub(crate) fn transactions_unserved(address: impl Display) -> Response {
    Response::error(
        code::NO_PERMISSION,
        format!("the broker[{address}] sending transaction message is forbidden"),
    )
}

pub(crate) fn timers_unserved() -> Response {
    illegal_message("accurate timer message is not enabled, timerWheelEnable is false")
}

/// Why a message was not stored.
pub(crate) fn append_failed(error: &AppendError, body_max: usize) -> Response {
    match error {
        AppendError::TooLarge { .. } | AppendError::Unfit(_) | AppendError::Empty => {
            message_unfit(body_max)
        }
        AppendError::Busy { .. } => Response::error(
            code::SYSTEM_BUSY,
            "[PC_SYNCHRONIZED]broker busy, start flow control for a while",
        ),
        AppendError::Full { .. } | AppendError::ReadOnly { .. } | AppendError::Stopped => {
            Response::error(
                code::SERVICE_NOT_AVAILABLE,
                format!(
                    "service not available now. It may be caused by one of the following \
                     reasons: the broker's disk is full, messages are put to the slave, message \
                     store has been shut down, etc. {error}"
                ),
            )
        }
        error => failed(error),
    }
}

/// Apache's name of what an append came to, where it answers with that.
pub(crate) fn put_status(error: &AppendError) -> &'static str {
    match error {
        AppendError::TooLarge { .. } | AppendError::Empty => "MESSAGE_ILLEGAL",
        AppendError::Unfit(_) => "PROPERTIES_SIZE_EXCEEDED",
        AppendError::Busy { .. } => "OS_PAGE_CACHE_BUSY",
        AppendError::Full { .. } | AppendError::ReadOnly { .. } | AppendError::Stopped => {
            "SERVICE_NOT_AVAILABLE"
        }
        _ => "UNKNOWN_ERROR",
    }
}

pub(crate) fn message_not_found(offset: i64) -> Response {
    failed(format_args!("look message by offset failed, {offset}"))
}

// Pulling.

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

// Progress.

pub(crate) fn commit_group_missing(group: &str) -> Response {
    Response::error(code::SUBSCRIPTION_GROUP_NOT_EXIST, format!("Group {} not exist!", echo(group)))
}

pub(crate) fn commit_topic_missing(topic: &str) -> Response {
    Response::error(code::TOPIC_NOT_EXIST, format!("Topic {} not exist!", echo(topic)))
}

pub(crate) fn commit_after_reset() -> Response {
    Response::ok().with_remark("Offset has been previously reset")
}

pub(crate) fn no_progress() -> Response {
    Response::error(
        code::QUERY_NOT_FOUND,
        "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
    )
}

pub(crate) fn no_progress_not_zero() -> Response {
    Response::error(
        code::QUERY_NOT_FOUND,
        "Not found, do not set to zero, maybe this group boot first",
    )
}

pub(crate) fn reset_topic_missing(topic: &str) -> Response {
    Response::error(code::TOPIC_NOT_EXIST, format!("Topic {} does not exist", echo(topic)))
}

pub(crate) fn reset_group_missing(group: &str) -> Response {
    Response::error(
        code::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("Group {} does not exist", echo(group)),
    )
}

pub(crate) fn reset_out_of_range(offset: i64, min: i64, max: i64) -> Response {
    failed(format_args!("Target offset {offset} not in consume queue range [{min}-{max}]"))
}

// Clients.

pub(crate) fn no_consumer(group: &str) -> Response {
    failed(format_args!("no consumer for this group, {}", echo(group)))
}

pub(crate) fn group_offline(group: &str) -> Response {
    Response::error(
        code::CONSUMER_NOT_ONLINE,
        format!("the consumer group[{}] not online", echo(group)),
    )
}

pub(crate) fn no_producer(group: &str) -> Response {
    failed(format_args!("the producer group[{}] not exist", echo(group)))
}

pub(crate) fn client_offline(group: &str, client: &str) -> Response {
    failed(format_args!("The Consumer <{}> <{}> not online", echo(group), echo(client)))
}

pub(crate) fn client_too_old(client: &str, version: i32) -> Response {
    failed(format_args!(
        "The Consumer <{}> Version <{version}> too low to finish, please upgrade it",
        echo(client)
    ))
}

pub(crate) fn client_timeout(group: &str, client: &str) -> Response {
    Response::error(
        code::CONSUME_MSG_TIMEOUT,
        format!("consumer <{}> <{}> Timeout: 10000ms", echo(group), echo(client)),
    )
}

// Tools.

pub(crate) fn no_topic(topic: &str) -> Response {
    Response::error(
        code::TOPIC_NOT_EXIST,
        format!("No topic in this broker. topic: {}", echo(topic)),
    )
}

pub(crate) fn stats_topic_missing(topic: &str) -> Response {
    Response::error(code::TOPIC_NOT_EXIST, format!("topic[{}] not exist", echo(topic)))
}

pub(crate) fn no_group() -> Response {
    Response::error(code::SUBSCRIPTION_GROUP_NOT_EXIST, "No group in this broker")
}

pub(crate) fn no_stats(name: &str, key: &str) -> Response {
    failed(format_args!("The stats <{}> <{}> not exist", echo(name), echo(key)))
}

pub(crate) fn config_forbidden() -> Response {
    Response::error(code::NO_PERMISSION, "Can not update config in black list.")
}

pub(crate) fn query_empty() -> Response {
    Response::error(code::QUERY_NOT_FOUND, "can not find message, maybe time range not correct")
}

pub(crate) fn view_missing(offset: i64) -> Response {
    failed(format_args!("can not find message by the offset, {offset}"))
}

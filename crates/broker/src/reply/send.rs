//! Sends and messages that come back.

use std::fmt::Display;

use rmq_remoting::protocol::topic::{TopicConfig, perm};
use rmq_remoting::{Response, response_code as code};
use rmq_store::AppendError;

use super::{HELP, failed, invalid};
use crate::limits::echo;

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

pub(crate) fn transactions_forbidden(address: impl Display) -> Response {
    Response::error(
        code::NO_PERMISSION,
        format!("the broker[{address}] sending transaction message is forbidden"),
    )
}

pub(crate) fn transaction_delayed() -> Response {
    illegal_message("a message of a transaction cannot be delayed; leave out its delay properties")
}

pub(crate) fn no_verdict(value: i32) -> Response {
    failed(format_args!("commitOrRollback is {value}; 8 commits, 12 rolls back, 0 is unknown"))
}

pub(crate) fn half_missing() -> Response {
    failed("Find prepared transaction message failed")
}

pub(crate) fn transaction_of_another_group() -> Response {
    failed("The producer group wrong")
}

pub(crate) fn transaction_elsewhere() -> Response {
    failed("The transaction state table offset wrong")
}

pub(crate) fn transaction_late() -> Response {
    Response::error(
        code::ILLEGAL_OPERATION,
        "the time that CHECK_IMMUNITY_TIME_IN_SECONDS gives is over; wait for the check",
    )
}

pub(crate) fn transaction_over() -> Response {
    failed("the transaction has been ended before, or was given up; the first end counts")
}

/// The message that is to be asked about again cannot be read.
pub(crate) fn resume_failed() -> Response {
    failed("Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC.")
}

/// It is none that was given up.
pub(crate) fn resume_refused() -> Response {
    failed(
        "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed. Only a transaction that was given up \
         is asked about again: a message of TRANS_CHECK_MAX_TIME_TOPIC",
    )
}

pub(crate) fn timers_disabled() -> Response {
    failed("accurate timer message is not enabled, timerWheelEnable is false")
}

pub(crate) fn timer_illegal(delay_ms_max: i64) -> Response {
    illegal_message(format_args!(
        "timer message illegal, the delay time should not be bigger than the max delay \
         {delay_ms_max}ms; or if set del msg, the delay time should be bigger than the current time"
    ))
}

pub(crate) fn recall_forbidden() -> Response {
    Response::error(code::NO_PERMISSION, "recall failed, operation is forbidden")
}

pub(crate) fn recall_unavailable() -> Response {
    Response::error(code::SERVICE_NOT_AVAILABLE, "recall failed, broker service not available")
}

pub(crate) fn recall_topic_missing(topic: &str) -> Response {
    Response::error(
        code::TOPIC_NOT_EXIST,
        format!("recall failed, the topic[{}] not exist", echo(topic)),
    )
}

pub(crate) fn recall_illegal(why: &str) -> Response {
    Response::error(code::ILLEGAL_OPERATION, why.to_owned())
}

/// Why a message was not stored.
pub(crate) fn append_failed(error: &AppendError, body_max: usize) -> Response {
    match error {
        AppendError::TooLarge { .. } | AppendError::Unfit(_) | AppendError::Empty => {
            message_unfit(body_max)
        }
        AppendError::ZeroByte => illegal_message(error),
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
        AppendError::TooLarge { .. } | AppendError::Empty | AppendError::ZeroByte => {
            "MESSAGE_ILLEGAL"
        }
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

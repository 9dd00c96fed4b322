//! What is answered when something is refused or fails: response codes and texts, in one place.
//!
//! Codes and texts are those of Apache RocketMQ 5.5.0, except where it answers with the trace of an
//! exception; there the code is the same and the text says what is wrong.

mod pop;
mod pull;
mod send;
mod unserved;

use std::fmt::Display;

use rmq_message::name::NameError;
use rmq_remoting::{Response, response_code as code};

pub(crate) use pop::*;
pub(crate) use pull::*;
pub(crate) use send::*;
pub(crate) use unserved::*;

use crate::limits::echo;

const HELP: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// Apache forgets to clear this remark on some requests.
pub(crate) const UNSET: &str = "not set any response code";

/// A success that says nothing more.
pub(crate) fn unset() -> Response {
    Response::ok().with_remark(UNSET)
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

//! Requests of the protocol that nobody serves here: the code that says so at once, and why.

use rmq_remoting::request_code as code;
use rmq_remoting::{Fields, Response};

use super::{failed, invalid};

/// The request is none that this broker serves.
pub(crate) fn unserved(request: i32) -> Response {
    let plain = Response::not_supported(request);
    match why(request) {
        Some(why) => plain.with_remark(format!(" request type {request} not supported: {why}")),
        None => plain,
    }
}

/// Another engine for the timers (5001) is asked for: there is one, Apache's `F`.
pub(crate) fn timer_engine(has_timers: bool, fields: &Fields) -> Response {
    if !has_timers {
        return invalid("broker timerWheelEnable is false");
    }
    match fields.get("E_T") {
        _ if fields.is_empty() => invalid("param error, extFields is null"),
        Some("F") => Response::ok().with_remark("switch timer engine success"),
        Some("R") => invalid("timerRocksDBEnable must be configured true when broker start"),
        _ => invalid("param error"),
    }
}

pub(crate) fn no_timer_check() -> Response {
    failed("The checkpoint is null")
}

pub(crate) fn no_timers() -> Response {
    failed("The timer message store is null")
}

/// Asked of a broker that has no controller.
pub(crate) fn no_controller() -> Response {
    failed("this request only for controllerMode ")
}

pub(crate) fn read_ahead_set(mode: i32) -> Response {
    Response::ok().with_remark(format!("set commitlog readahead mode success, mode: {mode}"))
}

pub(crate) fn read_ahead_fixed() -> Response {
    invalid("the log is always read ahead as the kernel does: mode 0 is the only one")
}

pub(crate) fn read_ahead_unknown() -> Response {
    invalid("set commitlog readahead mode param value error")
}

pub(crate) fn read_ahead_missing() -> Response {
    failed("set commitlog readahead mode param error")
}

pub(crate) fn read_ahead_failed() -> Response {
    failed("set commitlog readahead mode failed")
}

fn why(request: i32) -> Option<&'static str> {
    Some(match request {
        code::UPDATE_AND_CREATE_STATIC_TOPIC => "this version has no static topics",
        code::ADD_BROKER | code::REMOVE_BROKER => "this process is one broker, no container",
        code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS | code::EXPORT_ROCKSDB_CONFIG_TO_JSON => {
            "this broker keeps nothing in RocksDB"
        }
        code::AUTH_CREATE_USER..=code::AUTH_LIST_ACL => "this version has no users and no rules",
        code::POP_LITE_MESSAGE..=code::TRIGGER_LITE_DISPATCH => "this version has no lite topics",
        code::CONTROLLER_ALTER_SYNC_STATE_SET..=code::CONTROLLER_APPLY_BROKER_ID => {
            "this process is no controller"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rmq_remoting::response_code;

    use super::*;

    #[test]
    fn a_refusal_says_what_is_missing() {
        let answer = unserved(code::UPDATE_AND_CREATE_STATIC_TOPIC);
        assert_eq!(answer.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
        assert_eq!(
            answer.remark.as_deref(),
            Some(" request type 513 not supported: this version has no static topics")
        );
        assert_eq!(unserved(77).remark.as_deref(), Some(" request type 77 not supported"));
    }
}

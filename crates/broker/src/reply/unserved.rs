//! Requests of the protocol that nobody serves here: the code that says so at once, and why.

use rmq_remoting::request_code as code;
use rmq_remoting::{Response, response_code};

/// The request is none that this broker serves.
pub(crate) fn unserved(request: i32) -> Response {
    let plain = Response::not_supported(request);
    match why(request) {
        Some(why) => plain.with_remark(format!(" request type {request} not supported: {why}")),
        None => plain,
    }
}

/// The timer keeps its one engine.
pub(crate) fn timer_engine_fixed() -> Response {
    Response::error(
        response_code::INVALID_PARAMETER,
        "timerRocksDBEnable must be configured true when broker start",
    )
}

fn why(request: i32) -> Option<&'static str> {
    Some(match request {
        code::UPDATE_AND_CREATE_STATIC_TOPIC => "this version has no static topics",
        code::ADD_BROKER | code::REMOVE_BROKER => "this process is one broker, no container",
        code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS | code::EXPORT_ROCKSDB_CONFIG_TO_JSON => {
            "this broker keeps nothing in RocksDB"
        }
        code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG
        | code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG
        | code::GET_COLD_DATA_FLOW_CTR_INFO => "reads of old messages are not limited by group",
        code::SET_COMMITLOG_READ_MODE => "read-ahead is left to the kernel",
        code::AUTH_CREATE_USER..=code::AUTH_LIST_ACL => "this version has no users and no rules",
        code::POP_LITE_MESSAGE..=code::TRIGGER_LITE_DISPATCH => "this version has no lite topics",
        code::CONTROLLER_ALTER_SYNC_STATE_SET..=code::CONTROLLER_APPLY_BROKER_ID
        | code::NOTIFY_MIN_BROKER_ID_CHANGE
        | code::EXCHANGE_BROKER_HA_INFO => "this version has no replicas",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
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

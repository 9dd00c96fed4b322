//! Reads of old messages: how much of them groups may (2001–2003), and how the log is read ahead
//! (2004).
//!
//! As in Apache RocketMQ 5.5 with its `coldDataFlowControlEnable=false`: limits are taken and shown
//! as long as the broker runs, and nobody is limited. The log is always read ahead as the kernel
//! does by itself, which is Apache's mode 0.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use rmq_message::{CompactString, name};
use rmq_remoting::{RemotingCommand, Response, json};
use rmq_runtime::settings_file;
use serde::Serialize;

use crate::limits::{GROUPS_MAX, echo};
use crate::processor::offset::answer;
use crate::reply;

/// Apache's defaults, in bytes a turn of the check.
const GROUP_THRESHOLD: i64 = 3 << 20;
const GLOBAL_THRESHOLD: i64 = 100 << 20;
/// The field of 2004.
const MODE: &str = "READ_AHEAD_MODE";

/// Limits by group, in bytes.
#[derive(Debug, Default)]
pub(crate) struct ReadLimits {
    limits: Mutex<BTreeMap<CompactString, i64>>,
}

/// The answer to 2003.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    /// What groups have read: nothing is counted.
    runtime_table: BTreeMap<CompactString, i64>,
    config_table: BTreeMap<CompactString, i64>,
    cg_cold_read_threshold: i64,
    global_cold_read_threshold: i64,
    global_acc: i64,
}

impl ReadLimits {
    /// Sets limits of groups (2001): lines of `group=bytes`; all of them or none.
    pub(crate) fn limit(&self, request: &RemotingCommand) -> Response {
        answer(parse(&request.body).and_then(|wanted| {
            let mut limits = self.limits.lock();
            let fresh = wanted.iter().filter(|(group, _)| !limits.contains_key(group)).count();
            if limits.len().saturating_add(fresh) > GROUPS_MAX {
                return Err(reply::failed(format_args!(
                    "limits of {GROUPS_MAX} groups are known, no more are taken"
                )));
            }
            limits.extend(wanted);
            Ok(Response::ok())
        }))
    }

    /// Forgets the limit of a group (2002): its name is the body.
    pub(crate) fn unlimit(&self, request: &RemotingCommand) -> Response {
        if let Ok(group) = std::str::from_utf8(&request.body) {
            self.limits.lock().remove(group);
        }
        Response::ok()
    }

    /// The limits (2003).
    pub(crate) fn show(&self) -> Response {
        Response::ok().with_body(json::to_bytes(&Shown {
            runtime_table: BTreeMap::new(),
            config_table: self.limits.lock().clone(),
            cg_cold_read_threshold: GROUP_THRESHOLD,
            global_cold_read_threshold: GLOBAL_THRESHOLD,
            global_acc: 0,
        }))
    }
}

fn parse(body: &[u8]) -> Result<Vec<(CompactString, i64)>, Response> {
    let text = std::str::from_utf8(body).map_err(|_| reply::invalid("the limits are not UTF-8"))?;
    let entries = settings_file::parse(text).map_err(reply::invalid)?;
    let limits = entries.into_iter().map(|entry| {
        name::validate_group(&entry.key)
            .map_err(|error| reply::bad_group_name(&entry.key, &error))?;
        let limit = entry.value.parse().map_err(|_| {
            let (group, value) = (echo(&entry.key), echo(&entry.value));
            reply::invalid(format_args!("the limit of {group} is a number of bytes, not {value}"))
        })?;
        Ok((CompactString::from(entry.key), limit))
    });
    limits.collect()
}

/// Sets how the log is read ahead (2004): 0 is as it is, 1 would be not at all.
pub(crate) fn read_ahead(request: &RemotingCommand) -> Response {
    let Some(mode) = request.field(MODE) else { return reply::read_ahead_missing() };
    match mode.parse::<i32>() {
        Ok(0) => reply::read_ahead_set(0),
        Ok(1) => reply::read_ahead_fixed(),
        Ok(_) => reply::read_ahead_unknown(),
        Err(_) => reply::read_ahead_failed(),
    }
}

//! Traces of consumption: a hook that tells of every call of the listener before and after it.

use std::sync::Arc;
use std::time::Duration;

use rmq_client_core::trace::{Trace, Traced, Tracer};
use rmq_client_core::{ClientInstance, Namespace};
use rmq_message::{CompactString, Timestamp, property};
use rmq_runtime::Clock;

use crate::call::{Call, CallEnd, ConsumeHook};

/// Region of brokers that name none.
const DEFAULT_REGION: &str = "DefaultRegion";

/// See the module.
#[doc(alias = "ConsumeMessageTraceHookImpl")]
pub(crate) struct TraceHook {
    tracer: Arc<Tracer>,
    namespace: Namespace,
    clock: Arc<dyn Clock>,
}

impl TraceHook {
    pub(crate) fn new(tracer: Arc<Tracer>, instance: &ClientInstance) -> Self {
        let clock = Arc::clone(&instance.world().clock);
        Self { tracer, namespace: instance.namespace().clone(), clock }
    }

    fn messages(&self, call: &Call) -> Vec<Traced> {
        if self.tracer.destination().holds(&call.queue.topic) {
            return Vec::new();
        }
        call.messages.iter().filter_map(Traced::of).collect()
    }

    fn region(call: &Call) -> CompactString {
        let region = call.messages.iter().find_map(|m| m.properties.get(property::MSG_REGION));
        region.unwrap_or(DEFAULT_REGION).into()
    }

    fn group(&self, call: &Call) -> CompactString {
        self.namespace.strip(&call.group)
    }

    fn now(&self) -> Timestamp {
        self.clock.wall().into()
    }
}

impl ConsumeHook for TraceHook {
    fn before(&self, call: &Call) {
        self.tracer.trace(Trace::SubBefore {
            at: self.now(),
            region: Self::region(call),
            group: self.group(call),
            request_id: call.id.clone(),
            messages: self.messages(call),
        });
    }

    fn after(&self, call: &Call, end: CallEnd, took: Duration) {
        let count = u32::try_from(call.messages.len()).unwrap_or(u32::MAX);
        self.tracer.trace(Trace::SubAfter {
            at: self.now(),
            region: Self::region(call),
            group: self.group(call),
            request_id: call.id.clone(),
            each: took.checked_div(count).unwrap_or(took),
            success: end == CallEnd::Success,
            code: end.code(),
            messages: self.messages(call),
        });
    }
}

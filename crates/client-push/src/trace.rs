//! Traces of consumption, in Java's text form: what is told of every call of the listener before and
//! after it.
//!
//! ```text
//! SubBefore  time region group request-id message-id retries keys
//! SubAfter   request-id message-id ms success keys code time group
//! ```
//!
//! For a cloud `SubAfter` ends with an empty field instead of time and group.

use std::sync::Arc;
use std::time::Duration;

use rmq_client_core::trace::{Destination, Trace, Tracer, record};
use rmq_client_core::{ClientInstance, Namespace};
use rmq_message::{MessageView, Timestamp, property};
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

    fn now(&self) -> Timestamp {
        self.clock.wall().into()
    }

    fn is_told_of(&self, call: &Call) -> bool {
        !self.tracer.destination().holds(&call.queue.topic)
    }
}

impl ConsumeHook for TraceHook {
    fn before(&self, call: &Call) {
        if self.is_told_of(call) {
            let group = self.namespace.strip(&call.group);
            self.tracer.trace(before(call, &group, self.now()));
        }
    }

    fn after(&self, call: &Call, end: CallEnd, took: Duration) {
        if self.is_told_of(call) {
            let group = self.namespace.strip(&call.group);
            let to = self.tracer.destination();
            self.tracer.trace(after(call, &group, self.now(), end, took, to));
        }
    }
}

fn region(call: &Call) -> &str {
    let region = call.messages.iter().find_map(|m| m.properties.get(property::MSG_REGION));
    region.unwrap_or(DEFAULT_REGION)
}

/// A record for each message whose broker wants traces of it.
fn trace(call: &Call, record: impl Fn(&MessageView, &str, &str) -> String) -> Trace {
    let mut trace = Trace { region: region(call).into(), ..Trace::default() };
    for message in &call.messages {
        if message.properties.get(property::TRACE_ON) != Some("false") {
            let (id, keys) = (message.id(), message.properties.get(property::KEYS));
            trace.add(&record(message, &id, keys.unwrap_or("null")), &id, keys);
        }
    }
    trace
}

fn before(call: &Call, group: &str, at: Timestamp) -> Trace {
    let (at, region) = (at.to_string(), region(call));
    trace(call, |message, id, keys| {
        let retries = message.reconsume_times.to_string();
        record(&["SubBefore", &at, region, group, &call.id, id, &retries, keys])
    })
}

fn after(
    call: &Call,
    group: &str,
    at: Timestamp,
    end: CallEnd,
    took: Duration,
    to: &Destination,
) -> Trace {
    let count = u32::try_from(call.messages.len()).unwrap_or(u32::MAX);
    let each = took.checked_div(count).unwrap_or(took).as_millis().to_string();
    let success = (end == CallEnd::Success).to_string();
    let (code, at) = (end.code().to_string(), at.to_string());
    let last: &[&str] = match to {
        Destination::Topic(_) => &[&at, group],
        Destination::Region => &[""],
    };
    trace(call, |_, id, keys| {
        let first = ["SubAfter", &call.id, id, &each, &success, keys, &code];
        record(&[&first, last].concat())
    })
}

#[cfg(test)]
mod tests {
    use rmq_message::MessageQueue;

    use super::*;
    use crate::process_queue::Messages;
    use crate::testing::message;

    fn named(id: &str, more: &[(&str, &str)]) -> MessageView {
        let properties = [(property::UNIQ_KEY, id)].iter().chain(more).copied().collect();
        MessageView { properties, reconsume_times: 2, ..message("T", 0, b"") }
    }

    fn shown(trace: &Trace) -> String {
        trace.text.replace('\u{1}', "|").replace('\u{2}', "\n")
    }

    #[test]
    fn lines_are_those_of_java() {
        let quiet = named("C", &[(property::TRACE_ON, "false")]);
        let keyed = named("A", &[(property::KEYS, "k1 k2")]);
        let call = Call {
            id: "R".into(),
            group: "ns%g".into(),
            queue: MessageQueue::new("T", "b", 0).into(),
            messages: Messages::from(vec![keyed, named("B", &[]), quiet]),
        };
        let told = before(&call, "g", Timestamp(7));
        let lines =
            "SubBefore|7|DefaultRegion|g|R|A|2|k1 k2\nSubBefore|7|DefaultRegion|g|R|B|2|null\n";
        assert_eq!((shown(&told).as_str(), told.region.as_str()), (lines, "DefaultRegion"));
        assert!(told.keys.iter().eq(["A", "B", "k1", "k2"]));
        let (own, took) = (Destination::Topic("Traces".into()), Duration::from_millis(36));
        let told = |end, to| shown(&after(&call, "g", Timestamp(9), end, took, to));
        let lines = "SubAfter|R|A|12|true|k1 k2|0|9|g\nSubAfter|R|B|12|true|null|0|9|g\n";
        assert_eq!(told(CallEnd::Success, &own), lines);
        let lines = "SubAfter|R|A|12|false|k1 k2|4|\nSubAfter|R|B|12|false|null|4|\n";
        assert_eq!(told(CallEnd::Failed, &Destination::Region), lines);
    }
}

//! One call of the listener and what surrounds it: a span that names the messages, the user's hooks,
//! the time, and the net under it all.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rmq_message::{MessageQueue, MessageView};
use tracing::Instrument;

use crate::engine::Engine;
use crate::process_queue::Messages;

/// Takes messages out of what was pulled, before a listener sees them. What is taken out counts as
/// consumed. Closures are such hooks.
///
/// ```
/// use rmq_client_push::{MessageQueue, MessageView, PushConsumer};
///
/// let builder = PushConsumer::builder().filter_hook(
///     |_: &MessageQueue, messages: &mut Vec<MessageView>| {
///         messages.retain(|message| message.properties.get("test") != Some("true"));
///     },
/// );
/// ```
#[doc(alias = "FilterMessageHook")]
pub trait FilterHook: Send + Sync + 'static {
    /// Removes what is not wanted. A panic leaves the messages as they were.
    #[doc(alias = "filterMessage")]
    fn filter(&self, queue: &MessageQueue, messages: &mut Vec<MessageView>);
}

impl<F: Fn(&MessageQueue, &mut Vec<MessageView>) + Send + Sync + 'static> FilterHook for F {
    fn filter(&self, queue: &MessageQueue, messages: &mut Vec<MessageView>) {
        self(queue, messages);
    }
}

/// Sees every call of the listener. Panics are swallowed: a hook never harms consumption.
///
/// ```
/// use std::time::Duration;
/// use rmq_client_push::{Call, CallEnd, ConsumeHook, PushConsumer};
///
/// struct Slow;
/// impl ConsumeHook for Slow {
///     fn after(&self, call: &Call, end: CallEnd, took: Duration) {
///         if took > Duration::from_secs(1) {
///             tracing::warn!(queue = %call.queue, ?end, ?took, "slow");
///         }
///     }
/// }
///
/// let builder = PushConsumer::builder().group("billing").consume_hook(Slow);
/// ```
#[doc(alias = "ConsumeMessageHook")]
pub trait ConsumeHook: Send + Sync + 'static {
    /// The listener is about to be called.
    #[doc(alias = "consumeMessageBefore")]
    fn before(&self, _call: &Call) {}

    /// The listener has answered, after that time.
    #[doc(alias = "consumeMessageAfter")]
    fn after(&self, _call: &Call, _end: CallEnd, _took: Duration) {}
}

/// What a listener is called with.
#[doc(alias = "ConsumeMessageContext")]
#[derive(Clone, Debug)]
pub struct Call {
    /// Names the call, everywhere and for ever.
    pub id: String,
    /// The consumer's group.
    pub group: Arc<str>,
    /// The queue that holds the messages.
    pub queue: Arc<MessageQueue>,
    /// The messages.
    pub messages: Messages,
}

/// How a call of the listener ended.
#[doc(alias = "ConsumeReturnType")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallEnd {
    /// All messages are done.
    Success,
    /// It took longer than `consumeTimeout`, whatever it said then.
    TimedOut,
    /// The listener panicked.
    Panicked,
    /// Some messages come again.
    Failed,
}

impl CallEnd {
    /// The original's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::TimedOut => "TIME_OUT",
            Self::Panicked => "EXCEPTION",
            Self::Failed => "FAILED",
        }
    }

    /// The original's number, as traces carry it.
    pub fn code(self) -> i32 {
        match self {
            Self::Success => 0,
            Self::TimedOut => 1,
            Self::Panicked => 2,
            Self::Failed => 4,
        }
    }
}

/// The user's hooks around consumption.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) filter: Vec<Arc<dyn FilterHook>>,
    pub(crate) consume: Vec<Arc<dyn ConsumeHook>>,
}

impl Hooks {
    /// What the hooks leave of the messages.
    pub(crate) fn filter(
        &self,
        queue: &MessageQueue,
        mut messages: Vec<MessageView>,
    ) -> Vec<MessageView> {
        for hook in &self.filter {
            let mut left = messages.clone();
            if quietly(queue, || hook.filter(queue, &mut left)) {
                messages = left;
            }
        }
        messages
    }

    fn each(&self, queue: &MessageQueue, tell: impl Fn(&dyn ConsumeHook)) {
        for hook in &self.consume {
            quietly(queue, || tell(hook.as_ref()));
        }
    }
}

/// Whether the hook came to its end.
fn quietly(queue: &MessageQueue, hook: impl FnOnce()) -> bool {
    let ended = catch_unwind(AssertUnwindSafe(hook)).is_ok();
    if !ended {
        tracing::error!(%queue, "a hook panicked, consumption goes on without it");
    }
    ended
}

impl Engine {
    /// Has the listener answer; none when it panics, which is said here. Tells how long it took.
    pub(crate) async fn observed<T>(
        &self,
        queue: &Arc<MessageQueue>,
        messages: &Messages,
        answer: impl Future<Output = T>,
        is_success: impl FnOnce(&T) -> bool,
    ) -> (Option<T>, Duration) {
        let hooks = &self.parts.hooks;
        let call = (!hooks.consume.is_empty()).then(|| Call {
            id: self.ids.next(self.wall()),
            group: Arc::clone(&self.group),
            queue: Arc::clone(queue),
            messages: messages.clone(),
        });
        let span = span(&self.group, queue, messages);
        if let Some(call) = &call {
            span.in_scope(|| hooks.each(queue, |hook| hook.before(call)));
        }
        let begun = self.now();
        let answer = AssertUnwindSafe(answer).catch_unwind().instrument(span.clone()).await;
        let took = self.now().since(begun);
        let answer = answer.map_err(|cause| span.in_scope(|| panicked(queue, messages, &*cause)));
        let answer = answer.ok();
        let end = match &answer {
            None => CallEnd::Panicked,
            Some(_) if took >= self.settings.consume_timeout() => CallEnd::TimedOut,
            Some(answer) if is_success(answer) => CallEnd::Success,
            Some(_) => CallEnd::Failed,
        };
        if let Some(call) = &call {
            span.in_scope(|| hooks.each(queue, |hook| hook.after(call, end, took)));
        }
        (answer, took)
    }
}

/// Says so, with the first message; spans that name it may be switched off.
fn panicked(queue: &MessageQueue, messages: &Messages, cause: &(dyn Any + Send)) {
    let Some(first) = messages.first() else { return };
    let text = cause.downcast_ref::<&str>().copied();
    let cause = text.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        topic = %first.topic,
        %queue,
        id = %first.id(),
        count = messages.len(),
        cause = cause.unwrap_or("no text"),
        "listener panicked, its messages count as failed",
    );
}

/// Names the first message, so that all that is said meanwhile can be found by its id.
fn span(group: &str, queue: &MessageQueue, messages: &Messages) -> tracing::Span {
    let Some(first) = messages.first() else { return tracing::Span::none() };
    tracing::info_span!(
        "consume",
        group,
        topic = %first.topic,
        %queue,
        offset = %first.queue_offset,
        id = %first.id(),
        attempt = first.reconsume_times.saturating_add(1),
        count = messages.len(),
    )
}

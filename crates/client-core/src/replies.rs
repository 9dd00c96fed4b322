//! Replies that are waited for: who asked, by correlation id.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_message::MessageView;
use tokio::sync::oneshot;

/// All of one client.
#[doc(alias = "RequestFutureHolder")]
#[derive(Debug, Default)]
pub(crate) struct Replies {
    waiting: Mutex<HashMap<String, oneshot::Sender<MessageView>>>,
}

impl Replies {
    /// Whoever waits for it gets it; false when nobody does.
    pub(crate) fn arrived(&self, correlation_id: &str, reply: MessageView) -> bool {
        let waiting = self.waiting.lock().remove(correlation_id);
        waiting.is_some_and(|waiting| waiting.send(reply).is_ok())
    }
}

/// A reply that is to come. Dropped, it is not waited for any more.
#[derive(Debug)]
pub struct AwaitedReply {
    replies: Arc<Replies>,
    correlation_id: String,
    arrival: oneshot::Receiver<MessageView>,
}

impl AwaitedReply {
    pub(crate) fn new(replies: &Arc<Replies>, correlation_id: &str) -> Self {
        let (sender, arrival) = oneshot::channel();
        replies.waiting.lock().insert(correlation_id.to_owned(), sender);
        let (replies, correlation_id) = (Arc::clone(replies), correlation_id.to_owned());
        Self { replies, correlation_id, arrival }
    }

    /// The reply; none when another one waits under the same id.
    pub async fn arrives(&mut self) -> Option<MessageView> {
        (&mut self.arrival).await.ok()
    }
}

impl Drop for AwaitedReply {
    fn drop(&mut self) {
        self.arrival.close();
        let mut waiting = self.replies.waiting.lock();
        if waiting.get(&self.correlation_id).is_some_and(oneshot::Sender::is_closed) {
            waiting.remove(&self.correlation_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_reaches_who_waits_for_it_and_nobody_else() {
        let replies = Arc::<Replies>::default();
        let record = crate::testing::record(0, "", b"pong", 0);
        let reply = || MessageView::decode(&record, 100).unwrap();
        let mut awaited = AwaitedReply::new(&replies, "a");
        assert!(!replies.arrived("b", reply()));
        assert!(replies.arrived("a", reply()));
        assert_eq!(awaited.arrives().await.map(|reply| reply.body), Some("pong".into()));
        drop(AwaitedReply::new(&replies, "a"));
        assert!(!replies.arrived("a", reply()));
        assert!(replies.waiting.lock().is_empty());
    }
}

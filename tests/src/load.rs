//! Senders that go on and on, and note what they are told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::future;
use rmq_client_producer::{ErrorKind, Message, Producer, SendStatus};
use rmq_runtime::ClockExt;

use crate::history::{History, Outcome};
use crate::wait::{WORLD, eventually};

/// A load on a cluster.
#[derive(Debug, Default)]
pub struct Load {
    /// What the senders were told.
    pub history: History,
    stop: AtomicBool,
}

/// Pause of a sender after a failure, so that it does not spin while there is no broker.
const PAUSE: Duration = Duration::from_millis(5);

impl Load {
    /// Has so many senders at work while something else goes on; they stop when it has ended, well or
    /// not.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn during<T>(
        &self,
        producer: &Producer,
        senders: usize,
        topic: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let senders = (0..senders).map(|sender| self.send_from(producer, sender, topic));
        let work = async {
            let done = work.await;
            self.stop.store(true, Ordering::Relaxed);
            done
        };
        future::join(work, future::join_all(senders)).await.0
    }

    /// Sends one message after the other until told to stop.
    async fn send_from(&self, producer: &Producer, sender: usize, topic: &str) {
        for number in 0u64.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let body =
                Bytes::from(format!("message {number} of sender {sender} {}", ".".repeat(200)));
            let call = self.history.invoked(sender, body.clone());
            match producer.send(Message::new(topic, body)).await {
                Ok(receipt) if receipt.status == SendStatus::Ok => {
                    let (queue, offset) = (receipt.queue, receipt.queue_offset.0);
                    self.history.ended(call, Outcome::Ok { queue, offset });
                }
                // Stored, but not as safe as it should be: it may go with the next kill.
                Ok(_) => {}
                Err(error) => {
                    if error.kind() != ErrorKind::Timeout {
                        self.history.ended(call, Outcome::Refused);
                    }
                    WORLD.clock.sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits until so many more sends were acknowledged.
    ///
    /// # Errors
    /// They are not in time.
    pub async fn acknowledged_more(&self, count: usize) -> Result<()> {
        let before = self.history.acknowledged();
        let more = eventually("acknowledged sends", async || {
            (self.history.acknowledged() >= before + count).then_some(())
        });
        more.await.map_err(|error| {
            error.context(format!("{} of {count}", self.history.acknowledged() - before))
        })
    }
}

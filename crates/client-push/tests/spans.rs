//! What is said about a message, read back. A program of its own: who listens to what is said is a
//! matter of the whole process.
#![expect(clippy::unwrap_used, reason = "a test, with helpers outside of its functions")]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_push::{ConsumeContext, ConsumeFrom, MessageView};
use rmq_message::{Properties, property};
use tokio::sync::mpsc;

use crate::script::Script;

#[path = "consumer/script.rs"]
#[expect(dead_code, reason = "the script can do more than this test needs")]
mod script;

/// M202: what is said while a message is consumed names the message.
#[tokio::test(start_paused = true)]
async fn everything_that_is_said_about_a_message_can_be_found_by_its_id() {
    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Said {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(text);
            Ok(text.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let script = Script::new(1);
    let properties: Properties = [(property::UNIQ_KEY, "0A1B2C")].into_iter().collect();
    script.store_as("T", 0, &properties, "m", 0);
    let (tx, mut seen) = mpsc::channel(1);
    let builder = script.consumer().consume_from(ConsumeFrom::FirstOffset);
    let listener = move |_: MessageView, _: ConsumeContext| {
        tracing::info!("the order is paid");
        tx.try_send(()).unwrap();
        std::future::ready(())
    };
    let consumer = builder.each(listener).start().await.unwrap();
    script::next(&mut seen).await;
    consumer.shutdown(Duration::from_secs(1)).await;
    let said = String::from_utf8(said.0.lock().clone()).unwrap();
    let line = said.lines().find(|line| line.contains("the order is paid")).unwrap();
    assert!(line.contains("id=0A1B2C") && line.contains("attempt=1"), "{line}");
    assert!(said.contains("consumer started") && said.contains("queue taken"), "{said}");
}

//! What is read is what was written, wherever one looks (A10).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use rmq_client_producer::{Message, MessageQueue};
use rmq_message::{MessageView, id, property};
use rmq_remoting::request_code;
use rmq_tests::wire::Wire;
use rmq_tests::{Client, Cluster};

const TOPIC: &str = "Orders";

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }

    /// Mostly small, some large enough to be compressed, some that cannot be made smaller.
    fn message(&mut self, number: usize) -> Message {
        let len = [1, 20, 300, 5_000, 40_000][self.below(5)];
        let dense = self.below(2) == 0;
        let body: Vec<u8> = (0..len).map(|_| if dense { self.byte() } else { b'x' }).collect();
        let mut message = Message::new(TOPIC, body)
            .with_keys([format!("key-{number}"), "all".to_owned()])
            .with_property("text", "Grüße, 世界 😈 =;:\t");
        message.flag = i32::try_from(self.below(1000)).unwrap_or(0) - 500;
        if number.is_multiple_of(3) { message.with_tag("third") } else { message }
    }
}

fn same(view: &MessageView, message: &Message) -> Result<()> {
    ensure!(view.topic == message.topic && view.flag == message.flag, "{view:?}");
    ensure!(view.body == message.body, "another body of {} bytes", view.body.len());
    for (name, value) in message.properties.iter() {
        ensure!(view.properties.get(name) == Some(value), "{name}: {:?}", view.properties);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_read_as_it_was_written_at_any_offset() -> Result<()> {
    let mut cluster = Cluster::builder().set("mappedFileSizeCommitLog", 1 << 20).start().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    let mut numbers = Numbers(42);
    let mut written: BTreeMap<(MessageQueue, i64), (Message, String, String)> = BTreeMap::new();
    for number in 0..600 {
        let message = numbers.message(number);
        let receipt = client.producer().send(message.clone()).await?;
        let place = (receipt.queue, receipt.queue_offset.0);
        let earlier = written.insert(place, (message, receipt.id, receipt.offset_id));
        ensure!(earlier.is_none(), "two messages at one place");
    }
    for number in (600..700).step_by(10) {
        let messages: Vec<Message> = (number..number + 10)
            .map(|number| {
                Message::new(TOPIC, format!("part {number}")).with_keys([format!("{number}")])
            })
            .collect();
        let receipt = client.producer().send_batch(messages.clone()).await?;
        let (ids, places) = (receipt.id.split(','), receipt.offset_id.split(','));
        for ((message, offset), (id, place)) in
            messages.into_iter().zip(receipt.queue_offset.0..).zip(ids.zip(places))
        {
            let stored = (message, id.to_owned(), place.to_owned());
            written.insert((receipt.queue.clone(), offset), stored);
        }
    }
    let places: Vec<_> = written.keys().cloned().collect();
    for restarted in [false, true] {
        if restarted {
            cluster.stop_broker(0).await?;
            cluster.start_broker(0).await?;
            cluster.await_route(TOPIC).await?;
        }
        let mut wire = Wire::connect(cluster.broker(0)).await?;
        for _ in 0..250 {
            let place = &places[numbers.below(places.len())];
            let (message, id, offset_id) = &written[place];
            let found = client.pull(&place.0, rmq_message::QueueOffset(place.1), 1).await?;
            let view = found.first().context("nothing there")?;
            ensure!(view.queue() == place.0 && view.queue_offset.0 == place.1, "{view:?}");
            same(view, message).with_context(|| format!("at {place:?}"))?;
            ensure!(view.id() == *id && view.offset_id() == *offset_id, "{view:?}");

            let (_, offset) = id::parse_offset_id(offset_id).context("no offset id")?;
            let fields = [("offset", offset.to_string())];
            let answer = wire.ask(request_code::VIEW_MESSAGE_BY_ID, &fields, b"").await?;
            let answer = answer.context("the broker hung up")?;
            ensure!(answer.code() == 0, "{answer:?}");
            let view = MessageView::decode(&Bytes::from(answer.body), 1 << 20)?;
            same(&view, message).with_context(|| format!("by id {offset_id}"))?;
            ensure!(view.properties.get(property::UNIQ_KEY) == Some(id), "{view:?}");
        }
        // And all of them in order, without a hole.
        let all = client.messages(TOPIC).await?;
        let count: usize = all.iter().map(|(_, messages)| messages.len()).sum();
        ensure!(count == written.len(), "{count} of {} messages", written.len());
        for (queue, messages) in all {
            for (offset, view) in (0..).zip(messages) {
                same(&view, &written[&(queue.clone(), offset)].0)?;
            }
        }
    }
    client.shutdown().await;
    cluster.stop().await
}

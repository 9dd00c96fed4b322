//! Many messages with keys in a store.
#![expect(clippy::unwrap_used, reason = "a bench that fails may stop")]

use rmq_message::PhysicalOffset;
use rmq_message::record::NewRecord;
use rmq_store::{MessageStore, QueueKey};

use crate::bed::{Bed, message};

/// Unique id of a message.
pub(crate) fn key(n: usize) -> String {
    format!("FD000000000000000000000000000000{n:024X}")
}

/// Stores messages of 1 KiB, by turns in all queues, until all are acknowledged; returns their
/// bytes in the log.
pub(crate) fn fill(bed: &Bed, queues: &[QueueKey], count: usize) -> u64 {
    let (body, mut end) = (vec![7; 1024], 0);
    for (n, queue) in queues.iter().cycle().take(count).enumerate() {
        let text = format!("UNIQ_KEY\u{1}{}\u{2}TAGS\u{1}tagA\u{2}", key(n));
        let record = NewRecord { properties: text.as_bytes(), ..message(&body) };
        let receipt = bed.store.append(queue, &[record]).unwrap();
        end = receipt.end.0;
        if n % 64 == 63 {
            bed.store.settle().unwrap();
        }
        if n % 1024 == 1023 {
            bed.runtime.block_on(bed.store.durable(receipt.end)).unwrap();
        }
    }
    bed.store.settle().unwrap();
    bed.runtime.block_on(bed.store.durable(PhysicalOffset(end))).unwrap();
    end
}

//! What of a queue a pull wants, as the store asks it.

use rmq_message::subscription::Subscription;
use rmq_store::MessageFilter;

/// Admits by the hash of the tag. Two tags may share a hash: consumers compare the text again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TagFilter<'a>(pub(crate) &'a Subscription);

impl MessageFilter for TagFilter<'_> {
    fn admits_entry(&self, tags_code: i64) -> bool {
        self.0.admits_code(tags_code)
    }
}

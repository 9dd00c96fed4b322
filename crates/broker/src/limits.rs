//! Bounds of everything that peers can make this broker hold (INV-19, HI-09, HI-17, HI-18, HI-25).

use std::time::Duration;

/// Topics, those of the system included.
pub(crate) const TOPICS_MAX: usize = 100_000;
/// Queues of one topic, for reading or for writing.
pub(crate) const QUEUES_MAX: i32 = 16_384;
/// Consumer groups.
pub(crate) const GROUPS_MAX: usize = 100_000;
/// Memberships of live connections in groups, consumers and producers each.
pub(crate) const MEMBERSHIPS_MAX: usize = 500_000;
/// Groups that one connection may belong to, consumers and producers each.
pub(crate) const GROUPS_PER_CONNECTION_MAX: usize = 2_048;
/// Topics of one member's subscription.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1_024;
/// Bytes of all subscriptions.
pub(crate) const SUBSCRIPTION_BYTES_MAX: usize = 256 << 20;
/// Bytes of one expression (HI-15).
pub(crate) const EXPRESSION_MAX: usize = 4 << 10;
/// Compiled conditions that are remembered.
pub(crate) const CONDITIONS_MAX: usize = 1_000;
/// Conditions that groups subscribe with, those included that have left.
pub(crate) const FILTERS_MAX: usize = 10_000;
/// Bytes of a client id.
pub(crate) const CLIENT_ID_MAX: usize = 255;
/// Bytes of a group's settings as JSON.
pub(crate) const GROUP_BYTES_MAX: usize = 16 << 10;
/// Topics that one group may be forbidden to read.
pub(crate) const FORBIDDEN_MAX: usize = 4_096;
/// Queues whose lock one request may ask for.
pub(crate) const LOCKS_PER_REQUEST_MAX: usize = 16_384;
/// Queue locks in all.
pub(crate) const LOCKS_MAX: usize = 1_000_000;
/// Positions in the table of progress.
pub(crate) const POSITIONS_MAX: usize = 4_000_000;
/// Held pulls in all.
pub(crate) const HOLDS_MAX: usize = 200_000;
/// Held pulls of one connection.
pub(crate) const HOLDS_PER_CONNECTION_MAX: usize = 16_384;
/// Pulls that read from the disk at once.
pub(crate) const COLD_READS_MAX: usize = 8;
/// Longest time for which a pull is held.
pub(crate) const HOLD_MAX: Duration = Duration::from_secs(30);
/// Check points in flight: batches that were popped and are not done.
pub(crate) const IN_FLIGHT_MAX: usize = 500_000;
/// Messages that one ack may name.
pub(crate) const ACKS_MAX: usize = 1_024;
/// Characters of a foreign text that an answer or a log line repeats.
pub(crate) const ECHO_MAX: usize = 256;

/// The beginning of a foreign text, short enough to be repeated.
pub(crate) fn echo(text: &str) -> &str {
    text.char_indices().nth(ECHO_MAX).map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
}

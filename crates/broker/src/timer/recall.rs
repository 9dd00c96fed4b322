//! Tickets to take a timed message back before it is delivered.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use rmq_message::CompactString;

/// A ticket: base64, with the alphabet of URLs and with padding, of
/// `v1 <topic> <broker> <ms after its tick began> <unique id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias = "RecallMessageHandle")]
pub(crate) struct Ticket {
    pub(crate) topic: CompactString,
    pub(crate) broker: CompactString,
    /// A moment of the tick in which the message waits, ms.
    pub(crate) at: i64,
    pub(crate) unique_id: CompactString,
}

impl Ticket {
    pub(crate) fn encode(&self) -> String {
        let Self { topic, broker, at, unique_id } = self;
        URL_SAFE.encode(format!("v1 {topic} {broker} {at} {unique_id}"))
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE.decode(text).ok()?).ok()?;
        let mut items = text.split(' ');
        if items.next() != Some("v1") {
            return None;
        }
        Some(Self {
            topic: items.next()?.into(),
            broker: items.next()?.into(),
            at: items.next()?.parse().ok()?,
            unique_id: items.next().filter(|id| !id.is_empty())?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_nothing_else_is_one() {
        let ticket = Ticket {
            topic: "T".into(),
            broker: "broker-a".into(),
            at: 1_795_273_499_001,
            unique_id: "FD0000".into(),
        };
        let text = ticket.encode();
        assert_eq!(text, "djEgVCBicm9rZXItYSAxNzk1MjczNDk5MDAxIEZEMDAwMA==");
        assert_eq!(Ticket::decode(&text), Some(ticket));
        for wrong in ["", "v1 T b 1 id", "djEgVCBi", "djIgVCBiIDEgaWQ=", "djEgVCBiIHggaWQ="] {
            assert_eq!(Ticket::decode(wrong), None, "{wrong}");
        }
    }
}

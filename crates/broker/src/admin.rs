//! Requests of operators and their tools: one module for each subject.

pub(crate) mod clients;
pub(crate) mod config;
pub(crate) mod groups;
pub(crate) mod offsets;
pub(crate) mod queues;
pub(crate) mod read_limits;
pub(crate) mod replicas;
pub(crate) mod runtime;
pub(crate) mod stats;
pub(crate) mod topics;

use std::collections::BTreeMap;

use rmq_message::CompactString;
use rmq_remoting::json;
use rmq_remoting::protocol::register::DataVersion;

/// Rows of a page when the request does not say.
const PAGE: usize = 2000;

/// Which rows of a table a request wants.
struct Page<'a> {
    first: Option<i32>,
    count: Option<i32>,
    /// Version of the pages before, as JSON text.
    version: Option<&'a str>,
}

impl Page<'_> {
    /// Cuts the table down to the page. A request without any of the fields wants it whole; one
    /// that has seen another version begins anew.
    fn cut<T>(&self, table: &mut BTreeMap<CompactString, T>, current: DataVersion) {
        if self.first.is_none() && self.count.is_none() && self.version.is_none() {
            return;
        }
        let seen = self.version.filter(|text| !text.is_empty()).map(|text| {
            json::from_slice::<DataVersion>(text.as_bytes()).is_ok_and(|seen| seen == current)
        });
        let first = match seen {
            Some(false) => 0,
            _ => self.first.and_then(|first| usize::try_from(first).ok()).unwrap_or(0),
        };
        let count = self.count.and_then(|count| usize::try_from(count).ok()).unwrap_or(PAGE);
        let mut index = 0;
        table.retain(|_, _| {
            index += 1;
            (first..first.saturating_add(count)).contains(&(index - 1))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_slice_of_the_sorted_table() {
        let current = DataVersion { counter: 1, state_version: 0, timestamp: 2 };
        let text = r#"{"counter":1,"stateVersion":0,"timestamp":2}"#;
        let page = |first, count, version: Option<&str>| {
            let mut table: BTreeMap<CompactString, ()> =
                ["a", "b", "c", "d"].map(|name| (name.into(), ())).into();
            Page { first, count, version }.cut(&mut table, current);
            table.into_keys().collect::<Vec<_>>().join("")
        };
        assert_eq!(page(None, None, None), "abcd");
        assert_eq!(page(Some(1), Some(2), Some(text)), "bc");
        assert_eq!(page(Some(1), Some(2), Some("{}")), "ab");
        assert_eq!(page(Some(9), None, None), "");
        assert_eq!(page(Some(-1), Some(-1), None), "abcd");
    }
}

//! What of a queue a pull wants, as the store asks it.
//!
//! Conditions are compiled once and remembered by their text, whoever sends them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_filter::{CompileError, Condition};
use rmq_message::CompactString;
use rmq_message::record::RecordView;
use rmq_message::subscription::{ExpressionType, Subscription};
use rmq_store::MessageFilter;

use crate::limits;

/// Admits messages of a queue.
#[derive(Clone, Debug)]
pub(crate) enum QueueFilter {
    /// By the hash of the tag. Two tags may share a hash: consumers compare the text again.
    Tags(Arc<Subscription>),
    /// By the message's properties.
    Properties(Arc<Condition>),
    /// Everything.
    Everything,
}

impl MessageFilter for QueueFilter {
    fn admits_entry(&self, tags_code: i64) -> bool {
        match self {
            Self::Tags(subscription) => subscription.admits_code(tags_code),
            Self::Properties(_) | Self::Everything => true,
        }
    }

    fn reads_records(&self) -> bool {
        matches!(self, Self::Properties(_))
    }

    fn admits_record(&self, record: &RecordView<'_>) -> bool {
        match self {
            Self::Properties(condition) => condition.admits(|name| record.property(name)),
            Self::Tags(_) | Self::Everything => true,
        }
    }
}

/// Why a subscription has no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfiltered {
    /// Only tags are served: `enablePropertyFilter` is off.
    Unserved,
    /// Its condition does not compile.
    Uncompilable(CompileError),
    /// Nobody knows its type.
    Unknown,
}

/// Makes filters of subscriptions.
#[derive(Debug)]
pub(crate) struct Filters {
    /// Whether anything but tags is served (`enablePropertyFilter`).
    properties: bool,
    compiled: Mutex<HashMap<CompactString, Result<Arc<Condition>, CompileError>>>,
}

impl Filters {
    pub(crate) fn new(properties: bool) -> Self {
        Self { properties, compiled: Mutex::default() }
    }

    /// The filter of a subscription.
    pub(crate) fn of(&self, subscription: &Arc<Subscription>) -> Result<QueueFilter, Unfiltered> {
        if subscription.kind != ExpressionType::Tag && !self.properties {
            return Err(Unfiltered::Unserved);
        }
        self.of_pop(subscription)
    }

    /// The filter of a pop, for which Apache does not ask whether conditions are served.
    pub(crate) fn of_pop(
        &self,
        subscription: &Arc<Subscription>,
    ) -> Result<QueueFilter, Unfiltered> {
        match &subscription.kind {
            ExpressionType::Tag => Ok(QueueFilter::Tags(Arc::clone(subscription))),
            ExpressionType::Sql92 => {
                let condition = self.compile(&subscription.expression);
                condition.map(QueueFilter::Properties).map_err(Unfiltered::Uncompilable)
            }
            ExpressionType::Other(_) => Err(Unfiltered::Unknown),
        }
    }

    fn compile(&self, expression: &CompactString) -> Result<Arc<Condition>, CompileError> {
        let mut compiled = self.compiled.lock();
        if let Some(known) = compiled.get(expression) {
            return known.clone();
        }
        let outcome = Condition::compile(expression).map(Arc::new);
        // What is too long would only fill the table, and fails at once the next time as well.
        if expression.len() <= rmq_filter::LEN_MAX {
            if compiled.len() >= limits::CONDITIONS_MAX {
                compiled.clear();
            }
            compiled.insert(expression.clone(), outcome.clone());
        }
        outcome
    }
}

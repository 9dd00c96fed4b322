//! Whether a queue may be pulled now, or holds enough already. Pure.

use crate::process_queue::Load;
use crate::settings::PushSettings;

const MIB: usize = 1024 * 1024;

/// How much a queue may hold before pulling waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) count: usize,
    pub(crate) mib: usize,
    /// `None` for ordered consumption, where a span cannot grow.
    pub(crate) span: Option<i64>,
}

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Count,
    Size,
    Span,
}

impl Limits {
    /// The bounds of one queue while the consumer holds `queues` of them: bounds of a whole topic
    /// are divided among all.
    pub(crate) fn of(settings: &PushSettings, queues: usize, ordered: bool) -> Self {
        let share = |topic: i32, queue: u32| match usize::try_from(topic) {
            Ok(topic) if queues > 0 => (topic / queues).max(1),
            _ => usize::try_from(queue).unwrap_or(usize::MAX),
        };
        Self {
            count: share(settings.pull_threshold_for_topic, settings.pull_threshold_for_queue),
            mib: share(
                settings.pull_threshold_size_for_topic,
                settings.pull_threshold_size_for_queue,
            ),
            span: (!ordered).then(|| i64::from(settings.consume_concurrently_max_span)),
        }
    }

    /// What of the load is over the bounds; a bound itself may be reached.
    pub(crate) fn full(&self, load: Load) -> Option<Full> {
        if load.count > self.count {
            Some(Full::Count)
        } else if load.bytes / MIB > self.mib {
            Some(Full::Size)
        } else if self.span.is_some_and(|max| load.span > max) {
            Some(Full::Span)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_may_be_reached_but_not_passed() {
        let limits = Limits::of(&PushSettings::default(), 1, false);
        for (count, bytes, span, expected) in [
            (1000, 0, 0, None),
            (1001, 0, 0, Some(Full::Count)),
            (1, 101 * MIB - 1, 0, None),
            (1, 101 * MIB, 0, Some(Full::Size)),
            (2, 0, 2000, None),
            (2, 0, 2001, Some(Full::Span)),
            (1001, 101 * MIB, 2001, Some(Full::Count)),
        ] {
            assert_eq!(
                limits.full(Load { count, bytes, span }),
                expected,
                "{count} {bytes} {span}"
            );
        }
    }

    #[test]
    fn ordered_queues_have_no_span() {
        let limits = Limits::of(&PushSettings::default(), 1, true);
        assert_eq!(limits.full(Load { count: 2, bytes: 0, span: 9999 }), None);
    }

    #[test]
    fn a_bound_of_the_topic_is_shared_by_all_queues() {
        let settings = PushSettings {
            pull_threshold_for_topic: 100,
            pull_threshold_size_for_topic: 3,
            ..PushSettings::default()
        };
        let limits = Limits::of(&settings, 8, false);
        assert_eq!((limits.count, limits.mib), (12, 1));
        let none = Limits::of(&settings, 0, false);
        assert_eq!((none.count, none.mib), (1000, 100));
    }
}

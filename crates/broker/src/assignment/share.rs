//! How queues are shared among members: pure.

use rmq_message::{CompactString, MessageQueue, java};
use rmq_remoting::protocol::assignment::{RequestMode, SetRequestMode};

/// Id of an entry that stands for all queues of a broker.
const ALL_QUEUES: i32 = -1;

/// A way to share that brokers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Neighbouring queues; the first members get one more.
    Average,
    /// One queue each in turn.
    Circle,
}

impl Strategy {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            _ => None,
        }
    }

    /// Queues of the member in that place of so many. There is at least one.
    fn of(self, queues: &[MessageQueue], place: usize, members: usize) -> Vec<MessageQueue> {
        match self {
            Self::Average => {
                let (each, more) = (queues.len() / members, queues.len() % members);
                let start = place * each + place.min(more);
                let count = each + usize::from(place < more);
                queues.iter().skip(start).take(count).cloned().collect()
            }
            Self::Circle => queues.iter().skip(place).step_by(members).cloned().collect(),
        }
    }
}

/// The queues of a member. `None`: there is no answer, and the member keeps what it has.
pub(crate) fn share(
    strategy: Strategy,
    mode: &SetRequestMode,
    me: &str,
    mut queues: Vec<MessageQueue>,
    mut members: Vec<CompactString>,
) -> Option<Vec<MessageQueue>> {
    queues.sort_unstable();
    members.sort_unstable_by(|a, b| java::compare(a, b));
    if me.is_empty() || queues.is_empty() || members.is_empty() {
        return None;
    }
    let (place, count) = (members.iter().position(|member| member == me), members.len());
    let shared = usize::try_from(mode.pop_share_queue_num).unwrap_or(0);
    let mut mine = match (mode.mode, place) {
        (RequestMode::Pop, _) if shared == 0 || shared >= count - 1 => {
            let all = queues.iter();
            all.map(|queue| MessageQueue { queue_id: ALL_QUEUES, ..queue.clone() }).collect()
        }
        (_, None) => Vec::new(),
        // With those of the members that follow.
        (RequestMode::Pop, Some(place)) if count <= queues.len() => (0..=shared)
            .flat_map(|step| strategy.of(&queues, (place + step) % count, count))
            .collect(),
        (RequestMode::Pop, Some(place)) => {
            queues.get(place % queues.len()).cloned().into_iter().collect()
        }
        (RequestMode::Pull, Some(place)) => strategy.of(&queues, place, count),
    };
    mine.sort_unstable();
    mine.dedup();
    Some(mine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(mode: RequestMode, shared: i32, queues: i32, members: &[&str]) -> Vec<Vec<i32>> {
        let mode = SetRequestMode { mode, pop_share_queue_num: shared, ..<_>::default() };
        let queues: Vec<_> = (0..queues).map(|id| MessageQueue::new("T", "b", id)).collect();
        let ids: Vec<_> = members.iter().map(CompactString::new).collect();
        let of = |me: &&str| {
            let mine = share(Strategy::Average, &mode, me, queues.clone(), ids.clone()).unwrap();
            mine.into_iter().map(|queue| queue.queue_id).collect()
        };
        members.iter().map(of).collect()
    }

    #[test]
    fn pulling_members_divide_the_queues() {
        let mode = RequestMode::Pull;
        assert_eq!(shares(mode, 0, 5, &["a", "b"]), [vec![0, 1, 2], vec![3, 4]]);
    }

    #[test]
    fn popping_members_take_from_all_brokers_or_share_some_queues() {
        let mode = RequestMode::Pop;
        assert_eq!(shares(mode, 0, 4, &["a", "b"]), [vec![-1], vec![-1]]);
        assert_eq!(shares(mode, 1, 4, &["a", "b"]), [vec![-1], vec![-1]]);
        let three = shares(mode, 1, 3, &["a", "b", "c"]);
        assert_eq!(three, [vec![0, 1], vec![1, 2], vec![0, 2]]);
        let many = shares(mode, 1, 2, &["a", "b", "c"]);
        assert_eq!(many, [vec![0], vec![1], vec![0]]);
    }

    #[test]
    fn strangers_get_nothing_and_nobody_is_told_nonsense() {
        let queues = vec![MessageQueue::new("T", "b", 0)];
        let ask = |me, queues, members| {
            share(Strategy::Circle, &SetRequestMode::default(), me, queues, members)
        };
        assert_eq!(ask("z", queues.clone(), vec!["a".into()]), Some(vec![]));
        assert_eq!(ask("a", Vec::new(), vec!["a".into()]), None);
        assert_eq!(ask("a", queues, Vec::new()), None);
    }
}

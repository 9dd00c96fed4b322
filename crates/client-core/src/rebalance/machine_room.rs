//! `MACHINE_ROOM` and `MACHINE_ROOM_NEARBY-…`: queues stay near their consumers.

use std::collections::{BTreeMap, BTreeSet};

use rmq_message::MessageQueue;

use super::{AllocateError, AllocateStrategy, place};

/// Shares only queues of brokers called `room@name` whose room is listed.
#[doc(alias = "AllocateMessageQueueByMachineRoom")]
#[derive(Clone, Debug, Default)]
pub struct MachineRoom {
    /// Rooms that are consumed.
    pub rooms: BTreeSet<String>,
}

impl AllocateStrategy for MachineRoom {
    fn name(&self) -> &str {
        "MACHINE_ROOM"
    }

    fn allocate(
        &self,
        me: &str,
        queues: &[MessageQueue],
        members: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        let Some(index) = place(me, queues, members)? else { return Ok(Vec::new()) };
        let near: Vec<&MessageQueue> = queues
            .iter()
            .filter(|queue| room(&queue.broker_name).is_some_and(|room| self.rooms.contains(room)))
            .collect();
        let (each, more) = (near.len() / members.len(), near.len() % members.len());
        let mut own: Vec<_> =
            near.iter().skip(index * each).take(each).map(|queue| (*queue).clone()).collect();
        if index < more {
            own.extend(near.get(index + each * members.len()).map(|queue| (*queue).clone()));
        }
        Ok(own)
    }
}

/// The part before the only `@`; those at the end do not count, as in Java's `split`.
fn room(broker: &str) -> Option<&str> {
    let (room, name) = broker.trim_end_matches('@').split_once('@')?;
    (!name.contains('@')).then_some(room)
}

type RoomOf<T> = Box<dyn Fn(&T) -> String + Send + Sync>;

/// Shares the queues of each room among its own members, and those of rooms without a member among
/// all.
#[doc(alias = "AllocateMachineRoomNearby")]
pub struct MachineRoomNearby<S> {
    inner: S,
    name: String,
    room_of_queue: RoomOf<MessageQueue>,
    room_of_member: RoomOf<str>,
}

impl<S: AllocateStrategy> MachineRoomNearby<S> {
    /// `inner` shares within a room; the closures tell rooms, none may be empty.
    #[doc(alias = "MachineRoomResolver")]
    pub fn new(
        inner: S,
        room_of_queue: impl Fn(&MessageQueue) -> String + Send + Sync + 'static,
        room_of_member: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: format!("MACHINE_ROOM_NEARBY-{}", inner.name()),
            inner,
            room_of_queue: Box::new(room_of_queue),
            room_of_member: Box::new(room_of_member),
        }
    }

    fn group<'a, T: ToOwned + ?Sized + 'a>(
        items: impl Iterator<Item = &'a T>,
        room_of: &RoomOf<T>,
        what: &str,
    ) -> Result<BTreeMap<String, Vec<T::Owned>>, AllocateError> {
        let mut rooms: BTreeMap<String, Vec<T::Owned>> = BTreeMap::new();
        for item in items {
            let room = room_of(item);
            if room.is_empty() {
                let reason = format!("a {what} has no room; the resolver must name one for each");
                return Err(AllocateError::Setting { strategy: "MACHINE_ROOM_NEARBY", reason });
            }
            rooms.entry(room).or_default().push(item.to_owned());
        }
        Ok(rooms)
    }
}

impl<S> std::fmt::Debug for MachineRoomNearby<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl<S: AllocateStrategy> AllocateStrategy for MachineRoomNearby<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn allocate(
        &self,
        me: &str,
        queues: &[MessageQueue],
        members: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        if place(me, queues, members)?.is_none() {
            return Ok(Vec::new());
        }
        let queue_rooms = Self::group(queues.iter(), &self.room_of_queue, "queue")?;
        let member_rooms =
            Self::group(members.iter().map(String::as_str), &self.room_of_member, "member")?;
        let mine = (self.room_of_member)(me);
        let mut own = Vec::new();
        if let (Some(near), Some(mates)) = (queue_rooms.get(&mine), member_rooms.get(&mine)) {
            own.extend(self.inner.allocate(me, near, mates)?);
        }
        for (room, orphans) in &queue_rooms {
            if *room != mine && !member_rooms.contains_key(room) {
                own.extend(self.inner.allocate(me, orphans, members)?);
            }
        }
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Average;
    use super::super::testing::members;
    use super::*;

    fn queues(broker: &str, count: i32) -> Vec<MessageQueue> {
        (0..count).map(|id| MessageQueue::new("T", broker, id)).collect()
    }

    #[test]
    fn only_listed_rooms_are_shared_and_the_rest_goes_to_the_first() {
        let strategy = MachineRoom { rooms: ["a".to_owned()].into() };
        let all = [queues("a@x", 5), queues("b@y", 4), queues("plain", 2)].concat();
        let own = |me: &str| -> Vec<i32> {
            let own = strategy.allocate(me, &all, &members(2)).unwrap();
            assert!(own.iter().all(|queue| queue.broker_name == "a@x"));
            own.iter().map(|queue| queue.queue_id).collect()
        };
        assert_eq!((own("c00"), own("c01")), (vec![0, 1, 4], vec![2, 3]));
    }

    #[test]
    fn rooms_without_members_are_shared_by_all() {
        let room_of_queue = |queue: &MessageQueue| queue.broker_name[..1].to_owned();
        let nearby = MachineRoomNearby::new(Average, room_of_queue, |id: &str| id[..1].to_owned());
        assert_eq!(nearby.name(), "MACHINE_ROOM_NEARBY-AVG");
        let ids: Vec<String> = ["a1", "a2", "b1"].map(ToOwned::to_owned).into();
        let all = [queues("a", 4), queues("b", 2), queues("c", 3)].concat();
        let own = |me: &str| -> Vec<String> {
            nearby.allocate(me, &all, &ids).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(own("a1"), ["T/a/0", "T/a/1", "T/c/0"]);
        assert_eq!(own("a2"), ["T/a/2", "T/a/3", "T/c/1"]);
        assert_eq!(own("b1"), ["T/b/0", "T/b/1", "T/c/2"]);

        let nowhere = MachineRoomNearby::new(
            Average,
            |_: &MessageQueue| String::new(),
            |id: &str| id.to_owned(),
        );
        assert!(matches!(nowhere.allocate("a1", &all, &ids), Err(AllocateError::Setting { .. })));
    }
}

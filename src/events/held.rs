//! Events that wait until the other nodes of a cluster have said whether a uid is theirs, too, and those of the same uid behind
//! them: [`HeldEvents`]. Bound: they have their places in the queue that they are to go into.

use std::collections::VecDeque;

use ahash::AHashMap;

/// One that waits.
pub struct HeldEvent<E> {
    /// The number by which what it waits for is known; `None` if it waits for those before it.
    waits: Option<u64>,
    pub at: u64,
    pub what: E,
}

/// See the module.
pub struct HeldEvents<E> {
    uids: AHashMap<Box<str>, VecDeque<HeldEvent<E>>>,
    last: u64,
}

impl<E> Default for HeldEvents<E> {
    fn default() -> HeldEvents<E> {
        HeldEvents {
            uids: AHashMap::new(),
            last: 0,
        }
    }
}

impl<E> HeldEvents<E> {
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// Whether events of this uid wait.
    #[inline]
    pub fn has(&self, uid: &str) -> bool {
        !self.uids.is_empty() && self.uids.contains_key(uid)
    }

    /// One that waits to be settled, by this number.
    pub fn wait(&mut self, uid: &str, at: u64, what: E) -> u64 {
        self.last += 1;
        self.push(uid, at, what, Some(self.last));
        self.last
    }

    /// One that waits for those before it.
    pub fn follow(&mut self, uid: &str, at: u64, what: E) {
        self.push(uid, at, what, None);
    }

    fn push(&mut self, uid: &str, at: u64, what: E, waits: Option<u64>) {
        let event = HeldEvent { waits, at, what };
        match self.uids.get_mut(uid) {
            Some(events) => events.push_back(event),
            None => {
                self.uids.insert(Box::from(uid), VecDeque::from([event]));
            }
        }
    }

    /// What one waited for is known: those that wait for nothing any more, in their order.
    pub fn settle(
        &mut self,
        uid: &str,
        number: u64,
        settle: impl FnOnce(&mut E),
    ) -> Vec<HeldEvent<E>> {
        let Some(events) = self.uids.get_mut(uid) else {
            return Vec::new();
        };
        let settled = events.iter_mut().find(|event| event.waits == Some(number));
        if let Some(event) = settled {
            event.waits = None;
            settle(&mut event.what);
        }
        let mut free = Vec::new();
        while let Some(event) = events.pop_front() {
            if event.waits.is_some() {
                events.push_front(event);
                break;
            }
            free.push(event);
        }
        if events.is_empty() {
            self.uids.remove(uid);
        }
        free
    }

    /// All that wait, whatever for.
    pub fn take_all(&mut self) -> Vec<(Box<str>, HeldEvent<E>)> {
        let all = std::mem::take(&mut self.uids).into_iter();
        let each =
            all.flat_map(|(uid, events)| events.into_iter().map(move |it| (uid.clone(), it)));
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(events: Vec<HeldEvent<u32>>) -> Vec<u64> {
        events.into_iter().map(|event| event.at).collect()
    }

    #[test]
    fn events_of_a_uid_leave_in_their_order() {
        let mut held = HeldEvents::default();
        let first = held.wait("a", 1, 1);
        held.follow("a", 2, 2);
        let second = held.wait("a", 3, 3);
        held.follow("a", 4, 4);
        assert!(held.has("a") && !held.has("b"));
        assert!(held.settle("a", second, |_| {}).is_empty());
        assert!(held.settle("b", first, |_| {}).is_empty());
        assert_eq!(numbers(held.settle("a", first, |_| {})), [1, 2, 3, 4]);
        assert!(held.is_empty() && held.settle("a", first, |_| {}).is_empty());
        held.wait("a", 5, 5);
        held.follow("a", 6, 6);
        let all = held.take_all().into_iter().map(|(_, event)| event);
        assert_eq!(numbers(all.collect()), [5, 6]);
        assert!(held.is_empty());
    }
}

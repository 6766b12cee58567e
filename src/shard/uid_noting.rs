//! A shard notes what other nodes of a cluster are to know of its uids ([`UidNews`]): called where binds and ends are decided,
//! and taken by the core at the end of its callbacks.

use super::Shard;
use super::slot::Phase;
use super::uid_news::{HeldUid, HoldWish, ReleasedUid, UidInterest, UidNews};
use crate::config::UidPolicy;
use crate::ident::ConnId;
use crate::queue::Queue;

impl Shard {
    /// Has it noted which uids come and go, for the other nodes of a cluster. Before it is started.
    pub fn note_uids(&mut self) {
        self.reports.get_or_insert_default().uid_news = Some(Queue::default());
    }

    /// What becomes of a uid's second connection.
    pub fn uid_policy(&self) -> UidPolicy {
        self.limits.uid_policy
    }

    /// The next of it.
    pub fn next_uid_news(&mut self) -> Option<UidNews> {
        self.reports.as_mut()?.uid_news.as_mut()?.pop()
    }

    fn add_uid_news(&mut self, news: UidNews) {
        let reports = self.reports.as_mut();
        if let Some(queue) = reports.and_then(|it| it.uid_news.as_mut()) {
            queue.push(news);
        }
    }

    /// Whether somebody is to know them.
    fn has_uid_news(&self) -> bool {
        let reports = self.reports.as_ref();
        reports.is_some_and(|it| it.uid_news.is_some())
    }

    fn note_interest(&mut self, id: ConnId, here: bool) {
        if let Some(uid) = &self.connections.slots[id.slot].uid {
            let uid = uid.clone();
            self.add_uid_news(UidNews::Interest(UidInterest { uid, here }));
        }
    }

    /// Whether nodes tell each other of this connection: where a uid is one connection's, and where its client has a name.
    fn is_held(&self, id: ConnId) -> bool {
        self.limits.uid_policy != UidPolicy::Multi || self.connections.is_told_places(id)
    }

    /// A connection is bound; whether it is the only one here.
    pub(super) fn note_bound(&mut self, id: ConnId, is_first: bool, wish: Option<HoldWish>) {
        if !self.has_uid_news() {
            return;
        }
        if is_first {
            self.note_interest(id, true);
        }
        self.note_held(id, wish);
    }

    fn note_held(&mut self, id: ConnId, wish: Option<HoldWish>) {
        if !self.is_held(id) {
            return;
        }
        let client = self.client_part(id).and_then(|client| client.name.clone());
        if client.is_none() && self.limits.uid_policy == UidPolicy::Multi {
            return;
        }
        if let Some(uid) = &self.connections.slots[id.slot].uid {
            let held = HeldUid {
                namespace: self.connections.namespace_of(id),
                uid: uid.clone(),
                connection: id,
                client,
                wish,
            };
            self.add_uid_news(UidNews::Held(held));
        }
    }

    /// One that had a uid is out of every table, or is about to lose it; whether it was the last one here.
    pub(super) fn note_unbound(&mut self, id: ConnId, is_last: bool) {
        if !self.has_uid_news() {
            return;
        }
        if self.is_held(id)
            && let Some(uid) = &self.connections.slots[id.slot].uid
        {
            let released = ReleasedUid {
                namespace: self.connections.namespace_of(id),
                uid: uid.clone(),
                connection: id,
            };
            self.add_uid_news(UidNews::Released(released));
        }
        if is_last {
            self.note_interest(id, false);
        }
    }

    /// A connection of a uid has come from another process, or gone to one: nobody outside is told.
    pub(super) fn note_moved_uid(&mut self, id: ConnId, here: bool) {
        if !self.has_uid_news() {
            return;
        }
        let namespace = self.connections.namespace_of(id);
        let Some(uid) = self.connections.uid(id) else {
            return;
        };
        let count = self.uids.count(&self.connections.slots, namespace, uid);
        match here {
            true => self.note_bound(id, count == 1, None),
            false => self.note_unbound(id, count == 0),
        }
    }

    /// Says anew who has which uid: it is otherwise decided from now on.
    pub(super) fn note_all_held(&mut self) {
        if !self.has_uid_news() {
            return;
        }
        let slots = self.connections.slots.iter();
        let bound = slots.filter(|(_, slot)| slot.phase == Phase::Home && slot.uid.is_some());
        let bound = bound.map(|(number, slot)| ConnId {
            slot: number,
            generation: slot.generation,
        });
        let bound: Vec<ConnId> = bound.collect();
        for id in bound {
            let Some(uid) = self.connections.uid(id).map(Box::<str>::from) else {
                continue;
            };
            let released = ReleasedUid {
                namespace: self.connections.namespace_of(id),
                uid,
                connection: id,
            };
            self.add_uid_news(UidNews::Released(released));
            self.note_held(id, None);
        }
    }
}

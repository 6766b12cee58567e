//! A shard notes what other nodes of a cluster are to know of its uids ([`UidNews`]): called where binds and ends are decided,
//! and taken by the core at the end of its callbacks.

use super::Shard;
use super::slot::Phase;
use super::uid_news::{HeldUid, HoldWish, ReleasedUid, UidInterest, UidNews};
use crate::config::UidPolicy;
use crate::ident::{ConnId, NamespaceId};
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

    /// Whether other nodes are to know them.
    pub(super) fn has_uid_news(&self) -> bool {
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
    pub(super) fn note_bound(
        &mut self,
        id: ConnId,
        is_first: bool,
        wish: Option<HoldWish>,
        event: Option<u64>,
    ) {
        if !self.has_uid_news() {
            return;
        }
        if is_first {
            self.note_interest(id, true);
        }
        self.note_held(id, is_first, wish, event);
    }

    /// Whether nodes tell each other of uids, whichever connections have them.
    fn are_uids_held(&self) -> bool {
        let reporter = self.reports.as_ref().and_then(|it| it.reporter.as_ref());
        self.limits.uid_policy == UidPolicy::Multi && reporter.is_some_and(|it| it.wants_ends())
    }

    fn note_held(
        &mut self,
        id: ConnId,
        is_first: bool,
        wish: Option<HoldWish>,
        event: Option<u64>,
    ) {
        let Some(uid) = self.connections.uid(id).map(Box::<str>::from) else {
            return;
        };
        let held = HeldUid {
            namespace: self.connections.namespace_of(id),
            uid,
            connection: ConnId::NOBODY,
            client: None,
            wish,
            event,
        };
        if is_first && self.are_uids_held() {
            self.add_uid_news(UidNews::Held(held.clone()));
        }
        let client = self.client_part(id).and_then(|client| client.name.clone());
        if self.limits.uid_policy != UidPolicy::Multi {
            self.add_uid_news(UidNews::Held(HeldUid {
                connection: id,
                client,
                ..held
            }));
        } else if client.is_some() {
            self.add_uid_news(UidNews::Held(HeldUid {
                connection: id,
                client,
                event: None,
                ..held
            }));
        }
    }

    /// One that had a uid is out of every table, or is about to lose it; whether it was the last one here.
    pub(super) fn note_unbound(&mut self, id: ConnId, is_last: bool, event: Option<u64>) {
        if !self.has_uid_news() {
            return;
        }
        if let Some(uid) = &self.connections.slots[id.slot].uid {
            let released = ReleasedUid {
                namespace: self.connections.namespace_of(id),
                uid: uid.clone(),
                connection: id,
                event,
            };
            let are_uids_held = self.are_uids_held();
            if is_last && are_uids_held {
                self.add_uid_news(UidNews::Released(ReleasedUid {
                    connection: ConnId::NOBODY,
                    ..released.clone()
                }));
            }
            if self.is_held(id) {
                let event = event.filter(|_| !are_uids_held);
                self.add_uid_news(UidNews::Released(ReleasedUid { event, ..released }));
            }
        }
        if is_last {
            let namespace = self.connections.namespace_of(id);
            let uid = self.connections.uid(id).map(Box::<str>::from);
            self.forget_stuck(namespace, &uid.unwrap_or_default());
            self.note_interest(id, false);
        }
    }

    /// The uids that have connections here.
    pub fn bound_uids(&self) -> Vec<(NamespaceId, Box<str>)> {
        let slots = &self.connections.slots;
        let bound = slots.iter().filter(|(_, slot)| slot.phase == Phase::Home);
        let uids = bound.filter_map(|(number, slot)| {
            let id = ConnId {
                slot: number,
                generation: slot.generation,
            };
            let namespace = self.connections.namespace_of(id);
            let uid = slot.uid.as_deref()?;
            let is_first = self.uids.get(slots, namespace, uid).next() == Some(id);
            is_first.then(|| (namespace, Box::from(uid)))
        });
        uids.collect()
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
            true => self.note_bound(id, count == 1, None, None),
            false => self.note_unbound(id, count == 0, None),
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
            let namespace = self.connections.namespace_of(id);
            let first = self
                .uids
                .get(&self.connections.slots, namespace, &uid)
                .next();
            let is_first = first == Some(id);
            for connection in [ConnId::NOBODY, id] {
                let released = ReleasedUid {
                    namespace,
                    uid: uid.clone(),
                    connection,
                    event: None,
                };
                if connection == id || is_first {
                    self.add_uid_news(UidNews::Released(released));
                }
            }
            self.note_held(id, is_first, None, None);
        }
    }
}

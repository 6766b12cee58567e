//! What streams keep, as tasks of a core (HTTP requests) ask for it: pages of it, and to throw it away.

use super::local::Local;
use super::outcome::Delivered;
use super::query::{HistoryPage, HistoryQuery, QueryResult};
use crate::ident::{NamespaceId, Reach};
use crate::payload::Payload;
use crate::streams::{Address, Kind, Wish};

impl Local {
    /// To several uids that are at home here.
    pub(super) fn push_to_uids(
        &mut self,
        reach: Reach,
        uids: &[Box<str>],
        payload: &Payload,
        wish: Wish,
    ) -> QueryResult {
        if !self.shard.followers.any_behind() && !self.may_keep(wish) {
            let reached = self.shard.send_to_uids(reach, uids, payload.message());
            if self.shard.is_tapped() {
                let each = reached.iter().map(|reached| (*reached, false));
                self.tap_each(reach, uids, payload, each);
            }
            return QueryResult::ReachedEach(reached);
        }
        let each = uids.iter();
        let delivered: Vec<Delivered> = each
            .map(|uid| self.keep_for_uid(reach, uid, payload, wish))
            .collect();
        if self.shard.is_tapped() {
            let each = delivered.iter();
            let each = each.map(|delivered| (delivered.reached, delivered.position.is_some()));
            self.tap_each(reach, uids, payload, each);
        }
        QueryResult::DeliveredEach(delivered)
    }

    fn tap_each(
        &mut self,
        reach: Reach,
        uids: &[Box<str>],
        payload: &Payload,
        each: impl Iterator<Item = (u32, bool)>,
    ) {
        for (uid, delivered) in uids.iter().zip(each) {
            self.show_push_to_uid(reach, uid, payload.message(), delivered);
        }
    }

    pub(super) fn read_history(&mut self, query: &HistoryQuery) -> HistoryPage {
        let now = self.now();
        let Some(namespace) = self
            .streams
            .first_namespace(query.reach, query.kind, &query.name)
        else {
            return HistoryPage {
                top: self.streams.store.top(now, Address::all(NamespaceId(0))),
                messages: Vec::new(),
                gap: None,
            };
        };
        let of = Address {
            namespace,
            kind: query.kind,
            name: &query.name,
        };
        self.streams.page(now, of, query)
    }

    pub(super) fn forget_history(&mut self, reach: Reach, kind: Kind, name: &str) -> u32 {
        let now = self.now();
        let namespaces = reach.namespaces();
        namespaces
            .map(|namespace| {
                let of = Address {
                    namespace,
                    kind,
                    name,
                };
                let discarded = self.streams.store.ask(of, |store| store.discard(now, of));
                discarded.unwrap_or(0)
            })
            .sum()
    }
}

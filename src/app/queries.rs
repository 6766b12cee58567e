//! Queries between cores: each is run on the core asked, and answered exactly once.

use super::envelope::{AnswerPart, Body};
use super::local::Local;
use super::pending::Caller;
use super::query::{MembershipChange, Query, QueryResult};
use crate::ident::{ConnId, CoreId};

impl Local {
    /// Asks one core.
    pub(super) fn query(&mut self, caller: Caller, core: CoreId, what: Query) {
        let call = self.pending.open(caller, 1, None, what.is_push());
        self.query_as(call, core, what);
    }

    pub(super) fn query_as(&mut self, call: u64, core: CoreId, what: Query) {
        let what = Box::new(what);
        let nobody = Some(ConnId::NOBODY);
        if core == self.core() && !self.outgoing.goes_by_mail(nobody) {
            return self.run_query(core, call, *what);
        }
        let many = match &*what {
            Query::PushToUids { uids, payload, .. } => Some((payload.message().len(), uids.len())),
            _ => None,
        };
        let body = Body::Query { call, what };
        match many {
            Some((bytes, receivers)) => self.outgoing.post_bulk(
                &mut self.shard.connections,
                core,
                nobody,
                bytes,
                receivers,
                body,
            ),
            None => self
                .outgoing
                .post(&mut self.shard.connections, core, nobody, 0, body),
        }
    }

    /// Does what a query asks, on the core asked, and answers it, now or when it is known.
    pub(super) fn run_query(&mut self, from: CoreId, call: u64, what: Query) {
        let now = self.now();
        let what = match self.has_engine() {
            false => what,
            true => match self.query_abroad(from, call, what) {
                Some(what) => what,
                None => return,
            },
        };
        let shard = &mut self.shard;
        let result = match what {
            Query::PushToUids {
                reach,
                uids,
                payload,
                wish,
            } => self.push_to_uids(reach, &uids, &payload, wish),
            Query::History(query) => QueryResult::History(self.read_history(&query)),
            Query::ForgetHistory { reach, kind, name } => {
                QueryResult::Reached(self.forget_history(reach, kind, &name))
            }
            Query::Join(change) => {
                let result = self.change_in(&change);
                self.post_interests();
                self.tell_newcomers();
                return self.reply_by_home(&change.group, from, call, result);
            }
            Query::Leave(change) => self.change_out(&change),
            Query::Ungroup { reach, group, most } => {
                QueryResult::Ungrouped(shard.ungroup(reach, &group, most))
            }
            Query::Uid { reach, uid } => QueryResult::Uid(shard.uid_info(reach, &uid)),
            Query::Uids {
                reach,
                from,
                uids_max,
            } => QueryResult::Uids(shard.list_uids(reach, from, uids_max)),
            Query::Group {
                reach,
                group,
                members_max,
            } => QueryResult::Group(shard.group_info(reach, &group, members_max)),
            Query::Groups {
                reach,
                from,
                groups_max,
            } => QueryResult::Groups(self.homes.list(reach, from, groups_max)),
            Query::CountGroups { reach, groups } => {
                let counts = groups.iter().map(|group| shard.count_of(reach, group));
                QueryResult::GroupCounts(counts.collect())
            }
            Query::Connections(query) => QueryResult::Connections(shard.list_connections(&query)),
            Query::Tap { id, filter } => QueryResult::Tapped(shard.ask_tap(id, &filter)),
            Query::EndTap(id) => {
                shard.end_tap(id);
                QueryResult::Reached(0)
            }
            Query::Claim { id, wanted, .. } => {
                QueryResult::Claim(self.idempotency.claim(now, id, wanted))
            }
            Query::Await { id, wanted, .. } => {
                match self.idempotency.wait(now, id, wanted, (from, call)) {
                    Some(claim) => QueryResult::Claim(claim),
                    // It is answered when the one under way is settled.
                    None => return,
                }
            }
            Query::Settle { id, answer } => {
                for ((from, call), claim) in self.idempotency.settle(id, answer) {
                    self.reply(from, call, QueryResult::Claim(claim));
                }
                QueryResult::Reached(0)
            }
        };
        self.reply(from, call, result);
    }

    fn change_in(&mut self, change: &MembershipChange) -> QueryResult {
        let MembershipChange {
            reach,
            uid,
            group,
            sticky,
        } = change;
        if *sticky && let Err(error) = self.shard.stick(*reach, uid, group) {
            return QueryResult::NotStuck(error);
        }
        let (joined, refused) = self.shard.join_uid(*reach, uid, group);
        QueryResult::Joined { joined, refused }
    }

    fn change_out(&mut self, change: &MembershipChange) -> QueryResult {
        let MembershipChange {
            reach,
            uid,
            group,
            sticky,
        } = change;
        let left = self.shard.leave_uid(*reach, uid, group);
        QueryResult::Left {
            left,
            sticky: *sticky && self.shard.unstick(*reach, uid, group),
        }
    }

    /// Answers when the home of a group has been told who is in it.
    fn reply_by_home(&mut self, group: &str, to: CoreId, call: u64, result: QueryResult) {
        let home = self.outgoing.home(group);
        if home == self.core() || self.outgoing.cores() == 1 {
            return self.reply(to, call, result);
        }
        let part = AnswerPart::Found(Box::new(result));
        self.send_back(home, to, None, Body::Answer { call, part });
    }

    pub(super) fn reply(&mut self, to: CoreId, call: u64, result: QueryResult) {
        let part = AnswerPart::Found(Box::new(result));
        if to == self.core() {
            self.answered(call, part);
        } else {
            self.outgoing.post_free(to, Body::Answer { call, part });
        }
    }
}

//! What a task of a core (an HTTP request) asks of one core or of all: [`Query`], and what each of them finds:
//! [`QueryResult`].
//!
//! It goes as any call does, and its answer comes back exactly once, with one result a core asked. Bound: none
//! here; a request has so many of them under way as `net/http/api` lets it.

use super::Answer;
use super::envelope::{AnswerPart, Body};
use super::history::{HistoryPage, HistoryQuery};
use super::host::Host;
use super::idempotency::{Claim, Digest};
use super::local::Local;
use super::pending::{Caller, Delivered};
use super::promise::Promise;
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach};
use crate::payload::{Message, Payload};
use crate::shard::{Cursor, GroupInfo, UidInfo, UidPage};
use crate::streams::{Kind, Wish};

/// See the module.
pub enum Query {
    /// Push to these uids, all of which are at home on the core asked.
    PushToUids {
        reach: Reach,
        uids: Vec<Box<str>>,
        payload: Payload,
        wish: Wish,
    },
    /// What a stream that is at home on the core asked keeps.
    History(HistoryQuery),
    /// Throw that away.
    ForgetHistory {
        reach: Reach,
        kind: Kind,
        name: Box<str>,
    },
    /// The uid's present connections enter the group.
    Join {
        reach: Reach,
        uid: Box<str>,
        group: Box<str>,
    },
    Leave {
        reach: Reach,
        uid: Box<str>,
        group: Box<str>,
    },
    Uid {
        reach: Reach,
        uid: Box<str>,
    },
    Uids {
        reach: Reach,
        from: Cursor,
        uids_max: usize,
    },
    Group {
        reach: Reach,
        group: Box<str>,
        members_max: usize,
    },
    /// May a request with this id, and this digest of what it asks for, be carried out?
    Claim {
        id: Digest,
        wanted: Digest,
    },
    /// The same, answered once that is decided: if it is under way, when it is done.
    Await {
        id: Digest,
        wanted: Digest,
    },
    /// It is done, with this answer; or, without one, it was given up.
    Settle {
        id: Digest,
        answer: Option<Box<str>>,
    },
}

/// See the module.
pub enum QueryResult {
    Reached(u32),
    /// Of each uid, in their order.
    ReachedEach(Vec<u32>),
    /// The same where it may be kept.
    DeliveredEach(Vec<Delivered>),
    History(HistoryPage),
    Joined {
        joined: u32,
        refused: u32,
    },
    Uid(UidInfo),
    Uids(UidPage),
    Group(GroupInfo),
    Claim(Claim),
}

impl Query {
    fn is_push(&self) -> bool {
        matches!(self, Query::PushToUids { .. })
    }
}

impl Local {
    /// Asks one core.
    fn query(&mut self, caller: Caller, core: CoreId, what: Query) {
        let call = self.pending.open(caller, 1, None, what.is_push());
        self.query_as(call, core, what);
    }

    fn query_as(&mut self, call: u64, core: CoreId, what: Query) {
        let what = Box::new(what);
        let nobody = Some(ConnId::NOBODY);
        if core == self.core() && !self.goes_by_mail(nobody) {
            return self.run_query(core, call, *what);
        }
        let many = match &*what {
            Query::PushToUids { uids, payload, .. } => Some((payload.message().len(), uids.len())),
            _ => None,
        };
        let body = Body::Query { call, what };
        match many {
            Some((bytes, receivers)) => self.post_bulk(core, nobody, bytes, receivers, body),
            None => self.post(core, nobody, 0, body),
        }
    }

    /// Does what a query asks, on the core asked, and answers it, now or when it is known.
    pub(super) fn run_query(&mut self, from: CoreId, call: u64, what: Query) {
        let now = self.now();
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
            Query::Join { reach, uid, group } => {
                let (joined, refused) = shard.join_uid(reach, &uid, &group);
                self.post_interests();
                let result = QueryResult::Joined { joined, refused };
                return self.reply_by_home(&group, from, call, result);
            }
            Query::Leave { reach, uid, group } => {
                QueryResult::Reached(shard.leave_uid(reach, &uid, &group))
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
            Query::Claim { id, wanted } => {
                QueryResult::Claim(self.idempotency.claim(now, id, wanted))
            }
            Query::Await { id, wanted } => {
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

    /// The same when the home of a group has been told who is in it.
    fn reply_by_home(&mut self, group: &str, to: CoreId, call: u64, result: QueryResult) {
        let home = self.bus.home(group);
        if home == self.core() || self.bus.cores() == 1 {
            return self.reply(to, call, result);
        }
        let part = AnswerPart::Found(Box::new(result));
        self.send_back(home, to, None, Body::Answer { call, part });
    }

    fn reply(&mut self, to: CoreId, call: u64, result: QueryResult) {
        let part = AnswerPart::Found(Box::new(result));
        if to == self.core() {
            self.answered(call, part);
        } else {
            self.post_free(to, Body::Answer { call, part });
        }
    }
}

/// What a task asks. What it has queued is written or posted by the next turn, which the task is to make.
impl Host {
    /// The same as the apps' push; `all` is everybody.
    pub fn push(
        &mut self,
        reach: Reach,
        uid: &str,
        message: Message<'_>,
        wish: Wish,
    ) -> Promise<Delivered> {
        let promise = Promise::default();
        let caller = Caller::Push(promise.clone());
        self.local.push(reach, caller, uid, message, wish);
        self.settle();
        promise
    }

    /// The cores that what tasks send to a uid or to all passes, and whether it goes to this one by its mailbox.
    #[cfg(all(test, not(loom)))]
    pub fn path_of_tasks(&mut self) -> (super::order::Path, bool) {
        let path = self.local.path_of(Some(ConnId::NOBODY));
        (path, self.local.goes_by_mail(Some(ConnId::NOBODY)))
    }

    /// To everybody in a group.
    pub fn push_to_group(
        &mut self,
        reach: Reach,
        group: &str,
        message: Message<'_>,
        wish: Wish,
    ) -> Promise<Delivered> {
        let promise = Promise::default();
        let caller = Caller::Push(promise.clone());
        self.local
            .push_to_group(reach, caller, group, message, wish);
        self.settle();
        promise
    }

    /// To everybody within reach.
    pub fn broadcast(
        &mut self,
        reach: Reach,
        message: Message<'_>,
        wish: Wish,
    ) -> Promise<Delivered> {
        self.push(reach, EVERYBODY, message, wish)
    }

    /// Whether a message to a uid may be kept, so that it is asked for where it stands.
    pub fn may_keep(&self, wish: Wish) -> bool {
        self.local.may_keep(wish)
    }

    /// Closes the uid's connections.
    pub fn kick(&mut self, reach: Reach, uid: &str) -> Promise<Answer> {
        let promise = Promise::default();
        self.local.kick(reach, Caller::Task(promise.clone()), uid);
        self.settle();
        promise
    }

    /// A sender of its own, for a request.
    pub fn new_speaker(&mut self) -> ConnId {
        self.local.ways.new_speaker()
    }

    /// From now on this request asks; or, with [`ConnId::NOBODY`], none does.
    pub fn set_speaker(&mut self, speaker: ConnId) {
        self.local.ways.set_speaker(speaker);
    }

    /// The counters of every core.
    pub fn stats(&mut self) -> Promise<Answer> {
        let promise = Promise::default();
        self.local.stats(Caller::Task(promise.clone()));
        promise
    }

    /// How many cores there are to ask.
    pub fn cores(&mut self) -> usize {
        self.local.bus.cores()
    }

    /// How many name spaces the server has; each number is less.
    pub fn spaces(&self) -> u32 {
        self.local.namespaces.spaces()
    }

    /// The core that has what is called so: a uid's connections, what is known of an id.
    pub fn home(&mut self, name: &str) -> CoreId {
        self.local.bus.home(name)
    }

    /// Asks one core.
    pub fn query(&mut self, core: CoreId, what: Query) -> Promise<Vec<QueryResult>> {
        let promise = Promise::default();
        self.local.query(Caller::Query(promise.clone()), core, what);
        self.settle();
        promise
    }

    /// Asks every core; the results come in no order.
    pub fn query_all(&mut self, what: impl Fn() -> Query) -> Promise<Vec<QueryResult>> {
        let promise = Promise::default();
        let caller = Caller::Query(promise.clone());
        let cores = self.local.bus.cores();
        let is_push = what().is_push();
        let call = self.local.pending.open(caller, cores, None, is_push);
        let own = self.local.core();
        for core in self.local.other_cores().chain([own]) {
            self.local.query_as(call, core, what());
        }
        self.settle();
        promise
    }
}

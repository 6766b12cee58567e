//! What a task of a core (an HTTP request) asks of one core or of all, through [`Host`]; it gets a [`Promise`].

use super::host::Host;
use super::outcome::{Answer, Delivered};
use super::pending::Caller;
use super::promise::Promise;
use super::query::{Query, QueryResult};
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach};
use crate::payload::Message;
use crate::streams::Wish;

/// What a task asks. What it has queued is written or posted by the next turn, which the task is to make.
impl Host {
    /// Pushes to a uid, as an app does; `all` is everybody.
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

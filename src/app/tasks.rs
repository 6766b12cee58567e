//! What a task of a core (an HTTP request) asks of one core or of all: [`TaskCalls`], lent by [`Host`]. It gets a [`Promise`].

use super::bulk::Exceptions;
use super::host::Host;
use super::idempotency::Digest;
use super::outcome::{Answer, Delivered};
use super::pending::Caller;
use super::promise::Promise;
use super::query::{MembershipChange, Query, QueryResult};
use super::sticky_order::StickyStep;
use super::to_connection::Order;
use crate::ident::{ConnId, ConnName, CoreId, NamespaceId, Reach};
use crate::payload::Message;
use crate::protocol::cluster::{NodeId, NodeLook};
use crate::protocol::partitions::Topic;
use crate::shard::{Farewell, TapId, TapPush};
use crate::streams::{Kind, Wish};

/// What a task asks. What it has queued is written or posted by the next turn, which the task is to make.
pub struct TaskCalls<'h>(&'h mut Host);

impl Host {
    /// For a task that sends nothing, or whose messages are in one order with those of all other tasks.
    pub fn tasks(&mut self) -> TaskCalls<'_> {
        TaskCalls(self)
    }

    /// For a request that is a [sender of its own](TaskCalls::new_speaker), as long as this is held.
    pub fn tasks_of(&mut self, speaker: ConnId) -> TaskCalls<'_> {
        self.local.outgoing.set_speaker(speaker);
        TaskCalls(self)
    }
}

impl Drop for TaskCalls<'_> {
    fn drop(&mut self) {
        self.0.local.outgoing.set_speaker(ConnId::NOBODY);
        self.0.local.claims.carried = None;
    }
}

impl TaskCalls<'_> {
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
        self.0.local.push(reach, caller, uid, message, wish);
        self.0.settle();
        promise
    }

    /// Pushes to one connection.
    pub fn push_to_connection(
        &mut self,
        reach: Reach,
        name: ConnName,
        message: Message<'_>,
    ) -> Promise<Delivered> {
        let promise = Promise::default();
        let caller = Caller::Push(promise.clone());
        self.0
            .local
            .push_to_connection(reach, caller, name, message);
        self.0.settle();
        promise
    }

    /// The cores that what tasks send to a uid or to all passes, and whether it goes to this one by its mailbox.
    #[cfg(all(test, not(loom)))]
    pub fn path(&mut self) -> (super::order::Path, bool) {
        let path = self.0.local.outgoing.path_of(Some(ConnId::NOBODY));
        (
            path,
            self.0.local.outgoing.goes_by_mail(Some(ConnId::NOBODY)),
        )
    }

    /// To everybody in a group.
    pub fn push_to_group(
        &mut self,
        reach: Reach,
        group: &str,
        message: Message<'_>,
        wish: (Wish, Exceptions),
    ) -> Promise<Delivered> {
        let promise = Promise::default();
        let caller = Caller::Push(promise.clone());
        self.0
            .local
            .push_to_group(reach, caller, group, message, wish);
        self.0.settle();
        promise
    }

    /// To everybody within reach.
    pub fn broadcast(
        &mut self,
        reach: Reach,
        message: Message<'_>,
        wish: (Wish, Exceptions),
    ) -> Promise<Delivered> {
        let promise = Promise::default();
        let caller = Caller::Push(promise.clone());
        self.0.local.push_to_everybody(reach, caller, message, wish);
        self.0.settle();
        promise
    }

    /// What is pushed by this is kept once for this id.
    pub fn carry(&mut self, id: Option<Digest>) {
        self.0.local.claims.carried = id;
    }

    /// Whether Redis keeps such a message wherever in the reach somebody can have it.
    pub fn is_kept_abroad(&self, reach: Reach, kind: Kind, name: &str, wish: Wish) -> bool {
        let local = &self.0.local;
        if !local.has_engine() {
            return false;
        }
        let is_nobodys = |rest: Reach| {
            let mut rest = rest.namespaces();
            let has_none = |namespace| {
                local.namespaces.is_apps(namespace) && !local.streams.has_uids(namespace)
            };
            kind == Kind::Uid && rest.all(has_none)
        };
        let kept = local.kept_abroad(reach, kind, name, wish);
        kept.is_some_and(|kept| kept.rest.is_none_or(is_nobodys))
    }

    /// Whether a message to a uid may be kept, so that it is asked for where it stands.
    pub fn may_keep(&self, wish: Wish) -> bool {
        self.0.local.may_keep(wish)
    }

    /// Closes the uid's connections.
    pub fn kick(
        &mut self,
        reach: Reach,
        uid: &str,
        last: Option<Box<Farewell>>,
    ) -> Promise<Answer> {
        let promise = Promise::default();
        let caller = Caller::Task(promise.clone());
        self.0.local.kick(reach, caller, uid, last);
        self.0.settle();
        promise
    }

    /// Closes one connection.
    pub fn kick_connection(
        &mut self,
        reach: Reach,
        name: ConnName,
        last: Option<Box<Farewell>>,
    ) -> Promise<Answer> {
        let promise = Promise::default();
        let caller = Caller::Task(promise.clone());
        self.0.local.kick_connection(reach, caller, name, last);
        self.0.settle();
        promise
    }

    /// Has something done with one connection.
    pub fn order(
        &mut self,
        reach: Reach,
        name: ConnName,
        order: Order,
    ) -> Promise<Vec<QueryResult>> {
        let promise = Promise::default();
        let caller = Caller::Query(promise.clone());
        self.0.local.order(reach, caller, name, order, 0);
        self.0.settle();
        promise
    }

    /// Whether a connection of this name is of this node of a cluster, if it is there.
    pub fn is_of_this_node(&self, name: ConnName) -> bool {
        self.0.local.shard.connections.is_of_this_node(name)
    }

    /// A sender of its own, for a request.
    pub fn new_speaker(&mut self) -> ConnId {
        self.0.local.outgoing.new_speaker()
    }

    /// Has a uid's connections enter a group, or leave it.
    pub fn change_membership(
        &mut self,
        change: Box<MembershipChange>,
        joins: bool,
    ) -> Promise<Vec<QueryResult>> {
        let promise = Promise::default();
        let caller = Caller::Query(promise.clone());
        self.0.local.change_membership(caller, change, joins);
        self.0.settle();
        promise
    }

    /// Whether this node is one of a cluster.
    pub fn is_in_cluster(&self) -> bool {
        self.0.local.has_engine()
    }

    /// The nodes of the cluster, if this is one.
    pub fn cluster_nodes(&mut self) -> Option<Promise<Vec<QueryResult>>> {
        if !self.is_in_cluster() {
            return None;
        }
        let promise = Promise::default();
        self.0.local.ask_for_nodes(Caller::Query(promise.clone()));
        self.0.settle();
        Some(promise)
    }

    /// What a node of the cluster, or all others, have, if this is one.
    pub fn cluster_look(
        &mut self,
        reach: Reach,
        look: NodeLook,
        node: Option<NodeId>,
    ) -> Option<Promise<Vec<QueryResult>>> {
        if !self.is_in_cluster() {
            return None;
        }
        let promise = Promise::default();
        let caller = Caller::Query(promise.clone());
        self.0.local.ask_for_look(caller, reach, look, node);
        self.0.settle();
        Some(promise)
    }

    /// Has the Redis of a cluster do a step about members that need no connection.
    pub fn sticky(
        &mut self,
        namespace: NamespaceId,
        what: StickyStep,
    ) -> Promise<Vec<QueryResult>> {
        let promise = Promise::default();
        let caller = Caller::Query(promise.clone());
        self.0.local.ask_sticky(caller, namespace, what);
        promise
    }

    /// How many partitions a cluster has, as far as Redis is known.
    pub fn partitions(&self) -> u16 {
        self.0.local.mirrors.partition(Topic::All).of
    }

    /// How many connections the uid has, on all nodes.
    pub fn online(&mut self, reach: Reach, uid: &str) -> Promise<Delivered> {
        let promise = Promise::default();
        let caller = Caller::Push(promise.clone());
        self.0.local.online(reach, caller, uid);
        self.0.settle();
        promise
    }

    /// Whether somebody looks at what happens on this core.
    pub fn is_tapped(&self) -> bool {
        self.0.local.shard.is_tapped()
    }

    /// Shows what this task has pushed.
    pub fn tap_push(&mut self, reach: Reach, push: TapPush) {
        self.0.local.tap_push(reach, push);
    }

    /// A name for one who looks at what happens ([`Query::Tap`]).
    pub fn new_tap(&mut self) -> TapId {
        (self.0.local.core(), self.0.local.pending.number())
    }

    /// The counters of every core.
    pub fn stats(&mut self) -> Promise<Answer> {
        let promise = Promise::default();
        self.0.local.stats(Caller::Task(promise.clone()));
        promise
    }

    /// How many cores there are to ask.
    pub fn cores(&self) -> usize {
        self.0.local.outgoing.cores()
    }

    /// How many namespaces the server has; each number is less.
    pub fn namespaces(&self) -> u32 {
        self.0.local.namespaces.count()
    }

    /// The core that has what is called so: a uid's connections, what is known of an id.
    pub fn home(&self, name: &str) -> CoreId {
        self.0.local.outgoing.home(name)
    }

    /// Asks one core.
    pub fn query(&mut self, core: CoreId, what: Query) -> Promise<Vec<QueryResult>> {
        let promise = Promise::default();
        self.0
            .local
            .query(Caller::Query(promise.clone()), core, what);
        self.0.settle();
        promise
    }

    /// Asks every core; the results come in no order.
    pub fn query_all(&mut self, what: impl Fn() -> Query) -> Promise<Vec<QueryResult>> {
        let promise = Promise::default();
        let caller = Caller::Query(promise.clone());
        let cores = self.0.local.outgoing.cores();
        let is_push = what().is_push();
        let call = self.0.local.pending.open(caller, cores, None, is_push);
        let own = self.0.local.core();
        for core in self.0.local.other_cores().chain([own]) {
            self.0.local.query_as(call, core, what());
        }
        self.0.settle();
        promise
    }
}

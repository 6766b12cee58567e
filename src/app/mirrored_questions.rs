//! What is asked of a stream's home that may not be here yet: steps of those who follow it, and what tasks want of it.

use super::abroad_streams::StreamOrder;
use super::follow_step::{FollowStep, FollowedStream, topic};
use super::local::Local;
use super::mirrors::Waiting;
use super::query::{HistoryQuery, QueryResult};
use crate::ident::{CoreId, Reach};
use crate::streams::Kind;

impl Local {
    /// A step of a connection that follows a stream: where it stands, and what is missing, is known when it is mirrored.
    pub(super) fn follow_mirrored(&mut self, from: CoreId, step: FollowStep, of: FollowedStream) {
        let waiting = Waiting::Step(from, Box::new(step));
        if let Some(Waiting::Step(from, step)) = self.when_mirrored(&of, waiting) {
            self.follow_here(from, *step);
        }
    }

    /// A page of a stream, when it is mirrored.
    pub(super) fn read_mirrored(&mut self, from: CoreId, call: u64, query: HistoryQuery) {
        let namespace = self
            .streams
            .first_namespace(query.reach, query.kind, &query.name);
        let Some(namespace) = namespace else {
            return self.answer_history(from, call, &query);
        };
        let of = FollowedStream {
            namespace,
            kind: query.kind,
            name: query.name.clone(),
        };
        let waiting = Waiting::History(from, call, Box::new(query));
        if let Some(Waiting::History(from, call, query)) = self.when_mirrored(&of, waiting) {
            self.answer_history(from, call, &query);
        }
    }

    pub(super) fn answer_history(&mut self, from: CoreId, call: u64, query: &HistoryQuery) {
        let topic = topic(query.kind, &query.name);
        let result = match self.mirrors.is_joined(topic) {
            true => QueryResult::History(self.read_history(query)),
            false => QueryResult::away(),
        };
        self.reply(from, call, result);
    }

    /// Throws away what a stream has, on all nodes.
    pub(super) fn forget_abroad(
        &mut self,
        (from, call): (CoreId, u64),
        reach: Reach,
        kind: Kind,
        name: &str,
    ) {
        if !self.mirrors.is_joined(topic(kind, name)) {
            return self.reply(from, call, QueryResult::away());
        }
        let namespaces = reach.namespaces();
        let held = namespaces.filter(|namespace| self.streams.may_hold(*namespace));
        let of: Vec<FollowedStream> = held
            .map(|namespace| FollowedStream {
                namespace,
                kind,
                name: Box::from(name),
            })
            .collect();
        match of.is_empty() {
            true => self.reply(from, call, QueryResult::Reached(0)),
            false => {
                let asked_by = (from, call);
                self.order_of_streams(StreamOrder::Forget { of, asked_by });
            }
        }
    }
}

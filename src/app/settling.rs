//! What callbacks cause is done: [`Effect`]s in their order, and the ends of connections, until nothing is left.

use super::effect::{Effect, JoinOutcome};
use super::host::Host;
use super::local::Local;
use super::outcome::{BindError, ending};
use super::query::ConnectionAnswer;
use super::transfer::Departure;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::shard::{Ended, Phase};

impl Host {
    /// Binds at home and tells the app; one that is kept out is closed.
    pub(super) fn bind(&mut self, id: ConnId, uid: &str) {
        let comes_back = self.local.comes_back(id, uid);
        match self.local.has_engine() {
            true => self.bind_in_cluster(id, uid, comes_back),
            false => self.bind_here(id, uid, comes_back),
        }
    }

    /// As [`Host::bind`], whatever other nodes have.
    pub(super) fn bind_here(&mut self, id: ConnId, uid: &str, comes_back: bool) {
        if self.local.bind_at_home(id, uid, comes_back) {
            self.local.settle_joins(id);
            self.local.begin_to_follow(id);
            self.local.answer_bind(id, || ConnectionAnswer::Bound);
            if let Some((app, session)) = self.session_of(id) {
                self.apps[app].bound(&mut self.local, id, session, Ok(()));
            }
        } else {
            self.local.answer_bind(id, || ConnectionAnswer::InUse);
            self.refuse(id, BindError::InUse);
        }
    }

    #[cold]
    pub(super) fn refuse(&mut self, id: ConnId, error: BindError) {
        if let Some((app, session)) = self.session_of(id) {
            self.apps[app].bound(&mut self.local, id, session, Err(error));
        }
        let reason = match error {
            BindError::InUse => CloseReason::UidInUse,
            BindError::Uid(_) => CloseReason::BadLogin,
            BindError::Unproved(error) => ending(error),
            // It has a uid; asking again is the app's mistake and changes nothing.
            BindError::Twice => return,
        };
        let peer = self.local.shard.connections.peer(id);
        self.refusals.tell(id, peer, &error);
        self.local.shard.close(id, reason);
    }

    /// Makes the callbacks that the last one has caused, until none is due.
    #[inline]
    pub fn settle(&mut self) {
        let Local { effects, shard, .. } = &self.local;
        if !effects.is_empty() || shard.endings.has_ended() || shard.groups.has_interests() {
            self.settle_all();
        }
    }

    #[inline(never)]
    fn settle_all(&mut self) {
        loop {
            if let Some(effect) = self.local.effects.pop() {
                self.apply(effect);
            } else if let Some(ended) = self.local.shard.endings.next_ended() {
                self.local.withdraw(ended.connection);
                self.local.forget_replies(ended.connection);
                self.local
                    .answer_bind(ended.connection, || ConnectionAnswer::None);
                let Ended {
                    connection,
                    app,
                    session,
                    reason,
                } = ended;
                if matches!(reason, CloseReason::BadLogin | CloseReason::UidInUse) {
                    let peer = self.local.shard.connections.peer(connection);
                    self.refusals.ended(connection, peer, reason);
                }
                self.apps[usize::from(app)].close(&mut self.local, connection, session, reason);
            } else {
                self.local.post_interests();
                return;
            }
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Bind { connection, uid } => self.go_home(connection, uid),
            Effect::BindAsked { asked, abroad } => self.bind_as_answered(*asked, abroad),
            Effect::Refuse { connection, error } => self.refuse(connection, error),
            Effect::Answer {
                app,
                asked_by,
                ticket,
                answer,
            } => self.apps[usize::from(app)].answer(&mut self.local, asked_by, ticket, answer),
            Effect::Offline { connection, uid } => {
                if let Some((app, session)) = self.session_of(connection) {
                    self.apps[app].offline(&mut self.local, connection, session, &uid);
                }
            }
            Effect::Joined { connection, joined } => {
                let JoinOutcome { group, result } = *joined;
                let is_true = result.is_err() || self.local.shard.is_in(connection, &group);
                if is_true && let Some((app, session)) = self.session_of(connection) {
                    let app = &mut self.apps[app];
                    app.joined(&mut self.local, connection, session, &group, result);
                }
            }
            Effect::Note { app, from, note } => {
                self.apps[usize::from(app)].note(&mut self.local, from, note);
            }
            Effect::Members { app, told } => {
                self.apps[usize::from(app)].members(&mut self.local, &told.group, &told.names);
            }
        }
    }

    /// Binds a connection here, or has it move to its uid's home.
    fn go_home(&mut self, connection: ConnId, uid: Box<str>) {
        let home = self.local.outgoing.home(&uid);
        let departure = Departure {
            connection,
            home,
            uid,
        };
        match self.local.shard.connections.phase(connection) {
            Phase::Open if home == self.core() => self.bind(connection, &departure.uid),
            Phase::Open => {
                self.local.shard.connections.set_leaving(connection);
                self.local.departures.push(departure);
            }
            Phase::Home => {
                let shard = &mut self.local.shard;
                if shard.connections.uid(connection) != Some(&*departure.uid) {
                    shard.follow_another_uid(connection);
                    shard.unbind(connection);
                }
                match home == self.core() {
                    true => self.bind(connection, &departure.uid),
                    false => self.local.announce(departure),
                }
            }
            _ => {}
        }
    }
}

//! What a callback has caused on its own core and is not done yet: [`Effects`], a queue of [`Effect`].
//!
//! What would call an app back waits here, so that callbacks never nest. And where one of them is a note,
//! what the callback does after it waits behind it, as it would on the way to another core.
//! Empty between turns: [`Host::settle`] takes from it until nothing is left.

use std::collections::VecDeque;

use super::envelope::Body;
use super::host::Host;
use super::local::Leaving;
use super::{Answer, AnyNote, BindError};
use crate::close::CloseReason;
use crate::ident::{ConnId, CoreId, Ticket};
use crate::payload::Payload;
use crate::shard::{Ended, Phase};

/// A callback that is due, or what is done in its order.
pub enum Effect {
    Bind {
        connection: ConnId,
        uid: Box<str>,
    },
    Refuse {
        connection: ConnId,
        error: BindError,
    },
    Answer {
        app: u8,
        ticket: Ticket,
        answer: Answer,
    },
    Offline {
        connection: ConnId,
        uid: Box<str>,
    },
    Note {
        app: u8,
        from: CoreId,
        note: AnyNote,
    },
    /// A delivery on this core that must not overtake the note before it, and so for what follows.
    Deliver(Body),
    Send {
        connection: ConnId,
        payload: Payload,
    },
    Close {
        connection: ConnId,
        reason: CloseReason,
    },
    Join {
        connection: ConnId,
        group: Box<str>,
    },
    Leave {
        connection: ConnId,
        group: Box<str>,
    },
}

impl Effect {
    /// Whether what a callback does after it has to wait for it. A callback that is due has no order to
    /// what the present one sends; but a note is on the way like a message.
    fn is_in_order(&self) -> bool {
        match self {
            Effect::Note { .. }
            | Effect::Deliver(_)
            | Effect::Send { .. }
            | Effect::Close { .. }
            | Effect::Join { .. }
            | Effect::Leave { .. } => true,
            Effect::Bind { .. }
            | Effect::Refuse { .. }
            | Effect::Answer { .. }
            | Effect::Offline { .. } => false,
        }
    }
}

#[derive(Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
    /// How many of them what follows must not overtake.
    in_order: usize,
}

impl Effects {
    /// Whether what is done now has to wait for what was done before.
    pub fn must_wait(&self) -> bool {
        self.in_order > 0
    }

    pub fn add(&mut self, effect: Effect) {
        self.in_order += usize::from(effect.is_in_order());
        self.queue.push_back(effect);
    }

    pub fn next(&mut self) -> Option<Effect> {
        let effect = self.queue.pop_front()?;
        self.in_order -= usize::from(effect.is_in_order());
        Some(effect)
    }

    /// Takes out what waits while a callback runs that comes before it: what that one does is done first,
    /// as on a core that an envelope has come to.
    pub fn set_aside(&mut self) -> Effects {
        match self.must_wait() {
            true => std::mem::take(self),
            false => Effects::default(),
        }
    }

    pub fn put_back(&mut self, mut aside: Effects) {
        self.in_order += aside.in_order;
        self.queue.append(&mut aside.queue);
    }
}

impl Host {
    /// Makes the callbacks that the last one has caused, until none is due.
    pub fn settle(&mut self) {
        loop {
            if let Some(effect) = self.local.effects.next() {
                let aside = self.local.effects.set_aside();
                self.apply(effect);
                self.local.effects.put_back(aside);
            } else if let Some(ended) = self.local.shard.next_ended() {
                let Ended {
                    connection,
                    app,
                    session,
                    reason,
                } = ended;
                self.apps[usize::from(app)].close(&mut self.local, connection, session, reason);
            } else {
                return;
            }
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Bind { connection, uid } => {
                if self.local.shard.phase(connection) != Phase::Open {
                    return;
                }
                // Asked here, for places may be reserved after the bind in one callback.
                if self.local.shard.has_open_replies(connection) {
                    return self.refuse(connection, BindError::RepliesOpen);
                }
                let home = self.local.bus.home(&uid);
                if home == self.core() {
                    self.bind(connection, &uid);
                } else {
                    self.local.shard.set_leaving(connection);
                    self.local.leaving.push_back(Leaving {
                        connection,
                        home,
                        uid,
                    });
                }
            }
            Effect::Refuse { connection, error } => self.refuse(connection, error),
            Effect::Answer {
                app,
                ticket,
                answer,
            } => self.apps[usize::from(app)].answer(&mut self.local, ticket, answer),
            Effect::Offline { connection, uid } => {
                if let Some((app, session)) = self.session_of(connection) {
                    self.apps[app].offline(&mut self.local, connection, session, &uid);
                }
            }
            Effect::Note { app, from, note } => {
                self.apps[usize::from(app)].note(&mut self.local, from, note);
            }
            Effect::Deliver(body) => self.deliver(body),
            Effect::Send {
                connection,
                payload,
            } => {
                self.local.shard.send(connection, payload.message());
            }
            Effect::Close { connection, reason } => self.local.shard.close(connection, reason),
            Effect::Join { connection, group } => self.local.shard.join(connection, &group),
            Effect::Leave { connection, group } => self.local.shard.leave(connection, &group),
        }
    }
}

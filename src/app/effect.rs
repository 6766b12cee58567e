//! What a callback has caused on its own core and is not done yet: [`Effects`], a queue of [`Effect`].
//!
//! What would call an app back waits here, so that callbacks never nest. And where one of them is a note,
//! what the callback does after it waits behind it, as it would on the way to another core.
//! Empty between turns: the host takes from it until nothing is left.

use std::collections::VecDeque;

use super::envelope::Body;
use super::{Answer, AnyNote, BindError};
use crate::close::CloseReason;
use crate::ident::{ConnId, CoreId, Ticket};
use crate::payload::Payload;

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

//! The callbacks that are due on a core: [`Effect`], in the order in which they were caused.
//!
//! They wait in a queue so that callbacks never nest. What a callback sends does not wait: were some sends
//! behind a callback that is due, others of the same callback would overtake them. Empty between
//! turns: the host takes from it until nothing is left.

use super::JoinError;
use super::asked_bind::AskedBind;
use super::note::AnyNote;
use super::outcome::{Abroad, Answer, BindError};
use crate::ident::{ConnId, CoreId, Ticket};

/// A callback that is due.
pub enum Effect {
    Bind {
        connection: ConnId,
        uid: Box<str>,
    },
    /// Other nodes have said whether its uid is free.
    BindAsked {
        asked: Box<AskedBind>,
        abroad: Abroad,
    },
    Refuse {
        connection: ConnId,
        error: BindError,
    },
    Answer {
        app: u8,
        /// Whose callback asked, if it was about a connection.
        asked_by: Option<ConnId>,
        ticket: Ticket,
        answer: Answer,
    },
    Offline {
        connection: ConnId,
        uid: Box<str>,
    },
    /// It has joined a group, or could not.
    Joined {
        connection: ConnId,
        joined: Box<JoinOutcome>,
    },
    Note {
        app: u8,
        from: CoreId,
        note: AnyNote,
    },
    /// Who is in a group on other nodes has changed.
    Members {
        app: u8,
        told: Box<MembersElsewhere>,
    },
}

/// Who is in a group on other nodes.
pub struct MembersElsewhere {
    pub group: Box<str>,
    pub names: Vec<Box<str>>,
}

/// What has come of a join.
pub struct JoinOutcome {
    pub group: Box<str>,
    pub result: Result<(), JoinError>,
}

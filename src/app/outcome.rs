//! What has come of what was asked: an [`Answer`], a bind that was refused, a message that was delivered.

use std::fmt;

use super::presence::MemberPage;
use crate::auth::CredentialError;
use crate::close::CloseReason;
use crate::ident::UidError;
use crate::streams::Position;

/// What a request found.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// To a push: in how many live connections' outboxes the message was queued; or 1 if there was none, and it waits for the
    /// uid's next login (a rule with `offline = "queue"`). To a kick: how
    /// many connections were closed. To `online`: how many the uid has.
    Reached(u32),
    /// To `stats`: the counters of every core.
    Stats(Box<crate::stats::Stats>),
    /// To `members`.
    Members(Box<MemberPage>),
}

impl Answer {
    /// Whether at least one connection was reached.
    pub fn is_ok(&self) -> bool {
        !matches!(self, Answer::Reached(0))
    }
}

/// Why a connection could not be bound to a uid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The string is no uid.
    Uid(UidError),
    /// The policy or `connections_per_uid_max` keeps the newcomer out.
    InUse,
    /// The connection has not proved that it is that uid, and has to.
    Unproved(CredentialError),
    /// A bind of the connection's is under way. Or it never binds ([`Login::Never`](crate::app::Login::Never)).
    Twice,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Uid(error) => error.fmt(f),
            BindError::Unproved(error) => error.fmt(f),
            BindError::InUse => f.write_str("the uid is in use"),
            BindError::Twice => f.write_str("this connection is being bound already, or never is"),
        }
    }
}

impl std::error::Error for BindError {}

/// How a connection ends that has shown no proof, or a bad one.
pub fn ending(error: CredentialError) -> CloseReason {
    match error {
        CredentialError::Expired => CloseReason::Expired,
        _ => CloseReason::BadLogin,
    }
}

/// What has become of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delivered {
    /// How many connections it has reached.
    pub reached: u32,
    /// Where it stands in its stream, if it is kept.
    pub position: Option<Position>,
    /// It has reached none, and is delivered when the uid's next one comes.
    pub waits: bool,
}

impl Delivered {
    /// One that nothing keeps.
    #[inline]
    pub fn to(reached: u32) -> Delivered {
        Delivered {
            reached,
            ..Delivered::default()
        }
    }

    /// As an [`Answer`] tells it.
    pub(super) fn told(&self) -> u32 {
        self.reached.max(u32::from(self.waits))
    }

    /// Nobody was there, and whoever comes has it.
    pub(super) fn is_kept(&self) -> bool {
        self.reached == 0 && (self.waits || self.position.is_some())
    }
}

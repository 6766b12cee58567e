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
    /// To the same, in a cluster: this node has reached none, nor has any that has answered, and these have not.
    Unknown(Unknown),
    /// To `stats`: the counters of every core.
    Stats(Box<crate::stats::Stats>),
    /// To `members`.
    Members(Box<MemberPage>),
}

impl Answer {
    /// Whether at least one connection was reached.
    pub fn is_ok(&self) -> bool {
        !matches!(self, Answer::Reached(0) | Answer::Unknown(_))
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
    /// The nodes of the cluster that have not said whether it has reached some there.
    pub unknown: Unknown,
}

/// Nodes of a cluster that have not said what has become of something within the time that they have
/// ([`Cluster::answer_timeout`](crate::config::Cluster)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unknown(u32);

impl Unknown {
    /// Set where Redis cannot be asked, so that nobody knows how many they are.
    const AWAY: u32 = 1 << 31;
    /// Set where Redis does not do what it was asked.
    const REFUSED: u32 = 1 << 30;

    /// So many.
    pub(crate) const fn nodes_silent(count: u32) -> Unknown {
        Unknown(match count < Unknown::REFUSED {
            true => count,
            false => Unknown::REFUSED - 1,
        })
    }

    /// Redis was away.
    pub(crate) const fn away() -> Unknown {
        Unknown(Unknown::AWAY)
    }

    /// Redis has refused it.
    pub(crate) const fn refused() -> Unknown {
        Unknown(Unknown::REFUSED)
    }

    /// Whether there are any.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// How many there are; where Redis was away, 1: how many that stands for nobody knows.
    pub const fn nodes(self) -> u32 {
        match self.0 < Unknown::REFUSED {
            true => self.0,
            false => 1,
        }
    }

    /// Whether Redis could not be asked.
    pub const fn is_away(self) -> bool {
        self.0 & Unknown::AWAY != 0
    }

    pub(crate) fn add(&mut self, other: Unknown) {
        let is_refused = (self.0 | other.0) & Unknown::REFUSED != 0;
        *self = match self.is_away() || other.is_away() {
            true => Unknown::away(),
            false if is_refused => Unknown::refused(),
            false => Unknown::nodes_silent(self.0.saturating_add(other.0)),
        };
    }
}

/// Why it is not known.
impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_away(), self.0) {
            (true, _) => f.write_str("the cluster's Redis is away"),
            (false, Unknown::REFUSED) => f.write_str("the cluster's Redis refuses it"),
            (false, 1) => f.write_str("1 node has not answered"),
            (false, count) => write!(f, "{count} nodes have not answered"),
        }
    }
}

/// What other nodes have done of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Abroad {
    /// Connections.
    pub reached: u32,
    /// Those that could not join.
    pub refused: u32,
    pub unknown: Unknown,
}

impl Abroad {
    /// So many connections, of all that there are.
    pub fn to(reached: u32) -> Abroad {
        Abroad {
            reached,
            ..Abroad::default()
        }
    }

    /// And what another node has done, which may say anything.
    pub fn add(&mut self, other: Abroad) {
        self.reached = self.reached.saturating_add(other.reached);
        self.refused = self.refused.saturating_add(other.refused);
        self.unknown.add(other.unknown);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_say_too_much_have_reached_somebody() {
        let mut all = Abroad::to(u32::MAX);
        all.add(Abroad {
            reached: 1,
            refused: 1,
            unknown: Unknown::nodes_silent(1),
        });
        all.add(Abroad {
            refused: u32::MAX,
            ..Abroad::default()
        });
        assert_eq!((all.reached, all.refused), (u32::MAX, u32::MAX));
        assert_eq!(all.unknown.nodes(), 1);
    }
}

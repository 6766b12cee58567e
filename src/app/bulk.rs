//! Messages for many, as they go between cores: to everybody, [`ToAll`], and to a group, [`ToGroup`]; each with the number
//! that it has on the core that sends it out, [`Bulk`].

use std::sync::Arc;

use crate::ident::{ConnName, CoreId, EVERYBODY, Reach};
use crate::payload::Payload;
use crate::shard::{Mark, Marked};
use crate::streams::{Kind, Wish};

/// A message for many by the core that sent it out, and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bulk(u64);

impl Bulk {
    /// One word for both: a core would be busy for years with so many.
    pub(super) fn new(by: CoreId, number: u64) -> Bulk {
        debug_assert!(number < 1 << 48);
        Bulk(number << 16 | u64::from(by.0))
    }

    pub(super) fn by(self) -> usize {
        usize::from(self.0 as u16)
    }

    pub(super) fn number(self) -> u64 {
        self.0 >> 16
    }
}

/// Whom a message for many is not for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Except {
    pub uids: Box<[Box<str>]>,
    pub connections: Box<[ConnName]>,
}

impl Except {
    /// Each in words, with what it is.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let uids = self.uids.iter().map(|uid| format!("except uid {uid}"));
        let connections = self.connections.iter();
        uids.chain(connections.map(|name| format!("except connection {name}")))
    }
}

/// If there are some. It goes to every core that the message goes to.
pub type Exceptions = Option<Arc<Except>>;

/// What is sent to everybody, and how.
pub struct ForAll {
    pub payload: Payload,
    pub wish: Wish,
    pub except: Exceptions,
}

/// A message for everybody, as it goes to each core.
pub struct ToAll {
    pub bulk: Bulk,
    pub reach: Reach,
    /// Where it stands in everybody's stream: then it is of one namespace.
    pub mark: Option<Mark>,
    pub except: Exceptions,
    pub payload: Payload,
}

/// One that a core is to send to everybody for another.
pub struct Spread {
    pub reach: Reach,
    pub message: ForAll,
    pub asked: ReplyTo,
}

pub(super) fn marked_for_all(mark: Option<Mark>, payload: &Payload) -> Marked<'_> {
    Marked {
        kind: Kind::All,
        name: EVERYBODY,
        mark,
        payload,
    }
}

/// A message to a group.
pub struct ToGroup {
    pub reach: Reach,
    pub refresh: bool,
    /// It tells who joins and leaves: for those alone whose protocol has a word for it.
    pub presence: bool,
    pub wish: Wish,
    /// Where it stands in its group's stream, if that has anything: then it is of one namespace.
    pub mark: Option<Mark>,
    pub except: Exceptions,
    pub group: Box<str>,
    pub payload: Payload,
}

/// Who asked how many it has reached: the core, and its call's number.
pub type ReplyTo = Option<(CoreId, u64)>;

impl ToGroup {
    pub(super) fn marked(&self) -> Marked<'_> {
        Marked {
            kind: Kind::Group,
            name: &self.group,
            mark: self.mark,
            payload: &self.payload,
        }
    }
}

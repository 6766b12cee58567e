//! One thing that a core leaves: [`CoreRecord`].
//!
//! Written by serde and postcard behind the number of its version, as a connection is ([`crate::migration`]). Nothing in it
//! names a field, so whatever changes in a type that is part of it makes another version.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::WrittenCounters;
use crate::ident::{CoreId, NamespaceId, check_name, check_uid};
use crate::streams::{Position, StreamRecord};

/// The version that is written, and read.
pub const VERSION: u32 = 1;

/// See the module. Behind each variant is who gives it out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CoreRecord {
    /// Of kept messages (`app/kept_streams.rs`).
    Stream(StreamRecord),
    /// A request with an id that was carried out (`app/idempotency.rs`).
    Answer(WrittenAnswer),
    /// How far a client has handled its streams (`app/acknowledged.rs`).
    Handled(WrittenHandled),
    /// A uid's groups that it is in without a connection, too (`shard/stickies.rs`).
    Sticky(WrittenSticky),
    /// Who is known to be in a group (`app/homes.rs`).
    Presence(WrittenPresence),
    /// The last kept message for everybody, which all connections have got (`shard/followers.rs`).
    Everybody(NamespaceId, Position),
    /// The generation of a core's latest connection: those to come are behind it, so that none has a name that another had.
    Generation(u32),
    /// What has been counted.
    Counters(CoreId, WrittenCounters),
    /// So many events of this core have been told by webhooks (`events.rs`).
    Events(CoreId, u64),
    /// What the value of an app has written down.
    App(CoreId, WrittenApp),
}

/// Where a record goes in the new process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordPlace<'r> {
    /// To the home of this name.
    Home(&'r str),
    /// To the core of this number, or of what is left of that by the number of cores.
    Core(CoreId),
    /// To each core.
    Everywhere,
}

/// A request that was carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenAnswer {
    /// The digest of its id, in hexadecimal digits: its home is that of this text.
    pub id: Box<str>,
    /// Of what it asked for.
    pub wanted: [u8; 16],
    pub ago: Duration,
    pub answer: Box<str>,
}

/// How far a client has handled its streams.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenHandled {
    pub namespace: NamespaceId,
    pub uid: Box<str>,
    pub client: Box<str>,
    pub own: Option<Position>,
    pub all: Option<Position>,
    pub groups: Vec<(Box<str>, Position)>,
    /// When it said so.
    pub ago: Duration,
}

/// A uid that is in groups with a connection or without.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenSticky {
    pub namespace: NamespaceId,
    pub uid: Box<str>,
    pub groups: Vec<Box<str>>,
}

/// Members of a group whose members are told of each other: those that the others know of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenPresence {
    pub namespace: NamespaceId,
    pub group: Box<str>,
    pub members: Vec<WrittenMember>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenMember {
    pub name: Box<str>,
    /// For so long it has had no connection.
    pub left: Option<Duration>,
}

/// What an app's value on one core has written down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrittenApp {
    /// The app's type, and which of the server's apps of that type it is.
    pub app: Box<str>,
    pub nth: u16,
    pub bytes: Vec<u8>,
}

/// What numbers of the process before are here; `None` of what is not here.
pub struct Renumbering<'n> {
    pub namespace: &'n dyn Fn(NamespaceId) -> Option<NamespaceId>,
    pub listener: &'n dyn Fn(u16) -> Option<u16>,
}

/// Why bytes are no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadRecord {
    /// They are of this version, and another one is read here.
    Version(u32),
    /// They are damaged, or never were one.
    Damaged(String),
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRecord::Version(version) => write!(
                f,
                "a core's state is written in version {version}, and this server reads version {VERSION}"
            ),
            BadRecord::Damaged(what) => write!(f, "no state of a core was written there: {what}"),
        }
    }
}

impl std::error::Error for BadRecord {}

impl From<postcard::Error> for BadRecord {
    fn from(error: postcard::Error) -> BadRecord {
        BadRecord::Damaged(error.to_string())
    }
}

impl CoreRecord {
    /// Writes it down.
    pub fn write(&self) -> Result<Vec<u8>, BadRecord> {
        Ok(postcard::to_allocvec(&(VERSION, self))?)
    }

    /// Reads it back.
    pub fn read(bytes: &[u8]) -> Result<CoreRecord, BadRecord> {
        let (version, rest) = postcard::take_from_bytes::<u32>(bytes)?;
        if version != VERSION {
            return Err(BadRecord::Version(version));
        }
        let (record, rest) = postcard::take_from_bytes::<CoreRecord>(rest)?;
        if !rest.is_empty() {
            return Err(BadRecord::Damaged("more than one is there".to_owned()));
        }
        let checked = record.check();
        checked.map_err(|what| BadRecord::Damaged(what.to_owned()))?;
        Ok(record)
    }

    /// Whether a core can have given it out. What was written down may be anything.
    pub fn check(&self) -> Result<(), &'static str> {
        let uid = |uid: &str| check_uid(uid).map_err(|_| "a uid that is none");
        match self {
            CoreRecord::Stream(record) => record.check(),
            CoreRecord::Answer(one) => digest_of(&one.id).map(|_| ()).ok_or("an id that is none"),
            CoreRecord::Handled(one) => {
                uid(&one.uid)?;
                check_names(one.groups.iter().map(|(group, _)| group))
            }
            CoreRecord::Sticky(one) => {
                uid(&one.uid)?;
                check_names(one.groups.iter())
            }
            CoreRecord::Presence(one) => {
                check_names(std::iter::once(&one.group))?;
                check_names(one.members.iter().map(|member| &member.name))
            }
            CoreRecord::Everybody(..)
            | CoreRecord::Generation(_)
            | CoreRecord::Counters(..)
            | CoreRecord::Events(..)
            | CoreRecord::App(..) => Ok(()),
        }
    }

    /// Where it goes.
    pub fn place(&self) -> RecordPlace<'_> {
        match self {
            CoreRecord::Stream(record) => match record.of() {
                Some(of) => RecordPlace::Home(&of.name),
                None => RecordPlace::Everywhere,
            },
            CoreRecord::Answer(one) => RecordPlace::Home(&one.id),
            CoreRecord::Handled(one) => RecordPlace::Home(&one.uid),
            CoreRecord::Sticky(one) => RecordPlace::Home(&one.uid),
            CoreRecord::Presence(one) => RecordPlace::Home(&one.group),
            CoreRecord::Everybody(..) | CoreRecord::Generation(_) => RecordPlace::Everywhere,
            CoreRecord::Counters(core, _)
            | CoreRecord::Events(core, _)
            | CoreRecord::App(core, _) => RecordPlace::Core(*core),
        }
    }

    /// Has it go by the numbers that things have here. False if it is of nothing that is here: then it is to be dropped.
    pub fn renumber(&mut self, numbers: &Renumbering<'_>) -> bool {
        let namespace = match self {
            CoreRecord::Stream(record) => record.namespace(),
            CoreRecord::Handled(one) => Some(&mut one.namespace),
            CoreRecord::Sticky(one) => Some(&mut one.namespace),
            CoreRecord::Presence(one) => Some(&mut one.namespace),
            CoreRecord::Everybody(namespace, _) => Some(namespace),
            CoreRecord::Counters(_, counters) => {
                counters.paused.retain_mut(|(listener, ..)| {
                    let here = (numbers.listener)(*listener);
                    *listener = here.unwrap_or(*listener);
                    here.is_some()
                });
                None
            }
            CoreRecord::Answer(_)
            | CoreRecord::Generation(_)
            | CoreRecord::Events(..)
            | CoreRecord::App(..) => None,
        };
        let Some(namespace) = namespace else {
            return true;
        };
        let here = (numbers.namespace)(*namespace);
        *namespace = here.unwrap_or(*namespace);
        here.is_some()
    }

    /// What it is about, for the log: where it has to be dropped, somebody has lost it.
    pub fn what(&self) -> &'static str {
        match self {
            CoreRecord::Stream(_) => "kept messages",
            CoreRecord::Answer(_) => "a request's answer",
            CoreRecord::Handled(_) => "a client's acknowledgements",
            CoreRecord::Sticky(_) => "a sticky member",
            CoreRecord::Presence(_) => "members of a group",
            CoreRecord::Everybody(..) => "everybody's position",
            CoreRecord::Generation(_) => "connections' names",
            CoreRecord::Counters(..) => "counters",
            CoreRecord::Events(..) => "the number of an event",
            CoreRecord::App(..) => "an app's state",
        }
    }
}

fn check_names<'n>(mut names: impl Iterator<Item = &'n Box<str>>) -> Result<(), &'static str> {
    match names.all(|name| check_name(name).is_ok()) {
        true => Ok(()),
        false => Err("a name that is none"),
    }
}

/// The digest that is written in these digits.
pub(super) fn digest_of(digits: &str) -> Option<[u8; 16]> {
    let mut digest = [0; 16];
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = pair.iter().all(is_digit).then_some(pair)?;
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

impl WrittenAnswer {
    /// The digest of its id; of zeros if it has none.
    pub fn digest(&self) -> [u8; 16] {
        digest_of(&self.id).unwrap_or_default()
    }
}

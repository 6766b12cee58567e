//! What the nodes of a cluster tell each other of single connections: what one is ([`ConnectionFacts`]), what is to be done
//! with one ([`ConnectionOrder`]), and what has come of that ([`ConnectionOutcome`]).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::attributes::{Attributes, AttributesError};
use crate::ident::ConnName;

/// What is to be done with one. New kinds are added at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConnectionOrder {
    /// To tell what it is.
    Look,
    /// To have these attributes; or, merged, with those that it has.
    SetAttributes {
        text: Box<str>,
        merges: bool,
    },
    Bind(Box<str>),
    Unbind,
}

/// What has come of it. New kinds are added at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConnectionOutcome {
    /// There is none of that name within reach.
    None,
    Is(Box<ConnectionFacts>),
    /// It has these now.
    Attributes(Option<Attributes>),
    Flawed(AttributesError),
    Bound,
    Unbound,
    /// It may not have the uid, and is closed.
    InUse,
    /// It is being bound, or never is.
    Busy,
}

/// What a connection is, as anybody may know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionFacts {
    pub name: ConnName,
    pub uid: Option<Box<str>>,
    pub attributes: Option<Attributes>,
    /// When it was accepted, in seconds since 1970.
    pub since: u32,
    pub address: SocketAddr,
    /// The app of its listener, and the listener's URL.
    pub listener: Option<(Box<str>, Box<str>)>,
    /// What waits to be written to it.
    pub bytes_waiting: u64,
    /// Whether it is not read for now.
    pub paused: bool,
}

/// Which connections of a node are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConnectionsAsked {
    /// Of this uid alone.
    pub uid: Option<Box<str>>,
    /// Of the listeners of this URL alone.
    pub listener: Option<Box<str>>,
    /// Those without a uid alone.
    pub unbound: bool,
    /// The fullest of those looked at, in place of the first.
    pub by_bytes: bool,
    /// A core, and the place there where this page begins.
    pub core: u16,
    pub from: u32,
    pub most: u32,
    /// The numbers of those listeners on the node that is asked, which fills them in.
    #[serde(skip)]
    pub listeners: Option<Box<[u16]>>,
}

/// Some of a core's connections.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConnectionsTold {
    pub list: Vec<ConnectionFacts>,
    /// How many there are, where that was asked.
    pub count: u32,
    /// Where the core's next one is.
    pub next: Option<u32>,
    /// How many cores the node has.
    pub cores: u16,
}

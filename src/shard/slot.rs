//! One connection as its core's shard keeps it: [`Slot`], and what all connections of one listener share:
//! [`ListenerSpec`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::exchange::Exchange;
use super::members::Membership;
use super::outbox::Outbox;
use super::replies::Replies;
use super::uids::NO_SLOT;
use super::wheel::Tick;
use crate::close::CloseReason;
use crate::ident::{ConnId, Space};
use crate::protocol::Codec;
use crate::protocol::websocket::extension::Window;

/// What all connections of one listener share.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// The app's number on every core.
    pub app: u8,
    pub codec: Codec,
    pub space: Space,
    /// Whether its connections bind a uid; if not they have no login, idle or ping deadline.
    pub binds: bool,
    /// Whether they may live without one, at home from their start.
    pub optional: bool,
    /// Whether who they are must be proved before they bind.
    pub proves: bool,
    /// Whether a full outbox pauses the reading, in place of closing.
    pub pauses: bool,
    /// Whether a line that is no message is told to the app, in place of closing.
    pub tells: bool,
    pub message_bytes_max: usize,
    pub outbox_bytes_max: usize,
    /// Whether compression may be agreed on.
    pub compress: bool,
    /// The listener that its connections are told and counted as.
    pub shown: u16,
    /// Its URL, as it was asked for.
    pub url: Arc<str>,
    /// The header fields that its app wants to see of the requests that open connections.
    pub headers: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The slot holds no connection.
    Free,
    /// It asks by HTTP, and has no app.
    Http,
    /// Its opening handshake is under way; the app does not know it yet.
    Opening,
    /// The app knows it; it is not bound, so no table holds it.
    Open,
    /// It is where it stays: bound on its uid's home core, or never to bind.
    Home,
    /// It is to end: in no table, its close frame (if any) the last thing in its outbox.
    Closing,
}

/// How far a connection's one bind has come, before it is home; or, of one that asks by HTTP, where it is in that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    NotAsked,
    /// It asked for a uid; binds once.
    Asked,
    /// It is home, and asks for another uid.
    AsksAnew,
    /// It is home, and announced to the core that is to be its home.
    Crossing,
    /// Its home is another core, and it is to move there.
    Leaving,
    /// It asks by HTTP, and binds nothing, until it is closed or becomes another kind.
    Http(Exchange),
}

/// How urgently a connection's outbox is to be written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dirty {
    Clean,
    /// By a broadcast, whose writing is cut into pieces.
    Bulk,
    /// By a message of its own, which is written first.
    Urgent,
}

/// A peer's address without the parts a server does not need; 18 bytes where `SocketAddr` takes 32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peer {
    ip: [u8; 16],
    port: u16,
}

impl Peer {
    pub fn new(address: SocketAddr) -> Peer {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Peer {
            ip: ip.octets(),
            port: address.port(),
        }
    }

    /// The address again, IPv4 always in its plain form.
    pub fn address(self) -> SocketAddr {
        let ip = std::net::Ipv6Addr::from(self.ip);
        SocketAddr::new(IpAddr::V6(ip).to_canonical(), self.port)
    }
}

pub struct Slot {
    pub generation: u32,
    /// Index into the shard's listener specs.
    pub listener: u16,
    pub phase: Phase,
    pub dirty: Dirty,
    /// Whether the list of those that a broadcast made dirty has it.
    pub in_bulk: bool,
    /// Meaningful in [`Phase::Closing`].
    pub reason: CloseReason,
    /// The kernel takes no more for now: its writability is awaited.
    pub blocked: bool,
    /// We do not read it for now; idleness does not count meanwhile.
    pub paused: bool,
    pub binding: Binding,
    /// If compression is agreed on, how far back what is sent may refer.
    pub window: Option<Window>,
    pub peer: Peer,
    /// The app's key for the session.
    pub session: u32,
    /// Place in the list of everybody in its space, while [`Phase::Home`].
    pub everybody_at: u32,
    /// When something last arrived; when closing: when that was decided.
    pub heard: Tick,
    /// When it was last pinged, and in other phases when the phase began.
    pub since: Tick,
    /// Where its live entry on the wheel is; 0 is none.
    pub wheel_at: Tick,
    /// Bytes on their way to other cores on its account.
    pub transit: u32,
    pub uid: Option<Box<str>>,
    /// The slots after and before it in the chain of its uid; before the first one stands the uid's place.
    pub next_of_uid: u32,
    pub last_of_uid: u32,
    /// Groups: memberships once home, before that the names it asked for.
    pub groups: Option<Box<Memberships>>,
    pub replies: Option<Box<Replies>>,
    pub outbox: Outbox,
}

/// The place of no connection.
impl Default for Slot {
    fn default() -> Slot {
        Slot {
            generation: 0,
            listener: 0,
            phase: Phase::Free,
            dirty: Dirty::Clean,
            in_bulk: false,
            reason: CloseReason::Normal,
            blocked: false,
            paused: false,
            binding: Binding::NotAsked,
            window: None,
            peer: Peer::new(SocketAddr::from(([0, 0, 0, 0], 0))),
            session: u32::MAX,
            everybody_at: u32::MAX,
            heard: 0,
            since: 0,
            wheel_at: 0,
            transit: 0,
            uid: None,
            next_of_uid: NO_SLOT,
            last_of_uid: NO_SLOT,
            groups: None,
            replies: None,
            outbox: Outbox::default(),
        }
    }
}

/// A connection's groups.
#[derive(Default)]
pub struct Memberships {
    pub joined: Vec<Membership>,
    /// Joins asked for before the connection is home.
    pub asked: Vec<JoinRequest>,
}

/// A group that a connection is to join, and what it is called there if not by its uid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    pub group: Box<str>,
    pub called: Option<Box<str>>,
}

impl JoinRequest {
    pub fn new(group: &str, called: Option<&str>) -> JoinRequest {
        JoinRequest {
            group: Box::from(group),
            called: called.map(Box::from),
        }
    }
}

/// A connection's end, as its app is to be told of it.
pub struct Ended {
    pub connection: ConnId,
    pub app: u8,
    pub session: u32,
    pub reason: CloseReason,
}

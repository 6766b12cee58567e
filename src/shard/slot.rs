//! One connection as its core's shard keeps it: [`Slot`], and what all connections of one listener share:
//! [`ListenerSpec`].

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::exchange::Exchange;
use super::listener_spec::ListenerSpec;
use super::members::Memberships;
use super::outbox::Outbox;
use super::replies::Replies;
use super::wheel::Tick;
use crate::close::CloseReason;
use crate::protocol::websocket::extension::Window;

/// No slot has this number.
pub const NO_SLOT: u32 = u32::MAX;

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

/// Facts about a connection that have a bit each, so that a slot stays as small as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks(u8);

impl Marks {
    /// The list of those that a broadcast made dirty has it.
    pub const IN_BULK: Marks = Marks(1);
    /// Somebody outside was told its name.
    pub const TOLD: Marks = Marks(2);
    /// It has attributes.
    pub const ATTRIBUTES: Marks = Marks(4);

    #[inline]
    pub fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    /// Whether something is kept of it beside its slot that few have.
    #[inline]
    pub fn are_rare(self) -> bool {
        self.0 & (Marks::TOLD.0 | Marks::ATTRIBUTES.0) != 0
    }

    /// Sets it or takes it away. Whether it was there.
    #[inline]
    pub fn set(&mut self, mark: Marks, is_set: bool) -> bool {
        let had = self.has(mark);
        match is_set {
            true => self.0 |= mark.0,
            false => self.0 &= !mark.0,
        }
        had
    }
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
    /// Two facts in one byte.
    pub marks: Marks,
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
    /// Place in the list of everybody in its namespace, while [`Phase::Home`].
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

impl Slot {
    /// Whether it asks by HTTP, or has until it was to end.
    #[inline]
    pub fn is_http(&self) -> bool {
        matches!(self.binding, Binding::Http(_))
    }

    /// What open replies count against the outbox's limit.
    pub fn replies_bytes(&self) -> usize {
        self.replies.as_ref().map_or(0, |replies| replies.bytes())
    }

    /// Whether a connection that pauses when full is full: not to be read until half has left.
    pub fn is_full(&self, spec: &ListenerSpec) -> bool {
        if !spec.pauses {
            return false;
        }
        let most = match self.paused {
            true => spec.outbox_bytes_max / 2,
            false => spec.outbox_bytes_max,
        };
        self.outbox.bytes() + self.replies_bytes() >= most
    }

    /// What is held for it alone, in its outbox or back for replies in order.
    pub fn own_bytes(&self) -> usize {
        self.outbox.own_bytes() + self.replies_bytes()
    }

    /// What waits because its kernel takes no more for now.
    #[inline]
    pub fn refused_bytes(&self) -> usize {
        match self.blocked {
            true => self.outbox.bytes(),
            false => 0,
        }
    }
}

/// The place of no connection.
impl Default for Slot {
    fn default() -> Slot {
        Slot {
            generation: 0,
            listener: 0,
            phase: Phase::Free,
            dirty: Dirty::Clean,
            marks: Marks::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_stays_small() {
        assert_eq!(size_of::<Slot>(), 144);
    }
}

//! A connection on its way to another core or process: [`Migration`], all that it is but for its descriptor.
//!
//! Between cores the value itself crosses. Another process gets its [written form](Migration::write) and reads it
//! back. The host takes the [`ShardPart`] out of its shard and the [`SessionPart`] from the app, the transport adds
//! the [`TransportPart`]; where it arrives each takes its own again.
//!
//! Between cores a migration has these stages: a `Departure` (`app/transfer`) is decided on, waits as a
//! `PendingDeparture` (`net/transport/migration`) until its descriptor can go, crosses in the envelope of a `Transfer`
//! and is an `Arrival` there (`app/transfer`) until the transport has it.

mod progress;
mod written;

use std::any::Any;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub use progress::{Counted, Input, Progress, Spent};
pub use written::{Unreadable, VERSION};

use crate::ident::CoreId;
use crate::shard::ShardPart;

/// A connection that is on no core.
pub struct Migration {
    /// What its shard knew of it.
    pub shard_part: ShardPart,
    /// What its transport did.
    pub transport_part: TransportPart,
    /// What its app keeps of it.
    pub session: SessionPart,
}

/// A session on its way, whose type its app alone knows: the apps of a server have several.
pub type AnySession = Box<dyn Any + Send>;

/// The app's part, which only the app can look into.
pub enum SessionPart {
    /// The app does not know it, or has been told of its end.
    None,
    /// As it is, within a process.
    Value(AnySession),
    /// As the app has written it down.
    Written(Vec<u8>),
}

/// The transport's part.
pub struct TransportPart {
    pub progress: Progress,
    /// What it has spent of its rates, where there are any.
    pub spent: Option<Spent>,
    /// The client that a proxy has brought, as long as the request of its that has begun is counted as one of its
    /// connections.
    pub proxied_client: Option<SocketAddr>,
    /// Bytes read of it since its last answer by HTTP.
    pub lingered: u64,
    /// The time where it left.
    pub left_at: Instant,
}

impl TransportPart {
    /// Of one that leaves at this time.
    pub fn new(progress: Progress, left_at: Instant) -> TransportPart {
        TransportPart {
            progress,
            spent: None,
            proxied_client: None,
            lingered: 0,
            left_at,
        }
    }

    /// How long it has been on its way, by the time where it is now. Cores read the time apart, and one that looks back
    /// sees none.
    pub fn way(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.left_at)
    }
}

/// How far a connection goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// To another core: its session goes as it is.
    Core,
    /// To another process: its app writes that down.
    Process,
}

/// How a connection's descriptor comes along.
#[derive(Debug)]
pub enum Socket {
    /// As it is: all cores have one descriptor table.
    Here(TcpStream),
    /// By the handover, as this one's number so much.
    Sent { from: CoreId, number: u64 },
}

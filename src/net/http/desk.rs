//! What a core has for deciding about a request: [`Desk`], lent by the transport.

use std::net::SocketAddr;

use crate::app::host::Host;
use crate::net::origin::Origins;
use crate::net::proxies::Proxies;

/// See the module.
pub struct Desk<'a> {
    pub host: &'a mut Host,
    pub origins: &'a mut Origins,
    pub proxies: &'a Proxies,
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// Whether this machine alone reaches the listener.
    pub on_loopback: bool,
    /// Whether the server stops.
    pub stopping: bool,
}

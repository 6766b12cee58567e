//! The only place that touches sockets: listeners, the opening handshake, established connections, the
//! wire they wait on, and the HTTP port.

pub mod accept_shares;
pub mod admission;
pub mod async_fd;
#[cfg(feature = "cluster")]
pub mod cluster;
#[cfg(not(feature = "cluster"))]
#[path = "cluster/absent.rs"]
pub mod cluster;
pub mod connection;
pub mod handover;
pub mod http;
pub mod input_buffers;
pub mod listen_address;
pub mod listener;
pub mod origin;
pub mod proxies;
pub mod rates;
pub mod transport;
pub mod unix_socket;
#[cfg(feature = "webhooks")]
pub mod webhooks;
#[cfg(not(feature = "webhooks"))]
#[path = "webhooks/absent.rs"]
pub mod webhooks;
pub mod wire;

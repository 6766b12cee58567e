//! The clients' side of the wire: raw epoll, no task and no thread per connection.

pub mod address;
pub mod codec;
mod connection;
mod epoll;
mod pool;
mod source;
pub mod target;
mod tls;
mod upgrade;

pub use connection::Ending;
pub use epoll::Wake;
pub use pool::{Client, Door, Pool, Scratch};
pub use source::Sources;
pub use tls::{Tickets, TlsClient};
pub use upgrade::{read as read_upgrade, request as upgrade_request};

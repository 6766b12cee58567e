//! Who has asked for an upgrade (`ringpost upgrade`) is told how it has gone: by a datagram to a name that the asker has
//! claimed before, after this process' number. If nobody has, nobody is told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::debug;

/// The name (unix(7), abstract) at which whoever asks for an upgrade of this process waits to be told how it has gone.
pub fn asker_name(pid: u32) -> String {
    format!("ringpost/upgrade/{pid}")
}

/// Tells it in one line, which begins with `ok` or `fail`.
pub fn tell_asker(line: &str) {
    let name = asker_name(std::process::id());
    let told = SocketAddr::from_abstract_name(name).and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(line.as_bytes(), &address)
    });
    if let Err(error) = told {
        debug!(%error, "nobody waits for how the upgrade has gone");
    }
}

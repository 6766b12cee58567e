//! [`Address`]: where a listener is met, by TCP or at a Unix socket of this machine.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Where a listener is met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    /// A path; an abstract name begins with `@`.
    Unix(PathBuf),
}

impl Address {
    /// The one by TCP.
    pub fn tcp(&self) -> Option<&SocketAddr> {
        match self {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// Who listens at a Unix socket, as the kernel tells who connects.
    pub fn listening_pid(&self) -> Option<u32> {
        let Address::Unix(_) = self else {
            return None;
        };
        let socket = self.connect_within(Duration::from_secs(5)).ok()?;
        let mut peer = libc::ucred {
            pid: 0,
            uid: 0,
            gid: 0,
        };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the descriptor is open, and both places live through the call; the length is that of the first.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &raw mut length,
            )
        };
        u32::try_from(peer.pid)
            .ok()
            .filter(|pid| result == 0 && *pid != 0)
    }

    /// A socket of its kind, and what that is to be connected to.
    pub fn socket(&self) -> io::Result<(Socket, SockAddr)> {
        match self {
            Address::Tcp(address) => {
                let domain = Domain::for_address(*address);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_tcp_nodelay(true)?;
                Ok((socket, (*address).into()))
            }
            Address::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                Ok((socket, unix(path)?))
            }
        }
    }

    /// A connection, blocking, that has come about within this time.
    pub fn connect_within(&self, time_max: Duration) -> io::Result<Socket> {
        let (socket, address) = self.socket()?;
        match self {
            Address::Tcp(_) => socket.connect_timeout(&address, time_max)?,
            // One whose queue is full lets us wait for as long as a write may take.
            Address::Unix(_) => {
                socket.set_write_timeout(Some(time_max))?;
                socket.connect(&address)?;
            }
        }
        Ok(socket)
    }
}

fn unix(path: &Path) -> io::Result<SockAddr> {
    let bytes = path.as_os_str().as_bytes();
    match bytes.strip_prefix(b"@") {
        None => SockAddr::unix(path),
        Some(name) => {
            let name = [b"\0", name].concat();
            SockAddr::unix(std::ffi::OsStr::from_bytes(&name))
        }
    }
}

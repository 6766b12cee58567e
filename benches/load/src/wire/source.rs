//! [`Sources`]: the addresses that connections come from, and the sockets bound to them.
//!
//! One source address has some 28,000 ports to one server's port, and ports rest for a minute after
//! use. So to a loopback address of IPv4 the connections come from a thousand addresses of
//! 127.0.0.0/8, and to another from those that `--source` names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use socket2::Socket;

use super::address::Address;

/// Longest wait for room in a Unix socket's queue.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(20);
/// Loopback addresses that one generator uses.
const LOOPBACKS: usize = 1_000;

/// Addresses to connect from, taken in turn.
#[derive(Clone, Debug)]
pub struct Sources {
    addresses: Vec<IpAddr>,
    next: usize,
    /// Whether all generators have the same ones.
    is_shared: bool,
    /// Whether each connection takes a port.
    has_ports: bool,
}

impl Sources {
    /// Those of generator `number` for a target; without any the kernel chooses.
    pub fn new(given: &[IpAddr], target: &Address, number: usize) -> Sources {
        let addresses = match target.tcp().map(SocketAddr::ip) {
            None => Vec::new(),
            Some(_) if !given.is_empty() => given.to_vec(),
            Some(IpAddr::V4(ip)) if ip.is_loopback() => {
                let second = 64 + (number % 128) as u8;
                let last = |at: usize| (second, (at / 250) as u8, 1 + (at % 250) as u8);
                (0..LOOPBACKS)
                    .map(last)
                    .map(|(b, c, d)| IpAddr::V4(Ipv4Addr::new(127, b, c, d)))
                    .collect()
            }
            _ => Vec::new(),
        };
        let is_shared = addresses.is_empty() || !given.is_empty();
        Sources {
            addresses,
            next: 0,
            is_shared,
            has_ports: target.tcp().is_some(),
        }
    }

    /// Whether each connection takes a port of its address.
    pub fn has_ports(&self) -> bool {
        self.has_ports
    }

    /// Whether all generators have the same ones, and so share their ports.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// How many different ones; the kernel's choice is one.
    pub fn len(&self) -> usize {
        self.addresses.len().max(1)
    }

    /// Begins a connection. It is open, or has failed, when the socket becomes writable.
    pub fn connect(&mut self, target: &Address) -> io::Result<OwnedFd> {
        if target.tcp().is_none() {
            // It comes about at once, or has to wait for room in the queue, which no event tells.
            let socket = target.connect_within(QUEUE_WAIT_MAX)?;
            socket.set_nonblocking(true)?;
            return Ok(socket.into());
        }
        let (socket, address) = target.socket()?;
        socket.set_nonblocking(true)?;
        if !self.addresses.is_empty() {
            let source = self.addresses[self.next % self.addresses.len()];
            self.next += 1;
            bind_address_no_port(&socket);
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&address) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(socket.into())
    }
}

/// Lets the kernel choose the port when the other end is known, so that an address has its ports once
/// for every target and not once for all. Without it binding works too, only for fewer.
fn bind_address_no_port(socket: &Socket) {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the value is an int that lives through the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

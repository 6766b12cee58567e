//! Listening sockets, one a core for each address (SO_REUSEPORT), and accepting from them.
//!
//! Options that accepted connections inherit are set here once: no delay for small writes, a bounded send
//! buffer, and how the kernel ends the connections of peers that are gone ([`KeepaliveMode`]).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted; the kernel's `net.core.somaxconn` bounds it further.
const BACKLOG: i32 = 4096;
/// A peer that acknowledges nothing for this long is gone (tcp(7), TCP_USER_TIMEOUT). One that lives and does not
/// read is ended by it just so (RFC 5482): for that long it takes nothing.
const USER_TIMEOUT: Duration = Duration::from_secs(120);
/// Silence before the kernel asks whether the peer lives, and between its questions. Four fit into the user
/// timeout: from then on the first without an answer ends the connection, and a packet may be lost.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// For a client to say its first bytes before its connection is shown without (tcp(7), TCP_DEFER_ACCEPT). The least there
/// is: until then it counts towards no limit but the backlog. The kernel reckons in repetitions of its SYN-ACK, the first
/// after a second.
const FIRST_BYTES_TIME: Duration = Duration::from_secs(1);

/// How the kernel finds out that a peer is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeepaliveMode {
    /// By what it does not acknowledge. Silence is watched by the server itself (`idle_timeout`): the kernel's
    /// questions to all who connected in one second leave at once, and would be more than a queue holds.
    Sent,
    /// By that, and by asking after a silence.
    SentAndSilence,
    /// By asking after a silence. It may read as late as it likes, and if it is gone while bytes wait for it the kernel
    /// has its own patience (`net.ipv4.tcp_retries2`, some 15 minutes).
    Silence,
}

pub struct Listener {
    socket: TcpListener,
}

/// Has the kernel ask after a silence: of a connection, or of all that a listener accepts from now on.
pub fn ask_after_silence(socket: &impl AsFd) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Has the kernel wait for the first bytes. One that cannot shows connections without.
fn defer_accept(socket: &Socket) {
    let seconds = FIRST_BYTES_TIME.as_secs() as libc::c_int;
    // SAFETY: the value is an int that outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
}

impl Listener {
    fn socket(address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.cloexec().nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // `[::]` serves IPv4, too.
            socket.set_only_v6(false)?;
        }
        Ok(socket)
    }

    /// Whether this machine has IPv6 at all: kernels can be built, or started, without it.
    pub fn has_ipv6() -> bool {
        let made = Socket::new(Domain::IPV6, Type::STREAM.cloexec(), Some(Protocol::TCP));
        !made.is_err_and(|error| error.raw_os_error() == Some(libc::EAFNOSUPPORT))
    }

    /// Fails if someone listens there: with SO_REUSEPORT another process of the same user could share
    /// the port unnoticed. Nothing listens meanwhile, so no client gets into a socket that closes at once.
    pub fn check_free(address: SocketAddr) -> io::Result<()> {
        Listener::socket(address)?.bind(&SockAddr::from(address))
    }

    /// Listens at an address. Every core opens its own; the kernel spreads connections over them. Each gets a
    /// send buffer of this size, or of the kernel's choice if it is 0. Where the client speaks `first`, the kernel shows a
    /// connection when it has, or has let [`FIRST_BYTES_TIME`] pass.
    pub fn bind(
        address: SocketAddr,
        send_buffer_bytes: usize,
        watch: KeepaliveMode,
        first: bool,
    ) -> io::Result<Listener> {
        let socket = Listener::socket(address)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        if watch != KeepaliveMode::Silence {
            socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        }
        if watch != KeepaliveMode::Sent {
            ask_after_silence(&socket)?;
        }
        if send_buffer_bytes > 0 {
            socket.set_send_buffer_size(send_buffer_bytes)?;
        }
        if first {
            defer_accept(&socket);
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(Listener {
            socket: TcpListener::from(socket),
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next connection that waits, not blocking and not inherited by child processes; `WouldBlock`
    /// if none does.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the storage that `try_init` hands out is as large as the length it hands out, and
        // `accept4` fills it with an address of the length it leaves there.
        let (descriptor, address) = unsafe {
            SockAddr::try_init(|storage, length| {
                let descriptor =
                    libc::accept4(self.socket.as_raw_fd(), storage.cast(), length, flags);
                if descriptor < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(descriptor)
            })?
        };
        // SAFETY: a descriptor that the call above has just made for us.
        let stream = unsafe { TcpStream::from_raw_fd(descriptor) };
        let peer = address
            .as_socket()
            .ok_or_else(|| io::Error::other("a TCP peer without an IP address"))?;
        Ok((stream, peer))
    }

    /// Refuses further connections and wakes who waits for them.
    pub fn stop(&self) {
        // An error means that it has stopped already.
        let _ = socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Both);
    }
}

impl From<OwnedFd> for Listener {
    /// What [`Listener::bind`] made, in a copy of the descriptor table.
    fn from(socket: OwnedFd) -> Listener {
        Listener {
            socket: socket.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_accepted_is_watched_as_its_listener_says() {
        for (watch, timeout, asks) in [
            (KeepaliveMode::Sent, Some(USER_TIMEOUT), false),
            (KeepaliveMode::SentAndSilence, Some(USER_TIMEOUT), true),
            (KeepaliveMode::Silence, None, true),
        ] {
            let listener =
                Listener::bind(([127, 0, 0, 1], 0).into(), 0, watch, false).expect("binds");
            let address = listener.address().expect("an address");
            let _client = TcpStream::connect(address).expect("connects");
            let (accepted, _) = listener.accept().expect("accepts");
            let accepted = SockRef::from(&accepted);
            assert_eq!(accepted.tcp_user_timeout().expect("its option"), timeout);
            assert_eq!(accepted.keepalive().expect("its option"), asks, "{watch:?}");
        }
        // Some are lost before one that has no answer ends it.
        assert!(KEEPALIVE_TIME + 4 * KEEPALIVE_INTERVAL <= USER_TIMEOUT);
    }

    /// The next connection, however long it takes, and whether it has said something.
    fn accept(listener: &Listener) -> (TcpStream, bool) {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    let speaks = stream.peek(&mut [0]).is_ok();
                    return (stream, speaks);
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn where_the_client_speaks_first_it_is_shown_when_it_has_or_after_a_while() {
        let loopback = ([127, 0, 0, 1], 0).into();
        let listener = Listener::bind(loopback, 0, KeepaliveMode::Sent, true).expect("binds");
        let address = listener.address().expect("an address");
        let silent = TcpStream::connect(address).expect("connects");
        let (accepted, speaks) = accept(&listener);
        assert!(!speaks);
        let ends = [silent.local_addr(), accepted.peer_addr()].map(|end| end.expect("an end"));
        assert_eq!(ends[0], ends[1]);
        // Once of several times, or this thread has had to wait for that while each time.
        let speaking = (0..10).any(|_| {
            let mut client = TcpStream::connect(address).expect("connects");
            if listener.accept().is_ok() {
                return false;
            }
            client.write_all(b"hello").expect("writes");
            accept(&listener).1
        });
        assert!(speaking);
    }
}

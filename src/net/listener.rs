//! Listening sockets, and accepting from them.
//!
//! For each IP address one a core (SO_REUSEPORT): the kernel spreads connections over them. Of a Unix socket, and of one
//! that was passed to the process, there is one alone, and each core has a copy of its descriptor; they take turns
//! ([`AcceptShares`]).
//!
//! Options that accepted connections inherit are set here once: no delay for small writes, a bounded send
//! buffer, and how the kernel ends the connections of peers that are gone ([`KeepaliveMode`]).

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::accept_shares::AcceptShares;
use super::listen_address::ListenAddress;
use crate::unix_peer::UnixPeer;

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

/// What a listening socket is.
#[derive(Clone)]
pub struct ListenerKind {
    pub is_unix: bool,
    /// Whose turn it is, where every core has it.
    pub shares: Option<Arc<AcceptShares>>,
    /// Whether it is another's, too, who passed it: it goes on listening when we do not.
    pub is_passed: bool,
    /// Whether it is still another process', which may go on with it.
    pub is_others: bool,
    /// Of what is accepted, where that is not inherited; 0 is the kernel's choice.
    pub send_buffer_bytes: usize,
}

/// A core's own, for an IP address.
const OWN: ListenerKind = ListenerKind {
    is_unix: false,
    shares: None,
    is_passed: false,
    is_others: false,
    send_buffer_bytes: 0,
};

/// What accepted connections are to be like.
#[derive(Clone, Copy, Debug)]
pub struct AcceptOptions {
    /// Send buffer; 0 is the kernel's choice.
    pub send_buffer_bytes: usize,
    pub watch: KeepaliveMode,
    /// Whether the client speaks first: then the kernel shows a connection when it has, or has let [`FIRST_BYTES_TIME`]
    /// pass.
    pub first: bool,
}

impl AcceptOptions {
    /// Sets what accepted connections inherit.
    fn put(self, listening: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(listening);
        socket.set_tcp_nodelay(true)?;
        if self.watch != KeepaliveMode::Silence {
            socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        }
        if self.watch != KeepaliveMode::Sent {
            ask_after_silence(listening)?;
        }
        if self.send_buffer_bytes > 0 {
            socket.set_send_buffer_size(self.send_buffer_bytes)?;
        }
        if self.first {
            defer_accept(listening);
        }
        Ok(())
    }
}

pub struct Listener {
    /// Of whichever kind: the standard library's type for TCP calls nothing that another stream socket has not.
    socket: TcpListener,
    kind: ListenerKind,
    /// Whether it is not to be stopped, since it is another process', too.
    is_others: Cell<bool>,
}

/// Connections by Unix sockets, each of which has the next number. Of all cores, for nobody else's is to be the same.
static UNIX_CONNECTIONS: AtomicU32 = AtomicU32::new(0);

/// Has the kernel ask after a silence: of a connection, or of all that a listener accepts from now on.
pub fn ask_after_silence(socket: &impl AsFd) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Has the kernel wait for the first bytes. One that cannot shows connections without.
fn defer_accept(socket: &impl AsFd) {
    let seconds = FIRST_BYTES_TIME.as_secs() as libc::c_int;
    // SAFETY: the value is an int that outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
}

/// Who connected, or to whom, by a Unix socket (unix(7), SO_PEERCRED). The process is 0 where its namespace is not ours; rustix' type has no room for
/// that.
pub fn credentials(socket: &impl AsFd) -> io::Result<libc::ucred> {
    let mut found = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of_val(&found) as libc::socklen_t;
    // SAFETY: the value and its length outlive the call, and the length is the value's.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &mut length,
        )
    };
    // All zeros would be root.
    match done == 0 && length as usize == size_of_val(&found) {
        true => Ok(found),
        false => Err(io::Error::last_os_error()),
    }
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

    /// Listens at an address. Every core opens its own; the kernel spreads connections over them.
    pub fn bind(address: SocketAddr, options: AcceptOptions) -> io::Result<Listener> {
        let socket = Listener::socket(address)?;
        socket.set_reuse_port(true)?;
        options.put(&socket)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(Listener::of(socket.into(), OWN))
    }

    /// Listens at a Unix socket that is bound, for so many cores.
    pub fn at_unix(socket: Socket, cores: usize, options: AcceptOptions) -> io::Result<Listener> {
        socket.listen(BACKLOG)?;
        let kind = ListenerKind {
            is_unix: true,
            shares: Some(Arc::new(AcceptShares::new(cores))),
            send_buffer_bytes: options.send_buffer_bytes,
            ..OWN
        };
        Ok(Listener::of(socket.into(), kind))
    }

    /// Takes one that listens already, passed to the process by who started it, for so many cores.
    pub fn passed(socket: OwnedFd, cores: usize, options: AcceptOptions) -> io::Result<Listener> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        let is_unix = socket.domain()? == Domain::UNIX;
        if !is_unix {
            options.put(&socket)?;
        }
        let kind = ListenerKind {
            is_unix,
            shares: Some(Arc::new(AcceptShares::new(cores))),
            is_passed: true,
            send_buffer_bytes: options.send_buffer_bytes,
            ..OWN
        };
        Ok(Listener::of(socket.into(), kind))
    }

    /// Goes on with one of a process before, for an IP address. It stays as it was bound.
    pub fn inherited(socket: OwnedFd) -> Listener {
        let kind = ListenerKind {
            is_others: true,
            ..OWN
        };
        Listener::of(socket.into(), kind)
    }

    /// Goes on with one of a process before that all of so many cores have.
    pub fn inherited_by_all(
        socket: OwnedFd,
        cores: usize,
        is_passed: bool,
        options: AcceptOptions,
    ) -> io::Result<Listener> {
        let kind = ListenerKind {
            is_unix: SockRef::from(&socket).domain()? == Domain::UNIX,
            shares: Some(Arc::new(AcceptShares::new(cores))),
            is_passed,
            is_others: true,
            send_buffer_bytes: options.send_buffer_bytes,
        };
        Ok(Listener::of(socket.into(), kind))
    }

    fn of(socket: TcpListener, kind: ListenerKind) -> Listener {
        Listener {
            socket,
            is_others: Cell::new(kind.is_others),
            kind,
        }
    }

    /// It is this process' from now on.
    pub fn own(&self) {
        self.is_others.set(false);
    }

    /// Another core's copy of one that is shared.
    pub fn share(&self) -> io::Result<Listener> {
        Ok(Listener::of(self.socket.try_clone()?, self.kind.clone()))
    }

    /// One that a descriptor is of, in a copy of the descriptor table.
    pub fn copied(socket: OwnedFd, kind: ListenerKind) -> Listener {
        Listener::of(socket.into(), kind)
    }

    pub fn kind(&self) -> &ListenerKind {
        &self.kind
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<ListenAddress> {
        let address = SockRef::from(&self.socket).local_addr()?;
        if let Some(ip) = address.as_socket() {
            return Ok(ListenAddress::Ip(ip));
        }
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(path) = address.as_pathname() {
            return Ok(ListenAddress::Path(name(
                path.as_os_str().as_encoded_bytes(),
            )));
        }
        let abstract_name = address.as_abstract_namespace();
        Ok(ListenAddress::Abstract(name(
            abstract_name.unwrap_or_default(),
        )))
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
        let peer = match address.as_socket() {
            _ if self.kind.is_unix => self.meet(&stream)?,
            // What stands for a user of this machine is no network's.
            Some(peer) if UnixPeer::of(peer.ip()).is_none() => peer,
            _ => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        Ok((stream, peer))
    }

    /// Who has connected by a Unix socket.
    fn meet(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        if self.kind.send_buffer_bytes > 0 {
            SockRef::from(stream).set_send_buffer_size(self.kind.send_buffer_bytes)?;
        }
        let found = credentials(stream)?;
        let peer = UnixPeer {
            uid: found.uid,
            pid: found.pid as u32,
            number: UNIX_CONNECTIONS.fetch_add(1, Ordering::Relaxed),
        };
        Ok(peer.address())
    }

    /// Refuses further connections and wakes who waits for them. One that was passed goes on: who comes now is the next
    /// process's. So does one that is another process' still.
    pub fn stop(&self) {
        if !self.kind.is_passed && !self.is_others.get() {
            // An error means that it has stopped already.
            let _ = SockRef::from(&self.socket).shutdown(std::net::Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn options(watch: KeepaliveMode, first: bool) -> AcceptOptions {
        AcceptOptions {
            send_buffer_bytes: 0,
            watch,
            first,
        }
    }

    fn ip(listener: &Listener) -> SocketAddr {
        let address = listener.address().expect("an address");
        address.ip().expect("of IP")
    }

    #[test]
    fn what_is_accepted_is_watched_as_its_listener_says() {
        for (watch, timeout, asks) in [
            (KeepaliveMode::Sent, Some(USER_TIMEOUT), false),
            (KeepaliveMode::SentAndSilence, Some(USER_TIMEOUT), true),
            (KeepaliveMode::Silence, None, true),
        ] {
            let listener =
                Listener::bind(([127, 0, 0, 1], 0).into(), options(watch, false)).expect("binds");
            let address = ip(&listener);
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
    fn of_a_unix_socket_each_core_has_a_copy_and_peers_are_told_by_their_users() {
        let name = format!("ringpost-{}-{}", std::process::id(), fastrand::u64(..));
        let address = ListenAddress::Abstract(name.clone());
        let (socket, _) =
            crate::net::unix_socket::bind(&address, &Default::default()).expect("binds");
        let first =
            Listener::at_unix(socket, 2, options(KeepaliveMode::Sent, true)).expect("listens");
        let second = first.share().expect("a copy");
        assert_eq!(second.address().ok(), Some(address));
        let here = SockAddr::unix(format!("\0{name}")).expect("a name");
        let clients: Vec<Socket> = (0..4)
            .map(|_| {
                let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
                client.connect(&here).expect("connects");
                client
            })
            .collect();
        let mut numbers = Vec::new();
        for listener in [&first, &second, &second, &first] {
            let (_, peer) = listener.accept().expect("accepts");
            let peer = UnixPeer::of(peer.ip()).expect("of a Unix socket");
            // SAFETY: it cannot fail.
            assert_eq!(peer.uid, unsafe { libc::geteuid() });
            assert_eq!(peer.pid, std::process::id());
            numbers.push(peer.number);
        }
        numbers.dedup();
        assert_eq!(numbers.len(), clients.len());
        first.stop();
        // For the other core, too: nobody comes any more.
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        assert!(client.connect(&here).is_err() && second.accept().is_err());
    }

    #[test]
    fn where_the_client_speaks_first_it_is_shown_when_it_has_or_after_a_while() {
        let loopback = ([127, 0, 0, 1], 0).into();
        let listener = Listener::bind(loopback, options(KeepaliveMode::Sent, true)).expect("binds");
        let address = ip(&listener);
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

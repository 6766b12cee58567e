//! [`Dialed`]: a connection of a client command to a server, by TCP, by TLS or by a Unix socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringpost::escape::Escaped;
use socket2::{Domain, SockAddr, Socket, Type};

use super::dial_tls::{Secured, secure};
use super::trust::TrustArgs;

/// A connection, each of whose reads and writes may have a timeout.
pub enum Dialed {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Secured>),
}

impl Dialed {
    /// Connects to `HOST:PORT`, `tls://HOST:PORT` (or `https://`), `unix:///PATH` or `unix://@NAME`, all within the time; else
    /// says why not.
    pub fn dial(to: &str, timeout: Duration, trust: &TrustArgs) -> Result<Dialed, String> {
        if let Some(name) = to.strip_prefix("unix://") {
            return dial_unix(name, timeout).map(Dialed::Unix);
        }
        let Some(to) = by_tls(to) else {
            return dial_tcp(to, timeout).map(Dialed::Tcp);
        };
        let stream = dial_tcp(to, timeout)?;
        let limited = stream
            .set_read_timeout(Some(timeout))
            .and_then(|()| stream.set_write_timeout(Some(timeout)));
        limited.map_err(|error| format!("{}: {error}", Escaped(to)))?;
        let host = to.rsplit_once(':').map_or(to, |(host, _)| host);
        let secured = secure(stream, host.trim_matches(['[', ']']), trust)?;
        Ok(Dialed::Tls(Box::new(secured)))
    }

    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Dialed::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Dialed::Unix(stream) => stream.set_read_timeout(Some(timeout)),
            Dialed::Tls(secured) => secured.sock.set_read_timeout(Some(timeout)),
        }
    }

    pub fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Dialed::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Dialed::Unix(stream) => stream.set_write_timeout(Some(timeout)),
            Dialed::Tls(secured) => secured.sock.set_write_timeout(Some(timeout)),
        }
    }
}

impl Read for Dialed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Dialed::Tcp(stream) => stream.read(buffer),
            Dialed::Unix(stream) => stream.read(buffer),
            Dialed::Tls(secured) => secured.read(buffer),
        }
    }
}

impl Write for Dialed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Dialed::Tcp(stream) => stream.write(bytes),
            Dialed::Unix(stream) => stream.write(bytes),
            Dialed::Tls(secured) => secured.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Dialed::Tls(secured) => secured.flush(),
            _ => Ok(()),
        }
    }
}

/// What a request over HTTP calls the host.
pub fn host_of(to: &str) -> &str {
    match to.starts_with("unix://") {
        true => "localhost",
        false => by_tls(to).unwrap_or(to),
    }
}

/// The host and port behind a scheme of TLS.
fn by_tls(to: &str) -> Option<&str> {
    let rest = to
        .strip_prefix("tls://")
        .or_else(|| to.strip_prefix("https://"))?;
    Some(rest.trim_end_matches('/'))
}

/// Connects to the first address of a name that takes it.
fn dial_tcp(to: &str, timeout: Duration) -> Result<TcpStream, String> {
    let shown = Escaped(to);
    let addresses = to.to_socket_addrs().map_err(|error| {
        format!("\"{shown}\" is no address to connect to: {error} (--to HOST:PORT)")
    })?;
    let deadline = Instant::now() + timeout;
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(match last.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nothing listens on {shown}; is ringpost running? (--to HOST:PORT)")
        }
        ErrorKind::TimedOut => format!(
            "no connection to {shown} within {} (--to HOST:PORT, --timeout TIME)",
            humantime::format_duration(timeout)
        ),
        _ => format!("no connection to {shown}: {last} (--to HOST:PORT)"),
    })
}

fn dial_unix(name: &str, timeout: Duration) -> Result<UnixStream, String> {
    let shown = Escaped(name);
    let address = match name.strip_prefix('@') {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(name),
    };
    if !name.starts_with(['/', '@']) || name.len() < 2 {
        return Err(format!(
            "\"unix://{shown}\" names no socket: expected unix:///PATH, with three slashes, or unix://@NAME"
        ));
    }
    let address = address.map_err(|error| format!("unix://{shown}: {error}"))?;
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
        // For that long it waits for room in the queue of those to be accepted.
        socket.set_write_timeout(Some(timeout))?;
        socket.connect(&address)?;
        Ok::<_, io::Error>(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
    };
    connect().map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
            format!("nothing listens on unix://{shown}; is ringpost running? (--to unix:///PATH)")
        }
        ErrorKind::WouldBlock => format!(
            "no connection to unix://{shown} within {} (--timeout TIME)",
            humantime::format_duration(timeout)
        ),
        ErrorKind::PermissionDenied => format!(
            "this user may not connect to unix://{shown}: the socket's owner and mode say who may"
        ),
        _ => format!("no connection to unix://{shown}: {error}"),
    })
}

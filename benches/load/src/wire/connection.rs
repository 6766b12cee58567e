//! [`Connection`]: one client's socket, with what is half received and what is not yet sent.
//!
//! An idle one holds no buffer. Owned by the pool.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::tls::TlsClient;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// There is none.
    Closed,
    /// The kernel connects.
    Connecting,
    /// The upgrade is asked for.
    Upgrading,
    Open,
    /// We have said that we go, and wait for the server's end.
    Leaving,
}

/// Why a connection has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It did not come about.
    Unopened(String),
    /// The server closed it, with a code and perhaps without one.
    Closed(Option<u16>),
    /// The server's side broke, or sent what it may not.
    Broken(String),
    /// As we asked.
    Left,
}

impl Ending {
    /// In words.
    pub fn text(&self) -> String {
        match self {
            Ending::Unopened(problem) => problem.clone(),
            Ending::Closed(Some(code)) => format!("the server closed a connection with {code}"),
            Ending::Closed(None) => "the server closed a connection without a word".to_owned(),
            Ending::Broken(problem) => format!("a connection broke: {problem}"),
            Ending::Left => "left".to_owned(),
        }
    }
}

/// One client.
#[derive(Debug)]
pub struct Connection {
    pub socket: Option<OwnedFd>,
    /// Where it speaks TLS.
    pub tls: Option<Box<TlsClient>>,
    pub stage: Stage,
    /// Which of the pool's doors it goes through.
    pub door: usize,
    /// Tells this connection from those that had its slot before.
    pub generation: u32,
    /// When the stage began, while it has a time limit.
    pub since: u64,
    /// Received, but not whole.
    pub held: Vec<u8>,
    /// To be sent, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// Whether it is on the pool's list of those with something to send.
    pub is_dirty: bool,
    /// Whether the set waits for room to write.
    pub awaits_room: bool,
}

impl Default for Connection {
    fn default() -> Connection {
        Connection {
            socket: None,
            tls: None,
            stage: Stage::Closed,
            door: 0,
            generation: 0,
            since: 0,
            held: Vec::new(),
            out: Vec::new(),
            sent: 0,
            is_dirty: false,
            awaits_room: false,
        }
    }
}

impl Connection {
    /// Where to write what is to be sent.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that wait to be sent.
    pub fn backlog(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Forgets everything but the generation, which goes on.
    pub fn reset(&mut self) {
        *self = Connection {
            generation: self.generation.wrapping_add(1),
            // The list still has it.
            is_dirty: self.is_dirty,
            ..Connection::default()
        };
    }

    /// Writes what the kernel takes; whether that was all.
    pub fn flush(&mut self) -> io::Result<bool> {
        let Some(socket) = &self.socket else {
            return Ok(true);
        };
        if let Some(tls) = &mut self.tls {
            let (taken, is_all) = tls.write(&self.out[self.sent..], &mut Socket(socket.as_fd()))?;
            self.sent += taken;
            // What is left waits for the end of the handshake.
            if !is_all || self.sent < self.out.len() {
                return Ok(is_all);
            }
        }
        while self.sent < self.out.len() {
            match send(socket.as_fd(), &self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        // A message of the usual size keeps its buffer: the next one comes soon, or never.
        match self.out.capacity() > 4 << 10 {
            true => self.out = Vec::new(),
            false => self.out.clear(),
        }
        Ok(true)
    }

    /// Reads once; 0 is the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.socket {
            Some(socket) => Socket(socket.as_fd()).read(buffer),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Says that nothing more comes, behind all that is sent. If it fails the connection has ended, which reading tells.
    pub fn end_stream(&mut self) {
        let Some(socket) = &self.socket else { return };
        if let Some(tls) = &mut self.tls {
            tls.close();
            let _ = tls.write(&[], &mut Socket(socket.as_fd()));
        }
        let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write);
    }

    /// What the kernel has to say of a connection attempt.
    pub fn connect_result(&self) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        match socket2::SockRef::from(socket).take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

struct Socket<'a>(BorrowedFd<'a>);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the descriptor is open, and the kernel writes at most the buffer's length into it.
        let count = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        match usize::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open, and the bytes live through the call. A broken pipe is an error
    // and no signal.
    let count = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

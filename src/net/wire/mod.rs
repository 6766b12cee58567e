//! The wire: where a core's connections wait for input and for room to write, and where they are written.
//!
//! One small interface over two backends: watch a connection, take what is ready in a turn, write the turn's
//! batch, let one go. Its descriptor becomes readable when something is ready; a monoio task watches it.

mod batch;
mod epoll;
mod probe;
mod ready;
#[cfg(test)]
mod tests;
mod uring;

pub use batch::{Batch, BatchMemory, WRITE_BYTES_MAX, Written};
use batch::{WriteContent, send_flags};
pub use ready::{READY_PER_TURN, Ready, Watch};

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::ident::ConnId;
use epoll::Epoll;
use uring::Uring;

/// Which backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireKind {
    Uring,
    Epoll,
}

impl WireKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            WireKind::Uring => "io_uring",
            WireKind::Epoll => "epoll",
        }
    }
}

/// A core's wire. The backend is chosen at start, so each call is one branch that never changes; what is
/// done for each connection of a turn (take, write) is one call for all.
pub enum Wire {
    Epoll(Epoll),
    Uring(Box<Uring>),
}

impl Wire {
    /// Must be called on the core's own thread.
    pub fn new(kind: WireKind) -> io::Result<Wire> {
        Ok(match kind {
            WireKind::Epoll => Wire::Epoll(Epoll::new()?),
            WireKind::Uring => Wire::Uring(Box::new(Uring::new()?)),
        })
    }

    /// A ring that holds so many requests and completions. `None` if none works here.
    #[cfg(test)]
    pub fn small_ring(requests: u32, completions: u32) -> Option<Wire> {
        Wire::probe(WireKind::Uring).ok()?;
        let uring = Uring::with_sizes(requests, completions).unwrap();
        Some(Wire::Uring(Box::new(uring)))
    }

    /// Finds out whether the backend works here, by using one as a core would.
    pub fn probe(kind: WireKind) -> io::Result<()> {
        match kind {
            WireKind::Epoll => Ok(()),
            WireKind::Uring => probe::probe(),
        }
    }

    /// Which it is.
    pub fn kind(&self) -> WireKind {
        match self {
            Wire::Epoll(_) => WireKind::Epoll,
            Wire::Uring(_) => WireKind::Uring,
        }
    }

    /// Readable when something is ready.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Epoll(epoll) => epoll.descriptor(),
            Wire::Uring(uring) => uring.descriptor(),
        }
    }

    /// Begins to watch a connection. What is ready already is reported.
    pub fn watch(&mut self, id: ConnId, stream: &TcpStream) -> io::Result<()> {
        match self {
            Wire::Epoll(epoll) => epoll.watch(id, stream),
            Wire::Uring(uring) => {
                uring.watch(id, stream);
                Ok(())
            }
        }
    }

    /// Begins to watch a connection until it has input, which is then told with [`Ready::unwatched`]. For one that is
    /// likely to move by that input: nothing has to be ended then. Returns how it is watched.
    pub fn watch_once(&mut self, id: ConnId, stream: &TcpStream) -> io::Result<Watch> {
        match self {
            // It would have to be taken out of the set even so.
            Wire::Epoll(epoll) => epoll.watch(id, stream).map(|()| Watch::Always),
            Wire::Uring(uring) => {
                uring.watch_once(id, stream);
                Ok(Watch::Once)
            }
        }
    }

    /// Has it stop to watch one that it watches once. What was to be told even so is told with [`Ready::unwatched`],
    /// else [`Ready::recalled`] is.
    pub fn recall(&mut self, id: ConnId) {
        self.forget(id);
    }

    /// Ends that, before the connection moves. What is told even so is stale by their id.
    pub fn release(&mut self, id: ConnId, stream: &TcpStream) -> io::Result<()> {
        match self {
            Wire::Epoll(epoll) => epoll.release(stream),
            Wire::Uring(uring) => {
                uring.forget(id);
                Ok(())
            }
        }
    }

    /// Ends that, of a connection whose descriptor is closed.
    pub fn forget(&mut self, id: ConnId) {
        match self {
            // Closing has taken it out of the set.
            Wire::Epoll(_) => {}
            Wire::Uring(uring) => uring.forget(id),
        }
    }

    /// Takes what has happened, about as much as one turn serves.
    pub fn take(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        match self {
            Wire::Epoll(epoll) => epoll.take(ready),
            Wire::Uring(uring) => {
                uring.take(ready);
                Ok(())
            }
        }
    }

    /// Does every write of the batch. When this returns, the kernel is done with the batch's memory.
    pub fn write(&mut self, batch: &mut Batch<'_>) {
        match self {
            Wire::Uring(uring) if batch.writes.len() > 1 => uring.write(batch),
            // One is a call either way, and its completion would end the runtime's wait for the ring's descriptor: a
            // turn more, in which nothing is left to do.
            _ => write_each(batch),
        }
    }

    /// Hands over what has been asked for since the last batch. What waits for it holds sockets open, so it
    /// does not wait for the next turn.
    pub fn settle(&mut self) {
        match self {
            Wire::Epoll(_) => {}
            Wire::Uring(uring) => uring.settle(),
        }
    }

    /// Whether more has happened already. The epoll set would have to be asked, so it says no.
    pub fn has_ready(&mut self) -> bool {
        match self {
            Wire::Epoll(_) => false,
            Wire::Uring(uring) => uring.has_ready(),
        }
    }

    /// Whether there is something ready that the descriptor does not become readable for.
    pub fn has_stash(&self) -> bool {
        match self {
            Wire::Epoll(_) => false,
            Wire::Uring(uring) => uring.has_stash(),
        }
    }
}

/// One system call for each write.
fn write_each(batch: &mut Batch<'_>) {
    for number in 0..batch.writes.len() {
        let socket = batch.writes[number].stream.as_raw_fd();
        let flags = send_flags(batch.writes[number].is_last);
        // Not write(2) and writev(2), which come to the socket by way of the file system.
        let count = match batch.content(number) {
            WriteContent::Nothing => continue,
            // SAFETY: the bytes outlive the call.
            WriteContent::Bytes(bytes) => unsafe {
                libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags)
            },
            WriteContent::Pieces(pieces) => {
                // SAFETY: zero is a valid value of every field.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                // The kernel only reads, and an `IoSlice` has the layout of an `iovec`.
                header.msg_iov = pieces.as_ptr().cast_mut().cast();
                header.msg_iovlen = pieces.len() as _;
                // SAFETY: the header, the pieces and their bytes outlive the call.
                unsafe { libc::sendmsg(socket, &header, flags) }
            }
        };
        batch.writes[number].written = match count {
            0.. => Written::Bytes(count as usize),
            _ => Written::from_error(&io::Error::last_os_error()),
        };
    }
}

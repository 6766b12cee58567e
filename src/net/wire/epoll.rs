//! The wire on an epoll set: nothing in user space for a connection that waits, 208 bytes in the kernel.
//!
//! Edge-triggered and for both directions from the start, so that a connection costs one system call
//! in its life, and one more if it moves.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::ready::{READY_PER_TURN, Ready};
use crate::ident::ConnId;

pub struct Epoll {
    set: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Epoll {
            // SAFETY: a descriptor that the call above has just made for us.
            set: unsafe { OwnedFd::from_raw_fd(set) },
            events: vec![libc::epoll_event { events: 0, u64: 0 }; READY_PER_TURN],
        })
    }

    /// Readable when something is ready.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    fn control(&self, operation: libc::c_int, socket: RawFd, id: u64) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: id,
        };
        // SAFETY: `event` outlives the call, both descriptors are open for as long as it lasts.
        let done = unsafe { libc::epoll_ctl(self.set.as_raw_fd(), operation, socket, &mut event) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Begins to watch a connection. What is ready already is reported.
    pub fn watch(&mut self, id: ConnId, stream: &TcpStream) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, stream.as_raw_fd(), id.to_bits())
    }

    /// Ends that, before the connection moves. What is taken already is stale by their id.
    pub fn release(&mut self, stream: &TcpStream) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, stream.as_raw_fd(), 0)
    }

    /// Takes what has happened, as much as fits.
    pub fn take(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        // SAFETY: `events` has room for that many entries and outlives the call.
        let count = unsafe {
            libc::epoll_wait(
                self.set.as_raw_fd(),
                self.events.as_mut_ptr(),
                READY_PER_TURN as libc::c_int,
                0,
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            };
        }
        let events = &self.events[..count as usize];
        ready.extend(
            events
                .iter()
                .map(|event| Ready::new(event.u64, event.events)),
        );
        Ok(())
    }
}

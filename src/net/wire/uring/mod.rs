//! The wire on a ring of the core's own: a connection is armed by a poll that its next input ends, and from then
//! on by a multishot poll for its lifetime; the writes of a turn are handed to the kernel in one call.
//!
//! Nothing in user space for a connection that waits. Two things are counted on, and checked by [`probe`](super::probe):
//! - A poll is in the kernel's hands, and holds the socket open, until its last completion (the one without
//!   `more`), which follows a cancel at once. Completions name the connection with its generation, so one that
//!   comes late goes nowhere.
//! - Every send has one completion, and [`Uring::write`] does not return before it. So no send is in flight
//!   while anything else runs, and no memory is in the kernel's hands between two calls.
//!
//! Bound: one request a connection in the kernel; here, what one batch's writing has told.

#[cfg(asan)]
mod checked;
#[cfg(test)]
mod model;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use tracing::error;

use super::batch::{Batch, WriteContent, Written, send_flags};
use super::ready::{READY_PER_TURN, Ready};
use crate::ident::ConnId;
#[cfg(asan)]
use checked::CheckedRing as Ring;
#[cfg(not(asan))]
use ring::Ring;
use ring::{Completion, Kernel, RingRequest};

/// A poll's name is its connection's, whose slot never reaches this bit.
const NO_POLL: u64 = 1 << 31;
const CANCEL: u64 = NO_POLL;
/// The rest of the lower word is the write's number in its batch, the upper word the batch's.
const SEND: u64 = NO_POLL | 1 << 30;
const SEND_NUMBER: u64 = (1 << 30) - 1;

/// Calls in vain, a millisecond apart, before a kernel that takes no requests is given up: it lacks memory
/// even for a request.
const TRIES_MAX: usize = 10_000;

pub struct Uring<K = Ring> {
    kernel: K,
    /// Polls queued or in the kernel's hands whose last completion has not come.
    polls: usize,
    /// Sends of the batch being written whose completion has not come.
    sends: usize,
    /// What was told with the results of writes.
    stash: VecDeque<Ready>,
    /// The heads of writes of several pieces, while a batch is written.
    headers: Vec<libc::msghdr>,
    /// Number of the latest batch.
    batch: u32,
}

impl Uring {
    pub fn new() -> io::Result<Uring> {
        Ok(Uring::over(Ring::new()?))
    }

    /// One so small that it overflows.
    #[cfg(test)]
    pub fn with_sizes(requests: u32, completions: u32) -> io::Result<Uring> {
        Ok(Uring::over(Ring::with_sizes(requests, completions)?))
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.kernel.descriptor()
    }
}

impl<K: Kernel> Uring<K> {
    fn over(kernel: K) -> Uring<K> {
        Uring {
            kernel,
            polls: 0,
            sends: 0,
            stash: VecDeque::new(),
            headers: Vec::new(),
            batch: 0,
        }
    }

    /// Arms a connection. The kernel gets to know of it with the turn's writes.
    pub fn watch(&mut self, id: ConnId, stream: &TcpStream) {
        let (socket, user) = (stream.as_raw_fd(), self.name_poll(id));
        self.queue(RingRequest::Poll { socket, user });
    }

    /// Arms one until it has input. That is its poll's last completion, so nothing is left to cancel.
    pub fn watch_once(&mut self, id: ConnId, stream: &TcpStream) {
        let (socket, user) = (stream.as_raw_fd(), self.name_poll(id));
        self.queue(RingRequest::PollOnce { socket, user });
    }

    /// The name of a poll that is to be queued, which is counted from here on.
    fn name_poll(&mut self, id: ConnId) -> u64 {
        let user = id.to_bits();
        assert!(user & NO_POLL == 0, "a table of two thousand million slots");
        self.polls += 1;
        user
    }

    /// Ends the poll of a connection. Closing its descriptor would not, and the kernel keeps the socket open
    /// for it: the cancel is taken with the turn's writes, and the poll's own last completion follows.
    pub fn forget(&mut self, id: ConnId) {
        self.queue(RingRequest::Cancel {
            target: id.to_bits(),
            user: CANCEL,
        });
    }

    /// Queues a request that points to no memory.
    fn queue(&mut self, request: RingRequest) {
        // SAFETY: it points to nothing.
        while !unsafe { self.kernel.push(request) } {
            self.hand_over(None);
        }
    }

    pub fn take(&mut self, ready: &mut Vec<Ready>) {
        let stashed = self.stash.len().min(READY_PER_TURN);
        ready.extend(self.stash.drain(..stashed));
        if self.stash.is_empty() {
            self.stash.shrink_to(READY_PER_TURN);
        }
        while ready.len() < READY_PER_TURN {
            let Uring { kernel, polls, .. } = self;
            kernel.reap(READY_PER_TURN - ready.len(), |completion| {
                ready.extend(ready_of(polls, completion));
            });
            // What the kernel cannot bring now, for want of memory, stays to be asked for.
            let more = self.kernel.has_work() || self.kernel.overflows();
            if !more || !self.enter(false) {
                break;
            }
        }
    }

    /// Polls whose last completion has not been taken.
    pub fn in_flight(&self) -> usize {
        self.polls
    }

    /// Whether [`Uring::take`] has something that it would not have waited for.
    pub fn has_ready(&mut self) -> bool {
        self.has_stash()
            || self.kernel.has_completions()
            || self.kernel.has_work()
            || self.kernel.overflows()
    }

    /// Whether there is something ready that the descriptor will not become readable for.
    pub fn has_stash(&self) -> bool {
        !self.stash.is_empty()
    }

    /// Does every write of the batch, and hands over what else is queued.
    ///
    /// Returns when each send has had its completion: then, and not before, the kernel is done with its memory.
    /// That is at once. A send is begun in the call that hands it over, and what MSG_DONTWAIT cannot send now
    /// it gives back: such a request is neither armed with a poll nor passed to a kernel thread.
    pub fn write(&mut self, batch: &mut Batch<'_>) {
        self.batch = self.batch.wrapping_add(1);
        self.make_headers(batch);
        // Requests in the queue point to the batch's memory until the kernel has taken them.
        let unwinding = AbortOnDrop;
        let mut headers = self.headers.as_ptr();
        for number in 0..batch.writes.len() {
            let user = u64::from(self.batch) << 32 | SEND | number as u64;
            let socket = batch.writes[number].stream.as_raw_fd();
            let flags = send_flags(batch.writes[number].is_last);
            let request = match batch.content(number) {
                WriteContent::Nothing => continue,
                WriteContent::Bytes(bytes) => RingRequest::Send {
                    socket,
                    bytes: bytes.as_ptr(),
                    length: bytes.len() as u32,
                    flags,
                    user,
                },
                WriteContent::Pieces(_) => {
                    let header = headers;
                    // SAFETY: `make_headers` has made one for each write that comes by here.
                    headers = unsafe { headers.add(1) };
                    RingRequest::SendPieces {
                        socket,
                        header,
                        flags,
                        user,
                    }
                }
            };
            // SAFETY: the pieces live as long as the batch, which the caller lends for the whole call;
            // the headers stay where they are until the next one. `hand_over` at the end of this one
            // returns when every send counted in `sends` is over, and a panic on the way does not.
            while !unsafe { self.kernel.push(request) } {
                self.hand_over(Some(batch));
            }
            self.sends += 1;
        }
        self.hand_over(Some(batch));
        std::mem::forget(unwinding);
    }

    /// Hands over what has been queued since the last batch.
    pub fn settle(&mut self) {
        self.hand_over(None);
    }

    /// The heads of all writes that have more than one piece, in a list that does not move afterwards.
    fn make_headers(&mut self, batch: &Batch<'_>) {
        self.headers.clear();
        for number in 0..batch.writes.len() {
            if let WriteContent::Pieces(pieces) = batch.content(number) {
                // SAFETY: zero is a valid value of every field.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                // The kernel only reads, and an `IoSlice` has the layout of an `iovec`.
                header.msg_iov = pieces.as_ptr().cast_mut().cast();
                header.msg_iovlen = pieces.len() as _;
                self.headers.push(header);
            }
        }
    }

    /// Has the kernel take all that is queued, and takes completions until there is one for every send: these
    /// go into their batch, readiness onto the stash.
    fn hand_over(&mut self, mut batch: Option<&mut Batch<'_>>) {
        let mut tries = 0;
        loop {
            let queued = self.kernel.queued() > 0;
            if !queued && self.sends == 0 {
                return;
            }
            // None of what is awaited is in the queue, nor among what has been taken.
            let wait = !queued && !self.kernel.overflows();
            if !self.enter(wait) {
                tries += 1;
                if tries > TRIES_MAX {
                    give_up(&io::ErrorKind::TimedOut.into());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let Uring {
                kernel,
                polls,
                sends,
                stash,
                batch: latest,
                ..
            } = self;
            kernel.reap(usize::MAX, |completion| {
                if completion.user & SEND == SEND {
                    record(batch.as_deref_mut(), *latest, completion);
                    *sends -= 1;
                } else {
                    stash.extend(ready_of(polls, completion));
                }
            });
        }
    }

    /// Enters the kernel. False if it lacks memory for now, or room for completions.
    fn enter(&mut self, wait: bool) -> bool {
        match self.kernel.enter(wait) {
            Ok(()) => true,
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => true,
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => false,
                _ => give_up(&error),
            },
        }
    }
}

/// What a completion says of a connection, if it is about one.
fn ready_of(polls: &mut usize, completion: Completion) -> Option<Ready> {
    if completion.user & NO_POLL != 0 {
        // A cancel that came too late.
        return None;
    }
    if !completion.more {
        *polls -= 1;
    }
    match completion.result {
        flags @ 0.. => Some(Ready {
            unwatched: !completion.more,
            ..Ready::new(completion.user, flags as u32)
        }),
        // By our own cancel. Mostly nobody has the connection any more.
        errno if errno == -libc::ECANCELED => Some(Ready {
            recalled: true,
            ..Ready::new(completion.user, 0)
        }),
        // It cannot be watched, so it cannot live.
        _ => Some(Ready::new(completion.user, libc::EPOLLERR as u32)),
    }
}

/// Notes what became of a send.
fn record(batch: Option<&mut Batch<'_>>, latest: u32, completion: Completion) {
    let number = (completion.user & SEND_NUMBER) as usize;
    let write = batch
        .filter(|_| completion.user >> 32 == u64::from(latest))
        .and_then(|batch| batch.writes.get_mut(number));
    let Some(write) = write else {
        // A send that outlived its call, and the memory it sent from.
        give_up(&io::Error::other("a send ended after its call"));
    };
    write.written = match completion.result {
        bytes @ 0.. => Written::Bytes(bytes as usize),
        errno => Written::from_errno(-errno),
    };
}

/// Without its wire a core is deaf, and what it counted on does not hold; the process must not go on so.
fn give_up(error: &io::Error) -> ! {
    error!(%error, "a core's ring failed");
    std::process::abort();
}

/// Ends the process where a panic would leave the queue with requests whose memory goes.
struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        std::process::abort();
    }
}

//! A raw ring: the few kinds of request that the wire makes, and their completions.
//!
//! [`Kernel`] is what the wire sees of it, so that the tests can put a model in its place whose completions
//! come in any order.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode};

/// Requests that one call hands over: a turn's 256 writes, and as many arms and cancels as come with them.
/// When it is full, what it has is handed over; so its size costs calls, never requests. 68 KiB.
const REQUESTS: u32 = 1024;
/// Completions that the ring holds: one of each of so many connections between two looks. What is
/// beyond, the kernel keeps until there is room, but it disarms those connections, and arming one again costs
/// a microsecond. The kernel also finds the poll to cancel by a hash whose size follows from this, and is
/// largest (256 lists) from here on. 128 KiB; with the requests, some 200 KiB of RLIMIT_MEMLOCK for each core.
const COMPLETIONS: u32 = 8192;
/// IORING_ENTER_GETEVENTS: run what waits to become completions, too.
const GET_EVENTS: u32 = 1;

/// What a connection's poll reports. Room to write is asked for from the start: a socket that is armed has
/// it, which costs one completion in its life, and after that the kernel reports it only when a write had found
/// none. RDHUP, for after a short read the end may be there already.
const INTEREST: i32 = INPUT | libc::POLLOUT as i32;
/// What a poll reports that ends with it. That there is room, it would report at once.
const INPUT: i32 = libc::POLLIN as i32 | libc::POLLRDHUP as i32;

/// One request.
#[derive(Clone, Copy, Debug)]
pub enum RingRequest {
    /// Reports, again and again, what becomes possible on the socket.
    Poll { socket: RawFd, user: u64 },
    /// Reports input or its end, and is over.
    PollOnce { socket: RawFd, user: u64 },
    /// Ends the poll of that name, which has its last completion then. Has none itself, if it finds it.
    Cancel { target: u64, user: u64 },
    /// One piece. The flags are send(2)'s.
    Send {
        socket: RawFd,
        bytes: *const u8,
        length: u32,
        flags: i32,
        user: u64,
    },
    /// Several pieces; the same otherwise.
    SendPieces {
        socket: RawFd,
        header: *const libc::msghdr,
        flags: i32,
        user: u64,
    },
}

/// How a request went, or that it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub user: u64,
    pub result: i32,
    /// The request goes on: this is not its last completion.
    pub more: bool,
}

/// What the wire needs of a ring.
pub trait Kernel {
    /// Puts a request into the queue. False if that is full.
    ///
    /// # Safety
    ///
    /// What the request points to is valid until the kernel is done with it.
    unsafe fn push(&mut self, request: RingRequest) -> bool;

    /// Requests in the queue that the kernel has not taken.
    fn queued(&mut self) -> usize;

    /// Has the kernel take what is queued, begin it, and run what waits to become completions. May take less.
    /// Returns at once, unless it is to wait until there is a completion.
    fn enter(&mut self, wait: bool) -> io::Result<()>;

    /// Whether something has happened that becomes a completion with the next [`Kernel::enter`].
    fn has_work(&mut self) -> bool;

    /// Whether there are completions that found no room. [`Kernel::enter`] brings as many as find it now.
    fn overflows(&mut self) -> bool;

    /// Takes completions, at most so many.
    fn reap(&mut self, most: usize, take: impl FnMut(Completion));

    /// Whether completions wait to be taken.
    fn has_completions(&mut self) -> bool;
}

pub struct Ring {
    ring: IoUring,
}

impl Ring {
    /// Belongs to this thread alone.
    ///
    /// Completions are made when this thread enters the kernel for whatever reason, and a flag says that some
    /// wait to be. (With DEFER_TASKRUN it would have to enter this ring, and a poll on the ring's descriptor
    /// loses wake-ups.)
    pub fn new() -> io::Result<Ring> {
        Ring::with_sizes(REQUESTS, COMPLETIONS)
    }

    pub fn with_sizes(requests: u32, completions: u32) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions)
            .build(requests)?;
        let has = ring.params();
        if !has.is_feature_nodrop() || !has.is_feature_skip_cqe_on_success() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Ring { ring })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring's own descriptor, open for as long as the ring is.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Kernel for Ring {
    unsafe fn push(&mut self, request: RingRequest) -> bool {
        let entry = entry(request);
        // SAFETY: the caller's promise is the one asked for here.
        unsafe { self.ring.submission().push(&entry).is_ok() }
    }

    fn queued(&mut self) -> usize {
        self.ring.submission().len()
    }

    fn enter(&mut self, wait: bool) -> io::Result<()> {
        let queued = self.queued() as u32;
        // SAFETY: no argument is passed; what the requests point to was promised when they were pushed.
        let taken = unsafe {
            self.ring
                .submitter()
                .enter::<libc::sigset_t>(queued, u32::from(wait), GET_EVENTS, None)
        };
        if self.ring.completion().overflow() > 0 {
            // Only without any memory left. A request's end is lost, and with it what the wire counts on.
            return Err(io::Error::from_raw_os_error(libc::EBADR));
        }
        taken.map(|_| ())
    }

    fn has_work(&mut self) -> bool {
        self.ring.submission().taskrun()
    }

    fn overflows(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    fn reap(&mut self, most: usize, mut take: impl FnMut(Completion)) {
        for entry in self.ring.completion().take(most) {
            take(Completion {
                user: entry.user_data(),
                result: entry.result(),
                more: cqueue::more(entry.flags()),
            });
        }
    }

    fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }
}

fn entry(request: RingRequest) -> Entry {
    match request {
        RingRequest::Poll { socket, user } => opcode::PollAdd::new(Fd(socket), INTEREST as u32)
            .multi(true)
            .build()
            .user_data(user),
        RingRequest::PollOnce { socket, user } => opcode::PollAdd::new(Fd(socket), INPUT as u32)
            .build()
            .user_data(user),
        RingRequest::Cancel { target, user } => opcode::AsyncCancel::new(target)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(user),
        RingRequest::Send {
            socket,
            bytes,
            length,
            flags,
            user,
        } => opcode::Send::new(Fd(socket), bytes, length)
            .flags(flags)
            .build()
            .user_data(user),
        RingRequest::SendPieces {
            socket,
            header,
            flags,
            user,
        } => opcode::SendMsg::new(Fd(socket), header)
            .flags(flags as u32)
            .build()
            .user_data(user),
    }
}

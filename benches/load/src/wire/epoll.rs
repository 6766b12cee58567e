//! [`Epoll`] and [`Wake`]: the system calls of the generators' event loop, in a safe form.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Most events taken at once.
const EVENTS_MAX: usize = 1024;

/// A set of descriptors to wait for, level-triggered.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    /// Whether the kernel lacks epoll_pwait2 (before 5.11), or a sandbox forbids it.
    is_coarse: bool,
}

/// What has happened to a descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
}

/// The events of one wait.
pub struct Events(Vec<libc::epoll_event>);

impl Default for Events {
    fn default() -> Events {
        Events(Vec::with_capacity(EVENTS_MAX))
    }
}

impl Events {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, at: usize) -> Event {
        let event = self.0[at];
        // A hang-up or an error is learnt of by reading.
        let end = libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLRDHUP;
        Event {
            token: event.u64,
            readable: event.events & (libc::EPOLLIN | end) as u32 != 0,
            writable: event.events & (libc::EPOLLOUT | libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0,
        }
    }
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: takes a flag, and what it yields, if it is one, is a descriptor of ours alone.
        let fd = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Epoll {
            fd,
            is_coarse: false,
        })
    }

    /// Begins to wait for bytes, and for room to write if told so.
    pub fn add(&self, fd: &impl AsFd, token: u64, for_room: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, for_room)
    }

    pub fn change(&self, fd: &impl AsFd, token: u64, for_room: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, for_room)
    }

    fn control(
        &self,
        operation: i32,
        fd: &impl AsFd,
        token: u64,
        for_room: bool,
    ) -> io::Result<()> {
        let room = if for_room { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | room) as u32,
            u64: token,
        };
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open, borrowed through the call; the event lives through it.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits for at most so many nanoseconds.
    pub fn wait(&mut self, nanos: u64, events: &mut Events) -> io::Result<()> {
        events.0.clear();
        let count = match self.is_coarse {
            false => self.wait_fine(nanos, events),
            true => self.wait_coarse(nanos, events),
        };
        if count >= 0 {
            // SAFETY: the kernel has written that many, at most the capacity.
            unsafe { events.0.set_len(count as usize) };
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(()),
            Some(libc::ENOSYS | libc::EPERM) if !self.is_coarse => {
                self.is_coarse = true;
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn wait_fine(&self, nanos: u64, events: &mut Events) -> i64 {
        let time = libc::timespec {
            tv_sec: (nanos / 1_000_000_000) as _,
            tv_nsec: (nanos % 1_000_000_000) as _,
        };
        // SAFETY: the buffer has room for EVENTS_MAX events, the time lives through the call, and no
        // signal mask is given.
        unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.0.as_mut_ptr(),
                EVENTS_MAX as libc::c_int,
                &raw const time,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        }
    }

    fn wait_coarse(&self, nanos: u64, events: &mut Events) -> i64 {
        let millis = nanos.div_ceil(1_000_000).min(60_000) as i32;
        // SAFETY: the buffer has room for EVENTS_MAX events.
        let count = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                events.0.as_mut_ptr(),
                EVENTS_MAX as i32,
                millis,
            )
        };
        i64::from(count)
    }
}

/// Wakes a generator from another thread: an eventfd.
#[derive(Debug)]
pub struct Wake(File);

impl Wake {
    pub fn new() -> io::Result<Wake> {
        // SAFETY: takes two integers, and what it yields, if it is one, is a descriptor of ours.
        let fd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Wake(File::from(fd)))
    }

    pub fn ring(&self) {
        // It fails only when it has been rung 2^64 times without being heard.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    pub fn hear(&self) {
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

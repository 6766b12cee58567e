//! The part of a doorbell that the kernel sees: one eventfd, which a sleeping core polls.
//!
//! Its descriptor must be valid in the threads of all cores: whoever gives threads descriptor tables
//! of their own does so after the bus is connected.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::doorbell::Notify;

/// A non-blocking eventfd that is closed on exec.
#[derive(Debug)]
pub struct Eventfd(File);

impl Eventfd {
    /// Opens one; it fails when descriptors run out.
    pub fn open() -> io::Result<Eventfd> {
        // SAFETY: eventfd takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened just now and nothing else owns it.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Eventfd(File::from(owned)))
    }

    /// What the owner polls for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Forgets the rings so far; returns whether there was any.
    pub fn drain(&self) -> bool {
        // One read takes the whole count; an empty one says that it would block.
        (&self.0).read(&mut [0; 8]).is_ok()
    }
}

impl Notify for Eventfd {
    fn ring(&self) {
        // It can fail only when the count is full, and then the descriptor is readable anyway.
        let rung = (&self.0).write(&1u64.to_ne_bytes());
        debug_assert!(rung.is_ok(), "ring: {rung:?}");
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn rings_add_up_to_one_drain() {
        let eventfd = Eventfd::open().unwrap();
        assert!(!eventfd.drain());
        eventfd.ring();
        eventfd.ring();
        assert!(eventfd.drain());
        assert!(!eventfd.drain());
    }
}

//! The ring under the address sanitizer: looks at a send's memory when the send is over.
//!
//! The kernel reads that memory by itself, unseen by the sanitizer. So what a send points to is noted when it is
//! queued, and whoever frees it before the send's completion is found out here. Bound: a batch's sends.

use std::collections::HashMap;
use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;

use super::ring::{self, Completion, Kernel, RingRequest};

unsafe extern "C" {
    /// Of the sanitizer: the first byte of the region that is nobody's, or null.
    fn __asan_region_is_poisoned(begin: *const c_void, size: usize) -> *const u8;
}

pub struct CheckedRing {
    ring: ring::Ring,
    /// Sends whose completion has not come, by their names.
    sends: HashMap<u64, RingRequest>,
}

impl CheckedRing {
    pub fn new() -> io::Result<CheckedRing> {
        Ok(CheckedRing::over(ring::Ring::new()?))
    }

    #[cfg(test)]
    pub fn with_sizes(requests: u32, completions: u32) -> io::Result<CheckedRing> {
        Ok(CheckedRing::over(ring::Ring::with_sizes(
            requests,
            completions,
        )?))
    }

    fn over(ring: ring::Ring) -> CheckedRing {
        CheckedRing {
            ring,
            sends: HashMap::new(),
        }
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.ring.descriptor()
    }
}

impl Kernel for CheckedRing {
    unsafe fn push(&mut self, request: RingRequest) -> bool {
        // SAFETY: the caller's promise is the one asked for here.
        let pushed = unsafe { self.ring.push(request) };
        if let RingRequest::Send { user, .. } | RingRequest::SendPieces { user, .. } = request
            && pushed
        {
            self.sends.insert(user, request);
        }
        pushed
    }

    fn queued(&mut self) -> usize {
        self.ring.queued()
    }

    fn enter(&mut self, wait: bool) -> io::Result<()> {
        self.ring.enter(wait)
    }

    fn has_work(&mut self) -> bool {
        self.ring.has_work()
    }

    fn overflows(&mut self) -> bool {
        self.ring.overflows()
    }

    fn reap(&mut self, most: usize, mut take: impl FnMut(Completion)) {
        let CheckedRing { ring, sends } = self;
        ring.reap(most, |completion| {
            if let Some(send) = sends.remove(&completion.user) {
                check(send);
            }
            take(completion);
        });
    }

    fn has_completions(&mut self) -> bool {
        self.ring.has_completions()
    }
}

/// Touches all that the kernel may have read for a send. What is freed already, the sanitizer reports.
fn check(send: RingRequest) {
    match send {
        RingRequest::Send { bytes, length, .. } => touch(bytes, length as usize),
        RingRequest::SendPieces { header, .. } => {
            // SAFETY: as promised when it was pushed. To see whether that was kept is what this is for.
            let pieces = unsafe { (*header).msg_iov };
            // SAFETY: as above.
            for number in 0..unsafe { (*header).msg_iovlen } {
                // SAFETY: as above.
                let piece = unsafe { *pieces.add(number) };
                touch(piece.iov_base.cast(), piece.iov_len);
            }
        }
        RingRequest::Poll { .. } | RingRequest::PollOnce { .. } | RingRequest::Cancel { .. } => {}
    }
}

fn touch(bytes: *const u8, length: usize) {
    // SAFETY: it looks at the sanitizer's own tables, whatever the region.
    let freed = unsafe { __asan_region_is_poisoned(bytes.cast(), length) };
    if !freed.is_null() {
        // SAFETY: none. This is where the sanitizer ends the process, and says who has freed it.
        unsafe { freed.read_volatile() };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "RING_CHECKED_CHILD";

    /// Sends from memory that is freed before the completion is taken: in one piece, or as the middle one.
    fn free_too_early(pieces: bool) {
        let (stream, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut ring = CheckedRing::new().unwrap();
        let gone = vec![7; 1000];
        let parts = [&b"one"[..], &gone, b"three"].map(|part| libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        });
        // SAFETY: zero is a valid value of every field.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = parts.as_ptr().cast_mut();
        header.msg_iovlen = parts.len();
        let (socket, user) = (stream.as_raw_fd(), 1);
        let request = match pieces {
            true => RingRequest::SendPieces {
                socket,
                header: &header,
                flags: 0,
                user,
            },
            false => RingRequest::Send {
                socket,
                bytes: gone.as_ptr(),
                length: gone.len() as u32,
                flags: 0,
                user,
            },
        };
        // SAFETY: it is not kept that the memory outlives the send.
        assert!(unsafe { ring.push(request) });
        drop(gone);
        ring.enter(true).unwrap();
        ring.reap(1, |_| {});
    }

    /// The sanitizer itself does not see it, so that all tests under it would prove nothing of sends.
    #[test]
    fn a_send_whose_memory_is_freed_too_early_is_reported() {
        if let Ok(pieces) = std::env::var(CHILD) {
            return free_too_early(pieces == "true");
        }
        if crate::net::wire::probe::probe().is_err() {
            return;
        }
        for pieces in ["false", "true"] {
            let child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "a_send_whose_memory_is_freed_too_early_is_reported",
                    "--nocapture",
                ])
                .env(CHILD, pieces)
                // Its report is no failure, so it is not to lie among the others.
                .env("ASAN_OPTIONS", "")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stderr);
            assert!(!child.status.success(), "it went well: {said}");
            assert!(said.contains("heap-use-after-free"), "{said}");
        }
    }
}

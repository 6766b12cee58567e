//! Waiting, in a monoio task, until a descriptor can be read: the wire's, the doorbell's, a listener's.
//!
//! Bound: one duplicate of the descriptor and at most one operation in flight.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use monoio::net::UnixStream;

pub struct Readiness {
    /// monoio offers `readable()` on its sockets only. It polls the descriptor and calls nothing that
    /// only a socket has, so any descriptor that can be polled may stand here.
    stream: UnixStream,
}

impl Readiness {
    /// Must be called on the runtime's thread.
    pub fn new(descriptor: BorrowedFd<'_>) -> io::Result<Readiness> {
        let own = descriptor.try_clone_to_owned()?;
        Ok(Readiness {
            stream: UnixStream::from_std(StdUnixStream::from(own))?,
        })
    }

    /// Returns when the descriptor can be read, at once if it can be now.
    pub async fn wait(&self) -> io::Result<()> {
        self.stream.readable(false).await
    }
}

//! Waiting, in a monoio task, until a descriptor can be read: the wire's, the doorbell's, a listener's.
//!
//! Every wait goes through the driver, even if the descriptor can be read now: a task that waits again and
//! again leaves room for the others and for the timers. Bound: one duplicate of the descriptor and at
//! most one operation in flight.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use monoio::net::UnixStream;

pub struct Readiness {
    /// monoio offers `readable()` on its sockets only. It polls the descriptor and calls nothing that
    /// only a socket has, so any descriptor that can be polled may stand here.
    stream: Option<UnixStream>,
}

impl Readiness {
    /// Must be called on the runtime's thread.
    pub fn new(descriptor: BorrowedFd<'_>) -> io::Result<Readiness> {
        Readiness::over(descriptor.try_clone_to_owned()?)
    }

    fn over(own: OwnedFd) -> io::Result<Readiness> {
        let stream = UnixStream::from_std(StdUnixStream::from(own))?;
        Ok(Readiness {
            stream: Some(stream),
        })
    }

    /// Returns when the descriptor can be read, but not before the other tasks had their turn.
    pub async fn wait(&mut self) -> io::Result<()> {
        if monoio::utils::is_legacy()
            && let Some(stream) = self.stream.take()
        {
            // The epoll driver remembers that a descriptor was readable and would answer at once. It
            // knows nothing of one that it has just met.
            // SAFETY: the descriptor is the stream's own, which gives it up.
            *self = Readiness::over(unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) })?;
        }
        match &self.stream {
            Some(stream) => stream.readable(false).await,
            // Only an error above leaves it so.
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A place where a task gives way: to the core's other tasks, its timers and its I/O.
pub struct Pass {
    /// Its other end is closed, so it can always be read.
    end: StdUnixStream,
}

impl Pass {
    pub fn new() -> io::Result<Pass> {
        let (end, _) = StdUnixStream::pair()?;
        Ok(Pass { end })
    }

    /// Returns in the next round of the runtime's loop.
    pub async fn give_way(&self) -> io::Result<()> {
        use std::os::fd::AsFd;
        Readiness::new(self.end.as_fd())?.wait().await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

    use super::*;

    /// Timers need a round of the loop in which no task is ready, I/O needs one at all.
    async fn waiting_starves_nobody() {
        let pass = Pass::new().unwrap();
        let rounds = Rc::new(Cell::new(0));
        let count = Rc::clone(&rounds);
        let busy = monoio::spawn(async move {
            while count.get() < 1_000_000 {
                pass.give_way().await.unwrap();
                count.set(count.get() + 1);
            }
        });
        monoio::time::sleep(Duration::from_millis(20)).await;
        let then = rounds.get();
        assert!((1..1_000_000).contains(&then), "{then} rounds");
        rounds.set(1_000_000);
        busy.await;
    }

    #[test]
    fn waiting_starves_nobody_on_either_driver() {
        let mut epoll = RuntimeBuilder::<LegacyDriver>::new()
            .enable_timer()
            .build()
            .unwrap();
        epoll.block_on(waiting_starves_nobody());
        // Where io_uring is forbidden there is nothing to test.
        if let Ok(mut uring) = RuntimeBuilder::<IoUringDriver>::new()
            .enable_timer()
            .build()
        {
            uring.block_on(waiting_starves_nobody());
        }
    }
}

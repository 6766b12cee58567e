//! Waiting, in a monoio task, until a descriptor can be read: the wire's, the doorbell's, a listener's.
//!
//! Every wait goes through the driver, even if the descriptor can be read now: a task that waits again and
//! again leaves room for the others and for the timers. Bound: two descriptors and at most one operation in
//! flight.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;

use monoio::net::UnixStream;

pub struct AsyncFd {
    /// monoio offers `readable()` on its sockets only. It polls the descriptor and calls nothing that
    /// only a socket has, so any descriptor that can be polled may stand here. It is registered once: the
    /// kernel goes through a whole epoll set, the wire's, whenever that is put into another.
    stream: UnixStream,
    /// With the epoll driver: what can always be read. Here from the start, for there may be no descriptor left
    /// when it is needed.
    always: Option<UnixStream>,
}

impl AsyncFd {
    /// Must be called on the runtime's thread.
    pub fn new(descriptor: BorrowedFd<'_>) -> io::Result<AsyncFd> {
        let own = StdUnixStream::from(descriptor.try_clone_to_owned()?);
        let always = match monoio::utils::is_legacy() {
            true => Some(UnixStream::from_std(always_readable()?)?),
            false => None,
        };
        Ok(AsyncFd {
            stream: UnixStream::from_std(own)?,
            always,
        })
    }

    /// Returns when the descriptor can be read, but not before the other tasks had their turn.
    pub async fn wait(&mut self) -> io::Result<()> {
        let gave_way = self.until_ready().await?;
        if !gave_way && let Some(always) = self.always.take() {
            // SAFETY: the descriptor is the stream's own, which gives it up.
            let end = unsafe { OwnedFd::from_raw_fd(always.into_raw_fd()) };
            let again = UnixStream::from_std(StdUnixStream::from(end))?;
            next_round(self.always.insert(again)).await?;
        }
        Ok(())
    }

    /// Waits until it can be read, and says whether the others had their turn. The epoll driver remembers a descriptor that could
    /// be read; it asks whether it still can, and if so answers at once.
    async fn until_ready(&self) -> io::Result<bool> {
        let mut ready = pin!(self.stream.readable(false));
        let mut waited = false;
        poll_fn(|task| {
            let polled = ready.as_mut().poll(task);
            waited |= polled.is_pending();
            polled
        })
        .await?;
        Ok(waited)
    }
}

/// A socket whose other end is closed.
fn always_readable() -> io::Result<StdUnixStream> {
    let (end, _) = StdUnixStream::pair()?;
    Ok(end)
}

/// Waits for what can be read already. The driver has just met it, and so does not know that yet.
async fn next_round(just_met: &UnixStream) -> io::Result<()> {
    just_met.readable(false).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::fd::{AsFd, AsRawFd};
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

    use super::*;

    /// Timers need a round of the loop in which no task is ready, I/O needs one at all.
    async fn starves_nobody(mut wait: impl AsyncFnMut() -> io::Result<()> + 'static) {
        let rounds = Rc::new(Cell::new(0));
        let count = Rc::clone(&rounds);
        let busy = monoio::spawn(async move {
            while count.get() < 1_000_000 {
                wait().await.unwrap();
                count.set(count.get() + 1);
            }
        });
        monoio::time::sleep(Duration::from_millis(20)).await;
        let then = rounds.get();
        assert!((1..1_000_000).contains(&then), "{then} rounds");
        rounds.set(1_000_000);
        busy.await;
    }

    async fn waiting_starves_nobody() {
        let end = always_readable().unwrap();
        let mut always = AsyncFd::new(end.as_fd()).unwrap();
        starves_nobody(async move || always.wait().await).await;
    }

    #[test]
    fn waiting_starves_nobody_on_either_driver() {
        on_both(waiting_starves_nobody);
    }

    fn on_both<F: Future<Output = ()>>(test: fn() -> F) {
        let mut epoll = RuntimeBuilder::<LegacyDriver>::new()
            .enable_timer()
            .build()
            .unwrap();
        epoll.block_on(test());
        // Where io_uring is forbidden there is nothing to test.
        if let Ok(mut uring) = RuntimeBuilder::<IoUringDriver>::new()
            .enable_timer()
            .build()
        {
            uring.block_on(test());
        }
    }

    /// An eventfd, which can be read when something was written.
    fn bell() -> OwnedFd {
        // SAFETY: no pointers; the result is checked before it is owned.
        unsafe {
            let bell = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            assert!(bell >= 0);
            OwnedFd::from_raw_fd(bell)
        }
    }

    fn ring(bell: &OwnedFd) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes that outlive the call.
        let done = unsafe { libc::write(bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        assert_eq!(done, 8);
    }

    /// An epoll set that has so many entries, the last of which can be rung.
    fn set(entries: usize) -> (OwnedFd, Vec<OwnedFd>) {
        // SAFETY: no pointers; the result is checked before it is owned.
        let set = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        let bells: Vec<OwnedFd> = (0..entries).map(|_| bell()).collect();
        for bell in &bells {
            let mut event = libc::epoll_event {
                events: (libc::EPOLLIN | libc::EPOLLET) as u32,
                u64: 0,
            };
            let (set, bell) = (set.as_raw_fd(), bell.as_raw_fd());
            // SAFETY: `event` outlives the call.
            let done = unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, bell, &mut event) };
            assert_eq!(done, 0);
        }
        (set, bells)
    }

    /// The shortest of many waits for an event of that set.
    async fn shortest_wait(entries: usize) -> Duration {
        let (set, bells) = set(entries);
        let mut ready = AsyncFd::new(set.as_fd()).unwrap();
        let mut shortest = Duration::MAX;
        for _ in 0..300 {
            ring(&bells[entries - 1]);
            let start = Instant::now();
            ready.wait().await.unwrap();
            shortest = shortest.min(start.elapsed());
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: room for one event, which outlives the call.
            let count = unsafe { libc::epoll_wait(set.as_raw_fd(), &mut event, 1, 0) };
            assert_eq!(count, 1);
        }
        shortest
    }

    async fn a_wait_costs_the_same_however_many_are_watched() {
        let (few, many) = (shortest_wait(1).await, shortest_wait(400).await);
        assert!(many < 3 * few, "{few:?} with one, {many:?} with 400");
    }

    #[test]
    fn a_wait_costs_the_same_however_many_are_watched_on_either_driver() {
        on_both(a_wait_costs_the_same_however_many_are_watched);
    }
}

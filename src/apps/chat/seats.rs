//! How many users a room holds: [`Seats`], and the [`Seat`] that each user's session keeps.
//!
//! The one thing the cores share, two counters touched at a login and at its end. A seat has to be had
//! before the user's address is bound: bound means reachable, and who found the room full must
//! not be. Asked of the core that keeps the roster, it would take a state of waiting, and a way back
//! for a seat whose user left meanwhile; so it is taken here, and dropping it gives it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The seats of one room, shared by the cores.
pub struct Seats {
    users_max: AtomicUsize,
    bytes_max: AtomicUsize,
    users: AtomicUsize,
    bytes: AtomicUsize,
}

/// One user's seat, given back when dropped.
pub struct Seat {
    seats: Arc<Seats>,
    bytes: usize,
}

impl Seats {
    /// Seats for so many users, whose roster entries have so many bytes together.
    pub fn new(users_max: usize, bytes_max: usize) -> Arc<Seats> {
        Arc::new(Seats {
            users_max: AtomicUsize::new(users_max),
            bytes_max: AtomicUsize::new(bytes_max),
            users: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        })
    }

    /// How many bytes the roster entries may have.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// From now on there are so many. Those that are taken stay so.
    pub fn renew(&self, users_max: usize, bytes_max: usize) {
        self.users_max.store(users_max, Ordering::Relaxed);
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Takes a seat for a user whose roster entry has so many bytes, if there is one.
    pub fn take(self: &Arc<Seats>, bytes: usize) -> Option<Seat> {
        if !add(&self.users, 1, self.users_max.load(Ordering::Relaxed)) {
            return None;
        }
        if !add(&self.bytes, bytes, self.bytes_max.load(Ordering::Relaxed)) {
            self.users.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Seat {
            seats: self.clone(),
            bytes,
        })
    }
}

impl Seats {
    /// A seat for one who has had one in another process, whether there is one or not.
    pub fn keep(self: &Arc<Seats>, bytes: usize) -> Seat {
        self.users.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Seat {
            seats: self.clone(),
            bytes,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.users.fetch_sub(1, Ordering::Relaxed);
        self.seats.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Adds unless that would pass the maximum. Relaxed: the count guards nothing but itself.
fn add(count: &AtomicUsize, more: usize, max: usize) -> bool {
    let sum = |now: usize| now.checked_add(more).filter(|sum| *sum <= max);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_bounded_and_leave_their_seat() {
        let seats = Seats::new(2, 1_000);
        let first = seats.take(10);
        let second = seats.take(10);
        assert!(first.is_some() && second.is_some());
        assert!(seats.take(10).is_none());
        drop(first);
        assert!(seats.take(10).is_some());
    }

    #[test]
    fn bytes_are_bounded_and_a_refusal_costs_nothing() {
        let seats = Seats::new(10, 100);
        let wide = seats.take(60).unwrap();
        assert!(seats.take(41).is_none());
        let exact = seats.take(40).unwrap();
        assert!(seats.take(1).is_none());
        drop((wide, exact));
        assert_eq!(seats.users.load(Ordering::Relaxed), 0);
        assert_eq!(seats.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn threads_never_pass_the_maximum() {
        let seats = Seats::new(3, usize::MAX);
        let had = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8).map(|_| scope.spawn(|| seats.take(1))).collect();
            let had: Vec<_> = takers
                .into_iter()
                .filter_map(|t| t.join().unwrap())
                .collect();
            had.len()
        });
        assert_eq!(had, 3);
        assert_eq!(seats.users.load(Ordering::Relaxed), 0);
    }
}

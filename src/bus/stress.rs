//! Cores on threads of their own, each asleep on its eventfd whenever there is nothing to do: the
//! test ends only if no wake-up is lost, whether for mail or for credit.

use std::os::fd::AsRawFd;
use std::thread;

use super::{Endpoint, Until, Writing, connect};
use crate::ident::{ConnId, CoreId};

const CORES: usize = 4;
/// Many times what the scheduler may need on a busy machine; only a lost wake-up lasts so long.
const PATIENCE_MS: i32 = 30_000;
/// A turn takes and posts so many at most, so that the two interleave.
const TURN: usize = 64;

fn wait(endpoint: &Endpoint<u64>) {
    let mut poll = libc::pollfd {
        fd: endpoint.descriptor().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd, and a count of one.
    let ready = unsafe { libc::poll(&mut poll, 1, PATIENCE_MS) };
    assert_eq!(ready, 1, "core {}: a wake-up was lost", endpoint.core());
}

/// One core: sends its share round the cores, itself too, within its credit, and receives as much as
/// the others send it. Returns how often it slept.
fn run(mut endpoint: Endpoint<u64>, messages: u64, in_transit_bytes_max: usize) -> u64 {
    let cores = endpoint.cores() as u64;
    let connection = ConnId {
        slot: endpoint.core().0.into(),
        generation: 0,
    };
    let mut next_from = [0; CORES];
    let (mut sent, mut received, mut sleeps) = (0, 0, 0);
    let (mut lent, mut returned) = (0, 0);
    loop {
        for _ in 0..TURN {
            let Some(envelope) = endpoint.take() else {
                break;
            };
            let next = &mut next_from[envelope.from.index()];
            assert_eq!(envelope.body, *next, "from {}", envelope.from);
            *next += 1;
            received += 1;
        }
        endpoint.publish_taken(Writing::NOTHING);
        endpoint.settle_credits(|payer, bytes| {
            assert_eq!(payer, connection);
            returned += bytes;
        });
        assert_eq!(endpoint.in_transit_bytes(), lent - returned);
        for _ in 0..TURN {
            if sent == messages || endpoint.in_transit_bytes() >= in_transit_bytes_max {
                break;
            }
            let to = CoreId((sent % cores) as u16);
            lent += endpoint.post(to, Some((connection, 8)), Until::Taken, sent / cores);
            sent += 1;
        }
        if sent == messages && received == messages && lent == returned {
            return sleeps;
        }
        endpoint.want_credit(lent > returned);
        if endpoint.arm() {
            wait(&endpoint);
            endpoint.disarm();
            endpoint.drain();
            sleeps += 1;
        }
    }
}

fn exchange(messages: u64, in_transit_bytes_max: usize) -> u64 {
    let endpoints = connect(CORES).unwrap();
    let counters = endpoints[0].counters().clone();
    let threads: Vec<_> = endpoints
        .into_iter()
        .map(|endpoint| thread::spawn(move || run(endpoint, messages, in_transit_bytes_max)))
        .collect();
    let sleeps = threads.into_iter().map(|one| one.join().unwrap()).sum();
    assert_eq!(counters.undeliverable(), 0);
    for core in (0..CORES as u16).map(CoreId) {
        assert_eq!(counters.posted_by(core), messages);
        assert_eq!(counters.taken_by(core), messages);
    }
    sleeps
}

#[test]
fn a_flood_arrives_in_order() {
    exchange(200_000, 64 * 1024);
}

#[test]
fn no_wake_up_is_lost_when_each_message_waits_for_credit() {
    let sleeps = exchange(20_000, 1);
    assert!(
        sleeps > 1000,
        "slept {sleeps} times only: nothing was tried"
    );
}

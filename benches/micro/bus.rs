//! The bus between two cores, each a thread on a CPU of its own, and one core's mail to itself.
//!
//! The endpoints are the server's; poll(2) on the doorbell's descriptor stands in for its runtime. What is
//! carried is a stand-in, too: as large as the server's own envelope body, with one allocation for a message
//! that one core makes and the other frees.

use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use ringpost::Config;
use ringpost::bus::{Endpoint, Until, Writing, connect};
use ringpost::ident::{ConnId, CoreId};

const NEAR: CoreId = CoreId(0);
const FAR: CoreId = CoreId(1);
/// A core takes so many envelopes in one turn.
const TAKEN_PER_TURN: usize = 4096;
/// Input of so many connections is read in one turn, and each posts one envelope here.
const POSTED_PER_TURN: u64 = 512;
const MESSAGE_BYTES: usize = 128;
/// Only a lost wake-up lasts so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an envelope carries here.
struct Letter {
    number: u64,
    message: Box<[u8]>,
    _rest: [u64; 5],
}

const _: () = assert!(size_of::<Letter>() == 64);

impl Letter {
    fn new(number: u64, message: &[u8]) -> Letter {
        Letter {
            number,
            message: Box::from(message),
            _rest: [0; 5],
        }
    }
}

type Bus = Endpoint<Letter>;

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bus");
    to_itself(&mut group);
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    match cpus[..] {
        [near, far, ..] => across(&mut group, Cpus { near, far }),
        _ => eprintln!(
            "bus: one way and round trip are left out, for they need two CPUs and there is one"
        ),
    }
    group.finish();
}

/// Post, take, publish and settle on one thread: the instructions alone, without a cache line that moves.
fn to_itself(group: &mut BenchmarkGroup<'_, WallTime>) {
    const BURST: u64 = 16;
    let mut bus = connect::<Letter>(1).expect("descriptors").remove(0);
    let payer = ConnId::from_bits(0);
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("to itself, 16 at a time", |bencher| {
        bencher.iter(|| {
            for number in 0..BURST {
                let letter = Letter::new(number, &[1; MESSAGE_BYTES]);
                bus.post(
                    NEAR,
                    Some((payer, MESSAGE_BYTES)),
                    Until::Taken,
                    black_box(letter),
                );
            }
            let mut taken = 0;
            while let Some(envelope) = bus.take() {
                assert_eq!(envelope.body.number, taken);
                taken += 1;
            }
            assert_eq!(taken, BURST);
            bus.publish_taken(Writing::NOTHING);
            bus.settle_credits(|_, _| {});
        });
        assert_eq!(bus.in_transit_bytes(), 0);
    });
}

fn across(group: &mut BenchmarkGroup<'_, WallTime>, cpus: Cpus) {
    // Enough to see that nothing gets lost, as few as a test may run below.
    one_way(cpus, 20_000, MESSAGE_BYTES);
    round_trips(cpus, 200, Waiting::Asleep);
    group.throughput(Throughput::Elements(1));
    for (what, message_bytes) in [("nothing", 0), ("128 bytes", MESSAGE_BYTES)] {
        let (posts, rings) = (Cell::new(0), Cell::new(0));
        group.bench_function(format!("one way, {what}"), |bencher| {
            bencher.iter_custom(|count| {
                let took = one_way(cpus, count, message_bytes);
                posts.set(posts.get() + count);
                rings.set(rings.get() + took.rings);
                took.time
            });
        });
        if posts.get() > 0 {
            let (posts, rings) = (posts.get(), rings.get());
            println!("bus: {rings} of {posts} envelopes rang the doorbell\n");
        }
    }
    group.bench_function("round trip, both asleep between", |bencher| {
        bencher.iter_custom(|count| round_trips(cpus, count, Waiting::Asleep));
    });
    group.bench_function("round trip, both awake", |bencher| {
        bencher.iter_custom(|count| round_trips(cpus, count, Waiting::Awake));
    });
}

#[derive(Clone, Copy)]
struct Cpus {
    near: core_affinity::CoreId,
    far: core_affinity::CoreId,
}

impl Cpus {
    /// Runs both ends, each pinned. Both endpoints live until both have ended, as the server's do.
    fn run<T: Send>(
        self,
        near: impl FnOnce(&mut Bus) -> T + Send,
        far: impl FnOnce(&mut Bus) + Send,
    ) -> T {
        let mut ends = connect(2).expect("descriptors").into_iter();
        let (Some(mut near_end), Some(mut far_end)) = (ends.next(), ends.next()) else {
            unreachable!("two were asked for");
        };
        let ready = Barrier::new(2);
        let begin = |cpu| {
            assert!(core_affinity::set_for_current(cpu), "a CPU of our own");
            ready.wait();
        };
        let result = thread::scope(|scope| {
            let far = scope.spawn(|| {
                begin(self.far);
                far(&mut far_end);
            });
            let near = scope.spawn(|| {
                begin(self.near);
                near(&mut near_end)
            });
            let result = near.join();
            far.join().expect("the far core failed");
            result.expect("the near core failed")
        });
        assert_eq!(near_end.counters().undeliverable(), 0);
        assert!(near_end.counters().look().settled());
        result
    }
}

struct OneWay {
    time: Duration,
    rings: u64,
}

/// A stream of messages from one connection, which is read as long as its credit lasts: both cores make
/// turns, sleep when there is nothing to do, and are woken. It ends when all credit has come back.
fn one_way(cpus: Cpus, count: u64, message_bytes: usize) -> OneWay {
    let near = |bus: &mut Bus| {
        let start = Instant::now();
        send(bus, count, &[1; MESSAGE_BYTES][..message_bytes]);
        start.elapsed()
    };
    let mut rings = 0;
    let time = cpus.run(near, |bus| {
        receive(bus, count, message_bytes);
        rings = bus.bell().rings();
    });
    assert!(rings <= count);
    OneWay { time, rings }
}

fn send(bus: &mut Bus, count: u64, message: &[u8]) {
    let in_transit_max = Config::default().transit_bytes_max;
    let payer = ConnId::from_bits(7);
    let (mut sent, mut lent, mut returned) = (0, 0, 0);
    loop {
        bus.settle_credits(|to, bytes| {
            assert_eq!(to, payer);
            returned += bytes;
        });
        if sent == count && lent == returned {
            return;
        }
        let mut posts = POSTED_PER_TURN.min(count - sent);
        while posts > 0 && bus.in_transit_bytes() < in_transit_max {
            let letter = Letter::new(sent, message);
            lent += bus.post(FAR, Some((payer, message.len())), Until::Taken, letter);
            sent += 1;
            posts -= 1;
        }
        bus.ring_posted();
        // Awake while the connection may be read and has more.
        let waits = sent == count || bus.in_transit_bytes() >= in_transit_max;
        bus.want_credit(waits);
        if waits {
            sleep(bus);
        }
    }
}

fn receive(bus: &mut Bus, count: u64, message_bytes: usize) {
    let mut received = 0;
    while received < count {
        let mut room = TAKEN_PER_TURN;
        while room > 0
            && let Some(envelope) = bus.take()
        {
            assert_eq!(envelope.body.number, received, "in the order sent");
            assert_eq!(black_box(&envelope.body.message).len(), message_bytes);
            received += 1;
            room -= 1;
        }
        bus.publish_taken(Writing::NOTHING);
        if received < count {
            sleep(bus);
        }
    }
}

/// A core that waits for the next envelope.
#[derive(Clone, Copy)]
enum Waiting {
    /// As the server does when it has nothing else: each envelope rings and wakes.
    Asleep,
    /// As when it is busy with something else: nobody rings, and it looks again at once. Of the bus's cost
    /// this is the part that no wake-up hides.
    Awake,
}

/// A question and its answer, over and over, each in a turn of its own, and the time that this takes. The
/// question is paid for by a connection, the answer goes on its credit.
fn round_trips(cpus: Cpus, count: u64, waiting: Waiting) -> Duration {
    let payer = ConnId::from_bits(7);
    let near = |bus: &mut Bus| {
        let start = Instant::now();
        for number in 0..count {
            bus.post(
                FAR,
                Some((payer, 0)),
                Until::Taken,
                Letter::new(number, &[]),
            );
            bus.ring_posted();
            assert_eq!(next(bus, waiting).number, number);
            bus.publish_taken(Writing::NOTHING);
            bus.settle_credits(|_, _| {});
        }
        start.elapsed()
    };
    cpus.run(near, |bus| {
        for number in 0..count {
            let letter = next(bus, waiting);
            assert_eq!(letter.number, number);
            bus.post(NEAR, None, Until::Taken, letter);
            bus.ring_posted();
            bus.publish_taken(Writing::NOTHING);
        }
    })
}

/// The next letter, however long it takes.
fn next(bus: &mut Bus, waiting: Waiting) -> Letter {
    let mut until = None;
    loop {
        for _ in 0..10_000 {
            if let Some(envelope) = bus.take() {
                return envelope.body;
            }
            match waiting {
                Waiting::Asleep => sleep(bus),
                Waiting::Awake => spin_loop(),
            }
        }
        let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
        assert!(Instant::now() < until, "nothing has come");
    }
}

/// Waits until rung, unless something has come meanwhile.
fn sleep(bus: &mut Bus) {
    if !bus.arm() {
        return;
    }
    let mut poll = libc::pollfd {
        fd: bus.descriptor().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd, and a count of one.
    let ready = unsafe { libc::poll(&mut poll, 1, PATIENCE.as_millis() as libc::c_int) };
    assert_ne!(ready, 0, "a wake-up was lost");
    bus.disarm();
    bus.drain();
}

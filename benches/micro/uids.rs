//! A core's table of uids, with a thousand, a hundred thousand and a million of them.
//!
//! Uids are asked for in another order than they came in, and as a message brings them that was just read:
//! their own bytes are at hand, while the table's memory is touched at random. Past what the caches hold it is
//! the memory that is measured.

use std::fmt::Write;
use std::hint::black_box;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use ringpost::Config;
use ringpost::close::CloseReason;
use ringpost::ident::{ConnId, NamespaceId, Reach};
use ringpost::protocol::Codec;
use ringpost::shard::{ListenerSpec, Shard, Tick};

use crate::input::random;

const NAMESPACE: NamespaceId = NamespaceId(0);

/// A shard that expects nothing of a bound connection.
fn shard() -> Shard {
    let config = Config {
        idle_timeout: Duration::ZERO,
        ..Config::default()
    };
    let spec = ListenerSpec {
        binds: true,
        ..ListenerSpec::new(0, Codec::Text, NAMESPACE)
    };
    Shard::new(&config, Rc::from([spec]), 1)
}

fn reach() -> Reach {
    Reach::of(NAMESPACE)
}

/// A connection comes and binds.
fn come(shard: &mut Shard, uid: &str) -> ConnId {
    let id = shard.insert(0, SocketAddr::from(([127, 0, 0, 1], 1)));
    assert!(shard.opened(id) && shard.bind(id, uid));
    id
}

fn go(shard: &mut Shard, id: ConnId) {
    shard.close(id, CloseReason::Normal);
    assert!(shard.endings.next_ended().is_some());
    assert_eq!(shard.next_dirty(true), Some(id));
    shard.remove(id);
}

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("uids");
    group.throughput(Throughput::Elements(1));
    for count in [1_000, 100_000, 1_000_000] {
        // Built when the first of the three is run, so that a filter for others need not wait for it.
        let mut crowd = None;
        group.bench_function(BenchmarkId::new("hit", count), |bencher| {
            let crowd = crowd.get_or_insert_with(|| Crowd::new(count));
            bencher.iter(|| {
                let uid = crowd.present.next();
                assert_eq!(crowd.shard.online(crowd.reach, black_box(uid)), 1);
            });
        });
        group.bench_function(BenchmarkId::new("miss", count), |bencher| {
            let crowd = crowd.get_or_insert_with(|| Crowd::new(count));
            bencher.iter(|| {
                let uid = crowd.absent.next();
                assert_eq!(crowd.shard.online(crowd.reach, black_box(uid)), 0);
            });
        });
        // One comes and goes while all others stay: slot and uid are taken and freed each time.
        group.bench_function(BenchmarkId::new("come and go", count), |bencher| {
            let crowd = crowd.get_or_insert_with(|| Crowd::new(count));
            bencher.iter(|| {
                let uid = crowd.absent.next();
                // So that the deadline of its handshake comes up and goes.
                crowd.now += 1;
                crowd.shard.clock.set_now(crowd.now);
                crowd.shard.expire();
                let id = come(&mut crowd.shard, black_box(uid));
                go(&mut crowd.shard, id);
            });
            assert_eq!(crowd.shard.snapshot().uids, count as u64);
        });
    }
    growing(&mut group);
    group.finish();
}

/// From nothing to a hundred thousand, with each growth of the table on the way, as after a restart.
fn growing(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    const COUNT: usize = 100_000;
    let mut names = None;
    group
        .sample_size(10)
        .throughput(Throughput::Elements(COUNT as u64));
    group.bench_function(BenchmarkId::new("grow to", COUNT), |bencher| {
        let names = names.get_or_insert_with(|| Names::new("user", COUNT));
        let fill = |shard: &mut Shard| {
            for _ in 0..COUNT {
                come(shard, names.next());
            }
            assert_eq!(shard.snapshot().uids, COUNT as u64);
        };
        bencher.iter_batched_ref(shard, fill, BatchSize::PerIteration);
    });
}

/// A table of so many uids, and names to ask it for.
struct Crowd {
    shard: Shard,
    reach: Reach,
    now: Tick,
    present: Names,
    absent: Names,
}

impl Crowd {
    fn new(count: usize) -> Crowd {
        let (mut shard, reach) = (shard(), reach());
        for number in 0..count {
            come(&mut shard, &format!("user{number:08}"));
        }
        assert_eq!(shard.snapshot().uids, count as u64);
        let (mut present, mut absent) = (Names::new("user", count), Names::new("gone", count));
        for _ in 0..count {
            assert_eq!(shard.online(reach, present.next()), 1);
            assert_eq!(shard.online(reach, absent.next()), 0);
        }
        Crowd {
            shard,
            reach,
            now: 0,
            present,
            absent,
        }
    }
}

/// Different names of one length in random order, one behind the other in memory, over and over.
struct Names {
    all: String,
    at: usize,
}

impl Names {
    const BYTES: usize = 12;

    /// `prefix` has four letters.
    fn new(prefix: &str, count: usize) -> Names {
        let mut numbers: Vec<usize> = (0..count).collect();
        random().shuffle(&mut numbers);
        let mut all = String::with_capacity(count * Names::BYTES);
        for number in numbers {
            write!(all, "{prefix}{number:08}").expect("memory does not fail");
        }
        assert_eq!(all.len(), count * Names::BYTES);
        Names { all, at: 0 }
    }

    fn next(&mut self) -> &str {
        if self.at == self.all.len() {
            self.at = 0;
        }
        let start = self.at;
        self.at += Names::BYTES;
        &self.all[start..self.at]
    }
}

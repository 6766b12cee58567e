//! Deadlines as a shard keeps them, with a million connections bound: being heard of, and the second's
//! look at those whose entry on the wheel comes up.
//!
//! In all of it each connection is heard of in time, so that nobody is pinged or closed: this is what it
//! costs that a million talk.

use std::hint::black_box;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use ringpost::Config;
use ringpost::ident::{ConnId, NamespaceId};
use ringpost::protocol::Codec;
use ringpost::shard::{ListenerSpec, Shard, Tick, ticks};

use crate::input::random;

/// Connections are heard of in turns, one group each second. An entry comes up 25 s (the default
/// `ping_interval`) after its connection was heard of, which is one second after the next time.
const GROUPS: usize = 24;
const GROUP: usize = 41_667;
const CONNECTIONS: usize = GROUPS * GROUP;

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deadlines");
    let mut crowd = None;
    // What comes up is computed and entered again. Elements are connections.
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(GROUP as u64));
    group.bench_function("a second of 1M that talk", |bencher| {
        let crowd = crowd.get_or_insert_with(Crowd::new);
        bencher.iter_custom(|seconds| (0..seconds).map(|_| crowd.second()).sum());
    });
    // Moves no entry, but writes to the connection's slot, which no cache holds. Several of these wait for
    // memory at a time, for none needs another's result.
    group.sample_size(40).throughput(Throughput::Elements(1));
    group.bench_function("heard, one of 1M", |bencher| {
        let crowd = crowd.get_or_insert_with(Crowd::new);
        let mut next = crowd.shuffled.iter().cycle();
        let before = crowd.shard.stats.bytes_in;
        bencher.iter(|| {
            let id = *next.next().expect("a cycle has no end");
            crowd.shard.heard(black_box(id), 1);
        });
        assert!(crowd.shard.stats.bytes_in > before);
    });
    group.finish();
}

struct Crowd {
    shard: Shard,
    /// By group, in the order in which they came.
    connections: Vec<ConnId>,
    shuffled: Vec<ConnId>,
    second: usize,
}

impl Crowd {
    fn new() -> Crowd {
        let config = Config::default();
        let spec = ListenerSpec {
            binds: true,
            ..ListenerSpec::new(0, Codec::WebSocket, NamespaceId(0))
        };
        let mut crowd = Crowd {
            shard: Shard::new(&config, Rc::from([spec]), 1),
            connections: Vec::with_capacity(CONNECTIONS),
            shuffled: Vec::new(),
            second: GROUPS,
        };
        for _ in 0..GROUPS {
            crowd.come();
            crowd.second += 1;
        }
        // Until the last entry that their handshakes made has come up.
        for _ in 0..GROUPS {
            crowd.second();
        }
        crowd.shuffled.clone_from(&crowd.connections);
        random().shuffle(&mut crowd.shuffled);
        crowd
    }

    /// A group connects and binds.
    fn come(&mut self) {
        self.shard.clock.set_now(self.now());
        while self.shard.clock.is_expiring() {
            self.shard.expire();
        }
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        for _ in 0..GROUP {
            let id = self.shard.insert(0, peer);
            assert!(self.shard.opened(id) && self.shard.connections.set_session(id, 0));
            assert!(
                self.shard
                    .bind(id, &format!("user{}", self.connections.len()))
            );
            self.connections.push(id);
        }
    }

    fn now(&self) -> Tick {
        ticks(Duration::from_secs(self.second as u64))
    }

    /// The second's look at the wheel, and how long it took. Then this second's group is heard of.
    fn second(&mut self) -> Duration {
        let start = Instant::now();
        self.shard.clock.set_now(self.now());
        self.shard.expire();
        // A core does so in its next rounds.
        while self.shard.clock.is_expiring() {
            self.shard.expire();
        }
        let took = start.elapsed();
        assert!(!self.shard.has_dirty(), "nobody is pinged or closed");
        let first = self.second % GROUPS * GROUP;
        for &id in &self.connections[first..first + GROUP] {
            self.shard.heard(id, 0);
        }
        self.second += 1;
        assert_eq!(self.shard.stats.bound, CONNECTIONS as u64);
        assert_eq!(
            self.shard.clock.next_due(),
            Some(self.now()),
            "a group is next"
        );
        took
    }
}

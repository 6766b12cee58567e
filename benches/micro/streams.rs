//! A message is kept: in a stream that has as many as it may, in a store that has as many bytes as it may, and with an id;
//! and kept messages are read, as a replay reads them.

use std::cell::Cell;
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ahash::RandomState;
use criterion::{BenchmarkId, Criterion, Throughput};
use ringpost::Config;
use ringpost::ident::NamespaceId;
use ringpost::payload::{Message, Payload};
use ringpost::streams::{Address, Keep, Limit, Outcome, Position, Store};

use crate::input::ascii;

const MESSAGE_BYTES: usize = 128;
const STREAMS: usize = 10_000;
const SIZE: u32 = 10;

/// A store with streams that have as many messages as they may.
fn filled(now: Instant, bytes_max: usize, names: &[String], payload: &Payload) -> Store {
    let config = Config {
        history_bytes_core_max: bytes_max,
        ..Config::default()
    };
    let mut store = Store::new(&config, now, RandomState::new());
    for _ in 0..SIZE {
        for name in names {
            keep(&mut store, now, name, None, payload);
        }
    }
    store
}

fn keep(store: &mut Store, now: Instant, name: &str, id: Option<[u8; 16]>, payload: &Payload) {
    let keep = Keep {
        size: SIZE,
        ttl: Duration::from_secs(600),
        queue: false,
    };
    let to = Address::uid(NamespaceId(0), name);
    let appended = store.append(now, to, keep, id, payload);
    assert_eq!(appended.outcome, Outcome::Kept);
}

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("streams");
    group.throughput(Throughput::Elements(1));
    let payload = Payload::new(Message::Text(&ascii(MESSAGE_BYTES)));
    let names: Vec<String> = (0..STREAMS)
        .map(|number| format!("user{number:08}"))
        .collect();
    let now = Instant::now();
    let at = Cell::new(0);
    let next = || {
        at.set((at.get() + 1) % STREAMS);
        black_box(&*names[at.get()])
    };
    let mut roomy = None;
    group.bench_function("append, and the stream's oldest goes", |bencher| {
        let store = roomy.get_or_insert_with(|| filled(now, 1 << 30, &names, &payload));
        bencher.iter(|| keep(store, now, next(), None, &payload));
        assert_eq!(store.counters().messages, STREAMS as u64 * u64::from(SIZE));
    });
    group.bench_function("append with an id", |bencher| {
        let store = roomy.get_or_insert_with(|| filled(now, 1 << 30, &names, &payload));
        let mut id = 0_u128;
        bencher.iter(|| {
            id += 1;
            keep(store, now, next(), Some(id.to_le_bytes()), &payload);
        });
    });
    let mut tight = None;
    group.bench_function("append, and the oldest of all goes", |bencher| {
        let store = tight.get_or_insert_with(|| filled(now, 8 << 20, &names, &payload));
        bencher.iter(|| keep(store, now, next(), None, &payload));
        assert!(store.counters().evicted_by_bytes > 0);
    });
    let mut born = 0_u64;
    let mut name = String::new();
    group.bench_function(
        "append to a stream that is born, and one is forgotten",
        |bencher| {
            let store = tight.get_or_insert_with(|| filled(now, 8 << 20, &names, &payload));
            bencher.iter(|| {
                born += 1;
                name.clear();
                write!(name, "born{born:08}").expect("memory does not fail");
                keep(store, now, black_box(&name), None, &payload);
            });
        },
    );
    group.throughput(Throughput::Elements(u64::from(SIZE)));
    group.bench_function(BenchmarkId::new("read", SIZE), |bencher| {
        let store = roomy.get_or_insert_with(|| filled(now, 1 << 30, &names, &payload));
        let limit = Limit {
            messages: 64,
            bytes: 256 << 10,
        };
        bencher.iter(|| {
            let of = Address::uid(NamespaceId(0), next());
            let top = store.top(now, of);
            let after = Position {
                offset: top.offset - u64::from(SIZE),
                ..top
            };
            let piece = store.read(now, of, Some(after), limit).expect("all");
            let bytes: usize = piece.map(|(_, payload)| payload.message().len()).sum();
            assert_eq!(bytes, MESSAGE_BYTES * SIZE as usize);
        });
    });
    group.finish();
}

//! What waits for one connection: queued, gathered into the slices of a write, and taken off as the kernel
//! takes it.
//!
//! One iteration is the outbox's whole part in a turn that writes the connection, without the write itself.
//! It begins and ends with an empty outbox, which owns no memory: what the first message allocates and the
//! last one frees belongs to it.

use std::hint::black_box;
use std::rc::Rc;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use ringpost::payload::Message;
use ringpost::protocol::Codec;
use ringpost::shard::Outbox;

use crate::input::ascii;

/// As many as the transport offers in one write.
const PIECES_MAX: usize = 64;
const MESSAGE_BYTES: usize = 128;
/// No multiple of a message, so that each write ends inside one.
const PARTIAL_BYTES: usize = 500;

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbox");
    let text = ascii(MESSAGE_BYTES);
    let message = Message::Text(&text);
    let mut encoded = Vec::new();
    Codec::WebSocket.encode(message, &mut encoded);
    // Held here as by the other receivers, so that no outbox frees it.
    let held: Rc<[u8]> = Rc::from(encoded.as_slice());
    // Of a broadcast: a slice each, and a count of those that share it.
    let share = |outbox: &mut Outbox| {
        outbox.push_shared(black_box(Rc::clone(&held)), None);
    };
    // The connection's own: encoded here, behind what waits already, all in one slice.
    let own = |outbox: &mut Outbox| {
        outbox.push_own(Codec::WebSocket.encoded_len(message), |out| {
            Codec::WebSocket.encode(black_box(message), out)
        });
    };
    for waiting in [1, 16] {
        let all = encoded.repeat(waiting);
        measure(&mut group, "shared", waiting, &all, usize::MAX, share);
        measure(&mut group, "own", waiting, &all, usize::MAX, own);
    }
    let all = encoded.repeat(16);
    let name = |whose| format!("{whose}, in writes of {PARTIAL_BYTES} bytes");
    measure(&mut group, &name("shared"), 16, &all, PARTIAL_BYTES, share);
    measure(&mut group, &name("own"), 16, &all, PARTIAL_BYTES, own);
    assert_eq!(Rc::strong_count(&held), 1, "no outbox has kept it");
    group.finish();
}

/// Queues so many messages, which are `expected` on the wire, and writes them.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    waiting: usize,
    expected: &[u8],
    write_bytes: usize,
    push: impl Fn(&mut Outbox),
) {
    let mut outbox = Outbox::default();
    (0..waiting).for_each(|_| push(&mut outbox));
    assert_eq!(contents(&outbox), expected);
    assert_eq!(write(&mut outbox, write_bytes), expected.len());
    assert_eq!((outbox.bytes(), outbox.is_empty()), (0, true));
    group.throughput(Throughput::Elements(waiting as u64));
    group.bench_function(BenchmarkId::new(name, waiting), |bencher| {
        bencher.iter(|| {
            (0..waiting).for_each(|_| push(&mut outbox));
            assert_eq!(write(&mut outbox, write_bytes), expected.len());
        });
    });
}

fn contents(outbox: &Outbox) -> Vec<u8> {
    outbox.pieces().flatten().copied().collect()
}

/// As the transport does it, with a kernel that takes so many bytes at a time. Returns how many it took.
fn write(outbox: &mut Outbox, write_bytes: usize) -> usize {
    let mut total = 0;
    loop {
        let pieces = outbox.pieces().take(PIECES_MAX).map(black_box);
        let offered: usize = pieces.map(<[u8]>::len).sum();
        if offered == 0 {
            return total;
        }
        let taken = offered.min(write_bytes);
        outbox.advance(taken);
        total += taken;
    }
}

//! The mask on what a websocket client sends, alone: in place, in memory that the core's cache holds, as
//! what was just read is.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringpost::protocol::websocket::mask;

use crate::input::{MASK, ascii};

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for bytes in [16, 125, 128, 1024, 16 << 10, 64 << 10] {
        let plain = ascii(bytes).into_bytes();
        let mut payload = plain.clone();
        mask::apply(MASK, &mut payload);
        let masked = plain
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask);
        assert!(payload.iter().copied().eq(masked));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("apply", bytes), |bencher| {
            bencher.iter(|| mask::apply(black_box(MASK), black_box(&mut payload)));
        });
    }
    group.finish();
}

//! Compression: a message into one frame, and back. JSON as a back end writes it, and noise, which does not
//! get smaller and is compressed in vain.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringpost::payload::Message;
use ringpost::protocol::websocket::deflate::{Compressor, Inflater};
use ringpost::protocol::websocket::extension::Offer;

use crate::input::random;

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deflate");
    let offer = Offer::first(b"permessage-deflate").expect("an offer");
    let window = offer.window();
    let mut compressor = Compressor::new(1);
    let mut inflater = Inflater::default();
    for bytes in [256, 1024, 4 << 10, 16 << 10, 64 << 10] {
        group.throughput(Throughput::Bytes(bytes as u64));
        let json = json(bytes);
        let message = Message::Text(&json);
        let mut frame = Vec::new();
        assert!(compressor.encode(message, window, &mut frame));
        group.bench_function(BenchmarkId::new("compress json", bytes), |bencher| {
            bencher.iter(|| {
                frame.clear();
                compressor.encode(black_box(message), window, &mut frame)
            });
        });
        let head = if frame[1] == 126 { 4 } else { 2 };
        let payload = &frame[head..];
        assert_eq!(inflater.inflate(payload, true, bytes), Ok(message));
        group.bench_function(BenchmarkId::new("inflate json", bytes), |bencher| {
            bencher.iter(|| inflater.inflate(black_box(payload), true, bytes).is_ok());
        });
        let mut random = random();
        let noise: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
        let mut frame = Vec::new();
        let message = Message::Binary(&noise);
        assert!(!compressor.encode(message, window, &mut frame));
        group.bench_function(BenchmarkId::new("compress noise", bytes), |bencher| {
            bencher.iter(|| compressor.encode(black_box(message), window, &mut frame));
        });
    }
    group.finish();
}

/// A list of orders, cut to its length.
fn json(bytes: usize) -> String {
    let mut random = random();
    let mut text = String::from("{\"uid\":\"all\",\"orders\":[");
    while text.len() < bytes {
        text.push_str(&format!(
            "{{\"id\":{},\"state\":\"{}\",\"total\":\"{}.{:02}\",\"at\":\"2026-0{}-1{}T0{}:00:00Z\"}},",
            random.u32(100_000..),
            random.choice(["paid", "sent", "delivered"]).expect("one of these"),
            random.u16(..1_000),
            random.u8(..100),
            random.u8(1..10),
            random.u8(..10),
            random.u8(..10),
        ));
    }
    text.truncate(bytes);
    text
}

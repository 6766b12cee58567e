//! The check that a text message is UTF-8, alone, by the two calls that the decoders make.
//!
//! `whole` is for a message that lies complete in what was read. `gathered` is for one that comes in
//! pieces, where the place of an error has to be known, for a character may be cut.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use simdutf8::{basic, compat};

use crate::input::{ascii, mixed};

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, text) in [("ascii", ascii as fn(usize) -> String), ("mixed", mixed)] {
        for bytes in [16, 125, 128, 1024, 16 << 10, 64 << 10] {
            let text = text(bytes).into_bytes();
            assert_eq!(text.len(), bytes);
            assert_eq!(is_whole(&text), Some(bytes));
            assert_eq!(is_whole(&broken(&text)), None);
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(
                BenchmarkId::new(format!("whole {name}"), bytes),
                |bencher| {
                    bencher.iter(|| is_whole(black_box(&text)));
                },
            );
        }
        let segment = text(1448).into_bytes();
        assert!(compat::from_utf8(&segment).is_ok());
        assert!(compat::from_utf8(&broken(&segment)).is_err());
        group.throughput(Throughput::Bytes(segment.len() as u64));
        let id = BenchmarkId::new(format!("gathered {name}"), segment.len());
        group.bench_function(id, |bencher| {
            bencher.iter(|| compat::from_utf8(black_box(&segment)).map(str::len));
        });
    }
    group.finish();
}

fn is_whole(bytes: &[u8]) -> Option<usize> {
    basic::from_utf8(bytes).ok().map(str::len)
}

/// A text with a last byte that no text can end with.
fn broken(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    bytes.pop();
    bytes.push(0xff);
    bytes
}

//! A core's table of uids, with a thousand, a hundred thousand and a million of them.
//!
//! Uids are asked for in another order than they came in, and as a message brings them that was just read:
//! their own bytes are at hand, while the table's memory is touched at random. Past what the caches hold it is
//! the memory that is measured.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use ringpost::ident::{ConnId, Space};
use ringpost::shard::Uids;

use crate::input::random;

const SPACE: Space = Space(0);

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
                assert_eq!(crowd.table.get(SPACE, black_box(uid)).len(), 1);
            });
        });
        group.bench_function(BenchmarkId::new("miss", count), |bencher| {
            let crowd = crowd.get_or_insert_with(|| Crowd::new(count));
            bencher.iter(|| {
                let uid = crowd.absent.next();
                assert!(crowd.table.get(SPACE, black_box(uid)).is_empty());
            });
        });
        // One comes and goes while all others stay: the uid is stored and freed each time.
        group.bench_function(BenchmarkId::new("insert and remove", count), |bencher| {
            let crowd = crowd.get_or_insert_with(|| Crowd::new(count));
            let connection = ConnId::from_bits(count as u64);
            bencher.iter(|| {
                let uid = crowd.absent.next();
                let stored = crowd.table.insert(SPACE, black_box(uid), connection);
                crowd.table.remove(SPACE, &stored, connection);
            });
            assert_eq!(crowd.table.len(), count);
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
        let fill = |table: &mut Uids| {
            for number in 0..COUNT {
                table.insert(SPACE, names.next(), ConnId::from_bits(number as u64));
            }
            assert_eq!(table.len(), COUNT);
        };
        bencher.iter_batched_ref(|| Uids::new(1), fill, BatchSize::PerIteration);
    });
}

/// A table of so many uids, and names to ask it for.
struct Crowd {
    table: Uids,
    present: Names,
    absent: Names,
}

impl Crowd {
    fn new(count: usize) -> Crowd {
        let mut table = Uids::new(1);
        for number in 0..count {
            let uid = format!("user{number:08}");
            table.insert(SPACE, &uid, ConnId::from_bits(number as u64));
        }
        assert_eq!(table.len(), count);
        let (mut present, mut absent) = (Names::new("user", count), Names::new("gone", count));
        for _ in 0..count {
            assert_eq!(table.get(SPACE, present.next()).len(), 1);
            assert!(table.get(SPACE, absent.next()).is_empty());
        }
        Crowd {
            table,
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

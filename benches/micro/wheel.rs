//! The deadline wheel with a million entries in it.
//!
//! It has no cancelling and no moving: who is heard of keeps its entry, which is looked at when it comes up
//! and entered again (`deadlines` measures that on a shard). So what there is to measure is entering, and a
//! turn's look at what comes up: nothing, a few, or everybody.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput};
use ringpost::ident::ConnId;
use ringpost::shard::{Tick, Wheel, ticks};

use crate::input::random;

const ENTRIES: usize = 1_000_000;
/// A handshake's or a login's time, in which what is neither idle nor busy is due.
const SOON: Duration = Duration::from_secs(10);
/// Deadlines of idle connections are spread over so many seconds, and lie on whole ones.
const SECONDS: u32 = 57;

pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    let crowd = Crowd::new();
    insert(&mut group, &crowd);
    nothing_due(&mut group, &crowd);
    few_due(&mut group);
    all_due(&mut group, &crowd);
    group.finish();
}

/// A million deadlines.
struct Crowd(Vec<Tick>);

impl Crowd {
    fn new() -> Crowd {
        let mut random = random();
        let mut due = || ticks(Duration::from_secs(random.u32(1..=SECONDS).into()));
        Crowd((0..ENTRIES).map(|_| due()).collect())
    }

    fn enter(&self, wheel: &mut Wheel) {
        for (number, &due) in self.0.iter().enumerate() {
            let at = wheel.insert(ConnId::from_bits(number as u64), due);
            assert_eq!(at, due);
        }
    }

    fn entered(&self) -> Wheel {
        let mut wheel = Wheel::default();
        self.enter(&mut wheel);
        wheel
    }
}

/// Entering, from an empty wheel to a million: it includes the growth of the places.
fn insert(group: &mut BenchmarkGroup<'_, WallTime>, crowd: &Crowd) {
    group
        .sample_size(10)
        .throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("insert 1M", |bencher| {
        let enter = |wheel: &mut Wheel| crowd.enter(wheel);
        bencher.iter_batched_ref(Wheel::default, enter, BatchSize::PerIteration);
    });
}

/// What each turn of a core pays, many in a tick: a look at what comes up next, which is not yet due.
fn nothing_due(group: &mut BenchmarkGroup<'_, WallTime>, crowd: &Crowd) {
    let mut wheel = None;
    group.sample_size(40).throughput(Throughput::Elements(1));
    group.bench_function("nothing due of 1M", |bencher| {
        let wheel = wheel.get_or_insert_with(|| crowd.entered());
        bencher.iter(|| assert!(wheel.pop_due(black_box(1)).is_none()));
    });
}

/// A million far away, and eight that come up at each tick and are entered again: from one tick to the next.
struct Sparse {
    wheel: Wheel,
    now: Tick,
    /// When the million comes up.
    crowd_at: Tick,
}

impl Sparse {
    const DUE: usize = 8;
    /// Who comes up soon; the million are others.
    const PASSER_BY: ConnId = ConnId::from_bits(u64::MAX);

    fn new() -> Sparse {
        let mut wheel = Wheel::default();
        let mut crowd_at = 0;
        for number in 0..ENTRIES {
            crowd_at = wheel.insert(ConnId::from_bits(number as u64), Tick::MAX);
        }
        for tick in 1..=ticks(SOON) {
            for _ in 0..Sparse::DUE {
                wheel.insert(Sparse::PASSER_BY, tick);
            }
        }
        Sparse {
            wheel,
            now: 0,
            crowd_at,
        }
    }

    /// Returns how many came up.
    fn tick(&mut self) -> usize {
        self.now += 1;
        let mut came = 0;
        while let Some((tick, connections)) = self.wheel.pop_due(self.now) {
            for &connection in &connections {
                if connection == Sparse::PASSER_BY {
                    self.wheel.insert(connection, tick + ticks(SOON));
                } else {
                    self.crowd_at = self.wheel.insert(connection, Tick::MAX);
                }
            }
            came += connections.len();
        }
        came
    }

    /// How long so many ticks take. That at which the million comes up, only to be entered at the far end
    /// again, lies between them and is not measured.
    fn run(&mut self, ticks: u64) -> Duration {
        let (mut left, mut took) = (ticks, Duration::ZERO);
        while left > 0 {
            if self.now + 1 == self.crowd_at {
                assert_eq!(self.tick(), ENTRIES + Sparse::DUE);
            }
            let until_crowd = u64::from(self.crowd_at - self.now - 1);
            let stretch = left.min(until_crowd);
            let start = Instant::now();
            let came: usize = (0..stretch).map(|_| self.tick()).sum();
            took += start.elapsed();
            assert_eq!(came as u64, stretch * Sparse::DUE as u64);
            left -= stretch;
        }
        took
    }
}

/// A tick in which a few time out or have to be looked at: each is entered again, ten seconds later.
fn few_due(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut sparse = None;
    // Moving the million takes many times what is measured, so little is measured.
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(5))
        .measurement_time(Duration::from_millis(40))
        .throughput(Throughput::Elements(Sparse::DUE as u64));
    group.bench_function("a tick with 8 due of 1M", |bencher| {
        let sparse = sparse.get_or_insert_with(Sparse::new);
        bencher.iter_custom(|ticks| sparse.run(ticks));
    });
}

/// Everybody at once, as on a core that was not scheduled for a minute, and a look at each.
fn all_due(group: &mut BenchmarkGroup<'_, WallTime>, crowd: &Crowd) {
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(20))
        .measurement_time(Duration::from_millis(200))
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(ENTRIES as u64));
    let expire = |wheel: &mut Wheel| {
        let (mut came, mut now) = (0, 0);
        while let Some((tick, connections)) =
            wheel.pop_due(ticks(Duration::from_secs(SECONDS.into())))
        {
            assert!(tick > now);
            now = tick;
            for connection in connections {
                black_box(connection);
                came += 1;
            }
        }
        assert_eq!(came, ENTRIES);
    };
    group.bench_function("1M due", |bencher| {
        bencher.iter_batched_ref(|| crowd.entered(), expire, BatchSize::PerIteration);
    });
}

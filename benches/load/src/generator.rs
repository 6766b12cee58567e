//! A generator: one thread with an event loop, that drives its share of the clients.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{fs, io};

use super::clock;
use super::limits;
use super::plan::{Plan, Share};
use super::random::Random;
use super::record::Record;
use super::shared::{Gauge, Phase, Shared};
use super::wire::{Door, Pool, Scratch, Sources};
use super::workload::{self, Workload};

/// Longest sleep: the gauges are at most this old.
const SLEEP_NANOS_MAX: u64 = 20_000_000;
/// How often connections are looked through for those that take too long.
const EXPIRE_NANOS: u64 = 1_000_000_000;

/// What a thread is started with.
pub struct Start {
    pub plan: Arc<Plan>,
    pub share: Share,
    pub shared: Arc<Shared>,
    /// Where it runs.
    pub cpu: Option<usize>,
    /// Whether it takes a descriptor table of its own.
    pub takes_table: bool,
}

/// What it has at the end.
pub struct Done {
    pub record: Record,
    pub effort: Effort,
}

/// What the measured time cost the generator.
#[derive(Clone, Copy, PartialEq, Default, Debug, serde::Serialize)]
pub struct Effort {
    /// CPU seconds.
    pub cpu_seconds: f64,
    /// Seconds in which it could have run and no CPU was free.
    pub wait_seconds: f64,
    pub wall_seconds: f64,
}

impl Effort {
    /// The part of the time in which it had something to do.
    pub fn busy(&self) -> f64 {
        match self.wall_seconds > 0.0 {
            true => (self.cpu_seconds + self.wait_seconds) / self.wall_seconds,
            false => 0.0,
        }
    }
}

/// Runs to the end of the run.
pub fn run(start: &Start) -> Done {
    if start.takes_table {
        limits::take_own_table();
    }
    if let Some(cpu) = start.cpu {
        core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    }
    let mut workload = workload::make(&start.plan, start.share, &start.shared);
    let effort = match drive(start, workload.as_mut()) {
        Ok(effort) => effort,
        Err(error) => {
            workload
                .record()
                .fail(format!("a generator failed: {error}"));
            Effort::default()
        }
    };
    let gauge = &start.shared.gauges[start.share.number];
    gauge.is_over.store(true, Ordering::Release);
    workload.conclude();
    Done {
        record: std::mem::take(workload.record()),
        effort,
    }
}

fn drive(start: &Start, workload: &mut dyn Workload) -> io::Result<Effort> {
    let (plan, shared) = (&start.plan, &start.shared);
    let gauge = &shared.gauges[start.share.number];
    let number = start.share.number;
    let door = |target: &super::wire::target::Target| Door {
        target: target.clone(),
        sources: Sources::new(&plan.sources, &target.address, number),
    };
    let doors = std::iter::once(&plan.target).chain(&plan.backend);
    let mut pool = Pool::new(
        workload::slots(plan, start.share),
        doors.map(door).collect(),
        &gauge.wake,
        Random::new(plan.seed, number + (1 << 20)),
    )?;
    let mut scratch = Scratch::default();
    let mut stopwatch = Stopwatch::default();
    let mut expired = clock::now();
    loop {
        let phase = shared.phase();
        stopwatch.enter(phase);
        workload.record().window = shared.window();
        let now = clock::now();
        let due = workload.turn(&mut pool, phase, now);
        pool.flush(workload, now);
        publish(gauge, phase, workload);
        if phase == Phase::End || workload.record().fatal.is_some() {
            return Ok(stopwatch.effort);
        }
        let sleep = due.saturating_sub(clock::now()).min(SLEEP_NANOS_MAX);
        if pool.turn(sleep, &mut scratch, workload)? {
            gauge.wake.hear();
        }
        if now > expired + EXPIRE_NANOS {
            pool.expire(now, workload);
            expired = now;
        }
    }
}

fn publish(gauge: &Gauge, phase: Phase, workload: &mut dyn Workload) {
    gauge.up.store(workload.up() as u64, Ordering::Relaxed);
    gauge.is_ready.store(workload.is_ready(), Ordering::Release);
    gauge.is_done.store(workload.is_done(), Ordering::Release);
    // Only once it knows that nothing more is to be sent.
    let is_quiet = phase >= Phase::Drain && workload.is_quiet();
    gauge.is_quiet.store(is_quiet, Ordering::Release);
    let record = workload.record();
    gauge.delivered.store(record.delivered, Ordering::Relaxed);
    gauge.faults.store(record.faults.total(), Ordering::Relaxed);
}

/// Takes the thread's times when the measured time begins and when it ends.
#[derive(Default)]
struct Stopwatch {
    began: Option<(u64, (u64, u64))>,
    effort: Effort,
}

impl Stopwatch {
    fn enter(&mut self, phase: Phase) {
        match (phase, self.began) {
            (Phase::Measured, None) => self.began = Some((clock::now(), times())),
            (Phase::Drain, Some((began, (cpu, wait)))) if self.effort.wall_seconds == 0.0 => {
                let (cpu_now, wait_now) = times();
                self.effort = Effort {
                    cpu_seconds: clock::seconds(cpu_now - cpu),
                    wait_seconds: clock::seconds(wait_now.saturating_sub(wait)),
                    wall_seconds: clock::seconds(clock::now() - began),
                };
            }
            _ => {}
        }
    }
}

/// The thread's time on a CPU and its time waiting for one, in nanoseconds.
fn times() -> (u64, u64) {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok());
    (clock::thread_cpu(), waited.unwrap_or(0))
}

//! [`Shared`]: what the generators and the conductor tell each other while a run goes on: the phase
//! one way, gauges the other. Atomics and a wake-up, nothing that waits.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::wire::Wake;

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Connecting and logging in.
    Setup,
    /// All are there, and nothing is sent.
    Rest,
    /// Traffic that is checked and not measured.
    Warmup,
    /// Traffic that is measured.
    Measured,
    /// Nothing new is sent; what is on its way arrives.
    Drain,
    /// Over.
    End,
}

const PHASES: [Phase; 6] = [
    Phase::Setup,
    Phase::Rest,
    Phase::Warmup,
    Phase::Measured,
    Phase::Drain,
    Phase::End,
];

impl Phase {
    /// Whether the clients send.
    pub fn is_running(self) -> bool {
        matches!(self, Phase::Warmup | Phase::Measured)
    }
}

/// One run's shared state.
pub struct Shared {
    phase: AtomicU8,
    /// When the measured time began, and when it ended.
    from: AtomicU64,
    to: AtomicU64,
    /// When the command amid the messages was begun, and when it had ended; and whether the messages end, too.
    command_from: AtomicU64,
    command_to: AtomicU64,
    is_command_over: AtomicBool,
    /// Broadcasts sent so far.
    pub broadcasts: AtomicU32,
    /// Messages that each sender of a flood has sent so far.
    pub flooded: Vec<AtomicU32>,
    pub gauges: Vec<Gauge>,
}

/// What one generator shows of itself.
pub struct Gauge {
    pub wake: Wake,
    /// Connections logged in.
    pub up: AtomicU64,
    pub delivered: AtomicU64,
    pub faults: AtomicU64,
    /// Whether its setup is done.
    pub is_ready: AtomicBool,
    /// Whether it has done all that it was to do.
    pub is_done: AtomicBool,
    /// Whether nothing of its own is on the way.
    pub is_quiet: AtomicBool,
    /// Whether it has ended, or cannot go on.
    pub is_over: AtomicBool,
    /// Broadcasts that all of its connections have.
    pub broadcasts: AtomicU32,
}

impl Gauge {
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl Shared {
    pub fn new(generators: usize, senders: usize) -> io::Result<Shared> {
        let gauge = || {
            Ok(Gauge {
                wake: Wake::new()?,
                up: AtomicU64::new(0),
                delivered: AtomicU64::new(0),
                faults: AtomicU64::new(0),
                is_ready: AtomicBool::new(false),
                is_done: AtomicBool::new(false),
                is_quiet: AtomicBool::new(false),
                is_over: AtomicBool::new(false),
                broadcasts: AtomicU32::new(0),
            })
        };
        Ok(Shared {
            phase: AtomicU8::new(Phase::Setup as u8),
            from: AtomicU64::new(u64::MAX),
            to: AtomicU64::new(u64::MAX),
            command_from: AtomicU64::new(u64::MAX),
            command_to: AtomicU64::new(u64::MAX),
            is_command_over: AtomicBool::new(false),
            broadcasts: AtomicU32::new(0),
            flooded: (0..senders).map(|_| AtomicU32::new(0)).collect(),
            gauges: (0..generators)
                .map(|_| gauge())
                .collect::<io::Result<_>>()?,
        })
    }

    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Goes on to a phase that begins now, and tells everybody.
    pub fn enter(&self, phase: Phase, now: u64) {
        match phase {
            Phase::Measured => self.from.store(now, Ordering::Release),
            Phase::Drain => self.to.store(now, Ordering::Release),
            _ => {}
        }
        self.phase.store(phase as u8, Ordering::Release);
        for gauge in &self.gauges {
            gauge.wake.ring();
        }
    }

    /// The measured time, as far as it is known.
    pub fn window(&self) -> (u64, u64) {
        (
            self.from.load(Ordering::Acquire),
            self.to.load(Ordering::Acquire),
        )
    }

    /// The command begins now.
    pub fn begin_command(&self, now: u64) {
        self.command_from.store(now, Ordering::Release);
    }

    /// It has ended.
    pub fn end_command(&self, now: u64) {
        self.command_to.store(now, Ordering::Release);
    }

    /// The messages beside it end.
    pub fn leave_command(&self) {
        self.is_command_over.store(true, Ordering::Release);
        for gauge in &self.gauges {
            gauge.wake.ring();
        }
    }

    pub fn is_command_over(&self) -> bool {
        self.is_command_over.load(Ordering::Acquire)
    }

    /// Whether a message that was due then and arrives now has met the command.
    pub fn met_command(&self, due: u64, now: u64) -> bool {
        now >= self.command_from.load(Ordering::Acquire)
            && due < self.command_to.load(Ordering::Acquire)
    }

    /// Broadcasts that everybody has.
    pub fn broadcasts_complete(&self) -> u32 {
        let of_each = self
            .gauges
            .iter()
            .map(|gauge| gauge.broadcasts.load(Ordering::Acquire));
        of_each.min().unwrap_or(0)
    }

    /// A sum over the gauges.
    pub fn sum(&self, of: impl Fn(&Gauge) -> &AtomicU64) -> u64 {
        self.gauges
            .iter()
            .map(|gauge| of(gauge).load(Ordering::Relaxed))
            .sum()
    }

    /// Whether a flag is up at every gauge.
    pub fn all(&self, of: impl Fn(&Gauge) -> &AtomicBool) -> bool {
        self.gauges
            .iter()
            .all(|gauge| of(gauge).load(Ordering::Acquire))
    }
}

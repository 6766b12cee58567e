//! The ticks of a core, by which deadlines go, and what of its time it stood still: [`Ticks`].

use std::time::{Duration, Instant};

use crate::shard::{TICK, Tick};

/// A core that wakes later than this after it meant to stood still.
const STALL: Duration = Duration::from_secs(1);
/// The tick at which a core begins, 30 days: what has come from another process may have been silent for long.
pub const BEGINNING: Tick = 30 * 24 * 60 * 60 * 10;

/// See the module.
pub struct Ticks {
    /// When the ticks began, stalls left out.
    started: Instant,
    /// For how long the core has just stood still, until somebody asks.
    stall: Option<Duration>,
}

impl Ticks {
    pub fn new(now: Instant) -> Ticks {
        Ticks {
            started: now,
            stall: None,
        }
    }

    /// Time in which this core stood still (its machine did, or its process was stopped) is nobody's
    /// silence: what was sent meanwhile waits unread. So all deadlines move by that time, to a tick from
    /// now, when it will have been read. The core meant to wake at `awaited`.
    #[inline]
    pub fn forgive_stall(&mut self, awaited: Option<Instant>, now: Instant) {
        let Some(awaited) = awaited else { return };
        let late = now.saturating_duration_since(awaited);
        if late > STALL {
            self.started += late + TICK;
            self.stall = Some(late);
        }
    }

    /// For how long the core has stood still since this was last asked, if it has.
    pub fn take_stall(&mut self) -> Option<Duration> {
        self.stall.take()
    }

    /// The tick of a time.
    #[inline]
    pub fn at(&self, now: Instant) -> Tick {
        let ticks = now.duration_since(self.started).as_millis() / TICK.as_millis();
        BEGINNING + ticks as Tick
    }

    /// The time of a tick.
    #[inline]
    pub fn time(&self, tick: Tick) -> Instant {
        self.started + TICK * tick.saturating_sub(BEGINNING)
    }
}

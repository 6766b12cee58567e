//! The time on a core, its rounds, and what comes due: deadlines and the apps' timers.

use std::time::{Duration, Instant};

use super::host::Host;
use super::round::WorkSource;

/// Timers that run out in one round.
const TIMERS_PER_ROUND: usize = 64;
/// A core that has connections looks at the time at least so often, whatever is due: one that looked only
/// when something is would not know how it had stood still until then.
const PULSE: Duration = Duration::from_secs(1);

/// Whether there is room among what waits for the back end is looked at so often while somebody waits for it.
const ROOM_LOOK_INTERVAL: Duration = Duration::from_millis(20);

impl Host {
    /// The time that everything happens at.
    pub fn now(&self) -> Instant {
        self.local.now()
    }

    /// For how long the core has stood still since this was last asked, if it has.
    pub fn take_stall(&mut self) -> Option<Duration> {
        self.ticks.take_stall()
    }

    /// When connections are to be looked at next: at a deadline, and before long even so.
    #[inline]
    fn next_look(&self) -> Option<Instant> {
        let shard = &self.local.shard;
        let keeps = !self.local.streams.store.is_empty();
        let connections = shard.stats.connections > 0 || shard.connections.http_connections() > 0;
        let pulse = (connections || keeps).then(|| self.local.now() + PULSE);
        let deadline = shard.clock.next_due().map(|tick| self.ticks.time(tick));
        pulse.into_iter().chain(deadline).min()
    }

    /// Sets the time that everything from here on happens at.
    pub fn set_now(&mut self, now: Instant) {
        self.ticks.forgive_stall(self.next_look(), now);
        self.local.set_now(now);
        self.local.shard.clock.set_now(self.ticks.at(now));
        self.read_wall();
    }

    /// A round of a turn begins at this time.
    pub fn begin_round(&mut self, now: Instant) {
        self.set_now(now);
        self.local.streams.advance(now);
        if self.local.shard.awaits_message_room() {
            self.local.shard.look_for_message_room();
        }
        self.round.begin(self.work(), now);
    }

    /// Begins a round without a look at the time that deadlines go by.
    #[cfg(test)]
    pub fn begin_round_at_once(&mut self) {
        self.round.begin(self.work(), Instant::now());
    }

    /// What follows comes from this source, until another is entered.
    pub fn enter(&mut self, source: WorkSource) {
        let units = self.work();
        self.round.enter(source, units);
    }

    /// Whether the round has room for one more item.
    #[inline]
    pub fn goes_on(&mut self) -> bool {
        let units = self.work();
        self.round.goes_on(units)
    }

    /// Units of work that this core has done.
    #[inline]
    pub fn work(&self) -> u64 {
        self.local.shard.work.units()
    }

    /// Does what has come due: the apps' timers, and deadlines of connections. Of both, as many as one round may;
    /// [`Host::has_due`] tells of more.
    pub fn expire(&mut self) {
        self.local.shard.expire();
        self.run_timers();
    }

    /// Calls the apps whose timers are due, whatever else waits.
    pub fn run_timers(&mut self) {
        self.local.tell_presence();
        for _ in 0..TIMERS_PER_ROUND {
            let Some((app, token)) = self.local.timers.pop(self.local.now) else {
                break;
            };
            self.local.shard.work.called();
            self.apps[usize::from(app)].timer(&mut self.local, token);
        }
        self.settle();
    }

    /// Whether more is due than one round has done.
    pub fn has_due(&self) -> bool {
        let timer = self.local.timers.next();
        let presence = self.local.homes.next_due();
        let mut due = timer.into_iter().chain(presence);
        due.any(|due| due <= self.now()) || self.local.shard.clock.is_expiring()
    }

    /// When there is to be a turn even if nothing happens.
    pub fn next_due(&self) -> Option<Instant> {
        let timer = self.local.timers.next();
        let presence = self.local.homes.next_due();
        let look = self.next_look().into_iter();
        let room = self.local.shard.awaits_message_room();
        let room = room.then(|| self.local.now() + ROOM_LOOK_INTERVAL);
        let acknowledged = self.local.shard.in_flight.ask_again_at(self.local.now());
        let due = look.chain(timer).chain(presence).chain(room);
        due.chain(acknowledged).min()
    }
}

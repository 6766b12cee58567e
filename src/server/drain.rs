//! Stopping without losing what was accepted, and without sending all clients elsewhere at once.
//!
//! First `/readyz` says so, for `drain_delay` while all else goes on. Then no core lets clients in any more, and
//! those that are there are closed at `drain_rate`, while back ends go on pushing to who is left: the thread that
//! drains looks at how many each core has and orders so many of each to be closed, [`TICK`] by tick. Then nothing
//! is accepted or read any more, and the mailboxes run dry: the thread watches the cores' counters until nothing
//! posted is left untaken and no core has an answer outstanding. Only then is the rest closed, each connection
//! after what waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::reload::Current;
use crate::app::envelope::{Body, DrainStep};
use crate::bus::Remote;
use crate::ident::CoreId;
use crate::net::http::Readiness;

const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// Between two orders to close some clients: short enough that what they cause when they connect elsewhere is
/// spread, too.
const TICK: Duration = Duration::from_millis(10);
/// After we have stood still no more is made up for than what this time allows.
const BURST: Duration = Duration::from_millis(100);
/// Of `drain_timeout`, what is kept for the end of those that are left: half, and no more than this.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is said how far we are.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How far one core's drain is, written by it alone.
#[derive(Default)]
pub struct DrainProgress {
    shut: AtomicBool,
    quiet: AtomicBool,
    working: AtomicBool,
    connections: AtomicU64,
    /// Those still to be closed, before all the others.
    clients: AtomicU64,
    /// Messages that its streams keep, and that end with it.
    kept: AtomicU64,
}

impl DrainProgress {
    /// The core lets no clients in.
    pub fn publish_shut(&self, connections: u64, clients: u64) {
        self.connections.store(connections, Ordering::Relaxed);
        self.clients.store(clients, Ordering::Relaxed);
        self.shut.store(true, Ordering::Release);
    }

    /// The core accepts and reads nothing, and keeps so many messages.
    pub fn publish_quiet(&self, working: bool, connections: u64, kept: u64) {
        self.kept.store(kept, Ordering::Relaxed);
        self.working.store(working, Ordering::Release);
        self.connections.store(connections, Ordering::Relaxed);
        self.quiet.store(true, Ordering::Release);
    }

    /// What it has said of being quiet is over.
    fn forget(&self) {
        self.working.store(true, Ordering::Release);
        self.quiet.store(false, Ordering::Release);
    }

    fn connections(&self) -> Option<u64> {
        let told = self.shut.load(Ordering::Acquire) || self.quiet.load(Ordering::Acquire);
        told.then(|| self.connections.load(Ordering::Relaxed))
    }

    fn is_settled(&self) -> bool {
        self.quiet.load(Ordering::Acquire) && !self.working.load(Ordering::Acquire)
    }

    /// `None` if it is not known yet.
    fn clients(&self) -> Option<u64> {
        let shut = self.shut.load(Ordering::Acquire);
        shut.then(|| self.clients.load(Ordering::Relaxed))
    }
}

#[derive(Clone)]
pub struct Draining {
    remote: Remote<Body>,
    progress: Arc<[DrainProgress]>,
    current: Arc<Current>,
    readiness: Arc<Readiness>,
}

impl Draining {
    pub fn new(
        remote: Remote<Body>,
        progress: Arc<[DrainProgress]>,
        current: Arc<Current>,
        readiness: Arc<Readiness>,
    ) -> Draining {
        Draining {
            remote,
            progress,
            current,
            readiness,
        }
    }

    /// For others that post from outside.
    pub fn remote(&self) -> Remote<Body> {
        self.remote.clone()
    }

    /// Takes the cores to their end; returns when each has been told to close its connections. About once a
    /// second `tell` gets to know how many are left, once that is known.
    pub fn run(self, tell: impl FnMut(Option<u64>)) {
        let config = self.current.config();
        let mut reports = Reports {
            next: Instant::now(),
            tell,
        };
        self.readiness.drain();
        reports.look(|| self.connections());
        let begun = Instant::now();
        while let left = config.drain_delay.saturating_sub(begun.elapsed())
            && !left.is_zero()
        {
            thread::sleep(left.min(REPORT_INTERVAL));
            reports.look(|| self.connections());
        }
        let begun = Instant::now();
        let until = begun + config.drain_timeout;
        let end_time = (config.drain_timeout / 2).min(END_TIME_MAX);
        if config.drain_rate > 0 {
            self.tell(DrainStep::Shut);
            self.close_clients(config.drain_rate, until - end_time, &mut reports);
        }
        self.tell(DrainStep::Quiet);
        // Closing needs time, too.
        let now = Instant::now();
        let settled = self.wait_until_settled(now + until.saturating_duration_since(now) / 2);
        let (took, connections) = (begun.elapsed(), self.connections().unwrap_or(0));
        if settled {
            info!(
                took = %shown(took),
                connections, "nothing is under way any more; closing connections"
            );
        } else {
            warn!(
                took = %shown(took),
                connections, "still under way near the end of drain_timeout; closing connections"
            );
        }
        let kept = self.progress.iter();
        let kept: u64 = kept.map(|core| core.kept.load(Ordering::Relaxed)).sum();
        if kept > 0 {
            warn!(
                messages = kept,
                "what is kept ([[history]], \"keep\") is forgotten: a restart keeps none of it. Clients that come back \
                 with a position are told of a gap; what waits for a login is lost"
            );
        }
        self.tell(DrainStep::Finish { until });
    }

    /// Has clients closed at this rate (a second, of all cores) until none is left, or until this time.
    fn close_clients(
        &self,
        rate: usize,
        until: Instant,
        reports: &mut Reports<impl FnMut(Option<u64>)>,
    ) {
        let mut pace = Pace::new(rate, self.progress.len());
        let mut began = None;
        loop {
            let now = Instant::now();
            // A core that has ended by mistake has nobody, and tells nothing.
            let gone = |core| self.remote.counters().is_gone(core);
            let clients = self.progress.iter().enumerate();
            let clients: Option<Vec<u64>> = clients
                .map(|(core, one)| if gone(core) { Some(0) } else { one.clients() })
                .collect();
            if let Some(clients) = clients {
                let left = clients.iter().sum();
                let since = *began.get_or_insert_with(|| {
                    foretell(left, rate, until.saturating_duration_since(now));
                    now
                });
                if left == 0 {
                    return;
                }
                for (core, count) in pace.shares(&clients, now - since) {
                    self.remote
                        .post(core, Body::Drain(DrainStep::Close { count }));
                }
            }
            if now >= until {
                let left = self.connections().unwrap_or(0);
                return warn!(left, "drain_timeout is near; the rest is closed at once");
            }
            reports.look(|| self.connections());
            // The cores' answers to the first order come sooner.
            thread::sleep(match began {
                Some(_) => TICK,
                None => LOOK_INTERVAL,
            });
        }
    }

    /// Ends the cores at once.
    pub fn abandon(&self) {
        self.tell(DrainStep::Quiet);
        self.tell(DrainStep::Finish {
            until: Instant::now(),
        });
    }

    fn tell(&self, stage: DrainStep) {
        self.post(|| Body::Drain(stage));
    }

    /// All that there are, once every core has told.
    /// Posts one to each core.
    pub fn post(&self, body: impl Fn() -> Body) {
        for core in 0..self.cores() {
            self.remote.post(CoreId(core as u16), body());
        }
    }

    pub fn cores(&self) -> usize {
        self.remote.cores()
    }

    /// Waits until no core has anything unfinished of what it has been told before; see [`Draining::forget`]. Whether that
    /// has come before the time is over.
    pub fn settle(&self, until: Instant) -> bool {
        self.wait_until_settled(until)
    }

    /// What cores have said before of being quiet does not count any more.
    pub fn forget(&self) {
        for core in &*self.progress {
            core.forget();
        }
    }

    /// Waits until each core has taken what was posted to it.
    pub fn wait_until_taken(&self, until: Instant) {
        let waits = |core| self.remote.waits_at(CoreId(core as u16));
        while (0..self.cores()).any(waits) && Instant::now() < until {
            thread::sleep(LOOK_INTERVAL);
        }
    }

    fn connections(&self) -> Option<u64> {
        self.progress.iter().map(DrainProgress::connections).sum()
    }

    fn wait_until_settled(&self, until: Instant) -> bool {
        let mut last = None;
        while Instant::now() < until {
            let look = self.remote.counters().look();
            let gone = |core| self.remote.counters().is_gone(core);
            let mut cores = self.progress.iter().enumerate();
            let quiet = cores.all(|(core, one)| gone(core) || one.is_settled());
            if quiet && look.settled() && last == Some(look) {
                return true;
            }
            last = (quiet && look.settled()).then_some(look);
            thread::sleep(LOOK_INTERVAL);
        }
        false
    }
}

/// A time as people write it, to the millisecond.
fn shown(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(time.as_millis() as u64))
}

/// Says how long it takes, or that the time is too short for it.
fn foretell(clients: u64, rate: usize, time: Duration) {
    let needed = time_needed(clients, rate);
    if needed > time {
        warn!(
            clients,
            rate,
            needed = %shown(needed),
            time = %shown(time),
            "drain_timeout is too short for drain_rate: who is left by then is closed at once"
        );
    } else {
        info!(clients, rate, needed = %shown(needed), "closing clients");
    }
}

/// The time in which so many are closed.
fn time_needed(clients: u64, rate: usize) -> Duration {
    Duration::from_millis(clients.saturating_mul(1_000) / rate.max(1) as u64)
}

/// How many are to be closed on which core by when.
struct Pace {
    rate: f64,
    /// Ordered so far.
    ordered: f64,
    /// Of that, what each core's share still lacks to a whole connection.
    owed: Vec<f64>,
}

impl Pace {
    fn new(rate: usize, cores: usize) -> Pace {
        Pace {
            rate: rate as f64,
            ordered: 0.0,
            owed: vec![0.0; cores],
        }
    }

    /// What is due after so much time, dealt out by how many each core has left.
    fn shares(&mut self, clients: &[u64], elapsed: Duration) -> Vec<(CoreId, usize)> {
        let left: u64 = clients.iter().sum();
        let due = self.rate * (elapsed + TICK).as_secs_f64();
        self.ordered = self.ordered.max(due - self.rate * BURST.as_secs_f64());
        let count = (due - self.ordered).min(left as f64).max(0.0);
        self.ordered += count;
        let mut shares = Vec::new();
        for (core, (own, owed)) in clients.iter().zip(&mut self.owed).enumerate() {
            *owed += count * *own as f64 / left.max(1) as f64;
            let whole = owed.floor();
            *owed -= whole;
            if whole >= 1.0 {
                shares.push((CoreId(core as u16), whole as usize));
            }
        }
        shares
    }
}

/// Says once a second how many are left.
struct Reports<F> {
    next: Instant,
    tell: F,
}

impl<F: FnMut(Option<u64>)> Reports<F> {
    fn look(&mut self, left: impl FnOnce() -> Option<u64>) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + REPORT_INTERVAL;
            let left = left();
            if let Some(left) = left {
                info!(left, "draining");
            }
            (self.tell)(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closes so many on each core at this rate; returns how many had been closed after each tick.
    fn closed(mut clients: Vec<u64>, rate: usize) -> Vec<u64> {
        let mut pace = Pace::new(rate, clients.len());
        let (mut sums, mut sum) = (Vec::new(), 0);
        for tick in 0.. {
            if clients.iter().all(|left| *left == 0) || tick > 100_000 {
                break;
            }
            for (core, count) in pace.shares(&clients, TICK * tick) {
                let left = &mut clients[core.index()];
                let count = (count as u64).min(*left);
                *left -= count;
                sum += count;
            }
            sums.push(sum);
        }
        sums
    }

    #[test]
    fn clients_go_at_the_rate_wherever_they_are() {
        for (clients, rate) in [
            (vec![1_000], 500),
            (vec![500, 500], 500),
            (vec![990, 10, 0, 0], 500),
            (vec![1, 1, 1], 7),
            (vec![40_000, 60_000], 5_000),
            (vec![0, 30], 3),
        ] {
            let all: u64 = clients.iter().sum();
            let cores = clients.len() as f64;
            let sums = closed(clients, rate);
            assert_eq!(sums.last(), Some(&all));
            for (tick, sum) in sums.iter().enumerate() {
                let due = rate as f64 * 0.01 * (tick + 1) as f64;
                let sum = *sum as f64;
                assert!(
                    sum <= due + 1e-6 && (sum > due - cores - 1.0 || sum > all as f64 - cores),
                    "{sum} of {all} by tick {tick} at {rate}"
                );
            }
        }
    }

    #[test]
    fn what_was_missed_is_not_made_up_for_at_once() {
        let mut pace = Pace::new(1_000, 1);
        pace.shares(&[100_000], Duration::ZERO);
        let late = pace.shares(&[100_000], Duration::from_secs(60));
        assert_eq!(late, [(CoreId(0), 100)]);
    }

    #[test]
    fn the_time_that_it_takes() {
        assert_eq!(time_needed(1_000_000, 5_000), Duration::from_secs(200));
        assert_eq!(time_needed(0, 5_000), Duration::ZERO);
    }
}

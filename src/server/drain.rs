//! Stopping without losing what was accepted.
//!
//! First no core accepts or reads any more. Then the mailboxes run dry: the thread that drains watches
//! the cores' counters until nothing posted is left untaken and no core has an answer outstanding. Only then
//! are the connections closed, each after what waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::app::envelope::{Body, Stage};
use crate::bus::Remote;
use crate::ident::CoreId;

const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How far one core's drain is, written by it alone.
#[derive(Default)]
pub struct Progress {
    quiet: AtomicBool,
    working: AtomicBool,
    connections: AtomicU64,
}

impl Progress {
    pub fn publish(&self, working: bool, connections: u64) {
        self.working.store(working, Ordering::Release);
        self.connections.store(connections, Ordering::Relaxed);
        self.quiet.store(true, Ordering::Release);
    }

    fn is_settled(&self) -> bool {
        self.quiet.load(Ordering::Acquire) && !self.working.load(Ordering::Acquire)
    }
}

pub struct Draining {
    remote: Remote<Body>,
    progress: Arc<[Progress]>,
    timeout: Duration,
}

impl Draining {
    pub fn new(remote: Remote<Body>, progress: Arc<[Progress]>, timeout: Duration) -> Draining {
        Draining {
            remote,
            progress,
            timeout,
        }
    }

    /// For others that post from outside.
    pub fn remote(&self) -> Remote<Body> {
        self.remote.clone()
    }

    /// Takes the cores to their end; returns when each has been told to close its connections.
    pub fn run(self) {
        let begun = Instant::now();
        let until = begun + self.timeout;
        self.tell(Stage::Quiet);
        // Closing needs time, too.
        let settled = self.wait_until_settled(begun + self.timeout / 2);
        let connections: u64 = self
            .progress
            .iter()
            .map(|core| core.connections.load(Ordering::Relaxed))
            .sum();
        let took = begun.elapsed();
        if settled {
            info!(
                ?took,
                connections, "nothing is under way any more; closing connections"
            );
        } else {
            warn!(
                ?took,
                connections, "still under way at half of drain_timeout; closing connections"
            );
        }
        self.tell(Stage::Finish { until });
    }

    /// Ends the cores at once.
    pub fn abandon(&self) {
        self.tell(Stage::Quiet);
        self.tell(Stage::Finish {
            until: Instant::now(),
        });
    }

    fn tell(&self, stage: Stage) {
        for core in 0..self.remote.cores() {
            self.remote.post(CoreId(core as u16), Body::Drain(stage));
        }
    }

    fn wait_until_settled(&self, until: Instant) -> bool {
        let mut last = None;
        while Instant::now() < until {
            let look = self.remote.counters().look();
            let quiet = self.progress.iter().all(Progress::is_settled);
            if quiet && look.settled() && last == Some(look) {
                return true;
            }
            last = (quiet && look.settled()).then_some(look);
            thread::sleep(LOOK_INTERVAL);
        }
        false
    }
}

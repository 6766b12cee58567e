//! Tells the service manager that the server lives, as long as every core makes turns.
//!
//! A core that has nothing to do makes none, so it is asked: each gets an envelope with nothing in it, and the
//! bus's own counts tell whether it was taken. That costs a core one turn each time, and its other turns
//! nothing. A core that does not take it, stuck in a callback or by a mistake of ours, keeps the watchdog silent;
//! the manager then ends the process and starts it anew.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{info, warn};

use super::start_error::named;
use super::supervisor::Supervisor;
use crate::app::envelope::Body;
use crate::bus::Remote;
use crate::ident::CoreId;

/// Looks in the time after which the manager takes us for stuck: one that comes late, or a long turn, is no harm.
const LOOKS: u32 = 4;
/// Not more often than this, whatever it asks for.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The thread that looks. It ends with this.
pub struct Watchdog {
    thread: Option<JoinHandle<()>>,
    end: Option<Sender<()>>,
}

impl Watchdog {
    /// Begins to look, if the manager watches.
    pub fn start(
        supervisor: &Arc<Supervisor>,
        remote: Remote<Body>,
    ) -> io::Result<Option<Watchdog>> {
        let Some(silence_max) = supervisor.watchdog else {
            return Ok(None);
        };
        let supervisor = Arc::clone(supervisor);
        let interval = (silence_max / LOOKS).max(INTERVAL_MIN);
        let (end, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                let mut call = RollCall::begin(remote);
                while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    if call.all_answer() {
                        supervisor.alive();
                    }
                }
            })
            .map_err(|error| named("no thread for the watchdog", &error))?;
        Ok(Some(Watchdog {
            thread: Some(thread),
            end: Some(end),
        }))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks every core, and again once all have answered.
struct RollCall {
    remote: Remote<Body>,
    /// Whether the log knows that one does not answer.
    told: bool,
}

impl RollCall {
    fn begin(remote: Remote<Body>) -> RollCall {
        let call = RollCall {
            remote,
            told: false,
        };
        call.ask();
        call
    }

    /// One envelope a core. None is posted while one waits there, so they do not pile up.
    fn ask(&self) {
        for core in 0..self.remote.cores() {
            self.remote.post(CoreId(core as u16), Body::RollCall);
        }
    }

    /// Whether every core has made a turn since it was asked; those that have ended need not.
    fn all_answer(&mut self) -> bool {
        let cores = 0..self.remote.cores();
        let silent: Vec<usize> = cores
            .filter(|core| self.remote.waits_at(CoreId(*core as u16)))
            .collect();
        match (silent.is_empty(), self.told) {
            (true, true) => info!("every core makes turns again"),
            (false, false) => warn!(?silent, "cores have made no turn since they were asked"),
            _ => {}
        }
        self.told = !silent.is_empty();
        if silent.is_empty() {
            self.ask();
        }
        silent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{self, Endpoint};

    fn turn(core: &mut Endpoint<Body>) -> usize {
        let mut taken = 0;
        while core.take().is_some() {
            taken += 1;
        }
        core.publish_taken(crate::bus::Writing::NOTHING);
        taken
    }

    #[test]
    fn one_core_that_makes_no_turn_is_enough() {
        let mut cores = bus::connect::<Body>(2).unwrap();
        let mut call = RollCall::begin(cores[0].remote());
        assert!(!call.all_answer());
        assert_eq!(turn(&mut cores[0]), 1);
        assert!(!call.all_answer());
        assert!(!call.all_answer());
        // It was asked once, however often it was looked at.
        assert_eq!(turn(&mut cores[1]), 1);
        assert!(call.all_answer());
        // Asked again, and again it takes both.
        assert!(!call.all_answer());
        assert_eq!(turn(&mut cores[0]) + turn(&mut cores[1]), 2);
        assert!(call.all_answer());
    }

    #[test]
    fn a_core_that_has_ended_is_not_waited_for() {
        let mut cores = bus::connect::<Body>(2).unwrap();
        let mut call = RollCall::begin(cores[0].remote());
        turn(&mut cores[0]);
        assert!(!call.all_answer());
        cores.pop();
        assert!(call.all_answer());
    }
}

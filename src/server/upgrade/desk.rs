//! [`UpgradeDesk`]: where the thread of an upgrade lays what the cores are to do, and hears what they have.
//!
//! Each core looks there once a step, and never otherwise.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::parting::Parting;
use crate::ident::CoreId;

/// What one core shows, before anything moves: its listening sockets, each with its listener's number.
pub enum Show {
    Here(CoreId, Vec<(u16, OwnedFd)>),
    /// They have been sent by its lane.
    Sent(CoreId, Result<(), String>),
}

#[derive(Default)]
struct OnDesk {
    /// Of the upgrade that is under way: how many have been tried with it.
    number: u64,
    parting: Option<Arc<Parting>>,
    shows: Option<Sender<Show>>,
}

/// See the module.
#[derive(Default)]
pub struct UpgradeDesk(Mutex<OnDesk>);

impl UpgradeDesk {
    fn look(&self) -> MutexGuard<'_, OnDesk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An upgrade is begun. Cores that are asked from now on show what they have to this receiver.
    pub fn ask(&self) -> Receiver<Show> {
        let (shows, shown) = mpsc::channel();
        let mut desk = self.look();
        desk.number += 1;
        desk.shows = Some(shows);
        shown
    }

    /// The number of the upgrade that is under way.
    pub fn number(&self) -> u64 {
        self.look().number
    }

    /// A core shows what it has.
    pub fn show(&self, show: Show) {
        if let Some(shows) = &self.look().shows {
            // Nobody may be waiting any more.
            let _ = shows.send(show);
        }
    }

    /// Lays down how connections are handed over.
    pub fn lay(&self, parting: Arc<Parting>) {
        let mut desk = self.look();
        desk.parting = Some(parting);
        desk.shows = None;
    }

    /// How they are.
    pub fn parting(&self) -> Option<Arc<Parting>> {
        self.look().parting.clone()
    }

    /// The upgrade is over.
    pub fn clear(&self) {
        let mut desk = self.look();
        desk.parting = None;
        desk.shows = None;
    }
}

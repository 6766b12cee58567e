//! [`Workload`]: what the loop of a generator drives.

use super::crowd::Crowd;
use crate::record::Record;
use crate::shared::Phase;
use crate::wire::{Client, Pool};

/// Bytes waiting for the kernel on one connection past which a fixed rate holds back.
pub const BACKLOG_BYTES_MAX: usize = 256 << 10;

/// A generator's clients, driven by its loop.
pub trait Workload: Client {
    /// Sends what is due. Returns when it wants to be called again at the latest.
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64;
    /// Its connections, where they all come in one way.
    fn crowd(&self) -> Option<&Crowd> {
        None
    }
    /// Connections logged in.
    fn up(&self) -> usize {
        self.crowd().map_or(0, Crowd::up)
    }
    /// Whether all is set up.
    fn is_ready(&self) -> bool {
        self.crowd().is_none_or(Crowd::is_complete)
    }
    /// Whether all that it was to do is done, where there is an end to that.
    fn is_done(&self) -> bool {
        false
    }
    /// Whether nothing is on the way.
    fn is_quiet(&self) -> bool;
    /// Counts what has not arrived; nothing will any more.
    fn conclude(&mut self);
    fn record(&mut self) -> &mut Record;
}

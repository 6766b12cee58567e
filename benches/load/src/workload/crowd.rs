//! [`Crowd`]: connections that log in to a relay and stay: the beginning of most workloads.

use std::sync::Arc;

use crate::plan::{Plan, Share};
use crate::record::Record;
use crate::wire::{Ending, Pool};

/// The door to the listener, and to the back end's port.
pub const FRONT: usize = 0;
pub const BACK: usize = 1;

/// Connections that one generator has under way to being logged in.
const OPENING_MAX: usize = 128;
/// What a relay answers to a login, before the uid.
pub const LOGGED_IN: &[u8] = b"login success, your uid is ";
/// What a relay's refusals begin with.
pub const ERROR: &[u8] = b"error:";

/// Slots 0 to `len`, each a uid of its own.
pub struct Crowd {
    plan: Arc<Plan>,
    first: usize,
    members: Vec<Member>,
    /// The next slot to be opened.
    next: usize,
    opening: usize,
    up: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Outside,
    Opening,
    Up,
    Gone,
}

impl Crowd {
    pub fn new(plan: &Arc<Plan>, share: Share, len: usize) -> Crowd {
        Crowd {
            plan: Arc::clone(plan),
            first: share.first,
            members: vec![Member::Outside; len],
            next: 0,
            opening: 0,
            up: 0,
        }
    }

    /// Opens as many as may be under way.
    pub fn open(&mut self, pool: &mut Pool, record: &mut Record, now: u64) {
        while self.opening < OPENING_MAX && self.next < self.members.len() {
            if let Err(error) = pool.open(self.next, FRONT, now) {
                return record.fail(cannot_open(&error));
            }
            self.members[self.next] = Member::Opening;
            self.next += 1;
            self.opening += 1;
        }
    }

    /// A connection is open: it says who it is.
    pub fn opened(&mut self, pool: &mut Pool, slot: usize) {
        pool.send(slot, self.uid(slot).as_bytes());
    }

    /// Takes a message if it is the answer to a login.
    pub fn message(&mut self, slot: usize, message: &[u8], record: &mut Record) -> bool {
        if self.members[slot] != Member::Opening {
            return false;
        }
        match logged_in(&self.plan, message) {
            Some(said) if said == self.uid(slot).as_bytes() => self.arrived(slot),
            _ => record.fail(no_login(&self.plan.target.url, message)),
        }
        true
    }

    /// A connection counts as logged in.
    pub fn arrived(&mut self, slot: usize) {
        if self.members[slot] == Member::Opening {
            self.members[slot] = Member::Up;
            self.opening -= 1;
            self.up += 1;
        }
    }

    /// A connection has ended, which none of a crowd should.
    pub fn ended(&mut self, slot: usize, ending: &Ending, record: &mut Record) {
        match std::mem::replace(&mut self.members[slot], Member::Gone) {
            Member::Opening => {
                let (up, all) = (self.up, self.members.len());
                self.opening -= 1;
                record.fail(format!(
                    "{} ({up} of a generator's {all} were logged in)",
                    ending.text()
                ));
            }
            Member::Up => {
                self.up -= 1;
                record.faults.closed += 1;
                record.problem(|| ending.text());
            }
            Member::Outside | Member::Gone => {}
        }
    }

    pub fn uid(&self, slot: usize) -> String {
        self.plan.uid(self.first + slot)
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn up(&self) -> usize {
        self.up
    }

    pub fn is_up(&self, slot: usize) -> bool {
        self.members[slot] == Member::Up
    }

    /// Whether all are logged in.
    pub fn is_complete(&self) -> bool {
        self.up == self.members.len()
    }
}

/// The uid in the answer to a login.
pub fn logged_in<'a>(plan: &Plan, message: &'a [u8]) -> Option<&'a [u8]> {
    match plan.target.codec.has_addresses() {
        true => message.strip_prefix(LOGGED_IN),
        false => Some(message),
    }
}

/// Why a connection could not even be begun, with what mends it.
pub fn cannot_open(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptors are left for more connections: raise the limit (ulimit -n) or take \
             more --generators"
                .to_owned()
        }
        Some(libc::EADDRNOTAVAIL) => {
            "no ports are left to connect from: name more addresses with --source, or widen \
             net.ipv4.ip_local_port_range"
                .to_owned()
        }
        _ => format!("cannot open a connection: {error}"),
    }
}

/// The words for an answer to a login that is none.
pub fn no_login(url: &str, message: &[u8]) -> String {
    let start = &message[..message.len().min(120)];
    format!(
        "{url} answers a login with \"{}\": is it a relay listener?",
        start.escape_ascii()
    )
}

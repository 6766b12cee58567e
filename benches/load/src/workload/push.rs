//! [`Push`]: back ends send lines through the text port, pipelined, and the listeners get them.
//!
//! The listeners may be of `push`, which answers no login, or of `relay`: one counts as there when a
//! line pushed to it has arrived. A line's answer is checked as well as its delivery.

use std::collections::VecDeque;
use std::sync::Arc;

use super::crowd::BACK;
use super::crowd::{Crowd, LOGGED_IN, cannot_open};
use super::driven::{BACKLOG_BYTES_MAX, Workload};
use crate::ledger::Inbox;
use crate::pace::Pace;
use crate::plan::{Plan, Share};
use crate::random::Random;
use crate::record::Record;
use crate::shared::Phase;
use crate::stamp::Stamp;
use crate::wire::{Client, Ending, Pool};

/// How often those are asked for again who were not there yet.
const RETRY_NANOS: u64 = 5_000_000;

/// Slots 0 to the crowd's length listen, those behind are back ends.
pub struct Push {
    plan: Arc<Plan>,
    share: Share,
    crowd: Crowd,
    record: Record,
    backs: Vec<Back>,
    /// What is on its way to each listener.
    inboxes: Vec<Inbox>,
    in_flight: usize,
    /// Listeners that a back end did not find yet.
    unfound: Vec<usize>,
    retried: u64,
    pace: Option<Pace>,
    next: usize,
    phase: Phase,
    is_primed: bool,
    random: Random,
    line: Vec<u8>,
}

/// One back end's connection.
#[derive(Default)]
struct Back {
    is_open: bool,
    sent: u32,
    /// What its answers will be about.
    asked: VecDeque<Asked>,
}

enum Asked {
    Token,
    /// Whether this listener is there.
    Probe(usize),
    Message,
}

impl Push {
    pub fn new(plan: &Arc<Plan>, share: Share) -> Push {
        let mut inboxes = Vec::new();
        inboxes.resize_with(share.connections, Inbox::default);
        let mut backs = Vec::new();
        backs.resize_with(share.senders, Back::default);
        Push {
            plan: Arc::clone(plan),
            share,
            crowd: Crowd::new(plan, share, share.connections),
            record: Record::default(),
            backs,
            inboxes,
            in_flight: 0,
            unfound: Vec::new(),
            retried: 0,
            pace: share.rate.map(Pace::new),
            next: 0,
            phase: Phase::Setup,
            is_primed: false,
            random: Random::new(plan.seed, share.number),
            line: Vec::new(),
        }
    }

    fn open_backs(&mut self, pool: &mut Pool, now: u64) {
        for back in 0..self.backs.len() {
            let slot = self.crowd.len() + back;
            if pool.is_closed(slot)
                && let Err(error) = pool.open(slot, BACK, now)
            {
                self.record.fail(cannot_open(&error));
            }
        }
    }

    /// The line up to the stamp.
    fn head(&mut self, listener: usize) {
        self.line.clear();
        self.line.extend_from_slice(b"{\"uid\":\"");
        self.line
            .extend_from_slice(self.crowd.uid(listener).as_bytes());
        self.line.extend_from_slice(b"\",\"stamp\":\"");
    }

    fn probe(&mut self, pool: &mut Pool, listener: usize) {
        let back = listener % self.backs.len();
        self.head(listener);
        self.line.extend_from_slice(b"\"}");
        pool.send(self.crowd.len() + back, &self.line);
        self.backs[back].asked.push_back(Asked::Probe(listener));
    }

    fn say(&mut self, pool: &mut Pool, back: usize, time: u64) {
        let listener = self.random.below(self.crowd.len());
        if !self.crowd.is_up(listener) || !self.backs[back].is_open {
            return;
        }
        let sequence = self.backs[back].sent;
        self.head(listener);
        let stamp = Stamp {
            sender: (self.share.first_sender + back) as u32,
            receiver: (self.share.first + listener) as u32,
            sequence,
            time,
        };
        stamp.write(self.plan.size, &mut self.line);
        self.line.extend_from_slice(b"\"}");
        self.backs[back].sent = sequence.wrapping_add(1);
        self.backs[back].asked.push_back(Asked::Message);
        self.inboxes[listener].expect(back as u32, sequence);
        self.in_flight += 1;
        pool.send(self.crowd.len() + back, &self.line);
    }

    /// What a back end is answered.
    fn answer(&mut self, back: usize, answer: &[u8]) {
        let Some(asked) = self.backs[back].asked.pop_front() else {
            return self.record.corrupt(answer);
        };
        let said = answer.escape_ascii();
        match (asked, answer) {
            (Asked::Token, b"ok") => self.backs[back].is_open = true,
            (Asked::Token, _) => self.record.fail(format!("the back end's port says \"{said}\"")),
            (Asked::Probe(_), b"ok") => {}
            (Asked::Probe(listener), b"fail") => self.unfound.push(listener),
            (Asked::Message, b"ok") => self.record.count("answered ok"),
            (Asked::Message, b"fail") => {
                self.record.faults.refused += 1;
                self.record
                    .problem(|| "a push to a connected uid was answered \"fail\"".to_owned());
            }
            _ => self.record.fail(format!(
                "the back end's port answers a push with \"{said}\": is --backend a push-backend port, \
                 and its --token right?"
            )),
        }
    }

    /// What a listener gets: exactly the line of a back end.
    fn hear(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        self.head(slot);
        let inner = message
            .strip_prefix(self.line.as_slice())
            .and_then(|rest| rest.strip_suffix(b"\"}"));
        if inner == Some(b"") {
            return self.crowd.arrived(slot);
        }
        // A relay's answer to the login, which a listener of push does not get.
        if !self.crowd.is_up(slot) && message.starts_with(LOGGED_IN) {
            return;
        }
        let Some(stamp) = inner.and_then(Stamp::read) else {
            return self.record.corrupt(message);
        };
        let back = (stamp.sender as usize).wrapping_sub(self.share.first_sender);
        let Some(sent) = self.backs.get(back).map(|back| back.sent) else {
            return self.record.corrupt(message);
        };
        if stamp.receiver as usize != self.share.first + slot {
            self.record.faults.strayed += 1;
            return;
        }
        let arrival = self.inboxes[slot].arrive(back as u32, stamp.sequence, sent);
        if self.record.faults.count(arrival) {
            self.in_flight -= 1;
            self.record.deliver(stamp.time, now);
            if self.pace.is_none() && self.phase.is_running() {
                self.say(pool, back, now);
            }
        }
    }
}

impl Client for Push {
    fn opened(&mut self, pool: &mut Pool, slot: usize, _: u64) {
        if slot < self.crowd.len() {
            self.crowd.opened(pool, slot);
            self.unfound.push(slot);
            return;
        }
        let back = slot - self.crowd.len();
        match &self.plan.token {
            Some(token) => {
                pool.send(slot, format!("auth {token}").as_bytes());
                self.backs[back].asked.push_back(Asked::Token);
            }
            None => self.backs[back].is_open = true,
        }
    }

    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        match slot.checked_sub(self.crowd.len()) {
            Some(back) => self.answer(back, message),
            None => self.hear(pool, slot, message, now),
        }
    }

    fn ended(&mut self, _: &mut Pool, slot: usize, ending: Ending, _: u64) {
        match slot.checked_sub(self.crowd.len()) {
            Some(_) => self
                .record
                .fail(format!("a back end's connection: {}", ending.text())),
            None => self.crowd.ended(slot, &ending, &mut self.record),
        }
    }
}

impl Workload for Push {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        self.phase = phase;
        if phase == Phase::Setup {
            self.open_backs(pool, now);
            if !self.backs.iter().all(|back| back.is_open) {
                return u64::MAX;
            }
            self.crowd.open(pool, &mut self.record, now);
            if now >= self.retried + RETRY_NANOS {
                self.retried = now;
                for listener in std::mem::take(&mut self.unfound) {
                    self.probe(pool, listener);
                }
            }
            return self.retried + RETRY_NANOS;
        }
        if !phase.is_running() {
            return u64::MAX;
        }
        let Some(mut pace) = self.pace.take() else {
            if !std::mem::replace(&mut self.is_primed, true) {
                for back in 0..self.backs.len() {
                    for _ in 0..self.share.in_flight {
                        self.say(pool, back, now);
                    }
                }
            }
            return u64::MAX;
        };
        loop {
            let back = self.next % self.backs.len();
            if pool.backlog(self.crowd.len() + back) > BACKLOG_BYTES_MAX {
                break;
            }
            let Some(due) = pace.take(now) else { break };
            self.say(pool, back, due);
            self.next += 1;
        }
        let next = pace.next(now);
        self.pace = Some(pace);
        next
    }

    fn crowd(&self) -> Option<&Crowd> {
        Some(&self.crowd)
    }

    fn is_ready(&self) -> bool {
        self.crowd.is_complete() && self.backs.iter().all(|back| back.asked.is_empty())
    }

    fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.backs.iter().all(|back| back.asked.is_empty())
    }

    fn conclude(&mut self) {
        for inbox in &mut self.inboxes {
            self.record.faults.lost += inbox.clear().count() as u64;
        }
        let unanswered: usize = self.backs.iter().map(|back| back.asked.len()).sum();
        if unanswered > 0 {
            self.record.faults.lost += unanswered as u64;
            self.record
                .problem(|| format!("{unanswered} lines of the back ends were not answered"));
        }
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}

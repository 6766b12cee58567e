//! [`Flood`]: senders that write as fast as their windows let them, to everybody or each time to a reader chosen at
//! random; and beside them quiet clients that send to themselves at a slow and fixed rate. The warm-up is the calm that
//! the quiet clients' latencies under the flood are held against.
//!
//! The quiet clients have a generator of their own, so that they do not wait for readers that share their loop. The
//! window of a flood to everybody is one of all senders, and waits for the slowest reader: a late one is so far behind
//! and no further, however a busy machine treats it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::crowd::{Crowd, ERROR};
use super::driven::Workload;
use crate::ledger::{Inbox, Sequence};
use crate::pace::Pace;
use crate::plan::{Plan, Share, To};
use crate::random::Random;
use crate::record::Record;
use crate::shared::{Phase, Shared};
use crate::stamp::{EVERYBODY, STAMP_BYTES_MIN, Stamp};
use crate::wire::{Client, Ending, Pool};

/// Messages a second of each quiet client.
const QUIET_RATE: f64 = 100.0;

/// The first slots send and read, the others read; or all are quiet.
pub struct Flood {
    plan: Arc<Plan>,
    share: Share,
    shared: Arc<Shared>,
    crowd: Crowd,
    record: Record,
    /// What each slot has received of each sender who writes to everybody: slot by slot.
    sequences: Vec<Sequence>,
    /// How many such messages each slot has, whosever.
    received: Vec<u32>,
    /// How many of those who are up have one more than `complete`, two more, and so on.
    counts: VecDeque<usize>,
    /// So many have all who are up.
    complete: u32,
    /// What is on its way to each slot alone: of senders, or of itself.
    inboxes: Vec<Inbox>,
    in_flight: usize,
    /// Whether these are the quiet clients.
    is_of_quiet: bool,
    /// What each quiet client has sent.
    quiet_sent: Vec<u32>,
    pace: Option<Pace>,
    /// Which sender or quiet client is next.
    next: usize,
    phase: Phase,
    is_primed: bool,
    random: Random,
    body: Vec<u8>,
}

/// What a connection is there for.
#[derive(Clone, Copy)]
enum Role {
    Sender,
    Reader,
    Quiet,
}

impl Role {
    fn lost(self) -> &'static str {
        match self {
            Role::Sender => "senders lost",
            Role::Reader => "readers lost",
            Role::Quiet => "quiet lost",
        }
    }

    fn closed(self) -> &'static str {
        match self {
            Role::Sender => "senders closed",
            Role::Reader => "readers closed",
            Role::Quiet => "quiet closed",
        }
    }
}

impl Flood {
    pub fn new(plan: &Arc<Plan>, share: Share, shared: &Arc<Shared>) -> Flood {
        let is_of_quiet = plan.is_of_quiet(share.number);
        let (mut sequences, mut inboxes) = (Vec::new(), Vec::new());
        if plan.to == To::All {
            sequences.resize_with(share.connections * plan.senders, Sequence::default);
        }
        inboxes.resize_with(share.connections, Inbox::default);
        Flood {
            plan: Arc::clone(plan),
            share,
            shared: Arc::clone(shared),
            crowd: Crowd::new(plan, share, share.connections),
            record: Record::default(),
            sequences,
            received: vec![0; share.connections],
            counts: VecDeque::new(),
            complete: 0,
            inboxes,
            in_flight: 0,
            is_of_quiet,
            quiet_sent: vec![0; if is_of_quiet { share.connections } else { 0 }],
            pace: is_of_quiet.then(|| Pace::new(QUIET_RATE * share.connections as f64)),
            next: 0,
            phase: Phase::Setup,
            is_primed: false,
            random: Random::new(plan.seed, share.number),
            body: Vec::new(),
        }
    }

    fn role(&self, slot: usize) -> Role {
        match () {
            () if self.is_of_quiet => Role::Quiet,
            () if slot < self.share.senders => Role::Sender,
            () => Role::Reader,
        }
    }

    fn lose(&mut self, role: Role, count: u64) {
        self.record.faults.lost += count;
        self.record.count_more(role.lost(), count);
    }

    /// Lets one slot send: to a slot of this generator, or to everybody.
    fn send(&mut self, pool: &mut Pool, slot: usize, receiver: Option<usize>, stamp: &Stamp) {
        self.body.clear();
        match receiver {
            Some(receiver) => {
                let uid = self.crowd.uid(receiver);
                self.body.extend_from_slice(uid.as_bytes());
                self.inboxes[receiver].expect(stamp.sender, stamp.sequence);
                self.in_flight += 1;
            }
            None => self.body.extend_from_slice(b"all"),
        }
        self.body.push(b':');
        let size = match self.role(slot) {
            Role::Quiet => STAMP_BYTES_MIN,
            _ => self.plan.size,
        };
        stamp.write(size, &mut self.body);
        pool.send(slot, &self.body);
    }

    /// The next message of a flooding sender.
    fn flood(&mut self, pool: &mut Pool, slot: usize, now: u64) {
        let readers = self.crowd.len() - self.share.senders;
        let receiver = match self.plan.to {
            To::All => None,
            To::One => Some(self.share.senders + self.random.below(readers)),
        };
        let is_there = receiver.is_none_or(|receiver| self.crowd.is_up(receiver));
        if !pool.is_open(slot) || !is_there {
            return;
        }
        let sender = self.share.first_sender + slot;
        // Counted before it leaves, so that no receiver finds it unsent.
        let sequence = self.shared.flooded[sender].fetch_add(1, Ordering::AcqRel);
        if receiver.is_none() {
            self.shared.broadcasts.fetch_add(1, Ordering::AcqRel);
        }
        let number = |slot: usize| (self.share.first + slot) as u32;
        let stamp = Stamp {
            sender: sender as u32,
            receiver: receiver.map_or(EVERYBODY, number),
            sequence,
            time: now,
        };
        self.send(pool, slot, receiver, &stamp);
    }

    /// As many for everybody as the window has room for, by the senders in turn.
    fn flood_all(&mut self, pool: &mut Pool, now: u64) {
        let window = self.plan.senders.saturating_mul(self.share.in_flight);
        let window = u32::try_from(window).unwrap_or(u32::MAX);
        let complete = self.shared.broadcasts_complete();
        for _ in 0..window {
            let sent = self.shared.broadcasts.load(Ordering::Acquire);
            if self.share.senders == 0 || sent.saturating_sub(complete) >= window {
                return;
            }
            self.flood(pool, self.next % self.share.senders, now);
            self.next += 1;
        }
    }

    /// A quiet client's message to itself.
    fn whisper(&mut self, pool: &mut Pool, slot: usize, due: u64) {
        if !pool.is_open(slot) {
            return;
        }
        let number = (self.share.first + slot) as u32;
        let stamp = Stamp {
            sender: number,
            receiver: number,
            sequence: self.quiet_sent[slot],
            time: due,
        };
        self.quiet_sent[slot] += 1;
        self.send(pool, slot, Some(slot), &stamp);
    }

    /// Messages that a sender has sent so far.
    fn flooded(&self, sender: usize) -> Option<u32> {
        let sent = self.shared.flooded.get(sender)?;
        Some(sent.load(Ordering::Acquire))
    }

    /// Takes one that was for everybody.
    fn hear_all(&mut self, slot: usize, stamp: &Stamp, now: u64) -> Option<()> {
        let sender = stamp.sender as usize;
        let sent = self.flooded(sender)?;
        let at = slot * self.plan.senders + sender;
        let arrival = self.sequences.get_mut(at)?.arrive(stamp.sequence, sent);
        if self.record.faults.count(arrival) {
            self.record.deliver(stamp.time, now);
            self.received[slot] += 1;
            self.tick_off(slot);
        }
        Some(())
    }

    /// Takes one that was for this slot alone.
    fn hear_own(&mut self, pool: &mut Pool, slot: usize, stamp: &Stamp, now: u64) -> Option<()> {
        if stamp.receiver as usize != self.share.first + slot {
            self.record.faults.strayed += 1;
            return Some(());
        }
        let sent = match self.is_of_quiet {
            true => self.quiet_sent[slot],
            false => self.flooded(stamp.sender as usize)?,
        };
        let arrival = self.inboxes[slot].arrive(stamp.sender, stamp.sequence, sent);
        if self.record.faults.count(arrival) {
            self.in_flight -= 1;
            if self.is_of_quiet {
                self.record.answer(stamp.time, now);
                return Some(());
            }
            self.record.deliver(stamp.time, now);
            if self.phase == Phase::Measured {
                let sender = stamp.sender as usize - self.share.first_sender;
                self.flood(pool, sender, now);
            }
        }
        Some(())
    }

    /// What a slot has not received of those who write to everybody.
    fn missing(&self, slot: usize) -> u64 {
        let own = self.sequences.chunks(self.plan.senders).nth(slot);
        let own = own.into_iter().flatten().zip(&self.shared.flooded);
        own.map(|(sequence, sent)| sequence.lost(sent.load(Ordering::Acquire)))
            .sum()
    }

    /// A slot has one more: perhaps it was the slowest.
    fn tick_off(&mut self, slot: usize) {
        let at = (self.received[slot] - self.complete) as usize;
        if at > self.counts.len() {
            self.counts.resize(at, 0);
        }
        self.counts[at - 1] += 1;
        self.advance();
    }

    fn advance(&mut self) {
        let (before, up) = (self.complete, self.crowd.up());
        while self.counts.front().is_some_and(|count| *count >= up) {
            self.counts.pop_front();
            self.complete += 1;
        }
        if self.complete == before {
            return;
        }
        for (number, gauge) in self.shared.gauges.iter().enumerate() {
            match number == self.share.number {
                true => gauge.broadcasts.store(self.complete, Ordering::Release),
                // Its senders may have waited for this.
                false => gauge.wake.ring(),
            }
        }
    }
}

impl Client for Flood {
    fn opened(&mut self, pool: &mut Pool, slot: usize, _: u64) {
        self.crowd.opened(pool, slot);
    }

    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        if self.crowd.message(slot, message, &mut self.record) {
            return;
        }
        if message.starts_with(ERROR) {
            self.record.faults.refused += 1;
            let text = || format!("the server says \"{}\"", message.escape_ascii());
            return self.record.problem(text);
        }
        let heard = match Stamp::read(message) {
            Some(stamp) if stamp.receiver == EVERYBODY => self.hear_all(slot, &stamp, now),
            // The quiet ones' own are small, whatever the flood's are.
            Some(_) if self.is_of_quiet && message.len() != STAMP_BYTES_MIN => None,
            Some(stamp) => self.hear_own(pool, slot, &stamp, now),
            None => None,
        };
        if heard.is_none() {
            self.record.corrupt(message);
        }
    }

    fn ended(&mut self, _: &mut Pool, slot: usize, ending: Ending, _: u64) {
        let role = self.role(slot);
        if self.crowd.is_up(slot) {
            self.record.count_more(role.closed(), 1);
            let ahead = self.received[slot] - self.complete;
            let counts = self.counts.iter_mut().take(ahead as usize);
            counts.for_each(|count| *count -= 1);
        }
        self.crowd.ended(slot, &ending, &mut self.record);
        self.advance();
        let lost = self.inboxes[slot].clear().count();
        self.in_flight -= lost;
        self.lose(role, lost as u64);
    }
}

impl Workload for Flood {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        self.phase = phase;
        match phase {
            Phase::Setup => self.crowd.open(pool, &mut self.record, now),
            Phase::Measured if self.plan.to == To::All => self.flood_all(pool, now),
            Phase::Measured if !std::mem::replace(&mut self.is_primed, true) => {
                for _ in 0..self.share.in_flight {
                    (0..self.share.senders).for_each(|slot| self.flood(pool, slot, now));
                }
            }
            _ => {}
        }
        if !phase.is_running() {
            return u64::MAX;
        }
        let Some(mut pace) = self.pace.take() else {
            return u64::MAX;
        };
        while let Some(due) = pace.take(now) {
            self.whisper(pool, self.next % self.crowd.len(), due);
            self.next += 1;
        }
        let next = pace.next(now);
        self.pace = Some(pace);
        next
    }

    fn crowd(&self) -> Option<&Crowd> {
        Some(&self.crowd)
    }

    fn is_quiet(&self) -> bool {
        self.in_flight == 0
    }

    fn conclude(&mut self) {
        // All are named, those as well of whom nobody was hurt.
        for role in [Role::Sender, Role::Reader, Role::Quiet] {
            self.record.count_more(role.closed(), 0);
            self.record.count_more(role.lost(), 0);
        }
        for slot in 0..self.crowd.len() {
            let lost = self.missing(slot);
            let own = self.inboxes[slot].clear().count();
            self.lose(self.role(slot), lost + own as u64);
        }
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}

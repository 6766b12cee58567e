//! [`Chat`]: a room in which the first half of a generator's users stay and talk, while those of the
//! second half leave and join again, so many at a time.
//!
//! Checked: messages between those who stay, as in a relay; the first roster after a join has the one
//! who joined; and when all is quiet everybody has the same roster, with everybody in it.

use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use super::crowd::FRONT;
use super::crowd::cannot_open;
use super::driven::Workload;
use crate::ledger::Inbox;
use crate::plan::{Plan, Share};
use crate::random::Random;
use crate::record::Record;
use crate::shared::Phase;
use crate::stamp::Stamp;
use crate::wire::{Client, Ending, Pool};

/// Users that join at once while the room fills.
const FILLING: usize = 64;

/// The users of one generator.
pub struct Chat {
    plan: Arc<Plan>,
    share: Share,
    record: Record,
    users: Vec<User>,
    /// Those before this one stay.
    staying: usize,
    /// Users of ours who are in, and on the way in or out.
    up: usize,
    moving: usize,
    /// Whose turn it is to join at first, and to leave later.
    next: usize,
    /// Messages of those who talk, the first of those who stay.
    sent: Vec<u32>,
    in_flight: usize,
    is_primed: bool,
    phase: Phase,
    random: Random,
    hasher: ahash::RandomState,
    /// The newest roster of ours, and the hash of it that has been found whole.
    roster: Vec<u8>,
    whole: Option<u64>,
    body: Vec<u8>,
}

#[derive(Default)]
struct User {
    address: Option<SocketAddr>,
    begun: u64,
    place: Place,
    inbox: Inbox,
    /// The last roster that came.
    roster: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Outside,
    /// On the way in, until its first roster.
    Joining,
    In,
    /// On the way out.
    Leaving,
}

impl Chat {
    pub fn new(plan: &Arc<Plan>, share: Share) -> Chat {
        let mut users = Vec::new();
        users.resize_with(share.connections, User::default);
        let staying = share.connections.div_ceil(2);
        Chat {
            plan: Arc::clone(plan),
            share,
            record: Record::default(),
            users,
            staying,
            up: 0,
            moving: 0,
            next: 0,
            sent: vec![0; share.senders.min(staying)],
            in_flight: 0,
            is_primed: false,
            phase: Phase::Setup,
            random: Random::new(plan.seed, share.number),
            hasher: ahash::RandomState::new(),
            roster: Vec::new(),
            whole: None,
            body: Vec::new(),
        }
    }

    /// 3 to 20 letters, digits and underscores.
    fn name(&self, user: usize) -> String {
        format!("b{:08x}_{}", self.plan.run, self.share.first + user)
    }

    /// The user's entry in a roster.
    fn entry(&self, user: usize) -> Option<String> {
        let address = self.users[user].address?;
        Some(format!("\"{address}\":\"{}\"", self.name(user)))
    }

    fn join(&mut self, pool: &mut Pool, user: usize, now: u64) {
        match pool.open(user, FRONT, now) {
            Ok(()) => {
                let user = &mut self.users[user];
                user.place = Place::Joining;
                user.begun = now;
                user.roster = None;
                self.moving += 1;
            }
            Err(error) => self.record.fail(cannot_open(&error)),
        }
    }

    fn say(&mut self, pool: &mut Pool, sender: usize, now: u64) {
        let receiver = self.random.below(self.staying);
        let Some(address) = self.users[receiver].address else {
            return;
        };
        let sequence = self.sent[sender];
        self.sent[sender] = sequence.wrapping_add(1);
        self.body.clear();
        self.body
            .extend_from_slice(format!("chat:<{address}>:").as_bytes());
        let stamp = Stamp {
            sender: sender as u32,
            receiver: receiver as u32,
            sequence,
            time: now,
        };
        stamp.write(self.plan.size, &mut self.body);
        self.users[receiver].inbox.expect(sender as u32, sequence);
        self.in_flight += 1;
        pool.send(sender, &self.body);
    }

    fn hear(&mut self, pool: &mut Pool, user: usize, message: &[u8], now: u64) {
        let Some(stamp) = Stamp::read(message) else {
            return self.record.corrupt(message);
        };
        let Some(sent) = self.sent.get(stamp.sender as usize).copied() else {
            return self.record.corrupt(message);
        };
        if stamp.receiver as usize != user {
            self.record.faults.strayed += 1;
            return;
        }
        let inbox = &mut self.users[user].inbox;
        let arrival = inbox.arrive(stamp.sender, stamp.sequence, sent);
        if self.record.faults.count(arrival) {
            self.in_flight -= 1;
            self.record.deliver(stamp.time, now);
            self.record.count("messages");
            if self.phase.is_running() {
                self.say(pool, stamp.sender as usize, now);
            }
        }
    }

    fn see_roster(&mut self, user: usize, roster: &[u8], now: u64) {
        self.record.count("rosters");
        self.record.delivered += 1;
        if self.users[user].place == Place::Joining {
            let entry = self.entry(user).unwrap_or_default();
            if memchr::memmem::find(roster, entry.as_bytes()).is_none() {
                self.record.corrupt(roster);
            }
            self.users[user].place = Place::In;
            self.up += 1;
            self.moving -= 1;
            self.record.join(self.users[user].begun, now);
            self.record.count("joins");
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(roster);
        self.users[user].roster = Some(hasher.finish());
        if user == 0 {
            self.roster.clear();
            self.roster.extend_from_slice(roster);
        }
    }

    /// How many of ours have another roster than the first, or are not in that.
    fn stale(&mut self) -> usize {
        let first = self.users.first().and_then(|user| user.roster);
        let differ = self
            .users
            .iter()
            .filter(|user| user.roster != first)
            .count();
        if differ > 0 || (first.is_some() && first == self.whole) {
            return differ;
        }
        let missing = (0..self.users.len()).filter(|user| {
            let entry = self.entry(*user).unwrap_or_default();
            memchr::memmem::find(&self.roster, entry.as_bytes()).is_none()
        });
        let missing = missing.count();
        self.whole = first.filter(|_| missing == 0);
        missing
    }
}

impl Client for Chat {
    fn opened(&mut self, pool: &mut Pool, slot: usize, _: u64) {
        self.users[slot].address = pool.address(slot);
        pool.send(slot, format!("login:{}", self.name(slot)).as_bytes());
    }

    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        if let Some(roster) = message.strip_prefix(b"users:") {
            self.see_roster(slot, roster, now);
        } else if let Some(body) = message.strip_prefix(b"msg:") {
            let is_joining = self.users[slot].place == Place::Joining;
            let is_welcome = is_joining && body.starts_with(b"welcome ");
            if !is_welcome {
                self.hear(pool, slot, body, now);
            }
        } else if message != b"notice:success" {
            let said = format!(
                "{} says \"{}\"",
                self.plan.target.url,
                message[..message.len().min(120)].escape_ascii()
            );
            match message.starts_with(b"notice:error") && self.users[slot].place == Place::In {
                true => self.record.faults.refused += 1,
                false => self
                    .record
                    .fail(format!("{said}: is it a chat listener with room?")),
            }
            self.record.problem(|| said);
        }
    }

    fn ended(&mut self, pool: &mut Pool, slot: usize, ending: Ending, now: u64) {
        let user = &mut self.users[slot];
        let place = std::mem::take(&mut user.place);
        let lost = user.inbox.clear().count();
        self.in_flight -= lost;
        self.record.faults.lost += lost as u64;
        match place {
            Place::In => self.up -= 1,
            Place::Joining | Place::Leaving => self.moving -= 1,
            Place::Outside => {}
        }
        match ending {
            // Whoever has left joins again.
            Ending::Left => return self.join(pool, slot, now),
            Ending::Unopened(_) => self.record.faults.unopened += 1,
            _ => self.record.faults.closed += 1,
        }
        if self.phase == Phase::Setup {
            self.record.fail(ending.text());
        }
        self.record.problem(|| ending.text());
    }
}

impl Workload for Chat {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        self.phase = phase;
        if phase == Phase::Setup {
            while self.moving < FILLING
                && self.next < self.users.len()
                && self.record.fatal.is_none()
            {
                self.join(pool, self.next, now);
                self.next += 1;
            }
        }
        if phase == Phase::Drain && self.in_flight == 0 && self.moving == 0 {
            self.stale();
        }
        if !phase.is_running() {
            return u64::MAX;
        }
        if !std::mem::replace(&mut self.is_primed, true) {
            for sender in 0..self.sent.len() {
                self.say(pool, sender, now);
            }
        }
        let leaving = self.users.len() - self.staying;
        for _ in 0..leaving {
            if self.moving >= self.share.in_flight {
                break;
            }
            self.next += 1;
            let user = self.staying + self.next % leaving;
            if self.users[user].place == Place::In {
                pool.leave(user, now);
                self.users[user].place = Place::Leaving;
                self.moving += 1;
                self.up -= 1;
            }
        }
        u64::MAX
    }

    fn up(&self) -> usize {
        self.up
    }

    fn is_ready(&self) -> bool {
        self.up == self.users.len()
    }

    fn is_quiet(&self) -> bool {
        let first = self.users.first().and_then(|user| user.roster);
        self.in_flight == 0
            && self.moving == 0
            && first.is_some()
            && first == self.whole
            && self.users.iter().all(|user| user.roster == first)
    }

    fn conclude(&mut self) {
        for user in &mut self.users {
            self.record.faults.lost += user.inbox.clear().count() as u64;
        }
        let stale = self.stale();
        if stale > 0 {
            self.record.faults.lost += stale as u64;
            self.record
                .problem(|| format!("{stale} users did not get the last roster"));
        }
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}

//! What the callbacks of one core act on: its shard, its end of the bus, its questions and timers.
//!
//! Whoever sends computes the home core here: its own is delivered to at once, another gets one envelope.
//! At once even if callbacks are due: were some sends to wait for them, others of the same callback
//! would overtake. Effects that call an app back are queued, so that callbacks never nest.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::envelope::{Addressed, Ask, Body, Part};
use super::question::{Asker, Questions};
use super::{Answer, AnyNote, BindError, To};
use crate::bus::Endpoint;
use crate::config::Config;
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach, Ticket, check_uid};
use crate::payload::{Message, Payload};
use crate::shard::Shard;

/// A callback that is due.
pub enum Effect {
    Bind {
        connection: ConnId,
        uid: Box<str>,
    },
    Refuse {
        connection: ConnId,
        error: BindError,
    },
    Answer {
        app: u8,
        ticket: Ticket,
        answer: Answer,
    },
    Offline {
        connection: ConnId,
        uid: Box<str>,
    },
    Note {
        app: u8,
        from: CoreId,
        note: AnyNote,
    },
}

/// A connection that is to move: where to, and the uid to bind there.
pub struct Leaving {
    pub connection: ConnId,
    pub home: CoreId,
    pub uid: Box<str>,
}

/// A timer by its time, its app and the app's token.
type Timer = Reverse<(Instant, u8, u64)>;

pub struct Local {
    pub shard: Shard,
    pub bus: Endpoint<Body>,
    pub questions: Questions,
    pub effects: VecDeque<Effect>,
    pub leaving: VecDeque<Leaving>,
    timers: BinaryHeap<Timer>,
    now: Instant,
    transit_bytes: usize,
    transit_bytes_core: usize,
}

impl Local {
    pub fn new(config: &Config, shard: Shard, bus: Endpoint<Body>, now: Instant) -> Local {
        Local {
            shard,
            bus,
            questions: Questions::default(),
            effects: VecDeque::new(),
            leaving: VecDeque::new(),
            timers: BinaryHeap::new(),
            now,
            transit_bytes: config.transit_bytes_max,
            transit_bytes_core: config.transit_bytes_core_max,
        }
    }

    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    pub fn core(&self) -> CoreId {
        self.bus.core()
    }

    fn other_cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        let own = self.core();
        (0..self.bus.cores() as u16)
            .map(CoreId)
            .filter(move |core| *core != own)
    }

    /// Posts on a connection's account, if there is one.
    fn post(&mut self, to: CoreId, payer: Option<ConnId>, bytes: usize, body: Body) {
        self.shard.stats.envelopes_out += 1;
        let payer = payer.map(|payer| (payer, bytes));
        let charge = self.bus.post(to, payer, body);
        if let Some((payer, _)) = payer {
            self.shard.add_transit(payer, charge);
        }
    }

    /// Posts what answers or follows something that was paid for already.
    pub fn post_free(&mut self, to: CoreId, body: Body) {
        self.post(to, None, 0, body);
    }

    /// Gives back the credit for what other cores have taken since.
    pub fn settle_credits(&mut self) {
        let shard = &mut self.shard;
        self.bus
            .settle_credits(|payer, bytes| shard.sub_transit(payer, bytes));
    }

    /// Whether the connection may be read: neither it nor its core has too much on the way.
    pub fn has_credit(&self, id: ConnId) -> bool {
        self.shard.transit(id) <= self.transit_bytes
            && self.bus.in_transit_bytes() + self.questions.bytes() <= self.transit_bytes_core
    }

    pub fn send_to_uid(
        &mut self,
        reach: Reach,
        payer: Option<ConnId>,
        uid: &str,
        message: Message<'_>,
        tell: bool,
    ) {
        if uid == EVERYBODY {
            return self.broadcast(reach, payer, message);
        }
        if check_uid(uid).is_err() {
            if tell && let Some(connection) = payer {
                self.tell_offline(connection, uid);
            }
            return;
        }
        let tell = payer.filter(|_| tell);
        let home = self.bus.home(uid);
        if home == self.core() {
            self.deliver_to_uid(reach, uid, message, tell);
            return;
        }
        let body = Body::ToUid {
            reach,
            addressed: Addressed::new(uid, message),
            tell,
        };
        self.post(home, payer, uid.len() + message.len(), body);
    }

    /// Delivers on this core; `tell` is a connection of this core.
    pub fn deliver_to_uid(
        &mut self,
        reach: Reach,
        uid: &str,
        message: Message<'_>,
        tell: Option<ConnId>,
    ) {
        if self.shard.send_to_uid(reach, uid, message) == 0
            && let Some(connection) = tell
        {
            self.tell_offline(connection, uid);
        }
    }

    pub fn tell_offline(&mut self, connection: ConnId, uid: &str) {
        self.effects.push_back(Effect::Offline {
            connection,
            uid: Box::from(uid),
        });
    }

    pub fn broadcast(&mut self, reach: Reach, payer: Option<ConnId>, message: Message<'_>) {
        let payload = Payload::new(message);
        for core in self.other_cores() {
            let payload = payload.clone();
            self.post(
                core,
                payer,
                message.len(),
                Body::ToEverybody { reach, payload },
            );
        }
        self.shard.send_to_everybody(reach, message);
    }

    pub fn send_to_group(
        &mut self,
        reach: Reach,
        payer: Option<ConnId>,
        group: &str,
        message: Message<'_>,
        refresh: bool,
    ) {
        let payload = Payload::new(message);
        for core in self.other_cores() {
            let body = Body::ToGroup {
                reach,
                refresh,
                group: Box::from(group),
                payload: payload.clone(),
            };
            self.post(core, payer, group.len() + message.len(), body);
        }
        self.shard.send_to_group(reach, group, message, refresh);
    }

    /// Opens a question to one core.
    fn ask_one(
        &mut self,
        asker: Asker,
        payer: Option<ConnId>,
        bytes: usize,
        home: CoreId,
        ask: Ask,
    ) -> Ticket {
        let question = self.open(asker, payer, bytes, 1);
        self.ask(question, home, ask);
        Ticket(question)
    }

    fn open(&mut self, asker: Asker, payer: Option<ConnId>, bytes: usize, parts: usize) -> u64 {
        let cost = bytes + crate::bus::ENVELOPE_COST;
        if let Some(payer) = payer {
            self.shard.add_transit(payer, cost);
        }
        self.questions
            .open(asker, parts, payer.map(|payer| (payer, cost)))
    }

    fn ask(&mut self, question: u64, core: CoreId, what: Ask) {
        if core == self.core() {
            let part = self.find(what);
            self.answered(question, part);
        } else {
            self.post_free(core, Body::Ask { question, what });
        }
    }

    pub fn push(
        &mut self,
        reach: Reach,
        asker: Asker,
        payer: Option<ConnId>,
        uid: &str,
        message: Message<'_>,
    ) -> Ticket {
        if uid != EVERYBODY {
            if check_uid(uid).is_err() {
                return self.answer_nobody(asker, payer);
            }
            let home = self.bus.home(uid);
            if home == self.core() {
                // At home already: no copy.
                let question = self.open(asker, payer, 0, 1);
                let reached = self.shard.send_to_uid(reach, uid, message);
                self.answered(question, Part::Reached(reached));
                return Ticket(question);
            }
            let addressed = Addressed::new(uid, message);
            let bytes = uid.len() + message.len();
            return self.ask_one(asker, payer, bytes, home, Ask::Push { reach, addressed });
        }
        let payload = Payload::new(message);
        let question = self.open(asker, payer, message.len(), self.bus.cores());
        for core in self.other_cores() {
            let payload = payload.clone();
            self.ask(question, core, Ask::PushEverybody { reach, payload });
        }
        let own = Ask::PushEverybody { reach, payload };
        self.ask(question, self.core(), own);
        Ticket(question)
    }

    pub fn kick(&mut self, reach: Reach, asker: Asker, payer: Option<ConnId>, uid: &str) -> Ticket {
        if check_uid(uid).is_err() {
            return self.answer_nobody(asker, payer);
        }
        let uid = Box::from(uid);
        let home = self.bus.home(&uid);
        self.ask_one(asker, payer, uid.len(), home, Ask::Kick { reach, uid })
    }

    pub fn online(
        &mut self,
        reach: Reach,
        asker: Asker,
        payer: Option<ConnId>,
        uid: &str,
    ) -> Ticket {
        if check_uid(uid).is_err() {
            return self.answer_nobody(asker, payer);
        }
        let uid = Box::from(uid);
        let home = self.bus.home(&uid);
        self.ask_one(asker, payer, uid.len(), home, Ask::Online { reach, uid })
    }

    pub fn stats(&mut self, asker: Asker, payer: Option<ConnId>) -> Ticket {
        let question = self.open(asker, payer, 0, self.bus.cores());
        for core in self.other_cores() {
            self.ask(question, core, Ask::Stats);
        }
        self.ask(question, self.core(), Ask::Stats);
        Ticket(question)
    }

    /// What is no uid reaches nobody.
    fn answer_nobody(&mut self, asker: Asker, payer: Option<ConnId>) -> Ticket {
        let question = self.open(asker, payer, 0, 1);
        self.answered(question, Part::Reached(0));
        Ticket(question)
    }

    /// Does what a question asks, on the core that it concerns.
    pub fn find(&mut self, what: Ask) -> Part {
        match what {
            Ask::Push { reach, addressed } => Part::Reached(self.shard.send_to_uid(
                reach,
                addressed.uid(),
                addressed.message(),
            )),
            Ask::PushEverybody { reach, payload } => {
                Part::Reached(self.shard.send_to_everybody(reach, payload.message()))
            }
            Ask::Kick { reach, uid } => Part::Reached(self.shard.kick(reach, &uid)),
            Ask::Online { reach, uid } => Part::Reached(self.shard.online(reach, &uid)),
            Ask::Stats => {
                let mut stats = self.shard.snapshot();
                stats.core = self.core().0;
                Part::Stats(Box::new(stats))
            }
        }
    }

    /// A part of an answer has come; the last one goes to who asked.
    pub fn answered(&mut self, question: u64, part: Part) {
        let Some(answered) = self.questions.part(question, part) else {
            return;
        };
        if let Some((payer, bytes)) = answered.payer {
            self.shard.sub_transit(payer, bytes);
        }
        match answered.asker {
            Asker::App(app) => self.effects.push_back(Effect::Answer {
                app,
                ticket: Ticket(question),
                answer: answered.answer,
            }),
            Asker::Task(waiting) => waiting.fulfil(answered.answer),
        }
    }

    /// Sends a note to the app's value on one core or all.
    pub fn tell(&mut self, app: u8, payer: Option<ConnId>, to: To, make: impl Fn() -> AnyNote) {
        let cores = match to {
            To::Core(core) => usize::from(core.0)..usize::from(core.0) + 1,
            To::All => 0..self.bus.cores(),
        };
        let cores = cores.start..cores.end.min(self.bus.cores());
        for core in cores {
            let core = CoreId(core as u16);
            let note = make();
            if core == self.core() {
                let from = core;
                self.effects.push_back(Effect::Note { app, from, note });
            } else {
                self.post(core, payer, 0, Body::Note { app, note });
            }
        }
    }

    pub fn after(&mut self, app: u8, time: Duration, token: u64) {
        self.timers.push(Reverse((self.now + time, app, token)));
    }

    /// A timer that has run out, as its app and token.
    pub fn pop_timer(&mut self) -> Option<(u8, u64)> {
        match self.timers.peek() {
            Some(Reverse((due, ..))) if *due <= self.now => {
                let Reverse((_, app, token)) = self.timers.pop()?;
                Some((app, token))
            }
            _ => None,
        }
    }

    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((due, ..))| *due)
    }

    /// Asks for a uid on behalf of a connection; the outcome comes after the present callback.
    pub fn bind_uid(&mut self, connection: ConnId, uid: &str) {
        let refused = if let Err(error) = check_uid(uid) {
            Some(BindError::Uid(error))
        } else if self.shard.has_open_replies(connection) {
            Some(BindError::RepliesOpen)
        } else if !self.shard.ask_to_bind(connection) {
            Some(BindError::Twice)
        } else {
            None
        };
        self.effects.push_back(match refused {
            Some(error) => Effect::Refuse { connection, error },
            None => Effect::Bind {
                connection,
                uid: Box::from(uid),
            },
        });
    }
}

//! What a cluster's thread does of an upgrade, on either side: [`Leaving`] in the process that goes, [`Coming`] in the one that
//! goes on. What goes to Redis, and what comes from there, is its parties' ([`turnover`](super::turnover)).

use std::sync::mpsc::Sender;
use std::time::Instant;

use tracing::debug;

use super::engine_part::EnginePart;
use super::passage::{FromHeir, Passage, ToHeir, read};
use super::turnover_state::{PartyState, TurnoverRole};
use crate::app::envelope::Body;
use crate::bus::Endpoint;

/// This process' side of an upgrade, while there is one.
pub enum Succession {
    None,
    Leaving(Leaving),
    Coming(Coming),
}

impl Succession {
    /// By which it speaks with the other process.
    pub fn passage(&mut self) -> Option<&mut Passage> {
        match self {
            Succession::None => None,
            Succession::Leaving(leaving) => leaving.passage.as_mut(),
            Succession::Coming(coming) => Some(&mut coming.passage),
        }
    }
}

/// Names of channels in one message.
const NAMES_PER_MESSAGE: usize = 1_000;

/// Whether nobody sees the change of processes; or why there is to be none.
pub type TurnoverAnswer = Result<bool, String>;

/// Of one party of the process that goes.
struct LeavingParty {
    /// Channels that the other process has not been told of.
    names: Vec<Box<str>>,
    /// Its Redis was away: nobody knows what it was not given.
    is_broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The other process is subscribed to all.
    Shadow,
    /// It is, and then a marker parts what is whose.
    Parting,
    /// The markers are under way.
    Marking,
    /// What was known by then goes over.
    Telling,
}

/// What the upgrade's thread waits for.
struct AwaitedAim {
    aim: Aim,
    /// The other process is asked whether it has all.
    is_asked: bool,
    reply: Sender<TurnoverAnswer>,
}

/// See the module.
pub struct Leaving {
    /// To the other process, if that has a cluster's thread.
    pub passage: Option<Passage>,
    marker: u64,
    parties: Vec<LeavingParty>,
    /// The other one goes on as the same node.
    is_heir: bool,
    asked: u64,
    taken: u64,
    wanted: Option<AwaitedAim>,
}

impl Leaving {
    /// Begins to tell the other process what there is.
    pub fn new(mut passage: Option<Passage>, parts: &mut [EnginePart]) -> Leaving {
        let marker = fastrand::u64(1..);
        let parties = parts.iter_mut().map(|part| LeavingParty {
            names: part.party.interests.begin_recording(),
            is_broken: !part.is_joined(),
        });
        let parties = parties.collect();
        let links = parts.iter().map(|part| part.party.channel_of_own_link());
        if let Some(passage) = &mut passage {
            let links = links.collect();
            passage.say(&ToHeir::Begin { marker, links });
        }
        Leaving {
            passage,
            marker,
            parties,
            is_heir: false,
            asked: 0,
            taken: 0,
            wanted: None,
        }
    }

    /// The upgrade's thread waits until the other process is subscribed to all.
    pub fn be_shadowed(&mut self, reply: Sender<TurnoverAnswer>) {
        self.want(Aim::Shadow, reply);
    }

    /// The cores are at rest: it waits until it is parted what is whose.
    pub fn part(&mut self, reply: Sender<TurnoverAnswer>) {
        self.want(Aim::Parting, reply);
    }

    fn want(&mut self, aim: Aim, reply: Sender<TurnoverAnswer>) {
        self.wanted = Some(AwaitedAim {
            aim,
            is_asked: false,
            reply,
        });
    }

    /// Whether the other one goes on as the same node.
    pub fn is_heir(&self) -> bool {
        self.is_heir
    }

    /// Whether what is this party's has gone over to it.
    pub fn is_unseen(&self, nth: usize) -> bool {
        self.parties.get(nth).is_some_and(|party| !party.is_broken)
    }

    /// The other process has said something.
    pub fn take(&mut self, bytes: &[u8]) {
        match read(bytes) {
            Some(FromHeir::Here) => self.is_heir = true,
            Some(FromHeir::Taken { number }) => self.taken = number,
            Some(FromHeir::Lost { party }) => {
                if let Some(party) = self.parties.get_mut(party as usize) {
                    party.is_broken = true;
                }
            }
            None => debug!("the new process says what cannot be read"),
        }
    }

    /// Does what can be done.
    pub fn advance(&mut self, parts: &mut [EnginePart], now: Instant) {
        for (own, part) in self.parties.iter_mut().zip(parts.iter_mut()) {
            own.is_broken |= !part.is_joined();
            own.names.extend(part.party.interests.take_recorded());
        }
        self.tell_names();
        let Some(wanted) = &self.wanted else {
            return;
        };
        let is_over = self.passage.as_ref().is_none_or(Passage::is_over);
        if is_over && self.is_heir {
            return self.reply(Err(
                "the new process' thread for the cluster has ended".to_owned()
            ));
        }
        let is_seen = is_over || self.parties.iter().all(|party| party.is_broken);
        match wanted.aim {
            // It joins the cluster by itself when it goes on.
            Aim::Shadow if is_seen => self.reply(Ok(false)),
            Aim::Parting if is_seen => {
                for part in &mut *parts {
                    part.party.divide_now();
                }
                self.tell_states(parts);
            }
            _ => {}
        }
        self.pursue(parts, now);
    }

    fn tell_names(&mut self) {
        let Some(passage) = self.passage.as_mut().filter(|it| !it.is_over()) else {
            return;
        };
        if !passage.is_flushed() {
            return;
        }
        for (party, own) in (0..).zip(&mut self.parties) {
            let from = own.names.len().saturating_sub(NAMES_PER_MESSAGE);
            let names = own.names.split_off(from);
            if !names.is_empty() {
                passage.say(&ToHeir::Channels { party, names });
            }
        }
    }

    fn pursue(&mut self, parts: &mut [EnginePart], now: Instant) {
        let Some(wanted) = &mut self.wanted else {
            return;
        };
        match wanted.aim {
            Aim::Shadow | Aim::Parting if !wanted.is_asked => {
                let all_told = self.parties.iter().all(|party| party.names.is_empty());
                if let Some(passage) = self.passage.as_mut().filter(|_| all_told && self.is_heir) {
                    wanted.is_asked = true;
                    self.asked += 1;
                    let number = self.asked;
                    let parties = (0..).zip(&self.parties);
                    let whole = parties.filter(|(_, party)| !party.is_broken);
                    let parties = whole.map(|(nth, _)| nth).collect();
                    passage.say(&ToHeir::Ask { number, parties });
                }
            }
            _ if self.taken < self.asked => {}
            Aim::Shadow => self.reply(Ok(true)),
            Aim::Parting => {
                wanted.aim = Aim::Marking;
                for (own, part) in self.parties.iter().zip(parts) {
                    match own.is_broken {
                        true => part.party.divide_now(),
                        false => part.party.mark(self.marker, now),
                    }
                }
            }
            Aim::Marking => {
                for (own, part) in self.parties.iter().zip(&mut *parts) {
                    if own.is_broken && !part.party.is_divided() {
                        part.party.divide_now();
                    }
                }
                if parts.iter().all(|part| part.party.is_divided()) {
                    self.tell_states(parts);
                }
            }
            Aim::Telling => {
                if self.passage.as_ref().is_none_or(Passage::is_flushed) {
                    let is_whole = |party: &LeavingParty| !party.is_broken;
                    let unseen = self.is_heir && self.parties.iter().all(is_whole);
                    self.reply(Ok(unseen));
                }
            }
        }
    }

    fn tell_states(&mut self, parts: &mut [EnginePart]) {
        for ((party, own), part) in (0..).zip(&self.parties).zip(parts) {
            let state = part.party.take_state().filter(|_| !own.is_broken);
            if let Some(passage) = &mut self.passage {
                passage.say(&ToHeir::State { party, state });
            }
        }
        if let Some(wanted) = &mut self.wanted {
            wanted.aim = Aim::Telling;
        }
    }

    fn reply(&mut self, answer: TurnoverAnswer) {
        if let Some(wanted) = self.wanted.take() {
            // It may have given up.
            let _ = wanted.reply.send(answer);
        }
    }
}

/// Of one party of the process that comes.
#[derive(Default)]
struct ComingParty {
    /// What the other process has known; `None` in it if the node begins anew there.
    state: Option<Option<PartyState>>,
    was_joined: bool,
    is_lost: bool,
    is_done: bool,
}

/// See the module.
pub struct Coming {
    /// To the process that goes.
    pub passage: Passage,
    parties: Vec<ComingParty>,
    /// It has said its last word.
    goes_on: bool,
    /// By which number it is asked whether these parties have all.
    asked: Option<(u64, Vec<u32>)>,
}

impl Coming {
    /// Begins as a shadow of the other process.
    pub fn new(mut passage: Passage, parts: &mut [EnginePart]) -> Coming {
        for part in &mut *parts {
            part.party.be_shadow(0);
        }
        passage.say(&FromHeir::Here);
        Coming {
            passage,
            parties: parts.iter().map(|_| ComingParty::default()).collect(),
            goes_on: false,
            asked: None,
        }
    }

    /// The other process has said its last word.
    pub fn be_let_go(&mut self) {
        self.goes_on = true;
    }

    /// Whether it has.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Whether nothing of it is left to do.
    pub fn is_done(&self) -> bool {
        self.parties.iter().all(|party| party.is_done)
    }

    /// The other process has said something.
    pub fn take(&mut self, parts: &mut [EnginePart], bytes: &[u8], now: Instant) {
        match read(bytes) {
            Some(ToHeir::Begin { marker, links }) => {
                for (part, link) in parts.iter_mut().zip(links) {
                    part.party.be_shadow(marker);
                    part.party.interests.adopt(link.into(), now);
                }
            }
            Some(ToHeir::Channels { party, names }) => {
                if let Some(part) = parts.get_mut(party as usize) {
                    for name in names {
                        part.party.interests.adopt(name, now);
                    }
                }
            }
            Some(ToHeir::Ask { number, parties }) => self.asked = Some((number, parties)),
            Some(ToHeir::State { party, state }) => {
                if let Some(party) = self.parties.get_mut(party as usize) {
                    party.state = Some(state);
                }
            }
            None => debug!("the old process says what cannot be read"),
        }
    }

    /// Does what can be done.
    pub fn advance(&mut self, bus: &mut Endpoint<Body>, parts: &mut [EnginePart], now: Instant) {
        for ((party, own), part) in (0..).zip(&mut self.parties).zip(parts.iter_mut()) {
            own.was_joined |= part.is_joined();
            if own.was_joined && !part.is_joined() && !own.is_lost {
                own.is_lost = true;
                self.passage.say(&FromHeir::Lost { party });
            }
        }
        let has_all = |party: &u32| {
            let (nth, at) = (*party as usize, parts.get(*party as usize));
            let is_lost = self.parties.get(nth).is_none_or(|own| own.is_lost);
            is_lost || at.is_some_and(|it| it.is_joined() && it.party.interests.are_done())
        };
        if let Some((number, parties)) = &self.asked
            && parties.iter().all(has_all)
        {
            let number = *number;
            self.asked = None;
            self.passage.say(&FromHeir::Taken { number });
        }
        if self.goes_on {
            for (own, part) in self.parties.iter_mut().zip(parts) {
                own.go_on(bus, part, self.passage.is_over(), now);
            }
        }
    }
}

impl ComingParty {
    fn go_on(
        &mut self,
        bus: &mut Endpoint<Body>,
        part: &mut EnginePart,
        is_over: bool,
        now: Instant,
    ) {
        let is_whole = part.is_joined() && !self.is_lost;
        match (self.state.take(), part.party.role_between()) {
            _ if self.is_done => {}
            (Some(Some(state)), TurnoverRole::Heir) if is_whole => {
                part.inherit(state, now);
                self.is_done = true;
            }
            // The marker is on its way.
            (Some(Some(state)), TurnoverRole::Shadow(_)) if is_whole => {
                self.state = Some(Some(state))
            }
            (None, _) if !is_over => {}
            _ => {
                part.inherit_nothing(bus);
                self.is_done = true;
            }
        }
    }
}

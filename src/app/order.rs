//! What keeps a sender's messages to one receiver in order when some of them go by the home of a group: [`Ways`].
//!
//! A message to a group goes to the group's home, which passes it on to the cores that have members. One to a uid, sent
//! right after it, would go straight to the uid's home and could overtake it there. So while a sender has something at a
//! core that passes things on, what it sends goes by that core, too. As soon as that core has dealt with it the straight
//! way is free; but what it has passed on to this very core may still lie in the mailbox here, and then what is for this core
//! goes by the mailbox, too. Several such cores are passed in the order of their numbers.
//!
//! Messages to two groups have no order among each other: each group's home makes an order of its own, and one that holds
//! across two homes would cost a wait for the first before the second is sent.
//!
//! Bound: an entry for each such core of a sender that has something there, as its credit lets it.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::bus::Endpoint;
use crate::ident::{ConnId, CoreId};
use crate::queue;

/// What apps tell each other goes as one sender's.
pub const NOTES: ConnId = ConnId {
    slot: ConnId::NOBODY.slot,
    generation: 1,
};

/// The cores that something passes, in their order.
pub type Path = SmallVec<[CoreId; 2]>;

/// What a sender has at a core that passes it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    by: CoreId,
    /// It is done when this core has dealt with so many envelopes of that one.
    from: CoreId,
    to: CoreId,
    number: u64,
    /// Then those to whom it passed them on have dealt with them, too.
    relayed: bool,
}

/// What a sender has under way.
#[derive(Default)]
struct Sends {
    ways: SmallVec<[Way; 2]>,
    /// What was passed on to this core has come, or is in its mailbox before this point.
    here: u64,
}

impl Sends {
    /// Takes out what is done. Whether nothing is left that anything has to wait for.
    fn prune<B>(&mut self, bus: &Endpoint<B>) -> bool {
        let before = self.ways.len();
        self.ways.retain(|way| !way.is_done(bus));
        if self.ways.len() < before {
            self.here = bus.mark();
        }
        self.ways.is_empty() && bus.has_passed(self.here)
    }
}

impl Way {
    fn is_done<B>(&self, bus: &Endpoint<B>) -> bool {
        match self.relayed {
            true => bus.has_relayed(self.from, self.to, self.number),
            false => bus.has_taken(self.from, self.to, self.number),
        }
    }
}

/// What the senders of one core have at such cores. What no connection sends is one sender's, but for requests.
pub struct Ways {
    of: AHashMap<ConnId, Sends>,
    /// Who sends now what no connection does.
    speaker: ConnId,
    /// The latest request that was one.
    request: u32,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways {
            of: AHashMap::new(),
            speaker: ConnId::NOBODY,
            request: NOTES.generation,
        }
    }
}

impl Ways {
    /// Nobody has anything there, as nearly always.
    #[inline]
    pub fn are_free(&self) -> bool {
        self.of.is_empty()
    }

    /// A sender of its own, for a request: what requests send has no order among each other.
    pub fn new_speaker(&mut self) -> ConnId {
        self.request = self.request.checked_add(1).unwrap_or(NOTES.generation + 1);
        ConnId {
            slot: ConnId::NOBODY.slot,
            generation: self.request,
        }
    }

    /// From now on this one sends what no connection does; or, with [`ConnId::NOBODY`], the core itself.
    pub fn set_speaker(&mut self, speaker: ConnId) {
        self.speaker = speaker;
    }

    fn sender(&self, sender: Option<ConnId>) -> ConnId {
        let connection = sender.filter(|sender| *sender != ConnId::NOBODY);
        connection.unwrap_or(self.speaker)
    }

    /// The cores that what this one sends has to pass.
    pub fn path<B>(&mut self, sender: Option<ConnId>, bus: &Endpoint<B>) -> Path {
        let sender = self.sender(sender);
        let Some(sends) = self.of.get_mut(&sender) else {
            return Path::new();
        };
        if sends.prune(bus) {
            self.of.remove(&sender);
            return Path::new();
        }
        sorted(sends.ways.iter())
    }

    /// Whether what this one sends to this core has to go by its mailbox.
    pub fn go_by_mail<B>(&mut self, sender: Option<ConnId>, bus: &Endpoint<B>) -> bool {
        let sender = self.sender(sender);
        let Some(sends) = self.of.get_mut(&sender) else {
            return false;
        };
        let is_free = sends.prune(bus);
        if is_free {
            self.of.remove(&sender);
        }
        !is_free
    }

    /// The cores that have something of anybody of this core.
    pub fn path_of_all<B>(&mut self, bus: &Endpoint<B>) -> Path {
        if self.are_free() {
            return Path::new();
        }
        self.prune(bus);
        sorted(self.of.values().flat_map(|sends| &sends.ways))
    }

    /// What has just been posted to this core itself is to be followed by what comes after it.
    pub fn went_here<B>(&mut self, sender: Option<ConnId>, bus: &Endpoint<B>) {
        let sender = self.sender(sender);
        let sends = self.of.entry(sender).or_default();
        sends.here = bus.mark();
    }

    /// What has just been posted there is to be passed on by that core.
    pub fn went<B>(&mut self, sender: Option<ConnId>, by: CoreId, bus: &Endpoint<B>) {
        self.note(
            sender,
            Way {
                by,
                from: bus.core(),
                to: by,
                number: bus.posted_to(by),
                relayed: false,
            },
        );
    }

    /// What has just been posted to the first of them passes all.
    pub fn went_along<B>(&mut self, sender: Option<ConnId>, path: &[CoreId], bus: &Endpoint<B>) {
        let &[first, _, ..] = path else {
            return path.iter().for_each(|by| self.went(sender, *by, bus));
        };
        for &by in path {
            self.note(
                sender,
                Way {
                    by,
                    from: bus.core(),
                    to: first,
                    number: bus.posted_to(first),
                    relayed: true,
                },
            );
        }
    }

    fn note(&mut self, sender: Option<ConnId>, way: Way) {
        let sender = self.sender(sender);
        let sends = self.of.entry(sender).or_default();
        let ways = &mut sends.ways;
        let same = |one: &&mut Way| {
            (one.by, one.from, one.to, one.relayed) == (way.by, way.from, way.to, way.relayed)
        };
        match ways.iter_mut().find(same) {
            Some(one) => one.number = way.number,
            None => ways.push(way),
        }
    }

    /// Forgets what is done.
    pub fn prune<B>(&mut self, bus: &Endpoint<B>) {
        self.of.retain(|_, sends| !sends.prune(bus));
        if self.of.is_empty() && self.of.capacity() > queue::KEPT {
            self.of.shrink_to(queue::KEPT);
        }
    }

    /// What a sender has there, because it moves to another core.
    pub fn take(&mut self, sender: ConnId) -> SmallVec<[Way; 2]> {
        if self.are_free() {
            return SmallVec::new();
        }
        let sends = self.of.remove(&sender);
        sends.map(|sends| sends.ways).unwrap_or_default()
    }

    /// A sender has come with this from another core.
    pub fn put(&mut self, sender: ConnId, ways: SmallVec<[Way; 2]>) {
        if !ways.is_empty() {
            self.of.insert(sender, Sends { ways, here: 0 });
        }
    }
}

fn sorted<'w>(ways: impl Iterator<Item = &'w Way>) -> Path {
    let mut path: Path = ways.map(|way| way.by).collect();
    path.sort_unstable();
    path.dedup();
    path
}

//! What leaves a core for others: on whose account, by which path, behind what ([`Outgoing`]).
//!
//! It owns the core's end of the bus and the senders' ways, so nothing is posted past them. Bound: credit, which the
//! connections' own transit and [`super::transit`] hold within limits.

use smallvec::SmallVec;

use super::envelope::{Body, Passing};
use super::note::AnyNote;
use super::order::{NOTES, Path, Way, Ways};
use crate::bus::{Endpoint, RECEIVER_COST, Until};
use crate::ident::{ConnId, CoreId};
use crate::shard::Connections;

/// See the module.
pub struct Outgoing {
    bus: Endpoint<Body>,
    engine: Option<CoreId>,
    /// What senders have at cores that pass it on.
    ways: Ways,
    /// Envelopes posted.
    envelopes: u64,
    /// How often credit has come back.
    returned: u64,
}

impl Outgoing {
    /// By this end of the bus.
    pub fn new(bus: Endpoint<Body>) -> Outgoing {
        Outgoing {
            engine: bus.engine(),
            bus,
            ways: Ways::default(),
            envelopes: 0,
            returned: 0,
        }
    }

    /// The end of the bus, to look at.
    #[inline]
    pub fn bus(&self) -> &Endpoint<Body> {
        &self.bus
    }

    /// The end of the bus, for what takes from it.
    pub fn bus_mut(&mut self) -> &mut Endpoint<Body> {
        &mut self.bus
    }

    #[inline]
    pub fn core(&self) -> CoreId {
        self.bus.core()
    }

    #[inline]
    pub fn cores(&self) -> usize {
        self.bus.cores()
    }

    /// The party through which other nodes are reached, if there is one.
    #[inline]
    pub fn engine(&self) -> Option<CoreId> {
        self.engine
    }

    /// The core that has what is called so.
    #[inline]
    pub fn home(&self, name: &str) -> CoreId {
        self.bus.home(name)
    }

    /// Envelopes posted since the start.
    pub fn envelopes(&self) -> u64 {
        self.envelopes
    }

    /// Changes whenever credit comes back.
    pub fn returned(&self) -> u64 {
        self.returned
    }

    /// What an answer has brought back.
    pub fn note_returned(&mut self) {
        self.returned += 1;
    }

    /// Posts on a connection's account, if there is one, behind all that it has sent.
    pub fn post(
        &mut self,
        connections: &mut Connections,
        to: CoreId,
        payer: Option<ConnId>,
        bytes: usize,
        body: Body,
    ) {
        let path = self.path_of(payer);
        if is_straight(&path, to) {
            self.post_until(connections, to, payer, bytes, Until::Taken, body);
            self.follow_here(payer, to);
        } else {
            self.post_along(connections, payer, path, to, (payer, bytes, false), body);
        }
    }

    /// Posts what is for many there, about as many as it is for here, since uids are spread evenly: on a connection's
    /// account, or on the core's own.
    pub fn post_bulk(
        &mut self,
        connections: &mut Connections,
        to: CoreId,
        payer: Option<ConnId>,
        bytes: usize,
        receivers: usize,
        body: Body,
    ) {
        let path = self.path_of(payer);
        let payer = payer.unwrap_or(ConnId::NOBODY);
        let bytes = bytes + receivers * RECEIVER_COST;
        if is_straight(&path, to) {
            self.post_until(connections, to, Some(payer), bytes, Until::Written, body);
            self.follow_here(Some(payer), to);
        } else {
            self.post_along(
                connections,
                Some(payer),
                path,
                to,
                (Some(payer), bytes, true),
                body,
            );
        }
    }

    /// What goes to this core by its mailbox is followed by what comes after it.
    fn follow_here(&mut self, sender: Option<ConnId>, to: CoreId) {
        if to == self.core() {
            self.ways.went_here(sender, &self.bus);
        }
    }

    /// Posts on a connection's account, if there is one, by the straight way.
    pub fn post_until(
        &mut self,
        connections: &mut Connections,
        to: CoreId,
        payer: Option<ConnId>,
        bytes: usize,
        until: Until,
        body: Body,
    ) {
        self.envelopes += 1;
        let account = payer.map(|payer| (payer, bytes));
        let charge = self.bus.post(to, account, until, body);
        if let Some(payer) = payer {
            connections.add_transit(payer, charge);
        }
    }

    /// Passes on what another core has sent, on its account.
    pub fn relay(&mut self, to: CoreId, until: Until, body: Body) {
        self.envelopes += 1;
        self.bus.relay(to, until, body);
    }

    /// Whether what this one sends to this core has to go by its mailbox, lest it overtakes what has been passed on to it.
    #[inline]
    pub fn goes_by_mail(&mut self, sender: Option<ConnId>) -> bool {
        !self.ways.are_free() && self.ways.go_by_mail(sender, &self.bus)
    }

    /// The cores that what this one sends has to pass, lest it overtakes what it has sent to a group.
    #[inline]
    pub fn path_of(&mut self, sender: Option<ConnId>) -> Path {
        match self.ways.are_free() {
            true => Path::new(),
            false => self.ways.path(sender, &self.bus),
        }
    }

    /// Posts by a path, of whose first core it is on the account, with who pays, the bytes, and whether it is for many.
    pub fn post_along(
        &mut self,
        connections: &mut Connections,
        sender: Option<ConnId>,
        path: Path,
        to: CoreId,
        (payer, bytes, is_bulk): (Option<ConnId>, usize, bool),
        body: Body,
    ) {
        let first = path[0];
        let mut left = Path::from_slice(&path[1..]);
        if path.last() != Some(&to) {
            left.push(to);
        }
        let passing = Box::new(Passing {
            origin: self.core(),
            path: left,
            is_bulk,
            body,
        });
        self.post_until(
            connections,
            first,
            payer,
            bytes,
            Until::Relayed,
            Body::Pass(passing),
        );
        self.ways.went_along(sender, &path, &self.bus);
    }

    /// Posts what answers or follows something that was paid for already.
    pub fn post_free(&mut self, to: CoreId, body: Body) {
        self.envelopes += 1;
        self.bus.post(to, None, Until::Taken, body);
    }

    /// Gives back the credit for what other cores have taken since.
    pub fn settle_credits(&mut self, connections: &mut Connections) {
        let returned = &mut self.returned;
        self.bus.settle_credits(|payer, bytes| {
            *returned += 1;
            connections.sub_transit(payer, bytes);
        });
        if !self.ways.are_free() {
            self.ways.prune(&self.bus);
        }
    }

    /// Posts a note of the app to its value on one core, behind all that this core has sent; gives it back if that is this
    /// core, which may take it at once.
    pub fn post_note(
        &mut self,
        connections: &mut Connections,
        to: CoreId,
        payer: Option<ConnId>,
        (app, note): (u8, AnyNote),
    ) -> Option<AnyNote> {
        let path = self.ways.path_of_all(&self.bus);
        // All free: nothing is left in the mailbox either.
        if to == self.core() && self.ways.are_free() {
            return Some(note);
        }
        let body = Body::Note { app, note };
        if is_straight(&path, to) {
            self.post_until(connections, to, payer, 0, Until::Taken, body);
            self.follow_here(Some(NOTES), to);
        } else {
            let cost = (payer, 0, false);
            self.post_along(connections, Some(NOTES), path, to, cost, body);
        }
        None
    }

    /// What has just been posted there is to be passed on by that core.
    pub fn went(&mut self, sender: Option<ConnId>, by: CoreId) {
        self.ways.went(sender, by, &self.bus);
    }

    /// What has just been posted to the first of them passes all.
    pub fn went_along(&mut self, sender: Option<ConnId>, path: &[CoreId]) {
        self.ways.went_along(sender, path, &self.bus);
    }

    /// What a sender has at other cores, because it moves to one.
    pub fn take_ways(&mut self, sender: ConnId) -> SmallVec<[Way; 2]> {
        self.ways.take(sender)
    }

    /// A sender has come with this from another core.
    pub fn put_ways(&mut self, sender: ConnId, ways: SmallVec<[Way; 2]>) {
        self.ways.put(sender, ways);
    }

    /// A sender of its own, for a request.
    pub fn new_speaker(&mut self) -> ConnId {
        self.ways.new_speaker()
    }

    /// From now on this one sends what no connection does; or, with [`ConnId::NOBODY`], the core itself.
    pub fn set_speaker(&mut self, speaker: ConnId) {
        self.ways.set_speaker(speaker);
    }
}

/// Whether a path that ends there is the straight way.
fn is_straight(path: &[CoreId], to: CoreId) -> bool {
    path.is_empty() || path == [to]
}

//! Posting to other cores: on whose account, by which path, behind what.

use super::effect::Effect;
use super::envelope::{Body, Passing};
use super::local::Local;
use super::note::{AnyNote, To};
use super::order::{NOTES, Path};
use crate::bus::{RECEIVER_COST, Until};
use crate::ident::{ConnId, CoreId};

impl Local {
    /// Posts on a connection's account, if there is one, behind all that it has sent.
    pub fn post(&mut self, to: CoreId, payer: Option<ConnId>, bytes: usize, body: Body) {
        let path = self.path_of(payer);
        if is_straight(&path, to) {
            self.post_until(to, payer, bytes, Until::Taken, body);
            self.follow_here(payer, to);
        } else {
            self.post_along(payer, path, to, (payer, bytes, false), body);
        }
    }

    /// Posts what is for many there, about as many as it is for here, since uids are spread evenly: on a connection's
    /// account, or on the core's own.
    pub fn post_bulk(
        &mut self,
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
            self.post_until(to, Some(payer), bytes, Until::Written, body);
            self.follow_here(Some(payer), to);
        } else {
            self.post_along(Some(payer), path, to, (Some(payer), bytes, true), body);
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
        to: CoreId,
        payer: Option<ConnId>,
        bytes: usize,
        until: Until,
        body: Body,
    ) {
        self.shard.stats.envelopes_out += 1;
        let charge = self
            .bus
            .post(to, payer.map(|payer| (payer, bytes)), until, body);
        if let Some(payer) = payer {
            self.shard.connections.add_transit(payer, charge);
        }
    }

    /// Passes on what another core has sent, on its account.
    pub fn relay(&mut self, to: CoreId, until: Until, body: Body) {
        self.shard.stats.envelopes_out += 1;
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
    pub(super) fn post_along(
        &mut self,
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
        self.post_until(first, payer, bytes, Until::Relayed, Body::Pass(passing));
        self.ways.went_along(sender, &path, &self.bus);
    }

    /// Posts what answers or follows something that was paid for already.
    pub fn post_free(&mut self, to: CoreId, body: Body) {
        self.post_until(to, None, 0, Until::Taken, body);
    }

    /// Gives back the credit for what other cores have taken since.
    pub fn settle_credits(&mut self) {
        let (shard, returned) = (&mut self.shard, &mut self.returned);
        self.bus.settle_credits(|payer, bytes| {
            *returned += 1;
            shard.connections.sub_transit(payer, bytes);
        });
        if !self.ways.are_free() {
            self.ways.prune(&self.bus);
        }
    }

    /// Sends a note to the app's value on one core or all, behind all that this core has sent.
    pub fn tell(&mut self, app: u8, payer: Option<ConnId>, to: To, make: impl Fn() -> AnyNote) {
        let cores = match to {
            To::Core(core) => usize::from(core.0)..usize::from(core.0) + 1,
            To::All => 0..self.bus.cores(),
        };
        let cores = cores.start..cores.end.min(self.bus.cores());
        for core in cores {
            let core = CoreId(core as u16);
            let note = make();
            let path = self.ways.path_of_all(&self.bus);
            // All free: nothing is left in the mailbox either.
            if core == self.core() && self.ways.are_free() {
                let from = core;
                self.effects.push(Effect::Note { app, from, note });
                continue;
            }
            let body = Body::Note { app, note };
            if is_straight(&path, core) {
                self.post_until(core, payer, 0, Until::Taken, body);
                self.follow_here(Some(NOTES), core);
            } else {
                self.post_along(Some(NOTES), path, core, (payer, 0, false), body);
            }
        }
    }
}

/// Whether a path that ends there is the straight way.
fn is_straight(path: &[CoreId], to: CoreId) -> bool {
    path.is_empty() || path == [to]
}

//! What few connections have, and takes along when they move: [`Carried`], in one block of those alone.

use serde::{Deserialize, Serialize};

use super::credentials::SavedCredential;
use super::in_flight::{InFlight, SavedInFlight};
use super::names::KeptName;
use super::slot::Marks;
use super::{ConnId, Shard};
use crate::ident::check_uid;
use crate::protocol::attributes::{Attributes, AttributesError};

/// See the module. One at least is there.
#[derive(PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Carried {
    /// What it is called, if somebody was told.
    pub name: Option<KeptName>,
    /// What a back end keeps of it.
    pub attributes: Option<Attributes>,
    /// What it has proved.
    pub credential: Option<SavedCredential>,
    /// What it was sent of its uid's queue, if it keeps the uid.
    pub(super) in_flight: Option<Box<SavedInFlight>>,
}

impl Carried {
    /// What was written down may be anything.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if let Some(in_flight) = &self.in_flight {
            in_flight.check()?;
        }
        let credential = self.credential.as_ref();
        if let Some(uid) = credential.and_then(|credential| credential.uid.as_deref()) {
            check_uid(uid).map_err(|_| "a uid that is none")?;
        }
        match self.attributes.as_ref().is_some_and(|it| !it.is_sound()) {
            true => Err("attributes that are none"),
            false => Ok(()),
        }
    }
}

impl Shard {
    /// Takes out what a connection has of it.
    #[inline]
    pub(super) fn pick_up(&mut self, id: ConnId) -> Option<Box<Carried>> {
        let marks = self.connections.get(id).map(|slot| slot.marks)?;
        match marks.are_rare() || self.credentials.any() {
            true => self.pick_up_all(id),
            false => None,
        }
    }

    #[inline(never)]
    fn pick_up_all(&mut self, id: ConnId) -> Option<Box<Carried>> {
        let now = self.clock.now();
        let carried = Carried {
            name: self.connections.take_name(id),
            attributes: self.attributes.take(id.slot),
            credential: self.credentials.take(id.slot).map(|held| held.taken(now)),
            in_flight: None,
        };
        (carried != Carried::default()).then(|| Box::new(carried))
    }

    /// A connection has come with its uid: it takes what it was sent of the uid's queue.
    #[inline(never)]
    pub(super) fn take_in_flight(&mut self, id: ConnId, saved: SavedInFlight) {
        let namespace = self.connections.namespace_of(id);
        if let Some(uid) = self.connections.uid(id).map(Box::from) {
            let in_flight = InFlight::of_saved(namespace, uid, saved);
            self.in_flight.insert(id, in_flight);
        }
    }

    /// A connection is gone for good, and with it its name and what was kept of it.
    #[inline(never)]
    pub(super) fn drop_rare(&mut self, id: ConnId) {
        self.attributes.take(id.slot);
        self.connections.forget_name(id);
    }

    /// A connection has come with it.
    #[inline(never)]
    pub(super) fn put_down(&mut self, id: ConnId, carried: &mut Carried) {
        if let Some(credential) = carried.credential.take() {
            let now = self.clock.now();
            self.credentials.hold(id.slot, credential.held(now));
        }
        if let Some(name) = carried.name {
            self.connections.keep_name(id, name);
        }
        let attributes = carried.attributes.take();
        self.put_attributes(id, attributes);
    }
}

impl Shard {
    /// What a connection has.
    pub fn attributes(&self, id: ConnId) -> Option<&Attributes> {
        self.connections.get(id)?;
        self.attributes.get(id.slot)
    }

    /// Has a live connection have the fields of an object: these alone, or, if it `merges`, with those that it has.
    pub fn set_attributes(
        &mut self,
        id: ConnId,
        text: &str,
        merges: bool,
    ) -> Result<(), AttributesError> {
        if !self.connections.is_live(id) {
            return Err(AttributesError::NoConnection);
        }
        let most = self.limits.attributes_bytes;
        let attributes = match merges {
            true => Attributes::merged(self.attributes.get(id.slot), text, most)?,
            false => Attributes::read(text, most)?,
        };
        self.put_attributes(id, attributes);
        Ok(())
    }

    /// Has a connection have these, or none.
    pub(super) fn put_attributes(&mut self, id: ConnId, attributes: Option<Attributes>) {
        let Some(slot) = self.connections.get_mut(id) else {
            return;
        };
        slot.marks.set(Marks::ATTRIBUTES, attributes.is_some());
        match attributes {
            Some(attributes) => self.attributes.put(id.slot, attributes),
            None => _ = self.attributes.take(id.slot),
        }
    }
}

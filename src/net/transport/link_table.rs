//! The connections of a core, by slot, and the account of what they keep of their input: [`LinkTable`].
//!
//! Bound: a place for each slot of the shard; input up to `inbox_bytes_core_max`, and what one read brings.

use std::cmp::Reverse;

use super::copies::ConnectionCopies;
use crate::ident::ConnId;
use crate::net::connection::Link;
use crate::net::input_buffers::InputBuffers;
use crate::pages::Pages;

/// See the module.
pub struct LinkTable {
    table: Pages<Option<Link>>,
    input_buffers: InputBuffers,
    /// Those that another process has a copy of, while it does.
    pub(super) copies: Option<Box<ConnectionCopies>>,
}

impl LinkTable {
    pub fn new(input_buffers: InputBuffers) -> LinkTable {
        LinkTable {
            table: Pages::default(),
            input_buffers,
            copies: None,
        }
    }

    /// The link in the slot of this id, if it is the id's own.
    pub fn get(&self, id: ConnId) -> Option<&Link> {
        let link = self.table.get(id.slot)?.as_ref();
        link.filter(|link| link.id == id)
    }

    /// As [`LinkTable::get`], to be changed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Link> {
        let link = self.table.get_mut(id.slot)?.as_mut();
        link.filter(|link| link.id == id)
    }

    /// Gives a connection its place in the table.
    pub fn place(&mut self, link: Link) {
        self.input_buffers.enter(link.progress.bytes_held());
        let slot = link.id.slot;
        *self.table.claim(slot) = Some(link);
    }

    /// Takes a connection's part out of the table.
    pub fn take(&mut self, id: ConnId) -> Option<Link> {
        let link = self.table.get_mut(id.slot)?.take_if(|link| link.id == id)?;
        self.input_buffers.leave(id, link.progress.bytes_held());
        self.table.free(id.slot);
        if let Some(copies) = &mut self.copies {
            copies.lose(id);
        }
        Some(link)
    }

    /// One is going to be read.
    pub fn begin_read(&mut self, id: ConnId) {
        let held = self.held(id);
        self.input_buffers.begin(id, held);
    }

    /// It has been read. Whether all together keep too much of their input now.
    pub fn end_read(&mut self, id: ConnId) -> bool {
        let held = self.held(id);
        self.input_buffers.end(held)
    }

    /// Drops the input of those of these that keep the most of it, until all together keep less than too much. They are
    /// listened to no more.
    pub fn shed(&mut self, ids: impl IntoIterator<Item = ConnId>) -> Vec<ConnId> {
        let held = ids.into_iter().map(|id| (self.held(id), id));
        let mut fullest: Vec<_> = held.filter(|(held, _)| *held > 0).collect();
        fullest.sort_unstable_by_key(|(held, id)| (Reverse(*held), id.slot));
        let mut shed = Vec::new();
        for (held, id) in fullest {
            if !self.input_buffers.are_many() {
                break;
            }
            if let Some(link) = self.get_mut(id) {
                link.progress.ignore();
                self.input_buffers.leave(id, held);
                shed.push(id);
            }
        }
        shed
    }

    /// Goes on with another limit of all input.
    pub fn set_input_bytes_max(&mut self, bytes_max: usize) {
        self.input_buffers.set_max(bytes_max);
    }

    /// One holds so much more than was read.
    #[cfg(test)]
    pub fn hold_more(&mut self, bytes: usize) {
        self.input_buffers.enter(bytes);
    }

    fn held(&self, id: ConnId) -> usize {
        self.get(id).map_or(0, |link| link.progress.bytes_held())
    }
}

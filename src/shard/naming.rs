//! How connections are named for those outside, who are told, and how a name goes along.

use super::names::KeptName;
use super::slot::Marks;
use super::{ConnId, Connections};
use crate::ident::{ConnName, CoreId};

impl Connections {
    /// All of them are on this core.
    pub fn set_core(&mut self, core: CoreId) {
        self.names.core = core;
    }

    /// Of a cluster this is the node, by its number.
    pub fn set_node(&mut self, node: u64) {
        self.names.node = node;
    }

    /// Whether it is the name of one of this node, where there are others.
    pub fn is_of_this_node(&self, name: ConnName) -> bool {
        name.node() != 0 && name.node() == self.names.node
    }

    /// What a connection is called, for whoever is told. From now on it is called so wherever it goes.
    pub fn tell_name(&mut self, id: ConnId) -> ConnName {
        if let Some(slot) = self.get_mut(id) {
            slot.marks.set(Marks::TOLD, true);
        }
        self.name(id)
    }

    /// What it is called, or would be. By this alone nobody is told.
    pub fn name(&self, id: ConnId) -> ConnName {
        let kept = match self.names.is_empty() {
            true => None,
            false => self.names.of(id.slot),
        };
        kept.unwrap_or_else(|| self.names.name_here(id))
    }

    /// Who is called so here, and how often he had moved when he came.
    pub fn named(&self, name: ConnName) -> Option<(ConnId, u32)> {
        // One that was told before there was a cluster has no node.
        let may_be = name.node() == self.names.node || name.node() == 0;
        if may_be && name.core == self.names.core && self.is_here(name.id) {
            return Some((name.id, 0));
        }
        let (slot, moves) = self.names.find(name)?;
        let generation = self.slots.get(slot)?.generation;
        Some((ConnId { slot, generation }, moves))
    }

    /// Takes the name of one that goes, if it was told.
    #[inline]
    pub(super) fn take_name(&mut self, id: ConnId) -> Option<KeptName> {
        let slot = self.get_mut(id)?;
        if !slot.marks.set(Marks::TOLD, false) {
            return None;
        }
        let kept = self.names.take(id.slot);
        Some(match kept {
            Some(KeptName { name, moves }) => KeptName {
                name,
                moves: moves.saturating_add(1),
            },
            None => KeptName {
                name: self.names.name_here(id),
                moves: 1,
            },
        })
    }

    /// One has come that is called so.
    pub(super) fn keep_name(&mut self, id: ConnId, kept: KeptName) {
        if let Some(slot) = self.get_mut(id) {
            slot.marks.set(Marks::TOLD, true);
            self.names.keep(id.slot, kept);
        }
    }

    /// One is gone for good: nobody is called as it was.
    pub(super) fn forget_name(&mut self, id: ConnId) {
        self.names.end(id.slot);
    }
}

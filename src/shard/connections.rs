//! The connections of one core: a slot for each, and what is known of it by its id: [`Connections`].
//!
//! A slot that has been given back is stale for whoever has its id still, since each connection has a generation of its own.
//! Bound: none here; who may come in is decided before.

use std::net::SocketAddr;
use std::rc::Rc;

use super::exchange::Exchange;
use super::listener_spec::ListenerSpec;
use super::members::JoinRequest;
use super::names::ConnNames;
use super::slot::{Binding, Peer, Phase, Slot};
use super::wheel::Tick;
use crate::close::CloseReason;
use crate::config::{OUTBOX_MESSAGE_COST, UNIT_HEAD_BYTES};
use crate::ident::{ConnId, NamespaceId, Reach};
use crate::pages::Pages;
use crate::payload::Message;
use crate::protocol::Codec;
use crate::protocol::websocket::extension::Window;

/// No namespace has this number.
const NONE: NamespaceId = NamespaceId(u32::MAX);

/// The namespace that the connection of a slot has entered.
#[derive(Clone, Copy)]
pub struct Entered(NamespaceId);

impl Default for Entered {
    fn default() -> Entered {
        Entered(NONE)
    }
}

/// What of a connection decides whether it is to be read.
pub struct Reading {
    pub phase: Phase,
    /// It is to move to its home core.
    pub leaving: bool,
    /// It waits to be let go there.
    pub crossing: bool,
    /// Its bytes on the way to other cores.
    pub transit: usize,
    /// It pauses when its outbox is full, and that is full.
    pub full: bool,
}

/// See the module.
pub struct Connections {
    pub(super) listeners: Rc<[ListenerSpec]>,
    pub(super) slots: Pages<Slot>,
    /// When each was accepted, in seconds since 1970: beside the slots, which the data path has in its caches.
    accepted: Pages<u32>,
    /// The generation of the latest connection. Each has another, so a slot need not remember its last.
    generation: u32,
    /// The namespaces of those that are not in their listener's.
    entered: Pages<Entered>,
    /// What those are called that have moved since somebody was told.
    pub names: ConnNames,
    /// How many ask by HTTP, those closing included.
    pub(super) http: usize,
}

impl Connections {
    pub fn new(listeners: Rc<[ListenerSpec]>) -> Connections {
        Connections {
            listeners,
            slots: Pages::default(),
            accepted: Pages::default(),
            generation: 0,
            entered: Pages::default(),
            names: ConnNames::default(),
            http: 0,
        }
    }

    /// A slot for one that was accepted then.
    pub(super) fn take(&mut self, listener: u16, peer: Peer, accepted: u32, now: Tick) -> ConnId {
        let id = ConnId {
            slot: self.slots.take(),
            // A free slot's is 0, which no connection has.
            generation: self.generation.checked_add(1).unwrap_or(1),
        };
        self.generation = id.generation;
        *self.accepted.claim(id.slot) = accepted;
        self.slots[id.slot] = Slot {
            generation: id.generation,
            listener,
            phase: Phase::Opening,
            peer,
            heard: now,
            since: now,
            ..Slot::default()
        };
        id
    }

    /// The next connection's generation is one more than this, so that no connection of an earlier start of the server is
    /// called as one of this.
    pub fn begin_behind(&mut self, generation: u32) {
        self.generation = generation;
    }

    /// The generation of the latest connection.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// How many have entered a namespace.
    #[cfg(all(test, not(loom)))]
    pub(super) fn entries(&self) -> usize {
        self.entered.len()
    }

    /// How many ask by HTTP, those closing included.
    pub fn http_connections(&self) -> usize {
        self.http
    }

    /// It is gone: the slot becomes free, and every id of it stale.
    pub(super) fn free(&mut self, id: ConnId) {
        self.free_entered(id);
        self.slots.free(id.slot);
        self.accepted.free(id.slot);
    }

    #[inline]
    pub fn get(&self, id: ConnId) -> Option<&Slot> {
        let slot = self.slots.get(id.slot)?;
        (slot.generation == id.generation).then_some(slot)
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.slot)?;
        (slot.generation == id.generation).then_some(slot)
    }

    /// Every live connection, for the end of the server.
    pub fn ids(&self) -> Vec<ConnId> {
        self.slots
            .iter()
            .filter(|(_, slot)| slot.phase != Phase::Free)
            .map(|(number, slot)| ConnId {
                slot: number,
                generation: slot.generation,
            })
            .collect()
    }

    /// Whether there is such a connection.
    pub fn is_here(&self, id: ConnId) -> bool {
        self.get(id).is_some()
    }

    pub fn is_live(&self, id: ConnId) -> bool {
        matches!(self.phase(id), Phase::Open | Phase::Home)
    }
}

/// How it has come, and where it is.
impl Connections {
    /// The listener's part of a live connection.
    pub fn spec(&self, id: ConnId) -> &ListenerSpec {
        &self.listeners[usize::from(self.slots[id.slot].listener)]
    }

    /// The listener's part of a connection; `None` for a stale id.
    #[inline]
    pub fn listener(&self, id: ConnId) -> Option<&ListenerSpec> {
        self.get(id)
            .map(|slot| &self.listeners[usize::from(slot.listener)])
    }

    pub fn listener_number(&self, id: ConnId) -> Option<u16> {
        self.get(id).map(|slot| slot.listener)
    }

    /// The listener that it is told and counted as.
    pub fn shown_listener(&self, id: ConnId) -> Option<u16> {
        self.listener(id).map(|spec| spec.shown)
    }

    /// Whether it tells positions.
    pub fn tells_positions(&self, id: ConnId) -> bool {
        self.listener(id)
            .is_some_and(|spec| spec.codec.tells_positions())
    }

    /// Whether each message comes to it in an envelope.
    #[inline]
    pub fn is_told_places(&self, id: ConnId) -> bool {
        self.listener(id)
            .is_some_and(|spec| spec.codec == Codec::V1)
    }

    /// Whether it is told the positions of all its streams with each kept message, so that none is alike for two.
    pub fn is_told_all_positions(&self, id: ConnId) -> bool {
        self.listener(id)
            .is_some_and(|spec| spec.codec == Codec::Sse)
    }

    /// Whether it is told who joins and leaves its groups.
    pub fn is_told_of_presence(&self, id: ConnId) -> bool {
        self.listener(id)
            .is_some_and(|spec| spec.codec.tells_presence())
    }

    /// Whether it is of an app, and told no positions.
    pub fn is_on_plain_wire(&self, id: ConnId) -> bool {
        self.listener(id)
            .is_some_and(|spec| !spec.codec.tells_positions() && spec.codec != Codec::Http)
    }

    pub fn peer(&self, id: ConnId) -> Option<SocketAddr> {
        self.get(id).map(|slot| slot.peer.address())
    }

    /// A proxy has told whose connection it is.
    pub fn set_peer(&mut self, id: ConnId, peer: SocketAddr) {
        if let Some(slot) = self.get_mut(id) {
            slot.peer = Peer::new(peer);
        }
    }

    pub fn accepted(&self, id: ConnId) -> u32 {
        self.accepted.get(id.slot).copied().unwrap_or(0)
    }

    /// The namespace of a live connection.
    pub fn namespace_of(&self, id: ConnId) -> NamespaceId {
        self.entered(id).unwrap_or(self.spec(id).namespace)
    }

    /// The one it has entered, if any.
    pub fn entered(&self, id: ConnId) -> Option<NamespaceId> {
        let Entered(namespace) = *self.entered.get(id.slot)?;
        (namespace != NONE).then_some(namespace)
    }

    pub(super) fn set_entered(&mut self, id: ConnId, namespace: Option<NamespaceId>) {
        if let Some(namespace) = namespace {
            *self.entered.claim(id.slot) = Entered(namespace);
        }
    }

    /// Forgets where a connection was, because it goes.
    fn free_entered(&mut self, id: ConnId) {
        if !self.entered.is_empty() {
            self.entered.free(id.slot);
        }
    }
}

/// How far it has come.
impl Connections {
    pub fn phase(&self, id: ConnId) -> Phase {
        self.get(id).map_or(Phase::Free, |slot| slot.phase)
    }

    pub fn reason(&self, id: ConnId) -> Option<CloseReason> {
        self.get(id)
            .filter(|slot| slot.phase == Phase::Closing)
            .map(|slot| slot.reason)
    }

    /// Where it is in asking, if it asks and is not to end.
    pub fn exchange(&self, id: ConnId) -> Option<Exchange> {
        let slot = self.get(id).filter(|slot| slot.phase == Phase::Http)?;
        match slot.binding {
            Binding::Http(exchange) => Some(exchange),
            _ => None,
        }
    }

    /// When it came to where it is.
    pub fn since(&self, id: ConnId) -> Tick {
        self.get(id).map_or(0, |slot| slot.since)
    }

    /// What decides whether the connection is to be read.
    pub fn reading(&self, id: ConnId) -> Option<Reading> {
        let slot = self.get(id)?;
        Some(Reading {
            phase: slot.phase,
            leaving: matches!(slot.binding, Binding::Leaving),
            crossing: matches!(slot.binding, Binding::Crossing),
            transit: slot.transit as usize,
            full: slot.is_full(&self.listeners[usize::from(slot.listener)]),
        })
    }

    /// Whether it is not read for now.
    pub fn is_paused(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|slot| slot.paused)
    }

    /// The app and its session of a connection that is open and not closing.
    pub fn session(&self, id: ConnId) -> Option<(u8, u32)> {
        let slot = self.get(id)?;
        let spec = &self.listeners[usize::from(slot.listener)];
        matches!(slot.phase, Phase::Open | Phase::Home).then_some((spec.app, slot.session))
    }

    /// As [`Connections::session`], and whether it is told places: in one look, for each message that comes.
    #[inline]
    pub fn speaker(&self, id: ConnId) -> Option<(u8, u32, bool)> {
        let slot = self.get(id)?;
        let spec = &self.listeners[usize::from(slot.listener)];
        let is_open = matches!(slot.phase, Phase::Open | Phase::Home);
        is_open.then_some((spec.app, slot.session, spec.codec == Codec::V1))
    }

    /// The app has made the connection's session, with this key. False if that has closed it.
    pub fn set_session(&mut self, id: ConnId, session: u32) -> bool {
        match self.get_mut(id) {
            Some(slot) if slot.phase != Phase::Closing => {
                slot.session = session;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub fn uid(&self, id: ConnId) -> Option<&str> {
        self.get(id)?.uid.as_deref()
    }

    /// Its handshake has agreed on compression, with this window.
    pub fn agree(&mut self, id: ConnId, window: Window) {
        if let Some(slot) = self.get_mut(id) {
            slot.window = Some(window);
        }
    }

    /// Marks that the connection asks for a uid. False if it has asked before.
    pub fn ask_to_bind(&mut self, id: ConnId) -> bool {
        let binds = self.listener(id).is_some_and(|spec| spec.binds);
        match self.get_mut(id) {
            Some(slot) if slot.binding == Binding::NotAsked && slot.phase == Phase::Open => {
                slot.binding = Binding::Asked;
                true
            }
            Some(slot)
                if matches!(slot.binding, Binding::NotAsked | Binding::Asked)
                    && slot.phase == Phase::Home
                    && binds =>
            {
                slot.binding = Binding::AsksAnew;
                true
            }
            _ => false,
        }
    }

    /// Whether it has asked for a uid.
    pub fn has_asked(&self, id: ConnId) -> bool {
        self.get(id)
            .is_some_and(|slot| slot.binding != Binding::NotAsked)
    }

    /// Marks that it is bound.
    pub fn set_asked(&mut self, id: ConnId) {
        if let Some(slot) = self.get_mut(id) {
            slot.binding = Binding::Asked;
        }
    }

    /// Marks that the connection is announced to another core, so that it is not read here any more.
    pub fn set_crossing(&mut self, id: ConnId) {
        if let Some(slot) = self.get_mut(id) {
            slot.binding = Binding::Crossing;
        }
    }

    /// Marks that the connection's home is another core, so that it is not read here any more.
    pub fn set_leaving(&mut self, id: ConnId) {
        if let Some(slot) = self.get_mut(id) {
            slot.binding = Binding::Leaving;
        }
    }

    /// Whether a connection is in any group, or has asked to be.
    #[inline]
    pub fn has_groups(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|slot| slot.groups.is_some())
    }

    /// The groups that a connection asked to join before it was home. It is to join them now.
    pub fn take_wishes(&mut self, id: ConnId) -> Vec<JoinRequest> {
        let groups = self.get_mut(id).and_then(|slot| slot.groups.as_mut());
        groups.map_or_else(Vec::new, |groups| std::mem::take(&mut groups.asked))
    }
}

/// What it has under way.
impl Connections {
    /// What waits for the connection, in pieces.
    #[inline]
    pub fn pieces(&self, id: ConnId) -> impl Iterator<Item = &[u8]> {
        self.get(id)
            .into_iter()
            .flat_map(|slot| slot.outbox.pieces())
    }

    /// How much that is, each message counting 32 bytes more.
    pub fn bytes_waiting(&self, id: ConnId) -> usize {
        self.get(id).map_or(0, |slot| slot.outbox.bytes())
    }

    #[inline]
    pub fn outbox_is_empty(&self, id: ConnId) -> bool {
        self.get(id).is_none_or(|slot| slot.outbox.is_empty())
    }

    /// How many places are open.
    pub fn open_replies(&self, id: ConnId) -> usize {
        let replies = self.get(id).and_then(|slot| slot.replies.as_ref());
        replies.map_or(0, |replies| replies.open())
    }

    /// Whether replies are open.
    pub fn has_open_replies(&self, id: ConnId) -> bool {
        self.get(id)
            .and_then(|slot| slot.replies.as_ref())
            .is_some_and(|replies| !replies.is_empty())
    }

    pub fn transit(&self, id: ConnId) -> usize {
        self.get(id).map_or(0, |slot| slot.transit as usize)
    }

    /// Counts bytes on their way to other cores on the connection's account.
    pub fn add_transit(&mut self, id: ConnId, bytes: usize) {
        if let Some(slot) = self.get_mut(id) {
            slot.transit = slot.transit.saturating_add(bytes as u32);
        }
    }

    /// They have been taken.
    pub fn sub_transit(&mut self, id: ConnId, bytes: usize) {
        if let Some(slot) = self.get_mut(id) {
            slot.transit = slot.transit.saturating_sub(bytes as u32);
        }
    }

    /// The largest message that each connection within reach has room for when nothing waits for it.
    pub fn message_bytes_max(&self, reach: Reach) -> usize {
        let namespaces: Vec<NamespaceId> = reach.namespaces().collect();
        let within = self.listeners.iter();
        let within = within.filter(|spec| !spec.pauses && namespaces.contains(&spec.namespace));
        let rooms = within.map(|spec| spec.outbox_bytes_max);
        rooms.min().map_or(usize::MAX, |room| {
            room.saturating_sub(UNIT_HEAD_BYTES + OUTBOX_MESSAGE_COST)
        })
    }

    /// Whether each of them has room for this one, whose bytes may become more in its codec. What an envelope adds is not
    /// counted: who has taken all else takes it.
    pub fn has_room_for(&self, reach: Reach, message: Message<'_>) -> bool {
        let namespaces: Vec<NamespaceId> = reach.namespaces().collect();
        let within = self.listeners.iter();
        let mut within = within.filter(|spec| !spec.pauses && namespaces.contains(&spec.namespace));
        within.all(|spec| {
            // No codec makes eight times as much of a message, so a small one need not be looked at.
            message.len() < spec.outbox_bytes_max / 8
                || spec.codec.encoded_len(message) + OUTBOX_MESSAGE_COST <= spec.outbox_bytes_max
        })
    }
}

//! What one core owns: connections with their outboxes, uids, groups, deadlines.
//!
//! A shard knows neither sockets nor other cores. The layer above delivers into it what other cores send;
//! the transport takes out of it what is to be written. Bounds: `outbox_bytes_max` a connection,
//! `outbox_bytes_core_max` in all; what does not fit closes a connection and no other one notices.

mod backlog;
mod credentials;
mod deadlines;
mod delivery;
mod dirty;
mod entering;
mod exchange;
mod following;
#[cfg(all(test, not(loom)))]
mod invariants;
mod listing;
mod marked;
mod members;
mod membership;
mod migration;
mod outbox;
mod refusals;
mod replies;
mod reports;
mod slot;
mod spaces;
#[cfg(test)]
mod tests;
mod uids;
mod wheel;
mod work;

pub use backlog::{Backlog, Debt};
pub use entering::EnterError;
pub use exchange::{Exchange, FULL as HTTP_FULL};
pub use following::{Followed, Following, Mark, Marked, Since, Tops};
pub use listing::{
    CONNECTIONS_LISTED_MAX, ConnectionInfo, Cursor, GroupInfo, MEMBERS_MAX, UIDS_PER_PAGE_MAX,
    UidInfo, UidPage,
};
pub use members::{Interest, JoinError};
pub use membership::Joining;
pub use migration::{DepartError, SavedPhase, ShardPart, Unsent};
pub use outbox::Outbox;
pub use slot::{Dirty, Ended, JoinRequest, ListenerSpec, Peer, Phase};
pub use wheel::{TICK, Tick, Wheel, ticks};
pub use work::Work;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use ahash::RandomState;

use crate::auth::wall_time;
use crate::close::CloseReason;
use crate::config::{Config, UidPolicy};
use crate::events::Reporter;
use crate::ident::ConnId;
use crate::pages::Pages;
use crate::protocol::websocket::deflate::Compressor;
use crate::protocol::websocket::extension::Window;
use crate::protocol::{Codec, events};
use crate::stats::CoreStats;
use credentials::Credentials;
use dirty::DirtyLists;
use entering::Entered;
use following::Followers;
use members::Groups;
use refusals::Refusals;
use slot::Slot;
use spaces::BySpace;
use uids::Uids;

/// Places that an emptied list of connections keeps: after a broadcast it would be as long as everybody's for
/// good.
const LIST_KEPT: usize = 1 << 10;

pub struct Shard {
    limits: ShardLimits,
    listeners: Rc<[ListenerSpec]>,
    slots: Pages<Slot>,
    /// When each was accepted, in seconds since 1970: beside the slots, which the data path has in its caches.
    accepted: Pages<u32>,
    /// The generation of the latest connection. Each has another, so a slot need not remember its last.
    generation: u32,
    uids: Uids,
    groups: Groups,
    /// So many spaces, the first ones, are the apps'.
    own_spaces: usize,
    /// What connections have proved.
    credentials: Credentials,
    /// The spaces of those that are not in their listener's.
    entered: Pages<Entered>,
    /// The connections at home, by space.
    everybody: BySpace<Vec<ConnId>>,
    /// How far those have come that follow streams.
    followers: Followers,
    wheel: Wheel,
    /// What has come up on the wheel and is still to be looked at, of one tick.
    expiring: (Tick, Vec<ConnId>),
    now: Tick,
    /// What the outboxes hold of the core's memory, a message shared by many counting once.
    outbox_bytes: usize,
    /// What of all that waits for us.
    pub backlog: Backlog,
    /// Whose kernels have refused bytes.
    refusals: Refusals,
    /// What has been done.
    pub work: Work,
    /// Connections with something to write.
    dirty: DirtyLists,
    /// Connections that ask by HTTP, those closing included.
    http_connections: usize,
    /// Connections marked to end whose app has not been told.
    ended: VecDeque<Ended>,
    /// Connections to be cut off without another word.
    overdue: Vec<ConnId>,
    /// Those of them that lost what waited for them.
    #[cfg(test)]
    pub abandoned: std::collections::HashSet<ConnId>,
    /// Reused by every fan-out.
    receivers: Vec<ConnId>,
    /// Whom the present one passes by.
    passed_by: ahash::AHashSet<ConnId>,
    /// For every connection that has agreed on compression.
    compressor: Compressor,
    /// Where it is told who comes and goes, if anybody wants to know.
    reporter: Option<Reporter>,
    pub stats: CoreStats,
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

/// The configured limits in the shard's own units.
#[derive(PartialEq)]
struct ShardLimits {
    uid_policy: UidPolicy,
    connections_per_uid: usize,
    groups_per_connection: usize,
    outbox_bytes_core: usize,
    handshake: Tick,
    login: Tick,
    idle: Tick,
    ping: Tick,
    close: Tick,
}

impl ShardLimits {
    fn new(config: &Config) -> ShardLimits {
        let off_if_zero = |duration: std::time::Duration, grace| {
            if duration.is_zero() {
                0
            } else {
                ticks(duration.saturating_add(grace))
            }
        };
        ShardLimits {
            uid_policy: config.uid_policy,
            connections_per_uid: config.connections_per_uid_max,
            groups_per_connection: config.groups_per_connection_max,
            outbox_bytes_core: config.outbox_bytes_core_max,
            handshake: ticks(config.handshake_timeout),
            login: ticks(config.login_timeout),
            idle: off_if_zero(config.idle_timeout, crate::config::IDLE_GRACE),
            ping: off_if_zero(config.ping_interval, std::time::Duration::ZERO),
            close: ticks(config.close_timeout),
        }
    }
}

impl Shard {
    /// The first `spaces` are the apps'.
    pub fn new(config: &Config, listeners: Rc<[ListenerSpec]>, spaces: usize) -> Shard {
        let by_listener = vec![0; listeners.len()];
        Shard {
            limits: ShardLimits::new(config),
            listeners,
            slots: Pages::default(),
            accepted: Pages::default(),
            generation: 0,
            uids: Uids::new(spaces),
            groups: Groups::new(),
            credentials: Credentials::default(),
            entered: Pages::default(),
            everybody: BySpace::new(spaces),
            followers: Followers::default(),
            own_spaces: spaces,
            wheel: Wheel::default(),
            expiring: (0, Vec::new()),
            now: 0,
            outbox_bytes: 0,
            backlog: Backlog::new(config.outbox_bytes_core_max),
            refusals: Refusals::new(config.outbox_bytes_core_max),
            work: Work::default(),
            dirty: DirtyLists::default(),
            http_connections: 0,
            ended: VecDeque::new(),
            overdue: Vec::new(),
            #[cfg(test)]
            abandoned: std::collections::HashSet::new(),
            receivers: Vec::new(),
            passed_by: ahash::AHashSet::new(),
            compressor: Compressor::new(config.compress_bytes_min),
            reporter: None,
            stats: CoreStats {
                by_listener,
                closed: vec![0; CloseReason::COUNT],
                http_closed: vec![0; CloseReason::COUNT],
                ..CoreStats::default()
            },
        }
    }

    /// Goes on with other limits. They hold for who is here, too, but nobody is closed for being one too many. Everybody
    /// is to be told ([`Shard::renew_connection`]) before a deadline is looked at again; returns whether silence counts
    /// from then on only.
    pub fn renew(&mut self, config: &Config, listeners: Rc<[ListenerSpec]>) -> bool {
        self.listeners = listeners;
        self.compressor.set_bytes_min(config.compress_bytes_min);
        self.backlog.renew(config.outbox_bytes_core_max);
        self.refusals.renew(config.outbox_bytes_core_max);
        let old = std::mem::replace(&mut self.limits, ShardLimits::new(config));
        let idle = self.limits.idle;
        // Who was not asked often enough for the new time has all of it from now on, and a ping in it.
        let is_unasked = idle > 0 && (old.idle == 0 || old.ping == 0 || old.ping >= idle);
        old != self.limits && is_unasked
    }

    /// Whether silence is watched here (`idle_timeout`), or is the kernel's to ask after.
    pub fn watches_silence(&self) -> bool {
        self.limits.idle > 0
    }

    /// Has the tables, which must still be empty, hash alike in every run, for counts that can be compared.
    pub fn hash_by(&mut self, hasher: &RandomState) {
        assert!(self.slots.is_empty(), "no connection has been there yet");
        self.uids = Uids::with_hasher(self.own_spaces, hasher.clone());
        self.groups = Groups::with_hasher(hasher.clone());
        self.everybody = BySpace::with_hasher(self.own_spaces, hasher.clone());
    }

    /// Sets the time that everything in this turn happens at.
    pub fn set_now(&mut self, now: Tick) {
        self.now = now.max(self.now);
    }

    /// A new connection; its handshake (if its codec has one) is under way.
    pub fn insert(&mut self, listener: u16, peer: SocketAddr) -> ConnId {
        let id = self.take(listener, peer);
        self.stats.opening += 1;
        self.schedule(id);
        id
    }

    /// A newcomer was refused before it had a place here.
    pub fn count_refused(&mut self, reason: CloseReason) {
        self.stats.closed[reason.index()] += 1;
    }

    /// A push has its answer: how many connections it reached.
    pub fn count_push(&mut self, reached: u32) {
        match reached {
            0 => self.stats.pushes_offline += 1,
            _ => self.stats.pushes_delivered += 1,
        }
    }

    /// A proxy has told whose connection it is.
    pub fn set_peer(&mut self, id: ConnId, peer: SocketAddr) {
        if let Some(slot) = self.get_mut(id) {
            slot.peer = Peer::new(peer);
        }
    }

    /// Its handshake is done: the app gets to know it, and may send to it from its first callback on.
    /// False if it has ended meanwhile.
    pub fn opened(&mut self, id: ConnId) -> bool {
        let now = self.now;
        let Some(slot) = self.get_mut(id).filter(|slot| slot.phase == Phase::Opening) else {
            return false;
        };
        slot.phase = Phase::Open;
        slot.since = now;
        slot.heard = now;
        self.stats.opening -= 1;
        let spec = self.spec(id);
        if !spec.binds || spec.optional {
            self.settle(id);
        }
        self.schedule(id);
        true
    }

    /// Its handshake has agreed on compression, with this window.
    pub fn agree(&mut self, id: ConnId, window: Window) {
        if let Some(slot) = self.get_mut(id) {
            slot.window = Some(window);
        }
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

    /// Marks a connection to end. It leaves every table at once; what was sent to it before leaves first, for as long
    /// as `close_timeout` lets it: who is slow may yet take what he was said to get.
    pub fn close(&mut self, id: ConnId, reason: CloseReason) {
        self.begin_end(id, reason, reason == CloseReason::Reset);
    }

    /// The same, and if `drops`, nothing leaves but what has begun to.
    fn begin_end(&mut self, id: ConnId, reason: CloseReason, drops: bool) {
        let now = self.now;
        let Some(slot) = self.get_mut(id) else { return };
        if slot.phase == Phase::Closing {
            return;
        }
        let was = slot.phase;
        if self.forget(id) {
            self.report_disconnect(id, reason);
        }
        let codec = self.spec(id).codec;
        let mut cost = 0;
        let mut freed = 0;
        let Some(slot) = self.get_mut(id) else { return };
        slot.phase = Phase::Closing;
        slot.reason = reason;
        slot.since = now;
        slot.heard = now;
        let waited = slot.outbox.bytes();
        // Looked at before anything is dropped. Who is home has been let in: what it was sent leaves behind the head.
        let awaits_head = codec == Codec::Events
            && (was == Phase::Open || reason == CloseReason::SlowConsumer)
            && slot.outbox.pieces().next().is_some_and(events::awaits_head);
        if drops {
            freed = slot.outbox.truncate();
        }
        if codec == Codec::Http {
            cost = slot.push_timeout(was == Phase::Http, reason);
        } else if was != Phase::Opening && reason.code().is_some() && codec.pings() {
            if awaits_head {
                freed += slot.outbox.clear();
                let answer = events::refusal(reason);
                cost = slot
                    .outbox
                    .push_own(answer.len(), |out| out.extend_from_slice(&answer));
            } else {
                cost = slot
                    .outbox
                    .push_own(0, |out| codec.encode_close(reason, out));
            }
        }
        if !slot.blocked {
            let waits = slot.outbox.bytes();
            self.backlog.settled(waited);
            self.backlog.queued(waits);
        }
        self.outbox_bytes = self.outbox_bytes + cost - freed;
        if codec == Codec::Http {
            self.stats.http_closed[reason.index()] += 1;
        }
        if codec != Codec::Http || exchange::is_counted(reason) {
            self.stats.closed[reason.index()] += 1;
        }
        self.mark_dirty(id, Dirty::Urgent);
        self.schedule(id);
        if matches!(was, Phase::Opening | Phase::Http) {
            self.stats.opening -= u64::from(was == Phase::Opening);
            // The app has never heard of it.
            return;
        }
        let slot = &self.slots[id.slot];
        self.ended.push_back(Ended {
            connection: id,
            app: self.spec(id).app,
            session: slot.session,
            reason,
        });
    }

    /// The next connection whose app is to be told of its end. Its slot may be another's by now.
    pub fn next_ended(&mut self) -> Option<Ended> {
        let ended = self.ended.pop_front();
        if ended.is_none() {
            self.ended.shrink_to(LIST_KEPT);
        }
        ended
    }

    /// The transport is gone: the slot becomes free, and every id of it stale.
    ///
    /// A connection that is not marked yet must be closed first, so that its app is told.
    pub fn remove(&mut self, id: ConnId) {
        let Some(slot) = self.get_mut(id) else { return };
        assert!(
            matches!(slot.phase, Phase::Closing | Phase::Opening | Phase::Http),
            "a connection is closed before it is removed"
        );
        let (was, listener) = (slot.phase, slot.listener);
        let late = match slot.blocked {
            true => 0,
            false => slot.outbox.bytes(),
        };
        let freed = slot.outbox.clear();
        self.backlog.settled(late);
        self.outbox_bytes -= freed;
        self.stats.opening -= u64::from(was == Phase::Opening);
        self.release(id, listener);
    }

    /// A slot for one that is accepted now.
    fn take(&mut self, listener: u16, peer: SocketAddr) -> ConnId {
        let accepted = (wall_time() / 1000) as u32;
        self.take_slot(listener, Peer::new(peer), accepted)
    }

    fn take_slot(&mut self, listener: u16, peer: Peer, accepted: u32) -> ConnId {
        let id = ConnId {
            slot: self.slots.take(),
            // A free slot's is 0, which no connection has.
            generation: self.generation.checked_add(1).unwrap_or(1),
        };
        self.generation = id.generation;
        self.stats.connections += 1;
        *self.at_listener(listener) += 1;
        *self.accepted.claim(id.slot) = accepted;
        self.slots[id.slot] = Slot {
            generation: id.generation,
            listener,
            phase: Phase::Opening,
            peer,
            heard: self.now,
            since: self.now,
            ..Slot::default()
        };
        id
    }

    fn release(&mut self, id: ConnId, listener: u16) {
        self.take_credential(id);
        self.free_entered(id);
        self.unfollow(id.slot);
        self.backlog.forget(id);
        self.refusals.forget(id);
        *self.at_listener(listener) -= 1;
        let asked = self.slots[id.slot].is_http();
        self.slots.free(id.slot);
        self.accepted.free(id.slot);
        if self.slots.is_empty() {
            // All that the wheel holds is of connections gone.
            self.wheel.clear();
            self.expiring.1 = Vec::new();
        }
        match asked {
            true => self.http_connections -= 1,
            false => self.stats.connections -= 1,
        }
    }

    /// The count of the connections that are told and counted as this listener's.
    fn at_listener(&mut self, listener: u16) -> &mut u64 {
        let shown = self.listeners[usize::from(listener)].shown;
        &mut self.stats.by_listener[usize::from(shown)]
    }

    #[inline]
    fn get(&self, id: ConnId) -> Option<&Slot> {
        let slot = self.slots.get(id.slot)?;
        (slot.generation == id.generation).then_some(slot)
    }

    #[inline]
    fn get_mut(&mut self, id: ConnId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.slot)?;
        (slot.generation == id.generation).then_some(slot)
    }

    /// The listener's part of a live connection.
    fn spec(&self, id: ConnId) -> &ListenerSpec {
        &self.listeners[usize::from(self.slots[id.slot].listener)]
    }

    /// The same for the layers above; `None` for a stale id.
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

    pub fn phase(&self, id: ConnId) -> Phase {
        self.get(id).map_or(Phase::Free, |slot| slot.phase)
    }

    pub fn reason(&self, id: ConnId) -> Option<CloseReason> {
        self.get(id)
            .filter(|slot| slot.phase == Phase::Closing)
            .map(|slot| slot.reason)
    }

    /// The app and its session of a connection that is open and not closing.
    pub fn session(&self, id: ConnId) -> Option<(u8, u32)> {
        let slot = self.get(id)?;
        let spec = &self.listeners[usize::from(slot.listener)];
        matches!(slot.phase, Phase::Open | Phase::Home).then_some((spec.app, slot.session))
    }

    /// What decides whether the connection is to be read.
    pub fn reading(&self, id: ConnId) -> Option<Reading> {
        let slot = self.get(id)?;
        Some(Reading {
            phase: slot.phase,
            leaving: matches!(slot.binding, slot::Binding::Leaving),
            crossing: matches!(slot.binding, slot::Binding::Crossing),
            transit: slot.transit as usize,
            full: slot.is_full(&self.listeners[usize::from(slot.listener)]),
        })
    }

    /// Whether outboxes hold so much, and so much of that waits for us, that nobody is to add to it.
    #[inline]
    pub fn is_short_of_memory(&self) -> bool {
        self.backlog.is_much() && self.outbox_bytes > self.limits.outbox_bytes_core / 2
    }

    pub fn peer(&self, id: ConnId) -> Option<SocketAddr> {
        self.get(id).map(|slot| slot.peer.address())
    }

    #[inline]
    pub fn uid(&self, id: ConnId) -> Option<&str> {
        self.get(id)?.uid.as_deref()
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

    /// The counters, with what is held now filled in.
    pub fn snapshot(&self) -> CoreStats {
        let mut stats = CoreStats {
            uids: self.uids.len() as u64,
            groups: self.groups.len() as u64,
            outbox_bytes: self.outbox_bytes as u64,
            unwritten_bytes: self.backlog.bytes() as u64,
            messages_compressed: self.compressor.count(),
            ..self.stats.clone()
        };
        self.count_reports(&mut stats);
        stats
    }
}

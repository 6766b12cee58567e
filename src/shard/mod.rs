//! What one core owns: connections with their outboxes, uids, groups, deadlines.
//!
//! A shard knows neither sockets nor other cores. The layer above delivers into it what other cores send;
//! the transport takes out of it what is to be written. Bounds: `outbox_bytes_max` a connection,
//! `outbox_bytes_core_max` in all; what does not fit closes a connection and no other one notices.

mod attendance;
mod attributes;
mod backlog;
mod carried;
mod client_part;
mod clock;
mod connections;
mod copying;
mod credentials;
mod deadlines;
mod delivery;
mod dirty;
mod draining;
mod due;
mod endings;
mod entering;
mod everybody;
mod exchange;
mod fanout;
mod folding;
mod followers;
mod following;
mod group_rules;
mod http;
mod in_flight;
mod interests;
#[cfg(all(test, not(loom)))]
mod invariants;
mod lifetime;
mod limits;
mod listener_spec;
mod listing;
mod marked;
mod members;
mod membership;
mod migration;
mod names;
mod namespaces;
mod naming;
mod outbox;
mod outboxes;
mod place;
mod presence;
mod proving;
mod putting_back;
mod queueing;
mod receivers;
mod refusals;
mod replies;
mod replying;
mod report_targets;
mod reports;
mod resting;
mod slot;
mod stickies;
mod sticking;
mod taps;
#[cfg(test)]
mod tests;
mod told_places;
mod uid_news;
mod uid_noting;
mod uids;
mod wheel;
mod work;

pub use backlog::Debt;
pub use carried::Carried;
pub use client_part::{ClientPart, UntoldRefusal};
pub use clock::TurnClock;
pub use connections::{Connections, Reading};
pub use endings::{Ended, Endings};
pub use entering::EnterError;
pub use exchange::{Exchange, FULL as HTTP_FULL};
pub use followers::{Followed, Followers, Following, Mark, Marked, Since, Tops};
pub use group_rules::{GroupRules, GroupTraits};
pub use in_flight::{InFlight, InFlightTable};
pub use listener_spec::ListenerSpec;
pub use listing::{
    CONNECTIONS_LISTED_MAX, CONNECTIONS_PER_PAGE_MAX, ConnectionInfo, ConnectionPage,
    ConnectionQuery, Cursor, GroupCount, GroupInfo, MEMBERS_MAX, UIDS_PER_PAGE_MAX, UidInfo,
    UidPage,
};
pub use members::{Interest, InterestKind, JoinError, JoinRequest};
pub use membership::{Farewell, Joining};
pub use migration::{DepartError, SavedPhase, ShardPart};
pub use names::KeptName;
pub use outbox::{Outbox, Unsent};
pub use place::MessagePlace;
pub use slot::{Dirty, Peer, Phase};
pub use sticking::{StickyError, Ungrouped};
pub use taps::{
    PushedTo, Shown, TAPS_MAX, TapBatch, TapEvent, TapFilter, TapId, TapKind, TapNews, TapPlace,
    TapPush, TapSubject, wall_micros,
};
pub use told_places::with_stream;
pub use uid_news::{Elsewhere, HeldUid, HoldWish, ReleasedUid, UidInterest, UidNews};
pub use wheel::{TICK, Tick, Wheel, ticks};
pub use work::Work;

use std::rc::Rc;

use ahash::{AHashSet, RandomState};

use crate::close::CloseReason;
use crate::config::Config;
use crate::ident::ConnId;
use crate::protocol::websocket::deflate::Compressor;
use crate::stats::CoreStats;
use attributes::AttributeTable;
use credentials::Credentials;
use everybody::Everybody;
use limits::ShardLimits;
use members::Groups;
use outboxes::Outboxes;
use receivers::Receivers;
use report_targets::ReportTargets;
use stickies::StickyUids;
use uids::Uids;

/// See the module. Each part of it is owned by a type with methods of its own; what is here joins them.
pub struct Shard {
    limits: ShardLimits,
    /// Who is here.
    pub connections: Connections,
    /// Which of them each uid has.
    uids: Uids,
    /// Who of them is in which group.
    pub groups: Groups,
    /// Which uids are in which, with a connection or without.
    stickies: StickyUids,
    /// Who of them is at home.
    pub everybody: Everybody,
    /// So many namespaces, the first ones, are the apps'.
    own_namespaces: usize,
    /// What connections have proved.
    pub credentials: Credentials,
    /// What back ends keep of them.
    attributes: AttributeTable,
    /// How far those have come that follow streams.
    pub followers: Followers,
    /// What they were sent of their uids' queues.
    pub in_flight: InFlightTable,
    /// When to look at whom.
    pub clock: TurnClock,
    /// What waits to be written.
    pub outboxes: Outboxes,
    /// What has been done.
    pub work: Work,
    /// Connections that are to end.
    pub endings: Endings,
    /// Whom a message for many is for.
    receivers: Receivers,
    /// For every connection that has agreed on compression.
    compressor: Compressor,
    /// Where it is told who comes and goes, if anybody wants to know.
    reports: Option<Box<ReportTargets>>,
    /// Who is not read because too many of its messages wait for the back end.
    await_message_room: AHashSet<ConnId>,
    /// How often they were let go on.
    pub message_reliefs: u64,
    pub stats: CoreStats,
}

impl Shard {
    /// The first `namespaces` are the apps'.
    pub fn new(config: &Config, listeners: Rc<[ListenerSpec]>, namespaces: usize) -> Shard {
        let by_listener = vec![0; listeners.len()];
        Shard {
            limits: ShardLimits::new(config),
            connections: Connections::new(listeners),
            uids: Uids::new(namespaces),
            groups: Groups::with_rules(GroupRules::new(&config.groups)),
            stickies: StickyUids::new(config.sticky_bytes_core_max),
            everybody: Everybody::new(namespaces),
            credentials: Credentials::default(),
            attributes: AttributeTable::default(),
            followers: Followers::default(),
            in_flight: InFlightTable::default(),
            own_namespaces: namespaces,
            clock: TurnClock::default(),
            outboxes: Outboxes::new(config.outbox_bytes_core_max),
            work: Work::default(),
            endings: Endings::default(),
            receivers: Receivers::default(),
            compressor: Compressor::new(config.compress_bytes_min),
            reports: None,
            await_message_room: AHashSet::new(),
            message_reliefs: 0,
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
        self.connections.listeners = listeners;
        let slots = &self.connections.slots;
        let uids = |id: ConnId| slots.get(id.slot).and_then(|slot| slot.uid.as_deref());
        self.groups.renew(GroupRules::new(&config.groups), uids);
        self.stickies.renew(config.sticky_bytes_core_max);
        self.compressor.set_bytes_min(config.compress_bytes_min);
        self.outboxes.renew(config.outbox_bytes_core_max);
        let old = std::mem::replace(&mut self.limits, ShardLimits::new(config));
        if old.uid_policy != self.limits.uid_policy {
            self.note_all_held();
        }
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
        assert!(
            self.connections.slots.is_empty(),
            "no connection has been there yet"
        );
        self.uids = Uids::with_hasher(self.own_namespaces, hasher.clone());
        let rules = std::mem::take(&mut self.groups.rules);
        self.groups = Groups::with_hasher(hasher.clone());
        self.groups.rules = rules;
        self.everybody = Everybody::with_hasher(self.own_namespaces, hasher.clone());
    }

    /// Whether outboxes hold so much, and so much of that waits for us, that nobody is to add to it.
    #[inline]
    pub fn is_short_of_memory(&self) -> bool {
        self.outboxes.are_short_of_memory()
    }

    /// A newcomer was refused before it had a place here.
    pub fn count_refused(&mut self, reason: CloseReason) {
        self.stats.closed[reason.index()] += 1;
    }

    /// A push has its answer: how many connections it reached, whether it is kept for those that come, and whether it may
    /// have reached more on other nodes.
    pub fn count_push(&mut self, reached: u32, kept: bool, unknown: bool) {
        match reached {
            0 if kept => self.stats.pushes_kept += 1,
            0 if unknown => self.stats.pushes_unknown += 1,
            0 => self.stats.pushes_offline += 1,
            _ => self.stats.pushes_delivered += 1,
        }
    }

    /// The counters, with what is held now filled in.
    pub fn snapshot(&self) -> CoreStats {
        let mut stats = CoreStats {
            uids: self.uids.len() as u64,
            groups: self.groups.len() as u64,
            sticky_members: self.stickies.counts().0 as u64,
            sticky_bytes: self.stickies.counts().1 as u64,
            outbox_bytes: self.outboxes.bytes() as u64,
            unwritten_bytes: self.outboxes.backlog.bytes() as u64,
            messages_compressed: self.compressor.count(),
            ..self.stats.clone()
        };
        self.count_reports(&mut stats);
        stats
    }
}

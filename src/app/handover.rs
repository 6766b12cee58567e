//! What a core leaves to another process, and takes over from one: [`CoreRecord`]s of all that the host keeps. Its
//! connections go by themselves (`app/migration.rs`).
//!
//! On the core that leaves, once nothing is under way: [`Host::pack_state`], as often as is wanted. On the other, before its
//! connections: [`Host::unpack_state`] for each record that is for it, then [`Host::unpacked`].

use std::time::Instant;

use super::host::Host;
use super::local::Local;
use crate::handover::{CoreRecord, WrittenApp, WrittenCounters, WrittenSticky};
use crate::stats::CoreStats;

impl Host {
    /// Gives out all that this core keeps, but for its connections, at this time. It goes on having it.
    pub fn pack_state(&mut self, now: Instant, out: &mut dyn FnMut(CoreRecord)) {
        self.local.pack(now, out);
        let core = self.local.core();
        for nth in 0..self.apps.len() {
            let (name, nth_of_type) = self.app_name(nth);
            if let Some(bytes) = self.apps[nth].pack_core(&mut self.local) {
                let written = WrittenApp {
                    app: Box::from(name),
                    nth: nth_of_type,
                    bytes,
                };
                out(CoreRecord::App(core, written));
            }
        }
    }

    /// An app's type, and which of that type it is.
    fn app_name(&self, nth: usize) -> (&'static str, u16) {
        let name = self.apps[nth].name();
        let earlier = self.apps[..nth].iter();
        let earlier = earlier.filter(|app| app.name() == name).count();
        (name, earlier as u16)
    }

    /// Takes in what another process has packed at that time. An error is a sentence's end: nothing of the record is here.
    pub fn unpack_state(&mut self, record: CoreRecord, packed: Instant) -> Result<(), String> {
        let CoreRecord::App(_, written) = record else {
            return self.local.unpack(record, packed);
        };
        let is_it = |nth: &usize| self.app_name(*nth) == (&*written.app, written.nth);
        let Some(nth) = (0..self.apps.len()).find(is_it) else {
            return Err(format!("there is no app {} here", written.app));
        };
        self.apps[nth].unpack_core(&mut self.local, &written.bytes);
        self.settle();
        Ok(())
    }

    /// All records have come.
    pub fn unpacked(&mut self) {
        let local = &mut self.local;
        local.streams.store.unguarded().unpacked();
        local.idempotency.unpacked();
        local.acknowledged.unpacked();
        if let Some(generation) = local.inherited.generation.take() {
            local.shard.connections.begin_behind(generation);
        }
        local.post_interests();
    }

    /// Tells the homes of groups nothing for now: connections are taken out, and may all be put in again.
    pub fn hold_interests(&mut self) {
        self.local.shard.groups.hold_interests();
    }

    /// Tells them what is otherwise than before.
    pub fn release_interests(&mut self) {
        self.local.shard.groups.release_interests();
        self.local.post_interests();
    }

    /// Whether a request with an id is being carried out, whose answer nobody knows yet.
    pub fn has_request_under_way(&self) -> bool {
        self.local.idempotency.is_under_way()
    }
}

impl Local {
    /// The counters of this core, with what is held now, and what was counted by processes before.
    pub(super) fn own_stats(&self) -> CoreStats {
        let mut stats = self.shard.snapshot();
        stats.core = self.core().0;
        stats.doorbells = self.outgoing.bus().bell().rings();
        stats.envelopes_out = self.outgoing.envelopes();
        self.streams.count(&mut stats);
        self.inherited.count(&mut stats);
        stats
    }

    fn pack(&self, now: Instant, out: &mut dyn FnMut(CoreRecord)) {
        let (shard, core) = (&self.shard, self.core());
        out(CoreRecord::Generation(shard.connections.generation()));
        out(CoreRecord::Counters(
            core,
            WrittenCounters::of(self.own_stats()),
        ));
        if let Some(told) = shard.events_told() {
            out(CoreRecord::Events(core, told));
        }
        for (core, told) in &self.inherited.events {
            out(CoreRecord::Events(*core, *told));
        }
        let store = self.streams.store.look();
        store.pack(now, &mut |record| out(CoreRecord::Stream(record)));
        for (namespace, position) in shard.followers.seen_by_all() {
            out(CoreRecord::Everybody(namespace, position));
        }
        for (namespace, uid, groups) in shard.stuck_uids() {
            let uid = Box::from(uid);
            out(CoreRecord::Sticky(WrittenSticky {
                namespace,
                uid,
                groups,
            }));
        }
        self.idempotency
            .pack(now, &mut |one| out(CoreRecord::Answer(one)));
        self.acknowledged
            .pack(now, &mut |one| out(CoreRecord::Handled(one)));
        self.homes
            .pack(now, &mut |one| out(CoreRecord::Presence(one)));
    }

    fn unpack(&mut self, record: CoreRecord, packed: Instant) -> Result<(), String> {
        record.check()?;
        match record {
            CoreRecord::Stream(record) => {
                let store = self.streams.store.unguarded();
                store.unpack(packed, record)?;
            }
            CoreRecord::Answer(one) => self.idempotency.unpack(packed, one),
            CoreRecord::Handled(one) => self.acknowledged.unpack(packed, one),
            CoreRecord::Sticky(one) => {
                for group in &one.groups {
                    self.shard.stick_again(one.namespace, &one.uid, group);
                }
            }
            CoreRecord::Presence(one) => {
                let rules = &self.shard.groups.rules;
                self.homes.unpack(packed, &one, rules);
            }
            CoreRecord::Everybody(namespace, position) => {
                let followers = &mut self.shard.followers;
                let seen = followers.all_seen(namespace);
                if !seen.is_some_and(|seen| seen.has(position)) {
                    followers.see_all(namespace, position);
                }
            }
            CoreRecord::Generation(generation) => {
                let last = &mut self.inherited.generation;
                *last = Some(last.map_or(generation, |last| last.max(generation)));
            }
            CoreRecord::Counters(_, counters) => self.inherited.counters.push(counters),
            CoreRecord::Events(core, told) => {
                let is_own = core == self.core();
                if !is_own || !self.shard.tell_events_behind(told) {
                    self.inherited.events.push((core, told));
                }
            }
            CoreRecord::App(..) => return Err("an app's state is for its host".to_owned()),
        }
        Ok(())
    }
}

//! Moves of connections that are home already, in groups and among everybody: whatever is sent to these reaches one once,
//! whichever core it is on by then.
//!
//! What is for many has a number on the core that sends it out, and each core takes such messages of one core in their
//! order. A connection crosses like this:
//!
//! 1. Its old core announces it to the new one, which from now on keeps what it delivers to many, tells the homes of the
//!    connection's groups that it wants their messages, and asks each core for a fence.
//! 2. Each core sends the fence to the old core, behind all that it has sent there, with the number of its last message.
//! 3. When the old core has all fences, it has delivered whatever the new one has not kept. It lets the connection go,
//!    with the number of the last message of each core up to which the connection has all that was for it.
//! 4. The new core delivers what it has kept and is newer than that. What is not, and comes yet, passes by the connection.
//!
//! Meanwhile the connection is not read. What this takes is remembered in [`Crossings`](super::crossings::Crossings), with
//! its bound.

use super::bulk::{Exceptions, marked_for_all};
use super::crossings::{Expected, KeptMessage};
use super::envelope::Body;
use super::local::Local;
use super::transfer::{Crossing, Departure};
use crate::ident::{ConnId, CoreId, NamespaceId, Reach};
use crate::payload::Message;
use crate::shard::{Shard, Tops};
use crate::streams::Address;

/// Of a fence that one asks for who has nobody to let go.
const OWN_FENCE: u64 = 0;

impl Local {
    /// A connection that is home is to cross to another core, to be bound there.
    pub fn announce(&mut self, departure: Departure) {
        let (connection, home) = (departure.connection, departure.home);
        let number = self.crossings.announce(departure);
        self.shard.connections.set_crossing(connection);
        let namespace = self.shard.connections.namespace_of(connection);
        let join_requests = self.shard.memberships(connection);
        let groups = join_requests
            .into_iter()
            .map(|wish| (namespace, wish.group))
            .collect();
        // Behind all that it has sent, so that what this has caused is at the old core before the fences.
        self.outgoing.post(
            &mut self.shard.connections,
            home,
            Some(connection),
            0,
            Body::Announce { number, groups },
        );
    }

    /// One is to come from there.
    pub fn expect(&mut self, from: CoreId, number: u64, groups: Box<[(NamespaceId, Box<str>)]>) {
        for (namespace, group) in &groups {
            self.shard.groups.pin(*namespace, group);
        }
        self.post_interests();
        self.crossings.expect(from, number, groups);
        for core in self.other_cores() {
            if core != from {
                self.outgoing
                    .post_free(core, Body::Fence { to: from, number });
            }
        }
        self.fence(from, number);
    }

    /// Sends a fence to a core that a connection leaves.
    pub fn fence(&mut self, to: CoreId, number: u64) {
        let sent = self.crossings.sent();
        self.outgoing.post_free(to, Body::Fenced { number, sent });
    }

    /// A core has sent all that it had sent to many when a connection was announced. The last one opens the way.
    pub fn fenced(&mut self, from: CoreId, number: u64, sent: u64) {
        if number == OWN_FENCE {
            return self.fenced_in(from, sent);
        }
        if let Some(connection) = self.crossings.fenced(from, number, sent) {
            self.shard.connections.set_leaving(connection);
        }
    }

    /// This is behind all that a core has sent here.
    fn fenced_in(&mut self, from: CoreId, sent: u64) {
        self.crossings.answered(from, sent);
        self.look_ahead(self.now());
        self.ask_ahead();
    }

    /// Asks the cores that somebody is ahead with, each once at a time, how much they have sent here: the last of it may
    /// have been for other cores alone.
    fn ask_ahead(&mut self) {
        let to = self.core();
        while let Some(core) = self.crossings.next_to_ask(to) {
            let number = OWN_FENCE;
            self.outgoing.post_free(core, Body::Fence { to, number });
        }
    }

    /// A connection goes now: what it takes along.
    pub fn cross(&mut self, connection: ConnId) -> Option<Box<Crossing>> {
        self.crossings.cross(connection, self.outgoing.bus().core())
    }

    /// One that was to cross has ended.
    pub fn withdraw(&mut self, connection: ConnId) {
        if let Some((home, number)) = self.crossings.withdraw(connection) {
            // By the way of what has announced it, and so behind that.
            self.outgoing.post(
                &mut self.shard.connections,
                home,
                Some(connection),
                0,
                Body::Withdrawn { number },
            );
        }
    }

    /// One that was to come does not.
    pub fn expect_no_more(&mut self, from: CoreId, number: u64) {
        if let Some(expected) = self.crossings.no_more(from, number) {
            self.unpin(&expected);
            self.crossings.trim();
        }
    }

    fn unpin(&mut self, expected: &Expected) {
        for (namespace, group) in &expected.groups {
            self.shard.groups.unpin(*namespace, group);
        }
    }

    /// It has come: it gets what it has not got. False if that was too much.
    pub fn catch_up(&mut self, connection: ConnId, from: CoreId, crossing: &Crossing) -> bool {
        let now = self.now();
        let Some(expected) = self.crossings.no_more(from, crossing.number) else {
            return false;
        };
        for kept in self.crossings.missed(&expected, crossing) {
            let store = &mut self.streams.store;
            let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
            deliver(&mut self.shard, connection, kept, &mut tops);
        }
        let waits = self.crossings.waits_here(self.outgoing.bus());
        self.crossings.come(connection, crossing, waits, now);
        self.ask_ahead();
        self.unpin(&expected);
        self.crossings.trim();
        !expected.is_lost
    }
}

fn deliver(shard: &mut Shard, connection: ConnId, kept: &KeptMessage, tops: Tops<'_>) {
    let namespace = shard.connections.namespace_of(connection);
    let within = |reach: &Reach| reach.namespaces().any(|one| one == namespace);
    let connections = &shard.connections;
    let is_meant = |except: &Exceptions| {
        except.as_deref().is_none_or(|except| {
            let uid = connections.uid(connection);
            let name = connections.name(connection);
            !except.uids.iter().any(|one| Some(&**one) == uid)
                && !except.connections.contains(&name)
        })
    };
    match kept {
        KeptMessage::Everybody(to_all) if within(&to_all.reach) && is_meant(&to_all.except) => {
            shard.send_marked(
                connection,
                marked_for_all(to_all.mark, &to_all.payload),
                tops,
            );
        }
        KeptMessage::Group(to_group)
            if within(&to_group.reach)
                && shard.is_in(connection, &to_group.group)
                && is_meant(&to_group.except) =>
        {
            match to_group.payload.message() {
                Message::Text(told) if to_group.presence => {
                    shard.send_presence_to(connection, told);
                }
                _ => drop(shard.send_marked(connection, to_group.marked(), tops)),
            }
        }
        _ => {}
    }
}

//! What a client of `ringpost.v1` is told of where it stands: when it is bound, when it has joined a group, when its token holds
//! longer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_millis;

use crate::app::local::Local;
use crate::auth::{WallTime, wall_time};
use crate::ident::ConnId;
use crate::protocol::v1::RequestId;
use crate::protocol::v1::told::{FramePart, ToldFrame};
use crate::streams::{Address, Kind, Position};

/// The last moment that a time is told of: the year 9999.
const TIME_MAX: WallTime = 253_402_300_799_000;

impl Local {
    /// It is bound, and all of its streams' homes have said where it stands. The gaps are told next, and then what it has
    /// missed.
    pub(in crate::app) fn tell_bound(&mut self, id: ConnId) {
        let namespace = self.shard.connections.namespace_of(id);
        let uid = self
            .shard
            .connections
            .uid(id)
            .unwrap_or_default()
            .to_owned();
        let (mut own, mut all) = (FramePart::new(), self.shard.followers.all_seen(namespace));
        let (mut groups, mut joined) = (FramePart::new(), Vec::new());
        let mut follows_own = false;
        for (kind, name, position) in self.shard.places(id) {
            match (kind, position) {
                (Kind::Uid, position) => {
                    follows_own = true;
                    own = with_position(own, "uid", position);
                }
                (Kind::Group, position) => {
                    groups = groups.quoted(&name, position);
                    joined.push(name);
                }
                (Kind::All, position) => all = position,
            }
        }
        if !follows_own {
            let top = self
                .streams
                .store
                .top(self.now, Address::uid(namespace, &uid));
            own = with_position(own, "uid", Some(top));
        }
        own = with_position(own, "all", all);
        let (asked, refused, joining) = match self.shard.client_part_mut(id) {
            Some(client) => (
                client.bind_id.take(),
                std::mem::take(&mut client.refused),
                std::mem::take(&mut client.joining),
            ),
            None => Default::default(),
        };
        let name = self.shard.connections.tell_name(id);
        let told = ToldFrame::answer("bound", asked.as_ref())
            .json("connection", format_args!("\"{name}\""))
            .string("uid", &uid)
            .json("time", format_args!("\"{}\"", time(wall_time())))
            .json("ping_interval", self.shard.ping_interval().as_secs_f64())
            .with(|told| self.with_expiry(told, id))
            .json("positions", own.end())
            .json("groups", groups.end());
        self.shard.tell(id, told);
        for one in refused {
            let error = FramePart::new()
                .string("code", &one.code)
                .string("message", &one.text);
            let told = ToldFrame::new("error").json("error", error.end());
            self.shard.tell(id, told.string("group", &one.group));
        }
        // Those that it has asked to join meanwhile are among its groups, but their answers are owed.
        for (serial, asked) in joining {
            if let Some(nth) = self.shard.nth_of(id, serial) {
                self.tell_joined_by(id, nth, asked.as_ref());
            }
        }
        for group in joined {
            self.list_members(id, &group);
        }
    }

    /// A group's home has said where it stands there, some time after its bind.
    pub(in crate::app) fn tell_joined(&mut self, id: ConnId, nth: usize) {
        let serial = self.shard.serial_of(id, nth);
        let joining = self.shard.client_part_mut(id).and_then(|client| {
            let at = client.joining.iter().position(|(one, _)| *one == serial)?;
            Some(client.joining.remove(at))
        });
        if let Some((_, asked)) = joining {
            self.tell_joined_by(id, nth, asked.as_ref());
            if let Some((group, _)) = self.shard.place(id, nth) {
                self.list_members(id, &group);
            }
        }
        let Some((_, _, gap)) = self.shard.answered_place(id, nth) else {
            return;
        };
        if let Some(gap) = gap {
            let (store, now) = (&mut self.streams.store, self.now);
            let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
            self.shard.tell_gap(id, nth, &gap, &mut tops);
        }
    }

    fn tell_joined_by(&mut self, id: ConnId, nth: usize, asked: Option<&RequestId>) {
        let Some((group, position)) = self.shard.place(id, nth) else {
            return;
        };
        let told = ToldFrame::answer("joined", asked)
            .string("group", &group)
            .quoted("position", position);
        self.shard.tell(id, told);
    }

    pub(super) fn tell_renewed(&mut self, id: ConnId, asked: Option<&RequestId>) {
        let told = ToldFrame::answer("renewed", asked).with(|told| self.with_expiry(told, id));
        self.shard.tell(id, told);
    }

    fn with_expiry(&self, told: ToldFrame, id: ConnId) -> ToldFrame {
        match self.shard.proof_ends(id) {
            Some(ends) => told.json("expires", format_args!("\"{}\"", time(ends))),
            None => told,
        }
    }
}

fn with_position(part: FramePart, name: &str, position: Option<Position>) -> FramePart {
    match position {
        Some(position) => part.quoted(name, Some(position)),
        None => part,
    }
}

fn time(at: WallTime) -> impl std::fmt::Display {
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(at.min(TIME_MAX));
    format_rfc3339_millis(at)
}

//! Following, for clients that are told of each message where it stands, and no more (`ringpost.v1`): they come into groups and
//! leave them at any time.
//!
//! One that has all of its streams has no entry for any of them: a message is then alike for all that it is for. So what is
//! here is about those that are behind, and about what is to be remembered of a client besides ([`ClientPart`]).

use std::time::Duration;

use super::client_part::ClientPart;
use super::followers::{Followed, Following, Since, Standing};
use super::wheel::TICK;
use super::{ConnId, Shard};
use crate::ident::EVERYBODY;
use crate::payload::Message;
use crate::protocol::v1::told::ToldFrame;
use crate::streams::{Gap, Kind, Position};

impl Shard {
    /// Queues a frame for a client that is told places.
    pub fn tell(&mut self, id: ConnId, told: ToldFrame) {
        self.send_as_told(id, Message::Text(&told.end()));
    }

    /// It is bound, and follows its uid's stream if it has not asked for that: it may have been bound by others.
    pub fn follow_own(&mut self, id: ConnId) {
        let has_own = |following: &Following| {
            let mut streams = following.streams.iter();
            streams.any(|one| one.kind == Kind::Uid)
        };
        if self.following(id).is_some_and(has_own) {
            return;
        }
        let own = Followed::new(Kind::Uid, "", Since::Now);
        match self.following_mut(id) {
            Some(following) => {
                following.begun = false;
                following.add(own);
                self.followers.be_behind(id.slot);
            }
            None => self.follow(id, Following::of([own])),
        }
    }

    /// Whether it has been told where it stands.
    pub fn has_begun(&self, id: ConnId) -> bool {
        self.following(id).is_none_or(|following| following.begun)
    }

    /// Which of its streams has this serial.
    pub fn nth_of(&self, id: ConnId, serial: u32) -> Option<usize> {
        let streams = &self.following(id)?.streams;
        streams.iter().position(|one| one.serial == serial)
    }

    /// And the serial of that one.
    pub fn serial_of(&self, id: ConnId, nth: usize) -> u32 {
        let following = self.following(id);
        let one = following.and_then(|following| following.streams.get(nth));
        one.map_or(0, |one| one.serial)
    }

    /// It follows a group from now on, or anew. Which of its streams that is, by its serial.
    pub fn follow_group(&mut self, id: ConnId, one: Followed) -> u32 {
        self.unfollow_group(id, &one.name);
        if self.following(id).is_none() {
            let mut following = Following::of([]);
            following.begun = true;
            self.follow(id, following);
        }
        self.followers.be_behind(id.slot);
        let Some(following) = self.following_mut(id) else {
            return 0;
        };
        following.add(one);
        following.streams.last().map_or(0, |one| one.serial)
    }

    /// It is to have nothing more of a group's stream that it may have missed. What is held of it is for it still, if it is
    /// in the group.
    pub(super) fn unfollow_group(&mut self, id: ConnId, group: &str) {
        let Some(nth) = self.group_stream(id, group) else {
            return;
        };
        match self.is_in(id, group) {
            true => self.release_held(id, nth, None),
            false => self.drop_held(id, nth),
        }
        if let Some(following) = self.following_mut(id)
            && nth < following.streams.len()
        {
            let serial = following.streams.remove(nth).serial;
            if let Some(client) = &mut following.client {
                client.joining.retain(|(one, _)| *one != serial);
            }
            self.settle_following(id);
        }
    }

    /// How long a connection is quiet before it is pinged; none: never.
    pub fn ping_interval(&self) -> Duration {
        TICK * self.limits.ping
    }

    /// Forgets what need not be remembered: all streams are abreast.
    pub(super) fn settle_places(&mut self, id: ConnId) {
        self.followers.be_abreast(id.slot);
        let Some(following) = self.following_mut(id) else {
            return;
        };
        following.streams.clear();
        following.client.take_if(|client| client.is_empty());
        if following.client.is_none() {
            self.followers.unfollow(id.slot);
        }
    }

    /// Tells of a gap in one stream, and of no other.
    pub(super) fn tell_gap_alone(&mut self, id: ConnId, kind: Kind, name: &str, gap: &Gap) {
        let told = ToldFrame::new("gap").with(|told| with_stream(told, kind, name));
        let told = told.quoted("asked", gap.asked).quoted("first", gap.first);
        self.tell(id, told.quoted("top", Some(gap.top)));
    }

    /// What is known of a client besides its streams; `None` of none that is told places.
    pub fn client_part(&self, id: ConnId) -> Option<&ClientPart> {
        self.following(id)?.client.as_deref()
    }

    /// The same to be changed, from nothing if there is none.
    pub fn client_part_mut(&mut self, id: ConnId) -> Option<&mut ClientPart> {
        if !self.connections.is_told_places(id) {
            return None;
        }
        if self.following(id).is_none() {
            let mut following = Following::of([]);
            following.begun = true;
            self.follow(id, following);
            self.followers.be_abreast(id.slot);
        }
        let client = &mut self.following_mut(id)?.client;
        Some(client.get_or_insert_default())
    }

    /// Where it stands in its own stream and in everybody's, as far as it is known here that it follows these; and in its
    /// groups'.
    pub fn places(&self, id: ConnId) -> Vec<(Kind, Box<str>, Option<Position>)> {
        let Some(following) = self.following(id) else {
            return Vec::new();
        };
        let each = following.streams.iter();
        each.map(|one| {
            // Where it was is nowhere.
            let position = one.position.filter(|at| at.offset != u64::MAX);
            (one.kind, one.name.clone(), position)
        })
        .collect()
    }

    /// The group of one of its streams, and where it stands there.
    pub fn place(&self, id: ConnId, nth: usize) -> Option<(Box<str>, Option<Position>)> {
        let one = self.following(id)?.streams.get(nth)?;
        let position = one.position.filter(|at| at.offset != u64::MAX);
        (one.kind == Kind::Group).then(|| (one.name.clone(), position))
    }

    /// The position and the gap of a stream that its home has answered for.
    pub fn answered_place(
        &mut self,
        id: ConnId,
        nth: usize,
    ) -> Option<(Box<str>, Option<Position>, Option<Gap>)> {
        let one = self.followed(id, nth)?;
        if matches!(one.standing, Standing::Asked(_)) {
            return None;
        }
        let position = one.position.filter(|at| at.offset != u64::MAX);
        Some((one.name.clone(), position, one.gap.take().map(|gap| *gap)))
    }
}

/// A frame that says which stream it is about.
pub fn with_stream(told: ToldFrame, kind: Kind, name: &str) -> ToldFrame {
    match kind {
        Kind::Uid => told.string("stream", "uid"),
        Kind::All => told.string("stream", EVERYBODY),
        Kind::Group => told.string("stream", "group").string("group", name),
    }
}

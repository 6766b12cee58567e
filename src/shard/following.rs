//! How far connections have come in the streams they follow: [`Following`], beside the slots.
//!
//! Connections whose codec tells positions (events) follow streams, and one on a plain wire does until it has what has
//! waited in its uid's queue. One that has all there is of its uid's stream and
//! follows no other has no entry: each position that it is told is the one of the message at hand. One that follows groups
//! and has all there is rests ([`super::resting`]). So an entry is there as long as something is to be caught up with.
//!
//! The home of a stream says where somebody stands who begins to follow it, and what of it is missing; see
//! `app/following`. Meanwhile a kept message passes by the connection, since it will be read with what is missing; one
//! that is not kept is held until the place in the stream is reached behind which it came. Bound: what is held counts as
//! waiting for the connection, up to `outbox_bytes_max`.

use super::followers::{Followed, Following, Marked, Since, Standing, Tops};
use super::place::MessagePlace;
use super::{ConnId, Shard};
use crate::close::CloseReason;
use crate::config::OUTBOX_MESSAGE_COST;
use crate::ident::EVERYBODY;
use crate::payload::{Message, Payload};
use crate::protocol::sse;
use crate::streams::{Gap, Kind, Position, Recovery};

impl Shard {
    /// What a connection is to follow from when it is bound.
    pub fn follow(&mut self, id: ConnId, following: Following) {
        self.followers.follow(id.slot, Box::new(following));
    }

    pub fn following(&self, id: ConnId) -> Option<&Following> {
        self.connections.get(id)?;
        self.followers.get(id.slot)
    }

    pub fn following_mut(&mut self, id: ConnId) -> Option<&mut Following> {
        self.connections.get(id)?;
        self.followers.get_mut(id.slot)
    }

    /// One on a plain wire is read on for from here, as it is or once more.
    pub(super) fn follow_from(&mut self, id: ConnId, after: Position) {
        match self.followed(id, 0) {
            Some(own) => own.position = Some(after),
            None => self.follow(id, Following::of_queue(after)),
        }
    }

    /// The positions of a connection as its client keeps them.
    fn positions(&self, id: ConnId, tops: Tops<'_>) -> String {
        self.positions_with(id, None, tops)
    }

    /// With this, if it rests, where it has come in one of its groups' streams.
    fn positions_with(&self, id: ConnId, come: Option<(u32, Position)>, tops: Tops<'_>) -> String {
        let namespace = self.connections.namespace_of(id);
        let mut text = String::new();
        let mut push = |position: Position| {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&position.to_string());
        };
        let uid = self.connections.uid(id).unwrap_or_default();
        let mut has_all = false;
        if let Some(following) = self.following(id) {
            for one in &following.streams {
                has_all |= one.kind == Kind::All;
                match one.position {
                    Some(position) => push(position),
                    None if one.stands_with_its_uid() => push(tops(namespace, uid)),
                    // Nothing of everybody's was ever kept.
                    None => {}
                }
            }
        } else {
            push(tops(namespace, uid));
            for number in self.followers.resting.groups(id.slot).unwrap_or_default() {
                let come = come.filter(|(of, _)| of == number);
                let seen = || self.groups.seen(*number);
                if let Some(position) = come.map(|(_, position)| position).or_else(seen) {
                    push(position);
                }
            }
        }
        if !has_all && let Some(all) = self.followers.all_seen(namespace) {
            push(all);
        }
        text
    }

    /// Queues the first block, which has the positions and nothing else, unless its client has been told them already; and
    /// tells of the gaps. A client that is to be told of a gap has the
    /// position with that: one that was cut off in between would never hear of it.
    pub fn begin_to_follow(&mut self, id: ConnId, tops: Tops<'_>) {
        if self.connections.is_told_all_positions(id) {
            let positions = self.positions(id, tops);
            self.send_raw(id, |_, out| sse::encode_position(&positions, out));
        }
        let Some(following) = self.following_mut(id) else {
            return;
        };
        following.begun = true;
        for nth in 0..following.streams.len() {
            let Some(one) = self.followed(id, nth) else {
                return;
            };
            if let Some(gap) = one.gap.take() {
                self.tell_gap(id, nth, &gap, tops);
            } else if one.position.is_none() {
                // Nothing of everybody's has ever been kept.
                self.be_abreast(id, nth);
            }
        }
    }

    /// It is to be bound to another uid, whose stream it follows from then on. Until it is told where it stands in that it
    /// is told nothing of the others, either.
    pub fn follow_another_uid(&mut self, id: ConnId) {
        // On a plain wire what waits is none's any more when it is unbound.
        if !self.connections.tells_positions(id) {
            return;
        }
        // Everybody's stream may have come further, or less far, where the other uid is at home.
        self.unfold(id);
        let all = self.followers.all_seen(self.connections.namespace_of(id));
        if self.following(id).is_none() {
            let of_uid_alone = Box::new(Following::of_client(&[], None));
            self.followers.follow(id.slot, of_uid_alone);
        }
        self.followers.be_behind(id.slot);
        let Some(following) = self.following_mut(id) else {
            return;
        };
        following.begun = false;
        if !following.streams.iter().any(|one| one.kind == Kind::All) {
            following.add(Followed::of_all(all, Standing::Abreast));
        }
        let mut streams = following.streams.iter();
        let own = streams.position(|one| one.kind == Kind::Uid);
        if own.is_none() {
            // It has had all of that one's.
            following.add(Followed::new(Kind::Uid, "", Since::Now));
        }
        if let Some(nth) = own {
            self.release_held(id, nth, None);
            if let Some(following) = self.following_mut(id) {
                following.replace(nth, Followed::new(Kind::Uid, "", Since::Now));
            }
        }
    }

    /// It names no position in everybody's stream, and nothing of that was ever kept: it need not ask for it.
    pub fn ask_not_for_all(&mut self, id: ConnId) {
        if let Some(following) = self.following_mut(id) {
            let streams = &mut following.streams;
            streams.retain(|one| {
                let names_none = matches!(
                    one.standing,
                    Standing::Asked(Since::Beginning | Since::At(None))
                );
                one.kind != Kind::All || !names_none
            });
        }
    }

    /// The home has said where a connection stands in a stream.
    pub fn answer_follower(&mut self, id: ConnId, nth: usize, answer: &Recovery) {
        let Some(one) = self.followed(id, nth) else {
            return;
        };
        let Standing::Asked(since) = one.standing else {
            return;
        };
        one.standing = match one.lost {
            true => Standing::Abreast,
            false => Standing::Behind,
        };
        one.position = match (answer, since) {
            (Recovery::Recovered { after, .. }, Since::Now) => one.position.or(Some(*after)),
            (Recovery::Recovered { after, .. }, _) => Some(*after),
            // Until it is told of the gap it is where it was; or, where that cannot be said, where no stream comes.
            (Recovery::Gap(gap), Since::At(asked)) => asked.or(Some(Position {
                offset: u64::MAX,
                ..gap.top
            })),
            (Recovery::Gap(_), _) => None,
        };
        if let Recovery::Gap(gap) = answer
            && !one.lost
        {
            one.gap = Some(Box::new(*gap));
        }
    }

    /// It has left a group: nothing more of that is for it, and what it has missed is not either.
    pub(super) fn lose_stream(&mut self, id: ConnId, group: &str) {
        let is_it = |one: &&mut Followed| one.kind == Kind::Group && *one.name == *group;
        if self.connections.is_told_places(id) {
            return self.unfollow_group(id, group);
        }
        let Some(following) = self.following_mut(id) else {
            return;
        };
        let Some(one) = following.streams.iter_mut().find(is_it) else {
            return;
        };
        one.lost = true;
        one.gap = None;
        if one.standing == Standing::Behind {
            one.standing = Standing::Abreast;
        }
        if let Some(nth) = self.group_stream(id, group) {
            self.drop_held(id, nth);
        }
        self.settle_following(id);
    }

    /// Whether it has a stream of this group that it does not have all of.
    pub fn follows_group(&self, id: ConnId, group: &str) -> bool {
        self.group_stream(id, group).is_some()
    }

    /// Which of its streams is this group's.
    pub(super) fn group_stream(&self, id: ConnId, group: &str) -> Option<usize> {
        let mut streams = self.following(id)?.streams.iter();
        streams.position(|one| one.kind == Kind::Group && *one.name == *group)
    }

    /// Forgets what is held of a stream.
    pub(super) fn drop_held(&mut self, id: ConnId, nth: usize) {
        while let Some(following) = self.following_mut(id)
            && let Some(one) = following.streams.get_mut(nth)
            && let Some(payload) = one.held.pop()
        {
            following.held_bytes -= payload.message().len() + OUTBOX_MESSAGE_COST;
        }
    }

    /// Whether it has left the group whose stream this is, since it asked for that.
    pub fn has_lost(&self, id: ConnId, nth: usize) -> bool {
        let following = self.following(id);
        following.is_some_and(|following| following.streams.get(nth).is_some_and(|one| one.lost))
    }

    /// Whether a piece of a stream is for it that was read for it: it may have left the group meanwhile.
    pub fn takes_piece(&mut self, id: ConnId, nth: usize) -> bool {
        let Some(one) = self.followed(id, nth) else {
            return false;
        };
        let is_behind = one.standing == Standing::Behind;
        one.reading &= is_behind;
        is_behind
    }

    /// Whether all its streams have been answered for, so that it may begin.
    pub fn may_begin_to_follow(&self, id: ConnId) -> bool {
        self.following(id).is_some_and(|following| {
            let mut streams = following.streams.iter();
            streams.all(|one| !matches!(one.standing, Standing::Asked(_)))
        })
    }

    /// Forgets what needs not be remembered any more.
    pub fn settle_following(&mut self, id: ConnId) {
        let Some(following) = self.following(id) else {
            return;
        };
        if !following.begun || !following.streams.iter().all(Followed::is_abreast) {
            return;
        }
        if self.connections.is_told_places(id) {
            return self.settle_places(id);
        }
        let all = self.followers.all_seen(self.connections.namespace_of(id));
        let is_plain = match &following.streams[..] {
            [own] => own.kind == Kind::Uid,
            [own, last] => (own.kind, last.kind) == (Kind::Uid, Kind::All) && last.position == all,
            _ => false,
        };
        self.followers.be_abreast(id.slot);
        match is_plain {
            true => drop(self.followers.unfollow(id.slot)),
            false => self.rest(id),
        }
    }

    /// The next stream of a connection, this one or later, of which something is missing and nothing is being read: which
    /// one, and from where.
    pub fn next_to_read(
        &mut self,
        id: ConnId,
        from: usize,
    ) -> Option<(usize, Kind, Box<str>, Position)> {
        let following = self.following_mut(id).filter(|following| following.begun)?;
        let mut streams = following.streams.iter_mut().enumerate().skip(from);
        streams.find_map(|(nth, one)| match (one.standing, one.position) {
            (Standing::Behind, Some(position)) if !one.reading => {
                one.reading = true;
                Some((nth, one.kind, one.name.clone(), position))
            }
            _ => None,
        })
    }

    /// Queues a piece of what it has missed; with `is_last` that is all there is.
    pub fn catch_up(
        &mut self,
        id: ConnId,
        nth: usize,
        messages: &[(Position, Payload)],
        is_last: bool,
        tops: Tops<'_>,
    ) {
        if self.is_amid_beginning(id, nth) {
            return;
        }
        for (position, payload) in messages {
            self.release_held(id, nth, Some(position.offset));
            // It has left, or ended, maybe by what was held.
            let Some(one) = self.followed(id, nth) else {
                return;
            };
            one.position = Some(*position);
            let (kind, name) = (one.kind, one.name.clone());
            let place = MessagePlace::of(kind, &name, Some(*position));
            if self.connections.tells_positions(id) {
                self.send_kept(id, &place, payload.message(), tops);
            } else if self.send(id, payload.message()) {
                self.note_in_flight(id, position.offset);
            } else {
                return;
            }
        }
        let Some(one) = self.followed(id, nth) else {
            return;
        };
        one.reading = false;
        if is_last {
            self.be_abreast(id, nth);
        }
    }

    /// Whether it is to begin anew, since something was asked to be read for it: that is read again then.
    fn is_amid_beginning(&mut self, id: ConnId, nth: usize) -> bool {
        let is_amid = self.following(id).is_some_and(|following| !following.begun);
        if is_amid && let Some(one) = self.followed(id, nth) {
            one.reading = false;
        }
        is_amid
    }

    /// Tells it of a gap: it is read on for from the top, since what was kept after that may have passed by it already.
    pub fn tell_gap(&mut self, id: ConnId, nth: usize, gap: &Gap, tops: Tops<'_>) {
        if self.is_amid_beginning(id, nth) {
            return;
        }
        let Some(one) = self.followed(id, nth) else {
            return;
        };
        one.position = Some(gap.top);
        one.reading = false;
        let (kind, name) = (one.kind, one.name.clone());
        let name = match kind {
            Kind::Uid => self.connections.uid(id).map(Box::from),
            Kind::Group => Some(name),
            Kind::All => Some(Box::from(EVERYBODY)),
        };
        if self.connections.is_told_places(id) {
            return self.tell_gap_alone(id, kind, name.as_deref().unwrap_or_default(), gap);
        }
        let positions = self.positions(id, tops);
        let told = sse::ToldGap {
            kind: &kind.to_string(),
            name: name.as_deref().unwrap_or_default(),
            asked: gap.asked.map(|it| it.to_string()),
            first: gap.first.map(|it| it.to_string()),
            top: gap.top.to_string(),
        };
        self.send_raw(id, |_, out| sse::encode_gap(&positions, &told, out));
    }

    /// It is in a group again that it had left: of what came meanwhile, before this, it is told.
    fn tell_lost(&mut self, id: ConnId, nth: usize, next: Position, tops: Tops<'_>) {
        let Some(one) = self.followed(id, nth) else {
            return;
        };
        one.lost = false;
        let top = Position {
            offset: next.offset.saturating_sub(1),
            ..next
        };
        if one.position != Some(top) {
            let gap = Gap {
                asked: one.position.filter(|asked| asked.offset != u64::MAX),
                first: Some(next),
                top,
            };
            self.tell_gap(id, nth, &gap, tops);
        }
    }

    pub(super) fn followed(&mut self, id: ConnId, nth: usize) -> Option<&mut Followed> {
        self.following_mut(id)?.streams.get_mut(nth)
    }

    /// It has everything of this stream; what was held follows.
    pub fn be_abreast(&mut self, id: ConnId, nth: usize) {
        self.release_held(id, nth, None);
        if let Some(one) = self.followed(id, nth) {
            one.standing = Standing::Abreast;
        }
        self.settle_following(id);
    }

    /// Queues what came behind what it has by now: all that was held before this offset was kept, or all.
    pub(super) fn release_held(&mut self, id: ConnId, nth: usize, before: Option<u64>) {
        loop {
            let Some(following) = self.following_mut(id) else {
                return;
            };
            let Some(one) = following.streams.get_mut(nth) else {
                return;
            };
            let is_due = one.held.first_is_behind().is_some_and(|behind| {
                before.is_none_or(|before| behind.is_some_and(|behind| behind < before))
            });
            if !is_due {
                return;
            }
            let Some(payload) = one.held.pop() else {
                return;
            };
            let (kind, name) = (one.kind, one.name.clone());
            following.held_bytes -= payload.message().len() + OUTBOX_MESSAGE_COST;
            self.send_at(id, &MessagePlace::of(kind, &name, None), payload.message());
        }
    }

    /// Queues a kept message as its client is told where it stands: with all its positions, or in its envelope.
    fn send_kept(
        &mut self,
        id: ConnId,
        place: &MessagePlace<'_>,
        message: Message<'_>,
        tops: Tops<'_>,
    ) -> bool {
        match self.connections.is_told_all_positions(id) {
            true => self.send_with_positions(id, message, tops),
            false => self.send_at(id, place, message),
        }
    }

    /// Queues a kept message with the positions that its client has with it.
    fn send_with_positions(&mut self, id: ConnId, message: Message<'_>, tops: Tops<'_>) -> bool {
        let positions = self.positions(id, tops);
        self.send_positioned(id, &positions, message)
    }

    fn send_positioned(&mut self, id: ConnId, positions: &str, message: Message<'_>) -> bool {
        let length = sse::positioned_len(positions, message);
        if !self.admit(id, length, 0) {
            return false;
        }
        self.append(id, length, |out| {
            sse::encode_positioned(positions, message, out);
        });
        self.work.copied(length);
        self.stats.messages_out += 1;
        true
    }

    /// A message of a stream for one that tells positions. Whether it has got it, or will.
    pub(super) fn send_followed(&mut self, id: ConnId, marked: Marked<'_>, tops: Tops<'_>) -> bool {
        if !self.connections.tells_positions(id) {
            return self.send_behind_queue(id, marked);
        }
        let kept = marked.mark.filter(|mark| mark.kept);
        let (place, message) = (marked.place(), marked.payload.message());
        let all = self.followers.all_seen(self.connections.namespace_of(id));
        let all = all.filter(|_| marked.kind == Kind::All);
        let most = self
            .connections
            .listener(id)
            .map_or(0, |spec| spec.outbox_bytes_max);
        let Some(following) = self.following_mut(id) else {
            return match kept {
                Some(mark) if marked.kind == Kind::Group => {
                    self.send_to_resting(id, marked, mark.position, tops)
                }
                Some(_) => self.send_kept(id, &place, message, tops),
                None => self.send_at(id, &place, message),
            };
        };
        if !following.begun {
            following.await_beginning(marked, all);
        }
        let mut streams = following.streams.iter_mut().enumerate();
        let Some((nth, one)) = streams.find(|(_, one)| one.is_of(marked)) else {
            // Everybody's, of which it has all; or a group that it has come into by itself, not by its request.
            return match kept.filter(|_| marked.kind == Kind::All) {
                Some(_) => self.send_kept(id, &place, message, tops),
                None => self.send_at(id, &place, message),
            };
        };
        match (one.standing, kept) {
            // It is read with what is missing; or was sent before its join is answered.
            (Standing::Asked(since), Some(mark)) => {
                // Of one that has got messages of it until now.
                if since == Since::Now {
                    let before = Position {
                        offset: mark.position.offset - 1,
                        ..mark.position
                    };
                    one.position = one.position.or(Some(before));
                }
                true
            }
            (Standing::Behind, Some(_)) => true,
            (Standing::Asked(_) | Standing::Behind, None) => {
                let behind = marked.mark.map(|mark| mark.position).or(all);
                let behind = behind.map_or(0, |position| position.offset);
                one.held.push(Some(behind), marked.payload.clone());
                following.held_bytes += message.len() + OUTBOX_MESSAGE_COST;
                self.keep_held_within(id, most)
            }
            (Standing::Abreast, Some(mark)) => {
                // Older than where it began.
                let is_old = one.position.is_some_and(|at| at.has(mark.position));
                if one.lost {
                    self.tell_lost(id, nth, mark.position, tops);
                } else if is_old {
                    return true;
                }
                if let Some(one) = self.followed(id, nth) {
                    one.position = Some(mark.position);
                }
                self.send_kept(id, &place, message, tops)
            }
            (Standing::Abreast, None) => self.send_at(id, &place, message),
        }
    }

    /// A kept message of a group, for one that has everything.
    fn send_to_resting(
        &mut self,
        id: ConnId,
        marked: Marked<'_>,
        position: Position,
        tops: Tops<'_>,
    ) -> bool {
        let message = marked.payload.message();
        let Some((number, seen)) = self.seen_at_rest(id, marked.name) else {
            // It is in the group, but its client has no position in that.
            return self.send_at(id, &marked.place(), message);
        };
        if seen.is_some_and(|seen| seen.has(position)) {
            return true;
        }
        let positions = self.positions_with(id, Some((number, position)), tops);
        self.send_positioned(id, &positions, message)
    }

    /// A message for one that is read on for from its uid's queue, and is to have that first.
    fn send_behind_queue(&mut self, id: ConnId, marked: Marked<'_>) -> bool {
        let message = marked.payload.message();
        let spec = self.connections.listener(id);
        let most = spec.map_or(0, |spec| spec.outbox_bytes_max);
        let is_queued = marked.kind == Kind::Uid && marked.mark.is_some_and(|mark| mark.queued);
        let Some(following) = self.following_mut(id) else {
            return self.send(id, message);
        };
        // It is in the queue, too.
        if is_queued {
            return true;
        }
        let Some(own) = following.streams.first_mut() else {
            return self.send(id, message);
        };
        own.held.push(None, marked.payload.clone());
        following.held_bytes += message.len() + OUTBOX_MESSAGE_COST;
        self.keep_held_within(id, most)
    }

    /// What is held for a connection waits for it, and so closes one for which there is too much.
    fn keep_held_within(&mut self, id: ConnId, most: usize) -> bool {
        let is_over = |following: &Following| following.held_bytes > most;
        if self.following(id).is_some_and(is_over) {
            self.close(id, CloseReason::SlowConsumer);
            return false;
        }
        true
    }
}

//! How a connection comes to have all of the streams that it follows: [`FollowStep`].
//!
//! 1. When it is bound, its core joins its groups and asks the home of each stream where it stands: all that it missed is
//!    there, or there is a gap. Its uid's stream is at home here.
//! 2. When all have answered, it is told its positions, and the gaps.
//! 3. What it has missed is read in pieces, each when the one before has left. A home answers with a piece and with where
//!    the stream ends; what is sent to the stream from then on follows in the mailbox. So whoever has had the last piece
//!    has everything, and gets what comes next as it comes.
//!
//! Bound: one piece a stream of a connection is under way; a round reads as many as [`PIECES_PER_ROUND`].

use std::time::Instant;

use tracing::warn;

use super::envelope::Body;
use super::follow_step::{FollowStep, FollowedPiece, FollowedStream, StreamStep};
use super::guarded_store::unknown;
use super::local::Local;
use crate::close::CloseReason;
use crate::escape::Escaped;
use crate::ident::{ConnId, CoreId, EVERYBODY};
use crate::shard::{Followed, Since};
use crate::streams::{Address, Gap, Kind, Limit, Position, Recovery, Store};

/// What is read at once.
pub(super) const PIECE: Limit = Limit {
    messages: 64,
    bytes: 16 << 10,
};
/// Pieces that one round reads: some hundreds of microseconds, that live messages may have to wait for.
const PIECES_PER_ROUND: usize = 32;
/// Whoever has so much waiting is read on for when that has left.
const WAITING_BYTES_MAX: usize = 32 << 10;

impl Local {
    /// A connection is bound that is to follow streams.
    pub(super) fn begin_to_follow(&mut self, connection: ConnId) {
        if self.shard.connections.is_on_plain_wire(connection) {
            return self.begin_queue(connection);
        }
        if self.shard.connections.is_told_places(connection) {
            self.shard.follow_own(connection);
            self.tell_newcomers();
            if self.asks_for_handled(connection) {
                // It begins when that is known.
                return;
            }
            self.begin_where_acknowledged(connection);
        }
        self.follow_asked(connection);
    }

    /// Asks the homes of the streams that it is to follow.
    pub(super) fn follow_asked(&mut self, connection: ConnId) {
        if self.shard.following(connection).is_none() {
            return;
        }
        let namespace = self.shard.connections.namespace_of(connection);
        if self.shard.followers.all_seen(namespace).is_none() && !self.has_engine() {
            self.shard.ask_not_for_all(connection);
        }
        let Some(following) = self.shard.following(connection) else {
            return;
        };
        let each = following.streams.iter();
        let streams: Vec<(u32, Kind, Box<str>, Since)> = each
            .filter_map(|one| Some((one.serial(), one.kind, one.name.clone(), one.asked()?)))
            .collect();
        for (serial, kind, name, since) in streams {
            let name = match kind {
                Kind::Uid => Box::from(self.shard.connections.uid(connection).unwrap_or_default()),
                Kind::Group => {
                    if !self.join_to_follow(connection, serial, &name) {
                        return;
                    }
                    name
                }
                Kind::All => Box::from(EVERYBODY),
            };
            let of = FollowedStream {
                namespace,
                kind,
                name,
            };
            self.ask_home(connection, serial, of, since);
        }
        // One that has come from another core may be amid something.
        self.readers.push(connection);
    }

    /// Puts it into a group that it follows, unless it has been taken out of it since it asked. False if it cannot be there:
    /// then it ends, since it would miss what comes to the group, and not know.
    fn join_to_follow(&mut self, connection: ConnId, serial: u32, group: &str) -> bool {
        let nth = self.shard.nth_of(connection, serial);
        if nth.is_none_or(|nth| self.shard.has_lost(connection, nth))
            || self.join(connection, group, None)
        {
            return true;
        }
        warn!(
            connection = %self.shard.connections.tell_name(connection),
            group = %Escaped(group),
            "closed: its app has put it into so many groups that there is no place for one that its client follows"
        );
        self.shard.close(connection, CloseReason::Policy);
        false
    }

    /// Whether a client names a position of its uid's stream: it has had a connection of that uid.
    pub(super) fn comes_back(&mut self, connection: ConnId, uid: &str) -> bool {
        let Some(following) = self.shard.following(connection) else {
            return false;
        };
        let mut streams = following.streams.iter();
        let own = streams.find(|one| one.kind == Kind::Uid);
        let Some(Since::At(Some(position))) = own.and_then(Followed::asked) else {
            return false;
        };
        let of = Address::uid(self.shard.connections.namespace_of(connection), uid);
        let now = self.now();
        let has_told = self
            .streams
            .store
            .ask(of, |store| store.has_told(now, of, position));
        has_told.unwrap_or(false)
    }

    fn home_of(&self, of: &FollowedStream) -> CoreId {
        self.outgoing.home(&of.name)
    }

    /// Asks a stream's home where it stands.
    pub(super) fn ask_home(
        &mut self,
        connection: ConnId,
        serial: u32,
        of: FollowedStream,
        since: Since,
    ) {
        let home = self.home_of(&of);
        self.follow_step(home, connection, serial, StreamStep::Ask { of, since });
    }

    fn follow_step(&mut self, to: CoreId, connection: ConnId, serial: u32, what: StreamStep) {
        let step = FollowStep {
            connection,
            serial,
            what,
        };
        match to == self.core() {
            true => self.follow(to, step),
            false => self.outgoing.post_free(to, Body::Follow(Box::new(step))),
        }
    }

    /// A step that another core or this one has come to.
    pub fn follow(&mut self, from: CoreId, step: FollowStep) {
        if self.has_engine()
            && let StreamStep::Ask { of, .. } | StreamStep::Read { of, .. } = &step.what
        {
            let of = of.clone();
            return self.follow_mirrored(from, step, of);
        }
        self.follow_here(from, step);
    }

    /// One about a stream that is here, if it is about one.
    pub(super) fn follow_here(&mut self, from: CoreId, step: FollowStep) {
        let FollowStep {
            connection,
            serial,
            what,
        } = step;
        let now = self.now();
        match what {
            StreamStep::Ask { of, since } => {
                let store = &mut self.streams.store;
                let answer = match since {
                    Since::Now => {
                        let top = store.top(now, of.address());
                        Recovery::Recovered { after: top, top }
                    }
                    Since::At(asked) => store.recover(now, of.address(), asked),
                    Since::Beginning => store.recover_all(now, of.address()),
                };
                if let Recovery::Gap(gap) = &answer {
                    self.streams.log_gap(now, of.address(), gap);
                }
                self.follow_step(from, connection, serial, StreamStep::Answer(answer));
            }
            StreamStep::Answer(answer) => {
                if let Some(nth) = self.shard.nth_of(connection, serial) {
                    self.take_answer(connection, nth, &answer);
                }
            }
            StreamStep::Read { of, after } => {
                let address = of.address();
                let read = self
                    .streams
                    .store
                    .ask(address, |store| read_piece(store, now, address, after));
                let piece = read.unwrap_or_else(|| Err(unknown(Some(after))));
                if let Err(gap) = &piece {
                    self.streams.log_gap(now, of.address(), gap);
                }
                self.follow_step(from, connection, serial, StreamStep::Piece(piece));
            }
            StreamStep::Piece(piece) => {
                if let Some(nth) = self.shard.nth_of(connection, serial) {
                    self.take_piece(connection, nth, piece);
                }
            }
        }
    }

    /// The home of one of its streams has said where it stands. When all have, it begins.
    fn take_answer(&mut self, connection: ConnId, nth: usize, answer: &Recovery) {
        self.shard.answer_follower(connection, nth, answer);
        if self.shard.connections.is_told_places(connection) && self.shard.has_begun(connection) {
            self.tell_joined(connection, nth);
        } else if self.shard.may_begin_to_follow(connection) {
            if self.shard.connections.is_told_places(connection) {
                self.tell_bound(connection);
            }
            let (store, now) = (&mut self.streams.store, self.now);
            let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
            self.shard.begin_to_follow(connection, &mut tops);
        } else {
            return;
        }
        self.readers.push(connection);
    }

    fn take_piece(&mut self, connection: ConnId, nth: usize, piece: Result<FollowedPiece, Gap>) {
        if !self.shard.takes_piece(connection, nth) {
            return;
        }
        let (store, now) = (&mut self.streams.store, self.now);
        let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
        match piece {
            Ok(FollowedPiece { messages, is_last }) => {
                self.shard
                    .catch_up(connection, nth, &messages, is_last, &mut tops);
                if !is_last {
                    self.readers.push(connection);
                }
            }
            Err(gap) => {
                self.shard.tell_gap(connection, nth, &gap, &mut tops);
                self.readers.push(connection);
            }
        }
    }

    /// Reads on for those who have missed something, so much as one round may.
    pub fn read_on(&mut self) {
        if self.shard.followers.has_drained() {
            self.readers.extend(self.shard.followers.take_drained());
        }
        for _ in 0..PIECES_PER_ROUND {
            let Some(connection) = self.readers.pop() else {
                break;
            };
            if self.shard.connections.bytes_waiting(connection) > WAITING_BYTES_MAX {
                self.shard.followers.await_drained(connection.slot);
                continue;
            }
            let mut from = 0;
            while let Some((nth, of, after)) = self.next_to_read(connection, from) {
                from = nth + 1;
                if self.shard.connections.is_on_plain_wire(connection) {
                    self.read_queue(connection, after);
                    continue;
                }
                let serial = self.shard.serial_of(connection, nth);
                self.follow_step(
                    self.home_of(&of),
                    connection,
                    serial,
                    StreamStep::Read { of, after },
                );
            }
        }
    }

    fn next_to_read(
        &mut self,
        connection: ConnId,
        from: usize,
    ) -> Option<(usize, FollowedStream, Position)> {
        let (nth, kind, name, after) = self.shard.next_to_read(connection, from)?;
        let namespace = self.shard.connections.namespace_of(connection);
        let name = match kind {
            Kind::Uid => Box::from(self.shard.connections.uid(connection)?),
            Kind::Group => name,
            Kind::All => Box::from(EVERYBODY),
        };
        Some((
            nth,
            FollowedStream {
                namespace,
                kind,
                name,
            },
            after,
        ))
    }

    /// Whether somebody is to be read on for in the next round.
    pub fn has_readers(&self) -> bool {
        !self.readers.is_empty() || self.shard.followers.has_drained()
    }
}

fn read_piece(
    store: &mut Store,
    now: Instant,
    of: Address<'_>,
    after: Position,
) -> Result<FollowedPiece, Gap> {
    let piece = store.read(now, of, Some(after), PIECE)?;
    let top = piece.top();
    let messages: Vec<_> = piece
        .map(|(position, payload)| (position, payload.clone()))
        .collect();
    let end = messages
        .last()
        .map_or(after.offset, |(last, _)| last.offset);
    Ok(FollowedPiece {
        is_last: end >= top.offset || messages.is_empty(),
        messages,
    })
}

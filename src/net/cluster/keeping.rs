//! What Redis keeps for all nodes: streams, as cores ask for them ([`Party`]).
//!
//! A message that is to be kept goes to Redis alone, which gives it its place and publishes it; this node gets it back as any
//! other does. Its sender is answered when Redis has it and all that got it have said whom they reached.

use std::time::{Duration, Instant};

use super::interests::SubscriptionChange;
use super::keeper::{
    AskedForget, AskedKept, Purpose, WaitingClaim, WaitingRead, answer_forget, answer_kept,
    home_of, pop_due, tell, tell_all,
};
use super::party::{Party, RedisCommand};
use super::scripts::{Script, ScriptCall};
use crate::app::abroad::excepted;
use crate::app::abroad_streams::{KeepOrder, PlacedMessage, StreamNews, StreamOrder};
use crate::app::envelope::Body;
use crate::app::follow_step::FollowedStream;
use crate::app::idempotency::{Digest, home_text};
use crate::app::outcome::Unknown;
use crate::bus::Endpoint;
use crate::ident::{CoreId, Reach};
use crate::protocol::cluster::{ClusterMessage, NodeOrder, OrderHead, encode};
use crate::protocol::kept_record::KeptRecord;
use crate::streams::{Epoch, Kind, META_TIME, Mirrored, Position};

/// What is read of a stream at once.
const MESSAGES_READ: usize = 64;
const BYTES_READ: usize = 64 << 10;
/// Most messages of a stream, whatever its rule says.
const MESSAGES_MAX: u32 = 100_000;
/// Redis has refused to read a stream: it is asked again after this.
pub(super) const READ_PAUSE: Duration = Duration::from_secs(1);

fn fresh_epoch() -> Vec<u8> {
    Epoch::of(fastrand::u64(..)).to_string().into_bytes()
}

fn millis(time: Duration) -> Vec<u8> {
    time.as_millis().to_string().into_bytes()
}

impl Party {
    pub(super) fn take_stream_order(
        &mut self,
        bus: &mut Endpoint<Body>,
        (from, order): (CoreId, StreamOrder),
        now: Instant,
        is_joined: bool,
    ) {
        match order {
            StreamOrder::Keep(order) if is_joined => self.keep(from, *order, now),
            StreamOrder::Keep(order) => self.keep_alone(bus, from, *order),
            StreamOrder::Read {
                of,
                after,
                subscribed,
            } if is_joined => {
                let read = WaitingRead {
                    core: from,
                    of,
                    after,
                };
                self.read_when_subscribed(read, subscribed, now);
            }
            StreamOrder::Compare(each) if is_joined => {
                for (of, position) in each {
                    self.compare(from, of, position);
                }
            }
            // The core is told that Redis is away, and when it is back.
            StreamOrder::Read { .. } | StreamOrder::Compare(_) => {}
            StreamOrder::Forget { of, asked_by } if is_joined => self.forget_streams(of, asked_by),
            StreamOrder::Forget { asked_by, .. } => answer_forget(bus, asked_by, None),
            // What is not told is delivered once more.
            StreamOrder::Delivered { .. } if !is_joined => {}
            StreamOrder::Delivered { of, upto } => self.note_delivered(of, upto),
            StreamOrder::Handled(place) => self.note_handled(place, is_joined),
            StreamOrder::AskHandled(at) => self.ask_handled(bus, from, *at, is_joined),
            StreamOrder::Claim {
                id,
                wanted,
                window,
                token,
                waits,
                again,
            } => {
                let how = (waits, again);
                let claim = WaitingClaim::new((from, token), (id, wanted), window, how, now);
                self.claim(bus, claim, is_joined);
            }
            StreamOrder::Settle {
                id,
                wanted,
                again,
                window,
                answer,
            } => self.settle((id, wanted, again), window, answer.as_deref(), is_joined),
        }
    }

    fn channel_of_stream(&self, of: &FollowedStream) -> String {
        match of.kind {
            Kind::Uid => self.channel_of_uid(&of.name),
            Kind::Group => self.channel_of_group(&of.name),
            _ => self.channel_of_all(),
        }
    }

    /// What is known of a stream, and the stream. Both have one hash tag.
    fn keys_of_stream(&mut self, of: &FollowedStream) -> Vec<String> {
        let stem = self.stem_of_stream(of);
        vec![format!("{stem}:m"), format!("{stem}:s")]
    }

    /// Where a message of it stands that was kept for the request with this id. It has the same hash tag.
    fn key_of_kept_id(&mut self, of: &FollowedStream, id: &Digest) -> String {
        format!("{}:i:{}", self.stem_of_stream(of), home_text(id))
    }

    fn stem_of_stream(&mut self, of: &FollowedStream) -> String {
        let kind = match of.kind {
            Kind::Uid => 'u',
            Kind::Group => 'g',
            _ => 'a',
        };
        let namespace = self.spaces.key_name(of.namespace);
        format!("{}{{{kind}:{namespace}:{}}}", self.prefix, of.name)
    }

    pub(super) fn run(&mut self, call: ScriptCall, what: Purpose) {
        self.command_bytes += call.args.iter().map(Vec::len).sum::<usize>();
        self.commands.push(RedisCommand::Run { call, what });
    }

    fn keep(&mut self, from: CoreId, order: KeepOrder, now: Instant) {
        let KeepOrder {
            of,
            keep,
            refresh,
            except,
            payload,
            id,
            call,
        } = order;
        let number = call.map_or(0, |call| {
            self.last_number += 1;
            let asked = AskedKept {
                core: from,
                call,
                queue: keep.queue,
                position: None,
                nodes: None,
                answered: 0,
                reached: 0,
                unknown: Unknown::default(),
            };
            self.keeper.asked.insert(self.last_number, asked);
            let deadline = (now + self.answer_timeout, self.last_number);
            self.keeper.deadlines.push_back(deadline);
            self.last_number
        });
        let head = OrderHead {
            origin: self.node,
            number,
            lane: from.0,
            namespaces: self.spaces.names(Reach::of(of.namespace)),
        };
        let record = KeptRecord {
            millis: u64::try_from(keep.ttl.as_millis()).unwrap_or(u64::MAX),
            queue: keep.queue,
            payload,
        };
        let written = record.encode();
        let order = NodeOrder::Kept {
            kind: of.kind,
            name: of.name.clone(),
            refresh,
            except: excepted(&except),
            record,
        };
        // The script writes the record behind the rest, and into the stream.
        let mut rest = encode(&ClusterMessage::Order(head, order));
        debug_assert!(rest.ends_with(&written), "the record is the last of it");
        rest.truncate(rest.len() - written.len());
        let channel = self.channel_of_stream(&of);
        let mut call = ScriptCall {
            script: Script::Append,
            keys: self.keys_of_stream(&of),
            args: vec![
                self.keeper.run.clone().into_bytes(),
                fresh_epoch(),
                keep.size.clamp(1, MESSAGES_MAX).to_string().into_bytes(),
                millis(keep.ttl),
                millis(META_TIME),
                channel.clone().into_bytes(),
                rest,
                written,
            ],
        };
        if let Some((id, window)) = id {
            // In one step with the message, so that it is never kept again for the same id.
            let key = self.key_of_kept_id(&of, &id);
            call.keys.push(key);
            call.args.push(millis(window.max(Duration::from_millis(1))));
        }
        self.run(call, Purpose::Keep(number));
    }

    /// Redis is away: who is here gets it, kept nowhere, and its sender is told that nobody knows.
    fn keep_alone(&mut self, bus: &mut Endpoint<Body>, from: CoreId, order: KeepOrder) {
        let KeepOrder {
            of,
            refresh,
            except,
            payload,
            id,
            call,
            ..
        } = order;
        // Whoever asks again with the id may have it carried out elsewhere: nobody is to have it from here, too.
        if id.is_some() {
            if let Some(call) = call {
                answer_kept(bus, (from, call), 0, Unknown::away(), None, false);
            }
            return;
        }
        let placed = PlacedMessage {
            of,
            position: None,
            message: Mirrored {
                left: None,
                queue: false,
                payload,
            },
            refresh,
            except,
            number: 0,
        };
        self.post_placed(bus, placed);
        if let Some(call) = call {
            answer_kept(bus, (from, call), 0, Unknown::away(), None, false);
        }
    }

    pub(super) fn post_placed(&mut self, bus: &mut Endpoint<Body>, placed: PlacedMessage) {
        let bytes = placed.of.name.len() + placed.message.payload.message().len();
        let home = home_of(bus, &placed.of);
        tell(bus, home, bytes, StreamNews::Placed(Box::new(placed)));
    }

    fn read_when_subscribed(&mut self, read: WaitingRead, subscribed: bool, now: Instant) {
        let channel = self.channel_of_stream(&read.of);
        let is_in_force = read.of.kind == Kind::All || self.interests.is_in_force(&channel);
        if !subscribed || is_in_force {
            return self.read(read);
        }
        let deadline = (now + self.answer_timeout, channel.clone());
        self.keeper.read_deadlines.push_back(deadline);
        self.keeper.reads.entry(channel).or_default().push(read);
    }

    fn read_call(
        &mut self,
        of: &FollowedStream,
        after: Option<Position>,
        most: usize,
    ) -> ScriptCall {
        let epoch = after.map_or_else(Vec::new, |after| after.epoch.to_string().into_bytes());
        let offset = after.map_or(0, |after| after.offset);
        ScriptCall {
            script: Script::Read,
            keys: self.keys_of_stream(of),
            args: vec![
                self.keeper.run.clone().into_bytes(),
                fresh_epoch(),
                millis(META_TIME),
                offset.to_string().into_bytes(),
                most.to_string().into_bytes(),
                BYTES_READ.to_string().into_bytes(),
                epoch,
            ],
        }
    }

    fn read(&mut self, read: WaitingRead) {
        // What is read says up to where all is delivered.
        if let Some(noted) = self.keeper.delivered.remove(&read.of) {
            self.tell_delivered(&read.of, noted);
        }
        let call = self.read_call(&read.of, read.after, MESSAGES_READ);
        self.run(call, Purpose::Read(read));
    }

    fn compare(&mut self, core: CoreId, of: FollowedStream, position: Position) {
        let call = self.read_call(&of, None, 0);
        self.run(call, Purpose::Compare(core, of, position));
    }

    fn forget_streams(&mut self, each: Vec<FollowedStream>, asked_by: (CoreId, u64)) {
        self.last_number += 1;
        let number = self.last_number;
        let asked = AskedForget {
            asked_by,
            left: each.len(),
            count: 0,
            failed: false,
        };
        self.keeper.forgets.insert(number, asked);
        for of in each {
            let channel = self.channel_of_stream(&of);
            let head = OrderHead {
                origin: self.node,
                number: 0,
                lane: asked_by.0.0,
                namespaces: self.spaces.names(Reach::of(of.namespace)),
            };
            let (kind, name) = (of.kind, of.name.clone());
            let order = NodeOrder::Forgotten { kind, name };
            let call = ScriptCall {
                script: Script::Forget,
                keys: self.keys_of_stream(&of),
                args: vec![
                    channel.clone().into_bytes(),
                    encode(&ClusterMessage::Order(head, order)),
                ],
            };
            self.run(call, Purpose::Forget(number));
        }
    }

    fn note_delivered(&mut self, of: FollowedStream, upto: Position) {
        let before = self.keeper.delivered.get(&of);
        if before.is_none_or(|noted| !noted.has(upto)) {
            self.keeper.delivered.insert(of, upto);
        }
    }

    fn tell_delivered(&mut self, of: &FollowedStream, upto: Position) {
        let mut keys = self.keys_of_stream(of);
        keys.truncate(1);
        let call = ScriptCall {
            script: Script::Delivered,
            keys,
            args: vec![
                upto.epoch.to_string().into_bytes(),
                upto.offset.to_string().into_bytes(),
            ],
        };
        self.run(call, Purpose::Delivered);
    }

    /// What waits for the next batch.
    pub(super) fn keep_on(&mut self, now: Instant) {
        while let Some(read) = pop_due(&mut self.keeper.put_off, now) {
            self.read(read);
        }
        for (of, noted) in std::mem::take(&mut self.keeper.delivered) {
            self.tell_delivered(&of, noted);
        }
        self.note_all_handled();
        self.claim_on(now);
    }

    /// Redis has taken a change of what this node is subscribed to.
    pub fn subscribed(&mut self, change: &SubscriptionChange) {
        self.interests.confirm(change);
        self.say_holds_in(change);
        self.read_stickies_in(change);
        self.ask_for_rosters(change, Instant::now());
        if !change.subscribes || self.keeper.reads.is_empty() {
            return;
        }
        for channel in &change.channels {
            for read in self.keeper.reads.remove(&**channel).unwrap_or_default() {
                self.read(read);
            }
        }
    }

    /// There is a connection to Redis.
    pub fn keeper_joined(&mut self, bus: &mut Endpoint<Body>, run: &str) {
        self.keeper.run = run.to_owned();
        self.ask_for_mark();
        tell_all(bus, || StreamNews::Joined(self.partition, true));
    }

    /// There is none any more.
    pub fn keeper_lost(&mut self, bus: &mut Endpoint<Body>) {
        self.keeper.reads.clear();
        self.keeper.read_deadlines.clear();
        self.keeper.put_off.clear();
        self.keeper.delivered.clear();
        self.keeper.handled.clear();
        for (_, asked) in std::mem::take(&mut self.keeper.forgets) {
            answer_forget(bus, asked.asked_by, None);
        }
        self.lose_claims(bus);
        tell_all(bus, || StreamNews::Joined(self.partition, false));
    }

    /// Ends what has waited for too long.
    pub(super) fn expire_kept(&mut self, bus: &mut Endpoint<Body>, now: Instant) {
        while let Some((at, number)) = self.keeper.deadlines.front().copied() {
            let asked = self.keeper.asked.get(&number);
            let silent = match asked.map(|asked| (asked.nodes, asked.answered)) {
                None => Unknown::default(),
                Some(_) if at > now => break,
                Some((Some(nodes), answered)) => {
                    Unknown::nodes_silent(nodes.saturating_sub(answered))
                }
                Some((None, _)) => Unknown::away(),
            };
            self.keeper.deadlines.pop_front();
            self.end_kept(bus, number, silent);
        }
        while let Some(channel) = pop_due(&mut self.keeper.read_deadlines, now) {
            if self.interests.is_wanted(&channel) {
                // It takes long, but it is to come.
                let later = now + self.answer_timeout;
                if self.keeper.reads.contains_key(&channel) {
                    self.keeper.read_deadlines.push_back((later, channel));
                }
                continue;
            }
            for read in self.keeper.reads.remove(&channel).unwrap_or_default() {
                tell(bus, read.core, 0, StreamNews::Page(read.of, None));
            }
        }
    }

    /// When something is to be looked at next.
    pub(super) fn keeper_due(&self) -> Option<Instant> {
        let keeper = &self.keeper;
        let deadline = keeper.deadlines.front().map(|(at, _)| *at);
        let read = keeper.read_deadlines.front().map(|(at, _)| *at);
        let put_off = keeper.put_off.front().map(|(at, _)| *at);
        let dues = deadline.into_iter().chain(read).chain(put_off);
        dues.chain(keeper.claims.next_due()).min()
    }
}

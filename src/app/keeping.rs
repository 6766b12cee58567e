//! What is kept of messages: each is appended to its stream where that is at home, and delivered with its position.
//!
//! The home of a uid has its stream and all its connections. The home of a group keeps before it passes on, so that all
//! members see the order of the stream; everybody's stream is at home where the name `all` is, and what is kept of it is
//! sent out from there. Where nothing is kept and nobody catches up, this costs a look at three numbers.

use std::sync::Arc;

use smallvec::SmallVec;

use super::bulk::{ForAll, ReplyTo, Spread, ToAll, ToGroup, marked_for_all};
use super::envelope::{AnswerPart, Body, Call, Passing, part_of};
use super::local::Local;
use super::order::Path;
use super::outcome::Delivered;
use crate::bus::{RECEIVER_COST, Until};
use crate::ident::{ConnId, CoreId, EVERYBODY, NamespaceId, Reach};
use crate::payload::{Message, Payload};
use crate::shard::{Mark, Marked};
use crate::streams::{Address, Appended, Keep, Kind, Outcome, Position, Wish};

/// Where a message stands.
enum KeptPlace {
    At(Option<Mark>),
    /// It has come before, and was delivered then.
    Repeated(Position),
}

impl Local {
    /// Whether nothing is kept and nobody catches up, so that messages are delivered without a thought of streams.
    #[inline(always)]
    fn is_idle(&self) -> bool {
        !self.shard.followers.any_behind() && self.streams.rules.is_empty()
    }

    /// Whether this message is. One to a group is told its place behind what is kept: who catches up may be on another
    /// core.
    #[inline]
    pub(super) fn is_plain(&self, kind: Kind, name: &str, wish: Wish) -> bool {
        !self.shard.followers.any_behind()
            && (kind != Kind::Group || self.streams.store.is_empty())
            && self.what_to_keep(kind, name, wish).is_none()
    }

    /// To the connections of a uid that is at home here, kept as the rules say. How many it has reached, or 1 if it waits
    /// for the uid's login.
    #[inline(always)]
    pub fn send_to_own_uid(&mut self, reach: Reach, uid: &str, message: Message<'_>) -> u32 {
        match self.is_idle() {
            true => self.shard.send_to_uid(reach, uid, message),
            false => self.keep_by_rule(reach, uid, message),
        }
    }

    /// To the connections of a uid that is at home here, for a push, whose sender wants to know more.
    #[inline(always)]
    pub fn push_to_own_uid(
        &mut self,
        reach: Reach,
        uid: &str,
        message: Message<'_>,
        wish: Wish,
    ) -> Delivered {
        match wish == Wish::AsRuled && self.is_idle() {
            true => Delivered::to(self.shard.send_to_uid(reach, uid, message)),
            false => self.deliver_to_uid(reach, uid, message, wish),
        }
    }

    #[cold]
    #[inline(never)]
    fn keep_by_rule(&mut self, reach: Reach, uid: &str, message: Message<'_>) -> u32 {
        self.deliver_to_uid(reach, uid, message, Wish::AsRuled)
            .told()
    }

    #[inline]
    fn what_to_keep(&self, kind: Kind, name: &str, wish: Wish) -> Option<Keep> {
        self.streams.rules.what_to_keep(kind, name, wish)
    }

    /// Whether a message to a uid may be kept, so that its caller wants to know where it stands.
    pub fn may_keep(&self, wish: Wish) -> bool {
        matches!(wish, Wish::For(_)) || !self.streams.rules.is_empty()
    }

    /// To the connections of a uid that is at home here, kept by a wish or as the rules say, and where it stands.
    pub fn deliver_to_uid(
        &mut self,
        reach: Reach,
        uid: &str,
        message: Message<'_>,
        wish: Wish,
    ) -> Delivered {
        match self.keep_of_uid(reach, uid, wish) {
            None if !self.shard.followers.any_behind() => Delivered {
                reached: self.shard.send_to_uid(reach, uid, message),
                ..Delivered::default()
            },
            keep => self.place_for_uid(reach, uid, &Payload::new(message), keep),
        }
    }

    /// Keeps and delivers a message that is one of many uids'.
    pub fn keep_for_uid(
        &mut self,
        reach: Reach,
        uid: &str,
        payload: &Payload,
        wish: Wish,
    ) -> Delivered {
        let keep = self.keep_of_uid(reach, uid, wish);
        self.place_for_uid(reach, uid, payload, keep)
    }

    /// How a message to a uid is kept within reach, if it is anywhere.
    fn keep_of_uid(&self, reach: Reach, uid: &str, wish: Wish) -> Option<Keep> {
        let keep = self.what_to_keep(Kind::Uid, uid, wish)?;
        let mut namespaces = reach.namespaces();
        namespaces
            .any(|namespace| self.streams.keeps_in(namespace, keep).is_some())
            .then_some(keep)
    }

    /// Keeps it in each namespace where it is to be, and delivers it.
    fn place_for_uid(
        &mut self,
        reach: Reach,
        uid: &str,
        payload: &Payload,
        keep: Option<Keep>,
    ) -> Delivered {
        let mut delivered = Delivered::default();
        let mut waits: SmallVec<[(NamespaceId, u64); 2]> = SmallVec::new();
        for namespace in reach.namespaces() {
            let keep = keep.and_then(|keep| self.streams.keeps_in(namespace, keep));
            if keep.is_none()
                && !self.shard.followers.any_behind()
                && !self.streams.is_readable(namespace)
            {
                let reach = Reach::of(namespace);
                delivered.reached += self.shard.send_to_uid(reach, uid, payload.message());
                continue;
            }
            let mark = match self.place_by(Address::uid(namespace, uid), payload, keep) {
                KeptPlace::At(mark) => mark,
                KeptPlace::Repeated(position) => {
                    delivered.position = delivered.position.or(Some(position));
                    continue;
                }
            };
            if let Some(mark) = mark.filter(|mark| mark.kept) {
                delivered.position = delivered.position.or(Some(mark.position));
            }
            let marked = Marked {
                kind: Kind::Uid,
                name: uid,
                mark,
                payload,
            };
            let (store, now) = (&mut self.streams.store, self.now);
            let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
            delivered.reached += self.shard.send_marked_to_uid(namespace, marked, &mut tops);
            if let Some(mark) = mark.filter(|mark| mark.queued) {
                waits.push((namespace, mark.position.offset));
            }
        }
        delivered.waits = delivered.reached == 0 && !waits.is_empty();
        if delivered.reached > 0 {
            for (namespace, offset) in waits {
                self.take_as_delivered(namespace, uid, offset);
            }
        }
        delivered
    }

    /// Gives a message its place in its stream.
    fn place(&mut self, address: Address<'_>, payload: &Payload, wish: Wish) -> KeptPlace {
        let keep = self.streams.what_to_keep(address, wish);
        self.place_by(address, payload, keep)
    }

    fn place_by(
        &mut self,
        address: Address<'_>,
        payload: &Payload,
        keep: Option<Keep>,
    ) -> KeptPlace {
        let now = self.now;
        let Some(keep) = keep else {
            let position = self.streams.store.top(now, address);
            let mark = Mark {
                position,
                kept: false,
                queued: false,
            };
            return KeptPlace::At((position.offset > 0).then_some(mark));
        };
        let store = &mut self.streams.store;
        let appended = store.ask(address, |store| {
            store.append(now, address, keep, None, payload)
        });
        // Who is there gets it even so; who is not is told of a gap.
        let Some(Appended { position, outcome }) = appended else {
            return KeptPlace::At(None);
        };
        #[cfg(all(test, not(loom)))]
        if outcome != Outcome::Repeated {
            let Address {
                namespace,
                kind,
                name,
            } = address;
            let noted = (namespace, kind, name.to_owned(), position, payload.clone());
            self.streams.journal.push(noted);
        }
        match outcome {
            Outcome::Kept | Outcome::TooLarge => KeptPlace::At(Some(Mark {
                position,
                kept: true,
                queued: keep.queue && outcome == Outcome::Kept,
            })),
            Outcome::Repeated => KeptPlace::Repeated(position),
        }
    }

    /// At a group's home: the message as its members in each namespace get it.
    pub(super) fn place_for_group(
        &mut self,
        to_group: &ToGroup,
        asked: ReplyTo,
    ) -> SmallVec<[Arc<ToGroup>; 1]> {
        let ToGroup {
            reach,
            refresh,
            wish,
            group,
            payload,
            except,
            ..
        } = to_group;
        let mut placed = SmallVec::new();
        for namespace in reach.namespaces() {
            let address = Address::group(namespace, group);
            if let KeptPlace::At(mark) = self.place(address, payload, *wish) {
                placed.push(Arc::new(ToGroup {
                    reach: Reach::of(namespace),
                    refresh: *refresh,
                    presence: false,
                    wish: *wish,
                    mark,
                    except: except.clone(),
                    group: group.clone(),
                    payload: payload.clone(),
                }));
            }
        }
        match placed.len() {
            0 => self.answer_part(asked, AnswerPart::Reached(0)),
            several => self.expect_more(asked, several - 1),
        }
        placed
    }

    /// Whether a message to everybody is sent out by the home of everybody's stream.
    #[inline]
    pub(super) fn goes_by_home_of_all(&self, wish: Wish) -> bool {
        self.what_to_keep(Kind::All, EVERYBODY, wish).is_some()
    }

    /// Has it sent out by that core: as a message to a group goes to the group's home, it does not wait for what has gone
    /// to others.
    pub(super) fn spread_by_home(
        &mut self,
        reach: Reach,
        payer: Option<ConnId>,
        message: ForAll,
        call: Option<u64>,
    ) {
        let home = self.outgoing.home(EVERYBODY);
        if home != self.core() || self.outgoing.goes_by_mail(payer) {
            let path = Path::from_slice(&[home]);
            return self.spread_along(path, reach, payer, message, call);
        }
        let spread = Spread {
            reach,
            message,
            asked: call.map(|call| (home, call)),
        };
        for (spread, mark) in self.place_for_all(spread) {
            self.spread_own(payer, spread, mark);
        }
    }

    /// At the home of everybody's stream: the message as everybody in each namespace gets it.
    pub(super) fn place_for_all(
        &mut self,
        spread: Spread,
    ) -> SmallVec<[(Spread, Option<Mark>); 1]> {
        let Spread {
            reach,
            message:
                ForAll {
                    payload,
                    wish,
                    except,
                },
            asked,
        } = spread;
        let mut placed = SmallVec::new();
        for namespace in reach.namespaces() {
            if let KeptPlace::At(mark) = self.place(Address::all(namespace), &payload, wish) {
                let spread = Spread {
                    reach: Reach::of(namespace),
                    message: ForAll {
                        payload: payload.clone(),
                        wish,
                        except: except.clone(),
                    },
                    asked,
                };
                placed.push((spread, mark));
            }
        }
        // Each core answers for each of them.
        let cores = self.outgoing.cores();
        match placed.len() {
            0 => (0..cores).for_each(|_| self.answer_part(asked, AnswerPart::Reached(0))),
            several => self.expect_more(asked, cores * (several - 1)),
        }
        placed
    }

    /// Sends to everybody from here, on a connection's account.
    fn spread_own(&mut self, payer: Option<ConnId>, spread: Spread, mark: Option<Mark>) {
        let receivers = self.shard.everybody.count(spread.reach);
        let bytes = spread.message.payload.message().len() + receivers * RECEIVER_COST;
        let payer = Some(payer.unwrap_or(ConnId::NOBODY));
        self.send_out(spread, mark, |local, core, asked, to_all| {
            let body = match asked {
                Some((_, call)) => push_everybody(call, to_all),
                None => Body::ToEverybody(to_all),
            };
            // Straight, for the order of the stream is that in which its messages leave here.
            local.outgoing.post_until(
                &mut local.shard.connections,
                core,
                payer,
                bytes,
                Until::Written,
                body,
            );
        });
    }

    /// Sends to everybody for another core.
    pub fn spread_for(&mut self, spread: Spread) {
        // By the rules of who has sent it here it is not kept: that the rules are others by now gives it no place.
        let is_home = self.outgoing.home(EVERYBODY) == self.core();
        if !is_home || self.is_plain(Kind::All, EVERYBODY, spread.message.wish) {
            return self.relay_to_all(spread, None);
        }
        for (spread, mark) in self.place_for_all(spread) {
            self.relay_to_all(spread, mark);
        }
    }

    /// Sends one to everybody that has its place.
    pub(super) fn spread_placed_to_all(&mut self, spread: Spread, mark: Option<Mark>) {
        self.spread_own(None, spread, mark);
    }

    fn relay_to_all(&mut self, spread: Spread, mark: Option<Mark>) {
        self.send_out(spread, mark, |local, core, asked, to_all| {
            let body = match asked {
                Some((origin, call)) => Body::Pass(Box::new(Passing {
                    origin,
                    path: Path::new(),
                    is_bulk: true,
                    body: push_everybody(call, to_all),
                })),
                None => Body::ToEverybody(to_all),
            };
            local.outgoing.relay(core, Until::Written, body);
        });
    }

    /// Sends to everybody: here, and by `post` to each other core.
    fn send_out(
        &mut self,
        spread: Spread,
        mark: Option<Mark>,
        mut post: impl FnMut(&mut Local, CoreId, ReplyTo, Arc<ToAll>),
    ) {
        let Spread {
            reach,
            message: ForAll {
                payload, except, ..
            },
            asked,
        } = spread;
        let to_all = Arc::new(ToAll {
            bulk: self.next_bulk(),
            reach,
            mark,
            except,
            payload,
        });
        for core in self.other_cores() {
            post(self, core, asked, Arc::clone(&to_all));
        }
        let reached = self.deliver_to_everybody(&to_all);
        self.answer_part(asked, part_of(reached, mark));
    }

    #[inline(never)]
    pub(super) fn deliver_marked_to_group(&mut self, to_group: &ToGroup) -> u32 {
        let (store, now) = (&mut self.streams.store, self.now);
        let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
        let marked = to_group.marked();
        let mut reached = 0;
        for namespace in to_group.reach.namespaces() {
            reached +=
                self.shard
                    .send_marked_to_group(namespace, marked, to_group.refresh, &mut tops);
        }
        reached
    }

    #[inline(never)]
    pub(super) fn deliver_marked_to_all(
        &mut self,
        reach: Reach,
        mark: Option<Mark>,
        payload: &Payload,
    ) -> u32 {
        let (store, now) = (&mut self.streams.store, self.now);
        let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
        let mut reached = 0;
        for namespace in reach.namespaces() {
            let marked = marked_for_all(mark, payload);
            reached += self
                .shard
                .send_marked_to_everybody(namespace, marked, &mut tops);
        }
        reached
    }
}

fn push_everybody(call: u64, to_all: Arc<ToAll>) -> Body {
    let what = Call::PushEverybody(to_all);
    Body::Call { call, what }
}

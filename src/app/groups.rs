//! Groups over all cores. Each has a home, by its name as a uid has: that one knows which cores have members, and is the
//! one place that orders its messages.
//!
//! A message goes to the home, which passes it on to the cores with members, its own directly. A core tells the home when
//! the first of its connections enters a group and when the last leaves it; whoever joins is answered when the home has
//! that. Bound: an entry a group at its home, with the cores that have members.

use std::sync::Arc;

use serde::Serialize;

use super::JoinError;
use super::abroad::excepted;
use super::bulk::{Exceptions, ReplyTo, ToGroup};
use super::effect::{Effect, JoinOutcome};
use super::envelope::{AnswerPart, Body, Call, Passing, part_of};
use super::homes::{CoreList, HomeDue, PresenceTold};
use super::kept_abroad::{KeptAbroad, ToKeep};
use super::local::Local;
use super::order::Path;
use super::outcome::Delivered;
use super::pending::Caller;
use super::presence::{MembersAsked, PresenceNews};
use crate::bus::{RECEIVER_COST, Until};
use crate::ident::{ConnId, CoreId, NamespaceId, Reach, Ticket};
use crate::payload::{Message, Payload};
use crate::protocol::cluster::{ExceptedNames, NodeOrder};
use crate::shard::{Interest, JoinRequest, Joining, Mark};
use crate::streams::{Kind, Wish};

/// Things that are due to members of groups, of which a round does so many.
const PRESENCE_PER_ROUND: usize = 256;
/// Most members of one page.
const MEMBERS_PER_PAGE_MAX: usize = 10_000;

/// What members are told, as all protocols with a word for it have it.
#[derive(Serialize)]
struct PresenceText<'n> {
    r#type: &'static str,
    group: &'n str,
    #[serde(flatten)]
    news: &'n PresenceNews,
}

fn presence_text(group: &str, news: &PresenceNews) -> String {
    let text = PresenceText {
        r#type: "presence",
        group,
        news,
    };
    // Of strings alone; it does not fail.
    serde_json::to_string(&text).unwrap_or_default()
}

impl Local {
    pub fn send_to_group(
        &mut self,
        mut reach: Reach,
        payer: Option<ConnId>,
        group: &str,
        message: Message<'_>,
        refresh: bool,
    ) {
        if self.has_engine() {
            let of = (Kind::Group, group);
            let Some(rest) = self.keep_some(reach, payer, of, (message, refresh)) else {
                return;
            };
            reach = rest;
            let order = NodeOrder::PushToGroup {
                group: Box::from(group),
                refresh,
                except: ExceptedNames::default(),
                payload: Payload::new(message),
            };
            self.send_abroad(payer, reach, order, None);
        }
        self.send_to_group_here(reach, payer, group, message, refresh);
    }

    /// To its members on this node.
    pub(super) fn send_to_group_here(
        &mut self,
        reach: Reach,
        payer: Option<ConnId>,
        group: &str,
        message: Message<'_>,
        refresh: bool,
    ) {
        if self.outgoing.cores() == 1 && self.is_plain(Kind::Group, group, Wish::AsRuled) {
            // Nobody crosses to another core.
            self.shard.send_to_group(reach, group, message, refresh);
            return;
        }
        let to_group = ToGroup {
            reach,
            refresh,
            presence: false,
            wish: Wish::AsRuled,
            mark: None,
            except: None,
            group: Box::from(group),
            payload: Payload::new(message),
        };
        self.send_home(payer, to_group, None);
    }

    /// Sends to a group for who wants to know how many it has reached.
    pub fn push_to_group(
        &mut self,
        reach: Reach,
        caller: Caller,
        group: &str,
        message: Message<'_>,
        (wish, except): (Wish, Exceptions),
    ) -> Ticket {
        let is_alone = self.outgoing.cores() == 1 && except.is_none() && !self.has_engine();
        if is_alone && self.is_plain(Kind::Group, group, wish) {
            let reached = self.shard.send_to_group(reach, group, message, false);
            return self.push_answered_at_once(caller, Delivered::to(reached));
        }
        let payer = caller.payer();
        let abroad = self.goes_abroad(&caller);
        let is_counted = !matches!(caller, Caller::Node(_));
        let kept = match abroad {
            true => self.kept_abroad(reach, Kind::Group, group, wish),
            false => None,
        };
        let rest = kept.as_ref().map_or(Some(reach), |kept| kept.rest);
        let parts = rest.map_or(0, |_| 1 + usize::from(abroad));
        let parts = parts + kept.as_ref().map_or(0, KeptAbroad::parts);
        let call = self.open(caller, parts, is_counted);
        if let Some(kept) = kept {
            let payload = Payload::new(message);
            let what = ToKeep {
                except: except.clone(),
                ..ToKeep::of(Kind::Group, group, &payload)
            };
            self.keep_abroad(payer, &kept, what, Some(call));
        }
        let Some(reach) = rest else {
            return Ticket(call);
        };
        if abroad {
            let order = NodeOrder::PushToGroup {
                group: Box::from(group),
                refresh: false,
                except: excepted(&except),
                payload: Payload::new(message),
            };
            self.send_abroad(payer, reach, order, Some(call));
        }
        let to_group = ToGroup {
            reach,
            refresh: false,
            presence: false,
            wish,
            mark: None,
            except,
            group: Box::from(group),
            payload: Payload::new(message),
        };
        self.send_home(payer, to_group, Some(call));
        Ticket(call)
    }

    fn send_home(&mut self, payer: Option<ConnId>, to_group: ToGroup, call: Option<u64>) {
        self.post_interests();
        let home = self.outgoing.home(&to_group.group);
        let asked = call.map(|call| (self.core(), call));
        let to_group = Arc::new(to_group);
        let payer = payer.unwrap_or(ConnId::NOBODY);
        if home == self.core() && !self.outgoing.goes_by_mail(Some(payer)) {
            return self.spread(payer, to_group, asked);
        }
        // There are about as many on each core as here: uids are spread evenly.
        let here = self.shard.count_group(to_group.reach, &to_group.group);
        let receivers = here * self.outgoing.cores();
        let bytes = to_group.group.len() + to_group.payload.message().len();
        let bytes = bytes + receivers * RECEIVER_COST;
        let body = Body::ToGroup { to_group, asked };
        self.outgoing.post_until(
            &mut self.shard.connections,
            home,
            Some(payer),
            bytes,
            Until::Relayed,
            body,
        );
        self.outgoing.went(Some(payer), home);
    }

    /// At the group's home: to its members here, and to every core that has some, on a connection's account.
    fn spread(&mut self, payer: ConnId, to_group: Arc<ToGroup>, asked: ReplyTo) {
        if self.is_plain(Kind::Group, &to_group.group, to_group.wish) {
            return self.spread_placed(payer, to_group, asked);
        }
        for to_group in self.place_for_group(&to_group, asked) {
            self.spread_placed(payer, to_group, asked);
        }
    }

    pub(super) fn spread_placed(&mut self, payer: ConnId, to_group: Arc<ToGroup>, asked: ReplyTo) {
        let cores = self.others_with_members(&to_group);
        self.expect_more(asked, cores.len());
        let bulk = self.next_bulk();
        let reached = self.deliver_to_members(bulk, &to_group);
        let bytes = to_group.group.len() + to_group.payload.message().len();
        for core in cores {
            let to_group = Arc::clone(&to_group);
            let body = Body::ToMembers {
                bulk,
                to_group,
                asked,
            };
            let bytes = bytes + reached as usize * RECEIVER_COST;
            // Straight, for the order of the group's messages is that in which they leave here.
            self.outgoing.post_until(
                &mut self.shard.connections,
                core,
                Some(payer),
                bytes,
                Until::Written,
                body,
            );
        }
        self.report_placed(asked, reached, to_group.mark);
    }

    /// At the group's home: a message of another core is sent on, on that core's account.
    pub fn pass_on(&mut self, to_group: Arc<ToGroup>, asked: ReplyTo) {
        if self.is_plain(Kind::Group, &to_group.group, to_group.wish) {
            return self.pass_on_placed(to_group, asked);
        }
        for to_group in self.place_for_group(&to_group, asked) {
            self.pass_on_placed(to_group, asked);
        }
    }

    fn pass_on_placed(&mut self, to_group: Arc<ToGroup>, asked: ReplyTo) {
        let cores = self.others_with_members(&to_group);
        self.expect_more(asked, cores.len());
        let bulk = self.next_bulk();
        for core in cores {
            let to_group = Arc::clone(&to_group);
            let body = Body::ToMembers {
                bulk,
                to_group,
                asked,
            };
            self.outgoing.relay(core, Until::Written, body);
        }
        let reached = self.deliver_to_members(bulk, &to_group);
        self.report_placed(asked, reached, to_group.mark);
    }

    fn others_with_members(&self, to_group: &ToGroup) -> CoreList {
        let own = self.core();
        let mut cores = self.homes.cores(to_group.reach, &to_group.group);
        cores.retain(|core| *core != own);
        cores
    }

    /// So many cores will tell the caller, besides this one. It hears of that before it hears of any of them: that is
    /// posted before they are.
    pub(super) fn expect_more(&mut self, asked: ReplyTo, cores: usize) {
        if cores > 0 {
            self.answer_part(asked, AnswerPart::More(cores as u32));
        }
    }

    /// The home has sent it: it tells where the message stands, too, if that is kept.
    pub(super) fn report_placed(&mut self, asked: ReplyTo, reached: u32, mark: Option<Mark>) {
        self.answer_part(asked, part_of(reached, mark));
    }

    pub fn report_reached(&mut self, asked: ReplyTo, reached: u32) {
        self.answer_part(asked, AnswerPart::Reached(reached));
    }

    pub(super) fn answer_part(&mut self, asked: ReplyTo, part: AnswerPart) {
        match asked {
            None => {}
            Some((core, call)) if core == self.core() => self.answered(call, part),
            Some((core, call)) => self.outgoing.post_free(core, Body::Answer { call, part }),
        }
    }

    /// Joins; the app is told when the group's home has it. Whether it may.
    pub fn join(&mut self, connection: ConnId, group: &str, called: Option<&str>) -> bool {
        let joining = self.shard.join(connection, group, called);
        self.post_interests();
        match joining {
            Joining::Stale | Joining::Later => {}
            Joining::Refused(error) => self.joined(connection, group, Err(error)),
            Joining::In { namespace, number } => {
                self.pay_for_join(connection, group);
                self.confirm(connection, namespace, group, number);
            }
        }
        !matches!(joining, Joining::Refused(_))
    }

    /// Has the app told when the home has it: at once if it has.
    fn confirm(&mut self, connection: ConnId, namespace: NamespaceId, group: &str, number: u64) {
        let home = self.outgoing.home(group);
        if home == self.core() || self.shard.groups.is_confirmed(namespace, group, number) {
            return self.joined(connection, group, Ok(()));
        }
        let body = Body::JoinedBack {
            connection,
            joined: Box::new((namespace, number, Box::from(group))),
        };
        let to = self.core();
        self.send_back(home, to, Some((connection, group.len())), body);
    }

    /// Has a core send this on when it has dealt with what it has been sent before, on a connection's account if it pays:
    /// whoever joins and leaves without end causes as many envelopes.
    pub(super) fn send_back(
        &mut self,
        by: CoreId,
        to: CoreId,
        payer: Option<(ConnId, usize)>,
        body: Body,
    ) {
        let mut path = Path::new();
        path.push(to);
        let passing = Box::new(Passing {
            origin: self.core(),
            path,
            is_bulk: false,
            body,
        });
        let (payer, bytes) = payer.unzip();
        let bytes = bytes.unwrap_or_default();
        self.outgoing.post_until(
            &mut self.shard.connections,
            by,
            payer,
            bytes,
            Until::Taken,
            Body::Pass(passing),
        );
    }

    /// The home has this group of ours. If the connection has left it meanwhile and joined anew, the home may not have that
    /// yet, and it is asked again.
    pub fn joined_back(&mut self, connection: ConnId, joined: (NamespaceId, u64, Box<str>)) {
        let (namespace, number, group) = joined;
        self.shard.groups.confirm(namespace, &group, number);
        match self.shard.group_of(connection, &group) {
            Some((namespace, now)) if now != number => {
                self.confirm(connection, namespace, &group, now)
            }
            _ => self.joined(connection, &group, Ok(())),
        }
    }

    pub(super) fn joined(
        &mut self,
        connection: ConnId,
        group: &str,
        result: Result<(), JoinError>,
    ) {
        let joined = JoinOutcome {
            group: Box::from(group),
            result,
        };
        self.effects.push(Effect::Joined {
            connection,
            joined: Box::new(joined),
        });
    }

    /// What the connection asked to join before it was home; it is there now.
    #[inline]
    pub(super) fn settle_joins(&mut self, connection: ConnId) {
        if self.shard.connections.has_groups(connection) {
            self.join_wishes(connection);
        }
    }

    fn join_wishes(&mut self, connection: ConnId) {
        for JoinRequest { group, called } in self.shard.connections.take_wishes(connection) {
            self.join(connection, &group, called.as_deref());
        }
    }

    /// Tells the homes which groups have members here now, before anything else is sent.
    #[inline]
    pub fn post_interests(&mut self) {
        if self.shard.groups.has_interests() {
            self.tell_homes();
        }
    }

    fn tell_homes(&mut self) {
        while let Some(interest) = self.shard.groups.next_interest() {
            let home = self.outgoing.home(&interest.group);
            if home == self.core() {
                self.note_interest(home, &interest);
            } else {
                self.outgoing
                    .post_free(home, Body::Interest(Box::new(interest)));
            }
        }
    }

    /// A core has the first member of a group that is at home here, or has none any more.
    pub fn note_interest(&mut self, core: CoreId, interest: &Interest) {
        if self.has_engine() {
            return self.note_interest_in_cluster(core, interest);
        }
        let now = self.now();
        self.homes
            .note(core, interest, &self.shard.groups.rules, now);
    }

    /// Tells members of groups that are at home here who has joined and left, as far as that is due; so much as one round
    /// may.
    #[inline]
    pub(super) fn tell_presence(&mut self) {
        if self.homes.next_due().is_some() {
            self.tell_due();
        }
    }

    fn tell_due(&mut self) {
        for _ in 0..PRESENCE_PER_ROUND {
            let now = self.now();
            let Some(due) = self.homes.advance(now, &self.shard.groups.rules) else {
                return;
            };
            let told = match due {
                HomeDue::Done => continue,
                HomeDue::Told(told) => told,
                HomeDue::Nodes(namespace, group, wake) => {
                    self.roster_due(namespace, &group, &wake);
                    continue;
                }
            };
            self.tell_members_here(&told);
        }
    }

    pub(super) fn tell_members_here(&mut self, told: &PresenceTold) {
        if self
            .shard
            .groups
            .rules
            .is_watched(told.namespace, &told.group)
        {
            // By the app itself, which is told of other nodes.
            return;
        }
        for news in &told.pieces {
            let text = presence_text(&told.group, news);
            let to_group = ToGroup {
                reach: Reach::of(told.namespace),
                refresh: false,
                presence: true,
                wish: Wish::Never,
                mark: None,
                except: None,
                group: told.group.clone(),
                payload: Payload::new(Message::Text(&text)),
            };
            self.spread_placed(ConnId::NOBODY, Arc::new(to_group), None);
        }
    }

    /// Asks who is in a group of this namespace whose members are told of each other.
    pub fn members(&mut self, caller: Caller, ask: MembersAsked) -> Ticket {
        let home = self.outgoing.home(&ask.group);
        let bytes = ask.group.len() + ask.after.len();
        self.post_interests();
        let payer = caller.payer();
        if home != self.core() || self.outgoing.goes_by_mail(payer) {
            return self.call_one(caller, bytes, home, Call::Members(Box::new(ask)));
        }
        let call = self.open(caller, 1, false);
        self.find_members_for((home, call), Box::new(ask));
        Ticket(call)
    }

    /// Answers a core's call for members; with a cluster, when the others have told theirs.
    pub(super) fn find_members_for(&mut self, asked_by: (CoreId, u64), ask: Box<MembersAsked>) {
        let ask = match self.has_engine() {
            true => match self.wait_for_nodes(asked_by, ask) {
                Some(ask) => ask,
                None => return,
            },
            false => ask,
        };
        let part = self.find_members(&ask);
        self.answer_part(Some(asked_by), part);
    }

    pub(super) fn find_members(&self, ask: &MembersAsked) -> AnswerPart {
        let place = (&*ask.after, ask.most.min(MEMBERS_PER_PAGE_MAX));
        let mut page = self.homes.members(ask.namespace, &ask.group, place);
        page.is_partial = self.has_engine()
            && self.is_told_of_members(ask.namespace, &ask.group)
            && !self.homes.is_whole(ask.namespace, &ask.group);
        AnswerPart::Members(Box::new(page))
    }
}

//! Asking: push, kick, online and stats, each answered exactly once on the core that asked.
//!
//! A call goes to the core that it concerns, or to all; [`Local::find`] does there what it asks. Bound:
//! what a call costs stays on its caller's credit until it is answered.

use std::sync::Arc;

use super::abroad::excepted;
use super::addressed::Addressed;
use super::bulk::{Exceptions, ForAll, ToAll};
use super::effect::Effect;
use super::envelope::{AnswerPart, Body, Call};
use super::kept_abroad::{KeptAbroad, ToKeep};
use super::local::Local;
use super::outcome::{Abroad, Answer, Delivered};
use super::pending::{AnsweredCall, Caller};
use super::query::QueryResult;
use crate::events::KickedBy;
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach, Ticket, check_uid};
use crate::payload::{Message, Payload};
use crate::protocol::cluster::NodeOrder;
use crate::shard::Farewell;
use crate::streams::{Kind, Wish};

/// What a last message takes on its way.
pub(super) fn farewell_bytes(last: Option<&Farewell>) -> usize {
    let message = last.and_then(|last| last.message.as_ref());
    message.map_or(0, |payload| payload.message().len())
}

impl Local {
    /// Opens a call to one core.
    pub(super) fn call_one(
        &mut self,
        caller: Caller,
        bytes: usize,
        home: CoreId,
        what: Call,
    ) -> Ticket {
        let is_push = matches!(what, Call::Push { .. });
        let payer = caller.payer();
        let call = self.open(caller, 1, is_push);
        self.call(call, home, payer, bytes, what);
        Ticket(call)
    }

    pub(super) fn open(&mut self, caller: Caller, parts: usize, is_push: bool) -> u64 {
        // For its answers, which ride on it.
        let cost = parts * crate::bus::ENVELOPE_COST;
        let payer = caller.payer();
        if let Some(payer) = payer {
            self.shard.connections.add_transit(payer, cost);
        }
        let payer = payer.map(|payer| (payer, cost));
        self.pending.open(caller, parts, payer, is_push)
    }

    pub(super) fn call(
        &mut self,
        call: u64,
        core: CoreId,
        payer: Option<ConnId>,
        bytes: usize,
        what: Call,
    ) {
        if core != self.core() || self.outgoing.goes_by_mail(payer) {
            self.outgoing.post(
                &mut self.shard.connections,
                core,
                payer,
                bytes,
                Body::Call { call, what },
            );
        } else {
            let part = self.find(what);
            self.answered(call, part);
        }
    }

    pub fn push(
        &mut self,
        reach: Reach,
        caller: Caller,
        uid: &str,
        message: Message<'_>,
        wish: Wish,
    ) -> Ticket {
        if uid == EVERYBODY {
            return self.push_to_everybody(reach, caller, message, (wish, None));
        }
        if check_uid(uid).is_err() {
            return self.push_answered_at_once(caller, Delivered::default());
        }
        if self.has_engine() {
            return self.push_in_cluster(reach, caller, uid, message, wish);
        }
        let home = self.outgoing.home(uid);
        if home == self.core() && !self.outgoing.goes_by_mail(caller.payer()) {
            // At home already: no copy.
            let delivered = self.push_to_own_uid(reach, uid, message, wish);
            self.tap_push_to_uid(reach, uid, message, &delivered);
            return self.push_answered_at_once(caller, delivered);
        }
        let addressed = Addressed::new(uid, message, wish);
        let bytes = uid.len() + message.len();
        let call = Call::Push { reach, addressed };
        self.call_one(caller, bytes, home, call)
    }

    /// Pushes to everybody within reach but these.
    pub fn push_to_everybody(
        &mut self,
        reach: Reach,
        caller: Caller,
        message: Message<'_>,
        (wish, except): (Wish, Exceptions),
    ) -> Ticket {
        let payload = Payload::new(message);
        let payer = caller.payer();
        let abroad = self.goes_abroad(&caller);
        let is_counted = !matches!(caller, Caller::Node(_));
        let caller = self.tapped(reach, caller, message);
        let kept = match abroad {
            true => self.kept_abroad(reach, Kind::All, EVERYBODY, wish),
            false => None,
        };
        let rest = kept.as_ref().map_or(Some(reach), |kept| kept.rest);
        let parts = rest.map_or(0, |_| self.outgoing.cores() + usize::from(abroad));
        let parts = parts + kept.as_ref().map_or(0, KeptAbroad::parts);
        let call = self.open(caller, parts, is_counted);
        if let Some(kept) = kept {
            let what = ToKeep {
                except: except.clone(),
                ..ToKeep::of(Kind::All, EVERYBODY, &payload)
            };
            self.keep_abroad(payer, &kept, what, Some(call));
        }
        let Some(reach) = rest else {
            return Ticket(call);
        };
        if abroad {
            let order = NodeOrder::PushToAll {
                except: excepted(&except),
                payload: payload.clone(),
            };
            self.send_abroad(payer, reach, order, Some(call));
        }
        if self.goes_by_home_of_all(wish) {
            let for_all = ForAll {
                payload,
                wish,
                except,
            };
            self.spread_by_home(reach, payer, for_all, Some(call));
            return Ticket(call);
        }
        let path = self.outgoing.path_of(payer);
        if !path.is_empty() {
            let for_all = ForAll {
                payload,
                wish,
                except,
            };
            self.spread_along(path, reach, payer, for_all, Some(call));
            return Ticket(call);
        }
        let receivers = self.shard.everybody.count(reach);
        let to_all = Arc::new(ToAll {
            bulk: self.next_bulk(),
            reach,
            mark: None,
            except,
            payload,
        });
        let by_mail = self.outgoing.goes_by_mail(payer).then(|| self.core());
        for core in self.other_cores().chain(by_mail) {
            let what = Call::PushEverybody(Arc::clone(&to_all));
            let connections = &mut self.shard.connections;
            let body = Body::Call { call, what };
            self.outgoing
                .post_bulk(connections, core, payer, message.len(), receivers, body);
        }
        if by_mail.is_some() {
            self.crossings.mailed_here(self.outgoing.bus());
        } else {
            let part = self.find(Call::PushEverybody(to_all));
            self.answered(call, part);
        }
        Ticket(call)
    }

    pub fn kick(
        &mut self,
        reach: Reach,
        caller: Caller,
        uid: &str,
        last: Option<Box<Farewell>>,
    ) -> Ticket {
        if check_uid(uid).is_err() {
            return self.answer_at_once(caller, 0);
        }
        if self.has_engine() {
            return self.kick_in_cluster(reach, caller, uid, last);
        }
        let uid = Box::from(uid);
        let home = self.outgoing.home(&uid);
        let by = self.named(&caller);
        let bytes = uid.len() + farewell_bytes(last.as_deref());
        let call = Call::Kick {
            reach,
            uid,
            by,
            last,
        };
        self.call_one(caller, bytes, home, call)
    }

    /// Who asks, as those outside are told.
    pub(super) fn named(&self, caller: &Caller) -> KickedBy {
        match caller {
            Caller::Task(_)
            | Caller::Push(_)
            | Caller::Query(_)
            | Caller::Client(_)
            | Caller::Sender(_)
            | Caller::Node(_)
            | Caller::Bind(_)
            | Caller::Roster(_)
            | Caller::Event(_)
            | Caller::Tapped(_) => KickedBy::Http,
            Caller::App { connection, .. } => connection
                .and_then(|connection| self.shard.connections.shown_listener(connection))
                .map_or(KickedBy::App, KickedBy::Listener),
        }
    }

    pub fn online(&mut self, reach: Reach, caller: Caller, uid: &str) -> Ticket {
        if check_uid(uid).is_err() {
            return self.answer_at_once(caller, 0);
        }
        let uid: Box<str> = Box::from(uid);
        let home = self.outgoing.home(&uid);
        let bytes = uid.len();
        if self.has_engine() {
            let order = NodeOrder::Online { uid: uid.clone() };
            let what = Call::Online { reach, uid };
            return self.call_in_cluster(reach, caller, (bytes, false), (home, what), order);
        }
        self.call_one(caller, bytes, home, Call::Online { reach, uid })
    }

    pub fn stats(&mut self, caller: Caller) -> Ticket {
        let payer = caller.payer();
        let call = self.open(caller, self.outgoing.cores(), false);
        for core in self.other_cores() {
            self.call(call, core, payer, 0, Call::Stats);
        }
        self.call(call, self.core(), payer, 0, Call::Stats);
        Ticket(call)
    }

    /// A call whose answer is known: of a uid that is at home, or of what is no uid, which reaches
    /// nobody. It is never open and costs its caller nothing.
    pub(super) fn answer_at_once(&mut self, caller: Caller, reached: u32) -> Ticket {
        let call = self.pending.number();
        self.tell_caller(call, caller, Answer::Reached(reached));
        Ticket(call)
    }

    pub(super) fn push_answered_at_once(&mut self, caller: Caller, delivered: Delivered) -> Ticket {
        self.count_push(&delivered);
        match caller {
            Caller::Push(promise) => {
                promise.fulfil(delivered);
                Ticket(self.pending.number())
            }
            caller => self.answer_at_once(caller, delivered.told()),
        }
    }

    #[inline]
    fn count_push(&mut self, delivered: &Delivered) {
        let unknown = delivered.unknown.is_some();
        self.shard
            .count_push(delivered.reached, delivered.is_kept(), unknown);
    }

    /// Does what a call asks, on the core that it concerns.
    pub fn find(&mut self, what: Call) -> AnswerPart {
        match what {
            Call::Push { reach, addressed } => {
                let (uid, message) = (addressed.uid(), addressed.message());
                let delivered = self.push_to_own_uid(reach, uid, message, addressed.wish());
                self.tap_push_to_uid(reach, uid, message, &delivered);
                delivered.into()
            }
            Call::PushEverybody(to_all) => AnswerPart::Reached(self.deliver_to_everybody(&to_all)),
            Call::Kick {
                reach,
                uid,
                by,
                last,
            } => AnswerPart::Reached(self.shard.kick(reach, &uid, by, last.as_deref())),
            Call::Online { reach, uid } => AnswerPart::Reached(self.shard.online(reach, &uid)),
            Call::Members(ask) => self.find_members(&ask),
            Call::Stats => AnswerPart::Stats(Box::new(self.own_stats())),
        }
    }

    /// A part of an answer has come; the last one goes to who asked.
    pub fn answered(&mut self, call: u64, part: AnswerPart) {
        let Some(answered) = self.pending.part(call, part) else {
            return;
        };
        if let Some((payer, bytes)) = answered.payer {
            self.outgoing.note_returned();
            self.shard.connections.sub_transit(payer, bytes);
        }
        if answered.is_push {
            self.count_pushes(&answered);
        }
        let caller = match answered.caller {
            Caller::Tapped(tapped) => self.show_answered(*tapped, &answered.delivered),
            caller => caller,
        };
        match caller {
            Caller::Node(number) => {
                self.answer_for_node(number, &answered.delivered, answered.found);
            }
            Caller::Sender(sender) => self.tell_sender(*sender, &answered.delivered),
            Caller::Bind(asked) => self.bind_asked(asked, &answered.found),
            Caller::Event(asked) => self.event_asked(&asked, &answered.found),
            Caller::Push(promise) => promise.fulfil(answered.delivered),
            Caller::Roster(of) => self.roster_asked(call, &of, answered.delivered.unknown),
            Caller::Query(promise) => promise.fulfil(answered.found),
            Caller::Client(asked) => match answered.found.into_iter().next() {
                Some(found) => self.tell_found(*asked, found),
                None => self.tell_members(*asked, answered.answer),
            },
            caller => self.tell_caller(call, caller, answered.answer),
        }
    }

    /// By verdict: one to a group is one, and one to several uids as many as these are.
    fn count_pushes(&mut self, answered: &AnsweredCall) {
        let mut of_all = None;
        if let Answer::Reached(_) | Answer::Unknown(_) = answered.answer
            && !matches!(answered.caller, Caller::Query(_))
        {
            of_all = Some(answered.delivered);
        }
        for result in &answered.found {
            match result {
                QueryResult::DeliveredEach(each) => {
                    each.iter().for_each(|delivered| self.count_push(delivered));
                }
                QueryResult::ReachedEach(each) => {
                    for reached in each {
                        self.count_push(&Delivered::to(*reached));
                    }
                }
                QueryResult::Reached(reached) => {
                    of_all.get_or_insert_default().reached += reached;
                }
                _ => {}
            }
        }
        if let Some(delivered) = of_all {
            self.count_push(&delivered);
        }
    }

    fn tell_caller(&mut self, call: u64, caller: Caller, answer: Answer) {
        match caller {
            Caller::App {
                number, connection, ..
            } => self.effects.push(Effect::Answer {
                app: number,
                asked_by: connection,
                ticket: Ticket(call),
                answer,
            }),
            Caller::Task(promise) => promise.fulfil(answer),
            Caller::Push(promise) => promise.fulfil(match answer {
                Answer::Reached(reached) => Delivered::to(reached),
                _ => Delivered::default(),
            }),
            // Its call is opened for what is found, and never answered at once.
            Caller::Query(promise) => promise.fulfil(Vec::new()),
            Caller::Client(asked) => self.tell_members(*asked, answer),
            Caller::Bind(asked) => self.bind_asked(asked, &[]),
            Caller::Event(asked) => self.event_asked(&asked, &[]),
            Caller::Sender(sender) => {
                let reached = u32::from(answer.is_ok());
                self.tell_sender(*sender, &Delivered::to(reached));
            }
            Caller::Node(number) => {
                let reached = match answer {
                    Answer::Reached(reached) => reached,
                    _ => 0,
                };
                self.answer_node(number, Abroad::to(reached));
            }
            // It is never answered at once.
            Caller::Roster(_) => {}
            // Its push is open until it is answered, and shown then.
            Caller::Tapped(tapped) => self.tell_caller(call, tapped.caller, answer),
        }
    }
}

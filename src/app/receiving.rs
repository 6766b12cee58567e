//! What a core does with the envelopes of its mailbox, each by its kind.

use super::envelope::{Body, Call, Handled, Passing};
use super::host::Host;
use crate::bus::{Envelope, Until};
use crate::ident::{ConnId, CoreId};

impl Host {
    /// The next envelope of this core's mailbox.
    pub fn take(&mut self) -> Option<Envelope<Body>> {
        self.local.outgoing.bus_mut().take()
    }

    /// Delivers what an envelope holds.
    pub fn receive(&mut self, envelope: Envelope<Body>) -> Handled {
        self.local.shard.work.called();
        self.receive_from(envelope.from, envelope.body)
    }

    fn receive_from(&mut self, from: CoreId, body: Body) -> Handled {
        match body {
            Body::Pass(passing) => return self.pass(*passing),
            Body::Transfer(moving) => return self.received(from, moving),
            Body::Drain(stage) => return Handled::Drain(stage),
            Body::Upgrade(step) => return Handled::Upgrade(step),
            Body::Renew => return Handled::Renew,
            Body::RollCall => return Handled::Done,
            Body::Call {
                call,
                what: Call::Members(ask),
            } => self.local.find_members_for((from, call), ask),
            Body::Call { call, what } => {
                let part = self.local.find(what);
                self.local
                    .outgoing
                    .post_free(from, Body::Answer { call, part });
            }
            Body::Query { call, what } => self.local.run_query(from, call, *what),
            Body::Answer { call, part } => self.local.answered(call, part),
            Body::Offline { connection, uid } => self.local.tell_offline(connection, &uid),
            Body::Note { app, note } => {
                self.apps[usize::from(app)].note(&mut self.local, from, note);
            }
            Body::ToUid {
                reach,
                addressed,
                tell,
            } => {
                let uid = addressed.uid();
                let message = addressed.message();
                let reached = self.local.send_to_own_uid(reach, uid, message);
                if reached == 0 && tell != ConnId::NOBODY {
                    self.local.answer_offline(from, tell, uid);
                }
            }
            Body::ToConnection(to) => self.local.take_for_connection(*to),
            Body::FromEngine(order) => self.local.do_for_node(*order),
            Body::StreamNews(news) => self.local.take_stream_news(*news),
            Body::EndHeld(held) => self.local.end_held(*held),
            Body::RosterNews(news) => self.local.take_roster_news(*news),
            Body::Sticky(news) => self.local.take_sticky_news(*news),
            Body::SeeAll(seen) => self.local.shard.followers.see_all_at(seen.0, seen.1),
            Body::PutBack(put_back) => self.local.put_back_here(&put_back.0, put_back.1),
            // It is for the engine alone.
            Body::ToEngine(_) => {}
            Body::Name(step) => self.local.take_name_step(from, step.0, &step.1),
            Body::ToEverybody(to_all) => {
                self.local.deliver_to_everybody(&to_all);
            }
            Body::Announce { number, groups } => self.local.expect(from, number, groups),
            Body::Fence { to, number } => self.local.fence(to, number),
            Body::Fenced { number, sent } => self.local.fenced(from, number, sent),
            Body::Withdrawn { number } => self.local.expect_no_more(from, number),
            Body::Unfilled { connection } => self.local.forget_replies(connection),
            Body::Fill { reply, payload } => self.local.fill_for(from, reply, payload.message()),
            Body::Follow(step) => self.local.follow(from, *step),
            Body::Spread(spread) => self.local.spread_for(*spread),
            Body::ToGroup { to_group, asked } => self.local.pass_on(to_group, asked),
            Body::ToMembers {
                bulk,
                to_group,
                asked,
            } => {
                let reached = self.local.deliver_to_members(bulk, &to_group);
                self.local.report_reached(asked, reached);
            }
            Body::Interest(interest) => self.local.note_interest(from, &interest),
            Body::JoinedBack { connection, joined } => self.local.joined_back(connection, *joined),
        }
        self.settle();
        Handled::Done
    }

    /// What goes by this core: to the next, or it is here.
    fn pass(&mut self, mut passing: Passing) -> Handled {
        if passing.path.is_empty() {
            return self.receive_from(passing.origin, passing.body);
        }
        let next = passing.path.remove(0);
        let until = match (passing.path.is_empty(), passing.is_bulk) {
            (true, true) => Until::Written,
            (true, false) => Until::Taken,
            // These are passed in the order of their numbers, so that no two wait for each other.
            (false, _) => Until::Relayed,
        };
        self.local
            .outgoing
            .relay(next, until, Body::Pass(Box::new(passing)));
        Handled::Done
    }
}

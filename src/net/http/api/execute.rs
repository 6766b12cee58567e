//! Carries commands out: one of a request, or all of a batch in their order.
//!
//! They go to their cores without waiting for each other's answers, and many of them by one turn, at a request's
//! [`RequestPace`]. Bound: [`WEIGHT_MAX`] of what is under way.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::errors::{ApiError, CommandResult};
use super::idempotency::Claimed;
use super::outcomes::{Pending, outcome};
use super::pacing::{PaceMark, RequestPace};
use super::requests::{
    ApiCommand, KickCommand, KickTarget, MembershipCommand, PushCommand, PushTarget,
};
use super::service::Api;
use crate::app::idempotency::Digest;
use crate::app::outcome::Delivered;
use crate::app::promise::Promise;
use crate::app::query::{MembershipChange, Query};
use crate::ident::{CoreId, EVERYBODY, Reach};
use crate::payload::{Message, Payload};
use crate::shard::{PushedTo, Shown, TapPush};
use crate::streams::Kind;

/// Uids of one push that go to their cores together.
const UIDS_PER_PART: usize = 512;
/// What may be under way, a push to one uid weighing 1.
const WEIGHT_MAX: usize = 2_048;
/// What a message to a group or to everybody weighs: it goes to as many as there are.
const WEIGHT_OF_MANY: usize = 256;

/// What waits, in the order of a batch: the place in it, the command, and for what.
type UnderWay<'c, 'r> = VecDeque<(usize, &'c ApiCommand<'r>, Pending)>;

impl Api {
    /// Does one thing, and says what has come of it.
    pub(super) async fn execute(&self, command: Result<ApiCommand<'_>, ApiError>) -> CommandResult {
        let mut outcomes = self.execute_all(vec![command]).await;
        outcomes.swap_remove(0)
    }

    /// Does all of them, in their order; there are as many outcomes. A command whose id is under way by another
    /// request is answered when that is, after the others have been done.
    pub(super) async fn execute_all(
        &self,
        mut commands: Vec<Result<ApiCommand<'_>, ApiError>>,
    ) -> Vec<CommandResult> {
        let mut pace = RequestPace::new(self);
        self.refuse_large(&mut commands);
        let mut due = self.claim(&commands, &mut pace).await;
        let mut outcomes: Vec<Option<CommandResult>> = due.iter().map(|_| None).collect();
        let mut under_way = UnderWay::new();
        let mut weight = 0;
        for (nth, command) in commands.iter().enumerate() {
            let command = match (command, &mut due[nth]) {
                (Ok(command), Claimed::Now(_)) => command,
                (Ok(_), Claimed::Known(outcome)) => {
                    outcomes[nth] = outcome.take();
                    continue;
                }
                (Ok(_), Claimed::Later(_)) => continue,
                (Err(error), _) => {
                    outcomes[nth] = Some(Err(error.clone()));
                    continue;
                }
            };
            let own = weight_of(command);
            while (weight + own > WEIGHT_MAX || waits_for_join(command, &under_way))
                && let Some((nth, command, pending)) = under_way.pop_front()
            {
                weight -= weight_of(command);
                outcomes[nth] = Some(self.end(command, pending, &mut due[nth]).await);
            }
            weight += own;
            let pending = self.begin(command, carried(&due[nth]), &mut pace).await;
            under_way.push_back((nth, command, pending));
        }
        for (nth, command, pending) in under_way {
            outcomes[nth] = Some(self.end(command, pending, &mut due[nth]).await);
        }
        // Who asks for more once he has the answer is slowed by that.
        pace.catch_up().await;
        for (nth, command) in commands.iter().enumerate() {
            if let (Claimed::Later(_), Ok(command)) = (&due[nth], command) {
                outcomes[nth] = Some(self.await_other(command, &mut due[nth], &mut pace).await);
            }
        }
        let lost = || Err(ApiError::new(500, "internal", "this has no outcome"));
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(lost))
            .collect()
    }

    /// Of one that another request had begun: its answer, or, if that gave up, our own.
    async fn await_other<'p>(
        &'p self,
        command: &ApiCommand<'_>,
        due: &mut Claimed<'p>,
        pace: &mut RequestPace<'_>,
    ) -> CommandResult {
        self.wait_for(due).await;
        if let Claimed::Known(outcome) = due
            && let Some(outcome) = outcome.take()
        {
            return outcome;
        }
        let pending = self.begin(command, carried(due), pace).await;
        self.end(command, pending, due).await
    }

    /// What no outbox can hold would close all those it is for.
    fn refuse_large(&self, commands: &mut [Result<ApiCommand<'_>, ApiError>]) {
        let mut host = self.host.borrow_mut();
        let most = host.shard().connections.message_bytes_max(self.reach);
        for command in commands {
            if let Ok(ApiCommand::Push(push)) = command
                && (push.message.len() > most
                    || !host
                        .shard()
                        .connections
                        .has_room_for(self.reach, Message::Text(&push.message)))
            {
                let words = format!(
                    "a message has at most {most} bytes (outbox_bytes_max), each line counting 6 more where \
                     clients listen by events"
                );
                *command = Err(ApiError::new(413, "message_too_large", words));
            }
        }
    }

    /// Queues a command where it is to be done.
    async fn begin(
        &self,
        command: &ApiCommand<'_>,
        carried: Option<Digest>,
        pace: &mut RequestPace<'_>,
    ) -> Pending {
        let reach = self.reach;
        if let ApiCommand::Push(push) = command
            && let PushTarget::Uids(uids) = &push.target
        {
            if self.is_in_cluster() {
                return self.begin_each(push, uids, carried, pace).await;
            }
            return self.begin_many(push, uids, pace).await;
        }
        if let ApiCommand::Push(push) = command
            && let PushTarget::Uid(uid) = &push.target
            && uid != EVERYBODY
            && !self.is_in_cluster()
            && self.host.borrow_mut().tasks().may_keep(push.wish)
        {
            return self.begin_many(push, std::slice::from_ref(uid), pace).await;
        }
        if let ApiCommand::Join(member) | ApiCommand::Leave(member) = command
            && self.keeps_stickies(member)
        {
            let joins = matches!(command, ApiCommand::Join(_));
            return self.change_sticky(member, joins, pace).await;
        }
        let mark = PaceMark::new(&mut self.host.borrow_mut());
        let pending = {
            let mut host = self.host.borrow_mut();
            let mut tasks = host.tasks_of(pace.speaker);
            tasks.carry(carried);
            match command {
                ApiCommand::Push(push) => match &push.target {
                    PushTarget::Uid(uid) => {
                        let message = Message::Text(&push.message);
                        match uid == EVERYBODY {
                            true => Pending::Delivered(tasks.broadcast(
                                reach,
                                message,
                                (push.wish, push.except.clone()),
                            )),
                            false => Pending::Delivered(tasks.push(reach, uid, message, push.wish)),
                        }
                    }
                    PushTarget::Connection(name, _) => {
                        let message = Message::Text(&push.message);
                        Pending::Delivered(tasks.push_to_connection(reach, *name, message))
                    }
                    PushTarget::Everybody => {
                        let message = Message::Text(&push.message);
                        Pending::Delivered(tasks.broadcast(
                            reach,
                            message,
                            (push.wish, push.except.clone()),
                        ))
                    }
                    PushTarget::Group(group) => {
                        let message = Message::Text(&push.message);
                        Pending::Delivered(tasks.push_to_group(
                            reach,
                            group,
                            message,
                            (push.wish, push.except.clone()),
                        ))
                    }
                    // These have begun.
                    PushTarget::Uids(_) => Pending::Each(Vec::new()),
                },
                ApiCommand::Kick(KickCommand { target, last }) => match target {
                    KickTarget::Connection(name) => {
                        Pending::Reached(tasks.kick_connection(reach, *name, last.clone()))
                    }
                    KickTarget::Uid(uid, forgets) => {
                        let kicked = tasks.kick(reach, uid, last.clone());
                        if *forgets {
                            let (home, kind, name) =
                                (tasks.home(uid), Kind::Uid, Box::from(&**uid));
                            let forget = Query::ForgetHistory { reach, kind, name };
                            Pending::Kicked(kicked, tasks.query(home, forget))
                        } else {
                            Pending::Reached(kicked)
                        }
                    }
                },
                ApiCommand::Join(member) => {
                    Pending::Found(tasks.change_membership(member.change(reach), true))
                }
                ApiCommand::Leave(member) => {
                    Pending::Found(tasks.change_membership(member.change(reach), false))
                }
            }
        };
        pace.spend(mark, 1).await;
        pending
    }

    /// To many uids: what is at home on one core goes there together, the message with it once.
    async fn begin_many(
        &self,
        push: &PushCommand<'_>,
        uids: &[Cow<'_, str>],
        pace: &mut RequestPace<'_>,
    ) -> Pending {
        let payload = Payload::new(Message::Text(&push.message));
        let mut parts = Vec::new();
        for first in (0..uids.len()).step_by(UIDS_PER_PART) {
            let last = uids.len().min(first + UIDS_PER_PART);
            let mark = PaceMark::new(&mut self.host.borrow_mut());
            {
                let mut host = self.host.borrow_mut();
                let mut tasks = host.tasks_of(pace.speaker);
                let mut homes: Vec<(CoreId, usize)> = (first..last)
                    .map(|place| (tasks.home(&uids[place]), place))
                    .collect();
                homes.sort_unstable();
                for of_core in homes.chunk_by(|one, next| one.0 == next.0) {
                    let places: Vec<usize> = of_core.iter().map(|(_, place)| *place).collect();
                    let names = places.iter().map(|place| Box::from(&*uids[*place]));
                    let what = Query::PushToUids {
                        reach: self.reach,
                        uids: names.collect(),
                        payload: payload.clone(),
                        wish: push.wish,
                    };
                    parts.push((places, tasks.query(of_core[0].0, what)));
                }
            }
            pace.spend(mark, last - first).await;
        }
        Pending::Each(parts)
    }

    /// To many uids, wherever in the cluster each is: one after another.
    async fn begin_each(
        &self,
        push: &PushCommand<'_>,
        uids: &[Cow<'_, str>],
        carried: Option<Digest>,
        pace: &mut RequestPace<'_>,
    ) -> Pending {
        let mut each = Vec::with_capacity(uids.len());
        for some in uids.chunks(UIDS_PER_PART) {
            let mark = PaceMark::new(&mut self.host.borrow_mut());
            {
                let mut host = self.host.borrow_mut();
                let mut tasks = host.tasks_of(pace.speaker);
                tasks.carry(carried);
                let message = Message::Text(&push.message);
                each.extend(
                    some.iter()
                        .map(|uid| tasks.push(self.reach, uid, message, push.wish)),
                );
            }
            pace.spend(mark, some.len()).await;
        }
        Pending::DeliveredEach(each)
    }

    /// Waits for what has come of a command, and keeps that for whoever asks again.
    async fn end(
        &self,
        command: &ApiCommand<'_>,
        pending: Pending,
        due: &mut Claimed<'_>,
    ) -> CommandResult {
        let pending = match pending {
            Pending::Delivered(promise) if self.host.borrow_mut().tasks().is_tapped() => {
                self.tap(command, promise.await)
            }
            pending => pending,
        };
        let mut outcome = outcome(command, pending).await;
        match (&mut outcome, due) {
            (Ok(answer), Claimed::Now(Some(held))) => held.settle(answer),
            // Given up now: one further down with the same id may wait for it.
            (Err(_), Claimed::Now(held)) => *held = None,
            _ => {}
        }
        outcome
    }
}

impl Api {
    /// Shows what has come of a push to those who look, but for one to a uid, which its home shows.
    fn tap(&self, command: &ApiCommand<'_>, delivered: Delivered) -> Pending {
        if let ApiCommand::Push(push) = command {
            let to = match &push.target {
                PushTarget::Uid(uid) if uid == EVERYBODY => Some(PushedTo::Everybody),
                PushTarget::Everybody => Some(PushedTo::Everybody),
                PushTarget::Connection(name, _) => Some(PushedTo::Connection(*name)),
                PushTarget::Group(group) => Some(PushedTo::Group(Box::from(&**group))),
                PushTarget::Uid(_) | PushTarget::Uids(_) => None,
            };
            if let Some(to) = to {
                let push = TapPush {
                    to,
                    reached: delivered.reached,
                    kept: delivered.position.is_some(),
                    shown: Shown::new(push.message.as_bytes(), true),
                };
                let mut host = self.host.borrow_mut();
                host.tasks().tap_push(self.reach, push);
            }
        }
        let known = Promise::default();
        known.fulfil(delivered);
        Pending::Delivered(known)
    }
}

impl MembershipCommand<'_> {
    /// As the uid's home is asked for it.
    pub(super) fn change(&self, reach: Reach) -> Box<MembershipChange> {
        Box::new(MembershipChange {
            reach,
            uid: Box::from(&*self.uid),
            group: Box::from(&*self.group),
            sticky: self.sticky,
        })
    }
}

/// The id by which what a command does is kept once.
fn carried(due: &Claimed<'_>) -> Option<Digest> {
    match due {
        Claimed::Now(held) => held.as_ref()?.carried(),
        _ => None,
    }
}

/// Whether a message is for a group that somebody is still on the way into: the join is known to the uid's home and the
/// group's, the message to the group's alone, so it could come first.
fn waits_for_join(command: &ApiCommand<'_>, under_way: &UnderWay<'_, '_>) -> bool {
    let ApiCommand::Push(push) = command else {
        return false;
    };
    let PushTarget::Group(group) = &push.target else {
        return false;
    };
    let mut before = under_way.iter();
    before.any(|(_, command, _)| matches!(command, ApiCommand::Join(of) if of.group == *group))
}

fn weight_of(command: &ApiCommand<'_>) -> usize {
    match command {
        ApiCommand::Push(push) => match &push.target {
            PushTarget::Uid(uid) if uid == EVERYBODY => WEIGHT_OF_MANY,
            PushTarget::Uid(_) | PushTarget::Connection(..) => 1,
            PushTarget::Uids(uids) => uids.len().clamp(1, WEIGHT_MAX),
            PushTarget::Group(_) | PushTarget::Everybody => WEIGHT_OF_MANY,
        },
        ApiCommand::Kick(..) | ApiCommand::Join(..) | ApiCommand::Leave(..) => 1,
    }
}

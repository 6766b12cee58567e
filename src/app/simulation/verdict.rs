//! Who must have got what, from the model's lists alone, and whether it is so.

use std::collections::{HashMap, HashSet};

use super::Tally;
use super::claims::{check_claims, check_claims_of_follower};
use super::client::Seen;
use super::model::{Closed, Model, Sender, Sent, Stamp, Target, Tenure, Track};
use super::questions::{check_policy, check_questions};
use super::world::World;
use crate::close::CloseReason;
use crate::config::UidPolicy;
use crate::ident::{EVERYBODY, NamespaceId, Reach};
use crate::protocol::Codec;

/// Whether a message is one client's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It was there from before the sending until after the delivery.
    Must,
    /// It came or went in between.
    May,
    No,
}

impl Track {
    pub fn new(namespace: NamespaceId, codec: Codec, now: std::time::Instant) -> Track {
        Track {
            namespace,
            codec,
            opened: None,
            home: None,
            cores: Vec::new(),
            uids: Vec::new(),
            without: None,
            uid: None,
            asked_to_bind: false,
            refused: false,
            asked_to_close: false,
            closed: None,
            stays: Vec::new(),
            asked: Vec::new(),
            joins: Default::default(),
            answered_joins: Default::default(),
            executed: 0,
            reserved: 0,
            offline: Default::default(),
            lossy: false,
            heard: now,
            name: None,
            follows: Vec::new(),
        }
    }

    /// Whether it has moved since its name was told.
    fn has_moved_named(&self) -> bool {
        let told = self.name.map(|name| name.core.0);
        self.cores.iter().any(|core| Some(*core) != told)
    }

    /// Whether it holds positions.
    pub fn follows_streams(&self) -> bool {
        self.codec.tells_positions()
    }

    /// From when to when it was surely, and at most, where messages for all reach it.
    pub fn at_home(&self) -> Option<(Stamp, Closed)> {
        let (from, _) = self.home?;
        Some((from, self.closed.expect("all are closed at the end")))
    }
}

impl Sent {
    /// The name whose home gives it its place, if one does.
    fn home(&self) -> Option<&str> {
        match &self.target {
            Target::Group(group) => Some(group),
            Target::Everybody if self.by_home => Some(EVERYBODY),
            _ => None,
        }
    }
}

impl Model {
    /// The last moment at which the message can have been delivered on a core.
    pub fn delivered(&self, sent: &Sent, core: u16) -> Stamp {
        // Behind what has been passed on to its own core, it goes by that one's mailbox, too.
        let mut on = match sent.by_mail {
            true => u16::MAX,
            false => sent.core,
        };
        let mut at = sent.at;
        for next in sent.path.iter().copied().chain([core]) {
            // A step of its own core does it at once, but what passes a core goes through that one's mailbox.
            if next != on {
                let emptied = &self.emptied[usize::from(next)];
                let place = emptied.partition_point(|then| *then <= at);
                at = emptied.get(place).copied().unwrap_or(Stamp::MAX);
            }
            on = next;
        }
        match at == sent.at {
            true => Model::step_end(at),
            false => at,
        }
    }

    /// Whether a message may arrive before an earlier one of the same sender: one to a group, behind one to another group or
    /// what has followed that, and what is kept of everybody's is such a group's; and what is said to the connection itself, which goes by no other core.
    pub fn may_overtake(&self, late: usize, early: usize) -> bool {
        let (one, other) = (&self.sent[late], &self.sent[early]);
        // One that has moved since its name was told gets what is for it by its name from there.
        for target in [&one.target, &other.target] {
            if let Target::Connection(to) = *target
                && one.target != other.target
                && self.clients[to].has_moved_named()
            {
                return true;
            }
        }
        match &one.target {
            Target::Own => {
                let is_late = !other.path.is_empty() || other.by_mail;
                !matches!(other.target, Target::Own) && is_late
            }
            _ if one.home().is_some() => self.sent[..=early].iter().any(|before| {
                let is_other = before.home().is_some() && before.home() != one.home();
                is_other && before.sender.account() == one.sender.account()
            }),
            _ => false,
        }
    }

    /// Whether it was this message that did not fit, or one just before it: so it was not queued.
    fn overflowed(&self, number: usize, client: usize) -> bool {
        let (sent, track) = (&self.sent[number], &self.clients[client]);
        let at_home = track.home.is_some_and(|(_, core)| core == sent.core);
        let then = |closed: Closed| {
            let step = closed.earliest..=closed.latest;
            let next = self.sent.get(number + 1);
            let fills = self.filled.partition_point(|at| *at <= sent.at);
            let filled = self.filled.get(fills);
            closed.reason == CloseReason::SlowConsumer
                && step.contains(&sent.at)
                && next.is_none_or(|next| !step.contains(&next.at))
                && filled.is_none_or(|at| !step.contains(at))
        };
        at_home && self.scene.outbox_core >= 1 << 30 && track.closed.is_some_and(then)
    }

    pub fn claim(&self, sent: &Sent, client: usize) -> Claim {
        let track = &self.clients[client];
        let claim = self.claim_if_read(sent, client);
        let claim = self.claim_of_left_out(sent, client, claim);
        let closed = track.closed.map(|closed| closed.reason);
        // What is held for one who catches up is lost with its connection.
        match claim {
            Claim::Must if track.follows_streams() && closed != Some(CloseReason::Stopping) => {
                Claim::May
            }
            claim => claim,
        }
    }

    fn claim_if_read(&self, sent: &Sent, client: usize) -> Claim {
        let track = &self.clients[client];
        if sent.target == Target::Own {
            return match (sent.sender == Sender::Client(client), track.closed) {
                (true, Some(closed)) if closed.earliest > sent.at => Claim::Must,
                (true, _) => Claim::May,
                (false, _) => Claim::No,
            };
        }
        let reached = sent
            .reach
            .namespaces()
            .any(|namespace| namespace == track.namespace);
        if let Target::Connection(to) = sent.target {
            return match (track.home, track.closed) {
                _ if to != client => Claim::No,
                (_, Some(closed)) if closed.latest < sent.at => Claim::No,
                (Some((at, _)), Some(closed)) if at <= sent.at => match reached {
                    true if closed.reason == CloseReason::Stopping => Claim::Must,
                    true => Claim::May,
                    false => Claim::No,
                },
                _ => Claim::May,
            };
        }
        let (true, Some((home, closed))) = (reached, track.at_home()) else {
            return Claim::No;
        };
        // One that has moved has got it where it was then.
        let done = track.cores.iter().map(|core| self.delivered(sent, *core));
        let done = done.max().unwrap_or(Stamp::MAX);
        let stay = |from: Stamp, until: Stamp| {
            if from <= sent.at && until.min(closed.earliest) > done {
                Claim::Must
            } else if from <= done && until.min(closed.latest) >= sent.at {
                Claim::May
            } else {
                Claim::No
            }
        };
        match &sent.target {
            Target::Everybody => stay(home, Stamp::MAX),
            Target::Uid(uid) => {
                let claims = track.uids.iter().filter(|one| one.uid == *uid).map(|one| {
                    let done = self.delivered(sent, one.core);
                    if one.from <= sent.at && one.until.min(closed.earliest) > done {
                        return Claim::Must;
                    }
                    let until = Model::step_end(one.until).min(closed.latest);
                    match one.from <= done && until >= sent.at {
                        true => Claim::May,
                        false => Claim::No,
                    }
                });
                claims.fold(Claim::No, best)
            }
            Target::Own | Target::Connection(_) => Claim::No,
            Target::Group(group) => {
                let stays = track.stays.iter().filter(|one| one.group == *group);
                // Behind a note to its own core a join or leave takes effect after the callback, within
                // the step.
                let claims = stays.map(|one| {
                    let sure = stay(Model::step_end(one.told), one.until);
                    let possible = stay(one.from, Model::step_end(one.until));
                    match (sure, possible) {
                        (Claim::Must, _) => Claim::Must,
                        (_, Claim::No) => Claim::No,
                        _ => Claim::May,
                    }
                });
                claims.fold(Claim::No, best)
            }
        }
    }
}

fn best(one: Claim, other: Claim) -> Claim {
    match (one, other) {
        (Claim::Must, _) | (_, Claim::Must) => Claim::Must,
        (Claim::May, _) | (_, Claim::May) => Claim::May,
        _ => Claim::No,
    }
}

impl World {
    /// Holds what every client has received against the model.
    pub fn judge(&self, tally: &mut Tally) {
        let model = self.model();
        let mut received_by = vec![0; model.sent.len()];
        let mut may_have = vec![0; model.sent.len()];
        let mut on_the_way = vec![0; model.sent.len()];
        let mut possible = vec![false; model.sent.len()];
        let kept = self.judge_streams(&model, tally);
        let mut orders = Orders::default();
        for (client, one) in self.clients.iter().enumerate() {
            let track = &model.clients[client];
            let (seen, left) = one.seen();
            assert!(
                left == 0 || track.lossy,
                "client {client}: {left} bytes of half a message"
            );
            let Some(closed) = track.closed else {
                assert!(seen.is_empty() && track.opened.is_none());
                continue;
            };
            count(tally, closed.reason.text(), 1);
            check_reason(&model, client, closed);
            check_end(track, closed, &seen);
            let got = messages(&model, client, &seen);
            orders.note(&model, &got);
            match track.follows_streams() {
                true => check_claims_of_follower(&model, client, &got, &kept, tally),
                false => check_claims(&model, client, &got, tally),
            }
            for number in got.iter().filter(|_| !track.follows_streams()) {
                received_by[*number] += 1;
                // What is kept for one on his way is in no count.
                on_the_way[*number] += u32::from(track.cores.len() > 1);
            }
            for (number, sent) in model.sent.iter().enumerate() {
                let claim = model.claim(sent, client);
                possible[number] |= claim != Claim::No;
                // Who follows streams may have read it later.
                let queued =
                    track.follows_streams() || track.lossy && !model.overflowed(number, client);
                may_have[number] += u32::from(queued && claim != Claim::No);
            }
        }
        for (number, sent) in model.sent.iter().enumerate() {
            // A lossy one that has received it is counted twice, which only widens the bound.
            let least = received_by[number] - on_the_way[number];
            let most = received_by[number] + may_have[number];
            if let Some(reached) = sent.reached {
                assert!(
                    (least..=most).contains(&reached),
                    "m{number} reached {reached}, received by {least} to {most}"
                );
                if let Target::Connection(to) = sent.target {
                    let has_moved = model.clients[to].has_moved_named();
                    assert!(reached == 1 || received_by[number] == 0);
                    let told = match has_moved {
                        true => "to one that has moved",
                        false => "to one connection",
                    };
                    count(tally, told, reached as usize);
                }
            }
        }
        orders.check();
        check_joins(&model, tally);
        check_offline(&model, &received_by, &possible, tally);
        check_policy(&model);
        check_questions(&model);
        count(tally, "sent", model.sent.len());
        count(tally, "asked", model.asked.len());
    }
}

/// The numbers of the messages a client got, in order; its replies are checked on the way.
fn messages(model: &Model, client: usize, seen: &[Seen]) -> Vec<usize> {
    let mut got = Vec::new();
    let mut replies = 0;
    let mut before: HashMap<(Sender, Option<&Target>), Vec<usize>> = HashMap::new();
    let follows = model.clients[client].follows_streams();
    for one in seen {
        let Seen::Text(text) = one else { continue };
        if text.starts_with('r') {
            assert_eq!(*text, format!("r{client}.{replies}"), "replies in order");
            replies += 1;
            continue;
        }
        let number = text[1..].split(' ').next().expect("a number");
        let number: usize = number.parse().expect("a message of ours");
        let sent = &model.sent[number];
        assert_eq!(*text, sent.text, "client {client} got it as sent");
        // Who catches up does so in each stream by itself.
        let way = (sent.sender, follows.then_some(&sent.target));
        let earlier = before.entry(way).or_default();
        assert!(
            !earlier.contains(&number),
            "client {client} got m{number} twice"
        );
        for late in earlier.iter().rev().filter(|before| **before > number) {
            assert!(
                model.may_overtake(*late, number),
                "client {client} got m{number} after m{late} of {:?}: {:?} and {:?}",
                sent.sender,
                (sent.core, &sent.target, &sent.path),
                {
                    let late = &model.sent[*late];
                    (late.core, &late.target, &late.path)
                }
            );
        }
        earlier.push(number);
        got.push(number);
    }
    let track = &model.clients[client];
    let closed = track.closed.map(|closed| closed.reason);
    if closed == Some(CloseReason::Stopping) && !track.lossy {
        assert_eq!(replies, track.reserved, "client {client} lost replies");
    }
    got
}

/// In which order the members of each group have got its messages.
#[derive(Default)]
struct Orders {
    /// By message, those that somebody got right after it among the group's.
    next: HashMap<usize, HashSet<usize>>,
}

impl Orders {
    fn note(&mut self, model: &Model, got: &[usize]) {
        let mut last: HashMap<&str, usize> = HashMap::new();
        for number in got {
            if let Target::Group(group) = &model.sent[*number].target
                && let Some(before) = last.insert(group, *number)
            {
                self.next.entry(before).or_default().insert(*number);
            }
        }
    }

    /// There is one order that all of them have seen parts of.
    fn check(&self) {
        let mut behind: HashMap<usize, usize> = HashMap::new();
        for next in self.next.values().flatten() {
            *behind.entry(*next).or_default() += 1;
        }
        let first = self.next.keys().filter(|one| !behind.contains_key(one));
        let mut free: Vec<usize> = first.copied().collect();
        while let Some(one) = free.pop() {
            for next in self.next.get(&one).into_iter().flatten() {
                let left = behind.get_mut(next).expect("it is behind one");
                *left -= 1;
                if *left == 0 {
                    behind.remove(next);
                    free.push(*next);
                }
            }
        }
        assert!(
            behind.is_empty(),
            "a group's messages came in two orders: {:?}",
            behind.keys().collect::<Vec<_>>()
        );
    }
}

/// Whoever is in a group at the end has been told so.
fn check_joins(model: &Model, tally: &mut Tally) {
    for (client, track) in model.clients.iter().enumerate() {
        let stopped = track
            .closed
            .is_some_and(|closed| closed.reason == CloseReason::Stopping);
        for stay in track.stays.iter().filter(|stay| stay.until == Stamp::MAX) {
            let answered = track.answered_joins.contains(&stay.group);
            assert!(
                answered || !stopped,
                "client {client} was never told that it is in {}",
                stay.group
            );
            count(tally, "joins answered", usize::from(answered));
        }
    }
    count(tally, "joins refused", model.refused_joins);
    count(tally, "crossed", model.crossed);
}

pub fn count(tally: &mut Tally, name: &'static str, times: usize) {
    *tally.entry(name).or_default() += times;
}

/// The close frame says the reason, and is there unless the client was cut off.
fn check_end(track: &Track, closed: Closed, seen: &[Seen]) {
    let code = closed.reason.code();
    match seen.last() {
        Some(Seen::Close(said)) => assert_eq!(Some(*said), code),
        _ if track.codec.is_websocket() && code.is_some() => {
            assert!(track.lossy, "{:?} without a close frame", closed.reason);
        }
        _ => {}
    }
}

/// Nobody is closed without a cause.
fn check_reason(model: &Model, client: usize, closed: Closed) {
    let track = &model.clients[client];
    let scene = &model.scene;
    let quiet = |seconds| (closed.time - track.heard).as_secs() >= seconds;
    let young = |seconds: u128| {
        let without = track.without.expect("it was open");
        (closed.time - without).as_millis() < seconds * 1000 - 200
    };
    let cause = match closed.reason {
        CloseReason::Normal => track.asked_to_close,
        CloseReason::Stopping | CloseReason::ByPeer | CloseReason::Reset => true,
        CloseReason::Replaced => match scene.policy {
            _ if track.codec == Codec::V1 => true,
            UidPolicy::Multi => false,
            UidPolicy::Replace => !track.uids.is_empty(),
            // One has come back with a position of the uid's.
            UidPolicy::Reject => model.clients.iter().any(|other| {
                let is_of_uid = |one: &Tenure| track.uids.iter().any(|own| own.uid == one.uid);
                other.follows_streams() && other.uids.iter().any(is_of_uid)
            }),
        },
        CloseReason::UidInUse => {
            let full = scene.policy == UidPolicy::Multi && scene.per_uid < 256;
            track.refused && (scene.policy == UidPolicy::Reject || full)
        }
        CloseReason::BadLogin => track.refused,
        CloseReason::Idle => quiet(55) && track.home.is_some(),
        CloseReason::LoginTimeout => track.uid.is_none() && !young(10),
        CloseReason::SlowConsumer => !scene.roomy(),
        CloseReason::Overloaded => scene.outbox_core < 1 << 30,
        CloseReason::Kicked => {
            let reaches = |reach: &Reach| {
                let mut namespaces = reach.namespaces();
                namespaces.any(|namespace| namespace == track.namespace)
            };
            let of_uid = |uid: &String| track.uids.iter().any(|one| one.uid == *uid);
            let mut by_name = model.kicked_by_name.iter();
            by_name.any(|(one, reach)| *one == client && reaches(reach))
                || model
                    .kicked
                    .iter()
                    .any(|(uid, reach)| reaches(reach) && of_uid(uid))
        }
        _ => false,
    };
    assert!(cause, "client {client} was closed: {}", closed.reason);
}

/// A sender hears that nobody is there exactly when nobody was.
fn check_offline(model: &Model, received_by: &[u32], possible: &[bool], tally: &mut Tally) {
    for (client, track) in model.clients.iter().enumerate() {
        let closed = track.closed.map(|closed| closed.reason);
        let mut bounds: HashMap<&str, (usize, usize)> = HashMap::new();
        for (number, sent) in model.sent.iter().enumerate() {
            if let Target::Uid(uid) = &sent.target
                && sent.sender == Sender::Client(client)
            {
                let (least, most) = bounds.entry(uid).or_default();
                *most += usize::from(received_by[number] == 0);
                *least += usize::from(sent.tell && !possible[number]);
            }
        }
        for (uid, (least, most)) in bounds {
            let told = track.offline.get(uid).copied().unwrap_or(0);
            count(tally, "offline", told);
            let least = match closed {
                Some(CloseReason::Stopping) => least,
                _ => 0,
            };
            assert!(
                (least..=most).contains(&told),
                "client {client} heard {told} times that {uid} is not there, not {least} to {most}"
            );
        }
    }
}

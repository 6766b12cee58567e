//! Calls under way: who asked, and what has been answered so far. Each ends with exactly one answer.
//!
//! Bound: a call's cost stays on its caller's credit until it is answered.

use ahash::{AHashMap, RandomState};

use super::asked_bind::{AskedBind, AskedEvent};
use super::client_requests::AskedPage;
use super::envelope::AnswerPart;
use super::outcome::{Abroad, Answer, Delivered, Unknown};
use super::presence::MemberPage;
use super::promise::Promise;
use super::query::QueryResult;
use crate::ident::{ConnId, NamespaceId, Reach};
use crate::protocol::cluster::NodeId;
use crate::shard::TapPush;
use crate::stats::{CoreStats, Stats};
use crate::streams::Position;

pub enum Caller {
    App {
        number: u8,
        /// Whose callback asked. It pays, and it is closed if the app panics over the answer.
        connection: Option<ConnId>,
        /// Whether it is enough to know that somebody was reached.
        for_verdict: bool,
    },
    /// A task of this core (an HTTP request).
    Task(Promise<Answer>),
    /// A task whose push wants to know its position.
    Push(Promise<Delivered>),
    /// A task that asks for more than there is an [`Answer`] for.
    Query(Promise<Vec<QueryResult>>),
    /// A client of `ringpost.v1`.
    Client(Box<AskedPage>),
    /// A connection that has sent to this uid, and is to hear if nobody is there.
    Sender(Box<(ConnId, Box<str>)>),
    /// Another node of the cluster, which the engine knows by this number.
    Node(u64),
    /// A bind for which other nodes are asked.
    Bind(Box<AskedBind>),
    /// The home of a group that asks other nodes who is in it.
    Roster(Box<RosterCaller>),
    /// An event that waits for them.
    Event(Box<AskedEvent>),
    /// One whose push is shown to those who look, too.
    Tapped(Box<TappedCaller>),
}

/// See [`Caller::Roster`].
pub struct RosterCaller {
    pub namespace: NamespaceId,
    pub group: Box<str>,
    /// All are asked unless one is named.
    pub node: Option<NodeId>,
}

/// A caller whose push is shown when it is answered.
pub struct TappedCaller {
    pub caller: Caller,
    pub reach: Reach,
    /// With the message's beginning.
    pub push: TapPush,
}

/// Places that the table of open calls keeps when it is empty.
const CALLS_KEPT: usize = 1 << 10;

impl Caller {
    /// Whose credit the call is on, if anybody's.
    pub fn payer(&self) -> Option<ConnId> {
        match self {
            Caller::App { connection, .. } => *connection,
            Caller::Tapped(tapped) => tapped.caller.payer(),
            Caller::Sender(sender) => Some(sender.0),
            Caller::Task(_)
            | Caller::Push(_)
            | Caller::Query(_)
            | Caller::Client(_)
            | Caller::Bind(_)
            | Caller::Event(_)
            | Caller::Node(_)
            | Caller::Roster(_) => Some(ConnId::NOBODY),
        }
    }
}

impl Caller {
    /// Whether it is enough for this one that somebody was reached, however many.
    #[inline]
    pub fn is_for_verdict(&self) -> bool {
        match self {
            Caller::App { for_verdict, .. } => *for_verdict,
            Caller::Sender(_) => true,
            _ => false,
        }
    }
}

struct PendingCall {
    caller: Caller,
    parts_left: usize,
    reached: u32,
    position: Option<Position>,
    waits: bool,
    unknown: Unknown,
    stats: Vec<CoreStats>,
    members: Option<Box<MemberPage>>,
    found: Vec<QueryResult>,
    payer: Option<(ConnId, usize)>,
    is_push: bool,
    /// The first part that has reached somebody is the last.
    first_is_last: bool,
}

impl PendingCall {
    /// What other nodes have done: part of what is found, where that is asked for.
    fn add_abroad(&mut self, abroad: Abroad) {
        if let Caller::Query(_) | Caller::Bind(_) | Caller::Event(_) = self.caller {
            return self.found.push(QueryResult::Abroad(abroad));
        }
        self.reached = self.reached.saturating_add(abroad.reached);
        self.unknown.add(abroad.unknown);
    }
}

/// A call whose last part has come.
pub struct AnsweredCall {
    pub caller: Caller,
    pub answer: Answer,
    /// Of a push.
    pub delivered: Delivered,
    /// What was found, in place of an answer.
    pub found: Vec<QueryResult>,
    pub payer: Option<(ConnId, usize)>,
    /// Whether it was to push something, and its answer is a verdict.
    pub is_push: bool,
}

#[derive(Default)]
pub struct PendingCalls {
    next: u64,
    open: AHashMap<u64, PendingCall>,
    /// Credited bytes of all pending calls.
    bytes: usize,
}

impl PendingCalls {
    /// A table that hashes by this, for runs that are to be alike.
    pub fn with_hasher(hasher: RandomState) -> PendingCalls {
        PendingCalls {
            open: AHashMap::with_hasher(hasher),
            ..PendingCalls::default()
        }
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.open.capacity()
    }

    /// The number of a call that is answered at once.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn open(
        &mut self,
        caller: Caller,
        parts: usize,
        payer: Option<(ConnId, usize)>,
        is_push: bool,
    ) -> u64 {
        let number = self.number();
        self.bytes += payer.map_or(0, |(_, bytes)| bytes);
        self.open.insert(
            number,
            PendingCall {
                caller,
                parts_left: parts,
                reached: 0,
                position: None,
                waits: false,
                unknown: Unknown::default(),
                stats: Vec::new(),
                members: None,
                found: Vec::new(),
                payer,
                is_push,
                first_is_last: false,
            },
        );
        number
    }

    /// It is answered as soon as one part has reached somebody; what comes later is of no call any more.
    pub fn answer_by_first(&mut self, number: u64) {
        if let Some(call) = self.open.get_mut(&number) {
            call.first_is_last = true;
        }
    }

    /// Takes one part; the whole answer, if that was the last.
    pub fn part(&mut self, number: u64, part: AnswerPart) -> Option<AnsweredCall> {
        let call = self.open.get_mut(&number)?;
        match part {
            AnswerPart::More(cores) => call.parts_left += cores as usize + 1,
            AnswerPart::Reached(count) => call.reached = call.reached.saturating_add(count),
            AnswerPart::Kept {
                reached,
                position,
                waits,
            } => {
                call.reached = call.reached.saturating_add(reached);
                call.waits |= waits;
                call.position = call.position.or(Some(position));
            }
            AnswerPart::Abroad(abroad) => call.add_abroad(abroad),
            AnswerPart::Stats(stats) => call.stats.push(*stats),
            AnswerPart::Members(page) => call.members = Some(page),
            AnswerPart::Found(result) => call.found.push(*result),
        }
        call.parts_left -= 1;
        if call.parts_left > 0 && !(call.first_is_last && call.reached > 0) {
            return None;
        }
        let mut call = self.open.remove(&number)?;
        // After a burst the table would be as large as that for good.
        if self.open.is_empty() && self.open.capacity() > 2 * CALLS_KEPT {
            self.open.shrink_to(CALLS_KEPT);
        }
        self.bytes -= call.payer.map_or(0, |(_, bytes)| bytes);
        let delivered = Delivered {
            reached: call.reached,
            position: call.position,
            waits: call.waits,
            unknown: call.unknown,
        };
        let answer = if let Some(page) = call.members {
            Answer::Members(page)
        } else if delivered.unknown.is_some() && delivered.told() == 0 {
            Answer::Unknown(delivered.unknown)
        } else if call.stats.is_empty() {
            Answer::Reached(delivered.told())
        } else {
            call.stats.sort_by_key(|stats| stats.core);
            Answer::Stats(Box::new(Stats { cores: call.stats }))
        };
        Some(AnsweredCall {
            caller: call.caller,
            answer,
            delivered,
            found: call.found,
            payer: call.payer,
            is_push: call.is_push,
        })
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the open calls of one connection cost it, for the simulation.
    #[cfg(test)]
    pub fn owed_by(&self, payer: ConnId) -> usize {
        let payers = self.open.values().filter_map(|call| call.payer);
        let own = payers.filter(|(id, _)| *id == payer);
        own.map(|(_, bytes)| bytes).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

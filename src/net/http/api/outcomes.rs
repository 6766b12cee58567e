//! What has become of a command, as the text of its answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::errors::{ApiError, CommandResult};
use super::requests::{ApiCommand, PushTarget};
use crate::app::Answer;
use crate::app::outcome::{Delivered, Unknown};
use crate::app::promise::Promise;
use crate::app::query::QueryResult;
use crate::ident::EVERYBODY;
use crate::shard::StickyError;

/// What a command waits for.
pub enum Pending {
    Reached(Promise<Answer>),
    Delivered(Promise<Delivered>),
    /// Of many uids, each by itself, in their order.
    DeliveredEach(Vec<Promise<Delivered>>),
    Found(Promise<Vec<QueryResult>>),
    /// Of a kick, and of what is thrown away with it.
    Kicked(Promise<Answer>, Promise<Vec<QueryResult>>),
    /// Of many uids: which of them each answer is about, by their places in the command.
    Each(Vec<(Vec<usize>, Promise<Vec<QueryResult>>)>),
}

/// Each uid's verdict, in the order of the request.
struct Verdicts<'a> {
    uids: &'a [Cow<'a, str>],
    each: &'a [Delivered],
}

impl Serialize for Verdicts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let verdict = |delivered: &Delivered| match delivered {
            Delivered {
                reached: 0,
                position: None,
                unknown,
                ..
            } => match unknown.is_some() {
                true => "unknown",
                false => "offline",
            },
            Delivered { reached: 0, .. } => "kept",
            _ => "delivered",
        };
        let verdicts = self.each.iter().map(verdict);
        serializer.collect_map(self.uids.iter().zip(verdicts))
    }
}

#[derive(Serialize)]
struct Pushed<'a> {
    verdicts: Verdicts<'a>,
    connections: u64,
    /// Nodes of the cluster that have not said, the most of one uid.
    #[serde(skip_serializing_if = "is_zero")]
    nodes_unknown: u32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    positions: PushPositions<'a>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Connections that something was done with.
#[derive(Serialize)]
struct ConnectionCount {
    connections: u64,
    /// Those that could not join.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<u32>,
    /// Kept messages that were thrown away.
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten: Option<u32>,
    /// Connections that are to come are in the group, too; or were, and are no more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sticky: bool,
    #[serde(skip_serializing_if = "is_zero")]
    nodes_unknown: u32,
}

/// Of those whose message is kept, where it stands.
type PushPositions<'a> = BTreeMap<&'a str, String>;

/// What has become of a message to many who are not named.
#[derive(Serialize)]
struct PushedToMany<'a> {
    connections: u64,
    #[serde(skip_serializing_if = "is_zero")]
    nodes_unknown: u32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    positions: PushPositions<'a>,
}

/// What all that a command waited for has come to.
#[derive(Default)]
struct Totals {
    /// By the places of its uids.
    each: Vec<Delivered>,
    connections: u64,
    refused: u32,
    forgotten: Option<u32>,
    sticky: bool,
    not_stuck: Option<StickyError>,
    nodes_unknown: u32,
}

impl Totals {
    async fn of(pending: Pending) -> Totals {
        let mut totals = Totals::default();
        match pending {
            Pending::Reached(promise) => totals.add_reached(&promise.await),
            Pending::Kicked(kicked, forgot) => {
                totals.add_reached(&kicked.await);
                if let Some(QueryResult::Reached(messages)) = forgot.await.pop() {
                    totals.forgotten = Some(messages);
                }
            }
            Pending::Delivered(promise) => totals.add_delivered(0, promise.await),
            Pending::DeliveredEach(promises) => {
                for (place, promise) in promises.into_iter().enumerate() {
                    totals.add_delivered(place, promise.await);
                }
            }
            Pending::Found(promise) => {
                for result in promise.await {
                    totals.add_found(&result);
                }
            }
            Pending::Each(parts) => {
                for (places, promise) in parts {
                    for result in promise.await {
                        for (place, delivered) in places.iter().zip(delivered_each(result)) {
                            totals.add_delivered(*place, delivered);
                        }
                    }
                }
            }
        }
        totals
    }

    fn add_reached(&mut self, answer: &Answer) {
        match answer {
            Answer::Reached(reached) => self.connections += u64::from(*reached),
            Answer::Unknown(unknown) => self.note_unknown(*unknown),
            _ => {}
        }
    }

    fn note_unknown(&mut self, unknown: Unknown) {
        self.nodes_unknown = self.nodes_unknown.max(unknown.nodes());
    }

    fn add_delivered(&mut self, place: usize, delivered: Delivered) {
        let length = self.each.len().max(place + 1);
        self.each.resize(length, Delivered::default());
        self.each[place] = delivered;
        self.connections += u64::from(delivered.reached);
        self.note_unknown(delivered.unknown);
    }

    fn add_found(&mut self, result: &QueryResult) {
        match result {
            QueryResult::Reached(reached) => self.connections += u64::from(*reached),
            QueryResult::Joined { joined, refused } => {
                self.connections += u64::from(*joined);
                self.refused += refused;
            }
            QueryResult::Left { left, sticky } => {
                self.connections += u64::from(*left);
                self.sticky |= sticky;
            }
            QueryResult::Abroad(abroad) => {
                self.connections += u64::from(abroad.reached);
                self.refused += abroad.refused;
                self.note_unknown(abroad.unknown);
            }
            QueryResult::NotStuck(error) => self.not_stuck = Some(*error),
            _ => {}
        }
    }
}

/// Waits for it, and says it.
pub async fn outcome(command: &ApiCommand<'_>, pending: Pending) -> CommandResult {
    let Totals {
        each,
        connections,
        refused,
        forgotten,
        sticky,
        not_stuck,
        nodes_unknown,
    } = Totals::of(pending).await;
    if let Some(error) = not_stuck {
        return Err(refusal(error));
    }
    let counted = |refused, sticky| {
        json(&ConnectionCount {
            connections,
            refused,
            forgotten,
            sticky,
            nodes_unknown,
        })
    };
    let push = match command {
        ApiCommand::Push(push) => push,
        ApiCommand::Join(member) => return counted(Some(refused), member.sticky),
        ApiCommand::Kick(..) | ApiCommand::Leave(..) => return counted(None, sticky),
    };
    let one;
    let uids: &[_] = match &push.target {
        PushTarget::Uid(uid) => {
            one = [Cow::Borrowed(&**uid)];
            &one
        }
        PushTarget::Connection(_, name) => {
            one = [Cow::Borrowed(&**name)];
            &one
        }
        PushTarget::Uids(uids) => uids,
        PushTarget::Group(group) => {
            return to_many(group, (connections, nodes_unknown), each.first());
        }
        PushTarget::Everybody => {
            return to_many(EVERYBODY, (connections, nodes_unknown), each.first());
        }
    };
    let kept = uids.iter().zip(&each);
    let positions = kept.filter_map(|(uid, delivered)| {
        let position = delivered.position?;
        Some((&**uid, position.to_string()))
    });
    json(&Pushed {
        verdicts: Verdicts { uids, each: &each },
        connections,
        nodes_unknown,
        positions: positions.collect(),
    })
}

pub(super) fn refusal(error: StickyError) -> ApiError {
    let (status, code) = match error {
        StickyError::Full => (503, "sticky_full"),
        StickyError::Away => (503, "cluster_away"),
        _ => (400, "too_many_groups"),
    };
    ApiError::new(status, code, error.to_string())
}

fn delivered_each(result: QueryResult) -> Vec<Delivered> {
    match result {
        QueryResult::ReachedEach(each) => each
            .into_iter()
            .map(|reached| Delivered {
                reached,
                ..Delivered::default()
            })
            .collect(),
        QueryResult::DeliveredEach(each) => each,
        _ => Vec::new(),
    }
}

fn to_many(
    name: &str,
    (connections, nodes_unknown): (u64, u32),
    delivered: Option<&Delivered>,
) -> CommandResult {
    let position = delivered.and_then(|delivered| delivered.position);
    json(&PushedToMany {
        connections,
        nodes_unknown,
        positions: position
            .map(|position| (name, position.to_string()))
            .into_iter()
            .collect(),
    })
}

fn json(answer: &impl Serialize) -> CommandResult {
    serde_json::to_string(answer).map_err(|error| ApiError::new(500, "internal", error.to_string()))
}

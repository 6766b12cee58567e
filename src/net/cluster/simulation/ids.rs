//! Requests with ids in the simulation ([`SimIds`]): asked of any node, again and again, and carried out once.

use std::collections::{BTreeMap, BTreeSet};

use super::node::SimNode;
use super::{NODES, poll};
use crate::app::idempotency::{Claim, Digest};
use crate::app::promise::Promise;
use crate::app::query::{Query, QueryResult};
use crate::ident::CoreId;

const IDS: u8 = 8;

/// A request that has asked whether it may be carried out, or is.
struct Request {
    at: usize,
    id: u8,
    asked: Promise<Vec<QueryResult>>,
    /// It was carried out, as the how-manieth, and its answer is not told yet.
    carried: Option<u64>,
}

/// See the module.
#[derive(Default)]
pub struct SimIds {
    requests: Vec<Request>,
    /// How often each was carried out, in the life of what Redis knows of it.
    carried: BTreeMap<u8, u64>,
    /// Those that a node has carried out by itself, while Redis was away.
    alone: BTreeSet<u8>,
    /// One after the other, each set of ids by another name.
    round: u64,
    done: u64,
    last: u64,
}

impl SimIds {
    /// Redis has lost all: others of the same names are new.
    pub fn forget_all(&mut self) {
        self.round += 1;
        self.requests.clear();
        self.carried.clear();
        self.alone.clear();
    }

    /// A node has ended.
    pub fn lose(&mut self, at: usize) {
        self.requests.retain(|one| one.at != at);
    }

    fn digest(&self, id: u8) -> Digest {
        let mut digest = [id; 16];
        digest[..8].copy_from_slice(&self.round.to_be_bytes());
        digest
    }

    pub fn step(&mut self, nodes: &mut [SimNode], random: &mut fastrand::Rng) {
        if self.requests.len() < 12 && random.bool() {
            let (at, id) = (random.usize(..NODES), random.u8(..IDS));
            let (digest, wanted) = (self.digest(id), [1; 16]);
            // Nobody knows what a node has done that ends.
            let again = false;
            let what = match random.bool() {
                true => Query::Claim {
                    id: digest,
                    wanted,
                    again,
                },
                false => Query::Await {
                    id: digest,
                    wanted,
                    again,
                },
            };
            self.requests.push(Request {
                at,
                id,
                asked: nodes[at].host.tasks().query(CoreId(0), what),
                carried: None,
            });
            return;
        }
        if self.requests.is_empty() {
            return;
        }
        let nth = random.usize(..self.requests.len());
        match self.requests[nth].carried {
            Some(_) => self.settle(nth, nodes, random.u8(..) < 60),
            None => self.look(nth),
        }
    }

    /// What a claim has come to.
    fn look(&mut self, nth: usize) {
        let request = &mut self.requests[nth];
        let Some(found) = poll(&mut request.asked) else {
            return;
        };
        let id = request.id;
        let [QueryResult::Claim(claim)] = &found[..] else {
            panic!("no answer to a claim");
        };
        match claim {
            Claim::Fresh | Claim::FreshHere => {
                if *claim == Claim::FreshHere {
                    self.alone.insert(id);
                }
                let carried = self.carried.entry(id).or_default();
                *carried += 1;
                let is_once = *carried == 1 || self.alone.contains(&id);
                assert!(is_once, "id {id} is carried out {carried} times");
                self.last += 1;
                request.carried = Some(self.last);
            }
            Claim::Done(answer) => {
                let is_one = self.carried.get(&id).is_some_and(|times| *times > 0);
                assert!(is_one, "id {id} is done by nobody: {answer}");
                self.done += 1;
                self.requests.swap_remove(nth);
            }
            Claim::UnderWay | Claim::Elsewhere | Claim::Lost => {
                drop(self.requests.swap_remove(nth))
            }
            Claim::Conflict | Claim::Full => panic!("id {id}: {claim:?}"),
        }
    }

    /// It is done; or it was given up, before anything was.
    fn settle(&mut self, nth: usize, nodes: &mut [SimNode], is_given_up: bool) {
        let request = self.requests.swap_remove(nth);
        let number = request.carried.unwrap_or_default();
        if is_given_up && let Some(carried) = self.carried.get_mut(&request.id) {
            *carried -= 1;
        }
        let what = Query::Settle {
            id: self.digest(request.id),
            answer: (!is_given_up).then(|| Box::from(format!("done {number}"))),
        };
        drop(nodes[request.at].host.tasks().query(CoreId(0), what));
    }

    /// How many were answered by what another had come to.
    pub fn check(&self) -> u64 {
        self.done
    }
}

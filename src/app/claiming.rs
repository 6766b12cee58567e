//! Requests with an id in a cluster: claimed at the id's home on this node first, then in Redis, for all nodes. While Redis is
//! away an id holds on this node alone, and the answer says so.

use super::abroad::ToEngine;
use super::abroad_streams::{ClaimOutcome, StreamOrder};
use super::claims_abroad::AskedClaim;
use super::idempotency::{Claim, Digest};
use super::local::Local;
use super::query::QueryResult;
use crate::ident::CoreId;

impl Local {
    /// A request with this id has come; with `waits` it waits for what becomes of another with it.
    pub(super) fn claim_abroad(
        &mut self,
        asked_by: (CoreId, u64),
        id: Digest,
        (wanted, again): (Digest, bool),
        waits: bool,
    ) {
        let now = self.now;
        let claim = match waits {
            false => Some(self.idempotency.claim(now, id, wanted)),
            true => self.idempotency.wait(now, id, wanted, asked_by),
        };
        match claim {
            Some(Claim::Fresh) => self.ask_for_claim(asked_by, id, (wanted, again), waits),
            Some(claim) => self.reply(asked_by.0, asked_by.1, QueryResult::Claim(claim)),
            None => {}
        }
    }

    fn ask_for_claim(
        &mut self,
        asked_by: (CoreId, u64),
        id: Digest,
        (wanted, again): (Digest, bool),
        waits: bool,
    ) {
        self.claims.last += 1;
        let token = self.claims.last;
        let asked = AskedClaim {
            asked_by,
            id,
            wanted,
            waits,
            again,
        };
        self.claims.asked.insert(token, asked);
        let window = self.idempotency.window();
        self.tell_engine(ToEngine::Stream(StreamOrder::Claim {
            id,
            wanted,
            window,
            token,
            waits,
            again,
        }));
    }

    /// What Redis says of a claim.
    pub(super) fn claimed_abroad(&mut self, token: u64, outcome: ClaimOutcome) {
        let Some(AskedClaim {
            asked_by: (from, call),
            id,
            wanted,
            waits,
            again,
        }) = self.claims.asked.remove(&token)
        else {
            return;
        };
        let claim = match outcome {
            ClaimOutcome::Fresh => {
                if again {
                    self.claims.again.insert(id);
                }
                Claim::Fresh
            }
            ClaimOutcome::Away => Claim::FreshHere,
            ClaimOutcome::Done(answer) => {
                // Whoever waits for it here has it, too.
                self.settle_here(id, Some(answer));
                self.idempotency.claim(self.now, id, wanted)
            }
            ClaimOutcome::Conflict => {
                self.settle_here(id, None);
                Claim::Conflict
            }
            ClaimOutcome::UnderWay | ClaimOutcome::Lost => {
                self.settle_here(id, None);
                match outcome {
                    _ if !waits => Claim::UnderWay,
                    ClaimOutcome::Lost => Claim::Lost,
                    _ => Claim::Elsewhere,
                }
            }
        };
        self.reply(from, call, QueryResult::Claim(claim));
    }

    /// A request is done, or was given up.
    pub(super) fn settle_abroad(
        &mut self,
        (from, call): (CoreId, u64),
        id: Digest,
        answer: Option<Box<str>>,
    ) {
        if let Some(wanted) = self.idempotency.wanted(id) {
            let window = self.idempotency.window();
            let again = self.claims.again.remove(&id);
            self.tell_engine(ToEngine::Stream(StreamOrder::Settle {
                id,
                wanted,
                again,
                window,
                answer: answer.clone(),
            }));
        }
        self.settle_here(id, answer);
        self.reply(from, call, QueryResult::Reached(0));
    }

    fn settle_here(&mut self, id: Digest, answer: Option<Box<str>>) {
        for ((from, call), claim) in self.idempotency.settle(id, answer) {
            match claim {
                // It was given up in Redis, too.
                Claim::Fresh => {
                    let wanted = self.idempotency.wanted(id).unwrap_or_default();
                    self.ask_for_claim((from, call), id, (wanted, false), true);
                }
                claim => self.reply(from, call, QueryResult::Claim(claim)),
            }
        }
    }
}

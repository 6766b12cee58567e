//! Ids of requests, claimed in Redis for all nodes ([`Party`]).
//!
//! A claim says what is asked for, and which node carries it out; when that is done its answer stands in its place. Bounds:
//! a claim under way for each request; [`UNSETTLED_MAX`] answers of which Redis is still to be told. Of more, whoever asks
//! again elsewhere is told that another node has the id.

use std::time::{Duration, Instant};

use super::keeper::{Purpose, WaitingClaim, pop_due};
use super::party::Party;
use super::scripts::{Script, ScriptCall, ScriptValue};
use crate::app::abroad_streams::ClaimOutcome;
use crate::app::envelope::Body;
use crate::app::idempotency::{Digest, home_text};
use crate::bus::Endpoint;

/// Another node carries it out: Redis is asked again after this.
const PAUSE: Duration = Duration::from_millis(100);
/// Answers that wait for Redis.
const UNSETTLED_MAX: usize = 10_000;

const CLAIMED: u8 = b'U';
const DONE: u8 = b'D';

impl Party {
    fn key_of_id(&self, id: &Digest) -> String {
        format!("{}{{i:{}}}", self.prefix, home_text(id))
    }

    /// What stands for an id that this node carries out.
    fn own_claim(&self, wanted: &Digest) -> Vec<u8> {
        let mut claim = vec![CLAIMED];
        claim.extend(wanted);
        claim.extend(self.node.0.to_be_bytes());
        claim
    }

    pub(super) fn claim(&mut self, bus: &mut Endpoint<Body>, claim: WaitingClaim, is_joined: bool) {
        if !is_joined {
            return claim.answer(bus, ClaimOutcome::Away);
        }
        self.run_claim(claim);
    }

    fn run_claim(&mut self, claim: WaitingClaim) {
        let key = self.key_of_id(&claim.id);
        let call = ScriptCall {
            script: Script::Claim,
            keys: vec![key],
            args: vec![
                self.own_claim(&claim.wanted),
                claim.window.as_millis().max(1).to_string().into_bytes(),
            ],
        };
        self.run(call, Purpose::Claim(claim));
    }

    /// Redis says what is known of an id.
    pub(super) fn claimed(
        &mut self,
        bus: &mut Endpoint<Body>,
        claim: &WaitingClaim,
        value: &ScriptValue,
        now: Instant,
    ) {
        let known = value.bytes().unwrap_or_default();
        if known.is_empty() || known == self.own_claim(&claim.wanted) {
            return claim.answer(bus, ClaimOutcome::Fresh);
        }
        let wanted = known.get(1..=claim.wanted.len());
        let outcome = match known[0] {
            _ if wanted != Some(&claim.wanted[..]) => ClaimOutcome::Conflict,
            DONE => {
                let answer = str::from_utf8(&known[1 + claim.wanted.len()..]);
                ClaimOutcome::Done(Box::from(answer.unwrap_or_default()))
            }
            _ if claim.waits && now < claim.until => {
                let later = (now + PAUSE, claim.clone());
                return self.keeper.claims.waiting.push_back(later);
            }
            _ => ClaimOutcome::UnderWay,
        };
        claim.answer(bus, outcome);
    }

    /// Nobody knows whether Redis has it.
    pub(super) fn claim_unknown(&self, bus: &mut Endpoint<Body>, claim: &WaitingClaim) {
        claim.answer(bus, ClaimOutcome::Away);
    }

    /// What has come of a request, or that nothing has.
    pub(super) fn settle(
        &mut self,
        (id, wanted): (Digest, Digest),
        window: Duration,
        answer: Option<&str>,
        is_joined: bool,
    ) {
        let mut settled = Vec::new();
        if let Some(answer) = answer {
            settled.push(DONE);
            settled.extend(wanted);
            settled.extend(answer.as_bytes());
        }
        // With what it was claimed by, in front: that may be long ago when Redis hears of it.
        let mut all = self.own_claim(&wanted);
        all.extend(settled);
        let one = (self.key_of_id(&id), all, window.as_millis().max(1));
        match is_joined {
            true => self.run_settle(one),
            false => self.settle_again(one),
        }
    }

    fn run_settle(&mut self, one: (String, Vec<u8>, u128)) {
        let claim = 1 + size_of::<Digest>() + size_of::<u64>();
        let (key, all, millis) = &one;
        let call = ScriptCall {
            script: Script::Settle,
            keys: vec![key.clone()],
            args: vec![
                all[..claim].to_vec(),
                all[claim..].to_vec(),
                millis.to_string().into_bytes(),
            ],
        };
        self.run(call, Purpose::Settle(Box::new(one)));
    }

    /// Redis is told of it when it is back.
    pub(super) fn settle_again(&mut self, one: (String, Vec<u8>, u128)) {
        let unsettled = &mut self.keeper.claims.unsettled;
        if unsettled.len() < UNSETTLED_MAX {
            unsettled.push_back(one);
        }
    }

    /// What waits for the next batch.
    pub(super) fn claim_on(&mut self, now: Instant) {
        for one in std::mem::take(&mut self.keeper.claims.unsettled) {
            self.run_settle(one);
        }
        let claims = &mut self.keeper.claims;
        let mut due = Vec::new();
        while let Some(claim) = pop_due(&mut claims.waiting, now) {
            due.push(claim);
        }
        due.into_iter().for_each(|claim| self.run_claim(claim));
    }

    /// The connection to Redis is gone.
    pub(super) fn lose_claims(&mut self, bus: &mut Endpoint<Body>) {
        for (_, claim) in std::mem::take(&mut self.keeper.claims.waiting) {
            // Another node has it, for all that is known.
            claim.answer(bus, ClaimOutcome::UnderWay);
        }
    }
}

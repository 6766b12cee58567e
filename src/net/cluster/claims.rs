//! Ids of requests, claimed in Redis for all nodes ([`Party`]).
//!
//! A claim says what is asked for, and which node carries it out; when that is done its answer stands in its place. The claim
//! of a node that is gone is another's if what is asked for can be done again without being done twice: a push that is kept
//! wherever it goes, since a stream takes each id once. Of any other nobody knows whether it was done, and whoever asks is
//! told so. Bounds: a claim under
//! way for each request; [`UNSETTLED_MAX`] answers of which Redis is still to be told. Of more, whoever asks again elsewhere
//! is told that another node has the id.

use std::time::{Duration, Instant};

use super::keeper::{Purpose, WaitingClaim, pop_due};
use super::party::Party;
use super::scripts::{Script, ScriptCall, ScriptValue};
use crate::app::abroad_streams::ClaimOutcome;
use crate::app::envelope::Body;
use crate::app::idempotency::{Digest, home_text};
use crate::bus::Endpoint;
use crate::protocol::cluster::NodeId;

/// Another node carries it out: Redis is asked again after this.
const PAUSE: Duration = Duration::from_millis(100);
/// Answers that wait for Redis.
const UNSETTLED_MAX: usize = 10_000;

const CLAIMED: u8 = b'U';
/// So is one that can be done again.
const CLAIMED_AGAIN: u8 = b'A';
const DONE: u8 = b'D';

impl Party {
    fn key_of_id(&self, id: &Digest) -> String {
        format!("{}{{i:{}}}", self.prefix, home_text(id))
    }

    /// What stands for an id that this node carries out.
    fn own_claim(&self, wanted: &Digest, again: bool) -> Vec<u8> {
        let mut claim = vec![if again { CLAIMED_AGAIN } else { CLAIMED }];
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
                self.own_claim(&claim.wanted, claim.again),
                claim.window.as_millis().max(1).to_string().into_bytes(),
                claim.in_place_of.clone(),
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
        let is_own = [false, true].map(|again| self.own_claim(&claim.wanted, again));
        if known.is_empty() || is_own.iter().any(|own| known == own) {
            return claim.answer(bus, ClaimOutcome::Fresh);
        }
        let wanted = known.get(1..=claim.wanted.len());
        let is_gone = self.is_of_gone_node(known);
        let outcome = match known[0] {
            _ if wanted != Some(&claim.wanted[..]) => ClaimOutcome::Conflict,
            DONE => {
                let answer = str::from_utf8(&known[1 + claim.wanted.len()..]);
                ClaimOutcome::Done(Box::from(answer.unwrap_or_default()))
            }
            CLAIMED_AGAIN if is_gone && claim.again => {
                return self.run_claim(WaitingClaim {
                    in_place_of: known.to_vec(),
                    ..claim.clone()
                });
            }
            _ if claim.waits && now < claim.until && !is_gone => {
                let later = (now + PAUSE, claim.clone());
                self.keeper.claims.waiting.push_back(later);
                // That node may have ended. One look does for all that wait.
                self.keeper.claims.looks = true;
                return;
            }
            _ if is_gone => ClaimOutcome::Lost,
            _ => ClaimOutcome::UnderWay,
        };
        claim.answer(bus, outcome);
    }

    /// Whether the node of a claim is not there any more.
    fn is_of_gone_node(&self, claim: &[u8]) -> bool {
        let node = claim.get(1 + size_of::<Digest>()..);
        let node = node.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        node.is_some_and(|bytes| !self.members.may_be(NodeId(u64::from_be_bytes(bytes))))
    }

    /// Nobody knows whether Redis has it.
    pub(super) fn claim_unknown(&self, bus: &mut Endpoint<Body>, claim: &WaitingClaim) {
        claim.answer(bus, ClaimOutcome::Away);
    }

    /// What has come of a request, or that nothing has.
    pub(super) fn settle(
        &mut self,
        (id, wanted, again): (Digest, Digest, bool),
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
        let mut all = self.own_claim(&wanted, again);
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::app::namespaces::Registry;
    use crate::bus::connect_with_engine;
    use crate::ident::CoreId;
    use crate::net::admission::ConnectionCounters;
    use crate::net::cluster::own_facts::OwnFacts;
    use crate::net::cluster::party::RedisCommand;
    use crate::net::cluster::spaces::Spaces;
    use crate::net::http::Facts;
    use crate::protocol::cluster::{NodeState, NodeWord};
    use crate::protocol::partitions::Partition;

    #[test]
    fn one_look_does_for_all_that_wait() {
        let (_cores, mut engine) = connect_with_engine(1).expect("doorbells");
        let spaces = Spaces::new(vec!["push"], Registry::new(1));
        let counters = Arc::new(ConnectionCounters::new(None));
        let own = OwnFacts::new("one", 0, counters, Arc::new(Facts::new(Vec::new(), None)));
        let who = (NodeId(1), Partition::WHOLE);
        let mut party = Party::new(who, "p:", spaces, Duration::from_secs(1), own);
        let (other, now) = (NodeId(2), Instant::now());
        party.members.heard(&NodeWord {
            node: other,
            name: "other".into(),
            link: 7,
            client: 7,
            state: NodeState::Whole,
            asks: false,
            partition: Partition::WHOLE,
        });
        // It is looked for once it is heard.
        assert_eq!(party.next_batch(now).len(), 1);
        let (id, wanted) = ([1; size_of::<Digest>()], [2; size_of::<Digest>()]);
        let mut known = vec![CLAIMED];
        known.extend(wanted);
        known.extend(other.0.to_be_bytes());
        let known = ScriptValue::Bytes(known);
        for token in 0..3 {
            let waits = (true, false);
            let window = Duration::from_secs(60);
            let claim = WaitingClaim::new((CoreId(0), token), (id, wanted), window, waits, now);
            party.claimed(&mut engine, &claim, &known, now);
        }
        let batch = party.next_batch(now);
        assert!(matches!(&batch[..], [RedisCommand::Look { .. }]));
        let batch = party.next_batch(now);
        assert!(batch.is_empty(), "and none until they are asked again");
        assert_eq!(party.next_batch(now + PAUSE).len(), 3);
    }
}

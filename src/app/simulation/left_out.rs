//! Whom a message to a group or to everybody leaves out: it is not for these, whatever else they are.

use std::sync::Arc;

use super::model::{Model, Sent, Stamp};
use super::verdict::Claim;
use super::world::World;
use crate::app::bulk::Except;

/// By their uids, and by what they are called.
#[derive(Clone, Default, Debug)]
pub struct LeftOut {
    uids: Vec<String>,
    clients: Vec<usize>,
}

impl Model {
    /// What is left of a claim of one that the message may leave out.
    pub fn claim_of_left_out(&self, sent: &Sent, client: usize, claim: Claim) -> Claim {
        let track = &self.clients[client];
        if sent.except.clients.contains(&client) {
            return Claim::No;
        }
        let of_those = |one: &&super::model::Tenure| sent.except.uids.contains(&one.uid);
        let tenures = track.uids.iter().filter(of_those).map(|one| {
            let cores = track.cores.iter();
            let done = cores.map(|core| self.delivered(sent, *core)).max();
            let done = done.unwrap_or(Stamp::MAX);
            match (one.from, one.until) {
                (from, until) if from <= sent.at && until > done => Claim::No,
                (from, until) if from <= done && Model::step_end(until) >= sent.at => Claim::May,
                _ => claim,
            }
        });
        // The least that any of them leaves.
        let least = |one, other| match (one, other) {
            (Claim::No, _) | (_, Claim::No) => Claim::No,
            (Claim::May, _) | (_, Claim::May) => Claim::May,
            (Claim::Must, Claim::Must) => Claim::Must,
        };
        tenures.fold(claim, least)
    }
}

impl World {
    /// Some whom a message for many is not for.
    pub fn leave_out(&mut self, number: usize) -> Arc<Except> {
        let mut out = LeftOut::default();
        if self.rng.bool() {
            out.uids.push(self.scene.uid(&mut self.rng));
        }
        let mut names = Vec::new();
        for _ in 0..self.rng.usize(0..3) {
            let Some(client) = self.any_client() else {
                break;
            };
            if let Some(name) = self.model().clients[client].name {
                out.clients.push(client);
                names.push(name);
            }
        }
        let uids = out.uids.iter().map(|uid| Box::from(&**uid)).collect();
        self.model().sent[number].except = out;
        *self.tally.entry("left out").or_default() += 1;
        Arc::new(Except {
            uids,
            connections: names.into(),
        })
    }
}

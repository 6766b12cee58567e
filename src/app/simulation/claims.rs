//! Whether a client has got what must be its, and nothing else: one that is there now, and one that follows streams.

use std::collections::{HashMap, HashSet};

use super::Tally;
use super::model::{Model, Sender, Sent, Stamp, Target};
use super::verdict::{Claim, count};
use crate::ident::NamespaceId;
use crate::protocol::Codec;

/// Nothing that is not its own, all that must be, and of one that was cut off no gap.
pub fn check_claims(model: &Model, client: usize, got: &[usize], tally: &mut Tally) {
    let track = &model.clients[client];
    let mut has = vec![false; model.sent.len()];
    got.iter().for_each(|number| has[*number] = true);
    let mut gaps: HashMap<Sender, Vec<usize>> = HashMap::new();
    for (number, sent) in model.sent.iter().enumerate() {
        let claim = model.claim(sent, client);
        match claim {
            Claim::Must if track.namespace.0 >= 3 => {
                count(tally, "claims", 1);
                count(tally, "claims elsewhere", 1);
            }
            Claim::Must => count(tally, "claims", 1),
            Claim::May => count(tally, "open claims", 1),
            Claim::No => {}
        }
        if has[number] {
            assert!(
                claim != Claim::No,
                "client {client} got m{number}, not its own"
            );
            for gap in gaps.get(&sent.sender).into_iter().flatten() {
                assert!(
                    model.may_overtake(number, *gap),
                    "client {client} got m{number}, but not m{gap} before it"
                );
            }
        } else if claim == Claim::Must && sent.refresh {
            let refreshed = is_refreshed(model, client, sent, got);
            assert!(
                track.lossy || refreshed,
                "client {client} lost refresh m{number}"
            );
            count(tally, "refreshed", usize::from(refreshed));
        } else if claim == Claim::Must {
            assert!(
                track.lossy,
                "client {client} lost m{number}: {:?}",
                sent.target
            );
            gaps.entry(sent.sender).or_default().push(number);
        }
    }
}

/// Whether a later refresh of the same group took this one's place.
fn is_refreshed(model: &Model, client: usize, lost: &Sent, got: &[usize]) -> bool {
    let core = model.clients[client].home.map_or(0, |(_, core)| core);
    got.iter().map(|number| &model.sent[*number]).any(|sent| {
        sent.refresh && sent.target == lost.target && model.delivered(sent, core) >= lost.at
    })
}

/// One that follows streams has nothing that is not its own, and all that must be, but for what is kept in them.
pub fn check_claims_of_follower(
    model: &Model,
    client: usize,
    got: &[usize],
    kept: &HashSet<(usize, NamespaceId)>,
    tally: &mut Tally,
) {
    let track = &model.clients[client];
    let has: HashSet<usize> = got.iter().copied().collect();
    for (number, sent) in model.sent.iter().enumerate() {
        let follows = match &sent.target {
            Target::Group(group) => track.follows.contains(group),
            Target::Own | Target::Connection(_) => false,
            Target::Uid(_) | Target::Everybody => true,
        };
        let is_streams = follows && kept.contains(&(number, track.namespace));
        let claim = model.claim(sent, client);
        let has = has.contains(&number);
        // What is held for one who catches up is dropped where it leaves the group by itself.
        let has_left = |group: &String| {
            let mut stays = track.stays.iter();
            stays.any(|stay| stay.group == *group && stay.until != Stamp::MAX)
        };
        let is_given_up = match &sent.target {
            Target::Group(group) => track.codec == Codec::V1 && has_left(group),
            _ => false,
        };
        if claim == Claim::Must && !is_streams && !is_given_up {
            count(tally, "claims of followers", 1);
            assert!(
                has || track.lossy || sent.refresh,
                "client {client} lost m{number}: {:?}",
                sent.target
            );
        }
        assert!(
            !has || is_streams || claim != Claim::No,
            "client {client} got m{number}, not its own: {:?}",
            sent.target
        );
    }
}

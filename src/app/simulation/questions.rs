//! What holds for uids and for what was asked, whoever has got what.

use super::model::{Model, Question, Stamp, Tenure, Track};
use crate::close::CloseReason;
use crate::config::UidPolicy;

/// No uid has more connections at a time than the policy allows.
pub fn check_policy(model: &Model) {
    let most = match model.scene.policy {
        UidPolicy::Multi => model.scene.per_uid,
        UidPolicy::Replace | UidPolicy::Reject => 1,
    };
    for track in &model.clients {
        for one in &track.uids {
            let there = |other: &&Track| {
                let end = other.closed.map_or(Stamp::MAX, |closed| closed.earliest);
                let then = |its: &Tenure| {
                    its.uid == one.uid && its.from <= one.from && one.from < its.until.min(end)
                };
                other.namespace == track.namespace && other.uids.iter().any(then)
            };
            let count = model.clients.iter().filter(there).count();
            assert!(count <= most, "{:?} has {count} connections", one.uid);
        }
    }
}

pub fn check_questions(model: &Model) {
    let mut kicked = 0;
    for asked in model.asked.values() {
        let until = asked.answered.expect("answered");
        match &asked.question {
            Question::Kick => kicked += asked.reached,
            Question::Online(uid, reach) => {
                let (mut least, mut most) = (0, 0);
                for track in &model.clients {
                    let Some((_, closed)) = track.at_home() else {
                        continue;
                    };
                    let reached = reach
                        .namespaces()
                        .any(|namespace| namespace == track.namespace);
                    let its = track.uids.iter().filter(|one| reached && one.uid == *uid);
                    for one in its {
                        let sure = one.until.min(closed.earliest);
                        let end = Model::step_end(one.until).min(closed.latest);
                        least += u32::from(one.from <= asked.at && sure > until);
                        most += u32::from(one.from <= until && end >= asked.at);
                    }
                }
                let said = asked.reached;
                assert!(
                    (least..=most).contains(&said),
                    "{uid}: {said}, not {least} to {most}"
                );
            }
            Question::Push(_) | Question::Stats => {}
        }
    }
    let reasons = model.clients.iter().filter_map(|track| track.closed);
    let closed = reasons.filter(|closed| closed.reason == CloseReason::Kicked);
    assert_eq!(kicked as usize, closed.count(), "kicks that were answered");
}

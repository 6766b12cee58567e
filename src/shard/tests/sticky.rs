//! Members of groups with a connection or without: whoever binds is in, whoever is unbound is out, and nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::shard::{InterestKind, StickyError};

fn groups_of(shard: &Shard, id: ConnId) -> Vec<String> {
    let groups = shard.memberships(id).into_iter();
    let mut groups: Vec<String> = groups.map(|wish| wish.group.into()).collect();
    groups.sort();
    groups
}

#[test]
fn whoever_binds_is_in_and_whoever_is_unbound_is_out() {
    let mut shard = shard(&Config::default());
    let early = bound(&mut shard, 0, "tom");
    shard.stick(REACH, "tom", "news").unwrap();
    shard.stick(REACH, "tom", "news").unwrap();
    // It is about connections that come; those that are there join by themselves.
    assert!(groups_of(&shard, early).is_empty());
    let later = [bound(&mut shard, 0, "tom"), bound(&mut shard, 1, "tom")];
    for id in later {
        assert_eq!(groups_of(&shard, id), ["news"]);
    }
    assert_eq!(
        shard.send_to_group(REACH, "news", Message::Text("x"), false),
        2
    );
    let other = bound(&mut shard, 0, "ann");
    assert!(groups_of(&shard, other).is_empty());
    shard.unbind(later[0]);
    assert!(groups_of(&shard, later[0]).is_empty());
    assert!(shard.bind(later[0], "tom"));
    assert_eq!(groups_of(&shard, later[0]), ["news"]);
    assert_eq!(shard.stuck_groups(REACH, "tom"), [Box::from("news")]);
    assert!(shard.unstick(REACH, "tom", "news"));
    assert!(!shard.unstick(REACH, "tom", "news"));
    let last = bound(&mut shard, 0, "tom");
    assert!(groups_of(&shard, last).is_empty());
    assert_eq!(groups_of(&shard, later[0]), ["news"]);
    assert_eq!(shard.stickies.counts(), (0, 0));
}

#[test]
fn a_group_is_wanted_while_it_has_a_sticky_member() {
    let mut shard = shard(&Config::default());
    let own = Reach::of(NamespaceId(0));
    shard.stick(own, "tom", "news").unwrap();
    let interest = shard.groups.next_interest().expect("the home is told");
    assert!(interest.what == InterestKind::Wanted && &*interest.group == "news");
    let id = bound(&mut shard, 0, "tom");
    shard.close(id, CloseReason::Normal);
    assert_eq!(shard.groups.next_interest(), None);
    assert_eq!(shard.count_of(own, "news").sticky, 1);
    let done = shard.ungroup(own, "news", 10);
    assert_eq!((done.connections, done.sticky, done.is_more), (0, 1, false));
    let interest = shard.groups.next_interest().expect("the home is told");
    assert_eq!(interest.what, InterestKind::Unwanted);
    assert_eq!(shard.groups.len(), 0);
}

#[test]
fn what_is_refused_leaves_nothing() {
    let config = Config {
        groups_per_connection_max: 2,
        sticky_bytes_core_max: 4_000,
        ..Config::default()
    };
    let mut shard = shard(&config);
    for group in ["a", "b"] {
        shard.stick(REACH, "tom", group).unwrap();
    }
    let error = shard.stick(REACH, "tom", "c").expect_err("a third");
    assert!(error.to_string().contains("groups_per_connection_max"));
    assert!(shard.stick(REACH, "tom", "").is_err());
    let before = shard.stickies.counts();
    let mut taken = Vec::new();
    let error = (0..100).find_map(|number| {
        let uid = format!("u{number}");
        let error = shard.stick(REACH, &uid, "a").err();
        taken.push(uid);
        error
    });
    assert_eq!(error, Some(StickyError::Full));
    assert!(error.unwrap().to_string().contains("sticky_bytes_core_max"));
    let refused = taken.pop().expect("the last");
    assert!(shard.stuck_groups(REACH, &refused).is_empty());
    assert!(shard.stickies.counts().1 <= 4_000);
    for uid in &taken {
        assert!(shard.unstick(REACH, uid, "a"));
    }
    assert_eq!(shard.stickies.counts(), before);
    // What is not allowed for good any more stays, and is allowed again when there is more room.
    shard.stickies.renew(0);
    assert_eq!(shard.stick(REACH, "ann", "a"), Err(StickyError::Full));
    assert_eq!(groups_of(&{ shard }, ConnId::NOBODY), [""; 0]);
}

/// Uids that come and go, and are made members and none, against a plain model; at the end nothing is left.
#[test]
fn sticky_members_match_a_model() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut shard = shard(&Config::default());
        let mut model: BTreeSet<(String, String)> = BTreeSet::new();
        let mut there: BTreeMap<u32, (ConnId, String, BTreeSet<String>)> = BTreeMap::new();
        for step in 0..300 {
            let uid = format!("u{}", random.u8(..4));
            let group = format!("g{}", random.u8(..4));
            match random.u8(..7) {
                0 | 1 => {
                    let id = bound(&mut shard, 0, &uid);
                    let own = model.iter().filter(|(of, _)| *of == uid);
                    let own = own.map(|(_, group)| group.clone()).collect();
                    there.insert(step, (id, uid, own));
                }
                2 => {
                    if let Some(nth) = random.choice(there.keys().copied()) {
                        let (id, ..) = there.remove(&nth).expect("it is there");
                        shard.close(id, CloseReason::Normal);
                    }
                }
                3 | 4 => {
                    shard.stick(REACH, &uid, &group).unwrap();
                    model.insert((uid, group));
                }
                5 => {
                    let was = model.remove(&(uid.clone(), group.clone()));
                    assert_eq!(shard.unstick(REACH, &uid, &group), was, "seed {seed}");
                }
                _ => {
                    while shard.ungroup(REACH, &group, 2).is_more {}
                    model.retain(|(_, of)| *of != group);
                    for (_, _, own) in there.values_mut() {
                        own.remove(&group);
                    }
                }
            }
            for (id, _, own) in there.values() {
                let expected: Vec<String> = own.iter().cloned().collect();
                assert_eq!(groups_of(&shard, *id), expected, "seed {seed} step {step}");
            }
            shard.check();
        }
        for (id, ..) in there.into_values() {
            shard.close(id, CloseReason::Normal);
        }
        for (uid, group) in model {
            assert!(shard.unstick(REACH, &uid, &group));
        }
        assert_eq!(shard.stickies.counts(), (0, 0), "seed {seed}");
        assert_eq!(shard.groups.len(), 0, "seed {seed}");
    }
}

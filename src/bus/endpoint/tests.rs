//! One property of the endpoint each, on one thread.

use super::*;
use crate::bus::{Look, OUTSIDE};

const A: CoreId = CoreId(0);
const B: CoreId = CoreId(1);

fn pair() -> (Endpoint<u32>, Endpoint<u32>) {
    let mut both = connect(2).unwrap().into_iter();
    (both.next().unwrap(), both.next().unwrap())
}

fn payer(slot: u32) -> ConnId {
    ConnId {
        slot,
        generation: 1,
    }
}

fn taken(endpoint: &mut Endpoint<u32>) -> Vec<u32> {
    std::iter::from_fn(|| endpoint.take())
        .map(|envelope| envelope.body)
        .collect()
}

fn settled(endpoint: &mut Endpoint<u32>) -> Vec<(u32, usize)> {
    let mut back = Vec::new();
    let any = endpoint.settle_credits(|payer, bytes| back.push((payer.slot, bytes)));
    assert_eq!(any, !back.is_empty());
    back
}

#[test]
fn endpoints_may_go_to_their_threads() {
    fn sends<T: Send>() {}
    sends::<Endpoint<std::cell::Cell<u8>>>();
    sends::<Remote<std::cell::Cell<u8>>>();
}

#[test]
fn each_pair_is_first_in_first_out() {
    let (mut a, mut b) = pair();
    for n in 0..100 {
        a.post(B, None, Until::Taken, n);
        a.post(A, None, Until::Taken, 1000 + n);
    }
    let envelope = b.take().unwrap();
    assert_eq!((envelope.from, envelope.body), (A, 0));
    assert!(!envelope.credited);
    assert_eq!(taken(&mut b), (1..100).collect::<Vec<_>>());
    assert_eq!(taken(&mut a), (1000..1100).collect::<Vec<_>>());
    assert!(b.take().is_none());
}

#[test]
fn all_endpoints_agree_on_the_home() {
    let endpoints = connect::<()>(5).unwrap();
    let home = endpoints[0].home("李雷");
    assert!(home.index() < 5);
    assert!(endpoints.iter().all(|one| one.home("李雷") == home));
}

#[test]
fn credit_comes_back_once_and_in_order() {
    let (mut a, mut b) = pair();
    assert_eq!(
        a.post(B, Some((payer(1), 10)), Until::Taken, 0),
        10 + ENVELOPE_COST
    );
    assert_eq!(a.post(B, None, Until::Taken, 1), 0);
    a.post(B, Some((payer(2), 0)), Until::Taken, 2);
    a.post(B, Some((payer(1), 30)), Until::Taken, 3);
    assert_eq!(a.in_transit_bytes(), 40 + 3 * ENVELOPE_COST);
    assert!(settled(&mut a).is_empty());

    assert!(b.take().unwrap().credited);
    assert!(
        settled(&mut a).is_empty(),
        "given back before it was published"
    );
    b.publish_taken(Writing::NOTHING);
    assert_eq!(settled(&mut a), [(1, 10 + ENVELOPE_COST)]);
    assert!(settled(&mut a).is_empty());

    b.take().unwrap();
    b.publish_taken(Writing::NOTHING);
    assert!(
        settled(&mut a).is_empty(),
        "uncredited envelopes pay nobody"
    );
    assert_eq!(taken(&mut b), [2, 3]);
    b.publish_taken(Writing::NOTHING);
    assert_eq!(
        settled(&mut a),
        [(2, ENVELOPE_COST), (1, 30 + ENVELOPE_COST)]
    );
    assert_eq!(a.in_transit_bytes(), 0);
}

#[test]
fn credit_for_posts_to_oneself() {
    let (mut a, _b) = pair();
    a.post(A, Some((payer(3), 5)), Until::Taken, 7);
    assert_eq!(taken(&mut a), [7]);
    a.publish_taken(Writing::NOTHING);
    assert_eq!(settled(&mut a), [(3, 5 + ENVELOPE_COST)]);
}

#[test]
fn nobody_rings_an_awake_core() {
    let (mut a, b) = pair();
    a.post(B, None, Until::Taken, 1);
    a.ring_posted();
    b.remote().post(B, 2);
    assert_eq!(b.bell().rings(), 0);
    assert!(!b.drain());
}

#[test]
fn a_burst_to_a_sleeping_core_rings_once() {
    let (mut a, mut b) = pair();
    assert!(b.arm());
    a.post(B, None, Until::Taken, 1);
    a.post(B, None, Until::Taken, 2);
    assert_eq!(b.bell().rings(), 0, "the burst is not over");
    a.ring_posted();
    a.ring_posted();
    b.remote().post(B, 3);
    assert_eq!(b.bell().rings(), 1);
    b.disarm();
    assert!(b.drain());
    assert!(!b.arm(), "three envelopes wait");
    assert_eq!(taken(&mut b), [1, 2, 3]);
    assert!(b.arm());
    a.post(B, None, Until::Taken, 4);
    assert!(a.arm(), "who sleeps has rung before");
    assert_eq!(b.bell().rings(), 2);
}

#[test]
fn a_long_burst_rings_on_the_way() {
    let (mut a, mut b) = pair();
    for round in 1..=3 {
        assert!(b.arm());
        for _ in 1..BURST {
            a.post(B, None, Until::Taken, 0);
        }
        assert_eq!(b.bell().rings(), 2 * round - 2);
        a.post(B, None, Until::Taken, 0);
        assert_eq!(b.bell().rings(), 2 * round - 1);
        taken(&mut b);
        assert!(b.arm());
        a.post(B, None, Until::Taken, 0);
        a.ring_posted();
        assert_eq!(b.bell().rings(), 2 * round);
        taken(&mut b);
    }
}

#[test]
fn a_core_that_goes_rings_for_what_it_has_posted() {
    let (mut a, mut b) = pair();
    assert!(b.arm());
    a.post(B, None, Until::Taken, 1);
    drop(a);
    assert!(b.drain());
}

#[test]
fn a_core_rings_itself_for_another_turn() {
    let (a, _b) = pair();
    a.ring_self();
    assert!(a.drain());
    assert!(!a.drain());
}

#[test]
fn credit_wakes_a_core_that_wants_it() {
    let (mut a, mut b) = pair();
    for wanted in [false, true] {
        a.post(B, Some((payer(1), 1)), Until::Taken, 0);
        a.want_credit(wanted);
        assert!(a.arm());
        b.take().unwrap();
        b.publish_taken(Writing::NOTHING);
        assert_eq!(a.drain(), wanted);
        a.disarm();
        if wanted {
            assert!(!a.arm(), "credit waits to be settled");
        }
        assert_eq!(settled(&mut a).len(), 1);
        assert!(a.arm());
        a.disarm();
    }
    // What nobody paid for gives nothing back, and wakes nobody.
    a.post(B, None, Until::Taken, 0);
    assert!(a.arm());
    b.take().unwrap();
    b.publish_taken(Writing::NOTHING);
    assert!(!a.drain());
}

#[test]
fn arming_publishes_what_was_taken() {
    let (mut a, mut b) = pair();
    a.post(B, Some((payer(1), 1)), Until::Taken, 0);
    a.want_credit(true);
    assert!(a.arm());
    b.take().unwrap();
    assert!(b.arm());
    assert!(a.drain());
}

#[test]
fn a_core_that_is_gone_keeps_no_credit() {
    let (mut a, b) = pair();
    a.post(B, Some((payer(1), 1)), Until::Taken, 0);
    a.want_credit(true);
    assert!(a.arm());
    drop(b);
    assert!(a.drain());
    a.disarm();
    assert_eq!(settled(&mut a), [(1, 1 + ENVELOPE_COST)]);

    assert_eq!(a.post(B, Some((payer(1), 1)), Until::Taken, 0), 0);
    a.remote().post(B, 0);
    assert_eq!(a.in_transit_bytes(), 0);
    assert_eq!(a.counters().undeliverable(), 2);
    assert!(a.counters().look().settled());
}

#[test]
fn remotes_are_counted() {
    let (mut a, mut b) = pair();
    let remote = a.remote().clone();
    remote.post(B, 9);
    a.post(B, None, Until::Taken, 8);
    assert_eq!(
        a.counters().look(),
        Look {
            posted: 2,
            taken: 0
        }
    );
    let envelope = b.take().unwrap();
    assert_eq!((envelope.from, envelope.body), (OUTSIDE, 9));
    b.take().unwrap();
    assert!(
        !a.counters().look().settled(),
        "not dealt with before it is published"
    );
    b.publish_taken(Writing::NOTHING);
    assert_eq!(
        a.counters().look(),
        Look {
            posted: 2,
            taken: 2
        }
    );
    assert_eq!((a.posted_total(), b.taken_total()), (1, 2));
}

#[test]
fn silly_numbers_of_cores_are_refused() {
    assert!(connect::<()>(0).is_err());
    assert!(connect::<()>(usize::MAX).is_err());
}

#[test]
fn what_is_for_many_is_paid_back_when_it_is_written() {
    let (mut a, mut b) = pair();
    let writing = |done, due| Writing {
        done,
        due,
        slack: 10,
    };
    a.post(B, Some((payer(1), 0)), Until::Written, 0);
    a.post(B, Some((payer(2), 0)), Until::Taken, 1);
    a.post(B, Some((payer(3), 0)), Until::Written, 2);
    b.take().unwrap();
    // It has caused 100 bytes, behind 50 that waited.
    b.publish_taken(writing(0, 150));
    assert_eq!(taken(&mut b), [1, 2]);
    b.publish_taken(writing(20, 500));
    let mut back = settled(&mut a);
    assert_eq!(
        back,
        [(2, ENVELOPE_COST)],
        "what is for one is paid at once"
    );
    b.publish_taken(writing(139, 500));
    assert!(settled(&mut a).is_empty());
    a.want_credit(true);
    assert!(a.arm());
    b.publish_taken(writing(140, 500));
    assert!(a.drain(), "it sleeps for that");
    back = settled(&mut a);
    assert_eq!(back, [(1, ENVELOPE_COST)]);
    // A core that sleeps has written all.
    assert!(b.arm());
    assert_eq!(settled(&mut a), [(3, ENVELOPE_COST)]);
}
